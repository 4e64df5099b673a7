"""Regions by every way of naming them: none is lost, and what cannot be meant is refused by name."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.signals.region_mask import region_mask, region_masks

LEFT = np.arange(24).reshape(4, 6) % 6 < 2
LABELS = np.where(LEFT, 1, 2)


@pytest.fixture
def signal():
    axes = [{"name": name, "size": size, "scale": 2.0, "navigate": True} for name, size in (("y", 4), ("x", 6))]
    return hs.signals.Signal1D(np.ones((4, 6, 8)), axes=[*axes, {"name": "E", "size": 8}])


@pytest.mark.parametrize("labels", [LABELS, hs.signals.BaseSignal(LABELS).transpose(signal_axes=0)])
def test_labels_and_masks_in_one_dictionary(signal, labels):
    found = region_masks(signal, {"p": labels, "q": LEFT}, names=["left", "right"])
    assert list(found) == ["p left", "p right", "q"]
    np.testing.assert_array_equal(found["p right"], ~LEFT)
    np.testing.assert_array_equal(found["q"], LEFT)


@pytest.mark.parametrize(
    ("region", "name"),
    [({"p": LABELS, "p 1": ~LEFT}, "'p 1'"), ({1: LEFT, "1": ~LEFT}, "'1'"), ({"p 2": LEFT, "p": LABELS}, "'p 2'")],
)
def test_no_region_is_lost_to_another_of_its_name(signal, region, name):
    with pytest.raises(AssbValueError, match=f"Two regions have the same name {name} in region"):
        region_masks(signal, region)


def test_two_labels_of_one_name(signal):
    with pytest.raises(AssbValueError, match="Two regions have the same name '2'"):
        region_masks(signal, LABELS, names={1: "2"})


def test_masked_pixels_are_in_no_region(signal):
    everywhere = np.ma.masked_array(np.ones((4, 6), dtype=bool), mask=~LEFT)
    np.testing.assert_array_equal(region_mask(signal, everywhere), LEFT)
    as_signal = hs.signals.BaseSignal(np.zeros((4, 6), dtype=bool)).transpose(signal_axes=0)
    as_signal.data = everywhere
    np.testing.assert_array_equal(region_mask(signal, as_signal), LEFT)
    labels = np.ma.masked_array(LABELS, mask=np.arange(24).reshape(4, 6) < 6)
    found = region_masks(signal, labels)
    assert {name: int(mask.sum()) for name, mask in found.items()} == {"1": 6, "2": 12}
    with pytest.raises(AssbValueError, match="region names no pixel"):
        region_mask(signal, np.ma.masked_array(LEFT, mask=True))


@pytest.mark.parametrize("region", [LEFT, {"left": LEFT}, None, hs.roi.RectangularROI(0.0, 0.0, 4.0, 8.0)])
def test_names_are_of_labels_alone(signal, region):
    with pytest.raises(AssbValueError, match="names= are of the labels"):
        region_masks(signal, region, names=["left"])


@pytest.mark.parametrize("names", ["ab", b"ab", 5, {"1": "left"}, [1, 2], {1: None}])
def test_names_that_are_none(signal, names):
    with pytest.raises(AssbTypeError, match="names= must be a list of names"):
        region_masks(signal, LABELS, names=names)


@pytest.mark.parametrize(
    "roi",
    [
        hs.roi.RectangularROI(100.0, 100.0, 120.0, 120.0),
        hs.roi.Point2DROI(50.0, 2.0),
        hs.roi.CircleROI(500.0, 500.0, 2.0),
        hs.roi.RectangularROI(),
    ],
)
def test_a_roi_that_does_not_fit_is_named(signal, roi):
    with pytest.raises(AssbValueError, match=r"references\['LFP'\]"):
        region_mask(signal, roi, name="references['LFP']")


def test_a_roi_of_two_dimensions_does_not_fit_a_line(signal):
    message = r"region, the RectangularROI .*\(x from 0 to 10\): give an ROI of 1 dimension"
    with pytest.raises(AssbValueError, match=message):
        region_mask(signal.inav[:, 0], hs.roi.RectangularROI(0.0, 0.0, 4.0, 8.0))
