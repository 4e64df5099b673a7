"""Near-edge shapes that fits start with."""

from __future__ import annotations

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference.data_files import UnknownReferenceError, read_toml
from hyperspy_assb.reference.elements import elements
from hyperspy_assb.reference.ionisation_edges import edge


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

    Examples
    --------
    >>> near_edge("Li", "K")["peak_energy"]
    62.0
    """
    found = edge(element, shell)
    rows = [r for r in read_toml("near_edges.toml")["edge"] if r["shell"] == found.shell]
    rows = [r for r in rows if r.get("element", element) == element]
    if not rows:
        raise UnknownReferenceError.of("near-edge shape of", found.name, ["Li K", "M2,3", "M4,5", "L2,3", "N4,5"])
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

    Parameters
    ----------
    symbol
        Such as ``"Fe"``.

    Raises
    ------
    AssbValueError
        If it is not.

    Examples
    --------
    >>> check_element("Fe")
    """
    if symbol not in elements():
        raise AssbValueError(f"{symbol!r} is not the symbol of a chemical element (as in 'Li', 'Fe').")
