"""Whether phases explain elements: distance from the nearest mixture, foreign elements, all pixels together."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from hyperspy_assb.eds.composition.atoms import Composition
from hyperspy_assb.eds.phases.evidence import (
    PhaseStatus,
    check_whole,
    describe,
    explain,
    foreign_share,
    refuted_together,
)

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
    return check_whole(found, CELL, MATRIX, where, **{"alpha": 1e-3, "largest_foreign": 0.1, **kwargs})


def test_mixture_is_explained():
    found = explain(composition(MATRIX @ [30.0, 20.0]), MATRIX)
    np.testing.assert_allclose(found.residual, 0.0, atol=1e-9)
    # Half a per cent of all atoms is what shapes of lines may feign.
    np.testing.assert_allclose(found.std, np.hypot(1.0, 0.005 * 280.0))
    assert found.p_value[0] == pytest.approx(1.0)
    assert found.freedom[0] == 1


def test_distance_by_hand():
    # One phase of equal parts: (12, 8) lies sqrt(8) from (10, 10), with one degree of freedom.
    found = explain(composition([12.0, 8.0]), np.array([[1.0], [1.0]]))
    np.testing.assert_allclose(found.residual, [[2.0, -2.0]])
    assert found.p_value[0] == pytest.approx(stats.chi2.sf(8.0 / 1.01, 1), rel=1e-9)
    # Twice the errors: half as far.
    wider = explain(composition([12.0, 8.0], variance=4.0), np.array([[1.0], [1.0]]))
    assert wider.p_value[0] == pytest.approx(stats.chi2.sf(8.0 / 4.01, 1), rel=1e-9)


def test_amounts_of_phases_are_not_negative():
    found = explain(composition([-5.0, -5.0]), np.array([[1.0], [1.0]]))
    np.testing.assert_allclose(found.residual, [[-5.0, -5.0]])
    # No phase is present.
    assert found.freedom[0] == 2
    assert found.p_value[0] == pytest.approx(stats.chi2.sf(50.0, 2), rel=1e-9)


def test_as_many_phases_as_elements_explain_everything():
    found = explain(composition([12.0, 8.0]), np.eye(2))
    assert found.p_value[0] == 1.0
    assert found.freedom[0] == 0


def test_calibration_makes_room():
    found = explain(composition([112.0, 88.0], calibration=[0.1, 0.0]), np.array([[1.0], [1.0]]))
    # The first element is hardly known: the second one tells that there are 88 of each.
    np.testing.assert_allclose(found.std, [[np.sqrt(1.0 + 8.8**2 + 0.88**2), np.sqrt(1.0 + 0.88**2)]], rtol=0.01)
    assert found.p_value[0] > 0.005
    assert explain(composition([112.0, 88.0]), np.array([[1.0], [1.0]])).p_value[0] < 1e-20


def test_calibration_makes_nothing_of_nothing():
    # Ten atoms of what the phase does not hold, known to within a factor of 2, are not no atoms.
    found = explain(composition([100.0, 10.0], calibration=[0.1, 1.0]), np.array([[1.0], [0.0]]))
    assert found.p_value[0] < 1e-15


def test_correlated_errors_count():
    found = composition([12.0, 8.0])
    found.covariance[:] = [[4.0, -3.9], [-3.9, 4.0]]
    # The difference of 4 has the variance 15.8, and that of the floor.
    expected = stats.chi2.sf(16.0 / (15.8 + 2 * 0.01), 1)
    assert explain(found, np.array([[1.0], [1.0]])).p_value[0] == pytest.approx(expected, rel=1e-9)


def test_pixel_without_an_answer_has_none():
    found = composition([[12.0, 8.0], [np.nan, np.nan]])
    found.covariance[1] = np.nan
    evidence = explain(found, np.array([[1.0], [1.0]]))
    assert np.isfinite(evidence.p_value[0])
    assert np.isnan([*evidence.residual[1], *evidence.std[1], evidence.p_value[1]]).all()


@pytest.mark.parametrize("calibration", [0.0, 0.03])
def test_p_values_of_mixtures_are_uniform(rng, calibration):
    truth = MATRIX @ [300.0, 200.0]
    errors = np.array([20.0, 30.0, 100.0])
    # Half a per cent of the 2800 atoms, and an error in proportion to what the mixture holds.
    drawn = rng.normal(truth, np.sqrt(errors**2 + 14.0**2 + (calibration * truth) ** 2), (2000, 3))
    found = explain(composition(drawn, variance=errors**2, calibration=calibration), MATRIX)
    assert stats.kstest(found.p_value, "uniform").pvalue > 0.01


def test_p_values_of_a_single_phase_are_not_too_small(rng):
    drawn = rng.normal(MATRIX @ [300.0, 0.0], [20.0, 30.0, 100.0], (2000, 3))
    p_value = explain(composition(drawn, variance=[400.0, 900.0, 10000.0]), MATRIX).p_value
    for level in (0.5, 0.1, 0.02):
        assert (p_value < level).mean() < level + 4.0 * np.sqrt(level / 2000)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 100.0), st.lists(st.floats(0.0, 200.0), min_size=3, max_size=3))
@example(0.109375, [0.0, 1.0, 0.0])
def test_units_do_not_matter(factor, amounts):
    one = explain(composition(amounts, calibration=0.05), MATRIX)
    other = explain(composition(factor * np.array(amounts), factor**2, 0.05), MATRIX)
    np.testing.assert_allclose(other.p_value, one.p_value, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(other.residual, factor * one.residual, rtol=1e-6, atol=1e-6 * factor)


@pytest.mark.parametrize("iron", [0.1, 0.01, 1e-3, 1e-4])
def test_units_do_not_matter_where_a_second_phase_would_do_as_well(iron):
    # Without iron in the column, both phases are as far from it, together or alone.
    matrix = np.array([[iron, 0.0], [1.0, 1.0], [4.0, 4.0]])
    amounts = np.array([0.0, 1.0, 0.0])
    for factor in np.random.default_rng(0).uniform(0.1, 100.0, 100):
        found = explain(composition(factor * amounts, factor**2, 0.05), matrix)
        assert found.freedom[0] == 2
        assert found.p_value[0] == pytest.approx(0.62464, abs=1e-3)


def test_foreign_share_by_hand():
    share, std, systematic = foreign_share(composition([50.0, 30.0, 15.0, 5.0, 0.0]), CELL)
    assert share[0] == pytest.approx(0.05)
    # Slope 0.95 / 100 of what is foreign, and -0.05 / 100 of what is not.
    assert std[0] == pytest.approx(np.sqrt(2 * 0.95**2 + 3 * 0.05**2) / 100.0)
    assert systematic[0] == 0.0


def test_foreign_share_with_a_calibration():
    found = composition([60.0, 20.0, 10.0, 10.0, 0.0], variance=1e-12, calibration=[0.1, 0.1, 0.1, 0.1, 0.1])
    share, std, systematic = foreign_share(found, CELL)
    assert share[0] == pytest.approx(0.1)
    assert std[0] < 1e-6
    slopes = np.array([-0.1 * 60.0, -0.1 * 20.0, -0.1 * 10.0, 0.9 * 10.0]) / 100.0
    assert systematic[0] == pytest.approx(0.1 * np.linalg.norm(slopes), rel=1e-6)


def test_foreign_share_of_nothing():
    assert np.isnan(foreign_share(composition([0.0, 0.0, 0.0, 0.0, 0.0]), CELL)).all()


def test_pixels_together_are_explained(rng):
    shares = rng.uniform(0.0, 50.0, (200, 2))
    amounts = np.column_stack([shares @ MATRIX.T, np.zeros((200, 2))])
    verdict = judge(composition(rng.normal(amounts, 1.0)))
    assert verdict.explained
    assert verdict.pixels == 200
    assert verdict.p_value > 1e-3
    assert abs(verdict.foreign) < 4.0 * verdict.foreign_std


def test_pixels_together_show_what_one_does_not(rng):
    # 6 atoms of P too much are one and a half standard errors of a pixel, and seven of those of 400.
    amounts = np.tile([*(MATRIX @ [20.0, 10.0]), 0.0, 0.0], (400, 1))
    found = composition(rng.normal(amounts + np.array([0.0, 6.0, 0.0, 0.0, 0.0]), 4.0), variance=16.0)
    assert np.median(explain(found.subset(CELL), MATRIX).p_value) > 0.1
    verdict = judge(found)
    assert not verdict.explained
    assert verdict.p_value < 1e-6
    assert verdict.worst == "P"
    assert verdict.worst_ratio > 4.0


def test_too_little_of_an_element_is_told(rng):
    amounts = np.tile([*(MATRIX @ [20.0, 10.0]), 0.0, 0.0], (400, 1))
    found = composition(rng.normal(amounts - np.array([0.0, 6.0, 0.0, 0.0, 0.0]), 4.0), variance=16.0)
    verdict = judge(found)
    assert not verdict.explained
    assert verdict.worst == "P"
    assert verdict.worst_ratio < -4.0


def test_a_small_excess_may_be_of_the_shapes_of_lines(rng):
    # 0.3 % of the atoms: with ever more pixels it does not become evidence.
    amounts = np.tile([*(MATRIX @ [20.0, 10.0]), 0.0, 0.0], (4000, 1))
    assert judge(composition(rng.normal(amounts + np.array([0.0, 0.5, 0.0, 0.0, 0.0]), 1.0))).explained


def test_tiles_name_where_the_phases_fail(rng):
    # A patch of 8 x 8 of 16 x 16 pixels has 6 atoms of P too much.
    amounts = np.tile([*(MATRIX @ [20.0, 10.0]), 0.0, 0.0], (16, 16, 1))
    amounts[4:12, 4:12, 1] += 6.0
    found = composition(rng.normal(amounts, 4.0).reshape(256, 5), variance=16.0)
    bad = refuted_together(found, CELL, MATRIX, (16, 16), alpha=1e-3, largest_foreign=0.1).reshape(16, 16)
    assert bad[4:12, 4:12].all()
    assert bad.sum() == 64


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
