"""What exspy makes of the metadata of an EDX signal, kept apart from what was recorded."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from exspy.signals import EDSTEMSpectrum

from hyperspy_assb.models.recorded_signal import recorded_names, recorded_number
from hyperspy_assb.signals.eds.map_reading import BULK, DEFAULTS, EDS, TEM

_DEFAULTED = {
    "tilt_stage": TEM + "Stage.tilt_alpha",
    "elevation_angle": EDS + "elevation_angle",
    "azimuth_angle": EDS + "azimuth_angle",
    "energy_resolution_MnKa": EDS + "energy_resolution_MnKa",
}


class RecordedEDSTEMSpectrum(EDSTEMSpectrum):
    """exspy's signal, which notes what of its metadata nobody measured."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        known = getattr(self, "_metadata", None)
        from_sem = known is not None and "Acquisition_instrument.SEM.Detector.EDS" in known
        # exspy takes what is known of an SEM for that of a TEM.
        super().__init__(*args, **kwargs)
        if from_sem:
            self.metadata.set_item(BULK, True)

    def _set_default_param(self) -> None:
        """exspy's defaults, with a note of what was not in the file; exspy also resets the signal type, this
        does not."""
        invented = [name for name, item in _DEFAULTED.items() if item not in self.metadata]
        super()._set_default_param()
        self.metadata.Signal.signal_type = self._signal_type
        if invented:
            noted = recorded_names(self, DEFAULTS)
            self.metadata.set_item(DEFAULTS, sorted({*noted, *invented}))

    def set_microscope_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Set microscope parameters, as :meth:`exspy.signals.EDSTEMSpectrum.set_microscope_parameters` does.

        Parameters
        ----------
        *args, **kwargs
            As there.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> s.set_microscope_parameters(energy_resolution_MnKa=132.0)
        >>> s.metadata.Acquisition_instrument.TEM.Detector.EDS.energy_resolution_MnKa
        132.0
        """
        super().set_microscope_parameters(*args, **kwargs)
        noted = recorded_names(self, DEFAULTS)
        if noted:
            left = [name for name in noted if kwargs.get(name) is None]
            self.metadata.set_item(DEFAULTS, left)

    @contextmanager
    def _as_exspy(self) -> Any:
        """While exspy's methods look at the signal type by name, it is theirs."""
        self.metadata.Signal.signal_type = "EDS_TEM"
        try:
            yield
        finally:
            self.metadata.Signal.signal_type = self._signal_type

    def get_take_off_angle(self) -> float:
        """Angle in degrees between the specimen and the way to the detector, as exspy computes it.

        Raises
        ------
        AssbValueError
            If an angle in the metadata is no number.
        """
        for item in (TEM + "Stage.tilt_alpha", TEM + "Stage.tilt_beta", EDS + "azimuth_angle", EDS + "elevation_angle"):
            recorded_number(self, item, negative=True)
        with self._as_exspy():
            return super().get_take_off_angle()

    def _get_line_energy(self, Xray_line: str, FWHM_MnKa: Any = None) -> Any:
        if FWHM_MnKa == "auto":
            FWHM_MnKa = self.metadata.get_item(_DEFAULTED["energy_resolution_MnKa"])
        return super()._get_line_energy(Xray_line, FWHM_MnKa)
