"""The dose of scans, and that comparisons have it beside them."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb.provenance import compare_doses, dose, series_dose
from hyperspy_assb.signals.beam_dose import dose_of

CHARGE = 1.602176634e-19


def scan(**stated: object) -> hs.signals.Signal1D:
    signal = hs.signals.Signal1D(np.zeros((3, 4, 8)))
    for axis in signal.axes_manager.navigation_axes:
        axis.scale, axis.units = 5.0, "nm"
    for item, value in stated.items():
        signal.metadata.set_item(item.replace("__", "."), value)
    return signal


TEM = "Acquisition_instrument__TEM__"


@pytest.mark.parametrize(
    "item", ["Detector__EELS__dwell_time", "Detector__Camera__exposure", "Detector__EDS__live_time"]
)
def test_dose_follows_from_current_time_and_pixels(item: str) -> None:
    found = dose_of(scan(**{f"{TEM}beam_current": 0.05, f"{TEM}{item}": 0.02}))
    assert found["electrons"] == pytest.approx(0.05e-9 * 0.02 / CHARGE)
    assert found["electrons per nm²"] == pytest.approx(found["electrons"] / 25.0)


@pytest.mark.parametrize(
    "stated", [{}, {f"{TEM}beam_current": 0.0, f"{TEM}dwell_time": 0.02}, {f"{TEM}beam_current": 0.05}]
)
def test_dose_that_is_not_known_is_none_and_never_nothing(stated: dict[str, float]) -> None:
    assert dose_of(scan(**stated)) == {"electrons": None, "electrons per nm²": None}


def test_stated_dose_comes_first() -> None:
    found = dose_of(scan(**{"ASSB__dose": 7.0, f"{TEM}beam_current": 0.05, f"{TEM}dwell_time": 0.02}))
    assert found["electrons per nm²"] == 7.0


def test_pixels_without_a_length_have_no_dose_per_area() -> None:
    signal = scan(**{f"{TEM}beam_current": 0.05, f"{TEM}dwell_time": 0.02})
    for axis in signal.axes_manager.navigation_axes:
        axis.units = ""
    assert dose_of(signal)["electrons per nm²"] is None
    assert dose_of(signal)["electrons"] > 0.0


def test_doses_in_words() -> None:
    known, unknown = dose(0.05, 0.02, 25.0), dose()
    assert compare_doses({"before": known, "after": known}).startswith(
        "Electrons per nm²: 2.5e+05 before, 2.5e+05 after."
    )
    told = compare_doses({"before": unknown, "after": known})
    assert told.startswith("The dose of before is not known")
    assert "cannot be separated" in told
    assert series_dose(None, 3)["electrons per nm²"] is None
