"""Result folders: whole or not there."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from hyperspy_assb import staging
from hyperspy_assb.report.output import (
    OutputError,
    check_target,
    is_result,
    own_drawing,
    plain_cell,
    whole_folder,
    write_record,
    write_table,
)

RECORD = {"action": "test", "versions": {"hyperspy-assb": "0"}}


def write(target, text, **options):
    with whole_folder(target, **options) as folder:
        (folder / "result.txt").write_text(text)
        write_record(folder, RECORD, findings=[], warnings=[])


def dead(path: Path) -> Path:
    """The name that a process which is no more would have used."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{child.pid}-"))


def test_folder_appears_when_whole(tmp_path):
    target = tmp_path / "deep" / "result"
    with whole_folder(target) as folder:
        (folder / "result.txt").write_text("new")
        assert not target.exists()
    assert (target / "result.txt").read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["result"]


def test_existing_result_is_refused_then_replaced(tmp_path):
    target = tmp_path / "result"
    write(target, "old")
    with pytest.raises(OutputError, match="--force"):
        write(target, "new")
    assert (target / "result.txt").read_text() == "old"
    write(target, "new", force=True)
    assert (target / "result.txt").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_error_leaves_the_old_result_and_no_remains(tmp_path):
    target = tmp_path / "result"
    write(target, "old")
    with pytest.raises(RuntimeError), whole_folder(target, force=True) as folder:  # noqa: PT012
        (folder / "half.txt").write_text("half")
        raise RuntimeError
    assert (target / "result.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "result").mkdir()
    write(tmp_path / "result", "new")
    assert (tmp_path / "result" / "result.txt").exists()


def test_targets_that_cannot_be_written(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check_target(file)
    with pytest.raises(OutputError, match="cannot be written"):
        check_target(file / "result")
    with pytest.raises(OutputError, match="holds the input"):
        check_target(tmp_path, force=True, inputs=[file])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="working folder"):
        check_target(tmp_path, force=True)
    assert file.exists()


@pytest.mark.parametrize(
    "record",
    [None, "", "[]", "{", "null", '{"action": "x"}', '{"versions": []}', "[" * 100_000],
    ids=["none", "empty", "list", "cut", "null", "no versions", "wrong type", "deep"],
)
def test_a_folder_that_is_no_result_is_never_replaced(record, tmp_path):
    target = tmp_path / "Documents"
    (target / "chapters").mkdir(parents=True)
    (target / "chapters" / "thesis.tex").write_text("years of work")
    if record is not None:
        (target / "provenance.json").write_text(record)
    assert not is_result(target)
    with pytest.raises(OutputError, match="not a result: it is not replaced"):
        write(target, "new", force=True)
    assert (target / "chapters" / "thesis.tex").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["Documents"]


@pytest.mark.parametrize(
    "name", ["n" * 255, "日" * 85, "with blanks and ümlauts", "v1.a long ending after a dot", "-x", "*?[a]"]
)
def test_names_as_long_as_the_file_system_takes(name, tmp_path):
    target = tmp_path / name
    for text in ("old", "new"):
        write(target, text, force=True)
        assert (target / "result.txt").read_text() == text
    stale = dead(staging.sibling(target, "part"))
    stale.mkdir()
    check_target(target, force=True)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_files_are_written_whole_and_what_the_dead_left_of_them_goes(tmp_path):
    path = tmp_path / "bank.npz"
    dead(staging.sibling(path, "part")).write_bytes(b"half")
    with staging.whole_file(path) as part:
        part.write_bytes(b"whole")
        assert [p.name for p in tmp_path.iterdir()] == [part.name]
    with pytest.raises(UnicodeEncodeError), staging.whole_file(path) as part:
        part.write_text("half \udc80", encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["bank.npz"]
    assert path.read_bytes() == b"whole"


def test_what_the_dead_left_is_swept_and_what_the_living_use_is_not(tmp_path):
    target = tmp_path / "result"
    own = staging.sibling(target, "part")
    for folder in (own, dead(own), tmp_path / ".result.letters"):
        (folder / "inside").mkdir(parents=True)
    write(target, "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted((own.name, ".result.letters", "result"))


def test_what_was_moved_aside_for_one_long_name_is_not_put_back_as_another(tmp_path):
    one, other = (tmp_path / ("a map of this name " * 5 + end) for end in ("1", "2"))
    aside = dead(staging.sibling(one, "aside"))
    aside.mkdir()
    staging.clear_away(other)
    assert aside.exists()
    staging.clear_away(one)
    assert [path.name for path in tmp_path.iterdir()] == [one.name]


def test_a_number_of_a_process_that_comes_again_is_not_taken_for_the_same_process(tmp_path):
    # As in containers, where every run is process 1.
    target = tmp_path / "result"
    own = staging.sibling(target, "part")
    other = own.with_name(own.name.replace(own.name.split("-")[-1].split(".")[0], "01234567"))
    other.mkdir()
    write(target, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("new_is_there", [True, False])
def test_an_interrupted_replacement_is_finished_or_undone(new_is_there, tmp_path):
    target = tmp_path / "result"
    write(target, "old")
    aside = dead(staging.sibling(target, "aside"))
    target.rename(aside)
    if new_is_there:
        dead(staging.sibling(target, "part")).mkdir()
        target.mkdir()
        write(target, "new")
    else:
        with pytest.raises(OutputError, match="not empty"):
            check_target(target)
    assert (target / "result.txt").read_text() == ("new" if new_is_there else "old")
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


KILLED = """
import sys
from hyperspy_assb.report.output import whole_folder, write_record
def write(target, text):
    with whole_folder(target, force=True) as folder:
        for i in range(20):
            (folder / f"{i}.txt").write_text(text * 20000)
        write_record(folder, {"action": "test", "versions": {}}, findings=[], warnings=[])
print("ready", flush=True)
n = 0
while True:
    write(sys.argv[1], "ab"[n % 2])
    n += 1
"""


def kill_while_replacing(target: Path, moment: float) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(moment)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize("count", [8, pytest.param(120, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_folder_is_whole(count, tmp_path):
    target = tmp_path / "result"
    with whole_folder(target) as folder:
        for i in range(20):
            (folder / f"{i}.txt").write_text("c" * 20000)
        write_record(folder, RECORD, findings=[], warnings=[])
    for moment in np.random.default_rng(1).uniform(0.0, 0.15, count):
        kill_while_replacing(target, moment)
        check_target(target, force=True)
        assert [p.name for p in tmp_path.iterdir()] == ["result"]
        content = {path.read_text() for path in target.glob("*.txt")}
        assert len(content) == 1
        assert len(content.pop()) == 20000
        assert len(list(target.iterdir())) == 21
        assert json.loads((target / "provenance.json").read_text())["action"] == "test"


@pytest.mark.parametrize("there", [True, False])
def test_settings_of_figures_in_the_working_folder_are_left_out(there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if there:
        Path("matplotlibrc").write_text("text.usetex: True", encoding="utf-8")
    with mpl.rc_context({"text.usetex": True}):
        with own_drawing():
            assert mpl.rcParams["text.usetex"] is not there
        assert mpl.rcParams["text.usetex"]


FORMULAS = {
    "=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0",
    "+1+cmd": "'+1+cmd",
    "-2+3+cmd": "'-2+3+cmd",
    "@SUM(1)": "'@SUM(1)",
    "\t=1": "\t'=1",
    "a\t=1": "a\t'=1",
    "\n=1": "\n'=1",
    "a\r=1": "a =1",
    "a\r\n=1": "a \n'=1",
    "a;=1;@2": "a;'=1;'@2",
    "=": "'=",
}


@pytest.mark.parametrize(("text", "kept"), FORMULAS.items())
def test_no_cell_of_a_table_is_a_formula(text, kept, tmp_path):
    table = pd.DataFrame({text: [text, "LFP", None], "kind": pd.Categorical([text, "LFP", "LFP"]), "x": [-1.5, 2, 3]})
    write_table(tmp_path / "a.csv", table)
    write_table(tmp_path / "b.csv", table.set_index(text), index=True)
    for name in ("a.csv", "b.csv"):
        found = pd.read_csv(tmp_path / name)
        assert [*found.columns] == [kept, "kind", "x"]
        assert found.iloc[0].tolist() == [kept, kept, -1.5]
        assert found.iloc[1].tolist() == ["LFP", "LFP", 2.0]
        assert np.isnan(found.iloc[2, 0])
    assert table.columns[0] == text  # the user's own is as it was


def test_numbers_and_names_stay_as_they_are():
    for cell in (-1.5, "-1.5", "+3e-4", "LiFePO4", "a=b", "", None, True):
        assert plain_cell(cell) == cell


def test_what_links_point_to_is_not_removed(tmp_path):
    """A result may lie behind a link, and hold links to what is somebody's."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("data")
    write(tmp_path / "result", "old")
    (tmp_path / "result" / "link").symlink_to(precious)
    (tmp_path / "out").symlink_to(tmp_path / "result")
    write(tmp_path / "out", "new", force=True)
    assert (tmp_path / "result" / "result.txt").read_text() == "new"
    assert (tmp_path / "out").is_symlink()
    (tmp_path / "out").unlink()
    (tmp_path / "out").symlink_to(precious)
    with pytest.raises(OutputError, match="not a result"):
        write(tmp_path / "out", "new", force=True)
    assert (precious / "data").read_text() == "data"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "precious", "result"]


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.ENOSPC, False)])
def test_file_systems_that_cannot_flush(number, passes, tmp_path, monkeypatch):
    def fsync(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if passes:
        write(tmp_path / "result", "new")
        assert is_result(tmp_path / "result")
        return
    with pytest.raises(OSError, match="space"):
        write(tmp_path / "result", "new")
    assert not [*tmp_path.iterdir()]
