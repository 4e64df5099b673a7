"""Electron scattering factors of the elements."""

from __future__ import annotations

import csv
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.reference.data_files import UnknownReferenceError, read_text


@cache
def electron_scattering_table() -> MappingProxyType[str, NDArray[np.float64]]:
    """Coefficients a (Å) and b (Å²) of every element, by its symbol, each of shape (2, 5). Read only."""
    rows = csv.reader(line for line in read_text("electron_scattering.csv").splitlines() if not line.startswith("#"))
    next(rows)
    table = {}
    for element, *numbers in rows:
        values = np.array([float(number) for number in numbers]).reshape(2, 5)
        values.setflags(write=False)  # shared by every caller
        table[element] = values
    return MappingProxyType(table)


def electron_scattering_factor(element: str, length: NDArray[np.float64]) -> NDArray[np.float64]:
    """Electron scattering factor of a neutral atom in Å.

    Parameters
    ----------
    element
        Symbol, such as ``"Fe"``; H to Lr.
    length
        Length of the reciprocal vector, 1/d in 1/Å, any shape.

    Returns
    -------
    numpy.ndarray
        Of the shape of ``length``.

    Raises
    ------
    UnknownReferenceError
        If there is no such element.

    Notes
    -----
    Not relativistically corrected: the correction is the same for every atom. The parametrization [1]_ keeps the
    Mott-Bethe limit of large angles and the decay of the potential.

    References
    ----------
    .. [1] I. Lobato, D. Van Dyck, Acta Cryst. A70, 636 (2014), doi 10.1107/S205327331401643X.

    Examples
    --------
    >>> round(float(electron_scattering_factor("Fe", np.array([0.0]))[0]), 2)
    7.16
    """
    table = electron_scattering_table()
    if element not in table:
        raise UnknownReferenceError.of("electron scattering factor of", element, table)
    a, b = table[element]
    reduced = np.asarray(length, dtype=float)[..., None] ** 2 * b
    return np.asarray((a * (2.0 + reduced) / (1.0 + reduced) ** 2).sum(axis=-1))
