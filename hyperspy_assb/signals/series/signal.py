"""The signal of a series of STEM images.

Methods are thin: they read axes and metadata, call one function on arrays, and dress what comes back as a result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hyperspy.api as hs
import numpy as np
from hyperspy.signals import LazySignal2D
from numpy.typing import ArrayLike

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.progress import progress_bar
from hyperspy_assb.provenance import record, series_dose
from hyperspy_assb.series.beam_effects import measure_beam
from hyperspy_assb.series.cracks.crack_paths import Crack, find_lines
from hyperspy_assb.series.drift.mean_alignment import FrameStatus, align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.series.grains.boundary_width import fit_boundaries
from hyperspy_assb.series.grains.grain_changes import end_frames
from hyperspy_assb.series.grains.grain_labels import find_grains, map_of_labels
from hyperspy_assb.series.kymograph import brightness_along, points_along
from hyperspy_assb.series.region_contrast import find_steps, lead_over, region_brightness
from hyperspy_assb.signals.region_mask import region_mask, region_masks
from hyperspy_assb.signals.result import navigation_axes
from hyperspy_assb.signals.series.beam_series import BeamSeries, beam_notes
from hyperspy_assb.signals.series.contrast_series import ContrastSeries
from hyperspy_assb.signals.series.crack_series import CrackSeries
from hyperspy_assb.signals.series.drift_correction import DriftCorrection, notes_of
from hyperspy_assb.signals.series.grain_series import GrainSeries
from hyperspy_assb.signals.series.grain_tracks import GrainTracks
from hyperspy_assb.signals.series.kymographs import Kymograph
from hyperspy_assb.signals.series.recorded_series import RecordedSeries
from hyperspy_assb.signals.series.series_reading import frame_dose, frame_potential_std, read_series


class ASSBSTEMSeries(RecordedSeries):
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
    >>> series.accumulated_dose is None, series.potential_std is None
    (True, True)
    """

    _signal_type = "STEM_SERIES_ASSB"
    _signal_dimension = 2

    def correct_drift(self, reference: Any = None, *, show_progressbar: bool | None = None) -> DriftCorrection:
        """Find where each frame lies against the mean of all, with its error.

        Pairs of frames near in time are correlated, positions that agree with them found by a robust graph, and then
        each frame, as it was counted, is fitted by the mean of the others moved to its place, with a gain and an offset
        of its own, weighted by its counting noise. Nothing is resampled but the mean.

        Parameters
        ----------
        reference
            Pixels of the first frame that do not move but by drift: a boolean array or signal, shape (Y, X), or a
            HyperSpy ROI. Without one, content that moves steadily passes for drift.
        show_progressbar
            HyperSpy's preference by default.

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
        with progress_bar("drift", show_progressbar):
            found = align(series, mask)
        result = DriftCorrection(
            found,
            series.pixel,
            axes=navigation_axes(self),
            provenance=record(
                "correct_drift",
                parameters={"reference": mask is not None},
                methods=["gauss_newton"],
                dose=series_dose(frame_dose(self), series.count),
            ),
            notes=notes_of(found),
        )
        # Not a field: the file of a result holds no frames.
        object.__setattr__(result, "_source", self)
        return result

    def segment_grains(
        self,
        drift: DriftCorrection | None = None,
        *,
        region: Any = None,
        labels: Any = None,
        show_progressbar: bool | None = None,
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
        show_progressbar
            HyperSpy's preference by default.

        Returns
        -------
        GrainSeries
            Labels, and width, depth and area of the boundaries with errors against time and potential.

        Raises
        ------
        AssbValueError
            If no grains are found.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=4, size=128), seed=1)
        >>> "grains. Their boundaries are" in series.segment_grains().summary()
        True
        """
        drift = self.correct_drift(show_progressbar=show_progressbar) if drift is None else drift
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
        with progress_bar("grains", show_progressbar):
            found = fit_boundaries(series, drift.found, grains)
            ends = end_frames(series, drift.found)
        dressed = self._dress("segment_grains", series, drift, own_labels=labels is None)
        return GrainSeries(grains, found, ends, **dressed)

    def track(self, grains: GrainSeries | None = None, *, alpha: float = 0.05) -> GrainTracks:
        """Tell which grains shrink and grow, and which are lost or gained.

        Parameters
        ----------
        grains
            Result of :meth:`segment_grains`; None: found here, in the whole field.
        alpha
            As in :meth:`.GrainSeries.track`.

        Returns
        -------
        GrainTracks
            Area of each grain against time, its change with error and p values, and lines that go or come.

        Raises
        ------
        AssbValueError
            As for :meth:`segment_grains`, or if there are fewer than four frames with a position.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> conditions = SeriesConditions(frames=8, size=160, dose=60.0, shrinking=0.2, shrinkage=2.0)
        >>> series, truth = simulate_series(conditions, seed=1)
        >>> len(series.track().shrinking) > 0
        True
        """
        grains = self.segment_grains() if grains is None else grains
        return grains.track(alpha=alpha)

    def find_cracks(
        self,
        drift: DriftCorrection | None = None,
        *,
        grains: GrainSeries | None = None,
        region: Mapping[str, Any] | None = None,
        alpha: float = 0.05,
        show_progressbar: bool | None = None,
    ) -> CrackSeries:
        """Find dark lines that appear, and distinguish cracks from boundaries that widen.

        Differences to the frames before are filtered by lines of 24 directions. Bright lines of the same differences
        show how strong chance makes them; a crack must also be darker than any boundary was before it.

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
        show_progressbar
            HyperSpy's preference by default.

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
        drift = self.correct_drift(show_progressbar=show_progressbar) if drift is None else drift
        series = read_series(self)
        with progress_bar("cracks", show_progressbar):
            lines, threshold = find_lines(series, drift.found, None if grains is None else grains.grains, alpha)
        named = {} if region is None else region_masks(self._frame(), region)
        origins = tuple(_origin(line, named) for line in lines)
        mean = drift.found.mean
        return CrackSeries(
            lines, threshold, float(alpha), mean, origins, **self._dress("find_cracks", series, drift, alpha=alpha)
        )

    def region_contrast(
        self,
        region: Mapping[str, Any],
        drift: DriftCorrection | None = None,
        *,
        before: CrackSeries | Sequence[float] | None = None,
        alpha: float = 0.05,
        show_progressbar: bool | None = None,
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
        show_progressbar
            HyperSpy's preference by default.

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
        drift = self.correct_drift(show_progressbar=show_progressbar) if drift is None else drift
        series = read_series(self)
        masks = region_masks(self._frame(), region)
        with progress_bar("contrast", show_progressbar):
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
            **self._dress("region_contrast", series, drift, alpha=alpha),
        )

    def beam_effects(
        self,
        drift: DriftCorrection | None = None,
        *,
        grains: GrainSeries | None = None,
        region: Mapping[str, Any] | None = None,
        alpha: float = 0.05,
        show_progressbar: bool | None = None,
    ) -> BeamSeries:
        """Follow what the beam does: brightness that is added, as carbon does, and contrast that is lost.

        A stronger beam makes all content brighter by one factor; what is added makes all of it brighter by the same
        amount. Pieces of content of different brightness separate the two.

        Parameters
        ----------
        drift
            Result of :meth:`correct_drift`; None: found here, without a reference.
        grains
            Result of :meth:`segment_grains`: the insides of grains show what is added. None: squares of the field do,
            whose content may change by itself.
        region
            Other places where the beam was, such as the field of an earlier map, by name: what is added there is held
            against the rest.
        alpha
            Level of the tests.
        show_progressbar
            HyperSpy's preference by default.

        Returns
        -------
        BeamSeries
            Dose, accumulated dose, carbon index and contrast against time.

        Raises
        ------
        AssbValueError
            If a region is too small, or the content has one brightness.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=6, size=128), seed=1)
        >>> series.set_dose(30.0)
        >>> print(series.beam_effects().summary().splitlines()[0])
        Brightness that is added: ... ± ... %, no more than its error (p = ...).
        """
        drift = self.correct_drift(show_progressbar=show_progressbar) if drift is None else drift
        series = read_series(self)
        masks = {} if region is None else region_masks(self._frame(), region)
        cells = None if grains is None else grains.grains.insides()
        with progress_bar("beam", show_progressbar):
            found = measure_beam(series, drift.found, masks, cells)
        dressed = self._dress("beam_effects", series, drift, alpha=alpha)
        return BeamSeries(found, frame_dose(self), float(alpha), **dressed)

    def kymograph(self, line: ArrayLike, drift: DriftCorrection | None = None, *, width: float = 3.0) -> Kymograph:
        """Brightness along a line in every frame: what moves is a slope in it, what appears a step.

        Parameters
        ----------
        line
            Rows and columns of its corners in pixels of the first frame, shape (N, 2), such as the path of a crack;
            it follows the drift.
        drift
            Result of :meth:`correct_drift`; None: found here, without a reference.
        width
            Pixels across the line that are averaged.

        Returns
        -------
        Kymograph
            Brightness against time and length.

        Raises
        ------
        AssbValueError
            If the line has no length, or the width is not above 0.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=4, size=96), seed=1)
        >>> series.kymograph([(48.0, 10.0), (48.0, 80.0)]).brightness.shape
        (4, 71)
        """
        if not width > 0.0:
            raise AssbValueError(f"width must be above 0 pixels, not {width:g}.")
        points = points_along(np.asarray(line, dtype=float))
        drift = self.correct_drift() if drift is None else drift
        series = read_series(self)
        brightness = brightness_along(series, drift.found, points, width)
        return Kymograph(points, brightness, float(width), **self._dress("kymograph", series, drift, width=width))

    # ----------------------------------------------------------------- private

    def _dress(self, action: str, series: FrameSeries, drift: DriftCorrection, **options: Any) -> dict[str, Any]:
        """What every result is given: times, potential, pixel size, record and notes of the beam."""
        dose = series_dose(frame_dose(self), series.count)
        return {
            "time": series.time,
            "potential": series.potential,
            "potential_std": frame_potential_std(self),
            "pixel": series.pixel,
            "provenance": record(action, parameters=options, dose=dose),
            "notes": beam_notes(dose, drift.found),
        }

    def _frame(self) -> Any:
        """One frame whose axes are navigation axes, which regions are named on."""
        axes = self.axes_manager._get_signal_axes_dicts()
        data = np.zeros(self.axes_manager._signal_shape_in_array)
        return hs.signals.BaseSignal(data, axes=[{**axis, "navigate": True} for axis in axes]).transpose(signal_axes=0)


def _origin(line: Crack, regions: Mapping[str, np.ndarray]) -> str:
    """Region in which a line begins: that of the most of its points that are dark first."""
    rows, columns = np.round(line.path[line.first]).astype(int).T
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
