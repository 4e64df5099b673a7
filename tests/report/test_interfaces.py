"""The step for an interface is done from the file to the page, with every option that a recipe may give it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hyperspy_assb
from hyperspy_assb.batching.options import KINDS, READING
from hyperspy_assb.simulation import InterfaceOptions, simulate_interface


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interface")
    scene = simulate_interface(InterfaceOptions(width=8.0, shape=(4, 24)), rng=1)
    scene.signal.save(folder / "edx.hspy")
    lines = ("C_Ka", "O_Ka", "Al_Ka", "P_Ka", "V_Ka", "Fe_Ka", "Ge_Ka", "Si_Ka", "Cu_Ka", "Ga_Ka", "Pt_La", "Au_La")
    table = "".join(f"{line},1.0,0.1\n" for line in lines)
    (folder / "factors.csv").write_text(f"line,factor,uncertainty\n{table}", "utf-8")
    return folder


PROFILE: dict[str, Any] = {
    "bin_width": 2.0,
    "reach": 30.0,
    "smooth": 1.0,
    "thickness": 80.0,
    "absorption": False,
    "elements": ["O", "P", "Fe", "Ge"],
}
STEPS: dict[str, dict[str, Any]] = {
    "columns": {"elements": ["O", "P", "Fe", "Ge"]},
    "line": {**PROFILE, "line": [0.0, 2.0, 23.0, 2.0, 3.0]},
    "phase": {**PROFILE, "phase": "olivine", "reach": 12.0},
    "factors": {"k_factors": "factors.csv", "thickness": 80.0, "elements": ["O", "P", "Fe", "Ge"]},
}


def test_every_option_is_tried() -> None:
    own = set(KINDS["interface"].options) - {*READING, "figures"}
    assert {name for step in STEPS.values() for name in step} | {"probe"} == own


@pytest.mark.parametrize("name", STEPS)
def test_a_report_is_written(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(folder)
    step = {"kind": "interface", "input": "maps", "probe": 1.5, **STEPS[name]}
    recipe = {"inputs": {"maps": "edx.hspy"}, "analysis": {name: step}}
    found = hyperspy_assb.batch(recipe, tmp_path / "out")
    assert found.whole, [outcome.message for outcome in found.outcomes]
    written = found.outcomes[0].folder
    for file in ("report.html", "interface.hspy", "profile.csv", "widths.csv", "figures/interface.png"):
        assert (written / file).is_file(), file
    profile = hyperspy_assb.load(written / "interface.hspy")
    assert profile.summary().splitlines()[0] in (written / "report.html").read_text("utf-8").replace("&#39;", "'")
    if name in ("line", "phase"):
        assert profile.provenance["parameters"]["bin_width"] == 2.0
