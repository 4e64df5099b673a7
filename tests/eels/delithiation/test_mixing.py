"""Mixtures of end members, and line shapes of their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hyperspy_assb.eels.delithiation.mixing import OWN_SHAPE_ALPHA, MixtureStatus, compare_with_mixture

NAMES = ("band", "Li_K", "c0", "c1")
CONTRAST = np.array([-2.0, 5.0, 1.0, 0.5])


def columns(seed: int, pixels: int = 150):
    """x, t/lambda of the olivines and of two other phases, and a generator."""
    rng = np.random.default_rng(seed)
    return (
        rng.uniform(-0.05, 1.05, pixels),
        rng.uniform(0.2, 0.9, pixels),
        rng.uniform(0.0, 0.2, (pixels, 2)),
        rng,
    )


def noise(rng, pixels: int = 150):
    """Correlated parameters, some pixels noisier than others."""
    mixing = np.array([[1.0, 0.4, 0.0, 0.2], [0.0, 2.0, 0.3, 0.0], [0.0, 0.0, 0.5, 0.4], [0.0, 0.0, 0.0, 1.0]])
    return 0.05 * rng.uniform(0.5, 2.0, (pixels, 1)) * (rng.standard_normal((pixels, 4)) @ mixing)


def test_a_curvature_is_recovered():
    x, olivine, others, rng = columns(0)
    own = np.array([0.3, 0.0, -0.1, 0.02])
    inside = np.clip(x, 0.0, 1.0)
    line = 0.1 + 0.2 * inside + 0.05 * (olivine + others.sum(axis=1))
    residual = olivine[:, np.newaxis] * (np.outer(4.0 * inside * (1.0 - inside), own) + line[:, np.newaxis])
    residual += others @ rng.standard_normal((2, 4))
    found = compare_with_mixture(NAMES, residual, CONTRAST, fraction=x, electrode=olivine, others=others)
    np.testing.assert_allclose(found.curvature, own, atol=1e-10)
    noisy = residual + noise(rng)
    found = compare_with_mixture(NAMES, noisy, CONTRAST, fraction=x, electrode=olivine, others=others)
    assert found.status is MixtureStatus.OWN_SHAPE
    assert abs(found.curvature[0] - 0.3) < 4.0 * found.curvature_std[0]


def test_p_values_of_mixtures_are_uniform():
    """Known truth: 400 images of mixtures, with noise that differs from pixel to pixel."""
    p = []
    for seed in range(400):
        x, olivine, others, rng = columns(seed)
        p.append(
            compare_with_mixture(NAMES, noise(rng), CONTRAST, fraction=x, electrode=olivine, others=others).p_value
        )
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert np.mean(np.array(p) < OWN_SHAPE_ALPHA) < 0.01


def test_too_few_pixels_between_the_ends_cannot_be_told():
    x, olivine, others, rng = columns(1)
    x = np.where(x < 0.5, 0.0, 1.0)
    x[:3] = 0.5
    found = compare_with_mixture(NAMES, noise(rng), CONTRAST, fraction=x, electrode=olivine, others=others)
    assert found.status is MixtureStatus.UNDECIDED
    assert found.n_intermediate == 3
    empty = compare_with_mixture(
        NAMES, np.zeros((0, 4)), CONTRAST, fraction=np.zeros(0), electrode=np.zeros(0), others=np.zeros((0, 2))
    )
    assert np.isnan(empty.p_value)


def test_pixels_without_an_answer_are_left_out():
    x, olivine, others, rng = columns(2)
    residual = noise(rng)
    expected = compare_with_mixture(
        NAMES, residual[5:], CONTRAST, fraction=x[5:], electrode=olivine[5:], others=others[5:]
    )
    x[0], residual[1, 2], olivine[2], others[3, 0], olivine[4] = np.nan, np.nan, -0.1, np.nan, 0.0
    found = compare_with_mixture(NAMES, residual, CONTRAST, fraction=x, electrode=olivine, others=others)
    assert found.p_value == pytest.approx(expected.p_value)
    assert found.n_pixels == expected.n_pixels == 145


@given(scale=st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4), seed=st.integers(0, 50))
def test_units_of_parameters_do_not_matter(scale, seed):
    x, olivine, others, rng = columns(seed)
    residual = noise(rng)
    one = compare_with_mixture(NAMES, residual, CONTRAST, fraction=x, electrode=olivine, others=others)
    two = compare_with_mixture(NAMES, residual * scale, CONTRAST, fraction=x, electrode=olivine, others=others)
    assert two.p_value == pytest.approx(one.p_value, rel=1e-6, abs=1e-12)
