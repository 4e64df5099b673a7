"""Names of amorphous materials whose rings are not where the table has them."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.acom.amorphous.diffuse_rings import fit_rings, table_profile
from hyperspy_assb.acom.amorphous.ring_identity import UNKNOWN, identify, learn_profiles
from hyperspy_assb.acom.patterns.radial_profiles import RadialProfiles
from hyperspy_assb.simulation.acom.amorphous import RADIAL_STEP, amorphous_profile
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions

NAMES = ["carbon", "amorphous_LAGP"]
RADIUS = np.arange(0.12, 1.45, 0.012)
PIXELS = 2 * np.pi * RADIUS / 0.012


def scattering(name, factor):
    """The simulator's model of atoms, which knows nothing of the table, with all radii longer by a factor."""
    profile, _ = amorphous_profile(name, DiffractionConditions(), 1200)
    profile = np.interp(RADIUS / factor, np.arange(1200) * RADIAL_STEP, profile)
    return profile / (profile * PIXELS).sum()


def profiles_of(levels, rng, counts=3e4):
    levels = np.asarray(levels) * counts
    total = levels * PIXELS
    drawn = rng.poisson(total)
    std = np.sqrt(np.maximum(drawn, 1.0)) / PIXELS
    pixels = np.broadcast_to(PIXELS, levels.shape)
    zero = np.zeros(len(levels))
    return RadialProfiles(RADIUS, drawn / PIXELS, std, pixels, zero, zero)


def ground(share):
    smooth = 1.0 / (1.0 + (RADIUS / 0.08) ** 2)
    return share * smooth / (smooth * PIXELS).sum()


def patterns(name, factor, rng, count=24):
    return [scattering(name, factor) + ground(rng.uniform(0.2, 0.6)) for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", [0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12])
def test_shifted_rings_have_their_name_or_none(name, factor, rng):
    profiles = profiles_of(patterns(name, factor, rng), rng)
    learnt = {p.name: p for p in learn_profiles(profiles, np.ones(24, dtype=bool), NAMES)}
    measured = [p.name for p in learnt.values() if p.level_std is not None]
    assert measured in ([name], [UNKNOWN])
    # Whatever its name, the rings are those of this scan, and the other material has no part in them.
    fit = fit_rings(profiles, list(learnt.values()))
    share = fit.share[:, list(learnt).index(measured[0])]
    assert (share > 0.97 * fit.share.sum(axis=1)).mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_rings_of_the_model_are_named(name, rng):
    profiles = profiles_of(patterns(name, 1.0, rng), rng)
    (found,) = identify(profiles, np.ones(24, dtype=bool), NAMES)
    assert found.name == name
    assert len(found.rows) >= 16


def test_rings_of_the_table_are_named(rng):
    for name in NAMES:
        level = table_profile(name).at(RADIUS)
        levels = [level / (level * PIXELS).sum() + ground(s) for s in rng.uniform(0.2, 0.6, 24)]
        found = identify(profiles_of(levels, rng), np.ones(24, dtype=bool), NAMES)
        assert [one.name for one in found] == [name]


def test_two_materials_in_one_scan(rng):
    levels = patterns("carbon", 1.0, rng, 16) + patterns("amorphous_LAGP", 1.0, rng, 16)
    profiles = profiles_of(levels, rng)
    found = {one.name: one.rows for one in identify(profiles, np.ones(32, dtype=bool), NAMES)}
    assert (found["carbon"] < 16).all()
    assert (found["amorphous_LAGP"] >= 16).all()
    learnt = {p.name: p.level_std is not None for p in learn_profiles(profiles, np.ones(32, dtype=bool), NAMES)}
    assert learnt == dict.fromkeys(NAMES, True)


def test_rings_of_something_else_are_unknown(rng):
    level = np.exp(-0.5 * ((RADIUS - 0.6) / 0.02) ** 2) + np.exp(-0.5 * ((RADIUS - 1.1) / 0.02) ** 2)
    levels = [level / (level * PIXELS).sum() + ground(s) for s in rng.uniform(0.2, 0.6, 24)]
    learnt = learn_profiles(profiles_of(levels, rng), np.ones(24, dtype=bool), NAMES)
    assert [p.name for p in learnt] == [UNKNOWN]


def test_without_rings_the_table_stays(rng):
    profiles = profiles_of([ground(s) for s in rng.uniform(0.5, 1.0, 24)], rng)
    assert [p.level_std for p in learn_profiles(profiles, np.ones(24, dtype=bool), NAMES)] == [None, None]
