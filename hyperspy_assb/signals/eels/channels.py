"""Channels much narrower than the zero-loss peak, taken together."""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperspy_assb.eels.zero_loss.position import estimate_centre
from hyperspy_assb.models.multifit import VARIANCE

PER_WIDTH = 3.6
"""Channels for each full width of the zero loss that are enough: its Fourier transform is below 1e-4 at what is lost.

Frequencies that the zero loss does not pass cannot be measured, and single scattering learnt from them is noise."""


def how_many_together(signal: Any) -> int:
    """How many channels to add up, so that at least :data:`PER_WIDTH` lie within the width of the zero loss.

    Parameters
    ----------
    signal
        Spectra on one navigation axis, in memory.
    """
    axis = signal.axes_manager.signal_axes[0]
    width = estimate_centre(signal.data, np.array(axis.axis, dtype=float)).fwhm
    known = width[np.isfinite(width)]
    return max(1, int(np.median(known) / axis.scale / PER_WIDTH)) if known.size else 1


def add_channels(signal: Any, count: int) -> Any:
    """The signal with `count` neighbouring channels added up to one, which keeps the noise that of counting."""
    if count == 1:
        return signal
    axis = signal.axes_manager.signal_axes[0]
    whole = axis.size - axis.size % count
    scale = [1] * signal.axes_manager.navigation_dimension + [count]
    added = signal.isig[:whole].rebin(scale=scale)
    offset = f"{VARIANCE}.gain_offset"
    if (variance := added.metadata.get_item(offset)) is not None:
        added.metadata.set_item(offset, variance * count)
    return added
