"""How precisely a model can be known from a spectrum of a given dose, before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

import hyperspy.api as hs
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from hyperspy_assb import provenance
from hyperspy_assb.errors import AssbKeyError, AssbRuntimeError, AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.precision import DoseInformation
from hyperspy_assb.models.current import Current, compile_current, detectable_amount
from hyperspy_assb.models.recorded_noise import detector_of_model
from hyperspy_assb.models.recorded_signal import check_data
from hyperspy_assb.signals.region_mask import Names
from hyperspy_assb.signals.result import Result


@dataclass(frozen=True, eq=False)
class Precision(Result):
    """The least standard errors that a spectrum of a given dose allows: the Cramér-Rao bound.

    What :func:`hyperspy_assb.predict_precision` returns.

    Parameters
    ----------
    dose
        Expected electrons in the fitted channels of one spectrum, a number or shape (D,).
    table
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
    free, values
        ``(component, parameter)`` of all free parameters, and their values in the model, shape (F,).
    information
        Expected spectrum and its derivatives; see
        :class:`~hyperspy_assb.fitting.statistics.precision.DoseInformation`.
    current
        The compiled model, which :meth:`detectable` evaluates at smaller amounts; files do not keep it.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> import hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel
    >>> model = hs.signals.Signal1D(np.zeros(100)).create_model()
    >>> model.append(DarkLevel(1.0))
    >>> precision = hyperspy_assb.predict_precision(model, [1e2, 1e4])
    >>> precision.relative("DarkLevel", "level").round(6)  # one over the root of the electrons
    array([0.1 , 0.01])
    >>> print(precision.summary())
    Least standard error of DarkLevel.level: 10 % at 100 electrons, 1 % at 1e+04 electrons.
    """

    dose: FloatArray
    table: pd.DataFrame = field(repr=False)
    names: tuple[tuple[str, str], ...]
    undetermined: tuple[tuple[str, str], ...]
    detector: Detector
    free: tuple[tuple[str, str], ...] = field(repr=False)
    values: FloatArray = field(repr=False)
    information: DoseInformation = field(repr=False)
    current: InitVar[Current | None] = None

    def __post_init__(self, current: Current | None) -> None:
        object.__setattr__(self, "_current", current)

    def __getstate__(self) -> dict[str, Any]:
        """Arrays alone; the compiled model stays in this process."""
        return {**super().__getstate__(), "_current": None}

    def std(self, component: str, parameter: str) -> FloatArray:
        """Least standard error of a parameter.

        Parameters
        ----------
        component, parameter
            Names.

        Returns
        -------
        NDArray[np.float64]
            In the units of the parameter, with the shape of the dose; infinite if no dose determines it.

        Raises
        ------
        KeyError
            If the parameter is not free.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.zeros(100)).create_model()
        >>> model.append(DarkLevel(1.0))
        >>> precision = hyperspy_assb.predict_precision(model, [1e2, 1e4])
        >>> precision.std("DarkLevel", "level").round(6)
        array([0.1 , 0.01])
        """
        return self.information.std(self.dose)[..., self._row(component, parameter)]

    def relative(self, component: str, parameter: str) -> FloatArray:
        """Least standard error as a share of the value.

        Parameters
        ----------
        component, parameter
            Names.

        Returns
        -------
        NDArray[np.float64]
            A pure number with the shape of the dose; infinite where the value is 0.

        Raises
        ------
        KeyError
            If the parameter is not free.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.zeros(100)).create_model()
        >>> model.append(DarkLevel(1.0))
        >>> precision = hyperspy_assb.predict_precision(model, [1e2, 1e4])
        >>> precision.relative("DarkLevel", "level").round(6)
        array([0.1 , 0.01])
        """
        return self.relative_at(component, parameter, self.dose)

    def relative_at(self, component: str, parameter: str, dose: ArrayLike) -> FloatArray:
        """Least standard error as a share of the value, at other doses.

        Parameters
        ----------
        component, parameter
            Names.
        dose
            Electrons in the fitted channels of one spectrum, a number or shape (D,).

        Returns
        -------
        NDArray[np.float64]
            A pure number with the shape of the dose; infinite where the value is 0.

        Raises
        ------
        KeyError
            If the parameter is not free.
        ValueError
            If a dose is not above 0.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.zeros(100)).create_model()
        >>> model.append(DarkLevel(1.0))
        >>> precision = hyperspy_assb.predict_precision(model, [1e2, 1e4])
        >>> print(precision.relative_at("DarkLevel", "level", 1e6).round(6))
        0.001
        """
        row = self._row(component, parameter)
        return _share(self.information.std(_checked_dose(dose))[..., row], self.values[row])

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
        float
            Electrons in the fitted channels of one spectrum; infinite if no dose is enough.

        Raises
        ------
        KeyError
            If the parameter is not free.
        ValueError
            If not exactly one of the two is given, or it is not above 0.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.zeros(100)).create_model()
        >>> model.append(DarkLevel(1.0))
        >>> precision = hyperspy_assb.predict_precision(model, [1e2, 1e4])
        >>> round(precision.dose_for("DarkLevel", "level", relative=0.05))
        400
        """
        if (relative is None) == (std is None):
            raise AssbValueError("Give either relative or std.")
        row = self._row(component, parameter)
        if relative is not None:
            std = relative * abs(self.values[row])
        if not (relative if relative is not None else std) > 0.0:
            raise AssbValueError(f"The standard error that is wanted must be above 0, not {relative or std}.")
        return self.information.dose_for(row, std)

    def detectable(self, component: str, parameter: str, *, n_sigma: float = 3.0) -> FloatArray:
        """Smallest amount that is seen, as a share of the amount in the model, with the shape of the dose.

        It is the amplitude of ``n_sigma`` standard errors; everything else, with the electrons that
        each unit of it stands for, stays as it is.

        Parameters
        ----------
        component, parameter
            Names of a linear parameter: an area, a height, an areal density.
        n_sigma
            How many standard errors make a detection.

        Returns
        -------
        numpy.ndarray
            Shares of the amount in the model, with the shape of the dose; infinite where no amount is enough.

        Raises
        ------
        KeyError
            If the parameter is not free.
        RuntimeError
            If the result comes from a file: the model is not in it.
        ValueError
            If it is not linear, or is 0 in the model: there is no amount to compare with.

        Notes
        -----
        Currie, Anal. Chem. 40, 586 (1968), calls 3.29 standard errors of nothing the detection limit, for 5 % of false
        alarms and 5 % of misses.

        Examples
        --------
        A level is seen if nine electrons of it are, in a spectrum of a hundred or of 10,000:

        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.zeros(100)).create_model()
        >>> model.append(DarkLevel(1.0))
        >>> precision = hyperspy_assb.predict_precision(model, [1e2, 1e4])
        >>> precision.detectable("DarkLevel", "level").round(6)
        array([0.09  , 0.0009])
        """
        row = self._row(component, parameter)
        if self._current is None:
            raise AssbRuntimeError(
                "detectable evaluates the model at smaller amounts, and a file keeps no model: call predict_precision "
                "again."
            )
        slot, value = self._current.compiled.slots[self._current.free[row]], self.values[row]
        if not slot.parameter._linear:
            raise AssbValueError(f"{component}.{parameter} is not an amount: the spectrum is not linear in it.")
        if value == 0.0:
            raise AssbValueError(f"{component}.{parameter} is 0: set it to the amount that others are compared with.")
        if not n_sigma > 0.0:
            raise AssbValueError(f"n_sigma must be above 0, not {n_sigma}.")
        found = [
            detectable_amount(self._current, self.information, row, float(d), n_sigma) for d in np.ravel(self.dose)
        ]
        return np.reshape(found, np.shape(self.dose))

    def summary(self) -> str:
        """The least relative standard error of each parameter at each dose, what no dose determines, and the notes."""
        lines = []
        for name in self.names:
            relative = np.ravel(self.relative(*name))
            doses = [
                f"{100 * r:.3g} % at {d:.3g} electrons" for r, d in zip(relative, np.ravel(self.dose), strict=True)
            ]
            if np.isfinite(relative).all():
                lines.append(f"Least standard error of {'.'.join(name)}: {', '.join(doses)}.")
            elif name not in self.undetermined:
                lines.append(f"{'.'.join(name)} is 0 in the model: its standard error has no share of it.")
        lines += [f"No dose determines {'.'.join(name)}." for name in self.undetermined]
        return "\n".join((*lines, *self.notes))

    def to_dataframe(self, region: Any = None, *, names: Names = None) -> pd.DataFrame:
        """The ``table``: one row for each parameter and dose.

        Parameters
        ----------
        region, names
            None: a prediction has no pixels.

        Returns
        -------
        pandas.DataFrame
            A copy of it.

        Raises
        ------
        ValueError
            If a region is named.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.zeros(100)).create_model()
        >>> model.append(DarkLevel(1.0))
        >>> precision = hyperspy_assb.predict_precision(model, [1e2, 1e4])
        >>> precision.to_dataframe()["relative"].round(6).tolist()
        [0.1, 0.01]
        """
        return self.table.copy() if region is None else super().to_dataframe(region, names=names)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the relative standard errors against the dose; see :func:`hyperspy_assb.plotting.plot_precision`.

        Parameters
        ----------
        ax
            Axes to draw on; new ones by default.

        Returns
        -------
        Axes
            The axes.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.zeros(100)).create_model()
        >>> model.append(DarkLevel(1.0))
        >>> precision = hyperspy_assb.predict_precision(model, [1e2, 1e4])
        >>> ax = precision.plot()
        """
        from hyperspy_assb.plotting import plot_precision

        return plot_precision(self, ax=ax)

    def _row(self, component: str, parameter: str) -> int:
        return _row(self.free, (component, parameter))

    def _shown(self) -> Any:
        std = np.atleast_2d(self.information.std(self.dose))
        signal = hs.signals.BaseSignal(
            std, axes=[{"name": name, "size": n} for name, n in zip(("dose", "parameter"), std.shape, strict=True)]
        )
        signal.metadata.General.title = "Least standard errors"
        signal.metadata.set_item("ASSB.quantities", [".".join(name) for name in self.free])
        return signal


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
        Gain and read noise; from the metadata of the signal by default.
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
    Which dose detects the 5 eV band of 5 % FePO4 at three standard errors?

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
    check_data(model.signal)
    detector = detector_of_model(model) if detector is None else detector
    current = compile_current(model)
    if not current.free:
        raise AssbValueError("No parameter of the model is free: there is nothing to be estimated.")
    information = DoseInformation.of(*current.evaluate(), read_noise=detector.read_noise / detector.gain)
    names = tuple(current.compiled.slots[k].name for k in current.free)
    rows = list(range(len(names)))
    if target is not None:
        pairs = [target] if isinstance(target[0], str) else target
        rows = [_row(names, tuple(pair)) for pair in pairs]
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
    parameters = {
        "dose": doses,
        "detector": detector,
        "components": [component.name for component in model if component.active],
    }
    return Precision(
        dose=doses,
        table=pd.DataFrame(table),
        names=tuple(names[k] for k in rows),
        undetermined=tuple(name for name, flag in zip(names, lost, strict=True) if flag),
        detector=detector,
        free=names,
        values=values,
        information=information,
        current=current,
        provenance=provenance.record(
            "predict_precision", parameters=parameters, methods=["hyperspy", "numpy", "scipy"]
        ),
    )


def _row(names: Sequence[tuple[str, ...]], name: tuple[str, ...]) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise AssbKeyError(f"{'.'.join(name)} is not a free parameter; free are {list(names)}.") from None


def _checked_dose(dose: ArrayLike) -> FloatArray:
    doses = np.asarray(dose, dtype=float)
    if doses.ndim > 1 or not doses.size or not np.all((doses > 0.0) & np.isfinite(doses)):
        raise AssbValueError(f"dose must be a number above 0 or a sequence of such numbers, not {dose}.")
    return doses


def _share(std: FloatArray, value: float) -> FloatArray:
    """Standard errors as shares of a value; of 0 they are infinitely many."""
    return std / abs(value) if value != 0.0 else np.full(np.shape(std), np.inf)
