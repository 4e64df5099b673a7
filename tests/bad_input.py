"""Damaged signals, and every public entry point that takes one: what the tests and the table of bad input run.

Entry points are not named here: they are the public methods and properties of the registered signals and of their
models, and the functions of the package that take a signal, a model or a file. A new one is met by its signature; if it
needs an argument that nothing here makes, the test says so.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pandas as pd
import yaml

import hyperspy_assb
from hyperspy_assb.errors import AssbError, AssbWarning

PACKAGE = Path(hyperspy_assb.__file__).parent
TEM = "Acquisition_instrument.TEM."

# --------------------------------------------------------------- signals


@cache
def _battery() -> Any:
    from hyperspy_assb.simulation import micro_battery

    return micro_battery(shape=(2, 3), seed=6)


def _columns() -> Any:
    """Rows of LiFePO4, of FePO4, and of both."""
    from hyperspy_assb.simulation import EELSConditions, simulate_spectra
    from hyperspy_assb.simulation.battery import spectra_to_signal

    x = np.repeat([[1.0], [0.0], [0.5]], 6, axis=1)
    nm = np.tile(np.linspace(30.0, 80.0, 6), (3, 1))
    counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
    signal = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
    signal.data = signal.data.astype(np.float64)
    return signal


@cache
def _good(kind: str) -> Any:
    if kind == "ASSBEELSSpectrum":
        signal = _columns()
    elif kind == "ASSBEDSTEMSpectrum":
        from hyperspy_assb.simulation import InterfaceOptions, simulate_interface

        scene = InterfaceOptions(width=8.0, shape=(4, 16))
        signal = simulate_interface(scene, rng=1, signal_type="EDS_TEM_ASSB").signal
        signal.data = signal.data.astype(np.float64)
    elif kind == "ACOMPatterns":
        signal = _battery().patterns_after.deepcopy()
        signal.data = np.round(np.asarray(signal.data, dtype=np.float64))
        signal.metadata.set_item(TEM + "precession_angle", 0.7)
    elif kind == "ASSBSTEMSeries":
        from hyperspy_assb.simulation.series import SeriesConditions, simulate_series

        signal, _ = simulate_series(SeriesConditions(frames=10, size=176, oversampling=2), seed=1)
        signal.set_dose(beam_current=0.05, dwell_time=2e-6)
        signal.data = signal.data.astype(np.float64)
    elif kind == "ASSBVoltammogram":
        from hyperspy_assb.simulation.series import simulate_voltammogram

        signal = simulate_voltammogram(seed=1)
    else:
        raise LookupError(f"tests/bad_input.py makes no {kind}: teach _good() how.")
    return signal


def good(kind: str) -> Any:
    """A small signal of a class, with nothing wrong."""
    return _good(kind).deepcopy()


def kinds() -> list[str]:
    """Signal classes of the package that are not lazy."""
    listed = yaml.safe_load((PACKAGE / "hyperspy_extension.yaml").read_text("utf-8"))["signals"]
    return [name for name, entry in listed.items() if not entry.get("lazy")]


# ---------------------------------------------------------- entry points


@dataclass(frozen=True)
class EntryPoint:
    """Something public that takes a signal of a class."""

    name: str
    kind: str
    call: Callable[[Any], Any]

    def __str__(self) -> str:
        return self.name


def _row(signal: Any, number: int) -> Any:
    mask = np.zeros(signal.axes_manager._navigation_shape_in_array, dtype=bool)
    mask[number : number + 1] = True
    return mask


@cache
def _bank() -> Any:
    from hyperspy_assb.acom import simulate_bank

    return simulate_bank(["lfp", "fp"], resolution=8.0)


def _model(signal: Any, *, fitted: bool = True) -> Any:
    """A plain model of any one-dimensional signal."""
    try:
        model = signal.create_model(auto_background=False, **_more(signal))
        model.append(hs.model.components1D.Offset(offset=50.0))
    # HyperSpy's own, which knows nothing of this package.
    except Exception as error:
        raise NotPossible from error
    if fitted:
        hyperspy_assb.multifit(model, show_progressbar=False)
    return model


def _more(signal: Any) -> dict[str, Any]:
    return {"auto_add_edges": False} if hasattr(signal, "create_low_loss_model") else {"auto_add_lines": False}


def _corner(signal: Any) -> Any:
    return np.indices(signal.data.shape[1:]).sum(axis=0) < 150


def _saved(signal: Any) -> Path:
    path = Path(tempfile.mkdtemp(prefix="bad input ")) / "damaged signal.hspy"
    signal.save(path, file_format="HSPY")
    return path


ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "after": lambda s: good(type(s).__name__.removeprefix("Lazy")),
    "bank": lambda s: _bank(),
    "cv": lambda s: _good("ASSBVoltammogram"),
    "dose": lambda s: 1e5,
    "intervals": lambda s: [(t, t + 60.0) for t in np.arange(0.0, 2000.0, 120.0)],
    "low_loss": lambda s: s,
    "model": _model,
    "n": lambda s: 2,
    "offset": lambda s: (100.0, 1.0),
    "path": _saved,
    "probe": lambda s: 1.5,
    "references": lambda s: {"LFP": _row(s, 0), "FP": _row(s, 1)},
    "times": lambda s: 2.5,
}
"""What stands for an argument, by its name; one that is optional is left out in a first call, and given in a second."""
BY_KIND: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("ASSBSTEMSeries", "region"): lambda s: {"corner": _corner(s)},
    ("ASSBSTEMSeries.kymograph", "line"): lambda s: [(40.0, 10.0), (40.0, 120.0)],
    ("ASSBSTEMSeries.segment_grains", "region"): lambda s: _corner(s),
    ("predict_precision", "model"): lambda s: _model(s, fitted=False),
}
"""The same where it depends on what is called."""
CHEAP: dict[str, Any] = {"show_progressbar": False, "ensemble": False}
"""Given wherever they can be."""
NOT_OF_A_SIGNAL = {
    "add_materials": "takes a table of materials",
    "batch": "takes a recipe; each of its steps is an entry point of its own",
    "load": "takes a file of a result",
    "load_voltammogram": "takes the log of a potentiostat, which is text",
}
"""Functions that no signal is given to, and why."""
NOT_DAMAGED = {
    "create_model": "HyperSpy's own, and its model is looked at when it is fitted",
    "set_microscope_parameters": "exspy's own",
}
SHOWS = (
    "load_",
    "to_lmfit",
    "ACOMPatterns.geometry",
    "ASSBEELSSpectrum.validate_energy_axis",
    "ASSBEELSSpectrum.check_microscope_parameters",
    "ASSBEDSTEMSpectrum.get_take_off_angle",
    "ASSBSTEMSeries.time",
    "ASSBSTEMSeries.pixel_size",
    "ASSBSTEMSeries.dose",
    "ASSBSTEMSeries.accumulated_dose",
    "ASSBSTEMSeries.potential",
    "ASSBSTEMSeries.potential_std",
    "ASSBVoltammogram.time",
    "ASSBVoltammogram.potential",
    "ASSBVoltammogram.current",
    "ASSBVoltammogram.started",
    "ASSBVoltammogram.notes",
    "ASSBVoltammogram.to_log",
)
"""What gives back what the signal states, whatever it is, or what must be said of it."""


def _argument(owner: str, name: str) -> Callable[[Any], Any] | None:
    return (
        BY_KIND.get((owner, name))
        or BY_KIND.get((owner.partition(".")[0].partition("[")[0], name))
        or ARGUMENTS.get(name)
    )


def _calls(owner: str, kind: str, function: Any, bound: Callable[[Any], Any]) -> Iterator[EntryPoint]:
    """A function with what it must be given, and with what it may be given besides."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    parameters = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    needed = [p.name for p in parameters if p.default is p.empty]
    taught = [p.name for p in parameters if p.default is not p.empty and _argument(owner, p.name)]
    lacking = [name for name in needed if _argument(owner, name) is None]
    if lacking:
        raise LookupError(f"{owner} needs {lacking}: teach tests/bad_input.py what to give, in ARGUMENTS.")
    cheap = {p.name: CHEAP[p.name] for p in parameters if p.name in CHEAP}
    for names in [needed] if not taught else [needed, needed + taught]:

        def call(signal: Any, names: list[str] = names) -> Any:
            return bound(signal)(**{n: _argument(owner, n)(signal) for n in names}, **cheap)

        yield EntryPoint(f"{owner}({', '.join(names)})", kind, call)


def _public(cls: type) -> dict[str, Any]:
    """What a class and its bases of this package show."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("hyperspy_assb")]
    return {
        name: value
        for base in reversed(own)
        for name, value in vars(base).items()
        if not name.startswith("_") and name not in NOT_DAMAGED and (inspect.isfunction(value) or _is_property(value))
    }


def _is_property(value: Any) -> bool:
    return isinstance(value, property)


@cache
def entry_points() -> tuple[EntryPoint, ...]:
    """All of them, found in the package."""
    from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel

    listed = yaml.safe_load((PACKAGE / "hyperspy_extension.yaml").read_text("utf-8"))["signals"]
    found: list[EntryPoint] = []
    for kind in kinds():
        cls = getattr(importlib.import_module(listed[kind]["module"]), kind)
        for name, value in _public(cls).items():
            if _is_property(value):
                found.append(EntryPoint(f"{kind}.{name}", kind, lambda s, name=name: getattr(s, name)))
            else:
                found += _calls(f"{kind}.{name}", kind, value, lambda s, name=name: getattr(s, name))
    for name, value in _public(ASSBEELSModel).items():
        owner = f"create_low_loss_model().{name}"
        if _is_property(value):
            found.append(EntryPoint(owner, "ASSBEELSSpectrum", lambda s, name=name: getattr(_low_loss_model(s), name)))
        elif not any(p.default is p.empty for p in list(inspect.signature(value).parameters.values())[1:]):
            found += _calls(owner, "ASSBEELSSpectrum", value, lambda s, name=name: getattr(_low_loss_model(s), name))
    for kind in ("ASSBEELSSpectrum", "ASSBEDSTEMSpectrum", "ACOMPatterns", "ASSBSTEMSeries"):
        found.append(EntryPoint(f"Lamella.table[{kind}]", kind, _in_a_lamella))
    for name in hyperspy_assb.__all__:
        value = getattr(hyperspy_assb, name)
        if inspect.isfunction(value) and name not in NOT_OF_A_SIGNAL and "result" not in name:
            found += _functions(name, value)
    return tuple(found)


def _functions(name: str, function: Any) -> Iterator[EntryPoint]:
    """A function of the package, for each class of signals that it takes."""
    parameters = inspect.signature(function).parameters
    if "path" in parameters:
        returned = str(inspect.signature(function).return_annotation)
        yield from _calls(name, returned, function, lambda s: function)
    elif "model" in parameters:
        for kind in ("ASSBEELSSpectrum", "ASSBEDSTEMSpectrum"):
            yield from _calls(f"{name}[{kind}]", kind, function, lambda s: function)
    elif list(parameters)[:2] == ["first", "second"]:
        for kind in ("ASSBEELSSpectrum", "ASSBEDSTEMSpectrum"):
            yield EntryPoint(f"{name}[{kind}]", kind, lambda s: function(_model(s), _model(s)))
    elif list(parameters)[:2] == ["before", "after"]:
        yield EntryPoint(name, "ACOMPatterns", lambda s: function(*(_indexed(s), _indexed(good("ACOMPatterns")))))
    else:
        raise LookupError(f"{name}{inspect.signature(function)}: teach tests/bad_input.py what it takes.")


def _in_a_lamella(signal: Any) -> Any:
    """The pixels of a lamella to which a signal belongs."""
    from hyperspy_assb.registration.affine import Affine

    image = hs.signals.Signal2D(np.ones((16, 16)))
    for axis in image.axes_manager.signal_axes:
        axis.scale, axis.units = 20.0, "nm"
    for axis in signal.axes_manager.navigation_axes:
        if not isinstance(axis.units, str) or not axis.units:
            axis.units = "nm"
    lamella = hyperspy_assb.Lamella("L1")
    lamella.add("image", image)
    lamella.add("signal", signal)
    lamella.register("image", transforms={"signal": Affine(np.eye(2), np.zeros(2))})
    return lamella.table("image")


def _low_loss_model(signal: Any) -> Any:
    model = signal.create_low_loss_model()
    model.multifit(show_progressbar=False)
    return model


def _indexed(signal: Any) -> Any:
    return signal.index_orientations(_bank(), show_progressbar=False)


# ---------------------------------------------------------------- damage


@dataclass(frozen=True)
class Damage:
    """What is done to a signal.

    Parameters
    ----------
    name
        In words.
    apply
        Changes the signal, and returns it or another.
    words
        One of these must stand in an error, in small letters.
    harmless
        Whether the result must be that of the signal before.
    plausible
        Whether a signal may be so, and its result need not be that of the signal before.
    """

    name: str
    apply: Callable[[Any], Any]
    words: tuple[str, ...]
    harmless: bool = False
    plausible: bool = False

    def __str__(self) -> str:
        return self.name


WRONG = {
    "text": "200 kV",
    "a list": [1.0, 2.0],
    "a dictionary": {"value": 1.0},
    "NaN": float("nan"),
    "infinity": float("inf"),
    "-1": -1.0,
    "1e300": 1e300,
    "bytes": b"\xff",
    "complex": 1.0 + 2.0j,
    "True": True,
    "an array": np.arange(3.0),
}


def _items(signal: Any) -> list[str]:
    """Paths of all that stands in the metadata of a signal, but how HyperSpy itself keeps it."""

    def walk(node: dict[str, Any], path: str) -> Iterator[str]:
        for key, value in node.items():
            if isinstance(value, dict):
                yield from walk(value, f"{path}{key}.")
            else:
                yield path + key

    skipped = ("_HyperSpy", "General.FileIO", "Signal.signal_type", "ASSB.provenance", "Sample.description")
    return [item for item in walk(signal.metadata.as_dictionary(), "") if not item.startswith(skipped)]


def _set(item: str, value: Any) -> Callable[[Any], Any]:
    def apply(signal: Any) -> Any:
        parent, _, leaf = item.rpartition(".")
        if isinstance(value, dict):
            signal.metadata.add_dictionary({})
        if item in signal.metadata and parent:
            delattr(signal.metadata.get_item(parent), leaf)
        signal.metadata.set_item(item, value)
        return signal

    return apply


KNOWN_ITEMS = {
    "ASSBEELSSpectrum": (
        TEM + "beam_energy",
        TEM + "convergence_angle",
        TEM + "beam_current",
        TEM + "Detector.EELS.collection_angle",
        TEM + "Detector.EELS.dwell_time",
        "Sample.elements",
        "ASSB.dose",
        "General.title",
        "General.original_filename",
        "Signal.Noise_properties.Variance_linear_model.gain_factor",
        "Signal.Noise_properties.Variance_linear_model.gain_offset",
        "Signal.Noise_properties.Variance_linear_model.correlation_factor",
    ),
    "ASSBEDSTEMSpectrum": (
        TEM + "beam_current",
        TEM + "Detector.EDS.live_time",
        TEM + "Detector.EDS.solid_angle",
        TEM + "dwell_time",
        "ASSB.dose",
        "Sample.elements",
        "Sample.xray_lines",
        "General.title",
        "ASSB.exspy_defaults",
        "ASSB.bulk",
    ),
    "ACOMPatterns": (
        TEM + "beam_energy",
        TEM + "convergence_angle",
        TEM + "camera_length",
        TEM + "precession_angle",
        TEM + "rocking_angle",
        TEM + "beam_current",
        TEM + "dwell_time",
        "ASSB.dose",
        "General.title",
        "ASSB.diffraction.ellipticity",
        "ASSB.diffraction.scan_rotation",
        "ASSB.diffraction.centre_std",
        "ASSB.diffraction.mirrored",
        "ASSB.diffraction.unheard",
    ),
    "ASSBSTEMSeries": (
        TEM + "beam_current",
        TEM + "dwell_time",
        "General.date",
        "General.time",
        "General.title",
        "ASSB.series.dwell_time",
        "ASSB.series.exposure",
        "ASSB.series.dose",
        "ASSB.series.log_time",
        "ASSB.series.offset",
    ),
    "ASSBVoltammogram": ("General.date", "General.time", "General.title"),
}
"""Metadata that the package reads and that a file need not hold."""


def _with_data(change: Callable[[np.ndarray], Any]) -> Callable[[Any], Any]:
    def apply(signal: Any) -> Any:
        signal.data = change(signal.data)
        return signal

    return apply


def _at(value: float, where: str) -> Callable[[Any], Any]:
    def change(data: np.ndarray) -> np.ndarray:
        data = np.array(data, dtype=float)
        first = data[(0,) * max(data.ndim - 1, 1)] if data.ndim > 1 else data
        if where == "one number":
            first.flat[first.size // 2] = value
        elif where == "one pixel":
            data[(0,) * max(data.ndim - 2, 1)] = value
        else:
            data[...] = value
        return data

    return _with_data(change)


def _of_axis(number: int, name: str, value: Any) -> Callable[[Any], Any]:
    def apply(signal: Any) -> Any:
        axis = signal.axes_manager._axes[number]
        try:
            setattr(axis, name, value)
        # What HyperSpy does not let in cannot be there.
        except Exception as error:
            raise NotPossible from error
        return signal

    return apply


class NotPossible(Exception):
    """HyperSpy itself does not let this damage in."""


def _unknown_chunks(signal: Any) -> Any:
    signal = signal.as_lazy()
    flat = signal.data.reshape(signal.data.shape)
    chunks = tuple((float("nan"),) * len(c) if i == 0 else c for i, c in enumerate(flat.chunks))
    signal.data = da.Array(flat.dask, flat.name, chunks, dtype=flat.dtype)
    return signal


def _lazy(signal: Any) -> Any:
    signal = signal.as_lazy()
    signal.data = signal.data.rechunk(tuple(max(1, (n + 1) // 2) for n in signal.data.shape))
    return signal


def _lazy_with_nan(signal: Any) -> Any:
    return _lazy(_at(np.nan, "one pixel")(signal))


def _no_pixel(signal: Any) -> Any:
    signal.data = signal.data[:0]
    signal.axes_manager._axes[0].size = 0
    return signal


def _no_channel(signal: Any) -> Any:
    signal.data = signal.data[..., :0]
    signal.axes_manager._axes[-1].size = 0
    return signal


def _nonuniform(signal: Any) -> Any:
    axis = signal.axes_manager._axes[-1]
    if not axis.is_uniform:
        raise NotPossible
    values = axis.axis + 1e-3 * axis.scale * np.arange(axis.size) ** 1.5
    axis.convert_to_non_uniform_axis()
    signal.axes_manager._axes[-1].axis = values
    return signal


_DATA = (
    "hold",
    "empty",
    "counts",
    "numbers",
    "finite",
    "real",
    "spectr",
    "pattern",
    "frame",
    "data",
    "read",
    "current",
)
_AXIS = ("axis", "axes", "scale", "units", "pixel", "time", "energy", "calibrat", "potential", "size")


def _words(item: str) -> tuple[str, ...]:
    """What may name an item of the metadata: its words, and the node of the package that it stands in."""
    parent, _, leaf = item.lower().rpartition(".")
    node = (parent.rpartition(".")[2],) if parent.startswith("assb.") else ()
    return (*(word for word in leaf.split("_") if len(word) > 3), *node)


@cache
def damages(kind: str) -> tuple[Damage, ...]:
    """What can be wrong with a signal of a class."""
    signal = _good(kind)
    found = [
        Damage(
            f"{item} is {what}",
            _set(item, value),
            _words(item),
        )
        for item in dict.fromkeys([*_items(signal), *KNOWN_ITEMS[kind]])
        for what, value in WRONG.items()
    ]
    types = {
        "object": object,
        "complex": complex,
        "text": "U8",
        "dates": "M8[s]",
    }
    found += [
        Damage(
            f"data of {what}",
            _with_data(lambda d, t=t: d.astype("i8").astype(t) if t == "M8[s]" else d.astype(t)),
            _DATA,
        )
        for what, t in types.items()
    ]
    found += [
        Damage("data of float16", _with_data(lambda d: d.astype(np.float16)), _DATA),
        Damage("data of long doubles", _with_data(lambda d: d.astype(np.longdouble)), _DATA, harmless=True),
        Damage("data of the other byte order", _with_data(lambda d: d.astype(">f8")), _DATA, harmless=True),
        Damage("data read-only", _with_data(_read_only), _DATA, harmless=True),
        Damage("data not in one piece", _with_data(lambda d: np.repeat(d, 2, axis=-1)[..., ::2]), _DATA, harmless=True),
        Damage("lazy data", _lazy, _DATA, harmless=kind != "ASSBVoltammogram"),
        Damage("lazy data with one NaN pixel", _lazy_with_nan, _DATA),
        Damage("unknown chunks", _unknown_chunks, ("chunk", *_DATA)),
        Damage("colour", _with_data(_colour), ("colour", *_DATA)),
        Damage("no pixel", _no_pixel, (*_DATA, *_AXIS)),
        Damage("no channel", _no_channel, (*_DATA, *_AXIS)),
        Damage("an axis that is not uniform", _nonuniform, _AXIS),
    ]
    values = {
        "NaN": np.nan,
        "infinity": np.inf,
        "1e300": 1e300,
        "-1e300": -1e300,
        "-5": -5.0,
        "0": 0.0,
        "1e-300": 1e-300,
    }
    found += [
        Damage(
            f"{what} in {where}",
            _at(value, where),
            (*_DATA, *_AXIS, "zero-loss", "gain"),
            plausible=what in ("-5", "0", "1e-300"),
        )
        for (what, value), where in itertools.product(values.items(), ("one number", "one pixel", "all"))
    ]
    wrong: dict[str, tuple[Any, ...]] = {
        "scale": (0.0, np.nan, np.inf, -1.0, 1e300, 1e-300),
        "offset": (np.nan, np.inf, 1e300),
        "units": (5, "parsec", "", None, "1/eV"),
        "name": ("", 5),
    }
    found += [
        Damage(
            f"{name} {value!r} of axis {number}",
            _of_axis(number, name, value),
            (*_AXIS, "zero-loss"),
            plausible=name in ("units", "name") or value == -1.0,
        )
        for number in range(len(signal.axes_manager._axes))
        for name, several in wrong.items()
        for value in several
    ]
    return tuple(found)


def _read_only(data: np.ndarray) -> np.ndarray:
    data = data.copy()
    data.flags.writeable = False
    return data


def _colour(data: np.ndarray) -> np.ndarray:
    found = np.zeros(data.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    found["R"] = 1
    return found


# --------------------------------------------------------------- outcome


@dataclass(frozen=True)
class Outcome:
    """What a call came to: "error", "right", "flag", or what it must not come to, with the words for it."""

    word: str
    said: str = ""

    @property
    def allowed(self) -> bool:
        return self.word in ("error", "right", "flag", "not possible")


def _plain(found: Any) -> Any:
    """What a result says, as something that can be compared."""
    if found is None or isinstance(found, str | int | float | bool):
        return found
    if hasattr(found, "axes_manager") and hasattr(found, "data"):
        data = found.data
        return np.asarray(data.compute() if hasattr(data, "compute") else data)
    if hasattr(found, "to_dataframe"):
        return found.to_dataframe()
    if isinstance(found, pd.DataFrame):
        return found
    if hasattr(found, "components") and hasattr(found, "signal"):
        return [np.array(p.map["values"]) for c in found for p in c.parameters]
    if isinstance(found, np.ndarray):
        return found
    if is_dataclass(found):
        return [_plain(getattr(found, f.name)) for f in fields(found) if f.repr]
    if isinstance(found, tuple | list):
        return [_plain(one) for one in found]
    return type(found).__name__


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        return list(one.columns) == list(other.columns) and all(
            _same(one[c].to_numpy(), other[c].to_numpy()) for c in one.columns
        )
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "fc" and other.dtype.kind in "fc":
        largest = np.max(np.abs(one), initial=0.0, where=np.isfinite(one))
        return bool(np.allclose(one, other, rtol=1e-4, atol=1e-6 * largest, equal_nan=True))
    return bool(np.array_equal(one, other))


def _call(entry: EntryPoint, signal: Any) -> tuple[Any, str, tuple[str, ...], list[Any]]:
    """Values, what is said of them, what was warned of, and warnings of others."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = entry.call(signal)
        values = _plain(found)
        said = str(getattr(signal, "notes", ""))
        for name in ("summary", "notes", "status"):
            told = getattr(found, name, "") if hasattr(found, "provenance") or hasattr(found, "usable") else ""
            told = told() if name == "summary" and callable(told) else told
            said += str(np.asarray(getattr(told, "data", told)).tolist())
    own = tuple(sorted(str(w.message) for w in caught if issubclass(w.category, AssbWarning)))
    others = [w for w in caught if not issubclass(w.category, AssbWarning) and _matters(w)]
    return values, said, own, others


def _matters(warning: Any) -> bool:
    """Whether a warning is one of the package's own arithmetic: others' words for their users are theirs."""
    return issubclass(warning.category, RuntimeWarning) or "/hyperspy_assb/" in str(warning.filename)


@cache
def _expected(entry: EntryPoint) -> tuple[Any, str, tuple[str, ...]] | Exception:
    try:
        return _call(entry, good(entry.kind))[:3]
    except AssbError as error:
        return error


def judge(entry: EntryPoint, damage: Damage) -> Outcome:
    """Call an entry point with a damaged signal."""
    right = _expected(entry)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            signal = damage.apply(good(entry.kind))
            if entry.name.startswith("load_"):
                try:
                    _saved(signal)
                except Exception as error:
                    raise NotPossible from error
    except NotPossible:
        return Outcome("not possible")
    try:
        values, said, own, others = _call(entry, signal)
    except NotPossible:
        return Outcome("not possible")
    except AssbError as error:
        text = str(error)
        if isinstance(right, Exception) and str(right) == text:
            return Outcome("error", text)
        clear = len(text) > 20 and any(word in text.lower() for word in damage.words)
        return Outcome("error" if clear else "unclear error", text)
    except Exception as error:  # noqa: BLE001 - whatever else comes is what is looked for
        import traceback

        last = [f for f in traceback.extract_tb(error.__traceback__) if "hyperspy_assb" in f.filename][-1:]
        where = f" at {last[0].filename.rpartition('hyperspy_assb/')[2]}:{last[0].lineno}" if last else ""
        return Outcome("foreign error", f"{type(error).__name__}: {error}{where}")
    if others:
        return Outcome(
            "foreign warning",
            f"{others[0].category.__name__}: {others[0].message} {others[0].filename}:{others[0].lineno}",
        )
    if isinstance(right, Exception):
        return Outcome("no error", f"without damage: {right}")
    if damage.plausible or any(entry.name.startswith(name) for name in SHOWS) or _same(right[0], values):
        return Outcome("right")
    if damage.harmless:
        return Outcome("wrong", "not the result of the undamaged signal")
    if own != right[2]:
        return Outcome("flag", " | ".join(own))
    if said != right[1]:
        return Outcome("flag", "status, notes or summary")
    return Outcome("silent", "another result, and nothing said")
