"""Values of results as text and arrays, which any file keeps, and back.

The text is JSON: None, booleans, integers, strings, finite numbers and lists are themselves, all else is an object that
says under ``is`` what it is. Arrays stand beside it. Classes are built by their registered names alone: what a file
names is looked up in a table, never imported or evaluated.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError

Arrays = dict[str, NDArray[Any]]
Kinds = Mapping[str, str]
"""Modules by the names of the classes that may be in a file."""

_NUMBERS = "biufc"
_TIMES = "mM"
_LISTED = ("object", "str", "string")
"""Types of pandas that are kept as lists of values."""
_MASKED: dict[str, Any] = {
    "b": pd.arrays.BooleanArray,
    "f": pd.arrays.FloatingArray,
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
}
"""Arrays of pandas with missing values, by the kind of their numbers."""


def pack(value: Any, kinds: Kinds) -> tuple[str, Arrays]:
    """Text and arrays from a value.

    Parameters
    ----------
    value
        Dataclasses and enumerations that ``kinds`` knows, mappings, tuples, lists, ranges, slices, strings, bytes,
        paths, numbers, NumPy arrays of numbers, booleans, strings or times and their scalars, pandas tables, series and
        indices.
    kinds
        Modules by names of classes.

    Returns
    -------
    text, arrays
        What :func:`unpack` takes; arrays have one dimension or more, and at least one element.

    Raises
    ------
    AssbValueError
        If something has another type, naming where it is.
    """
    packer = _Packer(kinds)
    tree = packer.pack(value, type(value).__name__)
    return json.dumps(tree, allow_nan=False), packer.arrays


def unpack(text: str, arrays: Mapping[str, Any], kinds: Kinds) -> Any:
    """What :func:`pack` was given; whatever is wrong with the text or the arrays is an exception of some kind."""
    return _Unpacker(arrays, kinds).unpack(json.loads(text))


def digest(text: str, arrays: Mapping[str, Any]) -> str:
    """Hash of a packed value, in hexadecimal: a file that was damaged or written in part has another."""
    found = hashlib.sha256(text.encode())
    for name, values in sorted(arrays.items()):
        values = np.ascontiguousarray(values)
        found.update(f"{name} {values.dtype.str} {values.shape} ".encode())
        found.update(values.view(np.uint8).data if values.size else b"")
    return found.hexdigest()


def find_class(kind: str, kinds: Kinds) -> type:
    """The class of a kind.

    Raises
    ------
    KeyError
        If there is no such kind.
    """
    found: type = getattr(import_module(kinds[kind]), kind)
    return found


class _Packer:
    """Collects the arrays of a value while its tree is made."""

    def __init__(self, kinds: Kinds):
        self.kinds = kinds
        self.arrays: Arrays = {}

    def pack(self, value: Any, where: str) -> Any:
        # Scalars of NumPy and members of enumerations may be numbers or strings of Python as well: they come first.
        if isinstance(value, np.generic):
            return self.scalar(value, where)
        if isinstance(value, Enum):
            return {"is": "enum", "kind": self.kind(value, where), "name": value.name}
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"is": "float", "value": repr(value)}
        if type(value) is np.ndarray:
            return self.array(value, where)
        if is_dataclass(value) and not isinstance(value, type):
            content = {f.name: self.pack(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)}
            return {"is": "object", "kind": self.kind(value, where), "fields": content}
        if isinstance(value, Mapping):
            items = [[self.pack(k, f"{where} key"), self.pack(v, f"{where}[{k!r}]")] for k, v in value.items()]
            return {"is": "mapping", "items": items}
        if type(value) in (tuple, list):
            items = [self.pack(item, f"{where}[{i}]") for i, item in enumerate(value)]
            return items if type(value) is list else {"is": "tuple", "items": items}
        packed = self.rarer(value, where)
        if packed is None:
            raise AssbValueError(f"{where} is a {type(value).__qualname__}, which a result file does not keep.")
        return packed

    def rarer(self, value: Any, where: str) -> dict[str, Any] | None:
        if type(value) in (range, slice):
            parts = (value.start, value.stop, value.step)
            return {"is": type(value).__name__, "items": [self.pack(part, where) for part in parts]}
        if type(value) is complex:
            return {"is": "complex", "items": [self.pack(part, where) for part in (value.real, value.imag)]}
        if type(value) is bytes:
            return {"is": "bytes", "value": value.hex()}
        if isinstance(value, Path):
            return {"is": "path", "value": str(value)}
        if value is pd.NA:
            return {"is": "NA"}
        if isinstance(value, pd.DataFrame):
            return {
                "is": "frame",
                "columns": self.index(value.columns, f"{where}.columns"),
                "index": self.index(value.index, f"{where}.index"),
                "values": [self.column(value.iloc[:, i], f"{where}[{n!r}]") for i, n in enumerate(value.columns)],
                "attrs": self.pack(dict(value.attrs), f"{where}.attrs"),
            }
        if isinstance(value, pd.Series):
            return {
                "is": "series",
                "index": self.index(value.index, f"{where}.index"),
                "values": self.column(value, where),
                "name": self.pack(value.name, f"{where}.name"),
            }
        return self.index(value, where) if isinstance(value, pd.Index) else None

    def kind(self, value: Any, where: str) -> str:
        kind = type(value).__name__
        if self.kinds.get(kind) != type(value).__module__:
            raise AssbValueError(
                f"{where} is a {type(value).__qualname__} of {type(value).__module__}, which is not among the kinds "
                "that a result file may hold."
            )
        return kind

    def scalar(self, value: np.generic, where: str) -> dict[str, Any]:
        packed = {"is": "scalar", "type": value.dtype.str}
        if value.dtype.kind == "U":
            return {**packed, "text": str(value)}
        self.check(value.dtype, where)
        return {**packed, "value": value.tobytes().hex()}

    def check(self, dtype: np.dtype[Any], where: str) -> None:
        # Long doubles differ between machines.
        if dtype.kind not in _NUMBERS + _TIMES or dtype.char in "gG":
            raise AssbValueError(f"{where} is of the type {dtype} of NumPy, which a result file does not keep.")

    def array(self, values: NDArray[Any], where: str) -> dict[str, Any]:
        packed = {"is": "array", "type": values.dtype.str, "shape": list(values.shape)}
        if values.dtype.kind == "U":
            return {**packed, "values": values.ravel().tolist()}
        self.check(values.dtype, where)
        if values.size == 0:
            return packed
        if values.dtype.kind in _TIMES:
            values = values.astype(values.dtype.newbyteorder("=")).view(np.int64)
        elif values.dtype.kind == "b":
            values = values.view(np.uint8)
        name = f"a{len(self.arrays)}"
        self.arrays[name] = np.ascontiguousarray(np.atleast_1d(values), dtype=values.dtype.newbyteorder("<"))
        return {**packed, "name": name}

    def column(self, values: Any, where: str) -> dict[str, Any]:
        """Values of a series or an index, by their type."""
        dtype = values.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            return {
                "is": "categories",
                "codes": self.array(np.asarray(values.array.codes), where),
                "categories": self.index(dtype.categories, f"{where}.categories"),
                "ordered": bool(dtype.ordered),
            }
        if isinstance(dtype, np.dtype) and dtype.kind in _NUMBERS + _TIMES:
            return self.array(values.to_numpy(), where)
        if type(values.array) in _MASKED.values():
            # Missing and not-a-number are two things here.
            known = values.array.to_numpy(dtype=dtype.numpy_dtype, na_value=0)
            return {
                "is": "masked",
                "values": self.array(known, where),
                "missing": self.array(np.asarray(values.array.isna()), where),
            }
        if str(dtype) not in _LISTED:
            raise AssbValueError(f"{where} is of the type {dtype} of pandas, which a result file does not keep.")
        return {"is": "column", "type": str(dtype), "items": [self.pack(item, where) for item in values.array]}

    def index(self, index: pd.Index, where: str) -> dict[str, Any]:
        names = [self.pack(name, f"{where}.names") for name in index.names]
        if isinstance(index, pd.RangeIndex):
            return {"is": "range index", "items": [index.start, index.stop, index.step], "names": names}
        if isinstance(index, pd.MultiIndex):
            levels = [self.column(index.get_level_values(k), where) for k in range(index.nlevels)]
            return {"is": "levels", "levels": levels, "names": names}
        return {"is": "index", "values": self.column(index, where), "names": names}


class _Unpacker:
    """Builds a value from its tree."""

    def __init__(self, arrays: Mapping[str, Any], kinds: Kinds):
        self.arrays, self.kinds = arrays, kinds

    def unpack(self, tree: Any) -> Any:
        if isinstance(tree, list):
            return [self.unpack(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        return _BUILD[tree["is"]](self, tree)

    def tuple(self, tree: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(self.unpack(item) for item in tree["items"])

    def mapping(self, tree: dict[str, Any]) -> dict[Any, Any]:
        return {self.unpack(key): self.unpack(value) for key, value in tree["items"]}

    def object(self, tree: dict[str, Any]) -> Any:
        cls = find_class(tree["kind"], self.kinds)
        if not is_dataclass(cls):
            raise TypeError(f"{tree['kind']} has no fields.")
        content = {name: self.unpack(value) for name, value in tree["fields"].items()}
        known = {f.name: f.init for f in fields(cls)}
        if set(known) != set(content):
            odd = ", ".join(sorted(set(known) ^ set(content)))
            raise TypeError(f"{tree['kind']} has other fields in this version: {odd}")
        built = cls(**{name: value for name, value in content.items() if known[name]})
        for name in [name for name, init in known.items() if not init]:
            object.__setattr__(built, name, content[name])
        return built

    def enum(self, tree: dict[str, Any]) -> Any:
        cls = find_class(tree["kind"], self.kinds)
        if not issubclass(cls, Enum):
            raise TypeError(f"{tree['kind']} has no members.")
        return cls[tree["name"]]

    def array(self, tree: dict[str, Any]) -> NDArray[Any]:
        dtype, shape = np.dtype(tree["type"]), tuple(tree["shape"])
        if "values" in tree:
            return np.array(tree["values"], dtype=dtype).reshape(shape)
        if "name" not in tree:
            return np.empty(shape, dtype=dtype)
        values = np.asarray(self.arrays[tree["name"]])
        if dtype.kind == "b":
            return values.astype(bool).reshape(shape)
        if dtype.kind in _TIMES:
            values = values.astype(np.int64).view(dtype.newbyteorder("="))
        # What was read belongs to nobody else: large maps are not held twice.
        return values.astype(dtype, copy=not values.flags.writeable).reshape(shape)

    def scalar(self, tree: dict[str, Any]) -> Any:
        if "text" in tree:
            return np.str_(tree["text"])
        return np.frombuffer(bytes.fromhex(tree["value"]), dtype=np.dtype(tree["type"]))[0]

    def column(self, tree: dict[str, Any]) -> Any:
        if tree["is"] == "array":
            return self.array(tree)
        if tree["is"] == "categories":
            categories = pd.CategoricalDtype(self.index(tree["categories"]), ordered=tree["ordered"])
            return pd.Categorical.from_codes(self.array(tree["codes"]), dtype=categories)
        if tree["is"] == "masked":
            known = self.array(tree["values"])
            return _MASKED[known.dtype.kind](known, self.array(tree["missing"]))
        items = [self.unpack(item) for item in tree["items"]]
        if tree["type"] not in _LISTED:
            raise TypeError(f"{tree['type']} is no type of a column.")
        if tree["type"] != "object":
            return pd.array(items, dtype=tree["type"])
        # One by one: NumPy would make a table of tuples.
        found = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):
            found[i] = item
        return found

    def level(self, tree: dict[str, Any]) -> pd.Index:
        values = self.column(tree)
        return pd.Index(values, dtype=values.dtype, tupleize_cols=False)

    def index(self, tree: dict[str, Any]) -> pd.Index:
        names = [self.unpack(name) for name in tree["names"]]
        if tree["is"] == "range index":
            return pd.RangeIndex(*tree["items"], name=names[0])
        if tree["is"] == "levels":
            # As indices: of arrays of objects, pandas would guess the type.
            return pd.MultiIndex.from_arrays([self.level(level) for level in tree["levels"]], names=names)
        return self.level(tree["values"]).rename(names[0])

    def series(self, tree: dict[str, Any]) -> pd.Series:
        values = self.column(tree["values"])
        return pd.Series(values, index=self.index(tree["index"]), dtype=values.dtype, name=self.unpack(tree["name"]))

    def frame(self, tree: dict[str, Any]) -> pd.DataFrame:
        index, columns = self.index(tree["index"]), [self.column(values) for values in tree["values"]]
        parts = {i: pd.Series(values, index=index, dtype=values.dtype) for i, values in enumerate(columns)}
        found = pd.DataFrame(parts, index=index)
        found.columns = self.index(tree["columns"])
        found.attrs = self.unpack(tree["attrs"])
        return found


_BUILD: dict[str, Callable[[_Unpacker, dict[str, Any]], Any]] = {
    "NA": lambda *_: pd.NA,
    "array": _Unpacker.array,
    "bytes": lambda _, tree: bytes.fromhex(tree["value"]),
    "complex": lambda self, tree: complex(*self.tuple(tree)),
    "enum": _Unpacker.enum,
    "float": lambda _, tree: float(tree["value"]),
    "frame": _Unpacker.frame,
    "index": _Unpacker.index,
    "levels": _Unpacker.index,
    "mapping": _Unpacker.mapping,
    "object": _Unpacker.object,
    "path": lambda _, tree: Path(tree["value"]),
    "range": lambda self, tree: range(*self.tuple(tree)),
    "range index": _Unpacker.index,
    "scalar": _Unpacker.scalar,
    "series": _Unpacker.series,
    "slice": lambda self, tree: slice(*self.tuple(tree)),
    "tuple": _Unpacker.tuple,
}
