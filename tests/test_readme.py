"""The README's code runs, and shows what it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def test_code_makes_the_figure() -> None:
    spec = importlib.util.spec_from_file_location("make_readme_figures", ROOT / "docs" / "make_readme_figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    code = module.readme_code()
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
