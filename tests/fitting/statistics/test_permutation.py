"""Permutation tests: exact small cases, invariants, and p values that are uniform where nothing has changed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hyperspy_assb.fitting.statistics.permutation import (
    ROUNDING,
    assess_clusters,
    cluster_threshold,
    correct_by_holm,
    find_clusters,
    merge_equal,
    p_value,
    partial_statistic,
    permute_rows,
    relate_blocks,
)

TWO = np.repeat([0.0, 1.0], 10)
ONES = np.ones((20, 1))


def test_slope_of_two_groups_is_the_difference_of_their_means(rng):
    values = rng.normal(size=(20, 3))
    slope, std, t = partial_statistic(values, TWO[None], ONES)
    np.testing.assert_allclose(slope[0], values[10:].mean(axis=0) - values[:10].mean(axis=0), rtol=1e-10)
    # White's variance is that of Welch with n instead of n - 1, times 20/18.
    variance = (values[10:].var(axis=0) / 10 + values[:10].var(axis=0) / 10) * 20 / 18
    np.testing.assert_allclose(std[0], np.sqrt(variance), rtol=1e-9)
    np.testing.assert_allclose(t[0], slope[0] / std[0], rtol=1e-9)


def test_a_covariate_takes_away_what_it_explains(rng):
    thickness = rng.uniform(0.3, 0.9, 20) + 0.2 * TWO
    values = np.stack([3.0 * thickness, 3.0 * thickness + 0.5 * TWO], axis=1) + 1e-3 * rng.normal(size=(20, 2))
    covariates = np.stack([np.ones(20), thickness], axis=1)
    test = relate_blocks(values, TWO, covariates)
    np.testing.assert_allclose(test.slope, [0.0, 0.5], atol=5e-3)
    # One of the 999 orders is that of the states: 2 of 1000, and on every processor.
    assert test.p[1] == pytest.approx(2 / 1000)
    assert test.p[0] > 0.01


def test_all_permutations_at_once(rng):
    values = rng.normal(size=(20, 4))
    scores = np.stack([TWO, TWO[::-1], rng.permutation(TWO)])
    together = partial_statistic(values, scores, ONES)[2]
    for row, score in zip(together, scores, strict=True):
        np.testing.assert_allclose(row, partial_statistic(values, score[None], ONES)[2][0])


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-10, 10), seed=st.integers(0, 1000))
def test_units_do_not_matter(scale, shift, seed):
    values = np.random.default_rng(seed).normal(size=(20, 3))
    one = relate_blocks(values, TWO, ONES, permutations=59)
    two = relate_blocks(scale * (values + shift), TWO, ONES, permutations=59)
    np.testing.assert_allclose(one.t, two.t, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(one.p, two.p)
    swapped = relate_blocks(values, 1 - TWO, ONES, permutations=59)
    np.testing.assert_allclose(swapped.slope, -one.slope)


def test_a_column_without_scatter_has_no_answer():
    test = relate_blocks(np.tile([1.0, 0.0], (20, 1)), TWO, ONES, permutations=19)
    assert np.isnan(test.p).all()
    assert np.isnan(test.p_corrected).all()


def test_corrected_p_is_never_smaller_and_holds_for_all_columns(rng):
    hits, single = 0, []
    for seed in range(200):
        values = rng.normal(size=(20, 6))
        test = relate_blocks(values, TWO, ONES, permutations=99, seed=seed)
        assert (test.p_corrected >= test.p - 1e-12).all()
        hits += test.p_corrected.min() <= 0.05
        single.append(test.p[0])
    assert stats.binomtest(hits, 200, 0.05).pvalue > 1e-3
    assert stats.kstest(np.array(single) - rng.random(200) / 100, "uniform").pvalue > 1e-3


def test_clusters_of_a_row():
    t = np.array([0.0, 2.5, 3.0, -3.0, 0.5, 2.1])
    assert find_clusters(t, 2.0) == [(1, 2, 5.5), (3, 3, -3.0), (5, 5, 2.1)]
    assert find_clusters(np.zeros(4), 2.0) == []


def test_a_cluster_is_found_and_noise_is_not(rng):
    values = rng.normal(size=(20, 50))
    values[10:, 20:26] += 2.0
    test = relate_blocks(values, TWO, ONES, permutations=199)
    clusters = assess_clusters(test, threshold=cluster_threshold(20))
    best = min(clusters, key=lambda c: c.p)
    assert best.p <= 0.02
    assert best.mass > 0
    assert 18 <= best.first <= 21
    assert 24 <= best.last <= 27
    assert all(c.p > 0.05 for c in clusters if c is not best)


def test_a_trend(rng):
    scores = np.repeat([0.0, 1.0, 4.0], 8)
    values = rng.normal(size=(24, 2))
    values[:, 1] += scores
    test = relate_blocks(values, scores, np.ones((24, 1)))
    assert test.slope[1] == pytest.approx(1.0, abs=0.4)
    assert test.p_corrected[1] < 0.01 < test.p[0]


def test_holm_leaves_out_what_is_not_known():
    np.testing.assert_allclose(correct_by_holm([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06])
    assert np.isnan(correct_by_holm([np.nan])).all()


# ------------------------------------------------------------------------------------------ ties and the last bit


def exact_p(levels, scores, permutations, seed):
    """The p value of one column of integers, in rational numbers: equals are equal."""
    size = len(levels)
    mean = Fraction(sum(levels), size)
    rest = [Fraction(value) - mean for value in levels]

    def squared(labels):
        z = [Fraction(int(label)) - Fraction(1, 2) for label in labels]
        slope = sum(a * b for a, b in zip(z, rest, strict=True)) / sum(a * a for a in z)
        meat = sum(a * a * (b - slope * a) ** 2 for a, b in zip(z, rest, strict=True))
        whole = sum(a * a * b * b for a, b in zip(z, rest, strict=True))
        return slope**2 / max(meat, whole / 10**12)

    observed = squared(scores)
    reached = sum(squared(labels) >= observed for labels in scores[permute_rows(size, permutations, seed)])
    return (1 + reached) / (1 + permutations)


@settings(max_examples=40, deadline=None)
@given(
    levels=st.lists(st.integers(0, 4), min_size=12, max_size=12).filter(lambda v: len(set(v)) > 1),
    apart=st.sampled_from([0, 6]),
    scale=st.sampled_from([1.0, 0.1, 1.0 / 3.0]),
    shift=st.sampled_from([0.0, 1e3, 1e6]),
    seed=st.integers(0, 1000),
)
def test_ties_are_ties_whatever_the_last_bit(levels, apart, scale, shift, seed):
    scores = np.repeat([0.0, 1.0], 6)
    levels = [value + apart * int(label) for value, label in zip(levels, scores, strict=True)]
    p = exact_p(levels, scores, 59, seed)
    values = scale * np.array(levels, dtype=float)[:, np.newaxis] + shift
    rng = np.random.default_rng(seed)
    for turn in range(3):
        nearly = values * (1.0 + turn * np.finfo(float).eps * rng.integers(-1, 2, values.shape))
        test = relate_blocks(nearly, scores, np.ones((12, 1)), permutations=59, seed=seed)
        assert test.p[0] == pytest.approx(p)  # exact
        assert test.p_corrected[0] == pytest.approx(p)


def test_groups_without_scatter_are_as_far_apart_as_can_be():
    # Twenty blocks, two values: only the order of the states, or its mirror image, is as extreme.
    test = relate_blocks(np.where(TWO > 0, 0.3, 0.1)[:, np.newaxis], TWO, ONES, permutations=199, seed=1)
    assert test.p[0] == pytest.approx(1 / 200)
    assert np.isfinite(test.t[0])


def test_clusters_of_tied_blocks(rng):
    values = np.repeat(rng.integers(0, 3, size=(20, 1)), 8, axis=1) * 0.1
    values[10:] += 0.2
    found = []
    for _ in range(4):
        nearly = values * (1.0 + np.finfo(float).eps * rng.integers(-1, 2, values.shape))
        clusters = assess_clusters(relate_blocks(nearly, TWO, ONES, permutations=199), threshold=cluster_threshold(20))
        found.append([(c.first, c.last, c.p) for c in clusters])
    assert found[0]
    assert all(one == found[0] for one in found)


def test_p_value_counts_what_is_equal_but_for_rounding():
    permuted = np.array([[1.0, 3.0], [1.0 - 1e-15, 2.0], [0.5, 3.0 + 1e-9]])
    np.testing.assert_allclose(p_value(permuted, [1.0, 3.0], 1e-14), [3 / 4, 3 / 4])
    np.testing.assert_allclose(p_value(permuted, [1.0, 3.0], 0.0), [2 / 4, 3 / 4])


@given(st.lists(st.integers(-50, 50), max_size=30), st.integers(0, 100))
def test_values_that_differ_by_rounding_are_merged_and_no_others(levels, seed):
    values = 0.1 * np.array(levels, dtype=float)
    noise = np.random.default_rng(seed).uniform(-1.0, 1.0, values.size)
    merged = merge_equal(values + 0.1 * ROUNDING * np.abs(values).max(initial=0.0) * noise)
    np.testing.assert_allclose(merged, values, atol=1e-12)
    assert len(np.unique(merged)) == len(set(levels))


def test_what_is_not_known_is_not_merged():
    np.testing.assert_array_equal(merge_equal([2.0, np.nan, 2.0 + 1e-15, np.nan]), [2.0, np.nan, 2.0, np.nan])
    assert merge_equal([]).size == 0
