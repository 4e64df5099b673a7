"""What the solver needs to know of a model, and how it is tied to the channels and parameters of a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra import compiled_sums as compiled
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.normal_equations import NormalEquations


class Model(Protocol):
    """What the solver needs to know of a model.

    A model may also have ``bind(start, moving, keep)``, which gives its own ``Bound``.
    """

    n_parameters: int

    def evaluate(self, parameters: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Expectation, shape (S, E), and derivatives, shape (S, F, E), for parameters of shape (S, P)."""
        ...


class Bound(Protocol):
    """A model on the channels that are fitted, with M parameters that move.

    It may also have ``quadratic`` and ``weighted``, as :class:`.sums.BoundSum`, ``block_size``, and ``gives_score``:
    then ``accumulate`` leaves the information as it is if told ``curvature=False``.
    """

    @property
    def linear(self) -> NDArray[np.bool_]:
        """Which of the moving parameters the expectation is jointly linear in, shape (M,)."""
        ...

    def accumulate(
        self,
        theta: FloatArray,
        rows: NDArray[np.int64],
        y: FloatArray,
        weights: FloatArray | None,
        scale: float,
        shift: float,
        out: NormalEquations,
    ) -> None:
        """Overwrite the normal equations of the spectra ``rows`` of a block.

        ``y``, shape (B, E), has the expectation ``scale`` times that of the model plus ``shift``; it is a Poisson
        number where there are no ``weights``.
        """
        ...


@dataclass(frozen=True)
class Tie:
    """A parameter that follows another.

    Parameters
    ----------
    target, source
        Columns of the two parameters.
    function
        Gives values and slopes for an array of values of the source.
    """

    target: int
    source: int
    function: Callable[[FloatArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A model that is only known by its expectations and derivatives."""

    model: Model
    moving: NDArray[np.bool_]
    keep: NDArray[np.bool_]

    @property
    def linear(self) -> NDArray[np.bool_]:
        """None: nothing is known of it."""
        return np.zeros(int(self.moving.sum()), dtype=bool)

    def accumulate(
        self,
        theta: FloatArray,
        rows: NDArray[np.int64],
        y: FloatArray,
        weights: FloatArray | None,
        scale: float,
        shift: float,
        out: NormalEquations,
    ) -> None:
        """See :meth:`Bound.accumulate`."""
        with np.errstate(over="ignore", invalid="ignore"):
            expectation, jacobian = self.model.evaluate(theta[rows], self.moving)
            if not self.keep.all():
                expectation, jacobian = expectation[:, self.keep], jacobian[:, :, self.keep]
            compiled.accumulate(
                expectation * scale + shift,
                np.ascontiguousarray(jacobian if scale == 1.0 else jacobian * scale),
                rows,
                y,
                y if weights is None else weights,
                weights is None,
                *out,
            )


def bind(
    model: Model, start: FloatArray, free: NDArray[np.bool_], keep: NDArray[np.bool_], ties: Sequence[Tie] = ()
) -> Bound:
    """The model as the solver uses it, with the free parameters and those that follow them moving."""
    moving = free.copy()
    for tie in ties:
        moving[tie.target] = moving[tie.source]
    own = getattr(model, "bind", None)
    return own(start, moving, keep) if own is not None else Evaluated(model, moving, keep)
