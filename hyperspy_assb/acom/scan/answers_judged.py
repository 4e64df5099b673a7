"""Whether the answer for a pattern is one of the phases that were offered, and whether there are two crystals.

*None of these.* How far the places of spots, the strain to meet them and the score speak for an answer is one number,
the logarithm of the odds of a logistic regression on patterns whose truth is known
(:mod:`hyperspy_assb.acom.scan.trial_patterns`). The scan then says where its own right answers lie, which need not be
where those of the simulation do, and how many there are: expectation maximisation of a mixture of two Gaussians of one
width, the share and the place of the right answers free. Crystals are larger than pixels: where neighbours foretell
the odds of a pixel better than the share in the whole scan does, the share of a pixel is that of its neighbours.

*Two crystals.* A second answer counts where it explains more spots than chance lets it in patterns of one crystal. How
far chance goes is an exponential distribution, its scale and share fitted on the scan beside the distribution of true
second crystals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.special import expit

from hyperspy_assb.acom.matching.block_indexing import IndexedPatterns, Indexer
from hyperspy_assb.acom.matching.explanation import STRAIN_STD
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan, PatternStatus
from hyperspy_assb.acom.matching.second_look import Looked
from hyperspy_assb.acom.scan.crystal_shares import FEWEST_ALONE, ONE_STD
from hyperspy_assb.acom.scan.trial_patterns import Trials, draw_trials
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

RIDGE = 0.03
"""Penalty of the logistic regression, for each pattern."""
MOVED_STD = 1.0
"""Standard deviations of right answers by which those of the scan are expected to lie off those of the simulation."""
MOVED_PIXELS = 10.0
"""That expectation counts as so many pixels."""
MOST_MOVED = 0.5
"""Right answers of the scan lie no farther off, as a share of the way to wrong ones."""
PRIOR_PIXELS = (19.0, 1.0)
"""Pixels that are taken to be offered, and to be not, before any is seen: phases are offered because they are there."""
NEIGHBOURS = 1.0
"""Standard deviation in pixels of the weights of neighbours, in whose share of right answers a pixel is judged."""
SCAN_PIXELS = 0.5
"""The share in the whole scan counts beside that of the neighbours as so many of the nearest ones."""
LEAST_SHARE = 0.05
"""Smallest share of a second crystal that is told: double diffraction leaves as much."""
LEAST_CHANCE, MOST_CHANCE = 4.0, 12.0
"""Mean gain of second answers by chance that is expected, that of a spot, and the largest that is believed."""
CHANCES, CHANCE_PIXELS = 4.0, 20.0
"""That expectation counts as so many second answers by chance, and their share as that of so many pixels."""
TRUE_GAIN = 3.0
"""Mean gain of true second crystals, at least, over that by chance."""
MOSTLY = 0.8
"""Share of the patterns with a lattice from which on no phase explains a scan."""


@dataclass(frozen=True)
class JudgeOptions:
    """How answers are judged.

    Parameters
    ----------
    trials
        Patterns that are drawn of one crystal, of two, and of such that were not offered.
    false_alarms
        Share of the patterns of one crystal that may be told to have a second one.
    seed
        Of the drawing.
    """

    trials: tuple[int, int, int] = (60, 40, 60)
    false_alarms: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.trials) < 8:
            raise AssbValueError(f"trials: at least 8 of each kind, not {self.trials}.")
        if not 0.0 < self.false_alarms < 0.5:
            raise AssbValueError(f"false_alarms: between 0 and 0.5, not {self.false_alarms}.")


class AnswerJudge:
    """Odds that answers are right ones, from patterns whose truth is known.

    Parameters
    ----------
    indexer
        That answers.
    sample
        Patterns of the scan, shape (B, ny, nx).
    centres
        Column and row of the direct beam of each, shape (B, 2).
    options
        See :class:`JudgeOptions`.
    """

    def __init__(
        self, indexer: Indexer, sample: NDArray[Any], centres: FloatArray, *, options: JudgeOptions | None = None
    ) -> None:
        self.options = options or JudgeOptions()
        o = self.options
        trials = draw_trials(indexer, sample, centres, counts=o.trials, rng=o.seed)
        self.known = trials is not None
        self.right, self.wrong, self.width = 1.0, -1.0, 1.0
        self.chance = _Chance(LEAST_CHANCE, 0.02, 30.0)
        self.wider = 1.0
        if trials is None:
            return
        found = indexer.index(trials.patterns)
        one, foreign = trials.crystals == 1, trials.crystals == 0
        table = _features(found.looked)
        self._middle, self._spread = table.mean(axis=0), table.std(axis=0) + 1e-6
        offered = (~foreign).astype(float)
        # Both kinds count the same, however many there are.
        weight = np.where(foreign, 0.5 / foreign.mean(), 0.5 / (1.0 - foreign.mean()))
        self._slopes = _logistic_regression(self._scaled(table), offered, weight)
        odds = self.log_odds(found.looked)
        self.right, self.wrong = float(odds[~foreign].mean()), float(odds[foreign].mean())
        self.width = float(np.sqrt(0.5 * (odds[~foreign].var() + odds[foreign].var()))) + 1e-6
        gain = second_gain(found.looked.gain, found.looked.amount)
        self.chance = _Chance.of_trials(gain[one], gain[trials.crystals == 2])
        self.wider = _wider_for_two(trials, found)

    def log_odds(self, looked: Looked) -> FloatArray:
        """That an answer is right, before the scan says where right ones lie, shape (B,)."""
        return self._scaled(_features(looked)) @ self._slopes

    def _scaled(self, table: FloatArray) -> FloatArray:
        return np.column_stack([np.ones(len(table)), (table - self._middle) / self._spread])

    def not_offered(self, odds: FloatArray) -> FloatArray:
        """Probability that no phase that was offered is there, NaN where the odds are.

        Odds are those of a scan, (ny, nx), or of some patterns that are no neighbours, (B,).
        """
        known = np.isfinite(odds)
        values = odds[known]
        if not values.size:
            return np.full(odds.shape, np.nan)
        share, moved = 0.5, 0.0
        way = self.right - self.wrong
        for _ in range(50):
            right = self._probability(values, share, moved)
            weight = right.sum()
            before = share, moved
            share = (weight + PRIOR_PIXELS[0]) / (len(values) + sum(PRIOR_PIXELS))
            off = float((right * (values - self.right)).sum())
            moved = off / (weight + MOVED_PIXELS / MOVED_STD**2)
            moved = float(np.clip(moved, -MOST_MOVED * way, MOST_MOVED * way))
            if abs(share - before[0]) + abs(moved - before[1]) / self.width < 1e-6:
                break
        out = np.full(odds.shape, np.nan)
        right = (
            self._probability(values, share, moved)
            if odds.ndim == 1
            else self._by_neighbours(odds, share, moved)[known]
        )
        out[known] = 1.0 - right
        return out

    def _by_neighbours(self, odds: FloatArray, share: float, moved: float) -> FloatArray:
        """Probability of right answers, the share of right ones being that of a scan, or of the neighbours of each."""
        known = np.isfinite(odds)
        right = self._probability(odds, share, moved)
        alone = right
        for turn in range(20):
            shares = _share_nearby(np.where(known, right, 0.0), known, share)
            if turn == 0:
                better = self._log_likelihood(odds, shares, moved) - self._log_likelihood(odds, share, moved)
                # As for one parameter more, by Bayes's criterion: neighbours of mixed crystals foretell nothing.
                if better <= 0.5 * np.log(known.sum()):
                    return alone
            right, before = self._probability(odds, shares, moved), right
            if np.abs(right - before)[known].max() < 1e-3:
                break
        return right

    def _log_likelihood(self, odds: FloatArray, share: FloatArray | float, moved: float) -> float:
        """Of all odds, but for a constant."""
        right, wrong = (np.exp(-0.5 * ((odds - at) / self.width) ** 2) for at in (self.right + moved, self.wrong))
        return float(np.nansum(np.log(share * right + (1.0 - share) * wrong + 1e-300)))

    def _probability(self, odds: FloatArray, share: FloatArray | float, moved: float) -> FloatArray:
        right = self.right + moved
        slope = (right - self.wrong) / self.width**2
        return np.asarray(expit(slope * (odds - 0.5 * (right + self.wrong)) + np.log(share / (1.0 - share))))


def _share_nearby(right: FloatArray, known: NDArray[np.bool_], share: float) -> FloatArray:
    """Share of right answers among the neighbours of each pixel, itself left out, the scan counted beside them."""
    y, x = np.mgrid[-2:3, -2:3]
    weights = np.exp(0.5 * (1.0 - x * x - y * y) / NEIGHBOURS**2) * ((x != 0) | (y != 0))
    there = convolve(known.astype(float), weights, mode="constant") + SCAN_PIXELS
    near = (convolve(right, weights, mode="constant") + SCAN_PIXELS * share) / there
    # Small crystals of what was offered are half explained: only where most are not, is there something else.
    return np.where(near < 0.5, near, np.maximum(near, share))


def _features(looked: Looked) -> FloatArray:
    """What speaks for and against an answer, shape (B, F)."""
    spots = np.maximum(looked.spots, 1)
    score = np.hypot(looked.score, np.where(looked.second_phase >= 0, looked.second_score, 0.0))
    return np.column_stack(
        [
            looked.both_evidence / spots,
            looked.evidence / spots,
            np.log(np.maximum(score, 1e-3)),
            np.log(np.clip(looked.accounted, 0.02, 2.0)),
            np.log1p(looked.brightness),
            np.log(spots),
            np.log1p(looked.strain / STRAIN_STD),
        ]
    )


def _logistic_regression(table: FloatArray, target: FloatArray, weight: FloatArray) -> FloatArray:
    """Slopes of the logarithm of the odds, with a ridge (Newton)."""
    slopes = np.zeros(table.shape[1])
    ridge = RIDGE * weight.sum() * np.eye(len(slopes))
    ridge[0, 0] *= 1e-3
    for _ in range(60):
        p = expit(table @ slopes)
        hessian = (table * (weight * p * (1.0 - p))[:, None]).T @ table + ridge
        step = np.linalg.solve(hessian, table.T @ (weight * (target - p)) - ridge @ slopes)
        slopes = slopes + step
        if np.abs(step).max() < 1e-8:
            break
    return slopes


def second_gain(gain: FloatArray, amount: FloatArray) -> FloatArray:
    """Gain of a second answer, 0 where its share is too small to be told from double diffraction."""
    total = np.nansum(amount, axis=-1)
    known = (total > 0.0) & np.isfinite(total)
    share = np.divide(amount[..., 1], total, out=np.zeros(total.shape), where=known)
    return np.where(np.nan_to_num(share) >= LEAST_SHARE, np.maximum(gain, 0.0), 0.0)


def _wider_for_two(trials: Trials, found: IndexedPatterns) -> float:
    """By how much amounts of two crystals in a column are less sure than they state, against those of one."""
    looked = found.looked
    with np.errstate(invalid="ignore", divide="ignore"):
        amount, relative = np.log(looked.amount), looked.amount_std / looked.amount
        true = np.log(trials.amount)
    finite = np.isfinite(relative) & np.isfinite(amount) & (relative > 0.0)
    one = (trials.crystals == 1) & (found.phase == trials.phase[:, 0]) & finite[:, 0]
    two = (trials.crystals == 2) & (looked.second_phase >= 0) & finite.all(axis=1)
    different = trials.phase[:, 0] != trials.phase[:, 1]
    as_drawn = (found.phase == trials.phase[:, 0]) & (looked.second_phase == trials.phase[:, 1])
    swapped = (found.phase == trials.phase[:, 1]) & (looked.second_phase == trials.phase[:, 0])
    two &= (as_drawn | swapped) & (different if (two & different).any() else True)
    if one.sum() < FEWEST_ALONE or two.sum() < FEWEST_ALONE:
        return 1.0
    with np.errstate(invalid="ignore"):
        ratio, true_ratio = amount[:, 1] - amount[:, 0], true[:, 1] - true[:, 0]
    off = np.where(as_drawn & different, ratio - true_ratio, ratio + true_ratio)
    # Of one phase, it is not known which is which: the likelier way.
    off = np.where(different, off, np.minimum(np.abs(ratio - true_ratio), np.abs(ratio + true_ratio)))
    of_two = np.quantile(np.abs(off[two] / np.hypot(relative[two, 0], relative[two, 1])), ONE_STD)
    of_one = np.quantile(np.abs((amount[one, 0] - true[one, 0]) / relative[one, 0]), ONE_STD)
    return float(np.clip(of_two / max(of_one, 1e-6), 1.0, 3.0))


@dataclass(frozen=True)
class _Chance:
    """Gain of second answers by chance: how often there is any, and its mean; that of true ones."""

    mean: float
    share: float
    true_mean: float

    @classmethod
    def of_trials(cls, one: FloatArray, two: FloatArray) -> _Chance:
        """From patterns of one crystal and of two."""
        some, true = one[one > 0.0], two[two > 0.0]
        mean = (some.sum() + LEAST_CHANCE * CHANCES) / (len(some) + CHANCES)
        # As if two patterns of 100 had had any as well.
        share = (len(some) + 2.0) / (len(one) + 100.0)
        return cls(float(mean), float(share), float(max(true.mean() if true.size else 30.0, TRUE_GAIN * mean)))

    def of_scan(self, gain: FloatArray) -> _Chance:
        """Fitted on a scan, in which there are true ones as well: those have a gamma distribution of shape 2."""
        some = gain[gain > 0.0]
        if not some.size:
            return self
        mean, true_mean, true_share = self.mean, self.true_mean, 0.5
        p = np.full(len(some), 0.5)
        for _ in range(100):
            by_chance = (1.0 - true_share) * np.exp(-some / mean) / mean
            true = true_share * some * np.exp(-2.0 * some / true_mean) * (2.0 / true_mean) ** 2
            p = by_chance / (by_chance + true + 1e-300)
            mean = float(((p * some).sum() + self.mean * CHANCES) / (p.sum() + CHANCES))
            true_mean = float((((1.0 - p) * some).sum() + self.true_mean * CHANCES) / ((1.0 - p).sum() + CHANCES))
            mean = min(mean, MOST_CHANCE)
            true_mean = max(true_mean, TRUE_GAIN * mean)
            true_share = float((1.0 - p).sum() + 0.5) / (len(some) + 1.0)
        alone = max(len(gain) - (1.0 - p).sum(), 1.0)
        share = (p.sum() + self.share * CHANCE_PIXELS) / (alone + CHANCE_PIXELS)
        return replace(self, mean=mean, share=float(share), true_mean=true_mean)

    def limit(self, false_alarms: float) -> float:
        """Gain that so many patterns of one crystal exceed by chance."""
        return self.mean * max(float(np.log(self.share / false_alarms)), 0.0)


def _known(values: NDArray[Any] | None) -> NDArray[Any]:
    """What a scan holds whose answers were looked at."""
    if values is None:
        raise AssbValueError("The scan holds no second answers.")
    return values


def conclude(scan: IndexedScan, judge: AnswerJudge) -> IndexedScan:
    """A whole scan with what is not offered, and second crystals, taken for what they are."""
    if not judge.known or scan.answer_odds is None or scan.second_phase is None:
        # Second answers that nothing tells from chance are none.
        return replace(scan, second_phase=None, second_share=None)
    not_offered = judge.not_offered(scan.answer_odds)
    foreign = np.nan_to_num(not_offered) > 0.5
    seen = np.isfinite(scan.answer_odds) & ~foreign
    gain = np.where(seen, second_gain(_known(scan.second_gain), _known(scan.crystal_amount)), 0.0)
    chance = judge.chance.of_scan(gain[seen])
    two = seen & (gain > chance.limit(judge.options.false_alarms)) & (gain > 0.0)
    status = np.asarray(scan.status).copy()
    status[foreign] = PatternStatus.NOT_OFFERED
    status[two & (status == PatternStatus.INDEXED)] = PatternStatus.OVERLAP

    def only(values: FloatArray, where: NDArray[np.bool_], otherwise: float) -> FloatArray:
        return np.where(where.reshape(where.shape + (1,) * (np.ndim(values) - where.ndim)), values, otherwise)

    return replace(
        scan,
        phase=np.where(foreign, NOT_INDEXED, scan.phase),
        orientation=only(scan.orientation, ~foreign, np.nan),
        reliability=only(scan.reliability, ~foreign, np.nan),
        phase_reliability=only(scan.phase_reliability, ~foreign, np.nan),
        status=status.astype(np.int8),
        not_offered=not_offered,
        second_phase=np.where(two, _known(scan.second_phase), NOT_INDEXED),
        second_orientation=only(_known(scan.second_orientation), two, np.nan),
        second_score=only(_known(scan.second_score), two, 0.0),
        second_posterior=only(_known(scan.second_posterior), two, np.nan),
    )


def answers_in_words(scan: IndexedScan, *, false_alarms: float = JudgeOptions().false_alarms) -> tuple[str, ...]:
    """What is to be known of patterns that no phase explains, and of columns of two crystals."""
    if scan.not_offered is None or scan.second_phase is None:
        return ()
    notes: tuple[str, ...] = ()
    lattice = int(np.isfinite(scan.not_offered).sum())
    foreign = int((np.asarray(scan.status) == PatternStatus.NOT_OFFERED).sum())
    names = ", ".join(phase.name for phase in scan.phases)
    if foreign > MOSTLY * lattice:
        notes += (
            f"None of the phases that were offered ({names}) explains this scan: the spots of {foreign} of {lattice} "
            "patterns with a lattice belong to other crystals, or the calibration is wrong by more than 3 %.",
        )
    elif foreign:
        notes += (
            f"In {foreign} of {lattice} patterns with a lattice the spots are not those of one or two crystals of "
            f'{names}: they are "not offered". Offer the other phases that may be there. Where grains are smaller than '
            "the specimen is thick, these patterns may be overlaps of several crystals that were offered.",
        )
    two = int((scan.second_phase != NOT_INDEXED).sum())
    if two:
        chance = false_alarms * (lattice - foreign - two)
        notes += (
            f"In {two} of {lattice} patterns with a lattice there are two crystals in the column; of patterns of one, "
            f"{100 * false_alarms:g} % are assigned two by chance, here about {chance:.0f}.",
        )
    return notes
