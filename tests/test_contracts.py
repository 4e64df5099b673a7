"""The contracts of the architecture hold, and can be broken; style and types are checked."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)


def tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: install the tests extra.")
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its configuration, to be spoilt."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "hyperspy_assb", tmp_path / "hyperspy_assb", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_point_down_and_make_no_circle(copy: Path) -> None:
    done = run(tool("lint-imports"), "--no-cache", folder=copy)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


TYPE_CHECKING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("fitting/spectra/forward.py", "from hyperspy_assb import signals", "Arrows point down BROKEN"),
        ("signals/eels/signal.py", "from hyperspy_assb import simulation", "Arrows point down BROKEN"),
        ("eels/checks.py", f"{TYPE_CHECKING}from hyperspy_assb.models import multifit", "Arrows point down BROKEN"),
        ("eels/checks.py", "import hyperspy.api", "No framework below the line BROKEN"),
        ("reference/ionisation_edges.py", "import matplotlib", "No framework below the line BROKEN"),
        (
            "eels/zero_loss/position.py",
            "def late():\n    from hyperspy_assb.eels.comparison import options",
            "Steps of eels follow each other BROKEN",
        ),
        ("series/drift/pair_shifts.py", "import hyperspy.api", "No framework below the line BROKEN"),
        ("echem/sweeps.py", "import matplotlib", "No framework below the line BROKEN"),
        (
            "series/drift/pair_shifts.py",
            "def late():\n    from hyperspy_assb.series.cracks import crack_paths",
            "Steps of series follow each other BROKEN",
        ),
        (
            "echem/sweeps.py",
            f"{TYPE_CHECKING}from hyperspy_assb.echem import peaks",
            "Steps of echem follow each other BROKEN",
        ),
        (
            "eels/comparison/options.py",
            f"{TYPE_CHECKING}from hyperspy_assb.eels.comparison import low_loss_comparison",
            "No import circle BROKEN",
        ),
    ],
)
def test_planted_import_breaks_the_contract(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / "hyperspy_assb" / file
    path.write_text(path.read_text("utf-8") + f"\n{line}\n", "utf-8")
    done = run(tool("lint-imports"), "--no-cache", folder=copy)
    assert done.returncode != 0
    assert contract in done.stdout


def stems_used_twice(package: Path) -> list[str]:
    """Names of modules that stand twice in one wing: one technique's folder of science, or the whole of signals."""
    wings = [path for path in package.iterdir() if path.is_dir() and path.name not in ("simulation", "__pycache__")]
    found = []
    for wing in wings:
        stems = Counter(path.stem for path in wing.rglob("*.py") if path.stem not in ("__init__", "signal"))
        found += [f"{wing.name}: {stem}" for stem, count in sorted(stems.items()) if count > 1]
    return found


def test_no_stem_stands_twice_in_a_wing() -> None:
    assert stems_used_twice(ROOT / "hyperspy_assb") == []


@pytest.mark.parametrize("planted", ["eels/scattering/position.py", "signals/acom/zero_loss.py"])
def test_a_planted_stem_is_found(copy: Path, planted: str) -> None:
    (copy / "hyperspy_assb" / planted).touch()
    wing, *_, file = planted.split("/")
    assert stems_used_twice(copy / "hyperspy_assb") == [f"{wing}: {Path(file).stem}"]


def test_only_the_demonstration_imports_the_simulation() -> None:
    package = ROOT / "hyperspy_assb"
    importing = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "simulation" not in path.relative_to(package).parts
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom | ast.Import) and "hyperspy_assb.simulation" in ast.unparse(node)
    }
    assert importing <= {"demo.py"}


def test_style() -> None:
    for arguments in (("check",), ("format", "--check")):
        done = run(tool("ruff"), *arguments, "--no-cache", ".")
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_types_below_the_line() -> None:
    done = run(sys.executable, "-m", "mypy")
    assert done.returncode == 0, done.stdout


def test_repository_review() -> None:
    done = run(tool("sp-repo-review"), ".")
    assert done.returncode == 0, done.stdout + done.stderr
