"""Whether a peak can be the zero loss, and whether its top is cut off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

WIDEST = 5.0
"""Full width in eV above which a peak is none: electrons of a thermionic source spread over 1 to 3 eV."""
_CALIBRATED = 3.0
"""Distance in eV from 0 of the axis up to which a peak is the zero loss whatever its shape."""
_FOOT = (-2.5, -1.75)
"""Full widths before the peak where a zero loss has gone: what precedes a plasmon, a Lorentzian of losses, has not."""
_MOST_AT_FOOT = 0.034
"""Counts there over those of the peak: 0.002 to 0.023 on real zero losses, 0.038 to 0.047 on plasmons."""
_WIDE_AT_FOOT = 0.01
"""The same for peaks that are too wide."""
_DARK = -4.0
"""Full widths before the peak beyond which the dark level is taken."""
_FEWEST_DARK = 8
_SIGNIFICANT = 3.0
_NEAR_TOP, _WIDEST_TOP = 0.95, 0.44
"""Height at which a top is measured, and its width over the full width at half maximum from which it is cut off: 0.23
for a Lorentzian, 0.27 for a Gaussian, 0.5 for one that is cut off at 0.8 of its height."""
_CHANNELS_OF_TOP = 4.0
"""Channels of a full width that show a top, and electrons of its highest channel."""
_ELECTRONS_OF_TOP = 5000.0


def not_zero_losses(
    counts: FloatArray, energy: FloatArray, centre: FloatArray, fwhm: FloatArray, gain: float
) -> NDArray[np.bool_]:
    """Find peaks that cannot be the zero loss: plasmons of spectra that were recorded without it.

    No electron gains several times the width of the zero loss, so that counts have gone at its foot, unless an
    axis that is not calibrated begins there. A peak within 3 eV of 0 is believed.

    Parameters
    ----------
    counts
        Recorded counts, shape (P, E).
    energy
        Centres of the channels in eV, shape (E,).
    centre, fwhm
        Of the peaks in eV, shape (P,); NaN where there is none.
    gain
        Counts per electron.

    Returns
    -------
    NDArray[np.bool_]
        Shape (P,).
    """
    refused = np.zeros(len(counts), dtype=bool)
    doubtful = np.flatnonzero(np.isfinite(centre) & (np.abs(centre) > _CALIBRATED))
    shares, heights, errors, seen = [], [], [], []
    for row in doubtful:
        x = (energy - centre[row]) / fwhm[row]
        dark = x < _DARK
        foot = (x >= _FOOT[0]) & (x <= _FOOT[1])
        near = np.abs(x) < 0.3
        before = counts[row][x < _FOOT[1]]
        height = float(counts[row][near].max()) if near.any() else np.nan
        if dark.sum() >= _FEWEST_DARK:
            level = float(np.median(counts[row][dark]))
        else:
            # An axis that begins well above 0 eV has no channel without electrons.
            level = float(before.min()) if before.size and energy[0] < _CALIBRATED else 0.0
        share = float(counts[row][foot].mean()) - level if foot.any() else 0.0
        seen.append(bool(foot.any()))
        shares.append(share)
        heights.append(height - level)
        errors.append(np.sqrt(gain * max(share, gain) / max(foot.sum(), 1)))
    if not doubtful.size:
        return refused
    shared, above, error = np.array(shares), np.array(heights), np.array(errors)
    unseen = ~np.array(seen)
    wide = (fwhm[doubtful] > WIDEST) & (unseen | (shared > _WIDE_AT_FOOT * above))
    # What begins above 0 eV, and within the peak, has nothing to show that it is the zero loss.
    refused[doubtful] = (
        wide | (unseen & (energy[0] > _CALIBRATED)) | (shared - _SIGNIFICANT * error > _MOST_AT_FOOT * above)
    )
    together = np.nansum(shared) - _SIGNIFICANT * np.sqrt(np.nansum(error**2))
    if together > _MOST_AT_FOOT * np.nansum(above):
        # What few electrons hide in each spectrum, all of them together show.
        refused[doubtful[shared > 0.5 * _MOST_AT_FOOT * above]] = True
    return refused


def flat_tops(
    counts: FloatArray, energy: FloatArray, centre: FloatArray, fwhm: FloatArray, gain: float
) -> NDArray[np.bool_]:
    """Find peaks whose top is cut off, though its channels do not hold the same counts: after a gain was divided out.

    Parameters
    ----------
    counts, energy, centre, fwhm, gain
        As for :func:`not_zero_losses`.

    Returns
    -------
    NDArray[np.bool_]
        Shape (P,).
    """
    flat = np.zeros(len(counts), dtype=bool)
    scale = (energy[-1] - energy[0]) / (energy.size - 1)
    for row in np.flatnonzero(np.isfinite(centre) & (fwhm >= _CHANNELS_OF_TOP * scale)):
        near = np.flatnonzero(np.abs(energy - centre[row]) < 1.5 * fwhm[row] + scale)
        if near.size < 5:
            continue
        fine = np.linspace(energy[near[0]], energy[near[-1]], 40 * near.size)
        height = np.interp(fine, energy[near], counts[row][near])
        top = float(height.max())
        if top < _ELECTRONS_OF_TOP * gain:
            continue
        width = (height > 0.5 * top).sum()
        flat[row] = (height > _NEAR_TOP * top).sum() > _WIDEST_TOP * width
    return flat
