"""Phases by stoichiometry: what they hold, how much of each there is, and what they do not explain."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.eds.composition.scene import prepare_scene
from hyperspy_assb.eds.lines.detected_lines import gaussians
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, FOREIGN_ELEMENTS, FWHM_PER_SIGMA, line_width
from hyperspy_assb.eds.phases.evidence import PhaseStatus
from hyperspy_assb.eds.phases.stoichiometry import PHASES, PhaseOptions, quantify_phases
from hyperspy_assb.reference import material
from hyperspy_assb.simulation import XRayConditions, XRayDetector, simulate_edx
from hyperspy_assb.simulation.eds.column_spectra import draw_spectra, expected_spectra, exposure, with_contamination
from hyperspy_assb.simulation.eds.physics import areal_densities

ELEMENTS = (*CELL_ELEMENTS, *FOREIGN_ELEMENTS)
# Carbon of the virtual battery is denser than that of the reference table.
OPTIONS = PhaseOptions(densities=(("carbon", 2.08),))
# Tails of lines and pairs of photons are in no template.
PLAIN = XRayDetector(charge_loss_depth=0.0, resolving_time=0.0)


def exposed(columns, counts, **kwargs):
    conditions = XRayConditions(**kwargs)
    atoms = with_contamination(areal_densities(columns), conditions)
    wanted = replace(conditions, counts_per_channel=counts / conditions.n_channels)
    return replace(conditions, live_time=conditions.live_time * exposure(atoms, wanted) / conditions.electrons)


def fit(make_builder, conditions, counts, options=OPTIONS, total=None):
    builder = make_builder(conditions, electrons=conditions.electrons)
    total = counts.sum(axis=0, dtype=float) if total is None else total
    return quantify_phases(prepare_scene(builder, total, len(counts), ELEMENTS), counts, options, threads=1)


def volume(columns):
    thickness = np.stack(list(columns.values()), axis=1)
    return thickness / thickness.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def noisy(make_builder, random_columns):
    """Random columns, and their phases from noisy spectra."""
    rng = np.random.default_rng([4, 2000])
    columns = random_columns(500, rng)
    conditions = exposed(columns, 2000.0)
    return columns, fit(make_builder, conditions, simulate_edx(columns, conditions, rng))


@pytest.fixture(scope="module")
def mixed_atoms(random_columns):
    """Atoms of 30 columns, their conditions, and noisy spectra of any atoms under these."""
    rng = np.random.default_rng(5)
    columns = random_columns(30, rng)
    conditions = exposed(columns, 5000.0)
    atoms = with_contamination(areal_densities(columns), conditions)

    def draw(change):
        changed = {element: np.broadcast_to(n, 30).copy() for element, n in atoms.items()}
        for element, extra in change.items():
            changed.setdefault(element, np.zeros(30))[:5] += extra
        return draw_spectra(changed, conditions, np.random.default_rng(6), electrons=conditions.electrons)

    return conditions, draw


def test_atoms_of_a_formula_by_hand():
    columns = PhaseOptions().columns()
    # Four formula units of LiFePO4 in 0.2915 nm^3.
    assert columns["olivine"]["Fe"] == pytest.approx(4 / 0.2915, rel=1e-3)
    assert columns["olivine"]["O"] == pytest.approx(4 * columns["olivine"]["P"])
    assert columns["Li3V2(PO4)3"]["P"] == pytest.approx(1.5 * columns["Li3V2(PO4)3"]["V"])
    lagp = columns["LAGP"]
    assert {el: lagp[el] / lagp["P"] for el in ("Al", "Ge", "O")} == pytest.approx({"Al": 1 / 6, "Ge": 0.5, "O": 4.0})
    assert set(columns["carbon"]) == {"C"}
    assert all("Li" not in atoms for atoms in columns.values())
    assert tuple(columns) == tuple(PHASES)


def test_carbon_has_the_density_that_is_given():
    # 2 g/cm^3 of 12.011 u: 100.3 atoms in a nm^3.
    options = PhaseOptions(densities=(("carbon", 2.0),))
    assert options.columns()["carbon"]["C"] == pytest.approx(2.0 * 602.214 / 12.011, rel=1e-4)
    assert options.columns()["LAGP"] == PhaseOptions().columns()["LAGP"]
    np.testing.assert_allclose(options.mass_density()[-1], 2.0)
    np.testing.assert_allclose(options.mass_density()[0], material("LiFePO4").density)


@pytest.mark.parametrize("densities", [(("graphite", 2.2),), (("carbon", 0.0),), (("carbon", np.nan),)])
def test_density_that_cannot_be_is_named(densities):
    with pytest.raises(ValueError, match=rf"densities: '{densities[0][0]}' must be one of olivine, LAGP"):
        PhaseOptions(densities=densities).columns()


@pytest.fixture(scope="module")
def without_noise(make_builder, random_columns, with_found_shapes):
    """Fit of expected counts, and the thicknesses that they are of."""
    columns = random_columns(40, np.random.default_rng(5))
    conditions = exposed(columns, 20000.0, detector=PLAIN)
    counts = simulate_edx(columns, conditions, noise=False)

    def shaped(*args, **kwargs):
        return with_found_shapes(make_builder(*args, **kwargs), counts)

    found = fit(shaped, conditions, counts)
    return found, np.stack(list(columns.values()), axis=1)


def test_expected_counts_give_the_thickness(without_noise):
    found, truth = without_noise
    assert found.phases == tuple(PHASES)
    np.testing.assert_allclose(found.unclipped.mean(axis=0)[:3], truth.mean(axis=0)[:3], rtol=0.02)
    np.testing.assert_allclose(found.unclipped, truth, atol=3.0)


def test_expected_counts_give_the_thickness_of_carbon(without_noise):
    found, truth = without_noise
    np.testing.assert_allclose(found.unclipped.mean(axis=0)[3], truth.mean(axis=0)[3], rtol=0.02)


@pytest.mark.slow
def test_fractions_have_no_bias(noisy):
    columns, found = noisy
    fraction, _, _ = found.fractions(clipped=False)
    np.testing.assert_allclose(np.nanmean(fraction - volume(columns), axis=0), 0.0, atol=0.015)


def test_intervals_of_fractions_hold_the_truth(noisy):
    columns, found = noisy
    truth = volume(columns)
    fraction, std, _ = found.fractions(clipped=False)
    away = (truth > 4.0 * std) & (truth < 1.0 - 4.0 * std)
    inside = np.abs(fraction - truth)[away] < std[away]
    assert inside.size > 700
    assert 0.63 < inside.mean() < 0.73


def test_mixtures_are_explained(noisy):
    _, found = noisy
    assert (found.status == PhaseStatus.GOOD).mean() > 0.98
    assert found.check_mixture().explained
    assert found.check_mixture().pixels == 500
    # The level is that of a mixture being called none.
    assert (found.p_value < 1e-3).mean() < 0.01


def test_largest_phase(noisy):
    columns, found = noisy
    truth = volume(columns)
    clear = (np.sort(truth, axis=1)[:, -1] - np.sort(truth, axis=1)[:, -2] > 0.4) & (found.status == 0)
    assert clear.sum() > 100
    np.testing.assert_array_equal(found.dominant()[clear], truth.argmax(axis=1)[clear])


def test_clipped_fractions_add_up_and_are_not_negative(noisy):
    _, found = noisy
    for kind in ("volume", "mass"):
        fraction, std, systematic = found.fractions(kind)
        np.testing.assert_allclose(fraction.sum(axis=1), 1.0)
        assert fraction.min() == 0.0
        assert (std > 0.0).all()
        assert (systematic >= 0.0).all()


def test_mass_fractions_by_hand(make_mixture):
    mixture = make_mixture([[60.0, 40.0], [np.nan, np.nan], [1.0, 1.0]], density=[1.0, 2.0], status=[0, 1, 3])
    np.testing.assert_allclose(mixture.fractions("volume")[0][0], [0.6, 0.4])
    np.testing.assert_allclose(mixture.fractions("mass")[0][0], [60 / 140, 80 / 140])
    assert np.isnan(mixture.fractions()[0][1:]).all()
    np.testing.assert_array_equal(mixture.dominant(), [0, -1, -1])


def test_no_phase_is_the_largest_where_none_explains(make_mixture):
    mixture = make_mixture([[60.0, 40.0], [60.0, 40.0]], status=[PhaseStatus.UNEXPLAINED, PhaseStatus.RESIDUAL])
    np.testing.assert_array_equal(mixture.dominant(), [-1, -1])
    assert np.isfinite(mixture.fractions()[0]).all()


def test_area_is_no_fraction_of_a_column(make_mixture):
    with pytest.raises(ValueError, match='kind must be "volume" or "mass", not \'area\''):
        make_mixture([[60.0, 40.0]]).fractions("area")


@pytest.mark.slow
def test_calibration_error_is_what_a_wrong_factor_makes(make_builder, random_columns, true_sensitivities, rng):
    columns = random_columns(30, rng)
    conditions = exposed(columns, 20000.0, detector=PLAIN)
    counts = simulate_edx(columns, conditions, noise=False)
    known = true_sensitivities(conditions)
    fits = []
    for factor in (1.0, 1.02):
        values = {
            line: value * (factor if line.startswith("P_") else 1.0) for line, value in known.cross_section.items()
        }
        builder = make_builder(
            conditions, electrons=conditions.electrons, sensitivities=replace(known, cross_section=values)
        )
        # The same continuum, so that nothing else moves.
        scene = prepare_scene(
            make_builder(conditions, electrons=conditions.electrons), counts.sum(axis=0), 30, ELEMENTS
        )
        fits.append(quantify_phases(replace(scene, builder=builder), counts, OPTIONS, threads=1))
    moved = (fits[1].unclipped - fits[0].unclipped) / 0.02 * 0.05
    model = prepare_scene(make_builder(conditions, electrons=conditions.electrons), counts.sum(axis=0), 30, ELEMENTS)
    group = model.models(OPTIONS.columns())[1].groups.index("P")
    told = fits[0].by_calibration[:, :, group]
    np.testing.assert_allclose(told, moved, atol=0.05 * np.abs(moved).max())
    assert np.abs(moved).max() > 0.25


def test_vacuum_and_empty_pixels(make_builder, random_columns, rng):
    columns = random_columns(40, rng)
    for name in columns:
        columns[name][:5] = 0.0
    conditions = exposed(columns, 2000.0)
    counts = simulate_edx(columns, conditions, rng)
    counts[5] = 0
    found = fit(make_builder, conditions, counts)
    # Stray copper and silicon are there in vacuum too.
    assert counts[0].sum() > 0
    assert np.isin(found.status[:5], (PhaseStatus.VACUUM, PhaseStatus.EMPTY)).all()
    assert found.status[5] == PhaseStatus.EMPTY
    assert np.isnan(found.fractions()[0][:6]).all()
    assert (found.status[6:] == PhaseStatus.GOOD).mean() > 0.9
    assert found.check_mixture().pixels == 39


def test_phases_do_not_explain_what_they_do_not_hold(make_builder, mixed_atoms):
    conditions, draw = mixed_atoms
    # A spinel of V and O, say, beside the phosphates.
    found = fit(make_builder, conditions, draw({"V": 2500.0, "O": 3000.0}))
    assert (found.status[:5] == PhaseStatus.UNEXPLAINED).all()
    assert (found.status[5:] == PhaseStatus.GOOD).mean() > 0.9
    assert (found.p_value[:5] < 1e-3).all()
    ratio = found.residual / found.residual_std
    for row in ratio[:5]:
        assert found.elements[np.argmax(np.abs(row))] in ("V", "P")
    assert not found.check_mixture().explained


def test_foreign_elements_are_not_explained(make_builder, mixed_atoms):
    conditions, draw = mixed_atoms
    found = fit(make_builder, conditions, draw({"Cu": 2500.0}))
    assert (found.status[:5] == PhaseStatus.UNEXPLAINED).all()
    assert (found.status[5:] == PhaseStatus.GOOD).mean() > 0.9
    assert "Cu" not in found.elements


def test_line_of_nothing_in_the_list_is_a_residual(make_builder, mixed_atoms):
    conditions, draw = mixed_atoms
    counts = draw({}).astype(float)
    edges = np.append(conditions.energy, conditions.energy[-1] + 0.01) - 0.005
    total = counts.sum(axis=0)
    # Calcium, a tenth of the counts.
    sigma = line_width(3.691, 130.0) / FWHM_PER_SIGMA
    calcium = gaussians(edges, np.array([3.691]), np.array([sigma]))
    extra = 0.1 * counts[:5].sum(axis=1)[:, np.newaxis] * calcium
    counts[:5] += np.random.default_rng(1).poisson(extra)
    found = fit(make_builder, conditions, counts, total=total)
    # It raises the continuum, and so moves elements as well.
    assert np.isin(found.status[:5], (PhaseStatus.RESIDUAL, PhaseStatus.UNEXPLAINED)).all()
    assert (found.status[:5] == PhaseStatus.RESIDUAL).any()
    assert found.misfit[:5].min() > 0.15
    assert np.abs(found.misfit[5:]).max() < 0.15
    assert (found.misfit_significance[:5] > 6.0).all()
    assert (found.status[5:] == PhaseStatus.GOOD).mean() > 0.9


def test_element_of_a_phase_that_is_not_counted_is_named(make_builder):
    conditions = XRayConditions()
    counts = simulate_edx({"LAGP": np.full(3, 100.0)}, conditions, noise=False)
    builder = make_builder(conditions, electrons=conditions.electrons)
    scene = prepare_scene(builder, counts.sum(axis=0), 3, ("O", "P", "Al", "Fe", "C"))
    with pytest.raises(
        ValueError, match="phases contain Ge, V, which no measured line stands for: not in the list of elements"
    ):
        quantify_phases(scene, counts)
    only = PhaseOptions(phases=(("olivine", "LiFePO4"), ("carbon", "carbon")))
    assert quantify_phases(scene, counts, only).phases == ("olivine", "carbon")


@pytest.mark.parametrize(("value", "message"), [(-1.0, "negative"), (np.nan, "finite")])
def test_counts_that_cannot_be(make_builder, value, message):
    conditions = XRayConditions()
    counts = expected_spectra(areal_densities({"LAGP": np.full(3, 100.0)}), conditions)
    builder = make_builder(conditions, electrons=conditions.electrons)
    scene = prepare_scene(builder, counts.sum(axis=0), 3, ELEMENTS)
    counts[1, 300] = value
    with pytest.raises(ValueError, match=message):
        quantify_phases(scene, counts)
