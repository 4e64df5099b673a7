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
        ("[members.haadf]", "[members.x]", "could not be read as TOML"),
        ("bias = 5.0", f"bias = {'5' * 5000}", "could not be read as TOML"),
        ("bias = 5.0", "bias = " + "[" * 5000, "could not be read as TOML"),
        ('file = "haadf.hspy"\nbias', 'file = "~nobody of that name/a.hspy"\nbias', "there is no home folder"),
        ('file = "haadf.hspy"\nbias', 'file = "a\\u0000b"\nbias', "must be the path of a file"),
        ("bias = 5.0", 'bias = "5 V"', "members.x: bias must be a potential in V"),
        ('frame = "haadf"', "frame = [1]", "members.x: frame must be the name of another member"),
        ('frame = "haadf"', 'frame = "x"', "members.x: frame must be the name of another member"),
        ('reference = "haadf"', 'reference = ["haadf"]', "reference must be one of"),
        ('reference = "haadf"', 'reference = "haadf"\nalpha = "low"', "alpha must be a number between 0 and 1"),
        ('reference = "haadf"', 'reference = "haadf"\nfdr = 1.5', "fdr must be a number between 0 and 1"),
        ('reference = "haadf"', 'reference = "haadf"\nname = 3', "name must be a text"),
    ],
)
def test_what_is_wrong_is_named(folder, old, new, match):
    done = run(folder, RECIPE.replace(old, new))
    assert done.exit_code == 1
    assert match in " ".join(done.output.split())
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("axis", "match"),
    [
        ({"scale": -10.0}, "x: its axis x runs backwards"),
        ({"units": ""}, "x: its axis x has no scale in a unit of length"),
    ],
    ids=["mirrored", "no scale"],
)
def test_a_frame_that_lies_nowhere_is_named(folder, axis, match):
    signal = hs.load(folder / "haadf.hspy")
    for name, value in axis.items():
        setattr(signal.axes_manager.signal_axes[0], name, value)
    signal.save(folder / "odd.hspy")
    done = run(folder, RECIPE.replace('haadf.hspy"\nbias', 'odd.hspy"\nbias').replace('frame = "haadf"\n', ""))
    assert done.exit_code == 1
    assert match in " ".join(done.output.split())
    assert not (folder / "out").exists()


def test_a_result_is_replaced_when_forced(folder):
    run(folder, RECIPE)
    again = CliRunner().invoke(app, ["lamella", str(folder / "L1.toml"), "--out", str(folder / "out"), "--force"])
    assert again.exit_code == 0, again.output


BATCH = """
[inputs]
lamellae = "L1.toml"
[analysis.lamella]
input = "lamellae"
"""


def statuses(folder, *more):
    (folder / "batch.toml").write_text(BATCH, encoding="utf-8")
    arguments = ["batch", str(folder / "batch.toml"), "--out", str(folder / "results"), *more]
    done = CliRunner().invoke(app, arguments)
    path = folder / "results" / "status.csv"
    return done, path.read_text("utf-8") if path.exists() else ""


def test_a_step_of_a_batch_is_done_once_and_again_when_a_member_changed(folder):
    (folder / "L1.toml").write_text(RECIPE, encoding="utf-8")
    done, table = statuses(folder)
    assert done.exit_code == 0, done.output
    assert "written" in table
    assert (folder / "results" / "lamella" / "L1" / "report.html").exists()
    assert "done before" in statuses(folder)[1]
    other = hs.load(folder / "haadf.hspy")
    other.data = other.data + 1.0
    other.save(folder / "haadf.hspy", overwrite=True)
    assert "out of date" in statuses(folder)[1]


@pytest.mark.parametrize("name", ["~nobody of that name/a.hspy", "a" * 300, "a" * 5000])
def test_a_member_that_can_be_no_file_is_named_before_anything_runs(folder, name):
    (folder / "L1.toml").write_text(RECIPE.replace('haadf.hspy"\nbias', f'{name}"\nbias'), encoding="utf-8")
    done, table = statuses(folder)
    assert done.exit_code == 2
    assert "members.x" in " ".join(done.output.split())
    assert not table


def test_a_member_that_is_missing_is_named_before_anything_runs(folder):
    (folder / "L1.toml").write_text(RECIPE.replace('haadf.hspy"\nbias', 'gone.hspy"\nbias'), encoding="utf-8")
    done, table = statuses(folder)
    assert done.exit_code != 0
    assert "members.x: there is no file" in " ".join(done.output.split())
    assert not table


def test_a_signal_is_not_read_to_see_that_it_is_no_result(folder):
    from hyperspy_assb.lamella.members import read_member

    assert read_member(folder / "haadf.hspy", "haadf")._lazy
