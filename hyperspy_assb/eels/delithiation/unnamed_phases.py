"""Unnamed phases: their residuals in a map, the materials they resemble, and the phases they are mistaken for.

Part of the spectrum of an unnamed phase remains as residual; the rest is mistaken for amounts of the named phases. The
residuals of a map show the first part. The second part follows from three constraints: a guess of the spectrum, amounts
that are not negative, and some columns with the unnamed phase that hold none of an end member if some without it do.
The limits below were set with simulated maps in view, including those of ``benchmarks/delithiation_untold.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb.eels.delithiation.material_guess import MaterialGuess, guess_materials
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.eels.delithiation.unexplained import CLEAR, FEWEST, Residuals, clipped, freedom, noise_edge
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

ALPHA = 1e-3
"""p value below which a pixel is not explained."""
ALPHA_OF_DIRECTION = 0.03
"""The same where nothing is known of what was not named: then it is the pixels without it that are sought."""
MOST_DIRECTIONS = 3
EVIDENCE = 3.0
"""Logarithm of the odds within which other materials are named beside the likeliest."""
MOST_CANDIDATES = 3
GUESS_OF_DIRECTION = 0.05
"""Uncertainty of a direction of the residuals, as a part of its length."""
ONE_SIDE, CLEARLY = 0.95, 3.0
"""Share of the amounts above so many standard errors that must be positive: of a phase there is some or nothing."""
FARTHEST = 5.0
"""Logarithm of the odds by which residuals of the likeliest material may be less expected than any direction at random:
farther off, they are of a detector, a thickness or a phase unlike its references, and of no material of the table."""
TOGETHER = 0.9
"""Squared correlation of the unnamed with an end member from which this may be unlike its references instead."""
ROUGH = 0.03
"""How far the spectrum of the unnamed may differ from pixel to pixel, as a part of it: it may be several materials, and
depends on thickness."""
UNSURE = 4.0
"""Times the variance of a guess, where amounts rest on it: names are hints, amounts are not."""
SHORTEST = 0.1
"""Part of a guessed residual that lies at least in the directions that are found."""
STRAY = 0.01
"""Share of the pixels that may hold anything, so that no single one decides."""
_STARTS, _ROUNDS = 32, 40
"""Guesses that the search starts from, and steps of expectation maximisation."""


@dataclass(frozen=True)
class Unnamed:
    """Phases that a map holds besides those that were named.

    Parameters
    ----------
    directions
        Of the whitened residuals, orthonormal, shape (Q, K); none where the phases explain the map.
    strength
        Mean square of the residuals along them, over that of noise, shape (Q,).
    candidates
        Materials of the table that would cause such residuals, the likeliest first.
    vectors
        The directions in the units of the linear parameters, shape (Q, K).
    passes, passes_covariance
        t/lambda of each phase that one unit of each direction passes for, shape (R, Q), and its covariance, shape
        (R, Q, Q); None where nothing is known of it.
    share, spread
        Share of the pixels that hold it, and mean product of the amounts along the directions in these, shape (Q, Q).
    """

    directions: FloatArray
    strength: FloatArray
    candidates: tuple[str, ...] = ()
    vectors: FloatArray | None = None
    passes: FloatArray | None = None
    passes_covariance: FloatArray | None = None
    share: float = 0.0
    spread: FloatArray | None = None

    def __bool__(self) -> bool:
        return len(self.directions) > 0


@dataclass(frozen=True)
class Guise:
    """What the unnamed phase is mistaken for in S pixels.

    Parameters
    ----------
    amounts, amounts_covariance
        t/lambda of each phase, shape (S, R), and its covariance, shape (S, R, R); 0 where nothing is known.
    parameters, parameters_covariance
        Its contribution to the linear parameters, residual included, shape (S, K), and the covariance, shape (S, K, K).
    to_amounts
        Amounts that a change of the linear parameters is mistaken for, shape (S, R, K).
    explained, unexplained
        Probability of residuals at least this large if the phases, and what was found beside them, are all that there
        is (Hotelling, Ann. Math. Stat. 2, 360 (1931), with a covariance that is known), and whether the pixel is not
        explained, shape (S,) each; NaN and False where nothing is known.
    holds
        Where the residuals reveal an unnamed phase, shape (S,).
    """

    amounts: FloatArray
    amounts_covariance: FloatArray
    parameters: FloatArray
    parameters_covariance: FloatArray
    to_amounts: FloatArray
    explained: FloatArray
    unexplained: NDArray[np.bool_]
    holds: NDArray[np.bool_]


def find_unnamed(standard: Standard, sample: Residuals, amounts: FloatArray, amounts_covariance: FloatArray) -> Unnamed:
    """Directions of the residuals of a map beyond the named phases and noise, and what they are mistaken for.

    Parameters
    ----------
    standard
        What is known of the phases.
    sample
        Residuals of S pixels from all over the map.
    amounts, amounts_covariance
        t/lambda of the phases in them as fitted, shape (S, R), and its covariance, shape (S, R, R).
    """
    degrees, white = freedom(standard), sample.whiten(standard.residual_misfit)
    known = np.isfinite(white).all(axis=1)
    kept = clipped(white[known])
    if len(kept) < FEWEST:
        return Unnamed(np.zeros((0, white.shape[1])), np.zeros(0))
    values, vectors = np.linalg.eigh(kept.T @ kept / len(kept))
    count = min(int(np.sum(values > CLEAR * noise_edge(degrees, len(kept)))), MOST_DIRECTIONS)
    directions = vectors[:, ::-1][:, :count].T
    side = np.sign(np.median(kept @ directions.T, axis=0))
    directions = directions * np.where(side == 0.0, 1.0, side)[:, np.newaxis]
    found = Unnamed(directions, values[::-1][:count])
    if not found:
        return found
    thickness = float(np.median(sample.t_over_lambda[known]))
    root = np.linalg.cholesky(np.mean(sample.covariance[known], axis=0) + thickness**2 * standard.residual_misfit)
    phases = standard.calibration.per_thickness(np.array([thickness]))[0]
    found, passes, covariance, likeness = _look_like(found, guess_materials(standard, thickness), root, phases)
    found = replace(found, vectors=directions @ root.T)
    assert found.vectors is not None
    seen = _look_along(standard, sample, found.vectors)
    columns = sample.t_over_lambda[known]
    least = 0.0 if _follows_an_end(seen, amounts[known], amounts_covariance[known], columns) else -FARTHEST
    clear = np.abs(seen.held[:, 0]) > CLEARLY * np.sqrt(seen.noise[:, 0, 0])
    if passes is None or likeness < least or np.mean(seen.held[clear, 0] > 0.0) < ONE_SIDE:
        return found
    share, spread = _how_much(seen)
    free = ~_holds(white[known], directions)
    fitted = [
        _fit_guise(
            (amounts[known, r], amounts_covariance[known, r, r], columns), seen, (passes[r], covariance[r]), free
        )
        for r in range(len(phases))
    ]
    return replace(
        found,
        passes=np.array([mean for mean, _ in fitted]),
        passes_covariance=np.array([error for _, error in fitted]),
        share=share,
        spread=spread,
    )


def see_through(standard: Standard, residuals: Residuals, unnamed: Unnamed | None) -> Guise:
    """Whether the phases explain each of S pixels, and what an unnamed phase is mistaken for in them.

    Parameters
    ----------
    standard
        What is known of the phases.
    residuals
        Of the pixels.
    unnamed
        What the map holds beside the phases; None: not looked for.
    """
    white = residuals.whiten(standard.residual_misfit)
    rows = np.flatnonzero(np.isfinite(white).all(axis=1))
    (size, count), phases = white.shape, len(standard.calibration.phases)
    explained = stats.chi2.sf(np.sum(white**2, axis=1), freedom(standard))
    with np.errstate(invalid="ignore"):
        out = Guise(
            amounts=np.zeros((size, phases)),
            amounts_covariance=np.zeros((size, phases, phases)),
            parameters=np.zeros((size, count)),
            parameters_covariance=np.zeros((size, count, count)),
            to_amounts=np.zeros((size, phases, count)),
            explained=explained,
            unexplained=explained < ALPHA,
            holds=np.zeros(size, dtype=bool),
        )
        if not unnamed:
            return out
        out.holds[:] = _holds(white, unnamed.directions)
    if unnamed.passes is None or not rows.size:
        out.unexplained[:] |= out.holds
        return out
    assert unnamed.passes_covariance is not None
    assert unnamed.vectors is not None
    assert unnamed.spread is not None
    seen = _look_along(standard, residuals, unnamed.vectors)
    square = np.einsum("sq,sqp,sp->s", seen.held, np.linalg.inv(seen.noise), seen.held)
    left = (np.sum(white[rows] ** 2, axis=1) - square) / (1.0 + ROUGH**2 * square)
    out.explained[rows] = stats.chi2.sf(left, max(freedom(standard) - len(unnamed.directions), 1))
    out.unexplained[rows] = out.explained[rows] < ALPHA
    # Some pixels hold none of it, the others amounts with a normal prior; how many there are of either the map says.
    odds = _probability(seen, unnamed.share, unnamed.spread)[:, np.newaxis]
    gain = unnamed.spread @ np.linalg.inv(unnamed.spread + seen.noise)
    full = np.einsum("sqp,sp->sq", gain, seen.held)
    mean = odds * full
    spread = odds[..., np.newaxis] * (
        gain @ seen.noise + (1.0 - odds[..., np.newaxis]) * full[:, :, np.newaxis] * full[:, np.newaxis]
    )
    second = spread + mean[:, :, np.newaxis] * mean[:, np.newaxis]
    of_passes = np.einsum("rqp,sqp->sr", unnamed.passes_covariance, second)
    per_thickness = standard.calibration.per_thickness(residuals.t_over_lambda[rows])
    column = np.einsum("rq,srk->sqk", unnamed.passes, per_thickness) + unnamed.vectors
    out.to_amounts[rows] = seen.to_amounts
    out.amounts[rows] = mean @ unnamed.passes.T
    out.amounts_covariance[rows] = unnamed.passes @ spread @ unnamed.passes.T
    out.amounts_covariance[rows] += of_passes[:, :, np.newaxis] * np.eye(phases)
    out.parameters[rows] = np.einsum("sq,sqk->sk", mean, column)
    out.parameters_covariance[rows] = column.transpose(0, 2, 1) @ spread @ column
    out.parameters_covariance[rows] += np.einsum("srk,sr,srl->skl", per_thickness, of_passes, per_thickness)
    return out


def _holds(white: FloatArray, directions: FloatArray) -> NDArray[np.bool_]:
    """Where residuals of unit covariance, shape (S, K), reveal a phase along some directions, shape (S,)."""
    along = np.sum((white @ directions.T) ** 2, axis=1)
    return np.asarray(stats.chi2.sf(along, len(directions)) < ALPHA_OF_DIRECTION)


@dataclass(frozen=True)
class _Along:
    """The pixels with residuals along some vectors: amounts, shape (S, Q), and their covariance, shape (S, Q, Q)."""

    held: FloatArray
    noise: FloatArray
    to_amounts: FloatArray


def _look_along(standard: Standard, residuals: Residuals, vectors: FloatArray) -> _Along:
    white = residuals.whiten(standard.residual_misfit)
    rows = np.flatnonzero(np.isfinite(white).all(axis=1))
    root = residuals.root(standard.residual_misfit, rows)
    phases = np.linalg.solve(root, standard.calibration.per_thickness(residuals.t_over_lambda[rows]).transpose(0, 2, 1))
    inverse = np.linalg.pinv(phases)
    own = np.linalg.solve(root, np.broadcast_to(vectors.T, (rows.size, *vectors.T.shape)))
    left = own - phases @ (inverse @ own)
    noise = np.linalg.inv(left.transpose(0, 2, 1) @ left)
    held = np.einsum("sqp,skp,sk->sq", noise, left, white[rows])
    # inverse @ root^-1, by the transposed triangle.
    to_amounts = np.linalg.solve(root.transpose(0, 2, 1), inverse.transpose(0, 2, 1)).transpose(0, 2, 1)
    return _Along(held, noise, np.asarray(to_amounts, dtype=float))


def _follows_an_end(seen: _Along, amounts: FloatArray, covariance: FloatArray, thickness: FloatArray) -> bool:
    """Whether the unnamed phase grows with an end member, as if the latter differed from its references."""
    held = seen.held[:, 0] / thickness
    noise = np.mean(seen.noise[:, 0, 0] / thickness**2)
    for r in range(2):
        both = np.cov(held, amounts[:, r] / thickness)
        own = both[1, 1] - np.mean(covariance[:, r, r] / thickness**2)
        if both[0, 1] > 0.0 and both[0, 1] ** 2 > TOGETHER * max((both[0, 0] - noise) * own, 1e-300):
            return True
    return False


def _look_like(
    found: Unnamed, guesses: list[MaterialGuess], root: FloatArray, phases: FloatArray
) -> tuple[Unnamed, FloatArray | None, FloatArray, float]:
    """The finding, with the materials likely to cause residuals in its directions, and what these are mistaken for.

    By the evidence of a guess of each spectrum and its uncertainty; none is a candidate where many are as likely. What
    passes for the phases has shape (R, Q), and its covariance (R, Q, Q); None where nothing is guessed. The last is the
    logarithm of the odds of the likeliest against a direction at random.
    """
    directions, count = found.directions, len(root)
    white_phases = np.linalg.solve(root, phases.T)
    basis = np.linalg.qr(white_phases)[0]
    away = np.eye(count) - basis @ basis.T
    to_amounts = np.linalg.pinv(white_phases) @ np.linalg.inv(root)
    left = away @ np.linalg.inv(root)
    plane = directions.T @ directions
    evidence, passes, spread, sides = [], [], [], []
    for guess in guesses:
        mean = left @ guess.parameters
        direction = plane @ mean
        if not direction.any():
            direction = directions[0]
        direction = direction / np.linalg.norm(direction)
        if direction @ directions[0] < 0.0:
            direction = -direction
        cover = (left * guess.variance) @ left.T
        best = -np.inf
        for amount in np.geomspace(3e-3, 3.0, 40) / np.linalg.norm(mean):
            covariance = amount**2 * cover + GUESS_OF_DIRECTION**2 * np.eye(count)
            off = direction - amount * mean
            best = max(best, -0.5 * (off @ np.linalg.solve(covariance, off) + np.linalg.slogdet(covariance)[1]))
        evidence.append(best + guess.prior)
        # Given that it leaves nothing beside the directions.
        beside = (np.eye(count) - plane) @ left
        length = shortest = max(abs(direction @ mean), SHORTEST * np.linalg.norm(mean))
        unsure = UNSURE * guess.variance
        for _ in range(4):
            covariance = (beside * unsure) @ beside.T + (GUESS_OF_DIRECTION * length) ** 2 * np.eye(count)
            gain = (unsure[:, np.newaxis] * beside.T) @ np.linalg.inv(covariance)
            parameters = guess.parameters - gain @ (beside @ guess.parameters)
            variance = np.diag(unsure) - gain @ (beside * unsure)
            residual = directions @ left @ parameters
            length = max(float(np.linalg.norm(residual)), SHORTEST * shortest)
        own = to_amounts @ parameters
        slope = to_amounts - np.outer(own, residual / length @ directions @ left) / length
        passes.append(own / length)
        spread.append(np.diag(slope @ variance @ slope.T) / length**2)
        sides.append(residual / length)
    if not evidence:
        return found, None, np.zeros(0), -np.inf
    order = np.argsort(evidence)[::-1]
    near = tuple(guesses[i].name for i in order if evidence[i] > evidence[order[0]] - EVIDENCE)
    weights = np.exp(np.array(evidence) - max(evidence))
    weights /= weights.sum()
    # Along the direction of each material as it is guessed, across it as far as any may.
    widest = np.max(np.abs([p for p, w in zip(passes, weights, strict=True) if w > 1e-3]), axis=0)
    means = np.array([np.outer(p, s) for p, s in zip(passes, sides, strict=True)])
    eye = np.eye(len(directions))
    widest = np.maximum(widest, 1e-3 * widest.max())
    mean = np.tensordot(weights, means, 1)
    covariance = np.zeros((len(phases), *eye.shape))
    for weight, own, error, side in zip(weights, means, spread, sides, strict=True):
        along = np.outer(side, side)
        covariance += weight * (
            np.maximum(error, 1e-6 * widest**2)[:, np.newaxis, np.newaxis] * along
            + (widest**2)[:, np.newaxis, np.newaxis] * (eye - along)
            + (own - mean)[:, :, np.newaxis] * (own - mean)[:, np.newaxis]
        )
    # Both know that nothing is left in the directions of the phases.
    size = len(phases)
    random = 0.5 * (count - size) * (np.log(count - size) - 1.0) - size * np.log(GUESS_OF_DIRECTION)
    found = replace(found, candidates=near if len(near) <= MOST_CANDIDATES else ())
    return found, mean, covariance, max(evidence) - random


def _probability(seen: _Along, share: float, spread: FloatArray) -> FloatArray:
    """Probability that each pixel holds the unnamed phase, shape (S,)."""
    both = spread + seen.noise
    gain = np.einsum("sq,sqp,sp->s", seen.held, np.linalg.inv(seen.noise) - np.linalg.inv(both), seen.held)
    odds = 0.5 * (gain - np.linalg.slogdet(both)[1] + np.linalg.slogdet(seen.noise)[1]) + np.log(share / (1.0 - share))
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0))), dtype=float)


def _how_much(seen: _Along) -> tuple[float, FloatArray]:
    """Share of the pixels that hold the unnamed phase, and mean product of the amounts in these, shape (Q, Q).

    By expectation maximisation of two normal distributions about 0.
    """
    product = seen.held[:, :, np.newaxis] * seen.held[:, np.newaxis]
    share, spread = 0.5, 2.0 * product.mean(axis=0)
    for _ in range(_ROUNDS):
        odds = _probability(seen, share, spread)
        share = float(np.clip(odds.mean(), 1e-6, 1.0 - 1e-6))
        values, vectors = np.linalg.eigh(np.tensordot(odds, product - seen.noise, 1) / max(odds.sum(), 1e-9))
        spread = (vectors * np.maximum(values, 1e-6 * np.trace(product.mean(axis=0)))) @ vectors.T
    return share, spread


def _fit_guise(
    fitted: tuple[FloatArray, FloatArray, FloatArray],
    seen: _Along,
    guess: tuple[FloatArray, FloatArray],
    free: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    """Amount of one phase that the unnamed phase is mistaken for, shape (Q,), and its covariance.

    After the correction, the phase is absent from some pixels, takes up to the whole column in others, and is negative
    in none. The pixels without the unnamed phase show how many hold none of the phase; if there are none, the guess
    decides, as long as no amount becomes negative.

    Parameters
    ----------
    fitted
        Amounts, their variances, and t/lambda of the columns, shape (S,) each.
    seen
        Of the unnamed.
    guess
        What is guessed, shape (Q,), and its covariance.
    free
        Pixels without a sign of the unnamed phase, shape (S,).
    """
    (amounts, variance, thickness), (prior, covariance) = fitted, guess
    held, noise = seen.held, seen.noise
    precision = np.linalg.inv(covariance)
    most = np.maximum(thickness, 1e-3)
    rng = np.random.default_rng(0)
    # Some far out: of what a guess misses by three standard errors as well.
    wide = np.linspace(0.0, 3.0, _STARTS)[:, np.newaxis] * rng.standard_normal((_STARTS, prior.size))
    starts = prior + wide @ np.linalg.cholesky(covariance).T

    def shares(passes: FloatArray, empty: float) -> tuple[FloatArray, ...]:
        without = amounts - held @ passes
        error = variance + np.einsum("q,sqp,p->s", passes, noise, passes) + (ROUGH * (held @ passes)) ** 2
        scale = np.sqrt(error)
        nothing = empty * stats.norm.pdf(without / scale) / scale
        some = (1.0 - empty) * (stats.norm.cdf(without / scale) - stats.norm.cdf((without - most) / scale)) / most
        return without, error, nothing, nothing + some + STRAY / (4.0 * most)

    found = []
    for start in starts:
        passes, empty = start, 0.3
        for _ in range(_ROUNDS):
            without, error, nothing, total = shares(passes, empty)
            of_nothing = nothing / total
            empty = float(np.clip(of_nothing[free].sum() / (free.sum() + 2.0), 1e-3, 0.99))
            weight = of_nothing / error
            information = np.einsum("s,sq,sp->qp", weight, held, held)
            passes = np.linalg.solve(
                information + precision, np.einsum("s,s,sq->q", weight, amounts, held) + precision @ prior
            )
        without, error, nothing, total = shares(passes, empty)
        of_nothing = nothing / total
        off = passes - prior
        score = (without / error)[:, np.newaxis] * held
        lost = np.einsum("s,sq,sp->qp", of_nothing * (1.0 - of_nothing), score, score)
        values, vectors = np.linalg.eigh(information + precision - lost)
        values = np.maximum(values, np.linalg.eigvalsh(precision).min())
        inverse = (vectors / values) @ vectors.T
        evidence = np.log(total).sum() - 0.5 * off @ precision @ off - 0.5 * np.log(values).sum()
        found.append((evidence, passes, inverse))
    top = max(e for e, _, _ in found)
    means = np.array([p for _, p, _ in found])
    # Starts that end at one place are one.
    alike = np.array([np.sum(np.linalg.norm(means - p, axis=1) < 1e-3 * np.sqrt(np.trace(covariance))) for p in means])
    weights = np.exp([e - top for e, _, _ in found]) / alike
    weights /= weights.sum()
    mean = weights @ means
    away = means - mean
    spread = np.tensordot(weights, [i for _, _, i in found], 1) + np.einsum("s,sq,sp->qp", weights, away, away)
    return mean, spread + (ROUGH * np.linalg.norm(mean)) ** 2 * np.eye(mean.size)
