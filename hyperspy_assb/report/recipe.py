"""What to do with a file, from the command line or from a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperspy_assb.errors import AssbValueError

VALENCE = ("continuum", "plasmon")
_KEYS = ("elements", "phases", "valence", "references", "thickness", "k_factors", "absorption", "correct_energy")
_BOX = re.compile(r"(?P<phase>[^=]+)=(?P<slices>\d{0,9}:\d{0,9}(,\d{0,9}:\d{0,9})*)")


class UsageError(AssbValueError):
    """Something was asked for in a way that cannot be understood."""


@dataclass(frozen=True)
class Recipe:
    """What to do with a file.

    Parameters
    ----------
    elements
        Elements whose edges are fitted; None: by the metadata or the references.
    phases
        Materials that EDX looks for, by their names; None: those of the cell.
    valence
        "continuum" or "plasmon".
    references
        Files, or boxes of pixels such as ``"LiFePO4=0:10,5:20"`` (rows, then columns; the end is not included).
    thickness
        Mean thickness in nm, for X-rays.
    k_factors
        File of Cliff-Lorimer factors, for X-rays.
    absorption
        Whether the specimen absorbs X-rays.
    correct_energy
        Whether the energy axis of X-rays is corrected by their lines.
    """

    elements: tuple[str, ...] | None = None
    phases: tuple[str, ...] | None = None
    valence: str = "continuum"
    references: tuple[str, ...] = ()
    thickness: float | None = None
    k_factors: str | None = None
    absorption: bool = True
    correct_energy: bool = False

    def __post_init__(self) -> None:
        if self.valence not in VALENCE:
            raise UsageError(f"valence must be {' or '.join(VALENCE)}, not {self.valence!r}.")
        if self.thickness is not None and not 0.0 < self.thickness < 1e4:
            raise UsageError(f"thickness must lie between 0 and 10000 nm, not at {self.thickness:g}.")
        if self.references and self.valence != "continuum":
            raise UsageError("References need the valence continuum: one plasmon does not describe the phases.")
        files = [entry for entry in self.references if not is_box(entry)]
        if files and len(self.references) > 1:
            raise UsageError(
                "References are one file, or boxes such as LiFePO4=0:10,5:20 (rows, columns); not "
                f"{files[0]!r} together with others."
            )


def is_box(entry: str) -> bool:
    """Whether an entry of references is a box of pixels; otherwise it is a file."""
    return _BOX.fullmatch(entry) is not None


def parse_elements(text: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Symbols from ``"Li,Fe,P,O"`` or a list, each once.

    Raises
    ------
    UsageError
        If there is none.
    """
    return _parse_names(text, "Elements are symbols between commas, as in Li,Fe,P,O.")


def parse_phases(text: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of materials from ``"lfp,LAGP,carbon"`` or a list, each once.

    Raises
    ------
    UsageError
        If there is none.
    """
    return _parse_names(text, "Phases are materials between commas, as in lfp,LAGP,carbon.")


def _parse_names(text: str | Sequence[str] | None, told: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = text.split(",") if isinstance(text, str) else text
    if not isinstance(names, list | tuple) or not names or not all(isinstance(n, str) and n.strip() for n in names):
        raise UsageError(told)
    names = [name.strip() for name in names]
    return tuple(dict.fromkeys(names))


def read_recipe(path: Path) -> dict[str, Any]:
    """Arguments of :class:`Recipe` from a TOML file; a file of references is looked for beside it.

    Raises
    ------
    UsageError
        If there is no such file, it is not TOML, or it has a key that is not known.
    """
    try:
        recipe = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, and of numbers of thousands of digits
        raise UsageError(f"The recipe {path} is not valid TOML: {error}.") from error
    unknown = sorted(set(recipe) - set(_KEYS))
    if unknown:
        raise UsageError(f"The recipe {path} has {unknown[0]!r}, but knows only {', '.join(_KEYS)}.")
    found: dict[str, Any] = {}
    if "elements" in recipe:
        found["elements"] = parse_elements(recipe["elements"])
    if "phases" in recipe:
        found["phases"] = parse_phases(recipe["phases"])
    if "valence" in recipe:
        found["valence"] = str(recipe["valence"])
    if "thickness" in recipe:
        value = recipe["thickness"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise UsageError(f"The recipe {path} has a thickness that is no number: {value!r:.60}.")
        found["thickness"] = float(recipe["thickness"])
    for name in ("absorption", "correct_energy"):
        if name in recipe:
            if not isinstance(recipe[name], bool):
                raise UsageError(f"The recipe {path} has {name} = {recipe[name]!r}, which is neither true nor false.")
            found[name] = recipe[name]
    if "k_factors" in recipe:
        found["k_factors"] = _beside(path, "k_factors", recipe["k_factors"])
    references = recipe.get("references")
    if isinstance(references, dict):
        entries = [
            f"{phase}={box}"
            for phase, boxes in references.items()
            for box in (boxes if isinstance(boxes, list) else [boxes])
        ]
        wrong = next((entry for entry in entries if not is_box(entry)), None)
        if wrong is not None or not entries:
            raise UsageError(f"The recipe {path} has references {wrong!r:.80}, which are no pixels such as 0:8,0:8.")
        found["references"] = tuple(entries)
    elif references is not None:
        found["references"] = (_beside(path, "references", references),)
    return found


def _beside(recipe: Path, key: str, name: object) -> str:
    """The path of a file that a recipe names."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise UsageError(f"The recipe {recipe} has {key} = {name!r:.60}, which is not the name of a file.")
    return str(recipe.parent / name)


def load_references(entries: Sequence[str], signal: Any) -> Any:
    """References as ``quantify_delithiation`` takes them.

    Parameters
    ----------
    entries
        As in :class:`Recipe`: a ``.npz`` file of boolean arrays by phase, a ``.hspy`` or ``.zspy`` file written by
        ``Delithiation.save`` for another signal of the specimen, or boxes.
    signal
        Signal that they are for.

    Returns
    -------
    dict or Delithiation or None
        None where there is no entry.

    Raises
    ------
    AssbValueError
        If a file cannot be used, or a box lies beyond the signal.
    """
    import numpy as np

    if not entries:
        return None
    shape = signal.axes_manager._navigation_shape_in_array
    if not is_box(entries[0]):
        path = Path(entries[0])
        if not path.is_file():
            raise AssbValueError(f"There is no file {path} of references.")
        if path.suffix in (".hspy", ".zspy"):
            from hyperspy_assb.signals.eels.delithiation import Delithiation
            from hyperspy_assb.signals.result import load

            result = load(path)
            if not isinstance(result, Delithiation):
                raise AssbValueError(
                    f"{path} holds a {type(result).__name__}; as references serves a Delithiation, which "
                    "delithiation.hspy of another state holds."
                )
            return result
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        # Archives fail in every way there is, and may claim more than any memory holds.
        except Exception as error:
            raise AssbValueError(f"{path} is not a .npz file of boolean arrays by phase.") from error
    masks: dict[str, Any] = {}
    for entry in entries:
        phase, _, box = entry.partition("=")
        bounds = [tuple(int(n) if n else None for n in part.split(":")) for part in box.split(",")]
        if len(bounds) != len(shape):
            raise AssbValueError(f"{entry}: the signal has {len(shape)} navigation axes, but this names {len(bounds)}.")
        beyond = [b for bound, size in zip(bounds, shape, strict=True) for b in bound if b is not None and b > size]
        if beyond:
            raise AssbValueError(
                f"{entry}: {beyond[0]} lies beyond the {' × '.join(map(str, shape))} pixels of the signal."
            )
        mask = masks.setdefault(phase.strip(), np.zeros(shape, dtype=bool))
        mask[tuple(slice(*bound) for bound in bounds)] = True
    return masks
