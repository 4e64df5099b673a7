from . import acom, components, errors, models, plotting, provenance, reference, signals, simulation
from .batching.batch import batch
from .lamella.lamella import Lamella
from .models.lmfit_bridge import to_lmfit
from .reference.materials import add_materials, electrodes, materials
from .signals.acom.phase_comparison import compare_phases
from .signals.acom.signal import load_patterns
from .signals.echem.signal import load_voltammogram
from .signals.eds.signal import load_eds_spectrum_image
from .signals.eels.signal import load_spectrum_image
from .signals.fits.fit_comparison import compare_fits
from .signals.fits.multifit import multifit
from .signals.fits.precision import predict_precision
from .signals.fits.residuals import plot_residuals
from .signals.result import load
from .signals.series.series_loading import load_series

__version__: str

__all__ = [
    "Lamella",
    "__version__",
    "acom",
    "add_materials",
    "batch",
    "compare_fits",
    "compare_phases",
    "components",
    "electrodes",
    "errors",
    "load",
    "load_eds_spectrum_image",
    "load_patterns",
    "load_series",
    "load_spectrum_image",
    "load_voltammogram",
    "materials",
    "models",
    "multifit",
    "plot_residuals",
    "plotting",
    "predict_precision",
    "provenance",
    "reference",
    "signals",
    "simulation",
    "to_lmfit",
]
