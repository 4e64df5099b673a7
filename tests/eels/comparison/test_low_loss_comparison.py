"""Comparison of states: exact cases, known changes, null tests, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import hyperspy.api as hs
import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter

from hyperspy_assb.eels.comparison.low_loss_comparison import compare_states
from hyperspy_assb.eels.comparison.options import ComparisonOptions, Spectra, Window
from hyperspy_assb.simulation import EELSConditions, simulate_spectra

CONDITIONS = EELSConditions(n_channels=512)
WINDOWS = (
    Window("gap", 2.8, 4.0),
    Window("carbon", 4.0, 7.0),
    Window("valence", 7.0, 15.0),
    Window("plasmon", 15.0, 29.0),
    Window("Li K", 55.0, 70.0, (46.0, 54.0)),
    Window("P L2,3", 132.0, 150.0, (106.0, 120.0)),
)
FAST = ComparisonOptions(permutations=99)


def make_state(seed, *, size=12, share=0.0, carbon=0.0, dose=1e5, thickness=70.0, gain=1.0, noise=True):
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(size, size)), 1.5, mode="wrap") * 2 * np.sqrt(np.pi) * 1.5
    nm = thickness * np.clip(1 + 0.15 * field, 0.3, 2)
    columns = {"LAGP": (1 - share) * nm, "amorphous_LAGP": share * nm, "carbon": carbon}
    counts = simulate_spectra(columns, CONDITIONS, rng, dose=dose, noise=noise) * gain
    position = np.stack(np.indices((size, size)), axis=-1).reshape(-1, 2)
    return Spectra(counts.reshape(size * size, -1), CONDITIONS.energy, position)


@pytest.fixture(scope="module")
def same():
    return make_state(1)


@pytest.fixture(scope="module")
def changed():
    return make_state(2, share=0.5)


@pytest.fixture(scope="module")
def found(same, changed):
    return compare_states([same, changed], WINDOWS, FAST)


@pytest.mark.slow
def test_identical_states_differ_by_nothing(same):
    result = compare_states([same, same], WINDOWS, FAST)
    change = result.changes[0]
    np.testing.assert_allclose(change.change, 0.0, atol=1e-12)
    np.testing.assert_allclose(change.difference, 0.0, atol=1e-12)
    assert (change.p_corrected > 0.5).all()
    assert min((c.p for c in change.clusters), default=1.0) > 0.5
    assert [w.name for w in result.windows] == ["gap", "carbon", "valence", "plasmon", "Li K"]


def test_a_known_change_is_recovered(found):
    change = found.changes[0]
    columns = {"LAGP": [70.0, 35.0], "amorphous_LAGP": [0.0, 35.0]}
    # Truth: noise-free spectra of the mean thickness, through the same deconvolution.
    counts = simulate_spectra(columns, CONDITIONS, noise=False)
    pair = [Spectra(row[None], CONDITIONS.energy, np.zeros((1, 0), dtype=int)) for row in counts]
    truth = compare_states(pair, WINDOWS, ComparisonOptions(gain=1.0)).changes[0].change
    assert change.p_corrected[2] < 0.05
    deviation = (change.change - truth) / change.std_blocks
    assert (np.abs(deviation[1:5]) < 3.5).all()
    assert min(c.p for c in change.clusters) <= 0.02


def test_swapping_the_states_turns_the_signs(found, same, changed):
    back = compare_states([changed, same], WINDOWS, FAST).changes[0]
    forth = found.changes[0]
    # The shape of the zero-loss peak comes from every other of the 288 spectra: the order leaves a trace.
    np.testing.assert_allclose((back.change + forth.change) / forth.std_blocks, 0.0, atol=0.02)
    np.testing.assert_allclose(back.std_blocks, forth.std_blocks, rtol=0.01)
    np.testing.assert_allclose(back.hedges_g, -forth.hedges_g, atol=0.02)


def test_gain_does_not_matter(found, same, changed):
    scaled = [replace(s, counts=4.0 * s.counts) for s in (same, changed)]
    result = compare_states(scaled, WINDOWS, FAST)
    np.testing.assert_allclose(result.changes[0].change, found.changes[0].change, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(result.changes[0].std_counting, found.changes[0].std_counting, rtol=0.02)
    assert result.detector.gain == pytest.approx(4.0 * found.detector.gain, rel=0.02)
    assert found.detector.gain == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_counting_errors_of_single_spectra_cover_the_truth():
    columns = {"LAGP": np.full(80, 60.0)}
    counts = simulate_spectra(columns, CONDITIONS, 5, dose=1e6)
    point = np.zeros((1, 0), dtype=int)
    deviations = []
    for one, two in counts.reshape(40, 2, -1):
        pair = [Spectra(s[None], CONDITIONS.energy, point) for s in (one, two)]
        result = compare_states(pair, WINDOWS, ComparisonOptions(gain=1.0))
        assert not result.by_blocks
        deviations.append(result.changes[0].change / result.changes[0].std_counting)
    # The standard deviation of 40 has an error of 11 %.
    np.testing.assert_allclose(np.std(deviations, axis=0)[1:5], 1.0, atol=0.35)


@pytest.mark.slow
def test_p_values_are_uniform_where_nothing_changed():
    p = []
    for seed in range(10):
        pair = [make_state([seed, k], size=8) for k in range(2)]
        p.append(compare_states(pair, WINDOWS, replace(FAST, seed=seed)).changes[0].p[1:5])
    assert stats.kstest(np.ravel(p) - np.random.default_rng(0).random(40) / 100, "uniform").pvalue > 1e-3


def test_thickness_alone_is_no_change(same):
    thicker = make_state(3, thickness=90.0)
    change = compare_states([same, thicker], WINDOWS, FAST).changes[0]
    assert change.p_corrected.min() > 0.02
    assert 0.2 < change.confounded < 1.0


def test_carbon_grows(same):
    change = compare_states([same, make_state(4, carbon=4.0)], WINDOWS, FAST).changes[0]
    assert change.change[1] > 0
    assert change.p_corrected[1] < 0.05


def test_normalisations_agree(same, changed, found):
    area = compare_states([same, changed], WINDOWS, replace(FAST, normalisation="area")).changes[0]
    # In units of the area in range, which is some per cent smaller than t/λ.
    np.testing.assert_allclose(area.change[2], found.changes[0].change[2], rtol=0.2)
    none = compare_states([same, changed], WINDOWS, replace(FAST, normalisation="none")).changes[0]
    assert np.isnan(none.other_thickness).all()
    assert (none.std_thickness == 0).all()


def test_spectra_that_are_none_are_left_out_and_counted(same, changed):
    counts = same.counts.copy()
    counts[3], counts[7, 5] = 0.0, np.nan
    state = compare_states([replace(same, counts=counts), changed], WINDOWS, FAST).states[0]
    assert state.left_out == {"not finite": 1, "empty": 1}
    assert state.pixels == 142


def test_a_trend_over_three_states(same, changed):
    half = make_state(9, share=0.25)
    result = compare_states([same, half, changed], WINDOWS, FAST, scores=[0.0, 2.0, 4.0])
    assert len(result.changes) == 2
    assert result.trend_p_corrected[2] < 0.05
    expected = result.changes[1].change[2] / 4
    assert result.trend_slope[2] == pytest.approx(expected, rel=0.3)


def test_each_zero_loss(same):
    broad = EELSConditions(n_channels=512, energy_resolution=1.1)
    counts = simulate_spectra({"LAGP": np.full(144, 70.0)}, broad, 3, dose=1e5)
    other = Spectra(counts, broad.energy, same.position)
    apart = compare_states([same, other], WINDOWS, replace(FAST, zero_loss="each")).changes[0]
    common = compare_states([same, other], WINDOWS, FAST).changes[0]
    assert np.abs(apart.change[0]) < np.abs(common.change[0])


def test_what_cannot_be_compared(same):
    wider = replace(same, energy=same.energy * 1.1)
    cases = [
        ([same], "at least two"),
        ([same, wider], "rebin"),
        ([same, replace(same, counts=np.zeros_like(same.counts))], "no spectrum"),
        ([same, replace(same, energy=same.energy[::-1])], "reversed"),
        ([same, replace(same, energy=same.energy + 400)], "no zero-loss peak"),
    ]
    for states, words in cases:
        with pytest.raises(ValueError, match=words):
            compare_states(states, WINDOWS, FAST)
    with pytest.raises(ValueError, match="range in common"):
        compare_states([same, same], WINDOWS, replace(FAST, start=200.0))
    for options, words in (
        ({"normalisation": "x"}, "normalisation"),
        ({"zero_loss": "x"}, "zero_loss"),
        ({"permutations": 3}, "permutations"),
        ({"block_pixels": 0}, "block_pixels"),
        ({"gain": -1.0}, "gain"),
    ):
        with pytest.raises(ValueError, match=words):
            ComparisonOptions(**options)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["tio2_dual/tio2_low_loss.dm4", "lowloss_map/lowloss_16x16_0.3eV.dm3"])
def test_interleaved_pixels_of_a_real_map(shared_data, file):
    signal = hs.load(str(shared_data / "eels" / file))
    energy = np.array(signal.axes_manager.signal_axes[0].axis)
    shape = signal.data.shape[:-1]
    counts = np.asarray(signal.data, dtype=float).reshape(-1, energy.size)
    position = np.stack(np.indices(shape), axis=-1).reshape(-1, 2)
    lowest = []
    for seed in range(3):
        half = np.random.default_rng(seed).permutation(counts.shape[0]) < counts.shape[0] // 2
        pair = [Spectra(counts[rows], energy, position[rows]) for rows in (half, ~half)]
        change = compare_states(pair, WINDOWS, replace(FAST, block_pixels=1)).changes[0]
        lowest.append(np.nanmin(change.p_corrected))
    # At 5 % each, two of three happen seven times in a thousand.
    assert np.sum(np.array(lowest) <= 0.05) < 2
