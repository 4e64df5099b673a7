"""Tables of materials and electrodes: one TOML file read and checked, and several of them put together."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError
from hyperspy_assb.reference.amorphous_rings import Ring, ring_tables
from hyperspy_assb.reference.crystal_cells import Cell, cell_of, cell_volume, count_formula_units, read_cell
from hyperspy_assb.reference.data_files import MaterialError
from hyperspy_assb.reference.elements import elements
from hyperspy_assb.reference.formulas import parse_formula
from hyperspy_assb.reference.material_facts import SIGNATURES, Electrode, Material, folded

ROLES = ("electrode", "electrolyte", "additive", "support", "protection")
_MATERIAL_KEYS = (
    *("name", "aliases", "formula", "density", "cif", "cell", "formula_units", "rings", "colour", "role", "sources"),
    "replace",
)
_ELECTRODE_KEYS = ("name", "lithiated", "delithiated", "ion", "ions_removed", "signatures", "sources", "replace")
_NO_MATERIAL = ("vacuum",)
_LONGEST_NAME = 80
_CONTRADICTION = 0.15
"""Relative difference of the density of a row and that of its cell above which one of them is wrong."""
_LIGHTEST, _DENSEST = 0.001, 23.0
"""g/cm3: what lies beyond is in another unit."""
_SAME_AMOUNT = 1e-3
_SHOWN = 60


@dataclass(frozen=True)
class MaterialTable:
    """What one file holds.

    Parameters
    ----------
    path
        Of the file.
    content
        Its bytes.
    materials, electrodes
        Rows in their order. End members of electrodes are not looked up yet.
    replacing
        Names of the rows that say ``replace = true``.
    """

    path: Path
    content: bytes
    materials: tuple[Material, ...]
    electrodes: tuple[Electrode, ...]
    replacing: frozenset[str]


@dataclass(frozen=True)
class MaterialTables:
    """Several files together.

    Parameters
    ----------
    materials, electrodes
        Rows by name.
    names
        Name of a material by its name and its aliases, without regard to capitals.
    """

    materials: Mapping[str, Material]
    electrodes: Mapping[str, Electrode]
    names: Mapping[str, str]


def read_table(path: Path) -> MaterialTable:
    """Read one file.

    Raises
    ------
    AssbFileNotFoundError
        If there is no such file.
    AssbFileError
        If it cannot be read.
    MaterialError
        If it is not TOML, or a row is wrong in itself; the message names the row and the file.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe waits for ever
            raise AssbFileError(f"The table of materials {path} is not a file.")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise AssbFileNotFoundError(f"There is no table of materials {path}.") from error
    except AssbFileError:
        raise
    except OSError as error:
        raise AssbFileError(f"The table of materials {path} cannot be read: {error.strerror}.") from error
    try:
        tables = tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise MaterialError(f"{path} cannot be read: its brackets are nested too deep.") from error
    except ValueError as error:  # of TOML, of UTF-8, and of numbers of thousands of digits
        raise MaterialError(f"{path} is not a TOML file: {error}.") from error
    if unknown := sorted(set(tables) - {"material", "electrode"}):
        raise MaterialError(f"{path}: tables are [[material]] and [[electrode]], not {', '.join(unknown)}.")
    materials, electrodes, replacing = [], [], []
    for kind, keys in (("material", _MATERIAL_KEYS), ("electrode", _ELECTRODE_KEYS)):
        rows = tables.get(kind, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise MaterialError(f"{path}: each {kind} is a table [[{kind}]] with two brackets.")
        for number, content_of_row in enumerate(rows, 1):
            row = _Row(kind, number, content_of_row, path)
            row.check_keys(keys)
            if kind == "material":
                materials.append(_material(row))
            else:
                electrodes.append(_electrode(row))
            if row.flag("replace"):
                replacing.append(row.text("name"))
    return MaterialTable(path, content, tuple(materials), tuple(electrodes), frozenset(replacing))


class _Row:
    """A row with what its errors name."""

    def __init__(self, kind: str, number: int, content: dict[str, Any], path: Path) -> None:
        self.content, self.path = content, path
        name = content.get("name")
        self.words = f"{path}: {kind} {name!r}" if isinstance(name, str) and name else f"{path}: {kind} number {number}"

    def error(self, why: str) -> MaterialError:
        return MaterialError(f"{self.words}: {why}")

    def check_keys(self, known: Iterable[str]) -> None:
        if unknown := sorted(set(self.content) - set(known)):
            raise self.error(f"there is no key {', '.join(unknown)}; keys are {', '.join(known)}.")

    def text(self, key: str) -> str:
        """A line of text that must be there."""
        if key not in self.content:
            raise self.error(f"the key {key} is missing.")
        return self._line(key, self.content[key])

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self.content else None

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of lines, empty where the key is missing."""
        value = self.content.get(key, [])
        if not isinstance(value, list):
            raise self.error(f"{key} must be a list of texts, not {value!r}.")
        lines = tuple(self._line(key, entry) for entry in value)
        if len(set(lines)) < len(lines):
            raise self.error(f"{key} holds the same text twice: {', '.join(lines)}.")
        return lines

    def number(self, key: str) -> float | None:
        """A number above 0; None where the key is missing."""
        if key not in self.content:
            return None
        value = self.content[key]
        if not (_is_number(value) and value > 0):
            raise self.error(f"{key} must be a number above 0, not {_shown(value)}.")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self.content.get(key, False)
        if not isinstance(value, bool):
            raise self.error(f"{key} must be true or false, not {value!r}.")
        return value

    def asking(self, reading: Callable[[], Any]) -> Any:
        """What a function reads, with the row named in its errors."""
        try:
            return reading()
        except MaterialError as error:
            raise self.error(str(error)) from error

    def _line(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or value != value.strip() or not value.isprintable():
            raise self.error(f"{key} must be one line of text without spaces around it, not {_shown(value)}.")
        return value


def _is_number(value: object) -> bool:
    """Whether a value is a number that a float can be."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:
        return False


def _shown(value: object) -> str:
    """A value in an error, of which the first characters do."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _named(row: _Row, key: str = "name") -> str:
    name = row.text(key)
    if len(name) > _LONGEST_NAME or folded(name) in _NO_MATERIAL:
        raise row.error(f"{key} must not be {' or '.join(_NO_MATERIAL)}, nor longer than {_LONGEST_NAME} characters.")
    return name


def _material(row: _Row) -> Material:
    name, aliases = _named(row), row.texts("aliases")
    if name in aliases:
        raise row.error("the name is among its own aliases.")
    if reserved := [alias for alias in aliases if folded(alias) in _NO_MATERIAL]:
        raise row.error(f"{', '.join(reserved)} is no alias of a material.")
    if separated := [word for word in (name, *aliases) if "," in word]:
        raise row.error(f"{_shown(separated[0])} must not have a comma, which separates names on the command line.")
    formula = row.text("formula")
    composition: Mapping[str, float] = row.asking(lambda: parse_formula(formula))
    role, colour = row.optional_text("role"), row.optional_text("colour")
    if role is not None and role not in ROLES:
        raise row.error(f"role must be one of {', '.join(ROLES)}, not {role!r}.")
    if colour is not None and not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise row.error(f"colour must be written like '#1f77b4', not {colour!r}.")
    density, units = row.number("density"), row.number("formula_units")
    if density is not None and not _LIGHTEST <= density <= _DENSEST:
        raise row.error(
            f"density must be in g/cm3, between {_LIGHTEST:g} (aerogels) and {_DENSEST:g} (osmium), not {density:g}."
        )
    cif, cell = _crystal(row)
    if cell is None and units is not None:
        raise row.error("formula_units are those of a cell: give cif or cell as well.")
    counted = None
    # Space groups take time to load; tests hold the rows of the package against their CIFs.
    if cif is not None and (units is None or row.path.parent != Path(__file__).parent):
        counted = row.asking(lambda: count_formula_units(cif, composition))
    if counted is not None and units is not None and abs(counted / units - 1.0) > _CONTRADICTION:
        raise row.error(f"formula_units is {units:g}, but the atoms in the cell of {cif} make {counted:g}.")
    units = counted if density is None and units is None else units
    if cif is None and cell is not None and density is None and units is None:
        raise row.error("a cell without a cif needs formula_units.")
    found = Material(
        name=name,
        formula=formula,
        file=row.path,
        aliases=aliases,
        role=role,
        colour=colour,
        sources=row.texts("sources"),
        cif=cif,
        cell=cell,
        formula_units=units,
        written_density=density,
        rings=_rings(row),
    )
    held = units or counted
    if density is not None and cell is not None and held is not None:
        by_cell = replace(found, written_density=None, formula_units=held).density
        if by_cell is not None and abs(by_cell / density - 1.0) > _CONTRADICTION:
            raise row.error(
                f"density is {density:g} g/cm3, but {held:g} formula units in a cell of {cell_volume(cell):.4g} nm3 "
                f"have {by_cell:.3g} g/cm3."
            )
    return found


def _crystal(row: _Row) -> tuple[Path | None, Cell | None]:
    """CIF and cell of a row."""
    written = row.optional_text("cif")
    values = row.content.get("cell")
    if written is not None:
        if values is not None:
            raise row.error("the cell is that of the cif: leave cell out.")
        cif = row.path.parent / written
        try:
            there = cif.is_file()
        except (OSError, ValueError):  # a name that no file can have
            there = False
        if not there:
            raise row.error(f"cif: there is no file {row.path.parent / written[:_LONGEST_NAME]}.")
        return cif, row.asking(lambda: read_cell(cif))
    if values is None:
        return None, None
    numbers = values if isinstance(values, list) else []
    if len(numbers) != 6 or any(isinstance(v, bool) or not isinstance(v, int | float) for v in numbers):
        raise row.error(f"cell must be [a, b, c, alpha, beta, gamma] in Å and degrees, not {_shown(values)}.")
    if not all(map(_is_number, numbers)):
        raise row.error(f"cell must hold finite numbers, not {_shown(values)}.")
    return None, row.asking(lambda: cell_of([repr(v) for v in numbers]))


def _rings(row: _Row) -> tuple[Ring, ...]:
    names = row.texts("rings")
    if unknown := [name for name in names if name not in ring_tables()]:
        raise row.error(f"rings: there are {', '.join(ring_tables())}, not {', '.join(unknown)}.")
    return tuple(sorted((ring for name in names for ring in ring_tables()[name]), key=lambda ring: ring.radius))


def _electrode(row: _Row) -> Electrode:
    ion, removed = row.text("ion"), row.number("ions_removed")
    if ion not in elements():
        raise row.error(f"ion must be the symbol of an element, not {ion!r}.")
    if removed is None:
        raise row.error("the key ions_removed is missing.")
    signatures = row.texts("signatures")
    for signature in signatures:
        if signature not in SIGNATURES:
            raise row.error(f"signatures: there is no {signature!r}; there are {', '.join(SIGNATURES)}.")
    if "Li K" in signatures and ion != "Li":
        raise row.error(f"signatures: 'Li K' is that of Li, but the ion is {ion}; there are {', '.join(SIGNATURES)}.")
    return Electrode(
        name=_named(row),
        lithiated=row.text("lithiated"),
        delithiated=row.text("delithiated"),
        ion=ion,
        ions=removed,
        ions_removed=removed,
        file=row.path,
        signatures=signatures,
        sources=row.texts("sources"),
    )


def combine(tables: Iterable[MaterialTable]) -> MaterialTables:
    """Put the rows of files together.

    Parameters
    ----------
    tables
        In the order in which they were added: a row may replace one before it, if it says so.

    Raises
    ------
    MaterialError
        If a name or an alias is taken, a row replaces what is not there, or an electrode and its end members do not
        go together; the message names the row and the file.
    """
    materials: dict[str, Material] = {}
    electrodes: dict[str, Electrode] = {}
    names: dict[str, str] = {}
    electrode_names: dict[str, str] = {}
    for table in tables:
        own: set[str] = set()  # no row replaces another of its own file
        for material in table.materials:
            replacing = material.name in table.replacing and material.name not in own
            _place(material, "material", materials, names, (material.name, *material.aliases), replacing)
            own.add(material.name)
        own = set()
        for electrode in table.electrodes:
            replacing = electrode.name in table.replacing and electrode.name not in own
            _place(electrode, "electrode", electrodes, electrode_names, (electrode.name,), replacing)
            own.add(electrode.name)
    checked = {name: _checked(electrode, materials, names) for name, electrode in electrodes.items()}
    return MaterialTables(MappingProxyType(materials), MappingProxyType(checked), MappingProxyType(names))


def _place(
    row: Any, kind: str, rows: dict[str, Any], names: dict[str, str], own_names: tuple[str, ...], replacing: bool
) -> None:
    """Add a row under its names, or put it where the row of its name is."""
    if replacing:
        if row.name not in rows:
            raise MaterialError(f"{row.file}: {kind} {row.name!r}: replace = true, but there is no entry of that name.")
        for name in [name for name, owner in names.items() if owner == row.name]:
            del names[name]
        rows[row.name] = row
    for name in own_names:
        owner = names.get(folded(name))
        if owner is None or (owner == row.name and row is rows.get(owner)):
            names[folded(name)] = row.name
            rows.setdefault(row.name, row)
            continue
        taken = rows[owner]
        other_file = name == row.name == owner and taken.file != row.file
        same = f"; say replace = true to replace that {kind}" if other_file else ""
        raise MaterialError(
            f"{row.file}: {kind} {row.name!r}: {name!r} is a name or an alias of {owner} in {taken.file} "
            f"already (capitals do not matter){same}."
        )


def _checked(electrode: Electrode, materials: Mapping[str, Material], names: Mapping[str, str]) -> Electrode:
    """The electrode with the names of its end members and its number of ions."""
    words = f"{electrode.file}: electrode {electrode.name!r}"
    ends = []
    for key in ("lithiated", "delithiated"):
        written = getattr(electrode, key)
        if folded(written) not in names:
            raise MaterialError(f"{words}: {key}: there is no material {written!r}; there are {', '.join(materials)}.")
        ends.append(materials[names[folded(written)]])
    full, empty = ends
    ions, removed = full.composition.get(electrode.ion, 0.0), electrode.ions_removed
    if removed > ions * (1.0 + 1e-9):
        raise MaterialError(
            f"{words}: ions_removed is {removed:g}, but {full.name} in {full.file} has {ions:g} {electrode.ion} per "
            "formula unit."
        )
    left = {**full.composition, electrode.ion: ions - removed}
    for symbol in {**left, **empty.composition}:
        if abs(left.get(symbol, 0.0) - empty.composition.get(symbol, 0.0)) > _SAME_AMOUNT:
            raise MaterialError(
                f"{words}: {full.name} ({full.formula} in {full.file}) without {removed:g} {electrode.ion} is not "
                f"{empty.name} ({empty.formula} in {empty.file}): they differ in {symbol}."
            )
    for end in ends:
        if "FePO4 5 eV band" in electrode.signatures and not {"Fe", "P"} <= set(end.composition):
            raise MaterialError(
                f"{words}: signatures: 'FePO4 5 eV band' is that of iron phosphates, but {end.name} is {end.formula}; "
                f"there are {', '.join(SIGNATURES)}."
            )
    return replace(electrode, lithiated=full.name, delithiated=empty.name, ions=ions)
