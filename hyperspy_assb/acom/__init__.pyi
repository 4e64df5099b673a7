from .crystals.crystal_phase import CrystalPhase, load_phase
from .maps.area_fractions import FractionOptions
from .maps.grains import GrainOptions
from .maps.particles import MechanismOptions
from .templates.bank import TemplateBank, simulate_bank

__all__ = [
    "CrystalPhase",
    "FractionOptions",
    "GrainOptions",
    "MechanismOptions",
    "TemplateBank",
    "load_phase",
    "simulate_bank",
]
