"""Core-loss spectra of given columns of material, as DualEELS records them beside the low loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.conditions import EELSConditions
from hyperspy_assb.simulation.eels import spectra
from hyperspy_assb.simulation.eels.detector import detector_transform, record, zero_loss_transform


@dataclass(frozen=True)
class Maximum:
    """
    A maximum of the fine structure.

    Attributes
    ----------
    energy, width
        eV; a Lorentzian of this full width at half maximum.
    area
        In eV, relative to the height of the continuum step.
    """

    energy: float
    width: float
    area: float


@dataclass(frozen=True)
class Edge:
    """
    An ionisation edge in one material.

    Attributes
    ----------
    step
        Onset of the continuum in eV, and its width.
    strength
        Probability per nm and eV just above the step.
    decay
        Exponent of the continuum.
    maxima
        Fine structure.
    """

    step: tuple[float, float]
    strength: float
    decay: float
    maxima: tuple[Maximum, ...]

    def at(self, energy: np.ndarray) -> np.ndarray:
        """Probability per nm and eV, ``(n,)``."""
        onset, width = self.step
        e = np.maximum(energy, 0.5 * onset)
        shape = (0.5 + np.arctan((e - onset) / (0.5 * width)) / np.pi) * (e / onset) ** -self.decay
        # Waves of the outgoing electron, scattered by neighbours.
        above = np.maximum(e - onset, 0.0)
        shape *= 1 + 0.12 * np.sin(3.4 * np.sqrt(0.2625 * above)) * np.exp(-above / 60)
        for m in self.maxima:
            half = 0.5 * m.width
            shape = shape + m.area * half / np.pi / ((e - m.energy) ** 2 + half**2)
        rise = 0.5 * (1 + np.tanh((e - min([onset, *(m.energy for m in self.maxima)]) + 4.0) / 1.2))
        return self.strength * shape * rise


def _maxima(*rows: tuple[float, float, float]) -> tuple[Maximum, ...]:
    return tuple(Maximum(*row) for row in rows)


# Formula units per nm^3 from the cells of the simulated crystals, times atoms, times 2.4e-9 nm^2/eV for O K, 1.3e-9 for
# the L2,3 of Fe and 2.0e-9 of V: hydrogenic cross-sections at the step within 15 mrad of 200 kV, by hand.
_O, _FE = 2.4e-9, 1.3e-9
_EDGES: dict[str, tuple[Edge, ...]] = {
    # O K of LiFePO4 has no pre-edge, that of FePO4 a strong one near 531 eV (Kinyanjui 2010); the L3 of Fe moves up by
    # 1.5 to 2 eV from Fe2+ to Fe3+, and the white lines gain by a d hole of five.
    "LiFePO4": (
        Edge((536.5, 2.2), 13.72 * 4 * _O, 3.1, _maxima((536.9, 2.6, 4.6), (541.0, 4.5, 6.5), (558.0, 14.0, 6.0))),
        Edge(
            (712.0, 4.0),
            13.72 * _FE,
            2.9,
            _maxima((708.3, 1.5, 9.0), (709.9, 2.4, 5.0), (720.9, 2.2, 3.0), (722.4, 3.0, 2.0)),
        ),
    ),
    "FePO4": (
        Edge(
            (536.8, 2.2),
            14.72 * 4 * _O,
            3.1,
            _maxima((530.9, 1.7, 2.3), (537.6, 2.8, 5.0), (541.6, 4.6, 6.3), (557.0, 14.0, 6.2)),
        ),
        Edge(
            (713.2, 4.0),
            14.72 * _FE,
            2.9,
            _maxima((708.6, 1.2, 3.2), (710.2, 1.8, 14.6), (722.3, 2.6, 4.1), (723.9, 3.0, 2.9)),
        ),
    ),
    "LAGP": (
        Edge((535.6, 2.0), 4.92 * 12 * _O, 3.1, _maxima((537.8, 3.2, 7.0), (543.9, 5.0, 4.0), (561.0, 15.0, 7.0))),
    ),
    "amorphous_LAGP": (
        Edge((535.6, 2.6), 4.60 * 12 * _O, 3.1, _maxima((538.0, 4.4, 7.5), (544.5, 7.0, 3.5), (561.0, 18.0, 5.5))),
    ),
    "carbon": (),
}
_BACKGROUND = {"LiFePO4": (3.05, 1.0), "FePO4": (2.95, 1.05), "LAGP": (3.2, 0.95), "amorphous_LAGP": (3.18, 0.88)}
"""Exponent of what lies under the edges, and its strength: the tails of the shallow edges, P L2,3 above all."""
_CARBON = (3.5, 0.35)
_UNDER = 1.4e-7
"""Probability per nm and eV at 500 eV."""


def core_loss_conditions(conditions: EELSConditions | None = None) -> EELSConditions:
    """
    Return the conditions of the core-loss half of a DualEELS pair: 470 to 810 eV, channels as wide as in the low loss.

    Parameters
    ----------
    conditions
        Of the low-loss half.

    Returns
    -------
    EELSConditions
        The same instrument.

    Examples
    --------
    >>> energy = core_loss_conditions().energy
    >>> energy[[0, -1]].round(1)
    array([470. , 809.8])
    """
    conditions = conditions or EELSConditions()
    n_channels = round(340 / conditions.dispersion)
    return replace(conditions, offset=470.0, n_channels=n_channels)


def simulate_core_loss(
    columns: Mapping[str, np.ndarray],
    conditions: EELSConditions | None = None,
    rng: np.random.Generator | int | None = None,
    *,
    dose: float | np.ndarray = 2e8,
    zero_loss_shift: float | np.ndarray = 0.0,
    noise: bool = True,
) -> np.ndarray:
    """
    Simulate core-loss spectra of columns of the olivines, LAGP and carbon: O K and the L2,3 edge of Fe.

    Parameters
    ----------
    columns
        Thickness in nm of each material, as for ``simulate_spectra``.
    conditions
        Of the core loss, see :func:`core_loss_conditions`.
    rng
        Source of noise, or a seed.
    dose
        Electrons that are collected at all losses during the exposure of the core loss.
    zero_loss_shift
        Shift of the energies in eV, the same as in the low loss of the pixel.
    noise
        Whether to draw counts; if not, the expectation is returned.

    Returns
    -------
    numpy.ndarray
        ``(..., n_channels)``, as of ``simulate_spectra``.

    Raises
    ------
    ValueError
        If a material has no edges here.

    Notes
    -----
    One core scattering and any number of others: the sum of the edges and of what lies under them, convolved with the
    low loss of the column. Shapes are inventions within what is known of these edges.

    Examples
    --------
    >>> simulate_core_loss({"LiFePO4": [60.0, 0.0], "FePO4": [0.0, 60.0]}, rng=1).shape
    (2, 1700)
    """
    conditions = conditions or core_loss_conditions()
    if unknown := set(columns) - set(_EDGES):
        raise AssbValueError(f"no core-loss edges are known of {sorted(unknown)}; there are {', '.join(_EDGES)}")
    rng = np.random.default_rng(rng)
    names, thickness, shape = spectra._stack(columns)
    dose = np.broadcast_to(np.asarray(dose, dtype=float), shape).ravel()
    shift = np.broadcast_to(np.asarray(zero_loss_shift, dtype=float), shape).ravel()
    step, _, oversampling, length = spectra._grid(conditions)
    table = spectra._table_of(names, replace(conditions, n_channels=1))
    frequency = 2 * np.pi * fft.rfftfreq(length, step)
    instrument = (
        zero_loss_transform(frequency, conditions.energy_resolution)
        * detector_transform(frequency, conditions.dispersion, conditions.detector)
        * np.sinc(frequency * conditions.dispersion / (2 * np.pi))
        * oversampling
        * np.exp(1j * frequency * conditions.offset)
    )
    energy = np.arange(round((conditions.energy[-1] + 5) / step)) * step
    core = np.array([_core(name, energy) for name in names]) * step
    low = energy < table.energy[-1]
    scattering = np.concatenate([table.bulk, table.surface.reshape(-1, len(table.energy))]) * step
    scattering = scattering[:, : int(low.sum()) + 1]
    weights = np.concatenate([thickness, spectra._coefficients(thickness)], axis=1)
    out = np.empty((len(thickness), conditions.n_channels), dtype=np.float32 if noise else float)
    for begin in range(0, len(thickness), 64):
        part = slice(begin, begin + 64)
        single = weights[part] @ scattering
        exponent = fft.rfft(single, length) - single.sum(axis=1, keepdims=True) - 1j * shift[part, None] * frequency
        spectrum = np.exp(exponent) * fft.rfft(thickness[part] @ core, length)
        spectrum *= dose[part, None] * instrument
        expected = fft.irfft(spectrum, length)[:, : oversampling * conditions.n_channels : oversampling]
        detector = conditions.detector
        out[part] = record(expected, detector, rng) if noise else expected * detector.gain + detector.dark_offset
    return out.reshape(*shape, conditions.n_channels)


def _core(name: str, energy: np.ndarray) -> np.ndarray:
    """Probability of a core loss per nm and eV, ``(n,)``."""
    exponent, strength = _BACKGROUND.get(name, _CARBON)
    under = _UNDER * strength * (np.maximum(energy, 150.0) / 500.0) ** -exponent * (energy > 150.0)
    return under + sum((edge.at(energy) for edge in _EDGES.get(name, ())), start=np.zeros_like(energy))
