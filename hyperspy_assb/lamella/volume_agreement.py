"""Volume of the electrode by diffraction, EELS and EDX, and where amorphous material and cracks lie."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from hyperspy_assb.fitting.statistics.spatial_agreement import correlated_pixels

_METHOD = 0.03
"""Standard error of a share by one method beside counting: an area is no volume, and t/λ no thickness."""
_LEAST = 0.1
"""Differences of shares below this are no contradiction, however sure they are."""
_FEWEST = 30
_ELECTRODE = "olivine"


def electrode_shares(lamella: Any, maps: str, inside: NDArray[np.bool_], frame: str) -> NDArray[np.float64]:
    """Share of the electrode in the pixels of ``frame`` by orientation maps: of the area, less what is amorphous."""
    held = lamella[maps]
    known = held.classes.index >= 0
    crystal = np.where(inside, 1.0, 0.0)
    if held.amorphous_share:
        diffuse = np.sum([np.nan_to_num(share.data) for share in held.amorphous_share.values()], axis=0)
        crystal = crystal * np.clip(1.0 - diffuse, 0.0, 1.0)
    return np.asarray(lamella.to_frame(frame, np.where(known, crystal, np.nan), source=maps).content)


def has_electrode(held: Any) -> bool:
    """Whether a result tells of the volume of the electrode."""
    fractions = getattr(held, "volume_fraction", None)
    return _ELECTRODE in fractions if fractions is not None else getattr(held, "standard", None) is not None


def spectral_shares(lamella: Any, key: str, frame: str) -> NDArray[np.float64]:
    """The same by EELS (share of t/λ) or EDX (share of the volume); NaN where nothing is known."""
    held = lamella[key]
    if lamella.members[key].kind == "Delithiation":
        ends = (held.electrode.lithiated, held.electrode.delithiated)
        if not all(name in held.amounts for name in ends):
            return np.full(lamella.members[frame].frame.shape, np.nan)
        total = held.t_over_lambda.data
        part = np.sum([held.amounts[name].data for name in ends], axis=0)
        share = np.where(total > 0.0, part / np.maximum(total, 1e-9), np.nan)
        share = np.where(np.isfinite(held.reduced_deviance.data), np.clip(share, -0.5, 1.5), np.nan)
    else:
        share = held.volume_fraction[_ELECTRODE].data
    return np.asarray(lamella.to_frame(frame, share, source=key).content)


def compare_volumes(shares: dict[str, NDArray[np.float64]], fdr: float) -> tuple[str, float, float, bool] | None:
    """Mean shares by all methods in the pixels that all have: sentence, largest difference, p value, contradiction.

    Parameters
    ----------
    shares
        Maps of one frame by key.
    fdr
        Level at which a difference is one, of the pairs together (Bonferroni).
    """
    known = np.all([np.isfinite(share) for share in shares.values()], axis=0)
    if len(shares) < 2 or known.sum() < _FEWEST:
        return None
    pairs = list(combinations(shares, 2))
    found = []
    for one, other in pairs:
        difference = np.where(known, shares[one] - shares[other], np.nan)
        alone = max(known.sum() / min(correlated_pixels(difference), float(known.sum())), 1.0)
        std = float(np.hypot(np.nanstd(difference) / np.sqrt(alone), np.sqrt(2.0) * _METHOD))
        mean = float(np.nanmean(difference))
        beyond = max(abs(mean) - _LEAST, 0.0) / std
        p = min(2.0 * float(stats.norm.sf(beyond)) * len(pairs), 1.0) if beyond > 0.0 else 1.0
        found.append((mean, p, std))
    worst = int(np.argmax([abs(mean) for mean, _, _ in found]))
    told = ", ".join(f"{100 * float(share[known].mean()):z.0f} % by {key}" for key, share in shares.items())
    mean, p, std = found[worst]
    against = p < fdr
    words = "Contradiction: the electrode fills" if against else "The electrode fills"
    sentence = (
        f"{words} {told} in {int(known.sum())} pixels that all have; the largest difference is "
        f"{100 * abs(mean):z.0f} ± {100 * std:z.0f} % (p of more than {100 * _LEAST:z.0f} %: {p:.2g})."
    )
    return sentence, abs(mean), p, against


def distance_to(mask: NDArray[np.bool_], pixel: tuple[float, float]) -> NDArray[np.float64] | None:
    """Distance in nm to the pixels of a mask; None where there are none."""
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=pixel)) if mask.any() else None
