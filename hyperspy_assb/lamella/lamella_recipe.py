"""A lamella from a recipe: files by key, and the member whose frame is that of all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbValueError
from hyperspy_assb.staging import path_of

_WORDS = ("name", "reference", "alpha", "fdr", "members")
_OF_A_MEMBER = ("file", "bias", "frame")


def run_lamella(path: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Make the lamella of a recipe, and write its page, its registrations and itself into a folder.

    Parameters
    ----------
    path
        The recipe; files in it are beside it unless their paths are whole.
    folder
        Where to write ``report.html``, ``registration.csv``, ``lamella.hspy`` and the record.

    Returns
    -------
    findings, messages
        In sentences, contradictions first.

    Raises
    ------
    AssbFileError
        If the recipe or a file cannot be read.
    AssbValueError
        If the recipe has a word that is not known, or a registration is refused.
    """
    # Not at the top: a recipe is checked without the libraries.
    from hyperspy_assb import provenance
    from hyperspy_assb.lamella.lamella import Lamella
    from hyperspy_assb.report.output import write_record, write_table

    recipe = read_recipe(path)
    lamella = Lamella(recipe.get("name", path.stem))
    members: dict[str, dict[str, Any]] = recipe["members"]
    # Frames that are shared come after those that they share.
    for key, member in sorted(members.items(), key=lambda item: "frame" in item[1]):
        lamella.add(key, member_path(path, key, member), bias=member.get("bias"), frame=member.get("frame"))
    reference = str(recipe["reference"])
    table = lamella.register(reference, alpha=float(recipe.get("alpha", 0.01)))
    write_table(folder / "registration.csv", table, index=True)
    fdr = float(recipe.get("fdr", 0.05))
    lamella.report(folder / "report.html", fdr=fdr)
    lamella.save(folder / "lamella.hspy", overwrite=True)
    sentences = [claim.sentence for claim in lamella.agreement(fdr=fdr)]
    registered = len(table) - 1
    findings = [*sentences, f"{registered} of {len(members)} members were registered on {reference}."]
    inputs = {key: {"file": Path(one.path).name, "sha256": one.sha256} for key, one in lamella.members.items()}
    record = provenance.record("lamella", parameters={"reference": reference, "members": inputs})
    write_record(folder, provenance.to_plain(record), findings=findings, warnings=[])
    return findings, []


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe, with every word checked."""
    if not path.exists():
        raise AssbFileNotFoundError(f"There is no file {path}: check its name and folder.")
    if path.is_dir():
        raise AssbFileError(f"{path} is a folder, not the TOML file of a recipe.")
    try:
        recipe = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise AssbFileError(f"{path} could not be read as TOML ({error}).") from error
    _known(recipe, _WORDS, str(path))
    members = recipe.get("members")
    if not isinstance(members, dict) or not members:
        raise AssbValueError(f'{path}: members are missing: write [members.haadf] and file = "haadf.hspy".')
    for key, member in members.items():
        if not isinstance(member, dict) or not isinstance(member.get("file"), str):
            raise AssbValueError(f'{path}: members.{key} has no file: write file = "{key}.hspy".')
        _known(member, _OF_A_MEMBER, f"{path}: members.{key}")
        bias = member.get("bias", 0.0)
        potential = isinstance(bias, int | float) and not isinstance(bias, bool)
        _check(potential, f"{path}: members.{key}: bias", "a potential in V")
        others = [other for other in members if other != key]
        named = "frame" not in member or member["frame"] in others
        _check(named, f"{path}: members.{key}: frame", "the name of another member")
    for word in ("alpha", "fdr"):
        value = recipe.get(word, 0.5)
        share = isinstance(value, int | float) and 0.0 < value < 1.0
        _check(share, f"{path}: {word}", "a number between 0 and 1")
    _check(isinstance(recipe.get("name", ""), str), f"{path}: name", "a text")
    if not isinstance(recipe.get("reference"), str) or recipe["reference"] not in members:
        raise AssbValueError(f"{path}: reference must be one of {', '.join(members)}, not {recipe.get('reference')!r}.")
    return recipe


def member_path(recipe: Path, key: str, member: dict[str, Any]) -> Path:
    """The file of a member: beside the recipe, unless its path is whole.

    Raises
    ------
    AssbValueError
        If no file can have this name.
    """
    return recipe.parent / path_of(member["file"], f"{recipe}: members.{key}: file")


def _check(holds: bool, place: str, what: str) -> None:
    if not holds:
        raise AssbValueError(f"{place} must be {what}.")


def _known(table: dict[str, Any], words: tuple[str, ...], where: str) -> None:
    unknown = [word for word in table if word not in words]
    if unknown:
        raise AssbValueError(f"{where} has {', '.join(unknown)}, which is not known; there are {', '.join(words)}.")
