"""A HyperSpy model of one spectrum for lmfit: other optimisers, confidence intervals, sampling."""

from __future__ import annotations

import inspect
import keyword
import re
from typing import Any

import lmfit
import numpy as np
from numpy.typing import ArrayLike

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.models.compile import Slot
from hyperspy_assb.models.current import Current, compile_current

_OFF_CHANNEL = 1e-3
"""Part of a channel by which an energy may miss its centre: rounding of an axis, but nothing that shifts a spectrum."""


def to_lmfit(model: Any) -> tuple[lmfit.Model, lmfit.Parameters]:
    """Hand the spectrum at the current position of a HyperSpy model over to lmfit.

    Parameters
    ----------
    model : hyperspy.models.model1d.Model1D
        As for :func:`hyperspy_assb.multifit`: kernels, expressions, plural scattering, convolution, twins. Components
        that are not active at the current position are left out.

    Returns
    -------
    model : lmfit.Model
        Expected counts of the channels with the energies ``x``, which are those of channels of the signal: all that
        are fitted, or a choice. At other energies it raises a ValueError, because components may only be known there.
    parameters : lmfit.Parameters
        Named ``component_parameter``, with other signs than letters, digits and underscores replaced, and a number at
        the end where two names would be the same. Current values, bounds, what is fixed, and twins as expressions.

    Raises
    ------
    NotImplementedError
        If something in the model cannot be compiled; it is named.
    ValueError
        If no component is active, or a bound excludes every value.

    Notes
    -----
    lmfit minimises the sum of squares of ``weights * (counts - model)``: weights are one over the standard deviation of
    the counts. Newville et al., LMFIT: Non-Linear Least-Squares Minimization and Curve-Fitting for Python (2014), doi
    10.5281/zenodo.11813.

    Examples
    --------
    >>> import hyperspy.api as hs, hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel, FePO4ValenceBand
    >>> signal = hs.signals.Signal1D(np.zeros(100))
    >>> signal.axes_manager[0].scale, signal.axes_manager[0].is_binned = 0.1, True
    >>> model = signal.create_model()
    >>> model.extend([FePO4ValenceBand(900.0, 5.0, 1.5), DarkLevel(150.0)])
    >>> lmfit_model, parameters = hyperspy_assb.to_lmfit(model)
    >>> x = signal.axes_manager[0].axis
    >>> counts = np.random.default_rng(1).poisson(lmfit_model.eval(parameters, x=x))
    >>> def poisson_weights(expectation):
    ...     return 1.0 / np.sqrt(np.maximum(expectation, 1.0))
    >>> weights = poisson_weights(lmfit_model.eval(parameters, x=x))
    >>> fit = lmfit_model.fit(counts, parameters, x=x, weights=weights, scale_covar=False)
    >>> band = fit.params["FePO4ValenceBand_centre"]
    >>> abs(band.value - 5.0) < 3.0 * band.stderr
    True
    >>> intervals = fit.conf_interval(p_names=[band.name], sigmas=[1])
    """
    current = compile_current(model)
    compiled = current.compiled
    names = _unique_names(compiled.slots)
    function = _Function(current, names)
    ready = lmfit.Model(function, independent_vars=["x"], name=type(model).__name__)
    parameters = lmfit.Parameters()
    for k, name in enumerate(names):
        free = bool(compiled.free[k])
        low, high = (float(compiled.lower[k]), float(compiled.upper[k])) if free else (-np.inf, np.inf)
        if not low < high:
            raise AssbValueError(
                f"{'.'.join(compiled.slots[k].name)} has no room between its bounds {low} and {high}: set bmin and "
                "bmax, or fix it."
            )
        parameters.add(name, value=float(current.theta[k]), min=low, max=high, vary=free)
    # Expressions come last: by then all names that they use are known.
    for tie in compiled.ties:
        expression = compiled.slots[tie.target].parameter.twin_function_expr
        parameters[names[tie.target]].expr = _renamed(expression, names[tie.source])
    return ready, parameters


class _Function:
    """The compiled model as a function of energies and named parameters."""

    __name__ = "hyperspy_model"

    def __init__(self, current: Current, names: list[str]) -> None:
        self._model, self._theta, self._names = current.compiled.model, current.theta, names
        self._energy = np.asarray(self._model.energy)
        self._fixed = np.zeros(self._theta.size, dtype=bool)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in ("x", *names)])

    def __call__(self, x: ArrayLike, **parameters: float) -> FloatArray:
        theta = self._theta.copy()
        theta[: len(self._names)] = [parameters[name] for name in self._names]
        with np.errstate(over="ignore", invalid="ignore"):
            expectation = self._model.evaluate(theta[np.newaxis], self._fixed)[0][0]
        return expectation[self._channels(np.asarray(x, dtype=float))]

    def _channels(self, x: FloatArray) -> Any:
        if x.shape == self._energy.shape and np.array_equal(x, self._energy):
            return slice(None)
        step = (self._energy[-1] - self._energy[0]) / max(self._energy.size - 1, 1) or 1.0
        place = (x - self._energy[0]) / step
        with np.errstate(invalid="ignore"):
            channels = np.rint(place)
            good = (np.abs(place - channels) < _OFF_CHANNEL) & (channels >= 0) & (channels < self._energy.size)
        if not good.all():
            raise AssbValueError(
                f"x must be energies of channels of the signal, from {self._energy[0]:.6g} to {self._energy[-1]:.6g} "
                f"in steps of {step:.6g}; {int((~good).sum())} of {x.size} are not."
            )
        return channels.astype(int)


def _unique_names(slots: tuple[Slot, ...]) -> list[str]:
    """Valid and different identifiers for parameters."""
    names: list[str] = []
    for slot in slots:
        stem = re.sub(r"[\W_]+", "_", "_".join(slot.name), flags=re.ASCII).strip("_") or "parameter"
        if stem[0].isdigit() or keyword.iskeyword(stem):
            stem = f"p_{stem}"
        name, number = stem, 2
        while name in names or name == "x":
            name, number = f"{stem}_{number}", number + 1
        names.append(name)
    return names


def _renamed(expression: str, source: str) -> str:
    """A twin function as lmfit reads it, of the parameter that is followed."""
    if not expression:
        return source
    import sympy
    from sympy.printing.numpy import NumPyPrinter

    from hyperspy_assb.fitting.expressions.checked_text import formula

    parsed = formula(expression)
    (variable,) = parsed.free_symbols
    return NumPyPrinter({"fully_qualified_modules": False}).doprint(parsed.subs(variable, sympy.Symbol(source)))
