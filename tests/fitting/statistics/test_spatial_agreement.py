"""Agreement of maps and of particles: exact cases, p values without an effect, power with one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from hyperspy_assb.fitting.statistics.spatial_agreement import compare_particles, correlated_pixels, spatial_association


def smooth(rng, sigma, shape=(48, 48)):
    """A stationary field, cut from a larger one: it does not go on over its edges."""
    margin = 4 * int(sigma)
    whole = ndimage.gaussian_filter(rng.normal(size=[n + 2 * margin for n in shape]), sigma)
    return whole[margin:-margin, margin:-margin]


def test_correlation_is_that_of_pearson_in_the_pixels_that_both_have(rng):
    one, other = rng.normal(size=(2, 12, 14))
    one[3:6, 2:9] = np.nan
    other[0] = np.nan
    both = np.isfinite(one) & np.isfinite(other)
    found = spatial_association(one, other)
    assert found.correlation == pytest.approx(np.corrcoef(one[both], other[both])[0, 1])
    assert found.pixels == both.sum()


def test_units_and_offsets_do_not_matter(rng):
    one, other = smooth(rng, 3), smooth(rng, 3)
    first, second = spatial_association(one, other), spatial_association(1e6 + 3.0 * one, -7.0 * other)
    assert second.correlation == pytest.approx(-first.correlation)
    assert second.p == pytest.approx(first.p)


@pytest.mark.parametrize(
    ("one", "other", "match"),
    [
        (np.ones((8, 8)), np.ones((8, 9)), "shapes"),
        (np.full((8, 8), np.nan), np.ones((8, 8)), "share 0 pixels"),
        (np.ones((8, 8)), np.arange(64.0).reshape(8, 8), "constant"),
    ],
)
def test_what_cannot_be_compared_is_named(one, other, match):
    with pytest.raises(ValueError, match=match):
        spatial_association(one, other)


@pytest.mark.slow
def test_p_values_of_maps_that_have_nothing_to_do_with_each_other_are_uniform():
    """500 maps, half of them with missing pixels, half against a map of two classes."""
    p = []
    for seed in range(500):
        rng = np.random.default_rng(seed)
        one, other = smooth(rng, 3), smooth(rng, 4)
        if seed % 2:
            one = np.where(smooth(rng, 4) > -0.02, one, np.nan)
        p.append(spatial_association(one, np.sign(other) if seed % 4 > 1 else other).p)
    p = np.array(p)
    for alpha in (0.01, 0.05, 0.2, 0.5):
        low, high = stats.binom.interval(0.999, 500, alpha)
        assert low <= (p < alpha).sum() <= high, alpha
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_pixels_that_count_as_one(rng):
    """White noise counts each; of a Gaussian blur of sigma it is 4 pi sigma²."""
    assert correlated_pixels(rng.normal(size=(64, 64))) < 1.5
    blurred = np.mean([correlated_pixels(smooth(np.random.default_rng(s), 2, (96, 96))) for s in range(8)])
    assert blurred == pytest.approx(4.0 * np.pi * 4.0, rel=0.25)


def draw(seed, *, disagree=0.0, particles=24):
    """x by one method and the share by another; of the delithiated particles some are lithiated by the first."""
    rng = np.random.default_rng(seed)
    delithiated = rng.random(particles) < 0.5
    wrong = np.zeros(particles, dtype=bool)
    wrong[rng.permutation(np.flatnonzero(delithiated))[: int(np.ceil(disagree * delithiated.sum()))]] = True
    x = np.where(delithiated & ~wrong, 0.0, 1.0) + 0.08 * rng.normal(size=particles)
    share = np.where(delithiated, 0.0, 1.0) + 0.05 * rng.normal(size=particles)
    return x, share, wrong, compare_particles(x, np.full(particles, 0.08), share, np.full(particles, 0.05), seed=seed)


def test_particles_that_disagree_are_found():
    """A third of the delithiated ones: in more than 90 % of 200 lamellae something is found, and hardly a wrong one."""
    found, all_of_them, false = [], [], []
    for seed in range(200):
        _, _, wrong, compared = draw(seed, disagree=1 / 3)
        if wrong.any():
            found.append(compared.p < 0.05)
            all_of_them.append(compared.contradicts[wrong].mean())
            false.append((compared.contradicts & ~wrong).sum() / max(compared.contradicts.sum(), 1))
    assert np.mean(found) >= 0.9
    assert np.mean(all_of_them) >= 0.9
    assert np.mean(false) < 0.05


def test_particles_that_agree_have_no_contradiction():
    assert sum(draw(seed)[3].contradicts.any() for seed in range(200)) <= 10


def test_p_values_of_independent_particles_are_uniform():
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, share, _, _ = draw(seed)
        std = np.full(x.size, 0.1)
        p.append(compare_particles(rng.permutation(x), std, share, std, permutations=199, seed=seed).association_p)
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_missing_particles_stay_missing():
    values = np.array([0.0, np.nan, 1.0, 1.0, 0.0])
    std = np.full(5, 0.1)
    compared = compare_particles(values, std, np.ones(5), std)
    assert np.isnan(compared.z[1])
    assert compared.contradicts.tolist() == [True, False, False, False, True]
