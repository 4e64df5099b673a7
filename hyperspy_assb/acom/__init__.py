"""Automated crystal orientation mapping of 4D-STEM scans: arrays in, arrays out.

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module as _import_module

_NAMES = {
    "CrystalPhase": "hyperspy_assb.acom.crystals.crystal_phase",
    "FractionOptions": "hyperspy_assb.acom.maps.area_fractions",
    "GrainOptions": "hyperspy_assb.acom.maps.grains",
    "MechanismOptions": "hyperspy_assb.acom.maps.particles",
    "TemplateBank": "hyperspy_assb.acom.templates.bank",
    "load_phase": "hyperspy_assb.acom.crystals.crystal_phase",
    "simulate_bank": "hyperspy_assb.acom.templates.bank",
}


def __dir__() -> list[str]:
    return sorted(_NAMES)


def __getattr__(name: str) -> object:
    if name in _NAMES:
        return getattr(_import_module(_NAMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
