"""Terms whose shape is given by its values on the energy axis."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray, LineShape, Parameter, Role
from hyperspy_assb.fitting.spectra.terms import Term


@numba.njit(cache=True, error_model="numpy", nogil=True)
def _columns_kernel(
    energy: FloatArray, parameters: FloatArray, constants: FloatArray, values: FloatArray, gradients: FloatArray
) -> None:
    """Background plus the sum of parameters times columns; ``constants`` holds them one after the other."""
    n = energy.size
    for e in range(n):
        values[e] = constants[e]
    for k in range(parameters.size):
        for e in range(n):
            gradients[k, e] = constants[(k + 1) * n + e]
            values[e] += parameters[k] * gradients[k, e]


class ColumnShape(LineShape):
    """A line shape of fixed columns, which may stand on something that no parameter changes."""

    homogeneous = False


def column_term(name: str, linear: NDArray[np.bool_], columns: FloatArray, background: FloatArray) -> Term:
    """A term from columns on the channels of a spectrum.

    Parameters
    ----------
    name
        Name of the term.
    linear
        Which parameters have a column, shape (P,); the others change nothing.
    columns
        Values for 1 of each parameter, shape (P, E).
    background
        Values where all parameters are 0, shape (E,).
    """
    parameters = tuple(Parameter(f"p{k}", 0.0, "", linear=bool(flag)) for k, flag in enumerate(linear))
    chosen = np.where(linear[:, np.newaxis], columns, 0.0)
    shape = ColumnShape(name, parameters, _columns_kernel, Role.ADDITIVE)
    return Term(shape, np.concatenate([background, chosen.ravel()]))
