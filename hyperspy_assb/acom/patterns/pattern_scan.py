"""Patterns of a scan, what is known of how they were recorded, and how they are handed on in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.crystals.kinematical import electron_wavelength
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

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

    def __post_init__(self) -> None:
        rows, columns = self.frame
        column, row = self.geometry.centre
        if not (-0.5 <= column <= columns - 0.5 and -0.5 <= row <= rows - 0.5):
            raise ValueError(
                f"centre: the direct beam at column {column:.4g}, row {row:.4g} lies outside of the frame of {columns} "
                f"columns and {rows} rows."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the scan."""
        return self.patterns.shape[0], self.patterns.shape[1]

    @property
    def frame(self) -> tuple[int, int]:
        """Rows and columns of a pattern."""
        return self.patterns.shape[2], self.patterns.shape[3]

    @property
    def known_energy(self) -> float:
        """Beam energy in keV; a ValueError where it is not known."""
        return known_energy(self.beam_energy, self.title)

    def beam_radius(self, geometry: PatternGeometry) -> float:
        """Radius in 1/Å within which counts are in the direct beam, for a scale that may have been refined."""
        radius = LEAST_BEAM_PIXELS * geometry.scale
        if self.convergence_angle is not None and self.convergence_angle > 0.0:
            beam = 1e-3 * BEAM_RADIUS * self.convergence_angle
            radius = max(radius, beam / electron_wavelength(self.known_energy))
        return radius

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
                yield *place, self.patterns[place]
            return
        with ThreadPoolExecutor(1) as pool:

            def read(place: tuple[slice, slice]) -> NDArray[Any]:
                return np.asarray(self.patterns[place].compute())

            waiting = pool.submit(read, places[0])
            for number, place in enumerate(places):
                patterns = waiting.result()
                if number + 1 < len(places):
                    waiting = pool.submit(read, places[number + 1])
                yield *place, patterns

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

    def sample(self, count: int = SAMPLE_PATTERNS) -> NDArray[Any]:
        """About so many patterns evenly over the scan, shape (B, ny, nx)."""
        step = max(np.sqrt(np.prod(self.shape) / count), 1.0)
        rows, columns = (np.unique(np.arange(step / 2 - 0.5, n, step).astype(int)) for n in self.shape)
        rows, columns = (k if k.size else np.zeros(1, dtype=int) for k in (rows, columns))
        if isinstance(self.patterns, np.ndarray):
            return self.patterns[np.ix_(rows, columns)].reshape(-1, *self.frame)
        # Row by row: a whole block of the file may have to be read for one of its patterns.
        return np.concatenate([np.asarray(self.patterns[int(row)][columns].compute()) for row in rows])


def known_energy(energy: float | None, title: str) -> float:
    """Beam energy in keV.

    Raises
    ------
    ValueError
        If it is not known.
    """
    if energy is None:
        raise ValueError(
            f"The beam energy of {title} is needed: set metadata.Acquisition_instrument.TEM.beam_energy, in keV."
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
        raise ValueError(f"patterns: shape (B, ny, nx), not {patterns.shape}.")
    if min(patterns.shape[1:]) < LEAST_PIXELS:
        raise ValueError(
            f"patterns: at least {LEAST_PIXELS} x {LEAST_PIXELS} pixels, not {patterns.shape[1]} x {patterns.shape[2]}."
        )
    kind = patterns.dtype.kind
    if kind == "b":
        patterns = patterns.astype(np.uint8)
    elif kind not in "iuf":
        raise ValueError(f"patterns: real numbers, not {patterns.dtype}.")
    elif patterns.dtype == np.float16 or not patterns.dtype.isnative:
        patterns = patterns.astype(np.float32 if kind == "f" else patterns.dtype.newbyteorder("="))
    elif patterns.dtype.itemsize > 8:
        patterns = patterns.astype(np.float64)
    return patterns


def checked_centres(
    centres: ArrayLike | None, geometry: PatternGeometry, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Column and row of the direct beam of each pattern, shape (B, 2).

    Raises
    ------
    ValueError
        If there is not one for each pattern, or one lies outside of the frame.
    """
    count, ny, nx = shape
    if centres is None:
        places = np.broadcast_to(np.asarray(geometry.centre, dtype=float), (count, 2))
        name = "centre"
    else:
        places = np.asarray(centres, dtype=float)
        name = "centres"
        if places.shape != (count, 2):
            raise ValueError(f"centres: column and row for each of {count} patterns, not {places.shape}.")
    inside = ((places > -0.5) & (places < (nx - 0.5, ny - 0.5))).all(axis=1)
    if not inside.all():
        first = int(np.argmin(inside))
        x, y = places[first]
        raise ValueError(
            f"{name}: the direct beam of pattern {first} at column {x:.1f}, row {y:.1f} lies outside of the frame of "
            f"{nx} columns and {ny} rows."
        )
    return np.ascontiguousarray(places)


def refuse_infinite(finite: NDArray[np.bool_]) -> None:
    """Raise where a pattern holds NaN or infinity."""
    if not finite.all():
        raise ValueError(
            f"patterns: pattern {int(np.argmin(finite))} holds NaN or infinite counts ({int((~finite).sum())} patterns "
            "do); replace them, by 0 or by the mean of their neighbours."
        )


def quantum_of(patterns: NDArray[Any]) -> float:
    """Smallest step of counts, such as 1, or the gain of a camera that multiplies; 0 where values are not countable."""
    whole = 1.0 if patterns.dtype.kind in "iu" else 0.0
    values = np.unique(patterns[:1])
    if len(values) < 2 or len(values) > 0.25 * patterns[:1].size:
        return whole
    values = values.astype(float) - float(values[0])
    step = float(np.diff(values).min())
    if not step > 1e-7 * values[-1]:
        return whole
    even = bool(np.abs(values / step - np.round(values / step)).max() < 1e-3)
    return step if even else whole


def sum_direct_beam(
    patterns: NDArray[Any], geometry: PatternGeometry, radius: float, *, centres: FloatArray | None = None
) -> FloatArray:
    """Counts within a radius of the direct beam.

    Parameters
    ----------
    patterns
        Shape (..., ny, nx).
    geometry
        Scale and centre.
    radius
        1/Å.
    centres
        Column and row of the direct beam of each pattern, shape (..., 2), taken to the nearest pixel; None: that of the
        geometry for all.

    Returns
    -------
    counts
        Shape (...).

    Raises
    ------
    ValueError
        If no pixel is within the radius.
    """
    rows, columns = patterns.shape[-2:]
    y, x = np.mgrid[:rows, :columns]

    def window(centre: tuple[float, float]) -> tuple[Any, NDArray[np.bool_]]:
        vectors = replace(geometry, centre=centre).to_reciprocal(np.stack([x, y], axis=-1))
        inside = np.linalg.norm(vectors, axis=-1) <= radius
        if not inside.any():
            raise ValueError(f"radius: no pixel lies within {radius:g} 1/Å of the direct beam.")
        tall, wide = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
        part = np.s_[..., tall[0] : tall[-1] + 1, wide[0] : wide[-1] + 1]
        return part, inside[part]

    if centres is None:
        part, inside = window(geometry.centre)
        return np.asarray(patterns[part].sum(axis=(-2, -1), where=inside, dtype=float))
    counts = np.empty(patterns.shape[:-2])
    nearest = np.rint(np.asarray(centres, dtype=float))
    # Most patterns share a few places.
    for place in np.unique(nearest.reshape(-1, 2), axis=0):
        here = (nearest == place).all(axis=-1)
        part, inside = window((float(place[0]), float(place[1])))
        counts[here] = patterns[here][part].sum(axis=(-2, -1), where=inside, dtype=float)
    return counts
