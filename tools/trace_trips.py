"""Which files of the package the data pass: five analyses of the virtual battery, traced, written to docs/trips.md.

A file is entered when a function of it is called from another file of the package with the data among its arguments: a
HyperSpy signal or model, an array with at least as many values as there are pixels, or an object of the package that
holds one. Compiled kernels count with the functions that call them. Repeated calls from one function to another count
once. The fit engine and the search for the zero-loss peak are entered by one door each, and are listed by themselves.

Run: python tools/trace_trips.py
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from types import CodeType, FrameType, ModuleType
from typing import Any

import dask.array as da
import hyperspy.api as hs
import numpy as np
from hyperspy.model import BaseModel
from hyperspy.signals import BaseSignal
from numba.core.dispatcher import Dispatcher

import hyperspy_assb

PACKAGE = Path(hyperspy_assb.__file__).parent
PAGE = PACKAGE.parent / "docs" / "trips.md"
DOORS = ("fitting/", "eels/zero_loss/")
"""Folders that are entered by one door."""


@dataclass
class Trace:
    """Calls between files of the package that hand the data on.

    Parameters
    ----------
    pixels
        Values from which an array holds the data.
    channels
        Length of an energy axis, which is not the data.
    """

    pixels: int
    channels: int
    calls: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Caller's file and function, file and function that is called; each once, in the order of the first."""
    _seen: set[object] = field(default_factory=set)
    _lock: Any = field(default_factory=threading.Lock)

    def run(self, analysis: Callable[[], object]) -> Trace:
        """Trace an analysis, in all of its threads."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            analysis()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return self

    @property
    def entries(self) -> dict[str, int]:
        """How often each file is entered after another, in the order of the trip; doors stand for what is behind."""
        found: dict[str, int] = {}
        last, doors = "", {}
        for _, _, file, _ in self.calls:
            for folder in DOORS:
                if file.startswith(folder):
                    file = doors.setdefault(folder, file)
            if file != last:
                found[file] = found.get(file, 0) + 1
            last = file
        return found

    def behind(self, folder: str) -> list[str]:
        """Files of a folder that the trip enters."""
        return list(dict.fromkeys(file for _, _, file, _ in self.calls if file.startswith(folder)))

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        file = _file(frame.f_code)
        if event != "call" or file is None or file.endswith("__init__.py") or frame.f_code.co_name.startswith("<"):
            return
        code = frame.f_code
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if not any(self._carries(frame.f_locals.get(name)) for name in arguments):
            return
        caller = frame.f_back
        while caller is not None and _file(caller.f_code) is None:
            caller = caller.f_back
        here = _file(caller.f_code) if caller else None
        with self._lock:
            if here != file:
                self._add((here or "", caller.f_code.co_name if caller else "", file, code.co_name))
            if code not in self._seen:
                self._seen.add(code)
                for kernel in _kernels(code, frame.f_globals):
                    other = _file(kernel.py_func.__code__)
                    if other and other != file:
                        self._add((file, code.co_name, other, kernel.py_func.__name__))

    def _add(self, call: tuple[str, str, str, str]) -> None:
        if call not in self._seen:
            self._seen.add(call)
            self.calls.append(call)

    def _carries(self, value: object) -> bool:
        if isinstance(value, BaseSignal | BaseModel) or self._is_data(value):
            return True
        if isinstance(value, tuple | list):
            return any(self._is_data(item) for item in value)
        if type(value).__module__.startswith("hyperspy_assb"):
            held = getattr(value, "__dict__", {}).values()
            return any(isinstance(item, BaseSignal | BaseModel) or self._is_data(item) for item in list(held))
        return False

    def _is_data(self, value: object) -> bool:
        if not isinstance(value, np.ndarray | da.Array) or value.size < self.pixels:
            return False
        return value.shape != (self.channels,)


def _file(code: CodeType) -> str | None:
    path = Path(code.co_filename)
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else None


def _kernels(code: CodeType, names: dict[str, object]) -> Iterator[Any]:
    """Compiled functions that a function names."""
    for name in code.co_names:
        found = names.get(name)
        if isinstance(found, Dispatcher):
            yield found
        elif isinstance(found, ModuleType):
            yield from (v for n in code.co_names if isinstance(v := vars(found).get(n), Dispatcher))


def trace_all() -> dict[str, Trace]:
    """The five trips; what compiles or is read once is done before."""
    from hyperspy_assb.acom import simulate_bank
    from hyperspy_assb.simulation import micro_battery

    battery = micro_battery(shape=(40, 40), seed=1, signal_type="EELS_ASSB")
    before, after, truth = battery.eels_before, battery.eels_after, battery.truth.after
    pure = {name: truth.pure(name) for name in ("LiFePO4", "FePO4", "LAGP", "carbon", "vacuum")}
    part = after.inav[:10, :10]
    small = micro_battery(shape=(16, 16), seed=1)
    edx, patterns, bank = small.edx_after, small.patterns_after, simulate_bank(["lfp", "fp"], resolution=3.0)
    edx.set_signal_type("EDS_TEM_ASSB")
    trips: dict[str, tuple[Any, int, Callable[[], object]]] = {
        "Spectrum image: `s.quantify_delithiation(pure)`": (after, 150, lambda: after.quantify_delithiation(pure)),
        "Pair of states: `before.compare_low_loss(after)`": (after, 150, lambda: before.compare_low_loss(after)),
        "Model: `m = s.create_low_loss_model(elements)`, `m.multifit()`": (
            part,
            100,
            lambda: part.create_low_loss_model(["Li", "Fe", "P"]).multifit(),
        ),
        "EDX map: `s.quantify_phases()`": (edx, 200, edx.quantify_phases),
        "Pattern scan: `patterns.index_orientations(bank)`": (
            patterns,
            200,
            lambda: patterns.index_orientations(bank),
        ),
    }
    found = {}
    for name, (signal, pixels, analysis) in trips.items():
        analysis()
        found[name] = Trace(pixels, signal.data.shape[-1]).run(analysis)
    return found


def page(traces: dict[str, Trace]) -> str:
    """The page of the documentation."""
    lines = ["# The way of the data through the package", ""]
    lines += [*(__doc__ or "").split("\n\n")[1].splitlines(), ""]
    lines += ["In parentheses: how often a file is entered after another, where that is more than once.", ""]
    lines += ["| analysis | files | entries into one file, at most |", "|---|---|---|"]
    lines += [f"| {name} | {len(trace.entries)} | {max(trace.entries.values())} |" for name, trace in traces.items()]
    lines.append("")
    for name, trace in traces.items():
        stops = (f"`{file}`" + (f" ({count})" if count > 1 else "") for file, count in trace.entries.items())
        lines += [f"## {name.partition(':')[0]}", "", *wrap(" → ".join(stops), 130, break_on_hyphens=False), ""]
    for title, folder in (("Inside the fit engine", DOORS[0]), ("Inside the search for the zero-loss peak", DOORS[1])):
        files = dict.fromkeys(file for trace in traces.values() for file in trace.behind(folder))
        listed = ", ".join(f"`{file.removeprefix(folder)}`" for file in files)
        lines += [f"## {title}", "", f"{len(files)} files of `{folder}`, over all analyses:", ""]
        lines += [*wrap(listed, 130, break_on_hyphens=False), ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page."""
    warnings.simplefilter("ignore")
    hs.preferences.General.show_progressbar = False
    traces = trace_all()
    PAGE.write_text(page(traces), "utf-8")
    for name, trace in traces.items():
        print(f"{name}: {len(trace.entries)} files, entered at most {max(trace.entries.values())} times")


if __name__ == "__main__":
    main()
