"""What is known of how a series was recorded: times, pixels, dose, potential."""

from __future__ import annotations

import numpy as np
from hyperspy.signals import Signal2D
from numpy.typing import ArrayLike

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.signals.echem.signal import ASSBVoltammogram
from hyperspy_assb.signals.series.clocks import set_potential
from hyperspy_assb.signals.series.series_reading import (
    NODE,
    frame_dose,
    frame_potential,
    frame_potential_std,
    frame_times,
    pixel_size,
)


class RecordedSeries(Signal2D):
    """Images against time, with what is stated of how they were recorded, in the metadata node ``ASSB.series``."""

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
    def accumulated_dose(self) -> np.ndarray | None:
        """Electrons per nm² that the specimen has seen in this series at the end of each frame; None if not known."""
        return None if self.dose is None else self.dose * np.arange(1.0, self.axes_manager.navigation_size + 1.0)

    @property
    def potential(self) -> np.ndarray | None:
        """V in the middle of each frame; NaN outside of the log, None if :meth:`set_potential` was not called."""
        return frame_potential(self)

    @property
    def potential_std(self) -> np.ndarray | None:
        """V, from the error of the offset between the clocks; NaN where that is not known."""
        return frame_potential_std(self)

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
        if axis.size == 0:
            raise AssbValueError("The series has no frame: there is nothing to give times to.")
        given = np.asarray(times, dtype=float)
        if given.ndim == 0:
            if not given > 0.0:
                raise AssbValueError(f"times: the interval between frames must be above 0 s, not {float(given):g}.")
            given = np.arange(axis.size) * float(given)
        if given.shape != (axis.size,) or np.any(np.diff(given) <= 0.0) or not np.all(np.isfinite(given)):
            raise AssbValueError(f"times must be {axis.size} rising numbers of s, one for each frame, or one interval.")
        if axis.is_uniform:
            axis.scale, axis.offset = 1.0, 0.0  # whatever they were, which may be nothing that HyperSpy can convert
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
            beam makes in the current, if it is off between frames: say how long it is on by :meth:`set_dose`).

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
        return set_potential(self, cv, offset)
