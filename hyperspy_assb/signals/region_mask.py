"""Pixels that a user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbTypeError, AssbValueError

Names = Sequence[str] | Mapping[int, str] | None
"""Of the labels 1, 2, ... of a label image, or by label."""
_ALONE = ("everything", "region")
"""What regions are called that have no name."""


def region_mask(signal: Any, region: Any, *, name: str = "region") -> NDArray[np.bool_]:
    """Boolean array on the navigation axes from a boolean array or signal, or a HyperSpy ROI.

    Parameters
    ----------
    signal
        Signal whose navigation axes are meant.
    region
        True, or inside, where pixels are taken.
    name
        What the region is called in messages.

    Raises
    ------
    AssbValueError
        If the shape is wrong or no pixel is named.
    AssbTypeError
        If it is none of these.
    """
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    if type(region).__module__.startswith("hyperspy.roi"):
        axes = signal.axes_manager._get_navigation_axes_dicts()
        index = hs.signals.BaseSignal(np.arange(np.prod(shape), dtype=float).reshape(shape), axes=axes)
        chosen = region(index.transpose(signal_axes=0)).data.ravel()
        mask = np.zeros(int(np.prod(shape)), dtype=bool)
        mask[chosen[np.isfinite(chosen)].astype(int)] = True
        region = mask.reshape(shape)
    mask = np.asarray(getattr(region, "data", region))
    if mask.dtype != bool:
        raise AssbTypeError(
            f"{name} must be a boolean array or signal on the navigation axes (True: taken), or a HyperSpy ROI, not "
            f"{type(region).__name__} of {mask.dtype}."
        )
    if shape == (1,) and mask.shape == ():
        mask = mask.reshape(shape)
    if mask.shape != shape:
        raise AssbValueError(f"{name} has the shape {mask.shape}, but the navigation axes have {shape} (y before x).")
    if not mask.any():
        raise AssbValueError(f"{name} names no pixel.")
    return mask


def region_masks(
    signal: Any, region: Any, *, names: Names = None, argument: str = "region"
) -> dict[str, NDArray[np.bool_]]:
    """Boolean arrays on the navigation axes, by name, from everything that names pixels.

    Parameters
    ----------
    signal
        Signal whose navigation axes are meant.
    region
        None: all pixels, called "everything". A boolean array or signal, or a HyperSpy ROI: one region, called
        "region". An array or signal of integers: one region a label, 0 or less for none. A dictionary of any of these
        by name.
    names
        Names of the labels; those without one are called by their number.
    argument
        What the region is called in messages.

    Raises
    ------
    AssbValueError
        If a shape is wrong, a region has no pixel, or names do not fit.
    AssbTypeError
        If a region is none of these.
    """
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    if region is None:
        return {"everything": np.ones(shape, dtype=bool)}
    if isinstance(region, Mapping):
        found: dict[str, NDArray[np.bool_]] = {}
        for name, part in region.items():
            inner = region_masks(signal, part, names=names, argument=f"{argument}[{name!r}]")
            found |= {(str(name) if label in _ALONE else f"{name} {label}"): mask for label, mask in inner.items()}
        if not found:
            raise AssbValueError(f"{argument} names no region.")
        return found
    labels = np.asarray(getattr(region, "data", region)) if hasattr(region, "data") else None
    if labels is None or not np.issubdtype(labels.dtype, np.integer):
        return {"region": region_mask(signal, region, name=argument)}
    if labels.shape != shape:
        raise AssbValueError(
            f"{argument} has the shape {labels.shape}, but the navigation axes have {shape} (y before x)."
        )
    present = [int(label) for label in np.unique(labels) if label > 0]
    if not present:
        raise AssbValueError(f"{argument} holds no region: none of its labels is above 0.")
    named = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or (), start=1))
    unknown = sorted(set(named) - set(present))
    if unknown:
        raise AssbValueError(f"There are names for the labels {unknown}, which no pixel has.")
    masks = {named.get(label, str(label)): labels == label for label in present}
    if len(masks) < len(present):
        raise AssbValueError("Two labels have the same name: give each region its own.")
    return masks
