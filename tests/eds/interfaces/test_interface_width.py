"""Profiles across an interface: widths without the probe, positions, and what lies beyond the boundary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from hyperspy_assb.eds.composition.atoms import quantify_elements
from hyperspy_assb.eds.composition.scene import prepare_scene
from hyperspy_assb.eds.interfaces.interface_width import WIDTH_PER_SIGMA, Width, fit_interface
from hyperspy_assb.eds.interfaces.profiles import Profile, bin_pixels, profile_of
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, FOREIGN_ELEMENTS
from hyperspy_assb.simulation import InterfaceOptions, XRayConditions, simulate_interface
from hyperspy_assb.simulation.eds.interface import interface_atoms

FWHM = np.sqrt(8 * np.log(2))
# Fe on the far side, Ge on the near side, P on both.
PLATEAUS = np.array([[10.0, 1100.0], [600.0, 5.0], [1000.0, 1000.0]])
ELEMENTS = ("Fe", "Ge", "P")


def make_profile(width=10.0, *, probe=0.0, position=1.3, std=1.0, rng=None, extra=None, spacing=2.0, per_bin=8):
    """Error functions of a 10-90 % width behind a Gaussian probe, averaged over the pixels of each bin."""
    centres = spacing * np.arange(-20, 21)
    members = [c + spacing * ((np.arange(per_bin) + 0.5) / per_bin - 0.5) for c in centres]
    sigma = max(np.hypot(width / WIDTH_PER_SIGMA, probe / FWHM), 1e-9)
    share = np.array([special.ndtr((m - position) / sigma).mean() for m in members])
    amount = PLATEAUS[:, 0] + share[:, None] * (PLATEAUS[:, 1] - PLATEAUS[:, 0])
    if extra is not None:
        amount = amount + np.array([[f(m).mean() for f in extra] for m in members])
    if rng is not None:
        amount = rng.normal(amount, std)
    covariance = np.tile(std**2 * np.eye(3), (len(centres), 1, 1))
    return Profile(ELEMENTS, centres, tuple(members), amount, covariance)


@pytest.mark.parametrize("probe", [0.0, 3.0])
@pytest.mark.parametrize("width", [3.0, 10.0, 25.0])
def test_width_and_position_of_an_error_function(width, probe):
    fit = fit_interface(make_profile(width, probe=probe), probe=probe)
    for found in (fit.common, fit.widths["Fe"], fit.widths["Ge"]):
        assert found.value == pytest.approx(width, rel=2e-3)
        assert found.low < width < found.high
        assert found.variance == pytest.approx((width / WIDTH_PER_SIGMA) ** 2, rel=4e-3)
        assert found.position == pytest.approx(1.3, abs=5e-3)
        assert found.p_fit > 0.99
        assert found.reason == ""
    np.testing.assert_allclose(fit.plateaus, PLATEAUS, atol=0.2)
    assert fit.common.high - fit.common.low < fit.widths["Ge"].high - fit.widths["Ge"].low


def test_interval_is_a_standard_error_to_either_side():
    found = fit_interface(make_profile(12.0), probe=0.0).common
    low, high = (found.low / WIDTH_PER_SIGMA) ** 2, (found.high / WIDTH_PER_SIGMA) ** 2
    assert found.variance - low == pytest.approx(found.variance_std, rel=0.05)
    assert high - found.variance == pytest.approx(found.variance_std, rel=0.05)


def test_width_over_standard_deviation():
    # 10 and 90 % of a normal distribution lie 1.2816 standard deviations from its middle.
    assert pytest.approx(2.5631, abs=1e-4) == WIDTH_PER_SIGMA


def test_sharp_interface_has_no_width():
    fit = fit_interface(make_profile(0.0, probe=4.0), probe=4.0)
    assert fit.common.value < 0.5
    assert fit.common.low == 0.0
    assert fit.common.high < 1.5
    assert fit.common.position == pytest.approx(1.3, abs=0.02)


def test_bins_wider_than_the_interface_do_not_widen_it():
    fit = fit_interface(make_profile(3.0, spacing=5.0, per_bin=40), probe=0.0)
    assert fit.common.value == pytest.approx(3.0, rel=0.02)


def test_variance_of_the_probe_is_taken_out():
    profile = make_profile(10.0, probe=3.0)
    without, with_it = (fit_interface(profile, probe=probe).common for probe in (0.0, 3.0))
    assert without.variance - with_it.variance == pytest.approx((3.0 / FWHM) ** 2, rel=1e-3)
    # A probe that is said to be wider than the interface leaves a variance below 0, and no width.
    wrong = fit_interface(profile, probe=12.0).common
    assert wrong.variance < 0.0
    assert wrong.value == 0.0


def test_element_without_a_step_has_no_width():
    fit = fit_interface(make_profile(), probe=0.0)
    missing = fit.widths["P"]
    assert np.isnan([missing.value, missing.low, missing.high, missing.position, missing.p_fit]).all()
    assert missing.reason == "it does not differ between the two sides"
    assert set(fit.beyond) == {"Fe", "Ge"}
    assert Width.missing("nothing").reason == "nothing"


def test_curve_is_that_of_the_common_fit():
    profile = make_profile(10.0, probe=2.0, per_bin=1)
    fit = fit_interface(profile, probe=2.0)
    np.testing.assert_allclose(fit.curve(profile.distance), profile.amount, atol=0.5)
    np.testing.assert_allclose(fit.curve(np.array([fit.common.position]))[0], PLATEAUS.mean(axis=1), atol=0.5)


@pytest.mark.parametrize("probe", [0.0, 4.0])
@pytest.mark.parametrize("width", [5.0, 15.0])
def test_error_function_beyond_the_boundary(width, probe):
    # The integral of the normal distribution function up to its middle: sigma over the root of 2 pi.
    fit = fit_interface(make_profile(width, probe=probe), probe=probe)
    sigma, whole = width / WIDTH_PER_SIGMA, np.hypot(width / WIDTH_PER_SIGMA, probe / FWHM)
    for element, side, excess in (("Fe", -1, 1090.0), ("Ge", 1, 595.0)):
        beyond = fit.beyond[element]
        assert beyond.side == side
        assert beyond.amount == pytest.approx(sigma / np.sqrt(2 * np.pi), abs=0.02)
        assert beyond.recorded == pytest.approx(whole / np.sqrt(2 * np.pi), abs=0.02)
        assert beyond.atoms == pytest.approx(excess * beyond.amount, rel=1e-3)


@pytest.mark.parametrize("width", [6.0, 12.0])
def test_atoms_that_went_over_are_counted(width):
    # An exponential tail of 10 nm. What of it lies beyond half of 48 nm, 9 %, counts twice as not having come over, and
    # the common position and width, which it moves a little, take a tenth.
    def beyond(**migrated):
        centres = 2.0 * np.arange(-24, 25)
        members = [c + np.linspace(-0.875, 0.875, 8) for c in centres]
        options = InterfaceOptions(width=width, probe=0.0, migrated=migrated)
        atoms = interface_atoms(np.concatenate(members), options)
        amount = np.stack([atoms[element].reshape(-1, 8).mean(axis=1) for element in ELEMENTS], axis=1)
        covariance = np.tile(np.diag([400.0, 400.0, 900.0]), (len(centres), 1, 1))
        return fit_interface(Profile(ELEMENTS, centres, tuple(members), amount, covariance), probe=0.0).beyond

    still, one, two = beyond(), beyond(Fe=4.0), beyond(Fe=8.0)
    # 4 atoms/nm^2 of boundary, and 80 nm of it along the beam.
    for found, atoms in ((one, 320.0), (two, 640.0)):
        assert 0.7 * atoms < found["Fe"].atoms - still["Fe"].atoms < 0.9 * atoms
    assert two["Fe"].recorded - still["Fe"].recorded > 2.0 * still["Fe"].recorded_std
    # The position and the width are those of all elements: a little of it is laid to the others.
    for other in ("Ge", "P"):
        assert abs(one[other].atoms - still[other].atoms) < 0.2 * (one["Fe"].atoms - still["Fe"].atoms)


@settings(max_examples=8, deadline=None)
@given(st.floats(-500.0, 500.0), st.floats(0.1, 10.0))
def test_origin_and_unit_do_not_matter(origin, factor):
    plain = make_profile(8.0, probe=2.0)
    other = Profile(
        ELEMENTS,
        plain.distance + origin,
        tuple(m + origin for m in plain.members),
        factor * plain.amount,
        factor**2 * plain.covariance,
    )
    one, two = (fit_interface(p, probe=2.0) for p in (plain, other))
    assert two.common.position - one.common.position == pytest.approx(origin, abs=1e-3)
    assert two.common.value == pytest.approx(one.common.value, rel=1e-3)
    np.testing.assert_allclose(two.plateaus, factor * one.plateaus, atol=0.05 * factor)
    assert two.beyond["Fe"].amount == pytest.approx(one.beyond["Fe"].amount, abs=2e-3)


def test_mirrored_profile_has_the_other_side():
    plain = make_profile(8.0, probe=2.0)
    mirrored = Profile(
        ELEMENTS,
        -plain.distance[::-1],
        tuple(-m for m in plain.members[::-1]),
        plain.amount[::-1],
        plain.covariance[::-1],
    )
    one, two = (fit_interface(p, probe=2.0) for p in (plain, mirrored))
    assert two.common.value == pytest.approx(one.common.value, rel=1e-3)
    assert two.common.position == pytest.approx(-one.common.position, abs=1e-3)
    assert two.beyond["Fe"].side == -one.beyond["Fe"].side
    assert two.beyond["Fe"].amount == pytest.approx(one.beyond["Fe"].amount, abs=2e-3)
    np.testing.assert_allclose(two.plateaus, one.plateaus[:, ::-1], atol=0.05)


@pytest.fixture(scope="module")
def noisy():
    """Fits of many noisy profiles of one interface of 8 nm."""
    rng = np.random.default_rng(8)
    return [fit_interface(make_profile(8.0, probe=2.0, std=40.0, rng=rng), probe=2.0) for _ in range(60)]


@pytest.mark.slow
def test_intervals_of_widths_hold_the_truth(noisy):
    held = np.mean([fit.common.low <= 8.0 <= fit.common.high for fit in noisy])
    # Three standard errors of 60 draws.
    assert abs(held - 0.683) < 0.18


def test_variance_and_position_have_no_bias_and_their_errors(noisy):
    truth = (8.0 / WIDTH_PER_SIGMA) ** 2
    z = np.array([(fit.common.variance - truth) / fit.common.variance_std for fit in noisy])
    x = np.array([(fit.common.position - 1.3) / fit.common.position_std for fit in noisy])
    for pull in (z, x):
        assert abs(pull.mean()) < 4.0 / np.sqrt(len(noisy))
        assert 0.7 < pull.std() < 1.35


def test_what_lies_beyond_has_no_bias_and_its_errors(noisy):
    sigma = 8.0 / WIDTH_PER_SIGMA
    for element in ("Fe", "Ge"):
        found = [fit.beyond[element] for fit in noisy]
        pull = np.array([(b.amount - sigma / np.sqrt(2 * np.pi)) / b.std for b in found])
        assert abs(pull.mean()) < 4.0 / np.sqrt(len(noisy))
        assert 0.7 < pull.std() < 1.35


def test_p_values_of_right_models_are_uniform(noisy):
    assert stats.kstest([fit.common.p_fit for fit in noisy], "uniform").pvalue > 0.01


def test_profile_that_is_no_error_function_is_told():
    extra = [lambda x: 200.0 * np.exp(-(((x + 20.0) / 4.0) ** 2))] + 2 * [np.zeros_like]
    fit = fit_interface(make_profile(8.0, std=10.0, extra=extra, rng=np.random.default_rng(2)), probe=0.0)
    assert fit.widths["Fe"].p_fit < 1e-6
    assert fit.widths["Ge"].p_fit > 1e-3


@pytest.mark.parametrize("probe", [-1.0, np.nan, np.inf])
def test_probe_that_cannot_be(probe):
    with pytest.raises(ValueError, match=f"probe must be a full width .* it is {probe}"):
        fit_interface(make_profile(), probe=probe)


def test_no_step_no_interface(rng):
    flat = make_profile(std=400.0, rng=rng).subset([2])
    with pytest.raises(ValueError, match="No element differs between the two sides of the boundary"):
        fit_interface(flat, probe=0.0)


@pytest.mark.parametrize(("width", "angle"), [(0.0, 0.0), (6.0, 0.0), (12.0, 20.0)])
def test_width_of_a_simulated_interface(make_builder, width, angle):
    options = InterfaceOptions(width=width, angle=angle, shape=(24, 40))
    conditions = XRayConditions(counts_per_channel=0.5)
    scene = simulate_interface(options, conditions, np.random.default_rng(3))
    distance = scene.truth.distance.ravel()
    bins, members = bin_pixels(distance, options.pixel_size)
    summed = np.zeros((len(members), conditions.n_channels))
    np.add.at(summed, bins, scene.counts.reshape(distance.size, -1))
    builder = make_builder(conditions, electrons=scene.truth.electrons)
    common = prepare_scene(builder, summed.sum(axis=0), distance.size, (*CELL_ELEMENTS, *FOREIGN_ELEMENTS))
    found = quantify_elements(common, summed, exposure=np.array([float(m.size) for m in members]), threads=1)
    fit = fit_interface(profile_of(found.subset(CELL_ELEMENTS), members), probe=options.probe)
    variance = (width / WIDTH_PER_SIGMA) ** 2
    assert abs(fit.common.variance - variance) < 3.0 * fit.common.variance_std
    assert fit.common.value == pytest.approx(width, abs=2.0)
    assert abs(fit.common.position) < max(4.0 * fit.common.position_std, 0.2)
    assert not fit.widths["Fe"].reason
    assert not fit.widths["Ge"].reason
    assert fit.beyond["Fe"].amount == pytest.approx(np.sqrt(variance / (2 * np.pi)), abs=4 * fit.beyond["Fe"].std)
