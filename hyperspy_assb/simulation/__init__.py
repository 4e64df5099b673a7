"""A virtual all-solid-state micro-battery: ground truth for demonstrations, tests and benchmarks."""

from .battery import MicroBattery, Truth, micro_battery, spectra_to_signal
from .conditions import Beam, Detector, EELSConditions
from .diffraction import simulate_patterns
from .diffraction_conditions import DiffractionConditions
from .diffraction_scan import DiffractionScan, dominant_material, patterns_to_signal, simulate_scan
from .lamella import LamellaOptions, build_lamella
from .spectra import mean_free_path, relative_thickness, simulate_spectra
from .state import MATERIALS, LamellaState, Particles

__all__ = [
    "MATERIALS",
    "Beam",
    "Detector",
    "DiffractionConditions",
    "DiffractionScan",
    "EELSConditions",
    "LamellaOptions",
    "LamellaState",
    "MicroBattery",
    "Particles",
    "Truth",
    "build_lamella",
    "dominant_material",
    "mean_free_path",
    "micro_battery",
    "patterns_to_signal",
    "relative_thickness",
    "simulate_patterns",
    "simulate_scan",
    "simulate_spectra",
    "spectra_to_signal",
]
