"""The command of a lamella: a recipe becomes a folder, or a line that says what is wrong."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest
from typer.testing import CliRunner

import hyperspy_assb
from hyperspy_assb.cli import app


@pytest.fixture
def folder(tmp_path):
    signal = hs.signals.Signal2D(np.arange(64.0).reshape(8, 8))
    for axis in signal.axes_manager.signal_axes:
        axis.scale, axis.units = 10.0, "nm"
    signal.save(tmp_path / "haadf.hspy")
    return tmp_path


def run(folder, text):
    (folder / "L1.toml").write_text(text, encoding="utf-8")
    return CliRunner().invoke(app, ["lamella", str(folder / "L1.toml"), "--out", str(folder / "out")])


RECIPE = """
reference = "haadf"
[members.x]
file = "haadf.hspy"
bias = 5.0
frame = "haadf"
[members.haadf]
file = "haadf.hspy"
"""


def test_a_recipe_becomes_a_page_and_a_lamella(folder):
    done = run(folder, RECIPE)
    assert done.exit_code == 0, done.output
    assert {path.name for path in (folder / "out").iterdir()} >= {"report.html", "registration.csv", "lamella.hspy"}
    lamella = hyperspy_assb.load(folder / "out" / "lamella.hspy")
    assert list(lamella.members) == ["haadf", "x"]
    assert lamella.members["x"].bias == 5.0
    assert lamella.check_inputs() == ()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('reference = "haadf"', 'reference = "eels"', "reference must be one of x, haadf, not 'eels'"),
        ('reference = "haadf"', 'refrence = "haadf"', "refrence, which is not known"),
        ("bias = 5.0", "volts = 5.0", "members.x has volts, which is not known"),
        ('file = "haadf.hspy"\nbias', 'file = "gone.hspy"\nbias', "there is no file"),
        ("[members.x]", "[members.x", "could not be read as TOML"),
    ],
)
def test_what_is_wrong_is_named(folder, old, new, match):
    done = run(folder, RECIPE.replace(old, new))
    assert done.exit_code == 1
    assert match in " ".join(done.output.split())
    assert not (folder / "out").exists()
