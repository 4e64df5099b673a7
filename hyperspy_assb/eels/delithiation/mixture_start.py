"""Where the fit of a spectrum as a column of phases starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from hyperspy_assb.eels.delithiation.mixture import MixtureModel
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.eels.lineshapes import ZERO_LOSS_PEAK
from hyperspy_assb.eels.zero_loss.peak_search import search
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.terms import Term

_SEARCH = (-25.0, 25.0)
_STRENGTH = 0.3
"""Share of the zero loss that is left at the highest frequency that is looked at."""
_FREQUENCIES = 48
_FWHM = 2.3548200450309493


def start_mixture(
    standard: Standard, counts: ArrayLike, energy: FloatArray, detector: Detector
) -> tuple[MixtureModel, FloatArray, NDArray[np.bool_]]:
    """The model of some spectra, the parameters to start from, and the spectra to leave out.

    Parameters
    ----------
    standard
        What is known of the phases.
    counts
        As recorded, shape (S, E).
    energy
        Centres of the channels in eV, shape (E,).
    detector
        Gain and read noise.

    Returns
    -------
    model, start, bad
        Starting values, shape (S, P); spectra that are not finite, hold nothing or have no zero loss, shape (S,).
    """
    counts = np.asarray(counts, dtype=float)
    bad = ~np.isfinite(counts).all(axis=1) | ~np.any(counts, axis=1)
    counts = np.where(bad[:, np.newaxis], 0.0, counts)
    first, last = np.searchsorted(energy, _SEARCH)
    peak, width = search(counts, int(first), int(last), detector.gain, detector.read_noise**2)
    bad |= peak < 0
    centre = energy[np.maximum(peak, 0)]
    fwhm = float(standard.zero_loss[2] if bad.all() else standard.dispersion * np.median(width[~bad]))
    before = energy < (0.0 if bad.all() else float(np.median(centre[~bad]))) - 10.0 * fwhm
    model = MixtureModel(Term(ZERO_LOSS_PEAK), energy, standard.spectra, dark_level=int(before.sum()) >= 8)
    start = np.zeros((len(counts), model.n_parameters))
    start[:, : standard.zero_loss.size] = standard.zero_loss
    if bad.all():
        return model, start, bad
    level = float(np.median(counts[~bad][:, before])) if model.dark_level else 0.0
    near = np.abs(energy - centre[:, np.newaxis]) < 1.5 * fwhm
    intensity = np.sum(np.where(near, counts - level, 0.0), axis=1)
    total = np.sum(counts - level, axis=1)
    bad |= (intensity <= 0.0) | (total <= 0.0)
    intensity, total = np.where(bad, 1.0, intensity), np.where(bad, 1.0, total)
    thickness = np.clip(np.log(total / intensity), 0.02, 3.0)
    start[:, 0], start[:, 1], start[:, 2] = intensity, centre, fwhm
    if model.dark_level:
        start[:, model.source.size] = level
    start[:, model.amounts] = thickness[:, np.newaxis] / len(standard.spectra.phases)
    good = np.flatnonzero(~bad)
    _solve_logarithm(model, start, counts - level, good, thickness)
    return model, start, bad


def _solve_logarithm(
    model: MixtureModel, start: FloatArray, counts: FloatArray, rows: NDArray[np.int_], thickness: FloatArray
) -> None:
    """Improve starting values: the logarithm of a spectrum over its zero loss is linear in all that is sought.

    Only low frequencies are looked at, where there is more signal than noise (Johnson and Spence, J. Phys. D 7, 771
    (1974)). The unknowns are the logarithm of the intensity, place and variance of the zero loss, and the amounts.
    """
    spectra, scale = model.spectra, model.scale
    own = model.source.size
    typical = np.median(start[rows, :own], axis=0)
    typical[0] = 1.0
    peak = fft.rfft(
        model.source.evaluate(model.energy, typical, np.empty((own, model.energy.size))) * scale, spectra.length
    )
    last = int(np.argmax(np.abs(peak) < _STRENGTH * np.abs(peak[0]))) or peak.size
    used = np.unique(np.linspace(0, last - 1, min(last, _FREQUENCIES)).astype(int))
    frequency = 2.0 * np.pi * fft.rfftfreq(spectra.length, scale)[used]
    recorded = fft.rfft(counts[rows].astype(np.float32), spectra.length)[:, used].astype(complex)
    shift = start[rows, 1] - typical[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.log(recorded / peak[used] * np.exp(1j * frequency * shift[:, np.newaxis]))
        weight = np.abs(recorded) / np.sqrt(np.abs(recorded[:, :1]))
    factors = spectra.factors(thickness[rows])[0]
    design = np.zeros((rows.size, 3 + len(spectra.phases), used.size), dtype=complex)
    design[:, 0], design[:, 1], design[:, 2] = 1.0, -1j * frequency, -0.5 * frequency**2
    design[:, 3:] = np.tensordot(factors, spectra.parts[:, :, used], axes=(0, 0))
    design *= weight[:, np.newaxis]
    # Real and imaginary parts are equations of their own.
    design, logarithm = design.view(float), np.ascontiguousarray(logarithm * weight).view(float)
    matrix = design @ design.transpose(0, 2, 1)
    target = np.einsum("sal,sl->sa", design, logarithm)
    size = np.sqrt(np.maximum(np.einsum("saa->sa", matrix), 1e-300))
    matrix = matrix / size[:, :, np.newaxis] / size[:, np.newaxis] + 1e-6 * np.eye(size.shape[1])
    solution = np.linalg.solve(matrix, (target / size)[:, :, np.newaxis])[:, :, 0] / size
    good = np.isfinite(solution).all(axis=1) & (np.abs(solution[:, 1]) < 2.0 * typical[2])
    good &= np.abs(solution[:, 3:].sum(axis=1) - thickness[rows]) < 0.5
    found, chosen = solution[good], rows[good]
    start[chosen, 0] = np.exp(found[:, 0])
    start[chosen, 1] += found[:, 1]
    usual = (typical[2] / _FWHM) ** 2
    start[chosen, 2] = _FWHM * np.sqrt(np.clip(usual + found[:, 2], 0.5 * usual, 2.0 * usual))
    start[np.ix_(chosen, np.arange(model.n_parameters)[model.amounts])] = found[:, 3:]
