"""A batch on two processes of dask, one of which is killed while it works, and on one that a file kills; run as a
script by the tests.

Argument: folder with raw/*.npy. Prints JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from distributed import WorkerPlugin
from kill_batches import RECIPE, arrays
from toy_work import use_toy_work

import hyperspy_assb
from hyperspy_assb.batching.batch import Where, run_steps
from hyperspy_assb.batching.recipes import plan
from hyperspy_assb.batching.running import Redo
from hyperspy_assb.batching.schedulers import Nobody, local_client
from hyperspy_assb.batching.steps import Outcome


class Killer(Nobody):
    """Kills one worker when a step has begun."""

    def __init__(self, workers: list[int]) -> None:
        self.workers = workers
        self.killed = 0

    def stage(self, step: str, stage: str, done: int, total: int) -> None:
        if not self.killed:
            os.kill(self.workers[0], signal.SIGKILL)
            self.killed += 1


class Slow(Nobody):
    """Looks at the first step for so long that the worker that has the results of the others is killed meanwhile."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def ended(self, outcome: Outcome) -> None:
        end = time.monotonic() + 30.0
        while self.client and self.client.scheduler_info()["workers"] and time.monotonic() < end:
            time.sleep(0.02)
        self.client = None
        time.sleep(0.1)


class Toys(WorkerPlugin):
    """Sets workers up, those that come later as well."""

    def setup(self, worker: Any) -> None:
        """In the process of the worker."""
        sys.path.insert(0, str(Path(__file__).parent))
        from toy_work import use_toy_work

        use_toy_work()


def main(folder: Path) -> dict[str, Any]:
    os.chdir(folder)
    hyperspy_assb.batch(RECIPE, "undisturbed")
    os.environ["TOY_SECONDS"], os.environ["TOY_DEADLY"] = "0.3", "1"
    out = folder / "out"
    steps = plan(RECIPE, folder, out)
    with local_client(2) as client:
        workers = list(client.run(os.getpid).values())
        client.register_plugin(Toys(), name="toys")
        killer = Killer(workers)
        outcomes = run_steps(steps, out, Redo(), killer, Where(client=client))
        again = run_steps(steps, out, Redo(), Nobody(), Where(client=client))
    np.save(folder / "raw" / "x99.npy", np.ones(1))
    with local_client(1) as client:
        client.register_plugin(Toys(), name="toys")
        late = run_steps(plan(RECIPE, folder, out), out, Redo(), Slow(client), Where(client=client))
    expected, found = arrays(folder / "undisturbed"), arrays(out)
    return {
        "statuses": [outcome.status.value for outcome in outcomes],
        "again": [outcome.status.value for outcome in again],
        "late": [outcome.status.value for outcome in late],
        "said": [outcome.message for outcome in late],
        "killed": killer.killed,
        "differ": [name for name in expected if name not in found or not np.array_equal(expected[name], found[name])],
        "left": [str(path) for path in out.rglob(".*")],
    }


if __name__ == "__main__":
    use_toy_work()
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201
