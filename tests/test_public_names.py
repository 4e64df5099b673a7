"""Every public name is documented, has an example that runs, says what it returns, and uses the words of the project.

Public is what users meet: what the ``__all__`` of the packages in ``hyperspy_assb.__all__`` show, with the methods and
attributes that are ours of these classes, of the registered signals, of the model, and of results.
"""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import importlib.util
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import yaml
from hyperspy.component import Component
from hyperspy.signals import BaseSignal
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import hyperspy_assb
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel
from hyperspy_assb.signals.result import KINDS, Result

PACKAGE = Path(hyperspy_assb.__file__).parent
PENDING = Path(__file__).with_name("public_names_pending.txt")

CHECKS = {
    *("GL01", "GL03", "GL05", "GL06", "GL07", "GL08", "GL10"),  # form
    *("SS01", "SS03", "SS04"),  # summary
    *("PR01", "PR02", "PR03", "PR07", "PR10"),  # every parameter, in order, described; types are in the annotations
    *("RT01", "RT03", "YD01"),  # what comes back
}
"""Of numpydoc."""

MOST_ARGUMENTS = 8

UNTYPED = {
    "hyperspy_assb.provenance.to_plain": "gives the kind of value that it takes",
    "hyperspy_assb.reference.material_facts.Material.needed": "the type is that of the fact",
}
"""Names that may return Any, with the reason."""

WORDS = {
    r"where|regions|rois?": "region=, or select(...) where pixels are taken out",
    r"level|significance_level": "alpha=",
    r"false_discovery_rate": "fdr=",
    r"errors?|.*_(err|errors?|uncertainty|uncertainties|stderr)": "_std or _systematic",
    r"verdicts?|findings?|conclusions?|reasons?|judge": "summary(), notes or status",
    r"bad|skip|excluded?": "mask= (True: left out)",
    r"progress|progress_?bar|verbose": "show_progressbar=",
    r".*glass.*": "amorphous",
    r"xray.*|x_rays?": "EDX in prose, eds where HyperSpy has it",
    r"colors?|.*_colors?": "colour",
    r"centers?|.*_center": "centre",
    r"voltage|accelerating_voltage|high_tension": "beam_energy",
    r"p_?val|pvalues?": "p_value",
    r"zlp.*": "zero_loss",
}
"""What arguments, attributes and methods are not called, and what they are called."""

OTHER_MEANINGS = {
    "xray_lines": "as exspy calls them in the methods of the same signal",
    "max_excitation_error": "an excitation error is a distance in reciprocal space",
    "offset_error": "by how much the axis of a virtual detector is off, which is no uncertainty",
    "gain_error": "as offset_error",
}
"""Words that look like one of these and mean something else."""


FROM_FRAMEWORK = (Enum, Exception, Component, BaseSignal)
"""Classes that are made with the arguments of their base."""


@dataclass(frozen=True)
class Name:
    """A public name.

    Parameters
    ----------
    path
        Where it is defined, with dots.
    thing
        What it is.
    owner
        The class, of methods and attributes.
    """

    path: str
    thing: Any
    owner: type | None = None

    @property
    def attribute(self) -> bool:
        return isinstance(self.thing, property | functools.cached_property)

    @property
    def word(self) -> str:
        return self.path.rpartition(".")[2]


# --------------------------------------------------------------------------------------------------------- collection


def public_modules() -> list[ModuleType]:
    """Packages that users meet."""
    inside = [getattr(hyperspy_assb, name) for name in hyperspy_assb.__all__]
    return [hyperspy_assb, *(thing for thing in inside if inspect.ismodule(thing))]


def shown(module: ModuleType) -> Iterator[Any]:
    """Functions and classes of ours in the ``__all__`` of a module; values have no docstrings."""
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield thing


def registered_signals() -> list[type]:
    entries = yaml.safe_load((PACKAGE / "hyperspy_extension.yaml").read_text("utf-8"))["signals"]
    return [getattr(importlib.import_module(entry["module"]), name) for name, entry in entries.items()]


def results() -> list[type]:
    kinds = [getattr(importlib.import_module(module), name) for name, module in KINDS.items()]
    return [Result, *(kind for kind in kinds if issubclass(kind, Result))]


def members(cls: type) -> Iterator[Name]:
    """Methods and attributes that a class of ours defines; what HyperSpy asks of every component is left out."""
    if issubclass(cls, Enum | Component):
        return
    for name, raw in vars(cls).items():
        thing = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
        if name.startswith("_") or not isinstance(thing, FunctionType | property | functools.cached_property):
            continue
        # What a result must have is described once, in the base.
        if thing.__doc__ is None and any(name in vars(base) for base in cls.__mro__[1:]):
            continue
        yield Name(f"{cls.__module__}.{cls.__qualname__}.{name}", thing, cls)


def public_names() -> dict[str, Name]:
    things = [thing for module in public_modules() for thing in shown(module)]
    things += [*registered_signals(), ASSBEELSModel, *results()]
    found: dict[str, Name] = {}
    for thing in things:
        name = Name(f"{thing.__module__}.{thing.__qualname__}", thing)
        found[name.path] = name
        if inspect.isclass(thing):
            found |= {member.path: member for member in members(thing)}
    return dict(sorted(found.items()))


NAMES = public_names()


# ----------------------------------------------------------------------------------------------------------- examples


@functools.cache
def executed(module: str) -> dict[str, str]:
    """Code of the examples of a module that pytest runs, by the path of what they stand under."""
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return {test.name: "".join(e.source for e in test.examples if not e.options.get(doctest.SKIP)) for test in found}


def examples(name: Name) -> int:
    """Examples that run and show the name: its own; of what takes no arguments, those of its class that use it."""
    module = (name.owner or name.thing).__module__
    code = executed(module)
    own = bool(code.get(name.path))
    if own or name.owner is None or arguments(name):
        return int(own)
    of_class = name.path.rpartition(".")[0]
    return sum(
        bool(re.search(rf"\.{name.word}\b", text))
        for path, text in code.items()
        if path == of_class or path.startswith(f"{of_class}.")
    )


# ------------------------------------------------------------------------------------------------------------- checks


def tree_of(thing: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))).body[0]


def raised(thing: Any) -> set[str]:
    """Names of the errors that a function itself raises."""
    found, stack = set(), list(ast.iter_child_nodes(tree_of(thing)))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found.add(ast.unparse(error))
        stack += ast.iter_child_nodes(node)
    return found


def annotation_of_return(thing: Any) -> str:
    annotation = inspect.signature(thing).return_annotation
    if annotation is inspect.Signature.empty:
        return ""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def undescribed_fields(cls: type) -> list[str]:
    """Own fields of a record that neither its docstring nor a text below them describes."""
    docs = get_doc_object(cls)
    described = {item.name for section in ("Parameters", "Attributes") for item in docs[section] if item.desc}
    body = tree_of(cls).body
    for item, text in itertools.pairwise(body):
        if isinstance(item, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            described.add(ast.unparse(item.target))
    described = {part.strip() for name in described for part in name.split(",")}
    own = inspect.get_annotations(cls)
    return [item.name for item in fields(cls) if item.name in own and item.init and item.name not in described]


def docstring_faults(name: Name) -> list[str]:
    """What is wrong with a docstring."""
    if name.attribute:
        return [] if (name.thing.__doc__ or "").strip() else ["GL08: no docstring"]
    checks = set(CHECKS)
    if inspect.isclass(name.thing) and (is_dataclass(name.thing) or issubclass(name.thing, FROM_FRAMEWORK)):
        checks -= {"PR01", "PR02", "PR03"}
    if inspect.isfunction(name.thing) and not arguments(name):
        # One sentence may say what it gives.
        checks -= {"RT01"}
    faults = [f"{code}: {told}" for code, told in validate(name.path)["errors"] if code in checks]
    if inspect.isclass(name.thing) and is_dataclass(name.thing):
        faults += [f"PR01: {field} is not described" for field in undescribed_fields(name.thing)]
    if inspect.isfunction(name.thing) and raised(name.thing) and not get_doc_object(name.thing)["Raises"]:
        faults.append(f"no section Raises, but it raises {', '.join(sorted(raised(name.thing)))}")
    return faults


def type_faults(name: Name) -> list[str]:
    """A return type that says nothing."""
    function = getattr(name.thing, "fget", None) or getattr(name.thing, "func", None) or name.thing
    if inspect.isclass(function) or name.path in UNTYPED:
        return []
    annotation = annotation_of_return(function)
    return [] if annotation and not re.search(r"^Any\b|\bAny$", annotation) else ["returns Any"]


def inherited(name: Name) -> inspect.Signature | None:
    """The signature of a method of HyperSpy or exspy that a method of ours takes the place of."""
    for base in name.owner.__mro__[1:] if name.owner else ():
        if not base.__module__.startswith(hyperspy_assb.__name__) and callable(vars(base).get(name.word)):
            return inspect.signature(vars(base)[name.word])
    return None


def arguments(name: Name) -> list[str]:
    if name.attribute:
        return []
    try:
        signature = inspect.signature(name.thing)
    except ValueError:
        return []
    if inspect.isclass(name.thing) and issubclass(name.thing, FROM_FRAMEWORK):
        return []
    given = [item for item in signature.parameters if item not in ("self", "cls")]
    theirs = inherited(name)
    return [item for item in given if theirs is None or item not in theirs.parameters]


def word_faults(name: Name) -> list[str]:
    """Words that stand for something that has another one."""
    words = [] if name.owner and inherited(name) is not None else [name.word]
    if inspect.isclass(name.thing):
        words = []
    words += arguments(name)
    return [
        f"{word} is called {right}"
        for word in words
        for wrong, right in WORDS.items()
        if word not in OTHER_MEANINGS and re.fullmatch(wrong, word)
    ]


def length_faults(name: Name) -> list[str]:
    """Too many arguments; records are what they are put into."""
    count = 0 if inspect.isclass(name.thing) else len(arguments(name))
    return [f"{count} arguments: put them into a record"] if count > MOST_ARGUMENTS else []


def example_faults(name: Name) -> list[str]:
    exempt = inspect.isclass(name.thing) and (name.thing is Result or issubclass(name.thing, Enum))
    return [] if exempt or examples(name) else ["no example that runs"]


FAULTS = {
    "docstring": docstring_faults,
    "example": example_faults,
    "type": type_faults,
    "word": word_faults,
    "length": length_faults,
}


def faults(kind: str, names: dict[str, Name] = NAMES) -> dict[str, str]:
    found = {path: FAULTS[kind](name) for path, name in names.items()}
    return {path: "; ".join(told) for path, told in found.items() if told}


def pending(kind: str) -> set[str]:
    """Names that are still to be mended."""
    if not PENDING.exists():
        return set()
    lines = [line.split(None, 1) for line in PENDING.read_text("utf-8").splitlines() if line.strip()]
    return {path for what, path in lines if what == kind}


# -------------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("kind", FAULTS)
def test_public_names(kind: str) -> None:
    found, listed = faults(kind), pending(kind)
    new = {path: told for path, told in found.items() if path not in listed}
    assert not new, "\n".join(f"{path}: {told}" for path, told in new.items())
    mended = listed - set(found)
    assert not mended, f"Take these out of {PENDING.name}: {sorted(mended)}"


def test_the_count_of_examples(record_property: Any) -> None:
    count = sum(examples(name) > 0 for name in NAMES.values())
    told = f"{count} of {len(NAMES)} public names have an example that runs"
    record_property("examples", told)
    assert count + len(faults("example")) >= 0.9 * len(NAMES), told


# ------------------------------------------------------------------------------------------------ and tests of the test


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Name]]:
    """Names of a module with faults."""
    spec = importlib.util.spec_from_file_location("planted_names", Path(__file__).with_name("planted_names.py"))
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "planted_names", module)
    spec.loader.exec_module(module)
    yield {thing.__name__: Name(f"planted_names.{thing.__name__}", thing) for thing in shown(module)}
    executed.cache_clear()


def test_planted_faults_are_found(planted: dict[str, Name]) -> None:
    assert set(faults("example", planted)) == {"without_example", "skipped", "undescribed", "wrong_words", "long"}
    assert set(faults("type", planted)) == {"undescribed"}
    assert set(faults("length", planted)) == {"long"}
    assert set(faults("docstring", planted)) == {"undescribed", "wrong_words", "long"}
    for code in ("SS03", "'a'", "RT01", "no section Raises, but it raises ValueError"):
        assert code in faults("docstring", planted)["undescribed"]
    words = faults("word", planted)
    assert set(words) == {"wrong_words"}
    assert all(word in words["wrong_words"] for word in ("regions is called region=", "amorphous", "x_errors"))
    assert "x_std" not in words["wrong_words"]
