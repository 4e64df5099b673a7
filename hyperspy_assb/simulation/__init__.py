"""A virtual all-solid-state micro-battery: ground truth for demonstrations, tests and benchmarks."""

from .battery import MicroBattery, Truth, micro_battery, spectra_to_signal
from .conditions import Beam, Detector, EELSConditions
from .diffraction import simulate_patterns
from .diffraction_conditions import DiffractionConditions
from .lamella import LamellaOptions, build_lamella
from .spectra import mean_free_path, relative_thickness, simulate_spectra
from .state import MATERIALS, LamellaState, Particles

__all__ = [
    "MATERIALS",
    "Beam",
    "Detector",
    "DiffractionConditions",
    "EELSConditions",
    "LamellaOptions",
    "LamellaState",
    "MicroBattery",
    "Particles",
    "Truth",
    "build_lamella",
    "mean_free_path",
    "micro_battery",
    "relative_thickness",
    "simulate_patterns",
    "simulate_spectra",
    "spectra_to_signal",
]
