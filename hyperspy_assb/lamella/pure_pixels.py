"""Pixels that diffraction finds pure, in the frame of another signal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.registration.affine import ImageFrame
from hyperspy_assb.registration.area_overlap import AreaOverlap, away_from_others
from hyperspy_assb.signals.acom.orientations import OrientationMaps

_WHOLE = 0.98
"""Share of a pixel that must be of one class."""
_FILM, _LEAST_FILM = 0.1, 0.25
"""Largest share of amorphous material that may be a film on all pixels of a phase, and the quantile that it is: what
three of four pixels have is no mixture."""
_SURE = 0.9
"""Share of one amorphous material in the thickness above which it is alone."""
_CRYSTALS = (PatternStatus.INDEXED, PatternStatus.SATURATED, PatternStatus.MIXED, PatternStatus.OVERLAP)
"""Two crystals of one phase are one material."""


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
        Least share of a phase in a column, times its probability.

    Returns
    -------
    dict of str
        Masks by material, shape of the target.
    """
    classes = np.asarray(maps.classes.index, dtype=np.int64)
    # Boundaries are known to half a pixel of the scan, and lie where the registration says within its error.
    distance = overlap.mean(np.minimum(away_from_others(classes, frame), 1e9))
    inside = distance > margin + 0.5 * frame.coarseness
    result = {}
    for name, (purity, level) in _purities(maps, posterior).items():
        there = purity > 0.0
        alone = overlap.mean(_of_one_class(classes, there).astype(float), least=0.9) >= _WHOLE
        result[name] = alone & inside & (overlap.mean(purity, least=0.9) >= level)
    return result


def _of_one_class(classes: NDArray[np.int64], there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the class to which most pixels of a material belong."""
    if not there.any():
        return there
    values, counts = np.unique(classes[there], return_counts=True)
    return classes == values[np.argmax(counts)]


def _purities(maps: OrientationMaps, posterior: float) -> dict[str, tuple[NDArray[np.float64], float]]:
    """Share of each material in the columns of the scan, as far as it is sure, and the least that is pure."""
    found = maps.found
    crystal = np.isin(found.status, _CRYSTALS)
    amorphous, unsure = np.zeros(found.phase.shape), np.zeros(found.phase.shape)
    if found.amorphous_share is not None:
        amorphous = np.nansum(found.amorphous_share, axis=-1)
    if found.amorphous_share_std is not None:
        unsure = np.sqrt(np.nansum(found.amorphous_share_std**2, axis=-1))
    pure: dict[str, tuple[NDArray[np.float64], float]] = {}
    for k, phase in enumerate(maps.phases):
        here = crystal & (found.phase == k)
        film = min(float(np.quantile(amorphous[here], _LEAST_FILM)), _FILM) if here.any() else 0.0
        share = np.nan_to_num(found.posterior[..., k]) * np.clip(1.0 - np.maximum(amorphous - film - unsure, 0.0), 0, 1)
        if maps.second is not None:
            other = ~np.isin(found.second_phase, (-1, k))
            share = share * (1.0 - np.where(other, np.nan_to_num(found.second_share), 0.0))
        pure[phase.name] = np.where(here, share, 0.0), posterior
    shares = found.ring_amounts if found.amorphous_share is None else found.amorphous_share
    for k, name in enumerate(found.ring_materials):
        alone = found.status == PatternStatus.AMORPHOUS
        pure[name] = np.where(alone, np.nan_to_num(shares[..., k]), 0.0), _SURE
    pure["vacuum"] = (found.status == PatternStatus.EMPTY).astype(float), _WHOLE
    return pure
