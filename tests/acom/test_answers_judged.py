"""None of these, and two of these: simulated scans of LiFePO4 and FePO4 with crystals that were not offered."""

import numpy as np
import pytest

from hyperspy_assb.acom.crystals.frames import upper
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.acom.templates.bank import simulate_bank
from hyperspy_assb.simulation import DiffractionConditions, simulate_patterns
from hyperspy_assb.simulation.acom.patterns import PatternOptions
from hyperspy_assb.simulation.acom.scan import patterns_to_signal

FULL = 2e4
COUPLE = ["LiFePO4", "FePO4"]


@pytest.fixture(scope="module")
def bank():
    return simulate_bank(["lfp", "fp"], resolution=2.0, max_radius=0.95)


def conditions(dose):
    return DiffractionConditions(
        shape=(96, 96), scale=0.02, beams=12, electrons=dose * FULL, descan=(0.0, 0.0), beam_jitter=0.0
    )


def as_signal(data, dose, shape):
    return patterns_to_signal(data.reshape(*shape, 96, 96), conditions(dose), pixel_size=5.0, signal_type="ACOM")


def with_foreign(other, seed, *, dose=1.0, shape=(8, 9), share=1 / 3, strain=0.0):
    """A scan a part of which (True in the second value) is another crystal."""
    count = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    phase = rng.integers(0, 2, count)
    foreign = np.arange(count) < round(share * count)
    phase[foreign] = 2
    turned = upper(rng.standard_normal((count, 4)))
    options = PatternOptions(strain=np.where(foreign[:, None], strain, 0.0) * np.ones(3))
    data = simulate_patterns(turned, [*COUPLE, other], conditions(dose), rng, phase=phase, options=options)
    return as_signal(data, dose, shape), foreign.reshape(shape)


def index(signal, bank, **options):
    return signal.index_orientations(bank, show_progressbar=False, **{"calibrate": False, **options})


def not_offered(found):
    return np.asarray(found.found.status) == PatternStatus.NOT_OFFERED


@pytest.fixture
def no_proposals(monkeypatch):
    """Banks of other materials take seconds."""
    monkeypatch.setattr("hyperspy_assb.acom.scan.scan_indexing.propose_materials", lambda *arguments: ())


def test_another_structure_is_not_offered(bank, no_proposals):
    signal, foreign = with_foreign("LAGP", 3)
    found = index(signal, bank)
    told = not_offered(found)
    assert told[foreign].mean() >= 0.85
    assert told[~foreign].mean() <= 0.05
    assert "not offered" in found.summary()
    assert "not offered" in found.phase_fractions()["class"].tolist()
    total = sum(values.data for values in found.posterior.values())
    lattice = np.isfinite(total)
    np.testing.assert_allclose(total[lattice], 1.0)
    assert found.posterior["not offered"].data[foreign].mean() > 0.8


def test_a_strain_of_2_per_cent_stays_offered(bank):
    signal, strained = with_foreign("LiFePO4", 4, strain=0.02)
    assert not_offered(index(signal, bank))[strained].mean() <= 0.05


def test_a_scan_of_two_crystals_tells_both(bank):
    rng = np.random.default_rng(5)
    count, shape = 72, (8, 9)
    phase = np.tile([0, 1], (count, 1))
    phase[count // 2 :, 1] = -1
    turned = upper(rng.standard_normal((count, 2, 4)))
    weight = np.where(np.arange(count)[:, None] < count // 2, [0.65, 0.35], [1.0, 0.0])
    data = simulate_patterns(turned, COUPLE, conditions(1.0), rng, phase=phase, options=PatternOptions(weight=weight))
    found = index(as_signal(data, 1.0, shape), bank)
    there = found.second.there.ravel()
    two = np.arange(count) < count // 2
    assert there[two].mean() >= 0.8
    # One in a hundred by chance: five or more of 36 would be, once in two thousand times.
    assert there[~two].sum() <= 4
    share, error = found.second.share.data.ravel(), found.second.share_std.data.ravel()
    both = two & there & (found.found.phase.ravel() != found.found.second_phase.ravel())
    of_second = np.where(found.found.phase.ravel() == 0, share, 1.0 - share)
    assert np.median(of_second[both]) == pytest.approx(0.35, abs=0.1)
    assert np.mean(np.abs(of_second - 0.35)[both] < 3.0 * error[both]) > 0.9
    lfp = found.area_fractions().fraction[0]
    assert lfp == pytest.approx(0.5 * 0.65 + 0.5, abs=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("dose", [1.0, 0.1])
def test_foreign_crystals_at_full_and_a_tenth_of_the_dose(bank, dose):
    right, wrong = [], []
    for seed, (other, strain) in enumerate([("LAGP", 0.0), ("Li3V2(PO4)3", 0.0), ("LiFePO4", 0.07)]):
        signal, foreign = with_foreign(other, seed, dose=dose, strain=strain)
        told = not_offered(index(signal, bank))
        wrong.append(told[foreign].mean())
        right.append(told[~foreign].mean())
    assert np.mean(wrong) >= 0.9
    assert np.mean(right) <= 0.03


@pytest.mark.slow
def test_nothing_that_was_offered_is_told_and_the_calibration_is_refused(bank):
    signal, _ = with_foreign("LAGP", 7, share=1.0)
    found = index(signal, bank, calibrate=True)
    assert found.geometry.scale == signal.geometry.scale
    assert any("calibration was not refined" in note for note in found.notes)
    assert any("None of the phases that were offered" in note for note in found.notes)
    assert any("LAGP explains" in note for note in found.notes)


@pytest.mark.slow
def test_the_delithiated_phase_is_not_taken_for_the_lithiated_one():
    # All cell edges of FePO4 are within 5 % of those of LiFePO4, and the reflections are the same.
    signal, _ = with_foreign("LAGP", 3, share=0.0)
    delithiated = np.random.default_rng(3).integers(0, 2, 72).reshape(8, 9) == 1
    found = index(signal, simulate_bank(["lfp"]), calibrate=True)
    told = not_offered(found)
    assert told[delithiated].mean() >= 0.8
    assert told[~delithiated].mean() <= 0.03
    assert any("FePO4 explains" in note for note in found.notes)
