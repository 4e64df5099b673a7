"""How much the spots of a pattern count: one weighting for the templates of the search and for the refinement."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from hyperspy_assb.fitting.spectra.line_shape import FloatArray


class SpotWeighting(NamedTuple):
    """Weights ``I**intensity * q**radius`` of spots of intensity I at a radius q.

    High powers of the intensity make a few strong spots decide, whose intensities are the least kinematical ones.

    Parameters
    ----------
    intensity, radius
        Powers.
    """

    intensity: float = 0.3
    radius: float = 0.5

    def of(self, intensity: FloatArray, radius: FloatArray) -> FloatArray:
        """Weights of spots, 0 where there is none, any shape."""
        lit = intensity > 0.0
        return np.where(lit, np.where(lit, intensity, 1.0) ** self.intensity * radius**self.radius, 0.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def spot_weight(intensity: float, radius2: float, intensity_power: float, radius_power: float) -> float:
    """The same for one spot in compiled code, by its squared radius: one exponential is faster than two powers."""
    return np.exp(intensity_power * np.log(intensity) + 0.5 * radius_power * np.log(radius2))
