"""What results of series share: frames, the table, and what the beam alone does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.series.frame_series import FloatArray
from hyperspy_assb.series.trends import compare_counts, compare_rates
from hyperspy_assb.signals.one_figure import OneFigure

WITHOUT_CONTROL = "Without a series under the beam alone, effects of the bias and of the beam cannot be separated."
_PER = 1000.0
"""Electrons per nm² that changes are stated for."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OfSeries(OneFigure):
    """What results of series share: times and potentials of the frames, and tables of rows instead of pixels.

    Parameters
    ----------
    time
        Beginning of each frame in s, shape (T,).
    potential, potential_std
        V, with its error from that of the clocks, shape (T,); None where no log was set.
    pixel
        Size of a pixel in nm; NaN if it is not known.
    """

    time: FloatArray = field(repr=False)
    potential: FloatArray | None = field(default=None, repr=False)
    potential_std: FloatArray | None = field(default=None, repr=False)
    pixel: float = float("nan")

    def compare_control(self, control: OfSeries) -> pd.DataFrame:
        """Compare what changes with what changes under the beam alone, for the same dose.

        Parameters
        ----------
        control : OfSeries
            The same result of a series without bias.

        Returns
        -------
        pandas.DataFrame
            One row a quantity: change per 1000 electrons per nm² here and under the beam alone, their difference with
            its standard error, and the p value that there is none.

        Raises
        ------
        AssbTypeError
            If the control is another kind of result.
        AssbValueError
            If a dose is not known, or the result has no quantity that changes with it.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> found = []
        >>> for growth in (0.5, 0.0):
        ...     series, _ = simulate_series(SeriesConditions(frames=6, size=128, boundary_growth=growth), seed=1)
        ...     series.set_dose(30.0)
        ...     found.append(series.segment_grains())
        >>> found[0].compare_control(found[1]).columns.tolist()
        ['here', 'here std', 'beam alone', 'beam alone std', 'difference', 'difference std', 'p value']
        """
        if type(control) is not type(self):
            raise AssbTypeError(f"control must be {type(self).__name__} as well, not {type(control).__name__}.")
        doses = [_dose_between(result, name) for result, name in ((self, "here"), (control, "control"))]
        rows = {}
        theirs = control._over_dose()
        for name, (change, std) in self._over_dose().items():
            if name in theirs:
                rows[name] = compare_rates((change, std), theirs[name], (doses[0] / _PER, doses[1] / _PER))
        counts = control._counted()
        for name, count in self._counted().items():
            if name in counts:
                rows[name] = compare_counts((count, counts[name]), (doses[0] / _PER, doses[1] / _PER))
        if not rows:
            raise AssbValueError(f"{type(self).__name__} has no quantity that both series hold.")
        columns = ["here", "here std", "beam alone", "beam alone std", "difference", "difference std", "p value"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("per 1000 electrons per nm²")

    def with_control(self, control: OfSeries) -> Self:
        """The result with notes that say what the beam alone does, in place of that it is not known.

        Parameters
        ----------
        control : OfSeries
            As for :meth:`compare_control`.

        Returns
        -------
        OfSeries
            A copy.

        Raises
        ------
        AssbTypeError, AssbValueError
            As for :meth:`compare_control`.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, _ = simulate_series(SeriesConditions(frames=6, size=128), seed=1)
        >>> series.set_dose(30.0)
        >>> found = series.segment_grains()
        >>> "under the beam alone" in found.with_control(found).notes[-1]
        True
        """
        notes = [note.replace(WITHOUT_CONTROL, "").strip() for note in self.notes]
        for name, row in self.compare_control(control).iterrows():
            told = "they differ" if row["p value"] < 0.05 else "the beam alone may explain it"
            notes.append(
                f"{name}: {row['here']:+.3g} ± {row['here std']:.2g} per 1000 electrons per nm² here, "
                f"{row['beam alone']:+.3g} ± {row['beam alone std']:.2g} under the beam alone: {told} (p = "
                f"{row['p value']:.2g})."
            )
        return replace(self, notes=tuple(note for note in notes if note))

    @abstractmethod
    def _table(self) -> pd.DataFrame:
        """Rows of the table."""

    def _over_dose(self) -> Mapping[str, tuple[float, float]]:
        """Quantities that change over the series, with their standard errors."""
        return {}

    def _counted(self) -> Mapping[str, int]:
        """What happens a number of times."""
        return {}

    def _frame_columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {"time (s)": self.time}
        if self.potential is not None:
            columns["potential (V)"] = self.potential
            if self.potential_std is not None and np.isfinite(self.potential_std).any():
                columns["potential std (V)"] = self.potential_std
        return columns


def _dose_between(result: OfSeries, name: str) -> float:
    """Electrons per nm² from the first to the last frame."""
    dose = result.provenance.get("dose") or {}
    each, frames = dose.get("electrons per nm² and frame"), dose.get("frames", 0)
    if not each or frames < 2:
        raise AssbValueError(f"The dose of the series ({name}) is not known: state it by set_dose, and repeat.")
    return float(each) * (frames - 1)
