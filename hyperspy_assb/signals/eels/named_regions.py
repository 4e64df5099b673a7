"""Regions that a user names: their pixels, and their mean spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.region_statistics import name_regions
from hyperspy_assb.eels.scattering import mean_spectra
from hyperspy_assb.eels.scattering.mean_spectra import MeanSpectrum
from hyperspy_assb.signals.region_mask import region_mask


def mean_spectrum(signal: Any, where: Any = None, *, t_over_lambda: Any = None) -> MeanSpectrum:
    """Mean spectrum of a region per zero loss and t/lambda, as :func:`.plot_before_after` takes it.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        Low-loss spectra.
    where
        None for all pixels, a boolean array or signal on the navigation axes, or a HyperSpy ROI.
    t_over_lambda
        Signal or array on the navigation axes, such as that of a :class:`.Delithiation`. If None, the logarithm of all
        counts over those of the zero loss.

    Returns
    -------
    spectrum
        Energy in eV from the zero loss, density per eV, and standard error.

    Raises
    ------
    ValueError
        If the shape is wrong, or no pixel of the region has a zero loss and scatters.
    TypeError
        If ``where`` is something else.
    """
    mask = chosen_pixels(signal, "where", where)
    energy = signal.axes_manager.signal_axes[0].axis
    data = signal.data.reshape((-1, energy.size))[np.flatnonzero(mask)]
    data = np.asarray(data.compute() if signal._lazy else data, dtype=float)
    maps = signal.estimate_zero_loss()
    thickness = (
        mean_spectra.log_ratio(data, maps.intensity.data[mask])
        if t_over_lambda is None
        else np.asarray(getattr(t_over_lambda, "data", t_over_lambda)).reshape(mask.shape)[mask]
    )
    return mean_spectra.mean_spectrum(data, energy, zero_loss=maps.centre.data[mask], t_over_lambda=thickness)


def chosen_pixels(signal: Any, argument: str, where: Any) -> NDArray[np.bool_]:
    """Boolean array on the navigation axes; errors speak of the argument that the user gave."""
    if where is None:
        return np.ones(signal.axes_manager._navigation_shape_in_array or (1,), dtype=bool)
    return region_mask(signal, where, name=argument)


def region_pixels(
    signal: Any, where: Any, names: Sequence[str] | Mapping[int, str] | None, argument: str = "regions"
) -> dict[str, NDArray[np.intp]]:
    """Flat indices of the pixels of each region."""
    if isinstance(where, Mapping):
        found = {}
        for name, part in where.items():
            inner = region_pixels(signal, part, names, f"regions[{name!r}]")
            found |= {(name if label == "region" else f"{name} {label}"): pixels for label, pixels in inner.items()}
        return found
    labels = np.asarray(getattr(where, "data", where)) if hasattr(where, "dtype") or hasattr(where, "data") else None
    if labels is not None and np.issubdtype(labels.dtype, np.integer):
        shape = signal.axes_manager._navigation_shape_in_array or (1,)
        if labels.shape != shape:
            raise ValueError(
                f"{argument} has the shape {labels.shape}, but the navigation axes have {shape} (y before x)."
            )
        return name_regions(labels, names)
    return name_regions(chosen_pixels(signal, argument, where))
