"""What became of a batch: a table in a file, a page that links all reports, and the logs of what failed."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hyperspy_assb import staging
from hyperspy_assb.batching.steps import Outcome, StepStatus
from hyperspy_assb.errors import AssbFileError
from hyperspy_assb.report.output import plain_cell

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("step", "analysis", "status", "message", "seconds", "report")
_ORDER = list(StepStatus)
_LOGS = "logs"
_MARK = "hyperspy_assb batch"
"""In the page, as its generator."""
_LOG_MARK = f"# {_MARK}"
"""Begins the logs: others in that folder are not ours."""


@dataclass(frozen=True)
class BatchReport:
    """What became of the steps of a batch.

    Parameters
    ----------
    folder
        Where the results, ``index.html`` and ``status.csv`` are.
    outcomes
        Of every step, in the order in which they were planned.
    """

    folder: Path
    outcomes: tuple[Outcome, ...] = field(repr=False)

    @property
    def whole(self) -> bool:
        """Whether every step has the result that was asked for."""
        return all(outcome.status.whole for outcome in self.outcomes)

    def summary(self) -> str:
        """How many steps ended how, and what became of those without a result, one line each."""
        lines = [f"{_counted(self.outcomes)}."]
        lines += [f"{o.step}: {o.status.value}: {o.message}" for o in _failures_first(self.outcomes) if o.message]
        return "\n".join(lines)

    def to_dataframe(self) -> pd.DataFrame:
        """The steps as a table.

        Returns
        -------
        pandas.DataFrame
            One row a step: its name, analysis, status, message, seconds, and the page of its report below the folder.
        """
        import pandas as pd

        return pd.DataFrame([_row(outcome, self.folder) for outcome in self.outcomes], columns=list(_COLUMNS))


def check_batch_folder(folder: Path) -> None:
    """Raise AssbFileError if a folder holds a table or a page of these names that is somebody else's."""
    for name, mark in (("status.csv", ",".join(_COLUMNS)), ("index.html", _MARK)):
        path = folder / name
        if path.exists() and not (path.is_file() and mark in path.read_text("utf-8", errors="replace")[:2000]):
            raise AssbFileError(f"{path} was not written by a batch, and would be replaced: choose another folder.")
    if (folder / _LOGS).exists() and not (folder / _LOGS).is_dir():
        raise AssbFileError(f"{folder / _LOGS} is a file, and logs of a batch are a folder: choose another folder.")


def write_status(folder: Path, outcomes: Sequence[Outcome], planned: int) -> None:
    """Write ``status.csv``, ``index.html``, and the logs of steps without a result, each at once.

    Parameters
    ----------
    folder
        Of the batch.
    outcomes
        Of the steps that have ended.
    planned
        How many there are.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    rows = [tuple(map(plain_cell, _row(outcome, folder))) for outcome in _failures_first(outcomes)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([_COLUMNS, *rows])
    _write(folder / "status.csv", text.getvalue())
    logs = _write_logs(folder, outcomes)
    _write(folder / "index.html", _page(folder, outcomes, planned, logs))


def _failures_first(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: _ORDER.index(outcome.status))


def _counted(outcomes: Iterable[Outcome]) -> str:
    counts = Counter(outcome.status for outcome in outcomes)
    return ", ".join(f"{counts[status]} {status.value}" for status in reversed(_ORDER) if counts[status]) or "no steps"


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _row(outcome: Outcome, folder: Path) -> tuple[Any, ...]:
    report = _relative(outcome.report, folder) if outcome.status.whole else ""
    return (
        outcome.step,
        outcome.kind,
        outcome.status.value,
        outcome.message,
        round(outcome.seconds, 1),
        report,
    )


def _write_logs(folder: Path, outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Logs of steps without a result, by the names of the steps; those of earlier runs go."""
    names: dict[str, str] = {}
    place = folder / _LOGS
    for outcome in outcomes:
        slug = re.sub(r"[^\w.-]+", "_", outcome.step)[:60]
        if outcome.log:
            place.mkdir(exist_ok=True)
            name = next(n for n in _numbered(slug) if n not in names.values() and _replaceable(place / n))
            _write(place / name, f"{_LOG_MARK}\n{outcome.log}")
            names[outcome.step] = name
    if place.is_dir():
        # The folder stays when it is empty: another batch may be about to write into it.
        # So do hidden names, which another batch is writing under.
        for old in place.glob("[!.]*.txt"):
            if old.name not in names.values() and _replaceable(old):
                old.unlink(missing_ok=True)
    return names


def _replaceable(path: Path) -> bool:
    """Whether there is no file, or a log of a batch: a folder of results may hold other logs."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(len(_LOG_MARK)) == _LOG_MARK
    except FileNotFoundError:
        return True


def _numbered(slug: str) -> Iterable[str]:
    yield f"{slug}.txt"
    yield from (f"{slug}-{number}.txt" for number in range(2, 10**6))


def _page(folder: Path, outcomes: Sequence[Outcome], planned: int, logs: dict[str, str]) -> str:
    from hyperspy_assb.report.html import first_sentence, page_templates

    rows = [
        {
            "step": outcome.step,
            "kind": outcome.kind,
            "status": outcome.status.value,
            "whole": outcome.status.whole,
            "text": outcome.message or first_sentence(next(iter(outcome.findings), "")),
            "seconds": f"{outcome.seconds:.1f}",
            # A path that begins with a dot is no address of another kind, whatever a file is called.
            "link": f"./{quote(os.fsencode(_relative(outcome.report, folder)))}" if outcome.status.whole else "",
            "log": f"./{quote(f'{_LOGS}/{logs[outcome.step]}')}" if outcome.step in logs else "",
        }
        for outcome in _failures_first(outcomes)
    ]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    template = page_templates().get_template("index.html.j2")
    return template.render(rows=rows, mark=_MARK, counts=_counted(outcomes), left=planned - len(outcomes), time=now)


def _write(path: Path, text: str) -> None:
    with staging.whole_file(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace", newline="")
