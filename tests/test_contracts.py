"""The contracts of the architecture hold, and can be broken; style and types are checked."""

from __future__ import annotations

import shutil
import subprocess
import sys
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


def test_imports_point_down(copy: Path) -> None:
    done = run(tool("lint-imports"), "--no-cache", folder=copy)
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("fitting/spectra/forward.py", "from hyperspy_assb import signals", "Arrows point down BROKEN"),
        ("signals/eels/signal.py", "from hyperspy_assb import simulation", "Arrows point down BROKEN"),
        ("eels/checks.py", "import hyperspy.api", "No framework below the line BROKEN"),
        ("reference/ionisation_edges.py", "import matplotlib", "No framework below the line BROKEN"),
    ],
)
def test_planted_import_breaks_the_contract(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / "hyperspy_assb" / file
    path.write_text(path.read_text("utf-8") + f"\n{line}\n", "utf-8")
    done = run(tool("lint-imports"), "--no-cache", folder=copy)
    assert done.returncode != 0
    assert contract in done.stdout


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
