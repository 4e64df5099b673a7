"""Shift of two maps of which parts have changed: growth is not drift, and drift is not growth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from hyperspy_assb.eds.comparison.composition_change import CompositionOptions, Reference, compare_compositions
from hyperspy_assb.eds.comparison.registration import composition_layers, find_shift, image_layers

ELEMENTS = ("C", "O", "P", "Fe", "Ge")
RICH = np.array([2.0, 55.0, 14.0, 14.0, 0.0])  # atoms/nm^3, about as LiFePO4 under a film of carbon
POOR = np.array([2.0, 58.0, 14.5, 0.0, 7.2])  # about as LAGP
YIELD = np.array([0.05, 0.25, 0.9, 1.0, 0.7])
SHAPE, FINE, NM = (48, 64), 4, 80.0


def draw_shares(kind, growth=0.0, drift=(0.0, 0.0)):
    """Share of the rich phase in each pixel: growth to the right, and drift, in quarters of a pixel."""
    y, x = np.meshgrid(*((np.arange(n * FINE) + 0.5) / FINE - 0.5 for n in SHAPE), indexing="ij")
    y, x = y - drift[0], x - drift[1]
    if kind == "boundary":
        inside = x < 32 + growth
    elif kind == "particle":
        inside = (abs(y - 24) < 12) & (x > 18) & (x < 40 + growth)
    elif kind == "particle beside a fixed interface":
        inside = (abs(y - 30) < 12) & (x > 18) & (x < 40 + growth) | (y < 9) & (x > 5) & (x < 60)
    else:
        inside = (
            sum(np.hypot(x - cx, y - cy) < r for cy, cx, r in ((8, 8, 5), (12, 50, 7), (35, 12, 8), (38, 54, 6))) > 0
        )
        inside |= (abs(y - 24) < 8) & (x > 24) & (x < 36 + growth)
    blurred = ndimage.gaussian_filter(inside.astype(float), 0.3 * FINE)
    return blurred.reshape(SHAPE[0], FINE, SHAPE[1], FINE).mean(axis=(1, 3))


def draw_state(kind, counts, rng, **change):
    """Atoms and covariance of a map with so many counts in a spectrum."""
    share = draw_shares(kind, **change)[..., np.newaxis]
    atoms = NM * (share * RICH + (1.0 - share) * POOR)
    scale = YIELD * counts / (atoms @ YIELD).mean()
    background = 0.02 * counts
    found = (rng.poisson(atoms * scale) + rng.normal(0.0, np.sqrt(background), atoms.shape)) / scale
    variance = (atoms * scale + background) / scale**2
    return found, variance[..., np.newaxis] * np.eye(len(ELEMENTS))


def register(kind, counts, rng, unchanged=None, **change):
    states = [draw_state(kind, counts, rng), draw_state(kind, counts, rng, **change)]
    there = [np.ones(SHAPE, dtype=bool)] * 2
    return find_shift(*composition_layers(states, ELEMENTS, there), unchanged=unchanged)


@pytest.mark.parametrize("counts", [2000, 60])
@pytest.mark.parametrize("drift", [(0.0, 0.0), (1.25, -2.5), (-3.0, 0.75)])
@pytest.mark.parametrize("kind", ["particle", "grains"])
def test_drift_is_found_and_its_error_is_true(kind, drift, counts):
    pulls = []
    for seed in range(4):
        found = register(kind, counts, np.random.default_rng(seed), drift=drift)
        # The later map is to be moved back.
        pulls += list((found.shift + drift) / found.std)
        assert (found.std < 0.3).all()
        assert found.other is None
    assert np.mean(np.abs(pulls) < 2.0) >= 0.8
    assert np.max(np.abs(pulls)) < 4.0


@pytest.mark.parametrize("counts", [2000, 300])
@pytest.mark.parametrize("growth", [2.0, 5.0])  # 4 and 10 nm in pixels of 2 nm
def test_one_sided_growth_is_not_drift(growth, counts):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        found = register("particle", counts, rng, growth=growth)
        assert (np.abs(found.shift) < 2.5 * found.std).all()
        # Or the particle has drifted, and has shrunk on the other side.
        assert found.other == pytest.approx((0.0, -growth), abs=0.5)
        assert (np.abs(register("grains", counts, rng, growth=growth).shift) < 0.15).all()


@pytest.mark.parametrize("counts", [2000, 300])
@pytest.mark.parametrize("drift", [(1.25, 2.5), (-0.75, 0.5)])
def test_growth_and_drift_beside_what_is_fixed(drift, counts, rng):
    found = register("particle beside a fixed interface", counts, rng, growth=2.0, drift=drift)
    assert (np.abs(found.shift + drift) < 3.0 * found.std).all()
    assert (found.std < 0.3).all()


def test_single_boundary_is_ambiguous_and_both_readings_are_given(rng):
    moved = register("boundary", 2000, rng, growth=2.0)
    drifted = register("boundary", 2000, rng, drift=(0.0, 2.0))
    for found in (moved, drifted):
        assert found.shift[1] == pytest.approx(-2.0, abs=0.1)
        np.testing.assert_array_equal(found.other, 0.0)
        assert "faces the same way" in found.reason
        # Nothing tells the rows.
        assert found.shift[0] == pytest.approx(0.0, abs=0.1)
        assert found.std[0] > 1.0
    assert register("boundary", 2000, rng).other is None


def test_region_in_which_nothing_changed_decides(rng):
    unchanged = np.zeros(SHAPE, dtype=bool)
    unchanged[:, :30] = True
    for growth in (2.0, 5.0):
        found = register("particle", 300, rng, growth=growth, drift=(1.25, 2.5), unchanged=unchanged)
        assert (np.abs(found.shift + np.array((1.25, 2.5))) < 4.0 * found.std).all()
        assert found.other is None
    flat = np.zeros(SHAPE, dtype=bool)
    flat[:6, :6] = True
    with pytest.raises(ValueError, match="no edge to register by"):
        register("particle", 300, rng, growth=2.0, unchanged=flat)


@pytest.mark.parametrize("kind", ["boundary", "particle"])
def test_images_decide(kind, rng):
    states = [draw_state(kind, 2000, rng), draw_state(kind, 2000, rng, growth=2.0, drift=(1.0, -1.5))]
    texture = ndimage.gaussian_filter(rng.normal(0.0, 1.0, (2 * SHAPE[0] + 20, 2 * SHAPE[1] + 20)), 2.0)
    images = []
    for move, growth, gain in (((0, 0), 0.0, 1.0), ((2, -3), 2.0, 1.7)):
        own = np.kron(draw_shares(kind, growth, (move[0] / 2, move[1] / 2)), np.ones((2, 2)))
        part = texture[10 - move[0] : 10 - move[0] + 96, 10 - move[1] : 10 - move[1] + 128]
        images.append(gain * (100.0 + 5.0 * own + 40.0 * part + rng.normal(0.0, 1.0, own.shape)))
    found = find_shift(*image_layers(images))
    np.testing.assert_allclose(found.shift, (-2.0, 3.0), atol=0.2)
    change = compare_compositions(ELEMENTS, *states[0], *states[1], reference=Reference(images=tuple(images)))
    assert change.shift == pytest.approx((-1.0, 1.5), abs=0.1)
    assert change.other is None
    # Maps are moved by half the shift to the middle.
    grown = draw_shares(kind, 2.0, (0.5, -0.75)) - draw_shares(kind, 0.0, (0.5, -0.75)) > 0.9
    assert (change.changed[ELEMENTS.index("Fe")][grown] == 1).mean() > 0.9


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("grains", {}),
        ("grains", {"drift": (1.25, -2.5)}),
        ("particle", {"drift": (-0.75, 1.5)}),
        ("particle", {"growth": 2.0}),
        ("grains", {"growth": 5.0, "drift": (1.25, -2.5)}),
    ],
)
@pytest.mark.parametrize("counts", [2000, 300])
def test_changes_are_found_and_nothing_else(kind, change, counts, rng):
    states = [draw_state(kind, counts, rng), draw_state(kind, counts, rng, **change)]
    found = compare_compositions(ELEMENTS, *states[0], *states[1])
    half = tuple(0.5 * d for d in change.get("drift", (0.0, 0.0)))
    difference = draw_shares(kind, change.get("growth", 0.0), half) - draw_shares(kind, 0.0, half)
    iron = found.changed[ELEMENTS.index("Fe")]
    compared = found.status == 0
    if "growth" in change:
        assert (iron[(difference > 0.9) & compared] == 1).mean() > 0.9
    assert (found.changed[:, (abs(difference) < 0.01) & compared] != 0).mean() < 0.02


def test_carbon_that_builds_up_is_no_shift(rng):
    before, after = (draw_state("particle", 2000, rng) for _ in range(2))
    film = np.zeros((*SHAPE, len(ELEMENTS)))
    film[..., 0] = 4000.0 * draw_shares("boundary")
    found = compare_compositions(ELEMENTS, *before, after[0] + film, after[1])
    assert np.abs(found.shift).max() < 0.1
    assert found.other is None


def test_large_maps_are_registered_as_well(rng):
    small = ndimage.gaussian_filter(rng.normal(0.0, 1.0, (220, 260)), 6.0)
    small /= small.std()
    maps = [small[10:210, 10:250], small[16:216, 2:242]]
    states = []
    for image in maps:
        rich = np.clip(0.5 + 0.3 * image, 0.0, 1.0)[..., np.newaxis]
        atoms = NM * (rich * RICH + (1.0 - rich) * POOR)
        states.append((rng.normal(atoms, 300.0), np.broadcast_to(9e4 * np.eye(5), (*image.shape, 5, 5))))
    found = compare_compositions(ELEMENTS, *states[0], *states[1], CompositionOptions(block=4))
    assert found.shift == pytest.approx((6.0, -8.0), abs=0.2)
    assert (found.changed != 0).mean() < 0.01


@pytest.mark.parametrize("image", [np.ones((20, 20)), np.full((20, 20), np.nan)])
def test_images_that_show_nothing(image, rng):
    with pytest.raises(ValueError, match="finite, and not flat"):
        image_layers([rng.normal(size=(20, 20)), image])


def test_images_of_another_field(rng):
    state = draw_state("particle", 2000, rng)
    with pytest.raises(ValueError, match=r"images have 96 x 96 and 96 x 96 pixels, and the map 48 x 64"):
        compare_compositions(ELEMENTS, *state, *state, reference=Reference(images=(rng.normal(size=(96, 96)),) * 2))
    with pytest.raises(ValueError, match="images must be two"):
        Reference(images=(np.ones((4, 4)),))
