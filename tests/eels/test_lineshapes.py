"""Every line shape: derivatives, normalisation, limits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline, PchipInterpolator

from hyperspy_assb.eels.edges.edge_terms import edge_constants
from hyperspy_assb.eels.lineshapes import (
    CARBON_PI_BAND,
    DARK_LEVEL,
    VALENCE_BAND,
    VOLUME_PLASMON,
    ZERO_LOSS_PEAK,
    ionisation_edge,
    spline_constants,
    valence_continuum,
)
from hyperspy_assb.fitting.spectra.line_shape import NO_CONSTANTS, LineShape

BREAKS = np.array([2.0, 7.0, 12.0, 18.0, 25.0, 40.0, 90.0])
RELATIVE = np.linspace(0.0, 80.0, 33)
TABLE = 3e-6 * (1.0 + RELATIVE / 60.0) ** -3.5
EDGE = ionisation_edge("Edge", onset_energy=55.0, onset_width=1.5, peak_ratio=0.4, peak_energy=61.0, peak_fwhm=5.0)
CONSTANTS = edge_constants(RELATIVE, TABLE)
SPLINE = valence_continuum(BREAKS)
KNOTS = spline_constants(BREAKS)


@dataclass(frozen=True)
class Case:
    """A line shape where its derivatives are tested, and values at which it must still be finite."""

    shape: LineShape
    values: tuple[float, ...]
    constants: np.ndarray = field(default_factory=lambda: NO_CONSTANTS)
    extremes: tuple[tuple[float, ...], ...] = ()
    energy: np.ndarray = field(default_factory=lambda: np.linspace(-20.0, 160.0, 721) + 0.0123)  # off the kinks


CASES = {
    "zero loss": Case(
        ZERO_LOSS_PEAK,
        (2.0, 0.3, 0.9, 0.1, 0.3, 0.1, 3.0),
        extremes=(
            (1e9, 0.0, 1e-3, 0.0, 0.5, 0.5, 1.0),
            (1.0, 100.0, 50.0, 20.0, 1.0, 0.9, 15.0),
            (0.0, -20.0, 0.01, -20.0, 0.0, 0.0, 1.0),
        ),
    ),
    "symmetrical zero loss": Case(ZERO_LOSS_PEAK, (1.0, 0.0, 0.8, 0.0, 0.1, 0.02, 5.0)),
    "plasmon": Case(VOLUME_PLASMON, (0.7, 22.0, 9.0), extremes=((1.0, 0.5, 1e-2), (1.0, 25.0, 1e4), (0.0, 1e4, 1e-2))),
    "carbon pi band": Case(CARBON_PI_BAND, (0.1, 6.0, 3.0), extremes=((1.0, 0.5, 1e-2),)),
    "valence band": Case(VALENCE_BAND, (0.02, 5.2, 2.0), extremes=((-1.0, 4.0, 0.5), (1e9, 7.0, 1e-3))),
    "dark level": Case(DARK_LEVEL, (3.0,), extremes=((-1e9,),)),
    "edge": Case(
        EDGE,
        (200.0, 55.0, 1.5, 0.4, 61.0, 5.0),
        CONSTANTS,
        extremes=((1e9, 50.0, 0.05, 10.0, 67.0, 0.2), (-1.0, 60.0, 10.0, 0.0, 55.0, 30.0)),
    ),
    "continuum": Case(
        SPLINE, (0.01, 0.02, -0.01, 0.03, 0.02, 0.01), KNOTS, extremes=((1e9,) * 6, (-1e9, 0.0, 0.0, 0.0, 0.0, 1e9))
    ),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


# ------------------------------------------------------------------------------------------------ every line shape


def test_gradients(case, differentiate):
    gradients = case.shape.evaluate(case.energy, case.values, case.constants)[1]
    for k, parameter in enumerate(case.shape.parameters):
        step = 1e-3 * min(max(abs(case.values[k]), 0.3), 5.0)  # no knot of a table lies within two steps

        def values(theta):
            return case.shape.evaluate(case.energy, theta, case.constants)[0]

        expected = differentiate(values, case.values, k, step)
        # Central differences of fourth order, good to about 1e-8 of the largest here.
        error = np.abs(gradients[k] - expected).max() / np.abs(expected).max()
        assert error < 1e-6, f"{parameter.name}: {error}"


def test_linear_parameters_scale_the_values(case):
    linear = np.array([p.linear for p in case.shape.parameters])
    assert linear.any()
    values, gradients = case.shape.evaluate(case.energy, case.values, case.constants)
    scaled = np.where(linear, 3.0 * np.array(case.values), case.values)
    np.testing.assert_allclose(
        case.shape.evaluate(case.energy, scaled, case.constants)[0], 3.0 * values, rtol=1e-12, atol=1e-300
    )
    # Proportional: the values are the sum of the linear parameters times their derivatives.
    np.testing.assert_allclose(np.array(case.values)[linear] @ gradients[linear], values, rtol=1e-12, atol=1e-300)
    assert np.any(values != 0.0)


def test_everything_is_finite(case):
    for theta in (case.shape.defaults(), *case.extremes):
        for energy in (case.energy, np.array([-1e4, -1.0, 0.0, 1e-9, 2.0, 55.0, 1e4])):
            for out in case.shape.evaluate(energy, theta, case.constants):
                assert np.isfinite(out).all()


def test_defaults_lie_within_their_bounds(case):
    for p in case.shape.parameters:
        assert p.minimum is None or p.minimum <= p.value, p.name
        assert p.maximum is None or p.value <= p.maximum, p.name


def test_kernels_overwrite_what_they_are_given(case):
    values = np.full(case.energy.size, 7.0)
    gradients = np.full((len(case.values), case.energy.size), 7.0)
    case.shape.kernel(case.energy, np.array(case.values, dtype=float), case.constants, values, gradients)
    expected = case.shape.evaluate(case.energy, case.values, case.constants)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(gradients, expected[1])


# ------------------------------------------------------------------------------------------------------ zero loss

WIDE = -4000.0 + 0.01 * np.arange(800_001)


@pytest.mark.parametrize(("lorentz", "tail", "tolerance"), [(0.0, 0.0, 1e-9), (0.0, 0.3, 1e-9), (1.0, 0.0, 2e-4)])
def test_area_of_the_zero_loss(lorentz, tail, tolerance):
    values = ZERO_LOSS_PEAK.evaluate(WIDE, (5.0, 0.2, 0.9, 0.0, lorentz, tail, 4.0))[0]
    # Exact; a Lorentzian leaves fwhm / (pi 4000) outside.
    assert values.sum() * 0.01 == pytest.approx(5.0, rel=tolerance)


@pytest.mark.parametrize("lorentz", [0.0, 0.4, 1.0])
def test_full_width_at_half_maximum(lorentz):
    half, top = ZERO_LOSS_PEAK.evaluate([0.45, 0.0], (1.0, 0.0, 0.9, 0.0, lorentz, 0.0, 4.0))[0]
    assert half / top == pytest.approx(0.5, rel=1e-12)  # exact


@given(x=st.floats(0.0, 200.0), asymmetry=st.floats(0.01, 2.0))
@settings(max_examples=50, deadline=None)
def test_symmetry_of_the_zero_loss(x, asymmetry):
    left, right = ZERO_LOSS_PEAK.evaluate([1.0 - x, 1.0 + x], (1.0, 1.0, 0.8, 0.0, 0.3, 0.1, 5.0))[0]
    assert left == pytest.approx(right, rel=1e-9)
    # The asymmetry of the opposite sign is the mirror image.
    theta = np.array([1.0, 1.0, 0.8, asymmetry, 0.3, 0.1, 5.0])
    mirrored = theta * [1, 1, 1, -1, 1, 1, 1]
    one = ZERO_LOSS_PEAK.evaluate([1.0 - x, 1.0 + x], theta)[0]
    other = ZERO_LOSS_PEAK.evaluate([1.0 + x, 1.0 - x], mirrored)[0]
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_positive_asymmetry_is_wider_on_the_loss_side():
    gain, loss = ZERO_LOSS_PEAK.evaluate([-2.0, 2.0], (1.0, 0.0, 0.9, 0.4, 0.3, 0.0, 5.0))[0]
    assert loss > 1.5 * gain


def test_tails_decay_exponentially():
    length = 4.0
    energy = np.array([-60.0, -40.0, 40.0, 60.0])
    values = ZERO_LOSS_PEAK.evaluate(energy, (1.0, 0.0, 0.8, 0.0, 0.0, 0.05, length))[0]
    # Exact far out: 0.05 * 2 / (pi length) * exp(-|x| / length).
    np.testing.assert_allclose(values, 0.1 / (np.pi * length) * np.exp(-np.abs(energy) / length), rtol=1e-7)


# ------------------------------------------------------------------------------------------- plasmon, band, level


def test_area_of_a_narrow_plasmon():
    # Limit: (2 / pi Ep) E Gamma Ep^2 / ((E^2 - Ep^2)^2 + E^2 Gamma^2) tends to a Lorentzian of area 1.
    energy = np.arange(1, 2_000_001) * 1e-3
    areas = [VOLUME_PLASMON.evaluate(energy, (1.0, 25.0, fwhm))[0].sum() * 1e-3 for fwhm in (2.0, 0.2)]
    assert areas[1] == pytest.approx(1.0, abs=6e-3)
    # Next order of the integral: -Gamma / (pi Ep), so that ten times narrower is ten times closer.
    assert (1.0 - areas[0]) / (1.0 - areas[1]) == pytest.approx(10.0, rel=0.05)


def test_drude_formula():
    # Egerton eq. 3.43 written out, times 2 / (pi Ep).
    e, ep, g = 18.0, 22.0, 7.0
    expected = 0.6 * 2.0 / (np.pi * ep) * e * g * ep**2 / ((e**2 - ep**2) ** 2 + (e * g) ** 2)
    assert VOLUME_PLASMON.evaluate([e], (0.6, ep, g))[0][0] == pytest.approx(expected, rel=1e-12)
    assert CARBON_PI_BAND.evaluate([e], (0.6, ep, g))[0][0] == pytest.approx(expected, rel=1e-12)


def test_nothing_is_lost_below_zero():
    for case in ("plasmon", "carbon pi band", "continuum"):
        values, gradients = CASES[case].shape.evaluate([-5.0, 0.0], CASES[case].values, CASES[case].constants)
        assert not values.any()
        assert not gradients.any()


def test_area_and_width_of_the_valence_band():
    energy = np.linspace(-20.0, 30.0, 5001)
    values = VALENCE_BAND.evaluate(energy, (0.03, 5.2, 2.0))[0]
    assert values.sum() * 0.01 == pytest.approx(0.03, rel=1e-10)  # exact
    half, top, other = VALENCE_BAND.evaluate([4.2, 5.2, 6.2], (0.03, 5.2, 2.0))[0]
    assert half / top == pytest.approx(0.5, rel=1e-12)
    assert half == pytest.approx(other, rel=1e-12)


def test_the_dark_level_is_a_constant():
    np.testing.assert_array_equal(DARK_LEVEL.evaluate([-10.0, 0.0, 99.0], (3.5,))[0], 3.5)


# ----------------------------------------------------------------------------------------------------------- edges

NO_PEAK = (200.0, 55.0, 1.5, 0.0, 61.0, 5.0)


def test_the_table_is_reproduced_above_the_onset():
    inside = np.linspace(
        60.0,  # where the step is 1 within 1e-15
        55.0 + RELATIVE[-1],
        200,
    )
    values = EDGE.evaluate(inside, NO_PEAK, CONSTANTS)[0]
    # Exact: the interpolation that the constants were packed from.
    np.testing.assert_allclose(values, 200.0 * PchipInterpolator(RELATIVE, TABLE)(inside - 55.0), rtol=1e-9)
    at = EDGE.evaluate(55.0 + RELATIVE[4:], NO_PEAK, CONSTANTS)[0]
    np.testing.assert_allclose(at, 200.0 * TABLE[4:], rtol=1e-12)


def test_the_step_is_half_at_the_onset_and_has_the_stated_width():
    assert EDGE.evaluate([55.0], NO_PEAK, CONSTANTS)[0][0] == pytest.approx(100.0 * TABLE[0], rel=1e-12)  # exact
    flat = edge_constants(RELATIVE, np.full(33, 2e-6))
    energy = 55.0 + np.linspace(-4.0, 4.0, 8001)
    slope = np.gradient(EDGE.evaluate(energy, NO_PEAK, flat)[0], energy)
    above = energy[slope > slope.max() / 2]
    assert above[-1] - above[0] == pytest.approx(1.5, abs=3e-3)  # exact within the two steps of 1 meV


def test_an_edge_is_smooth_everywhere():
    """Values and slopes are continuous: at the knots, at the end of the table, and where the step begins."""
    knots = 55.0 + RELATIVE[[1, 16, 32]]
    begins = 55.0 - 8.0 * 1.5 / np.sqrt(4.0 * np.log(2.0))
    tiny = 1e-7
    for x in (*knots, 55.0, begins):
        low, high = EDGE.evaluate([x - tiny, x + tiny], NO_PEAK, CONSTANTS)[0]
        assert high == pytest.approx(low, rel=1e-6, abs=1e-20)
        near = np.array([-2.0, -1.0, 1.0, 2.0]) * 1e-4 + x
        a, b, c, d = EDGE.evaluate(near, NO_PEAK, CONSTANTS)[0]
        largest = 200.0 * TABLE[0] / 1.5
        assert abs((d - c) - (b - a)) / 1e-4 < 1e-4 * largest


def test_the_table_goes_on_as_a_power_law():
    values = EDGE.evaluate(55.0 + np.array([100.0, 200.0, 400.0]), NO_PEAK, CONSTANTS)[0]
    assert values[1] / values[0] == pytest.approx(values[2] / values[1], rel=1e-9)  # exact for a power law
    assert 0.0 < values[2] < values[1] < values[0]


def test_the_unit_of_the_fine_structure():
    # Exact: with the ratio 0.4 the maximum holds 0.4 of what the bare edge holds in its first 20 eV.
    energy = np.linspace(0.0, 130.0, 130_001)
    with_peak, without = (
        EDGE.evaluate(energy, (200.0, 55.0, 1.5, ratio, 61.0, 5.0), CONSTANTS)[0] for ratio in (0.4, 0.0)
    )
    area = PchipInterpolator(RELATIVE, TABLE).integrate(0.0, 20.0)
    assert CONSTANTS[1] == pytest.approx(area, rel=1e-12)
    assert (with_peak - without).sum() * 1e-3 == pytest.approx(0.4 * 200.0 * area, rel=1e-6)


def test_the_onset_moves_the_edge_and_leaves_the_peak():
    energy = np.linspace(40.0, 120.0, 161)
    moved = EDGE.evaluate(energy + 2.0, (200.0, 57.0, 1.5, 0.4, 63.0, 5.0), CONSTANTS)[0]
    np.testing.assert_allclose(moved, EDGE.evaluate(energy, CASES["edge"].values, CONSTANTS)[0], rtol=1e-9)
    assert EDGE.parameters[1].minimum == 50.0
    assert EDGE.parameters[4].maximum == 67.0


# ------------------------------------------------------------------------------------------------------- continuum


def test_the_continuum_is_the_spline_of_scipy():
    # Other program: scipy's B-splines in ln E, the first three left out.
    theta = np.array([0.3, -0.2, 0.5, 0.1, 0.7, 0.4])
    energy = np.linspace(2.01, 89.9, 500)
    spline = BSpline(np.log(KNOTS), np.concatenate([np.zeros(3), theta]), 3)
    np.testing.assert_allclose(
        SPLINE.evaluate(energy, theta, KNOTS)[0], spline(np.log(energy)) * 400.0 / energy**2, rtol=1e-9, atol=1e-12
    )


def test_the_continuum_begins_smoothly():
    first = SPLINE.evaluate(2.0 * np.exp([1e-3, 2e-3]), np.eye(6)[0], KNOTS)[0]
    # Exact: a simple knot, so that the first spline grows with the cube of the distance.
    assert first[1] / first[0] == pytest.approx(8.0, rel=0.02)
    assert not SPLINE.evaluate([1.0, 2.0, 90.0, 95.0], np.ones(6), KNOTS)[0].any()


def test_no_spline_is_idle_or_a_multiple_of_another():
    gradients = SPLINE.evaluate(np.linspace(2.1, 89.0, 400), np.zeros(6), KNOTS)[1]
    size = np.linalg.norm(gradients, axis=1)
    assert np.all(size > 0)
    assert np.linalg.cond(gradients / size[:, np.newaxis]) < 1e3


@pytest.mark.parametrize("breaks", [[2.0], [0.0, 5.0], [-1.0, 4.0], [2.0, 2.0, 5.0], [5.0, 3.0]])
def test_impossible_breakpoints(breaks):
    with pytest.raises(ValueError, match="must increase and lie above 0"):
        spline_constants(np.array(breaks))
