"""Mean spectra of regions that a user names."""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperspy_assb.eels.scattering import mean_spectra
from hyperspy_assb.eels.scattering.mean_spectra import MeanSpectrum
from hyperspy_assb.signals.region_mask import region_mask


def mean_spectrum(signal: Any, region: Any = None, *, t_over_lambda: Any = None) -> MeanSpectrum:
    """Mean spectrum of a region per zero loss and t/λ, as :func:`.plot_before_after` takes it.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        Low-loss spectra.
    region
        None for all pixels, a boolean array or signal on the navigation axes (True: taken), or a HyperSpy ROI.
    t_over_lambda
        Signal or array on the navigation axes, such as that of a :class:`.Delithiation`. If None, the logarithm of all
        counts over those of the zero-loss peak.

    Returns
    -------
    spectrum
        Energy in eV from the zero-loss peak, density per eV, and standard error.

    Raises
    ------
    ValueError
        If the shape is wrong, or no pixel of the region has a zero-loss peak and scatters.
    TypeError
        If the region is something else.

    Examples
    --------
    >>> from hyperspy_assb.signals.eels.mean_spectra import mean_spectrum
    >>> from hyperspy_assb.simulation import micro_battery
    >>> battery = micro_battery((6, 8), seed=1, signal_type="EELS_ASSB")
    >>> electrode = battery.truth.after.olivine > 0.3
    >>> found = mean_spectrum(battery.eels_after, electrode)
    >>> found.n_pixels, round(float(found.energy[found.density.argmax()]))
    (32, 0)
    """
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    mask = np.ones(shape, dtype=bool) if region is None else region_mask(signal, region)
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
