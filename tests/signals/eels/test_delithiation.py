"""Delithiation of signals: references, errors that name the culprit, files, tables and figures."""

from __future__ import annotations

import pickle

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.eels.delithiation.end_members import elements_of
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.mixing import MixtureStatus
from hyperspy_assb.errors import AssbFileError, AssbWarning
from hyperspy_assb.signals.eels.delithiation_estimate import reference_spectra
from hyperspy_assb.signals.region_mask import region_mask
from hyperspy_assb.simulation import EELSConditions, micro_battery, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

MAPS = ("x", "x_std", "x_systematic", "significance", "detection_limit", "electrode_share", "t_over_lambda", "status")
PHASES = ("LiFePO4", "FePO4", "LAGP", "carbon", "vacuum")
EMPTY = (0, 0)


@pytest.fixture(scope="module")
def battery():
    battery = micro_battery((24, 24), seed=0, signal_type="EELS_ASSB")
    battery.eels_after.data[EMPTY] = 0.0
    return battery


@pytest.fixture(scope="module")
def references(battery):
    return {phase: battery.truth.after.pure(phase) for phase in PHASES}


@pytest.fixture(scope="module")
def result(battery, references):
    return battery.eels_after.quantify_delithiation(references, show_progressbar=False)


# ------------------------------------------------------------------------------------------------------ the result


def test_maps_lie_on_the_navigation_axes(result, battery):
    for name in MAPS:
        signal = getattr(result, name)
        assert signal.data.shape == (24, 24), name
        assert signal.axes_manager.navigation_shape == (24, 24)
        assert signal.axes_manager.signal_shape == ()
        for axis, own in zip(
            signal.axes_manager.navigation_axes, battery.eels_after.axes_manager.navigation_axes, strict=True
        ):
            assert (axis.name, axis.units, axis.scale, axis.offset) == (own.name, own.units, own.scale, own.offset)
        assert signal.metadata.General.title
    assert result.method == "combined"
    assert result.standard.elements == ("Li", "Fe", "P", "Al", "Ge", "C")


def test_an_empty_pixel_is_not_fitted(result):
    assert result.status.data[EMPTY] == DelithiationStatus.NOT_FITTED
    for name in ("x", "x_std", "x_systematic", "significance", "detection_limit", "electrode_share", "t_over_lambda"):
        assert np.isnan(getattr(result, name).data[EMPTY]), name


def test_x_is_there_where_there_is_olivine(result, battery):
    truth = battery.truth.after
    answered = np.isfinite(result.x.data)
    status = result.status.data
    np.testing.assert_array_equal(answered, np.vectorize(lambda s: DelithiationStatus(s).answered)(status))
    assert answered[(truth.olivine > 0.3) & (truth.t_over_lambda < 0.8)].mean() > 0.95
    for phase in ("LAGP", "carbon", "vacuum"):
        assert answered[truth.pure(phase)].mean() < 0.05, phase
    # Known truth: the whole map, not only the pure pixels that it was calibrated on.
    olivine = answered & (truth.olivine > 0.3)
    assert np.abs((result.x.data - truth.x)[olivine]).mean() < 0.1


def test_every_method_is_there(result):
    for method in ("valence", "lithium", "references", "combined"):
        own = result.with_method(method)
        assert own.method == method
        assert np.isfinite(own.x.data).sum() > 100
    assert result.with_method("references").standard is result.standard
    with pytest.raises(ValueError, match="not 'band'"):
        result.with_method("band")


def test_amounts_of_the_phases(result, battery):
    truth = battery.truth.after
    assert list(result.amounts) == ["LiFePO4", "FePO4", "LAGP", "carbon"]
    total = sum(amount.data for amount in result.amounts.values()) + result.unnamed.data
    np.testing.assert_allclose(total, result.t_over_lambda.data, atol=1e-12)
    for phase in ("LAGP", "carbon"):
        rich = truth.pure(phase) & (truth.t_over_lambda > 0.2)
        share = result.amounts[phase].data[rich] / result.t_over_lambda.data[rich]
        assert np.median(share) == pytest.approx(1.0, abs=0.1)  # known truth
    assert np.nanmin(result.amounts_std["carbon"].data) > 0.0
    empty = truth.pure("vacuum") & (result.status.data != DelithiationStatus.NOT_FITTED)
    assert np.all(result.amounts["carbon"].data[empty] == 0.0)
    assert np.isnan(result.amounts_std["carbon"].data[empty]).all()


def test_a_table_of_pixels(result):
    table = result.to_dataframe()
    assert len(table) == 24 * 24
    assert list(table.columns[:4]) == ["y index", "y (nm)", "x index", "x (nm)"]
    assert {*MAPS, "agreement", "reduced_deviance", "t/λ of LAGP", "x (valence)"} <= set(table.columns)
    # "x" is the lithium content; the axis has its unit in the name.
    row = table[(table["y index"] == 3) & (table["x index"] == 7)].iloc[0]
    assert row["y (nm)"] == pytest.approx(3 * result.x.axes_manager[1].scale)
    assert row["x (nm)"] == pytest.approx(7 * result.x.axes_manager[0].scale)
    np.testing.assert_array_equal(row["x"], result.x.data[3, 7])
    np.testing.assert_array_equal(table["t_over_lambda"].to_numpy().reshape(24, 24), result.t_over_lambda.data)
    assert set(table["status"]) <= {s.name.lower() for s in DelithiationStatus}
    assert table["status"][0] == "not_fitted"


def test_figures(result):
    axes = result.plot()
    assert axes.shape == (2, 2)
    assert all(ax.get_title(loc="left") or ax.get_title() for ax in axes.ravel())
    axes[0, 0].figure.canvas.draw()
    plt.close("all")


# ----------------------------------------------------------------------------------------------------------- files


# The writer of .zspy opens its stores in a way that zarr 2 announces as deprecated.
@pytest.mark.filterwarnings("ignore:The NestedDirectoryStore is deprecated:FutureWarning")
@pytest.mark.parametrize("extension", ["hspy", "zspy"])
def test_everything_survives_a_file(result, tmp_path, extension):
    path = tmp_path / f"x.{extension}"
    result.save(path)
    loaded = hyperspy_assb.load(path)
    for name in MAPS:
        one, two = getattr(loaded, name), getattr(result, name)
        np.testing.assert_array_equal(one.data, two.data)
        assert one.data.dtype == two.data.dtype
        assert one.axes_manager.navigation_shape == two.axes_manager.navigation_shape
        for a, b in zip(one.axes_manager.navigation_axes, two.axes_manager.navigation_axes, strict=True):
            assert (a.name, a.units, a.scale) == (b.name, b.units, b.scale)
    assert loaded.method == result.method
    np.testing.assert_array_equal(loaded.with_method("lithium").x.data, result.with_method("lithium").x.data)
    np.testing.assert_array_equal(loaded.amounts["carbon"].data, result.amounts["carbon"].data)
    assert set(loaded.references) == set(result.references)
    for phase, mask in result.references.items():
        assert loaded.references[phase].dtype == bool
        np.testing.assert_array_equal(loaded.references[phase], mask)
    one, two = loaded.standard, result.standard
    assert (one.elements, one.names) == (two.elements, two.names)
    assert one.shapes == two.shapes
    assert one.calibration.phases == two.calibration.phases
    for name in ("slope", "offset", "covariance", "model_variance", "n_pixels"):
        np.testing.assert_array_equal(getattr(one.calibration, name), getattr(two.calibration, name))
    assert loaded.to_dataframe().equals(result.to_dataframe())


def test_another_file_is_refused(tmp_path):
    hs.signals.Signal1D(np.ones((2, 3))).save(tmp_path / "other.hspy")
    with pytest.raises(AssbFileError, match=r"other\.hspy holds no result"):
        hyperspy_assb.load(tmp_path / "other.hspy")


# ------------------------------------------------------------------------------------------- the calibration of another


def test_a_calibration_serves_another_signal(result, battery, tmp_path):
    before = battery.eels_before.inav[:12, :12]
    direct = before.quantify_delithiation(result, show_progressbar=False)
    result.save(tmp_path / "after.hspy")
    loaded = before.quantify_delithiation(hyperspy_assb.load(tmp_path / "after.hspy"), show_progressbar=False)
    np.testing.assert_array_equal(direct.x.data, loaded.x.data)
    np.testing.assert_array_equal(direct.status.data, loaded.status.data)
    assert direct.x.data.shape == (12, 12)
    assert direct.standard is result.standard
    truth = battery.truth.before
    sure = np.isfinite(direct.x.data) & (truth.olivine[:12, :12] > 0.5)
    assert np.median((direct.x.data - truth.x[:12, :12])[sure]) == pytest.approx(0.0, abs=0.05)  # known truth


def test_a_calibration_for_another_range_is_refused(result, battery):
    with pytest.raises(ValueError, match="same energy axis"):
        battery.eels_before.inav[:3, :3].isig[:100.0].quantify_delithiation(result, show_progressbar=False)


# ------------------------------------------------------------------------------------------------------ references


def test_masks_signals_and_regions_are_one(battery):
    signal = battery.eels_after
    scale = signal.axes_manager[0].scale
    mask = np.zeros((24, 24), dtype=bool)
    mask[2:7, 10:14] = True
    as_signal = hs.signals.BaseSignal(mask).T
    region = hs.roi.RectangularROI(left=10 * scale, top=2 * scale, right=14 * scale, bottom=7 * scale)
    for where in (mask, as_signal, mask.tolist(), region):
        np.testing.assert_array_equal(region_mask(signal, where), mask)
    point = np.zeros((24, 24), dtype=bool)
    point[3, 5] = True
    np.testing.assert_array_equal(region_mask(signal, hs.roi.Point2DROI(5 * scale, 3 * scale)), point)


def test_regions_of_a_line(battery):
    line = battery.eels_after.inav[:, 4]
    scale = line.axes_manager[0].scale
    mask = np.zeros(24, dtype=bool)
    mask[3:9] = True
    np.testing.assert_array_equal(region_mask(line, hs.roi.SpanROI(3 * scale, 9 * scale)), mask)


@pytest.mark.slow
def test_a_circle_is_round(battery):
    scale = battery.eels_after.axes_manager[0].scale
    circle = hs.roi.CircleROI(cx=12 * scale, cy=12 * scale, r=5 * scale)
    mask = region_mask(battery.eels_after, circle)
    y, x = np.nonzero(mask)
    assert mask.sum() == pytest.approx(np.pi * 25, rel=0.2)
    assert np.all(np.hypot(y - y.mean(), x - x.mean()) <= 5.5)


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        (np.ones((24, 24)), ValueError, "energy axis of the signal, 1024 channels"),
        (np.ones((24, 24), dtype=np.uint8), TypeError, "boolean array.*uint8"),
        ("LiFePO4", TypeError, "boolean array"),
        (np.ones((24, 23), dtype=bool), ValueError, r"shape \(24, 23\).*\(24, 24\)"),
        (np.ones(24 * 24, dtype=bool), ValueError, r"\(576,\)"),
        (np.zeros((24, 24), dtype=bool), ValueError, "names no pixel"),
    ],
)
def test_wrong_references_are_named(battery, references, where, error, message):
    with pytest.raises(error, match=r"references\['FePO4'\].*" + message):
        battery.eels_after.quantify_delithiation({**references, "FePO4": where}, show_progressbar=False)


@pytest.mark.parametrize("references", [None, {}])
def test_references_are_needed(battery, references):
    with pytest.raises(ValueError, match="references"):
        battery.eels_after.inav[:2, :2].quantify_delithiation(references, show_progressbar=False)


def test_a_missing_olivine_is_named(battery, references):
    part = {p: m[:6, :6] for p, m in references.items() if p != "FePO4" and m[:6, :6].any()}
    with pytest.raises(ValueError, match="FePO4"):
        battery.eels_after.inav[:6, :6].quantify_delithiation(part, show_progressbar=False)


def test_elements_follow_from_the_phases():
    assert elements_of(["LiFePO4", "FePO4"]) == ("Li", "Fe", "P")
    assert elements_of(["LiFePO4", "FePO4", "amorphous_LAGP"]) == ("Li", "Fe", "P", "Al", "Ge")
    assert elements_of(["carbon", "LAGP"]) == ("C", "Li", "Al", "Ge", "P")
    assert elements_of(["LCO", "CoO2", "vacuum", "something else"]) == ("Li", "Co")
    assert elements_of(["NVP"]) == ("Na", "V", "P")


# ------------------------------------------------------------------------------------------------------- bad signals


def test_unknown_methods(battery, references):
    with pytest.raises(ValueError, match="'combined', not 'band'"):
        battery.eels_after.quantify_delithiation(references, "band")


def test_the_range_must_reach_lithium(battery, references):
    with pytest.raises(ValueError, match="Li K with the edges under it"):
        battery.eels_after.isig[:65.0].quantify_delithiation(references)


def test_a_pixel_of_nan_is_left_out(battery, references, result):
    signal = battery.eels_after.deepcopy()
    signal.data[4, 5, 6] = np.nan
    with pytest.warns(AssbWarning, match="in 1 of 576 pixels: they are left out"):
        found = signal.quantify_delithiation(references, show_progressbar=False)
    assert np.isnan(found.x.data[4, 5])
    assert not DelithiationStatus(found.status.data[4, 5]).answered
    others = np.isfinite(found.x.data) & np.isfinite(result.x.data)
    assert others.sum() > 100
    apart = np.abs(found.x.data - result.x.data)[others] / result.x_std.data[others]
    assert apart.max() < 0.5


def lithium_iron_phosphate(thickness, shape=()):
    conditions = EELSConditions()
    data = simulate_spectra({"LiFePO4": np.full(shape, thickness)}, conditions, 3, dose=1e6, zero_loss_shift=0.0)
    return spectra_to_signal(data, conditions, signal_type="EELS_ASSB")


def test_one_spectrum_with_the_calibration_of_a_map(result):
    one = lithium_iron_phosphate(40.0).quantify_delithiation(result, show_progressbar=False)
    assert one.x.data.shape == (1,)
    error = np.hypot(one.x_std.data, one.x_systematic.data)[0]
    assert one.x.data[0] == pytest.approx(1.0, abs=4.0 * error)  # known truth
    assert error < 0.1
    assert len(one.to_dataframe()) == 1


def test_a_signal_of_one_phase_with_the_calibration_of_a_map(result):
    three = lithium_iron_phosphate(80.0, (3,)).quantify_delithiation(result, show_progressbar=False)
    assert np.isfinite(three.x.data).all()


# ------------------------------------------------------------------------------------------- references from elsewhere


@pytest.mark.slow
def test_spectra_are_as_good_as_pixels(battery, references, result):
    """Summed spectra of pure regions, as from a file."""
    signal, truth = battery.eels_after, battery.truth.after
    spectra = {}
    for phase, mask in references.items():
        near = mask & (np.abs(truth.t_over_lambda - 0.6) < 0.4) if phase != "vacuum" else mask
        spectra[phase] = signal.data[near][:12]
    found = signal.quantify_delithiation(spectra, show_progressbar=False)
    assert found.references == {}
    sure = np.isfinite(found.x.data) & (truth.olivine > 0.5) & (truth.t_over_lambda < 0.8)
    assert np.mean((found.x.data - truth.x)[sure]) == pytest.approx(0.0, abs=0.03)  # known truth
    assert np.median(np.abs(found.x.data - result.x.data)[sure]) < 0.05


@pytest.mark.slow
def test_one_spectrum_a_phase(battery, references):
    signal, truth = battery.eels_after, battery.truth.after
    one = {}
    for phase, mask in references.items():
        rows = np.argwhere(mask)
        rows = rows[np.argsort(np.abs(truth.t_over_lambda[mask] - 0.5))[: 1 if phase != "vacuum" else 5]]
        one[phase] = hs.signals.Signal1D(
            signal.data[tuple(rows.T)],
            axes=[{"name": "spectrum", "size": len(rows)}, signal.axes_manager.signal_axes[0].get_axis_dictionary()],
        )
    found = signal.quantify_delithiation(one, show_progressbar=False)
    ends = [np.nanmedian(found.x.data[truth.pure(p) & (truth.t_over_lambda < 0.8)]) for p in ("LiFePO4", "FePO4")]
    assert ends == pytest.approx([1.0, 0.0], abs=0.15)  # known truth; one pixel's noise is in everything


def test_spectra_on_another_axis_are_refused(battery, references):
    other = battery.eels_after.isig[:500]
    with pytest.raises(ValueError, match=r"references\['FePO4'\] must have the energy axis"):
        battery.eels_after.quantify_delithiation({**references, "FePO4": other})


# ----------------------------------------------------------------------------------------------------------- lazy data


def test_lazy_signals_give_the_same(result, battery):
    lazy = battery.eels_after.as_lazy()
    found = lazy.quantify_delithiation(result, show_progressbar=False)
    np.testing.assert_allclose(found.x.data, result.x.data, atol=1e-3)


# ------------------------------------------------------------------------------------------------------- a real file


@pytest.mark.filterwarnings("ignore:(.*unset|Missing|.*placeholder|.*treated):UserWarning")
@pytest.mark.parametrize("method", ["combined", "references", "valence", "lithium"])
def test_a_cathode_without_iron_is_refused(shared_data, method):
    """Li K lies under the M edges of Mn, Co and Ni there, and there is no olivine."""
    signal = hs.load(shared_data / "eels" / "nmc_battery" / "EELS_ZLP_EELS_Spectrum_Image.dm3", signal_type="EELS_ASSB")
    first = np.zeros((2, 21), dtype=bool)
    first[:, :10] = True
    with pytest.raises(ValueError, match=r"references do not differ in .*(Li K|5 eV band).* pure LiFePO4"):
        signal.quantify_delithiation({"LiFePO4": first, "FePO4": ~first}, method, show_progressbar=False)


def test_columns_of_both_phases_are_mixtures(result, battery):
    found = result.compare_with_mixture()
    assert found.found.names == result.standard.names
    assert found.status is not MixtureStatus.OWN_SHAPE  # known truth: the battery has no solid solution
    assert result.compare_with_mixture(battery.truth.after.pure("vacuum")).found.n_pixels < 5


def test_exchanged_references_are_refused(battery):
    truth = battery.truth.after
    with pytest.raises(ValueError, match="LiFePO4 and FePO4 look exchanged"):
        battery.eels_after.quantify_delithiation(
            {"LiFePO4": truth.pure("FePO4"), "FePO4": truth.pure("LiFePO4")}, show_progressbar=False
        )


@pytest.mark.slow
def test_masks_that_are_not_of_one_phase_are_refused(battery):
    truth = battery.truth.after
    pure = {phase: truth.pure(phase) for phase in ("LiFePO4", "FePO4", "LAGP")}
    with pytest.raises(ValueError, match=r"references\['LiFePO4'\] and references\['LAGP'\] share"):
        battery.eels_after.quantify_delithiation({**pure, "LAGP": pure["LAGP"] | pure["LiFePO4"]})
    everything = np.ones_like(pure["FePO4"]) & ~pure["FePO4"]
    with pytest.raises(ValueError, match=r"references\['LiFePO4'\].*not of one phase"):
        battery.eels_after.quantify_delithiation(
            {"LiFePO4": everything, "FePO4": pure["FePO4"]}, show_progressbar=False
        )
    mixed = pure["LiFePO4"].copy()
    mixed.flat[np.flatnonzero(pure["FePO4"])[::24]] = True
    with pytest.warns(UserWarning, match=r"references\['LiFePO4'\].*Leave out"):
        battery.eels_after.quantify_delithiation(
            {"LiFePO4": mixed, "FePO4": pure["FePO4"] & ~mixed}, show_progressbar=False
        )


def test_a_result_can_be_sent_to_another_process(result):
    assert result.x is not None  # a signal, which cannot
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again.x.data, result.x.data)
    assert again.standard.names == result.standard.names


def test_a_result_is_not_saved_in_part(result, tmp_path):
    with pytest.raises(ValueError, match=r"x\.csv: a result is saved whole in \.hspy or \.zspy"):
        result.save(tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())


def test_a_table_of_a_single_spectrum_has_no_position(result, battery):
    single = battery.eels_after.inav[12, 12].quantify_delithiation(result, show_progressbar=False)
    table = single.to_dataframe()
    assert list(table.columns[:2]) == ["x", "x_std"]
    assert len(table) == 1


def test_a_path_is_not_a_calibration(battery):
    with pytest.raises(TypeError, match=r"hyperspy_assb.load\('d.hspy'\)"):
        battery.eels_after.quantify_delithiation("d.hspy")


def test_another_microscope_is_said(result, battery):
    other = battery.eels_before.deepcopy()
    other.metadata.Acquisition_instrument.TEM.beam_energy = 80.0
    with pytest.warns(UserWarning, match="beam_energy is 80 here, but 200 where the references were recorded"):
        other.quantify_delithiation(result, show_progressbar=False, ensemble=False)


def test_predictions_are_of_the_mixture_and_of_possible_doses(result):
    with pytest.raises(ValueError, match="dose_to_find is about the mixture of references, not 'valence'"):
        result.with_method("valence").dose_to_find(0.05)
    for dose in (0.0, -5.0, np.nan):
        with pytest.raises(ValueError, match="dose must be electrons"):
            result.predict_precision([1e5, dose])
    with pytest.raises(ValueError, match="t_over_lambda must be above 0"):
        result.predict_precision(1e5, t_over_lambda=0.0)
    for power in (0.01, 1.0):
        with pytest.raises(ValueError, match=r"power must lie between 0\.05"):
            result.dose_to_find(0.05, power=power)


def test_masked_references_keep_their_masks(battery):
    energy = battery.eels_after.axes_manager.signal_axes[0].axis
    assert reference_spectra(energy, "FePO4", np.ma.masked_array(np.ones((24, 24), dtype=bool), mask=True)) is None
    spectra = np.ma.masked_array(np.ones((2, energy.size)), mask=False)
    np.testing.assert_array_equal(reference_spectra(energy, "FePO4", spectra), np.ones((2, energy.size)))
    spectra[0, 3] = np.ma.masked
    with pytest.raises(ValueError, match=r"references\['FePO4'\] holds masked values"):
        reference_spectra(energy, "FePO4", spectra)
    with pytest.raises(TypeError, match=r"references\['FePO4'\] holds complex numbers"):
        reference_spectra(energy, "FePO4", np.ones((2, energy.size), dtype=complex))
