"""A map that was carried into another frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.registration.affine import ImageFrame
from hyperspy_assb.registration.area_overlap import AreaOverlap, away_from_others
from hyperspy_assb.signals.result import Result

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class FrameMap(Result):
    """A map in the frame of another member, by the area that pixels share.

    Parameters
    ----------
    quantity
        What it is.
    content
        Values, shape (rows, columns); NaN, or -1 for labels, where the source does not cover enough, or the error of
        the registration does not decide between labels.
    content_std
        Standard errors, of independent pixels of the source; None if not given. Pixels that share a pixel of the
        source share its error.
    content_systematic
        Systematic standard errors, shared by all pixels; None if not given.
    covered
        Share of each pixel that the source covers.
    margin
        Standard error of the registration in nm, both coordinates together, in every pixel.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> from hyperspy_assb import Lamella
    >>> image = hs.signals.Signal2D(np.arange(64.0).reshape(8, 8))
    >>> for axis in image.axes_manager.signal_axes:
    ...     axis.scale, axis.units = 10.0, "nm"
    >>> lamella = Lamella("L1")
    >>> lamella.add("haadf", image)
    >>> moved = lamella.to_frame("haadf", image)
    >>> float(moved.values.data[3, 4]), moved.summary()
    (28.0, 'map: 64 of 64 pixels have a value.')
    >>> moved.std is None, moved.systematic is None, int(moved.known.sum())
    (True, True, 64)
    """

    quantity: str
    content: NDArray[Any] = field(repr=False)
    content_std: NDArray[np.float64] | None = field(repr=False, default=None)
    content_systematic: NDArray[np.float64] | None = field(repr=False, default=None)
    covered: NDArray[np.float64] = field(repr=False, kw_only=True)
    margin: NDArray[np.float64] = field(repr=False, kw_only=True)

    @cached_property
    def values(self) -> BaseSignal:
        """The map on the axes of the frame."""
        return self._map(self.content, self.quantity)

    @cached_property
    def std(self) -> BaseSignal | None:
        """Standard errors; None if the source came without."""
        return None if self.content_std is None else self._map(self.content_std, f"{self.quantity}, standard error")

    @cached_property
    def systematic(self) -> BaseSignal | None:
        """Systematic standard errors; None if the source came without."""
        if self.content_systematic is None:
            return None
        return self._map(self.content_systematic, f"{self.quantity}, systematic standard error")

    @property
    def known(self) -> NDArray[np.bool_]:
        """Pixels that have a value."""
        return self.content >= 0 if self.content.dtype.kind == "i" else np.isfinite(self.content)

    def summary(self) -> str:
        """How many pixels have a value, and the notes."""
        known = int(self.known.sum())
        return "\n".join((f"{self.quantity}: {known} of {self.content.size} pixels have a value.", *self.notes))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the map.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; new ones by default.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> from hyperspy_assb import Lamella
        >>> image = hs.signals.Signal2D(np.arange(64.0).reshape(8, 8))
        >>> for axis in image.axes_manager.signal_axes:
        ...     axis.scale, axis.units = 10.0, "nm"
        >>> lamella = Lamella("L1")
        >>> lamella.add("haadf", image)
        >>> lamella.to_frame("haadf", image).plot().get_title()
        'map'
        """
        import matplotlib.pyplot as plt

        ax = plt.figure(layout="constrained").add_subplot() if ax is None else ax
        ax.imshow(np.where(self.known, self.content, np.nan))
        ax.set_title(self.quantity)
        return ax

    def _shown(self) -> Any:
        return self.values

    def _pixel_columns(self) -> Mapping[str, Any]:
        columns: dict[str, Any] = {self.quantity: self.content}
        for name, values in (("std", self.content_std), ("systematic", self.content_systematic)):
            if values is not None:
                columns[f"{self.quantity} {name}"] = values
        return columns | {"covered": self.covered, "margin (nm)": self.margin}

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        inside = mask & self.known
        value = float(np.mean(self.content[inside])) if inside.any() else float("nan")
        return {self.quantity: value, "pixels": int(inside.sum())}


def title_of(values: Any) -> str:
    metadata = getattr(values, "metadata", None)
    title = str(metadata.General.title) if metadata is not None and metadata.has_item("General.title") else ""
    return title or "map"


def carried_column(
    name: str,
    values: NDArray[Any],
    quantities: Mapping[str, NDArray[Any]],
    overlap: AreaOverlap,
    margin: NDArray[np.float64],
    frame: ImageFrame,
) -> NDArray[Any]:
    """A column of the table: means by area, standard errors of these, words by majority."""
    if values.dtype.kind in "fiub":
        for suffix in ("_std", " std"):
            base = quantities.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if base is not None:
                return overlap.mean_std(base.astype(float), values.astype(float)).ravel()
        return overlap.mean(values.astype(float)).ravel()
    # Arrays of strings are as wide as the longest one everywhere.
    codes, words = pd.factorize(values.ravel().astype(object), sort=True)
    labels = codes.reshape(values.shape)
    near = away_from_others(labels, frame)
    found = overlap.majority(labels)
    distance = overlap.mean(np.where(np.isfinite(near), near, 1e9), least=0.0)
    found = np.where(distance > margin, found, -1).ravel()
    return np.where(found >= 0, words[np.maximum(found, 0)], None)
