"""The expected spectrum: a zero-loss peak scattered any number of times, with exact derivatives.

If z is the zero-loss peak and s the single-scattering distribution relative to it, independent scattering events give
the recorded expectation z * exp(s), the exponential of a convolution series (Egerton, Electron Energy-Loss Spectroscopy
in the Electron Microscope, 3rd ed. (2011), eq. 4.8). Every derivative follows from it exactly: for a parameter of s it
is the expectation convolved with the derivative of s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.compiled_sums import evaluate_term
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Role, Term

_UNEVEN = 1e-6
"""Difference between steps of an axis, as a share of a step, that storing it may leave."""
_BLOCK = 64
"""Spectra whose scattering is computed at once where nothing but its sum is kept."""
_KEPT_SHAPES = 4
"""Transforms kept for each term: shapes that are fixed come back, those that are fitted do not."""


class SpectrumModel:
    """Expectation of many spectra on one energy axis, and its derivatives.

    Parameters
    ----------
    terms
        The components; the parameter vector is theirs, one after the other.
    energy
        Centres of the channels in eV, shape (E,), uniform and increasing.
    plural_scattering
        Whether scattering terms are folded with the zero-loss peak to every order. If not, all terms are added as they
        are.

    Raises
    ------
    ValueError
        If the axis is not uniform and increasing, or if there is scattering but no zero-loss peak to scatter.
    """

    def __init__(self, terms: Sequence[Term], energy: FloatArray, *, plural_scattering: bool = True) -> None:
        energy = np.ascontiguousarray(energy, dtype=np.float64)
        if energy.ndim != 1 or energy.size < 2:
            raise AssbValueError("The energy axis needs at least two channels.")
        step = np.diff(energy)
        if step[0] <= 0 or np.any(np.abs(step - step[0]) > _UNEVEN * step[0]):
            raise AssbValueError("The energy axis must be uniform and increasing.")
        self.terms = tuple(terms)
        self.energy: FloatArray = energy
        self.scale = float((energy[-1] - energy[0]) / (energy.size - 1))
        roles = [term.shape.role for term in self.terms]
        self.plural_scattering = plural_scattering and Role.SCATTERING in roles
        if self.plural_scattering and Role.SOURCE not in roles:
            raise AssbValueError("Plural scattering needs a zero-loss peak among the components.")
        self.loss: FloatArray = np.arange(energy.size, dtype=np.float64) * self.scale
        # exp(s) wraps only where three losses add up to more than twice the range.
        self._length = fft.next_fast_len(2 * energy.size, real=True)
        stops = np.cumsum([term.size for term in self.terms], dtype=int)
        self.slices = tuple(slice(stop - term.size, stop) for term, stop in zip(self.terms, stops, strict=True))
        self.n_parameters = int(stops[-1]) if stops.size else 0
        self._columns: dict[tuple[int, bytes], NDArray[np.complex128]] = {}

    def expectation(self, parameters: FloatArray) -> FloatArray:
        """Expected counts per channel, shape (S, E), for parameters of shape (S, P)."""
        return self.evaluate(parameters, np.zeros(self.n_parameters, dtype=bool))[0]

    def scattering_probability(self, parameters: FloatArray) -> FloatArray:
        """Mean number of scattering events, t/λ within the range, shape (S,), for parameters of shape (S, P)."""
        parameters = np.atleast_2d(np.asarray(parameters, dtype=np.float64))
        total = np.zeros(parameters.shape[0])
        # Block by block: of a whole map, spectra and their derivatives would be many times its counts.
        for begin in range(0, len(total), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            for index, term in enumerate(self.terms):
                if term.shape.role is Role.SCATTERING:
                    total[rows] += self._scattering(index, parameters[rows])[0][:, 0].real
        return total

    def evaluate(self, parameters: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Expected counts and their derivatives.

        Parameters
        ----------
        parameters
            Parameter values, shape (S, P).
        free
            Which parameters are differentiated, shape (P,), F of them.

        Returns
        -------
        expectation, jacobian
            Counts per channel, shape (S, E), and their derivatives, shape (S, F, E).
        """
        parameters = np.atleast_2d(np.asarray(parameters, dtype=np.float64))
        n, size = parameters.shape[0], self.energy.size
        jacobian = np.empty((n, int(free.sum()), size))
        rows = np.cumsum(free) - 1
        if not self.plural_scattering:
            total = np.zeros((n, size))
            for index, term in enumerate(self.terms):
                values, derivatives = self._term(index, parameters, self._axis(term))
                total += values
                for k in np.flatnonzero(free[self.slices[index]]):
                    jacobian[:, rows[self.slices[index].start + k]] = derivatives[:, k]
            return total * self.scale, jacobian * self.scale

        single = np.zeros((n, self._length // 2 + 1), dtype=complex)
        source = np.zeros((n, size))
        additive = np.zeros((n, size))
        source_gradients: list[tuple[int, FloatArray]] = []
        scattering: list[tuple[int, NDArray[np.complex128]]] = []
        for index, term in enumerate(self.terms):
            start = self.slices[index].start
            chosen = np.flatnonzero(free[self.slices[index]])
            if term.shape.role is Role.SCATTERING:
                spectrum, gradients = self._scattering(index, parameters)
                single += spectrum
                scattering += [(rows[start + k], gradients[:, k]) for k in chosen]
                continue
            values, derivatives = self._term(index, parameters, self.energy)
            if term.shape.role is Role.SOURCE:
                source += values
                source_gradients += [(rows[start + k], derivatives[:, k]) for k in chosen]
            else:
                additive += values
                for k in chosen:
                    jacobian[:, rows[start + k]] = derivatives[:, k] * self.scale
        plural = np.exp(single)
        recorded = fft.rfft(source * self.scale, self._length) * plural
        total = fft.irfft(recorded, self._length)[:, :size] + additive * self.scale
        for row, gradient in source_gradients:
            folded = fft.rfft(gradient * self.scale, self._length) * plural
            jacobian[:, row] = fft.irfft(folded, self._length)[:, :size]
        for row, column in scattering:
            jacobian[:, row] = fft.irfft(recorded * column, self._length)[:, :size]
        return total, jacobian

    def _axis(self, term: Term) -> FloatArray:
        return self.loss if term.shape.role is Role.SCATTERING and self.plural_scattering else self.energy

    def _term(self, index: int, parameters: FloatArray, axis: FloatArray) -> tuple[FloatArray, FloatArray]:
        return evaluate_term(self.terms[index], axis, parameters[:, self.slices[index]])

    def _scattering(self, index: int, parameters: FloatArray) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Fourier transforms of a scattering term, shape (S, L), and of its derivatives, shape (S or 1, P, L)."""
        term, own = self.terms[index], parameters[:, self.slices[index]]
        shape_parameters = own[:, ~term.linear]
        if np.any(shape_parameters != shape_parameters[:1]):
            values, gradients = self._term(index, parameters, self.loss)
            return self._transform(values), self._transform(gradients)
        # One shape for all spectra: its transform is kept, and the amplitudes multiply it.
        key = (index, shape_parameters[:1].tobytes())
        transformed = self._columns.get(key)
        if transformed is None:
            unit = own[:1].copy()
            unit[:, term.linear] = 1.0
            transformed = self._transform(self._term(index, self._with(index, unit), self.loss)[1])
            if len(self._columns) > _KEPT_SHAPES * len(self.terms):
                self._columns.clear()
            self._columns[key] = transformed
        values = own[:, term.linear] @ transformed[0, term.linear]
        if term.linear.all():
            return values, transformed
        if term.linear.sum() != 1:
            return values, self._transform(self._term(index, parameters, self.loss)[1])
        scaled = np.where(term.linear[:, np.newaxis], transformed, own[:, term.linear][:, :, np.newaxis] * transformed)
        return values, scaled

    def _with(self, index: int, own: FloatArray) -> FloatArray:
        parameters = np.zeros((own.shape[0], self.n_parameters))
        parameters[:, self.slices[index]] = own
        return parameters

    def _transform(self, values: FloatArray) -> NDArray[np.complex128]:
        return fft.rfft(values * self.scale, self._length, axis=-1)
