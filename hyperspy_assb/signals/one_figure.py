"""Results that one figure shows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperspy_assb.signals.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, kw_only=True)
class OneFigure(Result):
    """A result whose figure has one pair of axes, which may be the user's own."""

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot what was found; what the figure shows stands in the description of the class.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; new ones by default.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import simulate_voltammogram
        >>> simulate_voltammogram(seed=1).resistance().plot().get_xlabel()
        'potential (V)'
        """
        return self._draw(ax)

    @abstractmethod
    def _draw(self, ax: Axes | None) -> Axes:
        """Draw on axes, or on new ones."""
