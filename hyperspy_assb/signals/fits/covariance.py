"""Covariance of the parameters of a fit of many spectra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from hyperspy.signals import BaseSignal
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbKeyError
from hyperspy_assb.fitting.solver.spectra_fit import Status
from hyperspy_assb.signals.result import Result

_DRAWN = 4096
"""Spectra whose correlations a figure is the median of: as many as are read at once from a covariance on disk."""


@dataclass(frozen=True, eq=False)
class Covariance(Result):
    """Covariance of the free parameters of a batched fit at every position.

    What ``m.covariance()`` returns: the inverse of the Fisher information at the fitted values.

    Parameters
    ----------
    names
        ``(component, parameter)`` of each row, F of them.
    values
        Shape (..., F, F) on the navigation axes, in the units of the parameters; NaN where there is no fit. A NumPy
        array in memory, also of a lazy signal. After ``multifit(..., options=FitOptions(store=...))`` it is a dask
        array that reads the folder piece by piece; ``save`` then reads all of it: 8 F² bytes a spectrum.
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
    >>> _ = hyperspy_assb.multifit(model, show_progressbar=False)
    >>> covariance = model.covariance()
    >>> covariance.names, covariance.values.shape
    ((('DarkLevel', 'level'),), (2, 3, 1, 1))
    >>> covariance.std("DarkLevel", "level").data.round(2)  # sqrt(20 / 100) each
    array([[0.45, 0.44, 0.44],
           [0.46, 0.46, 0.45]])
    >>> covariance.status.data.max(), covariance.median_correlation()
    (np.int8(0), array([[1.]]))
    >>> covariance.summary()
    '1 free parameters in 6 spectra.'
    >>> ax = covariance.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = Status
    names: tuple[tuple[str, str], ...]
    values: NDArray[np.float64] = field(repr=False)
    fitted: NDArray[np.int8] = field(repr=False)

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.fitting.solver.spectra_fit.Status` as integers."""
        return self._map(self.fitted, "Fit status")

    def index(self, component: str, parameter: str) -> int:
        """Row of a parameter.

        Parameters
        ----------
        component, parameter
            Names.

        Returns
        -------
        int
            Of ``values``, and of ``names``.

        Raises
        ------
        KeyError
            If it was not free.

        Examples
        --------
        >>> covariance = Covariance(
        ...     names=(("DarkLevel", "level"), ("FePO4ValenceBand", "intensity")),
        ...     values=np.array([[4.0, -1.0], [-1.0, 1.0]]),
        ...     fitted=np.array([0], dtype=np.int8),
        ... )
        >>> covariance.index("FePO4ValenceBand", "intensity")
        1
        """
        try:
            return self.names.index((component, parameter))
        except ValueError:
            raise AssbKeyError(
                f"{component}.{parameter} was not a free parameter; free were {list(self.names)}."
            ) from None

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
            If it was not free.

        Examples
        --------
        >>> covariance = Covariance(
        ...     names=(("DarkLevel", "level"), ("FePO4ValenceBand", "intensity")),
        ...     values=np.array([[4.0, -1.0], [-1.0, 1.0]]),
        ...     fitted=np.array([0], dtype=np.int8),
        ... )
        >>> covariance.std("DarkLevel", "level").data
        array([2.])
        """
        k = self.index(component, parameter)
        return self._map(np.sqrt(np.asarray(self.values[..., k, k])), f"Standard error of {component}.{parameter}")

    def correlation(self, one: tuple[str, str], other: tuple[str, str]) -> BaseSignal:
        """Correlation of two parameters.

        Parameters
        ----------
        one, other
            ``(component, parameter)`` of each.

        Returns
        -------
        BaseSignal
            From -1 to 1 on the navigation axes; NaN where there is no fit.

        Raises
        ------
        KeyError
            If one was not free.

        Examples
        --------
        >>> covariance = Covariance(
        ...     names=(("DarkLevel", "level"), ("FePO4ValenceBand", "intensity")),
        ...     values=np.array([[4.0, -1.0], [-1.0, 1.0]]),
        ...     fitted=np.array([0], dtype=np.int8),
        ... )
        >>> covariance.correlation(*covariance.names).data
        array([-0.5])
        """
        i, k = self.index(*one), self.index(*other)
        scale = np.sqrt(np.asarray(self.values[..., i, i] * self.values[..., k, k]))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.asarray(self.values[..., i, k]) / scale
        return self._map(found, f"Correlation of {'.'.join(one)} with {'.'.join(other)}")

    def summary(self) -> str:
        """The parameters that are hardest to separate, and the notes."""
        matrix = np.abs(self.median_correlation())
        np.fill_diagonal(matrix, 0.0)
        lines = [f"{len(self.names)} free parameters in {self.fitted.size} spectra."]
        if np.isfinite(matrix).any() and matrix.size > 1:
            i, k = np.unravel_index(int(np.nanargmax(matrix)), matrix.shape)
            pair = " and ".join(".".join(self.names[row]) for row in (i, k))
            lines.append(f"Most correlated, in the median: {pair}, by {matrix[i, k]:.2f}.")
        return "\n".join((*lines, *self.notes))

    def median_correlation(self) -> NDArray[np.float64]:
        """Correlations of the parameters, shape (F, F): the median of at most some thousand spectra, evenly drawn."""
        size = len(self.names)
        flat = self.values.reshape(-1, size, size)
        values = np.asarray(flat[:: max(1, -(-len(flat) // _DRAWN))])
        std = np.sqrt(np.diagonal(values, axis1=1, axis2=2))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = values / (std[:, :, np.newaxis] * std[:, np.newaxis, :])
        # Masked: nanmedian warns of parameters that were fitted nowhere.
        return np.ma.median(np.ma.masked_invalid(found), axis=0).filled(np.nan)

    def plot(self) -> Axes:
        """Plot the correlations of the parameters, in the median of the spectra; returns the matplotlib axes."""
        from hyperspy_assb.plotting.precision import plot_correlation

        return plot_correlation(self.median_correlation(), [".".join(name) for name in self.names])

    def save(self, path: str | PathLike[str], *, overwrite: bool | None = None) -> None:
        """Save everything in one file; a covariance on disk is read into memory for it.

        Parameters
        ----------
        path, overwrite
            As for every result: :meth:`.result.Result.save`.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import hyperspy_assb
        >>> covariance = Covariance(
        ...     names=(("DarkLevel", "level"), ("FePO4ValenceBand", "intensity")),
        ...     values=np.array([[4.0, -1.0], [-1.0, 1.0]]),
        ...     fitted=np.array([0], dtype=np.int8),
        ... )
        >>> path = Path(tempfile.mkdtemp()) / "covariance.hspy"
        >>> covariance.save(path)
        >>> hyperspy_assb.load(path).names == covariance.names
        True
        """
        Result.save(replace(self, values=np.asarray(self.values)), path, overwrite=overwrite)

    def _stds(self) -> NDArray[np.float64]:
        """Shape (S, F)."""
        diagonal = np.stack([np.ravel(np.asarray(self.values[..., k, k])) for k in range(len(self.names))], axis=-1)
        return np.sqrt(diagonal)

    def _pixel_columns(self) -> Mapping[str, Any]:
        return {f"{'.'.join(name)} std": std for name, std in zip(self.names, self._stds().T, strict=True)}

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        stds = self._stds()[mask.ravel()]
        known = np.isfinite(stds)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Of the mean of the fitted values: spectra are independent.
            of_mean = np.sqrt(np.sum(stds**2, axis=0, where=known)) / known.sum(axis=0)
        return {f"{'.'.join(name)} std of the mean": float(std) for name, std in zip(self.names, of_mean, strict=True)}

    def _shown(self) -> Any:
        if not self.names:
            return self.status
        return self._stacked({".".join(name): self.std(*name) for name in self.names}, "Standard errors")
