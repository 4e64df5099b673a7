"""Names of materials whose spectra stand alone: by the atoms that their edges count, and the 5 eV band."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.cross_section_calibration import inelastic_mean_free_path
from hyperspy_assb.eels.delithiation.end_members import SIGNATURE_NAMES, end_members
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry
from hyperspy_assb.eels.edges.edge_terms import EDGES, edge_name
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.microscope import usable_microscope
from hyperspy_assb.eels.scattering.joint_model import Features, fit_joint, start_joint_fit
from hyperspy_assb.eels.scattering.low_loss_components import BAND_ELEMENT, NOMINAL, LowLossOptions
from hyperspy_assb.errors import AssbWarning
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode, Material

THERE, ABSENT = 0.5, 0.35
"""Atoms per t/lambda over those of a material, from which an element is there and up to which it is not: half of them,
less what an overlapping edge imitates. Cross-sections are off by 15 to 30 %, the mean free path by 20 %."""
HOST_THERE, HOST_ABSENT = 0.3, 0.15
"""The same of the host's metal, under whose edge lies Li K: the fit gives a part of the one to the other, up to half of
the metal in the lithiated end member."""
FULL, EMPTY = 0.35, 0.15
"""The same of the ion, in its end members: between them lies what is of neither, such as a solid solution. Li K rides
on the edge of the host, which takes a part of it for its own."""
BAND = 0.01
"""Share of the 5 eV band in t/lambda from which it is there: tails of the zero loss imitate less."""
PI_BAND = 0.02
"""Share of the pi band of carbon in t/lambda; carbon has 2 to 6 % between 4 and 7 eV alone (bands.toml)."""
SURE = 3.0
"""Standard errors by which the noise must leave a value on its side of a limit."""


@dataclass(frozen=True)
class _Atoms:
    """Atoms per t/lambda over those of a material, by element, and the bands; values and standard errors."""

    per_thickness: dict[str, tuple[float, float]]

    def over(self, name: str, expected: float) -> tuple[float, float]:
        value, std = self.per_thickness.get(name, (np.nan, np.nan))
        if not expected > 0.0:  # neither density nor cell is known
            return np.nan, np.nan
        return value / expected, std / expected


def name_corners(
    spectra: LowLossMap,
    counts: NDArray[np.generic],
    centre: FloatArray,
    groups: Sequence[NDArray[np.intp]],
    electrode: Electrode,
    materials: Sequence[str],
) -> list[tuple[str, str]]:
    """Name of the material of each group of pixels, empty where none fits; and what it was named by.

    Parameters
    ----------
    spectra
        The map, for its axis and microscope.
    counts, centre
        Shape (S, E), and position of the zero loss in eV, shape (S,).
    groups
        Pixels of each group; an empty one has no name.
    electrode
        Whose end members are looked for; it needs Li K and a host with an M2,3 edge to tell them.
    materials
        Names of others that may be there.
    """
    found: list[tuple[str, str]] = [("", "no pixel is of it alone")] * len(groups)
    filled = [k for k, rows in enumerate(groups) if len(rows)]
    host = _host(electrode)
    if not filled or not host:
        return [("", f"{electrode.name} has no Li K on an edge of its host that could identify it")] * len(groups)
    rows = [_sum_aligned(counts[groups[k]], centre[groups[k]], spectra.scale) for k in filled]
    sums = replace(spectra, counts=np.array(rows), shape=(len(rows),))
    common = _common(electrode, host)
    options = LowLossOptions((electrode.ion, host, *common, "C"), valence_band=host == BAND_ELEMENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssbWarning)
        features = fit_joint(start_joint_fit(sums, options), sums).features
    assert features is not None
    geometry = geometry_of(spectra)
    for number, k in enumerate(filled):
        found[k] = _name(_atoms(features, number), electrode, host, common, materials, geometry)
    return found


def geometry_of(spectra: LowLossMap) -> ScatteringGeometry:
    """Beam and angles, nominal where they are not known."""
    known = asdict(usable_microscope(spectra.microscope))
    return ScatteringGeometry(**{n: getattr(NOMINAL, n) if v is None else v for n, v in known.items()})


def _sum_aligned(counts: NDArray[np.generic], centre: FloatArray, scale: float) -> FloatArray:
    """Sum of spectra that are shifted by whole channels, which keeps the noise that of counting."""
    total = np.zeros(counts.shape[1])
    for spectrum, shift in zip(counts, np.round((centre - np.median(centre)) / scale).astype(int), strict=True):
        total += np.roll(spectrum, -shift)
    return total


def _host(electrode: Electrode) -> str:
    """The element of the host that has an M2,3 edge under Li K; empty without one."""
    if SIGNATURE_NAMES["lithium"] not in electrode.signatures:
        return ""
    composition = reference.material(electrode.delithiated).composition
    metals = [symbol for symbol in composition if symbol in EDGES["M2,3"]]
    return metals[0] if len(metals) == 1 else ""


def _common(electrode: Electrode, host: str) -> tuple[str, ...]:
    """Other elements of the host with an L2,3 edge: P of phosphates."""
    composition = reference.material(electrode.delithiated).composition
    return tuple(symbol for symbol in composition if symbol != host and symbol in EDGES["L2,3"])


def _atoms(features: Features, row: int) -> _Atoms:
    """What a fitted spectrum tells."""
    values, thickness = features.values[row], float(features.t_over_lambda[row])
    std = np.sqrt(np.diag(features.covariance[row]))
    return _Atoms(
        {
            name: (float(v / thickness), float(s / thickness))
            for name, v, s in zip(features.names, values, std, strict=True)
        }
    )


def _expected(material: Material, symbol: str, geometry: ScatteringGeometry) -> float:
    """Atoms per nm^2 and t/lambda of a material; 0 where neither density nor cell is known."""
    if material.density is None:
        return 0.0
    try:
        return material.atom_density(symbol) * inelastic_mean_free_path(material.density, geometry)
    except ValueError:
        return 0.0


def _name(
    atoms: _Atoms,
    electrode: Electrode,
    host: str,
    common: tuple[str, ...],
    materials: Sequence[str],
    geometry: ScatteringGeometry,
) -> tuple[str, str]:
    lithiated, delithiated = (reference.material(name) for name in end_members(electrode))
    metal, metal_std = atoms.over(edge_name(host, "M2,3"), _expected(delithiated, host, geometry))
    ion, ion_std = atoms.over("Li_K", _expected(lithiated, electrode.ion, geometry))
    shared = {s: atoms.over(edge_name(s, "L2,3"), _expected(delithiated, s, geometry)) for s in common}
    band, band_std = atoms.per_thickness.get("FePO4ValenceBand", (np.nan, np.nan))
    pi, pi_std = atoms.per_thickness.get("CarbonPiBand", (np.nan, np.nan))
    told = ", ".join(
        f"{symbol} {value:.2f} ± {std:.2f}"
        for symbol, (value, std) in {host: (metal, metal_std), electrode.ion: (ion, ion_std), **shared}.items()
    )
    sentence = (
        f"atoms per t/λ over those of {electrode.lithiated}: {told}"
        + (f"; 5 eV band {band:.3f} of t/λ" if np.isfinite(band) else "")
        + f"; pi band {pi:.3f}"
    )

    def above(value: float, std: float, limit: float) -> bool:
        return value - SURE * std > limit

    def below(value: float, std: float, limit: float) -> bool:
        return value + SURE * std < limit

    has_common = all(value > THERE for value, _ in shared.values())
    no_common = all(value < ABSENT for value, _ in shared.values())
    needs_band = SIGNATURE_NAMES["valence"] in electrode.signatures
    if metal > HOST_THERE and above(metal, metal_std, HOST_ABSENT) and has_common:
        if ion < EMPTY and below(ion, ion_std, FULL) and (not needs_band or above(band, band_std, BAND)):
            return electrode.delithiated, sentence
        if ion > FULL and above(ion, ion_std, EMPTY) and (not needs_band or below(band, band_std, BAND)):
            return electrode.lithiated, sentence
        return "", sentence
    if not (metal < HOST_ABSENT and below(metal, metal_std, HOST_THERE)):
        return "", sentence
    for name in materials:
        composition = reference.material(name).composition
        if set(composition) == {"C"}:
            fits = no_common and above(pi, pi_std, PI_BAND)
        else:
            expects = [s for s in common if s in composition]
            fits = host not in composition and bool(common) and expects == list(common) and has_common
        if fits:
            return reference.material(name).name, sentence
    return "", sentence
