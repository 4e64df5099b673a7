"""Disorientation, boundaries and grains."""

from __future__ import annotations

from functools import cache

import numpy as np
import orix.quaternion
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.acom.crystals.crystal_phase import load_phase, point_group
from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of, turn_about_beam
from hyperspy_assb.acom.crystals.frames import multiply, upper
from hyperspy_assb.acom.crystals.pseudo_symmetry import crystal_mean
from hyperspy_assb.acom.maps.grains import (
    BoundaryKind,
    GrainOptions,
    boundaries_of_grains,
    find_grains,
    grain_boundaries,
)
from hyperspy_assb.simulation.lamella import build_lamella

PHASES = ("lfp", "fp", "lagp")
ORTHORHOMBIC = np.eye(4)


@cache
def group_of(name):
    return symmetry_of(load_phase(name))


def about(axis, degrees):
    axis = np.asarray(axis, dtype=float)
    half = np.radians(np.asarray(degrees, dtype=float))[..., None] / 2
    return np.concatenate([np.cos(half), np.sin(half) * axis / np.linalg.norm(axis)], axis=-1)


def random_orientations(rng, *shape):
    return upper(rng.normal(size=(*shape, 4)))


@pytest.mark.parametrize("name", PHASES)
def test_disorientation_is_that_of_orix(rng, name):
    phase = load_phase(name)
    group = point_group(phase).laue
    first, second = random_orientations(rng, 2, 200)
    expected = orix.quaternion.Orientation(first, symmetry=group).angle_with(
        orix.quaternion.Orientation(second, symmetry=group), degrees=True
    )
    np.testing.assert_allclose(disorientation(first, second, group_of(name)), expected, atol=1e-5)


def test_disorientation_of_cubic_crystals_is_that_of_orix(rng):
    cubic = orix.quaternion.symmetry.Oh
    first, second = random_orientations(rng, 2, 300)
    expected = orix.quaternion.Orientation(first, symmetry=cubic).angle_with(
        orix.quaternion.Orientation(second, symmetry=cubic), degrees=True
    )
    found = disorientation(first, second, upper(cubic.laue_proper_subgroup.data))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.max() < 62.8  # the largest disorientation of cubic crystals


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.5, 3.0, 44.0])
def test_a_rotation_by_a_known_angle(rng, angle):
    first = random_orientations(rng, 50)
    second = multiply(about([1, 2, 3], np.full(50, angle)), first)
    np.testing.assert_allclose(disorientation(first, second, ORTHORHOMBIC), angle, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(PHASES))
def test_disorientation_is_a_distance_of_crystals(seed, name):
    rng = np.random.default_rng(seed)
    group = group_of(name)
    a, b, c = random_orientations(rng, 3)
    equivalent = multiply(group[rng.integers(len(group))], a) * rng.choice([-1.0, 1.0])
    assert disorientation(a, equivalent, group) == pytest.approx(0.0, abs=1e-6)
    assert disorientation(a, b, group) == pytest.approx(float(disorientation(b, a, group)), abs=1e-9)
    assert disorientation(equivalent, b, group) == pytest.approx(float(disorientation(a, b, group)), abs=1e-6)
    assert disorientation(a, c, group) <= disorientation(a, b, group) + disorientation(b, c, group) + 1e-9
    turned = random_orientations(rng)
    assert disorientation(multiply(a, turned), multiply(b, turned), group) == pytest.approx(
        float(disorientation(a, b, group)), abs=1e-6
    )


def test_disorientation_of_what_is_not_indexed_is_not_a_number(rng):
    a = random_orientations(rng, 3)
    b = a.copy()
    b[1] = np.nan
    np.testing.assert_array_equal(np.isnan(disorientation(a, b, ORTHORHOMBIC)), [False, True, False])


def test_symmetry_of_an_olivine_is_that_of_mmm():
    np.testing.assert_allclose(
        np.sort(np.abs(group_of("lfp")), axis=0),
        np.sort(np.abs(orix.quaternion.symmetry.D2h.laue_proper_subgroup.data), axis=0),
        atol=1e-9,
    )


# ------------------------------------------------------------------ boundaries


def columns_of(*orientations, rows=3):
    return np.tile(np.stack(orientations), (rows, 1, 1))


def test_kinds_of_edges(rng):
    first = random_orientations(rng)
    second = multiply(about([0, 1, 1], np.array(20.0)), first)
    near = multiply(about([0, 1, 1], np.array(2.0)), first)
    orientation = columns_of(first, near, second, second, second, [np.nan] * 4)
    phase = np.tile([0, 0, 0, 1, 1, -1], (3, 1))
    group = group_of("lfp")
    found = grain_boundaries(phase, orientation, [group, group])
    none, grain, between, margin = BoundaryKind.NONE, BoundaryKind.GRAIN, BoundaryKind.PHASE, BoundaryKind.MARGIN
    np.testing.assert_array_equal(found.right, np.tile([none, grain, between, none, margin], (3, 1)))
    assert (found.below == none).all()
    np.testing.assert_allclose(found.right_angle[0, :2], [2.0, disorientation(near, second, group)], atol=1e-9)
    assert np.isnan(found.right_angle[0, 2])
    np.testing.assert_array_equal(found.pixels[0], [none, grain, between, between, none, none])
    assert found.count(grain) == 3
    assert found.length(grain, (2.0, 5.0)) == 6.0
    assert (
        grain_boundaries(phase, orientation, [group, group], options=GrainOptions(threshold=1.0)).right[0, 0] == grain
    )


def test_half_a_turn_about_the_beam_is_told_apart(rng):
    group = group_of("lagp")
    first = random_orientations(rng)
    orientation = columns_of(first, turn_about_beam(first))
    phase = np.zeros((3, 2), dtype=int)
    assert disorientation(first, turn_about_beam(first), group) > 10
    found = grain_boundaries(phase, orientation, [group])
    assert (found.right == BoundaryKind.FRIEDEL).all()
    assert not found.pixels.any()
    grains = find_grains(phase, orientation, [group], boundaries=found)
    assert len(grains) == 1
    assert grains.twinned[0] == pytest.approx(0.5)
    strict = GrainOptions(friedel_twins=True)
    assert (grain_boundaries(phase, orientation, [group], options=strict).right == BoundaryKind.GRAIN).all()
    assert len(find_grains(phase, orientation, [group], options=strict)) == 2


@pytest.mark.parametrize(
    ("options", "message"), [({"threshold": 0.0}, "threshold: degrees"), ({"min_pixels": 0}, "min_pixels: pixels")]
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        GrainOptions(**options)


def test_shapes_that_do_not_fit(rng):
    with pytest.raises(ValueError, match="shapes"):
        grain_boundaries(np.zeros((3, 4)), random_orientations(rng, 4, 3), [ORTHORHOMBIC])
    with pytest.raises(ValueError, match="symmetries: one for each phase"):
        grain_boundaries(np.ones((3, 4), dtype=int), random_orientations(rng, 3, 4), [ORTHORHOMBIC])


# ---------------------------------------------------------------------- grains


def test_grains_of_a_checkerboard(rng):
    group = group_of("lfp")
    four = random_orientations(rng, 4)
    labels = np.repeat(np.repeat(np.array([[0, 1], [2, 3]]), 5, axis=0), 4, axis=1)
    orientation = multiply(about([1, 0, 0], rng.normal(0, 0.3, labels.shape)), four[labels])
    # Symmetry changes nothing.
    orientation = multiply(group[rng.integers(0, 4, labels.shape)], orientation)
    grains = find_grains(np.zeros(labels.shape, dtype=int), orientation, [group])
    assert len(grains) == 4
    assert (grains.pixels == 20).all()
    assert grains.at_margin.all()
    np.testing.assert_allclose(grains.centre[0], [2.0, 1.5])
    for grain in range(4):
        of = labels[grains.labels == grain + 1]
        assert (of == of[0]).all()
        assert disorientation(grains.orientation[grain], four[of[0]], group) < 0.3
    assert (grains.spread > 0.1).all()
    assert (grains.spread < 0.5).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), twins=st.booleans())
def test_mean_orientation_does_not_know_equivalents(seed, twins):
    rng = np.random.default_rng(seed)
    group = group_of("lagp")
    true = random_orientations(rng)
    near = multiply(about([0, 0, 1], rng.uniform(-2, 2, 41)), true)
    near = multiply(group[rng.integers(0, len(group), 41)], near)
    if twins:
        near[:15] = turn_about_beam(near[:15])
    found = crystal_mean(near, group, np.zeros((0, 3)))
    assert disorientation(found.orientation, true, group) < 1.5
    if twins and disorientation(true, turn_about_beam(true), group) > 10:
        assert found.twinned == pytest.approx(15 / 41)


def test_small_grains_are_absorbed(rng):
    group = group_of("lfp")
    one, other, wrong = random_orientations(rng, 3)
    orientation = columns_of(one, one, one, one, other, other, other, other, rows=8)
    phase = np.zeros((8, 8), dtype=int)
    orientation[2, 1] = wrong
    orientation[5, 6] = wrong
    phase[5, 6] = 1
    assert len(find_grains(phase, orientation, [group, group])) == 4
    options = GrainOptions(min_pixels=3)
    boundaries = grain_boundaries(phase, orientation, [group, group], options=options)
    grains = find_grains(phase, orientation, [group, group], boundaries=boundaries, options=options)
    assert len(grains) == 2
    assert sorted(zip(*np.nonzero(grains.absorbed), strict=True)) == [(2, 1), (5, 6)]
    np.testing.assert_array_equal(grains.phase, [0, 0])
    assert disorientation(grains.orientation[0], one, group) < 1e-6
    cleaned = boundaries_of_grains(grains, boundaries)
    assert cleaned.count(BoundaryKind.GRAIN) == 8
    assert cleaned.count(BoundaryKind.PHASE) == 0


def test_a_map_without_crystals():
    phase = np.full((4, 5), -1)
    grains = find_grains(phase, np.full((4, 5, 4), np.nan), [ORTHORHOMBIC])
    assert len(grains) == 0
    assert not grains.labels.any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fewest=st.integers(1, 6))
def test_absorbing_loses_no_pixel(seed, fewest):
    rng = np.random.default_rng(seed)
    orientation = random_orientations(rng, 4)[rng.integers(0, 4, (9, 7))]
    phase = rng.integers(-1, 2, (9, 7))
    grains = find_grains(phase, orientation, [ORTHORHOMBIC] * 2, options=GrainOptions(min_pixels=fewest))
    np.testing.assert_array_equal(grains.labels > 0, phase >= 0)
    assert grains.pixels.sum() == (phase >= 0).sum()
    np.testing.assert_array_equal(np.unique(grains.labels[phase >= 0]), np.arange(1, len(grains) + 1))


# -------------------------------------------------------------- truth and files


def test_boundaries_of_the_virtual_lamella(rng):
    lamella = build_lamella((64, 64), rng)
    state = lamella.after
    names = np.stack([state.fractions[n] for n in ("LiFePO4", "FePO4", "LAGP")])
    phase = np.where(state.grain_id > 0, names.argmax(axis=0), -1)
    found = grain_boundaries(phase, state.orientation, [group_of(p) for p in PHASES])
    for edges, first, second in (
        (found.right, np.s_[:, :-1], np.s_[:, 1:]),
        (found.below, np.s_[:-1], np.s_[1:]),
    ):
        both = (phase[first] >= 0) & (phase[second] >= 0)
        other_phase = both & (phase[first] != phase[second])
        np.testing.assert_array_equal(edges == BoundaryKind.PHASE, other_phase)
        other_grain = both & ~other_phase & (state.grain_id[first] != state.grain_id[second])
        # Domains of one particle may be less than the threshold apart; nothing else may be missed or invented.
        grain = edges == BoundaryKind.GRAIN
        assert not (grain & ~other_grain).any()
        missed = other_grain & ~grain
        assert (state.particle_id[first] == state.particle_id[second])[missed].mean() > 0.9
        assert grain.sum() > 100


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("astar_111x59", (59, 111)), ("astar_260x200", (200, 260))])
def test_real_maps_of_astar(shared_data, name, shape):
    from orix.io import load

    crystal_map = load(str(shared_data / "diffraction" / "astar_maps" / f"{name}.ctf"))
    assert crystal_map.shape == shape
    group = next(iter(crystal_map.phases))[1].point_group
    orientation = upper(crystal_map.rotations.data).reshape(*shape, 4)
    phase = np.zeros(shape, dtype=int)
    symmetry = upper(group.laue_proper_subgroup.data)
    found = grain_boundaries(phase, orientation, [symmetry])
    rows = orix.quaternion.Orientation(orix.quaternion.Rotation(orientation[:, :-1].reshape(-1, 4)), symmetry=group)
    expected = rows.angle_with(
        orix.quaternion.Orientation(orix.quaternion.Rotation(orientation[:, 1:].reshape(-1, 4)), symmetry=group),
        degrees=True,
    )
    np.testing.assert_allclose(found.right_angle.ravel(), expected, atol=1e-5)
    options = GrainOptions(min_pixels=4)
    grains = find_grains(phase, orientation, [symmetry], boundaries=found, options=options)
    cleaned = boundaries_of_grains(grains, found)
    # Grains of many pixels, with an orientation that holds throughout: no salt and pepper.
    assert grains.pixels.max() > 100
    large = grains.pixels >= 50
    assert np.average(grains.spread[large], weights=grains.pixels[large]) < 2 * options.threshold
    assert 0 < cleaned.count(BoundaryKind.GRAIN) < found.count(BoundaryKind.GRAIN)
