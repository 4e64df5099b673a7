"""The EELS signal of all-solid-state batteries.

Methods are thin: they read axes and metadata, call one function on arrays, and dress what comes back as signals.
"""

from __future__ import annotations

import warnings

import numpy as np
from exspy.signals import EELSSpectrum, LazyEELSSpectrum
from hyperspy.signals import BaseSignal
from numpy.typing import NDArray

from hyperspy_assb.eels import checks, microscope
from hyperspy_assb.eels.microscope import MicroscopeParameters

_TEM = "Acquisition_instrument.TEM."
_MICROSCOPE_ITEMS = {
    "beam_energy": _TEM + "beam_energy",
    "convergence_angle": _TEM + "convergence_angle",
    "collection_angle": _TEM + "Detector.EELS.collection_angle",
}


class ASSBEELSSpectrum(EELSSpectrum):
    """EELS spectra of all-solid-state batteries.

    Any EELS signal becomes one by ``s.set_signal_type("EELS_ASSB")`` or ``hs.load(..., signal_type="EELS_ASSB")``;
    data, axes and metadata stay as they are, and every method of :class:`exspy.signals.EELSSpectrum` works. What this
    package notes about a signal is kept in its metadata, under the node ``ASSB``.
    """

    _signal_type = "EELS_ASSB"
    # Not inherited: exspy's aliases belong to its own class.
    _alias_signal_types: list[str] = []

    # ------------------------------------------------------------------ checks

    def validate_energy_axis(
        self, *, minimum_end: float | None = None, zero_loss: bool = False, purpose: str = ""
    ) -> NDArray[np.float64]:
        """Check that the signal has data and an energy axis that an analysis can use.

        Parameters
        ----------
        minimum_end
            Energy in eV that the axis must reach; None: any.
        zero_loss
            Whether the zero loss must be in range.
        purpose
            What the range is for, named in the message.

        Returns
        -------
        NDArray[np.float64]
            Centres of the channels in eV, shape (E,).

        Raises
        ------
        ValueError
            If the signal is empty, the axis is reversed or too short, or there is no zero loss in range.
        NotImplementedError
            If the axis is non-uniform.
        """
        title = self.metadata.get_item("General.title", "") or "signal"
        if self.data.size == 0 or self.data.dtype == object:
            source = self.metadata.get_item("General.original_filename", "")
            raise ValueError(
                f"'{title}' is empty: no spectrum was read" + (f" from {source}." if source else " from its file.")
            )
        axis = self.axes_manager.signal_axes[0]
        name = f"energy axis of '{title}'"
        if not axis.is_uniform:
            raise NotImplementedError(f"The {name} is non-uniform: EELS signals with such axes are not supported.")
        checks.check_energy_axis(axis.axis, name=name)
        if zero_loss:
            checks.check_zero_loss_in_range(axis.axis)
        checks.check_energy_range(axis.axis, minimum_end=minimum_end, purpose=purpose)
        return np.array(axis.axis, dtype=np.float64)

    def find_empty_pixels(self) -> BaseSignal:
        """Find the pixels in which every channel is zero.

        Returns
        -------
        BaseSignal
            Boolean signal on the navigation axes: True where the pixel holds no counts at all.
        """
        self.validate_energy_axis()
        empty = (self.data == 0).all(axis=-1)
        return self._on_navigation_axes(np.asarray(empty), title="Empty pixels")

    def check_microscope_parameters(self, *, update: bool = False) -> MicroscopeParameters:
        """Tell which of the recorded beam energy and angles can be used.

        Placeholders that Gatan files hold for values nobody entered (convergence 0, collection 100 mrad) are treated
        as unset, and a beam energy in V is corrected to keV. Each is said in a warning.

        Parameters
        ----------
        update
            Whether to write the corrected values into the metadata, and remove the placeholders from it.

        Returns
        -------
        MicroscopeParameters
            Beam energy in keV and semi-angles in mrad; None where unset.

        Warns
        -----
        UserWarning
            For each value that was changed, and once naming all that are missing.

        Raises
        ------
        ValueError
            If a value is negative or not finite.
        """
        recorded = {name: self.metadata.get_item(item) for name, item in _MICROSCOPE_ITEMS.items()}
        parameters, messages = microscope.check_microscope_parameters(**recorded)
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=2)
        if update:
            for name, item in _MICROSCOPE_ITEMS.items():
                value = getattr(parameters, name)
                if value is not None:
                    self.metadata.set_item(item, value)
                elif recorded[name] is not None:
                    node, _, leaf = item.rpartition(".")
                    delattr(self.metadata.get_item(node), leaf)
        return parameters

    # ----------------------------------------------------------------- private

    def _on_navigation_axes(self, values: NDArray, *, title: str, quantity: str = "") -> BaseSignal:
        """Dress an array of shape (...) as a signal on the navigation axes of this one."""
        values = np.asarray(values)
        shape = self.axes_manager._navigation_shape_in_array or (1,)
        signal = self._get_navigation_signal(data=values.reshape(shape))
        if self.axes_manager.navigation_dimension:
            signal = signal.transpose(signal_axes=0)
        signal.metadata.General.title = f"{title} of {self.metadata.General.title}"
        if quantity:
            signal.metadata.set_item("Signal.quantity", quantity)
        return signal


class LazyASSBEELSSpectrum(ASSBEELSSpectrum, LazyEELSSpectrum):
    """EELS spectra of all-solid-state batteries that stay on disk until they are needed."""
