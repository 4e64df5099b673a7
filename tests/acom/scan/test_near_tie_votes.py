"""Near-ties of orientations, settled by neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.acom.crystals.crystal_phase import load_phase
from hyperspy_assb.acom.crystals.frames import upper
from hyperspy_assb.acom.matching.indexed import IndexedScan, PatternStatus
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.scan.near_tie_votes import TIE, settle_near_ties


def scan_of(orientation, tied, score=0.3, tied_score=0.298, phase=0):
    """A scan of two phases: the orientation that each pixel has, and the one that it nearly has."""
    shape = orientation.shape[:2]
    phase = np.broadcast_to(phase, shape).copy()
    ones = np.ones(shape)
    at_second = np.stack([tied, np.full_like(tied, np.nan)], axis=2)
    of_phases = np.stack([orientation, orientation], axis=2)
    score = np.broadcast_to(score, shape).astype(float)
    return IndexedScan(
        phases=(load_phase("lfp"), load_phase("fp")),
        geometry=PatternGeometry(scale=0.02, centre=(16.0, 16.0)),
        phase=phase,
        orientation=orientation,
        correlation=score,
        reliability=ones,
        phase_reliability=ones,
        phase_scores=np.stack([score, 0.5 * score], axis=-1),
        phase_orientations=of_phases,
        posterior=np.stack([ones, 0 * ones], axis=-1),
        lattice_scale=None,
        virtual_bright_field=ones,
        crystalline_score=ones,
        ring_amounts=np.ones((*shape, 1)),
        ring_materials=("carbon",),
        status=np.full(shape, PatternStatus.INDEXED),
        tied_orientations=at_second,
        tied_scores=np.stack([np.broadcast_to(tied_score, shape), np.zeros(shape)], axis=-1),
    )


@pytest.fixture
def two(rng):
    return upper(rng.normal(size=(2, 4)))


def mixed(two, taken, shape):
    """Some pixels have the second of two orientations, and each nearly has the other one."""
    taken = np.asarray(taken)
    has = np.where(taken[..., None], two[1], two[0]) * np.ones((*shape, 1))
    nearly = np.where(taken[..., None], two[0], two[1]) * np.ones((*shape, 1))
    return has, nearly


def test_pixels_that_are_sure_decide(rng, two):
    taken = rng.random((8, 9)) < 0.5
    taken[3, 4] = False
    tied_score = np.full((8, 9), 0.298)
    tied_score[3, 4] = 0.2  # sure
    has, nearly = mixed(two, taken, (8, 9))
    scan = scan_of(has, nearly, tied_score=tied_score)
    found = settle_near_ties(scan)
    np.testing.assert_array_equal(found.orientation, np.broadcast_to(two[0], found.orientation.shape))
    np.testing.assert_allclose(found.correlation, np.where(taken, 0.298, 0.3))
    # What was taken and what was left change places; nothing is lost.
    np.testing.assert_array_equal(found.tied_orientations[..., 0, :][taken], has[taken])
    np.testing.assert_array_equal(found.phase_orientations[..., 0, :], found.orientation)
    np.testing.assert_allclose(found.phase_scores[..., 0], found.correlation)
    np.testing.assert_array_equal(found.phase_orientations[..., 1, :], scan.phase_orientations[..., 1, :])
    assert settle_near_ties(found).orientation.tolist() == found.orientation.tolist()


def test_without_a_sure_pixel_all_scores_together_decide(two):
    taken = np.zeros((6, 6), dtype=bool)
    taken[:, 2:] = True  # four of six columns
    has, nearly = mixed(two, taken, (6, 6))
    found = settle_near_ties(scan_of(has, nearly))
    np.testing.assert_array_equal(found.orientation, np.broadcast_to(two[1], found.orientation.shape))


def test_what_is_no_tie_stays(two):
    taken = np.indices((5, 5)).sum(axis=0) % 2 == 1
    has, nearly = mixed(two, taken, (5, 5))
    scan = scan_of(has, nearly, tied_score=0.3 * (1.0 - 1.5 * TIE))
    assert settle_near_ties(scan) is scan
    unknown = replace(scan, tied_orientations=None, tied_scores=None)
    assert settle_near_ties(unknown) is unknown


def test_other_crystals_and_pixels_without_one_are_not_asked(two):
    has, nearly = mixed(two, np.zeros((3, 4), dtype=bool), (3, 4))
    has[:, 2:], nearly[:, 2:] = two[1], two[0]
    phase = np.array([0, 0, 1, -1]) * np.ones((3, 1), dtype=int)
    tied_score = np.array([0.2, 0.299, 0.299, 0.0]) * np.ones((3, 1))
    scan = scan_of(has, nearly, phase=phase, tied_score=tied_score)
    scan.orientation[:, 3] = np.nan
    found = settle_near_ties(scan)
    np.testing.assert_array_equal(found.orientation, scan.orientation)
    np.testing.assert_array_equal(found.phase, scan.phase)
