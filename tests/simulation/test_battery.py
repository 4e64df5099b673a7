"""The lamella and its truth maps."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.simulation import MATERIALS, EELSConditions, MicroBattery, micro_battery

SMALL = EELSConditions(n_channels=256, dispersion=0.5)


@pytest.fixture(scope="module")
def battery() -> MicroBattery:
    return micro_battery(shape=(48, 48), seed=3, conditions=SMALL)


@pytest.mark.parametrize("state", ["before", "after"])
def test_fractions_fill_every_column(battery: MicroBattery, state: str) -> None:
    truth = getattr(battery.truth, state)
    assert set(truth.fractions) == set(MATERIALS)
    total = sum(truth.fractions.values())
    assert total == pytest.approx(np.ones((48, 48)))
    olivine = truth.olivine > 0
    assert np.isfinite(truth.x[olivine]).all()
    assert np.isnan(truth.x[~olivine]).all()
    assert truth.x[olivine].min() >= 0
    assert truth.x[olivine].max() <= 1


@pytest.mark.parametrize("state", ["before", "after"])
def test_lithium_and_iron_agree_with_x(battery: MicroBattery, state: str) -> None:
    truth = getattr(battery.truth, state)
    alone = (truth.fractions["LAGP"] == 0) & (truth.fractions["amorphous_LAGP"] == 0) & (truth.olivine > 0)
    ratio = truth.areal_density("Li")[alone] / truth.areal_density("Fe")[alone]
    assert ratio == pytest.approx(truth.x[alone], abs=1e-9)


def test_bias_turns_lithium_iron_phosphate_into_iron_phosphate(battery: MicroBattery) -> None:
    before, after = battery.truth.before, battery.truth.after
    assert after.fractions["FePO4"].mean() > before.fractions["FePO4"].mean() + 0.05
    assert after.fractions["amorphous_LAGP"].mean() > before.fractions["amorphous_LAGP"].mean()
    assert after.carbon_film.mean() > before.carbon_film.mean()
    # The grains stay where they are where nothing was transformed.
    kept = (before.fractions["LAGP"] == 1) & (after.fractions["LAGP"] == 1)
    assert kept.any()
    assert np.array_equal(before.grain_id[kept], after.grain_id[kept])


def test_thickness_spans_the_stated_range(battery: MicroBattery) -> None:
    t = battery.truth.after.t_over_lambda[battery.truth.after.fractions["vacuum"] == 0]
    assert t.min() < 0.35
    assert 1.3 < t.max() < 1.8


@pytest.mark.parametrize("name", ["LiFePO4", "FePO4", "LAGP", "carbon", "vacuum"])
def test_pure_pixels_to_calibrate_on(battery: MicroBattery, name: str) -> None:
    assert battery.truth.after.pure(name).sum() >= 20


def test_orientations_are_unit_quaternions(battery: MicroBattery) -> None:
    q = battery.truth.after.orientation[battery.truth.after.grain_id > 0]
    assert np.linalg.norm(q, axis=1) == pytest.approx(np.ones(len(q)))


def test_seed_decides_structure_and_noise() -> None:
    first, again = (micro_battery(shape=(8, 8), seed=5, conditions=SMALL) for _ in range(2))
    assert np.array_equal(first.eels_after.data, again.eels_after.data)
    other = micro_battery(shape=(8, 8), seed=5, noise_seed=6, conditions=SMALL)
    assert np.array_equal(first.truth.after.x, other.truth.after.x, equal_nan=True)
    assert not np.array_equal(first.eels_after.data, other.eels_after.data)


def test_signals_are_calibrated(battery: MicroBattery) -> None:
    s = battery.eels_after
    assert s.axes_manager.signal_axes[0].is_binned
    assert s.axes_manager.signal_axes[0].units == "eV"
    assert [axis.units for axis in s.axes_manager.navigation_axes] == ["nm", "nm"]
    assert s.metadata.Acquisition_instrument.TEM.beam_energy == 200.0
    dose = s.data.sum(axis=-1)[battery.truth.after.t_over_lambda < 0.5]
    assert dose.mean() == pytest.approx(1e6, rel=0.02)


@pytest.mark.parametrize("name", ["edx_before", "edx_after", "patterns_before", "patterns_after"])
def test_what_is_not_simulated_says_so(battery: MicroBattery, name: str) -> None:
    with pytest.raises(NotImplementedError, match=name):
        getattr(battery, name)
