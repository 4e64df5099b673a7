"""Refinement, posterior and the whole of indexing: on drawn spots exactly, on patterns of the simulator by their
truth."""

from dataclasses import fields, replace

import numpy as np
import orix.quaternion
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperspy_assb.acom.crystals.crystal_phase import laue_rotations, scale_lattice
from hyperspy_assb.acom.crystals.frames import multiply, turn_pattern
from hyperspy_assb.acom.crystals.kinematical import Diffraction, simulate_spots
from hyperspy_assb.acom.matching.block_indexing import Indexer, IndexingOptions, index_patterns, scale_factors
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, PatternStatus
from hyperspy_assb.acom.matching.matcher import MatchOptions
from hyperspy_assb.acom.matching.posterior import (
    PosteriorOptions,
    calibration_nodes,
    log_odds,
    phase_reliability,
    probabilities,
    reliability,
)
from hyperspy_assb.acom.matching.refinement import RefineOptions, refine_orientations, score_orientations
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.templates.bank import simulate_bank
from hyperspy_assb.simulation import PatternOptions, simulate_patterns
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions

SHAPE = (176, 176)
CONDITIONS = DiffractionConditions(
    shape=SHAPE, scale=0.0145, centre=(89.3, 85.9), ellipticity=0.02, ellipse_azimuth=30.0, scan_rotation=20.0
)
GEOMETRY = PatternGeometry(
    scale=0.0145,
    centre=(89.3, 85.9),
    ellipticity=0.02,
    ellipse_azimuth=np.radians(30.0),
    scan_rotation=np.radians(20.0),
    scale_std=0.0,
    centre_std=(0.0, 0.0),
)
NAMES = ["LiFePO4", "FePO4"]
EXACT = MatchOptions(intensity_power=0.5, radius_power=0.0)
"""Weights that are the brightnesses of kinematical patterns: they agree best at the very truth."""


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERSPY_ASSB_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return simulate_bank(NAMES, resolution=2.0, max_radius=1.25)


@pytest.fixture(scope="module")
def scan(bank):
    """Patterns of the independent simulator, their orientations and phases, and what indexing makes of them."""
    count = 60
    orientations = random_orientations(count, 7)
    phase = np.arange(count) % 2
    patterns = simulate_patterns(orientations, NAMES, CONDITIONS, 5, phase=phase)
    return patterns, orientations, phase, index_patterns(patterns, bank, GEOMETRY)


def random_orientations(count, seed):
    q = np.random.default_rng(seed).normal(size=(count, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def tilted(orientation, degrees, seed=0):
    """The orientation, tilted by an angle about a random axis."""
    axis = np.random.default_rng(seed).normal(size=3)
    axis *= np.sin(np.radians(degrees) / 2) / np.linalg.norm(axis)
    return multiply(orientation, np.array([np.cos(np.radians(degrees) / 2), *axis]))


def disorientation(first, second, phase):
    """Degrees between orientations, equivalent ones of the Laue group counted as the same."""
    symmetry = orix.quaternion.Rotation.from_matrix(laue_rotations(phase))
    a, b = orix.quaternion.Rotation(np.reshape(first, (-1, 4))), orix.quaternion.Rotation(np.reshape(second, (-1, 4)))
    return np.degrees(np.min([(symmetry[i] * b * ~a).angle for i in range(symmetry.size)], axis=0))


def errors(bank, found, orientations, phase):
    """Degrees from the truth of the orientations of the true phases."""
    both = zip(found.phase_orientations[np.arange(len(phase)), phase], orientations, phase, strict=True)
    return np.array([disorientation(one, other, bank.phases[p])[0] for one, other, p in both])


def kinematical(bank, p, orientation, *, scale=(1.0, 1.0, 1.0), shift=(0.0, 0.0), turn=0.0):
    """A pattern of the spots that the bank would have for an orientation, without noise."""
    spots = simulate_spots(bank.phases[p], orientation, diffraction=bank.diffraction, lattice_scale=scale)
    turn = turn + GEOMETRY.scan_rotation
    x, y = spots.x[0], spots.y[0]
    vectors = np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=-1)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    pattern = np.zeros(SHAPE)
    top = spots.intensity.max()
    for (column, row), value in zip(GEOMETRY.to_pixels(vectors) + shift, spots.intensity[0] / top, strict=True):
        if value > 1e-5:
            pattern += 1e3 * value * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * 1.4**2))
    return pattern


def alone(bank, p, orientation):
    """Orientations of one pattern, of one phase only."""
    known = np.full((1, len(bank.phases), 4), np.nan)
    known[0, p] = orientation
    return known


@pytest.mark.slow
def test_tilts_are_found_back(bank):
    angles = []
    for seed in range(12):
        p = seed % 2
        truth = random_orientations(1, seed)[0]
        pattern = kinematical(bank, p, truth)[None]
        start = alone(bank, p, tilted(truth, 0.8, seed))
        options = RefineOptions(excitation_width=bank.excitation_width)
        refined = refine_orientations(pattern, start, bank, GEOMETRY, options=options, match_options=EXACT)
        angles.append(disorientation(refined.orientation[0, p], truth, bank.phases[p])[0])
        before = score_orientations(pattern, start, bank, GEOMETRY, match_options=EXACT)
        assert refined.score[0, p] > before[0, p] > 0.0
        assert np.isnan(refined.orientation[0, 1 - p]).all()
        assert refined.score[0, 1 - p] == 0.0
        np.testing.assert_array_equal(refined.lattice_scale[0, p], 1.0)
    # Spots far from the Ewald sphere count less than they shine here: the rest of the tilt.
    assert np.median(angles) < 0.2
    assert max(angles) < 0.6


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@example(seed=6246, p=0, degrees=0.5)  # half a turn about the beam gives the same pattern
@given(seed=st.integers(0, 10**6), p=st.integers(0, 1), degrees=st.floats(-0.9, 0.9))
def test_a_turn_is_found_back(bank, seed, p, degrees):
    truth = random_orientations(1, seed)[0]
    start = alone(bank, p, turn_pattern(truth, np.radians(degrees)))
    pattern = kinematical(bank, p, truth)[None]
    options = RefineOptions(rounds=5, excitation_width=bank.excitation_width)
    refined = refine_orientations(pattern, start, bank, GEOMETRY, options=options)
    x, y = (orix.quaternion.Rotation(q).to_matrix()[0] for q in (truth, refined.orientation[0, p]))
    # In-plane part of the rotation from one to the other, in the specimen.
    between = x.T @ y
    assert abs(np.degrees(np.arctan2(between[0, 1] - between[1, 0], between[0, 0] + between[1, 1]))) < 0.06


def test_lattice_parameters_are_found_back(bank):
    scale = np.array([1.012, 0.994, 1.007])
    found = []
    for seed in range(8):
        truth = random_orientations(1, 100 + seed)[0]
        pattern = kinematical(bank, 0, truth, scale=scale)[None]
        options = RefineOptions(lattice=3, lattice_std=0.03, rounds=7)
        start = alone(bank, 0, tilted(truth, 0.3))
        refined = refine_orientations(pattern, start, bank, GEOMETRY, options=options, match_options=EXACT)
        found.append(refined.lattice_scale[0, 0])
    np.testing.assert_allclose(np.median(found, axis=0), scale, atol=0.002)


def test_one_factor_for_the_whole_lattice(bank):
    truth = random_orientations(1, 3)[0]
    pattern = kinematical(bank, 1, truth, scale=(1.01, 1.01, 1.01))[None]
    options = RefineOptions(lattice=1, lattice_std=0.02, rounds=5)
    scale = refine_orientations(pattern, alone(bank, 1, truth), bank, GEOMETRY, options=options).lattice_scale[0, 1]
    assert scale == pytest.approx([1.01] * 3, abs=0.001)
    assert scale[0] == scale[1] == scale[2]


def test_a_lattice_parameter_along_the_beam_stays_what_it_was(bank):
    truth = np.array([1.0, 0.0, 0.0, 0.0])  # c along the beam
    pattern = kinematical(bank, 0, truth, scale=(1.01, 0.99, 1.0))[None]
    # Spots as wide as those of the pattern: what is left is the lattice alone.
    options = RefineOptions(lattice=3, lattice_std=0.02, rounds=6, excitation_width=bank.excitation_width)
    scale = refine_orientations(pattern, alone(bank, 0, truth), bank, GEOMETRY, options=options).lattice_scale[0, 0]
    assert scale[:2] == pytest.approx([1.01, 0.99], abs=0.0015)
    assert abs(scale[2] - 1.0) < 0.012


def test_a_shift_of_the_direct_beam_is_found_back(bank):
    truth = random_orientations(1, 11)[0]
    pattern = kinematical(bank, 0, truth, shift=(0.7, -0.5))[None]
    options = RefineOptions(centre_std=0.6, rounds=5)
    refined = refine_orientations(pattern, alone(bank, 0, tilted(truth, 0.4)), bank, GEOMETRY, options=options)
    assert refined.shift[0, 0] == pytest.approx([0.7, -0.5], abs=0.1)


def test_the_better_candidate_is_kept(bank):
    truth = random_orientations(1, 21)[0]
    candidates = np.full((1, 2, 3, 4), np.nan)
    candidates[0, 0, 0] = tilted(truth, 25.0, 1)
    candidates[0, 0, 2] = tilted(truth, 0.5, 2)
    refined = refine_orientations(kinematical(bank, 0, truth)[None], candidates, bank, GEOMETRY)
    assert refined.candidate[0, 0] == 2
    assert disorientation(refined.orientation[0, 0], truth, bank.phases[0])[0] < 0.6
    scores = np.where(np.isfinite(candidates[..., 0]), [[[1.0, 0.0, 0.1]]], 0.0)
    refined = refine_orientations(kinematical(bank, 0, truth)[None], candidates, bank, GEOMETRY, scores=scores)
    assert refined.candidate[0, 0] == 0


def test_phases_and_orientations_of_the_simulator_are_found(bank, scan):
    _, orientations, phase, found = scan
    assert (found.phase == phase).mean() >= 0.98
    angles = errors(bank, found, orientations, phase)
    assert np.median(angles) <= 0.3
    assert np.mean(np.array(angles) < 3.0) >= 0.95
    assert (found.status == PatternStatus.INDEXED).all()
    assert (found.posterior.max(axis=1) > 0.5).all()
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1.0)
    np.testing.assert_array_equal(found.posterior.argmax(axis=1), found.phase)
    np.testing.assert_array_equal(found.phase_orientations[np.arange(len(phase)), found.phase], found.orientation)
    assert np.isnan(found.lattice_scale).all()


def test_refinement_is_better_than_the_grid(bank, scan):
    patterns, orientations, phase, found = scan
    grid = index_patterns(patterns, bank, GEOMETRY, options=IndexingOptions(refine=None))
    before, after = (np.median(errors(bank, result, orientations, phase)) for result in (grid, found))
    assert after < 0.4 * before


def test_a_turned_pattern_turns_the_result(bank):
    truth = random_orientations(1, 31)[0]
    angle = 0.731
    patterns = np.array([kinematical(bank, 0, truth), kinematical(bank, 0, truth, turn=angle)])
    options = IndexingOptions(refine=RefineOptions(excitation_width=bank.excitation_width))
    found = index_patterns(patterns, bank, GEOMETRY, options=options)
    np.testing.assert_array_equal(found.phase, 0)
    assert disorientation(turn_pattern(found.orientation[0], angle), found.orientation[1], bank.phases[0])[0] < 0.3
    assert disorientation(found.orientation[0], truth, bank.phases[0])[0] < 0.3


def test_a_pattern_is_indexed_the_same_whatever_is_beside_it(bank, scan):
    patterns, _, _, found = scan
    options = IndexingOptions(match=MatchOptions(threads=1))
    some = Indexer(bank, GEOMETRY, SHAPE, options=options).index(patterns[17:20])
    for one, all_of_them in ((some, found), (some.looked, found.looked)):
        for field in fields(one):
            if field.name != "looked":
                np.testing.assert_array_equal(getattr(one, field.name), getattr(all_of_them, field.name)[17:20])
    joined = type(found).join([some, some])
    assert joined.phase.shape == (6,)


def test_empty_and_saturated_patterns_are_said_to_be(bank, scan):
    patterns = np.stack([np.zeros(SHAPE), scan[0][0], scan[0][1]]).astype(np.uint8)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(x - 89.3, y - 85.9)
    patterns[0][radius < 4] = 255  # the direct beam alone
    patterns[2][(np.hypot(x - 130, y - 95) < 3)] = 255
    found = index_patterns(patterns, bank, GEOMETRY)
    assert found.status.tolist() == [PatternStatus.EMPTY, PatternStatus.INDEXED, PatternStatus.SATURATED]
    assert found.phase[0] == NOT_INDEXED
    assert found.phase[2] != NOT_INDEXED
    assert np.isnan(found.orientation[0]).all()
    assert np.isnan(found.posterior[0]).all()
    assert found.correlation[0] == 0.0
    named = index_patterns(patterns.astype(float), bank, GEOMETRY, options=IndexingOptions(saturation=255.0))
    np.testing.assert_array_equal(named.status, found.status)
    assert index_patterns(patterns.astype(float), bank, GEOMETRY).status[2] == PatternStatus.INDEXED


def test_bad_input_is_named(bank):
    patterns = np.ones((2, *SHAPE))
    with pytest.raises(ValueError, match="pattern 1 holds NaN"):
        index_patterns(np.stack([patterns[0], np.full(SHAPE, np.nan)]), bank, GEOMETRY)
    with pytest.raises(ValueError, match="outside of the frame"):
        index_patterns(patterns, bank, GEOMETRY, centres=[[80.0, 80.0], [80.0, 180.0]])
    with pytest.raises(ValueError, match="orientations: of each phase in each pattern"):
        refine_orientations(patterns, np.ones((2, 4)), bank, GEOMETRY)
    with pytest.raises(ValueError, match="scores: one for each orientation"):
        refine_orientations(patterns, np.ones((2, 2, 4)), bank, GEOMETRY, scores=np.ones(2))
    with pytest.raises(ValueError, match="patterns"):
        Indexer(bank, GEOMETRY, SHAPE).index(np.ones((1, 64, 64)))
    for wrong in ({"lattice": 2}, {"rounds": -1}, {"first_step": 0.0}, {"lattice_std": 0.0}, {"centre_std": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RefineOptions(**wrong)
    for wrong in ({"strain_std": -1.0}, {"unknown_scale_std": np.nan}, {"spots": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PosteriorOptions(**wrong)


def test_reliability_is_100_times_one_less_the_ratio():
    np.testing.assert_allclose(reliability([0.2, 0.2, 0.0, 0.3], [0.1, 0.3, 0.0, 0.0]), [50.0, 0.0, 0.0, 100.0])
    np.testing.assert_allclose(phase_reliability([[0.1, 0.4, 0.3], [0.0, 0.0, 0.0]]), [25.0, 0.0])
    assert phase_reliability([[0.4]]) == 100.0


def test_probabilities_are_those_of_the_evidence():
    found = probabilities(np.array([np.log([1.0, 3.0]) + 500.0, np.log([1e-300, 1e-301]) - 500.0]))
    np.testing.assert_allclose(found, [[0.25, 0.75], [10 / 11, 1 / 11]])
    assert np.isnan(probabilities(np.full((1, 2), -np.inf))).all()
    np.testing.assert_array_equal(probabilities(np.array([[0.0, -np.inf]])), [[1.0, 0.0]])


def placed(positions, expected, observed):
    return np.column_stack([positions, expected, observed]).astype(float)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30))
def test_evidence_is_that_of_student(seed, n):
    rng = np.random.default_rng(seed)
    # Spots that only A has, that only B has, and that both have, 0.8 pixels apart.
    where = 30.0 * np.arange(3 * n)[:, None] * [1.0, 0.0]
    a, b = rng.uniform(0.5, 2.0, (2, 2 * n))
    first = placed(where[: 2 * n], a, a + rng.normal(0.0, 0.3, 2 * n))
    second = placed(where[n:] + np.array([0.0, 0.8]), b, rng.normal(0.3, 0.3, 2 * n))
    s, m = np.zeros(3 * n), np.zeros(3 * n)
    s[: 2 * n] += 2 * a * first[:, 3] - a**2
    s[n:] -= 2 * b * second[:, 3] - b**2
    m[: 2 * n] += a**2
    m[n:] += b**2
    m[n : 2 * n] -= 2 * a[n:] * b[:n] * np.exp(-(0.8**2) / (4 * 1.5**2))
    deviations = [(s - m) ** 2 + (0.1 * m) ** 2, (s + m) ** 2 + (0.1 * m) ** 2]
    v = min(deviations, key=np.sum)
    k = 3 * n
    noise, freedom = v.sum() * k / (k - 1), v.sum() ** 2 / (v**2).sum() * (k - 1) / k
    total, middle = s.sum(), m.sum()
    expected = np.log((freedom * noise + (total + middle) ** 2) / (freedom * noise + (total - middle) ** 2))
    taken = np.empty(2 * n, dtype=bool)
    odds = log_odds(first, 2 * n, second, 2 * n, 1.5, taken)
    assert odds == pytest.approx(0.5 * (freedom + 1) * expected)
    assert log_odds(second, 2 * n, first, 2 * n, 1.5, taken) == pytest.approx(-odds)


def test_one_bright_spot_is_one_piece_of_evidence():
    n = 20
    where = 20.0 * np.arange(2 * n)[:, None] * [1.0, 0.0]
    taken = np.empty(n, dtype=bool)
    absent = placed(where[n:], np.ones(n), np.zeros(n))
    brightness = np.ones(n)
    assert log_odds(placed(where[:n], brightness, brightness), n, absent, n, 1.0, taken) > 50.0
    brightness[0] = 30.0
    assert log_odds(placed(where[:n], brightness, brightness), n, absent, n, 1.0, taken) < 7.0
    # The amplitude of a single spot is fitted: it agrees whatever is there.
    assert log_odds(placed(where[:1], [1.0], [1.0]), 1, absent, 0, 1.0, taken) == 0.0


def test_spots_that_both_have_say_nothing():
    rng = np.random.default_rng(0)
    spots = placed(20.0 * rng.permutation(30)[:, None] * [1.0, 2.0], np.ones(30), rng.normal(1.0, 0.3, 30))
    assert log_odds(spots, 30, spots.copy(), 30, 1.0, np.empty(30, dtype=bool)) == 0.0


def with_scaled_lattice(bank, factor):
    """A bank of LiFePO4, and of the same with all lattice parameters multiplied."""
    one = bank.select("LiFePO4")
    other = replace(scale_lattice(one.phases[0], (factor,) * 3), name="scaled")
    arrays = {
        name: np.concatenate([getattr(one, name)] * 2) for name in ("orientations", "azimuth", "intensity", "count")
    }
    radius = np.concatenate([one.radius, one.radius / factor])
    return replace(one, phases=(one.phases[0], other), phase=np.repeat([0, 1], len(one)), radius=radius, **arrays)


def test_equal_phases_are_equally_probable(bank):
    pattern = kinematical(bank, 0, random_orientations(1, 41)[0])[None]
    found = index_patterns(pattern, with_scaled_lattice(bank, 1.0), GEOMETRY)
    np.testing.assert_allclose(found.posterior, 0.5, atol=1e-6)
    assert found.phase_reliability[0] == pytest.approx(0.0, abs=1e-6)


def test_lattices_that_differ_by_less_than_the_scale_is_known_are_not_told_apart(bank):
    pair = with_scaled_lattice(bank, 1.012)
    truth = random_orientations(8, 43)
    which = np.arange(8) % 2
    patterns = np.array([kinematical(pair, p, q) for p, q in zip(which, truth, strict=True)])
    options = IndexingOptions(posterior=PosteriorOptions(strain_std=0.0))
    exact = index_patterns(patterns, pair, GEOMETRY, options=options)
    np.testing.assert_array_equal(exact.phase, which)
    assert exact.posterior.max(axis=1).min() > 0.9
    uncertain = replace(GEOMETRY, scale_std=0.02 * GEOMETRY.scale)
    # Which of the two, the prior of the scale alone says.
    share = 1.0 / (1.0 + np.exp(-0.5 * (0.012 / 0.02) ** 2))
    posterior = index_patterns(patterns, pair, uncertain, options=options).posterior
    assert np.median(posterior[np.arange(8), which]) == pytest.approx(share, abs=0.1)


def test_a_wrong_scale_is_searched_as_far_as_it_is_uncertain(bank):
    truth = random_orientations(12, 51)
    phase = np.arange(12) % 2
    patterns = simulate_patterns(truth, NAMES, CONDITIONS, 5, phase=phase)
    wrong = replace(GEOMETRY, scale=1.03 * GEOMETRY.scale)
    sure = index_patterns(patterns, bank, wrong)
    unsure = index_patterns(patterns, bank, replace(wrong, scale_std=0.02 * GEOMETRY.scale))
    assert (unsure.phase == phase).sum() >= 10
    right = unsure.posterior[np.arange(12), phase].mean()
    assert right > sure.posterior[np.arange(12), phase].mean()


def test_scales_that_are_searched():
    np.testing.assert_array_equal(scale_factors(0.0), 1.0)
    np.testing.assert_array_equal(scale_factors(0.005), 1.0)
    np.testing.assert_allclose(np.sort(scale_factors(0.01)), [0.98, 1.0, 1.02])
    assert scale_factors(0.03)[0] == 1.0
    assert np.diff(np.sort(scale_factors(0.03))).max() <= 0.02 + 1e-12


def test_nodes_of_the_calibration():
    geometry = replace(GEOMETRY, scale_std=0.003 * GEOMETRY.scale, centre_std=(0.2, 0.4))
    std, nodes = calibration_nodes(geometry, PosteriorOptions(strain_std=0.004))
    assert std == pytest.approx(0.005)
    weight = np.exp(nodes[:, 3]) / 7
    assert weight.sum() == pytest.approx(1.0)
    # Mean and variance of the shift are those that were asked for.
    np.testing.assert_allclose(weight @ nodes[:, 1:3], 0.0, atol=1e-12)
    np.testing.assert_allclose(weight @ nodes[:, 1:3] ** 2, [0.04, 0.16])
    np.testing.assert_array_equal(nodes[0, :3], 0.0)
    unknown = replace(geometry, scale_std=np.nan, centre_std=(np.nan, np.nan))
    doubtful = PosteriorOptions(unknown_scale_std=0.03, strain_std=0.04)
    assert calibration_nodes(unknown, doubtful)[0] == pytest.approx(0.05)
    exact = replace(geometry, scale_std=0.0, centre_std=(0.0, 0.0))
    assert calibration_nodes(exact, PosteriorOptions(strain_std=0.0))[1].shape == (1, 4)


def test_probabilities_of_phases_are_right_as_often_as_they_say(bank):
    """Few electrons, scales off by what is stated: phases are doubtful, and the posterior says how much."""
    rng = np.random.default_rng(8)
    claimed, right = [], []
    for electrons, error in ((25.0, 0.0), (300.0, 0.02)):
        count = 90
        truth, phase = random_orientations(count, int(electrons)), np.arange(count) % 2
        off = rng.normal(0.0, error, count)
        conditions = replace(CONDITIONS, diffracted_electrons=electrons)
        strain = -off[:, None] * np.ones(3)
        patterns = simulate_patterns(truth, NAMES, conditions, rng, phase=phase, options=PatternOptions(strain=strain))
        geometry = replace(GEOMETRY, scale_std=error * GEOMETRY.scale)
        found = index_patterns(patterns, bank, geometry, options=IndexingOptions(min_counts=1.0))
        claimed.append(found.posterior.max(axis=1))
        right.append(found.phase == phase)
    claimed, right = np.concatenate(claimed), np.concatenate(right)
    doubtful = claimed < 0.95
    assert doubtful.sum() > 15
    for part in (doubtful, ~doubtful):
        share = right[part].mean()
        error = np.sqrt((claimed[part] * (1 - claimed[part])).sum()) / part.sum()
        assert abs(share - claimed[part].mean()) < 3 * error + 0.05


def test_diffraction_of_the_bank_is_used(bank):
    """Precession changes which spots shine: the same pattern agrees best with the angle that it was made for."""
    truth = random_orientations(1, 61)[0]
    pattern = kinematical(bank, 0, truth)[None]
    still = replace(bank, precession_angle=0.0)
    assert bank.diffraction != Diffraction() or bank.precession_angle > 0.0
    assert (
        score_orientations(pattern, alone(bank, 0, truth), bank, GEOMETRY)[0, 0]
        > (score_orientations(pattern, alone(bank, 0, truth), still, GEOMETRY)[0, 0])
    )
