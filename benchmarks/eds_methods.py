"""The analyses that the benchmark of X-rays judges: ours, and exspy's for comparison."""

from __future__ import annotations

import time

import numpy as np

import hyperspy_assb

LINES = [
    "Al_Ka",
    "Au_Ma",
    "C_Ka",
    "Cu_Ka",
    "Cu_La",
    "Fe_Ka",
    "Fe_La",
    "Ga_Ka",
    "Ga_La",
    "Ge_Ka",
    "Ge_La",
    "O_Ka",
    "P_Ka",
    "Pt_La",
    "Pt_Ma",
    "Si_Ka",
    "V_Ka",
    "V_La",
]
RANGE = (0.18, 15.0)  # keV


def model(signal):
    """exspy's own model of the lines of the battery: Gaussians of fixed energy and width, polynomial background."""
    signal = signal.deepcopy() if not signal._lazy else signal
    signal.set_signal_type("EDS_TEM")
    signal.set_lines(LINES)
    return signal.isig[RANGE[0] : RANGE[1]].create_model()


def _intensities(made) -> dict[str, np.ndarray]:
    return {s.metadata.Sample.xray_lines[0]: s.data.squeeze() for s in made.get_lines_intensity()}


def exspy_line_counts(signal, optimizer: str) -> tuple[dict[str, np.ndarray], float]:
    """Counts of every line by exspy's `multifit`, and seconds for a pixel."""
    made = model(signal)
    start = time.perf_counter()
    made.multifit(optimizer=optimizer, show_progressbar=False)
    seconds = (time.perf_counter() - start) / signal.axes_manager.navigation_size
    return _intensities(made), seconds


def line_counts(signal) -> dict[str, np.ndarray]:
    """Counts of every line by our engine, of the same model."""
    made = model(signal)
    hyperspy_assb.multifit(made, show_progressbar=False)
    return _intensities(made)
