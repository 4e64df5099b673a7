"""The commands where nothing is as it should be: disks, caches, homes and names of files."""

from __future__ import annotations

import csv
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hyperspy.api as hs
import pytest

from hyperspy_assb.simulation import micro_battery
from hyperspy_assb.simulation.series import SeriesConditions, simulate_series

pytestmark = pytest.mark.slow

COMMANDS = {
    "fit": ["fit", "{edx}", "--elements", "C,O,Al,P,Fe,Ge", "--thickness", "80"],
    "compare": ["compare", "{before}", "{after}", "--permutations", "19"],
    "index": ["index", "{scan}", "--phases", "lfp,fp", "--no-calibrate", "--no-refine"],
    "batch": ["batch", "{recipe}"],
    "series": ["series", "{movie}"],
    "lamella": ["lamella", "{lamella}"],
}


LAMELLA = "reference = 'a'\n[members.a]\nfile = '{}'\n"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    battery = micro_battery(shape=(6, 6), seed=6)
    for name in ("before", "after"):
        getattr(battery, f"eels_{name}").save(folder / f"{name}.hspy")
    small = micro_battery(shape=(2, 3), seed=6)
    small.edx_after.save(folder / "edx.hspy")
    small.patterns_after.save(folder / "scan.hspy")
    simulate_series(SeriesConditions(frames=4, size=96, oversampling=2), seed=1)[0].save(folder / "movie.hspy")
    (folder / "lamella.toml").write_text(LAMELLA.format("movie.hspy"))
    (folder / "recipe.toml").write_text('inputs.edx = "edx*.hspy"\nanalysis.quantify.input = "edx"\n')
    return folder


def assb(
    command: str, folder: Path, out: Path, environment: dict[str, str | None] | None = None, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    files = {path.stem.partition(" ")[0]: str(path) for path in folder.iterdir()}
    words = [word.format(**files) for word in COMMANDS[command]]
    changed = {**os.environ, **(environment or {})}
    own = {name: value for name, value in changed.items() if value is not None}
    code = f"import sys\n{before}\nfrom hyperspy_assb.cli import app\napp(sys.argv[1:])"
    run = [sys.executable, "-W", "ignore", "-c", code, *words, "--out", str(out)]
    return subprocess.run(run, check=False, capture_output=True, text=True, env=own, encoding="utf-8")


def is_whole(out: Path) -> bool:
    """Whether a result is there, and nothing but it."""
    found = out.is_dir() and bool([*out.rglob("report.html")] or [*out.rglob("index.html")])
    return found and not [*out.parent.glob(".*")] and not [*out.rglob(".*")]


NAMES = ["two words", "Größe µm", "電池 № 1", "it's a % {x} $HOME; map"]


@pytest.mark.parametrize("command", COMMANDS)
def test_blanks_and_letters_of_all_kinds_in_every_path(command: str, raw: Path, tmp_path: Path) -> None:
    place = tmp_path
    for name in NAMES:
        place = place / name
    place.mkdir(parents=True)
    for path in raw.iterdir():
        shutil.copy(path, place / f"{path.stem} {NAMES[2]}{path.suffix}")
    (place / f"lamella {NAMES[2]}.toml").write_text(LAMELLA.format(f"movie {NAMES[2]}.hspy"), encoding="utf-8")
    out = place / NAMES[3]
    done = assb(command, place, out)
    assert done.returncode == 0, done.stderr
    assert is_whole(out)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("home", [None, "/nowhere"])
def test_no_home(home: str | None, command: str, raw: Path, tmp_path: Path) -> None:
    nothing = dict.fromkeys(("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "NUMBA_CACHE_DIR", "USER"))
    done = assb(command, raw, tmp_path / "out", {**nothing, "HOME": home})
    assert done.returncode == 0, done.stderr
    assert is_whole(tmp_path / "out")


@pytest.mark.parametrize("command", COMMANDS)
def test_caches_that_cannot_be_written(command: str, raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "cache")  # below a file there is no folder, for root either
    done = assb(command, raw, tmp_path / "out", {"NUMBA_CACHE_DIR": place, "XDG_CACHE_HOME": place})
    assert done.returncode == 0, done.stderr
    assert is_whole(tmp_path / "out")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk(command: str, raw: Path, small_disk: Callable[[int], Path]) -> None:
    out = small_disk(40) / "out"  # the smallest result, that of a lamella, needs more
    done = assb(command, raw, out)
    assert done.returncode == 1
    if command == "batch":
        assert "failed" in done.stderr
        assert not [*out.rglob("report.html")]
    else:
        # In one line, with the place, and nothing left.
        assert len(done.stderr.strip().splitlines()[-1]) > 20
        assert "Traceback" not in done.stderr
        assert not [*out.parent.iterdir()]
    assert "space" in done.stderr.lower() or "full" in done.stderr.lower(), done.stderr


HOSTILE = "=1+1</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*191 }}"


class Page(html.parser.HTMLParser):
    """Elements with the names of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))


@pytest.mark.parametrize("command", COMMANDS)
def test_hostile_names_in_files(command: str, raw: Path, tmp_path: Path) -> None:
    """Titles, units, names of axes, members, inputs and files: text on every page, and no formula in a table."""
    place = tmp_path / "raw"
    place.mkdir()
    own = HOSTILE.replace("/", "|")  # as far as a file may be called
    for path in raw.glob("*.hspy"):
        signal = hs.load(path)
        signal.metadata.General.title = HOSTILE
        for axis in signal.axes_manager.navigation_axes:
            axis.name = HOSTILE
        signal.save(place / f"{path.stem} {own}.hspy")
    member = json.dumps(HOSTILE)
    lamella = f"name = {member}\nreference = {member}\n[members.{member}]\nfile = {json.dumps(f'movie {own}.hspy')}\n"
    (place / f"lamella {own}.toml").write_text(lamella)
    (place / "recipe.toml").write_text(
        f"inputs.edx = 'edx*.hspy'\n[analysis.{json.dumps(own)}]\nkind = 'quantify'\ninput = 'edx'\n"
    )
    done = assb(command, place, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    pages = [*(tmp_path / "out").rglob("*.html")]
    assert pages
    for path in pages:
        text = path.read_text("utf-8")
        page = Page()
        page.feed(text)
        assert not [names for _, names in page.elements if any(name.startswith("on") for name in names)]
        assert sum(tag == "script" for tag, _ in page.elements) == (command == "lamella")
        assert not [names for tag, names in page.elements if tag == "img" and "alt" not in names]
        assert "1337" not in re.sub(r"base64,[A-Za-z0-9+/=]+|[0-9.]{6,}", "", text)
    for path in (tmp_path / "out").rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))], path


NETWORK = """
#include <errno.h>
int flock(int handle, int what) { errno = ENOLCK; return -1; }
int fsync(int handle) { errno = EINVAL; return -1; }
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """An environment where files cannot be locked, nor brought to the disk, as on some drives of networks."""
    folder = tmp_path_factory.mktemp("network")
    (folder / "network.c").write_text(NETWORK)
    compiler = shutil.which("cc")
    build = [str(compiler), "-shared", "-fPIC", "-o", str(folder / "network.so"), str(folder / "network.c")]
    if compiler is None or not sys.platform.startswith("linux") or subprocess.run(build, check=False).returncode:
        pytest.skip("no compiler of C")
    return {"LD_PRELOAD": str(folder / "network.so"), "HDF5_USE_FILE_LOCKING": None}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_drive_without_locks(command: str, raw: Path, network: dict[str, str | None], tmp_path: Path) -> None:
    done = assb(command, raw, tmp_path / "out", network)
    assert done.returncode == 0, done.stderr
    assert is_whole(tmp_path / "out")


def test_without_locks_in_python(raw: Path, network: dict[str, str | None], tmp_path: Path) -> None:
    """Once h5py is imported, the error says what to do."""
    done = assb("batch", raw, tmp_path / "out", network, before="import h5py")
    assert done.returncode == 1
    assert "HDF5_USE_FILE_LOCKING=FALSE" in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_interruptions(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_commands.py")
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(script),
        str(tmp_path),
        "5",
        "5",
        "SIGINT",
        "fit",
        "compare",
        "index",
        "batch",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert sum(found["killed"] for found in told.values()) >= 10
    for name, found in told.items():
        assert (found["code"], found["differ"], found["left"]) == (0, [], []), name
        assert found["latest"] < 10.0, name
