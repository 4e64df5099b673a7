"""Tracks of grains, effects of the beam, kymographs: results, and what the beam alone does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.signals import ASSBSTEMSeries
from hyperspy_assb.simulation.series import SeriesConditions, simulate_series

CONDITIONS = SeriesConditions(frames=8, size=144, dose=60.0, oversampling=2, shrinking=0.25, lost=1)
NAMES = ("tracks", "beam", "kymograph")


@pytest.fixture(scope="module")
def series() -> ASSBSTEMSeries:
    found, _ = simulate_series(CONDITIONS, seed=3)
    found.set_dose(30.0)
    return found


@pytest.fixture(scope="module")
def results(series: ASSBSTEMSeries) -> dict[str, object]:
    drift = series.correct_drift()
    grains = series.segment_grains(drift)
    return {
        "grains": grains,
        "tracks": series.track(grains),
        "beam": series.beam_effects(drift, grains=grains),
        "kymograph": series.kymograph([(20.0, 70.0), (120.0, 70.0)], drift),
    }


@pytest.mark.parametrize("name", NAMES)
def test_result_survives_its_file(results: dict[str, object], name: str, tmp_path: Path) -> None:
    found = results[name]
    found.save(tmp_path / "found.hspy")
    loaded = hyperspy_assb.load(tmp_path / "found.hspy")
    assert type(loaded) is type(found)
    assert loaded.summary() == found.summary()
    assert loaded.to_dataframe().equals(found.to_dataframe())


@pytest.mark.parametrize("name", NAMES)
def test_result_has_figure_table_and_dose(results: dict[str, object], name: str) -> None:
    found = results[name]
    assert len(found.to_dataframe()) > 0
    assert found.plot().figure is not None
    assert found.provenance["dose"]["electrons per nm²"] == 240.0
    assert "effects of the bias and of the beam cannot be separated" in found.summary()


def test_tracks_name_the_grains(results: dict[str, object]) -> None:
    tracks = results["tracks"]
    table = tracks.to_dataframe()
    assert tuple(table.loc[table["status"] == "shrinks", "grain"]) == tracks.shrinking
    assert len(tracks.shrinking) >= 2
    assert f"{len(tracks.shrinking)} of" in tracks.summary()
    assert len(tracks.lost) == 1
    assert tracks.gained == ()
    assert "two grains become one" in tracks.summary()
    with pytest.raises(AssbValueError, match="alpha"):
        results["grains"].track(alpha=0.0)


def test_dose_adds_up(series: ASSBSTEMSeries, results: dict[str, object]) -> None:
    np.testing.assert_allclose(series.accumulated_dose, 30.0 * np.arange(1, 9))
    np.testing.assert_allclose(results["beam"].accumulated_dose, series.accumulated_dose)
    assert results["beam"].to_dataframe()["dose (electrons per nm²)"].iloc[-1] == 240.0


def test_what_the_beam_alone_does_stands_beside(results: dict[str, object]) -> None:
    grains, beam = results["grains"], results["beam"]
    told = grains.with_control(grains)
    assert "cannot be separated" not in told.summary()
    assert "under the beam alone: the beam alone may explain it" in told.summary()
    assert grains.compare_control(grains)["p value"].iloc[0] == pytest.approx(1.0)
    assert beam.compare_control(beam).index.tolist() == ["additive brightness (share)", "contrast that is lost (share)"]
    with pytest.raises(AssbTypeError, match="must be GrainSeries"):
        grains.compare_control(beam)


def test_control_needs_the_dose(results: dict[str, object]) -> None:
    other, _ = simulate_series(SeriesConditions(frames=4, size=128, oversampling=2), seed=1)
    with pytest.raises(AssbValueError, match=r"\(control\) is not known"):
        results["grains"].compare_control(other.segment_grains())
    with pytest.raises(AssbValueError, match="no quantity"):
        results["kymograph"].compare_control(results["kymograph"])


def test_kymograph_follows_the_drift(results: dict[str, object]) -> None:
    found = results["kymograph"]
    assert found.length == 1000.0
    # A static scene is the same in every frame but for its noise.
    first, last = found.brightness[0], found.brightness[3]
    assert np.corrcoef(first, last)[0, 1] > 0.6


@pytest.mark.parametrize(("line", "why"), [([(1.0, 1.0)], "two points"), ([(1.0, 1.0), (1.5, 1.0)], "0.5 pixels long")])
def test_lines_that_are_none(series: ASSBSTEMSeries, line: list[tuple[float, float]], why: str) -> None:
    with pytest.raises(AssbValueError, match=why):
        series.kymograph(line)
