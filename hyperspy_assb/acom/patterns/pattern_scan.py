"""Patterns of a scan, what is known of how they were recorded, and how they are handed on in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.crystals.kinematical import electron_wavelength
from hyperspy_assb.acom.patterns.detector import JUDGED, Detector, examine_detector
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.errors import AssbValueError

BLOCK_BYTES = 48 * 2**20
"""Patterns that are in memory at a time; the next block is read while one is worked on."""
SAMPLE_PATTERNS = 400
"""Patterns on which the calibration is refined and chance is measured, evenly over the scan."""
BEAM_RADIUS = 1.5
"""Radius of the virtual aperture about the direct beam, in convergence angles: its rim is smeared out."""
LEAST_BEAM_PIXELS = 3.0
"""The same in pixels, at least."""
LEAST_PIXELS = 16
"""Rows and columns of a pattern, at least."""


@dataclass(frozen=True)
class PatternScan:
    """Diffraction patterns of a scan, and all that is known of how they were recorded.

    Parameters
    ----------
    patterns
        Counts of any real type, in memory or as a dask array, shape (rows, columns, ny, nx).
    geometry
        Calibration as it is stated.
    centre_stated
        Whether the centre is known from what was recorded, not taken to be the middle of the frame.
    beam_energy
        keV; None where unknown.
    precession_angle
        Half angle of the cone in degrees; None where unknown.
    convergence_angle
        Half angle in mrad; None where unknown.
    axes
        Navigation axes, as dictionaries; none or one where the scan is a single pattern or a line.
    title
        What messages call the scan.
    mask
        True where pixels of the detector are left out, shape (ny, nx); None: those are that :meth:`examined` finds.
    detector
        Puts right what the detector did; None where there is nothing, or before it is looked at.
    shape, frame
        Rows and columns of the scan and of a pattern, found from the patterns.

    Raises
    ------
    ValueError
        If the direct beam lies outside of the frame.
    """

    patterns: Any = field(repr=False)
    geometry: PatternGeometry
    centre_stated: bool = True
    beam_energy: float | None = None
    precession_angle: float | None = None
    convergence_angle: float | None = None
    axes: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    title: str = "the scan"
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)
    detector: Detector | None = field(default=None, repr=False)
    shape: tuple[int, int] = field(init=False)
    frame: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.patterns.shape[:2]))
        object.__setattr__(self, "frame", tuple(self.patterns.shape[2:]))
        rows, columns = self.frame
        column, row = self.geometry.centre
        if not (-0.5 <= column <= columns - 0.5 and -0.5 <= row <= rows - 0.5):
            raise AssbValueError(
                f"centre: the direct beam at column {column:.4g}, row {row:.4g} lies outside of the frame of {columns} "
                f"columns and {rows} rows."
            )
        if self.mask is not None and (self.mask.shape != self.frame or self.mask.all()):
            raise AssbValueError(
                f"mask: True where pixels of a pattern of {self.frame} are left out, and not everywhere; its shape is "
                f"{self.mask.shape}."
            )

    def examined(self) -> PatternScan:
        """The scan with what its detector did put right in all blocks, found on a sample of the patterns.

        Frames that are too small to be patterns are taken as they are.
        """
        if min(self.frame) < LEAST_PIXELS:
            return self
        return replace(self, detector=examine_detector(self.sample(JUDGED), given=self.mask))

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[slice, slice, NDArray[np.generic]]]:
        """Blocks of the scan with their places; of patterns on disk the next is read while one is worked on.

        Parameters
        ----------
        block_bytes
            Size of a block, at most; a single pattern may be larger.

        Yields
        ------
        rows, columns, patterns
            Patterns of shape (rows, columns, ny, nx).
        """
        places = list(self._places(block_bytes))
        if isinstance(self.patterns, np.ndarray):
            for place in places:
                yield *place, self._put_right(of_kernel_type(self.patterns[place]))
            return
        with ThreadPoolExecutor(1) as pool:

            def read(place: tuple[slice, slice]) -> NDArray[Any]:
                return self._put_right(of_kernel_type(np.asarray(self.patterns[place].compute())))

            waiting = pool.submit(read, places[0])
            for number, place in enumerate(places):
                patterns = waiting.result()
                if number + 1 < len(places):
                    waiting = pool.submit(read, places[number + 1])
                yield *place, patterns

    def _put_right(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return patterns if self.detector is None else self.detector.put_right(patterns)

    def _places(self, block_bytes: int) -> Iterator[tuple[slice, slice]]:
        """Blocks along the chunks of the data, split where they are too large, joined where they are small."""
        most = max(block_bytes // (int(np.prod(self.frame)) * self.patterns.dtype.itemsize), 1)
        chunks = getattr(self.patterns, "chunks", None)
        tall, wide = (chunks[0][0], chunks[1][0]) if chunks is not None else self.shape
        # Whole chunks where they fit, so that none is read twice; else parts of rows of them.
        wide = min(wide, most)
        tall = min(tall, max(most // wide, 1))
        while tall * wide * 2 <= most and wide < self.shape[1]:
            wide *= 2
        for y in range(0, self.shape[0], tall):
            for x in range(0, self.shape[1], wide):
                yield slice(y, min(y + tall, self.shape[0])), slice(x, min(x + wide, self.shape[1]))

    def sampled(self, count: int = SAMPLE_PATTERNS) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the scan whose crossings are the patterns of :meth:`sample`."""
        step = max(np.sqrt(np.prod(self.shape) / count), 1.0)
        rows, columns = (np.unique(np.arange(step / 2 - 0.5, n, step).astype(np.int64)) for n in self.shape)
        return (rows if rows.size else np.zeros(1, np.int64)), (columns if columns.size else np.zeros(1, np.int64))

    def sample(self, count: int = SAMPLE_PATTERNS) -> NDArray[Any]:
        """About so many patterns evenly over the scan, shape (B, ny, nx).

        Raises
        ------
        ValueError
            If they are too small, or not of a real type.
        """
        rows, columns = self.sampled(count)
        if isinstance(self.patterns, np.ndarray):
            return self._put_right(checked_patterns(self.patterns[np.ix_(rows, columns)].reshape(-1, *self.frame)))
        # Row by row: a whole block of the file may have to be read for one of its patterns.
        read = [np.asarray(self.patterns[int(row)][columns].compute()) for row in rows]
        return self._put_right(checked_patterns(np.concatenate(read)))


def beam_radius(
    geometry: PatternGeometry, convergence_angle: float | None, beam_energy: float | None, title: str
) -> float:
    """Radius in 1/Å within which counts are in the direct beam, for a convergence angle in mrad, an energy in keV."""
    radius = LEAST_BEAM_PIXELS * geometry.scale
    if convergence_angle is not None and convergence_angle > 0.0:
        beam = 1e-3 * BEAM_RADIUS * convergence_angle
        radius = max(radius, beam / electron_wavelength(known_energy(beam_energy, title)))
    return radius


def known_energy(energy: float | None, title: str) -> float:
    """Beam energy in keV.

    Raises
    ------
    ValueError
        If it is not known.
    """
    if energy is None:
        raise AssbValueError(
            f"The beam energy of {title} is missing: set it in keV by set_diffraction_calibration(beam_energy=...), on "
            "the command line by --beam-energy."
        )
    return energy


def checked_patterns(patterns: ArrayLike) -> NDArray[Any]:
    """Patterns as an array of a type that kernels take, shape (B, ny, nx).

    Raises
    ------
    ValueError
        If they are no patterns.
    """
    patterns = np.asarray(patterns)
    if patterns.ndim != 3:
        raise AssbValueError(f"patterns: shape (B, ny, nx), not {patterns.shape}.")
    if min(patterns.shape[1:]) < LEAST_PIXELS:
        raise AssbValueError(
            f"patterns: at least {LEAST_PIXELS} x {LEAST_PIXELS} pixels, not {patterns.shape[1]} x {patterns.shape[2]}."
        )
    if patterns.dtype.kind not in "buif":
        raise AssbValueError(f"patterns: real numbers, not {patterns.dtype}.")
    return of_kernel_type(patterns)


def of_kernel_type(patterns: NDArray[Any]) -> NDArray[Any]:
    """Patterns of a real type as one that kernels take."""
    kind = patterns.dtype.kind
    if kind == "b":
        patterns = patterns.astype(np.uint8)
    elif patterns.dtype == np.float16 or not patterns.dtype.isnative:
        patterns = patterns.astype(np.float32 if kind == "f" else patterns.dtype.newbyteorder("="))
    elif patterns.dtype.itemsize > 8:
        patterns = patterns.astype(np.float64)
    return patterns
