"""The code in the documentation runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
