"""As much of a standard, and of residuals, as the tests of what was not named need."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from hyperspy_assb.eels.delithiation.unexplained import Residuals

NAMED = ("LiFePO4", "FePO4", "LAGP", "carbon")
K, R = 12, 4


class Known:
    """A standard of K parameters and R phases, of which each is one of the last parameters and nothing else."""

    names = tuple(f"parameter {k}" for k in range(K))
    residual_misfit = np.zeros((K, K))
    spectra = SimpleNamespace(phases=NAMED)

    def __init__(self, root=None):
        self.root = np.eye(K) if root is None else root
        self.calibration = SimpleNamespace(phases=NAMED, hosts=np.ones(2), per_thickness=self.per_thickness)

    def per_thickness(self, thickness):
        """Parameters of each phase, shape (S, R, K)."""
        return np.broadcast_to((self.root @ np.eye(K, R, -(K - R))).T, (len(thickness), R, K))


def noise(rng, n, *, scale=1.0, root=None):
    """Residuals of n pixels whose covariance has the rank that phases leave, in random directions and sizes."""
    root = rng.standard_normal((K, K)) + 3.0 * np.eye(K) if root is None else root
    left = np.eye(K)
    left[K - R :] = 0.0  # what the phases take
    size = rng.uniform(0.5, 2.0, n)
    values = np.sqrt(scale) * size[:, np.newaxis] * (rng.standard_normal((n, K)) @ left.T @ root.T)
    covariance = size[:, np.newaxis, np.newaxis] ** 2 * (root @ root.T)
    return Residuals(values, covariance, rng.uniform(0.2, 1.0, n), np.zeros(n))
