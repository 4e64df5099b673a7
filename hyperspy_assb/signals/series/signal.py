"""The signal of a series of STEM images.

Methods are thin: they read axes and metadata, call one function on arrays, and dress what comes back as a result.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
from hyperspy.signals import LazySignal2D, Signal2D
from numpy.typing import ArrayLike

from hyperspy_assb.echem.beam_offset import find_beam_offset
from hyperspy_assb.errors import AssbFileError, AssbValueError, AssbWarning
from hyperspy_assb.provenance import record
from hyperspy_assb.series.cracks.crack_paths import Crack, find_lines
from hyperspy_assb.series.drift.mean_alignment import FrameStatus, align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.series.grains.boundary_width import fit_boundaries
from hyperspy_assb.series.grains.grain_labels import find_grains, map_of_labels
from hyperspy_assb.series.region_contrast import find_steps, lead_over, region_brightness
from hyperspy_assb.signals.echem.signal import ASSBVoltammogram
from hyperspy_assb.signals.loading import as_type, load_signal
from hyperspy_assb.signals.region_mask import region_mask, region_masks
from hyperspy_assb.signals.result import navigation_axes
from hyperspy_assb.signals.series.contrast_series import ContrastSeries
from hyperspy_assb.signals.series.crack_series import CrackSeries
from hyperspy_assb.signals.series.drift_correction import DriftCorrection, notes_of
from hyperspy_assb.signals.series.grain_series import GrainSeries
from hyperspy_assb.signals.series.series_reading import (
    NODE,
    exposure_time,
    frame_dose,
    frame_potential,
    frame_times,
    pixel_size,
    read_series,
)

_FILMS = {".mp4", ".avi", ".mov", ".wmv", ".mkv", ".gif"}
_OFFSETS = 401
"""Offsets that are tried where the steps of the beam in the current tell them."""


class ASSBSTEMSeries(Signal2D):
    """STEM images against time.

    Any two-dimensional signal with one navigation axis becomes one by ``s.set_signal_type("STEM_SERIES_ASSB")``; data,
    axes and metadata stay as they are. The navigation axis must be time, in s, ms, min or h, whatever its name; what
    else is known, dose and potential, is kept in the metadata, under the node ``ASSB.series``.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, truth = simulate_series(SeriesConditions(frames=3, size=96), seed=1)
    >>> series.time.tolist(), series.pixel_size, series.dose, series.potential
    ([0.0, 10.0, 20.0], 10.0, None, None)
    """

    _signal_type = "STEM_SERIES_ASSB"
    _signal_dimension = 2

    @property
    def time(self) -> np.ndarray:
        """Beginning of each frame in s.

        Raises
        ------
        AssbValueError
            If the navigation axis is no time, or runs back.
        """
        return frame_times(self)

    @property
    def pixel_size(self) -> float:
        """nm; NaN if it is not known."""
        return pixel_size(self)

    @property
    def dose(self) -> float | None:
        """Electrons per nm² in each frame; None if it is not known, never 0."""
        return frame_dose(self)

    @property
    def potential(self) -> np.ndarray | None:
        """V in the middle of each frame; NaN outside of the log, None if :meth:`set_potential` was not called."""
        return frame_potential(self)

    def set_frame_times(self, times: float | ArrayLike) -> None:
        """Say when the frames were taken, where the file does not.

        Parameters
        ----------
        times
            Interval in s between the beginnings of frames, or the beginning of each, shape (T,).

        Raises
        ------
        AssbValueError
            If the interval is not above 0, or the times do not rise or are not as many as the frames.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=3, size=96), seed=1)
        >>> series.set_frame_times(2.5)
        >>> series.time.tolist()
        [0.0, 2.5, 5.0]
        """
        axis = self.axes_manager.navigation_axes[0]
        given = np.asarray(times, dtype=float)
        if given.ndim == 0:
            if not given > 0.0:
                raise AssbValueError(f"times: the interval between frames must be above 0 s, not {float(given):g}.")
            given = np.arange(axis.size) * float(given)
        if given.shape != (axis.size,) or np.any(np.diff(given) <= 0.0) or not np.all(np.isfinite(given)):
            raise AssbValueError(f"times must be {axis.size} rising numbers of s, one for each frame, or one interval.")
        if axis.is_uniform:
            axis.convert_to_non_uniform_axis()
            axis = self.axes_manager.navigation_axes[0]
        axis.axis = given
        axis.name, axis.units = "time", "s"

    def set_dose(
        self,
        dose: float | None = None,
        *,
        beam_current: float | None = None,
        dwell_time: float | None = None,
        exposure: float | None = None,
    ) -> None:
        """State the dose of a frame, or what it follows from; what is not given stays.

        Parameters
        ----------
        dose
            Electrons per nm² in each frame.
        beam_current
            nA.
        dwell_time
            s per pixel.
        exposure
            s that the beam is on in each frame, if not all of the time between frames.

        Raises
        ------
        AssbValueError
            If a value is not above 0.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=3, size=96), seed=1)
        >>> series.set_dose(beam_current=0.05, dwell_time=2e-6)
        >>> round(series.dose, 2)
        6.24
        """
        given = {"dose": dose, "beam_current": beam_current, "dwell_time": dwell_time, "exposure": exposure}
        for name, value in given.items():
            if value is None:
                continue
            if not value > 0.0:
                raise AssbValueError(f"{name} must be above 0, not {value:g}; leave it out if it is not known.")
            where = "Acquisition_instrument.TEM" if name == "beam_current" else NODE
            self.metadata.set_item(f"{where}.{name}", float(value))

    def set_potential(
        self, cv: ASSBVoltammogram, *, offset: float | tuple[float, float] | str = "stamps"
    ) -> tuple[float, float]:
        """Put the series and a voltammogram on one clock.

        Parameters
        ----------
        cv
            What was applied.
        offset
            Time of the log when the series begins its time 0, in s: a number, a number with its standard error,
            "stamps" (from the times that both files state, known to about 1 s), or "steps" (from the steps that the
            beam makes in the current, if it is off between frames: see :meth:`set_dose`).

        Returns
        -------
        offset, offset_std
            s; the error is NaN where only a number was given.

        Raises
        ------
        AssbValueError
            If the times do not overlap, a time stamp is missing, or no step is seen.

        Warns
        -----
        AssbWarning
            If some frames lie outside of the log: their potential is NaN.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import simulate_voltammogram
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=3, size=96), seed=1)
        >>> series.set_potential(simulate_voltammogram(seed=1), offset=(100.0, 1.0))
        (100.0, 1.0)
        >>> series.potential.round(1).tolist()
        [1.1, 1.1, 1.2]
        """
        seconds, std = self._offset(cv, offset)
        node = {
            "log_time": cv.time.tolist(),
            "log_potential": cv.potential.tolist(),
            "offset": seconds,
            "offset_std": std,
        }
        times = frame_times(self) + seconds
        outside = (times < cv.time[0]) | (times > cv.time[-1])
        if outside.all():
            raise AssbValueError(
                f"The frames run from {times[0]:.6g} to {times[-1]:.6g} s of the log, which runs from {cv.time[0]:.6g} "
                f"to {cv.time[-1]:.6g} s: they do not overlap. Check offset=."
            )
        for name, value in node.items():
            self.metadata.set_item(f"{NODE}.{name}", value)
        if outside.any():
            warnings.warn(
                f"{int(outside.sum())} of {times.size} frames lie outside of the log: their potential is not known.",
                AssbWarning,
                stacklevel=2,
            )
        return seconds, std

    def correct_drift(self, reference: Any = None) -> DriftCorrection:
        """Find where each frame lies against the mean of all, with its error.

        Pairs of frames near in time are correlated, positions that agree with them found by a robust graph, and then
        each frame, as it was counted, is fitted by the mean of the others moved to its place, with a gain and an offset
        of its own, weighted by its counting noise. Nothing is resampled but the mean.

        Parameters
        ----------
        reference
            Pixels of the first frame that do not move but by drift: a boolean array or signal, shape (Y, X), or a
            HyperSpy ROI. Without one, content that moves steadily passes for drift.

        Returns
        -------
        DriftCorrection
            Shifts with standard errors, frames that could not be placed, and a corrected copy for the eye.

        Raises
        ------
        AssbValueError
            If there are fewer than two frames with contrast, or the reference leaves the field of view.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=4, size=96), seed=1)
        >>> drift = series.correct_drift()
        >>> true = truth.shift - truth.shift.mean(axis=0)
        >>> bool(abs(drift.found.shift - true).max() < 0.3)
        True
        """
        series = read_series(self)
        mask = None if reference is None else region_mask(self._frame(), reference, name="reference")
        found = align(series, mask)
        result = DriftCorrection(
            found,
            series.pixel,
            axes=navigation_axes(self),
            provenance=record("correct_drift", parameters={"reference": mask is not None}, methods=["gauss_newton"]),
            notes=notes_of(found),
        )
        # Not a field: the file of a result holds no frames.
        object.__setattr__(result, "_source", self)
        return result

    def segment_grains(
        self, drift: DriftCorrection | None = None, *, region: Any = None, labels: Any = None
    ) -> GrainSeries:
        """Divide the mean of the frames into grains, and fit the boundaries between them frame by frame.

        The brightness against the distance to the nearest line is a box of the width and depth of the boundary,
        blurred; depth and blur are the same in all frames, the width is each frame's own. Dark pixels are never
        counted, so area does not depend on noise, blur or a threshold. A crack counts as boundary: leave it out by
        ``region``.

        Parameters
        ----------
        drift
            Result of :meth:`correct_drift`; None: found here, without a reference.
        region
            Pixels of the first frame that are divided, such as the electrolyte; None: all.
        labels
            Grains that another program found, from 1, shape (Y, X), in the place of the first frame; None: found here
            along dark lines.

        Returns
        -------
        GrainSeries
            Labels, and width, depth and area of the boundaries with errors against time and potential.

        Raises
        ------
        AssbValueError
            If no grains are told apart.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=4, size=128), seed=1)
        >>> "grains. Their boundaries are" in series.segment_grains().summary()
        True
        """
        drift = self.correct_drift() if drift is None else drift
        series = read_series(self)
        mean = drift.found.mean
        mask = np.isfinite(mean)
        if region is not None:
            mask &= region_mask(self._frame(), region)
        if labels is None:
            slope, level = drift.found.noise
            frames = max(int((drift.found.status == FrameStatus.PLACED).sum()), 1)
            noise = np.sqrt(np.maximum(slope * np.nan_to_num(mean) + level, 1e-12) / frames)
            grains = find_grains(mean, mask, noise)
        else:
            given = np.where(mask, np.asarray(getattr(labels, "data", labels)), 0).astype(np.int32)
            grains = map_of_labels(given, np.nan_to_num(mean, nan=float(np.nanmean(mean))))
        found = fit_boundaries(series, drift.found, grains)
        return GrainSeries(grains, found, **self._dress("segment_grains", series, own_labels=labels is None))

    def find_cracks(
        self,
        drift: DriftCorrection | None = None,
        *,
        grains: GrainSeries | None = None,
        region: Mapping[str, Any] | None = None,
        alpha: float = 0.05,
    ) -> CrackSeries:
        """Find dark lines that appear, and tell cracks from boundaries that widen.

        Differences to the frames before are filtered by lines of 24 directions. How strong chance makes them is told by
        bright lines of the same differences; a crack is, besides, darker than any boundary was before it.

        Parameters
        ----------
        drift
            Result of :meth:`correct_drift`; None: found here, without a reference.
        grains
            Result of :meth:`segment_grains`, for the share of each crack that runs along boundaries.
        region
            Regions by name, for the one that each crack begins in.
        alpha
            Share of series without a crack in which a line is found.

        Returns
        -------
        CrackSeries
            Path, length, opening, onset and growth of each line, and what it is.

        Raises
        ------
        AssbValueError
            If there are fewer than four frames with a position, or the field that all show is too small.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=4, size=176, oversampling=2), seed=1)
        >>> series.find_cracks().summary().splitlines()[0]
        'No crack is found (alpha = 0.05).'
        """
        drift = self.correct_drift() if drift is None else drift
        series = read_series(self)
        lines, threshold = find_lines(series, drift.found, None if grains is None else grains.grains, alpha)
        named = {} if region is None else region_masks(self._frame(), region)
        origins = tuple(_origin(line, named) for line in lines)
        mean = drift.found.mean
        return CrackSeries(
            lines, threshold, float(alpha), mean, origins, **self._dress("find_cracks", series, alpha=alpha)
        )

    def region_contrast(
        self,
        region: Mapping[str, Any],
        drift: DriftCorrection | None = None,
        *,
        before: CrackSeries | Sequence[float] | None = None,
        alpha: float = 0.05,
    ) -> ContrastSeries:
        """Follow the brightness of regions against the rest of the field, and find its steps.

        Parameters
        ----------
        region
            Regions of the first frame by name; they follow the drift.
        drift
            Result of :meth:`correct_drift`; None: found here, without a reference.
        before
            Result of :meth:`find_cracks`, or times of cracks in s: whether steps come before them is tested against
            circular shifts of the steps in time.
        alpha
            Share of series without a step in which one is found, over all regions.

        Returns
        -------
        ContrastSeries
            Contrast with errors, steps with p values, and their lead over the cracks.

        Raises
        ------
        AssbValueError
            If the regions take the whole field, or there are fewer than ten frames.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=10, size=96), seed=1)
        >>> series.region_contrast({"secondary": truth.bright}).summary().splitlines()[0]
        'The contrast of no region changes at once (alpha = 0.05).'
        """
        drift = self.correct_drift() if drift is None else drift
        series = read_series(self)
        masks = region_masks(self._frame(), region)
        contrast, std = region_brightness(series, drift.found, masks)
        steps = find_steps(series.time, dict(zip(masks, contrast, strict=True)), alpha)
        lead = None
        if before is not None:
            cracks = before.onsets if isinstance(before, CrackSeries) else np.sort(np.asarray(before, dtype=float))
            span = (float(series.time[0]), float(series.time[-1]))
            lead = lead_over(np.array([step.time for step in steps]), cracks, span)
        return ContrastSeries(
            tuple(masks),
            contrast,
            std,
            steps,
            lead,
            float(alpha),
            **self._dress("region_contrast", series, alpha=alpha),
        )

    # ----------------------------------------------------------------- private

    def _dress(self, action: str, series: FrameSeries, **options: Any) -> dict[str, Any]:
        """What every result is given: times, potential, pixel size, record and notes of the beam."""
        dose = frame_dose(self)
        entry = record(action, parameters=options)
        entry["dose"] = {
            "electrons per nm² and frame": dose,
            "frames": series.count,
            "electrons per nm²": None if dose is None else dose * series.count,
        }
        if dose is None:
            note = "The dose is not known: state it by set_dose."
        else:
            note = f"Each frame has {dose:.3g} electrons per nm², all together {dose * series.count:.3g}."
        note += " Without a series under the beam alone, what the bias and what the beam does are not separated."
        return {
            "time": series.time,
            "potential": series.potential,
            "pixel": series.pixel,
            "provenance": entry,
            "notes": (note,),
        }

    def _frame(self) -> Any:
        """One frame whose axes are navigation axes, which regions are named on."""
        axes = self.axes_manager._get_signal_axes_dicts()
        data = np.zeros(self.axes_manager._signal_shape_in_array)
        return hs.signals.BaseSignal(data, axes=[{**axis, "navigate": True} for axis in axes]).transpose(signal_axes=0)

    def _offset(self, cv: ASSBVoltammogram, offset: float | tuple[float, float] | str) -> tuple[float, float]:
        if offset == "stamps":
            began = self._started()
            if began is None or cv.started is None:
                whose = "series" if began is None else "voltammogram"
                raise AssbValueError(f"offset='stamps': the {whose} does not say when it began. Give the offset in s.")
            return (began - cv.started).total_seconds(), 1.0
        if offset == "steps":
            exposure = exposure_time(self)
            times = frame_times(self)
            intervals = [(float(t), float(t) + exposure) for t in times]
            reach = np.array([cv.time[0] - times[0], cv.time[-1] - times[-1] - exposure])
            return find_beam_offset(cv._swept(), intervals, np.linspace(reach.min(), reach.max(), _OFFSETS))
        if isinstance(offset, str):
            raise AssbValueError(f"offset must be s, (s, error), 'stamps' or 'steps', not {offset!r}.")
        if isinstance(offset, tuple):
            return float(offset[0]), float(offset[1])
        return float(offset), float("nan")

    def _started(self) -> datetime | None:
        date = self.metadata.get_item("General.date", None)
        time = self.metadata.get_item("General.time", None)
        if not date or not time:
            return None
        try:
            return datetime.fromisoformat(f"{date}T{time}").replace(tzinfo=None)
        except ValueError:
            return None


def _origin(line: Crack, regions: Mapping[str, np.ndarray]) -> str:
    """Region in which a line begins: that of the most of its points that are dark first."""
    rows, columns = np.round(line.path).astype(int).T
    shares = {name: float(mask[rows, columns].mean()) for name, mask in regions.items()}
    best = max(shares, key=lambda name: shares[name], default="")
    return best if best and shares[best] > 0.0 else ""


class LazyASSBSTEMSeries(ASSBSTEMSeries, LazySignal2D):
    """A series whose frames stay on disk until they are needed.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, truth = simulate_series(SeriesConditions(frames=3, size=96), seed=1)
    >>> type(series.as_lazy()).__name__
    'LazyASSBSTEMSeries'
    """


def load_series(
    path: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    times: float | ArrayLike | None = None,
    lazy: bool = False,
    reader: str | None = None,
    dataset: str | int | None = None,
) -> ASSBSTEMSeries:
    """Load a series of STEM images: ``.dm4``, ``.emd``, ``.ser``, TIFF stacks, ``.hspy``, or one file for each frame.

    Parameters
    ----------
    path
        One file with all frames, or files of single frames in their order.
    times
        Interval in s between frames, or beginning of each, where the file does not say.
    lazy, reader, dataset
        As for :func:`~hyperspy_assb.load_spectrum_image`.

    Returns
    -------
    ASSBSTEMSeries
        Frames against time.

    Raises
    ------
    AssbFileError
        If a file is missing (then also a FileNotFoundError), damaged, a film, or holds no series; it names the file.
    AssbValueError
        If frames differ in shape or magnification, are in colour, or their times are not known.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, _ = simulate_series(SeriesConditions(frames=3, size=64), seed=1)
    >>> path = Path(tempfile.mkdtemp()) / "series.hspy"
    >>> series.save(path)
    >>> load_series(path).time.tolist()
    [0.0, 10.0, 20.0]
    """
    paths = [Path(path)] if isinstance(path, str | PathLike) else [Path(p) for p in path]
    found = [_load_frames(p, lazy=lazy, reader=reader, dataset=dataset) for p in paths]
    if len(found) > 1:
        _check_alike(paths, found)
        signal = hs.stack(found) if all(s.axes_manager.navigation_dimension == 0 for s in found) else None
        if signal is None:
            raise AssbValueError("Several files must hold one frame each; load a file that holds several alone.")
        times = times if times is not None else _stamps(found)
    else:
        signal = found[0]
        if signal.axes_manager.navigation_dimension != 1:
            raise AssbFileError(f"{paths[0]} holds {signal}, not frames against time: give the files of all frames.")
    signal = as_type(signal, "STEM_SERIES_ASSB")
    if times is not None:
        signal.set_frame_times(times)
    read_series(signal)
    return signal


def _load_frames(path: Path, *, lazy: bool, reader: str | None, dataset: str | int | None) -> Any:
    if path.suffix.lower() in _FILMS and path.exists():
        raise AssbFileError(
            f"{path} is a film: its frames are compressed pictures, not counts, and errors cannot be taken from them. "
            "Load what the microscope recorded."
        )

    def images(found: list[Any]) -> list[Any]:
        return [s for s in found if s.axes_manager.signal_dimension == 2]

    return load_signal(path, {"lazy": lazy}, reader, choose=images, what=("image", "series of images"), dataset=dataset)


def _check_alike(paths: list[Path], found: list[Any]) -> None:
    first = found[0]
    for path, signal in zip(paths, found, strict=True):
        if signal.data.shape != first.data.shape:
            raise AssbValueError(f"{path} has the shape {signal.data.shape}, but {paths[0]} has {first.data.shape}.")
        sizes = pixel_size(first), pixel_size(signal)
        if abs(sizes[0] - sizes[1]) > 1e-3 * sizes[0]:
            raise AssbValueError(
                f"{path} has pixels of {sizes[1]:.4g} nm, but {paths[0]} of {sizes[0]:.4g} nm: the magnification "
                "changes. Load the frames of one magnification."
            )


def _stamps(found: list[Any]) -> np.ndarray | None:
    """Times of the frames in s after the first, from their time stamps; None if one has none."""
    stamps = []
    for signal in found:
        date, time = (signal.metadata.get_item(f"General.{name}", None) for name in ("date", "time"))
        if not date or not time:
            return None
        stamps.append(datetime.fromisoformat(f"{date}T{time}").replace(tzinfo=None))
    return np.array([(stamp - stamps[0]).total_seconds() for stamp in stamps])
