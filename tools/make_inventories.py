"""Write docs/inventories/*.inv: what the documentation links to in other packages, made from the installed ones.

Sphinx asks a site for its inventory (objects.inv) when it builds; here the build has no need of a network, and none of
these packages ships its own. An inventory lists the public classes and functions of some modules with the addresses at
which the project's site has them; names that annotations and bases write otherwise (the module in which something is
defined, ``np.``) lead to the same place.

Run: python tools/make_inventories.py
"""

from __future__ import annotations

import importlib
import inspect
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "inventories"
# Modules by package, and the address of a thing in one of them below the site that docs/conf.py names.
MODULES = {
    "numpy": ("numpy", "numpy.typing", "numpy.random"),
    "hyperspy": (
        "hyperspy.api",
        "hyperspy.api.signals",
        "hyperspy.api.model.components1D",
        "hyperspy.api.roi",
        "hyperspy.axes",
        "hyperspy.component",
        "hyperspy.model",
        "hyperspy.models.model1d",
        "hyperspy.models.model2d",
    ),
    "exspy": ("exspy.signals", "exspy.models", "exspy.components"),
    "orix": ("orix.crystal_map", "orix.quaternion", "orix.vector", "orix.sampling"),
}
PAGES = {
    "numpy": "reference/generated/{name}.html",
    "hyperspy": "reference/{module}.html",
    "exspy": "reference/{module}.html",
    "orix": "reference/generated/{name}.html",
}
# Types of annotations that numpy documents as data, beside its classes.
SHORT = {"numpy": {"np.": "numpy.", "npt.": "numpy.typing."}}


def things(package: str) -> Iterator[tuple[str, str, str, Any]]:
    """Name, module, short name and thing of what is public."""
    for module in MODULES[package]:
        found = importlib.import_module(module) if module not in _attributes() else _attributes()[module]
        for short in sorted(getattr(found, "__all__", None) or dir(found)):
            thing = getattr(found, short, None)
            own = str(getattr(thing, "__module__", "") or "").split(".")[0] == package
            if not short.startswith("_") and (own or short in ("NDArray", "ArrayLike")):
                yield f"{module}.{short}", module, short, thing


def _attributes() -> dict[str, Any]:
    """Modules of HyperSpy that are attributes of its interface only."""
    import hyperspy.api as hs

    return {
        "hyperspy.api.signals": hs.signals,
        "hyperspy.api.model.components1D": hs.model.components1D,
        "hyperspy.api.roi": hs.roi,
    }


def entries(package: str) -> Iterator[str]:
    """Lines of the inventory, each name once."""
    seen: set[str] = set()
    for name, module, _, thing in things(package):
        kind = "class" if inspect.isclass(thing) else "function" if callable(thing) else "data"
        page = PAGES[package].format(name=name, module=module.removeprefix("hyperspy.").removeprefix("exspy."))
        aliases = {name}
        if inspect.isclass(thing) or inspect.isroutine(thing):
            aliases.add(f"{thing.__module__}.{thing.__qualname__}")
        aliases |= {
            short + name.removeprefix(long) for short, long in SHORT.get(package, {}).items() if name.startswith(long)
        }
        members = [""]
        if inspect.isclass(thing):
            members += [f".{m}" for m in dir(thing) if not m.startswith("_") and callable(getattr(thing, m, None))]
        for alias in sorted(aliases):
            for member in members:
                if alias + member in seen:
                    continue
                seen.add(alias + member)
                role = "method" if member else kind
                yield f"{alias}{member} py:{role} 1 {page}#{name}{member} -"


def main() -> None:
    """Write all inventories."""
    FOLDER.mkdir(exist_ok=True)
    for package in MODULES:
        head = f"# Sphinx inventory version 2\n# Project: {package}\n# Version: {version(package)}\n"
        head += "# The remainder of this file is compressed using zlib.\n"
        lines = sorted(entries(package))
        data = zlib.compress(("\n".join(lines) + "\n").encode("utf-8"), 9)
        (FOLDER / f"{package}.inv").write_bytes(head.encode("utf-8") + data)
        print(f"{package}: {len(lines)} names")


if __name__ == "__main__":
    main()
