"""One step, from its key to its folder; no error of it leaves this module."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hyperspy_assb import staging
from hyperspy_assb.batching.keys import check_unchanged, key_content, key_of, marks_of, read_key, write_key
from hyperspy_assb.batching.options import KINDS
from hyperspy_assb.batching.steps import Outcome, Step, StepStatus
from hyperspy_assb.batching.work import do_work
from hyperspy_assb.errors import AssbError
from hyperspy_assb.report.output import RECORD, OutputError, Progress, check_target, is_result, whole_folder

LOG = "log.txt"
"""In the folder of a result: what was done when."""
_FULL = 1_000_000
"""Bytes; a disk with less left is full."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Redo:
    """Which results are made again.

    Parameters
    ----------
    outdated
        Those that were made of other inputs, with other options or by another version.
    everything
        All of them.
    """

    outdated: bool = False
    everything: bool = False


def run_step(
    step: Step, needed: Mapping[str, Outcome], redo: Redo = Redo(), progress: Progress | None = None
) -> Outcome:
    """Run a step if it is not done, and tell what became of it.

    Parameters
    ----------
    step
        What to do.
    needed
        Outcomes of the steps that it needs, by their names.
    redo
        Which results are made again.
    progress
        Called with stage, done and total.

    Returns
    -------
    Outcome
        Whatever happened, but for an interrupt: errors are told in it.
    """
    begin = time.monotonic()
    key = ""

    def ended(status: StepStatus, message: str = "", **told: Any) -> Outcome:
        seconds = time.monotonic() - begin
        return Outcome(step.name, step.kind, step.folder, status, message, seconds, key, **told)

    with recorded_log() as log, _interrupts() as interrupted:
        try:
            lacking = [name for name in step.needs.values() if not needed[name].status.whole]
            if lacking:
                return ended(StepStatus.NOT_RUN, f"it needs {lacking[0]}, which has no result.")
            staging.clear_away(staging.resolved(step.folder))
            before = _key_before(step, redo)
            marks, keys = marks_of(step), {name: needed[name].key for name in step.needs.values()}
            content = key_content(step, keys)
            key = key_of(content)
            if before == key and not redo.everything:
                return ended(StepStatus.DONE_BEFORE, **_told_before(step.folder))
            if before is not None and not (redo.outdated or redo.everything):
                return ended(StepStatus.OUTDATED, "its files, options or the version have changed since it was made.")
            force = redo.everything or before is not None
            _logger.info("%s: %s of %s", step.name, step.kind, ", ".join(path.name for path in step.files))
            with (
                whole_folder(step.folder, force=force, inputs=step.files) as folder,
                _materials(step.materials),
            ):
                report = _logged(progress or (lambda stage, done, total: None), interrupted)
                told = do_work(step.kind, step.files, _with_paths(step, needed), folder, report)
                interrupted.stop()
                check_unchanged(step, keys, key, marks)
                for message in told.warnings:
                    _logger.warning("%s", message)
                _logger.info("%s: done in %.1f s", step.name, time.monotonic() - begin)
                (folder / LOG).write_text(log.getvalue(), encoding="utf-8", errors="replace")
                # Last: where it stands, the result is whole.
                write_key(folder, step, content)
            return ended(StepStatus.WRITTEN, findings=told.findings, warnings=told.warnings)
        # Whatever goes wrong with one input must not keep the others from being worked on, a library that would leave
        # the program included; the log has it whole.
        except (Exception, SystemExit) as error:
            interrupted.stop()
            if isinstance(error, OutputError) and not redo.everything and key and read_key(step.folder) == key:
                # Another process that runs the same batch was faster.
                return ended(StepStatus.DONE_BEFORE, **_told_before(step.folder))
            _logger.exception("%s: failed", step.name)
            return ended(StepStatus.FAILED, _in_words(error, step.folder), log=log.getvalue())


def _key_before(step: Step, redo: Redo) -> str | None:
    """The key of the result that is there; raises OutputError, before anything is read, where none can be written."""

    def found() -> str | None:
        return read_key(step.folder) if is_result(step.folder) else None

    before = found()
    if before is None or redo.everything:
        try:
            check_target(step.folder, force=redo.everything, inputs=step.files)
        except OutputError:
            # Another process that runs the same batch may have written it in between.
            before = None if redo.everything else found()
            if before is None:
                raise
    return before


def _in_words(error: BaseException, folder: Path) -> str:
    """Why a step failed, in one line."""
    message = " ".join(str(error).split()) or type(error).__name__
    # What libraries raise often says nothing without its kind.
    message = message if isinstance(error, AssbError | ValueError | OSError) else f"{type(error).__name__}: {message}"
    with contextlib.suppress(OSError):
        # NumPy and HDF5 say that something was not written, not why.
        place = next(path for path in folder.resolve().parents if path.is_dir())
        if shutil.disk_usage(place).free < _FULL:
            message += f" (There is no space left on the disk of {place}.)"
    return message


def _materials(paths: Sequence[Path]) -> contextlib.AbstractContextManager[None]:
    if not paths:
        return contextlib.nullcontext()
    from hyperspy_assb.reference.materials import added_materials

    return added_materials(paths)


def _with_paths(step: Step, needed: Mapping[str, Outcome]) -> dict[str, Any]:
    """Options with the paths of the files that they name."""
    paths = {text: str(path) for text, path in step.reads.items()}
    for text, name in step.needs.items():
        paths[text] = str(needed[name].folder / KINDS[needed[name].kind].result)

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(item) for item in value]
        return paths.get(value, value) if isinstance(value, str) else value

    named = KINDS[step.kind].files
    return {option: resolved(value) if option in named else value for option, value in step.options.items()}


def _told_before(folder: Path) -> dict[str, Any]:
    """Findings and warnings of a result that was written earlier."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        record = json.loads((folder / RECORD).read_text("utf-8"))
        return {name: tuple(map(str, record.get(name, ()))) for name in ("findings", "warnings")}
    return {}


@contextlib.contextmanager
def recorded_log() -> Iterator[io.StringIO]:
    """What is logged meanwhile by this package from INFO on, and by others from WARNING on."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, own = logging.getLogger(), logging.getLogger("hyperspy_assb")
    level = own.level
    root.addHandler(handler)
    if own.getEffectiveLevel() > logging.INFO:
        own.setLevel(logging.INFO)
    try:
        yield text
    finally:
        own.setLevel(level)
        root.removeHandler(handler)


class _Interrupted:
    """Whether the user has interrupted: libraries swallow KeyboardInterrupt, or turn it into errors of their own."""

    def __init__(self) -> None:
        self.seen = False

    def stop(self) -> None:
        """Raise KeyboardInterrupt if they have."""
        if self.seen:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _interrupts() -> Iterator[_Interrupted]:
    """Notice interrupts, which go on to who handles them."""
    found = _Interrupted()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield found
        return

    def notice(number: int, frame: FrameType | None) -> Any:
        found.seen = True
        return before(number, frame)

    signal.signal(signal.SIGINT, notice)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)


def _logged(progress: Progress, interrupted: _Interrupted) -> Progress:
    """Progress whose stages also stand in the log, and which is where a swallowed interrupt is heeded."""
    seen: set[str] = set()

    def report(stage: str, done: int, total: int) -> None:
        interrupted.stop()
        if stage not in seen:
            seen.add(stage)
            _logger.info("stage %s", stage)
        progress(stage, done, total)

    return report
