"""How precisely a model can be known from a spectrum of a given dose, before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.precision import DoseInformation
from hyperspy_assb.models.current import Current, compile_current, detectable_amount
from hyperspy_assb.models.recorded_noise import model_noise


@dataclass(frozen=True, eq=False)
class Precision:
    """The least standard errors that a spectrum of a given dose allows: the Cramér-Rao bound.

    Parameters
    ----------
    dose
        Expected electrons in the fitted channels of one spectrum, a number or shape (D,).
    table : pandas.DataFrame
        One row for each parameter and dose: ``component``, ``parameter``, ``units``, ``dose``, ``value``, ``std`` and
        ``relative``, which is ``std / |value|``. ``value`` is that of the model as it is, and ``std`` is in the same
        units: what scales with the dose has the scale of the model, whatever the dose.
    names
        ``(component, parameter)`` of the parameters that were asked for.
    undetermined
        Those of the free parameters that no dose determines: the spectrum does not depend on them, or not in another
        way than on the others. Their standard errors are infinite.
    detector
        Gain and read noise.
    """

    dose: FloatArray
    table: pd.DataFrame
    names: tuple[tuple[str, str], ...]
    undetermined: tuple[tuple[str, str], ...]
    detector: Detector
    _current: Current = field(repr=False)
    _information: DoseInformation = field(repr=False)

    def std(self, component: str, parameter: str) -> FloatArray:
        """Least standard error, in the units of the parameter, with the shape of the dose.

        Raises
        ------
        KeyError
            If the parameter is not free.
        """
        return self._information.std(self.dose)[..., self._row(component, parameter)]

    def relative(self, component: str, parameter: str) -> FloatArray:
        """Least standard error as a share of the value, with the shape of the dose; infinite where the value is 0.

        Raises
        ------
        KeyError
            If the parameter is not free.
        """
        return self.relative_at(component, parameter, self.dose)

    def relative_at(self, component: str, parameter: str, dose: ArrayLike) -> FloatArray:
        """The same at other doses, with their shape."""
        row = self._row(component, parameter)
        return _share(self._information.std(_checked_dose(dose))[..., row], self._values[row])

    def dose_for(
        self, component: str, parameter: str, *, relative: float | None = None, std: float | None = None
    ) -> float:
        """Dose at which the bound comes down to a standard error.

        Parameters
        ----------
        component, parameter
            Names.
        relative
            Standard error that is wanted, as a share of the value.
        std
            The same in the units of the parameter; one of the two is given.

        Returns
        -------
        dose
            Electrons in the fitted channels of one spectrum; infinite if no dose is enough.

        Raises
        ------
        KeyError
            If the parameter is not free.
        ValueError
            If not exactly one of the two is given, or it is not above 0.
        """
        if (relative is None) == (std is None):
            raise ValueError("Give either relative or std.")
        row = self._row(component, parameter)
        if relative is not None:
            std = relative * abs(self._values[row])
        if not (relative if relative is not None else std) > 0.0:
            raise ValueError(f"The standard error that is wanted must be above 0, not {relative or std}.")
        return self._information.dose_for(row, std)

    def detectable(self, component: str, parameter: str, *, n_sigma: float = 3.0) -> FloatArray:
        """Smallest amount that is seen, as a share of the amount in the model, with the shape of the dose.

        It is the amplitude that is ``n_sigma`` of its own standard errors; everything else, with the electrons that
        each unit of it stands for, stays as it is.

        Parameters
        ----------
        component, parameter
            Names of a linear parameter: an area, a height, an areal density.
        n_sigma
            How many standard errors make a detection.

        Raises
        ------
        KeyError
            If the parameter is not free.
        ValueError
            If it is not linear, or is 0 in the model: there is no amount to compare with.

        Notes
        -----
        Currie, Anal. Chem. 40, 586 (1968), calls 3.29 standard errors of nothing the detection limit, for 5 % of false
        alarms and 5 % of misses.
        """
        row = self._row(component, parameter)
        slot, value = self._current.compiled.slots[self._current.free[row]], self._values[row]
        if not slot.parameter._linear:
            raise ValueError(f"{component}.{parameter} is not an amount: the spectrum is not linear in it.")
        if value == 0.0:
            raise ValueError(f"{component}.{parameter} is 0: set it to the amount that others are compared with.")
        if not n_sigma > 0.0:
            raise ValueError(f"n_sigma must be above 0, not {n_sigma}.")
        found = [
            detectable_amount(self._current, self._information, row, float(d), n_sigma) for d in np.ravel(self.dose)
        ]
        return np.reshape(found, np.shape(self.dose))

    def plot(self, ax: Any = None) -> Any:
        """Plot the relative standard errors against the dose; see :func:`hyperspy_assb.plotting.plot_precision`."""
        from hyperspy_assb.plotting import plot_precision

        return plot_precision(self, ax=ax)

    @property
    def _values(self) -> FloatArray:
        return self._current.theta[self._current.free]

    def _row(self, component: str, parameter: str) -> int:
        return _row(self._current, (component, parameter))


def predict_precision(
    model: Any,
    dose: float | Sequence[float],
    *,
    detector: Detector | None = None,
    target: tuple[str, str] | Sequence[tuple[str, str]] | None = None,
) -> Precision:
    """Predict how precisely the free parameters of a model can be known from a spectrum of a given dose.

    No unbiased estimate has smaller standard errors than these (Cramér-Rao bound), and the batched fit reaches them
    where there are enough electrons. Nothing is measured: of the signal only the axis is read, and the current values
    of the parameters, at the current position, are taken for the truth.

    Parameters
    ----------
    model : hyperspy.models.model1d.Model1D
        What the specimen should show; see :func:`hyperspy_assb.multifit` for what it may hold. Free parameters are
        not known, fixed ones are, twins follow; bounds are no knowledge.
    dose : float or sequence of float
        Expected electrons in one spectrum, counted in the channels of the signal range of the model.
    detector : Detector, optional
        Gain and read noise; by default those that the last batched fit of the model went by, else what was recorded
        beside what the spectra of the signal tell.
    target : (component, parameter), or sequence of such pairs, optional
        What to report; all free parameters by default.

    Returns
    -------
    precision : Precision
        Table, doses for a wanted precision, detection limits and a figure.

    Raises
    ------
    KeyError
        If a target is not a free parameter.
    NotImplementedError
        If something in the model cannot be compiled; it is named.
    ValueError
        If a dose is not above 0, no parameter is free, or the model expects no or negative counts.

    Notes
    -----
    With the model m scaled to the dose, n = dose m / sum(m), and read noise of r electrons in a channel, the
    information is the sum over channels of (dn/dp) (dn/dq) / (n + r^2): Kay, Fundamentals of Statistical Signal
    Processing: Estimation Theory (1993), ch. 3; the read noise as in Snyder et al., J. Opt. Soc. Am. A 10, 1014 (1993).
    The scale is known exactly: an unknown dose is a free intensity.

    Examples
    --------
    What dose tells the 5 eV band of 5 % FePO4 from nothing, at three standard errors?

    >>> import hyperspy.api as hs, hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel, FePO4ValenceBand
    >>> signal = hs.signals.Signal1D(np.zeros(100))
    >>> signal.axes_manager[0].scale, signal.axes_manager[0].is_binned = 0.1, True
    >>> model = signal.create_model()
    >>> model.extend([FePO4ValenceBand(0.05), DarkLevel(1.0)])
    >>> model.set_parameters_not_free(["FePO4ValenceBand"], ["centre", "fwhm"])
    >>> precision = hyperspy_assb.predict_precision(model, [1e3, 1e5])
    >>> precision.table[["component", "dose", "relative"]].round(3)
              component      dose  relative
    0  FePO4ValenceBand    1000.0     4.193
    1         DarkLevel    1000.0     0.038
    2  FePO4ValenceBand  100000.0     0.419
    3         DarkLevel  100000.0     0.004
    >>> round(precision.dose_for("FePO4ValenceBand", "intensity", relative=1 / 3), -2)
    158200.0
    """
    doses = _checked_dose(dose)
    detector = model_noise(model).broad if detector is None else detector
    current = compile_current(model)
    if not current.free:
        raise ValueError("No parameter of the model is free: there is nothing to be estimated.")
    information = DoseInformation.of(*current.evaluate(), read_noise=detector.read_noise / detector.gain)
    names = [current.compiled.slots[k].name for k in current.free]
    rows = list(range(len(names)))
    if target is not None:
        pairs = [target] if isinstance(target[0], str) else target
        rows = [_row(current, tuple(pair)) for pair in pairs]
    std, values = np.atleast_2d(information.std(doses)), current.theta[current.free]
    table = [
        {
            "component": names[k][0],
            "parameter": names[k][1],
            "units": current.compiled.slots[current.free[k]].parameter.units or "",
            "dose": float(number),
            "value": float(values[k]),
            "std": float(errors[k]),
            "relative": float(_share(errors[k], values[k])),
        }
        for number, errors in zip(doses.ravel(), std, strict=True)
        for k in rows
    ]
    lost = information.undetermined
    return Precision(
        dose=doses,
        table=pd.DataFrame(table),
        names=tuple(names[k] for k in rows),
        undetermined=tuple(name for name, flag in zip(names, lost, strict=True) if flag),
        detector=detector,
        _current=current,
        _information=information,
    )


def _row(current: Current, name: tuple[str, ...]) -> int:
    names = [current.compiled.slots[k].name for k in current.free]
    try:
        return names.index(name)
    except ValueError:
        raise KeyError(f"{'.'.join(name)} is not a free parameter; free are {names}.") from None


def _checked_dose(dose: ArrayLike) -> FloatArray:
    doses = np.asarray(dose, dtype=float)
    if doses.ndim > 1 or not doses.size or not np.all((doses > 0.0) & np.isfinite(doses)):
        raise ValueError(f"dose must be a number above 0 or a sequence of such numbers, not {dose}.")
    return doses


def _share(std: FloatArray, value: float) -> FloatArray:
    """Standard errors as shares of a value; of 0 they are infinitely many."""
    return std / abs(value) if value != 0.0 else np.full(np.shape(std), np.inf)
