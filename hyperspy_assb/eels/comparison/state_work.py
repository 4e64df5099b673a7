"""One state on its way to its mean distribution and to blocks of pixels: what is left of it, and was found so far."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.comparison.options import ComparisonOptions, Spectra
from hyperspy_assb.eels.comparison.row_store import RowStore
from hyperspy_assb.eels.scattering.counting_noise import Averaging, CountingVariance, ZeroLosses, propagate_counting
from hyperspy_assb.eels.scattering.plasmon import Plasmon
from hyperspy_assb.eels.scattering.single_scattering import ZeroLossShape
from hyperspy_assb.fitting.solver.noise_claim import Noise
from hyperspy_assb.fitting.statistics import blocks as partition

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_NOISE_GROUPS = 64
"""Groups of pixels of like thickness whose counting noise is propagated together."""


def _nothing() -> FloatArray:
    return np.empty(0)


@dataclass
class Work:
    """One state: what is left of its spectra, and what was found of them so far."""

    spectra: Spectra
    fwhm: float = np.nan
    noise: Noise | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    centre: FloatArray = field(default_factory=_nothing)
    own: ZeroLossShape | None = None
    used: ZeroLossShape | None = None
    distribution: RowStore | None = None
    """Single scattering of every pixel, P rows of E."""
    t_over_lambda: FloatArray = field(default_factory=_nothing)
    intensity: FloatArray = field(default_factory=_nothing)
    """Counts of the zero-loss peak, shape (P,)."""
    recorded: FloatArray = field(default_factory=_nothing)
    """All counts, shape (P,)."""
    thickness: FloatArray = field(default_factory=_nothing)
    other_thickness: FloatArray = field(default_factory=_nothing)
    """Thickness by the measure that is not used; empty where thickness is left in."""
    total: FloatArray = field(default_factory=_nothing)
    """Sum of the distributions of all pixels, shape (E,)."""
    mean: FloatArray = field(default_factory=_nothing)
    """Mean distribution per unit of thickness, shape (E,)."""
    own_zero_loss: FloatArray = field(default_factory=_nothing)
    """What the state's own zero-loss peak would add to its mean distribution, beside the common one, shape (E,)."""
    plasmon: Plasmon | None = None
    correlation: partition.Correlation | None = None
    counting: CountingVariance | None = None
    label: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    blocks: FloatArray = field(default_factory=_nothing)
    covariates: FloatArray = field(default_factory=_nothing)

    def distributions(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Single scattering of the pixels with their places."""
        assert self.distribution is not None
        return self.distribution.blocks()

    def weigh(self, weights: FloatArray) -> FloatArray:
        """Sums of the distributions with weights, shape (E,) or (E, F), to shape (P,) or (P, F)."""
        return np.concatenate([rows @ weights for _, rows in self.distributions()])

    def keep(self, rows: NDArray[np.bool_], reason: str) -> None:
        """Leave out pixels, and count them."""
        if rows.all():
            return
        self.left_out[reason] = int((~rows).sum())
        s = self.spectra
        self.spectra = replace(s, counts=s.counts[rows], position=s.position[rows])
        self.centre = self.centre[rows] if self.centre.size else self.centre

    def gather(self, size: int, options: ComparisonOptions) -> None:
        """Average distributions and thicknesses over blocks of `size` pixels."""
        self.label = partition.split_into_blocks(self.spectra.position, size)
        pixels = np.bincount(self.label)[:, None]
        covariates = thickness_covariates(self.thickness, options)
        self.blocks = np.zeros((pixels.size, self.mean.size))
        self.covariates = np.zeros((pixels.size, covariates.shape[1]))
        for part, rows in self.distributions():
            order = np.argsort(self.label[part], kind="stable")
            labels, starts = np.unique(self.label[part][order], return_index=True)
            self.blocks[labels] += np.add.reduceat(rows[order], starts, axis=0, dtype=np.float64)
            self.covariates[labels] += np.add.reduceat(covariates[part][order], starts, axis=0)
        self.blocks /= pixels
        self.covariates /= pixels

    def correlate(self, weights: FloatArray, options: ComparisonOptions) -> partition.Correlation:
        """Spatial correlation of what thickness does not explain of the bands of the pixels."""
        bands = self.weigh(weights.T)
        basis = np.linalg.qr(thickness_covariates(self.thickness, options))[0]
        return partition.estimate_correlation(bands - basis @ (basis.T @ bands), self.spectra.position)

    def count(self, options: ComparisonOptions, weights: FloatArray, area: FloatArray) -> CountingVariance:
        """Variance of the mean distribution and of weighted sums of it from counting."""
        assert self.noise is not None
        assert self.used is not None
        assert self.distribution is not None
        normaliser = {"log_ratio": None, "area": area, "none": np.empty(0)}[options.normalisation]
        averaging = Averaging(
            mean=self.mean,
            thickness=self.thickness,
            normaliser=normaliser,
            weights=weights,
            # Neighbouring blocks have neighbouring numbers.
            group=self.label * _NOISE_GROUPS // max(int(self.label.max()) + 1, _NOISE_GROUPS),
        )
        distribution = self.distribution
        return propagate_counting(
            ((part, counts, distribution[part]) for part, counts in self.spectra.blocks("counting noise")),
            self.spectra.energy,
            ZeroLosses(self.centre, self.intensity, self.used),
            self.t_over_lambda,
            averaging,
            self.noise,
        )


def thickness_covariates(thickness: FloatArray, options: ComparisonOptions) -> FloatArray:
    """What spectra depend on beside their state, shape (P, C); the last column is the thickness.

    What surfaces and the tail of the zero-loss peak add is constant in thick specimens and fades in thin ones: a
    constant and a square follow it.
    """
    ones = np.ones((thickness.size, 1))
    if options.normalisation == "none":
        return ones
    grows = np.asarray(thickness, dtype=np.float64)[:, None]
    # In even specimens a constant part cannot be told from one that grows.
    if not options.surfaces or np.ptp(grows) < 1e-9 * np.abs(grows).max():
        return grows
    return np.concatenate([ones, grows**2, grows], axis=1)
