"""What neighbours say of answers; the rest of the judgement is tried on simulated scans."""

import numpy as np
import pytest

from hyperspy_assb.acom.scan.answers_judged import AnswerJudge


@pytest.fixture
def judge():
    """Right answers have odds about 1.5, wrong ones about -1.5, with a width of 1.5: many cannot be told alone."""
    judge = object.__new__(AnswerJudge)
    judge.right, judge.wrong, judge.width = 1.5, -1.5, 1.5
    return judge


def scene(rng, foreign, judge):
    return np.where(foreign, judge.wrong, judge.right) + judge.width * rng.standard_normal(foreign.shape)


def test_a_region_that_was_not_offered_is_told_by_its_neighbours(judge, rng):
    foreign = np.zeros((24, 24), dtype=bool)
    foreign[:8] = True
    odds = scene(rng, foreign, judge)
    told, alone = judge.not_offered(odds) > 0.5, judge.not_offered(odds.ravel()).reshape(odds.shape) > 0.5
    assert told[foreign].mean() > max(alone[foreign].mean(), 0.93)
    assert told[~foreign].mean() < min(alone[~foreign].mean(), 0.03)


def test_neighbours_that_foretell_nothing_are_not_asked(judge, rng):
    foreign = rng.random((24, 24)) < 1 / 3
    odds = scene(rng, foreign, judge)
    np.testing.assert_allclose(judge.not_offered(odds).ravel(), judge.not_offered(odds.ravel()))


def test_small_crystals_that_are_half_explained_stay_offered(judge, rng):
    odds = scene(rng, np.zeros((24, 24), dtype=bool), judge)
    odds[8:16, 8:16] -= 1.5  # a mosaic: half the way to a wrong answer
    told, alone = judge.not_offered(odds) > 0.5, judge.not_offered(odds.ravel()).reshape(odds.shape) > 0.5
    assert told[8:16, 8:16].mean() <= alone[8:16, 8:16].mean() + 0.02


def test_odds_that_are_not_known_stay_so(judge, rng):
    odds = scene(rng, np.zeros((6, 6), dtype=bool), judge)
    odds[2] = np.nan
    found = judge.not_offered(odds)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(odds))
    assert np.isnan(judge.not_offered(np.full((3, 3), np.nan))).all()
