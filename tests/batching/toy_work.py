"""Work that costs nothing in place of analyses, so that tests of batches are about batches."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperspy_assb.batching import work
from hyperspy_assb.report.output import write_record

RECORD = {"action": "toy", "versions": {"hyperspy-assb": "0"}}


def toy(files: list[Path], options: dict[str, Any], folder: Path, progress: Any) -> work.Told:
    """Read arrays, write their cumulative sums in several files, and say what was done."""
    arrays = [np.load(file, allow_pickle=False) for file in files]
    if sum(map(np.size, arrays)) == 0:
        raise RuntimeError("Disable slist on flush dest failure failed (file write failed)")
    if "TOY_DEADLY" in os.environ and arrays[0].size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    progress("fit", 0, 3)
    for part in range(3):
        # As often as needed for a kill to come in between.
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")) / 3)
        np.save(folder / f"sum{part}.npy", np.cumsum(np.concatenate([np.ravel(a) for a in arrays])) + part)
        progress("fit", part + 1, 3)
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
    (folder / "delithiation.hspy").write_bytes(b"toy")
    write_record(folder, RECORD, findings=[f"The sum is {arrays[0].sum():g}."], warnings=[])
    (folder / "report.html").write_text("<p>toy</p>", encoding="utf-8")
    return work.Told((f"The sum is {arrays[0].sum():g}.",), ())


def use_toy_work() -> None:
    """In this process, for good."""
    for kind in work._WORK:
        work._WORK[kind] = toy  # type: ignore[index]


def dask_setup(worker: Any) -> None:
    """In a worker of dask that is started with this file as its preload."""
    use_toy_work()


@pytest.fixture
def toy_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """All kinds of analysis are toys."""
    for kind in work._WORK:
        monkeypatch.setitem(work._WORK, kind, toy)


def write_inputs(folder: Path, count: int, broken: int = 0) -> None:
    """Files x00.npy, x01.npy, ...; the last ones cut, empty, or too large for any memory."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"x{number:02}.npy"
        np.save(path, np.random.default_rng(number).normal(size=50))
        if number >= count - broken:
            kind = (count - 1 - number) % 3
            if kind == 0:
                path.write_bytes(path.read_bytes()[:150])
            elif kind == 1:
                path.write_bytes(b"")
            else:
                header = {"descr": "<f8", "fortran_order": False, "shape": (10**7, 10**9)}
                with path.open("wb") as stream:
                    np.lib.format.write_array_header_1_0(stream, header)
