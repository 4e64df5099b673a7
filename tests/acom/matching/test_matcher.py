"""The search: patterns made of a template's own spots, plain NumPy beside the kernels, turned and mirrored patterns."""

from dataclasses import replace

import numpy as np
import orix.quaternion
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.acom.crystals.crystal_phase import laue_rotations
from hyperspy_assb.acom.crystals.disorientation import symmetry_of
from hyperspy_assb.acom.crystals.frames import matrices, turn_pattern
from hyperspy_assb.acom.matching.matcher import Matcher, MatchOptions, match_patterns
from hyperspy_assb.acom.matching.search import WEIGHT_SUM, coarse_bank, half_cosine, polar_templates, sweeper
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.polar import PolarGrid, unwrap
from hyperspy_assb.acom.templates.bank import SpotWeighting, simulate_bank

SHAPE = (128, 120)
GEOMETRY = PatternGeometry(
    scale=0.016, centre=(58.4, 65.1), ellipticity=0.03, ellipse_azimuth=0.7, scan_rotation=0.4, mirrored=True
)
EXHAUSTIVE = MatchOptions(coarse=None)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERSPY_ASSB_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return simulate_bank(["lfp", "fp"], resolution=3.0, max_radius=0.9)


def draw(spots, *, turn=0.0, mirrored=False, centre=None, geometry=GEOMETRY, sigma=1.3, background=1.0):
    """A pattern of Gaussian spots (x, y in 1/Å, intensity), turned after it was mirrored (y reversed)."""
    x, y, intensity = np.moveaxis(np.asarray(spots, dtype=float), -1, 0)
    y = -y if mirrored else y
    turn = turn + geometry.scan_rotation
    places = geometry.to_pixels(
        np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=-1)
    )
    places = places if centre is None else places - geometry.centre + centre
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    pattern = np.full(SHAPE, float(background))
    for (column, row), value in zip(places, intensity, strict=True):
        pattern += value * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * sigma**2))
    return pattern


def spots_of(bank, n):
    k = bank.count[n]
    r, a = bank.radius[n, :k], bank.azimuth[n, :k]
    return np.stack([r * np.cos(a), r * np.sin(a), 1e3 * bank.intensity[n, :k] / bank.intensity[n].max()], axis=-1)


def disorientation(first, second, phase):
    """Degrees between orientations, equivalent ones of the Laue group counted as the same."""
    symmetry = orix.quaternion.Rotation.from_matrix(laue_rotations(phase))
    a, b = orix.quaternion.Rotation(np.reshape(first, (-1, 4))), orix.quaternion.Rotation(np.reshape(second, (-1, 4)))
    return np.degrees(np.min([(symmetry[i] * b * ~a).angle for i in range(symmetry.size)], axis=0))


def some_templates(bank, count):
    """Templates of general zone axes: their patterns belong to one orientation only."""
    axes = matrices(bank.orientations)[:, :, 2]
    general = np.flatnonzero((np.abs(axes) > 0.2).all(axis=1))
    return general[np.linspace(0, len(general) - 1, count).astype(int)]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("options", [EXHAUSTIVE, MatchOptions(coarse=7.0)], ids=["exhaustive", "coarse"])
def test_the_spots_of_a_template_give_that_template(bank, mirrored, options):
    chosen = some_templates(bank, 12)
    turns = np.linspace(-3.0, 3.0, len(chosen))
    patterns = [draw(spots_of(bank, n), turn=t, mirrored=mirrored) for n, t in zip(chosen, turns, strict=True)]
    m = match_patterns(np.array(patterns), bank, GEOMETRY, options=options)
    np.testing.assert_array_equal(m.phase, bank.phase[chosen])
    at = np.arange(len(chosen)), m.phase, 0
    np.testing.assert_array_equal(m.template[at], chosen)
    np.testing.assert_array_equal(m.mirrored[at], mirrored)
    step = 2 * np.pi / options.azimuths
    assert np.abs(np.angle(np.exp(1j * (m.azimuth[at] - turns)))).max() <= 1.01 * step
    original = bank.mirrored_orientations if mirrored else bank.orientations
    expected = turn_pattern(original[chosen], turns)
    for i, p in enumerate(m.phase):
        assert disorientation(m.orientation[at][i], expected[i], bank.phases[p])[0] <= 1.01 * np.degrees(step)
    # A template marks one cell of the grid where a spot fills several, so that even these are far from 1.
    assert (m.score[at] > 0.15).all()
    assert (m.score <= 1.0).all()


@settings(max_examples=12, deadline=None)
@given(turn=st.floats(-3.1, 3.1), which=st.integers(0, 5), mirrored=st.booleans())
def test_a_turned_pattern_turns_the_orientation(bank, turn, which, mirrored):
    spots = spots_of(bank, some_templates(bank, 6)[which])
    patterns = np.array([draw(spots, mirrored=mirrored), draw(spots, turn=turn, mirrored=mirrored)])
    m = match_patterns(patterns, bank, GEOMETRY)
    p = m.phase[0]
    assert m.phase[1] == p
    first, second = m.phase_orientations[0, p], m.phase_orientations[1, p]
    assert disorientation(turn_pattern(first, turn), second, bank.phases[p])[0] <= 1.01 * 360.0 / 192


def test_scores_are_what_plain_numpy_says(bank):
    matcher = Matcher(bank, GEOMETRY, SHAPE, options=EXHAUSTIVE)
    rng = np.random.default_rng(0)
    pattern = rng.poisson(draw(spots_of(bank, 40), turn=1.1)).astype(np.uint16)
    m = matcher.match(pattern[None])
    polar = unwrap(pattern[None], GEOMETRY, matcher.grid)[0].astype(float)
    flat = np.sqrt(polar)
    flat = np.nan_to_num(flat - np.nanmean(flat, axis=1, keepdims=True))
    t, azimuths = matcher.templates, matcher.grid.azimuths
    best = np.full(2, -1.0)
    for image in (flat, np.roll(flat[:, ::-1], 1, axis=1)):
        doubled = np.concatenate([image, image], axis=1).ravel()
        for n in range(len(bank)):
            views = [doubled[o : o + azimuths] for o in t.offsets[n]]
            scores = (t.weights[n][:, None] * views).sum(axis=0) / (t.norm[n] * np.linalg.norm(flat))
            best[bank.phase[n]] = max(best[bank.phase[n]], scores.max())
    np.testing.assert_allclose(m.phase_scores[0], best, atol=0.004)


@pytest.mark.parametrize("azimuths", [32, 96, 192])
def test_the_kernel_is_exact(azimuths):
    rng = np.random.default_rng(azimuths)
    radii, total, spots = 20, 50, 24
    images = rng.integers(-60, 61, (2, radii, azimuths)).astype(np.int8)
    doubled = np.concatenate([images, images], axis=2).reshape(2, -1)
    weights = rng.integers(0, WEIGHT_SUM // spots, (total, spots)).astype(np.int16)
    weights[0] = 0
    weights[0, :8] = [WEIGHT_SUM, 0, 0, 0, 0, 0, 0, 0]  # as large as can be
    places = rng.integers(0, radii, (total, spots)) * 2 * azimuths + rng.integers(0, azimuths, (total, spots))
    count = 8 * rng.integers(1, spots // 8 + 1, total)
    score, azimuth = np.full((2, total), -7, dtype=np.int32), np.full((2, total), -7, dtype=np.int32)
    alone, nowhere = score.copy(), azimuth.copy()
    chosen = np.flatnonzero(np.arange(total) % 3 != 1)
    sweeper(azimuths)(doubled, chosen, places.astype(np.int32), weights, count, score, azimuth)
    sweeper(azimuths, places=False)(doubled, chosen, places.astype(np.int32), weights, count, alone, nowhere)
    for m in range(2):
        for n in range(total):
            sums = sum(int(weights[n, k]) * doubled[m, places[n, k] :][:azimuths].astype(int) for k in range(count[n]))
            expected = (sums.max(), sums.argmax()) if n in chosen else (-7, -7)
            assert (score[m, n], azimuth[m, n]) == expected
    np.testing.assert_array_equal(alone, score)
    assert (nowhere == -7).all()


def test_integer_weights_never_overflow_and_are_close(bank):
    grid = PolarGrid(0.1, 0.01, 80)
    t = polar_templates(bank, grid, spots=32, weighting=SpotWeighting(0.3, 0.5))
    assert (t.weights.sum(axis=1) == WEIGHT_SUM).all()
    assert (t.count % 8 == 0).all()
    n = 17
    weight = bank.intensity[n] ** 0.3 * bank.radius[n] ** 0.5
    place = np.rint((bank.radius[n] - 0.1) / 0.01)
    weight[(place < 0) | (place >= 80)] = 0.0
    weight = np.sort(weight)[::-1][:32]
    np.testing.assert_allclose(t.weights[n][:32], weight / weight.sum() * WEIGHT_SUM, atol=1.0)


def test_every_template_has_a_coarse_one_near(bank):
    coarse = coarse_bank(bank, 7.0)
    axes = matrices(bank.orientations)[:, :, 2]
    reached = np.zeros(len(bank), dtype=bool)
    for i, n in enumerate(coarse.chosen):
        near = coarse.neighbours[coarse.begin[i] : coarse.begin[i + 1]]
        assert n in near
        assert (bank.phase[near] == bank.phase[n]).all()
        reached[near] = True
        rotations = laue_rotations(bank.phases[bank.phase[n]])
        cosine = np.abs(np.einsum("sij,nj,i->sn", rotations, axes[near], axes[n])).max(axis=0)
        assert cosine.min() >= np.cos(np.radians(0.7501 * 7.0))
    assert reached.all()
    assert len(coarse.chosen) < len(bank) / 3


def test_other_orientations_are_away_from_the_best_and_twins_near_the_twin(bank):
    options = MatchOptions(n_best=3, separation=8.0, coarse=None)
    chosen = some_templates(bank, 8)
    m = match_patterns(np.array([draw(spots_of(bank, n), turn=0.3) for n in chosen]), bank, GEOMETRY, options=options)
    assert (np.diff(m.score, axis=2) <= 0.0).all()
    seen = 0
    for b in range(len(chosen)):
        for p, phase in enumerate(bank.phases):
            best, second, third = m.orientation[b, p]
            for one, other in ((best, second), (best, third), (second, third)):
                assert disorientation(one, other, phase)[0] >= 7.99
                assert disorientation(turn_pattern(one, np.pi), other, phase)[0] >= 7.99
            twin = m.twin_orientation[b, p]
            if np.isfinite(twin).all():
                seen += 1
                assert disorientation(turn_pattern(best, np.pi), twin, phase)[0] <= 12.01
                assert m.twin_score[b, p] <= m.score[b, p, 0]
    assert seen > 8


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_disorientation_of_the_kernel_is_that_of_orix(bank, seed):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(2, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    phase = bank.phases[0]
    angle = np.degrees(2 * np.arccos(min(half_cosine(q[0], q[1], symmetry_of(phase)), 1.0)))
    assert angle == pytest.approx(disorientation(q[0], q[1], phase)[0], abs=1e-3)


def test_patterns_do_not_depend_on_their_neighbours_nor_on_threads(bank):
    chosen = some_templates(bank, 40)
    patterns = np.array([draw(spots_of(bank, n), turn=0.1 * n) for n in chosen])
    together = match_patterns(patterns, bank, GEOMETRY, options=MatchOptions(coarse=7.0, threads=2))
    alone = match_patterns(patterns[17:18], bank, GEOMETRY, options=MatchOptions(coarse=7.0, threads=1))
    np.testing.assert_array_equal(together.orientation[17], alone.orientation[0])
    np.testing.assert_array_equal(together.score[17], alone.score[0])


def test_centres_of_patterns_are_used(bank):
    centres = np.array([[55.0, 60.0], [60.5, 68.0]])
    n = some_templates(bank, 3)[1]
    patterns = np.array([draw(spots_of(bank, n), centre=centre) for centre in centres])
    m = match_patterns(patterns, bank, GEOMETRY, centres=centres)
    np.testing.assert_array_equal(m.template[:, bank.phase[n], 0], n)
    wrong = match_patterns(patterns, bank, GEOMETRY)
    assert (wrong.score[:, bank.phase[n], 0] < m.score[:, bank.phase[n], 0]).all()


def test_brightness_does_not_matter(bank):
    pattern = draw(spots_of(bank, 40), background=0.0)
    m = match_patterns(np.array([pattern, 37.0 * pattern]), bank, GEOMETRY)
    np.testing.assert_allclose(m.score[0], m.score[1], atol=1e-3)
    np.testing.assert_array_equal(m.template[0, :, 0], m.template[1, :, 0])


def test_patterns_without_contrast_have_no_template(bank):
    m = match_patterns(np.stack([np.zeros(SHAPE), np.full(SHAPE, 7.0)]), bank, GEOMETRY)
    np.testing.assert_array_equal(m.phase, -1)
    assert (m.template[0] == -1).all()
    assert np.isnan(m.orientation[0]).all()
    assert not m.score[0].any()
    assert match_patterns(np.zeros((0, *SHAPE)), bank, GEOMETRY).score.shape == (0, 2, 2)


def test_diffuse_rings_are_not_taken_for_a_lattice(bank):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    q = np.linalg.norm(GEOMETRY.to_reciprocal(np.stack([columns, rows], axis=-1)), axis=-1)
    rings = 40.0 * np.exp(-((q - 0.3) ** 2) / (2 * 0.04**2)) + 25.0 * np.exp(-((q - 0.55) ** 2) / (2 * 0.06**2))
    rng = np.random.default_rng(3)
    crystal = draw(spots_of(bank, 40), background=0.0) / 10.0
    m = match_patterns(rng.poisson([rings, rings + crystal]), bank, GEOMETRY)
    assert m.phase_scores[0].max() < 0.12
    assert m.phase_scores[1].max() > 2.0 * m.phase_scores[0].max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spots": 0}, "spots"),
        ({"azimuths": 180}, "multiple of 32"),
        ({"coarse": -1.0}, "coarse"),
        ({"min_radius": 0.0}, "min_radius"),
        ({"n_best": 0}, "n_best"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MatchOptions(**options)


def test_bad_input_is_named(bank):
    good = np.ones((2, *SHAPE))
    with pytest.raises(ValueError, match="pattern 1 holds NaN"):
        match_patterns(np.stack([good[0], np.where(np.eye(128, 120) > 0, np.nan, 1.0)]), bank, GEOMETRY)
    with pytest.raises(ValueError, match="outside of the frame"):
        match_patterns(good, bank, replace(GEOMETRY, centre=(300.0, 4.0)))
    with pytest.raises(ValueError, match="scale: "):
        match_patterns(good, bank, replace(GEOMETRY, scale=1e-4))
    with pytest.raises(ValueError, match="bank: no template has a spot"):
        Matcher(bank, GEOMETRY, SHAPE, grid=PolarGrid(0.95, 0.01, 20))
    with pytest.raises(ValueError, match="128 x 120 pixels"):
        Matcher(bank, GEOMETRY, SHAPE).match(np.ones((1, 64, 64)))
