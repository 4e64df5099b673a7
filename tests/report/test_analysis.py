"""The analysis of a small virtual battery, and its files."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import hyperspy.api as hs
import numpy as np
import pandas as pd
import pytest

import hyperspy_assb
from hyperspy_assb.report.analysis import analyse_low_loss
from hyperspy_assb.report.delithiation import carbon_of, describe_delithiation
from hyperspy_assb.report.writing import write_analysis
from hyperspy_assb.simulation import mean_free_path, micro_battery


@pytest.fixture(scope="module")
def battery():
    return micro_battery(shape=(20, 20), seed=7, signal_type="EELS_ASSB")


@pytest.fixture(scope="module")
def references(battery):
    return {name: battery.truth.after.pure(name) for name in ("LiFePO4", "FePO4", "LAGP", "carbon")}


@pytest.fixture(scope="module")
def analysis(battery, references):
    return analyse_low_loss(battery.eels_after, references=references)


def test_fit_only(battery):
    stages = []
    found = analyse_low_loss(
        battery.eels_after, ("Li", "Fe", "P", "O"), progress=lambda stage, done, total: stages.append((stage, done))
    )
    assert found.delithiation is None
    assert list(dict.fromkeys(stage for stage, _ in stages)) == ["zero loss", "start", "fit"]
    assert max(done for stage, done in stages if stage == "fit") == 400
    assert any("separated from" in sentence for sentence in found.findings)
    assert found.maps["areal_density_Li_K"].units == "atoms/nm²"
    assert len(found.table) == 400
    assert found.table["x position (nm)"].nunique() == 20
    assert found.table["fit_status"].iloc[0] == "converged"
    np.testing.assert_array_equal(
        found.maps["t_over_lambda"].signal.data.ravel(), found.table["t_over_lambda"].to_numpy()
    )


def test_the_combined_estimate_comes_first(analysis, battery):
    assert analysis.delithiation.method == "combined"
    x = float(re.match(r"x in LixFePO4 is ([\d.]+) ± [\d.]+ \(counting\) ± [\d.]+", analysis.findings[0])[1])
    truth = battery.truth.after
    quantified = analysis.delithiation.quantified
    there = quantified & (truth.olivine > 0)
    assert there.sum() > 0.98 * quantified.sum()
    iron = truth.areal_density("Fe")
    assert x == pytest.approx(np.average(truth.x[there], weights=iron[there]), abs=0.03)  # known truth
    shape = truth.x.shape
    assert all(item.signal.data.shape == shape for item in analysis.maps.values())


def test_findings_speak_of_all_that_could_pass_for_delithiation(analysis):
    text = "\n".join(analysis.findings)
    for words in ("The estimates agree", "FePO4 is found in", "recorded electrons per spectrum", "per nm²", "(ΔBIC"):
        assert words in text
    assert "Carbon in these pixels adds t/λ" in text


def test_without_a_reference_of_carbon_the_danger_is_named(analysis):
    phases = replace(analysis.delithiation.standard.spectra, phases=("LiFePO4", "FePO4", "LAGP", "soot"))
    unnamed = replace(analysis.delithiation, standard=replace(analysis.delithiation.standard, spectra=phases))
    assert any("Carbon is not among the references" in sentence for sentence in describe_delithiation(unnamed))


@pytest.mark.slow
def test_carbon_and_one_state_by_the_calibration_of_the_other(analysis, battery):
    """The film of the virtual battery grows between its states."""
    truth, after, stages = battery.truth, analysis.delithiation, []
    found = analyse_low_loss(
        battery.eels_before, references=after, progress=lambda stage, done, total: stages.append((stage, done, total))
    )
    assert list(dict.fromkeys(stage for stage, _, _ in stages)) == ["zero loss", "quantify", "start", "fit"]
    assert [entry for entry in stages if entry[0] == "quantify"] == [("quantify", 0, 400), ("quantify", 400, 400)]
    both = after.quantified & found.delithiation.quantified
    both &= truth.after.fractions["amorphous_LAGP"] == 0  # no reference
    grown = carbon_of(after, both)[0] - carbon_of(found.delithiation, both)[0]
    film = (truth.after.carbon_film - truth.before.carbon_film)[both].mean()
    assert grown == pytest.approx(film / mean_free_path("carbon", battery.conditions.beam), rel=0.3)  # known truth


@pytest.mark.slow
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
    result = hyperspy_assb.load(tmp_path / "delithiation.hspy")
    np.testing.assert_array_equal(result.x.data, analysis.delithiation.x.data)
    np.testing.assert_array_equal(
        result.with_method("valence").x.data, hs.load(tmp_path / "maps" / "x_valence.hspy").data
    )
    assert (tmp_path / "figures" / "populations.png").exists()


@pytest.mark.slow
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


def test_the_plasmon_of_a_metal_is_told(shared_data, tmp_path):
    path = shared_data / "eels" / "aluminium" / "AL-DFoffset0.00.dm3"
    found = analyse_low_loss(hs.load(path, signal_type="EELS_ASSB"), ("Al",), "plasmon")
    # Published: 15.0 eV, Egerton (2011), table 3.2.
    assert found.table["plasmon_energy (eV)"].to_list() == pytest.approx([15.0], abs=0.1)
    assert found.table["plasmon_fwhm (eV)"].iloc[0] < 1.0
    assert any(sentence.startswith("The plasmon energy is 15.0") for sentence in found.findings)
    write_analysis(found, tmp_path)
    assert "The plasmon energy is 15.0" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_maps_of_the_plasmon(battery):
    found = analyse_low_loss(battery.eels_after.inav[:3, :3], (), "plasmon")
    assert {"plasmon_energy", "plasmon_energy_std", "plasmon_fwhm"} <= found.maps.keys()
    assert any(sentence.startswith("The plasmon energy has the median") for sentence in found.findings)


def test_bad_input(battery, references):
    with pytest.raises(ValueError, match="not the symbol"):
        analyse_low_loss(battery.eels_after, ("Xx",))
    with pytest.raises(ValueError, match="one plasmon"):
        analyse_low_loss(battery.eels_after, valence="plasmon", references=references)
    empty = battery.eels_after.inav[:2, :2].deepcopy()
    empty.data[:] = 0
    with pytest.raises(ValueError):  # noqa: PT011
        analyse_low_loss(empty)
