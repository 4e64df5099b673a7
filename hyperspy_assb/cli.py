"""The command ``assb``.

Only the standard library, typer and rich are imported here: the help must not wait for the science.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from hyperspy_assb import __version__, staging
from hyperspy_assb.batching.batch import batch, run_steps, with_materials
from hyperspy_assb.batching.live_table import shown_text
from hyperspy_assb.batching.options import MOST, RecipeError, check_options, is_number
from hyperspy_assb.batching.running import LOG, Redo, recorded_log
from hyperspy_assb.batching.schedulers import run_here
from hyperspy_assb.batching.steps import Outcome, Step, StepStatus
from hyperspy_assb.errors import AssbError
from hyperspy_assb.progress import progress_bar
from hyperspy_assb.report.output import FIGURES, OutputError, own_drawing, whole_folder
from hyperspy_assb.report.recipe import Recipe, UsageError, is_box, parse_elements, parse_phases, read_recipe

_logger = logging.getLogger(__name__)


class _OneLineErrors(typer.core.TyperGroup):
    """Say what is wrong with the command line in one red line, and leave with 2."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        # typer brings its own copy of click, or the installed one: their usage errors have only this in common, and
        # every other error goes on as it came.
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            message = error.format_message().strip() or "a command is missing"
            message = " ".join(message.split())
            _complain(f"{message}{'' if message.endswith(('.', '?')) else '.'} See assb --help.")
            raise SystemExit(2) from None
        except (KeyboardInterrupt, typer.Abort):
            _complain("stopped; nothing was written.")
            raise SystemExit(130) from None
        raise SystemExit(code if isinstance(code, int) else 0)


# The first whose lamella has 50 pixels of every kind of x in both states, which is what the comparison needs.
DEMO_SEED = 6

app = typer.Typer(
    cls=_OneLineErrors,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="EELS, EDX and 4D-STEM of all-solid-state batteries. Each command writes a folder with maps, tables, figures "
    "and a report.",
    epilog="""[bold]Examples[/bold]

assb demo --out demo

assb fit after.dm4 --out result --elements Li,Fe,P,O

assb fit after.dm4 --out after --references "LiFePO4=0:8,0:8" --references "FePO4=20:30,4:12"

assb fit before.dm4 --out before --references after/delithiation.hspy

assb fit edx.emd --out edx --thickness 100

assb compare before.dm4 after.dm4 --out comparison

assb index scan.blo --phases lfp,fp,lagp --out maps

assb series movie.emd --log cv.mpt --out series

assb batch night.toml --out results --jobs 4""",
)

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the result; written completely or not at all.")]
Materials = Annotated[
    list[Path] | None,
    typer.Option(
        "--materials", help="TOML file of your own materials and electrodes, such as mine.toml; repeat for several."
    ),
]
Reader = Annotated[
    str | None,
    typer.Option(help="Reader of the format, such as HSPY or USID, where the file extension is ambiguous (.hdf5)."),
]
SignalType = Annotated[
    str | None,
    typer.Option(
        help="Type of the signals, where the file does not state it or is wrong: EELS, EDS, ACOM or STEM_SERIES, "
        "depending on the command."
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(help="Title of the signal to use from a file that holds several, or its number from 0."),
]
Figures = Annotated[str, typer.Option(help="png; svg writes the figures as vector files as well, with editable text.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the folder once the new result is complete.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"assb {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Log progress, and show where an error arose; goes before the command."),
    ] = False,
) -> None:
    """EELS, EDX and 4D-STEM of all-solid-state batteries."""
    # HyperSpy misses numexpr for each component; fits here do not use it.
    logging.getLogger("hyperspy._components.expression").setLevel(logging.ERROR)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a terminal cannot show must not end what was done.
        sys.stdout.reconfigure(errors="backslashreplace")
    if verbose:
        console = Console(stderr=True)
        handler = RichHandler(console=console, show_path=False, markup=False)
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", handlers=[handler])


@app.command(
    rich_help_panel="See an example", epilog="[bold]Example[/bold]: assb demo --out demo --shape 32x32 --dose 3e5"
)
def demo(
    out: Out,
    shape: Annotated[str, typer.Option(help="Rows x columns of the map.")] = "64x64",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the structure and the noise.")] = DEMO_SEED,
    dose: Annotated[float, typer.Option(help="Electrons in a spectrum.")] = 1e6,
    force: Force = False,
) -> None:
    """Analyse a virtual lamella before and after bias by EELS, EDX and 4D-STEM, and compare with the truth."""
    size = re.fullmatch(r"(\d+)x(\d+)", shape.strip().lower())
    if size is None or min(map(int, size.groups())) < 8:
        raise typer.BadParameter(f"{shape!r} is not rows x columns, as in 64x64, of at least 8.", param_hint="--shape")
    if not 1e3 <= dose <= 1e12:
        raise typer.BadParameter(f"{dose:g} electrons are not between 1e3 and 1e12.", param_hint="--dose")
    rows, columns = map(int, size.groups())
    with _one_line_failure(), _progress() as stage, _result_folder(out, "demo", force=force) as folder:
        with _quiet_imports():
            from hyperspy_assb.demo import run_demo, write_demo
        with progress_bar("demo", report=stage):
            result = run_demo((rows, columns), seed=seed, dose=dose, progress=stage)
        stage("write", 0, 0)
        write_demo(result, folder)
        stage("write", 1, 1)
    _finish(out, result.findings, result.warnings)


@app.command(
    rich_help_panel="Map lithium, elements or phases",
    epilog="""[bold]Examples[/bold]

assb fit map.dm4 --out result --elements Li,Mn,Co,Ni,O

assb fit aluminium.dm3 --out result --elements Al --valence plasmon

assb fit edx.emd --out edx --thickness 100 --k-factors factors.csv

assb fit edx.emd --out edx --materials mine.toml --phases NMC811,argyrodite,carbon --k-factors factors.csv

assb fit *.dm4 --out results --recipe recipe.toml

A recipe holds [bold]elements[/bold] and [bold]phases[/bold] (lists), [bold]valence[/bold],
[bold]references[/bold] (the name of a file, or a table of boxes by phase), [bold]thickness[/bold],
[bold]k_factors[/bold] (the name of a file), [bold]absorption[/bold] and [bold]correct_energy[/bold] (true or false);
options given here come before it.""",
)
def fit(
    files: Annotated[list[Path], typer.Argument(help="Spectrum images in any format that HyperSpy reads.")],
    out: Out,
    elements: Annotated[
        str | None,
        typer.Option(
            help="Elements whose edges are fitted, Li,Fe,P,O by default; for EDX, elements to look for, by default "
            "those of the cell and of its preparation."
        ),
    ] = None,
    phases: Annotated[
        str | None,
        typer.Option(help="EDX: materials to look for, such as LiFePO4,LAGP,carbon; by default those of the cell."),
    ] = None,
    materials: Materials = None,
    valence: Annotated[str | None, typer.Option(help="continuum (the default), or plasmon for simple metals.")] = None,
    references: Annotated[
        list[str] | None,
        typer.Option(
            help='Pure pixels: "LiFePO4=y0:y1,x0:x1", repeated; a .npz file of boolean arrays by phase; or a '
            "delithiation.hspy of another state of the specimen."
        ),
    ] = None,
    thickness: Annotated[
        float | None, typer.Option(help="EDX: mean thickness in nm, where the metadata do not suffice to estimate it.")
    ] = None,
    k_factors: Annotated[
        Path | None, typer.Option(help="EDX: table of Cliff-Lorimer factors (line, factor, uncertainty).")
    ] = None,
    absorption: Annotated[
        bool | None, typer.Option(help="EDX: correct for absorption in the specimen (the default).")
    ] = None,
    correct_energy: Annotated[
        bool | None,
        typer.Option("--correct-energy", help="EDX: first correct energy axis and resolution by the X-ray lines."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML file with the options above.")] = None,
    reader: Reader = None,
    signal_type: SignalType = None,
    dataset: Dataset = None,
    figures: Figures = "png",
    force: Force = False,
) -> None:
    """Fit low-loss EELS maps, with x where references are named, or quantify elements and phases of EDX maps.

    Each of several files is written to its own folder; those that fail do not stop the others.
    """
    try:
        options = {} if recipe is None else read_recipe(recipe)
        given = {
            "elements": parse_elements(elements),
            "phases": parse_phases(phases),
            "valence": valence,
            "references": tuple(references) if references else None,
            "thickness": thickness,
            "k_factors": None if k_factors is None else str(k_factors),
            "absorption": absorption,
            "correct_energy": correct_energy or None,
        }
        plan = Recipe(**{**options, **{name: value for name, value in given.items() if value is not None}})
        targets = _targets(files, out)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None
    with _one_line_failure():
        _add_materials(materials)
    chosen, reads = _fit_options(plan)
    chosen |= _reading("fit", reader, signal_type, dataset, figures)
    _run([Step(f.name, "fit", (f,), target, chosen, reads) for f, target in targets.items()], out, force=force)


def _fit_options(plan: Recipe) -> tuple[dict[str, Any], dict[str, Path]]:
    """What differs from the defaults, and the files that it names, by their names."""
    chosen = {key: value for key, value in vars(plan).items() if value != getattr(Recipe(), key)}
    reads = {Path(entry).name: Path(entry) for entry in plan.references if not is_box(entry)}
    if plan.references:
        chosen["references"] = [entry if is_box(entry) else Path(entry).name for entry in plan.references]
    if plan.k_factors is not None:
        if Path(plan.k_factors).name in reads:
            raise typer.BadParameter("references and k-factors are two files of one name.", param_hint="--k-factors")
        reads[Path(plan.k_factors).name] = Path(plan.k_factors)
        chosen["k_factors"] = Path(plan.k_factors).name
    lists = {name: list(chosen[name]) for name in ("elements", "phases") if name in chosen}
    return {**chosen, **lists}, reads


@app.command(
    rich_help_panel="Map phases and orientations",
    epilog="""[bold]Examples[/bold]

assb index scan.blo --phases lfp,fp,lagp --out maps

assb index scan.mib --phases lfp,fp,lagp,mine.cif --out maps --scale 0.012 --centre 128,130 --beam-energy 200

assb index scan.hspy --phases lfp,fp --out maps --no-calibrate

assb index stack.h5 --reader EMD --scan-shape 64,128 --phases lfp,fp --out maps

assb index scan.blo --materials mine.toml --phases NMC811,lagp --out maps

Phases are materials that have a crystal structure ([bold]lfp, fp, lagp, lvp[/bold], and your own of
[bold]--materials[/bold]), or paths of CIFs. The scan is read block by block: it need not fit in
memory.""",
)
def index(
    files: Annotated[list[Path], typer.Argument(help="4D-STEM scans in any format that HyperSpy reads.")],
    phases: Annotated[str, typer.Option(help="Candidate phases, such as lfp,fp,lagp, or paths of CIFs.")],
    out: Out,
    materials: Materials = None,
    scale: Annotated[float | None, typer.Option(help="1/Å per pixel, where the file does not state it.")] = None,
    centre: Annotated[str | None, typer.Option(help="Column and row of the direct beam in pixels, as 128,130.")] = None,
    scan_rotation: Annotated[
        float | None, typer.Option(help="Azimuth in degrees of the scan's x axis on the camera.")
    ] = None,
    beam_energy: Annotated[float | None, typer.Option(help="keV, where the file does not state it.")] = None,
    precession_angle: Annotated[float | None, typer.Option(help="Degrees, where the file does not state it.")] = None,
    scan_shape: Annotated[
        str | None, typer.Option(help="Rows and columns of a scan that comes as one line, as 64,128.")
    ] = None,
    calibrate: Annotated[bool, typer.Option(help="Refine scale, centre and ellipse on the patterns.")] = True,
    refine: Annotated[bool, typer.Option(help="Refine orientations below the spacing of the templates.")] = True,
    reader: Reader = None,
    signal_type: SignalType = None,
    dataset: Dataset = None,
    figures: Figures = "png",
    force: Force = False,
) -> None:
    """Find phase and orientation in every pattern of a 4D-STEM scan; map grains and amorphous material."""
    names = [name.strip() for name in phases.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("name at least one phase, as lfp,fp,lagp.", param_hint="--phases")
    place = None
    if centre is not None:
        place = _parse_numbers(centre, 2, "column,row, as 128,130", "--centre")
    shape = None
    if scan_shape is not None:
        sizes = re.fullmatch(r"\s*(\d{1,9})\s*[,x]\s*(\d{1,9})\s*", scan_shape)
        if sizes is None:
            raise typer.BadParameter(f"{scan_shape!r} is not rows,columns, as 64,128.", param_hint="--scan-shape")
        shape = [int(sizes[1]), int(sizes[2])]
    given = {
        "scan_shape": shape,
        "scale": scale,
        "centre": place,
        "scan_rotation": scan_rotation,
        "beam_energy": beam_energy,
        "precession_angle": precession_angle,
        "calibrate": calibrate,
        "refine": refine,
    }
    reads = {Path(name).name: Path(name) for name in names if name.lower().endswith(".cif")}
    offered = [Path(name).name if Path(name).name in reads else name for name in names]
    if len(set(offered)) < len(offered):
        raise typer.BadParameter("two phases have one name.", param_hint="--phases")
    options = {"phases": offered, **{name: value for name, value in given.items() if value is not None}}
    options = _checked("index", options) | _reading("index", reader, signal_type, dataset, figures)
    try:
        targets = _targets(files, out)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None
    with _one_line_failure():
        _add_materials(materials)
    _run([Step(f.name, "index", (f,), target, options, reads) for f, target in targets.items()], out, force=force)


@app.command(
    rich_help_panel="Compare states",
    epilog="""[bold]Examples[/bold]

assb compare before.dm4 after.dm4 --out comparison

assb compare before.dm4 after.dm4 --out lagp --region 0:40,10:64

assb compare 0V.dm4 2V.dm4 4V.dm4 --bias 0,2,4 --out series""",
)
def compare(
    files: Annotated[list[Path], typer.Argument(help="The state before bias, and the state or states after it.")],
    out: Out,
    region: Annotated[
        str | None, typer.Option(help='Pixels to compare, in every state: "y0:y1,x0:x1", or "x0:x1" of a line.')
    ] = None,
    bias: Annotated[str | None, typer.Option(help="Potential of each state in V, as 0,2,4.")] = None,
    zero_loss: Annotated[
        str, typer.Option(help="common: one zero-loss peak for all states; each: one per state, if resolutions differ.")
    ] = "common",
    normalisation: Annotated[str, typer.Option(help="Measure of thickness: log_ratio, area or none.")] = "log_ratio",
    permutations: Annotated[int, typer.Option(min=19, max=MOST, help="Permutations of blocks of pixels.")] = 999,
    reader: Reader = None,
    signal_type: SignalType = None,
    dataset: Dataset = None,
    figures: Figures = "png",
    force: Force = False,
) -> None:
    """Compare low-loss spectra of two or more states: which bands changed by more than noise."""
    if len(files) < 2:
        raise typer.BadParameter("name two files or more: before, and after.", param_hint="FILES")
    if zero_loss not in ("common", "each"):
        raise typer.BadParameter(f"{zero_loss!r} is neither common nor each.", param_hint="--zero-loss")
    if normalisation not in ("log_ratio", "area", "none"):
        raise typer.BadParameter(f"{normalisation!r} is not log_ratio, area or none.", param_hint="--normalisation")
    options = {"zero_loss": zero_loss, "normalisation": normalisation, "permutations": permutations}
    if region is not None:
        options["region"] = _parse_limits(region)
    options = _checked("compare", options) | _reading("compare", reader, signal_type, dataset, figures)
    if bias is not None:
        told = f"a list of numbers for {len(files)} files, potentials as 0,2,4"
        options["bias"] = _parse_numbers(bias, len(files), told, "--bias")
    _run([Step("compare", "compare", tuple(files), out, options)], out, force=force)


@app.command(
    rich_help_panel="Follow an image series",
    epilog="""[bold]Examples[/bold]

assb series movie.emd --log cv.mpt --out series

assb series stack.tif --interval 2.5 --out series --film

assb series movie.emd --dose 30 --control beam.emd --out series""",
)
def series(
    file: Annotated[Path, typer.Argument(help="Series of STEM images: frames against time.")],
    out: Out,
    log: Annotated[Path | None, typer.Option(help="Log of the potentiostat or biasing holder.")] = None,
    offset: Annotated[
        str,
        typer.Option(
            help="Time of the log in s when the series begins; stamps: from both files; steps: from the current, "
            "where the beam is off between frames."
        ),
    ] = "stamps",
    interval: Annotated[float | None, typer.Option(help="s between frames, where the file does not say.")] = None,
    dose: Annotated[
        float | None, typer.Option(help="Electrons per nm² in a frame, where the file does not say.")
    ] = None,
    control: Annotated[Path | None, typer.Option(help="Control series under the beam alone.")] = None,
    film: Annotated[bool, typer.Option(help="Write an annotated film (needs the extra series).")] = False,
    reader: Reader = None,
    signal_type: SignalType = None,
    dataset: Dataset = None,
    figures: Figures = "png",
    force: Force = False,
) -> None:
    """Measure drift, grains, cracks and beam effects in an image series, against time and potential."""
    beside = [path for path in (log, control) if path is not None]
    reads = {path.name: path for path in beside}
    if len(reads) < len(beside):
        raise typer.BadParameter("log and control are two files of one name.", param_hint="--control")
    try:
        begin: str | float = float(offset)
    except ValueError:
        begin = offset
    given = {
        "log": log and log.name,
        "offset": begin if begin != "stamps" else None,
        "interval": interval,
        "dose": dose,
        "control": control and control.name,
        "film": film or None,
    }
    options = _checked("series", {name: value for name, value in given.items() if value is not None})
    options |= _reading("series", reader, signal_type, dataset, figures)
    _run([Step(file.name, "series", (file,), out, options, reads)], out, force=force)


@app.command(
    rich_help_panel="Combine signals, or many files",
    epilog="""[bold]Example[/bold]: assb lamella L1.toml --out L1

The recipe names a [bold]reference[/bold], and for every member a file of a signal or a result, its bias,
and the member whose pixels it shares, if any:

reference = "haadf"

\\[members.haadf] file = "haadf.hspy"

\\[members.x] file = "delithiation.hspy", bias = 5.0, frame = "eels" """,
)
def lamella(
    recipe: Annotated[Path, typer.Argument(help="TOML file that lists the signals and results of one lamella.")],
    out: Out,
    force: Force = False,
) -> None:
    """Align all signals of one lamella in one frame, and list where they contradict each other."""
    with _one_line_failure(), _result_folder(out, "lamella", force=force, inputs=[recipe]) as folder:
        with _quiet_imports():
            from hyperspy_assb.lamella.lamella_recipe import run_lamella
        findings, messages = run_lamella(recipe, folder)
    _finish(out, findings, messages)


@app.command(
    "batch",
    rich_help_panel="Combine signals, or many files",
    epilog="""[bold]Examples[/bold]

assb batch night.toml --out results

assb batch night.toml --out results --jobs 4

assb batch night.toml --out results --scheduler tcp://10.0.0.5:8786 --update

A recipe has [bold]\\[inputs][/bold] (files, patterns, pairs, series), [bold]\\[references][/bold],
[bold]\\[analysis.NAME][/bold] (fit, quantify, interface, compare, index, series or lamella) and
[bold]\\[outputs][/bold].
Run the same command again to continue an interrupted batch.""",
)
def run_batch(
    recipe: Annotated[Path, typer.Argument(help="TOML file of inputs and analyses.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results, with index.html and status.csv.")],
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes on this machine.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask.distributed scheduler, such as tcp://host:8786.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Repeat results whose files, options or version have changed.")
    ] = False,
) -> None:
    """Analyse many files by a recipe; continue where a batch was interrupted.

    Finished results are skipped; an error ends its own step only. The exit code is 0 only if every result is complete.
    """
    _draw_without_screen()
    if not logging.getLogger().handlers:  # without --verbose: what dask says of its workers, the table says
        logging.getLogger("distributed").setLevel(logging.ERROR)
    try:
        found = batch(recipe, out, jobs=jobs, scheduler=scheduler, update=update, show_progressbar=True)
    except RecipeError as error:
        raise typer.BadParameter(str(error)) from None
    except AssbError as error:
        _complain(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _complain("stopped; finished results are kept, and the same command continues from there.")
        raise typer.Exit(130) from None
    console = Console(stderr=True, soft_wrap=True)
    for outcome in found.outcomes:
        if not outcome.status.whole:
            console.print(shown_text(f"{outcome.step}: {outcome.status.value}: {outcome.message}", style="red"))
    if any(outcome.status is StepStatus.OUTDATED for outcome in found.outcomes):
        console.print(shown_text("Repeat outdated results with --update.", style="yellow"))
    Console(soft_wrap=True).print(shown_text(f"Written: {found.folder / 'index.html'}", style="green"))
    if not found.whole:
        raise typer.Exit(1)


@app.command(rich_help_panel="Report a bug", epilog="[bold]Example[/bold]: assb info")
def info() -> None:
    """Print what a bug report needs: versions, machine, caches, environment."""
    with _quiet_imports():
        from hyperspy_assb.installation import describe_installation
    console = Console(soft_wrap=True)
    for title, rows in describe_installation().items():
        console.print(shown_text(title, style="bold"))
        width = max(map(len, rows))
        for name, value in rows.items():
            console.print(shown_text(f"  {name:<{width}}  {value}"))


def _check_figures(kind: str) -> None:
    if kind not in FIGURES:
        raise typer.BadParameter(f"{kind!r} is not {' or '.join(FIGURES)}.", param_hint="--figures")


def _reading(
    kind: str, reader: str | None, signal_type: str | None, dataset: str | None, figures: str
) -> dict[str, Any]:
    """Options of a step that say how its files are read, and its figures are written."""
    _check_figures(figures)
    given = {"reader": reader, "signal_type": signal_type, "dataset": dataset}
    given["figures"] = figures if figures != "png" else None
    return _checked(kind, {k: v for k, v in given.items() if v is not None}, complete=False)


def _checked(kind: str, options: dict[str, Any], *, complete: bool = True) -> dict[str, Any]:
    """Options of a step as a recipe would have them."""
    try:
        return check_options(kind, options, "--", complete=complete)
    except RecipeError as error:
        raise typer.BadParameter(str(error).removeprefix("--: ")) from None


def _add_materials(paths: list[Path] | None) -> None:
    """Make the user's own materials known to every step of a command."""
    if paths:
        from hyperspy_assb.reference.materials import add_materials

        for path in paths:
            add_materials(path)


def _parse_numbers(text: str, count: int, told: str, option: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(is_number, numbers)):
        raise typer.BadParameter(f"{text!r} is not {told}.", param_hint=option)
    return numbers


def _parse_limits(text: str) -> str:
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d+:\d+", part) for part in parts):
        raise typer.BadParameter(f"{text!r} is not y0:y1,x0:x1.", param_hint="--region")
    return ",".join(parts)


def _targets(files: list[Path], out: Path) -> dict[Path, Path]:
    """Folder of every file: the one that was named for one file, folders in it for several."""
    if len(files) == 1:
        return {files[0]: out}
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"Two files are named {twice}: take them one by one, each with its own --out.")
    return {file: out / file.stem for file in files}


def _run(steps: list[Step], out: Path, *, force: bool) -> None:
    """Run steps one after the other, and leave with 1 if one of them has no result."""
    _draw_without_screen()
    steps, redo, watcher = with_materials(steps), Redo(everything=force), _Bars()
    with _one_line_failure(), watcher:
        if len(steps) == 1:
            outcomes = run_here(steps, redo, watcher)
        else:
            outcomes = run_steps(steps, staging.resolved(staging.path_of(out, "--out")), redo, watcher)
    if not all(outcome.status.whole for outcome in outcomes):
        raise typer.Exit(1)


class _Bars:
    """Shows the stages of each step as bars, and says what it came to."""

    def __init__(self) -> None:
        self._step = ""
        self._open = ExitStack()

    def __enter__(self) -> None:
        self._open.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    def stage(self, step: str, stage: str, done: int, total: int) -> None:
        """A step has come so far."""
        if step != self._step:
            self._step, self._show = step, self._open.enter_context(_progress(step))
        self._show(stage, done, total)

    def ended(self, outcome: Outcome) -> None:
        """A step has ended."""
        if self._step == outcome.step and outcome.status.whole:
            self._show("write", 1, 1)
        self._open.close()
        if outcome.status.whole:
            before = outcome.status is StepStatus.DONE_BEFORE
            _finish(outcome.folder, outcome.findings, outcome.warnings, "Was there already" if before else "Written")
        elif outcome.status is StepStatus.OUTDATED:
            _complain(f"{outcome.folder} was made before, but {outcome.message} Make it again with --force.")
        else:
            _complain(outcome.message)


def _draw_without_screen() -> None:
    # Before matplotlib is imported, which takes longer than some errors; it may have been, where this is a part.
    os.environ["MPLBACKEND"] = "Agg"
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("Agg")


@contextmanager
def _progress(description: str = "") -> Iterator[Any]:
    """Show bars, one for each stage, and yield the function that is called with stage, done and total."""
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    if description:
        console.print(shown_text(description, style="bold"))
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def stage(name: str, done: int, total: int) -> None:
            for other, task in tasks.items():
                # A stage that comes again, for the second state, goes on; the others have ended.
                if other != name and not bars.tasks[task].finished:
                    bars.update(task, total=1, completed=1)
                    bars.stop_task(task)
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=None)
            bars.update(tasks[name], total=total or None, completed=done)

        yield stage


@contextmanager
def _result_folder(out: Path, command: str, *, force: bool, inputs: list[Path] | None = None) -> Iterator[Path]:
    """The folder of a result, which also gets the log of how it was made."""
    inputs = inputs or []
    with recorded_log() as log, whole_folder(out, force=force, inputs=inputs) as folder, own_drawing():
        _logger.info("%s of %s", command, ", ".join(path.name for path in inputs) or "a simulation")
        yield folder
        _logger.info("%s: done", command)
        (folder / LOG).write_text(log.getvalue(), encoding="utf-8", errors="replace")


@contextmanager
def _one_line_failure() -> Iterator[None]:
    """Turn what is wrong with the input into one red line and the exit code 1."""
    try:
        yield
    # The kinds that input can cause: what is none of these is a fault of the program, and keeps its traceback.
    except (ValueError, LookupError, OutputError, OSError, NotImplementedError, MemoryError) as error:
        _logger.info("failed", exc_info=True)
        _complain(str(error) or type(error).__name__)
        raise typer.Exit(1) from None


@contextmanager
def _quiet_imports() -> Iterator[None]:
    """Import without the warnings that packages have for one another, and draw without a screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matplotlib as mpl

        mpl.use("Agg")
        yield


def _complain(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(shown_text(f"Error: {' '.join(message.split())}", style="red"))


def _finish(out: Path, findings: Any, messages: Any, verb: str = "Written") -> None:
    """Say what was found, what was warned of, and where the result is."""
    console = Console(stderr=True, soft_wrap=True)
    for message in messages:
        console.print(shown_text(f"Warning: {message}", style="yellow"))
    console = Console(soft_wrap=True)
    for finding in findings:
        console.print(shown_text(f"• {finding}"))
    console.print(shown_text(f"{verb}: {Path(out) / 'report.html'}", style="green"))
