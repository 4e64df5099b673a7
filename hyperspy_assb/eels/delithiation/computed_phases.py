"""Which olivine a spectrum is of, by loss functions computed from first principles: nothing measured is needed.

FePO4 has losses between 4 and 7 eV that LiFePO4 has not. What is compared is their share in the single scattering up to
45 eV: thickness, dose and the strength that theory gives to all losses drop out of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.end_members import end_members
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode

BAND = (4.0, 7.0)
"""Losses in eV that FePO4 has and LiFePO4 has not."""
WHOLE = (3.0, 45.0)
"""Losses in eV of which they are a share: above the tail of the zero loss, below the edges."""


@dataclass(frozen=True)
class ComputedContrast:
    """What theory says of both end members.

    Parameters
    ----------
    lithiated, delithiated
        Least and largest share of :data:`BAND` in :data:`WHOLE`, over all values of U and all directions.
    """

    lithiated: tuple[float, float]
    delithiated: tuple[float, float]

    @property
    def limit(self) -> float:
        """The share half way between both: what theory lacks, surfaces and retardation, adds to both alike."""
        return 0.5 * (self.lithiated[1] + self.delithiated[0])


def computed_contrast(electrode: Electrode, geometry: ScatteringGeometry) -> ComputedContrast | None:
    """What theory says of the end members of an electrode; None where they were not computed."""
    known = reference.computed_materials()
    if any(name not in known for name in end_members(electrode)):
        return None
    ranges = []
    for name in end_members(electrode):
        shares = []
        for hubbard_u in known[name]:
            optics = reference.computed_optics(name, hubbard_u=hubbard_u)
            energy = optics.energy
            angles = geometry.effective_collection_angle(energy) / geometry.characteristic_angle(energy)
            shares.append(band_share(optics.loss_function * np.log1p(angles**2), energy))
        ranges.append((float(np.min(shares)), float(np.max(shares))))
    return ComputedContrast(*ranges)


def band_share(distribution: NDArray[np.floating], loss: FloatArray) -> FloatArray:
    """Share of :data:`BAND` in :data:`WHOLE` of single-scattering distributions.

    Parameters
    ----------
    distribution
        Shape (..., E).
    loss
        In eV, uniform, shape (E,).
    """
    band, whole = (np.sum(distribution[..., (loss >= a) & (loss <= b)], axis=-1) for a, b in (BAND, WHOLE))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(band / whole, dtype=float)


def confirm(
    name: str, sentence: str, share: float, electrode: Electrode, contrast: ComputedContrast | None
) -> tuple[str, str]:
    """Name and evidence of some pixels, with what theory says of them; no name where that is of the other end member.

    Surfaces, retardation and films add to the band, and theory is good to a factor of two: what lies between both end
    members contradicts neither.

    Parameters
    ----------
    name, sentence
        By the edges; the name is empty where they fit no material.
    share
        As of :func:`band_share`, of the pixels.
    electrode
        Whose end members they may be of.
    contrast
        As of :func:`computed_contrast`.
    """
    ends = end_members(electrode)
    if contrast is None or name not in ends or not np.isfinite(share):
        return name, sentence
    computed = {ends[0]: contrast.lithiated, ends[1]: contrast.delithiated}
    told = ", ".join(f"{end} {100 * low:.1f} to {100 * high:.1f}" for end, (low, high) in computed.items())
    sentence = f"{sentence}; {100 * share:.1f} % of its losses lie between 4 and 7 eV, computed: {told}"
    contradicts = share > contrast.delithiated[0] if name == ends[0] else share < contrast.lithiated[1]
    return ("" if contradicts else name), sentence
