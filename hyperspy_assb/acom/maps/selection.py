"""Taking pixels out of a scan whose answers are not sure enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan
from hyperspy_assb.errors import AssbValueError

_LARGEST = {
    "correlation": 1.0,
    "reliability": 100.0,
    "phase_reliability": 100.0,
    "twin_reliability": 100.0,
    "posterior": 1.0,
}


def select_pixels(scan: IndexedScan, **least: float | None) -> tuple[IndexedScan, NDArray[np.bool_]]:
    """A scan without the answers of pixels that stay below what is asked of them.

    Parameters
    ----------
    scan
        What was indexed.
    **least
        Smallest ``correlation`` (0 to 1), ``reliability``, ``phase_reliability``, ``twin_reliability`` (0 to 100) and
        ``posterior`` of the phase (0 to 1); None asks nothing.

    Returns
    -------
    scan, taken_out
        Pixels that were taken out have neither phase nor orientation: shape (ny, nx).

    Raises
    ------
    ValueError
        If a limit cannot be, or the scan does not know what is asked for.
    """
    indexed = np.asarray(scan.phase) != NOT_INDEXED
    keep = indexed.copy()
    for name, limit in least.items():
        if limit is None:
            continue
        if not 0.0 <= limit <= _LARGEST[name]:
            raise AssbValueError(f"{name}: from 0 to {_LARGEST[name]:g}, not {limit}.")
        values = getattr(scan, name)
        if values is None:
            raise AssbValueError(f"{name}: this result does not know it.")
        if name == "posterior":
            at = np.maximum(np.asarray(scan.phase), 0)[..., None]
            values = np.take_along_axis(np.asarray(values), at, axis=-1)[..., 0]
        # NaN is not sure.
        keep &= np.asarray(values) >= limit
    out = indexed & ~keep
    blank: dict[str, Any] = {
        name: np.where(out.reshape(*out.shape, *(1,) * (np.ndim(values) - 2)), np.nan, values)
        for name in ("orientation", "reliability", "phase_reliability", "posterior", "twin_reliability")
        if (values := getattr(scan, name)) is not None
    }
    return replace(scan, phase=np.where(out, NOT_INDEXED, scan.phase), **blank), out
