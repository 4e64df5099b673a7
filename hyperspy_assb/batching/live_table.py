"""A table in the terminal that shows what a batch is doing."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hyperspy_assb.batching.steps import Outcome, StepStatus

_ROWS = 12
"""Steps that are shown at a time, those that run and those without a result."""
_STYLES = {
    StepStatus.FAILED: "red",
    StepStatus.NOT_RUN: "red",
    StepStatus.OUTDATED: "yellow",
    StepStatus.WRITTEN: "green",
    StepStatus.DONE_BEFORE: "green",
}
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def shown_text(text: str, style: str = "") -> Text:
    """Text without the characters by which the title of a signal or the name of a file would command the terminal."""
    return Text(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text), style=style)


class LiveTable:
    """A watcher of a batch that draws what it is told.

    Parameters
    ----------
    planned
        How many steps there are.
    """

    def __init__(self, planned: int) -> None:
        self._planned = planned
        self._running: dict[str, tuple[str, float]] = {}
        self._ended: list[Outcome] = []
        self._names: set[str] = set()

    def stage(self, step: str, stage: str, done: int, total: int) -> None:
        """A step has come so far."""
        if step in self._names:  # told late, by another process
            return
        _, since = self._running.get(step, ("", time.monotonic()))
        share = f" {100 * done // total} %" if total else ""
        self._running[step] = (f"{stage}{share}", since)

    def ended(self, outcome: Outcome) -> None:
        """A step has ended."""
        self._running.pop(outcome.step, None)
        self._names.add(outcome.step)
        self._ended.append(outcome)

    def __rich__(self) -> Group:
        counts = Counter(outcome.status for outcome in self._ended)
        head = Text(f"{len(self._ended)} of {self._planned} steps")
        for status, number in counts.items():
            head.append(f", {number} {status.value}", style=_STYLES[status])
        longest = max(map(len, [*self._names, *self._running]), default=1)
        table = Table(box=None, show_header=False, pad_edge=False, expand=True)
        table.add_column("step", no_wrap=True, overflow="ellipsis", min_width=min(longest, 30))
        table.add_column("what", no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column("seconds", no_wrap=True, justify="right")
        now = time.monotonic()
        failed = [outcome for outcome in self._ended if not outcome.status.whole]
        running = list(self._running.items())[:_ROWS]
        for outcome in failed[-(_ROWS - len(running)) :] if len(running) < _ROWS else []:
            what = shown_text(f"{outcome.status.value}: {outcome.message}", style=_STYLES[outcome.status])
            table.add_row(shown_text(outcome.step), what, f"{outcome.seconds:.0f} s")
        for step, (stage, since) in running:
            table.add_row(shown_text(step, "bold"), shown_text(stage), f"{now - since:.0f} s")
        return Group(head, table)


@contextmanager
def shown(planned: int) -> Iterator[LiveTable]:
    """Show the table on the standard error while the block runs, and what it came to at the end."""
    table, console = LiveTable(planned), Console(stderr=True)
    try:
        with Live(table, console=console, refresh_per_second=4):
            yield table
    finally:
        if not console.is_terminal:  # where it is drawn once, without the end of its last line
            console.line()
