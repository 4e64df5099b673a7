"""Pixels that diffraction finds pure, in the frame of another signal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.registration.affine import ImageFrame
from hyperspy_assb.registration.area_overlap import AreaOverlap, away_from_others
from hyperspy_assb.signals.acom.orientations import OrientationMaps

_WHOLE = 0.98
"""Share of a pixel that pure pixels of the scan must cover."""
_CRYSTALLINE = 0.05
"""Share of amorphous material in the column above which a crystal is not alone."""
_SURE = 0.9
"""Share of one amorphous material in the diffuse intensity above which it is alone."""


def pure_pixels(
    maps: OrientationMaps,
    frame: ImageFrame,
    target: ImageFrame,
    overlap: AreaOverlap,
    margin: NDArray[np.float64],
    posterior: float,
) -> dict[str, NDArray[np.bool_]]:
    """Pure pixels of every material.

    Parameters
    ----------
    maps
        Of the scan.
    frame, target
        Of the scan, and of the other signal.
    overlap
        Areas that pixels of the two share.
    margin
        Standard error of the registration in nm, shape of the target.
    posterior
        Least probability of a phase.

    Returns
    -------
    dict of str
        Masks by material, shape of the target.
    """
    found = maps.found
    pure: dict[str, NDArray[np.bool_]] = {}
    single = np.isin(found.status, (PatternStatus.INDEXED, PatternStatus.SATURATED))
    if found.amorphous_share is not None:
        single &= ~(np.nansum(found.amorphous_share, axis=-1) > _CRYSTALLINE)
    for k, phase in enumerate(maps.phases):
        pure[phase.name] = single & (found.phase == k) & (found.posterior[..., k] >= posterior)
    for k, name in enumerate(found.ring_materials):
        pure[name] = (found.status == PatternStatus.AMORPHOUS) & (found.ring_amounts[..., k] >= _SURE)
    pure["vacuum"] = found.status == PatternStatus.EMPTY
    result = {}
    for name, mask in pure.items():
        share = overlap.mean(mask.astype(float), least=0.9)
        # Boundaries are known to half a pixel of the scan, and lie where the registration says within its error.
        distance = overlap.mean(np.where(mask, np.minimum(away_from_others(mask.astype(np.int64), frame), 1e9), 0.0))
        inside = distance > margin + 0.5 * frame.coarseness
        result[name] = (share >= _WHOLE) & inside
    return result
