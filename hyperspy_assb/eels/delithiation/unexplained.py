"""What the phases of a standard leave unexplained in pixels, and how far pure pixels do.

The linear parameters of the joint fit take one step from the fit as a column of the phases. If the phases are all that
there is, this step is noise. A smooth misfit that drowns among a thousand channels stands out among twenty parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

CLEAR = 1.3
"""Times the largest eigenvalue that noise alone has (Marchenko and Pastur, Math. USSR-Sb. 1, 457 (1967)), from which a
direction of the residuals counts. Once in a thousand maps of noise in 16 directions it is 1.33 times that or more in 20
pixels, 1.12 in 100 and 1.04 in 1,024."""
FEWEST = 20
"""Pixels without which nothing is said of a map."""
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
    deviance
        By how much the step to them lowers the deviance, shape (S,); 0 where there is none.
    """

    values: FloatArray
    covariance: FloatArray
    t_over_lambda: FloatArray
    deviance: FloatArray

    def whiten(self, misfit: FloatArray) -> FloatArray:
        """Residuals of unit covariance, shape (S, K), if the phases are all that there is; NaN where there is none.

        Parameters
        ----------
        misfit
            Covariance at t/lambda = 1 beyond noise, shape (K, K); see :func:`measure_misfit`.
        """
        known = np.flatnonzero(np.isfinite(self.values).all(axis=1) & np.isfinite(self.covariance).all(axis=(1, 2)))
        out = np.full(self.values.shape, np.nan)
        out[known] = np.linalg.solve(self.root(misfit, known), self.values[known, :, np.newaxis])[..., 0]
        return out

    def root(self, misfit: FloatArray, rows: NDArray[np.intp]) -> FloatArray:
        """Cholesky factor of the covariance of some pixels, misfit included, shape (S, K, K)."""
        square = self.t_over_lambda[rows, np.newaxis, np.newaxis] ** 2
        return np.asarray(np.linalg.cholesky(self.covariance[rows] + square * misfit), dtype=float)


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
    kept = clipped(white)
    values, vectors = np.linalg.eigh(kept.T @ kept / rows.size)
    scale = float(np.median(values[-degrees:]))
    scale = scale if scale > NOISIER else 1.0
    misfit = nothing
    for direction in vectors[:, values > scale * CLEAR * noise_edge(degrees, rows.size)].T:
        root = np.linalg.cholesky(pure.covariance[rows])
        physical = root @ direction
        physical = np.mean(physical / np.linalg.norm(physical, axis=1, keepdims=True), axis=0)
        # By least squares of the squares: misfit grows with thickness, noise less.
        expected = pure.t_over_lambda[rows] ** 2 * (np.linalg.solve(root, physical) @ direction) ** 2
        size = np.sum(((white @ direction) ** 2 - scale) * expected) / np.sum(expected**2)
        misfit = misfit + max(float(size), 0.0) * np.outer(physical, physical)
    return scale, misfit


def noise_edge(degrees: int, count: int) -> float:
    """Largest eigenvalue of the covariance of as many spectra of noise."""
    return float((1.0 + np.sqrt(degrees / count)) ** 2)


def clipped(white: FloatArray) -> FloatArray:
    """Residuals of unit covariance of which no single pixel decides over the map, shape (S, K)."""
    size = np.sum(white**2, axis=1, keepdims=True)
    most = _CLIP * max(float(np.median(size)), 1e-300) if len(size) else 1.0
    return white * np.sqrt(np.minimum(1.0, most / np.maximum(size, 1e-300)))
