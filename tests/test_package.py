"""What is installed: names, registration, data files, and how little an import costs."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

import hyperspy_assb

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hyperspy_assb"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_entry_point_is_named_like_the_import() -> None:
    (found,) = [e for e in entry_points(group="hyperspy.extensions") if e.value.startswith("hyperspy_assb")]
    assert found.name == found.value == "hyperspy_assb"


def test_root_yaml_is_a_link_to_the_one_hyperspy_reads() -> None:
    link = ROOT / "hyperspy_extension.yaml"
    assert link.is_symlink()
    assert link.resolve() == (PACKAGE / "hyperspy_extension.yaml").resolve()


def registered() -> dict[str, dict[str, dict[str, str]]]:
    return yaml.safe_load((PACKAGE / "hyperspy_extension.yaml").read_text("utf-8"))


@pytest.mark.parametrize(("name", "entry"), registered()["signals"].items())
def test_signals_are_where_the_yaml_says(name: str, entry: dict[str, str]) -> None:
    cls = getattr(importlib.import_module(entry["module"]), name)
    assert cls._signal_type == entry["signal_type"]
    assert cls._lazy is entry["lazy"]


@pytest.mark.parametrize(("name", "entry"), registered()["components1D"].items())
def test_components_are_where_the_yaml_says(name: str, entry: dict[str, str]) -> None:
    assert getattr(importlib.import_module(entry["module"]), entry["class"]).__name__ == name


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = json.loads(run_python("import json, sys, hyperspy_assb; print(json.dumps(sorted(sys.modules)))"))
    assert not {"numpy", "hyperspy", "exspy", "numba", "matplotlib", "pandas"} & set(loaded)


def test_hyperspy_does_not_import_the_package() -> None:
    loaded = json.loads(run_python("import json, sys, hyperspy.api; print(json.dumps(sorted(sys.modules)))"))
    assert not [name for name in loaded if name.startswith("hyperspy_assb.")]


@pytest.mark.parametrize("name", hyperspy_assb.__all__)
def test_public_names_can_be_had(name: str) -> None:
    assert getattr(hyperspy_assb, name) is not None


def test_the_stub_is_the_only_list_of_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    imported = {alias.asname or alias.name for n in tree.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    declared = {n.target.id for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    (listed,) = [
        ast.literal_eval(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name) and n.targets[0].id == "__all__"
    ]
    assert imported | declared == set(hyperspy_assb.__all__) == set(listed)
    assert dir(hyperspy_assb) == sorted(hyperspy_assb.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="hyperspy_assb attribute nothing"):
        hyperspy_assb.nothing  # noqa: B018


def test_versions_agree() -> None:
    version = hyperspy_assb.__version__
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f'"version": "{version}"' in (ROOT / ".zenodo.json").read_text("utf-8")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_wheel_holds_everything_that_is_read(tmp_path: Path) -> None:
    # Environments that uv makes have no pip.
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    kinds = {".py", ".pyi", ".yaml", ".toml", ".csv", ".j2", ".typed"}
    needed = {p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*") if p.suffix in kinds or p.name == "py.typed"}
    assert needed <= inside
    assert not [name for name in inside if name.startswith(("tests/", "benchmarks/", "docs/"))]
    assert wheel.stat().st_size < 3e6


def test_extras_name_what_the_readme_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"tests", "docs", "dev"} <= set(project["optional-dependencies"])
