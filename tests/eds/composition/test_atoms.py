"""Atoms of each element: shares and their errors, the common scene, counts of known columns."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eds.composition.atoms import Composition, calibration_of, quantify_elements, shares
from hyperspy_assb.eds.composition.scene import prepare_scene
from hyperspy_assb.eds.lines.sensitivity import Sensitivities, from_k_factors
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, FOREIGN_ELEMENTS
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, EMPTY
from hyperspy_assb.simulation import Contamination, XRayConditions, XRayDetector, simulate_edx, true_k_factors
from hyperspy_assb.simulation.eds.column_spectra import expected_spectra, exposure, with_contamination
from hyperspy_assb.simulation.eds.physics import areal_densities

ELEMENTS = (*CELL_ELEMENTS, *FOREIGN_ELEMENTS)


def composition_of(amounts, std, calibration=None):
    amounts = np.atleast_2d(np.asarray(amounts, dtype=float))
    m = amounts.shape[1]
    return Composition(
        elements=("Fe", "P", "O", "Ge")[:m],
        atoms=np.maximum(amounts, 0.0),
        unclipped=amounts,
        covariance=np.array([np.diag(np.square(row)) for row in np.broadcast_to(std, amounts.shape)]),
        calibration=np.zeros(m) if calibration is None else np.array(calibration),
        status=np.zeros(len(amounts), dtype=np.int8),
    )


def exposed(columns, counts, **kwargs):
    """Conditions whose live time gives so many counts in a spectrum, on average."""
    conditions = XRayConditions(**kwargs)
    atoms = with_contamination(areal_densities(columns), conditions)
    wanted = replace(conditions, counts_per_channel=counts / conditions.n_channels)
    scale = exposure(atoms, wanted) / conditions.electrons
    return replace(conditions, live_time=conditions.live_time * scale)


def prepare(builder, counts, elements=ELEMENTS, **kwargs):
    counts = np.atleast_2d(counts)
    return prepare_scene(builder, counts.sum(axis=0, dtype=float), len(counts), elements, **kwargs)


def true_atoms(columns):
    atoms = areal_densities(columns)
    zero = np.zeros(len(next(iter(columns.values()))))
    return np.stack([atoms.get(element, zero) for element in CELL_ELEMENTS], axis=1)


@pytest.fixture(scope="module")
def noisy(make_builder, random_columns):
    """Random columns, their counts and composition."""
    rng = np.random.default_rng([3, 2000])
    columns = random_columns(600, rng)
    conditions = exposed(columns, 2000.0)
    counts = simulate_edx(columns, conditions, rng)
    scene = prepare(make_builder(conditions, electrons=conditions.electrons), counts)
    return columns, counts, scene, quantify_elements(scene, counts, threads=1)


def test_shares_by_hand():
    # f = a / (a + b): variance (b^2 var a + a^2 var b) / (a + b)^4.
    share, std = shares(np.array([[30.0, 10.0]]), np.array([np.diag([9.0, 4.0])]))
    np.testing.assert_allclose(share, [[0.75, 0.25]])
    expected = np.sqrt(10.0**2 * 9.0 + 30.0**2 * 4.0) / 40.0**2
    np.testing.assert_allclose(std, [[expected, expected]], rtol=1e-12)


def test_shares_of_units():
    # 30 and 10 units of 1 and 3: as much of both.
    share, _ = shares(np.array([[30.0, 10.0]]), np.zeros((1, 2, 2)), np.array([1.0, 3.0]))
    np.testing.assert_allclose(share, [[0.5, 0.5]])


def test_amounts_that_vary_together_leave_shares_alone():
    amounts = np.array([[30.0, 10.0, 5.0]])
    _, std = shares(amounts, 0.01 * amounts[:, :, None] * amounts[:, None, :])
    np.testing.assert_allclose(std, 0.0, atol=1e-8)


def test_nothing_has_no_shares():
    share, std = shares(np.array([[0.0, 0.0], [-3.0, 1.0], [np.nan, 1.0]]), np.ones((3, 2, 2)))
    assert np.isnan(share).all()
    assert np.isnan(std).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.1, 100.0), min_size=4, max_size=4), st.floats(0.01, 100.0), st.integers(0, 1000))
def test_shares_add_up_and_have_no_scale(amounts, factor, seed):
    root = np.random.default_rng(seed).normal(size=(4, 4))
    covariance = (root @ root.T)[np.newaxis]
    amounts = np.array([amounts])
    share, std = shares(amounts, covariance)
    assert share.sum() == pytest.approx(1.0, rel=1e-12)
    scaled = shares(factor * amounts, factor**2 * covariance)
    np.testing.assert_allclose(scaled, (share, std), rtol=1e-6)


def test_errors_of_shares_are_their_scatter(rng):
    amounts, covariance = np.array([60.0, 30.0, 10.0]), np.array([[4.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]])
    drawn = rng.multivariate_normal(amounts, covariance, 20000)
    _, std = shares(amounts[np.newaxis], covariance[np.newaxis])
    np.testing.assert_allclose((drawn / drawn.sum(axis=1, keepdims=True)).std(axis=0), std[0], rtol=0.03)


def test_atomic_percent_by_hand():
    percent, std, systematic = composition_of([50.0, 50.0], [1.0, 1.0], [0.1, 0.0]).atomic_percent()
    np.testing.assert_allclose(percent, [[50.0, 50.0]])
    np.testing.assert_allclose(std, 100.0 * np.sqrt(2.0) * 50.0 / 100.0**2)
    # d f / d ln a = f (1 - f), which is 0.25: 10 % of the calibration are 2.5 points.
    np.testing.assert_allclose(systematic, [[2.5, 2.5]])


def test_calibration_of_all_elements_together_changes_little():
    found = composition_of([60.0, 30.0, 10.0], 1.0, [0.1, 0.05, 0.2])
    _, _, systematic = found.atomic_percent()
    share = found.atoms[0] / 100.0
    slope = np.diag(share) - np.outer(share, share)
    np.testing.assert_allclose(systematic[0], 100.0 * np.sqrt(slope**2 @ found.calibration**2), rtol=1e-12)


def test_clipped_or_not():
    found = composition_of([110.0, -10.0], 1.0)
    np.testing.assert_allclose(found.atomic_percent()[0], [[100.0, 0.0]])
    np.testing.assert_allclose(found.atomic_percent(clipped=False)[0], [[110.0, -10.0]])


def test_subset_keeps_what_belongs_together():
    found = composition_of([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [0.1, 0.2, 0.3], [0.01, 0.02, 0.03])
    some = found.subset(("O", "Fe"))
    assert some.elements == ("O", "Fe")
    np.testing.assert_array_equal(some.unclipped, [[3.0, 1.0], [6.0, 4.0]])
    np.testing.assert_allclose(some.covariance, [np.diag([0.09, 0.01])] * 2)
    np.testing.assert_array_equal(some.calibration, [0.03, 0.01])


@pytest.fixture(scope="module")
def without_noise(make_builder, random_columns, with_found_shapes):
    """Relative error of the mean of each of the cell's elements, from expected counts."""
    # Tails of lines and pairs of photons are in no template.
    detector = XRayDetector(charge_loss_depth=0.0, resolving_time=0.0)
    columns = random_columns(40, np.random.default_rng(5))
    conditions = exposed(columns, 20000.0, detector=detector)
    counts = simulate_edx(columns, conditions, noise=False)
    scene = prepare(with_found_shapes(make_builder(conditions, electrons=conditions.electrons), counts), counts)
    found = quantify_elements(scene, counts, threads=1)
    assert (found.status == CONVERGED).all()
    truth = true_atoms(columns)
    error = (found.subset(CELL_ELEMENTS).unclipped - truth).mean(axis=0)
    return dict(zip(CELL_ELEMENTS, error / truth.mean(axis=0), strict=True))


def test_expected_counts_give_the_atoms(without_noise):
    others = [error for element, error in without_noise.items() if element != "C"]
    np.testing.assert_allclose(others, 0.0, atol=0.02)


def test_expected_counts_give_carbon(without_noise):
    assert abs(without_noise["C"]) < 0.02


@pytest.mark.slow
def test_atomic_percent_has_no_bias(noisy):
    columns, _, _, found = noisy
    truth = true_atoms(columns)
    truth = 100.0 * truth / truth.sum(axis=1, keepdims=True)
    percent, _, _ = found.subset(CELL_ELEMENTS).atomic_percent(clipped=False)
    for i, element in enumerate(CELL_ELEMENTS):
        rich = truth[:, i] > 5.0
        # LAGP has 3 % of Al.
        if element != "Al":
            assert rich.sum() > 50
            assert percent[rich, i].mean() == pytest.approx(truth[rich, i].mean(), rel=0.03)


def test_intervals_of_atomic_percent_hold_the_truth(noisy):
    columns, _, _, found = noisy
    truth = true_atoms(columns)
    truth = 100.0 * truth / truth.sum(axis=1, keepdims=True)
    percent, std, _ = found.subset(CELL_ELEMENTS).atomic_percent(clipped=False)
    away = (truth > 4.0 * std) & (truth < 100.0 - 4.0 * std)
    inside = np.abs(percent - truth)[away] < std[away]
    assert inside.size > 1000
    assert 0.65 < inside.mean() < 0.71


def test_elements_that_are_hardly_there_have_no_bias(noisy):
    columns, _, scene, found = noisy
    few = columns["Li3V2(PO4)3"] < 1.0
    assert few.sum() > 30
    index = scene.elements.index("V")
    truth = true_atoms(columns)[few, CELL_ELEMENTS.index("V")]
    z = (found.unclipped[few, index] - truth) / np.sqrt(found.covariance[few, index, index])
    assert abs(z.mean()) < 4.0 / np.sqrt(few.sum())
    assert found.unclipped[few, index].min() < 0.0
    assert found.atoms[few, index].min() == 0.0


def test_sum_of_spectra_has_the_mean_of_their_atoms(make_builder, rng):
    columns = {"LAGP": np.full(200, 80.0)}
    conditions = exposed(columns, 500.0)
    counts = simulate_edx(columns, conditions, rng)
    scene = prepare(make_builder(conditions, electrons=conditions.electrons), counts)
    each = quantify_elements(scene, counts, threads=1)
    summed = counts.astype(float).reshape(10, 20, -1).sum(axis=1)
    found = quantify_elements(scene, summed, exposure=np.full(10, 20.0), threads=1)
    wanted = [scene.elements.index(element) for element in ("O", "P", "Ge")]
    one, other = (c.unclipped[:, wanted].mean(axis=0) for c in (each, found))
    error = np.sqrt(np.einsum("nii->ni", found.covariance)[:, wanted].mean(axis=0) / 10)
    assert (np.abs(one - other) < error).all()
    ratio = np.einsum("nii->ni", each.covariance).mean(axis=0) / np.einsum("nii->ni", found.covariance).mean(axis=0)
    np.testing.assert_allclose(ratio[wanted], 20.0, rtol=0.1)


def test_lazy_counts_and_empty_pixels(noisy):
    _, counts, scene, found = noisy
    some = counts[:40].copy()
    some[7] = 0
    lazy = quantify_elements(scene, da.from_array(some, chunks=(16, -1)), threads=1)
    assert lazy.status[7] == EMPTY
    assert np.isnan(lazy.atoms[7]).all()
    kept = np.arange(40) != 7
    np.testing.assert_allclose(lazy.unclipped[kept], found.unclipped[:40][kept], rtol=1e-6)


@pytest.mark.parametrize(("value", "message"), [(-1.0, "negative"), (np.nan, "finite")])
def test_counts_that_cannot_be(noisy, value, message):
    _, counts, scene, _ = noisy
    wrong = counts[:3].astype(float)
    wrong[1, 300] = value
    with pytest.raises(ValueError, match=message):
        quantify_elements(scene, wrong)


def test_wrong_factor_of_an_element_is_a_wrong_amount(make_builder, random_columns, true_sensitivities, rng):
    columns = random_columns(30, rng)
    conditions = exposed(columns, 20000.0)
    counts = simulate_edx(columns, conditions, noise=False)
    known = true_sensitivities(conditions)
    # Twice as many counts for an atom: half as many atoms.
    odd = replace(known, cross_section={**known.cross_section, "P_Ka": 2.0 * known.of("P_Ka")})
    right, wrong = (
        quantify_elements(
            prepare(make_builder(conditions, electrons=conditions.electrons, sensitivities=f), counts), counts
        )
        for f in (known, odd)
    )
    ratio = wrong.subset(["P"]).unclipped.sum() / right.subset(["P"]).unclipped.sum()
    assert ratio == pytest.approx(0.5, rel=0.02)


def test_departures_from_the_tables_are_corrected_by_k_factors(make_builder, random_columns, true_sensitivities, rng):
    columns = random_columns(30, rng)
    conditions = exposed(columns, 20000.0, yields=(("P_K", 1.3), ("Fe_K", 0.8), ("Fe_L", 0.8)))
    plain = replace(conditions, yields=())
    counts = simulate_edx(columns, conditions, noise=False)
    names = ["O_Ka", "P_Ka", "Fe_Ka", "Ge_Ka", "V_Ka", "Al_Ka", "C_Ka"]
    given_k = dict(zip(names, true_k_factors(names, conditions), strict=True))
    factors = from_k_factors(given_k, true_sensitivities(plain))
    scene = prepare(make_builder(plain, electrons=plain.electrons, sensitivities=factors), counts, CELL_ELEMENTS)
    # Families without a factor are there, but tied to nothing.
    assert {"Fe_La", "Ge_La", "V_La", "Si_Ka"} <= set(scene.free_families)
    percent, _, _ = quantify_elements(scene, counts).subset(CELL_ELEMENTS).atomic_percent(clipped=False)
    truth = true_atoms(columns)
    truth = 100.0 * truth / truth.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(percent.mean(axis=0), truth.mean(axis=0), atol=0.6)


@pytest.mark.parametrize("thickness", [30.0, 100.0, 400.0])
@pytest.mark.parametrize("unknown", ["electrons", "solid angle"])
def test_thickness_sets_the_scale(make_builder, true_sensitivities, thickness, unknown):
    contamination, detector = Contamination.none(), XRayDetector(charge_loss_depth=0.0, resolving_time=0.0)
    columns = {"LAGP": np.full(20, 0.5 * thickness), "LiFePO4": np.full(20, 0.5 * thickness)}
    conditions = exposed(columns, 20000.0, contamination=contamination, detector=detector)
    counts = simulate_edx(columns, conditions, noise=False)
    density = float(true_atoms(columns)[0].sum()) / thickness
    known = true_sensitivities(conditions)
    share = 1.0
    if unknown == "electrons":
        builder = make_builder(conditions)
    else:
        # The sensitivities of a detector all around.
        share = 0.1
        whole = {line: value / share for line, value in known.cross_section.items()}
        factors = replace(known, cross_section=whole, absolute=False)
        builder = make_builder(conditions, electrons=conditions.electrons, sensitivities=factors)
    scene = prepare(builder, counts, thickness=thickness, atoms_per_volume=density)
    assert scene.mean[: len(scene.elements)].sum() == pytest.approx(density * thickness, rel=1e-3)
    assert scene.electrons == pytest.approx(share * conditions.electrons, rel=0.02)
    found = quantify_elements(scene, counts[:1]).subset(("O", "P", "Fe", "Ge")).atoms[0]
    atoms = areal_densities({name: t[0] for name, t in columns.items()})
    np.testing.assert_allclose(found, [atoms[element] for element in ("O", "P", "Fe", "Ge")], rtol=0.03)


def test_absorption_needs_a_scale(make_builder, true_sensitivities):
    conditions = XRayConditions()
    counts = simulate_edx({"LAGP": 100.0}, conditions, noise=False)
    relative = replace(true_sensitivities(conditions), absolute=False)
    for builder in (make_builder(conditions), make_builder(conditions, electrons=1e9, sensitivities=relative)):
        with pytest.raises(ValueError, match=r"depends on the thickness.*beam current, live time and solid angle"):
            prepare(builder, counts)
    scene = prepare(make_builder(conditions, absorption=False), counts)
    assert scene.electrons == 1.0


@pytest.mark.slow
def test_continuum_is_free_where_one_spectrum_is_much_of_the_sum(make_builder):
    conditions = XRayConditions()
    counts = simulate_edx({"LAGP": np.array([100.0, 100.0])}, conditions, noise=False)
    builder = make_builder(conditions, electrons=conditions.electrons)
    fixed, free = (prepare(builder, counts, largest_share=share) for share in (0.05, 0.5))
    assert fixed.continuum is not None
    assert free.continuum is None
    assert len(free.models()[0].names) == len(fixed.models()[0].names) - 1 + builder.hats[0].size
    one, other = (quantify_elements(scene, counts).subset(["Ge", "P", "O"]).unclipped for scene in (fixed, free))
    np.testing.assert_allclose(one, other, rtol=0.02)


def test_empty_map_is_told(make_builder):
    builder = make_builder(XRayConditions(), electrons=1e9)
    with pytest.raises(ValueError, match="spectra are empty"):
        prepare(builder, np.zeros((4, builder.energy.size)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sum_that_is_not_a_number_is_told(make_builder, value):
    builder = make_builder(XRayConditions(), electrons=1e9)
    total = np.ones((1, builder.energy.size))
    total[0, 200] = value
    with pytest.raises(ValueError, match="must be finite: it holds NaN or infinity"):
        prepare(builder, total)


def test_element_without_a_line_is_named(make_builder):
    builder = make_builder(XRayConditions(), electrons=1e9)
    total = np.ones(builder.energy.size)
    with pytest.raises(ValueError, match=r"Li has no line between 0\.1\d and 15\.0\d keV"):
        prepare_scene(builder, total, 1, ("O", "Li"))


def test_element_without_a_factor_is_named(make_builder):
    factors = Sensitivities({"O_Ka": 1e-9}, {"O_Ka": 0.1}, "k-factors", "table of our lab")
    builder = make_builder(XRayConditions(), electrons=1e9, sensitivities=factors)
    with pytest.raises(ValueError, match=r"Ge_[KL]a has no factor in the table of our lab; it has O_Ka"):
        prepare_scene(builder, np.ones(builder.energy.size), 1, ("O", "Ge"))


def test_calibration_is_that_of_the_best_line(make_builder):
    factors = Sensitivities(
        {"Ge_Ka": 1e-9, "Ge_La": 1e-9, "O_Ka": 1e-9}, {"Ge_Ka": 0.1, "Ge_La": 0.2, "O_Ka": 0.15}, "computed", "a table"
    )
    conditions = XRayConditions()
    builder = make_builder(conditions, ("Ge", "O"), electrons=1e9, sensitivities=factors)
    spectrum = expected_spectra({"Ge": 1000.0, "O": 5000.0}, conditions, electrons=1e9)
    scene = prepare_scene(builder, spectrum, 1, ("O", "Ge"))
    np.testing.assert_array_equal(calibration_of(scene), [0.15, 0.1])
    np.testing.assert_array_equal(calibration_of(scene, ["Ge"]), [0.1])
