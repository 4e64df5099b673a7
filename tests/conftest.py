"""Fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

mpl.use("Agg")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, which is not part of the project."""
    named = os.environ.get("HYPERSPY_ASSB_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data are not here: they are looked for in {folder}")
    return folder


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    """Close what a test has drawn: figures made through pyplot live until they are closed."""
    yield
    plt.close("all")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def differentiate() -> Callable[[Callable[[np.ndarray], np.ndarray], np.ndarray, int, float], np.ndarray]:
    """Derivative of f(parameters) for one parameter by central differences of fourth order in the step."""

    def derivative(function, parameters, index, step):
        def at(multiple):
            moved = np.array(parameters, dtype=float)
            moved[..., index] += multiple * step
            return function(moved)

        return (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * step)

    return derivative
