"""Sums of terms of which some are convolved with a measured response, one for all spectra or one for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.binding import Bound, Evaluated
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Term
from hyperspy_assb.fitting.spectra.sums import SumModel, column_term


class ConvolvedModel:
    """Expectation of many spectra with a measured response, and its derivatives.

    A convolved term is evaluated on a wider axis, and the channels where the response reaches over its end are left
    out: :func:`numpy.convolve` with ``mode="valid"``, as in HyperSpy.

    Parameters
    ----------
    terms
        The components; the parameter vector is theirs, one after the other.
    convolved
        Which of them are convolved.
    energy
        Where the others are evaluated, shape (E,).
    padded
        Where those that are convolved are evaluated, shape (E + L - 1,).
    response
        What they are convolved with, shape (L,), or (S, L): then there is one more parameter at the end, the number of
        the spectrum, counted from 0.
    scale
        What the sum is multiplied with: the width of a channel where the terms are densities.

    Raises
    ------
    ValueError
        If the axes do not fit together.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        convolved: Sequence[bool],
        energy: FloatArray,
        padded: FloatArray,
        response: FloatArray,
        *,
        scale: float = 1.0,
    ) -> None:
        self.convolved = tuple(convolved)
        self.padded: FloatArray = np.ascontiguousarray(padded, dtype=np.float64)
        self.response: FloatArray = np.asarray(response, dtype=np.float64)
        self._sum = SumModel(terms, energy, scale=scale)
        self.terms, self.slices, self.energy = self._sum.terms, self._sum.slices, self._sum.energy
        self.n_parameters = self._sum.n_parameters + (self.response.ndim - 1)
        needed = self.energy.size + self.response.shape[-1] - 1
        if self.padded.size != needed:
            raise AssbValueError(f"The wider axis needs {needed} channels, not {self.padded.size}.")
        self._length = fft.next_fast_len(self.padded.size + self.response.shape[-1] - 1, real=True)
        self._transformed: NDArray[np.complex128] = fft.rfft(np.atleast_2d(self.response), self._length)

    def evaluate(self, parameters: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Expected counts, shape (S, E), and derivatives, shape (S, F, E), for parameters of shape (S, P)."""
        parameters = np.atleast_2d(np.asarray(parameters, dtype=np.float64))
        n, size = len(parameters), self.energy.size
        wanted = np.asarray(free, dtype=bool)[: self._sum.n_parameters]
        rows = np.cumsum(wanted) - 1
        expectation, jacobian = np.zeros((n, size)), np.empty((n, int(wanted.sum()), size))
        for term, where, convolved in zip(self.terms, self.slices, self.convolved, strict=True):
            axis = self.padded if convolved else self.energy
            chosen = np.flatnonzero(wanted[where])
            values, gradients = np.empty((n, axis.size)), np.empty((n, term.size, axis.size))
            for i in range(n):
                values[i] = term.evaluate(axis, parameters[i, where], gradients[i])
            gradients = gradients[:, chosen]
            if convolved:
                values, gradients = self._convolve(values, parameters), self._convolve(gradients, parameters)
            expectation += values
            jacobian[:, rows[where][chosen]] = gradients
        scale = self._sum.scale
        return expectation * scale, jacobian * scale

    @property
    def numbers_spectra(self) -> bool:
        """Whether the last parameter is the number of the spectrum."""
        return self.response.ndim == 2

    def part(self, positions: NDArray[np.int64]) -> ConvolvedModel:
        """The model of some of the spectra, which are then numbered from 0."""
        return ConvolvedModel(
            self.terms,
            self.convolved,
            self.energy,
            self.padded,
            self.response[positions],
            scale=self._sum.scale,
        )

    def _convolve(self, values: FloatArray, parameters: FloatArray) -> FloatArray:
        """Convolve the last axis with the response of each spectrum, as far as it is known."""
        which = parameters[:, -1].astype(int) if self.response.ndim == 2 else np.zeros(1, dtype=int)
        response = self._transformed[which].reshape(len(which), *(1,) * (values.ndim - 2), -1)
        folded = fft.irfft(fft.rfft(values, self._length) * response, self._length)
        first = self.response.shape[-1] - 1
        return folded[..., first : first + self.energy.size]

    def bind(self, start: FloatArray, moving: NDArray[np.bool_], keep: NDArray[np.bool_]) -> Bound:
        """The model when only some parameters change; see :meth:`.sums.SumModel.bind`.

        Where no convolved term changes its shape and there is one response, their columns are convolved once.
        """
        fixed = [not c or self._sum.is_fixed(t, start, moving) for t, c in enumerate(self.convolved)]
        if self.response.ndim == 2 or not all(fixed):
            return Evaluated(self, moving, keep)
        terms = []
        for term, where, convolved in zip(self.terms, self.slices, self.convolved, strict=True):
            if not convolved:
                terms.append(term)
                continue
            unit = np.where(term.linear, 1.0, start[0, where])
            gradients = np.empty((term.size, self.padded.size))
            values = term.evaluate(self.padded, unit, gradients)
            gradients[~term.linear] = 0.0
            background = self._convolve(values - gradients.sum(axis=0), start)
            terms.append(column_term(term.shape.name, term.linear, self._convolve(gradients, start), background))
        return SumModel(terms, self.energy, scale=self._sum.scale).bind(start, moving, keep)
