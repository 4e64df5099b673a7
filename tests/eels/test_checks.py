"""Bad input is refused with a message that says what is wrong and what to do."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from hyperspy_assb.eels import checks
from hyperspy_assb.eels.microscope import MicroscopeParameters, check_microscope_parameters

ENERGY = np.arange(-5, 60, 0.1)


@pytest.mark.parametrize("energy", [ENERGY, ENERGY.astype(np.float32), np.arange(8), 500 + 0.01 * np.arange(4096)])
def test_good_axes_pass(energy):
    checks.check_energy_axis(energy)


@pytest.mark.parametrize(
    ("energy", "error", "message"),
    [
        (ENERGY[::-1], ValueError, r"reversed: it runs from 59.9 to -5 eV \(negative scale\)"),
        (np.cumsum(np.linspace(0.1, 0.2, 50)), NotImplementedError, "non-uniform"),
        (np.full(20, 3.0), ValueError, "does not increase"),
        (np.append(ENERGY, np.nan), ValueError, "not finite"),
        (ENERGY[:7], ValueError, "has 7 channels"),
        (np.zeros(0), ValueError, "has 0 channels"),
        (ENERGY.reshape(2, -1), ValueError, "one dimension, not 2"),
    ],
)
def test_bad_axes_are_refused(energy, error, message):
    with pytest.raises(error, match=message):
        checks.check_energy_axis(energy)


def test_range_that_stops_before_50_ev():
    with pytest.raises(ValueError, match="ends at 46 eV, but must reach 50 eV for the Li K edge"):
        checks.check_energy_range([-5, 46], minimum_end=50, purpose="the Li K edge")
    checks.check_energy_range([-5, 50], minimum_end=50)


def test_range_that_begins_too_late():
    with pytest.raises(ValueError, match="begins at 40 eV"):
        checks.check_energy_range([40, 90], maximum_start=0)


@pytest.mark.parametrize("energy", [np.arange(100, 600), np.arange(-90, -20)])
def test_no_zero_loss_in_range(energy):
    with pytest.raises(ValueError, match="no zero-loss peak in the range"):
        checks.check_zero_loss_in_range(energy)


def test_zero_loss_may_be_nine_ev_away():
    checks.check_zero_loss_in_range(np.arange(5, 100))


def test_not_finite_counts_are_counted():
    counts = np.ones((3, 4, 10))
    counts[1, 2, 7] = np.nan
    counts[2, 0, 1:3] = np.inf
    with pytest.raises(ValueError, match=r"in 2 of 12 pixels, the first at index \(1, 2, 7\)"):
        checks.check_counts(counts)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((0,)), "empty"),
        (np.zeros((0, 5)), "empty"),
        (np.ones(5, dtype=complex), "complex128"),
        (np.array([None] * 5), "object"),
        (np.ones(6), "has 6 channels, but its energy axis has 5"),
    ],
)
def test_bad_counts_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        checks.check_counts(counts, np.arange(5))


def test_zero_and_negative_counts_are_valid():
    checks.check_counts(-np.arange(5))
    checks.check_counts(np.zeros(5))


def test_empty_pixels_are_mapped():
    counts = np.ones((2, 2, 5))
    counts[0, 1] = 0
    np.testing.assert_array_equal(checks.find_empty_pixels(counts), [[False, True], [False, False]])


@pytest.mark.parametrize(
    ("recorded", "expected", "words"),
    [
        ((200.0, 9.5, 9.0), (200.0, 9.5, 9.0), []),
        ((300.0, 0.0, 100.0), (300.0, None, None), ["convergence_angle is 0", "collection_angle is 100", "Missing"]),
        ((300000.0, 5.0, 10.0), (300.0, 5.0, 10.0), ["can only be in V: corrected to 300 keV"]),
        ((None, 5.0, 10.0), (None, 5.0, 10.0), ["Missing: beam_energy"]),
        ((0.0, 5.0, 10.0), (None, 5.0, 10.0), ["beam_energy is 0 keV", "Missing: beam_energy"]),
        ((None, None, None), (None, None, None), ["Missing: beam_energy, convergence_angle, collection_angle"]),
        ((200.0, 5.0, 0.0), (200.0, 5.0, None), ["collection_angle is 0 mrad", "Missing: collection_angle"]),
        ((3000.0, 5.0, 100.1), (3000.0, 5.0, 100.1), []),
    ],
)
def test_microscope_parameters(recorded, expected, words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parameters, messages = check_microscope_parameters(*recorded)
    assert parameters == MicroscopeParameters(*expected)
    assert len(messages) == len(words)
    for message, word in zip(messages, words, strict=True):
        assert word in message


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_impossible_microscope_parameters(value):
    with pytest.raises(ValueError, match="convergence_angle"):
        check_microscope_parameters(200.0, value, 10.0)
