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
_SLICES = (hs.roi.SpanROI, hs.roi.RectangularROI)
"""ROIs that are a slice along each axis."""


def region_mask(signal: Any, region: Any, *, name: str = "region") -> NDArray[np.bool_]:
    """Boolean array on the navigation axes from a boolean array or signal, or a HyperSpy ROI.

    Parameters
    ----------
    signal
        Signal whose navigation axes are meant.
    region
        True, or inside, where pixels are taken; masked entries of a masked array are not.
    name
        What the region is called in messages.

    Raises
    ------
    AssbValueError
        If the shape is wrong, no pixel is named, or a HyperSpy ROI does not fit the navigation axes.
    AssbTypeError
        If it is none of these.
    """
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    mask = _inside_roi(signal, region, name) if is_roi(region) else region_array(region)
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


def is_roi(region: Any) -> bool:
    """Whether a region is one of HyperSpy's."""
    return type(region).__module__.startswith("hyperspy.roi")


def region_array(region: Any) -> NDArray[Any]:
    """The array of a region that is an array or signal; what is masked is False, or 0, and so in no region."""
    values = region if isinstance(region, np.ndarray) else getattr(region, "data", region)
    return values.filled(0) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)


def _inside_roi(signal: Any, roi: Any, name: str) -> NDArray[np.bool_]:
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    try:
        if type(roi) in _SLICES and len(shape) == roi.ndim:
            # What HyperSpy cuts with, without a signal to be cut: a region under the hand moves often.
            across = signal.axes_manager.navigation_axes
            mask = np.zeros(shape, dtype=bool)
            mask[roi._make_slices(across, across)[::-1]] = True
            return mask
        axes = signal.axes_manager._get_navigation_axes_dicts()
        index = hs.signals.BaseSignal(np.arange(np.prod(shape), dtype=float).reshape(shape), axes=axes)
        chosen = roi(index.transpose(signal_axes=0)).data.ravel()
    # HyperSpy raises what it likes where an ROI lies outside, is empty, or has other dimensions.
    except Exception as error:
        ranges = [
            f"{axis.name} from {axis.low_value:g} to {axis.high_value:g}"
            for axis in signal.axes_manager.navigation_axes
        ]
        raise AssbValueError(
            f"{name}, the {type(roi).__name__} {roi}, does not fit the navigation axes "
            f"({', '.join(ranges) or 'none'}): give an ROI of {len(ranges)} dimensions within them, or a boolean "
            f"array. HyperSpy says: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    mask = np.zeros(int(np.prod(shape)), dtype=bool)
    mask[chosen[np.isfinite(chosen)].astype(int)] = True
    return mask.reshape(shape)


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
        If a shape is wrong, a region has no pixel, two have the same name, or names do not fit.
    AssbTypeError
        If a region or ``names`` is none of these.
    """
    found = _named_masks(signal, region, _label_names(names), argument)
    if names is not None and not _has_labels(region):
        raise AssbValueError(
            f"names= are of the labels of an image of integers, and {argument} has none: name masks by a dictionary, "
            f"as in {argument}={{'electrode': mask}}."
        )
    return found


def _label_names(names: Names) -> dict[int, str]:
    """Names by label."""
    if names is None:
        return {}
    kind = f"names= must be a list of names of the labels 1, 2, ..., or a dictionary of them by label, not {names!r}."
    if isinstance(names, str | bytes):
        raise AssbTypeError(kind)
    try:
        named = dict(names) if isinstance(names, Mapping) else dict(enumerate(names, start=1))
    except TypeError:
        raise AssbTypeError(kind) from None
    if not all(isinstance(label, int | np.integer) and isinstance(name, str) for label, name in named.items()):
        raise AssbTypeError(kind)
    return {int(label): str(name) for label, name in named.items()}


def _labels_of(region: Any) -> NDArray[Any] | None:
    """The labels that a region is of; None if it is none of integers."""
    if is_roi(region) or not hasattr(region, "data"):
        return None
    labels = region_array(region)
    return labels if np.issubdtype(labels.dtype, np.integer) else None


def _has_labels(region: Any) -> bool:
    if isinstance(region, Mapping):
        return any(map(_has_labels, region.values()))
    return _labels_of(region) is not None


def _named_masks(signal: Any, region: Any, named: Mapping[int, str], argument: str) -> dict[str, NDArray[np.bool_]]:
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    if region is None:
        return {"everything": np.ones(shape, dtype=bool)}
    if isinstance(region, Mapping):
        parts: list[tuple[str, NDArray[np.bool_]]] = []
        for name, part in region.items():
            inner = _named_masks(signal, part, named, f"{argument}[{name!r}]")
            parts += [(str(name) if label in _ALONE else f"{name} {label}", mask) for label, mask in inner.items()]
        if not parts:
            raise AssbValueError(f"{argument} names no region.")
        return _by_name(parts, argument)
    labels = _labels_of(region)
    if labels is None:
        return {"region": region_mask(signal, region, name=argument)}
    if labels.shape != shape:
        raise AssbValueError(
            f"{argument} has the shape {labels.shape}, but the navigation axes have {shape} (y before x)."
        )
    present = [int(label) for label in np.unique(labels) if label > 0]
    if not present:
        raise AssbValueError(f"{argument} holds no region: none of its labels is above 0.")
    unknown = sorted(set(named) - set(present))
    if unknown:
        raise AssbValueError(f"names= has names for the labels {unknown}, which no pixel of {argument} has.")
    return _by_name([(named.get(label, str(label)), labels == label) for label in present], argument)


def _by_name(parts: Sequence[tuple[str, NDArray[np.bool_]]], argument: str) -> dict[str, NDArray[np.bool_]]:
    found: dict[str, NDArray[np.bool_]] = {}
    for name, mask in parts:
        if name in found:
            raise AssbValueError(f"Two regions have the same name {name!r} in {argument}: give each its own.")
        found[name] = mask
    return found
