"""How x depends on the part of the spectra that it is taken from: a small ensemble of fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.eels.delithiation.pixels import Pixels
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

SIGNIFICANT = 3.0
"""Standard errors above which a change counts: eight are looked at."""
FEWEST, MOST_TRIED, MOST_CHOICES = 10, 1024, 400
"""Pixels that are needed, that are looked at, and those of them that hold olivine and are fitted again."""
NOISY = 0.1
"""Share of the information of the rest of a spectrum that noise of the references may imitate; beyond, a change of x
tells of this noise."""


@dataclass(frozen=True)
class Window:
    """A part of the spectra that is left out, to see what x depends on.

    Parameters
    ----------
    name
        What lies there.
    start, stop
        Its limits in eV; a start of None is where the zero loss ends.
    """

    name: str
    start: float | None
    stop: float

    def mask(self, energy: FloatArray, fwhm: float) -> NDArray[np.bool_]:
        """The channels that are left out, shape (E,)."""
        start = 1.5 * fwhm if self.start is None else self.start
        return (energy > start) & (energy < self.stop)


WINDOWS = (
    Window("tail of the zero loss", None, 3.0),
    Window("5 eV band", 3.0, 8.0),
    Window("all losses up to 15 eV", None, 15.0),
    Window("core losses", 45.0, np.inf),
)
"""What is left out in turn by :func:`measure_choices`."""


def measure_choices(
    standard: Standard,
    counts: ArrayLike,
    energy: FloatArray,
    *,
    detector: Detector | None = None,
    windows: Sequence[Window] = WINDOWS,
    workers: int = 2,
) -> dict[str, FloatArray]:
    """How x by mixture depends on the part of the spectra that it is taken from.

    If the spectra of the phases in a column are those of the standard, every part gives the same x.

    Parameters
    ----------
    standard
        What is known of the phases.
    counts
        As recorded, shape (S, E).
    energy
        Centres of the channels in eV, shape (E,).
    detector
        Gain and read noise.
    windows
        What is left out in turn.
    workers
        Threads.

    Returns
    -------
    changes
        By the name of each window, the change of x in LiFePO4 and FePO4, from a robust straight line against x through
        the pixels with olivine, shape (2,); 0 where it is not significant, NaN where too few pixels can tell. What
        the phases do not explain says so in its status, and is looked at only if there is nothing else.
    """
    detector, counts = detector or Detector(), np.asarray(counts)
    whole = Pixels.of(standard, counts, energy, detector, workers)
    olivine = whole.holds_olivine(0.3)
    explained = olivine & ~whole.unexplained
    rows = np.flatnonzero(explained if explained.sum() >= FEWEST else olivine)[:MOST_CHOICES]
    first, changes = whole.from_amounts(), {}
    x, certain = first.x[rows], first.variance[rows]
    shared = float(np.median(whole.reference_noise()[rows])) if rows.size else 0.0
    for window in windows:
        changes[window.name] = np.full(2, np.nan)
        if rows.size < FEWEST:
            continue
        rest = Pixels.of(standard, counts[rows], energy, detector, workers, window)
        part = rest.from_amounts()
        # The change has the variance that the window takes away from the estimate (Hausman).
        variance = np.maximum(part.variance - certain, 0.1 * certain)
        good = np.isfinite(part.x) & np.isfinite(variance) & (rest.dilution[:, 0] < NOISY)
        good &= variance < 9.0 * np.median(variance[good]) if good.any() else False
        if good.sum() >= FEWEST:
            line, covariance = _robust_line(x[good], (part.x - x)[good], variance[good])
            # All pixels share the noise of the references.
            noise = np.diag(covariance) + shared * np.median(variance[good])
            changes[window.name] = np.where(line**2 > SIGNIFICANT**2 * noise, line, 0.0)
    return changes


def _robust_line(x: FloatArray, values: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Height at x = 1 and at x = 0 of a line through most of the values, and its covariance by how they scatter.

    Huber's estimate: Ann. Math. Stat. 35, 73 (1964), doi 10.1214/aoms/1177703732.
    """
    design = np.stack([x, 1.0 - x], axis=1)
    weight = 1.0 / variance
    for _ in range(30):
        inverse = np.linalg.pinv(design.T @ (design * weight[:, np.newaxis]))
        line = inverse @ (design.T @ (weight * values))
        away = np.abs(values - design @ line) / np.sqrt(variance)
        scale = max(1.0, float(np.median(away)) / 0.6745)
        weight = np.minimum(1.0, 1.345 * scale / np.maximum(away, 1e-12)) / variance
    return line, np.asarray(inverse * scale**2, dtype=float)


def systematic_of(changes: dict[str, FloatArray], x: FloatArray) -> FloatArray:
    """Variance of x from the part of the spectra that it is taken from: the squares of all changes, shape (S,)."""
    inside = np.clip(x, 0.0, 1.0)
    lines = np.array([np.zeros(2), *(np.nan_to_num(change) for change in changes.values())])
    return np.sum((np.outer(inside, lines[:, 0]) + np.outer(1.0 - inside, lines[:, 1])) ** 2, axis=1)
