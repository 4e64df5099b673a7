"""What the phases of a standard leave unexplained: in a pixel, and over a map.

The linear parameters of the joint fit take one step from the fit as a column of the phases. If the phases are all that
there is, this step is noise. A smooth misfit that drowns among a thousand channels stands out among twenty parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Material
from hyperspy_assb.reference.materials import materials

ALPHA = 1e-3
"""p value below which a pixel is not explained."""
ALPHA_OF_DIRECTION = 0.03
"""The same where the map is known to hold what was not named: then it is the pixels without it that are sought."""
CLEAR = 1.3
"""Times the largest eigenvalue that noise alone has (Marchenko and Pastur, Math. USSR-Sb. 1, 457 (1967)), from which a
direction of the residuals counts. Once in a thousand maps of noise in 16 directions it is 1.33 times that or more in 20
pixels, 1.12 in 100 and 1.04 in 1,024."""
MOST_DIRECTIONS = 3
FEWEST = 20
"""Pixels without which nothing is said of a map."""
EVIDENCE = 3.0
"""Logarithm of the odds within which other materials are named beside the likeliest."""
MOST_CANDIDATES = 3
LIKELY_ROLES, LIKELY = ("electrolyte", "additive"), 4.0
"""Roles of what lies beside an electrode, and the logarithm of the odds by which it is expected before others. The odds
and the guesses below were set with the nine simulated maps in view that candidates were first looked at in."""
GUESS_OF_VALENCE, GUESS_OF_EDGES = (0.35, 0.05), (0.2, 0.02)
"""Relative uncertainty of what a material is guessed to add to the parameters, and one of the largest of its kind."""
_MIXTURE_ROUNDS = 30
"""Steps of expectation maximisation; what is left after them is far below the error of the errors."""
GUESS_OF_DIRECTION = 0.05
"""Uncertainty of the direction itself."""
VALENCE_END = 45.0
"""eV, up to which the spectrum of a material is that of its valence electrons."""
NOISIER = 1.2
"""Noise over that expected, from which it counts: 100 pixels tell it to a twentieth."""
THIN = 0.05
"""t/lambda below which a pixel tells nothing of misfit."""
_CLIP = 4.0
"""Times the median, at which a pixel's sum of squares is clipped: no single one decides over the map."""


@dataclass(frozen=True)
class Residuals:
    """What the linear parameters of the joint fit have beyond a column of the phases, in S pixels.

    Parameters
    ----------
    values
        Shape (S, K); NaN where there is none.
    covariance
        Of the values, noise of the references included, shape (S, K, K).
    t_over_lambda
        Shape (S,).
    """

    values: FloatArray
    covariance: FloatArray
    t_over_lambda: FloatArray

    def whiten(self, misfit: FloatArray) -> FloatArray:
        """Residuals of unit covariance, shape (S, K), if the phases are all that there is; NaN where there is none.

        Parameters
        ----------
        misfit
            Covariance at t/lambda = 1 beyond noise, shape (K, K); see :func:`measure_misfit`.
        """
        known = np.isfinite(self.values).all(axis=1) & np.isfinite(self.covariance).all(axis=(1, 2))
        out = np.full(self.values.shape, np.nan)
        square = self.t_over_lambda[known, np.newaxis, np.newaxis] ** 2
        root = np.linalg.cholesky(self.covariance[known] + square * misfit)
        out[known] = np.linalg.solve(root, self.values[known, :, np.newaxis])[..., 0]
        return out


@dataclass(frozen=True)
class Unnamed:
    """What a map holds beside the phases that were named.

    Parameters
    ----------
    directions
        Of the whitened residuals, orthonormal, shape (Q, K); none where the phases explain the map.
    strength
        Mean square of the residuals along them, over that of noise, shape (Q,).
    candidates
        Materials of the table that would leave such residuals, the likeliest first.
    guesses, guess_variance, weights
        What each of M materials would add to the linear parameters per t/lambda and the variance of that, shape (M, K)
        each, and how likely each is by its evidence, shape (M,).
    """

    directions: FloatArray
    strength: FloatArray
    candidates: tuple[str, ...] = ()
    guesses: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    guess_variance: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    weights: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __bool__(self) -> bool:
        return len(self.directions) > 0


def freedom(standard: Standard) -> int:
    """Directions that residuals have: the phases themselves leave nothing."""
    return max(len(standard.names) - len(standard.spectra.phases), 1)


def measure_misfit(pure: Residuals, degrees: int) -> tuple[float, FloatArray]:
    """What residuals of pure pixels scatter beyond the noise that was expected.

    Parameters
    ----------
    pure
        Residuals of pixels of one phase each.
    degrees
        Directions that they have.

    Returns
    -------
    noise_scale, misfit
        Variance over that expected, alike in all directions, as neighbouring channels with a common noise make it, at
        least 1; and a covariance at t/lambda = 1 beyond it, shape (K, K), of directions that noise cannot make.
    """
    nothing = np.zeros(pure.covariance.shape[1:])
    white = pure.whiten(nothing)
    rows = np.flatnonzero(np.isfinite(white).all(axis=1) & (pure.t_over_lambda > THIN))
    if rows.size < FEWEST:
        return 1.0, nothing
    white = white[rows]
    clipped = _clipped(white)
    values, vectors = np.linalg.eigh(clipped.T @ clipped / rows.size)
    scale = float(np.median(values[-degrees:]))
    scale = scale if scale > NOISIER else 1.0
    misfit = nothing
    for direction in vectors[:, values > scale * CLEAR * _edge(degrees, rows.size)].T:
        root = np.linalg.cholesky(pure.covariance[rows])
        physical = root @ direction
        physical = np.mean(physical / np.linalg.norm(physical, axis=1, keepdims=True), axis=0)
        # By least squares of the squares: misfit grows with thickness, noise less.
        expected = pure.t_over_lambda[rows] ** 2 * (np.linalg.solve(root, physical) @ direction) ** 2
        size = np.sum(((white @ direction) ** 2 - scale) * expected) / np.sum(expected**2)
        misfit = misfit + max(float(size), 0.0) * np.outer(physical, physical)
    return scale, misfit


def find_unnamed(standard: Standard, sample: Residuals) -> Unnamed:
    """Directions in which the residuals of a map lie that the phases and noise do not make.

    Parameters
    ----------
    standard
        What is known of the phases.
    sample
        Residuals of pixels from all over the map.
    """
    degrees, white = freedom(standard), sample.whiten(standard.residual_misfit)
    white = _clipped(white[np.isfinite(white).all(axis=1)])
    if len(white) < FEWEST:
        return Unnamed(np.zeros((0, white.shape[1])), np.zeros(0))
    values, vectors = np.linalg.eigh(white.T @ white / len(white))
    count = min(int(np.sum(values > CLEAR * _edge(degrees, len(white)))), MOST_DIRECTIONS)
    directions = vectors[:, ::-1][:, :count].T
    # Of a phase there is some or nothing: residuals lie on one side.
    side = np.sign(np.median(white @ directions.T, axis=0))
    directions = directions * np.where(side == 0.0, 1.0, side)[:, np.newaxis]
    found = Unnamed(directions, values[::-1][:count])
    return _guess_materials(standard, sample, found) if found else found


def judge_explanation(
    standard: Standard, residuals: Residuals, unnamed: Unnamed | None
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Whether the phases explain each pixel.

    Parameters
    ----------
    standard
        What is known of the phases.
    residuals
        Of S pixels.
    unnamed
        What the map holds beside the phases; None: not looked for.

    Returns
    -------
    p_value, unexplained
        Probability of residuals at least this large if the phases are all that there is (Hotelling, Ann. Math. Stat. 2,
        360 (1931), with a covariance that is known), and whether the pixel is not explained, shape (S,) each; NaN and
        False where nothing is known.
    """
    white = residuals.whiten(standard.residual_misfit)
    p_value = stats.chi2.sf(np.sum(white**2, axis=1), freedom(standard))
    with np.errstate(invalid="ignore"):
        unexplained = p_value < ALPHA
        if unnamed:
            along = np.sum((white @ unnamed.directions.T) ** 2, axis=1)
            unexplained |= stats.chi2.sf(along, len(unnamed.directions)) < ALPHA_OF_DIRECTION
    return p_value, unexplained


def _edge(degrees: int, count: int) -> float:
    """Largest eigenvalue of the covariance of as many spectra of noise."""
    return float((1.0 + np.sqrt(degrees / count)) ** 2)


def _clipped(white: FloatArray) -> FloatArray:
    size = np.sum(white**2, axis=1, keepdims=True)
    most = _CLIP * max(float(np.median(size)), 1e-300) if len(size) else 1.0
    return white * np.sqrt(np.minimum(1.0, most / np.maximum(size, 1e-300)))


def _guess_materials(standard: Standard, sample: Residuals, found: Unnamed) -> Unnamed:
    """What is found, with the materials of the table that are likely to leave residuals along its first direction.

    By the evidence of a guess of each spectrum and its uncertainty; none is a candidate where many are as likely.
    """
    direction = found.directions[0]
    known = np.isfinite(sample.covariance).all(axis=(1, 2)) & np.isfinite(sample.t_over_lambda)
    thickness = float(np.median(sample.t_over_lambda[known]))
    root = np.linalg.cholesky(np.mean(sample.covariance[known], axis=0) + thickness**2 * standard.residual_misfit)
    phases = standard.calibration.per_thickness(np.array([thickness]))[0]
    inside = np.linalg.qr(np.linalg.solve(root, phases.T))[0]
    # From parameters to what the phases cannot imitate of them.
    left = (np.eye(len(root)) - inside @ inside.T) @ np.linalg.inv(root)
    edges, evidence = _edges(standard), {}
    guesses, variances = {}, {}
    for name, material in materials.items():
        guess = _expected_parameters(standard, material, thickness)
        if name in standard.spectra.phases or not guess.any():
            continue
        error = np.zeros_like(guess)
        for kind, (own, largest) in ((edges, GUESS_OF_EDGES), (~edges, GUESS_OF_VALENCE)):
            error[kind] = own * np.abs(guess[kind]) + largest * np.max(np.abs([guess, phases[0]]), axis=0)[kind].max()
        mean, spread = left @ guess, (left * error**2) @ left.T
        best = -np.inf
        for amount in np.geomspace(3e-3, 3.0, 40) / np.linalg.norm(mean):
            covariance = amount**2 * spread + GUESS_OF_DIRECTION**2 * np.eye(len(root))
            away = direction - amount * mean
            best = max(best, -0.5 * (away @ np.linalg.solve(covariance, away) + np.linalg.slogdet(covariance)[1]))
        evidence[name] = best + LIKELY * (material.role in LIKELY_ROLES)
        guesses[name], variances[name] = guess, error**2
    if not evidence:
        return found
    order = sorted(evidence, key=lambda name: -evidence[name])
    near = tuple(name for name in order if evidence[name] > evidence[order[0]] - EVIDENCE)
    weights = np.exp([evidence[name] - evidence[order[0]] for name in order])
    return replace(
        found,
        candidates=near if len(near) <= MOST_CANDIDATES else (),
        guesses=np.array([guesses[name] for name in order]),
        guess_variance=np.array([variances[name] for name in order]),
        weights=weights / weights.sum(),
    )


def hidden_variance(
    standard: Standard, residuals: Residuals, unnamed: Unnamed | None, amounts: FloatArray
) -> FloatArray:
    """Variance of the lithiated fraction from as much of what was not named as the residuals of a pixel may hide.

    Parameters
    ----------
    standard
        What is known of the phases.
    residuals
        Of S pixels.
    unnamed
        What the map holds beside the phases; None: nothing is known of it.
    amounts
        t/lambda of each phase, shape (S, R).

    Returns
    -------
    variance
        Shape (S,); 0 where nothing was found beside the phases.

    Notes
    -----
    What is not named leaves a part of its spectrum as residual, and passes the rest for phases. How much of it there is
    follows from the residual along what each likely material would leave: some pixels hold none, the others amounts
    with a normal prior, and how many there are of either the map says; what it passes for follows from the guess of
    its spectrum and its uncertainty.
    """
    out = np.zeros(len(amounts))
    if not unnamed or not len(unnamed.weights):
        return out
    white = residuals.whiten(standard.residual_misfit)
    rows = np.flatnonzero(np.isfinite(white).all(axis=1))
    thickness = residuals.t_over_lambda[rows]
    square = thickness[:, np.newaxis, np.newaxis] ** 2
    root = np.linalg.cholesky(residuals.covariance[rows] + square * standard.residual_misfit)
    phases = np.linalg.solve(root, standard.calibration.per_thickness(thickness).transpose(0, 2, 1))
    inverse = np.linalg.pinv(phases)
    hosts = standard.calibration.hosts
    units = amounts[rows, :2] * hosts
    total = units.sum(axis=1)
    fraction = np.clip(units[:, 0] / total, 0.0, 1.0)
    slope = np.stack([(1.0 - fraction) * hosts[0], -fraction * hosts[1]], axis=-1) / total[:, np.newaxis]
    # Of the fraction, by white parameters of the pixel.
    by_white = np.einsum("sr,srk->sk", slope, inverse[:, :2])
    by_parameter = np.linalg.solve(root.transpose(0, 2, 1), by_white[..., np.newaxis])[..., 0]
    for guess, variance, weight in zip(unnamed.guesses, unnamed.guess_variance, unnamed.weights, strict=True):
        own = np.linalg.solve(root, np.broadcast_to(guess, white[rows].shape)[..., np.newaxis])[..., 0]
        left = own - np.einsum("skr,sr->sk", phases, np.einsum("srk,sk->sr", inverse, own))
        size = np.sqrt(np.sum(left**2, axis=1))
        along = np.sum(white[rows] * left, axis=1) / size
        held, sure = _holding_pixels(along)
        amount = held * sure * (1.0 + sure * along**2) / size**2
        change = np.einsum("sk,k->s", by_parameter, guess) ** 2 + by_parameter**2 @ variance
        out[rows] += weight * amount * change
    return out


def _holding_pixels(along: FloatArray) -> tuple[FloatArray, float]:
    """Which pixels hold what leaves a residual: the probability of each, and how little noise tells of the amount.

    Residuals in standard errors, shape (S,), are noise alone in some pixels, and noise and amounts with a normal
    distribution in the others (expectation maximisation of a mixture of two normal distributions about 0).
    """
    square = np.square(along)
    share, spread = 0.5, max(2.0 * float(np.mean(square)), 2.0)
    held = np.zeros(len(along))
    for _ in range(_MIXTURE_ROUNDS):
        odds = share / (1.0 - share) / np.sqrt(spread) * np.exp(np.minimum(0.5 * square * (1.0 - 1.0 / spread), 50.0))
        held = odds / (1.0 + odds)
        share = float(np.clip(held.mean(), 1e-6, 1.0 - 1e-6))
        spread = max(float(held @ square) / max(float(held.sum()), 1e-9), 1.0 + 1e-6)
    return held, 1.0 - 1.0 / spread


def _edges(standard: Standard) -> NDArray[np.bool_]:
    """Which parameters of the joint fit are edges, shape (K,)."""
    return np.array(["_" in name for name in standard.names])


def _expected_parameters(standard: Standard, material: Material, thickness: float) -> FloatArray:
    """Linear parameters of the joint fit that a material would have per t/lambda, shape (K,): a rough guess.

    Its valence electrons scatter as those of the lithiated end member, on an energy scale that is stretched by the
    ratio of the free-electron plasmon energies; its edges are those of the end members, atom for atom.
    """
    size = standard.fitted_channels
    host = materials[standard.electrode.lithiated]
    loss = standard.dispersion * np.arange(size)
    distribution = standard.spectra.distribution(size, thickness)
    try:
        stretch = material.free_electron_plasmon_energy / host.free_electron_plasmon_energy
    except ValueError:  # neither density nor cell is known
        return np.zeros(len(standard.names))
    guess = np.interp(loss / stretch, loss, distribution[0]) / stretch
    columns = fft.irfft(standard.columns, standard.spectra.length)[:, :size]
    edges = _edges(standard)
    below = loss < VALENCE_END
    out = np.zeros(len(standard.names))
    out[~edges] = np.linalg.lstsq(columns[~edges][:, below].T, guess[below], rcond=None)[0]
    for k in np.flatnonzero(edges):
        symbol = standard.names[k].split("_")[0]
        for phase, slope in zip(standard.calibration.phases, standard.calibration.slope, strict=True):
            own = materials.get(phase)
            if own is not None and (atoms := own.composition.get(symbol, 0.0)):
                share = material.composition.get(symbol, 0.0) / material.valence_electrons
                out[k] = slope[k] / (atoms / own.valence_electrons) * share
                break
    return out
