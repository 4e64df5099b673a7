"""A column of several phases as one spectrum: measured single scattering of each phase, folded to every order.

If z is the zero-loss peak and s_p(T) the single scattering of the phase p for each unit of t/lambda, in a column of
t/lambda = T, the amounts w_p have the expectation z * exp(sum_p w_p s_p(T)). Most of s_p does not depend on T. What
does is measured as well: 1/T for what does not grow with thickness (losses at surfaces, tails of the zero loss that
its line shape misses), and T for what grows faster (retardation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyperspy_assb import reference
from hyperspy_assb.fitting.spectra.compiled_sums import evaluate_term
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Term
from hyperspy_assb.fitting.spectra.special_functions import complex_exp

VALENCE_END = 50.0
"""eV. Up to here the valence electrons scatter, and hardly any of the core."""
_THIN = 0.02
"""t/lambda below which what does not grow with thickness fades, as there is no column."""
PRIOR = (0.1, 0.3, 0.03)
"""How far, at each frequency, the parts of the spectrum of a phase may be from what line shapes say. That of the zero
loss, in the second part, is the worst of them: steep, and asked for at high frequencies, of which little is left."""


NARROWEST, BROAD = 0.25, 1.0
"""eV. Half widths of the narrowest lines (Lorentzians) in which phases differ, and in which they differ in how they
depend on thickness."""


@dataclass(frozen=True)
class PhaseSpectra:
    """Single scattering of R phases, as Fourier transforms over losses of whole channels.

    Parameters
    ----------
    phases
        Names.
    parts
        What multiplies 1, 1/T and T for each unit of t/lambda in a column of t/lambda = T, shape (3, R, L), complex;
        the first is 1 at frequency 0.
    length
        Channels of the periodic axis of losses, at least twice those of a spectrum.
    thickness
        Least and largest t/lambda of the pixels that it was measured on; beyond, the last part stays what it is there.
    """

    phases: tuple[str, ...]
    parts: NDArray[np.complex128]
    length: int
    thickness: tuple[float, float] = (0.0, np.inf)

    def distribution(self, size: int, thickness: float = 1.0) -> FloatArray:
        """Probability per channel of losses of 0, 1, 2 ... channels, per unit of t/lambda, shape (R, size)."""
        factors = self.factors(np.array([thickness]))[0][:, 0]
        return fft.irfft(np.tensordot(factors, self.parts, 1), self.length)[:, :size]

    def factors(self, thickness: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What the parts are multiplied with at some t/lambda, and its derivatives, shape (3, S) each."""
        square = thickness**2 + _THIN**2
        inside = (thickness >= self.thickness[0]) & (thickness <= self.thickness[1])
        values = [np.ones_like(thickness), square**-0.5, np.clip(thickness, *self.thickness)]
        slopes = [np.zeros_like(thickness), -thickness * square**-1.5, inside.astype(float)]
        return np.array(values), np.array(slopes)

    def beyond(self, thickness: FloatArray) -> FloatArray:
        """Height of the parabola through both ends of the range of the pure pixels; 0 between them, shape (S,)."""
        low, high = self.thickness
        with np.errstate(invalid="ignore"):
            outside = (thickness < low) | (thickness > high)
            return np.where(outside & np.isfinite(high), (thickness - low) * (thickness - high), 0.0)


def extrapolation_error(spectra: PhaseSpectra, columns: NDArray[np.complex128], scale: float) -> FloatArray:
    """What the dependence on thickness that pure pixels do not tell may do to linear parameters at other thicknesses.

    Parameters
    ----------
    spectra
        What each phase scatters.
    columns
        Transforms of the single-scattering distributions of the K parameters, shape (K, L).
    scale
        Width of a channel in eV.

    Returns
    -------
    covariance
        Of the parameters, to be multiplied by the square of :meth:`PhaseSpectra.beyond`, shape (K, K).

    Notes
    -----
    What grows with the square of thickness has the normal prior of the refinement (:data:`PRIOR`). Among the pure
    pixels the other two parts take it up; beyond them it is a parabola that is 0 at both ends of their range.
    """
    frequency = 2.0 * np.pi * fft.rfftfreq(spectra.length, scale)
    variance = PRIOR[2] ** 2 * 2.0 * np.exp(-2.0 * BROAD * frequency)
    size = np.sqrt(np.sum(np.abs(columns) ** 2, axis=1))
    unit = columns / size[:, np.newaxis]
    left = np.linalg.pinv((unit @ unit.conj().T).real, rcond=1e-8, hermitian=True) @ unit.conj()
    # Real and imaginary parts of a change are independent, each of half the variance.
    out = ((left * variance) @ left.conj().T).real / 2.0
    return np.asarray(out / size[:, np.newaxis] / size, dtype=float)


def count_hosts(spectra: PhaseSpectra, energy: FloatArray) -> FloatArray:
    """Formula units of the host per t/lambda in both end members, by the sum rule of the valence electrons.

    Parameters
    ----------
    spectra
        What each phase scatters; the end members first.
    energy
        Centres of the channels in eV.

    Returns
    -------
    hosts
        In a unit that both share, shape (2,).

    Notes
    -----
    The energy loss of all valence electrons together is in proportion to their number (f-sum rule; Egerton, Electron
    Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eq. 4.33), which the formula tells. The angular
    factor, which differs by less than 1 % between spectra this similar, is left out.
    """
    loss = (energy[1] - energy[0]) * np.arange(energy.size)
    inside = loss <= VALENCE_END
    middle = float(np.clip(0.5, *spectra.thickness))
    moment = spectra.distribution(energy.size, middle)[:2, inside] @ loss[inside]
    electrons = np.array([reference.material(phase).valence_electrons for phase in spectra.phases[:2]])
    return moment / electrons


class MixtureModel:
    """Expectation of many spectra of columns of several phases, and its derivatives.

    The parameters are those of the zero-loss peak, the dark level if there is one, and the t/lambda of each phase.

    Parameters
    ----------
    source
        The zero-loss peak.
    energy
        Centres of the channels in eV, shape (E,).
    spectra
        Single scattering of the phases.
    dark_level
        Whether a constant number of counts per channel is added.
    extra
        Transforms of further single-scattering distributions with amplitudes of their own, shape (K, L); their
        amplitudes are the last parameters.
    """

    def __init__(
        self,
        source: Term,
        energy: FloatArray,
        spectra: PhaseSpectra,
        *,
        dark_level: bool = False,
        extra: NDArray[np.complex128] | None = None,
    ) -> None:
        self.source, self.energy, self.spectra = source, np.ascontiguousarray(energy, dtype=float), spectra
        self.scale = float((energy[-1] - energy[0]) / (len(energy) - 1))
        self.dark_level = dark_level
        self.extra = np.zeros((0, spectra.parts.shape[2]), dtype=complex) if extra is None else extra
        first = source.size + dark_level
        self._parts = spectra.parts.astype(np.complex64)
        self._extra = self.extra.astype(np.complex64)
        self.amounts = slice(first, first + len(spectra.phases))
        self.n_parameters = self.amounts.stop + len(self.extra)

    def with_spectra(self, spectra: PhaseSpectra) -> MixtureModel:
        """The same model of phases that are known better."""
        return MixtureModel(self.source, self.energy, spectra, dark_level=self.dark_level)

    @property
    def lower(self) -> FloatArray:
        """Lower bounds of the parameters: amounts may be negative, as noise is."""
        own = [-np.inf if p.minimum is None else p.minimum for p in self.source.shape.parameters]
        return np.array([*own, *([-np.inf] * (self.n_parameters - len(own)))])

    def free(self, phases: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """Free parameters of a fit: area, place and width of the zero loss, dark level, and the amounts of phases."""
        out = np.zeros(self.n_parameters, dtype=bool)
        out[:3] = True
        out[self.source.size : self.amounts.start] = True
        chosen = range(len(self.spectra.phases)) if phases is None else phases
        out[[self.amounts.start + r for r in chosen]] = True
        return out

    def transform(self, parameters: FloatArray) -> NDArray[np.complex128]:
        """Fourier transform of what is expected, beyond the end of the axis as well and without dark level, (S, L)."""
        peak = evaluate_term(self.source, self.energy, parameters[:, : self.source.size])[0]
        amounts = parameters[:, self.amounts]
        factors = self.spectra.factors(amounts.sum(axis=1))[0]
        single = _mix(factors, amounts, self.spectra.parts)
        return fft.rfft(peak * self.scale, self.spectra.length) * complex_exp(single)

    def evaluate(self, parameters: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, NDArray[Any]]:
        """Counts per channel, shape (S, E), and derivatives, shape (S, F, E), for parameters of shape (S, P)."""
        parameters = np.asarray(parameters, dtype=float)
        n, size, length, own = len(parameters), self.energy.size, self.spectra.length, self.source.size
        amounts = parameters[:, self.amounts]
        factors, slopes = self.spectra.factors(amounts.sum(axis=1))
        single = _mix(factors, amounts, self.spectra.parts)
        if len(self.extra):
            single += _combine(parameters[:, self.amounts.stop :], self.extra)
        plural = complex_exp(single)
        peak, gradients = evaluate_term(self.source, self.energy, parameters[:, :own])
        recorded = fft.rfft(peak * self.scale, length) * plural
        expectation = fft.irfft(recorded, length)[:, :size]
        # Derivatives lead the fit and give its errors: seven digits are enough, and take half the time.
        jacobian = np.empty((n, int(free.sum()), size), dtype=np.float32)
        rows = np.cumsum(free) - 1
        recorded, plural = recorded.astype(np.complex64), plural.astype(np.complex64)
        linear = self.source.linear
        for k in np.flatnonzero(free[:own] & linear):
            np.divide(expectation, parameters[:, k, np.newaxis], out=jacobian[:, rows[k]])
        moving = np.flatnonzero(free[:own] & ~linear)
        if moving.size:
            folded = fft.rfft((gradients[:, moving] * self.scale).astype(np.float32), length)
            folded *= plural[:, np.newaxis]
            jacobian[:, rows[moving]] = fft.irfft(folded, length)[..., :size]
        if self.dark_level:
            expectation += parameters[:, own, np.newaxis]
            if free[own]:
                jacobian[:, rows[own]] = 1.0
        moving = np.flatnonzero(free[self.amounts])
        if moving.size:
            single = _mix(slopes, amounts, self._parts)
            change = np.empty((n, moving.size, single.shape[1]), dtype=np.complex64)
            arrays = (self._parts[:, moving], single, recorded, change)
            _follow(factors.T.astype(np.float32), *(a.view(np.float32) for a in arrays))
            jacobian[:, rows[self.amounts.start + moving]] = fft.irfft(change, length)[..., :size]
        moving = np.flatnonzero(free[self.amounts.stop :])
        if moving.size:
            change = recorded[:, np.newaxis] * self._extra[moving]
            jacobian[:, rows[self.amounts.stop + moving]] = fft.irfft(change, length)[..., :size]
        return expectation, jacobian


def _mix(factors: FloatArray, amounts: FloatArray, parts: NDArray[Any]) -> NDArray[Any]:
    """Sum over parts b and phases r of ``factors[b] amounts[r] parts[b, r]``, shape (S, L)."""
    weights = (factors.T[:, :, np.newaxis] * amounts[:, np.newaxis]).reshape(len(amounts), -1)
    return _combine(weights, parts.reshape(weights.shape[1], -1))


def _combine(weights: FloatArray, table: NDArray[Any]) -> NDArray[Any]:
    """The product of real (S, K) and complex (K, L) arrays.

    Matrices this small keep the threads of BLAS busy with each other.
    """
    real = table.real.dtype
    out = np.zeros((len(weights), table.shape[1]), dtype=table.dtype)
    _accumulate(weights.astype(real), np.ascontiguousarray(table).view(real), out.view(real))
    return out


@numba.njit(cache=True, nogil=True, fastmath=True)
def _follow(
    factors: NDArray[Any], parts: NDArray[Any], common: NDArray[Any], recorded: NDArray[Any], out: NDArray[Any]
) -> None:  # pragma: no cover - compiled
    """Transforms of the derivatives by some amounts, shape (S, R, 2 L), real and imaginary parts in turn."""
    change = np.empty(common.shape[1], dtype=out.dtype)
    for s in range(out.shape[0]):
        for r in range(out.shape[1]):
            change[:] = common[s]
            for b in range(len(parts)):
                for e in range(change.size):
                    change[e] += factors[s, b] * parts[b, r, e]
            for e in range(change.size // 2):
                out[s, r, 2 * e] = recorded[s, 2 * e] * change[2 * e] - recorded[s, 2 * e + 1] * change[2 * e + 1]
                out[s, r, 2 * e + 1] = recorded[s, 2 * e] * change[2 * e + 1] + recorded[s, 2 * e + 1] * change[2 * e]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _accumulate(weights: FloatArray, table: FloatArray, out: FloatArray) -> None:  # pragma: no cover - compiled
    for s in range(len(weights)):
        for k in range(len(table)):
            if weights[s, k] != 0.0:
                for e in range(table.shape[1]):
                    out[s, e] += weights[s, k] * table[k, e]


@dataclass(frozen=True)
class Refinement:
    """What residuals of pure pixels tell of the spectra of their phases.

    Parameters
    ----------
    spectra
        With the change that they tell.
    covariance
        Of the parts of all phases at low frequencies, in units of a spectrum of one electron, shape (3, R, 3, R).
    noise
        Noise of the parts, summed over all channels, in the same units, shape (3, R, 3, R).
    """

    spectra: PhaseSpectra
    covariance: FloatArray
    noise: FloatArray


def refine_spectra(
    model: MixtureModel,
    parameters: FloatArray,
    counts: FloatArray,
    members: NDArray[np.int_],
    *,
    variance: FloatArray,
) -> Refinement:
    """Bring the spectra of the phases closer to the pure pixels that they stand for.

    Parameters
    ----------
    model
        With the spectra as known so far.
    parameters
        Fitted to the pure pixels, shape (S, P).
    counts
        Of the pure pixels, shape (S, E).
    members
        The phase of each pure pixel, shape (S,).
    variance
        Sum of the variances of all channels of each pixel, shape (S,).

    Returns
    -------
    refinement
        The spectra, and how well they are known.

    Notes
    -----
    One step of maximum likelihood with white noise, which is diagonal in frequency: the residual of a pixel is its
    expectation times the change of the single scattering. A normal prior (see :func:`_prior`) keeps what the pixels do
    not tell.
    """
    old, nothing = model.spectra, np.zeros(model.n_parameters, dtype=bool)
    n_parts, n_phases, size = old.parts.shape
    matrix = np.zeros((size, n_parts, n_phases, n_parts, n_phases))
    target = np.zeros((size, n_parts, n_phases), dtype=complex)
    power_of_one = np.zeros(size)
    electrons = np.maximum(counts.sum(axis=1), 1.0) ** 2 / variance
    for start in range(0, len(counts), 64):
        chosen = slice(start, start + 64)
        residual = fft.rfft(counts[chosen] - model.evaluate(parameters[chosen], nothing)[0], old.length)
        # Not of the recorded range alone: its end is an edge, whose high frequencies no zero loss has passed.
        signal = model.transform(parameters[chosen])
        thickness = parameters[chosen, model.amounts].sum(axis=1)
        factors = old.factors(thickness)[0] * thickness
        weighted = factors / variance[chosen]
        power, match = np.abs(signal) ** 2, np.conj(signal) * residual
        power_of_one += np.sum(power / (variance[chosen] * electrons[chosen])[:, np.newaxis], axis=0) / len(counts)
        for phase in np.unique(members[chosen]):
            own = members[chosen] == phase
            products = np.einsum("as,bs->sab", factors[:, own], weighted[:, own]).reshape(own.sum(), -1)
            matrix[:, :, phase, :, phase] += (power[own].T @ products).reshape(size, n_parts, n_parts)
            target[:, :, phase] += match[own].T @ weighted[:, own].T
    frequency = 2.0 * np.pi * fft.rfftfreq(old.length, model.scale)
    data = matrix.reshape(size, n_parts * n_phases, -1)
    inverse = np.linalg.inv(data + np.linalg.inv(_prior(frequency, n_phases)))
    change = (inverse @ target.reshape(size, -1, 1)).reshape(size, n_parts, n_phases)
    change *= _in_exponent(change, old, parameters[:, model.amounts].sum(axis=1), members)[:, np.newaxis]
    parts = old.parts + change.transpose(1, 2, 0)
    noise = np.einsum("l,lij->ij", power_of_one, inverse @ data @ inverse) * (model.energy.size / size)
    shape = (n_parts, n_phases, n_parts, n_phases)
    low = inverse[1 : max(2, size // 50)].mean(axis=0)
    return Refinement(replace(old, parts=parts / parts[:1, :, :1].real), low.reshape(shape), noise.reshape(shape))


def _in_exponent(
    change: NDArray[Any], spectra: PhaseSpectra, thickness: FloatArray, members: NDArray[np.int_]
) -> NDArray[Any]:
    """By what a change that was found for expectations is multiplied in the exponent, shape (L, R).

    Where the zero loss is not that of the model, what is missing at high frequencies is several times what is there.
    """
    out = np.ones((len(change), change.shape[2]), dtype=complex)
    for phase in np.unique(members):
        middle = np.array([np.median(thickness[members == phase])])
        total = change[:, :, phase] @ (spectra.factors(middle)[0][:, 0] * middle)
        large = np.abs(total) > 1e-6
        out[large, phase] = np.log1p(total[large]) / total[large]
    return out


def _prior(frequency: FloatArray, n_phases: int) -> FloatArray:
    """Covariance of the change of all parts of all phases at each frequency, shape (L, 3 R, 3 R).

    The dependence on thickness is that of the zero loss and the surfaces, much the same for all phases: what is their
    own in it is broad.
    """
    broad, narrow = (np.exp(-frequency * width)[:, np.newaxis, np.newaxis] ** 2 for width in (BROAD, NARROWEST))
    one, shared = np.eye(n_phases), np.ones((n_phases, n_phases))
    out = np.zeros((frequency.size, len(PRIOR), n_phases, len(PRIOR), n_phases))
    # What does not grow with thickness holds the zero loss itself, as narrow as it is; single scattering is broad.
    for part, (common, own) in enumerate(((0.0 * broad, narrow), (np.ones_like(broad), broad), (broad, broad))):
        out[:, part, :, part] = PRIOR[part] ** 2 * (common * shared + (own + 1e-4) * one)
    return out.reshape(frequency.size, len(PRIOR) * n_phases, -1)
