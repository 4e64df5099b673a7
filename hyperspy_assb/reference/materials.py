"""Materials and electrodes by name: those of the package, and those that a user adds.

The rows stand in ``materials.toml`` beside this module, and in files of the same form that ``add_materials`` or the
environment variable ``HYPERSPY_ASSB_MATERIALS`` names (paths with ``os.pathsep`` between them, read when the first
material is asked for). What is added holds for one process. Processes that work for it, such as those of dask, need it
too: set the variable before they start, or call ``add_materials`` there, with each of ``materials_files``::

    for path in materials_files():
        client.run(add_materials, path)
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Generic, TypeVar

from hyperspy_assb.errors import see
from hyperspy_assb.reference.data_files import UnknownReferenceError
from hyperspy_assb.reference.material_facts import Electrode, Material, folded
from hyperspy_assb.reference.material_files import MaterialTable, MaterialTables, combine, read_table
from hyperspy_assb.staging import path_of, resolved

ENVIRONMENT_VARIABLE = "HYPERSPY_ASSB_MATERIALS"
_SHIPPED = Path(__file__).with_name("materials.toml")
_LISTED = 30
"""Names that a message lists; a user's table may have thousands."""

Row = TypeVar("Row", Material, Electrode)


@dataclass(frozen=True)
class _State:
    """Files, and their rows together; never changed, only replaced as a whole."""

    files: tuple[MaterialTable, ...]
    tables: MaterialTables


_state: _State | None = None
_lock = threading.RLock()


def _with_files(state: _State, paths: list[Path]) -> _State:
    files = {file.path: file for file in state.files}
    for path in paths:
        files[path] = read_table(path)
    changed = tuple(files.values())
    return state if changed == state.files else _State(changed, combine(changed))


def _resolved(path: str | os.PathLike[str]) -> Path:
    return resolved(path_of(path, "path"))


def _current() -> _State:
    global _state
    if _state is None:
        with _lock:
            if _state is None:
                shipped = (read_table(_SHIPPED),)
                state = _State(shipped, combine(shipped))
                named = os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
                _state = _with_files(state, [_resolved(path) for path in named if path.strip()])
    return _state


def add_materials(path: str | os.PathLike[str]) -> None:
    """Add materials and electrodes of a file, for all techniques, in this process.

    Parameters
    ----------
    path
        A TOML file of ``[[material]]`` and ``[[electrode]]`` rows, in the form of the ``materials.toml`` of the
        package. Paths of CIFs are relative to it. A row with a name that is taken must say ``replace = true``. A file
        that was added before is read again: nothing happens if it is as it was; if not, its rows are exchanged.

    Raises
    ------
    AssbFileError
        If the file cannot be read; an AssbFileNotFoundError if it does not exist.
    MaterialError
        If a row is wrong; the message names the row and the file, and nothing of the file is added.

    Notes
    -----
    ``hyperspy_assb.reference.materials.materials_files`` says what was added, for other processes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     table = Path(folder) / "mine.toml"
    ...     _ = table.write_text('[[material]]\\nname = "argyrodite"\\nformula = "Li6PS5Cl"\\ndensity = 1.86')
    ...     add_materials(table)
    >>> dict(materials["argyrodite"].composition)
    {'Li': 6.0, 'P': 1.0, 'S': 5.0, 'Cl': 1.0}
    """
    global _state
    with _lock:
        _state = _with_files(_current(), [_resolved(path)])


@contextmanager
def added_materials(paths: Iterable[str | os.PathLike[str]]) -> Iterator[None]:
    """Materials of some files while a block runs, and what was there before after it.

    Parameters
    ----------
    paths
        As for ``add_materials``.
    """
    global _state
    before = _current()
    try:
        for path in paths:
            add_materials(path)
        yield
    finally:
        with _lock:
            _state = before


def materials_files() -> tuple[str, ...]:
    """Paths of the files that were added, by ``add_materials`` or by the environment, in their order.

    Returns
    -------
    tuple of str
        Empty if no file was added.

    Examples
    --------
    >>> materials_files()
    ()
    """
    return tuple(str(file.path) for file in _current().files[1:])


class _Rows(Mapping[str, Row], Generic[Row]):
    """Rows by name or alias, as they are at the moment; read only."""

    def __init__(self, rows: Callable[[MaterialTables], Mapping[str, Row]], find: Callable[[str], Row]) -> None:
        self._rows: Callable[[MaterialTables], Mapping[str, Row]] = rows
        self._find: Callable[[str], Row] = find

    def __getitem__(self, name: str) -> Row:
        return self._find(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows(_current().tables))

    def __len__(self) -> int:
        return len(self._rows(_current().tables))

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"


def material(name: str) -> Material:
    """One material.

    Parameters
    ----------
    name
        Its name or an alias; capitals do not matter.

    Returns
    -------
    Material
        The row, with what follows from it.

    Raises
    ------
    UnknownReferenceError
        If there is no entry of that name; the message lists similar names, and all of them.

    Examples
    --------
    >>> round(material("lfp").atom_density("Li"), 2)
    13.72
    """
    tables = _current().tables
    found = tables.names.get(folded(name))
    if found is None:
        every = [f"{m.name} ({', '.join(m.aliases)})" if m.aliases else m.name for m in tables.materials.values()]
        raise _unknown("material", name, tables.names, every)
    return tables.materials[found]


def electrode(name: str) -> Electrode:
    """One electrode, by its name; capitals do not matter.

    Parameters
    ----------
    name
        Such as ``"LixFePO4"``.

    Returns
    -------
    Electrode
        The row, with the names of its end members.

    Raises
    ------
    UnknownReferenceError
        If there is no entry of that name; the message lists similar names, and all of them.

    Examples
    --------
    >>> electrode("LixFePO4").delithiated
    'FePO4'
    """
    tables = _current().tables
    names = {folded(known): known for known in tables.electrodes}
    if folded(name) not in names:
        raise _unknown("electrode", name, names, list(tables.electrodes))
    return tables.electrodes[names[folded(name)]]


def shown_names(text: str) -> str:
    """A text for readers: names of materials without underscores, but where they are arguments or parts of paths.

    Parameters
    ----------
    text
        A name, or sentences in which names stand.

    Returns
    -------
    str
        The same text where no name has an underscore.

    Examples
    --------
    >>> shown_names("amorphous_LAGP"), shown_names('region["amorphous_LAGP"]: carbon and amorphous_LAGP')
    ('amorphous LAGP', 'region["amorphous_LAGP"]: carbon and amorphous LAGP')
    >>> shown_names("amorphous_LAGP/report.html, match_amorphous_LAGP.png")
    'amorphous_LAGP/report.html, match_amorphous_LAGP.png'
    """
    if "_" not in text:
        return text
    for name in _current().tables.materials:
        if "_" in name and name in text:
            text = re.sub(rf"(?<![\w\"'`/.]){re.escape(name)}(?![\w\"'`/]|\.\w)", name.replace("_", " "), text)
    return text


materials: Mapping[str, Material] = _Rows(lambda tables: tables.materials, material)
"""Every material by its name or an alias, in the order of the files; see :func:`material`."""

electrodes: Mapping[str, Electrode] = _Rows(lambda tables: tables.electrodes, electrode)
"""Every electrode by its name, in the order of the files; see :func:`electrode`."""


def _unknown(kind: str, name: str, names: Mapping[str, str], every: list[str]) -> UnknownReferenceError:
    near = list(dict.fromkeys(names[close] for close in get_close_matches(folded(name), names, n=5, cutoff=0.5)))
    files = ", ".join(str(file.path) for file in _current().files)
    close = f"; near it: {', '.join(near)}" if near else ""
    others = f" and {len(every) - _LISTED} others" if len(every) > _LISTED else ""
    return UnknownReferenceError(
        f"no {kind} {name!r}{close}. There are: {', '.join(every[:_LISTED])}{others} "
        f"(read from {files}). One of your own goes into a TOML file that hyperspy_assb.add_materials reads. "
        + see("materials")
    )
