"""The protocol by which a line shape hands its values and derivatives to the fit engine.

A line shape is declared once, as a :class:`LineShape`: the table of its parameters and one numba kernel that writes
the values and every partial derivative in a single pass over the energies. HyperSpy components, the batched fit and
the tests all read this one declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.errors import AssbValueError

FloatArray = NDArray[np.float64]
Kernel = Callable[[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray], None]

NO_CONSTANTS: FloatArray = np.zeros(0)


class Role(Enum):
    """What a line shape stands for in the expectation of a spectrum.

    The expected spectrum is ``sources (convolved with) exp(scattering) + additive``: the exponential of a convolution
    series is plural scattering by Poisson statistics.
    """

    SOURCE = "source"
    """The zero-loss peak: counts per eV on the recorded energy axis."""
    SCATTERING = "scattering"
    """Single scattering: probability per eV relative to the zero-loss peak, as a function of energy loss."""
    ADDITIVE = "additive"
    """Counts per eV that do not take part in plural scattering (an afterglow, a background)."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a line shape.

    Parameters
    ----------
    name
        Name, as HyperSpy spells it (``centre``, ``fwhm``, ``onset_energy``).
    value
        Value that a new component starts with.
    unit
        Unit of the value (``"eV"``, ``"counts"``, ``"nm^-2"``, ``""`` for a pure number).
    minimum, maximum
        Physical bounds; None where there is none.
    linear
        Whether the values of the line shape are proportional to it.
    description
        What it is, in one sentence.
    """

    name: str
    value: float
    unit: str
    minimum: float | None = None
    maximum: float | None = None
    linear: bool = False
    description: str = ""


@dataclass(frozen=True)
class LineShape:
    """A line shape with exact derivatives.

    Parameters
    ----------
    name
        Name of the line shape.
    parameters
        Its parameters, in the order in which the kernel reads them.
    kernel
        Numba function ``kernel(energy, parameters, constants, values, gradients)``. It overwrites ``values`` (shape
        (E,)) with the density per eV at ``energy`` (shape (E,), eV), and ``gradients`` (shape (P, E)) with its partial
        derivatives. ``constants`` (shape (C,)) holds what is fixed when a component is made, such as a table.
    role
        What the density stands for; see :class:`Role`.
    """

    name: str
    parameters: tuple[Parameter, ...]
    kernel: Kernel
    role: Role

    def __reduce__(self) -> tuple[Callable[..., LineShape], tuple[object, ...]]:
        # A kernel is found again by its name: numba would otherwise ship and compile it anew in every process.
        kernel = (self.kernel.__module__, self.kernel.__name__)
        return _from_parts, (type(self), self.name, self.parameters, kernel, self.role)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters, in kernel order."""
        return tuple(parameter.name for parameter in self.parameters)

    def defaults(self, **values: float) -> FloatArray:
        """Parameter values, shape (P,), with those named replaced.

        Raises
        ------
        ValueError
            If a name is not a parameter of this line shape.
        """
        unknown = set(values) - set(self.parameter_names)
        if unknown:
            raise AssbValueError(
                f"{self.name} has no parameter {sorted(unknown)}; it has {list(self.parameter_names)}."
            )
        return np.array([float(values.get(p.name, p.value)) for p in self.parameters])

    def evaluate(
        self, energy: ArrayLike, parameters: ArrayLike | Mapping[str, float], constants: FloatArray = NO_CONSTANTS
    ) -> tuple[FloatArray, FloatArray]:
        """Values and partial derivatives at given energies.

        Parameters
        ----------
        energy
            Energies in eV, shape (E,).
        parameters
            Parameter values, shape (P,), or a mapping of the names to be set, the others taking their defaults.
        constants
            What the kernel needs beside its parameters, shape (C,).

        Returns
        -------
        values, gradients
            Density per eV, shape (E,), and its derivatives, shape (P, E).
        """
        energy = np.ascontiguousarray(energy, dtype=np.float64)
        if isinstance(parameters, Mapping):
            parameters = self.defaults(**parameters)
        theta = np.ascontiguousarray(parameters, dtype=np.float64)
        values = np.empty(energy.size)
        gradients = np.empty((theta.size, energy.size))
        self.kernel(energy, theta, constants, values, gradients)
        return values, gradients


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


def _from_parts(
    cls: type[LineShape], name: str, parameters: tuple[Parameter, ...], kernel: tuple[str, str], role: Role
) -> LineShape:
    """Rebuild a line shape in another process."""
    return cls(name, parameters, getattr(import_module(kernel[0]), kernel[1]), role)
