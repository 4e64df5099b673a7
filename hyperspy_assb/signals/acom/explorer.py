"""Patterns under the pointer: the answer and the next one, beside the map that is explored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperspy_assb.errors import AssbValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class PatternExplorer:
    """A map whose pixels show their pattern with the template that was found, and with that of the next phase.

    Parameters
    ----------
    maps
        What indexing found.
    patterns
        The patterns that were indexed.

    Attributes
    ----------
    axes
        Of the map, of the pattern with the answer, and of the same pattern with the next answer.
    place
        Row and column that are shown.

    Examples
    --------
    >>> from hyperspy_assb.acom import simulate_bank
    >>> from hyperspy_assb.simulation import micro_battery
    >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
    >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
    >>> explorer = patterns.index_orientations(bank, calibrate=False, show_progressbar=False).explore(patterns)
    >>> explorer.show(2, 3)
    >>> explorer.place
    (2, 3)
    """

    def __init__(self, maps: Any, patterns: Any) -> None:
        import matplotlib.pyplot as plt

        from hyperspy_assb.plotting.acom import plot_phases

        shape = maps.found.phase.shape
        if patterns.axes_manager._navigation_shape_in_array != shape or len(maps.axes) != 2:
            raise AssbValueError(
                f"The patterns have {patterns.axes_manager._navigation_shape_in_array} pixels, the maps {shape}: not "
                "the same scan, or no map."
            )
        self._maps, self._patterns = maps, patterns
        figure, axes = plt.subplots(1, 3, figsize=(15.0, 5.2), layout="constrained")
        self.axes: tuple[Axes, ...] = tuple(axes)
        plot_phases(maps, ax=axes[0])
        extent = axes[0].images[0].get_extent()
        self._scale = (abs(extent[3] - extent[2]) / shape[0], abs(extent[1] - extent[0]) / shape[1])
        self._corner = (min(extent[2], extent[3]), min(extent[0], extent[1]))
        (self._mark,) = axes[0].plot([], [], "s", mfc="none", mec="black", ms=8)
        self.place = (0, 0)
        figure.canvas.mpl_connect("button_press_event", self._clicked)
        self.show(shape[0] // 2, shape[1] // 2)

    def show(self, row: int, column: int) -> None:
        """Show the pattern of a pixel.

        Parameters
        ----------
        row, column
            Of the pixel.

        Raises
        ------
        IndexError
            If there is no such pixel.

        Examples
        --------
        See :class:`PatternExplorer`.
        """
        from hyperspy_assb.plotting.acom import plot_match

        rows, columns = self._maps.found.phase.shape
        if not (0 <= row < rows and 0 <= column < columns):
            raise IndexError(f"There is no pixel {row}, {column} in {rows} x {columns}.")
        self.place = (row, column)
        for ax in self.axes[1:]:
            ax.clear()
        plot_match(self._maps, self._patterns, self.place, ax=self.axes[1])
        other = self.second_answer(row, column)
        if other is None:
            self.axes[2].set_axis_off()
            self.axes[2].set_title("No second answer", loc="left")
        else:
            self.axes[2].set_axis_on()
            plot_match(other, self._patterns, self.place, ax=self.axes[2])
        self._mark.set_data(
            [self._corner[1] + (column + 0.5) * self._scale[1]], [self._corner[0] + (row + 0.5) * self._scale[0]]
        )
        self.axes[0].figure.canvas.draw_idle()

    def second_answer(self, row: int, column: int) -> Any:
        """The maps as if the next phase had been found in a pixel; None where there is none.

        Parameters
        ----------
        row, column
            Of the pixel.

        Returns
        -------
        OrientationMaps or None
            With phase, orientation and score of the next phase in that pixel.

        Examples
        --------
        See :class:`PatternExplorer`.
        """
        found = self._maps.found
        place = (row, column)
        first = int(found.phase[place])
        if first < 0 or found.phase_scores.shape[-1] < 2:
            return None
        scores = np.array(found.phase_scores[place], dtype=float)
        scores[first] = -np.inf
        second = int(np.nanargmax(scores))
        orientation = np.array(found.phase_orientations[(*place, second)], dtype=float)
        if not np.isfinite(orientation).all():
            return None
        changed: dict[str, Any] = {}
        for name, value in (("phase", second), ("orientation", orientation), ("correlation", scores[second])):
            changed[name] = np.array(getattr(found, name))
            changed[name][place] = value
        return replace(self._maps, found=replace(found, lattice_scale=None, **changed))

    def _clicked(self, event: Any) -> None:
        if event.inaxes is not self.axes[0] or event.xdata is None:
            return
        row = int((event.ydata - self._corner[0]) // self._scale[0])
        column = int((event.xdata - self._corner[1]) // self._scale[1])
        rows, columns = self._maps.found.phase.shape
        if 0 <= row < rows and 0 <= column < columns:
            self.show(row, column)
