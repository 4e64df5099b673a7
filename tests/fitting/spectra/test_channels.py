"""Counts on channels of another width: none is lost, and each lies where it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperspy_assb.fitting.spectra.channels import share_counts


def test_the_same_width_changes_nothing():
    energy, counts = -5.0 + 0.1 * np.arange(300), np.random.default_rng(0).poisson(50.0, (2, 300))
    shared, centres = share_counts(counts, energy, 0.1)
    np.testing.assert_allclose(shared, counts, atol=1e-9)
    np.testing.assert_allclose(centres, energy, atol=1e-9)


def test_three_channels_to_one():
    energy = np.arange(-4.0, 5.0)
    shared, centres = share_counts(np.arange(9.0), energy, 3.0)
    np.testing.assert_allclose(centres, [-3.0, 0.0, 3.0])
    np.testing.assert_allclose(shared, [0 + 1 + 2, 3 + 4 + 5, 6 + 7 + 8])


@given(scale=st.floats(0.03, 2.0), first=st.floats(-20.0, -3.0))
def test_constant_density_stays_constant(scale, first):
    energy = first + 0.1 * np.arange(500)
    shared, centres = share_counts(np.full(500, 7.0), energy, scale)
    np.testing.assert_allclose(shared, 70.0 * scale, rtol=1e-6)
    assert np.abs(centres).min() < 1e-9
    assert centres[0] - 0.5 * scale > energy[0] - 0.05 - 1e-5
    assert centres[-1] + 0.5 * scale < energy[-1] + 0.05 + 1e-5


@pytest.mark.parametrize("scale", [0.25, 0.4])
def test_the_centroid_stays(scale):
    energy = -10.0 + 0.1 * np.arange(400)
    counts = np.exp(-0.5 * ((energy - 7.3) / 1.0) ** 2)
    shared, centres = share_counts(counts, energy, scale)
    assert shared.sum() == pytest.approx(counts.sum(), rel=1e-9)
    assert (shared * centres).sum() / shared.sum() == pytest.approx(7.3, abs=1e-6)
