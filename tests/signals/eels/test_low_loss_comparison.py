"""Comparison of signals: tables, files, regions, series, and errors that say what to do."""

from __future__ import annotations

import dataclasses

import hyperspy.api as hs
import numpy as np
import pandas as pd
import pytest

from hyperspy_assb import load
from hyperspy_assb.eels.comparison.options import ComparisonOptions
from hyperspy_assb.errors import AssbWarning
from hyperspy_assb.signals.region_mask import region_mask
from hyperspy_assb.simulation import EELSConditions, micro_battery, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

FAST = ComparisonOptions(permutations=99)
CONDITIONS = EELSConditions(n_channels=512)


def make(seed, shape=(8, 8), *, share=0.0, dose=3e5, conditions=CONDITIONS):
    rng = np.random.default_rng(seed)
    nm = 70 * (1 + 0.1 * rng.normal(size=shape))
    columns = {"LAGP": (1 - share) * nm, "amorphous_LAGP": share * nm}
    counts = simulate_spectra(columns, conditions, rng, dose=dose)
    return spectra_to_signal(counts, conditions, pixel_size=2.0, title=f"state {seed}", signal_type="EELS_ASSB")


@pytest.fixture(scope="module")
def before():
    return make(1)


@pytest.fixture(scope="module")
def after():
    return make(2, share=0.6)


@pytest.fixture(scope="module")
def result(before, after):
    return before.compare_low_loss(after, options=FAST)


@pytest.mark.parametrize("normalisation", ["log_ratio", "area"])
def test_maps_on_disk_are_compared_block_by_block(normalisation, before, after, monkeypatch):
    options = dataclasses.replace(FAST, normalisation=normalisation)
    masks = [np.arange(64).reshape(8, 8) % 5 > 0, None]
    expected = before.compare_low_loss(after, options=options, region=masks)
    lazy = [signal.as_lazy() for signal in (before, after)]
    for signal in lazy:
        signal.data = signal.data.rechunk((3, 4, 200))
    whole = lazy[0].compare_low_loss(lazy[1], options=options, region=masks)
    # As large maps: seven spectra at a time, the form of the peak from 60 of them, or of the 51 in the mask.
    for module in ("low_loss_map", "comparison.row_store"):
        monkeypatch.setattr(f"hyperspy_assb.eels.{module}.BLOCK", 8 * 512 * 7)
    monkeypatch.setattr("hyperspy_assb.eels.comparison.options.BLOCK", 0)
    monkeypatch.setattr("hyperspy_assb.eels.comparison.states._COMMON_SPECTRA", 60)
    parts = lazy[0].compare_low_loss(lazy[1], options=options, region=masks)
    assert whole.bands.equals(expected.bands)
    pd.testing.assert_frame_equal(parts.bands, expected.bands, rtol=0.02, atol=2e-4)
    assert parts.states["pixels"].equals(expected.states["pixels"])
    seen = expected.found.loss >= expected.found.start
    for name in ("before", "difference"):
        one, other = getattr(parts, name), getattr(expected, name)
        error = np.sqrt(other.get_noise_variance().data)
        assert (np.abs(one.data - other.data) < 0.1 * error)[seen].all()


def test_the_dose_of_both_states_stands_beside(result, before, after):
    assert result.provenance["dose"].keys() == {"before", "after"}
    assert "The dose of before and after is not known" in result.summary()
    assert "cannot be separated" in result.notes[-1]
    stated = before.deepcopy()
    stated.metadata.set_item("ASSB.dose", 2e5)
    told = stated.compare_low_loss(after, options=FAST)
    assert told.provenance["dose"]["before"]["electrons per nm²"] == 2e5
    assert "The dose of after is not known" in told.notes[-1]


def test_tables(result):
    bands = result.bands.set_index("band")
    assert {"carbon build-up", "valence transitions", "volume plasmon", "Li K", "plasmon energy"} <= set(bands.index)
    assert "P L2,3 above background" not in bands.index
    assert bands.loc["valence transitions", "status"] == "changed"
    assert bands.loc["valence transitions", "change"] > 0
    assert (bands["p from"] == "blocks").all()
    named = bands.drop(["plasmon energy", "plasmon width"])
    assert named["source"].str.len().min() > 5
    assert result.clusters["significant"].any()
    assert list(result.states["state"]) == ["before", "after"]
    np.testing.assert_allclose(result.states["electrons per spectrum"], 2.9e5, rtol=0.1)
    assert result.trend.empty
    assert "Valence transitions" in result.summary()
    assert result.settings["p from"] == "blocks"


def test_signals(result, before):
    for name in ("before", "after", "difference"):
        signal = getattr(result, name)
        axis = signal.axes_manager.signal_axes[0]
        assert (axis.units, axis.offset) == ("eV", 0.0)
        assert axis.scale == pytest.approx(0.2)
        assert signal.metadata.Signal.signal_type == "EELS_ASSB"
        assert signal.get_noise_variance().data.shape == signal.data.shape
        assert signal.metadata.ASSB.provenance.action == "compare_low_loss"
        assert signal.metadata.Acquisition_instrument.TEM.beam_energy == 200.0
    area = result.before.data.sum() * 0.2
    assert area == pytest.approx(1.0, abs=0.08)


def test_a_file_holds_everything(result, tmp_path):
    path = tmp_path / "comparison.hspy"
    result.save(path)
    again = load(path)
    for name in ("bands", "clusters", "states", "trend"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name))
    for name in ("before", "after", "difference"):
        one, two = getattr(again, name), getattr(result, name)
        np.testing.assert_array_equal(one.data, two.data)
        np.testing.assert_array_equal(one.get_noise_variance().data, two.get_noise_variance().data)
        assert one.metadata.General.title == two.metadata.General.title
    assert again.summary() == result.summary()
    assert again.notes == result.notes
    assert again.settings == result.settings
    again.before.save(tmp_path / "other.hspy")
    with pytest.raises(ValueError, match="holds no result"):
        load(tmp_path / "other.hspy")


def test_tables_and_what_a_comparison_has_not(result):
    pd.testing.assert_frame_equal(result.to_dataframe(), result.bands)
    with pytest.raises(ValueError, match="has no pixels that region= could name"):
        result.to_dataframe(region=np.ones((8, 8), dtype=bool))
    assert result.provenance["action"] == "compare_low_loss"
    assert result.plot().shape == (2,)


def test_dielectric_functions(result):
    one, two = result.kramers_kronig(1.8)
    for found in (one, two):
        loss = (-1 / found.data).imag
        top = found.axes_manager.signal_axes[0].axis[np.argmax(loss)]
        assert 15 < top < 35
    unknown = dataclasses.replace(result, recorded={})
    with pytest.warns(AssbWarning, match="beam_energy"), pytest.raises(ValueError, match="beam_energy"):
        unknown.kramers_kronig(1.8)


def test_regions(before, after):
    mask = np.zeros((8, 8), dtype=bool)
    mask[:, 2:] = True
    roi = hs.roi.RectangularROI(left=4.0, right=16.0, top=0.0, bottom=16.0)
    np.testing.assert_array_equal(region_mask(before, roi), mask)
    found = before.compare_low_loss(after, region=[mask, roi], options=FAST)
    assert found.states["pixels"].tolist() == [48, 48]
    with pytest.raises(ValueError, match="y before x"):
        before.compare_low_loss(after, region=np.ones((3, 3), dtype=bool))
    with pytest.raises(ValueError, match="no pixel"):
        before.compare_low_loss(after, region=np.zeros((8, 8), dtype=bool))
    with pytest.raises(TypeError, match="boolean"):
        before.compare_low_loss(after, region=np.ones((8, 8)))
    with pytest.raises(ValueError, match="3 regions"):
        before.compare_low_loss(after, region=[mask, mask, mask])


def test_lines_and_single_spectra(before, after):
    line = before.inav[:, 0].compare_low_loss(after.inav[:, 0], options=FAST)
    assert line.settings["p from"] == "blocks"
    with pytest.warns(UserWarning, match="counting noise alone"):
        single = before.inav[0, 0].compare_low_loss(after.inav[0, 0])
    assert (single.bands["p from"] == "counting").all()
    assert single.clusters.empty
    assert "counting noise alone" in single.summary()


@pytest.mark.slow
def test_a_bias_series(before, after, tmp_path):
    middle = make(3, share=0.3)
    listed = before.compare_low_loss([middle, after], bias=[0.0, 1.5, 4.0], options=FAST)
    data = np.stack([s.data for s in (before, middle, after)])
    axes = [{"_type": "DataAxis", "name": "bias", "units": "V", "axis": [0.0, 1.5, 4.0], "navigate": True}]
    axes += [dict(a) for a in before.axes_manager._get_axes_dicts()]
    series = hs.signals.Signal1D(data, axes=axes)
    series.metadata.add_dictionary(before.metadata.as_dictionary())
    series.set_signal_type("EELS_ASSB")
    stacked = series.compare_low_loss(options=FAST)
    pd.testing.assert_frame_equal(listed.bands, stacked.bands)
    assert stacked.states["bias"].tolist() == [0.0, 1.5, 4.0]
    trend = stacked.trend.set_index("band")
    assert trend.loc["valence transitions", "p corrected"] <= 0.05
    assert stacked.difference.axes_manager.navigation_axes[0].name == "bias"
    assert stacked.difference.data.shape[0] == 2
    stacked.save(tmp_path / "series.hspy")
    again = load(tmp_path / "series.hspy")
    np.testing.assert_array_equal(again.after.data, stacked.after.data)
    assert again.after.axes_manager.navigation_axes[0].axis.tolist() == [1.5, 4.0]
    # Without potentials the states follow one another, and nobody says that they are 1 V apart.
    untold = before.compare_low_loss([middle, after], options=FAST)
    assert np.isnan(untold.states["bias"]).all()
    axis = untold.difference.axes_manager.navigation_axes[0]
    assert (axis.name, axis.units, axis.axis.tolist()) == ("state", "", [1.0, 2.0])
    assert len(stacked.kramers_kronig(1.8)) == 3
    with pytest.raises(ValueError, match="refractive_index must be above 1"):
        stacked.kramers_kronig(0)
    for bias, message in (([1.0, 1.0, 1.0], "bias is 1 in every state"), ([0.0, np.nan, 1.0], "not finite")):
        with pytest.raises(ValueError, match=message):
            before.compare_low_loss([middle, after], bias=bias, options=FAST)


def test_a_vacuum_spectrum_as_zero_loss(before, after, result):
    vacuum = make(5, (), dose=1e8)
    vacuum.data = simulate_spectra({"LAGP": 0.0}, CONDITIONS, 5, dose=1e8)
    found = before.compare_low_loss(after, zero_loss=vacuum, options=FAST)
    one, two = (r.bands.set_index("band").loc["valence transitions", "change"] for r in (found, result))
    assert one == pytest.approx(two, rel=0.1)


def test_what_is_said_to_a_user(before, after):
    with pytest.raises(TypeError, match="EELS_ASSB"):
        before.compare_low_loss(hs.signals.Signal1D(after.data))
    with pytest.raises(ValueError, match="one state only"):
        before.compare_low_loss()
    with pytest.raises(ValueError, match="bias has 3"):
        before.compare_low_loss(after, bias=[0, 1, 2])
    with pytest.raises(TypeError, match="recorded in vacuum"):
        before.compare_low_loss(after, zero_loss="measured")
    with pytest.raises(ValueError, match="has navigation axes"):
        before.compare_low_loss(after, zero_loss=before)
    with pytest.raises(LookupError, match="no band"):
        before.compare_low_loss(after, bands=["ghost"])
    finer = make(6, conditions=EELSConditions(n_channels=512, dispersion=0.1))
    with pytest.raises(ValueError, match="rebin"):
        before.compare_low_loss(finer)
    broader = make(7, conditions=EELSConditions(n_channels=512, energy_resolution=1.1))
    with pytest.warns(UserWarning, match="zero_loss='each'"):
        before.compare_low_loss(broader, options=FAST)


def test_lazy_signals(before, after, result):
    lazy = before.as_lazy().compare_low_loss(after.as_lazy(), options=FAST)
    pd.testing.assert_frame_equal(lazy.bands, result.bands)


def test_electrolyte_of_the_virtual_battery():
    battery = micro_battery(shape=(24, 24), seed=6, signal_type="EELS_ASSB")
    masks = [
        s.fractions["LAGP"] + s.fractions["amorphous_LAGP"] >= 0.9 for s in (battery.truth.before, battery.truth.after)
    ]
    found = battery.eels_before.compare_low_loss(battery.eels_after, region=masks, options=FAST)
    assert found.bands.set_index("band").loc["valence transitions", "change"] > 0
