"""What the removal of the zero-loss peak leaves of real spectra: `python benchmarks/zero_loss.py [FOLDER ...]`.

For every EELS signal with a zero-loss peak in the folders: channels between 1.5 and 10 eV above the peak that lie more
than 3 and 6 of their errors below 0, the most that chance leaves there in 99 of 100 spectra, and the stated error over
the scatter about parabolas through 11 channels, and over that of neighbours (third differences), which a camera that
spreads electrons over channels makes too small. A refusal is shown by its sentence.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import savgol_coeffs

LOW, HIGH = 1.5, 10.0  # eV above the zero-loss peak
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDERS = (SHARED / "eels", SHARED / "files")
METHODS = ("fit", "mirror")
MOST_NEGATIVE, NEVER = -3.0, -6.0
_MEDIAN_OF_SQUARE = 0.4549
_PARABOLA = np.eye(11)[5] - savgol_coeffs(11, 2)
_NEIGHBOURS = np.array([-1.0, 3.0, -3.0, 1.0])


@dataclass(frozen=True)
class Row:
    """Figures of one signal: channels, below -3 errors, allowed there, below -6, lowest, error over scatter twice."""

    name: str
    channels: int
    below: int
    allowed: int
    far_below: int
    lowest: float
    ratio: float
    neighbours: float

    @property
    def good(self) -> bool:
        """Whether every bar is met; a spectrum that does not scatter has no ratio."""
        close = not np.isfinite(self.ratio) or 1 / 1.5 <= self.ratio <= 1.5
        return self.below <= self.allowed and self.far_below == 0 and close

    def __str__(self) -> str:
        mark = " " if self.good else "!"
        return (
            f"{mark} {self.name:<52} {self.channels:6d} {self.below:6d} {self.allowed:6d} {self.far_below:6d} "
            f"{self.lowest:9.2f} {self.ratio:7.2f} {self.neighbours:7.2f}"
        )


def signals(folders: tuple[Path, ...]) -> Iterator[tuple[str, Any]]:
    """Every one-dimensional signal of EELS, or of no type, with energies around 0 eV."""
    for path in sorted(p for folder in folders for p in folder.rglob("*") if p.is_file()):
        try:
            loaded = hs.load(path)
        except (OSError, ValueError, ImportError, KeyError, TypeError):  # what HyperSpy does not read
            continue
        for signal in loaded if isinstance(loaded, list) else [loaded]:
            if signal.axes_manager.signal_dimension != 1 or signal.data.dtype.kind not in "iuf":
                continue
            axis = signal.axes_manager.signal_axes[0]
            kind = signal.metadata.Signal.signal_type
            if kind not in ("EELS", "") or axis.units != "eV" or axis.low_value > 0.0 or axis.high_value < HIGH:
                continue
            signal.set_signal_type("EELS_ASSB")
            yield f"{path.parent.name}/{path.name}", signal


def judge(name: str, signal: Any, method: str) -> Row | str:
    """Figures of a signal, or the sentence by which it is refused."""
    try:
        centre = signal.estimate_zero_loss().centre.data.reshape(-1)
        removed = signal.remove_zero_loss(method)
    except ValueError as refusal:
        return str(refusal)
    energy = signal.axes_manager.signal_axes[0].axis
    left = removed.data.reshape(-1, energy.size)
    std = np.sqrt(removed.get_noise_variance().data.reshape(left.shape))
    loss = energy - centre[:, np.newaxis]
    inside = (loss >= LOW) & (loss <= HIGH) & np.isfinite(left) & (std > 0)
    z = left[inside] / std[inside]
    if not z.size:
        return "no channel was left to judge"
    return Row(
        name,
        z.size,
        int((z < MOST_NEGATIVE).sum()),
        int(stats.binom.ppf(0.99, z.size, stats.norm.cdf(MOST_NEGATIVE))),
        int((z < NEVER).sum()),
        float(z.min()),
        error_over_scatter(left, std, inside, _PARABOLA),
        error_over_scatter(left, std, inside, _NEIGHBOURS),
    )


def error_over_scatter(
    left: NDArray[Any], std: NDArray[Any], inside: NDArray[np.bool_], weights: NDArray[Any]
) -> float:
    """Median of stated error over scatter of weighted sums of channels; NaN if there are too few."""
    views = np.lib.stride_tricks.sliding_window_view
    whole = views(inside, weights.size, axis=1).all(axis=-1)
    if not whole.any():
        return float("nan")
    differences = (views(left, weights.size, axis=1) @ weights)[whole]
    stated = (views(std**2, weights.size, axis=1) @ weights**2)[whole]
    scatter = np.median(differences**2 / stated) / _MEDIAN_OF_SQUARE
    return float(1 / np.sqrt(scatter)) if scatter > 0 else float("nan")


def main(folders: tuple[Path, ...]) -> int:
    """Print the table; the number of signals that miss a bar."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    missed = 0
    for method in METHODS:
        print(f"\nmethod={method!r}: {LOW:g} to {HIGH:g} eV above the zero-loss peak")
        heads = f"{'chans':>6} {'< -3':>6} {'99 %':>6} {'< -6':>6} {'lowest':>9} {'err/sc':>7} {'nbours':>7}"
        print(f"  {'signal':<52} {heads}")
        for name, signal in signals(folders):
            row = judge(name, signal, method)
            print(row if isinstance(row, Row) else f"  {name:<52} {row}")
            missed += isinstance(row, Row) and not row.good
    return missed


if __name__ == "__main__":
    given = tuple(Path(argument) for argument in sys.argv[1:]) or FOLDERS
    sys.exit(main(given) > 0)
