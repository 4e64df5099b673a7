"""Lithiated fractions from features whose mixture is known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus, estimate_fraction
from hyperspy_assb.eels.delithiation.standard import calibrate as calibrate_electrode
from hyperspy_assb.eels.scattering.joint_model import Features

NAMES = ("c0", "c1", "c2", "FePO4ValenceBand", "Li_K", "Fe_M23", "Al_L23", "P_L23")
PHASES = ("LiFePO4", "FePO4", "LAGP", "carbon")
METHODS = ("valence", "lithium")
# Per t/lambda: the olivines differ in the band and in Li; LAGP has its own Li, carbon something in the band.
SLOPE = np.array(
    [
        [0.20, 0.50, 0.30, 0.002, 900.0, 880.0, 0.0, 870.0],
        [0.22, 0.48, 0.33, 0.030, 20.0, 950.0, 0.0, 940.0],
        [0.30, 0.40, 0.20, 0.001, 600.0, 5.0, 210.0, 1250.0],
        [0.05, 0.90, 0.10, 0.008, 10.0, -5.0, 3.0, 2.0],
    ]
)
OFFSET = 0.02 * SLOPE.mean(axis=0) * np.array([[1.0], [1.2], [0.9], [1.1]])
SIZE = SLOPE.max(axis=0)
IRON = np.array([reference.material(p).atom_density("Fe") for p in PHASES[:2]])


ELECTRODE = reference.electrode("LixFePO4")


def calibrate(features, masks):
    """The calibration, with the numbers of formula units that are known here."""
    return replace(calibrate_electrode(features, masks, ELECTRODE), hosts=IRON)


def lithium(shares):
    """x of given shares of t/lambda: one Fe a formula unit."""
    iron = shares[..., :2] * IRON
    return iron[..., 0] / iron.sum(axis=-1)


def build(shares, thickness, *, noise=1e-7, offset=OFFSET, rng=None):
    """Features of columns with given shares (S, R); noise in units of the largest of each feature."""
    values = np.einsum("sr,srk->sk", shares, thickness[:, None, None] * SLOPE + offset)
    # Neighbouring features are correlated, as those of one fit are.
    correlation = 0.6 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8))) * (-1.0) ** np.add.outer(
        np.arange(8), np.arange(8)
    )
    covariance = noise**2 * correlation * np.outer(SIZE, SIZE)
    if rng is not None:
        values = values + rng.multivariate_normal(np.zeros(8), covariance, len(values))
    return Features(NAMES, values, np.repeat(covariance[np.newaxis], len(values), axis=0), thickness)


def scene(rng, *, pure=60, mixed=400, noise=1e-7, olivine=0.3, offset=OFFSET, noisy=False):
    """Pure pixels of every phase and mixtures: features, masks, true x of the mixtures, which they are."""
    shares = np.repeat(np.eye(4), pure, axis=0)
    x = rng.uniform(-0.0, 1.0, mixed)
    a = rng.uniform(olivine, 0.95, mixed)
    lagp = rng.uniform(0.0, 1.0, mixed) * (1.0 - a)
    # Shares of t/lambda from x: a0 / IRON shares as in `lithium`.
    ratio = np.stack([x / IRON[0], (1.0 - x) / IRON[1]], axis=-1)
    ratio *= (a / ratio.sum(axis=-1))[:, np.newaxis]
    shares = np.concatenate([shares, np.column_stack([ratio, lagp, 1.0 - a - lagp])])
    thickness = rng.uniform(0.3, 0.9, len(shares))
    masks = {p: np.zeros(len(shares), dtype=bool) for p in PHASES}
    for r, phase in enumerate(PHASES):
        masks[phase][r * pure : (r + 1) * pure] = True
    features = build(shares, thickness, noise=noise, offset=offset, rng=rng if noisy else None)
    return features, masks, lithium(shares[4 * pure :]), slice(4 * pure, None)


# ------------------------------------------------------------------------------------------------ exact, no noise


def test_the_calibration_is_recovered(rng):
    features, masks, _, _ = scene(rng)
    calibration = calibrate(features, masks)
    assert calibration.phases == PHASES
    np.testing.assert_array_equal(calibration.n_pixels, 60)
    np.testing.assert_allclose(calibration.slope / SIZE, SLOPE / SIZE, atol=1e-4)  # exact
    np.testing.assert_allclose(calibration.offset / SIZE, OFFSET / SIZE, atol=1e-4)
    one = calibration.per_thickness(np.array([0.5, 1.0]))
    np.testing.assert_allclose(one[0] / SIZE, (SLOPE + 2.0 * OFFSET) / SIZE, atol=2e-4)
    assert np.all(calibration.model_variance < (1e-4 * SIZE) ** 2)


@pytest.mark.parametrize("method", METHODS)
def test_x_is_recovered(rng, method):
    features, masks, x, mixed = scene(rng)
    content = estimate_fraction(features, calibrate(features, masks), method)
    np.testing.assert_allclose(content.fraction[mixed], x, atol=1e-3)  # exact
    assert np.all(content.status[mixed] == DelithiationStatus.QUANTIFIED)
    np.testing.assert_allclose(content.fraction[masks["LiFePO4"]], 1.0, atol=1e-3)
    np.testing.assert_allclose(content.fraction[masks["FePO4"]], 0.0, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_olivines_alone_are_enough(rng, method):
    """With no other phase named, Fe counts the olivine, and there must be no other."""
    features, masks, x, mixed = scene(rng, olivine=0.9499999)
    shares = np.column_stack([x / IRON[0], (1.0 - x) / IRON[1]])
    shares = np.column_stack([shares / shares.sum(axis=1, keepdims=True), np.zeros((len(x), 2))])
    pure = np.repeat(np.eye(4), 60, axis=0)
    equal_iron = SLOPE.copy()
    assert equal_iron[0, 5] / IRON[0] == pytest.approx(equal_iron[1, 5] / IRON[1], rel=0.2)
    features = build(np.concatenate([pure, shares]), features.t_over_lambda, offset=0.0 * OFFSET)
    calibration = calibrate(features, {p: masks[p] for p in PHASES[:2]})
    content = estimate_fraction(features, calibration, method)
    # Exact only where both phases hold the same counts per Fe atom; here they differ by 3 %, which x shows.
    assert np.abs(content.fraction[mixed] - x).max() < 0.05


def test_x_is_not_clipped(rng):
    features, masks, _, _ = scene(rng)
    calibration = calibrate(features, masks)
    outside = build(np.array([[1.2, -0.2, 0.0, 0.0], [-0.3, 1.3, 0.0, 0.0]]), np.array([0.5, 0.5]))
    for method in METHODS:
        content = estimate_fraction(outside, calibration, method)
        np.testing.assert_allclose(content.fraction, lithium(np.array([[1.2, -0.2], [-0.3, 1.3]])), atol=1e-3)
        assert content.fraction[0] > 1.1
        assert content.fraction[1] < -0.2


def test_pixels_without_olivine_have_no_x(rng):
    features, masks, _, mixed = scene(rng)
    content = estimate_fraction(features, calibrate(features, masks), "valence")
    for phase in ("LAGP", "carbon"):
        assert np.all(content.status[masks[phase]] == DelithiationStatus.NO_ELECTRODE)
        for values in (
            content.fraction,
            content.fraction_std,
            content.fraction_systematic,
            content.significance,
            content.detection_limit,
        ):
            assert np.isnan(values[masks[phase]]).all()
        np.testing.assert_allclose(content.electrode_share[masks[phase]], 0.0, atol=1e-2)
    assert np.isfinite(content.fraction[mixed]).all()


def test_every_status_has_its_reason(rng):
    features, masks, _, mixed = scene(rng)
    calibration = calibrate(features, masks)
    row = np.arange(len(features.values))[mixed]
    thickness = features.t_over_lambda.copy()
    values = features.values.copy()
    values[row[0]] = np.nan
    thickness[row[1]] = -0.1
    shares = np.array([[0.7, 0.3, 0.0, 0.0]])
    values[row[2]], thickness[row[2]] = build(shares, np.array([1.3])).values[0], 1.3
    values[row[3], 1] += 0.3
    content = estimate_fraction(replace(features, values=values, t_over_lambda=thickness), calibration, "valence")
    status = [DelithiationStatus(s).name for s in content.status[row[:4]]]
    assert status == ["NOT_FITTED", "NO_ELECTRODE", "THICK", "UNEXPLAINED"]  # nothing scatters: vacuum, not a failure
    assert [DelithiationStatus[s].answered for s in status] == [False, False, True, True]
    assert np.isnan(content.fraction[row[:2]]).all()
    assert np.isfinite(content.fraction[row[2:4]]).all()


# ---------------------------------------------------------------------------------------------------- with noise


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_unbiased_with_true_intervals(method, noise):
    """Simulation with known truth: 4000 mixtures, the pure pixels as noisy as they are."""
    features, masks, x, mixed = scene(
        np.random.default_rng(11), pure=150, mixed=4000, noise=noise, olivine=0.5, noisy=True
    )
    content = estimate_fraction(features, calibrate(features, masks), method)
    answered = np.isfinite(content.fraction[mixed])
    assert answered.mean() > (0.99 if noise < 0.02 else 0.97)  # the noisiest do not find Fe, and say so
    error = (content.fraction[mixed] - x)[answered]
    std = np.hypot(content.fraction_std, content.fraction_systematic)[mixed][answered]
    # A ratio of noisy numbers: its bias is of second order in their errors.
    assert abs(np.median(error)) < 0.1 * np.median(std)
    assert 0.63 < np.mean(np.abs(error) < std) < 0.73  # 4000 pixels: 0.683 with a standard error of 0.007
    for low, high in ((0.0, 0.2), (0.4, 0.6), (0.8, 1.0)):
        part = ((x >= low) & (x <= high))[answered]
        assert abs(np.median(error[part])) < 0.25 * np.median(std[part])


def test_significance_and_limit_are_those_of_the_end_member(rng):
    features, masks, x, mixed = scene(rng, noise=0.01, noisy=True)
    calibration = calibrate(features, masks)
    for method, share in (("valence", 1.0 - x), ("lithium", x)):
        content = estimate_fraction(features, calibration, method)
        error = np.hypot(content.fraction_std, content.fraction_systematic)[mixed]
        # Currie (1968): what a pixel without the end member would scatter, whatever there is in this one.
        end = np.abs(share) < 0.02
        np.testing.assert_allclose(content.detection_limit[mixed][end], 3.29 * error[end], rtol=0.1)
        found = 1.0 - content.fraction[mixed] if method == "valence" else content.fraction[mixed]
        np.testing.assert_allclose(content.significance[mixed], found / error, rtol=1e-12)
        assert np.corrcoef(share, content.significance[mixed])[0, 1] > 0.5


def test_twice_the_noise_is_twice_the_error(rng):
    features, masks, _, mixed = scene(rng)
    calibration = calibrate(features, masks)
    one = estimate_fraction(features, calibration, "valence")
    two = estimate_fraction(replace(features, covariance=4.0 * features.covariance), calibration, "valence")
    # At this noise the calibration's own scatter has no say in the weights.
    np.testing.assert_allclose(two.fraction_std[mixed] / one.fraction_std[mixed], 2.0, rtol=0.2)


@settings(max_examples=25, deadline=None)
@given(exponent=st.lists(st.floats(-4.0, 4.0), min_size=8, max_size=8), method=st.sampled_from(METHODS))
def test_units_of_the_features_do_not_matter(exponent, method):
    features, masks, _, mixed = scene(np.random.default_rng(5), pure=20, mixed=30, noise=0.01, noisy=True)
    unit = 10.0 ** np.array(exponent)
    other = replace(features, values=features.values * unit, covariance=features.covariance * np.outer(unit, unit))
    one, two = (estimate_fraction(f, calibrate(f, masks), method) for f in (features, other))
    np.testing.assert_array_equal(one.status, two.status)
    for name in (
        "fraction",
        "fraction_std",
        "fraction_systematic",
        "significance",
        "detection_limit",
        "electrode_share",
    ):
        np.testing.assert_allclose(getattr(two, name)[mixed], getattr(one, name)[mixed], rtol=1e-5, atol=1e-7)


# -------------------------------------------------------------------------------------------------------- errors


def test_missing_olivines_are_named(rng):
    features, masks, _, _ = scene(rng)
    with pytest.raises(ValueError, match="pure pixels of FePO4"):
        calibrate(features, {"LiFePO4": masks["LiFePO4"], "LAGP": masks["LAGP"]})
    with pytest.raises(ValueError, match="LiFePO4 and FePO4"):
        calibrate(features, {})


def test_too_few_pixels_are_named(rng):
    features, masks, _, _ = scene(rng)
    few = masks["LAGP"].copy()
    few[np.flatnonzero(few)[2:]] = False
    with pytest.raises(ValueError, match=r"references\['LAGP'\] holds 2 fitted pixels; at least 3"):
        calibrate(features, {**masks, "LAGP": few})
    values = features.values.copy()
    values[masks["FePO4"]] = np.nan
    with pytest.raises(ValueError, match=r"references\['FePO4'\] holds 0 fitted pixels"):
        calibrate(replace(features, values=values), masks)


@pytest.mark.parametrize(("method", "name"), [("valence", "FePO4 5 eV band"), ("lithium", "Li K")])
def test_equal_references_are_refused(rng, method, name):
    features, masks, _, _ = scene(rng, noise=0.01, noisy=True)
    half = np.flatnonzero(masks["LiFePO4"])[::2]
    part = np.zeros_like(masks["LiFePO4"])
    part[half] = True
    same = {"LiFePO4": part, "FePO4": masks["LiFePO4"] & ~part}
    with pytest.raises(ValueError, match=f"do not differ in {name}"):
        estimate_fraction(features, calibrate(features, same), method)


@pytest.mark.parametrize("method", ["combined", "references", "", "Valence"])
def test_unknown_methods(rng, method):
    features, masks, _, _ = scene(rng)
    with pytest.raises(ValueError, match=f"'valence', 'lithium', not '{method}'"):
        estimate_fraction(features, calibrate(features, masks), method)


def test_a_missing_feature_is_named(rng):
    features, masks, _, _ = scene(rng)
    calibration = calibrate(features, masks)
    renamed = replace(features, names=("c0", "c1", "c2", "FePO4ValenceBand", "other", "Fe_M23", "Al_L23", "P_L23"))
    with pytest.raises(ValueError, match=r"no Li_K, but only c0.*check elements"):
        estimate_fraction(renamed, calibration, "lithium")
