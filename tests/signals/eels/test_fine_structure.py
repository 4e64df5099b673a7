from __future__ import annotations

import warnings

import bad_input
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.errors import AssbTypeError, AssbValueError, AssbWarning
from hyperspy_assb.simulation import EELSConditions, core_loss_conditions, simulate_core_loss, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

LOW = EELSConditions(dispersion=0.5, n_channels=256, offset=-20.0)
CORE = core_loss_conditions(LOW)
X = np.repeat([1.0, 0.0, 0.5], 8).reshape(3, 8)
NM = np.tile(np.linspace(40.0, 90.0, 8), (3, 1))
PURE = {"LFP": X == 1.0, "FP": X == 0.0}


def dual(low=LOW):
    """Core loss and low loss with the same energy shifts."""
    columns = {"LiFePO4": NM * X, "FePO4": NM * (1.0 - X)}
    shift = np.random.default_rng(0).normal(0.0, 0.5, X.shape)
    core = spectra_to_signal(
        simulate_core_loss(columns, CORE, 2, dose=2e9, zero_loss_shift=shift),
        CORE,
        pixel_size=5.0,
        signal_type="EELS_ASSB",
    )
    return core, spectra_to_signal(simulate_spectra(columns, low, 1, zero_loss_shift=shift), low)


@pytest.fixture(scope="module")
def signals():
    return dual()


@pytest.fixture(scope="module")
def result(signals):
    return signals[0].quantify_fine_structure(PURE, signals[1], show_progressbar=False)


def test_maps_lie_on_the_axes_of_the_core_loss(result):
    assert result.x.data.shape == result.status.data.shape == (3, 8)
    assert [axis.units for axis in result.x.axes_manager.navigation_axes] == ["nm", "nm"]
    mixed = result.x.data[2]
    truth = (0.5 * 13.72) / (0.5 * 13.72 + 0.5 * 14.72)
    assert abs(mixed.mean() - truth) < 0.02
    assert np.all(result.status.data == DelithiationStatus.QUANTIFIED)
    assert result.find_delithiated().found.data[1].all()


def test_tables_files_and_figures(result, tmp_path):
    table = result.to_dataframe()
    assert {"x", "x_std", "x (O K)", "x (Fe L2,3)", "agreement", "t_over_lambda"} <= set(table)
    result.save(tmp_path / "x.hspy")
    again = hyperspy_assb.load(tmp_path / "x.hspy")
    np.testing.assert_array_equal(again.x.data, result.x.data)
    assert again.with_method("O K").method == "O K"
    assert again.provenance["action"] == "quantify_fine_structure"
    assert [ax.get_title(loc="left") for ax in again.plot_edges()] == ["O K", "Fe L2,3"]
    assert "fine structure of O K" in again.with_method("O K").plot()[0, 0].figure.figure.get_suptitle()
    plt.close("all")


def test_a_lazy_signal_gives_the_same(signals, result):
    lazy = signals[0].as_lazy().quantify_fine_structure(PURE, signals[1].as_lazy(), show_progressbar=False)
    np.testing.assert_allclose(lazy.x.data, result.x.data, rtol=1e-9)


def test_another_dispersion_of_the_low_loss(result):
    core, low = dual(EELSConditions(dispersion=0.25, n_channels=512, offset=-20.0))
    found = core.quantify_fine_structure(PURE, low, show_progressbar=False)
    np.testing.assert_allclose(found.x.data, result.x.data, atol=0.05)


def test_one_low_loss_for_all_pixels_is_said(signals):
    core, low = signals
    found = core.quantify_fine_structure(PURE, low.mean(), show_progressbar=False)
    assert found.notes[0].startswith("One low-loss spectrum stands for all pixels")


def test_pure_pixels_of_the_low_loss(signals, result):
    core, low = signals
    low = low.deepcopy()
    low.set_signal_type("EELS_ASSB")
    d = low.quantify_delithiation(PURE, ensemble=False, show_progressbar=False)
    found = core.quantify_fine_structure(d, low, show_progressbar=False)
    np.testing.assert_array_equal(found.x.data, result.x.data)


def test_wrong_input_is_named(signals):
    core, low = signals
    with pytest.raises(AssbTypeError, match="low_loss must be the low-loss signal"):
        core.quantify_fine_structure(PURE, None)
    with pytest.raises(AssbTypeError, match="references must be a dictionary"):
        core.quantify_fine_structure("computed", low)
    with pytest.raises(AssbValueError, match=r"low_loss has navigation axes of \(2, 8\)"):
        core.quantify_fine_structure(PURE, low.inav[:, :2])
    with pytest.raises(AssbValueError, match="FePO4 is missing"):
        core.quantify_fine_structure({"LFP": X == 1.0}, low)
    with pytest.raises(AssbValueError, match="share 8 pixels"):
        core.quantify_fine_structure(PURE | {"LAGP": X == 0.0}, low)
    with pytest.raises(AssbValueError, match="has no edge of LixFePO4"):
        core.isig[:530.0].quantify_fine_structure(PURE, low)
    with pytest.raises(AssbValueError, match="must contain 0 eV"):
        core.quantify_fine_structure(PURE, low.isig[10.0:])
    with pytest.raises(AssbValueError, match="method must be one of 'O K', 'Fe L2,3', 'combined'"):
        core.quantify_fine_structure(PURE, low, show_progressbar=False).with_method("valence")


def test_a_coarser_low_loss_is_warned_of():
    core, low = dual()
    with pytest.warns(AssbWarning, match="no sharper than 1 eV"):
        core.quantify_fine_structure(PURE, low.rebin(scale=[1, 1, 2]), show_progressbar=False)


def test_metadata_of_the_user_stay(signals):
    core, low = signals
    before = core.metadata.as_dictionary(), low.metadata.as_dictionary()
    with warnings.catch_warnings():
        warnings.simplefilter("error", AssbWarning)
        core.quantify_fine_structure(PURE, low, show_progressbar=False)
    assert (core.metadata.as_dictionary(), low.metadata.as_dictionary()) == before


@pytest.mark.slow
@pytest.mark.parametrize("half", ["core", "low"])
def test_damaged_signals(half, monkeypatch):
    """Each damage of the table of bad input, to one half of the pair: a clear error, the right result or a flag."""
    core, low = dual()
    core.data, low.data = core.data.astype(float), low.data.astype(float)
    low.set_signal_type("EELS_ASSB")
    whole = {"core": core, "low": low}
    monkeypatch.setattr(bad_input, "_good", lambda kind: whole[half])

    def call(damaged):
        own = whole | {half: damaged}
        return own["core"].quantify_fine_structure(PURE, own["low"], show_progressbar=False)

    entry = bad_input.EntryPoint(f"quantify_fine_structure of a damaged {half}", "ASSBEELSSpectrum", call)
    bad_input._expected.cache_clear()
    found = {damage.name: bad_input.judge(entry, damage) for damage in bad_input.damages("ASSBEELSSpectrum")}
    bad_input._expected.cache_clear()
    assert not {name: out for name, out in found.items() if not out.allowed}
