"""The analysis of a small EDX map, and its files."""

from __future__ import annotations

import json

import hyperspy.api as hs
import numpy as np
import pandas as pd
import pytest

import hyperspy_assb as assb
from hyperspy_assb.report.edx import analyse_edx, write_edx
from hyperspy_assb.simulation import micro_battery


@pytest.fixture(scope="module")
def signal():
    return micro_battery(shape=(10, 12), seed=3, edx_signal_type="EDS_TEM_ASSB").edx_after


@pytest.fixture(scope="module")
def analysis(signal):
    stages = []
    found = analyse_edx(signal.deepcopy(), progress=lambda stage, done, total: stages.append(stage))
    assert stages[0] == "fit"
    return found


@pytest.fixture(scope="module")
def folder(analysis, tmp_path_factory):
    path = tmp_path_factory.mktemp("xrays")
    write_edx(analysis, path)
    return path


def test_findings_have_numbers_and_limits(analysis):
    assert analysis.explained
    first = analysis.findings[0]
    assert first.startswith("Volume: olivine ")
    table = analysis.phases.phase_fractions().reset_index().set_index("phase")
    assert f"LAGP {100 * table.loc['LAGP', 'volume']:.1f} %" in first
    assert any("does not detect Li" in text for text in analysis.findings)
    assert any("one class, olivine" in text for text in analysis.findings)
    (elements,) = [text for text in analysis.findings if text.startswith("Elements that stand out")]
    assert "O " in elements
    assert "Fe " in elements


def test_sum_of_the_fit_is_that_of_the_map(analysis, signal):
    summed = analysis.summed
    axis = signal.axes_manager.signal_axes[0].axis
    inside = (axis >= summed.energy[0] - 1e-6) & (axis <= summed.energy[-1] + 1e-6)
    np.testing.assert_array_equal(summed.recorded, signal.data.sum(axis=(0, 1))[inside])
    assert summed.expected.sum() == pytest.approx(summed.recorded.sum(), rel=0.01)


def test_files(analysis, folder):
    names = {path.name for path in folder.iterdir()}
    assert names >= {"report.html", "phases.hspy", "table.csv", "composition.csv", "fractions.csv", "provenance.json"}
    assert {path.stem for path in (folder / "figures").iterdir()} == {"summed_spectrum", "phases", "composition"}
    table = pd.read_csv(folder / "table.csv")
    assert len(table) == 120
    assert not table.columns.duplicated().any()
    loaded = assb.load(folder / "phases.hspy")
    assert loaded.phase_fractions().equals(analysis.phases.phase_fractions())
    lagp = hs.load(folder / "maps" / "volume_fraction_LAGP.hspy")
    np.testing.assert_array_equal(lagp.data, analysis.phases.volume_fraction["LAGP"].data)
    record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert record["findings"] == list(analysis.findings)
    assert record["parameters"]["factors"] == "computed"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Volume: olivine" in page
    assert "10 × 12 spectra" in page


@pytest.mark.slow
def test_axis_that_is_off_is_told_and_put_right(signal):
    off = signal.deepcopy()
    off.axes_manager.signal_axes[0].offset += 0.025
    found = analyse_edx(off.deepcopy())
    assert any("energy axis is off" in text for text in found.warnings)
    corrected = analyse_edx(off.deepcopy(), correct_energy=True)
    assert not any("energy axis is off" in text for text in corrected.warnings)
    assert any(text.startswith("Before it was corrected: The energy axis is off") for text in corrected.findings)


@pytest.mark.slow
def test_what_no_phase_explains_has_no_fractions(signal, tmp_path):
    other = signal.deepcopy()
    # A map of iron and oxygen: all lines of the others are left out.
    axis = other.axes_manager.signal_axes[0].axis
    for low, high in ((1.8, 2.3), (9.6, 10.1), (1.1, 1.3)):
        other.data[..., (axis > low) & (axis < high)] //= 4
    found = analyse_edx(other)
    assert not found.phases.check_mixture().explained
    assert found.findings[0].startswith("No mixture of the phases explains the map as a whole")
    assert not any(text.startswith("Volume:") for text in found.phases.summary().splitlines())
    write_edx(found, tmp_path)
    assert (tmp_path / "report.html").exists()
