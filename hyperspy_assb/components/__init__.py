"""HyperSpy components of the low-loss spectrum; formulas in :mod:`hyperspy_assb.eels.lineshapes`."""

from hyperspy_assb.components.low_loss import (
    EDGE_CLASSES,
    CarbonPiBand,
    DarkLevel,
    FePO4ValenceBand,
    L23Edge,
    LiKEdge,
    M23Edge,
    M45Edge,
    N45Edge,
    ValenceContinuum,
    VolumePlasmon,
    ZeroLossPeak,
)

__all__ = [
    "EDGE_CLASSES",
    "CarbonPiBand",
    "DarkLevel",
    "FePO4ValenceBand",
    "L23Edge",
    "LiKEdge",
    "M23Edge",
    "M45Edge",
    "N45Edge",
    "ValenceContinuum",
    "VolumePlasmon",
    "ZeroLossPeak",
]
