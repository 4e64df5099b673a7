"""Dielectric functions of the virtual phases: causal, and with the right number of electrons."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from scipy import fft

from hyperspy_assb import reference

# Square of the plasmon energy of one electron per cubic nanometre, eV^2 nm^3 (CODATA 2018).
PLASMON_ENERGY_SQUARED = 1.378854

# Crystals whose valence losses are computed from first principles, for phases of the battery: LAGP by its parent.
COMPUTED = {"LiFePO4": "LiFePO4", "FePO4": "FePO4", "LAGP": "LiGe2(PO4)3"}
# Computed losses give way to the shells of atoms here (eV).
_COMPUTED_END = (76.0, 1.0)

# Grid on which the dielectric functions are built: 0 to 3277 eV, so that the K edges of C and O lose nothing.
GRID_STEP = 0.05
GRID_SIZE = 65536


@dataclass(frozen=True)
class Phase:
    """
    A material of the virtual battery, or another electrode.

    Attributes
    ----------
    name
        Key in the truth maps.
    volume
        Volume of a formula unit in nm^3.
    atoms
        Atoms of each element in a formula unit.
    valence
        Valence electrons in a formula unit.
    electrons
        Electrons in a formula unit whose transitions are in the dielectric function (up to 3277 eV).
    bands
        Rows of energy (eV), width (eV), gap (eV) and oscillator strength (per formula unit).
    energy
        Energies in eV, ``(GRID_SIZE,)``, from 0.
    eps
        Relative permittivity at these energies; the imaginary part is positive.
    """

    name: str
    volume: float
    atoms: dict[str, float]
    valence: float
    electrons: float
    bands: np.ndarray
    energy: np.ndarray
    eps: np.ndarray

    @property
    def loss_function(self) -> np.ndarray:
        """Im(-1/eps), ``(GRID_SIZE,)``."""
        return -(1 / self.eps).imag

    def at(self, energy: np.ndarray) -> np.ndarray:
        """
        Permittivity at other energies.

        Parameters
        ----------
        energy
            Energies in eV, between 0 and 3276.

        Returns
        -------
        numpy.ndarray
            Complex permittivity, linearly interpolated.
        """
        return np.interp(energy, self.energy, self.eps.real) + 1j * np.interp(energy, self.energy, self.eps.imag)


@cache
def _tables() -> tuple[dict, dict, tuple[str, ...]]:
    folder = resources.files("hyperspy_assb.simulation") / "data"
    battery, others, shells = (
        tomllib.loads((folder / f"{name}.toml").read_text("utf-8")) for name in ("phases", "electrodes", "shells")
    )
    return battery | others, shells, tuple(battery)


def phase_names() -> tuple[str, ...]:
    """Names of the phases of the battery, in the order in which arrays of phases are stacked."""
    return _tables()[2]


def known_phases() -> tuple[str, ...]:
    """Names of all phases: those of the battery, and other electrode materials."""
    return tuple(_tables()[0])


def _logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def _absorption_of_shell(energy: np.ndarray, shell: dict) -> np.ndarray:
    """Oscillator strength per eV and atom of a shell."""
    log_e, log_f = np.log(shell["energy"]), np.log(shell["f2"])
    x = np.log(energy)
    f2 = np.interp(x, log_e, log_f)
    # Power laws outside; above the table never flatter than E^-1, or the sum rule would not converge.
    last = min((log_f[-1] - log_f[-2]) / (log_e[-1] - log_e[-2]), -1.0)
    first = (log_f[1] - log_f[0]) / (log_e[1] - log_e[0])
    f2 = np.exp(f2 + last * np.maximum(x - log_e[-1], 0) + first * np.minimum(x - log_e[0], 0))
    factor = np.ones_like(energy)
    for centre, width, amplitude, q in shell.get("fano", ()):
        e = (energy - centre) / width
        factor += amplitude / (1 + q**2) * ((q + e) ** 2 / (1 + e**2) - 1)
    strength = 2 / np.pi * f2 / energy * np.maximum(factor, 0)
    for centre, width, f in shell.get("resonance", ()):
        strength += 2 / np.pi * f * width * energy**2 / ((energy**2 - centre**2) ** 2 + (width * energy) ** 2)
    # A threshold logistic in log(energy): a power law below it, so that nothing is left at zero energy.
    return strength * _logistic(shell["onset"] / shell["step"] * (x - np.log(shell["onset"])))


def _absorption_of_band(energy: np.ndarray, centre: float, width: float, gap: float) -> np.ndarray:
    """Oscillator strength per eV of a Lorentz oscillator above a Tauc gap, of total strength 1."""
    strength = width * energy**2 / ((energy**2 - centre**2) ** 2 + (width * energy) ** 2)
    strength *= np.where(energy > gap, (energy - gap) / energy, 0) ** 2
    # Localised orbitals: beyond several widths absorption falls faster than a Lorentzian.
    strength /= 1 + (energy / (centre + 3 * width)) ** 3
    return strength / (strength.sum() * GRID_STEP)


def kramers_kronig(eps_imag: np.ndarray) -> np.ndarray:
    """
    Real part of a permittivity from its imaginary part.

    Parameters
    ----------
    eps_imag
        Im eps on a uniform energy grid that begins at 0, last axis; odd in energy.

    Returns
    -------
    numpy.ndarray
        Re eps on the same grid. It is the discrete Hilbert transform of the odd extension, padded to four times
        its length.
    """
    n = 4 * eps_imag.shape[-1]
    # The response in time, which is twice the sine transform at positive times and zero before.
    response = -2 * fft.rfft(eps_imag, 2 * n).imag
    response[..., [0, -1]] = 0
    return 1 + fft.irfft(response, 2 * n)[..., : eps_imag.shape[-1]]


@cache
def phase(name: str) -> Phase:
    """
    Build a phase.

    Parameters
    ----------
    name
        One of :func:`known_phases`.

    Returns
    -------
    Phase
        With its permittivity. The imaginary part is a sum of gapped oscillators and of shells of atoms whose total
        strength is the number of electrons; the real part follows by Kramers-Kronig.
    """
    phases, shells, _ = _tables()
    row = phases[name]
    energy = np.arange(GRID_SIZE) * GRID_STEP
    e = energy[1:]
    strength = np.zeros(GRID_SIZE)
    in_valence_shells = 0.0
    for shell, number in row["shells"].items():
        part = number * _absorption_of_shell(e, shells[shell])
        strength[1:] += part
        if shell.endswith(("_valence", "_3d")):
            in_valence_shells += part.sum() * GRID_STEP
    bands = np.array(row["band"], dtype=float)
    shared = bands[:, 3] < 0
    left = row["valence"] - in_valence_shells - bands[~shared, 3].sum()
    bands[shared, 3] *= left / bands[shared, 3].sum()
    for centre, width, gap, f in bands:
        strength[1:] += f * _absorption_of_band(e, centre, width, gap)
    return _phase_of(name, row, bands, strength)


@cache
def computed_phase(name: str, hubbard_u: float) -> Phase:
    """
    Build a phase whose valence losses are computed from first principles.

    Parameters
    ----------
    name
        One of :func:`known_phases`.
    hubbard_u
        U on Fe 3d in eV.

    Returns
    -------
    Phase
        As :func:`phase`, which it is where nothing was computed. Up to 76 eV the valence electrons are those of the
        crystal, mean of the directions; beyond, those of the atoms, with the strength that is then left. Inner shells
        are those of the atoms.
    """
    if name not in COMPUTED:
        return phase(name)
    phases, shells, _ = _tables()
    row = phases[name]
    crystal = COMPUTED[name]
    optics = reference.computed_optics(crystal, hubbard_u=hubbard_u if "Fe" in crystal else 0.0)
    energy = np.arange(GRID_SIZE) * GRID_STEP
    e = energy[1:]
    eps_imag = np.interp(e, optics.energy, optics.permittivity.imag.mean(axis=0), right=0.0)
    formula = optics.volume * 1e-3 * row["valence"] / optics.electrons
    valence = 2 / np.pi * formula / PLASMON_ENERGY_SQUARED * eps_imag * e
    strength, tail = np.zeros(GRID_SIZE), np.zeros(GRID_SIZE - 1)
    for shell, number in row["shells"].items():
        part = number * _absorption_of_shell(e, shells[shell])
        if shell.endswith(("_valence", "_3d")):
            tail += part
        else:
            strength[1:] += part
    beyond = _logistic((e - _COMPUTED_END[0]) / _COMPUTED_END[1])
    valence *= 1 - beyond
    tail *= beyond
    left = row["valence"] - valence.sum() * GRID_STEP
    strength[1:] += valence + tail * left / (tail.sum() * GRID_STEP)
    return _phase_of(name, row, np.empty((0, 4)), strength)


def _phase_of(name: str, row: dict, bands: np.ndarray, strength: np.ndarray) -> Phase:
    """A phase by its oscillator strength per eV and formula unit, ``(GRID_SIZE,)``."""
    energy = np.arange(GRID_SIZE) * GRID_STEP
    plasmon_squared = PLASMON_ENERGY_SQUARED / row["volume"]
    eps_imag = np.zeros(GRID_SIZE)
    eps_imag[1:] = np.pi / 2 * plasmon_squared * strength[1:] / energy[1:]
    eps = kramers_kronig(eps_imag) + 1j * eps_imag
    for array in (energy, eps, bands):
        array.flags.writeable = False
    return Phase(
        name=name,
        volume=row["volume"],
        atoms=dict(row["atoms"]),
        valence=row["valence"],
        electrons=float(strength.sum() * GRID_STEP),
        bands=bands,
        energy=energy,
        eps=eps,
    )
