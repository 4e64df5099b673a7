"""A HyperSpy model at its current position, compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from hyperspy_assb.fitting.solver.fit_statistics import evaluate_reduced
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.precision import DoseInformation
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


def detectable_amount(current: Current, information: DoseInformation, row: int, dose: float, n_sigma: float) -> float:
    """Smallest amount that is seen in a spectrum of a dose, as a share of the amount in the model; may be infinite.

    Parameters
    ----------
    current
        The model.
    information
        Of a spectrum of it.
    row
        Of the amount, which is linear, among the free parameters.
    dose
        Electrons in the fitted channels, with the amount as it is in the model.
    n_sigma
        How many of its own standard errors make a detection.
    """
    column = current.free[row]
    value, total = current.theta[column], current.evaluate()[0].sum()

    def excess(logarithm: float) -> float:
        theta = current.theta.copy()
        theta[column] = value * np.exp(logarithm)
        expectation, jacobian = current.evaluate(theta)
        known = DoseInformation.of(expectation, jacobian, read_noise=information.read_noise)
        own = known.std(dose * expectation.sum() / total)[row]
        return float(np.log(n_sigma * own / abs(theta[column])))

    low = high = excess(0.0)
    if not np.isfinite(low):
        return np.inf
    while excess(low) < 0.0:
        low -= 1.0
    while excess(high) > 0.0:
        high += 1.0
    return float(np.exp(low if low == high else optimize.brentq(excess, low, high, xtol=1e-10)))


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
