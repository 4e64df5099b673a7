"""A real batch of 20 maps of which 3 are broken: killed and started again, or on a cluster that loses a worker.

Twelve EDX maps and five low-loss maps of a few pixels; one file that is cut, one map without a zero-loss peak, and one
that needs more memory than there is. The command is the program ``assb`` beside this Python.

Run: python benchmarks/batch_kills.py [--kills 10] [--cluster] [--seed 0] [--folder FOLDER]

Ends with exit code 1 if a step was done twice, results differ from those of an undisturbed run, or not 17 are whole.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

MEMORY = 6 * 2**30
"""Bytes of addresses that a run has; of a worker of the cluster a third, as its nanny counts."""
RECIPE = 'inputs.maps = "raw/*.hspy"\nanalysis.fit.input = "maps"\n'


def write(folder: Path) -> None:
    """The files, and the recipe."""
    import h5py

    from hyperspy_assb.simulation import micro_battery

    raw = folder / "raw"
    raw.mkdir()
    for seed in range(12):
        micro_battery(shape=(2, 3), seed=seed).edx_after.save(raw / f"edx{seed:02}.hspy")
    for seed in range(5):
        micro_battery(shape=(3, 4), seed=seed).eels_after.save(raw / f"low{seed}.hspy")
    core = micro_battery(shape=(3, 4), seed=9).eels_after
    core.axes_manager[-1].offset = 300.0
    core.save(raw / "no zero loss.hspy")
    (raw / "cut.hspy").write_bytes((raw / "edx00.hspy").read_bytes()[:-5000])
    huge = raw / "huge.hspy"
    huge.write_bytes((raw / "edx00.hspy").read_bytes())
    with h5py.File(huge, "r+") as file:
        (group,) = file["Experiments"].values()
        attributes = dict(group["data"].attrs)
        del group["data"]
        data = group.create_dataset(
            "data", shape=(2, 3, 2 * 10**9), dtype="u2", chunks=(1, 1, 10**6), compression="gzip"
        )
        data.attrs.update(attributes)
        group["axis-2"].attrs["size"] = 2 * 10**9
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")


def limited() -> None:
    """In a child: its memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def start(
    folder: Path, out: str, *more: str, limit: Callable[[], None] | None = limited, **environment: str
) -> subprocess.Popen[bytes]:
    """The command as a program."""
    program = str(Path(sys.executable).with_name("assb"))
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": (folder / f"{out}.err").open("ab")}
    words = [program, "batch", "recipe.toml", "--out", out, *more]
    own = {**os.environ, **environment}
    return subprocess.Popen(words, cwd=folder, preexec_fn=limit, env=own, **quiet)


def marks(out: Path) -> dict[str, tuple[int, int]]:
    """What tells a result from one that was made again."""
    found = [path for path in out.glob("fit/*/step.json") if not path.parent.name.startswith(".")]
    return {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def arrays(out: Path) -> dict[str, Any]:
    """Every array of numbers in every file of HDF5."""
    import h5py

    found: dict[str, Any] = {}
    for path in sorted(out.glob("fit/*/**/*.hspy")):
        with h5py.File(path) as file:

            def keep(name: str, item: Any, path: Path = path) -> None:
                if isinstance(item, h5py.Dataset) and item.dtype.kind in "iufb":
                    found[f"{path.relative_to(out)}:{name}"] = item[()]

            file.visititems(keep)
    return found


def rows(out: Path) -> list[dict[str, str]]:
    """The table of a batch."""
    with (out / "status.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def killed_and_started_again(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Run, kill while something is written, run again; the last time to the end."""
    import numpy as np

    out, known, touched, busy = folder / "out", {}, [], 0
    # Half of the runs come through a step before: the others would be killed in the first again and again.
    longest = float((folder / "seconds").read_text()) / (2 * kills)
    for number, moment in enumerate(np.random.default_rng(seed).uniform(0.0, longest, kills)):
        process = start(folder, "out")
        least = len(known) + number % 2

        def has_begun(own: str = f"fit/.*-{process.pid}-*.part", least: int = least) -> bool:
            return bool(list(out.glob(own))) and len(marks(out)) >= least

        while process.poll() is None and not has_begun():
            time.sleep(0.01)
        time.sleep(moment)
        busy += process.poll() is None
        process.kill()
        process.wait()
        now = marks(out)
        touched += [name for name, mark in known.items() if now.get(name) != mark]
        known = now
        print(f"killed; {len(known)} whole", flush=True)
    code = start(folder, "out").wait()
    touched += [name for name, mark in known.items() if marks(out).get(name) != mark]
    return {"killed": busy, "done twice": touched, "code": code}


def on_a_cluster(folder: Path) -> dict[str, Any]:
    """A scheduler and two workers that are programs of their own; one is killed with its nanny."""
    dask = [sys.executable, "-m", "dask"]
    address = folder / "scheduler.json"
    worker = [*dask, "worker", "--scheduler-file", str(address), "--nthreads", "1", "--no-dashboard"]
    worker += ["--memory-limit", str(MEMORY // 3), "--local-directory", str(folder / "dask")]
    with ExitStack() as stack:

        def begin(command: list[str]) -> subprocess.Popen[bytes]:
            log = (folder / "dask.err").open("ab")
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            stack.callback(lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
            return process

        begin([*dask, "scheduler", "--scheduler-file", str(address), "--port", "0", "--no-dashboard"])
        while not address.exists():
            time.sleep(0.1)
        workers = [begin(worker), begin(worker)]
        from distributed import Client

        with Client(scheduler_file=str(address)) as client:
            client.wait_for_workers(2, timeout=300)
        place = json.loads(address.read_text())["address"]
        batch = start(folder, "out", "--scheduler", place, limit=None)
        while len(list((folder / "out").glob("fit/.*.part"))) < 2 and batch.poll() is None:
            time.sleep(0.02)
        os.killpg(workers[0].pid, signal.SIGKILL)
        code = batch.wait()
        first = Counter(row["status"] for row in rows(folder / "out"))
        again = start(folder, "out", "--scheduler", place, limit=None).wait()
    return {"killed": workers[0].poll() == -signal.SIGKILL, "code": code, "first": dict(first), "again": again}


def main() -> int:
    """Run, print what came of it, and return 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "raw").exists():
            write(folder)
        if not (folder / "undisturbed").exists():
            begin = time.monotonic()
            print("undisturbed: exit", start(folder, "undisturbed").wait(), flush=True)
            (folder / "seconds").write_text(f"{time.monotonic() - begin:.1f}")
        told = on_a_cluster(folder) if given.cluster else killed_and_started_again(folder, given.kills, given.seed)
        expected, found = arrays(folder / "undisturbed"), arrays(folder / "out")
        same = expected.keys() == found.keys()
        differ = [k for k in expected if k not in found or not np.array_equal(expected[k], found[k], equal_nan=True)]
        table = rows(folder / "out")
        failed = {row["step"]: row["message"] for row in table if not row["report"]}
        left = [str(path) for path in (folder / "out").rglob(".*")]
        whole = len(table) - len(failed)
        print(json.dumps({**told, "arrays": len(expected), "differ": differ, "left": left, "whole": whole}, indent=1))
        print(json.dumps(failed, indent=1))
    return int(bool(differ or left or not same or whole != 17 or told.get("done twice") or told["code"] != 1))


if __name__ == "__main__":
    sys.exit(main())
