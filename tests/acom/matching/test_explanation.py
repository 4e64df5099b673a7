"""Which spots a lattice explains: exact places, strained ones, places of another lattice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.acom.matching.explanation import explain

SIGMA = 1.2


def square(side, *, rows=4):
    i, j = np.mgrid[-rows : rows + 1, -rows : rows + 1].reshape(2, -1)
    keep = (i != 0) | (j != 0)
    return side * np.stack([i, j], axis=1)[keep].astype(float)


def spots_at(places, *, z=20.0, electrons=400.0):
    return np.column_stack([places, np.full(len(places), z), np.full(len(places), electrons)])


def explained(spots, *lattices):
    place = np.concatenate([np.column_stack([p, np.ones((len(p), 2))]) for p in lattices])
    ends = np.concatenate([[0], np.cumsum([len(p) for p in lattices])])
    density = np.array([len(p) / (40.0 * 40.0 * np.pi) for p in lattices])
    strains, belongs = np.zeros((len(lattices), 2, 2)), np.empty(len(spots), dtype=np.int64)
    value = explain(spots, len(spots), place, ends, density, SIGMA, strains, belongs)
    return value, strains, belongs


def test_a_lattice_explains_its_own_spots_and_no_strain_is_found():
    value, strains, belongs = explained(spots_at(square(9.0)[::3]), square(9.0))
    assert value > 3.0 * len(belongs)
    np.testing.assert_allclose(strains, 0.0, atol=1e-12)
    np.testing.assert_array_equal(belongs, 0)


def test_spots_between_reflections_belong_to_none():
    places = square(9.0)[::3] + 4.5
    value, _, belongs = explained(spots_at(places), square(9.0))
    assert value < -1.0 * len(belongs)
    assert (belongs == -1).all()


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.025, 0.025), st.floats(-0.025, 0.025), st.floats(-0.01, 0.01))
def test_a_small_strain_is_found_and_allowed(xx, yy, turn):
    m = np.array([[xx, -turn], [turn, yy]])
    value, strains, belongs = explained(spots_at(square(9.0) @ (np.eye(2) + m).T), square(9.0))
    np.testing.assert_allclose(strains[0], m, atol=0.002)
    assert (belongs == 0).all()
    assert value > 2.0 * len(belongs)


@pytest.mark.parametrize("factor", [0.92, 1.08])
def test_a_cell_that_differs_by_8_per_cent_speaks_against(factor):
    right = explained(spots_at(square(9.0)), square(9.0))[0]
    assert explained(spots_at(factor * square(9.0)), square(9.0))[0] < 0.25 * right


def test_two_lattices_share_the_spots():
    turned = square(9.0) @ np.array([[0.88, -0.475], [0.475, 0.88]])
    both = np.concatenate([square(9.0)[::2], turned[1::2]])
    one = explained(spots_at(both), square(9.0))[0]
    value, _, belongs = explained(spots_at(both), square(9.0), turned)
    assert value > one + 50.0
    assert set(belongs.tolist()) == {0, 1}
