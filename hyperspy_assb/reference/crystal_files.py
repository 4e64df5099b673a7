"""Crystal structures of the phases."""

from __future__ import annotations

from importlib.resources import files

from hyperspy_assb.reference.materials import phase


def crystal_file(name: str) -> str | None:
    """CIF of a phase, by its name or an alias; None if it has no crystal structure here.

    Raises
    ------
    UnknownReferenceError
        If there is no such phase.
    """
    file = files(__package__).joinpath("cif", f"{phase(name).name}.cif")
    return file.read_text(encoding="utf-8") if file.is_file() else None
