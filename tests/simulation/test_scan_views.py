"""Another scan of the virtual lamella sees what lies at its places."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.simulation.lamella import build_lamella
from hyperspy_assb.simulation.scan_views import ScanView, seen_by


@pytest.fixture(scope="module")
def lamella():
    return build_lamella((40, 40), np.random.default_rng(3))


def test_the_middle_does_not_move_and_rows_turn_from_x_to_y():
    view = ScanView((3, 3), 10.0, 90.0, (50.0, 70.0))
    places = view.places()
    assert np.allclose(places[1, 1], (50.0, 70.0))
    # To the right in the scan is down in the lamella or up, and one pixel away.
    assert np.allclose(np.abs(places[1, 2] - places[1, 1]), (10.0, 0.0))


def test_a_part_of_the_lamella_in_its_own_pixels_is_that_part(lamella):
    size = lamella.pixel_size
    found = seen_by(lamella.after, size, ScanView((10, 12), size, middle=(15 * size, 16 * size)))
    part = slice(10, 20), slice(10, 22)
    assert (found.sample_grain == lamella.after.sample_grain[part]).all()
    assert np.allclose(found.thickness, lamella.after.thickness[part])
    assert np.allclose(found.fractions["LAGP"], lamella.after.fractions["LAGP"][part])
    assert np.array_equal(np.isnan(found.x), np.isnan(lamella.after.x[part]))


def test_turned_and_coarser_the_shares_of_the_materials_stay(lamella):
    size = lamella.pixel_size
    view = ScanView((24, 24), 1.3 * size, 8.0, (20 * size, 20 * size))
    found = seen_by(lamella.after, size, view)
    places = np.rint(view.places() / size - 0.5).astype(int)
    there = lamella.after.fractions["LAGP"][places[..., 0], places[..., 1]]
    assert np.corrcoef(found.fractions["LAGP"].ravel(), there.ravel())[0, 1] > 0.8


def test_a_scan_that_reaches_beyond_is_refused(lamella):
    with pytest.raises(ValueError, match="reaches beyond the lamella"):
        seen_by(lamella.after, lamella.pixel_size, ScanView((40, 40), lamella.pixel_size, middle=(0.0, 0.0)))
