"""Where steps run: in this process, or on a cluster of dask.distributed, of this machine or of others."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from uuid import uuid4

from hyperspy_assb import staging
from hyperspy_assb.batching.running import Redo, run_step
from hyperspy_assb.batching.steps import Outcome, Step, StepStatus
from hyperspy_assb.errors import AssbError

_STAGES_EVERY = 0.5
"""Seconds between two messages of a worker about one step."""
_SAFE_PATH = "PYTHONSAFEPATH"
_WORKERS_WITHIN = 30.0
"""Seconds for the first worker of a cluster to be there."""


class Watcher(Protocol):
    """Who is told what happens to the steps of a batch."""

    def stage(self, step: str, stage: str, done: int, total: int) -> None:
        """A step has come so far."""

    def ended(self, outcome: Outcome) -> None:
        """A step has ended."""


class Nobody:
    """A watcher that looks away."""

    def stage(self, step: str, stage: str, done: int, total: int) -> None:
        """Nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Nothing."""


class SchedulerError(AssbError, RuntimeError):
    """The cluster cannot be used; the message says why."""


def run_here(steps: Sequence[Step], redo: Redo, watcher: Watcher) -> list[Outcome]:
    """Run steps one after the other in this process.

    Parameters
    ----------
    steps
        Each behind those that it needs.
    redo
        Which results are made again.
    watcher
        Is told what happens.
    """
    outcomes: dict[str, Outcome] = {}
    for step in steps:

        def progress(stage: str, done: int, total: int, name: str = step.name) -> None:
            watcher.stage(name, stage, done, total)

        needed = {name: outcomes[name] for name in step.needs.values()}
        outcomes[step.name] = run_step(step, needed, redo, progress)
        watcher.ended(outcomes[step.name])
    return list(outcomes.values())


def run_on(client: Any, steps: Sequence[Step], redo: Redo, watcher: Watcher) -> list[Outcome]:
    """Run steps on a cluster, each as one task; where a worker is killed, its step runs again on another one.

    Parameters
    ----------
    client
        Of dask.distributed. Its workers see the files under the same paths, and have the same version of the package.
        How often a step is tried whose worker dies is the setting ``distributed.scheduler.allowed-failures`` of the
        scheduler.
    steps, redo, watcher
        As for :func:`run_here`.

    Raises
    ------
    SchedulerError
        If there is no worker, or the client is closed.
    """
    as_completed: Any = _distributed().as_completed
    if getattr(client, "status", "running") != "running":
        raise SchedulerError(f"The client of dask is {client.status}: make a new one, Client(address).")
    try:
        # One that was killed a moment ago is being started again.
        client.wait_for_workers(1, timeout=_WORKERS_WITHIN)
    except TimeoutError as error:
        raise SchedulerError(
            "The cluster has no workers: start one with dask worker, and the address of the scheduler."
        ) from error
    topic = f"hyperspy-assb-{uuid4().hex}"
    outcomes: dict[str, Outcome] = {}
    futures: dict[str, Any] = {}
    with _listening(client, topic, watcher):
        try:
            for step in steps:
                futures[step.name] = _submit(client, step, redo, topic, futures)
            by_key = {future.key: name for name, future in futures.items()}
            planned = {step.name: step for step in steps}
            for future in as_completed(list(futures.values()), loop=client.loop):
                name = by_key[future.key]
                outcome, killed = _outcome(planned[name], future)
                if not killed:
                    outcomes[name] = outcome
                    watcher.ended(outcome)
            # Dask suspects all tasks that a dead worker had before it: one by one, it is known which of them kills.
            for step in steps:
                if step.name not in outcomes:
                    futures[step.name] = _submit(client, step, redo, topic, outcomes)
                    outcomes[step.name], killed = _outcome(step, futures[step.name])
                    watcher.ended(outcomes[step.name])
                    if killed:
                        _sweep(client, step)
        finally:
            # After an interrupt: what has not begun does not begin.
            client.cancel([future for future in futures.values() if not future.done()])
    return [outcomes[step.name] for step in steps]


def _submit(client: Any, step: Step, redo: Redo, topic: str, before: Mapping[str, Any]) -> Any:
    """The future of a step; ``before`` has futures or outcomes of those that it needs."""
    names = list(step.needs.values())
    needed = [before[name] for name in names]
    key = f"{step.name}-{uuid4().hex}"
    return client.submit(_on_worker, step, redo, topic, names, *needed, key=key, pure=False)


def _sweep(client: Any, step: Step) -> None:
    """Remove what the last of the killed workers left of a step: nobody else runs it before the next batch."""
    folder = staging.resolved(step.folder)
    staging.clear_away(folder)
    # Only the machine of the worker knows that it is no more.
    with contextlib.suppress(OSError):
        client.run(staging.clear_away, folder, on_error="ignore")


@contextlib.contextmanager
def local_client(jobs: int) -> Iterator[Any]:
    """A client of processes of this machine, which share its memory and cores.

    Raises
    ------
    SchedulerError
        If dask.distributed is not installed, or the processes do not start, as where a script starts them without a
        guard.
    """
    from hyperspy_assb.fitting.spectra.threads import THREADS_VARIABLE, available_threads

    distributed = _distributed()
    threads = max(1, available_threads() // jobs)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_no_modules_of_the_working_folder())
        try:
            cluster = distributed.LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.ERROR,
                env={THREADS_VARIABLE: str(threads)},
            )
            stack.enter_context(cluster)
            client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
        except (RuntimeError, OSError) as error:
            raise SchedulerError(
                f"No {jobs} processes could be started ({error}). A script that starts processes is read by each of "
                'them: what it does must stand below if __name__ == "__main__":.'
            ) from error
        yield client


@contextlib.contextmanager
def _no_modules_of_the_working_folder() -> Iterator[None]:
    """Python looks there first when it starts processes, and runs the ``socket.py`` of somebody's folder of data."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


@contextlib.contextmanager
def remote_client(address: str) -> Iterator[Any]:
    """A client of a scheduler that is running.

    Raises
    ------
    SchedulerError
        If dask.distributed is not installed, or nothing answers at the address.
    """
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise SchedulerError(f"No scheduler of dask answers at {address} ({error}).") from error
    with client:
        yield client


def _distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise SchedulerError(
            'Several processes need dask.distributed: pip install "hyperspy-assb[distributed]".'
        ) from error
    return distributed


_one_at_a_time = threading.Lock()
"""Steps draw and record warnings, which is done for a process as a whole: threads of a worker take turns."""


def _on_worker(step: Step, redo: Redo, topic: str, names: Sequence[str], *needed: Outcome) -> Outcome:
    """A step in a process of dask."""
    import dask
    import matplotlib as mpl
    from distributed import get_worker

    worker = get_worker()
    last = 0.0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _STAGES_EVERY:
            last = now
            worker.log_event(topic, {"step": step.name, "stage": stage, "done": done, "total": total})

    with _one_at_a_time, dask.config.set(scheduler="threads"):
        # A step is one task: its own blocks do not wait for free workers.
        mpl.use("Agg")
        return run_step(step, dict(zip(names, needed, strict=True)), redo, progress)


@contextlib.contextmanager
def _listening(client: Any, topic: str, watcher: Watcher) -> Iterator[None]:
    def tell(event: Any) -> None:
        _, told = event
        watcher.stage(told["step"], told["stage"], told["done"], told["total"])

    client.subscribe_topic(topic, tell)
    try:
        yield
    finally:
        # The scheduler may be gone.
        with contextlib.suppress(OSError, ValueError):
            client.unsubscribe_topic(topic)


def _outcome(step: Step, future: Any) -> tuple[Outcome, bool]:
    """The outcome of a task, and whether it, or one that it needs, had workers that did not live to its end.

    Not by ``future.status``: a worker that dies takes along what it has not handed over, and until the task has run
    again elsewhere the future is neither finished nor failed.
    """
    try:
        found: Outcome = future.result()
        return found, False
    except Exception as error:  # noqa: BLE001 - of whatever kind the task raised
        killed = type(error).__name__ == "KilledWorker"
        if killed:
            message = (
                "every process that ran it was killed, for want of memory perhaps: give it more, or a smaller file."
            )
        elif future.cancelled():
            message = "it was cancelled, or the scheduler was lost."
        else:
            message = f"it did not run to its end ({type(error).__name__}: {error})."
        return Outcome(step.name, step.kind, step.folder, StepStatus.FAILED, message, log=repr(error)), killed
