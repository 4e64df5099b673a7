"""Which spots the first answer leaves to be indexed."""

import numpy as np
import pytest

from hyperspy_assb.acom.matching.block_indexing import Indexer
from hyperspy_assb.acom.matching.second_look import _Desk, _Lattice
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.templates.bank import simulate_bank

SCALE = 0.02


@pytest.fixture(scope="module")
def desk():
    indexer = Indexer(
        simulate_bank(["lfp"], resolution=5.0, max_radius=0.95), PatternGeometry(SCALE, (48.0, 48.0)), (96, 96)
    )
    patterns = np.ones((1, 96, 96))
    return _Desk(indexer.second_look, indexer.matcher.preparation.prepare(patterns, np.full((1, 2), 48.0)))


@pytest.mark.parametrize("strain", [0.0, 0.02])
@pytest.mark.parametrize("scale", [1.0, 1.01])
def test_nodes_that_should_be_dark_are_of_the_lattice(desk, strain, scale):
    a, b, _ = desk.look.cells[0].diagonal()
    # Along c: (100), (030) and (300) are extinct, the others lie between nodes or beyond the reach of one.
    indices = np.array([[1, 0], [0, 3], [3, 0], [1.5, 0], [2, 2.5], [3.3, 1]])
    place = indices / [a, b] / SCALE / scale
    desk.strains[0] = strain * np.eye(2)
    desk.spots[: len(place), :2] = place * (1.0 + strain) + [0.4, -0.3]
    lattice = _Lattice(0, np.array([1.0, 0.0, 0.0, 0.0]), np.full(3, scale), np.array([0.4, -0.3]), 1.0)
    np.testing.assert_array_equal(desk.on_nodes(lattice, np.arange(len(place))), [True] * 3 + [False] * 3)


def test_nodes_far_from_the_ewald_sphere_are_dark(desk):
    a, _, _ = desk.look.cells[0].diagonal()
    desk.strains[0] = 0.0
    desk.spots[0, :2] = [4.0 / a / SCALE, 0.0]
    # Turned about b by 6 degrees: (400) is 0.04 1/Å off the sphere.
    turn = np.radians(6.0) / 2.0
    here = _Lattice(0, np.array([1.0, 0.0, 0.0, 0.0]), np.full(3, np.nan), np.zeros(2), 1.0)
    tilted = _Lattice(0, np.array([np.cos(turn), 0.0, np.sin(turn), 0.0]), np.full(3, np.nan), np.zeros(2), 1.0)
    assert desk.on_nodes(here, np.array([0]))[0]
    assert not desk.on_nodes(tilted, np.array([0]))[0]
