"""Regions of a result: every way to name them, and errors that name the culprit."""

from __future__ import annotations

import dataclasses

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus, LithiatedFraction
from hyperspy_assb.eels.delithiation.populations import PopulationStatus
from hyperspy_assb.eels.delithiation.prediction import dose_to_find
from hyperspy_assb.eels.delithiation.quantification import Quantification
from hyperspy_assb.eels.delithiation.region_statistics import find_excess
from hyperspy_assb.errors import AssbTypeError
from hyperspy_assb.reference import electrode
from hyperspy_assb.signals.eels.delithiated_pixels import DelithiatedPixels, FindStatus
from hyperspy_assb.signals.eels.delithiation import Delithiation
from hyperspy_assb.signals.eels.mean_spectra import mean_spectrum
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

SHAPE = (12, 10)
SCALE = 5.0


def as_map(values):
    signal = hs.signals.BaseSignal(np.asarray(values)).T
    for axis, name in zip(signal.axes_manager.navigation_axes, "xy", strict=True):
        axis.name, axis.units, axis.scale = name, "nm", SCALE
    return signal


@pytest.fixture
def result(rng):
    """Left half FePO4, right half LiFePO4, the last row without olivine."""
    truth = np.where(np.arange(SHAPE[1]) < 5, 0.0, 1.0) * np.ones(SHAPE)
    x = truth + 0.05 * rng.standard_normal(SHAPE)
    status = np.zeros(SHAPE, dtype=np.int8)
    x[-1], status[-1] = np.nan, DelithiationStatus.NO_ELECTRODE
    status[0, 0] = DelithiationStatus.THICK
    maps = {
        "fraction": x,
        "fraction_std": np.where(np.isnan(x), np.nan, 0.05),
        "fraction_systematic": np.where(np.isnan(x), np.nan, 0.02),
        "significance": x / 0.05,
        "detection_limit": np.full(SHAPE, 0.2),
        "electrode_share": np.where(np.isnan(x), 0.0, 0.8),
        "t_over_lambda": np.full(SHAPE, 0.5),
    }
    flat = {name: np.ravel(values) for name, values in maps.items()}
    thickness = flat.pop("t_over_lambda")
    valence = LithiatedFraction(**flat, status=status.ravel())
    lithium = dataclasses.replace(valence, significance=flat["fraction"] / flat["fraction_std"])
    nothing = np.zeros((thickness.size, 0))
    found = Quantification(
        contents={"valence": valence, "lithium": lithium},
        amounts=nothing,
        amounts_std=nothing,
        t_over_lambda=thickness,
        reduced_deviance=thickness,
        agreement=thickness,
        residual=nothing,
        struck=np.zeros(thickness.shape, dtype=bool),
        explained=thickness,
        outside=np.zeros((thickness.size, 3), dtype=bool),
    )
    axes = as_map(x).axes_manager._get_navigation_axes_dicts()
    standard = object()  # there is one, and nothing here looks into it
    return Delithiation(found, electrode("LixFePO4"), "valence", standard, axes=tuple(axes))


def left():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:-1, :5] = True
    return mask


def test_the_whole_image(result):
    table = result.to_dataframe({"whole image": np.ones(SHAPE, dtype=bool)})
    assert table.index.tolist() == ["whole image"]
    assert table.index.name == "region"
    row = table.iloc[0]
    assert (row["n_pixels"], row["n_answered"]) == (120, 110)
    assert (row["quantified"], row["thick"], row["no_electrode"], row["not_fitted"]) == (109, 1, 10, 0)
    assert row["x"] == pytest.approx(0.5, abs=0.02)
    assert row["x"] == pytest.approx(np.nanmean(result.x.data))  # the same number of formula units everywhere
    assert row["x_systematic"] == pytest.approx(0.02)
    assert row["t_over_lambda"] == 0.5


def test_all_ways_to_name_a_region_are_one(result):
    mask = left()
    region = hs.roi.RectangularROI(left=0.0, top=0.0, right=5 * SCALE, bottom=11 * SCALE)
    labels = mask.astype(np.uint8)
    expected = result.to_dataframe(mask).iloc[0]
    assert expected["n_pixels"] == 55
    for where in (as_map(mask), mask.tolist(), region, labels, as_map(labels), {"left": mask}, {"left": region}):
        row = result.to_dataframe(where).iloc[0]
        np.testing.assert_array_equal(row.to_numpy(float), expected.to_numpy(float))


def test_names(result):
    labels = np.where(left(), 1, 4)
    assert result.to_dataframe(labels).index.tolist() == ["1", "4"]
    assert result.to_dataframe(labels, names={1: "rim", 4: "core"}).index.tolist() == ["rim", "core"]
    both = result.to_dataframe({"left": left(), "grain": labels})
    assert both.index.tolist() == ["left", "grain 1", "grain 4"]
    assert both.loc["left"].equals(both.loc["grain 1"])


def test_a_region_without_olivine_has_no_x_and_says_why(result):
    bottom = np.zeros(SHAPE, dtype=bool)
    bottom[-1] = True
    row = result.to_dataframe({"bottom": bottom, "left": left()}).loc["bottom"]
    assert np.isnan(row["x"])
    assert row["no_electrode"] == row["n_pixels"] == 10
    with pytest.raises(ValueError, match=r"Only 0 of the 10 pixels have an x.*that contains the electrode.*status"):
        result.fit_populations(bottom)


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ({"rim": np.zeros(SHAPE, dtype=bool)}, ValueError, r"region\['rim'\] names no pixel"),
        ({"rim": np.ones((3, 3), dtype=bool)}, ValueError, r"region\['rim'\] has the shape \(3, 3\).*\(12, 10\)"),
        (np.ones((3, 3), dtype=int), ValueError, r"region has the shape \(3, 3\).*\(12, 10\)"),
        (np.zeros(SHAPE, dtype=int), ValueError, "no region"),
        (np.ones(SHAPE), TypeError, "region must be a boolean array.*float64"),
        ("rim", TypeError, "region must be a boolean array"),
    ],
)
def test_wrong_regions_are_named(result, where, error, message):
    with pytest.raises(error, match=message):
        result.to_dataframe(where)


def test_populations_of_regions(result):
    whole = result.fit_populations()
    assert (whole.status, whole.found.n_pixels, whole.found.n_left_out) == (PopulationStatus.TWO_PHASE, 110, 10)
    np.testing.assert_allclose(whole.found.two.share, 0.5, atol=0.01)
    assert result.fit_populations(left()).status is PopulationStatus.ONE_PHASE
    with pytest.raises(TypeError, match="region must be a boolean array"):
        result.fit_populations(np.ones(SHAPE))


def test_the_delithiated_member_is_found(result):
    finds = result.find_delithiated()
    assert (finds.fdr, finds.delithiated) == (0.05, "FePO4")
    assert finds.found.data.dtype == bool
    for signal in (finds.p_value, finds.q_value, finds.found):
        assert signal.axes_manager.navigation_shape == (10, 12)
        assert signal.axes_manager.navigation_axes[0].units == "nm"
        assert signal.metadata.General.title
    assert finds.found.data[left()].all()
    assert finds.found.data[:-1, 5:].mean() < 0.1
    assert np.isnan(finds.p_value.data[-1]).all()
    assert not finds.found.data[-1].any()


def test_the_method_of_the_result_does_not_matter(result):
    """The significance of method "lithium" is of Li: it is not what is asked here."""
    lithium = result.with_method("lithium")
    np.testing.assert_array_equal(lithium.find_delithiated().found.data, result.find_delithiated().found.data)


# ---------------------------------------------------------------------------------------------------- mean spectra


@pytest.fixture(scope="module")
def spectra():
    conditions = EELSConditions()
    data = simulate_spectra({"LiFePO4": np.full((3, 4), 60.0)}, conditions, 3, dose=1e6)
    return spectra_to_signal(data, conditions, signal_type="EELS_ASSB")


def test_mean_of_a_region(spectra):
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 1:] = True
    found = mean_spectrum(spectra, mask)
    assert found.n_pixels == 3
    assert abs(found.energy[np.argmax(found.density)]) < spectra.axes_manager.signal_axes[0].scale
    whole = mean_spectrum(spectra)
    assert whole.n_pixels == 12
    assert np.median(whole.std) == pytest.approx(0.5 * np.median(found.std), rel=0.3)
    # Twice the thickness: half the density per t/lambda, but for the zero loss that is left.
    one, two = (mean_spectrum(spectra, t_over_lambda=np.full((3, 4), t)) for t in (0.2, 0.4))
    np.testing.assert_allclose(one.density, 2 * np.exp(-0.2) * two.density)


def test_a_lazy_signal_and_a_single_spectrum(spectra):
    np.testing.assert_allclose(mean_spectrum(spectra.as_lazy()).density, mean_spectrum(spectra).density)
    assert mean_spectrum(spectra.inav[0, 0]).n_pixels == 1


def test_wrong_regions_of_spectra(spectra):
    with pytest.raises(ValueError, match=r"region has the shape \(2, 2\)"):
        mean_spectrum(spectra, np.ones((2, 2), dtype=bool))


def test_pixels_say_what_is_known_of_them():
    found = DelithiatedPixels(find_excess([6.0, 0.3, np.nan]), 0.05, "FePO4", axes=({"name": "x", "size": 3},))
    assert found.status.data.tolist() == [FindStatus.DELITHIATED, FindStatus.NOT_FOUND, FindStatus.NO_ANSWER]
    assert found.to_dataframe()["status"].tolist() == ["delithiated", "not_found", "no_answer"]
    row = found.to_dataframe(np.array([True, True, False])).loc["region"]
    assert row[["found", "n_pixels", "delithiated", "not_found", "no_answer"]].tolist() == [0.5, 2, 1, 1, 0]


@pytest.mark.parametrize("fdr", ["x", None, [0.05]])
def test_a_rate_that_is_no_number_is_named(fdr):
    with pytest.raises(AssbTypeError, match="fdr must be a number between 0 and 1"):
        find_excess([6.0], fdr=fdr)


@pytest.mark.parametrize("name", ["share", "power", "alpha"])
def test_shares_and_probabilities_are_numbers(name):
    with pytest.raises(AssbTypeError, match=f"{name} must be a number between 0 and 1, not 'x'"):
        dose_to_find(object(), **{"share": 0.5, name: "x"})
