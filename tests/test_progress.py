"""Bars of long calls."""

from __future__ import annotations

import hyperspy.api as hs
import pytest

from hyperspy_assb.eels.comparison.options import ComparisonOptions
from hyperspy_assb.progress import counted, counting, progress_bar
from hyperspy_assb.simulation import micro_battery
from hyperspy_assb.simulation.series import SeriesConditions, simulate_series


@pytest.fixture(scope="module")
def battery():
    return micro_battery(shape=(6, 6), seed=1, signal_type="EELS_ASSB", edx_signal_type="EDS_TEM_ASSB")


@pytest.fixture(scope="module")
def series():
    return simulate_series(SeriesConditions(frames=4, size=128), seed=1)[0]


LONG = {
    "compare_low_loss": lambda b, s, **show: b.eels_before.compare_low_loss(
        b.eels_after, options=ComparisonOptions(permutations=19), **show
    ),
    "quantify_phases": lambda b, s, **show: b.edx_after.quantify_phases(**show),
    "segment_grains": lambda b, s, **show: s.segment_grains(**show),
    "find_cracks": lambda b, s, **show: s.find_cracks(**show),
}


@pytest.mark.filterwarnings("ignore::hyperspy_assb.errors.AssbWarning")
@pytest.mark.parametrize("call", LONG)
def test_long_calls_show_a_bar_and_end_it(call, battery, series, capsys):
    LONG[call](battery, series, show_progressbar=True)
    assert "100%" in capsys.readouterr().err
    LONG[call](battery, series, show_progressbar=False)
    assert capsys.readouterr().err == ""


def test_steps_follow_each_other_in_one_bar(capsys):
    with progress_bar("whole", True):
        for _ in counted("abc", 3, "letters"):
            pass
        with progress_bar("inner", True), counting("numbers", 2) as advance:
            advance(2)
    shown = capsys.readouterr().err
    assert "letters:   0%" in shown
    assert "numbers: 100%" in shown
    assert shown.count("\n") == 1


def interrupted():
    with progress_bar("inner"):
        items = counted([2, 3], 5, size=int)
        next(items)
        next(items)
        raise KeyboardInterrupt


def test_what_reports_gets_everything_and_is_left_afterwards():
    said = []
    with progress_bar("outer", report=lambda *a: said.append(a)):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        list(counted([1], 1))
    assert said == [("inner", 0, 5), ("inner", 2, 5), ("outer", 0, 1), ("outer", 1, 1)]
    list(counted([1], 1, "nobody"))
    assert len(said) == 4


def test_an_interrupt_stays_one():
    inner = SystemError("returned a result with an exception set")
    inner.__cause__ = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), progress_bar("fit", False):
        raise SystemError("returned a result with an exception set") from inner
    with pytest.raises(SystemError), progress_bar("fit", False):
        raise SystemError("another")


def test_calls_inside_a_silent_one_are_silent(capsys):
    with progress_bar("outer", False), progress_bar("inner", True), counting("numbers", 2) as advance:
        advance(2)
    assert capsys.readouterr().err == ""


def test_preference_of_hyperspy_is_followed(monkeypatch, capsys):
    for show in (False, True):
        monkeypatch.setattr(hs.preferences.General, "show_progressbar", show)
        with progress_bar("step"):
            pass
        assert ("step" in capsys.readouterr().err) is show
