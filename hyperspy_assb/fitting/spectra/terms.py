"""One component of a spectrum: a line shape and the constants of its kernel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra import compiled_sums as compiled
from hyperspy_assb.fitting.spectra.line_shape import NO_CONSTANTS, FloatArray, LineShape


@dataclass(frozen=True, eq=False)
class Term:
    """One component of a spectrum: a line shape and the constants of its kernel."""

    shape: LineShape
    constants: FloatArray = field(default_factory=lambda: NO_CONSTANTS)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.shape.parameters)

    @property
    def linear(self) -> NDArray[np.bool_]:
        """Which parameters the values are jointly linear in, shape (P,)."""
        return np.array([p.linear for p in self.shape.parameters], dtype=bool)

    @property
    def homogeneous(self) -> bool:
        """Whether the values vanish where all linear parameters do."""
        return getattr(self.shape, "homogeneous", True)

    def evaluate(self, energy: FloatArray, parameters: FloatArray, gradients: FloatArray) -> FloatArray:
        """Values, shape (E,); the derivatives are written into ``gradients``, shape (P, E)."""
        values = np.empty(energy.size)
        self.shape.kernel(energy, np.ascontiguousarray(parameters), self.constants, values, gradients)
        return values

    def evaluate_many(self, energy: FloatArray, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Values, shape (S, E), and derivatives, shape (S, P, E), for parameters of shape (S, P)."""
        parameters = np.ascontiguousarray(parameters)
        values = np.empty((len(parameters), energy.size))
        gradients = np.empty((len(parameters), self.size, energy.size))
        address = compiled.kernel_address(self.shape.kernel)
        compiled.evaluate_many(address, self.constants, energy, parameters, values, gradients)
        return values, gradients
