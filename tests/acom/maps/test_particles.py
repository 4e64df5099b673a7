"""Particles, and domino-cascade against mosaic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.acom.crystals.frames import matrices, multiply, upper
from hyperspy_assb.acom.maps.mechanism_tests import MechanismKind, weigh_mechanism
from hyperspy_assb.acom.maps.particles import MechanismOptions, Particles, find_particles
from hyperspy_assb.reference import electrode
from hyperspy_assb.simulation.lamella import build_lamella

OPTIONS = MechanismOptions(permutations=199)
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


def about_z(degrees):
    half = np.radians(degrees) / 2
    return np.array([np.cos(half), 0.0, 0.0, np.sin(half)])


def blank(*shape):
    return np.full(shape, -1), np.tile(UPRIGHT, (*shape, 1))


def test_particles_one_by_one(make_scan):
    phase, orientation = blank(30, 40)
    phase[2:12, 3:13] = 0
    # A particle of two halves, the boundary along y, turned by 3 degrees against each other.
    phase[15:25, 5:10], phase[15:25, 10:15] = 0, 1
    orientation[15:25, 10:15] = about_z(3.0)
    # Touching it, one of another orientation.
    phase[15:25, 15:21], orientation[15:25, 15:21] = 1, about_z(50.0)
    phase[1:3, 30:33] = 1  # too small
    ring = np.full(phase.shape, -1)
    ring[27:, :], ring[12, 3:13] = 1, 0
    phase[27:, :] = -1
    scan = make_scan(phase, orientation, ring=ring)
    found = find_particles(scan, pixel_size=(2.0, 2.0), options=OPTIONS)
    assert len(found) == 3
    np.testing.assert_array_equal(found.pixels, [100, 100, 60])
    np.testing.assert_allclose(found.diameter, 2 * np.sqrt(np.array([400, 400, 240]) / np.pi))
    np.testing.assert_allclose(found.delithiated, [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(found.mixed, [False, True, False])
    np.testing.assert_array_equal(found.domains, [1, 2, 1])
    np.testing.assert_allclose(found.spread, [0.0, 1.5, 0.0], atol=1e-4)
    np.testing.assert_allclose(found.interface, [0.0, 20.0, 0.0])
    np.testing.assert_allclose(found.disorientation, [np.nan, 3.0, np.nan], atol=1e-6)
    # The boundary lies along y: its normal is x, which is a (but for the 3 degrees).
    assert found.normal[1, 0] > 0.99
    assert found.angle_to_a[1] < 3.0
    assert np.isnan(found.angle_to_a[0])
    # Carbon below the first is no amorphous material; amorphous LAGP begins 16 rows below it.
    assert found.amorphous_distance[0] > found.amorphous_distance[1] > 2.0
    assert found.amorphous_contact.max() == 0.0
    error = 0.005 / 0.995
    np.testing.assert_allclose(found.expected, error + (1 - 2 * error) * found.delithiated, atol=1e-9)
    with_carbon = find_particles(scan, options=MechanismOptions(amorphous=("carbon",)))
    assert with_carbon.amorphous_contact[0] == pytest.approx(0.25)
    assert not found.at_margin.any()


@pytest.mark.parametrize("tilt", [0.0, 30.0, 70.0])
def test_normal_of_an_oblique_boundary(make_scan, rng, tilt):
    # The crystal lies anyhow; the boundary is upright, its normal in the map at an angle.
    phase, orientation = blank(40, 40)
    y, x = np.mgrid[:40, :40] - 19.5
    inside = np.hypot(x, y) < 18
    across = x * np.cos(np.radians(tilt)) + y * np.sin(np.radians(tilt))
    phase[inside] = (across[inside] > 0).astype(int)
    crystal = upper(rng.normal(size=4))
    orientation[:] = crystal
    found = find_particles(make_scan(phase, orientation), options=OPTIONS)
    assert len(found) == 1
    normal = matrices(crystal) @ [np.cos(np.radians(tilt)), np.sin(np.radians(tilt)), 0.0]
    np.testing.assert_allclose(found.normal[0], np.abs(normal), atol=0.12)
    a = matrices(crystal)[0, :2]
    expected = np.degrees(np.arccos(abs(a @ [np.cos(np.radians(tilt)), np.sin(np.radians(tilt))]) / np.linalg.norm(a)))
    assert found.angle_to_a[0] == pytest.approx(expected, abs=6.0)


def test_missing_phases_are_named(make_scan):
    scan = make_scan(*blank(5, 5))
    with pytest.raises(ValueError, match="phases are LiFePO4, FePO4, LAGP: offer LiCoO2 and CoO2"):
        find_particles(scan, "LixCoO2")
    with pytest.raises(ValueError, match="do not have the same Laue group"):
        find_particles(scan, replace(electrode("LixFePO4"), delithiated="LAGP"))
    with pytest.raises(ValueError, match="there is no class soot"):
        find_particles(scan, options=MechanismOptions(amorphous=("soot",)))
    assert len(find_particles(scan)) == 0


@pytest.mark.parametrize("options", [{"particle_angle": 120.0}, {"min_pixels": 1}, {"mixed": 0.6}, {"permutations": 3}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MechanismOptions(**options)


def squares(make_scan, rng, kinds):
    """Particles of a kind each, on a grid: "lfp", "fp", "mosaic"; mosaics are small."""
    cell = 18
    side = int(np.ceil(np.sqrt(len(kinds))))
    phase, orientation = blank(side * cell, side * cell)
    for number, kind in enumerate(kinds):
        top, left = cell * (number // side) + 1, cell * (number % side) + 1
        size = int(rng.integers(6, 9)) if kind.startswith("small") else int(rng.integers(11, 16))
        region = np.s_[top : top + size, left : left + size]
        crystal = upper(rng.normal(size=4))
        orientation[region] = crystal
        if kind.endswith("mosaic"):
            domain = np.kron(rng.integers(0, 2, (8, 8)), np.ones((2, 2), dtype=int))[:size, :size]
            phase[region] = domain
            turn = np.where(domain, 4.0, -4.0)
            half = np.radians(turn) / 2
            turned = np.stack([np.cos(half), np.sin(half), 0 * half, 0 * half], axis=-1)
            orientation[region] = multiply(turned, crystal)
        else:
            phase[region] = int(kind.endswith("fp") and not kind.endswith("lfp"))
    scan = make_scan(phase, orientation)
    return find_particles(scan, options=OPTIONS), np.asarray(scan.phase) == 1


def test_large_wholes_and_small_mosaics(make_scan, rng):
    particles, delithiated = squares(make_scan, rng, ["lfp", "fp"] * 5 + ["small mosaic"] * 12)
    found = weigh_mechanism(particles, delithiated, options=OPTIONS)
    assert found.kind is MechanismKind.BY_SIZE
    assert found["size"].p <= 0.01
    assert found["orientation"].p <= 0.01
    assert found["wholes large"].p <= 0.01
    assert found["wholes small"].p > 0.05
    assert found.whole_large == 1.0
    assert found.whole_small == 0.0
    assert np.isnan(found["amorphous"].p)
    with pytest.raises(KeyError, match="wholes large"):
        found["width"]


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        (["lfp", "small fp", "fp", "small lfp"] * 4, MechanismKind.DOMINO),
        (["small mosaic", "mosaic"] * 8, MechanismKind.MOSAIC),
        (["small lfp", "lfp"] * 8, MechanismKind.ONE_PHASE),
        (["lfp", "small mosaic"], MechanismKind.UNDECIDED),
    ],
)
def test_other_verdicts(make_scan, rng, kinds, verdict):
    particles, delithiated = squares(make_scan, rng, kinds)
    assert weigh_mechanism(particles, delithiated, options=OPTIONS).kind is verdict


def test_chance_is_found_as_often_as_it_says(rng, make_scan):
    # Mixing that knows nothing of size: p is uniform.
    particles, delithiated = squares(make_scan, rng, ["small mosaic", "mosaic", "small lfp", "fp"] * 4)
    from dataclasses import replace

    small = MechanismOptions(permutations=99)
    p = []
    for seed in range(80):
        share = np.random.default_rng(seed).permutation(particles.delithiated)
        random = replace(particles, delithiated=share, spread=np.random.default_rng(seed).random(len(particles)))
        found = weigh_mechanism(random, delithiated, options=small)
        p.append((found["size"].p, found["orientation"].p))
    p = np.array(p)
    assert (p > 0).all()
    for level in (0.1, 0.5):
        # 80 looks: 8 +- 2.7 and 40 +- 4.5; ties make p larger, not smaller.
        assert ((p <= level).sum(axis=0) <= 80 * level + 3.5 * np.sqrt(80 * level * (1 - level))).all()
    assert (p[:, 1] <= 0.5).sum() >= 26


def test_particles_of_the_virtual_lamella(make_scan_of_state):
    lamella = build_lamella((72, 72), np.random.default_rng(4))
    state = lamella.after
    scan = make_scan_of_state(state)
    found = find_particles(scan, pixel_size=(lamella.pixel_size,) * 2, options=OPTIONS)
    checked = {"mosaic": 0, "whole": 0}
    for row in range(len(found)):
        inside = found.labels == row + 1
        number, counts = np.unique(state.particle_id[inside], return_counts=True)
        if counts.max() < 0.95 * inside.sum() or inside.sum() < 25:
            continue  # cut, or two that touch in nearly one orientation
        truth = number[counts.argmax()] - 1
        majority = state.fractions["FePO4"][inside] > state.fractions["LiFePO4"][inside]
        assert found.delithiated[row] == pytest.approx(majority.mean(), abs=0.02)
        # A pixel is one phase or the other, its column may be both.
        assert found.delithiated[row] == pytest.approx(np.nanmean(1 - state.x[inside]), abs=0.25)
        if lamella.particles.mosaic[truth]:
            checked["mosaic"] += 1
            assert found.spread[row] > 2.0
            assert found.domains[row] > 1
        else:
            checked["whole"] += 1
            assert not found.mixed[row]
            assert (found.delithiated[row] > 0.5) == lamella.particles.delithiated[truth]
            assert found.spread[row] < 1.0
    assert min(checked.values()) >= 5
    evidence = weigh_mechanism(found, np.asarray(scan.phase) == 1, options=OPTIONS)
    assert evidence.kind is MechanismKind.BY_SIZE
    assert evidence["amorphous"].p <= 0.05


# ------------------------------------------------------------------------------------------ ties and the last bit


def tied_particles(rng, count=24):
    """Particles of few sizes, shares, spreads and distances, so that most permutations have equals."""
    share = rng.choice([0.0, 0.1, 0.3, 0.7, 0.9, 1.0], count)
    pixels = rng.choice([30, 60, 90], count)
    labels = np.repeat(np.arange(1, count + 1), pixels)[np.newaxis]
    nothing = np.full(count, np.nan)
    return Particles(
        labels=labels,
        pixels=pixels,
        diameter=np.sqrt(pixels.astype(float)),
        delithiated=share,
        expected=share,
        mixed=np.minimum(share, 1.0 - share) > 0.05,
        domains=np.ones(count, dtype=int),
        orientation=np.tile(UPRIGHT, (count, 1)),
        spread=rng.choice([0.0, 0.5, 1.0], count),
        interface=rng.choice([1.0, 3.0], count),
        disorientation=nothing,
        normal=np.full((count, 3), np.nan),
        angle_to_a=rng.choice([15.0, 45.0, 75.0], count),
        amorphous_distance=rng.choice([0.3, 0.6, 0.9], count),
        amorphous_contact=np.zeros(count),
        at_margin=np.zeros(count, dtype=bool),
    )


@pytest.mark.parametrize("seed", range(6))
def test_p_values_of_ties_do_not_hang_on_the_last_bit(seed):
    rng = np.random.default_rng(seed)
    particles = tied_particles(rng)
    pairs = zip(particles.pixels, particles.delithiated, strict=True)
    first = np.concatenate([np.arange(n) < round(n * f) for n, f in pairs])
    found = []
    for turn in range(4):
        nearly = particles
        for name in ("delithiated", "spread", "amorphous_distance", "angle_to_a"):
            values = getattr(particles, name)
            noise = turn * np.finfo(float).eps * rng.integers(-1, 2, values.size)
            nearly = replace(nearly, **{name: values * (1.0 + noise)})
        # An orientation that all pixels share is spread by the rounding of its mean.
        nearly = replace(nearly, spread=nearly.spread + turn * 1e-13 * rng.random(len(particles)))
        evidence = weigh_mechanism(nearly, first[np.newaxis], options=OPTIONS)
        found.append(([test.p for test in evidence.tests], evidence.split_diameter, evidence.kind))
    for other in found[1:]:
        np.testing.assert_array_equal(other[0], found[0][0])
        assert other[1] == pytest.approx(found[0][1])
        assert other[2] == found[0][2]


def test_a_share_at_the_limit_is_mixed_on_either_side(make_scan):
    # 1 - 0.9 is less than 0.1 by the last bit.
    phase, orientation = blank(24, 12)
    phase[1:11, 1:11], phase[13:23, 1:11] = 0, 1
    phase[1, 1:11], phase[13, 1:11] = 1, 0
    found = find_particles(make_scan(phase, orientation), options=MechanismOptions(mixed=0.1))
    np.testing.assert_allclose(np.sort(found.delithiated), [0.1, 0.9])
    assert found.mixed.all()
