"""A HyperSpy model at its current position, compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperspy_assb.fitting.solver.fit_statistics import evaluate_reduced
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.models.compile import Compiled, compile_model


@dataclass(frozen=True, eq=False)
class Current:
    """A compiled model and the parameters of one spectrum.

    Parameters
    ----------
    compiled
        The model.
    theta
        Its parameters, shape (P,).
    """

    compiled: Compiled
    theta: FloatArray

    @property
    def energy(self) -> FloatArray:
        """Energies of the fitted channels, shape (E,)."""
        return np.asarray(self.compiled.model.energy[~self.compiled.mask])

    @property
    def free(self) -> list[int]:
        """Columns of the free parameters, F of them."""
        return [int(k) for k in np.flatnonzero(self.compiled.free)]

    def evaluate(self, theta: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Expectation of the fitted channels, shape (E,), and derivatives for the free parameters, shape (F, E)."""
        chosen = self.theta if theta is None else theta
        expectation, jacobian = evaluate_reduced(
            self.compiled.model, chosen[np.newaxis], self.compiled.free, self.compiled.ties
        )
        return expectation[0, ~self.compiled.mask], jacobian[0][:, ~self.compiled.mask]


def compile_current(model: Any) -> Current:
    """Compile the components of a HyperSpy model that are active at its current position, at their current values.

    Raises
    ------
    NotImplementedError, ValueError
        As :func:`.compile.compile_model`.
    """
    with _without_maps(model):
        compiled = compile_model(model)
    navigation = model.axes_manager
    position = 0
    if navigation.navigation_size > 1:
        position = int(np.ravel_multi_index(navigation.indices[::-1], navigation._navigation_shape_in_array))
    return Current(compiled, compiled.start[position].copy())


@contextmanager
def _without_maps(model: Any) -> Iterator[None]:
    """Let current values be all that the parameters have."""
    kept = [(parameter, parameter.map) for component in model for parameter in component.parameters]
    try:
        for parameter, _ in kept:
            parameter.map = None
        yield
    finally:
        for parameter, stored in kept:
            parameter.map = stored
