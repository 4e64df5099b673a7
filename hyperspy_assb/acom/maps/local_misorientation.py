"""How far the orientation of a pixel is from those about it, within one grain."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of
from hyperspy_assb.acom.maps.grains import THRESHOLD
from hyperspy_assb.acom.matching.indexed import IndexedScan
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray


def kernel_average_misorientation(scan: IndexedScan, *, reach: int = 1, threshold: float = THRESHOLD) -> FloatArray:
    """Mean disorientation of each pixel from its neighbours in the same grain (kernel average misorientation).

    Parameters
    ----------
    scan
        Phases and orientations.
    reach
        Neighbours are up to so many rows and columns away, the corners of that square counted.
    threshold
        Degrees above which a neighbour is of another grain, and is left out; so are half turns that a pattern does not
        show.

    Returns
    -------
    angle
        Degrees; NaN where there is no neighbour of the same phase within the threshold, shape (ny, nx).

    Raises
    ------
    ValueError
        If the reach is below 1, or the threshold not between 0 and 180.
    """
    if reach < 1:
        raise AssbValueError(f"reach: pixels, at least 1, not {reach}.")
    if not 0.0 < threshold < 180.0:
        raise AssbValueError(f"threshold: degrees between 0 and 180, not {threshold}.")
    phase = np.asarray(scan.phase)
    total, count = np.zeros(phase.shape), np.zeros(phase.shape)
    ny, nx = phase.shape
    # Each pair once: the other pixel is below, or beside to the right.
    for dy in range(reach + 1):
        for dx in range(-reach if dy else 1, reach + 1):
            if dy >= ny or abs(dx) >= nx:
                continue
            one = np.s_[: ny - dy, max(0, -dx) : nx - max(0, dx)]
            other = np.s_[dy:, max(0, dx) : nx - max(0, -dx)]
            angle = np.full(phase[one].shape, np.nan)
            for number, crystal in enumerate(scan.phases):
                same = (phase[one] == number) & (phase[other] == number)
                angle[same] = disorientation(
                    scan.orientation[one][same], scan.orientation[other][same], symmetry_of(crystal)
                )
            near = angle <= threshold
            for place in (one, other):
                total[place] += np.where(near, angle, 0.0)
                count[place] += near
    return np.divide(total, count, out=np.full(phase.shape, np.nan), where=count > 0)
