"""Spectra with the least carbon, and carbon where there is none beside a lot of it."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from hyperspy_assb.eds.composition.least_carbon import sum_least_carbon
from hyperspy_assb.eds.eds_map import EDSOptions, Spectra

ENERGY = 0.01 * np.arange(400)
FLAT = 1.0 + 6.0 * np.exp(-0.5 * ((ENERGY - 0.525) / 0.03) ** 2)
CARBON = 25.0 * np.exp(-0.5 * ((ENERGY - 0.277) / 0.026) ** 2)


def test_spectra_that_are_alike_are_all_taken(rng):
    counts = rng.poisson(np.tile(0.3 * (FLAT + CARBON), (600, 1)))
    assert sum_least_carbon(Spectra(counts), ENERGY, 130.0) is None


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_spectra_without_carbon_are_chosen_and_not_those_of_weak_noise(rng, scale):
    counts = rng.poisson(scale * np.concatenate([np.tile(FLAT, (500, 1)), np.tile(FLAT + CARBON, (500, 1))]))
    found = sum_least_carbon(Spectra(counts), ENERGY, 130.0)
    assert 200 < found.spectra <= 520
    near = abs(ENERGY - 0.277) < 0.08
    beside = ENERGY > 0.8
    # A sum of spectra that were chosen for having few counts near C Kα would have too few there.
    assert found.total[near].mean() / found.total[beside].mean() == pytest.approx(1.0, abs=0.05)


def test_axis_without_carbon(rng):
    assert sum_least_carbon(Spectra(rng.poisson(1.0, (20, 400))), ENERGY + 1.0, 130.0) is None


@pytest.fixture(scope="module")
def other():
    """The simulator with tables and a detector of its own."""
    pytest.importorskip("xraylib")
    path = Path(__file__).parents[3] / "benchmarks" / "eds_other.py"
    spec = importlib.util.spec_from_file_location("eds_other", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["eds_other"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [0, 1, 3])
@pytest.mark.parametrize("phases", [("LFP", "C"), ("LFP", "LAGP", "LVP", "C")])
def test_no_carbon_beside_carbon(other, seed, phases):
    rng = np.random.default_rng([1, seed])
    scope = other.random_microscope(rng, window=("none", "polymer")[seed % 2])
    columns = {one: np.array([100.0 if one == two else 0.0 for two in phases]) for one in phases}
    expected, _, electrons = other.simulate(columns, scope, 20000.0)
    data = np.repeat(expected, 25, axis=0).astype(np.float32)
    signal = other.signal_of(data, scope, electrons, (len(phases), 25))
    options = EDSOptions(k_factors=other.k_factors(scope), thickness=100.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = signal.quantify_composition(quantification=options).found
    carbon = found.atomic_percent(clipped=False)[0][::25, found.elements.index("C")]
    assert np.abs(carbon[:-1]).max() < 0.3
    assert carbon[-1] > 98.0
