"""The README's code runs, and shows what it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest

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


def write_user_files() -> None:
    """What a user has, written from the virtual lamella: HyperSpy writes the layout of Velox (.emd) for nobody."""
    from hyperspy_assb.simulation import micro_battery
    from hyperspy_assb.simulation.series import SeriesConditions, simulate_series

    battery = micro_battery(shape=(8, 8), seed=6, edx_signal_type="EDS_TEM_ASSB")
    patterns = battery.patterns_after
    patterns.data = np.minimum(patterns.data, 254).astype("uint8")
    patterns.save("scan.blo")
    battery.edx_after.save("edx.hspy")
    simulate_series(SeriesConditions(frames=6, size=160), seed=1)[0].save("movie.hspy")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_block_runs_on_files_of_the_virtual_lamella(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    write_user_files()
    scope: dict[str, object] = {}
    exec("import hyperspy_assb", scope)
    for block in blocks[1:]:
        exec(block.replace(".emd", ".hspy"), scope)
    assert "grain" in capsys.readouterr().out
    assert scope["patterns"].metadata.Acquisition_instrument.TEM.beam_energy == 200.0
    assert set(scope["r"].phase_fractions()["class"]) >= {"LiFePO4", "FePO4", "LAGP"}


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
