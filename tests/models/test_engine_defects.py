"""What the batched fit gets wrong."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb

C = hs.model.components1D


def simulated(component, offset, scale, size, level):
    signal = hs.signals.Signal1D(np.zeros((4, size)))
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale = offset, scale
    mean = component.function(axis.axis)
    mean *= level / mean.mean()
    signal.data[:] = np.random.default_rng(1).poisson(mean, signal.data.shape)
    model = signal.create_model()
    model.append(component)
    for p in component.free_parameters:
        if p._linear:
            p.value *= level / component.function(axis.axis).mean() if len(component.free_parameters) < 4 else 1.3
    return model


@pytest.mark.parametrize("loss", ["ML-poisson", "ls"])
def test_a_power_law_on_a_narrow_range_converges(loss):
    """Amplitude and exponent lie in a bent valley, along which the steps crawl."""
    model = simulated(C.PowerLaw(A=1e9, r=2.6), 250.0, 0.5, 160, 300.0)
    model["PowerLaw"].r.value = 2.608
    result = hyperspy_assb.multifit(model, loss_function=loss, show_progressbar=False)
    assert result.usable.all(), (result.status, result.iterations)


def test_a_polynomial_far_from_zero_is_not_said_to_have_converged_where_it_has_not():
    """The coefficients are nearly collinear: damped steps gain little, which is taken for the end."""
    component = C.Polynomial(order=5, a0=1.0, a1=1e-3, a2=1e-6, a3=1e-9, a4=1e-12, a5=1e-15)
    model = simulated(component, 500.0, 1.0, 200, 100.0)
    result = hyperspy_assb.multifit(model, show_progressbar=False)
    # Known truth: chi-squared with 194 degrees of freedom.
    assert np.all(result.deviance[result.usable] < 300.0), result.deviance
