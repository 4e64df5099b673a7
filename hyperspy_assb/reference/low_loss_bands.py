"""Named bands of the low-loss region."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hyperspy_assb.reference.data_files import UnknownReferenceError, read_toml

COMPARED = (
    "gap region",
    "carbon build-up",
    "valence transitions",
    "volume plasmon",
    "Ge M4,5 and continuum",
    "Li K",
    "Al L2,3 above background",
    "Ge M2,3",
    "P L2,3 above background",
)
"""Bands by which low-loss spectra of two states are compared, as far as their range goes."""


@dataclass(frozen=True)
class Band:
    """A band of the low-loss spectrum.

    Parameters
    ----------
    name
        Such as ``"FePO4 valence"``.
    window
        Lower and upper limit in eV.
    centre
        Energy of the maximum in eV; None if the source does not give it.
    phase
        Name of the phase that it indicates; None for several.
    kind
        ``"observed"``, ``"derived"`` (computed from cited data) or ``"window"`` (a choice of this project).
    meaning, source
        What it is, and the citation.
    background
        Limits in eV of the channels before an edge that its background is taken from; None: nothing is subtracted.

    Examples
    --------
    >>> from hyperspy_assb.reference import band
    >>> found = band("FePO4 valence")
    >>> found.window, found.phase, found.kind
    ((4.0, 7.0), 'FePO4', 'observed')
    """

    name: str
    window: tuple[float, float]
    centre: float | None
    phase: str | None
    kind: str
    meaning: str
    source: str
    background: tuple[float, float] | None = None


@cache
def _all_bands() -> dict[str, Band]:
    return {
        row["name"]: Band(
            name=row["name"],
            window=(float(row["window"][0]), float(row["window"][1])),
            centre=row.get("centre"),
            phase=row.get("phase"),
            kind=row["kind"],
            meaning=row["meaning"],
            source=row["source"],
            background=(float(row["background"][0]), float(row["background"][1])) if "background" in row else None,
        )
        for row in read_toml("bands.toml")["band"]
    }


def band(name: str) -> Band:
    """One band by its name.

    Parameters
    ----------
    name
        Such as ``"FePO4 valence"``.

    Returns
    -------
    Band
        With its limits in eV and its source.

    Raises
    ------
    UnknownReferenceError
        If there is no entry of that name.

    Examples
    --------
    >>> band("FePO4 valence").window
    (4.0, 7.0)
    """
    table = _all_bands()
    if name not in table:
        raise UnknownReferenceError.of("band", name, table)
    return table[name]


def bands() -> tuple[Band, ...]:
    """All bands, in the order of their lower limits.

    Returns
    -------
    tuple of Band
        In the order of their energies.

    Examples
    --------
    >>> [found.name for found in bands()][:2]
    ['FePO4 interband', 'gap region']
    """
    return tuple(sorted(_all_bands().values(), key=lambda b: b.window))
