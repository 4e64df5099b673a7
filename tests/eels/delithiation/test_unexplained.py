"""What no phase explains: the test of a pixel under the null, and what pure pixels scatter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hyperspy_assb.eels.delithiation.unexplained import freedom, measure_misfit
from hyperspy_assb.eels.delithiation.unnamed_phases import see_through
from tests.eels.delithiation.residual_scenes import K, Known, R, noise


def test_p_values_of_noise_are_uniform(rng):
    found = see_through(Known(), noise(rng, 4000), None)
    assert stats.kstest(found.explained, "uniform").pvalue > 1e-3


def test_noise_that_channels_share_is_a_scale_and_misfit_is_not(rng):
    scale, misfit = measure_misfit(noise(rng, 200), K - R)
    assert scale == 1.0
    assert not misfit.any()
    scale, misfit = measure_misfit(noise(rng, 200, scale=6.0), K - R)
    assert scale == pytest.approx(6.0, rel=0.15)
    assert not misfit.any()
    pure = noise(rng, 200)
    direction = np.linalg.cholesky(pure.covariance[0]) @ np.eye(K)[1]
    off = 8.0 * pure.t_over_lambda * rng.standard_normal(200)
    scale, misfit = measure_misfit(replace(pure, values=pure.values + off[:, np.newaxis] * direction), K - R)
    assert scale == 1.0
    assert np.trace(misfit) == pytest.approx(64.0 * direction @ direction, rel=0.5)


def test_pixels_without_residuals_are_not_judged(rng):
    sample = noise(rng, 30)
    sample.values[3] = np.nan
    found = see_through(Known(), sample, None)
    assert np.isnan(found.explained[3])
    assert not found.unexplained[3]
    assert freedom(Known()) == K - R
