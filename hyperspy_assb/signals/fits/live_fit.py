"""A model refitted to the mean spectrum of a region while the region is moved."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb.errors import AssbNotImplementedError, AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, SolverOptions, Status, fit_spectra
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.models.compile import compile_model
from hyperspy_assb.models.recorded_noise import detector_of_model
from hyperspy_assb.models.recorded_signal import check_data
from hyperspy_assb.signals.region_mask import region_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LiveFit:
    """A compiled model and a region: whenever the region moves, its mean spectrum is fitted anew.

    Every fit starts from the mean of the values that the model holds in the region, so that a region has one answer
    wherever it came from. The model itself, its maps included, stays as it is.

    Parameters
    ----------
    model
        Of a map or a line of spectra in memory; what it has fixed, bounded or tied stays so.
    region
        A HyperSpy ROI in the units of the navigation axes; None: a square, or a span, in the middle of the field.

    Attributes
    ----------
    roi
        The region.
    counts, expectation
        Mean spectrum of the region and what was fitted to it, shape (E,), in counts; NaN where there is none, or
        channels were left out.
    pixels
        Spectra in the region.
    seconds
        Time that the last refit took.
    message
        Why there is no answer, such as a region that left the field; empty otherwise.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> signal = micro_battery(shape=(4, 4), seed=1, signal_type="EELS_ASSB").eels_before
    >>> live = signal.create_low_loss_model(["Li", "Fe"]).fit_live()
    >>> before = live.table().loc["ZeroLossPeak.intensity", "value"]
    >>> live.roi.left = 0.0
    >>> live.pixels, bool(live.table().loc["ZeroLossPeak.intensity", "value"] != before)
    (6, True)
    """

    def __init__(self, model: Any, region: Any = None) -> None:
        signal = model.signal
        check_data(signal)
        axes = signal.axes_manager.navigation_axes
        if len(axes) not in (1, 2):
            raise AssbValueError(f"A region is moved on a map or a line: the signal has {len(axes)} navigation axes.")
        if signal._lazy:
            raise AssbNotImplementedError("A live fit reads spectra as fast as the hand moves: call s.compute() first.")
        compiled = compile_model(model)
        if getattr(compiled.model, "numbers_spectra", False):
            raise AssbNotImplementedError(
                "Each spectrum is convolved with its own low-loss spectrum, but a region needs a common one: give the "
                "model one low-loss spectrum."
            )
        self._signal, self._names = signal, [".".join(name) for name in compiled.names]
        self._starts, self._detector = compiled.start, detector_of_model(model)
        # One start stands for all here: each region gets its own.
        self._problem = FitProblem(
            model=compiled.model,
            start=compiled.start[0],
            free=compiled.free,
            lower=compiled.lower,
            upper=compiled.upper,
            mask=compiled.mask,
            ties=compiled.ties,
        )
        self._data = np.reshape(signal.data, (-1, signal.data.shape[-1]))
        self._drawn: Any = None
        self.roi = _middle(axes) if region is None else region
        self.message, self.pixels, self.seconds = "", 0, 0.0
        self.roi.events.changed.connect(self.refit, [])
        self.refit()

    def refit(self) -> None:
        """Fit the region where it is now; it is called whenever the region moves.

        Examples
        --------
        See :class:`LiveFit`.
        """
        begin = time.perf_counter()
        size = self._data.shape[-1]
        self.counts, self.expectation = np.full(size, np.nan), np.full(size, np.nan)
        self._values = self._std = np.full(self._problem.free.size, np.nan)
        self.status, self.reduced_deviance, self.pixels, self.message = Status.MASKED, float("nan"), 0, ""
        try:
            chosen = region_mask(self._signal, self.roi, name="roi").ravel()
        except AssbValueError as error:
            self.message = str(error)
        else:
            self._fit(chosen)
        self.seconds = time.perf_counter() - begin
        self._draw()

    def _fit(self, chosen: Any) -> None:
        spectra = self._data[chosen]
        finite = np.isfinite(spectra).all(axis=1)
        self.pixels = int(finite.sum())
        if not self.pixels:
            self.message = "No spectrum of the region is finite."
            return
        self.counts = np.asarray(spectra[finite].mean(axis=0), dtype=float)
        start = np.clip(self._starts[chosen].mean(axis=0), self._problem.lower, self._problem.upper)
        fitted = slice(self._problem.mask.size)
        # A mean of n spectra is counted n times as finely.
        one = self._detector
        detector = Detector(one.gain / self.pixels, one.read_noise / np.sqrt(self.pixels))
        found = fit_spectra(
            self.counts[np.newaxis, fitted],
            replace(self._problem, start=start),
            detector=detector,
            options=SolverOptions(covariance=False, workers=1),
        )
        self.status = Status(int(found.status[0]))
        if not found.usable[0]:
            self.message = f"The fit found no answer: {self.status.name.lower().replace('_', ' ')}."
            return
        self._values, self._std = found.values[0], found.std[0]
        self.reduced_deviance = float(found.deviance[0] / max(int(found.dof[0]), 1))
        nothing = np.zeros(self._problem.free.size, dtype=bool)
        expected = self._problem.model.evaluate(found.values, nothing)[0][0]
        self.expectation[fitted] = np.where(self._problem.mask, np.nan, expected)

    def table(self) -> pd.DataFrame:
        """Fitted values of the region.

        Returns
        -------
        pandas.DataFrame
            One row a free parameter, named ``component.parameter``: value and standard error from counting.

        Examples
        --------
        See :class:`LiveFit`.
        """
        free = self._problem.free[: len(self._names)]
        columns = {"value": self._values[: len(free)][free], "std": self._std[: len(free)][free]}
        return pd.DataFrame(columns, index=[name for name, moves in zip(self._names, free, strict=True) if moves])

    def plot(self, image: Any = None) -> tuple[Axes, Axes]:
        """Show the map with the region, to be moved by the mouse, and its spectrum with the fit.

        Parameters
        ----------
        image
            Map that is drawn on, as an array or signal on the navigation axes; None: all counts of each spectrum.

        Returns
        -------
        axes
            Of the map and of the spectrum.

        Raises
        ------
        AssbValueError
            If the map has another shape.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(4, 4), seed=1, signal_type="EELS_ASSB").eels_before
        >>> live = signal.create_low_loss_model(["Li", "Fe"]).fit_live()
        >>> map_axes, spectrum = live.plot()
        >>> [line.get_label() for line in spectrum.lines]
        ['mean of 4 spectra', 'fit']
        """
        import matplotlib.pyplot as plt
        from matplotlib.ticker import NullLocator

        manager = self._signal.axes_manager
        shape = manager._navigation_shape_in_array
        data = np.asarray(self._data.sum(axis=-1).reshape(shape) if image is None else getattr(image, "data", image))
        if data.shape != shape:
            raise AssbValueError(f"image has the shape {data.shape}, and the map {shape}.")
        shown = (hs.signals.Signal2D if len(shape) == 2 else hs.signals.Signal1D)(data.astype(float))
        for own, axis in zip(shown.axes_manager.signal_axes, manager.navigation_axes, strict=True):
            own.name, own.scale, own.offset, own.units = axis.name, axis.scale, axis.offset, axis.units
        shown.metadata.General.title = "Live fit"
        shown.plot()
        self.roi.add_widget(shown)
        # No layout that is found anew with every drawing.
        spectrum = plt.figure().add_subplot()
        energy = manager.signal_axes[0]
        spectrum.set_xlabel(f"{energy.name} ({energy.units})")
        spectrum.set_ylabel("mean counts")
        spectrum.set_yscale("log")
        # Ticks between decades and a new legend take as long as the fit.
        spectrum.yaxis.set_minor_locator(NullLocator())
        lines = [
            spectrum.plot(energy.axis, np.full(energy.size, np.nan), label=label)[0] for label in ("measured", "fit")
        ]
        spectrum.legend(fontsize="small", loc="upper right")
        self._drawn = spectrum, lines
        self._draw()
        return shown._plot.signal_plot.ax, spectrum

    def close(self) -> None:
        """Stop to follow the region.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(4, 4), seed=1, signal_type="EELS_ASSB").eels_before
        >>> live = signal.create_low_loss_model(["Li", "Fe"]).fit_live()
        >>> live.close()
        >>> live.roi.left = 0.0
        >>> live.pixels
        4
        """
        if self.refit in self.roi.events.changed.connected:
            self.roi.events.changed.disconnect(self.refit)

    def _draw(self) -> None:
        if self._drawn is None:
            return
        ax, (measured, fitted) = self._drawn
        measured.set_ydata(_above_zero(self.counts))
        fitted.set_ydata(_above_zero(self.expectation))
        measured.set_label(f"mean of {self.pixels} spectra")
        ax.set_title(self.message or f"Deviance per degree of freedom {self.reduced_deviance:.2f}", fontsize="medium")
        ax.get_legend().get_texts()[0].set_text(measured.get_label())
        ax.relim()
        ax.autoscale_view()
        ax.figure.canvas.draw_idle()


def _above_zero(counts: FloatArray) -> FloatArray:
    """Counts for a logarithmic axis."""
    return np.where(counts > 0.0, counts, np.nan)


def _middle(axes: Any) -> Any:
    """A fifth of the field in the middle, of two pixels at least."""
    sides = []
    for axis in axes:
        pixels = min(max(round(0.2 * axis.size), 2), axis.size)
        first = (axis.size - pixels) // 2
        # On places of pixels, which no rounding moves.
        sides.append((axis.offset + first * axis.scale, axis.offset + (first + pixels) * axis.scale))
    if len(sides) == 1:
        return hs.roi.SpanROI(*sides[0])
    (left, right), (top, bottom) = sides
    return hs.roi.RectangularROI(left, top, right, bottom)
