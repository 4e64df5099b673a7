"""What a report of a bug needs to know of the machine: versions, cores, caches, what is installed beside."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from hyperspy_assb import provenance
from hyperspy_assb.compiled_code import may_be_trusted
from hyperspy_assb.errors import AssbError
from hyperspy_assb.fitting.expressions.expression_shapes import cache_directory
from hyperspy_assb.fitting.spectra.threads import available_threads
from hyperspy_assb.reference.materials import materials_files

_OPTIONAL = ("distributed", "dask", "pyxem", "lmfit", "h5py", "zarr", "sparse", "scikit-image", "spglib", "gemmi")
_VARIABLES = (
    "HYPERSPY_ASSB_CACHE_DIR",
    "HYPERSPY_ASSB_MATERIALS",
    "HYPERSPY_ASSB_NUM_THREADS",
    "NUMBA_CACHE_DIR",
    "NUMBA_CPU_NAME",
    "NUMBA_DISABLE_JIT",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)


def describe_installation() -> dict[str, Mapping[str, str]]:
    """Tables of names and values; the home folder is written as ``~``.

    Examples
    --------
    >>> tables = describe_installation()
    >>> list(tables)
    ['versions', 'machine', 'caches', 'environment']
    >>> "hyperspy" in tables["versions"], "numba" in tables["versions"]
    (True, True)
    """
    return {
        "versions": {**provenance.versions(), **_optional_versions(), "registered with HyperSpy": _registered()},
        "machine": _machine(),
        "caches": _caches(),
        "environment": _environment(),
    }


def _optional_versions() -> dict[str, str]:
    found = {}
    for name in _OPTIONAL:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _registered() -> str:
    names = [point.name for point in entry_points(group="hyperspy.extensions")]
    return "yes" if "hyperspy_assb" in names else "no: install the package again, so that HyperSpy finds its signals"


def _machine() -> dict[str, str]:
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB"
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores in use": f"{available_threads()} of {os.cpu_count()}",
        "memory": memory or "not known",
        "encoding of file names": f"{sys.getfilesystemencoding()}, locale {locale.getpreferredencoding(False)}",
    }


def _caches() -> dict[str, str]:
    found = {kind: _or_why(partial(_cache, kind)) for kind in ("expressions", "templates")}
    import hyperspy_assb

    named = os.environ.get("NUMBA_CACHE_DIR")
    # Otherwise beside each module, as Python's own compiled files.
    place = Path(named) if named else Path(hyperspy_assb.__file__).parent
    state = "" if os.access(place, os.W_OK) else ", which cannot be written"
    state += "" if may_be_trusted(place) or not place.exists() else ", which others may write to"
    found["compiled code"] = f"{_without_home(place)}{state}"
    return found


def _cache(kind: str) -> str:
    folder = cache_directory(kind)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    return f"{_without_home(folder)}: {size / 1e6:.1f} MB, {free / 1e9:.0f} GB free"


def _or_why(tell: Callable[[], str]) -> str:
    """What is told, or why it cannot be: whatever is broken, a report of it needs the rest."""
    try:
        return tell()
    except (AssbError, OSError) as error:
        return f"not known: {' '.join(str(error).split())}"


def _environment() -> dict[str, str]:
    found = {name: _without_home(os.environ[name]) for name in _VARIABLES if name in os.environ}
    own = _or_why(lambda: ", ".join(map(_without_home, materials_files())) or "none")
    return {**found, "materials of one's own": own}


def _without_home(path: str | Path) -> str:
    try:
        home = str(Path.home())
    except RuntimeError:
        return str(path)
    text = str(path)
    return f"~{text[len(home) :]}" if home != "/" and text.startswith(home) else text
