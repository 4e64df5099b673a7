"""The README's code runs, and shows what it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_code_makes_the_figure() -> None:
    code = script(ROOT / "docs" / "make_readme_figures.py").readme_code()
    assert len([line for line in code.splitlines() if line and not line.startswith("from ")]) == 5
    scope: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), scope)
    d, battery = scope["d"], scope["battery"]
    assert plt.gcf().axes
    truth = battery.truth.after
    error = (d.x.data - truth.x)[(truth.olivine >= 0.3) & (truth.t_over_lambda <= 0.8)]
    assert np.nanmedian(np.abs(error)) < 0.05


def test_every_local_link_and_image_exists() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / target).exists(), target


def test_a_package_index_gets_no_relative_link() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    absolute = script(ROOT / "tools" / "absolute_links.py").absolute_links(text, "me/tool", "v1")
    relative = re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)
    assert not re.findall(r"\]\((?!https?:|#)", absolute)
    links = re.findall(r"https://github\.com/me/tool/(?:raw|blob)/v1/([^)]+)\)", absolute)
    assert links == relative
    assert absolute.count("/raw/") == text.count("![")
