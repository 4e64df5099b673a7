from .crystals.crystal_phase import CrystalPhase, load_phase
from .maps.area_fractions import FractionOptions
from .maps.grains import GrainOptions
from .maps.particles import MechanismOptions
from .matching.block_indexing import IndexingOptions
from .templates.bank import BankOptions, TemplateBank, simulate_bank

__all__ = [
    "BankOptions",
    "CrystalPhase",
    "FractionOptions",
    "GrainOptions",
    "IndexingOptions",
    "MechanismOptions",
    "TemplateBank",
    "load_phase",
    "simulate_bank",
]
