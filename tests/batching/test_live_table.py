"""The table that the terminal shows."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from hyperspy_assb.batching.live_table import LiveTable, shown_text
from hyperspy_assb.batching.steps import Outcome, StepStatus


def drawn(table: LiveTable) -> str:
    console = Console(width=80, file=io.StringIO())
    with console.capture() as capture:
        console.print(table)
    text = capture.get()
    assert "steps" in text
    return text


def outcome(step: str, status: StepStatus, message: str = "") -> Outcome:
    return Outcome(step, "fit", Path("out"), status, message, 3.0)


def test_what_runs_and_what_failed_is_shown_with_whole_names():
    table = LiveTable(40)
    table.stage("fit/after bias 2", "fit", 3, 4)
    table.ended(outcome("fit/after bias 1", StepStatus.FAILED, "[bold]it[/bold] is cut " * 9))
    table.ended(outcome("fit/before", StepStatus.WRITTEN))
    text = drawn(table)
    assert "2 of 40 steps, 1 failed, 1 written" in text
    assert "fit/after bias 2" in text
    assert "fit 75 %" in text
    assert "failed: [bold]it[/bold] is cut" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_late_news_of_a_step_that_has_ended_are_not_shown():
    table = LiveTable(1)
    table.ended(outcome("fit/a", StepStatus.WRITTEN))
    table.stage("fit/a", "read", 0, 0)
    assert "fit/a" not in drawn(table)


def test_many_failures_fit_the_terminal():
    table = LiveTable(500)
    for number in range(400):
        table.ended(outcome(f"fit/{number}", StepStatus.FAILED, "cut"))
    for number in range(400, 500):
        table.stage(f"fit/{number}", "read", 0, 0)
    assert len(drawn(table).splitlines()) < 20


def test_names_do_not_command_the_terminal():
    text = shown_text("a\x1b[2J\x9b3m\x07\r\tb\nµ 電")
    assert text.plain == "a\ufffd[2J\ufffd3m\ufffd\ufffd\ufffdb\nµ 電"
