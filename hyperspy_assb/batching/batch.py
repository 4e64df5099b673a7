"""Run a recipe: what is done is skipped, what fails ends its own step only, and a page links all reports."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from hyperspy_assb import staging
from hyperspy_assb.batching.batch_report import BatchReport, check_batch_folder, write_status
from hyperspy_assb.batching.live_table import shown
from hyperspy_assb.batching.options import RecipeError
from hyperspy_assb.batching.recipes import plan, read_recipe
from hyperspy_assb.batching.running import Redo
from hyperspy_assb.batching.schedulers import Nobody, Watcher, local_client, remote_client, run_here, run_on
from hyperspy_assb.batching.steps import Outcome, Step
from hyperspy_assb.errors import AssbFileError, AssbTypeError

_STATUS_EVERY = 2.0
"""Seconds between two times at which table and page are written while a batch runs."""


def batch(
    recipe: str | PathLike[str] | Mapping[str, Any],
    out: str | PathLike[str],
    *,
    client: Any = None,
    jobs: int = 1,
    scheduler: str | None = None,
    update: bool = False,
    show_progressbar: bool = False,
) -> BatchReport:
    """Run a recipe over many files.

    A step whose result is whole, made of the same file contents with the same options by the same version, is skipped:
    a batch that was interrupted or killed goes on where it was. An error ends its own step, and those that need it.

    Parameters
    ----------
    recipe
        A TOML file, or its tables; names of files are then relative to the working folder. The guide to batches
        describes what stands in it.
    out
        Folder of the results; each step has its own in it. ``status.csv`` and ``index.html`` there list what became of
        every step, failures first, and link the reports.
    client
        A client of dask.distributed: each step is a task of its cluster, and runs again if its worker is killed.
    jobs
        Processes of this machine, with an equal share of its memory each, where no client is given; 1: this process.
    scheduler
        Address of a scheduler of dask.distributed, as ``tcp://host:8786``, where no client is given.
    update
        Whether results that were made of other contents, with other options or by another version are made again;
        otherwise they are left, and named.
    show_progressbar
        Whether a table in the terminal shows what is running.

    Returns
    -------
    BatchReport
        What became of every step; ``whole`` if all have their result.

    Raises
    ------
    AssbValueError
        If the recipe has an error, before anything runs; the message names the table.
    AssbTypeError
        If jobs, scheduler or client are of another kind.
    AssbFileError
        If the folder cannot be written.
    AssbError
        If no cluster can be reached.

    Examples
    --------
    A file that cannot be read is named, and the others go on:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import hyperspy_assb
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "cut.hspy").write_bytes(b"")
    >>> recipe = folder / "recipe.toml"
    >>> _ = recipe.write_text('inputs.maps = "*.hspy"\\nanalysis.quantify.input = "maps"\\n')
    >>> done = hyperspy_assb.batch(recipe, folder / "results")
    >>> [(outcome.step, outcome.status.value) for outcome in done.outcomes]
    [('quantify/cut', 'failed')]
    >>> done.whole, (folder / "results" / "index.html").exists()
    (False, True)

    A recipe with an error runs nothing:

    >>> _ = recipe.write_text('inputs.maps = "*.hspy"\\nanalysis.quantify.input = "map"\\n')
    >>> try:
    ...     hyperspy_assb.batch(recipe, folder / "others")
    ... except ValueError as error:
    ...     print(error)
    [analysis.quantify] input has 'map', which is not known: did you mean 'maps'?
    """
    if isinstance(recipe, Mapping):
        tables, base = recipe, Path.cwd()
    else:
        path = staging.path_of(recipe, "recipe")
        tables, base = read_recipe(path), staging.resolved(path).parent
    folder = staging.resolved(staging.path_of(out, "out"))
    where = Where(client=client, jobs=jobs, scheduler=scheduler)
    steps = with_materials(plan(tables, base, folder))
    _check_substances(steps)
    with shown(len(steps)) if show_progressbar else contextlib.nullcontext(Nobody()) as watcher:
        outcomes = run_steps(steps, folder, Redo(outdated=update), watcher, where)
    return BatchReport(folder, tuple(outcomes))


def with_materials(steps: Sequence[Step]) -> list[Step]:
    """Steps with the files of materials that were added in this process: other processes do not know of them."""
    from hyperspy_assb.reference.materials import materials_files

    added = [Path(path) for path in materials_files()]
    return [replace(step, materials=tuple(dict.fromkeys((*added, *step.materials)))) for step in steps]


def _check_substances(steps: Sequence[Step]) -> None:
    """Raise RecipeError where options name elements or phases that there are not, with their materials."""
    from hyperspy_assb.reference.data_files import UnknownReferenceError
    from hyperspy_assb.reference.elements import element
    from hyperspy_assb.reference.materials import added_materials, material

    for materials in dict.fromkeys(step.materials for step in steps):
        with added_materials(materials):
            for step in steps:
                if step.materials != materials:
                    continue
                try:
                    for symbol in step.options.get("elements", ()):
                        element(symbol)
                    for name in step.options.get("phases", ()):
                        if name not in step.reads:
                            material(name)
                except UnknownReferenceError as error:
                    raise RecipeError(f"{step.name}: {error}") from error


@dataclass(frozen=True)
class Where:
    """Where steps run: on a client, a scheduler or processes, the first that is given; otherwise here.

    Parameters
    ----------
    client, jobs, scheduler
        As for :func:`batch`.

    Raises
    ------
    AssbTypeError
        If one is of another kind.
    """

    client: Any = None
    jobs: int = 1
    scheduler: str | None = None

    def __post_init__(self) -> None:
        jobs: object = self.jobs
        if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
            raise AssbTypeError(f"jobs must be a whole number from 1, not {self.jobs!r}.")
        if not isinstance(self.scheduler, str | None):
            raise AssbTypeError(f"scheduler must be an address such as tcp://host:8786, not {self.scheduler!r}.")
        if self.client is not None and not callable(getattr(self.client, "scheduler_info", None)):
            raise AssbTypeError(f"client must be one of dask.distributed, not a {type(self.client).__name__}.")


def run_steps(
    steps: Sequence[Step], folder: Path, redo: Redo, watcher: Watcher, where: Where = Where()
) -> list[Outcome]:
    """Run steps, each behind those that it needs, and keep ``status.csv`` and ``index.html`` of their folder.

    Parameters
    ----------
    steps
        What to do.
    folder
        Of table and page.
    redo
        Which results are made again.
    watcher
        Is told what happens.
    where
        Where they run.

    Raises
    ------
    AssbFileError
        If the folder cannot be written.
    """
    recorder = _Recorder(folder, len(steps), watcher)
    check_batch_folder(folder)
    recorder.write()
    with _client(where) as client:
        try:
            outcomes = run_here(steps, redo, recorder) if client is None else run_on(client, steps, redo, recorder)
        finally:
            recorder.write()
    return outcomes


@contextlib.contextmanager
def _client(where: Where) -> Iterator[Any]:
    if where.client is not None:
        yield where.client
    elif where.scheduler is not None:
        with remote_client(where.scheduler) as client:
            yield client
    elif where.jobs > 1:
        with local_client(where.jobs) as client:
            yield client
    else:
        yield None


@dataclass
class _Recorder:
    """Keeps the table and the page of a batch, and tells another watcher."""

    folder: Path
    planned: int
    watcher: Watcher
    outcomes: list[Outcome] = field(default_factory=list)
    written: float = 0.0

    def stage(self, step: str, stage: str, done: int, total: int) -> None:
        self.watcher.stage(step, stage, done, total)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.watcher.ended(outcome)
        if time.monotonic() - self.written > _STATUS_EVERY:
            # A disk that is full now may not be at the end.
            with contextlib.suppress(AssbFileError):
                self.write()

    def write(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_status(self.folder, self.outcomes, self.planned)
        except OSError as error:
            raise AssbFileError(f"{self.folder} cannot be written: {error.strerror or error}.") from error
        self.written = time.monotonic()
