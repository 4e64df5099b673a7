"""The batched Poisson fit: known answers, honest errors, and every way in which a fit can fail."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from hyperspy_assb.eels.lineshapes import DARK_LEVEL, VALENCE_BAND, VOLUME_PLASMON, ZERO_LOSS_PEAK
from hyperspy_assb.fitting.solver import steps
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, SolverOptions, Status, fit_spectra
from hyperspy_assb.fitting.spectra import compiled_sums as compiled
from hyperspy_assb.fitting.spectra.forward import SpectrumModel
from hyperspy_assb.fitting.spectra.line_shape import Term
from hyperspy_assb.fitting.spectra.sums import BoundSum, SumModel

ENERGY = np.linspace(0.0, 10.0, 60)
TRUTH = np.array([400.0, 4.0, 1.2, 30.0])
FREE = np.ones(4, dtype=bool)


class Peak:
    """Area, centre and width of a Gaussian, and a background: counts per channel."""

    n_parameters = 4

    def evaluate(self, parameters, free):
        a, c, w, b = (column[:, np.newaxis] for column in np.atleast_2d(np.asarray(parameters, dtype=float)).T)
        u = (ENERGY - c) / w
        g = np.exp(-0.5 * u * u)
        jacobian = np.stack([g, a * g * u / w, a * g * u * u / w, np.ones_like(g)], axis=1)
        return a * g + b, jacobian[:, free]


class Twice:
    """Two parameters that only their sum is known of."""

    n_parameters = 2

    def evaluate(self, parameters, free):
        parameters = np.atleast_2d(parameters)
        mu = np.broadcast_to(parameters.sum(axis=1, keepdims=True), (len(parameters), ENERGY.size))
        return mu, np.ones((len(parameters), 2, ENERGY.size))[:, free]


MODEL = Peak()
MEAN = MODEL.evaluate(TRUTH, FREE)[0][0]
START = np.array([300.0, 4.5, 1.5, 50.0])


def draw(rng, n, *, mean=MEAN, gain=1.0, read_noise=0.0):
    counts = gain * rng.poisson(mean / gain, (n, mean.size)).astype(float)
    return counts + rng.normal(0.0, read_noise, counts.shape) if read_noise else counts


def likelihood(counts, mean):
    """Negative logarithm of the Poisson probability, up to a constant."""
    return np.sum(mean - counts * np.log(mean))


# ------------------------------------------------------------------------------------------------ known answers


def test_exact_recovery_from_the_expectation():
    result = fit_spectra(MEAN[np.newaxis], FitProblem(model=MODEL, start=START), options=SolverOptions(tolerance=1e-12))
    assert result.status[0] == Status.CONVERGED
    np.testing.assert_allclose(result.values[0], TRUTH, rtol=1e-6)  # exact
    assert result.deviance[0] == pytest.approx(0.0, abs=1e-6)
    assert result.dof[0] == ENERGY.size - 4


def test_the_mean_of_a_constant():
    # Exact: the estimate of a Poisson mean is the average, its variance the average over the number of channels.
    counts = np.array([[90.0, 100.0, 110.0] * 20])
    result = fit_spectra(counts, FitProblem(model=Twice(), start=np.array([50.0, 0.0]), free=np.array([True, False])))
    assert result.values[0, 0] == pytest.approx(100.0, abs=1e-2)  # the step that is left gains 1e-4 in log-likelihood
    assert result.std[0, 0] == pytest.approx(np.sqrt(100.0 / 60.0), rel=1e-3)


def test_a_whole_spectrum_is_recovered():
    energy = -5.0 + 0.2 * np.arange(400)
    model = SpectrumModel([Term(s) for s in (ZERO_LOSS_PEAK, VOLUME_PLASMON, VALENCE_BAND, DARK_LEVEL)], energy)
    truth = np.array([1e5, 0.13, 0.9, 0.0, 0.2, 0.03, 4.0, 0.6, 22.0, 9.0, 0.03, 5.2, 2.0, 4.0])
    free = np.ones(truth.size, dtype=bool)
    free[[3, 6]] = False
    start = np.where(free, truth * 1.05, truth)
    start[1] = 0.0
    result = fit_spectra(
        model.expectation(truth),
        FitProblem(model=model, start=start, free=free),
        options=SolverOptions(tolerance=1e-14),
    )
    assert result.status[0] == Status.CONVERGED
    np.testing.assert_allclose(result.values[0], truth, rtol=1e-5)  # exact


@pytest.mark.parametrize("seed", range(4))
def test_the_estimate_is_the_maximum_of_the_likelihood(seed):
    # Other program: scipy on the same likelihood.
    counts = draw(np.random.default_rng(seed), 1)
    result = fit_spectra(counts, FitProblem(model=MODEL, start=START), options=SolverOptions(tolerance=1e-10))

    def objective(theta):
        mean, jacobian = MODEL.evaluate(theta * TRUTH, FREE)
        return likelihood(counts[0], mean[0]), jacobian[0] @ (1.0 - counts[0] / mean[0]) * TRUTH

    # Its end is where no step lowers the likelihood in floating point, 1e-4 of a standard error away.
    other = minimize(objective, START / TRUTH, jac=True, method="BFGS", options={"gtol": 1e-7}).x * TRUTH
    assert np.all(np.abs(result.values[0] - other) < 1e-3 * result.std[0])


# ------------------------------------------------------------------------------------------------ honest errors


@pytest.mark.parametrize(
    ("scale", "detector"),
    [
        (1.0, Detector()),
        (0.05, Detector()),  # 1 to 20 counts a channel: no Gaussian approximation
        (1.0, Detector(gain=4.0, read_noise=6.0)),
        (0.2, Detector(gain=1.0, read_noise=8.0)),  # a tenth of the channels is negative
    ],
)
def test_errors_are_true(scale, detector):
    """Simulation with known truth: bias and reported standard errors of 4000 spectra."""
    truth = TRUTH * np.array([scale, 1.0, 1.0, scale])
    mean = MODEL.evaluate(truth, FREE)[0][0]
    counts = draw(np.random.default_rng(3), 4000, mean=mean, gain=detector.gain, read_noise=detector.read_noise)
    if detector.read_noise > 5.0 and scale < 1.0:
        assert np.mean(counts < 0.0) > 0.05
    result = fit_spectra(counts, FitProblem(model=MODEL, start=truth * 1.1), detector=detector)
    assert np.mean(result.status == Status.CONVERGED) > 0.999
    good = result.usable
    error, std = (result.values - truth)[good], result.std[good]
    for k in range(4):
        # 4000 spectra give the ratio to 1.1 % (standard error) and the bias to 0.016 standard errors.
        assert 0.95 < error[:, k].std() / np.sqrt(np.mean(std[:, k] ** 2)) < 1.05
        assert abs(error[:, k].mean()) < 0.1 * error[:, k].std()
    if scale == 1.0:
        correlation = np.corrcoef(error.T)
        reported = result.covariance[good].mean(axis=0)
        np.testing.assert_allclose(correlation, reported / np.sqrt(np.outer(*[np.diag(reported)] * 2)), atol=0.06)
        # The deviance of a good model is chi-squared distributed: its mean is the degrees of freedom.
        assert result.deviance[good].mean() == pytest.approx(result.dof[0], rel=0.03)


def test_gain_scales_values_but_not_relative_errors(rng):
    electrons = draw(rng, 20)
    one = fit_spectra(electrons, FitProblem(model=MODEL, start=START))
    five = fit_spectra(
        5.0 * electrons, FitProblem(model=MODEL, start=START * [5.0, 1.0, 1.0, 5.0]), detector=Detector(gain=5.0)
    )
    unit = np.array([5.0, 1.0, 1.0, 5.0])
    np.testing.assert_allclose(five.values, one.values * unit, rtol=1e-9)
    np.testing.assert_allclose(five.std, one.std * unit, rtol=1e-9)
    np.testing.assert_allclose(five.deviance, one.deviance, rtol=1e-9)


# ------------------------------------------------------------------------- bounds, fixed parameters, masked channels


def test_a_bound_stops_a_parameter(rng):
    counts = draw(rng, 5)
    upper = np.array([np.inf, 3.0, np.inf, np.inf])
    result = fit_spectra(counts, FitProblem(model=MODEL, start=[300.0, 2.5, 1.5, 50.0], upper=upper))
    assert np.all(result.status == Status.AT_BOUND)
    assert np.all(result.usable)
    np.testing.assert_array_equal(result.values[:, 1], 3.0)
    np.testing.assert_array_equal(result.covariance[:, 1], 0.0)
    np.testing.assert_array_equal(result.covariance[:, :, 1], 0.0)
    # The others are where a fit with that parameter fixed puts them.
    fixed = fit_spectra(
        counts, FitProblem(model=MODEL, start=[300.0, 3.0, 1.5, 50.0], free=np.array([True, False, True, True]))
    )
    assert np.all(fixed.status == Status.CONVERGED)
    others = [0, 2, 3]
    assert np.all(np.abs(result.values - fixed.values)[:, others] < 0.03 * fixed.std[:, others])
    np.testing.assert_allclose(result.std[:, others], fixed.std[:, others], rtol=0.02)


def test_a_bound_that_does_not_hold_does_nothing(rng):
    counts = draw(rng, 5)
    free_fit = fit_spectra(counts, FitProblem(model=MODEL, start=START))
    bounded = fit_spectra(
        counts, FitProblem(model=MODEL, start=START, lower=np.zeros(4), upper=np.array([1e4, 9.0, 5.0, 1e3]))
    )
    np.testing.assert_array_equal(bounded.values, free_fit.values)
    assert np.all(bounded.status == Status.CONVERGED)


def test_a_start_outside_the_bounds_is_brought_in(rng):
    result = fit_spectra(draw(rng, 3), FitProblem(model=MODEL, start=START * 3.0, upper=TRUTH * 1.5))
    assert np.all(result.usable)
    assert np.all(result.values <= TRUTH * 1.5)


def test_fixed_parameters_keep_their_own_start(rng):
    counts = draw(rng, 3)
    start = np.repeat(TRUTH[np.newaxis], 3, axis=0)
    start[:, 2] = [1.1, 1.2, 1.3]
    free = np.array([True, True, False, True])
    result = fit_spectra(counts, FitProblem(model=MODEL, start=start, free=free))
    np.testing.assert_array_equal(result.values[:, 2], [1.1, 1.2, 1.3])
    np.testing.assert_array_equal(result.std[:, 2], 0.0)
    assert np.all(result.dof == ENERGY.size - 3)


@settings(max_examples=25, deadline=None)
@given(
    first=st.integers(0, 59),
    last=st.integers(0, 59),
    junk=st.one_of(st.floats(-1e6, 1e9), st.just(np.nan), st.just(np.inf)),
)
def test_masked_channels_do_not_matter(first, last, junk):
    mask = np.zeros(60, dtype=bool)
    mask[min(first, last) : min(max(first, last), min(first, last) + 15)] = True
    counts = draw(np.random.default_rng(9), 2)
    other = counts.copy()
    other[:, mask] = junk
    one, two = (fit_spectra(c, FitProblem(model=MODEL, start=START, mask=mask)) for c in (counts, other))
    assert np.isfinite(one.values).all()
    for name in ("values", "covariance", "deviance", "status", "iterations"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert np.all(one.dof == 60 - mask.sum() - 4)


# ------------------------------------------------------------------------------------------------------ failures


def failed(result, row, status):
    assert result.status[row] == status
    assert not result.usable[row]
    assert np.isnan(result.values[row]).all()
    assert np.isnan(result.covariance[row]).all()
    assert np.isnan(result.deviance[row])


def test_pixels_that_cannot_be_fitted_say_why(rng):
    counts = draw(rng, 6)
    alone = fit_spectra(counts[[4]], FitProblem(model=MODEL, start=START))
    counts[0] = 0.0
    counts[1, 7] = np.nan
    counts[2, 7] = np.inf
    counts[3] = 0.0
    counts[3, :99] = 1.0  # 60 counts
    result = fit_spectra(counts, FitProblem(model=MODEL, start=START))
    failed(result, 0, Status.MASKED)
    failed(result, 1, Status.MASKED)
    failed(result, 2, Status.MASKED)
    failed(result, 3, Status.TOO_FEW_COUNTS)
    # Their neighbours in the block do not notice.
    np.testing.assert_array_equal(result.values[4], alone.values[0])
    np.testing.assert_array_equal(result.status[4:], Status.CONVERGED)


def test_few_counts_are_electrons_not_counts():
    counts = np.full((1, 60), 4.0)  # 240 counts of 4 an electron
    failed(
        fit_spectra(counts, FitProblem(model=MODEL, start=TRUTH), detector=Detector(gain=4.0)), 0, Status.TOO_FEW_COUNTS
    )
    assert fit_spectra(counts, FitProblem(model=MODEL, start=TRUTH)).status[0] != Status.TOO_FEW_COUNTS


def test_a_singular_model_is_flagged():
    counts = np.random.default_rng(0).poisson(100.0, (4, 60)).astype(float)
    result = fit_spectra(counts, FitProblem(model=Twice(), start=[50.0, 20.0]))
    for row in range(4):
        failed(result, row, Status.SINGULAR)


def test_a_parameter_that_nothing_depends_on_has_no_invented_error(rng):
    class Idle(Peak):
        n_parameters = 5

        def evaluate(self, parameters, free):
            mean, jacobian = super().evaluate(np.atleast_2d(parameters)[:, :4], FREE)
            jacobian = np.concatenate([jacobian, np.zeros_like(jacobian[:, :1])], axis=1)
            return mean, jacobian[:, free]

    counts = draw(rng, 2)
    result = fit_spectra(counts, FitProblem(model=Idle(), start=[*START, 7.0]))
    np.testing.assert_array_equal(result.values[:, 4], 7.0)
    assert np.all(result.status == Status.AT_BOUND)
    np.testing.assert_allclose(
        result.values[:, :4], fit_spectra(counts, FitProblem(model=MODEL, start=START)).values, rtol=1e-9
    )


def test_one_iteration_is_not_enough(rng):
    failed(
        fit_spectra(draw(rng, 1), FitProblem(model=MODEL, start=START * 2), options=SolverOptions(max_iterations=1)),
        0,
        Status.NOT_CONVERGED,
    )


def test_a_wrong_model_still_ends(rng):
    """Two peaks fitted by one: the estimate converges, and the deviance tells that it is no description."""
    second = MODEL.evaluate([2e4, 8.0, 0.5, 0.0], FREE)[0][0]
    result = fit_spectra(
        draw(rng, 3, mean=20 * MEAN + second), FitProblem(model=MODEL, start=START, lower=np.full(4, 1e-2))
    )
    assert np.all(result.status != Status.NOT_CONVERGED)
    assert np.all(result.deviance > 100 * result.dof)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"free": np.ones(3, dtype=bool)}, "one entry a parameter"),
        ({"lower": np.zeros(5)}, "one entry a parameter"),
        ({"upper": np.zeros((4, 1))}, "one entry a parameter"),
    ],
)
def test_wrong_shapes(kwargs, message):
    with pytest.raises(ValueError, match=message):
        fit_spectra(MEAN[np.newaxis], FitProblem(model=MODEL, start=START, **kwargs))


def test_one_spectrum_needs_its_axis():
    with pytest.raises(ValueError, match=r"\(spectra, channels\)"):
        fit_spectra(MEAN, FitProblem(model=MODEL, start=START))


@pytest.mark.parametrize("values", [{"gain": 0.0}, {"gain": -1.0}, {"gain": np.nan}, {"read_noise": -1.0}])
def test_impossible_detectors(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Detector(**values)


# ------------------------------------------------------------------------------------------------ blocks, progress


@pytest.mark.parametrize(("block_size", "workers"), [(1, 1), (7, 2), (64, 3)])
def test_blocks_and_order_do_not_matter(rng, block_size, workers):
    counts = draw(rng, 50)
    order = rng.permutation(50)
    plain = fit_spectra(counts, FitProblem(model=MODEL, start=START))
    other = fit_spectra(
        counts[order],
        FitProblem(model=MODEL, start=START),
        options=SolverOptions(block_size=block_size, workers=workers),
    )
    np.testing.assert_array_equal(other.status, plain.status[order])
    np.testing.assert_allclose(other.values, plain.values[order], rtol=1e-9)
    np.testing.assert_allclose(other.covariance, plain.covariance[order], rtol=1e-7, atol=1e-9)


def test_inputs_are_not_changed(rng):
    counts, start = draw(rng, 3), START * 5.0
    kept, begun = counts.copy(), start.copy()
    fit_spectra(
        counts, FitProblem(model=MODEL, start=start, upper=TRUTH * 2), detector=Detector(gain=2.0, read_noise=1.0)
    )
    np.testing.assert_array_equal(counts, kept)
    np.testing.assert_array_equal(start, begun)


def test_progress_adds_up(rng):
    done = []
    fit_spectra(
        draw(rng, 75), FitProblem(model=MODEL, start=START), options=SolverOptions(block_size=32), progress=done.append
    )
    assert done == [32, 32, 11]


def test_an_interrupt_stops_the_fit_and_leaves_everything_as_it_was(rng):
    counts = draw(rng, 200)
    start = np.repeat(START[np.newaxis], 200, axis=0)
    kept, begun, calls = counts.copy(), start.copy(), []

    def interrupt(done):
        calls.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_spectra(
            counts, FitProblem(model=MODEL, start=start), options=SolverOptions(block_size=10), progress=interrupt
        )
    assert calls == [10]
    np.testing.assert_array_equal(counts, kept)
    np.testing.assert_array_equal(start, begun)


def test_no_spectra():
    result = fit_spectra(np.zeros((0, 60)), FitProblem(model=MODEL, start=START))
    assert result.values.shape == (0, 4)
    assert result.std.shape == (0, 4)


def test_usable_is_what_the_status_says():
    assert {status for status in Status if status.usable} == {Status.CONVERGED, Status.AT_BOUND}


def test_others_do_not_make_up_for_what_a_bound_forbids():
    """Two strongly correlated amplitudes, one at its bound: the other is where a fit without it puts it."""
    shapes = np.stack(
        [np.exp(-0.5 * (ENERGY - 5.0) ** 2), np.exp(-0.5 * ((ENERGY - 5.2) / 1.1) ** 2), 0.1 + 0 * ENERGY]
    )

    class Mixture:
        n_parameters = 3

        def evaluate(self, parameters, free):
            parameters = np.atleast_2d(parameters)
            return parameters @ shapes, np.broadcast_to(shapes, (len(parameters), 3, ENERGY.size))[:, free]

    counts = np.random.default_rng(4).poisson(np.array([6e5, -1e5, 1e4]) @ shapes, (40, ENERGY.size))
    start = np.array([5e5, 1e-3, 1e4])  # close to the bound, not at it
    result = fit_spectra(counts, FitProblem(model=Mixture(), start=start, lower=np.array([-np.inf, 0.0, -np.inf])))
    assert np.all(result.status == Status.AT_BOUND)
    np.testing.assert_array_equal(result.values[:, 1], 0.0)
    alone = fit_spectra(counts, FitProblem(model=Mixture(), start=[5e5, 0.0, 1e4], free=np.array([True, False, True])))
    # Exact up to the log-likelihood at which either ends: 1e-4, more where the model misses the data, as here.
    assert np.all(np.abs(result.values - alone.values)[:, [0, 2]] < 0.1 * alone.std[:, [0, 2]])
    assert result.iterations.max() < 15


# ---------------------------------------------------------------------------------------------- rounding at high counts


@pytest.mark.parametrize("miss", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("level", [1e2, 1e6, 1e9, 1e11])
def test_the_deviance_is_exact_to_rounding(rng, level, miss):
    mean = level * rng.uniform(0.01, 1.0, 500)
    counts = rng.poisson(mean).astype(float)
    expectation = mean * (1.0 + miss * rng.uniform(0.0, 1.0, 500))
    objective, score, information = np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1, 1))
    compiled.accumulate(
        expectation[np.newaxis],
        np.ones((1, 1, 500)),
        np.zeros(1, dtype=np.int64),
        counts[np.newaxis],
        counts[np.newaxis],
        True,
        objective,
        score,
        information,
    )
    y, mu = counts.astype(np.longdouble), expectation.astype(np.longdouble)
    exact = np.sum(mu - y + np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / mu), 0))
    # Of a rounding error in every count, and no more: squares of what the model misses would have cost six digits.
    assert float(abs(objective[0] - exact)) < 1e-15 * counts.sum()
    error = float(np.sqrt(information[0, 0, 0]))
    assert score[0, 0] == pytest.approx(float(np.sum((y - mu) / mu)), rel=1e-9, abs=1e-9 * error)


def test_the_deviance_goes_on_below_what_can_be_expected():
    # Where the expectation is below the smallest, the deviance is a parabola with the same slope: exact.
    counts, expectation = np.array([[0.0, 3.0, 5.0, -2.0]]), np.array([[-1.0, 0.001, -20.0, 0.5]])
    objective, score, information = np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1, 1))
    rows = np.zeros(1, dtype=np.int64)
    compiled.accumulate(expectation, np.ones((1, 1, 4)), rows, counts, counts, True, objective, score, information)
    floor = np.maximum(expectation, compiled.SMALLEST)
    logarithm = np.log(np.where(counts > 0, counts, 1.0) / floor)
    lack = floor - expectation
    exact = floor - counts + counts * logarithm + lack * (counts - floor + 0.5 * lack) / compiled.SMALLEST
    assert objective[0] == pytest.approx(exact.sum(), rel=1e-13)
    assert score[0, 0] == pytest.approx(((counts - expectation) / floor).sum(), rel=1e-13)


def bright(rng, total, n, miss):
    """Peaks on a background of many electrons, and what the model of them misses."""
    mean = MODEL.evaluate(TRUTH * [total / 1e3, 1.0, 1.0, total / 1e3], FREE)[0][0]
    mean = mean * (1.0 + miss * np.sin(3.0 * ENERGY))
    return rng.poisson(mean, (n, mean.size)).astype(float)


@pytest.mark.parametrize("miss", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("total", [1e5, 8e8, 4e9, 1e11, 1e13])
def test_bright_spectra_converge_to_where_the_gradient_vanishes(rng, total, miss):
    counts = bright(rng, total, 20, miss)
    start = START * [total / 1e3, 1.0, 1.0, total / 1e3] * np.exp(0.05 * rng.standard_normal((20, 4)))
    result = fit_spectra(counts, FitProblem(model=MODEL, start=start, lower=np.array([0.0, -np.inf, 0.1, 0.0])))
    assert result.usable.all(), (result.status, result.iterations)
    mean, jacobian = MODEL.evaluate(result.values, FREE)
    score = np.einsum("sfe,se->sf", jacobian, (counts - mean) / mean)
    misfit = np.maximum(result.deviance / result.dof, 1.0)
    # In standard errors, of the scatter that is really there.
    left = np.einsum("sf,sfg,sg->s", score, result.covariance, score) / misfit
    assert np.all(left < 1e-8)
    np.testing.assert_allclose(result.values, np.broadcast_to(result.values[0], (20, 4)), rtol=0.1)


@pytest.mark.parametrize("relative", [0.0, 1e-9, 1e-3])
@pytest.mark.parametrize("level", [1e4, 1e8, 1e13])
def test_least_squares_of_nearly_exact_data_converge(rng, level, relative):
    truth = TRUTH * [level / 400.0, 1.0, 1.0, level / 400.0]
    mean = MODEL.evaluate(truth, FREE)[0][0]
    counts = mean * (1.0 + relative * rng.standard_normal((10, mean.size)))
    result = fit_spectra(
        counts, FitProblem(model=MODEL, start=truth * np.exp(0.05 * rng.standard_normal((10, 4)))), variance=1.0
    )
    assert result.usable.all(), (result.status, result.iterations)
    np.testing.assert_allclose(result.values, np.broadcast_to(truth, (10, 4)), rtol=5.0 * relative + 1e-5)


def test_what_stands_still_does_not_keep_others_from_learning():
    # The curvature learnt earlier couples the first parameter to a third that now has no effect; along the first, the
    # way down is straight, and half of the curvature that is believed in is not there.
    position, change = np.zeros((1, 3)), np.array([[1.0, 0.5, 0.0]])
    missing = np.zeros((1, 3, 3))
    missing[0, 0, 2] = missing[0, 2, 0] = 5.0
    information = np.diag([2.0, 1.0, 0.0])[np.newaxis]
    score, new_score = np.array([[2.0, 0.5, 0.0]]), np.array([[1.0, 0.0, 0.0]])
    steps.decide(
        np.zeros(1, dtype=np.int64),
        position,
        np.array([10.0]),
        score.copy(),
        information.copy(),
        missing,
        change,
        np.ones(1, dtype=bool),
        np.ones(1),
        np.zeros(1),
        np.full(1, 1e-9),
        np.zeros(1, dtype=bool),
        position + change,
        np.array([9.0]),
        new_score,
        information.copy(),
    )
    # The secant equation holds among those that moved: curvature times change is how the score changed.
    moved = (information[0] + missing[0])[:2, :2] @ change[0, :2]
    np.testing.assert_allclose(moved, (score - new_score)[0, :2])
    assert missing[0, 0, 2] == 5.0


def test_the_first_of_fits_that_are_as_good():
    counts = np.repeat(MEAN[np.newaxis] * 1e6, 3, axis=0)
    result = fit_spectra(counts, FitProblem(model=MODEL, start=START * [1e6, 1.0, 1.0, 1e6]))
    assert result.best() == 0
    result.deviance[:] = [20.0, 10.0 + 1e-9, 10.0]
    assert result.best() == 1
    result.status[1] = Status.NOT_CONVERGED
    assert result.best() == 2
    result.status[:] = Status.SINGULAR
    assert result.best() is None


def test_what_a_common_start_and_the_last_steps_share_changes_nothing(rng, monkeypatch):
    """Spectra with one start share its expectation, and the last steps the curvature: fits end where they did."""
    energy = np.linspace(-5.0, 60.0, 400)
    model = SumModel([Term(ZERO_LOSS_PEAK), Term(VOLUME_PLASMON), Term(VALENCE_BAND)], energy, scale=1.0)
    start = np.array([2e5, 0.0, 0.8, 0.05, 0.1, 0.02, 5.0, 3e4, 22.0, 8.0, 4e3, 5.2, 2.0])
    truth = start * rng.uniform(0.9, 1.1, (24, start.size))
    truth[:, 1] = rng.normal(0.0, 0.05, 24)
    counts = rng.poisson(model.expectation(truth)).astype(float)
    free = np.ones(start.size, dtype=bool)
    free[3:7] = False
    truth[:, 3:7] = start[3:7]
    shared = fit_spectra(counts, FitProblem(model=model, start=start, free=free))
    monkeypatch.setattr(BoundSum, "gives_score", False)
    apart = np.tile(start, (24, 1))
    apart[:, 0] += np.arange(24)
    alone = fit_spectra(counts, FitProblem(model=model, start=apart, free=free))
    assert shared.usable.all()
    assert np.max(np.abs(shared.values - alone.values)[:, free] / alone.std[:, free]) < 1e-4
    np.testing.assert_allclose(shared.std, alone.std, rtol=1e-3)
    np.testing.assert_allclose(
        shared.covariance, alone.covariance, rtol=1e-2, atol=1e-3 * np.abs(alone.covariance).min()
    )
    np.testing.assert_allclose(shared.deviance, alone.deviance, rtol=1e-9)
