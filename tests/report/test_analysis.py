"""The analysis of a small virtual battery, and its files."""

from __future__ import annotations

import json

import hyperspy.api as hs
import numpy as np
import pandas as pd
import pytest

from hyperspy_assb.report.analysis import analyse_low_loss
from hyperspy_assb.report.writing import write_analysis
from hyperspy_assb.signals.delithiation import load_delithiation
from hyperspy_assb.simulation import micro_battery


@pytest.fixture(scope="module")
def battery():
    return micro_battery(shape=(12, 12), seed=0, signal_type="EELS_ASSB")


@pytest.fixture(scope="module")
def references(battery):
    return {name: battery.truth.after.pure(name) for name in ("LiFePO4", "FePO4")}


@pytest.fixture(scope="module")
def analysis(battery, references):
    return analyse_low_loss(battery.eels_after, references=references)


def test_fit_only(battery):
    stages = []
    found = analyse_low_loss(
        battery.eels_after, ("Li", "Fe", "P", "O"), progress=lambda stage, done, total: stages.append((stage, done))
    )
    assert found.delithiation is None
    assert list(dict.fromkeys(stage for stage, _ in stages)) == ["zero loss", "start", "fit", "quantify"]
    assert max(done for stage, done in stages if stage == "fit") == 144
    assert any("separated from" in sentence for sentence in found.findings)
    assert found.maps["areal_density_Li_K"].units == "atoms/nm²"
    assert len(found.table) == 144
    assert found.table["x position (nm)"].nunique() == 12
    assert found.table["fit_status"].iloc[0] == "converged"
    np.testing.assert_array_equal(
        found.maps["t_over_lambda"].signal.data.ravel(), found.table["t_over_lambda"].to_numpy()
    )


def test_references_give_both_methods(analysis, battery):
    assert set(analysis.delithiation) == {"valence", "lithium"}
    assert analysis.findings[0].startswith("From the 5 eV band")
    shape = battery.truth.after.x.shape
    assert all(item.signal.data.shape == shape for item in analysis.maps.values())


def test_files(analysis, tmp_path):
    write_analysis(analysis, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in (analysis.findings[0], "atoms/nm²", "hyperspy-assb", "doi:"):
        assert words in page
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == list(analysis.table.columns)
    loaded = hs.load(tmp_path / "maps" / "band_area.hspy")
    np.testing.assert_array_equal(loaded.data, analysis.maps["band_area"].signal.data)
    assert json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))["versions"]
    result = load_delithiation(tmp_path / "delithiation_valence.hspy")
    np.testing.assert_array_equal(result.x.data, analysis.delithiation["valence"].x.data)


def test_unset_microscope_is_warned_of_and_makes_densities_relative(battery):
    signal = battery.eels_after.inav[:3, :3].deepcopy()
    signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=0.0, collection_angle=100.0)
    found = analyse_low_loss(signal)
    assert any("placeholder" in message for message in found.warnings)
    assert found.maps["areal_density_Li_K"].units == "relative"


def test_one_spectrum(battery, tmp_path):
    found = analyse_low_loss(battery.eels_after.inav[2, 2])
    assert len(found.table) == 1
    write_analysis(found, tmp_path)
    assert (tmp_path / "report.html").exists()


def test_bad_input(battery, references):
    with pytest.raises(ValueError, match="not the symbol"):
        analyse_low_loss(battery.eels_after, ("Xx",))
    with pytest.raises(ValueError, match="one plasmon"):
        analyse_low_loss(battery.eels_after, valence="plasmon", references=references)
    empty = battery.eels_after.inav[:2, :2].deepcopy()
    empty.data[:] = 0
    with pytest.raises(ValueError):  # noqa: PT011
        analyse_low_loss(empty)
