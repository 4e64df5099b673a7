"""Fitted values and standard errors of a model, at every position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from hyperspy.signals import BaseSignal
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbKeyError
from hyperspy_assb.fitting.solver.spectra_fit import Status, usable
from hyperspy_assb.signals.result import Result


@dataclass(frozen=True, eq=False)
class ModelFit(Result):
    """Fitted values of a batched fit at every position; NaN where there is no fit.

    What :func:`hyperspy_assb.multifit` returns. Arrays are on flattened navigation axes: S spectra, P parameters.

    Parameters
    ----------
    names
        ``(component, parameter)`` of each column, P of them.
    units
        Of each parameter; "" without a unit.
    free
        Which parameters were fitted, shape (P,).
    values, values_std
        Shape (S, P). Standard errors are 0 for parameters that are fixed or at a bound, NaN where the data say nothing.
    deviance, dof
        Poisson deviance or weighted sum of squares, and degrees of freedom, shape (S,).
    fitted
        :class:`~hyperspy_assb.fitting.solver.spectra_fit.Status` of every spectrum, shape (S,).

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> import hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel
    >>> signal = hs.signals.Signal1D(np.random.default_rng(3).poisson(20.0, (2, 3, 100)))
    >>> model = signal.create_model()
    >>> model.append(DarkLevel(20.0))
    >>> fit = hyperspy_assb.multifit(model, show_progressbar=False)
    >>> fit.value("DarkLevel", "level").data.round(1)
    array([[20.1, 19.8, 19.6],
           [21.1, 21. , 20.5]])
    >>> fit.std("DarkLevel", "level").data.round(2)[0]  # sqrt(20 / 100) each
    array([0.45, 0.44, 0.44])
    >>> print(fit.summary())
    6 of 6 spectra were fitted.
    DarkLevel.level: 20.3 counts/eV in the median, standard error 0.45 counts/eV.
    >>> bool(fit.usable.all()), fit.status.data.max()
    (True, np.int8(0))
    >>> ax = fit.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = Status
    names: tuple[tuple[str, str], ...]
    units: tuple[str, ...] = field(repr=False)
    free: NDArray[np.bool_] = field(repr=False)
    values: NDArray[np.float64] = field(repr=False)
    values_std: NDArray[np.float64] = field(repr=False)
    deviance: NDArray[np.float64] = field(repr=False)
    dof: NDArray[np.int64] = field(repr=False)
    fitted: NDArray[np.int8] = field(repr=False)

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.fitting.solver.spectra_fit.Status` as integers."""
        return self._map(self.fitted, "Fit status")

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Where the fitted values stand, shape (S,)."""
        return usable(self.fitted)

    def value(self, component: str, parameter: str) -> BaseSignal:
        """Fitted value of a parameter.

        Parameters
        ----------
        component, parameter
            Names.

        Returns
        -------
        BaseSignal
            On the navigation axes, in the units of the parameter; NaN where there is no fit.

        Raises
        ------
        KeyError
            If the model has no such parameter.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.full((2, 3, 60), 20.0)).create_model()
        >>> model.append(DarkLevel(10.0))
        >>> fit = hyperspy_assb.multifit(model, show_progressbar=False)
        >>> fit.value("DarkLevel", "level").data.round(6)
        array([[20., 20., 20.],
               [20., 20., 20.]])
        """
        k = self._column(component, parameter)
        return self._map(self.values[:, k], f"{component}.{parameter}", self.units[k])

    def std(self, component: str, parameter: str) -> BaseSignal:
        """Standard error of a parameter.

        Parameters
        ----------
        component, parameter
            Names.

        Returns
        -------
        BaseSignal
            On the navigation axes, in the units of the parameter; NaN where there is no fit.

        Raises
        ------
        KeyError
            If the model has no such parameter.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.full((2, 3, 100), 25.0)).create_model()
        >>> model.append(DarkLevel(20.0))
        >>> fit = hyperspy_assb.multifit(model, show_progressbar=False)
        >>> fit.std("DarkLevel", "level").data.round(3)  # sqrt(25 / 100)
        array([[0.5, 0.5, 0.5],
               [0.5, 0.5, 0.5]])
        """
        k = self._column(component, parameter)
        return self._map(self.values_std[:, k], f"Standard error of {component}.{parameter}", self.units[k])

    def summary(self) -> str:
        """How many spectra were fitted, the median of every free parameter, and the notes."""
        lines = [f"{int(self.usable.sum())} of {self.fitted.size} spectra were fitted."]
        if self.usable.any():
            for k in np.flatnonzero(self.free):
                middle, std = np.nanmedian(self.values[self.usable, k]), np.nanmedian(self.values_std[self.usable, k])
                units = f" {self.units[k]}" if self.units[k] else ""
                lines.append(f"{self._title(k)}: {middle:.3g}{units} in the median, standard error {std:.3g}{units}.")
        return "\n".join((*lines, *self.notes))

    def plot(self, component: str | None = None, parameter: str | None = None) -> Axes:
        """Plot the map of a parameter.

        Parameters
        ----------
        component, parameter
            Names; the first free parameter where they are left out.

        Returns
        -------
        matplotlib.axes.Axes
            Of the map.

        Raises
        ------
        KeyError
            If the model has no such parameter.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.full((2, 3, 100), 25.0)).create_model()
        >>> model.append(DarkLevel(20.0))
        >>> fit = hyperspy_assb.multifit(model, show_progressbar=False)
        >>> fit.plot("DarkLevel", "level").get_title(loc="left")
        'DarkLevel.level'
        """
        from hyperspy_assb.plotting import MapOptions, plot_map

        if component is None or parameter is None:
            component, parameter = self.names[int(np.argmax(self.free))]
        shown, k = self.value(component, parameter), self._column(component, parameter)
        options = MapOptions(units=self.units[k], missing_label="not fitted")
        return plot_map(shown, label=parameter, title=self._title(k), options=options)

    def _column(self, component: str, parameter: str) -> int:
        try:
            return self.names.index((component, parameter))
        except ValueError:
            raise AssbKeyError(f"The model has no {component}.{parameter}; it has {list(self.names)}.") from None

    def _title(self, k: int) -> str:
        return ".".join(self.names[k])

    def _pixel_columns(self) -> Mapping[str, Any]:
        columns = {}
        for k in np.flatnonzero(self.free):
            name = self._title(k)
            columns[f"{name} ({self.units[k]})" if self.units[k] else name] = self.values[:, k]
            columns[f"{name} std"] = self.values_std[:, k]
        return columns

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        inside, row = self.usable & mask.ravel(), {}
        for k in np.flatnonzero(self.free):
            known = inside & np.isfinite(self.values_std[:, k])
            count = int(known.sum())
            row[self._title(k)] = float(self.values[known, k].mean()) if count else np.nan
            spread = float(np.sqrt(np.sum(self.values_std[known, k] ** 2)))
            row[f"{self._title(k)} std"] = spread / count if count else np.nan
        return row

    def _shown(self) -> Any:
        maps = {self._title(k): self.value(*self.names[k]) for k in np.flatnonzero(self.free)}
        return self._stacked(maps, "Fitted parameters") if maps else self.status
