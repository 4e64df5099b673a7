"""Reference regions drawn by hand: their spectra, how pure they are, and what x becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbKeyError, AssbValueError
from hyperspy_assb.models.recorded_signal import check_data
from hyperspy_assb.plotting.material_colours import colour_of
from hyperspy_assb.signals.region_mask import region_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hyperspy_assb.signals.eels.delithiation import Delithiation

_LOSS = 3.0
"""eV from which energy losses count: jitter of the zero-loss peak is no other material."""
_FEWEST = 2


class PickedReferences:
    """Regions of pure materials, which are moved by mouse or by code; everything follows them.

    Parameters
    ----------
    signal
        Low-loss spectra with two navigation axes.
    image
        Map that is drawn on; None: all counts of each pixel.

    Attributes
    ----------
    regions
        HyperSpy ROIs by material.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> from hyperspy_assb.simulation import micro_battery
    >>> picked = micro_battery(shape=(8, 8), seed=6, signal_type="EELS_ASSB").eels_after.pick_references()
    >>> roi = picked.pick("LAGP", hs.roi.RectangularROI(0.0, 375.0, 375.0, 750.0))
    >>> roi.right = 750.0
    >>> picked.table().loc["LAGP", "pixels"]
    np.int64(8)
    """

    def __init__(self, signal: Any, image: Any = None) -> None:
        check_data(signal)
        shape = signal.axes_manager._navigation_shape_in_array
        if len(shape) != 2:
            raise AssbValueError(f"Regions are drawn on a map: the signal has {len(shape)} navigation axes, not 2.")
        data = np.asarray(signal.data.sum(axis=-1) if image is None else getattr(image, "data", image), dtype=float)
        if data.shape != shape:
            raise AssbValueError(f"image has the shape {data.shape}, and the map {shape}.")
        self.signal, self.image = signal, data
        self.regions: dict[str, Any] = {}
        self._drawn: Any = None

    def pick(self, material: str, roi: Any = None) -> Any:
        """Add a region of a material, or replace it.

        Parameters
        ----------
        material
            Its name, such as ``"LiFePO4"``.
        roi
            A HyperSpy ROI in the units of the map; None: a rectangle in the middle of the field, to be moved.

        Returns
        -------
        roi
            The region, which can be moved: what is shown follows.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> picked = micro_battery(shape=(8, 8), seed=6, signal_type="EELS_ASSB").eels_after.pick_references()
        >>> type(picked.pick("FePO4")).__name__
        'RectangularROI'
        """
        if roi is None:
            sides = []
            for axis in self.signal.axes_manager.navigation_axes:
                middle = 0.5 * (axis.low_value + axis.high_value)
                half = max(0.1 * axis.size, 1.0) * axis.scale
                sides.append((middle - half, middle + half))
            (left, right), (top, bottom) = sides
            roi = hs.roi.RectangularROI(left, top, right, bottom)
        self.regions[material] = roi
        roi.events.changed.connect(self._follow, [])
        if self._drawn is not None:
            self._add_widget(material)
        self._follow()
        return roi

    @property
    def references(self) -> dict[str, NDArray[np.bool_]]:
        """Masks by material, of regions that hold pixels; as ``quantify_delithiation`` takes them."""
        masks = {name: region_mask(self.signal, roi, name=name) for name, roi in self.regions.items()}
        return {name: mask for name, mask in masks.items() if mask.any()}

    def mean_counts(self, material: str) -> NDArray[np.float64]:
        """Mean spectrum of a region in counts, shape (channels,).

        Parameters
        ----------
        material
            Its name.

        Returns
        -------
        numpy.ndarray
            NaN if the region holds no pixel.

        Raises
        ------
        AssbKeyError
            If no region of that name was picked.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> picked = micro_battery(shape=(8, 8), seed=6, signal_type="EELS_ASSB").eels_after.pick_references()
        >>> roi = picked.pick("FePO4")
        >>> picked.mean_counts("FePO4").shape
        (1024,)
        """
        if material not in self.regions:
            raise AssbKeyError(f"There is no region of {material!r}; there are {', '.join(self.regions) or 'none'}.")
        mask = self.references.get(material)
        if mask is None:
            return np.full(self.signal.data.shape[-1], np.nan)
        return np.asarray(self.signal.data[mask].mean(axis=0), dtype=float)

    def table(self) -> pd.DataFrame:
        """How pure each region is.

        Returns
        -------
        pandas.DataFrame
            One row a material: pixels; scatter of their energy losses from one shape over that of counting, 1 where
            all pixels are of one material and thickness, and NaN for fewer than two pixels.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> picked = micro_battery(shape=(8, 8), seed=6, signal_type="EELS_ASSB").eels_after.pick_references()
        >>> roi = picked.pick("FePO4")
        >>> picked.table().columns.tolist()
        ['pixels', 'scatter over noise']
        """
        masks = self.references
        rows = {
            name: {
                "pixels": int(masks[name].sum()) if name in masks else 0,
                "scatter over noise": self._scatter(masks[name]) if name in masks else float("nan"),
            }
            for name in self.regions
        }
        return pd.DataFrame.from_dict(rows, orient="index", columns=["pixels", "scatter over noise"])

    def quantify(self, **arguments: Any) -> Delithiation:
        """x with these references; arguments as for ``quantify_delithiation``.

        Returns
        -------
        Delithiation
            The result.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> picked = micro_battery(shape=(8, 8), seed=6, signal_type="EELS_ASSB").eels_after.pick_references()
        >>> try:
        ...     picked.quantify()
        ... except ValueError as error:
        ...     print(error)
        No region was picked: pick("LiFePO4") and pick("FePO4") first.
        """
        if not self.references:
            raise AssbValueError('No region was picked: pick("LiFePO4") and pick("FePO4") first.')
        found: Delithiation = self.signal.quantify_delithiation(self.references, **arguments)
        return found

    def plot(self) -> tuple[Axes, Axes]:
        """Show the map with its regions, to be moved by the mouse, and their mean spectra.

        Returns
        -------
        axes
            Of the map and of the spectra.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> picked = micro_battery(shape=(8, 8), seed=6, signal_type="EELS_ASSB").eels_after.pick_references()
        >>> roi = picked.pick("FePO4")
        >>> map_axes, spectra = picked.plot()
        >>> len(spectra.lines)
        1
        """
        import matplotlib.pyplot as plt

        shown = hs.signals.Signal2D(self.image)
        for own, axis in zip(shown.axes_manager.signal_axes, self.signal.axes_manager.navigation_axes, strict=True):
            own.name, own.scale, own.offset, own.units = axis.name, axis.scale, axis.offset, axis.units
        shown.metadata.General.title = "References"
        shown.plot()
        spectra = plt.figure(layout="constrained").add_subplot()
        self._drawn = shown, spectra
        for name in self.regions:
            self._add_widget(name)
        self._follow()
        return shown._plot.signal_plot.ax, spectra

    def _add_widget(self, name: str) -> None:
        self.regions[name].add_widget(self._drawn[0], color=colour_of(name))

    def _follow(self) -> None:
        """Draw the spectra of the regions where they are now."""
        if self._drawn is None:
            return
        ax = self._drawn[1]
        for line in list(ax.lines):
            line.remove()
        energy = self.signal.axes_manager.signal_axes[0].axis
        table = self.table()
        for name in self.references:
            row = table.loc[name]
            label = f"{name}: {int(row['pixels'])} pixels, scatter {row['scatter over noise']:.2f} of noise"
            ax.plot(energy, np.maximum(self.mean_counts(name), 0.1), color=colour_of(name), label=label)
        ax.set_yscale("log")
        ax.set_xlabel("Energy loss (eV)")
        ax.set_ylabel("mean counts")
        if self.references:
            ax.legend(fontsize="small")
        ax.figure.canvas.draw_idle()

    def _scatter(self, mask: NDArray[np.bool_]) -> float:
        """Pearson's chi-square of the pixels against one shape, by degree of freedom."""
        if mask.sum() < _FEWEST:
            return float("nan")
        energy = self.signal.axes_manager.signal_axes[0].axis
        counts = np.asarray(self.signal.data[mask], dtype=float)
        losses = counts[:, energy > _LOSS]
        expected = losses.sum(axis=1, keepdims=True) * losses.sum(axis=0) / max(float(losses.sum()), 1e-30)
        enough = expected.min(axis=0) > 1.0
        if not enough.any():
            return float("nan")
        part = (losses[:, enough] - expected[:, enough]) ** 2 / expected[:, enough]
        return float(np.sqrt(part.sum() / ((len(losses) - 1) * max(int(enough.sum()) - 1, 1))))
