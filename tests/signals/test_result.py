"""One result: what all classes of results share, their file, and what can go wrong with it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import json
import os
import pickle
import pkgutil
import random
import subprocess
import sys
import types
import typing
import zipfile
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import hyperspy.api as hs
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hyperspy_assb
from hyperspy_assb import staging
from hyperspy_assb.errors import AssbError, AssbFileError, AssbFileNotFoundError, AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.signals import result as results
from hyperspy_assb.signals import result_files
from hyperspy_assb.signals.packing import digest, pack, unpack
from hyperspy_assb.signals.result import KINDS, Result, load, navigation_axes

HERE = Path(__file__).parent
ENDINGS = (".hspy", ".zspy")


def _toys() -> ModuleType:
    """The module of the toys, by the name that scripts beside it import it by."""
    if "toy_results" not in sys.modules:
        spec = util.spec_from_file_location("toy_results", HERE / "toy_results.py")
        module = util.module_from_spec(spec)
        sys.modules["toy_results"] = module
        spec.loader.exec_module(module)
    return sys.modules["toy_results"]


toys = _toys()
ToyMaps, ToyPart, ToyStatus, ToyTable, ToyVerdict = (
    toys.ToyMaps,
    toys.ToyPart,
    toys.ToyStatus,
    toys.ToyTable,
    toys.ToyVerdict,
)


@pytest.fixture(autouse=True)
def _toys_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, module in toys.TOY_KINDS.items():
        monkeypatch.setitem(KINDS, kind, module)


def check_same(one: Any, other: Any) -> None:
    """Assert that two values are the same, with their types, NaN included."""
    assert type(one) is type(other)
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True, check_index_type="exact", check_column_type="exact")
        assert one.attrs == other.attrs
    elif isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other, check_exact=True, check_index_type="exact")
    elif isinstance(one, pd.Index):
        pd.testing.assert_index_equal(one, other, exact=True)
    elif isinstance(one, np.ndarray | np.generic):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    elif dataclasses.is_dataclass(one):
        for f in dataclasses.fields(one):
            check_same(getattr(one, f.name), getattr(other, f.name))
    elif isinstance(one, Mapping):
        assert len(one) == len(other)
        for (key, value), (other_key, other_value) in zip(one.items(), other.items(), strict=True):
            check_same(key, other_key)
            check_same(value, other_value)
    elif isinstance(one, tuple | list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            check_same(a, b)
    elif isinstance(one, float):
        assert np.float64(one).tobytes() == np.float64(other).tobytes() or (np.isnan(one) and np.isnan(other))
    else:
        assert one == other or (one is pd.NA and other is pd.NA) or repr(one) == repr(other)


# What fields may hold -------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=8) | st.sampled_from(["", "µ Å σ 日本", "_None_", "a.b/c", "\x00", "\ud800", "nan"])
WORDS = st.from_regex("[a-z][a-z0-9-]{0,6}", fullmatch=True)
KEYS = TEXT | st.integers() | st.tuples(TEXT, st.integers(-3, 3)) | st.sampled_from(list(toys.ToyStatus))
DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    hnp.unicode_string_dtypes(max_len=5),
    hnp.datetime64_dtypes(max_period="D", min_period="ns"),
    hnp.timedelta64_dtypes(max_period="D", min_period="ns"),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
SCALARS = DTYPES.flatmap(hnp.from_dtype).filter(lambda value: isinstance(value, np.generic))
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.binary(max_size=5),
    TEXT.map(Path),
    st.complex_numbers(),
    st.sampled_from([*toys.ToyStatus, *toys.ToyVerdict]),
    st.builds(range, st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([-2, 1, 3])),
    st.builds(slice, st.none() | st.integers(), st.none() | st.integers()),
)


def columns(rows: int) -> st.SearchStrategy[Any]:
    def listed(values: st.SearchStrategy[Any], dtype: Any) -> st.SearchStrategy[Any]:
        return st.lists(values, min_size=rows, max_size=rows).map(lambda v: pd.Series(v, dtype=dtype))

    numbers = hnp.arrays(st.sampled_from(["b1", "i1", "i8", "u2", "f4", "f8", "c16"]).map(np.dtype), rows).map(
        pd.Series
    )
    times = hnp.arrays(np.dtype("M8[ns]"), rows).map(pd.Series)
    return st.one_of(
        numbers,
        times,
        listed(TEXT.filter(lambda t: "\ud800" not in t), "str"),
        listed(st.none() | TEXT | st.integers() | st.floats(), object),
        listed(st.tuples(TEXT, st.integers()), object),
        listed(st.just(pd.NA) | st.integers(-5, 5), "Int64"),
        listed(st.just(pd.NA) | st.floats(allow_nan=False), "Float64"),
        listed(st.just(pd.NA) | st.booleans(), "boolean"),
        listed(st.sampled_from(["LFP", "FP"]), pd.CategoricalDtype(["FP", "LFP", "LAGP"], ordered=True)),
    )


@st.composite
def indices(draw: Any, rows: int) -> pd.Index:
    name = draw(st.none() | st.just("region"))
    kind = draw(st.sampled_from(["range", "text", "numbers", "levels"]))
    if kind == "range":
        step = draw(st.sampled_from([1, 2]))
        return pd.RangeIndex(3, 3 + step * rows, step, name=name)
    if kind == "text":
        return pd.Index(draw(st.lists(TEXT, min_size=rows, max_size=rows)), dtype=object, name=name)
    if kind == "numbers":
        return pd.Index(draw(hnp.arrays(st.sampled_from(["i8", "f8"]).map(np.dtype), rows)), name=name)
    letters = draw(st.lists(st.sampled_from("abc"), min_size=rows, max_size=rows))
    return pd.MultiIndex.from_arrays([pd.Index(letters, dtype=object), np.arange(rows)], names=[name, "state"])


@st.composite
def tables(draw: Any) -> pd.DataFrame:
    rows, width = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    table = pd.DataFrame({k: draw(columns(rows)) for k in range(width)}, index=pd.RangeIndex(rows))
    table.columns = draw(
        st.just(pd.Index(["x", "x"][:width] + ["t/λ", ""][: max(0, width - 2)], dtype=object)) | indices(width)
    )
    table.index = draw(indices(rows))
    table.attrs = draw(st.just({}) | st.dictionaries(TEXT, st.integers(), max_size=1))
    return table


@st.composite
def series(draw: Any) -> pd.Series:
    rows = draw(st.integers(0, 4))
    found = draw(columns(rows))
    found.index = draw(indices(rows))
    found.name = draw(st.none() | TEXT)
    return found


PARTS = st.builds(
    toys.ToyPart,
    hnp.arrays(float, st.integers(0, 6)),
    st.lists(TEXT, max_size=2).map(tuple),
    st.sampled_from(toys.ToyVerdict),
    st.none() | st.floats(),
)
VALUES = st.recursive(
    st.one_of(PLAIN, ARRAYS, SCALARS, PARTS, tables(), series(), st.integers(0, 3).flatmap(indices)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)
RANDOM = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(RANDOM, max_examples=300)
@given(VALUES)
def test_values_come_back_from_text_and_arrays(value: Any) -> None:
    kinds = toys.TOY_KINDS
    text, arrays = pack(value, kinds)
    text.encode("ascii")
    assert all(a.ndim and a.size and a.dtype.kind in "iufc" and a.flags.c_contiguous for a in arrays.values())
    check_same(unpack(text, arrays, kinds), value)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(RANDOM, max_examples=40)
@given(
    content=VALUES,
    table=tables(),
    notes=st.lists(TEXT, max_size=2).map(tuple),
    record=st.dictionaries(WORDS, PLAIN, max_size=3),
)
@pytest.mark.slow
def test_random_results_come_back_from_files(
    ending: str, content: Any, table: pd.DataFrame, notes: tuple[str, ...], record: Any, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / f"random result{ending}"
    saved = ToyTable(table=table, content=content, notes=notes, provenance=record)
    with pytest.MonkeyPatch.context() as patch:
        for kind, module in toys.TOY_KINDS.items():
            patch.setitem(KINDS, kind, module)
        saved.save(path, overwrite=True)
        check_same(load(path), saved)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4)])
def test_maps_come_back_and_hyperspy_alone_shows_one(ending: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    saved = toys.toy_maps(shape)
    path = tmp_path / f"result{ending}"
    saved.save(path)
    check_same(load(path), saved)
    shown = hs.load(path)
    assert isinstance(shown, hs.signals.BaseSignal)
    assert shown.metadata.General.title == "x of a toy"
    assert shown.axes_manager.as_dictionary() == saved.x.axes_manager.as_dictionary()
    np.testing.assert_array_equal(shown.data, saved.x.data)
    assert shown.metadata.ASSB.provenance.action == "toy"
    assert shown.metadata.ASSB.result.kind == "ToyMaps"
    assert shown.metadata.ASSB.result.version == 1
    assert not saved.x.metadata.has_item("ASSB.result")


def test_the_public_load_is_this_one() -> None:
    assert hyperspy_assb.load is load


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), r"ToyTable\.content is a object"),
        ({"a": (1, {2})}, r"ToyTable\.content\['a'\]\[1\] is a set"),
        (np.array([None]), r"ToyTable\.content is of the type object of NumPy"),
        (np.longdouble(1), r"ToyTable\.content is of the type (longdouble|float128)"),
        (np.ma.masked_array([1.0]), r"ToyTable\.content is a MaskedArray"),
        (pd.DataFrame({"a": pd.interval_range(0, 2)}), r"content\['a'\] is of the type interval"),
        (hs.signals.BaseSignal([1.0]), r"ToyTable\.content is a BaseSignal"),
    ],
)
def test_what_cannot_be_kept_is_named_before_a_file_is_touched(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssbValueError, match=message):
        ToyTable(table=pd.DataFrame(), content=value).save(tmp_path / "a.hspy")
    assert not list(tmp_path.iterdir())


# Which classes are known ----------------------------------------------------------------------------------------------


def classes_within(cls: type) -> set[type]:
    """Dataclasses and enumerations of the package in the annotations of a class, and in theirs."""
    found: set[type] = set()

    def walk(hint: Any) -> None:
        for part in typing.get_args(hint):
            walk(part)
        own = isinstance(hint, type) and hint.__module__.split(".")[0] in ("hyperspy_assb", "toy_results")
        if own and (dataclasses.is_dataclass(hint) or issubclass(hint, Enum)) and hint not in found:
            found.add(hint)
            if dataclasses.is_dataclass(hint):
                hints = typing.get_type_hints(hint)
                for f in dataclasses.fields(hint):
                    walk(hints[f.name])

    walk(cls)
    return found


def unknown_classes(roots: list[type], kinds: Mapping[str, str]) -> list[str]:
    """What a file of some results would hold that the table does not know."""
    held = set().union(*(classes_within(root) for root in roots)) if roots else set()
    return sorted(c.__name__ for c in held if kinds.get(c.__name__) != c.__module__)


def subclasses(cls: type) -> list[type]:
    return [c for sub in cls.__subclasses__() for c in (sub, *subclasses(sub))]


def test_the_table_of_kinds_is_whole_and_true() -> None:
    for module in pkgutil.walk_packages(hyperspy_assb.__path__, "hyperspy_assb."):
        importlib.import_module(module.name)
    own = {kind: module for kind, module in KINDS.items() if kind not in toys.TOY_KINDS}
    for kind, module in own.items():
        cls = getattr(importlib.import_module(module), kind)
        assert (cls.__name__, cls.__module__) == (kind, module)
        assert dataclasses.is_dataclass(cls) or issubclass(cls, Enum)
    found = [c for c in subclasses(Result) if c.__module__.startswith("hyperspy_assb.")]
    assert not unknown_classes([c for c in found if not getattr(c, "__abstractmethods__", None)], own)


def own_results() -> list[type[Result]]:
    """Classes of results of the package, whose modules the table names."""
    found = [getattr(importlib.import_module(module), kind) for kind, module in KINDS.items()]
    return sorted((c for c in found if issubclass(c, Result)), key=lambda c: c.__name__)


SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    float: st.floats(),
    int: st.integers(),
    bool: st.booleans(),
    type(None): st.none(),
    slice: st.builds(slice, st.integers(), st.integers()),
    Path: TEXT.map(Path),
}
POSITIVE, FINITE = st.floats(1e-6, 1e6), st.floats(-1e6, 1e6)
CHECKED: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    # One reading holds the other, which holds none.
    "CompositionChange": {"other": st.none()},
    "Diffraction": {
        "beam_energy": st.floats(1.0, 9999.0),
        "precession_angle": st.floats(0.0, 9.9),
        "max_radius": POSITIVE,
        "excitation_width": POSITIVE,
        "max_excitation_error": POSITIVE,
    },
    "FractionOptions": {
        "confidence": st.floats(0.01, 0.99),
        "resamples": st.integers(19, 10**6),
        "block_pixels": st.none() | st.integers(1, 10**6),
    },
    "GrainOptions": {"threshold": st.floats(0.01, 179.0), "min_pixels": st.integers(1, 10**6)},
    # What is in memory alone is not saved.
    "Member": {"path": TEXT.filter(bool)},
    "MechanismOptions": {
        "particle_angle": st.floats(0.01, 89.0),
        "min_pixels": st.integers(2, 10**6),
        "mixed": st.floats(0.01, 0.49),
        "permutations": st.integers(19, 10**6),
    },
    "PatternGeometry": {"scale": POSITIVE, "centre": st.tuples(FINITE, FINITE), "ellipticity": st.floats(0.0, 0.99)},
}
"""Fields of classes that check what they are given, with values that they take."""


def anything(hint: Any) -> st.SearchStrategy[Any]:
    """Random values of the types that fields of results have."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return PLAIN
    if origin is np.ndarray:
        return ARRAYS
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return st.lists(anything(parts[0]), max_size=3).map(tuple)
        return st.tuples(*map(anything, parts))
    if origin in (dict, Mapping):
        return st.dictionaries(anything(parts[0]), anything(parts[1]), max_size=3)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(map(anything, parts))
    if hint is pd.DataFrame:
        return tables()
    if hint is Detector:  # which refuses what no detector is
        return st.builds(Detector, st.floats(1e-3, 1e3), st.floats(0.0, 1e3))
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        checked = CHECKED.get(hint.__name__, {})
        own = [f.name for f in dataclasses.fields(hint) if f.init]
        return st.builds(hint, **{name: checked[name] if name in checked else anything(hints[name]) for name in own})
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return SIMPLE[hint]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("cls", own_results(), ids=lambda cls: cls.__name__)
@settings(RANDOM, max_examples=15)
@given(data=st.data())
def test_every_result_comes_back_with_random_contents(
    cls: type[Result], ending: str, data: Any, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / f"random {cls.__name__}{ending}"
    hints = typing.get_type_hints(cls)
    own = {f.name: anything(hints[f.name]) for f in dataclasses.fields(cls) if f.name not in ("axes", "provenance")}
    saved = data.draw(st.builds(cls, **own, provenance=st.dictionaries(WORDS, PLAIN, max_size=3)))
    with pytest.MonkeyPatch.context() as patch:
        # Random contents show nothing.
        patch.setattr(cls, "_shown", lambda self: hs.signals.BaseSignal(np.zeros(1)))
        saved.save(path, overwrite=True)
    check_same(load(path), saved)


def test_a_class_that_the_table_lacks_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert unknown_classes([ToyMaps], toys.TOY_KINDS) == []
    lacking = {kind: module for kind, module in toys.TOY_KINDS.items() if kind != "ToyVerdict"}
    assert unknown_classes([ToyMaps], lacking) == ["ToyVerdict"]
    monkeypatch.delitem(KINDS, "ToyVerdict")
    with pytest.raises(AssbValueError, match=r"ToyMaps\.parts\['method 0'\]\.verdict is a ToyVerdict of toy_results"):
        toys.toy_maps().save(tmp_path / "a.hspy")


def test_a_class_of_the_same_name_is_not_taken_for_another(tmp_path: Path) -> None:
    other = dataclasses.make_dataclass("ToyPart", ["x"])
    with pytest.raises(AssbValueError, match=r"is a ToyPart of .*, which is not among the kinds"):
        ToyTable(table=pd.DataFrame(), content=other(1)).save(tmp_path / "a.hspy")


def test_load_finds_a_class_whose_module_was_never_imported(tmp_path: Path) -> None:
    path = tmp_path / "a.hspy"
    toys.toy_maps().save(path)
    code = (
        "import sys, hyperspy_assb; from hyperspy_assb.signals.result import KINDS; "
        f"KINDS.update({toys.TOY_KINDS!r}); assert 'toy_results' not in sys.modules; "
        f"print(type(hyperspy_assb.load({str(path)!r})).__name__)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "ToyMaps"


def forge(path: Path, text: str, *, kind: str = "ToyTable", version: Any = 1) -> None:
    """A file with a text of one's own, and the digest that belongs to it."""
    signal = hs.signals.BaseSignal(np.zeros(1))
    content = {"text": [text], "arrays": {}}
    node = {"kind": kind, "version": version, "written_by": "9.9", "digest": digest(text, {}), "content": content}
    signal.metadata.set_item("ASSB.result", node)
    signal.save(path, overwrite=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"is": "object", "kind": "os.system", "fields": {}}',
        '{"is": "object", "kind": "Popen", "fields": {"args": "true"}}',
        '{"is": "object", "kind": "ToyStatus", "fields": {}}',
        '{"is": "object", "kind": "ToyTable", "fields": {"table": 1}}',
        '{"is": "object", "kind": "ToyPart", "fields": {}}',
        '{"is": "enum", "kind": "ToyTable", "name": "table"}',
        '{"is": "__class__"}',
        '{"is": "array", "type": "O", "shape": [1], "name": "a0"}',
        '"only a string"',
        "not JSON",
        "",
    ],
)
def test_forged_files_build_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "forged.hspy"
    forge(path, text)
    check_refused(path, "9.9")


# Errors of files ------------------------------------------------------------------------------------------------------


def check_refused(path: Path, *parts: str, kind: type[Exception] = AssbFileError) -> str:
    """Assert that loading is one error in one sentence that names the file; returns the sentence."""
    with pytest.raises(AssbFileError) as caught:
        load(path)
    message = str(caught.value)
    assert isinstance(caught.value, AssbError | OSError | ValueError)
    assert type(caught.value) is kind
    assert message.startswith(str(path)) or f"There is no file {path}" in message
    assert message.endswith(".")
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


@pytest.mark.parametrize("ending", [*ENDINGS, ".csv", ""])
def test_missing_file(ending: str, tmp_path: Path) -> None:
    for path in (tmp_path / f"result{ending}", tmp_path / "no folder" / f"result{ending}"):
        check_refused(path, kind=AssbFileNotFoundError)
        with pytest.raises(FileNotFoundError):
            load(str(path))


def _other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(5)


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "Dear reader")


def _folder_with_a_letter(path: Path) -> None:
    path.mkdir()
    (path / "letter.txt").write_text("Dear reader")


def _signals(count: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        hs.signals.Signal1D(np.arange(6.0)).save(path)
        if count > 1:
            with h5py.File(path, "a") as file:
                file.copy(next(iter(file["Experiments"].values())), file["Experiments"], name="second")

    return write


FOREIGN: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "signal": (".hspy", _signals(1), "holds no result"),
    "two signals": (".hspy", _signals(2), "holds no result"),
    "signal in a folder": (".zspy", _signals(1), "holds no result"),
    "other HDF5": (".hspy", _other_hdf5, "could not be read"),
    "other zip": (".zspy", _other_zip, "could not be read"),
    "text": (".hspy", lambda p: p.write_text("Dear reader"), "could not be read"),
    "text called zspy": (".zspy", lambda p: p.write_text("Dear reader"), "could not be read"),
    "HDF5 called zspy": (".zspy", _other_hdf5, "could not be read"),
    "table": (".csv", lambda p: p.write_text("x,y\n1,2\n"), "results are files ending in .hspy or .zspy"),
    "empty": (".hspy", lambda p: p.touch(), "is an empty file"),
    "empty zspy": (".zspy", lambda p: p.touch(), "is an empty file"),
    "folder": (".hspy", lambda p: p.mkdir(), "is a folder"),
    "folder called zspy": (".zspy", lambda p: p.mkdir(), "is a folder"),
    "folder with a letter": (".zspy", _folder_with_a_letter, "is a folder"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_file(name: str, tmp_path: Path) -> None:
    ending, write, said = FOREIGN[name]
    path = tmp_path / f"foreign{ending}"
    write(path)
    check_refused(path, said)


RECORD = {"action": "quantify", "versions": {"python": "3.11", "hyperspy-assb": "0.1.0", "numpy": "2"}}


def _old_mapping(value: Any) -> Any:
    """As results of EDX were packed."""
    if not isinstance(value, Mapping):
        return value
    packed = {f"i{k}": _old_mapping(v) for k, v in enumerate(value.values())}
    return {"kind": "mapping", "keys": list(value), "content": packed}


OLDER = {
    "delithiation": {"quantities": ["x"], "method": "combined", "provenance": RECORD},
    "comparison": {"settings": json.dumps({"names": ["a", "b"]}), "conclusions": ["x"]},
    "orientations": json.dumps({"layout": [], "provenance": RECORD}),
    "eds_composition": {"axes": {"kind": "tuple", "size": 0, "content": {}}, "record": _old_mapping(RECORD)},
    "eds_phases": {"record": _old_mapping(RECORD)},
    "eds_comparison": {"record": _old_mapping(RECORD)},
    "eds_interface": {"record": _old_mapping(RECORD)},
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("node", OLDER)
def test_older_format(node: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"older{ending}"
    signal = hs.signals.BaseSignal(np.zeros(3))
    signal.metadata.set_item(f"ASSB.{node}", OLDER[node])
    if node == "comparison":
        # Beside it.
        signal.metadata.set_item("ASSB.provenance", RECORD)
    signal.save(path)
    check_refused(path, "is an older file", "written by hyperspy_assb 0.1.0", "repeat the analysis")


@pytest.mark.parametrize(
    ("version", "said"), [(2, "update hyperspy_assb"), (0, "repeat the analysis"), ("two", "could not be read")]
)
def test_other_version_of_the_format(version: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.hspy"
    forge(path, "null", version=version)
    check_refused(path, said)


def test_unknown_kind_names_the_version_that_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zspy"
    forge(path, "null", kind="Superconductivity")
    check_refused(path, "holds a 'Superconductivity'", "load it with version 9.9")


def test_changed_class_names_the_version_that_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.hspy"
    toys.toy_maps().save(path)
    fewer = dataclasses.make_dataclass("ToyPart", [("x", Any), ("names", Any)], frozen=True)
    monkeypatch.setattr(toys, "ToyPart", fewer)
    check_refused(path, f"written by hyperspy_assb {hyperspy_assb.__version__}", "scale, verdict, width")


@pytest.mark.parametrize("ending", ENDINGS)
def test_truncated_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    saved = toys.toy_maps()
    saved.save(path)
    whole = path.read_bytes()
    end = len(whole)
    if ending == ".hspy":
        # Without its seal, the file is whole all the same.
        end -= len(result_files._SEAL) + 32
        for length in range(end, len(whole)):
            path.write_bytes(whole[:length])
            check_same(load(path), saved)
    for length in [1, 100, end - 1, *random.Random(3).sample(range(1, end), 40)]:
        path.write_bytes(whole[:length])
        check_refused(path, "could not be read", "truncated, damaged")


@pytest.mark.parametrize("ending", ENDINGS)
def test_flipped_bits_are_told_or_do_not_matter(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    saved = toys.toy_maps()
    saved.save(path)
    whole = path.read_bytes()
    chance = random.Random(4)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in chance.sample(range(len(whole)), chance.choice([1, 1, 3, 30])):
            damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            found = load(path)
        except AssbFileError:
            check_refused(path)
            refused += 1
        else:
            check_same(found, saved)
    assert refused > 20


def test_damaged_files_are_kept_from_hdf5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.hspy"
    toys.toy_maps().save(path)
    whole = path.read_bytes()
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("it was opened"))
    for place in random.Random(5).sample(range(len(whole) - len(result_files._SEAL) - 32), 100):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        check_refused(path, "its bytes have changed")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_result_that_hyperspy_saved_again_is_one(ending: str, tmp_path: Path) -> None:
    path, again = tmp_path / f"a{ending}", tmp_path / f"again{ending}"
    saved = toys.toy_maps()
    saved.save(path)
    hs.load(path).save(again)
    check_same(load(again), saved)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("change", ["data", "slice", "scale", "offset"])
def test_a_map_that_was_changed_in_hyperspy_is_told(ending: str, change: str, tmp_path: Path) -> None:
    path, again = tmp_path / f"a{ending}", tmp_path / f"again{ending}"
    toys.toy_maps().save(path)
    shown = hs.load(path)
    if change == "data":
        shown.data[:] = -7.0
    elif change == "slice":
        shown = shown.inav[1:, :]
    else:
        setattr(shown.axes_manager["x"], change, 5.0)
    shown.save(again)
    check_refused(again, "was changed in HyperSpy since its result was saved")
    check_same(load(path), toys.toy_maps())


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("title", ["Li\\Fe/PO4", "\\", "/", ".", "..", "../a", ""])
def test_titles_that_formats_do_not_take(
    ending: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = toys.toy_maps()
    monkeypatch.setattr(ToyMaps, "_shown", lambda self: self._map(self.x.data, title))
    saved.save(tmp_path / f"a{ending}")
    check_same(load(tmp_path / f"a{ending}"), saved)


@pytest.mark.parametrize("ending", ENDINGS)
def test_names_with_slashes_in_the_record(ending: str, tmp_path: Path) -> None:
    record = {"parameters": {"Li\\Fe/PO4": {"a/b": 1, "c\\d": [1, 2]}}}
    saved = dataclasses.replace(toys.toy_maps(), provenance=record)
    saved.save(tmp_path / f"a{ending}")
    check_same(load(tmp_path / f"a{ending}"), saved)


def test_content_that_was_changed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.hspy"
    toys.toy_maps().save(path)
    with h5py.File(path, "r+") as file:
        arrays = next(iter(file["Experiments"].values()))["metadata/ASSB/result/content/arrays"]
        arrays["a0"][0] += 1.0
    # Without the seal, which told it before.
    path.write_bytes(path.read_bytes().partition(result_files._SEAL)[0])
    check_refused(path, "its content is not what was written")


# Saving ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a", "a.hspy.bak", "a.HSPY"])
def test_wrong_ending_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(AssbValueError, match=rf"{name}: a result is saved whole in \.hspy or \.zspy"):
        toys.toy_maps().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_overwriting_is_asked_for(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    path = tmp_path / "new folder" / f"a{ending}"
    old, new = toys.toy_maps(seed=1), toys.toy_maps(seed=2)
    asked: list[str] = []

    def answers(*replies: str) -> None:
        left = list(replies)
        monkeypatch.setattr("builtins.input", lambda text: (asked.append(text), left.pop(0))[1])

    answers()
    old.save(str(path))
    assert not asked
    answers("n")
    new.save(path)
    check_same(load(path), old)
    assert str(path) in asked[0]
    new.save(path, overwrite=False)
    check_same(load(path), old)
    assert caplog.text.count("the result was not saved") == 2
    answers("y")
    new.save(path)
    check_same(load(path), new)
    old.save(path, overwrite=True)
    check_same(load(path), old)
    with pytest.raises(AssbValueError, match="overwrite must be"):
        old.save(path, overwrite="yes")  # type: ignore[arg-type]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_links_and_modes_of_files_are_kept(ending: str, tmp_path: Path) -> None:
    path, link = tmp_path / f"a{ending}", tmp_path / f"link{ending}"
    toys.toy_maps(seed=1).save(path)
    path.chmod(0o640)
    link.symlink_to(path)
    new = toys.toy_maps(seed=2)
    new.save(link, overwrite=True)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    check_same(load(path), new)


def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved = toys.toy_maps()
    for name in ("a[1]*?.hspy", "é 日本.zspy", ".hidden.hspy", f"{'n' * 250}.hspy", "a.b.zspy"):
        saved.save(name)
        check_same(load(name), saved)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Nobody instead of root, who may write anywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def check_not_saved(result: Any, path: Path, *parts: str) -> None:
    with pytest.raises(AssbFileError) as caught:
        result.save(path, overwrite=True)
    message = str(caught.value)
    assert message.startswith(f"{path.resolve()} could not be saved (")
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
@pytest.mark.parametrize("ending", ENDINGS)
def test_folder_that_cannot_be_written(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    path = folder / f"a{ending}"
    old, new = toys.toy_maps(seed=1), toys.toy_maps(seed=2)
    old.save(path)
    new.save(tmp_path / f"b{ending}")  # everything is imported
    folder.chmod(0o555)
    try:
        with unprivileged():
            check_not_saved(new, path, "Permission")
    finally:
        folder.chmod(0o755)
    check_same(load(path), old)
    assert [p.name for p in folder.iterdir()] == [path.name]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.hspy"
    toys.toy_maps().save(path)
    load(path)
    path.chmod(0)
    with unprivileged():
        check_refused(path, "you may not read it")


def test_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_not_saved(toys.toy_maps(), tmp_path / "file" / "a.hspy", "Error")


@pytest.mark.parametrize("ending", ENDINGS)
def test_full_disk_leaves_the_old_file(ending: str, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / f"a{ending}"
    old, new = toys.toy_maps(seed=1), toys.toy_maps((64, 64), seed=2, methods=4)
    old.save(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # In this process: HDF5 itself, on a disk that fills up, crashes it then or later.
    for size in (0, 1000, 20_000, 60_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            check_not_saved(new, path, "the file is as it was")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        check_same(load(path), old)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
    new.save(path, overwrite=True)
    check_same(load(path), new)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_a_writer_loses_without_a_word_is_found(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{ending}"
    old = toys.toy_maps(seed=1)
    old.save(path)
    write = result_files._write_signal

    def lose(part: Path, signal: Any) -> None:
        del signal.metadata.ASSB.result.content.arrays.a1
        write(part, signal)

    monkeypatch.setattr(result_files, "_write_signal", lose)
    check_not_saved(toys.toy_maps(seed=2), path, "what was written is not what is read back", "the file is as it was")
    check_same(load(path), old)


@pytest.mark.parametrize("ending", ENDINGS)
def test_interrupted_by_hand(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a{ending}"
    old = toys.toy_maps(seed=1)
    old.save(path)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(result_files, "_replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        toys.toy_maps(seed=2).save(path, overwrite=True)
    check_same(load(path), old)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def ended_process() -> int:
    """Number of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return child.pid


@pytest.mark.parametrize("ending", ENDINGS)
def test_leftovers_of_the_dead_are_removed_and_of_the_living_kept(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    own = staging.sibling(path, "part")
    dead = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{ended_process()}-"))
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.DEVNULL)
    if Path("/proc").is_dir():
        # Dead, but nobody has asked for it.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    else:
        child.wait()
    zombie = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{child.pid}-"))
    other = tmp_path / ".another.hspy"
    for file in (own, dead, zombie, other):
        file.write_text("leftover")
    toys.toy_maps().save(path)
    child.wait()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in (own, other, path))


def test_a_folder_of_hyperspy_is_replaced_and_any_other_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.zspy"
    hs.signals.BaseSignal(np.zeros(3)).save(path)
    assert path.is_dir()
    saved = toys.toy_maps()
    saved.save(path, overwrite=True)
    assert path.is_file()
    check_same(load(path), saved)
    for name in ("b.zspy", "b.hspy"):
        letters = tmp_path / name
        _folder_with_a_letter(letters)
        check_not_saved(saved, letters, "it is a folder")
        assert (letters / "letter.txt").read_text() == "Dear reader"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zspy", "b.hspy", "b.zspy"]


@pytest.mark.parametrize("then", ["load", "save"])
def test_a_folder_that_was_moved_aside_comes_back(then: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zspy"
    old, new = toys.toy_maps(seed=1), toys.toy_maps(seed=2)
    old.save(path)
    aside = staging.sibling(path, "aside")
    aside = aside.with_name(aside.name.replace(f"-{os.getpid()}-", f"-{ended_process()}-"))
    aside.mkdir()
    with zipfile.ZipFile(path) as archive:
        archive.extractall(aside)
    path.unlink()
    if then == "save":
        new.save(path, overwrite=True)
    check_same(load(path), new if then == "save" else old)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_folder_comes_back_if_the_new_file_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zspy"
    hs.signals.BaseSignal(np.arange(3.0)).save(path)

    def fail(*_: Any) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "replace", fail)
    check_not_saved(toys.toy_maps(), path, "PermissionError: no")
    np.testing.assert_array_equal(hs.load(path).data, np.arange(3.0))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def kill(folder: Path, ending: str, moments: int, way: str = "whole") -> dict[str, Any]:
    """Kill so many processes while they save, at moments over the length of a save, and tell what is left."""
    if not hasattr(os, "fork"):
        pytest.skip("processes are not copied here")
    command = [sys.executable, str(HERE / "kill_saves.py"), str(folder), ending, str(moments), "7", way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def check_killed(told: dict[str, Any], ending: str, moments: int) -> None:
    assert set(told["found"]) <= {"old", "new"}
    assert sum(told["found"].values()) == moments
    assert told["killed"] > moments / 3
    assert told["left"] == [f"result{ending}"]
    assert told["end"] == "new"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.slow
def test_killed_while_saving(ending: str, tmp_path: Path) -> None:
    check_killed(kill(tmp_path, ending, 5), ending, 5)


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "way"), [(".hspy", "whole"), (".zspy", "whole"), (".zspy", "folder")])
def test_killed_while_saving_at_50_moments(ending: str, way: str, tmp_path: Path) -> None:
    check_killed(kill(tmp_path, ending, 50, way), ending, 50)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_harness_finds_what_saving_in_place_loses(ending: str, tmp_path: Path) -> None:
    found = kill(tmp_path, ending, 100, "in place")["found"]
    assert set(found) - {"old", "new"}


# What classes share ---------------------------------------------------------------------------------------------------


def test_a_class_must_say_what_it_shows() -> None:
    class Silent(Result):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Silent()


def test_cached_signals_are_not_pickled() -> None:
    result = toys.toy_maps()
    assert result.x is result.x
    for back in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
        assert "x" not in vars(back)
        check_same(back, result)
        np.testing.assert_array_equal(back.x.data, result.x.data)


def test_maps_have_axes_title_and_record() -> None:
    result = toys.toy_maps((4, 5))
    assert result.x.axes_manager.navigation_shape == (5, 4)
    assert result.x.axes_manager.signal_dimension == 0
    assert navigation_axes(result.x) == navigation_axes(result.status)
    assert result.x.metadata.Signal.quantity == "x of a toy (1)"
    assert result.x.metadata.ASSB.provenance.action == "toy"
    maps = result._maps(np.arange(40.0).reshape(20, 2), ("Fe", "P"), "Amount of {}", "at.%")
    assert [m.metadata.General.title for m in maps.values()] == ["Amount of Fe", "Amount of P"]
    np.testing.assert_array_equal(maps["P"].data, np.arange(1.0, 41.0, 2.0).reshape(4, 5))
    single = toys.toy_maps(())
    assert single.x.data.shape == (1,)
    assert single.shape == (1,)


def test_table_of_pixels() -> None:
    result = toys.toy_maps((2, 3))
    table = result.to_dataframe()
    assert list(table) == ["y index", "y (nm)", "x index", "x (nm)", "x", "status"]
    assert table["y (nm)"].tolist() == [1.0, 1.0, 1.0, 3.0, 3.0, 3.0]
    assert table["x (nm)"].tolist() == [1.0, 3.0, 5.0, 1.0, 3.0, 5.0]
    assert table["x"].tolist() == result.x.data.ravel().tolist()
    assert table["status"].tolist() == [toys.ToyStatus(s).name.lower() for s in result.status.data.ravel()]
    assert list(toys.toy_maps(()).to_dataframe()) == ["x", "status"]


def test_positions_on_axes_without_step_name_or_units() -> None:
    axis = {"_type": "DataAxis", "name": "bias", "units": "V", "axis": np.array([0.0, 3.4, 4.2]), "size": 3}
    plain = {"name": None, "size": 2, "scale": 1.0, "offset": 0.0, "units": None}
    result = dataclasses.replace(toys.toy_maps((3, 2)), axes=({**axis, "navigate": True}, {**plain, "navigate": True}))
    table = result.to_dataframe()
    assert list(table)[:4] == ["bias index", "bias (V)", "axis 1 index", "axis 1 position"]
    assert table["bias (V)"].tolist() == [0.0, 0.0, 3.4, 3.4, 4.2, 4.2]


def test_table_of_regions() -> None:
    result = toys.toy_maps((4, 5))
    mask = np.zeros((4, 5), dtype=bool)
    mask[:2, 1:3] = True
    labels = np.where(mask, 2, 0)
    labels[3] = 7
    signal = result._map(mask, "")
    roi = hs.roi.RectangularROI(left=3.0, top=1.0, right=7.0, bottom=5.0)
    expected = result.x.data[:2, 1:3]
    for region in (mask, signal, roi):
        table = result.to_dataframe(region)
        assert table.index.tolist() == ["region"]
        assert table.index.name == "region"
        assert table.loc["region", "x"] == pytest.approx(expected.mean())
        assert table.loc["region", ["fitted", "empty", "unexplained"]].sum() == 4
    assert result.to_dataframe(labels).index.tolist() == ["2", "7"]
    assert result.to_dataframe(result._map(labels, ""), names={2: "core"}).index.tolist() == ["core", "7"]
    both = result.to_dataframe(region={"grain": roi, "rows": labels})
    assert both.index.tolist() == ["grain", "rows 2", "rows 7"]
    assert both.loc["grain", "x"] == both.loc["rows 2", "x"]
    single = toys.toy_maps(())
    assert len(single.to_dataframe(np.array([True]))) == 1


@pytest.mark.parametrize(
    ("region", "names", "kind", "message"),
    [
        (np.ones((4, 4), dtype=bool), None, ValueError, "region has the shape"),
        ({"a": np.zeros((4, 5), dtype=bool)}, None, ValueError, r"region\['a'\] names no pixel"),
        (np.ones((3, 5), dtype=int), None, ValueError, "region has the shape"),
        (np.zeros((4, 5), dtype=int), None, ValueError, "holds no region"),
        (np.ones((4, 5), dtype=int), ["a", "b"], ValueError, r"names for the labels \[2\]"),
        (np.repeat([[1], [2]], 10).reshape(4, 5), {1: "a", 2: "a"}, ValueError, "same name"),
        ({}, None, ValueError, "names no region"),
        ("middle", None, TypeError, "must be a boolean array"),
        (np.ones((4, 5)), None, TypeError, "must be a boolean array"),
    ],
)
def test_bad_regions(region: Any, names: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        toys.toy_maps((4, 5)).to_dataframe(region, names=names)


def test_results_without_pixels_say_so() -> None:
    result = ToyTable(table=pd.DataFrame({"a": [1]}))
    check_same(result.to_dataframe(), result.table)
    with pytest.raises(AssbValueError, match=r"A ToyTable has no pixels that region= could name"):
        result.to_dataframe(np.array([True]))
    with pytest.raises(AssbValueError, match=r"A ToyTable has no pixels"):
        Result.to_dataframe(result)


def test_everything_of_the_protocol_is_there() -> None:
    result = toys.toy_maps((4, 5))
    assert result.summary().splitlines()[1:] == list(result.notes)
    assert result.plot() is not None
    for name in ("save", "plot", "to_dataframe", "summary", "notes", "status", "provenance", "axes"):
        assert hasattr(result, name)
    assert results.__doc__


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_a_notebook_shows_a_table_a_thumbnail_and_the_notes(shape: tuple[int, ...]) -> None:
    page = dataclasses.replace(toys.toy_maps(shape), notes=("<b>first</b>", "second"))._repr_html_()
    assert "ToyMaps" in page
    assert "&lt;b&gt;first" in page
    assert "<summary>2 notes</summary>" in page
    assert page.count("<table") == 1
    assert ("data:image/png;base64," in page) == bool(shape)
