"""The command for a series writes everything, and says what it found."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from typer.testing import CliRunner

import hyperspy_assb
from hyperspy_assb.cli import app
from hyperspy_assb.simulation.series import SeriesConditions, simulate_series


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("series")
    for name, growth in (("series", 0.3), ("control", 0.0)):
        series, _ = simulate_series(
            SeriesConditions(frames=5, size=136, oversampling=2, boundary_growth=growth), seed=1
        )
        series.save(folder / f"{name}.hspy")
    time = np.arange(200.0)
    volts = np.concatenate([np.linspace(0, 2, 100), np.linspace(2, 0, 100)])
    current = volts * 1e-3 + np.random.default_rng(1).normal(0, 1e-5, 200)
    rows = "\n".join(f"{t:g},{v:.4f},{i:.6g}" for t, v, i in zip(time, volts, current, strict=True))
    (folder / "cv.csv").write_text(f"Time (s),Voltage (V),Current (A)\n{rows}\n", "utf-8")
    arguments = ["series", str(folder / "series.hspy"), "--log", str(folder / "cv.csv"), "--offset", "5"]
    arguments += ["--dose", "30", "--control", str(folder / "control.hspy"), "--film"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(folder / "out")])
    assert done.exit_code == 0, done.output
    return folder / "out", done.output


def test_everything_is_written(written: tuple[Path, str]) -> None:
    folder, _ = written
    for name in ("resistance", "peaks", "drift", "grains", "tracks", "cracks", "beam", "kymograph"):
        for path in (f"{name}.hspy", f"{name}.csv", f"figures/{name}.png"):
            assert (folder / path).is_file(), path
    assert (folder / "figures/frames.png").is_file()
    assert json.loads((folder / "provenance.json").read_text("utf-8"))["dose"]["electrons per nm²"] == 150.0


def test_what_is_there_is_not_made_again(written: tuple[Path, str]) -> None:
    folder = written[0].parent
    arguments = ["series", str(folder / "series.hspy"), "--log", str(folder / "cv.csv"), "--offset", "5"]
    arguments += ["--dose", "30", "--control", str(folder / "control.hspy"), "--film", "--out", str(written[0])]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0
    assert "Was there already" in again.output
    other = CliRunner().invoke(app, [*arguments, "--interval", "3"])
    assert other.exit_code == 1
    assert "options or the version have changed" in " ".join(other.output.split())


def test_a_step_of_a_batch_is_done_once_and_again_when_its_log_changed(written: tuple[Path, str]) -> None:
    folder = written[0].parent
    recipe = {
        "inputs": {"movies": str(folder / "series.hspy")},
        "analysis": {"series": {"input": "movies", "log": str(folder / "cv.csv"), "offset": 5, "dose": 30.0}},
    }
    out = folder / "results"
    assert [o.status.value for o in hyperspy_assb.batch(recipe, out).outcomes] == ["written"]
    expected, found = (hyperspy_assb.load(place / "drift.hspy") for place in (written[0], out / "series" / "series"))
    np.testing.assert_array_equal(expected.shift, found.shift)
    again = hyperspy_assb.batch(recipe, out).outcomes
    assert [o.status.value for o in again] == ["done before"]
    assert any("The frames drift over" in finding for finding in again[0].findings)
    text = (folder / "cv.csv").read_text("utf-8")
    (folder / "cv.csv").write_text(text + "200,0,0\n", "utf-8")
    assert [o.status.value for o in hyperspy_assb.batch(recipe, out).outcomes] == ["out of date"]
    (folder / "cv.csv").write_text("no log", "utf-8")
    failed = hyperspy_assb.batch(recipe, out, update=True).outcomes
    assert [o.status.value for o in failed] == ["failed"]
    assert "cv.csv" in failed[0].message
    (folder / "cv.csv").write_text(text, "utf-8")
    assert [o.status.value for o in hyperspy_assb.batch(recipe, out).outcomes] == ["done before"]


def test_film_shows_every_frame(written: tuple[Path, str]) -> None:
    folder, _ = written
    (film,) = folder.glob("film.*")
    assert film.stat().st_size > 5 * 1000
    if film.suffix == ".png":
        assert len(imageio.mimread(film)) == 5


def test_what_the_beam_alone_does_is_said(written: tuple[Path, str]) -> None:
    report = (written[0] / "report.html").read_text("utf-8")
    assert "under the beam alone" in report
    assert "150" in report


def test_report_opens_with_three_sentences_and_one_table(written: tuple[Path, str]) -> None:
    report = (written[0] / "report.html").read_text("utf-8")
    findings = report[report.index('id="findings"') : report.index('id="frames"')]
    shown, folded = findings.split("<details>")
    assert shown.count("<li>") <= 3
    assert shown.count("<table") == 1
    for word in ("quantity", "before", "after", "unit", "uncertainty", "significance"):
        assert f'<th scope="col">{word}</th>' in shown
    for word in ("area of the boundaries", "cracks", "apparent resistance"):
        assert f">{word}</td>" in shown
    assert "The frames drift over" in folded


def test_findings_are_said(written: tuple[Path, str]) -> None:
    _, said = written
    assert "The frames drift over" in said
    assert "report.html" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nothing.dm4"], "no file"),
        (["film.mp4"], "not counts"),
        (["film.mp4", "--offset", "begin"], "a number of s, stamps or steps"),
        (["film.mp4", "--offset", "nan"], "a number of s, stamps or steps"),
        (["film.mp4", "--interval", "0"], "a number from 1e-09"),
        (["film.mp4", "--log", "a/x.hspy", "--control", "b/x.hspy"], "two files of one name"),
        (["film.mp4", "--log", "none.mpt"], "no file none.mpt"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, arguments: list[str], why: str) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\0")
    done = CliRunner().invoke(
        app, ["series", str(tmp_path / arguments[0]), *arguments[1:], "--out", str(tmp_path / "out")]
    )
    assert done.exit_code != 0
    assert why in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
