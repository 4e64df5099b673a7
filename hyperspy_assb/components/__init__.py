"""HyperSpy components of the low-loss spectrum; formulas in :mod:`hyperspy_assb.eels.lineshapes`."""

from hyperspy_assb.components.edges import EDGE_CLASSES, L23Edge, LiKEdge, M23Edge, M45Edge
from hyperspy_assb.components.plasmon import VolumePlasmon
from hyperspy_assb.components.valence import CarbonPiBand, FePO4ValenceBand, ValenceContinuum
from hyperspy_assb.components.zero_loss import DarkLevel, ZeroLossPeak

__all__ = [
    "EDGE_CLASSES",
    "CarbonPiBand",
    "DarkLevel",
    "FePO4ValenceBand",
    "L23Edge",
    "LiKEdge",
    "M23Edge",
    "M45Edge",
    "ValenceContinuum",
    "VolumePlasmon",
    "ZeroLossPeak",
]
