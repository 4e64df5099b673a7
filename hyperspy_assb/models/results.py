"""What a batched fit leaves behind: values in the parameter maps, and what its quality is judged from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb import staging
from hyperspy_assb.errors import AssbFileExistsError, AssbRuntimeError, AssbValueError
from hyperspy_assb.fitting.solver.correlated_errors import CorrelatedErrors
from hyperspy_assb.fitting.solver.fit_statistics import (
    LEAST_VARIANCE,
    InformationCriteria,
    chi_squared_p_value,
    deviance_p_value,
    evaluate_reduced,
    information_criteria,
)
from hyperspy_assb.fitting.solver.noise_claim import Noise
from hyperspy_assb.fitting.solver.spectra_fit import BLOCK, Detector, FitProblem, FitResult, Status
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.models.compile import Compiled, Slot

_CHUNK = 4096
"""Spectra whose covariances are one chunk on disk: some MB."""


@dataclass(frozen=True, eq=False)
class Goodness:
    """How well a map was fitted; arrays are on flattened navigation axes.

    Parameters
    ----------
    deviance
        Poisson deviance, or weighted sum of squares, shape (S,); NaN where there is no fit.
    dof
        Fitted channels minus free parameters, shape (S,).
    n_free
        Parameters that were free, shape (S,).
    status
        :class:`~hyperspy_assb.fitting.solver.spectra_fit.Status` as integers, shape (S,).
    channels
        Number of fitted channels.
    loss_function
        "ML-poisson" or "ls".
    known_variance
        Whether the sum of squares is in units of a variance that was known before.
    detector
        Gain and read noise of single channels.
    noise
        Where they come from, in words.
    """

    deviance: FloatArray
    dof: NDArray[np.int64]
    n_free: NDArray[np.int64]
    status: NDArray[np.int8]
    channels: int
    loss_function: str
    known_variance: bool
    detector: Detector
    noise: str = ""

    @property
    def misfit(self) -> FloatArray:
        """Twice the log-likelihood that each fit lacks to a perfect one, or to a constant; shape (S,).

        Where the variance is not known, its best estimate from the residuals is put in: n log(RSS / n).
        """
        if self.known_variance:
            return self.deviance
        with np.errstate(divide="ignore"):
            return self.channels * np.log(self.deviance / self.channels)

    def criteria(self) -> InformationCriteria:
        """Information criteria, each of shape (S,); a variance that was not known is one more parameter."""
        n_free = self.n_free + (0 if self.known_variance else 1)
        return information_criteria(self.misfit, n_free, self.channels)

    def likelihood_ratio_p_value(self, other: Goodness) -> FloatArray:
        """p value of the likelihood-ratio test of two fits of the same spectra, shape (S,); NaN for as many parameters.

        Wilks, Ann. Math. Stat. 9, 60 (1938).
        """
        more = other.n_free - self.n_free
        gained = np.maximum((self.misfit - other.misfit) * np.sign(more), 0.0)
        return stats.chi2.sf(gained, np.where(more == 0, np.nan, np.abs(more)))


@dataclass(frozen=True, eq=False)
class Evidence:
    """A fitted map with its compiled models, from which p values and residuals are evaluated.

    Parameters
    ----------
    parts
        Compiled models with the spectra that each was fitted to, and the columns of its parameters in ``result``.
    result
        What was fitted, on flattened navigation axes; the values are those of the fit, not copies.
    names, units
        ``(component, parameter)`` of the columns of ``result``, and the units of each; "" where it has none.
    energy, switches
        Energies of the channels and which were fitted, shape (E,).
    goodness
        How well they were fitted.
    noise
        Gain, read noise and correlation of channels that the errors come from, and why these.
    correlated
        What correlation of neighbouring channels does to each part; None where there is none.
    """

    parts: tuple[tuple[FitProblem, NDArray[np.int64]], ...]
    result: FitResult
    names: tuple[tuple[str, str], ...]
    units: tuple[str, ...]
    energy: FloatArray
    switches: NDArray[np.bool_]
    goodness: Goodness
    noise: Noise
    correlated: tuple[CorrelatedErrors | None, ...]

    @classmethod
    def of(
        cls,
        model: Any,
        problems: Sequence[FitProblem],
        collected: MapResult,
        columns: Sequence[NDArray[np.int64]],
        *,
        loss_function: str,
        known_variance: bool,
        noise: Noise,
        correlated: Sequence[CorrelatedErrors | None],
    ) -> Evidence:
        """Of a HyperSpy model that has just been fitted."""
        result, switches = collected.result, np.array(model._channel_switches, dtype=bool)
        n_free = np.zeros(result.deviance.size, dtype=np.int64)
        for problem in problems:
            n_free[problem.rows] = int(problem.free.sum())
        goodness = Goodness(
            deviance=result.deviance,
            dof=result.dof,
            n_free=n_free,
            status=result.status,
            channels=int(switches.sum()),
            loss_function=loss_function,
            known_variance=known_variance,
            detector=noise.detector,
            noise=noise.sentence,
        )
        return cls(
            parts=tuple(zip(problems, columns, strict=True)),
            result=result,
            names=tuple(slot.name for slot in collected.slots),
            units=tuple(str(slot.parameter.units or "") for slot in collected.slots),
            energy=np.array(model.axis.axis, dtype=float),
            switches=switches,
            goodness=goodness,
            noise=noise,
            correlated=tuple(correlated),
        )

    @property
    def free(self) -> tuple[tuple[str, str], ...]:
        """``(component, parameter)`` of the free parameters, in the order of the covariance."""
        return tuple(name for name, free in zip(self.names, self.result.free, strict=True) if free)

    def p_value(self) -> FloatArray:
        """Probability of a larger deviance if the model is true, shape (S,); NaN where there is no fit.

        Raises
        ------
        ValueError
            If the variance was not known: the residuals then set the scale that they would be judged by.
        """
        goodness = self.goodness
        if not goodness.known_variance:
            raise AssbValueError(
                "There is no p value of least squares without a known variance: set one, with "
                'estimate_poissonian_noise_variance, or fit with loss_function="ML-poisson".'
            )
        if goodness.loss_function == "ls":
            return chi_squared_p_value(self.result.deviance, self.result.dof)
        found = np.full(self.result.deviance.size, np.nan)
        gain, noise = goodness.detector.gain, goodness.detector.read_noise / goodness.detector.gain
        for (problem, columns), widened in zip(self.parts, self.correlated, strict=True):
            fitted = np.flatnonzero(problem.rows & self.result.usable & np.isfinite(self.result.deviance))
            numbered = bool(getattr(problem.model, "numbers_spectra", False))
            for first in range(0, fitted.size, BLOCK):
                rows = fitted[first : first + BLOCK]
                theta = self.result.values[np.ix_(rows, columns)]
                # What is held at a bound has a standard error of 0, and takes no freedom.
                moves = self.result.std[np.ix_(rows, columns[problem.free[: columns.size]])] > 0.0
                if numbered:
                    theta = np.column_stack([theta, rows])
                expectation, jacobian = evaluate_reduced(problem.model, theta, problem.free, problem.ties)
                deviance = self.result.deviance[rows]
                if widened is not None:
                    deviance = widened.independent_deviance(deviance, self.result.dof[rows])
                found[rows] = deviance_p_value(
                    deviance,
                    expectation / gain,
                    int(problem.free.sum()),
                    problem.mask,
                    jacobian=jacobian * (moves / gain)[:, :, np.newaxis],
                    read_noise=noise,
                )
        return found

    def standardised_residuals(
        self, counts: FloatArray, rows: NDArray[np.intp], variance: FloatArray | float | None
    ) -> FloatArray:
        """Counts minus expectation over their standard deviation, shape (R, E) of the fitted channels.

        Parameters
        ----------
        counts
            Of the spectra `rows`, shape (R, E) of all channels.
        rows
            Places of fitted spectra, shape (R,).
        variance
            Of the counts, a number or of their shape, where it was known before least squares; else None.
        """
        goodness = self.goodness
        counts = counts[:, self.switches]
        expectation = np.empty_like(counts)
        for problem, columns in self.parts:
            own = np.flatnonzero(problem.rows[rows])
            if own.size:
                theta = self.result.values[np.ix_(rows[own], columns)]
                if getattr(problem.model, "numbers_spectra", False):
                    theta = np.column_stack([theta, rows[own]])
                nothing = np.zeros(problem.free.size, dtype=bool)
                expectation[own] = problem.model.evaluate(theta, nothing)[0][:, ~problem.mask]
        smallest = LEAST_VARIANCE * goodness.detector.gain**2
        if variance is not None:
            smallest, known = 0.0, variance if np.isscalar(variance) else np.asarray(variance)[:, self.switches]
        elif goodness.loss_function == "ls" and not goodness.known_variance:
            known = (self.result.deviance[rows] / np.maximum(self.result.dof[rows], 1))[:, np.newaxis]
        else:
            known = goodness.detector.variance(expectation)
        return (counts - expectation) / np.sqrt(np.maximum(known, smallest))


def evidence_of(model: Any, name: str = "model") -> Evidence:
    """What the last batched fit of a model has left.

    Raises
    ------
    RuntimeError
        If there was none.
    """
    found: Evidence | None = getattr(model, "_evidence", None)
    if found is None:
        raise AssbRuntimeError(f"The {name} is not fitted: fit it with hyperspy_assb.multifit first.")
    return found


class MapResult:
    """Results of a whole map, collected block by block; on disk they are complete or not there."""

    def __init__(
        self,
        slots: list[Slot],
        constants: list[tuple[Slot, float]],
        free: NDArray[np.bool_],
        count: int,
        store: Path | None,
        covariance: bool,
    ):
        self.slots = tuple(slots)
        self.constants = constants
        self._column = {slot.name: k for k, slot in enumerate(slots)}
        self._free, self._count, self._covariance = free, count, covariance
        self._store = store
        self._part: Path | None = None
        self.group: Any = None
        if store is not None:
            import zarr

            if store.exists():
                raise AssbFileExistsError(f"{store} exists: give store= a new folder, or remove it first.")
            store.parent.mkdir(parents=True, exist_ok=True)
            staging.clear_away(store)
            self._part = staging.sibling(store, "part")
            self.group = zarr.open_group(str(self._part), mode="w")
            self.group.attrs["parameters"] = [list(slot.name) for slot in slots]
            self.group.attrs["free"] = [list(s.name) for s, flag in zip(slots, free, strict=True) if flag]

    @cached_property
    def result(self) -> FitResult:
        """The whole map."""
        count, size, f = self._count, len(self.slots), int(self._free.sum())
        kept: Any = None
        if self._covariance and self.group is None:
            kept = np.full((count, f, f), np.nan)
        elif self._covariance:
            kept = self.group.create_dataset(
                "covariance", shape=(count, f, f), chunks=(_CHUNK, f, f), dtype="f8", fill_value=np.nan
            )
        return FitResult(
            values=np.full((count, size), np.nan),
            std=np.full((count, size), np.nan),
            covariance=kept,
            free=self._free,
            deviance=np.full(count, np.nan),
            dof=np.zeros(count, dtype=np.int64),
            status=np.full(count, Status.MASKED, dtype=np.int8),
            iterations=np.zeros(count, dtype=np.int16),
        )

    @classmethod
    def of(cls, compiled: list[Compiled], count: int, *, store: Any, covariance: bool) -> MapResult:
        """Room for the results of some compiled models."""
        slots: dict[tuple[str, str], Slot] = {}
        free: dict[tuple[str, str], bool] = {}
        for part in compiled:
            for slot, flag in zip(part.slots, part.free[: len(part.slots)], strict=True):
                slots[slot.name], free[slot.name] = slot, bool(flag)
        where = None if store is None else Path(store)
        constants = {slot.name: (slot, value) for part in compiled for slot, value in part.constants}
        return cls(
            list(slots.values()),
            list(constants.values()),
            np.array(list(free.values()), dtype=bool),
            count,
            where,
            covariance,
        )

    def columns(self, compiled: Compiled) -> NDArray[np.int64]:
        """Columns of the parameters of a compiled model in the results."""
        return np.array([self._column[slot.name] for slot in compiled.slots], dtype=np.int64)

    def add(self, compiled: Compiled, positions: NDArray[np.int64], result: FitResult, rows: NDArray[np.bool_]) -> None:
        """Take the results of the spectra ``rows`` of a block at ``positions``."""
        if self.group is None and result.values.shape == (self._count, len(self.slots)) and rows.all():
            self.__dict__["result"] = result  # the whole map at once
            return
        where, own = positions[rows], len(compiled.slots)
        columns = self.columns(compiled)
        self.result.values[np.ix_(where, columns)] = result.values[rows, :own]
        self.result.std[np.ix_(where, columns)] = result.std[rows, :own]
        for name in ("deviance", "dof", "status", "iterations"):
            getattr(self.result, name)[where] = getattr(result, name)[rows]
        if self.result.covariance is None or result.covariance is None:
            return
        order = np.cumsum(self.result.free) - 1
        free = order[columns[compiled.free[:own]]]
        if self.group is None:
            self.result.covariance[np.ix_(where, free, free)] = result.covariance[rows]
        elif where.size:
            block = np.full((where.size, *self.result.covariance.shape[1:]), np.nan)
            block[:, free[:, np.newaxis], free] = result.covariance[rows]
            self.result.covariance.set_orthogonal_selection((where, slice(None), slice(None)), block)

    def __enter__(self) -> MapResult:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._part is None or self._store is None:
            return
        if kind is not None:
            shutil.rmtree(self._part, ignore_errors=True)
            return
        import dask.array as da
        import zarr

        for name in ("values", "std", "deviance", "dof", "status", "iterations"):
            self.group.create_dataset(name, data=getattr(self.result, name))
        self._part.rename(self._store)
        if self.result.covariance is not None:
            kept = da.from_zarr(zarr.open_group(str(self._store), mode="r")["covariance"])
            object.__setattr__(self.result, "covariance", kept)


def store_result(
    model: Any,
    collected: MapResult,
    shape: tuple[int, ...],
    wanted: NDArray[np.bool_],
) -> None:
    """Write fitted values into the parameter maps of a model, its chi-squared and its degrees of freedom.

    Positions that were left out keep what they had, and so do fixed parameters where there is no fit.
    """
    result = collected.result
    for column, slot in enumerate(collected.slots):
        moves = bool(result.free[column]) or slot.parameter.twin is not None
        known = result.usable & np.isfinite(result.values[:, column])
        chosen = np.reshape(wanted if moves else known, shape or (1,))
        rows: Any = slice(None) if chosen.all() else chosen
        stored = slot.parameter.map
        where = (rows,) if slot.element is None else (*_whole(rows, chosen.ndim), slot.element)
        stored["values"][where] = result.values[:, column].reshape(chosen.shape)[rows]
        stored["std"][where] = result.std[:, column].reshape(chosen.shape)[rows] if moves else np.nan
        stored["is_set"][rows] = known.reshape(chosen.shape)[rows]
    for slot, value in collected.constants:
        stored, known = slot.parameter.map, np.reshape(result.usable, shape or (1,))
        where = (known,) if slot.element is None else (known, slot.element)
        stored["values"][where] = value
        stored["is_set"][known] = True
    model.chisq.data[...] = result.deviance.reshape(model.chisq.data.shape)
    n_free = np.where(result.dof > 0, int(model._channel_switches.sum()) - result.dof, int(result.free.sum()))
    model.dof.data[...] = n_free.reshape(model.dof.data.shape)
    model.fetch_stored_values()


def _whole(rows: Any, dimensions: int) -> tuple[Any, ...]:
    """Index of the navigation axes: a mask takes all of them, a slice one."""
    return (rows,) if isinstance(rows, np.ndarray) else (rows,) * dimensions
