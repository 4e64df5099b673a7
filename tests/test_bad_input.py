"""Whatever is wrong with a signal, every public entry point says so clearly, flags it, or gives the right result."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import bad_input
import hyperspy.api as hs
import numpy as np
import pytest
from bad_input import Damage, EntryPoint, Outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.models import recorded_signal

READERS = {
    "ASSBEELSSpectrum": "ASSBEELSSpectrum.find_empty_pixels()",
    "ASSBEDSTEMSpectrum": "ASSBEDSTEMSpectrum.prepare_battery_lines()",
    "ACOMPatterns": "ACOMPatterns.virtual_bright_field()",
    "ASSBSTEMSeries": "ASSBSTEMSeries.dose",
    "ASSBVoltammogram": "ASSBVoltammogram.sweeps",
}
"""The cheapest entry point of each class that reads a signal as the others do."""


def entry_point(name: str) -> EntryPoint:
    return next(entry for entry in bad_input.entry_points() if entry.name == name)


# ------------------------------------------------------- exact: what is read


def signal(**metadata: Any) -> hs.signals.Signal1D:
    s = hs.signals.Signal1D(np.ones((2, 3, 8)))
    for name, value in metadata.items():
        s.metadata.set_item(f"General.{name}", value)
    return s


@pytest.mark.parametrize(
    ("value", "number"),
    [(5, 5.0), (np.float32(2.5), 2.5), (np.array([3.0]), 3.0), (np.array(4), 4.0), (float("nan"), None), (None, None)],
)
def test_numbers_of_metadata(value: Any, number: float | None) -> None:
    assert recorded_signal.recorded_number(signal(energy=value), "General.energy") == number


@pytest.mark.parametrize("value", ["200 kV", [1.0, 2.0], {"value": 1.0}, True, 1j, b"1", np.arange(3.0), np.inf, -1.0])
def test_what_is_no_number_is_named(value: Any) -> None:
    with pytest.raises(AssbValueError, match=r"metadata\.General\.energy is .*: set it, or remove it"):
        recorded_signal.recorded_number(signal(energy=value), "General.energy")


def test_one_name_is_a_name_and_not_its_letters() -> None:
    assert recorded_signal.recorded_names(signal(elements="Fe"), "General.elements") == ("Fe",)
    assert recorded_signal.recorded_names(signal(elements=np.array(["Fe", "P"])), "General.elements") == ("Fe", "P")
    with pytest.raises(AssbValueError, match="list of names"):
        recorded_signal.recorded_names(signal(elements=[26, 15]), "General.elements")


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_pixels_that_cannot_be_used_are_empty(value: float, lazy: bool) -> None:
    s = signal()
    s.data[1, 2, 5] = value
    s = s.as_lazy() if lazy else s
    with pytest.warns(AssbWarning, match="in 1 of 6 pixels"):
        found = np.asarray(recorded_signal.recorded_data(s))
    assert not found[1, 2].any()
    assert found.sum() == 5 * 8
    assert not np.isfinite(np.asarray(s.data)).all() or value == 1e300, "the signal stays as it is"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.full((2, 8), np.nan), "all of its 2 pixels"),
        (np.ones((2, 8), dtype=complex), "complex128"),
        (np.ones((2, 8), dtype=object), "object"),
        (np.ones((2, 8), dtype="U3"), "<U3"),
        (np.ones((2, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour"),
        (np.ones((0, 8)), "empty"),
    ],
)
def test_data_that_cannot_be_used_are_named(data: Any, words: str) -> None:
    s = hs.signals.Signal1D(np.ones((2, 8)))
    s.data = data
    with pytest.raises(AssbValueError, match=words):
        recorded_signal.recorded_data(s)


@pytest.mark.parametrize(("kind", "read"), [("f2", "f4"), (">f8", "f8"), (">u2", "u2"), ("?", "u1"), ("g", "f8")])
def test_numbers_become_those_of_the_machine(kind: str, read: str) -> None:
    s = hs.signals.Signal1D(np.ones((2, 8), dtype=kind))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if kind == "f2" else "error")
        assert recorded_signal.recorded_data(s).dtype == np.dtype(read)


@pytest.mark.parametrize(("scale", "offset"), [(0.0, 0.0), (np.nan, 0.0), (np.inf, 0.0), (1.0, np.nan), (1.0, 1e300)])
def test_axes_without_a_scale_are_named(scale: float, offset: float) -> None:
    axis = signal().axes_manager.signal_axes[0]
    axis.scale, axis.offset = scale, offset
    with pytest.raises(AssbValueError, match=r"energy axis.*scale"):
        recorded_signal.check_axis(axis, "energy axis")


# ---------------------------------------------------- the table: all damage


def wrong(entry: EntryPoint, damages: Sequence[Damage]) -> dict[str, Outcome]:
    return {str(d): o for d in damages if not (o := bad_input.judge(entry, d)).allowed}


@pytest.mark.parametrize("kind", bad_input.kinds())
def test_some_damage_meets_the_reader_of_its_class(kind: str) -> None:
    assert wrong(entry_point(READERS[kind]), bad_input.damages(kind)[::9]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", bad_input.kinds())
def test_every_damage_meets_the_reader_of_its_class(kind: str) -> None:
    assert wrong(entry_point(READERS[kind]), bad_input.damages(kind)) == {}


CHOSEN = ("NaN in one pixel", "NaN in all", "data of object", "data of complex", "unknown chunks", "no pixel")


@pytest.mark.slow
@pytest.mark.parametrize("entry", bad_input.entry_points(), ids=str)
def test_every_entry_point_meets_the_worst_damage(entry: EntryPoint) -> None:
    damages = [d for d in bad_input.damages(entry.kind) if d.name in CHOSEN]
    assert len(damages) == len(CHOSEN)
    assert wrong(entry, damages) == {}


# ------------------------------------------------ hypothesis: any entry point


def cases(quick: bool) -> st.SearchStrategy[tuple[EntryPoint, Damage]]:
    entries = [e for e in bad_input.entry_points() if not quick or e.name in READERS.values() or e.name in QUICK]
    return st.sampled_from(entries).flatmap(
        lambda entry: st.sampled_from(bad_input.damages(entry.kind)).map(lambda damage: (entry, damage))
    )


QUICK = (
    "ASSBEELSSpectrum.check_microscope_parameters()",
    "ASSBEELSSpectrum.estimate_zero_loss()",
    "ASSBEDSTEMSpectrum.get_take_off_angle()",
    "ASSBSTEMSeries.set_potential(cv, offset)",
    "ACOMPatterns.set_diffraction_calibration()",
    "multifit[ASSBEELSSpectrum](model)",
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(quick=True))
def test_damage_of_any_kind(case: tuple[EntryPoint, Damage]) -> None:
    outcome = bad_input.judge(*case)
    assert outcome.allowed, (outcome, *map(str, case))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(quick=False))
def test_damage_of_any_kind_at_any_entry_point(case: tuple[EntryPoint, Damage]) -> None:
    outcome = bad_input.judge(*case)
    assert outcome.allowed, (outcome, *map(str, case))


# ----------------------------------------------------------- the list itself


def test_entry_points_are_found_in_the_package() -> None:
    names = [entry.name for entry in bad_input.entry_points()]
    assert len(names) == len(set(names)) > 60
    for part in ("quantify_delithiation(references)", "index_orientations(bank)", "multifit[", "load_patterns(path)"):
        assert any(part in name for name in names), part


def test_a_new_entry_point_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    from hyperspy_assb.signals import ASSBEELSSpectrum

    def careless(self: Any) -> float:
        return float(self.metadata.get_item("Acquisition_instrument.TEM.beam_energy"))

    monkeypatch.setattr(ASSBEELSSpectrum, "careless", careless, raising=False)
    found = bad_input.entry_points.__wrapped__()
    entry = next(e for e in found if e.name == "ASSBEELSSpectrum.careless()")
    damage = next(d for d in bad_input.damages(entry.kind) if d.name.endswith("beam_energy is text"))
    assert bad_input.judge(entry, damage).word == "foreign error"

    def untaught(self: Any, unheard: float) -> float:
        return unheard

    monkeypatch.setattr(ASSBEELSSpectrum, "careless", untaught)
    with pytest.raises(LookupError, match=r"careless needs .*unheard"):
        bad_input.entry_points.__wrapped__()


def test_silence_is_seen() -> None:
    entry = EntryPoint("sum", "ASSBEELSSpectrum", lambda s: np.nansum(s.data))
    damage = next(d for d in bad_input.damages("ASSBEELSSpectrum") if d.name == "NaN in one pixel")
    assert bad_input.judge(entry, damage) == Outcome("silent", "another result, and nothing said")
