"""Shares of amorphous materials in columns that also hold crystals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.acom.amorphous.column_shares import column_shares

SHAPE = (30, 40)
# Rings of two materials and background of each and of two phases, for a column of thickness 1.
RINGS = np.array([3.0, 0.7])
BACKGROUND = np.array([0.5, 0.2])
OF_PHASE = np.array([0.11, 0.3])


def columns(rng, *, slope=(0.4, -0.2), curve=0.15, pure=0.4, spot_share=0.5):
    """A lamella of smooth thickness; each pixel of one phase and one amorphous material. Share 1: no lattice."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    y, x = 2 * y / (SHAPE[0] - 1) - 1, 2 * x / (SHAPE[1] - 1) - 1
    thickness = 1.3 + slope[0] * x + slope[1] * y + curve * x * y
    share = np.clip(rng.uniform(0.0, 1.0 / (1.0 - pure), SHAPE), 0.0, 1.0)
    material = (rng.random(SHAPE) < 0.4).astype(int)
    phase = np.where(share < 1.0, (rng.random(SHAPE) < 0.5).astype(int), -1)
    of_material = (material[..., None] == np.arange(2)) * (share * thickness)[..., None]
    diffracted = np.where(share < 1.0, rng.uniform(0.1, 0.6, SHAPE), 0.0)
    beam, spots = 1e4 * (1 - diffracted), 1e4 * diffracted
    sharp = beam + spot_share * spots
    rings = of_material * RINGS * sharp[..., None]
    background = (of_material @ BACKGROUND + (1 - share) * thickness * OF_PHASE[np.maximum(phase, 0)]) * sharp
    scan = {
        "rings": rings,
        "background": background,
        "direct_beam": beam,
        "spots": spots,
        "phase": phase,
        "lattice_free": share == 1.0,
    }
    return scan, share, material, thickness


def share_found(found, material):
    return np.take_along_axis(found.amorphous, material[..., None], axis=-1)[..., 0]


def test_exact_columns_are_found(rng):
    scan, share, material, thickness = columns(rng)
    found = column_shares(**scan)
    expected = (material[..., None] == np.arange(2)) * share[..., None]
    np.testing.assert_allclose(found.amorphous, expected, atol=1e-6)
    ratio = found.thickness / thickness
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
    assert found.roughness < 1e-9


@settings(max_examples=15, deadline=None)
@given(units=st.tuples(*(st.floats(1e-3, 1e3),) * 3), seed=st.integers(0, 100))
def test_units_do_not_matter(units, seed):
    scan, *_ = columns(np.random.default_rng(seed))
    one = column_shares(**scan)
    scan["rings"] = scan["rings"] * units[:2]
    scan["background"] = scan["background"] * units[2]
    np.testing.assert_allclose(column_shares(**scan).amorphous, one.amorphous, atol=1e-6)


def test_noise_neither_shifts_shares_nor_exceeds_its_error(rng):
    errors, low, high, pulls = [], [], [], []
    for _ in range(10):
        scan, share, material, _ = columns(rng)
        std = 0.08 * RINGS * (scan["direct_beam"] + 0.5 * scan["spots"])[..., None]
        noisy = np.maximum(scan["rings"] + std * rng.normal(size=std.shape), 0.0)
        scan["rings"] = np.where(scan["rings"] > 0.0, noisy, 0.0)
        scan["background"] = scan["background"] * rng.lognormal(0.0, 0.3, SHAPE)
        found = column_shares(**scan, rings_std=std)
        error = share_found(found, material) - share
        error_std = np.take_along_axis(found.amorphous_std, material[..., None], axis=-1)[..., 0]
        mixed = (share > 0.2) & (share < 0.8)
        errors.append(error[mixed])
        pulls.append((error / error_std)[mixed])
        low.append(error[mixed & (share < 0.4)].mean())
        high.append(error[mixed & (share > 0.6)].mean())
    assert abs(np.mean(np.concatenate(errors))) < 0.02
    assert abs(np.mean(low)) < 0.03
    assert abs(np.mean(high)) < 0.03
    assert 0.6 < np.mean(np.abs(np.concatenate(pulls)) < 1.0) < 0.85


@pytest.mark.parametrize("spot_share", [0.0, 1.0])
def test_rings_about_bragg_spots_matter_little(rng, spot_share):
    scan, share, material, _ = columns(rng, spot_share=spot_share)
    found = column_shares(**scan)
    half = (share > 0.4) & (share < 0.6)
    assert abs(np.mean(share_found(found, material)[half]) - 0.5) < 0.15


def test_rough_specimens_are_taken_pixel_by_pixel(rng):
    """Powders have no smooth thickness: the background tells that of each pixel."""
    scan, share, material, _ = columns(rng)
    rough = rng.lognormal(0.0, 0.3, SHAPE)
    scan["rings"], scan["background"] = scan["rings"] * rough[..., None], scan["background"] * rough
    found = column_shares(**scan)
    mixed = (share > 0.2) & (share < 0.8)
    assert found.roughness == pytest.approx(0.3, abs=0.05)
    assert np.abs(share_found(found, material) - share)[mixed].mean() < 0.05


def test_holes_and_materials_that_are_never_alone_are_unknown(rng):
    scan, _, material, _ = columns(rng)
    scan["rings"][:3] = np.nan
    scan["lattice_free"] &= material == 0
    found = column_shares(**scan)
    assert np.isnan(found.amorphous[:3]).all()
    assert np.isnan(found.thickness[:3]).all()
    assert np.isnan(found.amorphous[..., 1]).all()
    assert np.isfinite(found.amorphous[3:, :, 0][scan["phase"][3:] >= 0]).all()


@pytest.mark.parametrize("pixels", [0, 7])
def test_without_pixels_free_of_a_lattice_nothing_is_known(rng, pixels):
    scan, *_ = columns(rng)
    which = np.flatnonzero(scan["lattice_free"])[:pixels]
    scan["lattice_free"] = np.isin(np.arange(np.prod(SHAPE)), which).reshape(SHAPE)
    found = column_shares(**scan)
    assert np.isnan(found.amorphous).all()
    assert np.isnan(found.roughness)


def test_without_a_smooth_thickness_nothing_is_known(rng):
    scan, *_ = columns(rng, slope=(1.3, 0.0), curve=0.0)
    # What is said to have no lattice is anything.
    scan["lattice_free"] = rng.random(SHAPE) < 0.5
    scan["rings"] = rng.lognormal(0.0, 2.0, scan["rings"].shape) * np.linspace(-1.0, 1.0, SHAPE[1])[:, None].clip(0.0)
    assert np.isnan(column_shares(**scan).amorphous).all()


@pytest.mark.parametrize("name", ["background", "direct_beam", "spots", "phase", "lattice_free"])
def test_shapes_that_do_not_go_together(rng, name):
    scan, *_ = columns(rng)
    scan[name] = scan[name][1:]
    with pytest.raises(ValueError, match=name):
        column_shares(**scan)
