"""Write docs/inventories/*.inv: what the documentation links to in other packages, made from the installed ones.

Sphinx asks a site for its inventory (objects.inv) when it builds; here the build needs no network, and none of these
packages ships its own. An inventory lists public classes and functions with their addresses. The addresses follow the
sources of each site: the ``.rst`` files under ``doc/reference`` of HyperSpy, exspy and orix and under
``doc/source/reference`` of NumPy say on which page a thing stands, and which of its members are shown. A name that no
rule covers is left out, so that the build fails rather than links to nowhere. Other names of the same thing (the module
that defines it, ``np.``) lead to the same place.

Run: python tools/make_inventories.py
"""

from __future__ import annotations

import importlib
import inspect
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "docs" / "inventories"


class Rule(NamedTuple):
    """Where the site of a package shows the things of a module."""

    module: str
    # Address below the site; {name} stands for the full name, {short} for its last part, {member} for .method or "".
    page: str
    # Methods shown: those that the class defines, those that it inherits too, or none.
    members: str = "own"
    # Things shown; all public ones where empty.
    only: tuple[str, ...] = ()


_MODELS = "reference/base_classes/model/"
_SCALARS = """
generic number integer signedinteger unsignedinteger inexact floating complexfloating byte short intc int_ longlong
ubyte ushort uintc uint ulonglong half single double longdouble csingle cdouble clongdouble bool object_ int8 int16
int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128
"""
RULES = {
    "hyperspy": (
        Rule("hyperspy.api", "reference/api.html", "none"),
        Rule("hyperspy.api.signals", "reference/api.signals/{short}.html", "all", ("BaseSignal",)),
        Rule("hyperspy.api.signals", "reference/api.signals/{short}.html", "own", ("Signal1D", "Signal2D")),
        Rule("hyperspy.api.model.components1D", "reference/api.model/components1D.html"),
        Rule("hyperspy.api.roi", "reference/api.roi.html"),
        Rule(
            "hyperspy.axes",
            "reference/base_classes/axes.html",
            "own",
            ("BaseDataAxis", "DataAxis", "FunctionalDataAxis", "UniformDataAxis", "AxesManager"),
        ),
        Rule("hyperspy.component", _MODELS + "component.html", "own", ("Component",)),
        Rule("hyperspy.component", _MODELS + "parameter.html", "own", ("Parameter",)),
        Rule("hyperspy.model", _MODELS + "basemodel.html", "own", ("BaseModel",)),
        Rule("hyperspy.models.model1d", _MODELS + "model1d.html", "own", ("Model1D",)),
        Rule("hyperspy.models.model2d", _MODELS + "model2d.html", "own", ("Model2D",)),
    ),
    "exspy": (
        Rule("exspy.signals", "reference/signals.html"),
        Rule("exspy.models", "reference/models.html"),
        Rule("exspy.components", "reference/components.html"),
    ),
    "orix": tuple(
        Rule(f"orix.{name}", "reference/generated/{name}{member}.html", "all")
        for name in ("crystal_map", "quaternion", "vector", "sampling")
    ),
    "numpy": (
        Rule("numpy", "reference/arrays.scalars.html", "none", tuple(_SCALARS.split())),
        Rule("numpy", "reference/generated/{name}{member}.html", "all", ("ndarray", "dtype", "ufunc")),
        Rule("numpy", "reference/generated/{name}.html", "none", ("array", "asarray", "linspace", "load", "arange")),
        Rule("numpy.typing", "reference/typing.html", "none", ("ArrayLike", "DTypeLike", "NDArray")),
        Rule("numpy.random", "reference/random/generator.html", "none", ("Generator", "default_rng")),
        Rule(
            "numpy.random",
            "reference/random/bit_generators/generated/{name}.html",
            "none",
            ("SeedSequence",),
        ),
    ),
}
# Names that annotations write otherwise.
SHORT = {"numpy": {"np.": "numpy.", "npt.": "numpy.typing."}}


def _module(path: str) -> Any:
    """A module, or an attribute of one that acts as a module."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        above, _, name = path.rpartition(".")
        return getattr(_module(above), name)


def _members(thing: Any, shown: str) -> Iterator[str]:
    """Members of a class that its page shows: as ``.name``, beginning with the class itself."""
    yield ""
    if inspect.isclass(thing) and shown != "none":
        for name in dir(thing) if shown == "all" else sorted(vars(thing)):
            member = getattr(thing, name, None)
            if not name.startswith("_") and callable(member) and inspect.getdoc(member):
                yield f".{name}"


def entries(package: str) -> Iterator[str]:
    """Lines of an inventory: name, role, priority and address of each thing."""
    seen: set[str] = set()
    for rule in RULES[package]:
        module = _module(rule.module)
        for short in rule.only or sorted(getattr(module, "__all__", None) or dir(module)):
            thing = getattr(module, short, None)
            if thing is None or short.startswith("_") or inspect.ismodule(thing):
                continue
            if not rule.only and str(getattr(thing, "__module__", "")).partition(".")[0] != package:
                continue
            name = f"{rule.module}.{short}"
            kind = "class" if inspect.isclass(thing) else "function" if callable(thing) else "data"
            aliases = {name}
            if inspect.isclass(thing) or inspect.isroutine(thing):
                aliases.add(f"{thing.__module__}.{thing.__qualname__}")
            aliases |= {
                to + name.removeprefix(full) for to, full in SHORT.get(package, {}).items() if name.startswith(full)
            }
            for alias in sorted(aliases):
                for member in _members(thing, rule.members):
                    if alias + member not in seen:
                        seen.add(alias + member)
                        page = rule.page.format(name=name, short=short, member=member)
                        yield f"{alias}{member} py:{'method' if member else kind} 1 {page}#{name}{member} -"


def main() -> None:
    """Write all inventories."""
    FOLDER.mkdir(exist_ok=True)
    for package in RULES:
        head = f"# Sphinx inventory version 2\n# Project: {package}\n# Version: {version(package)}\n"
        head += "# The remainder of this file is compressed using zlib.\n"
        lines = sorted(entries(package))
        data = zlib.compress(("\n".join(lines) + "\n").encode("utf-8"), 9)
        (FOLDER / f"{package}.inv").write_bytes(head.encode("utf-8") + data)
        print(f"{package}: {len(lines)} names")


if __name__ == "__main__":
    main()
