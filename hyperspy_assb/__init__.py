"""EELS, EDX and 4D-STEM analysis of all-solid-state batteries, as HyperSpy signal methods.

Public names are imported when they are first used: importing this package alone costs nothing, neither to
``import hyperspy.api``, which finds every installed extension, nor to the command line.
"""

from __future__ import annotations

from importlib import import_module as _import_module

__version__ = "0.1.0"

_SUBMODULES = frozenset(
    {"acom", "components", "eds", "eels", "fitting", "models", "plotting", "provenance", "reference", "signals"}
    | {"report", "simulation"}
)
_NAMES = {
    "compare_fits": "hyperspy_assb.signals.fits.fit_comparison",
    "compare_phases": "hyperspy_assb.signals.acom.phase_comparison",
    "load_comparison": "hyperspy_assb.signals.eels.low_loss_comparison",
    "load_composition_comparison": "hyperspy_assb.signals.eds.composition_comparison",
    "load_delithiation": "hyperspy_assb.signals.eels.delithiation",
    "load_eds_composition": "hyperspy_assb.signals.eds.compositions",
    "load_eds_phases": "hyperspy_assb.signals.eds.compositions",
    "load_eds_spectrum_image": "hyperspy_assb.signals.eds.signal",
    "load_interface_profile": "hyperspy_assb.signals.eds.interface_profile",
    "load_orientations": "hyperspy_assb.signals.acom.orientation_files",
    "load_patterns": "hyperspy_assb.signals.acom.signal",
    "load_spectrum_image": "hyperspy_assb.signals.eels.signal",
    "multifit": "hyperspy_assb.models.multifit",
    "plot_residuals": "hyperspy_assb.signals.fits.residuals",
    "predict_precision": "hyperspy_assb.signals.fits.precision",
    "to_lmfit": "hyperspy_assb.models.lmfit_bridge",
}

__all__ = [
    "__version__",
    "acom",
    "compare_fits",
    "compare_phases",
    "components",
    "load_comparison",
    "load_composition_comparison",
    "load_delithiation",
    "load_eds_composition",
    "load_eds_phases",
    "load_eds_spectrum_image",
    "load_interface_profile",
    "load_orientations",
    "load_patterns",
    "load_spectrum_image",
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


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> object:
    if name in _NAMES:
        return getattr(_import_module(_NAMES[name]), name)
    if name in _SUBMODULES:
        try:
            return _import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
