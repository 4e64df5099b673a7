"""A batch on a scheduler and two workers of dask that are programs of their own; run as a script by the tests.

Argument: folder with raw/*.npy. One worker is killed with its nanny while the batch runs. Prints JSON.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from kill_batches import arrays
from toy_work import use_toy_work

import hyperspy_assb

RECIPE = '[inputs]\nmaps = "raw/x*.npy"\ndeadly = "raw/deadly.npy"\n[analysis.fit]\ninput = "maps"\n'
RECIPE += '[analysis.read]\nkind = "fit"\ninput = "deadly"\n'


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "status.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def main(folder: Path) -> dict[str, Any]:
    os.chdir(folder)
    recipe, out, address = folder / "recipe.toml", folder / "out", folder / "scheduler.json"
    recipe.write_text(RECIPE)
    hyperspy_assb.batch(recipe, "undisturbed")
    environment = {**os.environ, "TOY_SECONDS": "0.5", "TOY_DEADLY": "1"}
    dask = [sys.executable, "-m", "dask"]
    worker = [*dask, "worker", "--scheduler-file", str(address), "--nthreads", "1", "--no-dashboard"]
    worker += ["--preload", str(Path(__file__).with_name("toy_work.py")), "--local-directory", str(folder / "dask")]
    scheduler = [*dask, "scheduler", "--scheduler-file", str(address), "--port", "0", "--no-dashboard"]
    with ExitStack() as stack:

        def begin(command: list[str]) -> subprocess.Popen[bytes]:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
            stack.callback(lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
            return process

        begin(scheduler)
        while not address.exists():
            time.sleep(0.1)
        workers = [begin(worker), begin(worker)]
        from distributed import Client

        with Client(scheduler_file=str(address)) as client:
            client.wait_for_workers(2, timeout=120)
            place = json.loads(address.read_text())["address"]
            code = "from hyperspy_assb.cli import app; app()"
            command = [sys.executable, "-c", code, "batch", str(recipe), "--out", str(out), "--scheduler", place]
            batch = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            while len(list(out.glob("fit/.*.part"))) < 2 and batch.poll() is None:
                time.sleep(0.02)
            os.killpg(workers[0].pid, signal.SIGKILL)
            killed = workers[0].wait() == -signal.SIGKILL
            result = batch.wait()
            first = rows(out)
            left = [str(path) for path in out.rglob(".*")]
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    expected, found = arrays(folder / "undisturbed"), arrays(out)
    return {
        "code": result,
        "killed": killed,
        "statuses": Counter(row["status"] for row in first),
        "deadly": next(row["message"] for row in first if row["step"] == "read/deadly"),
        "differ": [name for name in expected if name not in found or not np.array_equal(expected[name], found[name])],
        "left": left,
        "again": Counter(row["status"] for row in rows(out)),
        "said": {row["step"]: row["message"] for row in rows(out) if row["status"] == "failed"},
    }


if __name__ == "__main__":
    use_toy_work()
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201
