"""Grains, cracks and contrast as results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.series import SeriesConditions, simulate_series, simulate_voltammogram

CONDITIONS = SeriesConditions(
    frames=12,
    size=176,
    oversampling=2,
    crack_depth=0.8,
    dose=40.0,
    boundary_growth=0.3,
    brightening=0.2,
    brightening_frame=4,
)
NAMES = ("grains", "cracks", "contrast")


@pytest.fixture(scope="module")
def results() -> dict[str, object]:
    series, truth = simulate_series(CONDITIONS, seed=3)
    series.set_potential(simulate_voltammogram(seed=1), offset=100.0)
    series.set_dose(30.0)
    drift = series.correct_drift()
    grains = series.segment_grains(drift)
    everything = np.ones((176, 176), dtype=bool)
    cracks = series.find_cracks(drift, grains=grains, region={"electrolyte": everything})
    contrast = series.region_contrast({"secondary": truth.bright}, drift, before=cracks)
    return {"grains": grains, "cracks": cracks, "contrast": contrast}


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
    assert found.provenance["dose"]["electrons per nm²"] == 360.0
    assert "effects of the bias and of the beam cannot be separated" in found.summary()
    with pytest.raises(AssbValueError, match="no pixels"):
        found.to_dataframe(region=np.ones(3, dtype=bool))


def test_boundaries_grow() -> None:
    series, _ = simulate_series(SeriesConditions(frames=10, size=160, dose=40.0, boundary_growth=0.3), seed=3)
    growth, std = series.segment_grains().growth
    # 30 % of the first frame, over the mean of all.
    assert growth == pytest.approx(0.3 / 1.15, abs=4.0 * std)
    assert growth > 3.0 * std


def test_the_crack_is_found(results: dict[str, object]) -> None:
    found = results["cracks"]
    assert len(found.cracks) == 1
    assert found.origins[0] == "electrolyte"
    assert abs(found.cracks[0].onset - CONDITIONS.crack_onset) <= 1
    assert "A crack of" in found.summary()


def test_the_step_is_found_and_its_lead_is_not_testable(results: dict[str, object]) -> None:
    found = results["contrast"]
    assert [step.frame for step in found.steps] == [4]
    assert "are needed to test" in found.summary()


def test_unknown_dose_is_said() -> None:
    series, _ = simulate_series(SeriesConditions(frames=4, size=128), seed=1)
    assert "The dose is not known" in series.segment_grains().summary()


def test_frames_at_uneven_times_have_maps_tables_and_files(tmp_path) -> None:
    series, _ = simulate_series(SeriesConditions(frames=4, size=96), seed=1)
    series.set_frame_times([0.0, 1.0, 2.5, 7.0])
    drift = series.correct_drift()
    assert drift.shape == (4,)
    np.testing.assert_array_equal(drift.shift["y"].axes_manager.navigation_axes[0].axis, [0.0, 1.0, 2.5, 7.0])
    assert drift.to_dataframe()["time (s)"].tolist() == [0.0, 1.0, 2.5, 7.0]
    assert "<table" in drift._repr_html_()
    drift.save(tmp_path / "drift.hspy")
    assert hyperspy_assb.load(tmp_path / "drift.hspy").shape == (4,)
