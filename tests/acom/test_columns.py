"""Shares of amorphous materials in columns that also hold crystals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.acom.columns import column_shares

SHAPE = (30, 40)
# Rings of two materials and background of each and of two phases, for a column of thickness 1.
RINGS = np.array([3.0, 0.7])
BACKGROUND = np.array([0.5, 0.2])
OF_PHASE = np.array([0.11, 0.3])


def columns(rng, *, slope=(0.4, -0.2), curve=0.15, pure=0.4):
    """A lamella of smooth thickness; each pixel of one phase and one amorphous material. Share 1: no lattice."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    y, x = 2 * y / (SHAPE[0] - 1) - 1, 2 * x / (SHAPE[1] - 1) - 1
    thickness = 1.3 + slope[0] * x + slope[1] * y + curve * x * y
    share = np.clip(rng.uniform(0.0, 1.0 / (1.0 - pure), SHAPE), 0.0, 1.0)
    material = (rng.random(SHAPE) < 0.4).astype(int)
    phase = np.where(share < 1.0, (rng.random(SHAPE) < 0.5).astype(int), -1)
    of_material = (material[..., None] == np.arange(2)) * (share * thickness)[..., None]
    rings = of_material * RINGS
    background = of_material @ BACKGROUND + (1 - share) * thickness * OF_PHASE[np.maximum(phase, 0)]
    return rings, background, phase, share, material, thickness


def test_exact_columns_are_found(rng):
    rings, background, phase, share, material, thickness = columns(rng)
    found = column_shares(rings, background, phase, share == 1.0)
    expected = (material[..., None] == np.arange(2)) * share[..., None]
    np.testing.assert_allclose(found.amorphous, expected, atol=1e-6)
    ratio = found.thickness / thickness
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
    assert found.roughness < 1e-9


@settings(max_examples=15, deadline=None)
@given(units=st.tuples(*(st.floats(1e-3, 1e3),) * 3), seed=st.integers(0, 100))
def test_units_do_not_matter(units, seed):
    rings, background, phase, share, _, _ = columns(np.random.default_rng(seed))
    one = column_shares(rings, background, phase, share == 1.0)
    other = column_shares(rings * units[:2], background * units[2], phase, share == 1.0)
    np.testing.assert_allclose(other.amorphous, one.amorphous, atol=1e-6)


def test_noise_neither_shifts_shares_nor_exceeds_its_error(rng):
    errors, low, high, pulls = [], [], [], []
    for _ in range(10):
        rings, background, phase, share, material, _ = columns(rng)
        std = 0.08 * RINGS * np.ones(rings.shape)
        noisy = rings + std * rng.normal(size=rings.shape)
        noisy = np.where(rings > 0.0, np.maximum(noisy, 0.0), 0.0)
        grainy = background * rng.lognormal(0.0, 0.3, SHAPE)
        found = column_shares(noisy, grainy, phase, share == 1.0, rings_std=std)
        here = np.take_along_axis(found.amorphous, material[..., None], axis=-1)[..., 0]
        here_std = np.take_along_axis(found.amorphous_std, material[..., None], axis=-1)[..., 0]
        mixed = (share > 0.2) & (share < 0.8)
        errors.append((here - share)[mixed])
        pulls.append(((here - share) / here_std)[mixed])
        low.append((here - share)[mixed & (share < 0.4)].mean())
        high.append((here - share)[mixed & (share > 0.6)].mean())
    assert abs(np.mean(np.concatenate(errors))) < 0.02
    assert abs(np.mean(low)) < 0.03 and abs(np.mean(high)) < 0.03
    assert 0.6 < np.mean(np.abs(np.concatenate(pulls)) < 1.0) < 0.85


def test_rough_specimens_are_taken_pixel_by_pixel(rng):
    """Powders have no smooth thickness: the background tells that of each pixel."""
    rings, background, phase, share, material, _ = columns(rng)
    rough = rng.lognormal(0.0, 0.5, SHAPE)
    found = column_shares(rings * rough[..., None], background * rough, phase, share == 1.0)
    here = np.take_along_axis(found.amorphous, material[..., None], axis=-1)[..., 0]
    mixed = (share > 0.2) & (share < 0.8)
    assert found.roughness > 0.3
    assert np.abs(here - share)[mixed].mean() < 0.05


def test_holes_and_materials_that_are_never_alone_are_unknown(rng):
    rings, background, phase, share, material, _ = columns(rng)
    rings[:3] = np.nan
    lattice_free = (share == 1.0) & (material == 0)
    found = column_shares(rings, background, phase, lattice_free)
    assert np.isnan(found.amorphous[:3]).all() and np.isnan(found.thickness[:3]).all()
    assert np.isnan(found.amorphous[..., 1]).all()
    assert np.isfinite(found.amorphous[3:, :, 0][phase[3:] >= 0]).all()


@pytest.mark.parametrize("pixels", [0, 7])
def test_without_pixels_free_of_a_lattice_nothing_is_known(rng, pixels):
    rings, background, phase, share, _, _ = columns(rng)
    lattice_free = np.zeros(SHAPE, dtype=bool)
    lattice_free[np.unravel_index(np.flatnonzero(share == 1.0)[:pixels], SHAPE)] = True
    found = column_shares(rings[..., :1], background, phase, lattice_free)
    assert np.isnan(found.amorphous).all() and np.isnan(found.roughness)


def test_shapes_that_do_not_go_together(rng):
    rings, background, phase, share, _, _ = columns(rng)
    with pytest.raises(ValueError, match="background"):
        column_shares(rings, background[1:], phase, share == 1.0)
