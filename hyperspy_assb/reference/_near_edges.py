"""Near-edge shapes that fits start with."""

from __future__ import annotations

from hyperspy_assb.reference._edges import edge
from hyperspy_assb.reference._files import UnknownReferenceError, read_toml

_SYMBOLS = frozenset(
    (  # noqa: SIM905 - a list would take 92 lines
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr "
        "Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd "
        "In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf "
        "Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U"
    ).split()
)


def near_edge(element: str, shell: str) -> dict[str, float]:
    """Shape that the fit of an edge starts with.

    Parameters
    ----------
    element, shell
        As for :func:`~hyperspy_assb.reference.edge`.

    Returns
    -------
    shape
        ``onset_energy`` (the middle of the step), ``onset_width``, ``peak_ratio``, ``peak_energy`` and ``peak_fwhm``;
        energies in eV.

    Raises
    ------
    UnknownReferenceError
        If there is no such edge.
    """
    found = edge(element, shell)
    rows = [r for r in read_toml("near_edges.toml")["edge"] if r["shell"] == found.shell]
    rows = [r for r in rows if r.get("element", element) == element]
    if not rows:
        raise UnknownReferenceError.of("near-edge shape of", found.name, ["Li K", "M2,3", "M4,5", "L2,3"])
    row = rows[0]
    return {
        "onset_energy": found.onset_energy + row["onset_width"] / 2,
        "onset_width": row["onset_width"],
        "peak_ratio": row["peak_ratio"],
        "peak_energy": row.get("peak_energy", found.onset_energy + row.get("peak_offset", 0.0)),
        "peak_fwhm": row["peak_fwhm"],
    }


def check_element(symbol: str) -> None:
    """Check that something is the symbol of a chemical element.

    Raises
    ------
    ValueError
        If it is not.
    """
    if symbol not in _SYMBOLS:
        raise ValueError(f"{symbol!r} is not the symbol of a chemical element (as in 'Li', 'Fe').")
