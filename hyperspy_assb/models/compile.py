"""From a HyperSpy model to the arrays and kernels of the batched fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from hyperspy._components.expression import Expression
from numpy.typing import NDArray

from hyperspy_assb.components.low_loss import KernelComponent
from hyperspy_assb.errors import AssbNotImplementedError, AssbValueError, see
from hyperspy_assb.fitting.expressions.expression_shapes import expression_line_shape
from hyperspy_assb.fitting.spectra.binding import Model, Tie
from hyperspy_assb.fitting.spectra.convolution import ConvolvedModel
from hyperspy_assb.fitting.spectra.forward import SpectrumModel
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Role, Term
from hyperspy_assb.fitting.spectra.sums import SumModel, column_term

_LINEAR = 1e-6
"""Relative difference up to which a component is linear in its numbers: rounding of what HyperSpy computes."""


@dataclass(frozen=True)
class Slot:
    """One number of a HyperSpy model: a parameter, or one element of a parameter that has several."""

    component: Any
    parameter: Any
    element: int | None = None

    @property
    def name(self) -> tuple[str, str]:
        """``(component, parameter)``; elements are counted from 0 in brackets."""
        suffix = "" if self.element is None else f"[{self.element}]"
        return self.component.name, f"{self.parameter.name}{suffix}"

    @property
    def value(self) -> float:
        """Current value."""
        value = self.parameter.value
        return float(value if self.element is None else value[self.element])

    def set(self, value: float) -> None:
        """Change the current value."""
        if self.element is None:
            self.parameter.value = value
        else:
            values = list(self.parameter.value)
            values[self.element] = value
            self.parameter.value = values

    def stored(self, field: str) -> NDArray[Any]:
        """A field of the parameter's map, on flattened navigation axes."""
        stored = self.parameter.map[field]
        if field == "is_set" or self.element is None:
            return np.ravel(stored)
        return stored[..., self.element].ravel()

    def start(self, count: int) -> FloatArray:
        """Where a fit starts: the stored values, and the current one where there are none; shape (count,)."""
        followed = self.parameter.twin
        if followed is not None:
            source = Slot(followed.component, followed, self.element).start(count)
            return _twin_values(self.parameter.twin_function_expr, source)[0]
        if self.parameter.map is None:
            return np.full(count, self.value)
        values, known = self.stored("values"), self.stored("is_set")
        return np.where(known & np.isfinite(values), values, self.value)


def slots(component: Any) -> list[Slot]:
    """The numbers of a component, in the order of its parameters."""
    found = []
    for parameter in component.parameters:
        n = parameter._number_of_elements
        found += [Slot(component, parameter)] if n == 1 else [Slot(component, parameter, k) for k in range(n)]
    return found


@dataclass(frozen=True)
class Compiled:
    """A HyperSpy model as the solver takes it; parameters are those of all components, one after the other.

    ``constants`` are the numbers that it does not know of, with their values.
    """

    model: Model
    components: tuple[Any, ...]
    slots: tuple[Slot, ...]
    constants: tuple[tuple[Slot, float], ...]
    free: NDArray[np.bool_]
    lower: FloatArray
    upper: FloatArray
    start: FloatArray
    mask: NDArray[np.bool_]
    ties: tuple[Tie, ...]

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """``(component, parameter)`` of every parameter."""
        return tuple(slot.name for slot in self.slots)


def compile_model(model: Any, components: Sequence[Any] | None = None) -> Compiled:
    """Turn the active components of a HyperSpy model into a forward model with bounds and starting values.

    Parameters
    ----------
    model : hyperspy.models.model1d.Model1D
        Of any signal with one signal axis.
    components : sequence of hyperspy.component.Component, optional
        Those to compile; the active ones by default.

    Raises
    ------
    NotImplementedError
        If a component with free non-linear parameters cannot be compiled, or the axis is not uniform; it is named.
    ValueError
        If no component is active, a starting value is not finite, or there are not more channels than free parameters.
    """
    if model.axes_manager.signal_dimension != 1:
        raise AssbNotImplementedError("The batched fit takes models with one signal axis.")
    if model.axis.is_uniform and model.axis.scale < 0.0 and model.axis.is_binned:
        raise AssbValueError(
            f"The axis {model.axis.name!r} runs backwards, and its channels have a width: reverse it first."
        )
    if not model.axis.is_uniform:
        raise AssbNotImplementedError(f"The axis {model.axis.name!r} is not uniform: interpolate the signal first.")
    chosen = [c for c in model if c.active] if components is None else list(components)
    if not chosen:
        raise AssbValueError("There is nothing to fit: no component of the model is active.")
    switches = model._channel_switches
    if not switches.any():
        raise AssbValueError("All channels are switched off: set a signal range.")
    count = max(1, model.axes_manager.navigation_size)
    parts = [_part(component, count) for component in chosen]
    numbers = [slot for part in parts for slot in part.slots]
    start = _starts(numbers, count)
    forward = _forward_model(model, parts)
    free = np.array([slot.parameter.free for slot in numbers], dtype=bool)
    if free.sum() >= switches.sum():
        raise AssbValueError(
            f"{free.sum()} free parameters cannot be fitted to {switches.sum()} channels: fix some of them, or fit "
            "more channels."
        )
    for slot, column in zip(numbers, start.T, strict=True):
        low, high = _bound(slot.parameter.bmin, -np.inf), _bound(slot.parameter.bmax, np.inf)
        if not low <= high:
            raise AssbValueError(f"{'.'.join(slot.name)} has no room between its bounds, {low} and {high}.")
        if not np.isfinite(column).all():
            raise AssbValueError(f"{'.'.join(slot.name)} starts at a value that is not finite: set it first.")
    return Compiled(
        model=forward,
        components=tuple(chosen),
        slots=tuple(numbers),
        constants=tuple(constant for part in parts for constant in part.constants),
        free=_padded(free, forward, False),
        lower=_padded(np.array([_bound(s.parameter.bmin, -np.inf) for s in numbers]), forward, -np.inf),
        upper=_padded(np.array([_bound(s.parameter.bmax, np.inf) for s in numbers]), forward, np.inf),
        start=_with_rows(start, forward),
        mask=~switches[: forward.energy.size],
        ties=tuple(_ties(numbers)),
    )


def _bound(value: float | None, missing: float) -> float:
    return missing if value is None else float(value)


def _padded(values: NDArray[Any], forward: Any, fill: Any) -> NDArray[Any]:
    """Room for the parameters that a model has beyond those of its components."""
    return np.concatenate([values, np.full(forward.n_parameters - values.size, fill, dtype=values.dtype)])


def _with_rows(start: FloatArray, forward: Any) -> FloatArray:
    """Starting values with the number of each spectrum, where the model wants it."""
    if forward.n_parameters == start.shape[1]:
        return start
    return np.column_stack([start, np.arange(len(start), dtype=float)])


@dataclass(frozen=True)
class _Part:
    """A component, the numbers of it that matter to the fit, those that do not, and its line shape, if it has one."""

    component: Any
    slots: list[Slot]
    constants: list[tuple[Slot, float]]
    term: Term | None

    def on(self, axis: FloatArray) -> Term:
        """The component as a term; what has no line shape is evaluated on the axis."""
        return self.term if self.term is not None else _evaluated_term(self.component, self.slots, self.constants, axis)


def _starts(numbers: list[Slot], count: int) -> FloatArray:
    """Starting values, shape (S, P); one row for all where they are the same."""
    columns = [slot.start(count) for slot in numbers]
    if all(np.all(column == column[0]) for column in columns):
        return np.broadcast_to(np.array([column[0] for column in columns]), (count, len(columns)))
    return np.stack(columns, axis=1)


def _forward_model(model: Any, parts: list[_Part]) -> Any:
    axis, scale = model.axis, float(model.axis.scale) if model.axis.is_binned else 1.0
    if getattr(model, "plural_scattering", False) and _roles(parts) >= {Role.SOURCE, Role.SCATTERING}:
        if is_convolved(model):
            raise AssbNotImplementedError(
                "Plural scattering comes from the model itself, not from low_loss: remove one."
            )
        if not axis.is_binned:
            raise AssbNotImplementedError(
                "Plural scattering needs counts in channels: set is_binned of the energy axis."
            )
        used = int(np.flatnonzero(model._channel_switches)[-1]) + 1  # no channel depends on one of higher energy
        return SpectrumModel([part.on(axis.axis[:used]) for part in parts], axis.axis[:used])
    if not is_convolved(model) or not any(part.component.convolved for part in parts):
        return SumModel([part.on(axis.axis) for part in parts], axis.axis, scale=scale)
    padded = np.asarray(model._convolution_axis, dtype=float)
    return ConvolvedModel(
        [part.on(padded if part.component.convolved else axis.axis) for part in parts],
        [bool(part.component.convolved) for part in parts],
        axis.axis,
        padded,
        _response(model),
        scale=scale,
    )


def _roles(parts: list[_Part]) -> set[Role]:
    return {part.term.shape.role for part in parts if part.term is not None}


def is_convolved(model: Any) -> bool:
    """Whether components are convolved with a low-loss signal; models of other signals than EELS cannot be asked."""
    try:
        return bool(model.convolved)
    except NotImplementedError:
        return False


def _response(model: Any) -> FloatArray:
    """The low-loss spectra that components are convolved with, shape (L,), or (S, L) with one for each spectrum."""
    signal = model._signal_to_convolve
    data = np.asarray(signal.data.compute() if signal._lazy else signal.data, dtype=float)
    data = data.reshape(-1, data.shape[-1])
    if not np.isfinite(data).all():
        raise AssbValueError("The low-loss signal that the model is convolved with has values that are not finite.")
    return data[0] if len(data) == 1 else data


def _part(component: Any, count: int) -> _Part:
    """The component by its kernel, by its expression, or by what is free in it, if it is linear in that.

    Raises
    ------
    NotImplementedError
        If it has neither, and is not linear in what is free.
    """
    if isinstance(component, KernelComponent):
        return _Part(component, slots(component), [], component.term)
    reason = f"{type(component).__name__} has no expression"
    if isinstance(component, Expression) and not component._is2D:
        renamed = component._rename_pars_inv
        names = tuple(renamed.get(p.name, p.name) for p in component.parameters)
        try:
            shape = expression_line_shape(component._str_expression, names)
        except NotImplementedError as error:
            reason = str(error)
        else:
            return _Part(component, slots(component), [], Term(shape))
    numbers, constants = [], []
    for slot in slots(component):
        if _matters(slot, count, reason):
            numbers.append(slot)
        else:
            constants.append((slot, float(slot.start(count)[0])))
    return _Part(component, numbers, constants, None)


def _matters(slot: Slot, count: int, reason: str) -> bool:
    """Whether a number of a component that HyperSpy evaluates once is not the same for the whole fit."""
    name, parameter, linear = ".".join(slot.name), slot.parameter, _is_linear(slot)
    moves = parameter.free or (parameter.twin is not None and _root(parameter).free)
    if moves and not linear:
        raise AssbNotImplementedError(
            f"{name} is free and not linear, and the component cannot be compiled ({reason}): fix it, write the "
            'component as an Expression, or fit with optimizer="lm". ' + see("fit_engine")
        )
    start = slot.start(count)
    differs = not np.all(start == start[0])
    if differs and not linear:
        raise AssbNotImplementedError(
            f"{name} is fixed at values that differ between positions, and the component cannot be compiled "
            f'({reason}): give it one value, or fit with optimizer="lm".'
        )
    return moves or differs


def _evaluated_term(component: Any, numbers: list[Slot], constants: list[tuple[Slot, float]], axis: FloatArray) -> Term:
    """Columns of the numbers that matter, on top of what the others make."""
    columns = np.zeros((len(numbers), axis.size))
    with _detached(component):
        for slot, value in constants:
            if slot.value != value:
                slot.set(value)
        for slot in numbers:
            slot.set(0.0)
        background = _values(component, axis)
        for column, slot in zip(columns, numbers, strict=True):
            slot.set(1.0)
            column[:] = _values(component, axis) - background
            slot.set(2.0)
            doubled = _values(component, axis) - background
            slot.set(0.0)
            if not np.allclose(doubled, 2.0 * column, rtol=_LINEAR, atol=1e-12 * np.abs(column).max(initial=0.0)):
                raise AssbNotImplementedError(f"{'.'.join(slot.name)} is declared linear but is not.")
        for k, slot in enumerate(numbers):
            slot.set(1.0 + k)
        together = _values(component, axis) - background
        expected = np.arange(1.0, len(numbers) + 1.0) @ columns
        if not np.allclose(together, expected, rtol=_LINEAR, atol=1e-9 * np.abs(together).max(initial=0.0)):
            # One that is multiplied by another has no column where the other is 0.
            names = ", ".join(slot.name[1] for slot in numbers)
            raise AssbNotImplementedError(
                f"{component.name} is linear in each of {names}, but not in all of them together: fix one that the "
                'others are multiplied by, or fit with optimizer="lm".'
            )
    return column_term(component.name, np.ones(len(numbers), dtype=bool), columns, background)


def _is_linear(slot: Slot) -> bool:
    """Whether values are linear in it; spline coefficients of a fine structure are, though exspy does not say so."""
    return bool(slot.parameter._linear) or slot.parameter.name == "fine_structure_coeff"


def _values(component: Any, axis: FloatArray) -> FloatArray:
    return np.array(np.broadcast_to(component.function(axis), axis.shape), dtype=float)


def _root(parameter: Any) -> Any:
    while parameter.twin is not None:
        parameter = parameter.twin
    return parameter


@contextmanager
def _detached(component: Any) -> Iterator[None]:
    """Let the values of a component be changed, and leave it as it was."""
    kept = [(p, p.value, p.free, p.twin) for p in component.parameters]
    try:
        for parameter, _, _, twin in kept:
            if twin is not None:
                parameter.twin = None
        yield
    finally:
        for parameter, value, free, twin in kept:
            if twin is not None:
                parameter.twin = twin
            else:
                parameter.value = value
                parameter.free = free


def _ties(numbers: list[Slot]) -> Iterator[Tie]:
    """Ties between the compiled parameters, each after the one that it follows."""
    column = {(id(slot.parameter), slot.element): k for k, slot in enumerate(numbers)}
    done: set[int] = set()

    def follow(k: int) -> Iterator[Tie]:
        slot = numbers[k]
        source = slot.parameter.twin
        if source is None or k in done:
            return
        done.add(k)
        key = (id(source), slot.element)
        if key not in column:
            if _root(source).free and _root(source).component.active:
                raise AssbNotImplementedError(
                    f"{'.'.join(slot.name)} follows {source.component.name}.{source.name}, whose component is not "
                    "active in the same spectra: fit them apart, or free the twin."
                )
            return
        yield from follow(column[key])
        yield Tie(k, column[key], partial(_twin_values, slot.parameter.twin_function_expr))

    for k in range(len(numbers)):
        yield from follow(k)


def _twin_values(expression: str, source: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Values of a twin and their slopes, for an array of values of the parameter that it follows."""
    if not expression:
        return source, np.ones_like(source)
    value, slope = _twin_functions(expression)
    shape = source.shape
    return np.broadcast_to(value(source), shape).astype(float), np.broadcast_to(slope(source), shape).astype(float)


@cache
def _twin_functions(expression: str) -> tuple[Any, Any]:
    """A twin function and its derivative, as HyperSpy reads the expression."""
    import sympy

    from hyperspy_assb.fitting.expressions.checked_text import formula

    parsed = formula(expression)
    (variable,) = parsed.free_symbols
    return sympy.lambdify(variable, parsed), sympy.lambdify(variable, sympy.diff(parsed, variable))
