"""A step of a batch, and what became of it: plain values, which go to other processes as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """One analysis of one file, or of the files that belong together, written to one folder.

    Parameters
    ----------
    name
        Unique in its batch.
    kind
        What is done: a key of :data:`.options.KINDS`.
    files
        What is analysed.
    folder
        Where the result is written.
    options
        As in :data:`.options.KINDS`: strings, numbers, booleans, None and lists of them.
    reads
        Files that options name, by the text that stands for them in the options.
    needs
        Names of the steps whose results options name, by the text that stands for them in the options.
    materials
        Files of materials and electrodes beside those of the package.
    """

    name: str
    kind: str
    files: tuple[Path, ...]
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    reads: Mapping[str, Path] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    materials: tuple[Path, ...] = ()


class StepStatus(Enum):
    """What became of a step; the value is a sentence for whoever reads the table."""

    FAILED = "failed"
    NOT_RUN = "not run"
    OUTDATED = "out of date"
    WRITTEN = "written"
    DONE_BEFORE = "done before"

    @property
    def whole(self) -> bool:
        """Whether the folder holds the result that was asked for."""
        return self in (StepStatus.WRITTEN, StepStatus.DONE_BEFORE)


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Parameters
    ----------
    step
        Its name.
    kind
        What was to be done.
    folder
        Where the result is, if it is whole.
    status
        How it ended.
    message
        Why it has no result that was asked for, in one line.
    seconds
        How long it took.
    key
        Hash of what the result depends on; empty where it is not known.
    findings, warnings
        Of the result, in sentences.
    log
        What happened, for whoever looks for the cause; kept of steps without a result, the others have it in their
        folder.
    """

    step: str
    kind: str
    folder: Path
    status: StepStatus
    message: str = ""
    seconds: float = 0.0
    key: str = ""
    findings: tuple[str, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = field(default=(), repr=False)
    log: str = field(default="", repr=False)

    @property
    def report(self) -> Path:
        """The page of the result."""
        return self.folder / "report.html"
