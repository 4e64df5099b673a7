"""HyperSpy signals for all-solid-state batteries, and reading them from files."""

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
