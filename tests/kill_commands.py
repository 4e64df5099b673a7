"""Kill or interrupt the commands at random moments and start them again; run as a script by the tests.

Arguments: folder, number of signals to each command, seed, SIGKILL or SIGINT, names of commands. Prints JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from dask import threaded

from hyperspy_assb.cli import app
from hyperspy_assb.simulation import DiffractionConditions, micro_battery
from hyperspy_assb.simulation.acom.scan import simulate_scan
from hyperspy_assb.simulation.lamella import build_lamella
from hyperspy_assb.simulation.series import SeriesConditions, simulate_series

LAST = {"lamella": "log.txt", "demo": "log.txt"}
"""What is written last."""


def run(arguments: list[str]) -> int:
    # The commands leave by SystemExit, as programs do.
    try:
        app(arguments)
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def in_child(arguments: list[str]) -> int:
    """Start a command in a copy of this process, which is spared the imports."""
    process = os.fork()
    if process == 0:
        code = 70
        try:
            # The threads of the pool of dask stay behind in this process.
            threaded.default_pool = None
            threaded.pools.clear()
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            code = run(arguments)
        except KeyboardInterrupt as error:
            # Before the command has begun, or when it has ended; one that leaves it from inside is a fault.
            inside = any(
                Path(f.filename).parent.name == "hyperspy_assb" for f in traceback.extract_tb(error.__traceback__)
            )
            code = 71 if inside else 130
        finally:
            os._exit(code)
    return process


def arrays(folder: Path) -> dict[str, Any]:
    """All arrays of numbers in all files of HDF5 below a folder."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*.hspy")):
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item, path=path: (
                    found.__setitem__(f"{path.relative_to(folder)}:{name}", item[()])
                    if isinstance(item, h5py.Dataset) and item.dtype.kind in "iufb"
                    else None
                )
            )
    return found


def inputs(folder: Path) -> dict[str, list[str]]:
    """Files, and the commands for them without --out."""
    battery = micro_battery(shape=(8, 8), seed=0, signal_type="EELS_ASSB")
    battery.eels_before.save(folder / "before.hspy")
    battery.eels_after.save(folder / "after.hspy")
    for seed in range(2):
        micro_battery(shape=(3, 4), seed=seed).edx_after.save(folder / f"edx{seed}.hspy")
    state = build_lamella((4, 5), np.random.default_rng(5)).after
    scan = simulate_scan(state, DiffractionConditions().with_shape((64, 64)), pixel_size=20.0)
    scan.save(folder / "scan.hspy")
    (folder / "recipe.toml").write_text('inputs.edx = "edx*.hspy"\nanalysis.quantify.input = "edx"\n')
    simulate_series(SeriesConditions(frames=4, size=96, oversampling=2), seed=1)[0].save(folder / "series.hspy")
    members = "[members.a]\nfile = 'before.hspy'\n[members.b]\nfile = 'after.hspy'\nframe = 'a'\n"
    Path("lamella.toml").write_text(f"reference = 'a'\n{members}")
    files = {name: str(folder / f"{name}.hspy") for name in ("before", "after", "scan", "series")}
    return {
        "fit": ["fit", files["after"]],
        "compare": ["compare", files["before"], files["after"], "--permutations", "19"],
        "index": ["index", files["scan"], "--phases", "lfp,fp", "--no-calibrate", "--no-refine"],
        "batch": ["batch", str(folder / "recipe.toml")],
        "series": ["series", files["series"]],
        "lamella": ["lamella", str(folder / "lamella.toml")],
        "demo": ["demo", "--shape", "24x24"],
    }


def end(process: int, sent: signal.Signals) -> tuple[bool, float]:
    """Send a signal to a command: whether it ended by that, and after how many seconds.

    Raises
    ------
    AssertionError
        If an interrupted command leaves with anything but 130, or 0 where it had ended before.
    """
    begin = time.perf_counter()
    os.kill(process, sent)
    status = os.waitpid(process, 0)[1]
    late = time.perf_counter() - begin
    if sent == signal.SIGKILL:
        return os.WIFSIGNALED(status), late
    code = os.waitstatus_to_exitcode(status)
    assert code in (130, 0), code
    return code == 130, late


def main(folder: Path, kills: int, seed: int, sent: signal.Signals, names: list[str]) -> dict[str, Any]:
    os.chdir(folder)
    # What a shell starts in the background ignores interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    draw = np.random.default_rng(seed)
    told: dict[str, Any] = {}
    for name, command in inputs(folder).items():
        if name not in names:
            continue
        expected, out = folder / f"{name}-undisturbed", folder / name
        assert run([*command, "--out", str(expected)]) == 0
        shutil.rmtree(expected)
        begin = time.perf_counter()  # with everything compiled
        assert run([*command, "--out", str(expected)]) == 0
        length = time.perf_counter() - begin
        killed, longest = 0, 0.0
        for _ in range(2 * kills):
            moment = draw.uniform(0.0, 0.9 * length)
            process = in_child([*command, "--out", str(out)])
            time.sleep(moment)
            by_signal, late = end(process, sent)
            killed, longest = killed + by_signal, max(longest, late)
            # The machine may have less to do than when the length was measured.
            length *= 1.0 if by_signal else 0.8
            if sent == signal.SIGINT and by_signal and name != "batch":
                assert not out.exists()
                assert not [*folder.glob(".*")]
            if out.exists() and (name != "batch" or not by_signal):
                # Ended before the kill: whole. A batch that was killed goes on where it was.
                assert name == "batch" or (out / LAST.get(name, "step.json")).exists()
                shutil.rmtree(out)
            if killed == kills:
                break
        code = run([*command, "--out", str(out)])
        a, b = arrays(expected), arrays(out)
        told[name] = {
            "killed": killed,
            "length": round(length, 2),
            "latest": round(longest, 2),
            "code": code,
            "differ": [key for key in a if key not in b or not np.array_equal(a[key], b[key], equal_nan=True)],
            "arrays": len(a),
            "left": [path.name for path in [*folder.glob(".*"), *out.rglob(".*")]],
        }
        print(name, json.dumps(told[name]), file=sys.stderr, flush=True)  # noqa: T201
    return told


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), signal.Signals[sys.argv[4]], sys.argv[5:])
    print(json.dumps(found))  # noqa: T201
