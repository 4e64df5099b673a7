"""Low-loss signals on the dispersion of a core-loss signal."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.spectra.channels import share_counts
from hyperspy_assb.reference.energy_units import energy_unit

_SAME = 0.1
"""Channels by which two axes may differ at the end of a spectrum and yet be taken for one."""
_PER_EV = {"meV": 1000.0, "eV": 1.0, "keV": 0.001}


def on_dispersion_of(low_loss: Any, signal: Any) -> Any:
    """A low-loss signal with channels as wide as those of another signal, as a convolution needs it.

    Parameters
    ----------
    low_loss, signal : EELSSpectrum
        The low loss stays as it is: where its channels differ, a new signal has its counts shared out over others.

    Raises
    ------
    AssbValueError
        If 0 eV lies outside the low loss.

    Warns
    -----
    AssbWarning
        If the low loss is the coarser: its resolution is that of all that is convolved with it.
    """
    own, wanted = low_loss.axes_manager.signal_axes[0], signal.axes_manager.signal_axes[0]
    if not (own.is_uniform and wanted.is_uniform):
        return low_loss  # which the model refuses
    factor = _PER_EV.get(energy_unit(wanted.units), 1.0) / _PER_EV.get(energy_unit(own.units), 1.0)
    energy, scale = np.asarray(own.axis, dtype=float) * factor, float(wanted.scale)
    if not energy[0] <= 0.0 <= energy[-1]:
        raise AssbValueError(
            f"low_loss goes from {own.low_value:g} to {own.high_value:g} {own.units}: it must contain 0 eV, the "
            "position of unscattered electrons."
        )
    width = float(own.scale) * factor
    if abs(width / scale - 1.0) * own.size < _SAME and factor == 1.0:
        return low_loss
    if width > scale * (1.0 + _SAME):
        warnings.warn(
            f"low_loss has channels of {width:g} eV, and the spectra of {scale:g} eV: its counts are redistributed, "
            f"and the convolved model is no sharper than {width:g} eV.",
            AssbWarning,
            stacklevel=4,
        )
    data = low_loss.data.compute() if low_loss._lazy else low_loss.data
    if not energy[0] - 0.5 * width <= -0.5 * scale <= 0.5 * scale <= energy[-1] + 0.5 * width:
        raise AssbValueError(
            f"low_loss goes from {own.low_value:g} to {own.high_value:g} {own.units}: it must hold {0.5 * scale:g} eV "
            "on either side of 0 eV, the position of unscattered electrons."
        )
    counts, centres = share_counts(data, energy, scale)
    whole = low_loss.deepcopy()
    if whole._lazy:
        whole.compute()
    shared = whole._deepcopy_with_new_data(counts)
    axis = shared.axes_manager.signal_axes[0]
    axis.size, axis.scale, axis.offset, axis.units = centres.size, scale, float(centres[0]), wanted.units
    return shared
