"""x against potential of a series of states that one of them calibrates."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

POTENTIALS = (3.0, 4.2, 4.5, 3.1)
TRUTH = np.array([1.0, 0.7, 0.1, 0.9])
SHAPE = (5, 6)


@pytest.fixture(scope="module")
def calibration():
    nm = np.linspace(25.0, 100.0, 40)
    columns = {"LiFePO4": np.concatenate([nm, 0 * nm]), "FePO4": np.concatenate([0 * nm, nm])}
    s = spectra_to_signal(simulate_spectra(columns, rng=1), EELSConditions(), signal_type="EELS_ASSB")
    pure = np.arange(80) < 40
    return s.quantify_delithiation({"LiFePO4": pure, "FePO4": ~pure}, show_progressbar=False)


@pytest.fixture(scope="module")
def found(calibration):
    """Four states of a map whose left half stays as it was."""
    x = np.broadcast_to(TRUTH[:, np.newaxis, np.newaxis], (4, *SHAPE)).copy()
    x[:, :, :3] = 1.0
    volume = 0.07287 * x + 0.06792 * (1 - x)
    columns = {"LiFePO4": 60.0 * 0.07287 * x / volume, "FePO4": 60.0 * 0.06792 * (1 - x) / volume}
    states = simulate_spectra({name: nm.ravel() for name, nm in columns.items()}, rng=2, dose=1e6)
    states = states.reshape(4, *SHAPE, -1)
    maps = [spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB") for counts in states]
    series = hs.stack(maps, new_axis_name="bias", show_progressbar=False)
    series.axes_manager["bias"].convert_to_non_uniform_axis()
    series.axes_manager["bias"].axis = np.sort(POTENTIALS)  # HyperSpy's axes increase
    return series.quantify_delithiation(calibration, show_progressbar=False)


def test_every_state_has_its_x(found):
    right = np.zeros(SHAPE, dtype=bool)
    right[:, 3:] = True
    table = found.against_potential(right)
    assert list(table["bias (V)"]) == sorted(POTENTIALS)
    assert (table["n_pixels"] == right.sum()).all()
    error = np.hypot(table["x_std"], table["x_systematic"])
    assert np.all(np.abs(table["x"] - TRUTH) < 3.0 * error + 0.02)
    change = table["x"] - table["x"].iloc[0]
    np.testing.assert_allclose(table["x_change"], change)
    assert table["x_change_std"].iloc[0] == 0.0
    assert np.all(table["x_change_std"].iloc[1:] >= table["x_std"].iloc[1:])


def test_regions_of_one_state_and_of_all(found):
    left = np.zeros(SHAPE, dtype=bool)
    left[:, :3] = True
    table = found.against_potential(left)
    assert np.all(np.abs(table["x_change"].iloc[1:]) < 4.0 * table["x_change_std"].iloc[1:])
    scale = found.x.axes_manager["x"].scale
    region = hs.roi.RectangularROI(0.0, 0.0, 3 * scale, SHAPE[0] * scale)
    assert found.against_potential(region).equals(table)
    some = np.zeros((4, *SHAPE), dtype=bool)
    some[2] = left
    table = found.against_potential(some)
    assert list(np.isfinite(table["x"])) == [False, False, True, False]


def test_what_is_missing_or_wrong_is_named(found, calibration):
    with pytest.raises(ValueError, match="no navigation axis named 'bias'"):
        calibration.against_potential()
    with pytest.raises(ValueError, match="shape"):
        found.against_potential(np.ones((3, 3), dtype=bool))


def test_a_series_of_unequal_steps_is_saved_and_loaded(found, tmp_path):
    found.save(tmp_path / "series.hspy")
    loaded = hyperspy_assb.load(tmp_path / "series.hspy")
    np.testing.assert_array_equal(loaded.x.axes_manager["bias"].axis, sorted(POTENTIALS))
    assert loaded.against_potential().equals(found.against_potential())
