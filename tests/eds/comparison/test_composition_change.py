"""Composition before and after: registration, differences with errors, false discoveries, regions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eds.comparison.composition_change import (
    CompositionOptions,
    compare_compositions,
    region_changes,
)
from hyperspy_assb.fitting.statistics.false_discovery import false_discovery

ELEMENTS = ("Fe", "Ge", "O")
STILL = CompositionOptions(register=False)


def scene(rows=40, columns=48, shift=(0.0, 0.0)):
    """Atoms/nm^2 of smooth grains, moved by some rows and columns; shape (rows, columns, 3)."""
    y, x = np.meshgrid(np.arange(rows) - shift[0], np.arange(columns) - shift[1], indexing="ij")
    grain = np.zeros((rows, columns))
    for cy, cx, size in ((10, 12, 5.0), (24, 33, 7.0), (33, 9, 4.0), (14, 40, 4.0)):
        grain += np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / size**2)
    iron = 1000.0 * np.clip(grain, 0.0, 1.0)
    return np.stack([iron, 500.0 - 0.5 * iron, np.full_like(iron, 4000.0)], axis=-1)


def covariance_of(atoms, std):
    return np.broadcast_to(np.diag(np.broadcast_to(std, 3) ** 2.0), (*atoms.shape, 3)).copy()


def noisy(atoms, std, rng):
    return rng.normal(atoms, std), covariance_of(atoms, std)


def compare(before, after, std, options=STILL, rng=None):
    rng = rng or np.random.default_rng(1)
    return compare_compositions(ELEMENTS, *noisy(before, std, rng), *noisy(after, std, rng), options)


def percent(atoms):
    return np.moveaxis(100.0 * atoms / atoms.sum(axis=-1, keepdims=True), -1, 0)


def test_difference_by_hand():
    before, after = np.array([[[10.0, 30.0, 60.0]]]), np.array([[[20.0, 30.0, 50.0]]])
    covariance = np.zeros((1, 1, 3, 3))
    covariance[0, 0, 0, 0] = 1.0
    found = compare_compositions(ELEMENTS, before, covariance, after, covariance, STILL)
    np.testing.assert_allclose(found.before[:, 0, 0], [10.0, 30.0, 60.0])
    np.testing.assert_allclose(found.difference[:, 0, 0], [10.0, 0.0, -10.0], atol=1e-12)
    # d f / d a is (1 - f) / 100 of its own element, and -f / 100 of the others.
    np.testing.assert_allclose(found.std[:, 0, 0], [np.hypot(0.9, 0.8), np.hypot(0.3, 0.3), np.hypot(0.6, 0.5)])
    assert found.changed[:, 0, 0].tolist() == [1, 0, -1]


def test_blocks_are_means_of_atoms():
    atoms = scene(8, 12)
    found = compare_compositions(
        ELEMENTS, atoms, covariance_of(atoms, 6.0), atoms, covariance_of(atoms, 6.0), replace(STILL, block=4)
    )
    blocks = atoms.reshape(2, 4, 3, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(found.before, percent(blocks))
    single = compare_compositions(
        ELEMENTS, blocks, covariance_of(blocks, 1.5), blocks, covariance_of(blocks, 1.5), STILL
    )
    np.testing.assert_allclose(found.std, single.std)
    assert found.block == 4


def test_rest_of_the_blocks_is_left_out():
    atoms = scene(11, 13)
    found = compare_compositions(ELEMENTS, atoms, covariance_of(atoms, 1.0), atoms, covariance_of(atoms, 1.0), STILL)
    assert found.before.shape == (3, 11, 13)
    options = replace(STILL, block=5)
    found = compare_compositions(ELEMENTS, atoms, covariance_of(atoms, 1.0), atoms, covariance_of(atoms, 1.0), options)
    assert found.before.shape == (3, 2, 2)


@pytest.mark.parametrize("shape", [(1, 60), (60, 1)])
def test_shift_of_single_rows_and_columns(shape, rng):
    along = int(np.argmax(shape))
    x = np.arange(60.0)
    states = []
    for move in (0.0, 2.5):
        # Two edges: one alone could have moved itself.
        iron = 300.0 * (np.tanh((x - 20.0 - move) / 3.0) - np.tanh((x - 40.0 - move) / 3.0))
        atoms = np.stack([iron, 600.0 - iron, np.full(60, 4000.0)], axis=-1)
        states.append(noisy(np.expand_dims(atoms, 1 - along), 10.0, rng))
    found = compare_compositions(ELEMENTS, *states[0], *states[1])
    assert found.shift[along] == pytest.approx(-2.5, abs=0.2)
    assert found.shift[1 - along] == pytest.approx(0.0, abs=1e-9)


def test_noisier_maps_have_a_less_certain_shift(rng):
    errors = [compare(scene(), scene(), noise, CompositionOptions(), rng).shift_std for noise in (60.0, 240.0)]
    assert np.all(np.array(errors[1]) > errors[0])


def test_registered_maps_do_not_differ(rng):
    shift = (1.5, -2.5)
    wrong = compare(scene(), scene(shift=shift), 20.0, rng=rng)
    found = compare(scene(), scene(shift=shift), 20.0, CompositionOptions(), rng=rng)
    assert found.shift == pytest.approx((-1.5, 2.5), abs=0.15)
    assert (wrong.changed[0] != 0).mean() > 0.2
    assert (np.nan_to_num(found.changed) != 0).mean() < 0.01


def test_given_shift_is_that_of_the_maps():
    # By whole pixels, as the halves of it are: nothing is interpolated, and the border has no partner.
    options = CompositionOptions(shift=(-2.0, 4.0))
    before, after = scene(), scene(shift=(2.0, -4.0))
    found = compare_compositions(
        ELEMENTS, before, covariance_of(before, 5.0), after, covariance_of(after, 5.0), options
    )
    inside = np.isfinite(found.difference)
    np.testing.assert_allclose(found.difference[inside], 0.0, atol=1e-9)
    assert inside[0].sum() == 38 * 44
    assert found.shift == (-2.0, 4.0)
    assert found.shift_std == (0.0, 0.0)


def test_interpolation_makes_errors_smaller():
    # Half a pixel to either side: two pixels of half the weight.
    atoms = np.tile([100.0, 300.0, 600.0], (12, 12, 1))
    still, moved = (
        compare_compositions(ELEMENTS, atoms, covariance_of(atoms, 5.0), atoms, covariance_of(atoms, 5.0), options)
        for options in (STILL, CompositionOptions(shift=(1.0, 0.0)))
    )
    inside = np.isfinite(moved.std[0])
    np.testing.assert_allclose(moved.std[0][inside] / still.std[0][inside], np.sqrt(0.5), rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0), st.integers(1, 4))
def test_even_maps_are_the_same_however_they_are_moved(down, right, block):
    atoms = np.tile([100.0, 300.0, 600.0], (16, 16, 1))
    options = CompositionOptions(shift=(down, right), block=block)
    found = compare_compositions(ELEMENTS, atoms, covariance_of(atoms, 5.0), atoms, covariance_of(atoms, 5.0), options)
    inside = np.isfinite(found.before[0])
    assert inside.any()
    for m, expected in enumerate((10.0, 30.0, 60.0)):
        np.testing.assert_allclose(found.before[m][inside], expected)
    assert not found.changed.any()


def test_nothing_changed_is_told_as_such(rng):
    found = compare(scene(), scene(), 20.0, rng=rng)
    # The elements of a pixel add up: their tests are not independent, but rare finds stay rare.
    assert (found.changed != 0).mean() < 0.002
    z = found.difference / found.std
    assert z.std() == pytest.approx(1.0, abs=0.03)
    assert (found.p_value < 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_change_is_found_where_it_is(rng):
    before, after = scene(), scene()
    after[5:15, 20:30, 0] += 200.0
    found = compare(before, after, 15.0, rng=rng)
    there = np.zeros((40, 48), dtype=bool)
    there[5:15, 20:30] = True
    assert (found.changed[0][there] == 1).mean() > 0.99
    assert (found.changed[0][~there] != 0).mean() < 0.02
    assert (found.changed[1][there] == 1).sum() == 0


def test_false_finds_are_as_few_as_was_asked(rng):
    # A tenth of the map has changed by some standard errors; of the finds, so many are false.
    false, all_finds = 0, 0
    for _ in range(10):
        before = np.tile([500.0, 500.0, 4000.0], (20, 40, 1))
        after = before.copy()
        after[:2, :, 0] += 60.0
        changed = compare(before, after, 10.0, replace(STILL, fdr=0.2), rng).changed[0]
        all_finds += np.count_nonzero(changed)
        false += np.count_nonzero(changed[2:])
    assert all_finds > 600
    assert false / all_finds < 0.2 + 4.0 * np.sqrt(0.2 * 0.8 / all_finds)


def test_uncertain_shift_widens_errors_at_edges():
    found = compare(scene(), scene(), 60.0, CompositionOptions())
    # The same counts and the same shift, which is known.
    known = compare(scene(), scene(), 60.0, CompositionOptions(shift=found.shift))
    more = found.std**2 - known.std**2
    rows, columns = np.gradient(percent(scene())[0])
    expected = (rows * found.shift_std[0]) ** 2 + (columns * found.shift_std[1]) ** 2
    inside = np.isfinite(more[0])
    assert np.corrcoef(more[0][inside], expected[inside])[0, 1] > 0.8
    assert more[0][inside].mean() == pytest.approx(expected[inside].mean(), rel=0.3)


def test_q_values_by_hand():
    # Benjamini and Hochberg: p times the number of tests over the rank, from the largest down.
    found = false_discovery(np.array([0.01, np.nan, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(found, [0.02, np.nan, 0.04, 0.04, 0.02])
    assert np.isnan(false_discovery(np.full((2, 2), np.nan))).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_q_values_are_ordered_as_p_values_and_not_below(values):
    p_value = np.array(values)
    q_value = false_discovery(p_value)
    assert (q_value >= p_value - 1e-12).all()
    assert (q_value <= 1.0).all()
    assert (np.diff(q_value[np.argsort(p_value)]) >= -1e-12).all()


def test_region_by_hand():
    before, after = (np.tile([10.0, 30.0, 60.0], (2, 2, 1)) for _ in range(2))
    after[0, 0] = [20.0, 30.0, 50.0]
    small = covariance_of(before, 0.1)
    change = compare_compositions(ELEMENTS, before, small, after, small, STILL)
    where = np.array([[True, True], [False, False]])
    found = {(c.region, c.element): c for c in region_changes(change, {"top": where, "none": ~where & False})}
    assert set(found) == {("top", element) for element in ELEMENTS}
    iron = found["top", "Fe"]
    assert (iron.before, iron.after, iron.change) == pytest.approx((10.0, 15.0, 5.0))
    assert (iron.blocks, iron.up, iron.down) == (2, 1, 0)
    assert iron.std == pytest.approx(np.sqrt((change.std[0, 0] ** 2).sum()) / 2)
    assert iron.p_value < 1e-6
    assert found["top", "Ge"].change == pytest.approx(0.0, abs=1e-9)
    assert found["top", "O"].down == 1


def test_regions_show_what_pixels_do_not(rng):
    before, after = scene(), scene()
    where = np.zeros((40, 48), dtype=bool)
    where[:20] = True
    after[where, 0] += 15.0
    change = compare(before, after, 60.0, rng=rng)
    assert (change.changed[0][where] != 0).mean() < 0.01
    inside, outside = (
        next(c for c in region_changes(change, {"region": part}) if c.element == "Fe") for part in (where, ~where)
    )
    assert inside.p_value < 1e-6
    assert outside.p_value > 1e-3


def test_pixels_without_an_answer_have_none(rng):
    before, after = scene(), scene()
    before[3, 4] = np.nan
    found = compare(before, after, 20.0, rng=rng)
    assert np.isnan(found.difference[:, 3, 4]).all()
    assert (found.changed[:, 3, 4] == 0).all()
    assert np.isfinite(found.q_value).sum() == 3 * (40 * 48 - 1)
    (iron, *_) = region_changes(found, {"all": np.ones((40, 48), dtype=bool)})
    assert iron.blocks == 40 * 48 - 1


def test_maps_of_different_size_are_told():
    one, other = scene(10, 12), scene(10, 13)
    with pytest.raises(ValueError, match=r"10 x 12 and 10 x 13 pixels \(rows x columns\): crop them"):
        compare_compositions(ELEMENTS, one, covariance_of(one, 1.0), other, covariance_of(other, 1.0))


def test_maps_without_structure_cannot_be_registered(rng):
    flat = np.tile([500.0, 500.0, 4000.0], (20, 20, 1))
    for _ in range(20):
        with pytest.raises(ValueError, match=r"no structure above their noise.*register=False"):
            compare(flat, flat, 20.0, CompositionOptions(), rng)


def test_maps_of_nothing_cannot_be_registered():
    nothing = np.full((20, 20, 3), np.nan)
    with pytest.raises(ValueError, match="no structure"):
        compare_compositions(ELEMENTS, nothing, covariance_of(nothing, 1.0), nothing, covariance_of(nothing, 1.0))


def test_shift_larger_than_allowed_is_told():
    with pytest.raises(ValueError, match=r"shifted by -8\.\d rows and .* more than 0\.1 of the map"):
        compare(scene(), scene(shift=(8.0, 0.0)), 5.0, CompositionOptions(largest_shift=0.1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 0}, "block must be 1 or more pixels, not 0"),
        ({"fdr": 0.0}, "fdr must lie between 0 and 1"),
        ({"fdr": 1.0}, "fdr must lie between 0 and 1"),
        ({"fdr": np.nan}, "fdr must lie between 0 and 1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        CompositionOptions(**options)
