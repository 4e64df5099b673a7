"""Kill processes that save over an old file: every class of results, models, lamellae, banks; run as a script.

Arguments: folder, moments for each kind of save, seed, names of classes (all by default). What is saved is what the
public methods of the signals and of their results return, as ``tests/bad_input.py`` finds them: a new class of results
is met without being named. Prints JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
from kill_saves import in_child, make_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bad_input  # isort: skip

import hyperspy_assb
from hyperspy_assb.acom import TemplateBank, simulate_bank
from hyperspy_assb.errors import AssbError
from hyperspy_assb.signals.packing import digest, pack
from hyperspy_assb.signals.result import KINDS, Result

Save = Callable[[Path], Any]
Read = Callable[[Path], str]


def _made_of_others() -> Iterator[Callable[[], Any]]:
    """Results that small signals of all kinds do not give by themselves."""
    battery = hyperspy_assb.simulation.micro_battery(shape=(16, 16), seed=6, signal_type="EELS_ASSB")
    model = battery.eels_before.inav[:3, :3].create_low_loss_model(["Li", "Fe"])
    model.multifit(show_progressbar=False)
    image = hs.signals.Signal2D(np.arange(256.0).reshape(16, 16))
    for axis in image.axes_manager.signal_axes:
        axis.scale, axis.units = 10.0, "nm"
    lamella = hyperspy_assb.Lamella("L1")
    path = Path(tempfile.mkdtemp()) / "image.hspy"
    image.save(path)
    lamella.add("image", path)
    lamella.register("image")
    yield lambda: model.fit_quality
    yield lambda: lamella
    yield lambda: lamella.to_frame("image", image)
    yield battery.eels_after.suggest_references
    yield lambda: battery.eels_after.quantify_delithiation(method="lithium")


def all_results() -> dict[str, Result]:
    """One result of each class."""
    found: dict[str, Result] = {}

    def keep(value: Any) -> None:
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, Result):
                found.setdefault(type(one).__name__, one)

    for entry in bad_input.entry_points():
        try:
            keep(entry.call(bad_input.good(entry.kind)))
        except (AssbError, bad_input.NotPossible):
            continue
    for made in _made_of_others():
        with contextlib.suppress(AssbError):
            keep(made())
    for result in list(found.values()):
        for name, method in inspect.getmembers(type(result), inspect.isfunction):
            known = name.startswith(("_", "plot", "save", "to_", "summary"))
            if known or len([p for p in inspect.signature(method).parameters.values() if p.default is p.empty]) > 1:
                continue
            with contextlib.suppress(AssbError, TypeError):
                keep(getattr(result, name)())
    return found


def mark(result: Any) -> str:
    """A hash of all that a result holds."""
    return digest(*pack(result, KINDS))


def other(result: Result) -> Result:
    """The same result with another note."""
    from dataclasses import replace

    return replace(result, notes=(*result.notes, "another"))


def hash_of_signal(path: Path) -> str:
    """A hash of the data of a signal and of the values of its model."""
    loaded = hs.load(path)
    model = loaded.models.restore(next(iter(loaded.models._models.keys())))
    values = [np.ascontiguousarray(p.map["values"]).tobytes() for c in model for p in c.parameters]
    return hashlib.sha256(np.ascontiguousarray(loaded.data).tobytes() + b"".join(values)).hexdigest()


def hash_of_bank(path: Path) -> str:
    return hashlib.sha256(np.ascontiguousarray(TemplateBank.load(path).orientations).tobytes()).hexdigest()


def kinds_of_save(results: dict[str, Result]) -> Iterator[tuple[str, str, Save, Save, Read]]:
    """Name, ending, how the old and the new one are saved, and how a file is told."""
    read: Read = lambda path: mark(hyperspy_assb.load(path))  # noqa: E731
    for name, result in results.items():
        changed = other(result)
        for ending in (".hspy", ".zspy"):
            yield (
                f"{name} {ending}",
                ending,
                lambda p, r=result: r.save(p, overwrite=True),
                lambda p, r=changed: r.save(p, overwrite=True),
                read,
            )
        if name in list(results)[:5]:

            def folder(p: Path, r: Result = result) -> None:
                r.save(p, overwrite=True)
                make_folder(p)

            yield f"{name} folder", ".zspy", folder, lambda p, r=changed: r.save(p, overwrite=True), read
    models = []
    for seed in (1, 2):
        battery = hyperspy_assb.simulation.micro_battery(shape=(3, 3), seed=seed, signal_type="EELS_ASSB")
        models.append(battery.eels_before.create_low_loss_model(["Li", "Fe"]))
        models[-1].multifit(show_progressbar=False)
    for ending in (".hspy", ".zspy"):

        def stored(p: Path, model: Any) -> None:
            for name in [*model.signal.models._models.keys()]:
                model.signal.models.remove(name)
            model.save(p, overwrite=True)

        yield (
            f"model {ending}",
            ending,
            lambda p: stored(p, models[0]),
            lambda p: stored(p, models[1]),
            hash_of_signal,
        )
    banks = [simulate_bank(["lfp"], resolution=r) for r in (8.0, 10.0)]
    yield "bank", ".npz", lambda p: banks[0].save(p), lambda p: banks[1].save(p), hash_of_bank


def kill_at(
    name: str, place: Path, save_old: Save, save_new: Save, read: Read, moments: int, draw: np.random.Generator
) -> dict[str, Any]:
    """Kill a kind of save at random moments, until as many as asked for have met it; then it ends by itself."""
    folder = place.parent

    def clean() -> None:
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    clean()
    save_new(place)
    new = read(place)
    clean()
    save_old(place)
    old = read(place)
    assert old != new, name
    begin = time.perf_counter()
    os.waitpid(in_child(lambda: save_new(place)), 0)
    length = time.perf_counter() - begin
    assert read(place) == new, name
    found: Counter[str] = Counter()
    for number in range(3 * moments):
        if found["killed"] == moments:
            break
        absent = number % 2 == 1  # every other time there is nothing before
        clean()
        if not absent:
            save_old(place)
        process = in_child(lambda: save_new(place))
        time.sleep(draw.uniform(0.0, length))
        os.kill(process, signal.SIGKILL)
        by_signal = os.WIFSIGNALED(os.waitpid(process, 0)[1])
        found["kills"] += 1
        found["killed"] += by_signal
        # The machine may have less to do than when the length was measured.
        length *= 1.0 if by_signal else 0.6
        try:
            now = read(place)
            found["old" if now == old else "new" if now == new else f"NEITHER {name}"] += 1
        except Exception as error:  # noqa: BLE001 - whatever a damaged file makes a reader raise
            absent_now = absent and not place.exists()
            found["absent" if absent_now else f"DAMAGED {name}: {error}"] += 1
        save_new(place)
        if read(place) != new:
            found[f"NOT SAVED {name}"] += 1
        found["left"] += len([*folder.iterdir()]) - 1
    return found


def main(folder: Path, moments: int, seed: int, only: list[str]) -> dict[str, Any]:
    results = {name: result for name, result in all_results().items() if not only or name in only}
    draw, total = np.random.default_rng(seed), Counter()
    folder = folder / "saves"
    folder.mkdir()
    saved = list(kinds_of_save(results))
    for name, ending, save_old, save_new, read in saved:
        total.update(kill_at(name, folder / f"saved{ending}", save_old, save_new, read, moments, draw))
    return {"kinds": len(saved), "results": sorted(results), **total}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    hs.preferences.General.show_progressbar = False
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])))  # noqa: T201
