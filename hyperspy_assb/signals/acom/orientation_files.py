"""Orientation maps from their file."""

from __future__ import annotations

from pathlib import Path

from hyperspy_assb.signals.acom.orientations import OrientationMaps


def load_orientations(path: str | Path) -> OrientationMaps:
    """Load what :meth:`OrientationMaps.save` wrote; see :meth:`.ScanMaps.load`."""
    return OrientationMaps.load(path)
