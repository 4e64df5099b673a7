"""Models whose parameters lie in bent or flat valleys, along which steps crawl."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.models.multifit import FitOptions

C = hs.model.components1D


def edge_model(level, seed=1):
    """A power law and an edge on a narrow range: amplitude and exponent lie in a bent valley."""
    signal = hs.signals.Signal1D(np.zeros((6, 160)))
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale = 250.0, 0.5
    background = C.PowerLaw(A=level * 290.0**2.6, r=2.6)
    edge = C.Expression(
        "where(x > 284.1, height * (x / 284)**-4, 0)",
        name="Edge",
        height=0.5 * level,
        compute_gradients=False,
        linear_parameter_list=["height"],
        check_parameter_linearity=False,
    )
    mean = background.function(axis.axis) + edge.function(axis.axis)
    signal.data[:] = np.random.default_rng(seed).poisson(mean, signal.data.shape)
    model = signal.create_model()
    model.extend([background, edge])
    background.A.value *= 1.2
    background.r.value *= 1.003
    edge.height.value *= 1.2
    return model


@pytest.mark.parametrize("loss", ["ML-poisson", "ls"])
@pytest.mark.parametrize("level", [300.0, 3e4])
def test_a_power_law_below_an_edge_converges(level, loss, exact):
    model = edge_model(level)
    options = FitOptions(tolerance=1e-10)
    result = hyperspy_assb.multifit(model, loss_function=loss, options=options, show_progressbar=False)
    assert result.usable.all(), result.fitted
    exact.compare(model, loss)


def test_a_polynomial_far_from_zero_is_not_said_to_have_converged_where_it_has_not():
    """The coefficients are nearly collinear: damped steps gain little, which is taken for the end."""
    x = 500.0 + np.arange(200)
    mean = 1.0 + (x / 1e3) + (x / 1e3) ** 2 + (x / 1e3) ** 3 + (x / 1e3) ** 4 + (x / 1e3) ** 5
    signal = hs.signals.Signal1D(np.random.default_rng(1).poisson(100.0 * mean / mean.mean(), (2, 200)).astype(float))
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale = 500.0, 1.0
    model = signal.create_model()
    model.append(C.Polynomial(order=5, a0=1.3, a1=1.3e-3, a2=1.3e-6, a3=1.3e-9, a4=1.3e-12, a5=1.3e-15))
    result = hyperspy_assb.multifit(model, show_progressbar=False)
    # Known truth: chi-squared with 194 degrees of freedom.
    assert np.all(result.deviance[result.usable] < 300.0), result.deviance


def test_default_options_reach_a_ten_thousandth_of_the_standard_error(exact):
    """The default tolerance leaves 1.4e-4 standard errors by itself."""
    x = 100.0 + 0.5 * np.arange(300)
    for level in (3.0, 300.0):
        mean = x**-3.0
        counts = np.random.default_rng(3).poisson(level * mean / mean.mean(), (6, 300)).astype(float)
        signal = hs.signals.Signal1D(counts)
        signal.axes_manager.signal_axes[0].offset, signal.axes_manager.signal_axes[0].scale = 100.0, 0.5
        variance = np.maximum(counts, 1.0)
        signal.set_noise_variance(hs.signals.Signal1D(variance))
        model = signal.create_model()
        model.append(C.PowerLaw(A=1.3 * level / mean.mean(), r=3.09))
        hyperspy_assb.multifit(model, loss_function="ls", show_progressbar=False)
        exact.compare(model, "ls", variance=variance)
