"""Whether phases explain elements: distance from the nearest mixture, foreign elements, all pixels together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hyperspy_assb.eds.composition import Composition
from hyperspy_assb.eds.phase_evidence import PhaseStatus, describe, explain, foreign_share, judge_whole

# Two phases of three elements: LiFePO4, and a phosphate without iron.
MATRIX = np.array([[1.0, 0.0], [1.0, 1.0], [4.0, 4.0]])
CELL = ("Fe", "P", "O")
ELEMENTS = (*CELL, "Ga", "Cu")


def composition(amounts, variance=1.0, calibration=0.0, elements=ELEMENTS):
    amounts = np.atleast_2d(np.asarray(amounts, dtype=float))
    n, m = amounts.shape
    return Composition(
        elements=tuple(elements[:m]),
        atoms=np.maximum(amounts, 0.0),
        unclipped=amounts,
        covariance=np.tile(np.broadcast_to(variance, (m,)) * np.eye(m), (n, 1, 1)),
        calibration=np.broadcast_to(calibration, (m,)).astype(float),
        status=np.zeros(n, dtype=np.int8),
    )


def judge(found, where=None, **kwargs):
    where = np.ones(len(found.atoms), dtype=bool) if where is None else where
    return judge_whole(found, CELL, MATRIX, where, **{"level": 1e-3, "largest_foreign": 0.1, **kwargs})


def test_mixture_is_explained():
    residual, std, p_value = explain(composition(MATRIX @ [30.0, 20.0]), MATRIX)
    np.testing.assert_allclose(residual, 0.0, atol=1e-9)
    np.testing.assert_allclose(std, 1.0)
    assert p_value[0] == pytest.approx(1.0)


def test_distance_by_hand():
    # One phase of equal parts: (12, 8) lies sqrt(8) from (10, 10), with one degree of freedom.
    residual, _, p_value = explain(composition([12.0, 8.0]), np.array([[1.0], [1.0]]))
    np.testing.assert_allclose(residual, [[2.0, -2.0]])
    assert p_value[0] == pytest.approx(stats.chi2.sf(8.0, 1), rel=1e-9)
    # Twice the errors: half as far.
    _, _, wider = explain(composition([12.0, 8.0], variance=4.0), np.array([[1.0], [1.0]]))
    assert wider[0] == pytest.approx(stats.chi2.sf(2.0, 1), rel=1e-9)


def test_amounts_of_phases_are_not_negative():
    residual, _, p_value = explain(composition([-5.0, -5.0]), np.array([[1.0], [1.0]]))
    np.testing.assert_allclose(residual, [[-5.0, -5.0]])
    assert p_value[0] == pytest.approx(stats.chi2.sf(50.0, 2), rel=1e-9)


def test_as_many_phases_as_elements_explain_everything():
    _, _, p_value = explain(composition([12.0, 8.0]), np.eye(2))
    assert p_value[0] == 1.0


def test_calibration_makes_room():
    _, std, p_value = explain(composition([112.0, 88.0], calibration=[0.1, 0.0]), np.array([[1.0], [1.0]]))
    np.testing.assert_allclose(std, [[np.sqrt(1.0 + 11.2**2), 1.0]])
    assert p_value[0] > 0.02
    assert explain(composition([112.0, 88.0]), np.array([[1.0], [1.0]]))[2][0] < 1e-20


def test_correlated_errors_count():
    found = composition([12.0, 8.0])
    found.covariance[:] = [[4.0, -3.9], [-3.9, 4.0]]
    _, _, p_value = explain(found, np.array([[1.0], [1.0]]))
    # The difference of 4 has the variance 15.8.
    assert p_value[0] == pytest.approx(stats.chi2.sf(16.0 / 15.8, 1), rel=1e-9)


def test_pixel_without_an_answer_has_none():
    found = composition([[12.0, 8.0], [np.nan, np.nan]])
    found.covariance[1] = np.nan
    residual, std, p_value = explain(found, np.array([[1.0], [1.0]]))
    assert np.isfinite(p_value[0])
    assert np.isnan([*residual[1], *std[1], p_value[1]]).all()


@pytest.mark.parametrize("calibration", [0.0, 0.01])
def test_p_values_of_mixtures_are_uniform(rng, calibration):
    truth = MATRIX @ [300.0, 200.0]
    off = rng.normal(1.0, np.where(calibration, calibration, 1e-12), (2000, 3))
    drawn = rng.normal(truth * off, [2.0, 3.0, 10.0])
    _, _, p_value = explain(composition(drawn, variance=[4.0, 9.0, 100.0], calibration=calibration), MATRIX)
    assert stats.kstest(p_value, "uniform").pvalue > 0.01


def test_p_values_of_a_single_phase_are_not_too_small(rng):
    drawn = rng.normal(MATRIX @ [300.0, 0.0], [2.0, 3.0, 10.0], (2000, 3))
    _, _, p_value = explain(composition(drawn, variance=[4.0, 9.0, 100.0]), MATRIX)
    for level in (0.5, 0.1, 0.02):
        assert (p_value < level).mean() < level + 4.0 * np.sqrt(level / 2000)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 100.0), st.lists(st.floats(0.0, 200.0), min_size=3, max_size=3))
def test_units_do_not_matter(factor, amounts):
    one = explain(composition(amounts, calibration=0.05), MATRIX)
    other = explain(composition(factor * np.array(amounts), factor**2, 0.05), MATRIX)
    np.testing.assert_allclose(other[2], one[2], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(other[0], factor * one[0], rtol=1e-6, atol=1e-6 * factor)


def test_foreign_share_by_hand():
    share, std = foreign_share(composition([50.0, 30.0, 15.0, 5.0, 0.0]), CELL)
    assert share[0] == pytest.approx(0.05)
    # Slope 0.95 / 100 of what is foreign, and -0.05 / 100 of what is not.
    assert std[0] == pytest.approx(np.sqrt(2 * 0.95**2 + 3 * 0.05**2) / 100.0)


def test_foreign_share_with_a_calibration():
    found = composition([60.0, 20.0, 10.0, 10.0, 0.0], variance=1e-12, calibration=[0.1, 0.1, 0.1, 0.1, 0.1])
    share, std = foreign_share(found, CELL)
    assert share[0] == pytest.approx(0.1)
    slopes = np.array([-0.1 * 60.0, -0.1 * 20.0, -0.1 * 10.0, 0.9 * 10.0]) / 100.0
    assert std[0] == pytest.approx(0.1 * np.linalg.norm(slopes), rel=1e-6)


def test_foreign_share_of_nothing():
    share, std = foreign_share(composition([0.0, 0.0, 0.0, 0.0, 0.0]), CELL)
    assert np.isnan(share[0])
    assert np.isnan(std[0])


def test_pixels_together_are_explained(rng):
    shares = rng.uniform(0.0, 50.0, (200, 2))
    amounts = np.column_stack([shares @ MATRIX.T, np.zeros((200, 2))])
    verdict = judge(composition(rng.normal(amounts, 1.0)))
    assert verdict.explained
    assert verdict.pixels == 200
    assert verdict.p_value > 1e-3
    assert abs(verdict.foreign) < 4.0 * verdict.foreign_std


def test_pixels_together_show_what_one_does_not(rng):
    # 0.9 atoms of P too much are less than a standard error of a pixel, and 18 of those of 400.
    amounts = np.tile([*(MATRIX @ [20.0, 10.0]), 0.0, 0.0], (400, 1))
    found = composition(rng.normal(amounts + np.array([0.0, 0.9, 0.0, 0.0, 0.0]), 1.0))
    assert np.median(explain(found.subset(CELL), MATRIX)[2]) > 0.1
    verdict = judge(found)
    assert not verdict.explained
    assert verdict.p_value < 1e-6
    assert verdict.worst == "P"
    assert verdict.worst_ratio > 4.0


def test_too_little_of_an_element_is_told(rng):
    amounts = np.tile([*(MATRIX @ [20.0, 10.0]), 0.0, 0.0], (400, 1))
    verdict = judge(composition(rng.normal(amounts - np.array([0.0, 2.0, 0.0, 0.0, 0.0]), 1.0)))
    assert not verdict.explained
    assert verdict.worst == "P"
    assert verdict.worst_ratio < -4.0


def test_foreign_element_is_named():
    found = composition(np.tile([*(MATRIX @ [20.0, 10.0]), 5.0, 60.0], (50, 1)))
    verdict = judge(found)
    assert not verdict.explained
    assert verdict.worst == "Cu"
    assert verdict.foreign == pytest.approx(65.0 / 235.0)
    assert verdict.worst_ratio == pytest.approx(60.0 * 50.0 / np.sqrt(50.0))
    assert judge(found, largest_foreign=0.3).explained


def test_only_wanted_pixels_are_judged():
    good, bad = [*(MATRIX @ [20.0, 10.0]), 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 500.0]
    found = composition([good, bad, good, [np.nan] * 5])
    verdict = judge(found, np.array([True, False, True, True]))
    assert verdict.explained
    assert verdict.pixels == 2


def test_no_pixels_no_verdict():
    verdict = judge(composition([[np.nan] * 5]))
    assert (verdict.pixels, verdict.explained, verdict.worst) == (0, False, "")
    assert np.isnan([verdict.p_value, verdict.foreign, verdict.foreign_std]).all()


@pytest.mark.parametrize("status", list(PhaseStatus))
def test_every_status_has_words(status):
    others = [describe(other) for other in PhaseStatus if other != status]
    assert describe(status)
    assert describe(status) not in others


def test_words_name_the_element_at_fault():
    assert describe(4, [1.0, -7.0, np.nan], CELL).endswith("P is too little")
    assert describe(4, [9.0, -7.0, 0.0], CELL).endswith("Fe is too much")
    assert "Fe" not in describe(0, [9.0, -7.0, 0.0], CELL)


def test_no_such_status():
    with pytest.raises(ValueError, match="17"):
        describe(17)
