"""What a material that was not measured would add to the linear parameters of the joint fit: a rough guess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Material
from hyperspy_assb.reference.materials import materials

LIKELY_ROLES, LIKELY = ("electrolyte", "additive"), 4.0
"""Roles of what lies beside an electrode, and the logarithm of the odds by which it is expected before others. The odds
and the uncertainties below were set with simulated maps in view."""
UNCERTAINTY_OF_VALENCE, UNCERTAINTY_OF_EDGES = (0.35, 0.05), (0.2, 0.1)
"""Relative uncertainty of the parameters of a guess, and one of the largest of their kind. What the nodes of the
continuum miss at high losses is in the edges there."""


@dataclass(frozen=True)
class MaterialGuess:
    """A material as it may show in the joint fit.

    Parameters
    ----------
    name
        Of the table of materials.
    parameters, variance
        Linear parameters per t/lambda, and their variances, shape (K,) each.
    prior
        Logarithm of the odds by which it is expected.
    """

    name: str
    parameters: FloatArray
    variance: FloatArray
    prior: float


def guess_materials(standard: Standard, thickness: float) -> list[MaterialGuess]:
    """What every material of the table that is not among the phases may add, in a column of some t/lambda."""
    phases = standard.calibration.per_thickness(np.array([thickness]))[0]
    edges = _edges(standard)
    found = []
    for name, material in materials.items():
        if name in standard.spectra.phases:
            continue
        guess = _expected_parameters(standard, material, phases)
        if not guess.any():
            continue
        error = np.zeros_like(guess)
        for kind, (own, largest) in ((edges, UNCERTAINTY_OF_EDGES), (~edges, UNCERTAINTY_OF_VALENCE)):
            error[kind] = own * np.abs(guess[kind]) + largest * np.max(np.abs([guess, phases[0]]), axis=0)[kind].max()
        found.append(MaterialGuess(name, guess, error**2, LIKELY * (material.role in LIKELY_ROLES)))
    return found


def _edges(standard: Standard) -> NDArray[np.bool_]:
    """Which parameters of the joint fit are edges, shape (K,)."""
    return np.array(["_" in name for name in standard.names])


def _expected_parameters(standard: Standard, material: Material, phases: FloatArray) -> FloatArray:
    """Linear parameters of the joint fit that a material would have per t/lambda, shape (K,).

    Its valence electrons scatter as those of the lithiated end member, on an energy scale that is stretched by the
    ratio of the free-electron plasmon energies; its edges are those of the phases, shape (R, K), atom for atom.
    """
    host = materials[standard.electrode.lithiated]
    out = np.zeros(len(standard.names))
    own = _plasmon_energy(material)
    if own is None:
        return out
    stretch = own / host.free_electron_plasmon_energy
    loss = standard.dispersion * np.arange(standard.fitted_channels)
    continuum = np.array([name.startswith("ValenceContinuum") for name in standard.names])
    columns = fft.irfft(standard.columns, standard.spectra.length)[continuum, : loss.size]
    stretched = np.interp(loss / stretch, loss, phases[0, continuum] @ columns) / stretch
    out[continuum] = np.linalg.lstsq(columns.T, stretched, rcond=1e-6)[0]
    for k in np.flatnonzero(_edges(standard)):
        symbol = standard.names[k].split("_")[0]
        for phase, parameters in zip(standard.calibration.phases, phases, strict=True):
            known = materials.get(phase)
            if known is not None and (atoms := known.composition.get(symbol, 0.0)):
                share = material.composition.get(symbol, 0.0) / material.valence_electrons
                out[k] = parameters[k] / (atoms / known.valence_electrons) * share
                break
    return out


def _plasmon_energy(material: Material) -> float | None:
    """Of free electrons, in eV; of what has neither density nor cell, that of a material of the same atoms."""
    for alike in (material, *(m for m in materials.values() if m.composition == material.composition)):
        try:
            return alike.free_electron_plasmon_energy
        except ValueError:
            continue
    return None
