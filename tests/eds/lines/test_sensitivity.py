"""Counts per atom: ionisation cross-sections, k-factors, zeta factors, tables of factors."""

import numpy as np
import pytest
from exspy.utils.eds import cross_section_to_zeta, zeta_to_cross_section
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eds.lines.sensitivity import (
    AVOGADRO,
    BOHR_RADIUS,
    COMPUTED,
    ELECTRON_REST,
    GIVEN_K,
    GIVEN_ZETA,
    compute_sensitivities,
    from_k_factors,
    from_zeta_factors,
    ionisation_cross_section,
    photons_per_electron,
    read_factors,
)
from hyperspy_assb.reference import UnknownReferenceError, x_ray_atom, x_ray_elements
from hyperspy_assb.signals.eds.map_reading import element_tables

SUBSHELLS = [(element, name) for element in x_ray_elements() for name in x_ray_atom(element).subshells]
LINES = ["Fe_Ka", "P_Ka", "O_Ka", "Ge_La"]


def computed(elements=("Fe", "P", "O", "Ge"), beam_energy=200.0, **kwargs):
    return compute_sensitivities(element_tables().lines_of(elements), beam_energy, **kwargs)


def cross_section_of_casnati(edge, energy):
    """E. Casnati, A. Tartari and C. Baraldi, J. Phys. B 15, 155 (1982): fitted to measured K shells; nm^2, eV."""
    u, i, t = energy / edge, edge / (1000 * ELECTRON_REST), energy / (1000 * ELECTRON_REST)
    relativity = (2 + i) / (2 + t) * ((1 + t) / (1 + i)) ** 2
    relativity *= ((i + t) * (2 + t) * (1 + i) ** 2 / (t * (2 + t) * (1 + i) ** 2 + i * (2 + i))) ** 1.5
    phi = 10.57 * np.exp(-1.736 / u + 0.317 / u**2)
    psi = (edge / 13.6057) ** (-0.0318 + 0.3160 / u - 0.1135 / u**2)
    return 2 * BOHR_RADIUS**2 * relativity * (13.6057 / edge) ** 2 * phi * psi * np.log(u) / u


@pytest.mark.parametrize(
    ("element", "shell", "energy", "value", "tolerance"),
    [
        # Values of the authors' own program (xion.f) in cm^2, as the tests of NIST's BoteSalvatICX.jl quote them.
        ("V", "L1", 15.3993, 2.63509e-20, 1e-22),
        ("V", "L1", 290068.0, 5.64142e-21, 1e-23),
        ("Pt", "M5", 2.98538, 2.02808e-20, 2e-22),
    ],
)
def test_ionisation_against_the_authors_program(element, shell, energy, value, tolerance):
    assert 1e-14 * ionisation_cross_section(element, shell, energy) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("element", ["Al", "Si", "P", "V", "Fe", "Cu", "Ga", "Ge"])
def test_ionisation_of_k_shells_against_a_formula_of_measurements(element):
    edge = x_ray_atom(element).subshells["K"].edge
    expected = cross_section_of_casnati(edge, 100e3)
    assert ionisation_cross_section(element, "K", 100.0) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("element", "name"), SUBSHELLS)
def test_both_fits_of_the_cross_section_meet(element, name):
    meeting = 0.016 * x_ray_atom(element).subshells[name].edge
    below, above = (ionisation_cross_section(element, name, meeting * factor) for factor in (1.0, 1.000001))
    assert above == pytest.approx(below, rel=0.01)


@pytest.mark.parametrize(("element", "name"), SUBSHELLS)
def test_nothing_is_ionised_below_the_edge(element, name):
    edge = 0.001 * x_ray_atom(element).subshells[name].edge
    assert ionisation_cross_section(element, name, (1 - 1e-9) * edge) == 0.0
    assert ionisation_cross_section(element, name, 0.5 * edge) == 0.0
    just_above = ionisation_cross_section(element, name, 1.01 * edge)
    assert 0.0 < just_above < ionisation_cross_section(element, name, 1.5 * edge)


def test_cross_sections_of_equal_overvoltage_scale_as_the_edge():
    # Thomson: the square of the edge times the cross-section is a function of the overvoltage.
    edges = {element: x_ray_atom(element).subshells["K"].edge for element in ("V", "Fe", "Cu", "Ge")}
    scaled = [edge**2 * ionisation_cross_section(element, "K", 0.003 * edge) for element, edge in edges.items()]
    np.testing.assert_allclose(scaled, np.mean(scaled), rtol=0.05)


def test_cross_section_rises_again_with_the_logarithm_of_a_relativistic_momentum():
    # H. Bethe: cross-section times beta^2 is a line in ln(p^2) - beta^2, whose slope is that of the dipole strength.
    tau = np.array([1e3, 1e4, 1e5, 1e6])
    beta2 = 1 - 1 / (1 + tau) ** 2
    x = 2 * np.log(np.sqrt(tau * (tau + 2))) - beta2
    y = [ionisation_cross_section("Fe", "K", t * ELECTRON_REST) * b for t, b in zip(tau, beta2, strict=True)]
    slopes = np.diff(y) / np.diff(x)
    assert slopes[0] > 0
    np.testing.assert_allclose(slopes, slopes[-1], rtol=0.02)


def test_photons_of_a_k_shell_are_ionisation_times_fluorescence():
    expected = 0.350985 * ionisation_cross_section("Fe", "K", 200.0)
    assert photons_per_electron("Fe", "K", 200.0) == pytest.approx(expected, rel=1e-12)


def test_vacancies_move_on_before_they_shine():
    one, two, three = (ionisation_cross_section("Ge", name, 200.0) for name in ("L1", "L2", "L3"))
    second = two + 0.28 * one
    third = three + 0.53 * one + 0.05 * second
    expected = 0.0024 * one + 0.013 * second + 0.015 * third
    assert photons_per_electron("Ge", "L", 200.0) == pytest.approx(expected, rel=1e-12)


def test_family_shares_its_photons_by_weight():
    lines = [line for line in element_tables().lines_of(("Fe",)) if line.name.startswith("K")]
    found = compute_sensitivities(lines, 200.0).cross_section
    assert set(found) == {"Fe_Ka"}
    share = 1 / sum(line.weight for line in lines)
    assert found["Fe_Ka"] == pytest.approx(share * photons_per_electron("Fe", "K", 200.0), rel=1e-12)
    # K beta is 11 to 12 % of the K lines of iron.
    assert 0.87 < share < 0.90


def test_solid_angle_is_a_share_of_the_sphere():
    whole, some = computed(solid_angle=4 * np.pi), computed(solid_angle=0.7)
    assert some.absolute
    assert not computed().absolute
    for line, value in computed().cross_section.items():
        assert whole.of(line) == pytest.approx(value, rel=1e-12)
        assert some.of(line) == pytest.approx(0.7 / (4 * np.pi) * value, rel=1e-12)


def test_uncertainty_by_family():
    found = computed(("Fe", "O", "Pt"))
    expected = {"Fe_Ka": 0.1, "Fe_La": 0.35, "O_Ka": 0.35, "Pt_La": 0.2, "Pt_Ma": 0.3}
    assert dict(found.uncertainty) == expected
    assert found.kind == COMPUTED
    assert "200 keV" in found.source


def test_families_without_constants_have_no_factor():
    assert "Pt_Ka" not in computed(("Pt",)).cross_section


def test_element_without_constants_is_named():
    with pytest.raises(UnknownReferenceError, match="Mn"):
        computed(("Fe", "Mn"))


def test_ratio_of_platinum_and_iron_against_a_manufacturer():
    # Factors of Bruker's software for 200 kV, as exspy's manual quotes them.
    k = computed(("Fe", "Pt")).k_factors(["Fe_Ka", "Pt_La"])
    assert k[1] / k[0] == pytest.approx(5.075602 / 1.450226, rel=0.1)


@pytest.mark.parametrize(("line", "measured"), [("V_Ka", 1.13), ("Cu_Ka", 1.58)])
def test_ratio_to_iron_against_measured_k_factors(line, measured):
    # At 100 kV relative to silicon, with 1.27 of iron: G. Cliff and G. W. Lorimer, J. Microsc. 103, 203 (1975).
    k = computed(("Fe", "V", "Cu"), 100.0).k_factors(["Fe_Ka", line])
    assert k[1] == pytest.approx(measured / 1.27, rel=0.1)


def test_k_factors_turn_counts_into_weight():
    # LiFePO4: one Fe, one P, four O in u.
    atoms, mass = np.array([1.0, 1.0, 4.0]), np.array([55.845, 30.974, 15.999])
    lines = LINES[:3]
    found = computed()
    counts = atoms * [found.of(line) for line in lines]
    weight = np.array(found.k_factors(lines)) * counts
    np.testing.assert_allclose(weight / weight.sum(), atoms * mass / (atoms @ mass), rtol=1e-12)
    assert found.k_factors(lines)[0] == 1.0


def test_k_factors_come_back():
    given = {"Fe_Ka": 1.3, "P_Ka": 0.8, "Ge_La": 2.1}
    found = from_k_factors(given, computed())
    k = found.k_factors(list(given))
    np.testing.assert_allclose(k, np.array(list(given.values())) / 1.3, rtol=1e-12)
    assert found.kind == GIVEN_K


def test_computed_k_factors_leave_the_cross_sections_as_they_are():
    known = computed(solid_angle=0.7)
    found = from_k_factors(dict(zip(LINES, known.k_factors(LINES), strict=True)), known)
    assert found.absolute
    for line in LINES:
        assert found.of(line) == pytest.approx(known.of(line), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.05, 20.0), min_size=4, max_size=4), st.floats(0.01, 100.0))
def test_only_ratios_of_k_factors_matter(values, factor):
    given_k = dict(zip(LINES, values, strict=True))
    known = computed()
    one = from_k_factors(given_k, known)
    other = from_k_factors({line: factor * k for line, k in given_k.items()}, known)
    np.testing.assert_allclose([other.of(line) for line in LINES], [one.of(line) for line in LINES], rtol=1e-9)
    np.testing.assert_allclose(other.k_factors(LINES), np.array(values) / values[0], rtol=1e-9)
    # The scale is the geometric mean of that of all lines, each as it is known.
    ratios = [one.of(line) / known.of(line) for line in LINES]
    weight = [known.uncertainty[line] ** -2 for line in LINES]
    assert np.average(np.log(ratios), weights=weight) == pytest.approx(0.0, abs=1e-9)


def test_k_factors_of_lines_that_cannot_be_computed_have_no_scale():
    known = computed(("Fe",), solid_angle=0.7)
    assert from_k_factors({"Fe_Ka": 1.0, "P_Ka": 0.7}, known).absolute
    assert not from_k_factors({"Ge_Ka": 1.0, "P_Ka": 0.7}, known).absolute


def test_zeta_factor_by_hand():
    # Fe at 1e-7 nm^2: 55.845 g/mol over 6.022e23 /mol and 1e-21 cm^2 are 0.09273 g/cm^2, 0.9273 kg/m^2.
    found = from_zeta_factors({"Fe_Ka": 0.92733})
    assert found.of("Fe_Ka") == pytest.approx(1e-7, rel=1e-5)
    assert found.absolute
    assert found.kind == GIVEN_ZETA


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1.0, 1e5), min_size=4, max_size=4))
def test_zeta_factors_come_back_and_are_those_of_exspy(values):
    found = from_zeta_factors(dict(zip(LINES, values, strict=True)))
    elements = [line.partition("_")[0] for line in LINES]
    np.testing.assert_allclose(found.zeta_factors(LINES), values, rtol=1e-12)
    barn = [1e10 * found.of(line) for line in LINES]
    # Atomic masses of the two tables differ in the fourth digit.
    np.testing.assert_allclose(barn, zeta_to_cross_section(values, elements), rtol=3e-4)
    np.testing.assert_allclose(cross_section_to_zeta(barn, elements), values, rtol=3e-4)


def test_zeta_factor_turns_counts_into_mass_thickness():
    found, electrons, atoms = computed(solid_angle=0.7), 1e9, 1400.0
    counts = electrons * atoms * found.of("Fe_Ka")
    mass_thickness = found.zeta_factors(["Fe_Ka"])[0] * counts / electrons
    assert mass_thickness == pytest.approx(atoms * 1e18 * 0.055845 / AVOGADRO, rel=1e-12)


def test_line_without_a_factor_is_named_with_those_that_have_one():
    found = from_k_factors({"Fe_Ka": 1.0}, computed(), source="table of our lab")
    for call in (lambda: found.of("V_Ka"), lambda: found.k_factors(["Fe_Ka", "V_Ka"])):
        with pytest.raises(ValueError, match=r"V_Ka has no factor in the table of our lab; it has Fe_Ka"):
            call()
    with pytest.raises(ValueError, match="V_Ka has no factor"):
        found.zeta_factors(["V_Ka"])


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_factor_that_cannot_be_is_named(value):
    with pytest.raises(ValueError, match=r"k_factors must hold numbers above 0.*P_Ka has"):
        from_k_factors({"Fe_Ka": 1.0, "P_Ka": value}, computed())
    with pytest.raises(ValueError, match=r"zeta_factors must hold numbers above 0.*P_Ka has"):
        from_zeta_factors({"Fe_Ka": 1.0, "P_Ka": value})


def test_factors_must_be_there():
    with pytest.raises(ValueError, match="k_factors must hold"):
        from_k_factors({}, computed())
    with pytest.raises(ValueError, match="zeta_factors must hold"):
        from_zeta_factors({})


def test_uncertainty_of_each_line_or_of_all():
    some = from_k_factors({"Fe_Ka": 1.0, "P_Ka": 0.7}, computed(), uncertainty={"Fe_Ka": 0.02})
    assert dict(some.uncertainty) == {"Fe_Ka": 0.02, "P_Ka": 0.05}
    assert dict(from_zeta_factors({"Fe_Ka": 9.0}, uncertainty=0.03).uncertainty) == {"Fe_Ka": 0.03}


@pytest.mark.parametrize("column", ["factor", "k", "zeta"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_table_of_factors(tmp_path, column, mark):
    path = tmp_path / "factors.csv"
    path.write_text(f"{mark}line, {column}, uncertainty\nFe_Ka, 1.2, 0.03\nP_Ka , 0.9,\n", encoding="utf-8")
    factors, errors = read_factors(path)
    assert factors == {"Fe_Ka": 1.2, "P_Ka": 0.9}
    assert errors == {"Fe_Ka": 0.03, "P_Ka": 0.05}


def test_table_without_uncertainties(tmp_path):
    path = tmp_path / "factors.csv"
    path.write_text("line,k\nFe_Ka,1.2\n")
    assert read_factors(path) == ({"Fe_Ka": 1.2}, {"Fe_Ka": 0.05})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"factors\.csv must be a table"),
        ("line,k\n", r"factors\.csv must be a table"),
        ("name,k\nFe_Ka,1.2\n", "columns line, factor"),
        ("line,value\nFe_Ka,1.2\n", "columns line, factor"),
        ("line,k\nFe_Ka,1.2\nP_Ka,much\n", r"factors\.csv: the row of 'P_Ka'.*much"),
        ("line,k\nFe_Ka\n", r"factors\.csv: the row of 'Fe_Ka'"),
        ("line,k,uncertainty\nFe_Ka,1.2,small\n", "'Fe_Ka'.*small"),
    ],
)
def test_table_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "factors.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_factors(path)


def test_table_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_factors(tmp_path / "absent.csv")


def test_tables_that_contradict_themselves(tmp_path):
    path = tmp_path / "factors.csv"
    path.write_text("line,factor\nFe_Ka,1.2\nFe_Ka,1.3\n")
    with pytest.raises(ValueError, match="two rows of Fe_Ka"):
        read_factors(path)
    for uncertainty in ("8", "-0.1"):
        path.write_text(f"line,factor,uncertainty\nFe_Ka,1.2,{uncertainty}\n")
        with pytest.raises(ValueError, match="uncertainty of Fe_Ka is relative"):
            read_factors(path)
