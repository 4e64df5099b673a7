"""EELS spectra of given columns of material."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.conditions import Beam, EELSConditions
from hyperspy_assb.simulation.eels.detector import detector_transform, record, zero_loss_transform
from hyperspy_assb.simulation.eels.dielectric import Phase, computed_phase, known_phases, phase, phase_names
from hyperspy_assb.simulation.eels.slab import bulk_probability, surface_table

# Thicknesses (nm) at which the surface terms are tabulated; they vary smoothly between and nearly linearly beyond.
_SURFACE_THICKNESS = np.array([0.0, 2, 5, 10, 15, 20, 30, 45, 60, 80, 100, 130, 160, 200, 260, 340, 500])
# Surface and retardation losses fade out here (eV): above, eps is nearly 1.
_SURFACE_END = (70.0, 85.0)


@dataclass(frozen=True)
class ScatteringTable:
    """
    Single scattering of every phase, linear in what a column holds.

    Attributes
    ----------
    energy
        Energy losses in eV, uniform from 0, ``(n,)``.
    bulk
        Probability per eV and nm, ``(phases, n)``.
    surface
        Probability per eV that surfaces and retardation add to a slab, ``(phases, thicknesses, n)``.
    bulk_total, surface_total
        The same integrated over all losses up to 3277 eV: ``(phases,)`` in 1/nm and ``(phases, thicknesses)``.
    """

    energy: np.ndarray
    bulk: np.ndarray
    surface: np.ndarray
    bulk_total: np.ndarray
    surface_total: np.ndarray


@lru_cache(maxsize=8)
def scattering_table(
    names: tuple[str, ...], beam: Beam, step: float, top: float, hubbard_u: float | None = None
) -> ScatteringTable:
    """
    Tabulate the single scattering of some phases.

    Parameters
    ----------
    names
        Of the phases.
    beam
        Beam and angles.
    step
        Energy step in eV.
    top
        Largest energy loss in eV.
    hubbard_u
        U of computed optics in eV; None for oscillators.

    Returns
    -------
    ScatteringTable
        Cached: it does not depend on the specimen.
    """
    energy = np.arange(int(np.ceil(top / step)) + 1) * step
    coarse = np.concatenate([np.arange(0.1, 12, 0.1), np.arange(12, 40, 0.25), np.arange(40, 85.5, 1.0)])
    fade = np.clip((_SURFACE_END[1] - coarse) / (_SURFACE_END[1] - _SURFACE_END[0]), 0, 1)
    bulk, surface, bulk_total, surface_total = [], [], [], []
    for name in names:
        p = _optics_of(name, hubbard_u)
        full = np.zeros_like(p.energy)
        full[1:] = bulk_probability(p.energy[1:], p.loss_function[1:], beam)
        table = np.zeros((len(_SURFACE_THICKNESS), len(coarse)))
        table[1:] = surface_table(coarse, p.at(coarse), _SURFACE_THICKNESS[1:], beam) * fade
        bulk.append(np.interp(energy, p.energy, full))
        surface.append([np.interp(energy, np.r_[0, coarse], np.r_[0, row], right=0) for row in table])
        # Totals on the grid of the table where it reaches, so that they agree with it to rounding.
        beyond = p.energy > energy[-1] + step / 2
        bulk_total.append(bulk[-1].sum() * step + full[beyond].sum() * (p.energy[1] - p.energy[0]))
        surface_total.append(np.sum(surface[-1], axis=1) * step)
    return ScatteringTable(energy, np.array(bulk), np.array(surface), np.array(bulk_total), np.array(surface_total))


def _optics_of(name: str, hubbard_u: float | None) -> Phase:
    return phase(name) if hubbard_u is None else computed_phase(name, hubbard_u)


def _table_of(names: tuple[str, ...], conditions: EELSConditions) -> ScatteringTable:
    """The table that some conditions need."""
    hubbard_u = conditions.hubbard_u if conditions.optics == "computed" else None
    return scattering_table(names, conditions.beam, *_grid(conditions)[:2], hubbard_u)


def _surface_weights(total: np.ndarray) -> np.ndarray:
    """Weights of linear interpolation in thickness, ``(pixels, thicknesses)``; extrapolates above the last one."""
    grid = _SURFACE_THICKNESS
    i = np.clip(np.searchsorted(grid, total, side="right") - 1, 0, len(grid) - 2)
    w = (total - grid[i]) / (grid[i + 1] - grid[i])
    weights = np.zeros((len(total), len(grid)))
    rows = np.arange(len(total))
    weights[rows, i] = 1 - w
    weights[rows, i + 1] = w
    return weights


def _stack(columns: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], np.ndarray, tuple[int, ...]]:
    """Phases, thicknesses as ``(pixels, phases)``, and the shape of the pixels."""
    unknown = set(columns) - set(known_phases())
    if unknown:
        raise AssbValueError(f"unknown phases {sorted(unknown)}; known are {', '.join(known_phases())}")
    # All of the battery: its tables serve every specimen of it.
    names = (*phase_names(), *(name for name in known_phases() if name in columns and name not in phase_names()))
    arrays = np.broadcast_arrays(*[np.asarray(columns.get(name, 0.0), dtype=float) for name in names])
    stacked = np.stack(arrays, axis=-1)
    if not np.all(stacked >= 0):
        raise AssbValueError("thicknesses must be numbers not below 0, in nm")
    return names, stacked.reshape(-1, stacked.shape[-1]), stacked.shape[:-1]


def _coefficients(thickness: np.ndarray) -> np.ndarray:
    """Weights of the surface tables, ``(pixels, phases * thicknesses)``: shares by volume, total thickness."""
    total = thickness.sum(axis=1)
    share = np.divide(thickness, total[:, None], out=np.zeros_like(thickness), where=total[:, None] > 0)
    return (share[:, :, None] * _surface_weights(total)[:, None, :]).reshape(len(thickness), -1)


def relative_thickness(columns: Mapping[str, np.ndarray], conditions: EELSConditions | None = None) -> np.ndarray:
    """
    Mean number of inelastic events in columns of material.

    Parameters
    ----------
    columns
        Thickness in nm of each phase, see :func:`simulate_spectra`.
    conditions
        Conditions; only the beam and the energy range matter.

    Returns
    -------
    numpy.ndarray
        t/lambda, surface and retardation losses included, with the shape of the columns.

    Examples
    --------
    >>> import numpy as np
    >>> relative_thickness({"LiFePO4": np.array([50.0, 100.0])}).round(2)
    array([0.36, 0.72])
    """
    conditions = conditions or EELSConditions()
    names, thickness, shape = _stack(columns)
    table = _table_of(names, conditions)
    return (thickness @ table.bulk_total + _coefficients(thickness) @ table.surface_total.ravel()).reshape(shape)


def mean_free_path(name: str, beam: Beam | None = None) -> float:
    """
    Inelastic mean free path in the bulk of a phase.

    Parameters
    ----------
    name
        Phase.
    beam
        Beam and angles.

    Returns
    -------
    float
        nm; without surface and retardation losses.

    Examples
    --------
    >>> from hyperspy_assb.simulation import Beam
    >>> round(mean_free_path("LiFePO4", Beam()))
    143
    """
    p = phase(name)
    probability = bulk_probability(p.energy[1:], p.loss_function[1:], beam or Beam())
    return 1 / float(probability.sum() * (p.energy[1] - p.energy[0]))


def _grid(conditions: EELSConditions) -> tuple[float, float, int, int]:
    """Fine energy step, largest loss, samples for a channel, and length of the periodic grid."""
    finest = min(0.1, conditions.energy_resolution / 6)
    oversampling = max(1, int(np.ceil(conditions.dispersion / finest - 1e-9)))
    step = conditions.dispersion / oversampling
    top = max(conditions.energy[-1] + 10, 60.0)
    # Twice the range: double scattering beyond the record must not come back at its beginning.
    period = 2 * top + max(0.0, -conditions.offset) + 60
    return step, top, oversampling, fft.next_fast_len(int(np.ceil(period / step)), real=True)


def simulate_spectra(
    columns: Mapping[str, np.ndarray],
    conditions: EELSConditions | None = None,
    rng: np.random.Generator | int | None = None,
    *,
    dose: float | np.ndarray = 1e6,
    zero_loss_shift: float | np.ndarray | None = None,
    noise: bool = True,
) -> np.ndarray:
    """
    Simulate low-loss EELS spectra of columns of material.

    Parameters
    ----------
    columns
        Thickness in nm of each phase that the beam crosses, any shapes that broadcast; the keys are among "LiFePO4",
        "FePO4", "LAGP", "amorphous_LAGP" and "carbon", and other electrodes: "LiCoO2", "CoO2", "NMC811",
        "delithiated NMC811", "Na3V2(PO4)3" and "NaV2(PO4)3". An empty column (all 0) is vacuum.
    conditions
        Microscope, spectrometer and detector.
    rng
        Source of noise and jitter, or a seed.
    dose
        Expected electrons in the spectrum, zero loss and all losses included; a scalar or the shape of the columns.
        What lies beyond the last channel is lost from the record.
    zero_loss_shift
        Position of the zero-loss maximum in eV. By default it is drawn from the jitter of the conditions if there is
        noise, and is 0 if there is none.
    noise
        Whether to draw counts; if not, the expectation is returned.

    Returns
    -------
    numpy.ndarray
        ``(..., n_channels)``: counts as float32, or expected counts as float64 (gain and dark offset applied), on the
        energies ``conditions.energy``.

    Notes
    -----
    Bulk losses add by thickness. The surface terms (``slab.surface_table``) are those of pure slabs of the total
    thickness, averaged by volume. Plural scattering is the Fourier exponential of the single scattering; zero loss,
    shift, detector spread and integration over the channel multiply it in Fourier space, so that no counts are
    ever interpolated.

    Examples
    --------
    >>> from hyperspy_assb.simulation import simulate_spectra
    >>> counts = simulate_spectra({"LiFePO4": 60.0, "carbon": [0.0, 3.0]}, rng=1, dose=2.7e5)
    >>> counts.shape
    (2, 1024)
    """
    conditions = conditions or EELSConditions()
    rng = np.random.default_rng(rng)
    names, thickness, shape = _stack(columns)
    n = len(thickness)
    dose = np.broadcast_to(np.asarray(dose, dtype=float), shape).ravel()
    if zero_loss_shift is None:
        zero_loss_shift = rng.normal(0, conditions.zero_loss_jitter, shape) if noise else 0.0
    shift = np.broadcast_to(np.asarray(zero_loss_shift, dtype=float), shape).ravel()

    step, _, oversampling, length = _grid(conditions)
    table = _table_of(names, conditions)
    frequency = 2 * np.pi * fft.rfftfreq(length, step)
    instrument = (
        zero_loss_transform(frequency, conditions.energy_resolution)
        * detector_transform(frequency, conditions.dispersion, conditions.detector)
        * np.sinc(frequency * conditions.dispersion / (2 * np.pi))
        * oversampling  # samples are densities times the step; a channel is wider
        * np.exp(-1j * frequency * -conditions.offset)  # the first sample becomes the first channel
    )
    coefficients = _coefficients(thickness)
    # Single scattering is linear in the column: transform the tables once, then mix transforms.
    tables = np.concatenate([table.bulk, table.surface.reshape(-1, len(table.energy))]) * step
    weights = np.concatenate([thickness, coefficients], axis=1)
    relative = weights @ np.concatenate([table.bulk_total, table.surface_total.ravel()])
    out = np.empty((n, conditions.n_channels), dtype=np.float32 if noise else float)
    detector = conditions.detector
    for begin in range(0, n, 256):
        part = slice(begin, begin + 256)
        exponent = fft.rfft(weights[part] @ tables, length)
        exponent -= relative[part, None]
        exponent -= 1j * shift[part, None] * frequency
        spectrum = np.exp(exponent)
        spectrum *= dose[part, None] * instrument
        expected = fft.irfft(spectrum, length)[:, : oversampling * conditions.n_channels : oversampling]
        out[part] = record(expected, detector, rng) if noise else expected * detector.gain + detector.dark_offset
    return out.reshape(*shape, conditions.n_channels)
