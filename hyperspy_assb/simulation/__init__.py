"""A virtual all-solid-state micro-battery: ground truth for demonstrations, tests and benchmarks."""

import hyperspy_assb.signals  # noqa: F401 - imports exspy without its warnings
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions
from hyperspy_assb.simulation.acom.patterns import PatternOptions, simulate_patterns
from hyperspy_assb.simulation.acom.scan import DiffractionScan, dominant_material, patterns_to_signal, simulate_scan
from hyperspy_assb.simulation.battery import BatteryOptions, MicroBattery, Truth, micro_battery, spectra_to_signal
from hyperspy_assb.simulation.conditions import Beam, Detector, EELSConditions
from hyperspy_assb.simulation.eds.column_spectra import sensitivity, simulate_edx, true_k_factors
from hyperspy_assb.simulation.eds.conditions import Contamination, XRayConditions, XRayDetector
from hyperspy_assb.simulation.eds.interface import InterfaceOptions, InterfaceScene, InterfaceTruth, simulate_interface
from hyperspy_assb.simulation.eds.signals import XRayTruth, edx_to_signal
from hyperspy_assb.simulation.eels.core_loss import core_loss_conditions, simulate_core_loss
from hyperspy_assb.simulation.eels.spectra import mean_free_path, relative_thickness, simulate_spectra
from hyperspy_assb.simulation.lamella import LamellaOptions, build_lamella
from hyperspy_assb.simulation.state import MATERIALS, LamellaState, Particles

__all__ = [
    "MATERIALS",
    "BatteryOptions",
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
    "PatternOptions",
    "Truth",
    "XRayConditions",
    "XRayDetector",
    "XRayTruth",
    "build_lamella",
    "core_loss_conditions",
    "dominant_material",
    "edx_to_signal",
    "mean_free_path",
    "micro_battery",
    "patterns_to_signal",
    "relative_thickness",
    "sensitivity",
    "simulate_core_loss",
    "simulate_edx",
    "simulate_interface",
    "simulate_patterns",
    "simulate_scan",
    "simulate_spectra",
    "spectra_to_signal",
    "true_k_factors",
]
