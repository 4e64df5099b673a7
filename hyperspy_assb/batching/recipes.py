"""Recipes: a TOML file that says what is done to which files, checked as a whole before anything runs.

::

    materials = "mine.toml"                           # materials of one's own

    [inputs]
    maps = "raw/*.dm4"                                # each file by itself
    standard = "raw/standard.dm4"
    cells = { before = "cells/*_before.dm4", after = "cells/*_after.dm4" }
    ramp = { files = ["0V.dm4", "2V.dm4", "4V.dm4"], bias = [0.0, 2.0, 4.0] }
    movies = "movies/*.emd"                           # series of images

    [references]
    pure = { LiFePO4 = "0:8,0:8", FePO4 = ["20:30,4:12"] }    # pixels
    masks = "masks.npz"                                       # a file
    calibrated = { analysis = "calibrate" }                   # the result of another analysis

    [analysis.calibrate]
    kind = "fit"
    input = "standard"
    references = "pure"

    [analysis.fit]                                    # kind: the name, if it is one
    input = "maps"
    references = "calibrated"

    [analysis.compare]
    input = "cells"
    permutations = 999

    [analysis.series]
    input = "movies"
    log = "logs/{name}.mpt"                           # a file for each item

    [outputs]                                         # by default {analysis}/{name}
    fit = "fits/{name}"
"""

from __future__ import annotations

import glob
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from hyperspy_assb.batching.options import (
    KINDS,
    Kind,
    RecipeError,
    check_name,
    check_options,
    holds_pixels,
    is_box,
    is_number,
)
from hyperspy_assb.batching.steps import Step
from hyperspy_assb.errors import AssbError, AssbValueError
from hyperspy_assb.report.output import is_result
from hyperspy_assb.staging import path_of

_TABLES = ("inputs", "references", "analysis", "outputs", "materials")
_OUTPUT = "{analysis}/{name}"
RESERVED = ("index.html", "status.csv", "logs")
"""Names that the batch itself uses in its folder."""


@dataclass(frozen=True)
class _Item:
    """Files that belong together under a name; the potentials of their states, if they are known."""

    name: str
    files: tuple[Path, ...]
    bias: tuple[float, ...] | None = None


@dataclass(frozen=True)
class _Reference:
    """What stands for references in the options of a step."""

    texts: tuple[str, ...] = ()
    reads: Mapping[str, Path] | None = None
    analysis: str = ""


def read_recipe(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises
    ------
    RecipeError
        If there is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, and of numbers of thousands of digits
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.") from error


def plan(recipe: Mapping[str, Any], base: Path, out: Path) -> list[Step]:
    """Steps of a recipe, each behind those that it needs.

    Parameters
    ----------
    recipe
        Tables; see the module.
    base
        Folder that names of files are relative to.
    out
        Folder of the results.

    Raises
    ------
    RecipeError
        If a name is not known, a value cannot be, a pattern finds no file, a pair is not complete, two steps have one
        name or one folder, or steps need each other in a circle.
    """
    _check_keys(recipe)
    for name in recipe:
        check_name(name, _TABLES, "The recipe")
    for name in ("inputs", "analysis"):
        if not recipe.get(name):
            raise RecipeError(f"The recipe has no [{name}].")
    for name in ("inputs", "references", "analysis", "outputs"):
        if not isinstance(recipe.get(name, {}), Mapping):
            raise RecipeError(f"[{name}] of the recipe must be a table.")
    materials = tuple(_files(recipe["materials"], base, "materials")) if "materials" in recipe else ()
    items = {name: _items(name, value, base, out) for name, value in recipe["inputs"].items()}
    references = {name: _reference(name, value, base) for name, value in recipe.get("references", {}).items()}
    outputs = recipe.get("outputs", {})
    for name in outputs:
        check_name(name, tuple(recipe["analysis"]), "[outputs]")
    steps: dict[str, Step] = {}
    groups: dict[str, dict[str, Step]] = {}
    for name, table in recipe["analysis"].items():
        pattern = outputs.get(name, _OUTPUT)
        group = dict(_steps(name, table, base, out, items, references, pattern))
        for step in group.values():
            if step.name in steps:
                raise RecipeError(f"Two steps are named {step.name!r}: rename an analysis or a file.")
            steps[step.name] = replace(step, materials=materials)
        groups[name] = group
    steps = {name: _with_needs(step, groups) for name, step in steps.items()}
    steps = {name: _with_members(step, steps) if step.kind == "lamella" else step for name, step in steps.items()}
    check_folders(list(steps.values()), out)
    return _in_order(steps)


def _check_keys(table: Any) -> None:
    """Raise RecipeError for a key that TOML has not: recipes may be tables of Python."""
    for key, value in table.items() if isinstance(table, Mapping) else ():
        if not isinstance(key, str):
            raise RecipeError(f"The recipe has the key {key!r}: keys are texts.")
        _check_keys(value)


def check_folders(steps: list[Step], out: Path) -> None:
    """Raise RecipeError if two steps would write to one folder, one into another, or where the batch itself writes."""
    places: dict[str, Step] = {}
    for step in steps:
        # As file systems that know neither case nor composition see it.
        place = unicodedata.normalize("NFC", str(step.folder)).casefold()
        if place in places:
            raise RecipeError(f"{places[place].name!r} and {step.name!r} would both write to {step.folder}.")
        places[place] = step
    for place, step in places.items():
        above = next((str(p) for p in Path(place).parents if str(p) in places), None)
        if above is not None:
            raise RecipeError(f"{step.name!r} would write into the folder of {places[above].name!r}, {step.folder}.")
        if step.folder.parent == out and step.folder.name.casefold() in RESERVED:
            raise RecipeError(f"{step.name!r} would write to {step.folder}, which the batch itself writes.")


def _steps(
    name: str,
    table: Any,
    base: Path,
    out: Path,
    inputs: Mapping[str, list[_Item]],
    references: Mapping[str, _Reference],
    pattern: Any,
) -> Iterator[tuple[str, Step]]:
    """Steps of one analysis by the names of their items; ``needs`` holds the name of an analysis yet."""
    place = f"[analysis.{name}]"
    if not name.strip() or re.search(r"[/\\\x00-\x1f]", name):
        raise RecipeError(f"{place}: the name of an analysis has letters, and no slash.")
    if not isinstance(table, Mapping):
        raise RecipeError(f"{place} must be a table.")
    table = dict(table)
    kind_name = table.pop("kind", name)
    if not isinstance(kind_name, str) or kind_name not in KINDS:
        raise RecipeError(f"{place} needs a kind, one of {', '.join(KINDS)}; not {kind_name!r}.")
    source = table.pop("input", None)
    if not isinstance(source, str):
        raise RecipeError(f"{place} needs an input, one of {', '.join(inputs)}.")
    check_name(source, tuple(inputs), f"{place} input")
    kind, chosen = KINDS[kind_name], inputs[source]
    if kind.states and any(len(item.files) < 2 for item in chosen):
        raise RecipeError(f"{place}: {kind_name} takes pairs (before, after) or a series of states, not {source!r}.")
    if not kind.states:
        every = dict.fromkeys(file for item in chosen for file in item.files)
        chosen = [_Item(file.stem, (file,)) for file in every]
    if "bias" in table:
        raise RecipeError(f"{place}: bias stands with the files of a series, under [inputs].")
    for item in chosen:
        linked, reads, analysis = _link(table, kind, base, references, place, item.name)
        options = check_options(kind_name, linked, place)
        own = dict(options) if item.bias is None or not kind.states else {**options, "bias": list(item.bias)}
        needs = {f"result of {analysis}": analysis} if analysis else {}
        yield (
            item.name,
            Step(
                name=f"{name}/{item.name}",
                kind=kind_name,
                files=item.files,
                folder=out / _output(pattern, name, item.name),
                options=own,
                reads=reads,
                needs=needs,
            ),
        )


def _link(
    table: dict[str, Any], kind: Kind, base: Path, references: Mapping[str, _Reference], place: str, item: str
) -> tuple[dict[str, Any], dict[str, Path], str]:
    """Options with names in place of files, the files by these names, and the analysis whose result is a reference."""
    table, analysis = dict(table), ""
    reads: dict[str, Path] = {}
    if "references" in table and "references" in kind.options:
        named = table["references"]
        if not isinstance(named, str):
            raise RecipeError(f"{place}: references must be a name of [references], not {named!r}.")
        check_name(named, tuple(references), f"{place} references")
        found = references[named]
        analysis = found.analysis
        table["references"] = [f"result of {analysis}"] if analysis else list(found.texts)
        reads.update(found.reads or {})
    for option in kind.files:
        if option == "references" or option not in table:
            continue
        values = table[option]
        entries = [values] if isinstance(values, str) else values
        texts = []
        for entry in entries if isinstance(entries, list) else []:
            if not isinstance(entry, str) or (option == "phases" and not entry.lower().endswith(".cif")):
                texts.append(entry)
                continue
            path, *others = _files(entry.replace("{name}", glob.escape(item)), base, f"{place} {option}")
            if others:
                raise RecipeError(f"{place}: {option} = {entry!r} stands for {1 + len(others)} files; name one.")
            if reads.setdefault(path.name, path) != path:
                raise RecipeError(f"{place}: two files are named {path.name}; rename one.")
            texts.append(path.name)
        table[option] = texts[0] if isinstance(values, str) and texts else texts
    return table, reads, analysis


def _with_needs(step: Step, groups: Mapping[str, Mapping[str, Step]]) -> Step:
    """The step with the names of the steps that it needs, for those of analyses."""
    needs = {}
    for text, analysis in step.needs.items():
        check_name(analysis, tuple(groups), "[references] analysis")
        group = groups[analysis]
        item = step.name.partition("/")[2]
        needed = next(iter(group.values())) if len(group) == 1 else group.get(item)
        if needed is None:
            raise RecipeError(
                f"{step.name!r} takes references from {analysis!r}, which has several files but no {item!r}."
            )
        if not KINDS[needed.kind].result:
            raise RecipeError(
                f"{analysis!r} is no fit with references: it has no result that {step.name!r} could take."
            )
        if not needed.options.get("references"):
            raise RecipeError(f"{step.name!r} takes references from {analysis!r}, which has no references either.")
        needs[text] = needed.name
    return replace(step, needs=needs)


def _with_members(step: Step, steps: Mapping[str, Step]) -> Step:
    """A lamella with the files that its recipe names, and the steps that write those which are results of the batch."""
    # Not at the top: most recipes have none.
    from hyperspy_assb.lamella import lamella_recipe

    (recipe,) = step.files
    try:
        members = lamella_recipe.read_recipe(recipe)["members"]
        files = {key: lamella_recipe.member_path(recipe, key, member) for key, member in members.items()}
    except AssbError as error:
        raise RecipeError(f"{step.name!r}: {error}") from None
    reads, needs = dict(step.reads), dict(step.needs)
    for key, file in files.items():
        path = Path(os.path.normpath(file))
        maker = next((other for other in steps.values() if other is not step and other.folder in path.parents), None)
        if maker is not None:
            needs[f"{key}: {path.name}"] = maker.name
        elif os.path.exists(path):  # noqa: PTH110 (a name may be too long for Path)
            reads[f"{key}: {path.name}"] = path
        else:
            raise RecipeError(f"{step.name!r}: members.{key}: there is no file {path}.")
    return replace(step, reads=reads, needs=needs)


def _in_order(steps: Mapping[str, Step]) -> list[Step]:
    """Steps behind what they need, otherwise as in the recipe."""
    graph = {name: list(step.needs.values()) for name, step in steps.items()}
    try:
        return [steps[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise RecipeError(f"Steps need each other in a circle: {' needs '.join(reversed(error.args[1]))}.") from None


def _items(name: str, value: Any, base: Path, out: Path) -> list[_Item]:
    """Files of an input; what earlier runs wrote below ``out`` is none, though a pattern may stand for it."""
    place = f"[inputs] {name}"
    if not isinstance(value, Mapping):
        items = [_Item(path.stem, (path,)) for path in _files(value, base, place, out)]
        names = [item.name for item in items]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise RecipeError(f"{place} has two files named {twice!r}: rename one, or make them two inputs.")
        return items
    if set(value) == {"before", "after"}:
        return _pairs(name, value, base, place, out)
    if set(value) <= {"files", "bias"} and "files" in value:
        files = tuple(_files(value["files"], base, place, out))
        if len(files) < 2:
            raise RecipeError(f"{place} is a series of {len(files)} state: a series has two or more.")
        return [_Item(name, files, _potentials(value.get("bias"), len(files), place))]
    for key in value:
        check_name(key, ("before", "after", "files", "bias"), place)
    raise RecipeError(f"{place} must have before and after, or files and bias.")


def _potentials(value: Any, count: int, place: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(map(is_number, value)):
        raise RecipeError(f"{place}: bias must be a list of potentials in V.")
    if len(value) != count:
        raise RecipeError(f"{place} has {len(value)} potentials for {count} files.")
    return tuple(float(v) for v in value)


def _pairs(name: str, value: Mapping[str, Any], base: Path, place: str, out: Path) -> list[_Item]:
    """Pairs of files; where the names have wildcards, those belong together whose wildcards stand for the same text."""
    sides = []
    for state in ("before", "after"):
        pattern = value[state]
        if not isinstance(pattern, str):
            raise RecipeError(f"{place}: {state} must be a name or a pattern, not {pattern!r}.")
        found: dict[str, Path] = {}
        for path in _files(pattern, base, f"{place} {state}", out):
            key = _wild(pattern, path, base, name)
            if found.setdefault(key, path) != path:
                raise RecipeError(f"{place}: {found[key]} and {path} are both {key!r} {state} bias: rename one.")
        sides.append(found)
    before, after = sides
    alone = sorted(set(before) ^ set(after))
    if alone:
        side = "after" if alone[0] in before else "before"
        raise RecipeError(f"{place}: {alone[0]!r} has no file {side} bias.")
    same = next((path for key, path in before.items() if after[key] == path), None)
    if same is not None:
        raise RecipeError(f"{place}: {same} is named before and after bias.")
    return [_Item(key, (before[key], after[key])) for key in before]


_WILDCARD = re.compile(r"(\*\*/?|\*|\?|\[!?[^]/][^]/]*\])")


def _wild(pattern: str, path: Path, base: Path, name: str) -> str:
    """What the wildcards of a pattern stand for in a path; the name of the input where there are none."""
    parts = _WILDCARD.split(Path(os.path.normpath(base / pattern)).as_posix())
    inner = {"*": "([^/]*)", "?": "([^/])", "**": "(.*)", "**/": "(.*/)?"}
    whole = path.as_posix()
    if (base / pattern).exists():  # a name may have brackets of its own
        return name
    # What stands in brackets is one character, as for the question mark: the file has matched already.
    expression = "".join(inner["?"] if part[:1] == "[" else inner.get(part, re.escape(part)) for part in parts)
    found = re.fullmatch(expression, whole)
    texts = [text.strip("/").replace("/", "_") for text in (found.groups() if found else ()) if text]
    return "_".join(texts) or name


def _files(value: Any, base: Path, place: str, out: Path | None = None) -> list[Path]:
    """Files that names and patterns stand for, each once; folders only where they are stores of HyperSpy.

    Patterns do not stand for what is in results below ``out``.
    """
    patterns = [value] if isinstance(value, str) else value
    plain = isinstance(patterns, list) and all(isinstance(p, str) and p and "\0" not in p for p in patterns)
    if not plain or not patterns:
        raise RecipeError(f"{place} must be the name of a file, a pattern such as raw/*.dm4, or a list of these.")
    found: dict[Path, None] = {}
    for pattern in patterns:
        try:
            matches = _matches(path_of(pattern, "its name"), base, out)
        except (AssbValueError, OSError) as error:  # such as a name that is too long
            raise RecipeError(f"{place}: there can be no file {pattern[:200]!r} ({error!s:.200}).") from error
        matches = [p for p in matches if p.is_file() or p.suffix.lower() == ".zspy"]
        if not matches:
            raise RecipeError(f"{place}: there is no file {pattern} in {base}.")
        found.update(dict.fromkeys(matches))
    return list(found)


def _matches(own: Path, base: Path, out: Path | None) -> list[Path]:
    named = Path(os.path.normpath(base / own))
    if named.exists():  # a name may have brackets of its own
        return [named]
    whole = str(own) if own.is_absolute() else os.path.join(glob.escape(str(base)), str(own))  # noqa: PTH118
    # Not Path.glob, which takes no absolute patterns.
    found = [Path(os.path.normpath(p)) for p in sorted(glob.glob(whole, recursive=True))]  # noqa: PTH207
    inside = {parent for p in found for parent in p.parents if out is not None and out in parent.parents}
    results = {folder for folder in inside if is_result(folder)}
    return [p for p in found if results.isdisjoint(p.parents)]


def _reference(name: str, value: Any, base: Path) -> _Reference:
    """A file, the result of an analysis, or boxes of pixels."""
    place = f"[references] {name}"
    if isinstance(value, str):
        paths = _files(value, base, place)
        if len(paths) > 1:
            raise RecipeError(f"{place}: {value} stands for {len(paths)} files; references are one file.")
        return _Reference(texts=(paths[0].name,), reads={paths[0].name: paths[0]})
    if not isinstance(value, Mapping) or not value:
        raise RecipeError(f'{place} must be a file, {{ analysis = "..." }}, or pixels by material.')
    if set(value) == {"analysis"} and not is_box(value["analysis"]):
        if not isinstance(value["analysis"], str):
            raise RecipeError(f"{place}: analysis must be the name of an analysis.")
        return _Reference(analysis=value["analysis"])
    texts = []
    for material, boxes in value.items():
        for box in [boxes] if isinstance(boxes, str) else boxes if isinstance(boxes, list) else [boxes]:
            if not is_box(box) or not holds_pixels(box):
                raise RecipeError(f'{place}: {material} = {box!r} must be pixels such as "0:8,0:8" (rows, columns).')
            texts.append(f"{material}={box.replace(' ', '')}")
    return _Reference(texts=tuple(texts))


def _output(pattern: Any, analysis: str, name: str) -> Path:
    """A folder below that of the results; the names in braces are replaced, nothing else is read from the text."""
    place = f"[outputs] {analysis}"
    if not isinstance(pattern, str) or not pattern:
        raise RecipeError(f'{place} must be a text such as "fits/{{name}}".')
    rest = pattern.replace("{analysis}", "").replace("{name}", "")
    if "{" in rest or "}" in rest:
        raise RecipeError(f"{place} = {pattern!r}: only {{analysis}} and {{name}} are replaced.")
    text = pattern.replace("{analysis}", "\0a").replace("{name}", "\0n").replace("\0a", analysis).replace("\0n", name)
    path = PurePosixPath(text)
    strange = "\\" in text or "\0" in text or re.match(r"[A-Za-z]:", text)
    if path.is_absolute() or ".." in path.parts or not path.parts or strange:
        raise RecipeError(f"{place} = {text!r} must be a folder inside that of the batch.")
    return Path(path)
