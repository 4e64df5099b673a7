"""HyperSpy signals for all-solid-state batteries, and reading them from files."""

import warnings

with warnings.catch_warnings():
    # exspy 0.3.2 imports lazy signals from modules that HyperSpy 2.5 has made private: no user can mend that.
    warnings.filterwarnings("ignore", message="Importing `Lazy")
    import exspy.signals  # noqa: F401

from hyperspy_assb.signals.acom.signal import ACOMPatterns, LazyACOMPatterns, load_patterns
from hyperspy_assb.signals.echem.signal import ASSBVoltammogram, LazyASSBVoltammogram, load_voltammogram
from hyperspy_assb.signals.eds.signal import ASSBEDSTEMSpectrum, LazyASSBEDSTEMSpectrum, load_eds_spectrum_image
from hyperspy_assb.signals.eels.signal import ASSBEELSSpectrum, LazyASSBEELSSpectrum, load_spectrum_image
from hyperspy_assb.signals.series.series_loading import load_series
from hyperspy_assb.signals.series.signal import ASSBSTEMSeries, LazyASSBSTEMSeries

__all__ = [
    "ACOMPatterns",
    "ASSBEDSTEMSpectrum",
    "ASSBEELSSpectrum",
    "ASSBSTEMSeries",
    "ASSBVoltammogram",
    "LazyACOMPatterns",
    "LazyASSBEDSTEMSpectrum",
    "LazyASSBEELSSpectrum",
    "LazyASSBSTEMSeries",
    "LazyASSBVoltammogram",
    "load_eds_spectrum_image",
    "load_patterns",
    "load_series",
    "load_spectrum_image",
    "load_voltammogram",
]
