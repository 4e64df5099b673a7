"""A virtual all-solid-state micro-battery: ground truth for demonstrations, tests and benchmarks."""

from .battery import MicroBattery, Truth, micro_battery, spectra_to_signal
from .conditions import Beam, Detector, EELSConditions
from .diffraction import simulate_patterns
from .diffraction_conditions import DiffractionConditions
from .diffraction_scan import DiffractionScan, dominant_material, patterns_to_signal, simulate_scan
from .lamella import LamellaOptions, build_lamella
from .spectra import mean_free_path, relative_thickness, simulate_spectra
from .state import MATERIALS, LamellaState, Particles
from .xrays import sensitivity, simulate_xrays, true_k_factors
from .xrays_conditions import Contamination, XRayConditions, XRayDetector
from .xrays_interface import InterfaceOptions, InterfaceScene, InterfaceTruth, simulate_interface
from .xrays_signals import XRayTruth, xrays_to_signal

__all__ = [
    "MATERIALS",
    "Beam",
    "Contamination",
    "Detector",
    "DiffractionConditions",
    "DiffractionScan",
    "EELSConditions",
    "InterfaceOptions",
    "InterfaceScene",
    "InterfaceTruth",
    "LamellaOptions",
    "LamellaState",
    "MicroBattery",
    "Particles",
    "Truth",
    "XRayConditions",
    "XRayDetector",
    "XRayTruth",
    "build_lamella",
    "dominant_material",
    "mean_free_path",
    "micro_battery",
    "patterns_to_signal",
    "relative_thickness",
    "sensitivity",
    "simulate_interface",
    "simulate_patterns",
    "simulate_scan",
    "simulate_spectra",
    "simulate_xrays",
    "spectra_to_signal",
    "true_k_factors",
    "xrays_to_signal",
]
