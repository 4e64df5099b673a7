"""Models of whole spectra: templates of lines, absorption, continuum."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.eds.eds_map import Instrument
from hyperspy_assb.eds.lines.column_spectra import CONTINUUM
from hyperspy_assb.eds.lines.detected_lines import escape_share
from hyperspy_assb.eds.lines.sensitivity import AVOGADRO
from hyperspy_assb.eds.lines.x_ray_lines import line_width
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED
from hyperspy_assb.reference import mass_absorption
from hyperspy_assb.signals.eds.map_reading import read_instrument
from hyperspy_assb.simulation import Contamination, XRayConditions, XRayDetector, edx_to_signal
from hyperspy_assb.simulation.eds.column_spectra import expected_spectra
from hyperspy_assb.simulation.eds.physics import areal_densities, atom_densities

# Nothing but lines and their escape peaks reaches the detector.
BARE = XRayDetector(layers=(), crystal=np.inf, charge_loss_depth=0.0, resolving_time=0.0)
LINES_ONLY = XRayConditions(bremsstrahlung=0.0, detector=BARE, contamination=Contamination.none())
LAGP = {element: n for element, n in atom_densities("LAGP").items() if element != "Li"}
ELECTRONS = 1e9


def inside(energy, width):
    """Share of a line of some natural width (keV) within five standard deviations of what the detector adds."""
    return 2 / np.pi * np.arctan(5 * float(line_width(energy, 130.0)) / 2.3548 / (0.5 * width))


INSIDE = inside(6.4, 1.6e-3)


def one_unit(elements):
    return {element: {element: 1.0} for element in elements}


def window(builder, counts, low, high):
    energy = builder.energy[builder.channels]
    return counts[..., (energy > low) & (energy < high)].sum(axis=-1)


def test_thin_film_counts_what_the_cross_section_says(make_builder):
    builder = make_builder(LINES_ONLY, ("Fe",))
    model = builder.build(one_unit(["Fe"]), electrons=ELECTRONS).model
    counts = model.expectation(np.array([1e-3, *np.zeros(model.strength.shape[1] - 1)]))
    alpha = window(builder, counts, 6.0, 6.75)
    assert alpha == pytest.approx(1e-3 * ELECTRONS * builder.sensitivities.of("Fe_Ka") * INSIDE, rel=1e-4)
    beta = window(builder, counts, 6.8, 7.4)
    # 0.1272: weight of K beta in the database.
    assert beta / alpha == pytest.approx(0.1272, rel=1e-3)


def test_escape_peak_is_tied_to_its_line(make_builder, coefficients):
    builder = make_builder(LINES_ONLY, ("Fe",))
    model = builder.build(one_unit(["Fe"]), electrons=ELECTRONS).model
    counts = model.expectation(np.array([1.0, *np.zeros(model.strength.shape[1] - 1)]))
    silicon = coefficients("Si", np.array([6.4039, 1.7397]))
    share = float(escape_share(silicon[:1], float(silicon[1]), np.array([6.4039]))[0])
    found = window(builder, counts, 4.5, 4.85) / window(builder, counts, 6.0, 6.75)
    assert found == pytest.approx(share / (1 - share) / INSIDE, rel=1e-3)


@pytest.mark.parametrize("thickness", [1.0, 100.0, 400.0])
def test_columns_look_as_simulated(make_builder, thickness):
    builder = make_builder(LINES_ONLY, tuple(LAGP), electrons=ELECTRONS)
    built = builder.build(
        {"LAGP": LAGP}, continuum=np.zeros(builder.hats[0].size), electrons=ELECTRONS, typical=np.array([100.0, 1.0])
    )
    found = built.model.expectation(np.array([thickness, 0.0]))
    atoms = {element: n * thickness for element, n in LAGP.items()}
    simulated = expected_spectra(atoms, LINES_ONLY, electrons=ELECTRONS)[builder.channels]
    np.testing.assert_allclose(found, simulated, atol=0.003 * simulated.max())
    for low, high in ((0.4, 0.65), (1.35, 1.6), (1.85, 2.2), (9.6, 10.15)):
        ratio = window(builder, found, low, high) / window(builder, simulated, low, high)
        # Natural tails of Ge Lα reach under Al Kα, where the model leaves them to the continuum: 0.4 % of the window.
        assert ratio == pytest.approx(0.996 if low == 1.35 else 1.0, abs=0.005)
    # Lithium, which is left out of the absorption, takes less than a per cent.
    whole = expected_spectra(areal_densities({"LAGP": thickness}), LINES_ONLY, electrons=ELECTRONS)[builder.channels]
    assert window(builder, whole, 0.4, 0.65) == pytest.approx(window(builder, simulated, 0.4, 0.65), rel=0.01)


@pytest.mark.parametrize("angle", [10.0, 20.0, 90.0])
def test_absorption_by_hand(make_builder, coefficients, angle):
    builder = make_builder(LINES_ONLY, ("O",), electrons=ELECTRONS)
    builder = replace(builder, instrument=replace(builder.instrument, take_off_angle=angle))
    model = builder.build(one_unit(["O"]), electrons=ELECTRONS).model
    thin, thick = (model.expectation(np.array([n, *np.zeros(model.strength.shape[1] - 1)])) for n in (1e-6, 1e4))
    grams = 1e4 * 1e14 * 15.999 / AVOGADRO
    depth = grams * float(coefficients("O", np.array([0.5249]))[0]) / np.sin(np.deg2rad(angle))
    assert thick.sum() / thin.sum() / 1e10 == pytest.approx(-np.expm1(-depth) / depth, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1.5, 50.0), thickness=st.floats(1.0, 200.0))
def test_only_absorption_keeps_counts_from_growing_with_thickness(make_builder, factor, thickness):
    continuum = np.ones(make_builder(LINES_ONLY, tuple(LAGP)).hats[0].size)
    with_it, without = (
        make_builder(LINES_ONLY, tuple(LAGP), absorption=absorption)
        .build({"LAGP": LAGP}, continuum=continuum, electrons=ELECTRONS)
        .model
        for absorption in (True, False)
    )
    amounts = np.array([thickness, 0.0])
    np.testing.assert_allclose(without.expectation(factor * amounts), factor * without.expectation(amounts), rtol=1e-9)
    counts = with_it.expectation(amounts)
    assert counts.sum() < with_it.expectation(factor * amounts).sum() < factor * counts.sum()


def test_phase_is_the_sum_of_its_elements(make_builder):
    builder = make_builder(LINES_ONLY, tuple(LAGP))
    continuum = np.ones(builder.hats[0].size)
    phase = builder.build({"LAGP": LAGP}, continuum=continuum, electrons=ELECTRONS)
    elements = builder.build(one_unit(LAGP), continuum=continuum, electrons=ELECTRONS)
    amounts = np.array([80.0 * n for n in LAGP.values()])
    np.testing.assert_allclose(
        phase.model.expectation(np.array([80.0, 3.0])), elements.model.expectation(np.append(amounts, 3.0)), rtol=5e-3
    )
    assert elements.names == (*LAGP, CONTINUUM)
    assert elements.groups == tuple(sorted(LAGP))
    assert elements.index(["P", CONTINUUM]) == [list(LAGP).index("P"), len(LAGP)]
    assert elements.line_names == tuple(LAGP)


def test_free_family_is_an_amount_of_counts(make_builder):
    builder = make_builder(LINES_ONLY, ("Fe", "Cu"))
    built = builder.build(one_unit(["Fe"]), ["Cu_Ka"], electrons=ELECTRONS)
    amounts = np.zeros(len(built.names))
    amounts[built.index(["Cu_Ka"])] = 500.0
    counts = built.model.expectation(amounts)
    assert window(builder, counts, 7.7, 8.4) == pytest.approx(500.0 * inside(8.04, 2.25e-3), rel=1e-4)
    assert window(builder, counts, 0.2, 5.5) == 0.0
    # A family that is free is not tied to its element.
    free = builder.build(one_unit(["Fe"]), ["Fe_Ka"], electrons=ELECTRONS)
    bound = np.zeros(len(free.names))
    bound[0] = 1.0
    assert window(builder, free.model.expectation(bound), 6.0, 7.5) == 0.0
    assert window(builder, free.model.expectation(bound), 0.5, 0.9) > 0.0


def test_families_in_the_range(make_builder):
    builder = make_builder(LINES_ONLY)
    assert set(builder.families("Ge")) == {"Ge_Ka", "Ge_La"}
    assert builder.families("O") == ["O_Ka"]
    assert set(builder.families("Pt")) == {"Pt_La", "Pt_Ma"}
    assert builder.families("Li") == []
    narrow = make_builder(LINES_ONLY, fit_range=(2.0, 9.0))
    assert narrow.families("Ge") == []
    # Too near the edge for its shape.
    assert narrow.families("P") == []


def test_continuum_is_that_of_kramers_where_all_nodes_are_as_high(make_builder):
    builder = make_builder(LINES_ONLY)
    nodes, hats = builder.hats
    energy = builder.energy[builder.channels]
    np.testing.assert_allclose(hats.sum(axis=0), 1 / energy - 1 / 200.0, rtol=1e-12)
    assert nodes[0] == pytest.approx(0.18)
    assert nodes[-1] == pytest.approx(15.0)
    built = builder.build(one_unit(["Fe"]))
    assert len(built.names) == 1 + nodes.size


def test_window_of_carbon_makes_a_step_in_the_continuum(make_builder):
    builder = make_builder(LINES_ONLY)
    behind = replace(builder, detector=DetectorShape(carbon_window=1.3))
    energy = builder.energy[builder.channels]
    passed = behind.hats[1].sum(axis=0) / builder.hats[1].sum(axis=0)
    # Polyimide, C22H10N2O5, by another table of absorption than that of the builder.
    mass = {"C": 22 * 12.011, "N": 2 * 14.007, "O": 5 * 15.999}
    depth = sum(m * mass_absorption(el, energy) for el, m in mass.items()) / (mass["C"] * mass_absorption("C", 0.29))
    for at in (0.21, 0.35, 0.48, 0.6, 1.0, 2.0):
        k = np.argmin(abs(energy - at))
        assert passed[k] == pytest.approx(np.exp(-1.3 * depth[k]), abs=0.03)
    step = passed[np.argmin(abs(energy - 0.23))] - passed[np.argmin(abs(energy - 0.33))]
    assert step > 0.2


@pytest.mark.parametrize("thickness", [0.0, 300.0])
def test_continuum_of_a_summed_spectrum(make_builder, thickness):
    builder = make_builder(LINES_ONLY, tuple(LAGP), electrons=ELECTRONS)
    height = 50.0 * np.ones(builder.hats[0].size)
    behind = replace(builder, absorber={element: thickness * n for element, n in LAGP.items()})
    built = behind.build({"LAGP": LAGP}, continuum=height, electrons=ELECTRONS, typical=np.array([100.0, 1.0]))
    total = np.zeros(builder.energy.size)
    # Enough counts for the noise of a fit to be nothing: these have none.
    total[builder.channels] = built.model.expectation(np.array([thickness, 400.0]))
    found = behind.estimate_continuum(total)
    # The lowest nodes lie where absorption changes most.
    np.testing.assert_allclose(found[2:], 20000.0, rtol=0.02)
    if thickness:
        assert builder.estimate_continuum(total)[2] < 0.9 * 20000.0


def test_spectrum_without_counts_has_no_continuum(make_builder):
    builder = make_builder(LINES_ONLY, ("Fe",))
    with pytest.raises(ValueError, match="continuum could not be found"):
        builder.estimate_continuum(np.zeros(builder.energy.size))


def test_fit_of_expected_counts_gives_the_amounts(make_builder):
    builder = make_builder(LINES_ONLY, tuple(LAGP))
    truth = np.array([[60.0, 2.0], [150.0, 1.0]])
    built = builder.build(
        {"LAGP": LAGP}, continuum=np.full(builder.hats[0].size, 30.0), electrons=ELECTRONS, typical=np.array([50.0, 1])
    )
    counts = np.zeros((2, builder.energy.size))
    counts[:, builder.channels] = built.model.expectation(truth)
    fit = built.fit(counts)
    assert (fit.status == CONVERGED).all()
    np.testing.assert_allclose(fit.amounts, truth, rtol=1e-4)
    longer = built.fit(7.0 * counts, exposure=np.array([7.0, 7.0]))
    np.testing.assert_allclose(longer.amounts, truth, rtol=1e-4)


def test_lines_have_the_width_of_the_detector(make_builder):
    conditions = replace(LINES_ONLY, detector=replace(BARE, energy_resolution=160.0))
    builder = make_builder(conditions, ("Ge",))
    builder = replace(builder, lines=tuple(replace(line, energy=9.8864, components=()) for line in builder.lines[:1]))
    builder = replace(builder, lines=tuple(replace(line, name="Ka") for line in builder.lines))
    counts = builder.build({}, ["Ge_Ka"]).model.templates[0]
    energy = builder.energy[builder.channels]
    near = np.abs(energy - 9.8864) < 0.5
    spread = np.sqrt(np.average((energy[near] - 9.8864) ** 2, weights=counts[near]))
    assert np.sqrt(8 * np.log(2)) * spread == pytest.approx(line_width(9.8864, 160.0), rel=3e-3)


def test_too_few_channels_are_told(make_builder):
    builder = make_builder(replace(LINES_ONLY, n_channels=30))
    with pytest.raises(ValueError, match=r"runs from 0 to 0.29 keV: there are 12 channels between 0.18 and 15 keV"):
        _ = builder.channels


@pytest.mark.parametrize("value", [20.0, 400.0, np.nan, 0.13])
def test_resolution_that_cannot_be(value):
    with pytest.raises(ValueError, match="energy_resolution_MnKa must lie between 20 and 400 eV"):
        Instrument(resolution=value, beam_energy=200.0, take_off_angle=20.0)


@pytest.mark.parametrize("value", [0.0, -18.0, 91.0, np.nan])
def test_take_off_angle_that_cannot_be(value):
    with pytest.raises(ValueError, match="take-off angle is"):
        Instrument(resolution=130.0, beam_energy=200.0, take_off_angle=value)


@pytest.mark.parametrize(
    ("item", "name", "message"),
    [
        ("Acquisition_instrument.TEM.Detector.EDS.elevation_angle", "elevation_angle", "elevation of the detector"),
        ("Acquisition_instrument.TEM.Detector.EDS.azimuth_angle", "azimuth_angle", "azimuth of the detector"),
        ("Acquisition_instrument.TEM.Stage.tilt_alpha", "tilt_stage", "tilt of the stage"),
    ],
)
def test_missing_angle_is_named(item, name, message):
    signal = edx_to_signal(np.ones((2, 100)), replace(LINES_ONLY, n_channels=100))
    parent, _, key = item.rpartition(".")
    delattr(signal.metadata.get_item(parent), key)
    with pytest.raises(ValueError, match=f"{message}.* is missing for the take-off angle .*{name}="):
        read_instrument(signal)
    assert read_instrument(signal, need_angle=False).take_off_angle == 90.0
