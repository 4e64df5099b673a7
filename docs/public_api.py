"""Reference pages of the public names, from the lists that the package itself keeps."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

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


def write(folder: Path) -> None:
    """Write one page a heading into ``folder``, and the page that lists them."""
    folder.mkdir(exist_ok=True)
    pages = []
    for heading, paths in public_api().items():
        page = heading.lower().replace(" ", "_").replace(".", "_")
        pages.append(page)
        lines = [heading, "=" * len(heading), ""]
        for path in paths:
            module, _, name = path.rpartition(".")
            thing = getattr(importlib.import_module(module), name)
            lines += [name, "-" * len(name), ""]
            if inspect.isclass(thing):
                lines += [f".. autoclass:: {path}", "   :members:", ""]
            else:
                lines += [f".. autofunction:: {path}", ""]
        (folder / f"{page}.rst").write_text("\n".join(lines), "utf-8")
    title = "Reference"
    toc = ["", ".. toctree::", "   :maxdepth: 2", "", *(f"   {page}" for page in pages), ""]
    (folder / "index.rst").write_text("\n".join([title, "=" * len(title), *toc]), "utf-8")
