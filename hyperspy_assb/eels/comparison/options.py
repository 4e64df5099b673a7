"""What is compared, and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.checks import check_counts
from hyperspy_assb.eels.low_loss_map import BLOCK, LowLossMap, blocks_of
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.progress import counted

IntArray = NDArray[np.int64]

NORMALISATIONS = ("log_ratio", "area", "none")
ZERO_LOSSES = ("common", "each")


@dataclass(frozen=True)
class ComparisonOptions:
    """How spectra are compared.

    Parameters
    ----------
    normalisation
        What distributions are divided by: ``"log_ratio"``, t/λ from the logarithm of all counts over the zero
        loss; ``"area"``, the area of the distribution in the range that is compared; ``"none"``, the number of
        spectra, which leaves thickness in.
    surfaces
        Whether a part of the spectra that does not grow with thickness is taken into account, as surfaces and the tail
        of the zero-loss peak make it: it is told from the scatter of thickness between blocks, and states are compared
        at one thickness. Without it, everything is taken to grow with thickness.
    zero_loss
        ``"common"``: one peak is fitted to all states together; ``"each"``: one to each state, for states whose energy
        resolutions differ.
    start
        Loss in eV from which spectra are compared; None: three full widths of the zero-loss peak.
    block_pixels
        Pixels of a block; None: from the correlation of neighbouring pixels.
    permutations, seed
        Number of permutations, and their seed.
    alpha
        Probability of a false change in any of the bands, or in any cluster.
    gain, read_noise
        Counts per electron, and standard deviation of a channel without electrons in counts; gain None: what was
        recorded with each state where its counts scatter accordingly, else what their scatter tells.
    shift_uncertainty
        Standard uncertainty in eV of the energy of one state against another, beyond that of the zero-loss peak.
    scale_uncertainty
        Relative standard uncertainty of the dispersion of one state against another.

    Raises
    ------
    ValueError
        If one of them is impossible.

    Examples
    --------
    >>> ComparisonOptions(normalisation="area", permutations=1999).alpha
    0.05
    """

    normalisation: str = "log_ratio"
    surfaces: bool = True
    zero_loss: str = "common"
    start: float | None = None
    block_pixels: int | None = None
    permutations: int = 999
    seed: int = 0
    alpha: float = 0.05
    gain: float | None = None
    read_noise: float = 0.0
    shift_uncertainty: float = 0.01
    scale_uncertainty: float = 0.002

    def __post_init__(self) -> None:
        if self.normalisation not in NORMALISATIONS:
            raise AssbValueError(
                f"normalisation is {self.normalisation!r}: it must be one of {', '.join(NORMALISATIONS)}."
            )
        if self.zero_loss not in ZERO_LOSSES:
            raise AssbValueError(
                f"zero_loss is {self.zero_loss!r}: it must be one of {', '.join(ZERO_LOSSES)}, or a spectrum."
            )
        if self.permutations < 19:
            raise AssbValueError(f"permutations is {self.permutations}: fewer than 19 cannot give a p value of 0.05.")
        if self.block_pixels is not None and self.block_pixels < 1:
            raise AssbValueError(f"block_pixels is {self.block_pixels}: a block has at least one pixel.")
        if self.gain is not None and not self.gain > 0:
            raise AssbValueError(f"gain is {self.gain}: it must be positive.")


@dataclass(frozen=True)
class Window:
    """A band to be compared.

    Parameters
    ----------
    name
        What it is called.
    low, high
        Limits in eV.
    background
        Limits in eV of the channels before an edge that a power law is taken from, and subtracted; None: nothing is.
    """

    name: str
    low: float
    high: float
    background: tuple[float, float] | None = None


@dataclass(frozen=True)
class Spectra:
    """Spectra of one state.

    Parameters
    ----------
    counts
        NumPy or dask array, shape (P, E); rows that are empty or not finite are left out.
    energy
        Centres of the channels in eV, shape (E,).
    position
        Indices of the pixels, shape (P, D), D the number of navigation axes.
    claim
        Gain and read noise as they were recorded; None where nobody did.
    """

    counts: Any
    energy: NDArray[np.float64]
    position: IntArray
    claim: Detector | None = None

    @classmethod
    def of(cls, recorded: LowLossMap, pixels: NDArray[np.bool_] | None = None) -> Spectra:
        """All spectra of a map, or those of some pixels, a mask on its navigation axes."""
        counts = recorded.counts
        if 8 * counts.size <= BLOCK:
            counts = np.asarray(counts)  # a few of those on disk
        if counts.dtype.kind not in "buif":
            check_counts(np.asarray(counts))  # which says what is wrong
        position = np.moveaxis(np.indices(recorded.shape), 0, -1).reshape(len(counts), len(recorded.shape))
        if pixels is None:
            return cls(counts, recorded.energy, position, recorded.detector)
        chosen = pixels.ravel()
        return cls(counts[chosen], recorded.energy, position[chosen], recorded.detector)

    def blocks(self, step: str) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Counts with their places, for a named step: all at once where they are in memory, else block by block."""
        return counted(blocks_of(self.counts), len(self.counts), step, size=lambda block: len(block[1]))

    def sample(self, most: int) -> tuple[IntArray, NDArray[Any]]:
        """Rows, and their counts: all that are in memory; of those on disk so many, evenly over all."""
        if isinstance(self.counts, np.ndarray):
            return np.arange(len(self.counts)), self.counts
        rows = np.unique(np.linspace(0, len(self.counts) - 1, min(most, len(self.counts))).astype(int))
        return rows, np.asarray(self.counts[rows])
