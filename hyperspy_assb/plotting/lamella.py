"""Figures of a lamella that several signals look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

_FIELDS = 8
"""Fields of the checkerboard along a side."""


def plot_checkerboards(fixed: NDArray[np.float64], moved: Mapping[str, NDArray[np.float64]]) -> NDArray[np.object_]:
    """Plot images in turn with a reference, as fields of a checkerboard: boundaries go on from field to field.

    Parameters
    ----------
    fixed
        Image of the reference, shape (rows, columns).
    moved
        Others in its frame, by name; NaN where they have nothing.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        One for each image.
    """
    _, axes = plt.subplots(1, len(moved), figsize=(3.2 * len(moved), 3.4), squeeze=False, layout="constrained")
    rows, columns = np.indices(fixed.shape)
    side = max(max(fixed.shape) // _FIELDS, 1)
    field = (rows // side + columns // side) % 2 == 0
    for ax, (name, image) in zip(axes[0], moved.items(), strict=True):
        ax.imshow(np.where(field, _ranked(fixed), _ranked(image)), cmap="gray", interpolation="nearest")
        ax.set_title(name)
        ax.set_axis_off()
    return np.asarray(axes[0])


def _ranked(image: NDArray[Any]) -> NDArray[np.float64]:
    """Brightness between the first and the last percent, so that two kinds of signals look alike."""
    low, high = np.nanquantile(image, [0.01, 0.99]) if np.isfinite(image).any() else (0.0, 1.0)
    return np.clip((image - low) / max(high - low, 1e-30), 0.0, 1.0)
