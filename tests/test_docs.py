"""The code in the documentation runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import hyperspy_assb
from hyperspy_assb.errors import GUIDE
from hyperspy_assb.signals.result import KINDS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(path for path in DOCS.glob("*.md") if "```python" in path.read_text("utf-8"))
# Each takes as long as all the other pages.
SLOW = {"acom", "delithiation", "edx"}


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] if p.stem in SLOW else []) for p in PAGES if p.name != "index.md"],
    ids=lambda path: path.stem,
)
def test_code_runs(path: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), flags=re.DOTALL):
        exec(compile(code, path.name, "exec"), {})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_images_exist(path: Path) -> None:
    for target in re.findall(r"!\[[^]]*\]\((?!https?:)([^)#]+)\)", path.read_text("utf-8")):
        assert (DOCS / target).exists(), target


def test_reference_shows_every_public_name() -> None:
    spec = importlib.util.spec_from_file_location("public_api", DOCS / "public_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = [path for paths in module.public_api().values() for path in paths]
    assert len(shown) == len(set(shown))
    public = [getattr(hyperspy_assb, name) for name in hyperspy_assb.__all__]
    missing = {f"{thing.__module__}.{thing.__qualname__}" for thing in public if callable(thing)} - set(shown)
    assert not missing
    assert {f"{module}.{name}" for name, module in KINDS.items() if name == "Delithiation"} <= set(shown)


def test_messages_name_pages_that_exist() -> None:
    for page, title in GUIDE.items():
        assert (DOCS / f"{page}.md").read_text("utf-8").startswith(f"# {title}\n"), page


def test_readme_is_short() -> None:
    assert len((DOCS.parent / "README.md").read_text("utf-8").split()) <= 600
