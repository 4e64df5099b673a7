"""Pixels that a user names."""

from __future__ import annotations

from typing import Any

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray


def region_mask(signal: Any, where: Any, *, name: str = "region") -> NDArray[np.bool_]:
    """Boolean array on the navigation axes from a boolean array or signal, or a HyperSpy ROI.

    Parameters
    ----------
    signal
        Signal whose navigation axes are meant.
    where
        True, or inside, where pixels are taken.
    name
        What the region is called in messages.

    Raises
    ------
    ValueError
        If the shape is wrong or no pixel is named.
    TypeError
        If it is none of these.
    """
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    if type(where).__module__.startswith("hyperspy.roi"):
        axes = signal.axes_manager._get_navigation_axes_dicts()
        index = hs.signals.BaseSignal(np.arange(np.prod(shape), dtype=float).reshape(shape), axes=axes)
        chosen = where(index.transpose(signal_axes=0)).data.ravel()
        mask = np.zeros(int(np.prod(shape)), dtype=bool)
        mask[chosen[np.isfinite(chosen)].astype(int)] = True
        where = mask.reshape(shape)
    mask = np.asarray(getattr(where, "data", where))
    if mask.dtype != bool:
        raise TypeError(
            f"{name} must be a boolean array or signal on the navigation axes (True: taken), or a HyperSpy ROI, not "
            f"{type(where).__name__} of {mask.dtype}."
        )
    if shape == (1,) and mask.shape == ():
        mask = mask.reshape(shape)
    if mask.shape != shape:
        raise ValueError(f"{name} has the shape {mask.shape}, but the navigation axes have {shape} (y before x).")
    if not mask.any():
        raise ValueError(f"{name} names no pixel.")
    return mask
