"""Reference pages: the public names, from the lists that the package keeps, and what their docstrings refer to."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

import hyperspy_assb
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel
from hyperspy_assb.signals.result import KINDS, Result


def _of_module(module: ModuleType) -> Iterator[str]:
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield f"{thing.__module__}.{thing.__qualname__}"


def _signals() -> Iterator[str]:
    text = (Path(hyperspy_assb.__file__).parent / "hyperspy_extension.yaml").read_text("utf-8")
    for name, entry in yaml.safe_load(text)["signals"].items():
        yield f"{entry['module']}.{name}"
    yield f"{ASSBEELSModel.__module__}.{ASSBEELSModel.__qualname__}"


def _results() -> Iterator[str]:
    for name, module in KINDS.items():
        if issubclass(getattr(importlib.import_module(module), name), Result):
            yield f"{module}.{name}"


def public_api() -> dict[str, list[str]]:
    """Paths of public functions and classes by the heading that they stand under."""
    modules = {
        n: getattr(hyperspy_assb, n) for n in hyperspy_assb.__all__ if inspect.ismodule(getattr(hyperspy_assb, n))
    }
    groups = {
        "Functions": list(_of_module(hyperspy_assb)),
        "Signals and models": list(_signals()),
        "Results": [f"{Result.__module__}.Result", *_results()],
    }
    groups |= {f"hyperspy_assb.{name}": list(_of_module(module)) for name, module in sorted(modules.items())}
    seen: set[str] = set()
    found: dict[str, list[str]] = {}
    for heading, paths in groups.items():
        # What stands under one heading is not repeated under another.
        new = [path for path in dict.fromkeys(paths) if path not in seen]
        seen.update(new)
        if new:
            found[heading] = new
    return found


def _resolve(path: str) -> Any:
    """The thing at a path with dots; None where there is none."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            thing = getattr(thing, name, None)
        return thing
    return None


def _named_in(thing: Any) -> set[str]:
    """Paths of our functions and classes that a docstring or a signature names."""
    texts = [inspect.getdoc(thing) or ""]
    things = [thing]
    if inspect.isclass(thing):
        statuses = getattr(thing, "statuses", None)
        if statuses is not None:
            texts.append(f"{statuses.__module__}.{statuses.__qualname__}")
        for raw in vars(thing).values():
            member = getattr(raw, "func", getattr(raw, "fget", getattr(raw, "__func__", raw)))
            if inspect.isfunction(member):
                texts.append(inspect.getdoc(member) or "")
                things.append(member)
    for each in things:
        notes = " ".join(str(note) for note in getattr(each, "__annotations__", {}).values())
        notes += " ".join(re.findall(r":(?:class|func):`[^`]*?(\w+)`", inspect.getdoc(each) or ""))
        known = vars(sys.modules[each.__module__]) if each.__module__ in sys.modules else {}
        for word in set(re.findall(r"[A-Za-z_]\w+", notes)):
            used = known.get(word)
            if (inspect.isclass(used) or inspect.isfunction(used)) and used.__module__.startswith("hyperspy_assb."):
                texts.append(f"{used.__module__}.{used.__qualname__}")
    found = set()
    for path in re.findall(r"hyperspy_assb\.[\w.]*\w", "\n".join(texts)):
        named = _resolve(path)
        if (inspect.isclass(named) or inspect.isfunction(named)) and named.__module__.startswith("hyperspy_assb."):
            found.add(f"{named.__module__}.{named.__qualname__}")
    return found


def beneath() -> list[str]:
    """Paths of records, options and functions on arrays that the public names refer to, directly or through others."""
    public = {path for paths in public_api().values() for path in paths}
    open_, seen = set(public), set(public)
    while open_:
        named = set[str]().union(*(_named_in(_resolve(path)) for path in open_))
        # A method is shown with its class.
        open_ = {path for path in named if not inspect.isclass(_resolve(path.rpartition(".")[0]))} - seen
        seen |= open_
    return sorted(seen - public)


def write(folder: Path) -> None:
    """Write one page a heading into ``folder``, and the page that lists them."""
    folder.mkdir(exist_ok=True)
    pages = []
    for heading, paths in {**public_api(), "Records and functions on arrays": beneath()}.items():
        page = heading.lower().replace(" ", "_").replace(".", "_")
        pages.append(page)
        lines = [heading, "=" * len(heading), ""]
        if heading == "Functions":
            lines += [".. py:data:: hyperspy_assb.materials", "", "   All materials by name.", ""]
            lines += [".. py:data:: hyperspy_assb.electrodes", "", "   All electrodes by name.", ""]
        for path in paths:
            module, _, name = path.rpartition(".")
            thing = getattr(importlib.import_module(module), name)
            lines += [name, "-" * len(name), ""]
            if inspect.isclass(thing):
                lines += [f".. autoclass:: {path}", "   :members:", ""]
            else:
                # By the name that users write, and by the one that docstrings refer to.
                short = f"{heading if heading.startswith('hyperspy_assb.') else 'hyperspy_assb'}.{name}"
                public = short != path and _resolve(short) is thing
                lines += [f".. autofunction:: {short if public else path}", ""]
                if public:
                    lines += [
                        f".. py:function:: {path}",
                        "   :no-contents-entry:",
                        "   :no-index-entry:",
                        "",
                        f"   The same as :func:`{short}`.",
                        "",
                    ]
        (folder / f"{page}.rst").write_text("\n".join(lines), "utf-8")
    title = "Reference"
    toc = ["", ".. toctree::", "   :maxdepth: 2", "", *(f"   {page}" for page in pages), ""]
    (folder / "index.rst").write_text("\n".join([title, "=" * len(title), *toc]), "utf-8")
