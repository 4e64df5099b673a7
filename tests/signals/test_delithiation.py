"""Delithiation of signals: references, errors that name the culprit, files, tables and figures."""

from __future__ import annotations

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from hyperspy_assb.eels.delithiation import DelithiationStatus
from hyperspy_assb.signals.delithiation import elements_of, load_delithiation, reference_mask
from hyperspy_assb.simulation import EELSConditions, micro_battery, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

MAPS = ("x", "x_std", "x_systematic", "significance", "detection_limit", "olivine_fraction", "t_over_lambda", "status")
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
    assert result.method == "valence"
    assert result.standard.elements == ("Li", "Fe", "P", "Al", "Ge", "C")


def test_an_empty_pixel_is_not_fitted(result):
    assert result.status.data[EMPTY] == DelithiationStatus.NOT_FITTED
    for name in ("x", "x_std", "x_systematic", "significance", "detection_limit", "olivine_fraction", "t_over_lambda"):
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


def test_the_model_is_that_of_the_signal(result):
    assert result.model["Li_K"].areal_density.map["values"].shape == (24, 24)
    for component, name in result.standard.shapes:
        assert not getattr(result.model[component], name).free


def test_a_table_of_pixels(result):
    table = result.to_dataframe()
    assert len(table) == 24 * 24
    assert list(table.columns) == ["y index", "y (nm)", "x index", "x (nm)", *MAPS]
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
def test_everything_but_the_model_survives_a_file(result, tmp_path, extension):
    path = tmp_path / f"x.{extension}"
    result.save(path)
    loaded = load_delithiation(path)
    for name in MAPS:
        one, two = getattr(loaded, name), getattr(result, name)
        np.testing.assert_array_equal(one.data, two.data)
        assert one.data.dtype == two.data.dtype
        assert one.axes_manager.navigation_shape == two.axes_manager.navigation_shape
        for a, b in zip(one.axes_manager.navigation_axes, two.axes_manager.navigation_axes, strict=True):
            assert (a.name, a.units, a.scale) == (b.name, b.units, b.scale)
    assert loaded.method == result.method
    assert loaded.model is None
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
    with pytest.raises(ValueError, match="holds no delithiation result"):
        load_delithiation(tmp_path / "other.hspy")


# ------------------------------------------------------------------------------------------- the calibration of another


def test_a_calibration_serves_another_signal(result, battery, tmp_path):
    before = battery.eels_before.inav[:12, :12]
    direct = before.quantify_delithiation(result, show_progressbar=False)
    result.save(tmp_path / "after.hspy")
    loaded = before.quantify_delithiation(load_delithiation(tmp_path / "after.hspy"), show_progressbar=False)
    np.testing.assert_array_equal(direct.x.data, loaded.x.data)
    np.testing.assert_array_equal(direct.status.data, loaded.status.data)
    assert direct.x.data.shape == (12, 12)
    assert direct.standard is result.standard
    truth = battery.truth.before
    sure = np.isfinite(direct.x.data) & (truth.olivine[:12, :12] > 0.5)
    assert np.median((direct.x.data - truth.x[:12, :12])[sure]) == pytest.approx(0.0, abs=0.05)  # known truth


def test_a_calibration_for_another_range_is_refused(result, battery):
    with pytest.raises(ValueError, match="same energy range"):
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
        np.testing.assert_array_equal(reference_mask(signal, "LiFePO4", where), mask)
    point = np.zeros((24, 24), dtype=bool)
    point[3, 5] = True
    np.testing.assert_array_equal(reference_mask(signal, "LAGP", hs.roi.Point2DROI(5 * scale, 3 * scale)), point)


def test_regions_of_a_line(battery):
    line = battery.eels_after.inav[:, 4]
    scale = line.axes_manager[0].scale
    mask = np.zeros(24, dtype=bool)
    mask[3:9] = True
    np.testing.assert_array_equal(reference_mask(line, "LAGP", hs.roi.SpanROI(3 * scale, 9 * scale)), mask)


def test_a_circle_is_round(battery):
    scale = battery.eels_after.axes_manager[0].scale
    circle = hs.roi.CircleROI(cx=12 * scale, cy=12 * scale, r=5 * scale)
    mask = reference_mask(battery.eels_after, "LAGP", circle)
    y, x = np.nonzero(mask)
    assert mask.sum() == pytest.approx(np.pi * 25, rel=0.2)
    assert np.all(np.hypot(y - y.mean(), x - x.mean()) <= 5.5)


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        (np.ones((24, 24)), TypeError, "boolean array.*float64"),
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
    assert elements_of(["carbon", "LAGP"]) == ("Li", "Fe", "P", "Al", "Ge", "C")


# ------------------------------------------------------------------------------------------------------- bad signals


def test_unknown_methods(battery, references):
    with pytest.raises(ValueError, match="'valence', 'lithium', not 'band'"):
        battery.eels_after.quantify_delithiation(references, "band")


def test_the_range_must_reach_lithium(battery, references):
    with pytest.raises(ValueError, match="Fe M2,3 and Li K"):
        battery.eels_after.isig[:65.0].quantify_delithiation(references)


def test_nan_is_refused(battery, references):
    signal = battery.eels_after.deepcopy()
    signal.data[4, 5, 6] = np.nan
    with pytest.raises(ValueError, match=r"NaN|finite"):
        signal.quantify_delithiation(references)


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
