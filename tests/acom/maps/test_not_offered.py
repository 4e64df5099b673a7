"""Classes and areas with crystals that were not offered, and with two crystals in a column."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.acom.maps.area_fractions import LEFT_OUT, NOT_OFFERED, area_fractions, classify_pixels
from hyperspy_assb.acom.matching.indexed import PatternStatus
from tests.conftest import scan_of


@pytest.fixture
def scan():
    phase = np.zeros((8, 8), dtype=int)
    phase[4:] = 1
    return scan_of(phase, np.tile([1.0, 0.0, 0.0, 0.0], (8, 8, 1)))


def test_what_is_not_offered_is_a_class_that_is_not_amorphous(scan):
    status, phase = scan.status.copy(), np.array(scan.phase)
    status[:2], phase[:2] = PatternStatus.NOT_OFFERED, -1
    classes = classify_pixels(replace(scan, status=status, phase=phase))
    assert classes.names[-1] == NOT_OFFERED
    np.testing.assert_array_equal(classes.is_(NOT_OFFERED)[:2], True)
    assert not classes.amorphous.any()
    found = area_fractions(classes, posterior=scan.posterior)
    assert found.fraction[-1] == pytest.approx(0.25)


def test_areas_of_two_crystals_are_their_shares(scan):
    second, share, error = np.full((8, 8), -1), np.zeros((8, 8)), np.full((8, 8), np.nan)
    second[:4], share[:4], error[:4] = 1, 0.25, 0.1
    two = replace(scan, second_phase=second, second_share=share, second_share_std=error)
    classes = classify_pixels(two)
    found = area_fractions(classes, posterior=scan.posterior)
    assert found.fraction[:2] == pytest.approx([0.375, 0.625])
    np.testing.assert_allclose(classes.members().sum(axis=-1), 1.0)
    # What shares do not tell is in the error: it is above that of certain phases alone.
    assert (
        found.classification_std[0]
        > area_fractions(classify_pixels(scan), posterior=scan.posterior).classification_std[0]
    )


def test_the_thicker_of_two_crystals_is_the_class(scan):
    second, share = np.full((8, 8), -1), np.zeros((8, 8))
    second[0], share[0] = 1, 0.7
    classes = classify_pixels(replace(scan, second_phase=second, second_share=share))
    np.testing.assert_array_equal(classes.index[0], 1)
    np.testing.assert_array_equal(classes.second[0], 0)
    np.testing.assert_allclose(classes.second_share[0], 0.3)
    assert (classes.second[1:] == LEFT_OUT).all()


def test_glass_is_the_class_where_it_is_thicker_than_either_crystal(scan):
    second, share = np.full((8, 8), -1), np.zeros((8, 8))
    second[:4], share[:4] = 1 - scan.phase[:4], 0.5
    glass = replace(scan, second_phase=second, second_share=share)
    glass = replace(glass, ring_materials=("glass",), ring_amounts=np.full((8, 8, 1), 0.4))
    classes = classify_pixels(replace(glass, amorphous_share=np.full((8, 8, 1), 0.4)))
    # 0.4 of glass and twice 0.3 of crystals; below, 0.6 of one crystal.
    assert classes.amorphous[:4].all()
    assert not classes.amorphous[4:].any()
