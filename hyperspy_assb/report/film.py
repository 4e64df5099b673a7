"""A series as an annotated film: frames in their place, grains, cracks, time, potential and dose."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.plotting.series import plot_frames
from hyperspy_assb.signals.series.drift_correction import DriftCorrection

_MOST = 240
"""Frames of a film; of more, every second or third is shown."""
_SECONDS = 0.2
"""That a frame is shown."""


def write_film(
    folder: Path, series: Any, drift: DriftCorrection, *, grains: Any = None, cracks: Any = None
) -> tuple[Path, str]:
    """Write ``film.mp4``, or an animated ``film.png`` where imageio has no ffmpeg.

    Returns
    -------
    path, note
        Of the film; what a reader must know of it.

    Raises
    ------
    AssbValueError
        If imageio is not installed.
    """
    if importlib.util.find_spec("imageio") is None:
        raise AssbValueError('A film needs imageio: pip install "hyperspy-assb[series]".')
    from imageio import v2 as imageio

    ffmpeg = importlib.util.find_spec("imageio_ffmpeg") is not None
    path = folder / ("film.mp4" if ffmpeg else "film.png")
    moved = drift.apply(series)
    every = -(-series.axes_manager.navigation_size // _MOST)
    shown = np.arange(0, series.axes_manager.navigation_size, every)
    low, high = np.nanpercentile(drift.found.mean, [0.5, 99.5])
    options: dict[str, Any] = {"fps": 1.0 / _SECONDS} if ffmpeg else {"duration": 1000.0 * _SECONDS, "loop": 0}
    with imageio.get_writer(path, **options) as writer:
        for number in shown:
            # Of a lazy series, one frame is in memory at a time.
            frame = np.asarray(moved.data[number], dtype=float)
            writer.append_data(_picture(series, frame, int(number), (low, high), grains, cracks))
    note = f"The film shows every frame number that {every} divides." if every > 1 else ""
    return path, note


def _picture(
    series: Any, frame: np.ndarray, number: int, limits: tuple[float, float], grains: Any, cracks: Any
) -> np.ndarray:
    figure, ax = plt.subplots(figsize=(4.8, 5.12), dpi=100, layout="constrained")
    paths = [] if cracks is None else [c.path for c in cracks.cracks if c.onset <= number]
    labels = None if grains is None else grains.grains.labels
    plot_frames([frame], [_title(series, number)], labels=labels, cracks=[paths], axes=[ax])
    ax.images[0].set_clim(*limits)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return picture


def _title(series: Any, number: int) -> str:
    parts = [f"{series.time[number]:.4g} s"]
    if series.potential is not None and np.isfinite(series.potential[number]):
        parts.append(f"{series.potential[number]:.2f} V")
    if series.accumulated_dose is not None:
        parts.append(f"{series.accumulated_dose[number]:.3g} electrons per nm²")
    return ", ".join(parts)
