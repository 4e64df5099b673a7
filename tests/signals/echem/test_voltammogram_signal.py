"""The voltammogram as a signal, and its results."""

from __future__ import annotations

from pathlib import Path

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.signals import ASSBVoltammogram, LazyASSBVoltammogram
from hyperspy_assb.simulation.series import VoltammogramConditions, simulate_voltammogram

BEAM = ((200.0, 400.0), (600.0, 800.0))
CONDITIONS = VoltammogramConditions(flicker=3e-11, peaks=((3.2, 0.5, 9e-10),), beam=BEAM, beam_step=4e-10)


@pytest.fixture(scope="module")
def cv() -> ASSBVoltammogram:
    return simulate_voltammogram(CONDITIONS, seed=2)


@pytest.fixture(scope="module")
def results(cv: ASSBVoltammogram) -> dict[str, object]:
    return {
        "resistance": cv.resistance(),
        "capacitance": cv.capacitance(),
        "peaks": cv.find_peaks(),
        "beam": cv.compare_beam(BEAM),
    }


NAMES = ("resistance", "capacitance", "peaks", "beam")


def test_time_is_uneven_and_kept_by_slices(cv: ASSBVoltammogram) -> None:
    assert np.ptp(np.diff(cv.time)) > 0.05
    part = cv.isig[100:300]
    assert isinstance(part, ASSBVoltammogram)
    np.testing.assert_array_equal(part.time, cv.time[100:300])
    np.testing.assert_array_equal(part.potential, cv.potential[100:300])
    assert len(part.sweeps) == 2


@pytest.mark.parametrize("lazy", [False, True])
def test_signal_survives_its_file(cv: ASSBVoltammogram, tmp_path: Path, lazy: bool) -> None:
    cv.save(tmp_path / "cv.hspy")
    loaded = hs.load(tmp_path / "cv.hspy", lazy=lazy)
    assert type(loaded) is (LazyASSBVoltammogram if lazy else ASSBVoltammogram)
    np.testing.assert_array_equal(loaded.time, cv.time)
    assert loaded.resistance().value == pytest.approx(cv.resistance().value)


@pytest.mark.parametrize("name", NAMES)
def test_result_survives_its_file(results: dict[str, object], name: str, tmp_path: Path) -> None:
    found = results[name]
    found.save(tmp_path / "found.hspy")
    loaded = hyperspy_assb.load(tmp_path / "found.hspy")
    assert type(loaded) is type(found)
    assert loaded.summary() == found.summary()
    assert loaded.to_dataframe().equals(found.to_dataframe())
    assert loaded.provenance == found.provenance


@pytest.mark.parametrize("name", NAMES)
def test_result_has_figure_table_and_no_pixels(results: dict[str, object], name: str) -> None:
    found = results[name]
    assert len(found.to_dataframe()) > 0
    assert found.plot().get_ylabel().startswith("current")
    with pytest.raises(AssbValueError, match="no pixels"):
        found.to_dataframe(region=np.ones(3, dtype=bool))


def test_summaries_say_what_was_found(results: dict[str, object]) -> None:
    assert "apparent" in results["resistance"].summary()
    assert "a peak at 3." in results["peaks"].summary()
    assert "The beam adds" in results["beam"].summary()
    assert list(results["peaks"].limits.index) == [1, 2]


def test_no_peak_is_said_with_the_limit() -> None:
    text = simulate_voltammogram(seed=3).find_peaks().summary()
    assert "No peak stands out" in text
    assert "would have been found in 95 %" in text


def test_an_insulator_has_a_lower_limit() -> None:
    text = simulate_voltammogram(VoltammogramConditions(resistance=1e15), seed=1).resistance().summary()
    assert "more than" in text


def test_one_sweep_has_a_resistance_and_no_capacitance() -> None:
    cv = simulate_voltammogram(VoltammogramConditions(sweeps=1), seed=1)
    found = cv.resistance()
    assert found.value == pytest.approx(1e9, rel=0.1)
    assert "drift of the current" in found.summary()
    with pytest.raises(AssbValueError, match="whole cycle"):
        cv.capacitance()


def test_other_shapes_are_no_voltammogram() -> None:
    signal = hs.signals.Signal1D(np.zeros((2, 9)))
    signal.set_signal_type("VOLTAMMOGRAM_ASSB")
    with pytest.raises(AssbValueError, match="5 rows"):
        signal.resistance()


def test_loading_warns_of_what_is_no_measurement(shared_data: Path) -> None:
    with pytest.warns(AssbWarning, match="soft shorts"):
        cv = hyperspy_assb.load_voltammogram(shared_data / "echem/solid_state_cv/cv.mpt")
    assert cv.started.year == 2018
    assert cv.current.max() == pytest.approx(61.33598774803875e-3)
