"""The command for a series writes everything, and says what it found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hyperspy_assb.cli import app
from hyperspy_assb.simulation.series import SeriesConditions, simulate_series


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("series")
    series, _ = simulate_series(SeriesConditions(frames=8, size=160), seed=1)
    series.save(folder / "series.hspy")
    time = np.arange(200.0)
    volts = np.concatenate([np.linspace(0, 2, 100), np.linspace(2, 0, 100)])
    current = volts * 1e-3 + np.random.default_rng(1).normal(0, 1e-5, 200)
    rows = "\n".join(f"{t:g},{v:.4f},{i:.6g}" for t, v, i in zip(time, volts, current, strict=True))
    (folder / "cv.csv").write_text(f"Time (s),Voltage (V),Current (A)\n{rows}\n", "utf-8")
    arguments = ["series", str(folder / "series.hspy"), "--log", str(folder / "cv.csv"), "--offset", "5"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(folder / "out")])
    assert done.exit_code == 0, done.output
    return folder / "out", done.output


def test_everything_is_written(written: tuple[Path, str]) -> None:
    folder, _ = written
    for name in ("resistance", "peaks", "drift", "grains", "cracks"):
        for path in (f"{name}.hspy", f"{name}.csv", f"figures/{name}.png"):
            assert (folder / path).is_file(), path
    assert (folder / "provenance.json").is_file()
    assert "are not separated" in (folder / "report.html").read_text("utf-8")


def test_findings_are_said(written: tuple[Path, str]) -> None:
    _, said = written
    assert "The frames drift over" in said
    assert "report.html" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(["nothing.dm4"], "no file"), (["film.mp4"], "not counts")],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, arguments: list[str], why: str) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\0")
    done = CliRunner().invoke(app, ["series", str(tmp_path / arguments[0]), "--out", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert why in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
