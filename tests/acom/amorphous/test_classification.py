"""Diffuse rings, which material has them, and patterns without a lattice."""

from __future__ import annotations

import warnings
from functools import cache

import hyperspy.api as hs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from scipy.optimize import nnls

from hyperspy_assb.acom.amorphous.classification import (
    AmorphousOptions,
    ChanceScores,
    chance_of_noise,
    chance_of_turned_rings,
    classify,
    find_crystalline,
)
from hyperspy_assb.acom.amorphous.diffuse_rings import (
    RingProfile,
    fit_rings,
    measure_profile,
    table_profile,
)
from hyperspy_assb.acom.amorphous.ring_identity import learn_profiles
from hyperspy_assb.acom.calibration.ring_calibration import calibrate_on_rings
from hyperspy_assb.acom.crystals.powder_rings import cubic_rings
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.acom.matching.matcher import Matcher
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.preparation import fill_masked, find_symmetry_centre
from hyperspy_assb.acom.patterns.radial_profiles import direct_beam_width, radial_profiles
from hyperspy_assb.acom.templates.bank import simulate_bank
from hyperspy_assb.fitting.fixed_shapes.nonnegative import fit_nonnegative
from hyperspy_assb.reference import UnknownReferenceError, material
from hyperspy_assb.reference.materials import materials
from hyperspy_assb.simulation.acom.amorphous import RADIAL_STEP, amorphous_profile
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions
from hyperspy_assb.simulation.acom.patterns import simulate_patterns

GEOMETRY = PatternGeometry(scale=0.012, centre=(63.0, 65.0))
SHAPE = (128, 128)
# Materials of the simulator, which knows nothing of the tables.
MATERIALS = {"carbon": "carbon", "amorphous LAGP": "amorphous_LAGP"}


@cache
def material_profile(name):
    profile, _ = amorphous_profile(MATERIALS[name], DiffractionConditions(), 1200)
    return np.arange(1200) * RADIAL_STEP, profile


def amorphous_level(name, q):
    return np.interp(q, *material_profile(name))


def distance(geometry=GEOMETRY, shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.linalg.norm(geometry.to_reciprocal(np.stack([x, y], axis=-1)), axis=-1)


def smooth_ground(q):
    return 1.0 / (1.0 + (q / 0.08) ** 2)


def lattice_pattern(rng, counts, a=0.17, b=0.11, angle=95.0):
    """Spots of a plane lattice with random intensities: no phase of the bank has it exactly."""
    turn = rng.uniform(0, 2 * np.pi)
    image = np.zeros(SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for h in range(-5, 6):
        for k in range(-8, 9):
            g = np.array([a * h + b * k * np.cos(np.radians(angle)), b * k * np.sin(np.radians(angle))])
            if 0.1 < np.linalg.norm(g) < 0.75:
                c, s = np.cos(turn), np.sin(turn)
                place = GEOMETRY.to_pixels(np.array([c * g[0] - s * g[1], s * g[0] + c * g[1]]))
                weight = rng.exponential() * np.exp(-3 * np.linalg.norm(g))
                image += weight * np.exp(-0.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2) / 1.2**2)
    return counts * image / image.sum()


@pytest.fixture(scope="module")
def matcher(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERSPY_ASSB_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        bank = simulate_bank(["lfp", "fp"], resolution=3.0, max_radius=0.8)
    return Matcher(bank, GEOMETRY, SHAPE)


# Exact cases


@pytest.mark.slow
def test_non_negative_least_squares_agree_with_scipy(rng):
    columns = np.abs(rng.normal(size=(7, 40)))
    data = rng.normal(size=(30, 40)) + 0.7 * columns[2] + 0.2 * columns[5]
    variance = rng.uniform(0.5, 2.0, (30, 40))
    amounts, errors, fitted = np.empty((30, 7)), np.empty((30, 7)), np.empty((30, 40))
    squares, freedom = np.empty(30), np.empty(30, dtype=np.int64)
    fit_nonnegative(data, variance, columns, amounts, errors, fitted, squares, freedom)
    for b in range(30):
        root = 1.0 / np.sqrt(variance[b])
        expected, norm = nnls((columns * root).T, data[b] * root)
        np.testing.assert_allclose(amounts[b], expected, atol=1e-7)
        assert squares[b] == pytest.approx(norm**2, rel=1e-7)
        assert freedom[b] == 40 - (expected > 0).sum()


def test_level_of_a_ring_is_not_moved_by_spots():
    q = distance()
    ground = 50 * np.exp(-q / 0.2) + 5
    clean = radial_profiles(ground[None], GEOMETRY)
    spots = ground.copy()
    for angle in (0.3, 1.2, 2.5, 4.0, 5.5):
        y, x = np.mgrid[:128, :128]
        place = GEOMETRY.to_pixels(0.4 * np.array([np.cos(angle), np.sin(angle)]))
        spots += 400 * np.exp(-0.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2) / 1.3**2)
    found = radial_profiles(spots[None], GEOMETRY)
    np.testing.assert_allclose(found.level, clean.level, rtol=0.03)
    assert found.spots[0] == pytest.approx(5 * 400 * 2 * np.pi * 1.3**2, rel=0.05)
    # The middle of a ring, where an exponential is nearly its mean.
    np.testing.assert_allclose(clean.level[0], 50 * np.exp(-clean.radius / 0.2) + 5, rtol=0.02)


@pytest.mark.parametrize("mean", [0.02, 0.3, 4.0, 200.0])
def test_level_of_counts_has_no_bias_and_true_errors(rng, mean):
    patterns = rng.poisson(mean, (40, *SHAPE))
    found = radial_profiles(patterns, GEOMETRY)
    pull = (found.level - mean) / np.maximum(found.level_std, 0.3 * np.sqrt(mean / found.pixels))
    good = found.pixels * mean > 10
    assert abs(pull[good].mean()) < 0.25
    assert pull[good].std() == pytest.approx(1.0, abs=0.25)
    assert np.median(found.dispersion) == pytest.approx(1.0, abs=0.3)
    # Poisson counts are no spots.
    assert np.abs(found.spots / found.spots_std).mean() < 2.0


def test_level_and_gain(rng):
    plain = rng.poisson(3.0, (4, *SHAPE))
    one = radial_profiles(plain, GEOMETRY)
    many = radial_profiles(plain * 11, GEOMETRY)
    np.testing.assert_allclose(many.level, 11 * one.level, rtol=1e-6)
    np.testing.assert_allclose(many.dispersion, 11 * one.dispersion, rtol=1e-6)


def test_mask_is_left_out(rng):
    q = distance()
    pattern = rng.poisson(20 * np.exp(-q / 0.3) + 1.0)
    stop = np.zeros(SHAPE, dtype=bool)
    stop[:66, 58:68] = True
    hidden = np.where(stop, 0, pattern)
    shown = radial_profiles(hidden[None], GEOMETRY, mask=stop)
    whole = radial_profiles(pattern[None], GEOMETRY)
    assert np.nanmax(np.abs(shown.level - whole.level) / whole.level_std) < 4.0


def test_table_names_its_sources():
    for row in materials.values():
        for ring in row.rings:
            assert ring.source
            assert ring.kind in ("observed", "derived", "estimate")
            assert ring.note
            assert 0.02 < ring.fwhm < 0.3
    carbon, lagp = material("carbon"), material("amorphous_LAGP")
    # 3.5, 2.1 and 1.2 Å of graphite-like carbon.
    assert [round(1 / ring.radius, 1) for ring in carbon.rings] == [3.5, 2.1, 1.2]
    assert all(ring.kind == "estimate" for ring in lagp.rings)
    with pytest.raises(UnknownReferenceError, match="carbon"):
        material("water")


def test_mixture_of_known_profiles_is_exact():
    q = distance()
    a, b = table_profile("carbon"), table_profile("amorphous_LAGP")
    pattern = 30 * a.at(q) + 12 * b.at(q) + 40 * np.exp(-q / 0.12) + 3
    # Narrow rings of the profile: the curvature within one is small.
    found = radial_profiles(pattern[None], PatternGeometry(0.012, (63.0, 65.0)), step=0.012)
    fit = fit_rings(found, ["carbon", "amorphous_LAGP"], model_error=0.01)
    np.testing.assert_allclose(fit.amounts[0], [30.0, 12.0], rtol=0.05)
    assert fit.significance[0] > 6
    assert fit.share[0].sum() < 1.0


# Simulated


def draw(rng, name, count, counts, ground=0.5):
    q = distance()
    rings = amorphous_level(name, q) if name else 0.0
    body = smooth_ground(q)
    image = ground * body / body.sum()
    if name:
        image = image + (1 - ground) * rings / rings.sum()
    return rng.poisson(counts * image, (count, *SHAPE)).astype(np.uint16)


def test_measured_profiles_tell_carbon_from_amorphous_lagp(rng):
    carbon, lagp = (radial_profiles(draw(rng, name, 16, 2e4), GEOMETRY) for name in ("carbon", "amorphous LAGP"))
    profiles = [measure_profile(carbon, "carbon"), measure_profile(lagp, "amorphous LAGP")]
    for index, name in enumerate(("carbon", "amorphous LAGP")):
        fit = fit_rings(radial_profiles(draw(rng, name, 24, 1e4), GEOMETRY), profiles)
        assert (fit.material == index).mean() >= 0.95
        assert (fit.significance > 4).mean() >= 0.95
    both = draw(rng, "carbon", 24, 5e3) + draw(rng, "amorphous LAGP", 24, 5e3)
    fit = fit_rings(radial_profiles(both, GEOMETRY), profiles)
    pure = [fit_rings(p, profiles).share[:, k].mean() for k, p in enumerate((carbon, lagp))]
    pull = (fit.share - 0.5 * np.array(pure)) / fit.share_std
    # Half of each: the errors cover the truth.
    assert (np.abs(pull) < 2.0).mean() > 0.85
    nothing = fit_rings(radial_profiles(draw(rng, None, 40, 1e4), GEOMETRY), profiles)
    assert (nothing.significance > 4).mean() <= 0.05


def test_rings_are_learnt_from_the_scan(rng):
    patterns = np.concatenate([draw(rng, "carbon", 12, 2e4), draw(rng, None, 12, 2e4)])
    profiles = radial_profiles(patterns, GEOMETRY)
    amorphous = np.arange(24) < 12
    learnt = learn_profiles(profiles, amorphous, ["carbon"])[0]
    assert learnt.level_std is not None
    table = fit_rings(profiles.take(amorphous), ["carbon"])
    own = fit_rings(profiles.take(amorphous), [learnt])
    assert np.median(own.reduced_squares) < np.median(table.reduced_squares)
    assert np.median(own.significance) > np.median(table.significance)
    # Too few patterns: the table stays.
    assert learn_profiles(profiles, np.arange(24) < 3, ["carbon"])[0].level_std is None


@pytest.mark.slow
def test_chance_is_what_patterns_without_a_lattice_score(matcher, rng):
    patterns = draw(rng, "carbon", 60, 1e4)
    chance = chance_of_noise(matcher, radial_profiles(patterns, GEOMETRY))
    scores = matcher.match(patterns).phase_scores.max(axis=1)
    assert chance.samples == 48
    assert abs(scores.mean() - chance.mean) < 3 * chance.std / np.sqrt(48) + 0.15 * chance.mean
    assert (scores > chance.limit(1e-3)).sum() <= 1
    turned = chance_of_turned_rings(matcher, patterns[:20], draws=3)
    assert turned.shape == (20, 3)
    assert turned.mean() == pytest.approx(scores.mean(), rel=0.1)


def test_limit_is_the_quantile_of_a_gumbel_distribution(rng):
    draws = rng.gumbel(0.03, 0.002, 200000)
    chance = ChanceScores(float(draws.mean()), float(draws.std()), len(draws))
    for p in (1e-3, 1e-2, 0.1):
        assert chance.limit(p) == pytest.approx(np.quantile(draws, 1 - p), rel=0.02)


def test_crystals_amorphous_material_both_and_nothing(matcher, rng):
    q = rng.normal(size=(24, 4))
    conditions = DiffractionConditions(shape=SHAPE, centre=(63.0, 65.0), direct_beam=False)
    crystal = simulate_patterns(q, ["LiFePO4"], conditions, 5).astype(np.uint16)
    carbon = draw(rng, "carbon", 24, 1e4)
    patterns = np.concatenate([crystal, carbon, crystal + carbon, draw(rng, None, 24, 1e4), crystal * 0])
    kind = np.repeat(np.arange(5), 24)
    profiles = radial_profiles(patterns, GEOMETRY)
    materials = [measure_profile(radial_profiles(draw(rng, "carbon", 16, 2e4), GEOMETRY), "carbon"), "amorphous_LAGP"]
    scores = np.maximum(matcher.match(patterns).phase_scores, 0).max(axis=1)
    chance = chance_of_noise(matcher, profiles)
    crystalline = find_crystalline(matcher, patterns, scores, chance)
    status = classify(crystalline, fit_rings(profiles, materials))
    wanted = [
        PatternStatus.INDEXED,
        PatternStatus.AMORPHOUS,
        PatternStatus.MIXED,
        PatternStatus.EMPTY,
        PatternStatus.EMPTY,
    ]
    right = [(status[kind == k] == wanted[k]).mean() for k in range(5)]
    assert min(right) >= 0.9, right


@pytest.mark.parametrize(("lobes", "depth"), [(1, 0.35), (2, 0.1)])
def test_texture_does_not_pass_for_a_lattice(matcher, rng, lobes, depth):
    # Rings that are brighter to one side, as an error of the centre makes them, or to two.
    q = distance()
    y, x = np.mgrid[:128, :128]
    image = amorphous_level("carbon", q) * (1 + depth * np.cos(lobes * np.arctan2(y - 65, x - 63)))
    patterns = rng.poisson(2e4 * image / image.sum(), (16, *SHAPE))
    scores = matcher.match(patterns).phase_scores.max(axis=1)
    chance = chance_of_noise(matcher, radial_profiles(patterns, GEOMETRY))
    assert not find_crystalline(matcher, patterns, scores, chance).any()


def test_unknown_lattice_is_still_a_crystal_in_its_counts(rng):
    patterns = np.array([rng.poisson(lattice_pattern(rng, 3e3) + 0.05) for _ in range(4)])
    found = radial_profiles(patterns, GEOMETRY)
    assert (found.spots > 20 * found.spots_std).all()


# Properties


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 50.0), st.floats(0.0, 50.0), st.floats(0.0, 30.0), st.integers(0, 10**6))
def test_amounts_are_never_negative_and_scale(a, b, ground, seed):
    rng = np.random.default_rng(seed)
    q = distance()
    mean = a * table_profile("carbon").at(q) + b * table_profile("amorphous_LAGP").at(q) + ground * np.exp(-q / 0.2)
    patterns = rng.poisson(mean, (1, *SHAPE))
    fit = fit_rings(radial_profiles(patterns, GEOMETRY))
    assert (fit.amounts >= 0).all()
    assert (fit.share >= 0).all()
    assert (fit.share.sum(axis=1) <= 1.0 + 1e-6).all()
    assert np.isfinite(fit.significance).all()
    pull = (fit.amounts[0] - [a, b]) / np.maximum(fit.amounts_std[0], 1e-3)
    assert np.abs(pull).max() < 6.0


# Bad input


def test_errors():
    patterns = np.ones((2, *SHAPE))
    with pytest.raises(ValueError, match="calibration"):
        radial_profiles(patterns, PatternGeometry(scale=1e-4, centre=(63.0, 65.0)))
    with pytest.raises(ValueError, match="outside of the frame"):
        radial_profiles(patterns, GEOMETRY, centres=[(63.0, 65.0), (200.0, 3.0)])
    with pytest.raises(ValueError, match="mask"):
        radial_profiles(patterns, GEOMETRY, mask=np.zeros((3, 3)))
    profiles = radial_profiles(patterns, GEOMETRY)
    with pytest.raises(ValueError, match="no diffuse ring"):
        measure_profile(profiles, "carbon")
    with pytest.raises(ValueError, match="no pattern"):
        measure_profile(profiles.take(slice(0, 0)), "carbon")
    with pytest.raises(ValueError, match="own name"):
        fit_rings(profiles, ["carbon", "carbon"])
    far = RingProfile("far", np.linspace(3.0, 4.0, 8), np.ones(8))
    with pytest.raises(ValueError, match="far"):
        fit_rings(profiles, [far])
    with pytest.raises(ValueError, match="ascend"):
        RingProfile("x", np.zeros(8), np.ones(8))
    with pytest.raises(ValueError, match="false_alarms"):
        AmorphousOptions(false_alarms=0.9)


# Real files


def load(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old files
        return hs.load(path)


def test_real_amorphous_pattern_is_amorphous(shared_data, matcher):
    pattern = load(shared_data / "diffraction" / "single_patterns" / "Amorphous.hspy").data
    # A beam stop and a round screen: dark.
    mask = binary_dilation(pattern < 20000, iterations=4)
    centre = find_symmetry_centre(pattern, mask=mask)
    # By eye the rings are about column 305, row 250; the stop ends at row 265.
    assert np.abs(centre - (305.0, 249.5)).max() < 2.0
    # Its file does not state a scale that can be: whatever it is, there is no lattice.
    for scale in (0.004, 0.006):
        geometry = PatternGeometry(scale=scale, centre=(float(centre[0]), float(centre[1])))
        whole = Matcher(matcher.bank, geometry, pattern.shape)
        filled = fill_masked(pattern[None], centre, mask)
        profiles = radial_profiles(pattern[None], geometry, mask=mask, min_radius=0.15, max_radius=0.9)
        scores = np.maximum(whole.match(filled).phase_scores, 0).max(axis=1)
        chance = chance_of_noise(whole, profiles, samples=12)
        crystalline = find_crystalline(whole, filled, scores, chance)
        fit = fit_rings(profiles)
        assert classify(crystalline, fit)[0] == PatternStatus.AMORPHOUS
        assert fit.structure[0] > 20


def test_real_gold_is_crystalline(shared_data):
    pattern = load(shared_data / "diffraction" / "single_patterns" / "au_xgrating_20cm.tif").data
    geometry = calibrate_on_rings(pattern, cubic_rings("Au", 4.0782)).geometry
    fit = fit_rings(radial_profiles(pattern[None], geometry))
    # Its rings are broader than those of crystals, but not than its direct beam.
    width = direct_beam_width(pattern[None], geometry)
    assert width == pytest.approx(0.09, abs=0.015)
    assert classify([False], fit, beam_width=width)[0] == PatternStatus.POWDER
    assert classify([False], fit)[0] == PatternStatus.AMORPHOUS


def test_width_of_the_direct_beam():
    q = distance()
    disc = 1e3 / (1.0 + np.exp((q - 0.04) / 0.002)) + 1.0
    assert direct_beam_width(disc[None], GEOMETRY) == pytest.approx(0.08, abs=0.01)
    # Behind a beam stop.
    assert direct_beam_width(np.where(q < 0.1, 0.0, 5.0)[None], GEOMETRY) == 0.0
