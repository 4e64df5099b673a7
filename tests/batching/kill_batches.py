"""Kill a batch at random moments and start it again; run as a script by the tests.

Arguments: folder with raw/*.npy, number of kills, seed. Prints JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from toy_work import use_toy_work

import hyperspy_assb

RECIPE = {"inputs": {"maps": "raw/*.npy"}, "analysis": {"fit": {"input": "maps"}}}


def in_child(out: str) -> int:
    """Start a batch in a copy of this process, which is spared the imports."""
    process = os.fork()
    if process == 0:
        try:
            hyperspy_assb.batch(RECIPE, out)
        finally:
            os._exit(0)
    return process


def whole(out: Path) -> dict[str, tuple[int, int]]:
    """What tells a result from one that was made again."""
    # Not those that were whole, but had not yet their name.
    found = [path for path in out.glob("fit/*/step.json") if not path.parent.name.startswith(".")]
    return {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def arrays(out: Path) -> dict[str, Any]:
    return {str(path.relative_to(out)): np.load(path) for path in sorted(out.glob("fit/*/sum*.npy"))}


def main(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    os.chdir(folder)
    hyperspy_assb.batch(RECIPE, "undisturbed")
    # Time enough for every kill to find something to do.
    os.environ["TOY_SECONDS"] = "0.06"
    out, known, touched, killed, busy = folder / "out", {}, [], 0, 0
    for number, moment in enumerate(np.random.default_rng(seed).uniform(0.0, 0.15, kills)):
        process = in_child("out")
        # However busy the machine is: most kills come while a result is written, some before or between.
        end = time.monotonic() + (20.0 if number % 4 else 0.0)
        while time.monotonic() < end and not list(out.glob(f"fit/.*-{process}-*.part")):
            time.sleep(0.001)
        time.sleep(moment)
        os.kill(process, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
        busy += bool(list(out.glob("fit/.*.part")))
        now = whole(out)
        touched += [name for name, mark in known.items() if now.get(name) != mark]
        known = now
    last = hyperspy_assb.batch(RECIPE, "out")
    now = whole(out)
    touched += [name for name, mark in known.items() if now.get(name) != mark]
    expected, found = arrays(folder / "undisturbed"), arrays(out)
    differ = sorted(set(expected) ^ set(found))
    differ += [name for name in expected if name in found and not np.array_equal(expected[name], found[name])]
    statuses = Counter("written or done before" if o.status.whole else o.status.value for o in last.outcomes)
    left = [str(path) for path in out.rglob(".*")]
    return {
        "killed": killed,
        "kills that found work under way": busy,
        "touched again": touched,
        "differ": differ,
        "statuses": statuses,
        "left": left,
    }


if __name__ == "__main__":
    use_toy_work()
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))  # noqa: T201
