"""The best combination of several estimates of x, and whether they agree."""

from __future__ import annotations

import numpy as np
from scipy import stats

from hyperspy_assb.eels.delithiation.lithium_content import SIGNATURES, Estimate
from hyperspy_assb.eels.delithiation.phase_features import Features
from hyperspy_assb.fitting.spectra.line_shape import FloatArray


def combine(estimates: dict[str, Estimate], features: Features) -> tuple[Estimate, FloatArray]:
    """The best combination of the estimates, and whether they agree.

    Parameters
    ----------
    estimates
        "references", "valence" and "lithium".
    features
        What the last two were made from.

    Returns
    -------
    combined
        Generalised least squares with the covariance of all three.
    agreement
        p value of chi-squared with two degrees of freedom, shape (S,).

    Notes
    -----
    The estimate that uses every channel cannot be improved by a part of them, so that its covariance with each of the
    others is its own variance, and that of their differences from it is the difference of the variances (Hausman,
    Econometrica 46, 1251 (1978)). Systematic errors are taken as independent.
    """
    whole = estimates["references"]
    parts = [estimates[method] for method in SIGNATURES]
    directions = [part.direction for part in parts]
    n = whole.x.size
    known = np.isfinite(whole.error) & np.all([np.isfinite(part.error) for part in parts], axis=0)
    between = np.empty((n, 2, 2))
    for i, one in enumerate(directions):
        for j, two in enumerate(directions):
            assert one is not None
            assert two is not None
            between[:, i, j] = np.einsum("sk,skl,sl->s", one, features.covariance, two)
    rows = np.flatnonzero(known)
    counting = whole.variance[rows]
    extra = between[rows] - counting[:, np.newaxis, np.newaxis]
    values, vectors = np.linalg.eigh(extra)
    # An estimate of less variance than the best possible one owes it to the errors of both.
    values = np.maximum(values, 1e-3 * counting[:, np.newaxis])
    covariance = np.zeros((rows.size, 3, 3))
    covariance[:, 1:, 1:] = np.einsum("sia,sa,sja->sij", vectors, values, vectors)
    covariance += counting[:, np.newaxis, np.newaxis]
    systematic = np.stack([whole.systematic, *(part.systematic for part in parts)], axis=-1)[rows]
    total = covariance + np.einsum("si,ij->sij", systematic, np.eye(3))
    x = np.stack([whole.x, *(part.x for part in parts)], axis=-1)[rows]
    inverse = np.linalg.inv(total)
    weights = inverse.sum(axis=2)
    weights /= weights.sum(axis=1, keepdims=True)
    mean = np.sum(weights * x, axis=1)
    residual = x - mean[:, np.newaxis]
    chi_squared = np.einsum("si,sij,sj->s", residual, inverse, residual)
    agreement = np.full(n, np.nan)
    agreement[rows] = stats.chi2.sf(chi_squared, 2)
    # Where a signature gives nothing, the whole spectrum answers alone.
    out = {name: getattr(whole, name).copy() for name in ("x", "variance", "systematic", "null_variance")}
    out["x"][rows] = mean
    out["variance"][rows] = np.einsum("si,sij,sj->s", weights, covariance, weights)
    out["systematic"][rows] = np.sum(weights**2 * systematic, axis=1)
    before = whole.variance[rows] + whole.systematic[rows]
    out["null_variance"][rows] *= (out["variance"][rows] + out["systematic"][rows]) / before
    return Estimate(**out), agreement
