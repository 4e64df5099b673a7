"""Where each frame of a series lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from hyperspy.signals import BaseSignal, Signal2D

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.drift.mean_alignment import Drift, FrameStatus, shift_frame
from hyperspy_assb.signals.one_figure import OneFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class DriftCorrection(OneFigure):
    """Position of each frame against the mean of all, with its error; the frames stay as they were counted.

    Its figure shows the shifts with their errors against time.

    Parameters
    ----------
    found
        Positions and mean, as arrays; see :class:`~hyperspy_assb.series.drift.mean_alignment.Drift`.
    pixel
        Size of a pixel in nm; NaN if it is not known.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, truth = simulate_series(SeriesConditions(frames=3, size=96), seed=1)
    >>> drift = series.correct_drift()
    >>> drift.summary().startswith("The frames drift over"), drift.mean.data.shape
    (True, (96, 96))
    >>> drift.shift["y"].data.shape, drift.shift_std["x"].data.shape, drift.status.data.tolist()
    ((3,), (3,), [0, 0, 0])
    >>> drift.series
    <ASSBSTEMSeries, title: simulated series (drift corrected, for the eye), dimensions: (3|96, 96)>
    """

    statuses: ClassVar[type[IntEnum] | None] = FrameStatus
    found: Drift = field(repr=False)
    pixel: float

    @cached_property
    def shift(self) -> dict[str, BaseSignal]:
        """Shift of the content of each frame in rows ("y") and columns ("x"), in pixels, as signals."""
        return {name: self._map(self.found.shift[:, i], f"shift along {name}", "pixels") for i, name in enumerate("yx")}

    @cached_property
    def shift_std(self) -> dict[str, BaseSignal]:
        """Their standard errors."""
        return {
            name: self._map(self.found.shift_std[:, i], f"standard error of the shift along {name}", "pixels")
            for i, name in enumerate("yx")
        }

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.series.drift.mean_alignment.FrameStatus` as integers."""
        return self._map(self.found.status, "Status of the frames")

    @cached_property
    def mean(self) -> Signal2D:
        """Mean of the placed frames as an image; NaN where fewer than half of them were."""
        return Signal2D(self.found.mean.copy())

    @property
    def series(self) -> Signal2D:
        """A copy of the series with every frame moved back, for the eye.

        Its pixels are interpolated, so their noise is correlated: measure on the series itself.

        Raises
        ------
        AssbValueError
            If this result comes from a file, which does not hold the frames: use :meth:`apply`.
        """
        source = getattr(self, "_source", None)
        if source is None:
            raise AssbValueError("A result from a file holds no frames: use apply(series).")
        return self.apply(source)

    def apply(self, series: Signal2D) -> Signal2D:
        """Move the frames of a series back, for the eye; see :attr:`series`.

        Parameters
        ----------
        series : ASSBSTEMSeries
            With as many frames; of a lazy one, the result is lazy.

        Returns
        -------
        ASSBSTEMSeries
            In single precision; frames without a position, and what moves in from outside, are NaN.

        Raises
        ------
        AssbValueError
            If the number or size of the frames is another one.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=3, size=96), seed=1)
        >>> series.correct_drift().apply(series).data.dtype
        dtype('float32')
        """
        if series.data.shape != (self.found.shift.shape[0], *self.found.mean.shape):
            raise AssbValueError(
                f"The series has the shape {series.data.shape}, but the drift is that of "
                f"{(self.found.shift.shape[0], *self.found.mean.shape)}."
            )
        moved = series._deepcopy_with_new_data(_moved(series.data, self.found.shift))
        moved.metadata.General.title = f"{series.metadata.General.title} (drift corrected, for the eye)"
        return moved

    def summary(self) -> str:
        """How far the frames drift, how well it is known, and which frames have no position."""
        placed = self.found.status == FrameStatus.PLACED
        shift, std = self.found.shift[placed], self.found.shift_std[placed]
        extent = np.ptp(shift, axis=0)
        scale, unit = (self.pixel, "nm") if np.isfinite(self.pixel) else (1.0, "pixels")
        lines = [
            f"The frames drift over {extent[0] * scale:.3g} x {extent[1] * scale:.3g} {unit} (y, x); positions are "
            f"known to {np.median(std) * scale:.2g} {unit} (standard error)."
        ]
        for member in FrameStatus:
            frames = np.flatnonzero(self.found.status == member)
            if member is not FrameStatus.PLACED and frames.size:
                shown = ", ".join(map(str, frames[:10])) + (" ..." if frames.size > 10 else "")
                lines.append(f"{frames.size} frames have no position ({member.name.lower()}): {shown}.")
        return "\n".join((*lines, *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.series import plot_drift

        return plot_drift(self, ax=ax)

    def _shown(self) -> Any:
        return self._stacked({**self.shift, **{f"{k} std": v for k, v in self.shift_std.items()}}, "Drift (pixels)")

    def _pixel_columns(self) -> Mapping[str, Any]:
        found = self.found
        columns: dict[str, Any] = {}
        for i, name in enumerate("yx"):
            columns[f"shift {name} (pixels)"] = found.shift[:, i]
            columns[f"shift {name} std (pixels)"] = found.shift_std[:, i]
        return columns | {"gain": found.gain, "offset": found.offset}


def _moved(frames: Any, shift: np.ndarray) -> Any:
    def one(frame: np.ndarray, by: np.ndarray) -> np.ndarray:
        if not np.all(np.isfinite(by)):
            return np.full(frame.shape, np.nan, dtype=np.float32)
        # Mirrored at its edges: a step there would ring through the frame.
        margin = 16
        wide = np.pad(frame.astype(np.float64), margin, mode="reflect")
        inner = shift_frame(wide, -by, fill=np.nan)[margin:-margin, margin:-margin]
        inside = shift_frame(np.ones(frame.shape), -np.round(by)) > 0.5
        return np.where(inside, inner, np.nan).astype(np.float32)

    if isinstance(frames, np.ndarray):
        return np.stack([one(frame, by) for frame, by in zip(frames, shift, strict=True)])
    import dask.array as da

    single = frames.rechunk((1, *frames.shape[1:]))

    def block(part: np.ndarray, block_info: Any = None) -> np.ndarray:
        number = block_info[0]["array-location"][0][0] if block_info else 0
        return one(part[0], shift[number])[None]

    return da.map_blocks(block, single, dtype=np.float32)


def notes_of(found: Drift) -> tuple[str, ...]:
    """What a reader of the drift must know."""
    notes = []
    placed = found.status == FrameStatus.PLACED
    distorted = np.abs(found.distortion[placed]) > 5.0
    if distorted.any(axis=1).mean() > 0.1:
        notes.append(
            f"In {int(distorted.any(axis=1).sum())} frames the rows move while they are scanned: positions are those "
            "of the middle of the frame, and shapes are sheared."
        )
    if found.excess > 0.5:
        notes.append(
            f"Pixels change by {1.0 + found.excess:.1f} times the variance of counts: the content changes. If it moves "
            "steadily, it passes for drift: name a reference= that stays."
        )
    return tuple(notes)
