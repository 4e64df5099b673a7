"""A lamella from a recipe: files by key, and the member whose frame is that of all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbValueError

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
    from hyperspy_assb.report.output import write_record

    recipe = read_recipe(path)
    lamella = Lamella(str(recipe.get("name", path.stem)))
    members: dict[str, dict[str, Any]] = recipe["members"]
    # Frames that are shared come after those that they share.
    for key, member in sorted(members.items(), key=lambda item: "frame" in item[1]):
        lamella.add(
            key, path.parent / Path(member["file"]).expanduser(), bias=member.get("bias"), frame=member.get("frame")
        )
    reference = str(recipe["reference"])
    table = lamella.register(reference, alpha=float(recipe.get("alpha", 0.01)))
    table.to_csv(folder / "registration.csv")
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
    try:
        recipe = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise AssbFileError(f"{path} could not be read as TOML ({error}).") from error
    _known(recipe, _WORDS, str(path))
    members = recipe.get("members")
    if not isinstance(members, dict) or not members:
        raise AssbValueError(f'{path}: members are missing: write [members.haadf] and file = "haadf.hspy".')
    for key, member in members.items():
        if not isinstance(member, dict) or not isinstance(member.get("file"), str):
            raise AssbValueError(f'{path}: members.{key} has no file: write file = "{key}.hspy".')
        _known(member, _OF_A_MEMBER, f"{path}: members.{key}")
    if recipe.get("reference") not in members:
        raise AssbValueError(f"{path}: reference must be one of {', '.join(members)}, not {recipe.get('reference')!r}.")
    return recipe


def _known(table: dict[str, Any], words: tuple[str, ...], where: str) -> None:
    unknown = [word for word in table if word not in words]
    if unknown:
        raise AssbValueError(f"{where} has {', '.join(unknown)}, which is not known; there are {', '.join(words)}.")
