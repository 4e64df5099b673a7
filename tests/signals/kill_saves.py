"""Kill processes that save a result over an old one, and tell what is left; run as a script by the tests.

Arguments: folder, ending, moments, seed, way of saving (whole, folder: over a folder, in place). Prints JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from toy_results import ToyMaps, register, toy_maps

import hyperspy_assb
from hyperspy_assb.errors import AssbError
from hyperspy_assb.signals.packing import digest, pack
from hyperspy_assb.signals.result import KINDS


def in_child(work: Any) -> int:
    """Start something in a copy of this process, which is spared the imports."""
    process = os.fork()
    if process == 0:
        try:
            work()
        finally:
            os._exit(0)
    return process


def state(path: Path, old: ToyMaps, new: ToyMaps) -> str:
    """Which of two results a file holds, wholly."""
    try:
        found = hyperspy_assb.load(path)
    except (AssbError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    for name, one in (("old", old), ("new", new)):
        same = all(np.array_equal(found.parts[key].x, part.x) for key, part in one.parts.items())
        if same and found.provenance == one.provenance and np.array_equal(found.codes, one.codes):
            return name
    return "neither"


def make_folder(path: Path) -> None:
    """The same .zspy as the folder that HyperSpy writes by itself."""
    with zipfile.ZipFile(path) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    path.unlink()
    for name, content in inside.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def save_in_place(result: ToyMaps, path: Path) -> None:
    """As HyperSpy saves, without any care: what the harness must find."""
    text, arrays = pack(result, KINDS)
    shown = result.x.deepcopy()
    content = {"text": [text], "arrays": arrays}
    node = {"kind": "ToyMaps", "version": 1, "written_by": "0", "digest": digest(text, arrays), "content": content}
    shown.metadata.set_item("ASSB.result", node)
    shown.save(path, overwrite=True)


def main(folder: Path, ending: str, moments: int, seed: int, way: str) -> dict[str, Any]:
    old, new = (toy_maps((64, 64), seed=s, methods=4) for s in (1, 2))
    path = folder / f"result{ending}"

    def prepare() -> None:
        if way == "in place" and path.is_dir():
            # What a kill left is no folder of HyperSpy any more, and would not be replaced.
            shutil.rmtree(path)
        old.save(path, overwrite=True)
        if ending == ".zspy" and way != "whole":
            make_folder(path)

    def work() -> None:
        if way == "in place":
            save_in_place(new, path)
        else:
            new.save(path, overwrite=True)

    lengths = []
    for _ in range(3):
        prepare()
        assert state(path, old, new) == "old"
        start = time.perf_counter()
        os.waitpid(in_child(work), 0)
        lengths.append(time.perf_counter() - start)
        assert state(path, old, new) == "new"
    found: Counter[str] = Counter()
    killed = 0
    for moment in np.random.default_rng(seed).uniform(0.0, min(lengths), size=moments):
        prepare()
        process = in_child(work)
        time.sleep(moment)
        os.kill(process, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
        found[state(path, old, new)] += 1
    prepare()
    new.save(path, overwrite=True)
    left = sorted(entry.name for entry in folder.iterdir())
    return {"found": found, "killed": killed, "length": min(lengths), "left": left, "end": state(path, old, new)}


if __name__ == "__main__":
    register()
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])))  # noqa: T201
