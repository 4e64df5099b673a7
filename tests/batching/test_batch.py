"""Batches: what fails ends its own step only, what is done is not done again, and a page tells all."""

from __future__ import annotations

import csv
import html.parser
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_work import write_inputs

import hyperspy_assb
from hyperspy_assb.batching import running, schedulers, work
from hyperspy_assb.batching.keys import hash_input
from hyperspy_assb.batching.steps import StepStatus
from hyperspy_assb.errors import AssbError, AssbFileError, AssbTypeError, AssbValueError
from hyperspy_assb.reference.materials import materials_files

HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures("toy_work")


@pytest.fixture
def place(tmp_path, monkeypatch):
    write_inputs(tmp_path / "raw", 4)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(**fit: Any) -> dict[str, Any]:
    return {"inputs": {"maps": "raw/*.npy"}, "analysis": {"fit": {"input": "maps", **fit}}}


def statuses(found) -> list[str]:
    return [outcome.status.value for outcome in found.outcomes]


def test_twenty_files_of_which_three_are_broken(tmp_path, monkeypatch):
    write_inputs(tmp_path / "raw", 20, broken=3)
    monkeypatch.chdir(tmp_path)
    found = hyperspy_assb.batch(recipe(), "out")
    assert statuses(found) == ["written"] * 17 + ["failed"] * 3
    assert not found.whole
    messages = [outcome.message for outcome in found.outcomes[17:]]
    assert "Unable to allocate" in messages[0]
    assert "No data left in file" in messages[1]
    assert "cannot reshape" in messages[2] or "Failed to read" in messages[2]
    assert "17 written, 3 failed" in found.summary()
    table = found.to_dataframe()
    assert list(table["status"]) == statuses(found)
    with (tmp_path / "out" / "status.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["failed"] * 3 + ["written"] * 17
    assert all((tmp_path / "out" / row["report"]).is_file() for row in rows[3:])
    assert len(list((tmp_path / "out" / "logs").iterdir())) == 3
    assert "Traceback" in (tmp_path / "out" / "logs" / "fit_x17.txt").read_text("utf-8")


def test_logs_of_others_stay(place):
    np.save(place / "raw" / "x00.npy", np.zeros(0))
    (place / "out" / "logs").mkdir(parents=True)
    for name in ("notes.txt", "fit_x00.txt"):
        (place / "out" / "logs" / name).write_text("mine")
    hyperspy_assb.batch(recipe(), "out")
    assert sorted(p.name for p in (place / "out" / "logs").iterdir()) == ["fit_x00-2.txt", "fit_x00.txt", "notes.txt"]
    np.save(place / "raw" / "x00.npy", np.ones(3))
    assert hyperspy_assb.batch(recipe(), "out").whole
    assert {p.name: p.read_text() for p in (place / "out" / "logs").iterdir()} == dict.fromkeys(
        ("notes.txt", "fit_x00.txt"), "mine"
    )
    (place / "other").mkdir()
    (place / "other" / "logs").touch()
    with pytest.raises(AssbFileError, match="logs is a file"):
        hyperspy_assb.batch(recipe(), "other")


def test_what_another_batch_is_writing_stays(place):
    np.save(place / "raw" / "x00.npy", np.zeros(0))
    hyperspy_assb.batch(recipe(), "out")
    logs = place / "out" / "logs"
    written = logs / ".fit_x00.txt.other-part.txt"
    (logs / "fit_x00.txt").rename(written)
    np.save(place / "raw" / "x00.npy", np.ones(3))
    assert hyperspy_assb.batch(recipe(), "out").whole
    assert [*logs.iterdir()] == [written]


def test_a_result_that_another_batch_wrote_at_this_moment(place, monkeypatch):
    """Between the look at what is there and the check that something may be written."""
    check, late = running.check_target, iter([True])

    def other_first(*target, **options):
        if next(late, False):
            hyperspy_assb.batch(recipe(), "out")
        check(*target, **options)

    monkeypatch.setattr(running, "check_target", other_first)
    assert statuses(hyperspy_assb.batch(recipe(), "out")) == ["done before"] * 4


def test_a_record_whose_findings_are_no_list(place):
    hyperspy_assb.batch(recipe(), "out")
    path = place / "out" / "fit" / "x00" / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"findings": 5}))
    assert statuses(hyperspy_assb.batch(recipe(), "out")) == ["done before"] * 4


def test_any_error_ends_its_own_step_only(place):
    # What h5py raises on a full disk is none of the errors that files usually make.
    np.save(place / "raw" / "x00.npy", np.zeros(0))
    found = hyperspy_assb.batch(recipe(), "out")
    assert statuses(found) == ["failed", "written", "written", "written"]
    assert "RuntimeError: Disable slist" in found.outcomes[0].message


def test_a_library_that_leaves_the_program_ends_its_step_only(place, monkeypatch):
    toy = work._WORK["fit"]

    def leave(files, *others):
        if files[0].stem == "x01":
            sys.exit(3)
        return toy(files, *others)

    monkeypatch.setitem(work._WORK, "fit", leave)
    found = hyperspy_assb.batch(recipe(), "out")
    assert statuses(found) == ["written", "failed", "written", "written"]
    assert "SystemExit" in found.outcomes[1].message


def test_two_processes_that_run_the_same_batch(place, monkeypatch):
    toy, begun = work._WORK["fit"], []

    def overtaken(*arguments):
        if not begun:
            begun.append("the other")
            assert hyperspy_assb.batch(recipe(), "out").whole
        return toy(*arguments)

    monkeypatch.setitem(work._WORK, "fit", overtaken)
    assert statuses(hyperspy_assb.batch(recipe(), "out")) == ["done before"] * 4
    assert not list((place / "out").rglob(".*"))


def test_resume_and_update(place):
    first = hyperspy_assb.batch(recipe(), "out")
    assert statuses(first) == ["written"] * 4
    again = hyperspy_assb.batch(recipe(), "out")
    assert statuses(again) == ["done before"] * 4
    assert again.outcomes[0].findings == first.outcomes[0].findings
    assert again.whole
    os.utime(place / "raw" / "x00.npy")  # other time, same content
    np.save(place / "raw" / "x01.npy", np.ones(3))
    changed = hyperspy_assb.batch(recipe(), "out")
    assert statuses(changed) == ["done before", "out of date", "done before", "done before"]
    assert not changed.whole
    assert not np.array_equal(np.load(place / "out/fit/x01/sum0.npy"), [1, 2, 3])
    updated = hyperspy_assb.batch(recipe(), "out", update=True)
    assert statuses(updated) == ["done before", "written", "done before", "done before"]
    np.testing.assert_array_equal(np.load(place / "out/fit/x01/sum0.npy"), [1, 2, 3])
    other = hyperspy_assb.batch(recipe(valence="plasmon"), "out")
    assert statuses(other) == ["out of date"] * 4


def test_a_key_depends_on_contents_options_version_and_needed_steps(place, monkeypatch):
    tables = recipe(references="pure")
    tables["references"] = {"pure": {"analysis": "calibrate"}, "boxes": {"LiFePO4": "0:2,0:2"}}
    tables["inputs"]["standard"] = "raw/x00.npy"
    tables["analysis"]["calibrate"] = {"kind": "fit", "input": "standard", "references": "boxes"}
    keys = []

    def key() -> str:
        found = hyperspy_assb.batch(tables, "out", update=True)
        assert found.whole
        keys.append(next(o.key for o in found.outcomes if o.step == "fit/x03"))
        return keys[-1]

    assert key() == key()
    np.save(place / "raw" / "x00.npy", np.ones(3))  # of the needed step
    key()
    tables["references"]["boxes"]["LiFePO4"] = "0:3,0:2"
    key()
    tables["analysis"]["fit"]["elements"] = ["Li"]
    key()
    monkeypatch.setattr("hyperspy_assb.batching.keys.__version__", "9.9")
    key()
    (place / "mine.toml").write_text("")
    tables["materials"] = "mine.toml"
    key()
    assert not materials_files()  # those of a recipe are for its steps
    assert len(set(keys)) == len(keys) - 1
    options = json.loads((place / "out/fit/x03/options.json").read_text())
    assert options["references"] == [str(place / "out/calibrate/x00/delithiation.hspy")]


def test_what_needs_a_failed_step_is_not_run(place):
    (place / "raw" / "x00.npy").write_bytes(b"cut")
    tables = recipe(references="calibrated")
    tables["inputs"] = {"maps": "raw/x0[123].npy", "standard": "raw/x00.npy"}
    tables["references"] = {"calibrated": {"analysis": "calibrate"}, "boxes": {"LiFePO4": "0:2,0:2"}}
    tables["analysis"]["calibrate"] = {"kind": "fit", "input": "standard", "references": "boxes"}
    found = hyperspy_assb.batch(tables, "out")
    assert statuses(found) == ["failed"] + ["not run"] * 3
    assert "calibrate/x00" in found.outcomes[1].message
    write_inputs(place / "raw", 1)
    assert statuses(hyperspy_assb.batch(tables, "out")) == ["written"] * 4


def test_what_belongs_to_others_is_left(place):
    letters = place / "out" / "fit" / "x02"
    letters.mkdir(parents=True)
    (letters / "letter.txt").write_text("Dear reader")
    for update in (False, True):
        found = hyperspy_assb.batch(recipe(), "out", update=update)
        assert found.outcomes[2].status is StepStatus.FAILED
        assert "not empty" in found.outcomes[2].message
    assert (letters / "letter.txt").read_text() == "Dear reader"
    (place / "home").mkdir()
    (place / "home" / "status.csv").write_text("mine")
    with pytest.raises(AssbFileError, match=r"status\.csv was not written by a batch"):
        hyperspy_assb.batch(recipe(), "home")
    assert (place / "home" / "status.csv").read_text() == "mine"


def test_the_key_is_written_last_and_only_with_a_whole_result(place, monkeypatch):
    seen = []
    write_key = running.write_key

    def spy(folder, step, content):
        seen.append(sorted(path.name for path in folder.iterdir()))
        write_key(folder, step, content)

    monkeypatch.setattr(running, "write_key", spy)
    hyperspy_assb.batch(recipe(), "out")
    assert all({"report.html", "provenance.json", "log.txt", "sum2.npy"} <= set(names) for names in seen)
    assert not any("step.json" in names for names in seen)
    assert "stage fit" in (place / "out/fit/x00/log.txt").read_text()


@pytest.mark.parametrize("content", ["", "[]", '{"key": 3}', "[" * 100_000])
def test_a_damaged_key_is_no_key(place, content):
    hyperspy_assb.batch(recipe(), "out")
    (place / "out/fit/x00/step.json").write_text(content)
    assert statuses(hyperspy_assb.batch(recipe(), "out"))[0] == "failed"


def test_a_disk_that_is_full_is_said(place, monkeypatch):
    (place / "raw" / "x00.npy").write_bytes(b"cut")
    full = shutil.disk_usage(place)._replace(free=4096)
    monkeypatch.setattr(running.shutil, "disk_usage", lambda path: full)
    found = hyperspy_assb.batch(recipe(), "out")
    assert statuses(found) == ["failed"] + ["written"] * 3
    assert f"no space left on the disk of {place}" in found.outcomes[0].message


LIMITED = """
import json, resource, sys
sys.path.insert(0, sys.argv[1])
from toy_work import use_toy_work
use_toy_work()
import hyperspy_assb
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
tables = {"inputs": {"maps": "raw/*.npy"}, "analysis": {"fit": {"input": "maps"}}}
print(json.dumps([o.status.value for o in hyperspy_assb.batch(tables, "out").outcomes]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of processes")
def test_what_cannot_be_written_is_not_there_and_the_others_are(place):
    np.save(place / "raw" / "x01.npy", np.ones(50_000))
    command = [sys.executable, "-c", LIMITED, str(HERE)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == ["written", "failed", "written", "written"]
    assert sorted(path.name for path in (place / "out" / "fit").iterdir()) == ["x00", "x02", "x03"]


class Links(html.parser.HTMLParser):
    """Elements and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.elements: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_nothing_in_a_name_or_message_becomes_a_part_of_the_page(place, monkeypatch):
    hostile = place / "raw" / "<script>alert(1)<!-- & '\" {{ 7*7 }} #?%.npy"
    (place / "raw" / "x00.npy").rename(hostile)
    hostile.with_name("javascript:alert(1).npy").write_bytes(b"<img src=x onerror=alert(1)>")

    def told(*arguments):
        done = toy(*arguments)
        return work.Told((f"<script>{done.findings[0]}</script>",), ())

    toy = work._WORK["fit"]
    monkeypatch.setitem(work._WORK, "fit", told)
    found = hyperspy_assb.batch(recipe(), "out")
    assert sorted(statuses(found)) == ["failed"] + ["written"] * 4
    text = (place / "out" / "index.html").read_text("utf-8")
    page = Links()
    page.feed(text)
    assert "script" not in page.elements
    assert "img" not in page.elements
    assert "49" not in text.split("main")[1].split("{{")[0]
    assert len(page.links) == 5
    assert all(link.startswith("./") and "#" not in link and "?" not in link for link in page.links)


class Cluster:
    """A cluster of dask has this, and is no client."""

    scheduler_info: dict[str, Any] = {}  # noqa: RUF012


def test_a_cluster_without_workers(place, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(schedulers, "_WORKERS_WITHIN", 0.1)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.raises(AssbError, match="has no workers: start one"),
    ):
        hyperspy_assb.batch(recipe(), "out", client=client)


class Closed:
    """A client that was closed."""

    status = "closed"

    def scheduler_info(self, **options: Any) -> dict[str, Any]:
        return {}


def test_a_client_that_is_closed(place):
    with pytest.raises(AssbError, match="client of dask is closed"):
        hyperspy_assb.batch(recipe(), "out", client=Closed())


def test_processes_that_do_not_start(place, monkeypatch):
    def fail(**options):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(pytest.importorskip("distributed"), "LocalCluster", fail)
    with pytest.raises(AssbError, match=r"No 2 processes could be started.*__main__"):
        hyperspy_assb.batch(recipe(), "out", jobs=2)


@pytest.mark.parametrize(
    "where",
    [{"jobs": 0}, {"jobs": "2"}, {"jobs": True}, {"scheduler": 8786}, {"client": "dask"}, {"client": Cluster()}],
)
def test_where_there_is_nothing_to_run_on(place, where):
    with pytest.raises(AssbTypeError, match=next(iter(where))):
        hyperspy_assb.batch(recipe(), "out", **where)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("analysis", "words"),
    [({"fit": {"elements": ["Lo"]}}, "no element 'Lo'"), ({"index": {"phases": ["lpf", "fp"]}}, "no material 'lpf'")],
)
def test_elements_and_materials_that_there_are_not(place, analysis, words):
    ((name, options),) = analysis.items()
    tables = {"inputs": {"maps": "raw/*.npy"}, "analysis": {name: {"input": "maps", **options}}}
    with pytest.raises(AssbValueError, match=words):
        hyperspy_assb.batch(tables, "out")
    assert not (place / "out").exists()


@pytest.fixture
def no_log():
    # Workers of the tests cannot send a name that is no Unicode to each other.
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("no_log")
def test_a_name_that_is_no_unicode(place):
    name = os.fsdecode(b"M\xfcller.npy")
    try:
        shutil.copy(place / "raw/x00.npy", place / "raw" / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    found = hyperspy_assb.batch(recipe(), "out")
    assert found.whole
    assert "M%FCller/report.html" in (place / "out/index.html").read_text("utf-8")


def test_companions_and_folders_are_part_of_the_content(tmp_path):
    (tmp_path / "a.rpl").write_text("header")
    (tmp_path / "a.raw").write_text("data")
    (tmp_path / "b.zspy").mkdir()
    (tmp_path / "b.zspy" / "chunk").write_text("1")
    hashes = {hash_input(tmp_path / "a.rpl"), hash_input(tmp_path / "b.zspy")}
    (tmp_path / "a.raw").write_text("other")
    (tmp_path / "b.zspy" / "chunk").write_text("2")
    assert not hashes & {hash_input(tmp_path / "a.rpl"), hash_input(tmp_path / "b.zspy")}


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("scan.xml", "data of scan.raw"),
        ("m[1].spd", "m[1].ipr"),
        ("m.emi", "m_2.ser"),
        ("s_000.tvips", "s_001.tvips"),
        ("all.asw", "Sample/01/View001.img"),
    ],
)
def test_files_that_readers_open_beside_the_one_that_is_named(tmp_path, name, beside):
    other = tmp_path / beside
    other.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"<raw_file filename='data of scan.raw'/>View001.img")
    for file in (other, tmp_path / "another.raw", tmp_path / "m1.ipr", tmp_path / "mm_2.ser"):
        file.write_bytes(b"1")
    before = hash_input(tmp_path / name)
    for file in ("another.raw", "m1.ipr", "mm_2.ser"):
        (tmp_path / file).write_bytes(b"2")
    assert hash_input(tmp_path / name) == before
    other.write_bytes(b"2")
    assert hash_input(tmp_path / name) != before


def test_files_of_a_movie_and_of_detectors_that_write_into_others(tmp_path):
    import h5py

    movie, info = tmp_path / "20260101_7_scan_movie.mrc", tmp_path / "20260101_7_info.txt"
    master, sparse = tmp_path / "scan_master.h5", tmp_path / "frames.raw"
    for path in (movie, info, tmp_path / "20260101_71_info.txt", sparse):
        path.write_bytes(bytes(80))
    with h5py.File(tmp_path / "scan_1.h5", "w") as file:
        file["data"] = np.arange(10)
    with h5py.File(tmp_path / "scan_2.h5", "w") as file:
        file["data"] = np.arange(10)
    layout = h5py.VirtualLayout((10,), int)
    layout[:] = h5py.VirtualSource(tmp_path / "scan_2.h5", "data", (10,))
    with h5py.File(master, "w") as file:
        file["entry/data/data_1"] = h5py.ExternalLink("scan_1.h5", "data")
        file.create_virtual_dataset("entry/all", layout)
        file.create_dataset("raw", (10,), "f8", external=[("frames.raw", 0, 80)])
    for named, other in ((movie, info), (master, tmp_path / "scan_1.h5"), (master, tmp_path / "scan_2.h5")):
        before = hash_input(named)
        other.write_bytes(other.read_bytes() + b"1")
        assert hash_input(named) != before, other
    before = hash_input(master), hash_input(movie)
    (tmp_path / "20260101_71_info.txt").write_text("of another scan")
    sparse.write_bytes(bytes(79) + b"1")
    assert (hash_input(master) != before[0], hash_input(movie)) == (True, before[1])
    (tmp_path / "cut.h5").write_bytes(master.read_bytes()[:1000])
    assert hash_input(tmp_path / "cut.h5")


def test_a_file_that_changes_while_it_is_read(place, monkeypatch):
    """As one that is still being recorded: the result would not be that of its key."""
    toy = work._WORK["fit"]

    def changing(files, *others):
        done = toy(files, *others)
        if files[0].stem == "x01":
            np.save(files[0], np.ones(7))
        elif files[0].stem == "x02":
            os.utime(files[0], ns=(1, 1))  # the same content
        elif files[0].stem == "x03":
            files[0].unlink()  # moved away, after it was read
        return done

    monkeypatch.setitem(work._WORK, "fit", changing)
    found = hyperspy_assb.batch(recipe(), "out")
    assert statuses(found) == ["written", "failed", "written", "written"]
    assert "x01.npy was changed while it was read" in found.outcomes[1].message
    assert not (place / "out/fit/x01").exists()
    monkeypatch.setitem(work._WORK, "fit", toy)
    assert statuses(hyperspy_assb.batch(recipe(), "out")) == ["done before", "written", "done before"]


def test_times_of_files_do_not_matter(place):
    """Clocks run backwards, and copies have new times."""
    assert hyperspy_assb.batch(recipe(), "out").whole
    for path, time in zip((place / "raw").iterdir(), (0, 1, 2**33, 10), strict=True):
        os.utime(path, (time, time))
    for path in (place / "out").rglob("*"):
        os.utime(path, (5, 5))
    assert set(statuses(hyperspy_assb.batch(recipe(), "out"))) == {"done before"}
    other = place / "raw/x01.npy"
    kept = other.stat()
    np.save(other, np.load(other) + 1.0)
    os.utime(other, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert sorted(statuses(hyperspy_assb.batch(recipe(), "out"))) == ["done before"] * 3 + ["out of date"]


def test_no_cell_of_the_table_is_a_formula(place):
    (place / "raw/x00.npy").rename(place / "raw/=cmd|'x'!A0.npy")
    analysis = {"@SUM(1)": {"kind": "fit", "input": "maps"}}
    assert hyperspy_assb.batch({"inputs": {"maps": "raw/*.npy"}, "analysis": analysis}, "out").whole
    rows = list(csv.reader((place / "out/status.csv").open(encoding="utf-8")))
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert any(cell.startswith("'@SUM(1)/=cmd") for cell in cells)
    assert set(statuses(hyperspy_assb.batch({"inputs": {"maps": "raw/*.npy"}, "analysis": analysis}, "out"))) == {
        "done before"
    }


def test_three_hundred_steps_that_need_each_other(place):
    references = {"r0": {"LiFePO4": "0:1,0:1"}}
    references |= {f"r{n}": {"analysis": f"a{n - 1}"} for n in range(1, 300)}
    analysis = {f"a{n}": {"kind": "fit", "input": "map", "references": f"r{n}"} for n in reversed(range(300))}
    chain = {"inputs": {"map": "raw/x00.npy"}, "references": references, "analysis": analysis}
    found = hyperspy_assb.batch(chain, "out")
    assert found.whole
    assert [outcome.step for outcome in found.outcomes] == [f"a{n}/x00" for n in range(300)]


@pytest.mark.parametrize("out", ["file", "file/out", "ro/out"])
def test_where_nothing_can_be_written(out, place, monkeypatch):
    (place / "file").write_text("somebody's")
    (place / "ro").mkdir(mode=0o555)
    if out == "ro/out" and os.geteuid() == 0:
        pytest.skip("to root all folders are open")
    with pytest.raises(AssbFileError, match=out.partition("/")[0]):
        hyperspy_assb.batch(recipe(), out)
    assert (place / "file").read_text() == "somebody's"


@pytest.fixture
def disk(place, small_disk):
    return small_disk(400)


def fill(folder: Path) -> None:
    (folder / "film.avi").write_bytes(bytes(shutil.disk_usage(folder).free))


def test_a_disk_that_fills_and_has_room_again(disk, monkeypatch):
    toy = work._WORK["fit"]

    def filling(files, *others):
        if files[0].stem == "x01":
            fill(disk)
        elif files[0].stem == "x02":
            (disk / "film.avi").unlink()
        return toy(files, *others)

    monkeypatch.setitem(work._WORK, "fit", filling)
    found = hyperspy_assb.batch(recipe(), disk / "out")
    assert statuses(found) == ["written", "failed", "written", "written"]
    assert "space left" in found.outcomes[1].message
    assert not [*(disk / "out").rglob(".*")]
    assert len((disk / "out/status.csv").read_text("utf-8").splitlines()) == 5
    monkeypatch.setitem(work._WORK, "fit", toy)
    assert statuses(hyperspy_assb.batch(recipe(), disk / "out")) == ["done before", "written", *["done before"] * 2]


def test_a_disk_that_is_full_from_the_beginning(disk):
    fill(disk)
    with pytest.raises(AssbFileError, match="No space left"):
        hyperspy_assb.batch(recipe(), disk / "out")
    (disk / "film.avi").unlink()
    assert hyperspy_assb.batch(recipe(), disk / "out").whole


def test_a_disk_that_may_only_be_read(disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(AssbFileError, match="Read-only"):
        hyperspy_assb.batch(recipe(), disk / "out")


@pytest.mark.slow
def test_twice_at_once_with_steps_that_fail(place):
    """Two processes write one table and one folder of logs."""
    write_inputs(place / "raw", 30, broken=15)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import toy_work, hyperspy_assb; toy_work.use_toy_work()\n"
        "from hyperspy_assb.batching import batch\n"
        "batch._STATUS_EVERY = 0.0\n"
        "for _ in range(5):\n"
        "    done = hyperspy_assb.batch({'inputs': {'m': 'raw/*.npy'}, 'analysis': {'fit': {'input': 'm'}}}, 'out')\n"
        "    assert sum(o.status.whole for o in done.outcomes) == 15, done.summary()\n"
    )
    run = [sys.executable, "-c", code, str(HERE)]
    both = [subprocess.Popen(run, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0], said
    assert len([*(place / "out/fit").iterdir()]) == 15
    assert not [*(place / "out").rglob(".*")]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [10, 30])
def test_killed_and_started_again_no_step_is_done_twice(kills, tmp_path):
    count = 2 * kills
    write_inputs(tmp_path / "raw", count, broken=3)
    arguments = [sys.executable, str(HERE / "kill_batches.py"), str(tmp_path), str(kills), "3"]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] == kills
    assert told["kills that found work under way"] > kills // 3
    assert told["touched again"] == []
    assert told["differ"] == []
    assert told["statuses"] == {"written or done before": count - 3, "failed": 3}
    assert told["left"] == []


@pytest.mark.slow
def test_two_local_processes_give_the_same_and_a_killed_worker_is_replaced(tmp_path):
    pytest.importorskip("distributed")
    write_inputs(tmp_path / "raw", 6, broken=1)
    arguments = [sys.executable, str(HERE / "kill_workers.py"), str(tmp_path)]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["statuses"][5] == "failed"
    assert set(told["statuses"][:5]) <= {"written", "done before"}
    assert told["again"] == ["done before"] * 5 + ["failed"]
    # Results that their worker had not handed over when it was killed are made again.
    assert told["late"] == ["done before"] * 5 + ["failed"] * 2, told["said"]
    assert told["killed"] == 1
    assert told["differ"] == []
    assert told["left"] == []


@pytest.mark.slow
def test_modules_in_the_working_folder_are_not_run(tmp_path):
    pytest.importorskip("distributed")
    for name in ("multiprocessing", "socket", "pickle"):
        (tmp_path / f"{name}.py").write_text("open('EXECUTED', 'w')\nraise ImportError", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    script = tmp_path / "elsewhere" / "script.py"
    lines = ["from hyperspy_assb.batching.schedulers import local_client", "if __name__ == '__main__':"]
    lines += ["    with local_client(1) as client:", "        print(client.submit(sum, [1, 2]).result())"]
    script.write_text("\n".join(lines), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "3", done.stderr
    assert not (tmp_path / "EXECUTED").exists()


@pytest.mark.slow
def test_a_cluster_of_its_own_processes(tmp_path):
    """One worker is killed with all that belongs to it, and one file kills whoever reads it."""
    pytest.importorskip("distributed")
    write_inputs(tmp_path / "raw", 12, broken=1)
    np.save(tmp_path / "raw" / "deadly.npy", np.ones(1))
    arguments = [sys.executable, str(HERE / "own_cluster.py"), str(tmp_path)]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 1
    assert told["killed"]
    # What a worker wrote just before it was killed is found by the next one.
    assert told["statuses"].pop("failed") == 2
    assert sum(told["statuses"].values()) == 11
    assert set(told["statuses"]) <= {"written", "done before"}
    assert "every process that ran it was killed" in told["deadly"]
    assert told["differ"] == []
    assert told["left"] == []
    assert told["again"] == {"done before": 11, "failed": 2}, told["said"]


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, also where the tests were begun in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("how", ["swallowed", "turned into another error"])
def test_interrupts_that_libraries_keep(place, monkeypatch, how):
    def badly_behaved(files, options, folder, progress):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if how != "swallowed":
                raise SystemError("returned a result with an exception set") from None
        progress("fit", 1, 1)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setitem(work._WORK, "fit", badly_behaved)
    with pytest.raises(KeyboardInterrupt):
        hyperspy_assb.batch(recipe(), "out")
    assert signal.getsignal(signal.SIGINT) is before
    assert not list((place / "out").rglob("options.json"))


def test_own_errors_are_shown_without_their_class(tmp_path):
    from hyperspy_assb.batching.running import _in_words
    from hyperspy_assb.reference import UnknownReferenceError

    assert _in_words(UnknownReferenceError("There is no material 'x'."), tmp_path) == "There is no material 'x'."
    assert _in_words(KeyError("x"), tmp_path) == "KeyError: 'x'"
