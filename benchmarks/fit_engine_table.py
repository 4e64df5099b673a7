"""Rows of the benchmark of the fit engine, how they are timed and how they are printed."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

NOT_AVAILABLE = "not available"


@dataclass(frozen=True)
class Row:
    """One figure.

    Parameters
    ----------
    scene
        Letter of the scene.
    what
        What was measured.
    figure
        The figure as text.
    bar
        What it should be; nothing where it is only for comparison.
    met
        Whether it is; None where there is no bar.
    """

    scene: str
    what: str
    figure: str
    bar: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        """What the last column says."""
        return {True: "met", False: "missed", None: ""}[self.met]


@dataclass
class Report:
    """All rows of a run."""

    repeats: int = 5
    quick: bool = False
    title: str = "Batched fit"
    rows: list[Row] = field(default_factory=list)
    load: float = field(default_factory=lambda: os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"))
    """Processes that were running before the first measurement: with other work the figures are too low."""

    def add(self, scene: str, what: str, figure: str, bar: str = "", met: bool | None = None) -> None:
        """One more figure."""
        self.rows.append(Row(scene, what, figure, bar, None if met is None else bool(met)))

    def at_least(self, scene: str, what: str, value: float, bar: float, unit: str = "") -> None:
        """A figure that should be large."""
        self.add(scene, what, f"{number(value)}{unit}", f">= {number(bar)}{unit}", value >= bar)

    def at_most(self, scene: str, what: str, value: float, bar: float, unit: str = "") -> None:
        """A figure that should be small."""
        self.add(scene, what, f"{number(value)}{unit}", f"<= {number(bar)}{unit}", value <= bar)

    def missing(self, scene: str, what: str, why: object) -> None:
        """Something that the engine does not do: it counts as missed."""
        self.add(scene, what, NOT_AVAILABLE, str(why), False)

    @contextmanager
    def expecting(self, scene: str, what: str) -> Any:
        """Run our engine: where it does not take the model, the table says so."""
        try:
            yield
        except NotImplementedError as error:
            self.missing(scene, what, error)

    @property
    def exit_code(self) -> int:
        """1 if a bar was missed or something is not available."""
        return int(any(row.met is False for row in self.rows))

    def print(self) -> None:
        """The table."""
        from rich.console import Console
        from rich.table import Table

        size = (
            "quick run: figures are no measurement"
            if self.quick
            else f"medians of {self.repeats}"
            if self.repeats > 1
            else "single runs"
        )
        caption = f"{versions()}; load before the run {self.load:.1f}"
        table = Table("", "what", "figure", "bar", "", title=f"{self.title}, {size}", caption=caption)
        colours = {True: "green", False: "red", None: "default"}
        last = ""
        for row in self.rows:
            if row.scene != last:
                table.add_section()
            table.add_row(row.scene, row.what, row.figure, row.bar, f"[{colours[row.met]}]{row.verdict}[/]")
            last = row.scene
        console = Console(width=None if os.isatty(1) else 150)
        console.print(table)


def number(value: float) -> str:
    """Three digits, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def versions() -> str:
    """What the figures depend on, but for the machine."""
    packages = ("hyperspy", "exspy", "numpy", "scipy", "numba")
    names = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return f"{os.cpu_count()} processors, Python {platform.python_version()}, {names}, {_numexpr()}"


def _numexpr() -> str:
    """HyperSpy evaluates its components with numexpr where it is there."""
    try:
        return f"numexpr {metadata.version('numexpr')}"
    except metadata.PackageNotFoundError:
        return "no numexpr"


def median_seconds(call: Callable[[], object], repeats: int, before: Callable[[], object] | None = None) -> float:
    """Median wall time of a call; ``before`` is not timed."""
    seconds = []
    for _ in range(repeats):
        if before is not None:
            before()
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def ours(model: Any, workers: int = 2, loss: str = "ML-poisson") -> Any:
    """Our engine on a HyperSpy model."""
    import hyperspy_assb
    from hyperspy_assb.models.multifit import FitOptions

    options = FitOptions(workers=workers)
    return hyperspy_assb.multifit(model, loss_function=loss, options=options, show_progressbar=False)
