"""A record says what was done, and survives metadata, files and JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from datetime import datetime, timedelta
from enum import Enum
from importlib.metadata import version
from pathlib import Path

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb import provenance


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Options:
    limits: tuple[float, float] = (1.0, float("nan"))
    colour: Colour = Colour.RED


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "map.dm4"
    path.write_bytes(b"counts" * 1000)
    return path


def test_file_is_known_by_its_content(file):
    known = hashlib.sha256(b"counts" * 1000).hexdigest()
    assert provenance.describe_file(file) == {"name": "map.dm4", "size": 6000, "sha256": known}


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        provenance.describe_file(tmp_path / "nothing.dm4")


def test_record_says_when_what_and_by_what(file):
    entry = provenance.record("multifit", files=[file], parameters={"elements": ("Li",)}, methods=["poisson"])
    when = datetime.fromisoformat(entry["time"])
    assert when.utcoffset() == timedelta(0)
    assert abs(datetime.now(when.tzinfo) - when) < timedelta(minutes=5)
    assert entry["action"] == "multifit"
    assert entry["files"][0]["name"] == "map.dm4"
    assert entry["parameters"] == {"elements": ["Li"]}
    assert {"python", "hyperspy-assb", "hyperspy", "exspy", "numpy", "scipy", "numba"} <= set(entry["versions"])
    assert entry["versions"]["hyperspy"] == version("hyperspy")


def test_record_names_no_folder(file):
    assert str(file.parent) not in json.dumps(provenance.record("read", files=[file], parameters={"file": file}))


def test_record_is_strict_json():
    parameters = {"array": np.array([[1.0, np.nan], [np.inf, 2.0]]), "options": Options(), "count": np.int64(3)}
    entry = provenance.record("fit", parameters=parameters)
    text = json.dumps(entry, allow_nan=False)
    assert json.loads(text) == entry
    assert entry["parameters"] == {
        "array": [[1.0, None], [None, 2.0]],
        "options": {"limits": [1.0, None], "colour": "red"},
        "count": 3,
    }


@pytest.mark.parametrize("suffix", [".hspy", ".zspy"])
def test_record_survives_the_metadata_of_a_file(tmp_path, file, suffix):
    signal = hs.signals.Signal1D(np.ones((2, 8)))
    entry = provenance.record("fit", files=[file, file], parameters={"range": (1.0, 2.0)}, methods=["poisson", "numpy"])
    signal.metadata.set_item("ASSB.provenance", entry)
    signal.save(tmp_path / f"x{suffix}")
    restored = hs.load(tmp_path / f"x{suffix}").metadata.ASSB.provenance.as_dictionary()
    assert provenance.to_plain(restored) == entry


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (np.bool_(False), False),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (-float("inf"), None),
        (np.array(2.0), 2.0),
        ({1: {2.0}}, {"1": [2.0]}),
        (Path("folder") / "map.dm4", "map.dm4"),
        (1j, "1j"),
        (range(3), [0, 1, 2]),
        (Colour.RED, "red"),
        ("text", "text"),
    ],
)
def test_values_are_made_plain(value, plain):
    made = provenance.to_plain(value)
    assert made == plain
    assert type(made) is type(plain)


def test_citations_come_once_and_in_order():
    assert provenance.cite(iter(["numpy", "poisson", "numpy"])) == [
        str(provenance.CITATIONS["numpy"]),
        str(provenance.CITATIONS["poisson"]),
    ]


def test_unknown_method_is_named():
    with pytest.raises(KeyError, match="alchemy"):
        provenance.cite(["numpy", "alchemy"])


@pytest.mark.parametrize("citation", provenance.CITATIONS.values(), ids=provenance.CITATIONS)
def test_every_work_has_a_doi(citation):
    assert re.fullmatch(r"10\.\d{4,9}/\S+", citation.doi)
    assert citation.text
    assert citation.subject


def test_a_store_of_hyperspy_is_a_file(tmp_path):
    store = tmp_path / "map.zspy"
    (store / "deep").mkdir(parents=True)
    (store / "deep" / "0.0").write_bytes(b"chunk")
    before = provenance.describe_file(store)
    assert (before["name"], before["size"]) == ("map.zspy", 5)
    (store / "deep" / "0.0").rename(store / "deep" / "0.1")
    assert provenance.describe_file(store)["sha256"] != before["sha256"]
