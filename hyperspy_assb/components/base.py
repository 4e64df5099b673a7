"""HyperSpy components made from line shapes: one class turns a kernel into values, gradients and storage."""

from __future__ import annotations

from typing import Any

import numpy as np
from hyperspy.component import Component

from hyperspy_assb.fitting.spectra.line_shape import NO_CONSTANTS, FloatArray, LineShape
from hyperspy_assb.fitting.spectra.terms import Term


class KernelComponent(Component):
    """A HyperSpy component whose values and gradients come from a line shape.

    Parameters
    ----------
    shape
        The line shape.
    constants
        Constants of its kernel, shape (C,).
    position
        Name of the parameter that HyperSpy's interactive tools move along the axis.
    init
        Arguments of the subclass, kept so that a sliced or restored model is rebuilt with them.
    values
        Starting values of parameters, by name.
    """

    def __init__(
        self,
        shape: LineShape,
        constants: FloatArray = NO_CONSTANTS,
        *,
        position: str | None = None,
        init: dict[str, Any] | None = None,
        values: dict[str, float] | None = None,
    ) -> None:
        linear = [p.name for p in shape.parameters if p.linear]
        self._shape = shape
        self._constants = constants
        super().__init__(list(shape.parameter_names), linear)
        start = shape.defaults(**(values or {}))
        for index, (declared, value) in enumerate(zip(shape.parameters, start, strict=True)):
            parameter = getattr(self, declared.name)
            parameter.value = float(value)
            parameter.bmin, parameter.bmax = declared.minimum, declared.maximum
            parameter.units = declared.unit
            parameter.grad = self._gradient_function(index)
        if position is not None:
            self._position = getattr(self, position)
        for name, value in (init or {}).items():
            self._whitelist[name] = ("init", value)

    @property
    def term(self) -> Term:
        """Line shape and constants, as the fit engine takes them."""
        return Term(self._shape, self._constants)

    @property
    def current_values(self) -> FloatArray:
        """Values of the parameters at the current position, shape (P,)."""
        return np.array([parameter.value for parameter in self.parameters], dtype=float)

    def function(self, x: Any) -> FloatArray:
        """Density per eV at the energies ``x``, in eV, with the current parameter values."""
        x = np.asarray(x, dtype=float)
        return self._shape.evaluate(x.ravel(), self.current_values, self._constants)[0].reshape(x.shape)

    def function_nd(self, axis: Any, parameters_values: Any = None) -> FloatArray:
        """Density per eV at every navigation position.

        Parameters
        ----------
        axis
            Energies in eV, shape (E,).
        parameters_values
            One array of the navigation shape for each parameter; the stored maps by default.

        Returns
        -------
        values
            Shape (..., E).
        """
        if parameters_values is None:
            if not self._is_navigation_multidimensional:
                return self.function(axis)
            parameters_values = [parameter.map["values"] for parameter in self.parameters]
        values = np.stack([np.asarray(v, dtype=float) for v in parameters_values], axis=-1)
        axis = np.ascontiguousarray(axis, dtype=float)
        out = np.empty((*values.shape[:-1], axis.size))
        for index in np.ndindex(values.shape[:-1]):
            out[index] = self._shape.evaluate(axis, values[index], self._constants)[0]
        return out

    def _gradient_function(self, index: int) -> Any:
        def gradient(x: Any) -> FloatArray:
            x = np.asarray(x, dtype=float)
            return self._shape.evaluate(x.ravel(), self.current_values, self._constants)[1][index].reshape(x.shape)

        return gradient
