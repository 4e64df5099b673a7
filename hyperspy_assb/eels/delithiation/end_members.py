"""The end members of an electrode: which of them references name, and what in a spectrum tells them apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hyperspy_assb import reference
from hyperspy_assb.eels.edges.edge_terms import EDGES, edge_name
from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.reference import Electrode, UnknownReferenceError
from hyperspy_assb.reference.materials import electrodes

METHODS = ("valence", "lithium", "references", "combined")
SIGNATURES = {"valence": "FePO4ValenceBand", "lithium": "Li_K"}
"""The parameter of the joint fit that tells the fraction, for each method that needs a signature."""
SIGNATURE_NAMES = {"valence": "FePO4 5 eV band", "lithium": "Li K"}
"""The same as the rows of electrodes have them."""
VACUUM_NAME = "vacuum"
"""Of references that show the zero-loss peak alone."""


def check_method(method: str, electrode: Electrode) -> None:
    """Raise ValueError if there is no such method or a signature is of another ion, MissingFactError if one lacks."""
    if method not in METHODS:
        raise AssbValueError(f"method must be one of {', '.join(map(repr, METHODS))}, not {method!r}.")
    if method in SIGNATURE_NAMES:
        electrode.needed(SIGNATURE_NAMES[method], by=f"method={method!r}")
    if SIGNATURE_NAMES["lithium"] in electrode.signatures and electrode.ion != "Li":
        raise AssbValueError(
            f"{electrode.name} has the signature {SIGNATURE_NAMES['lithium']!r}, but its ion is {electrode.ion}: take "
            "that signature out of its [[electrode]] row."
        )


def methods_of(electrode: Electrode) -> tuple[str, ...]:
    """The methods that an electrode allows."""
    return tuple(m for m in METHODS if SIGNATURE_NAMES.get(m) in (None, *electrode.signatures))


def end_members(electrode: Electrode) -> tuple[str, str]:
    """Names of the lithiated and of the delithiated end member."""
    return electrode.lithiated, electrode.delithiated


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """Names of materials by the names or aliases that a user gave; what is no material keeps its own.

    Raises
    ------
    AssbValueError
        If two names are of one material.
    AssbTypeError
        If a name is no string.
    """
    found: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise AssbTypeError(f"references must have names of materials as keys, such as 'LiFePO4', not {name!r}.")
        try:
            known = VACUUM_NAME if name.strip().lower() == VACUUM_NAME else reference.material(name).name
        except UnknownReferenceError:
            known = name
        for other, taken in found.items():
            if taken == known:
                raise AssbValueError(f"references name {known} twice: as {other!r} and as {name!r}.")
        found[name] = known
    return found


def find_electrode(phases: Collection[str], electrode: str | Electrode | None = None) -> Electrode:
    """The electrode whose end members are among the phases.

    Parameters
    ----------
    phases
        Names of materials; others may be among them.
    electrode
        The electrode or its name; None: the only one of the table that fits.

    Raises
    ------
    AssbValueError
        If an end member is missing, or none or more than one electrode of the table fits; all of them are listed.
    UnknownReferenceError
        If there is no electrode of that name.
    """
    if isinstance(electrode, str):
        electrode = reference.electrode(electrode)
    if electrode is not None:
        missing = [name for name in end_members(electrode) if name not in phases]
        if missing:
            raise AssbValueError(f"references must name {' and '.join(missing)}, for {electrode.name}.")
        return electrode
    fitting = [row for row in electrodes.values() if set(end_members(row)) <= set(phases)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " and ".join(f"{_in_words(row)}" for row in fitting)
        raise AssbValueError(
            f"references fit {names}: choose one, as in electrode={fitting[0].name!r}; the other references count as "
            "other phases of the column."
        )
    half = [row for row in electrodes.values() if set(end_members(row)) & set(phases)]
    lacking = [name for row in half for name in end_members(row) if name not in phases]
    hint = f" {' or '.join(dict.fromkeys(lacking))} is missing." if lacking else ""
    raise AssbValueError(
        f"references must name both end members of an electrode, but are of {', '.join(phases) or 'nothing'}.{hint} "
        f"There are {', '.join(_in_words(row) for row in electrodes.values())}. One of your own is an [[electrode]] "
        "row in a TOML file that hyperspy_assb.add_materials reads."
    )


def _in_words(electrode: Electrode) -> str:
    return f"{electrode.name} ({electrode.lithiated} and {electrode.delithiated})"


def elements_of(phases: Iterable[str]) -> tuple[str, ...]:
    """Elements of some materials with an edge in the low-loss range, and C for carbon itself; others have none here."""
    found: list[str] = []
    for phase in phases:
        try:
            composition = reference.material(phase).composition
        except UnknownReferenceError:
            continue
        if set(composition) == {"C"}:
            found.append("C")
        found += [symbol for symbol in composition if any(symbol in elements for elements in EDGES.values())]
    return tuple(dict.fromkeys(found))


def counting_edge(electrode: Electrode, names: Collection[str]) -> str:
    """The edge that counts formula units where nothing is known of other phases: that nearest to the edge of the ion.

    Parameters
    ----------
    electrode
        The electrode.
    names
        Parameters of the joint fit.

    Returns
    -------
    name
        Of an element that both end members have; empty if the fit has none.
    """
    both = [reference.material(name).composition for name in end_members(electrode)]
    centre = reference.near_edge("Li", "K")["onset_energy"]
    found = {
        edge_name(symbol, shell): abs(reference.near_edge(symbol, shell)["onset_energy"] - centre)
        for shell, elements in EDGES.items()
        for symbol in elements
        if symbol in both[0] and symbol in both[1] and symbol != electrode.ion and edge_name(symbol, shell) in names
    }
    return min(found, key=lambda name: found[name], default="")


def shared_shapes(electrode: Electrode) -> dict[str, dict[str, tuple[str, ...]]]:
    """Positions and widths that all pixels share, by component, under the phase on whose pixels they are fitted.

    The delithiated member comes first, so that the edges of the host are known before Li K is fitted above them. Where
    no signature stands on line shapes, those of the tables serve.
    """
    shapes: dict[str, dict[str, tuple[str, ...]]] = {electrode.delithiated: {}, electrode.lithiated: {}}
    if SIGNATURE_NAMES["valence"] in electrode.signatures:
        shapes[electrode.delithiated]["FePO4ValenceBand"] = ("centre", "fwhm")
    if SIGNATURE_NAMES["lithium"] in electrode.signatures:
        host: Mapping[str, float] = reference.material(electrode.delithiated).composition
        for symbol in (s for s in host if s in EDGES["M2,3"]):
            shapes[electrode.delithiated][edge_name(symbol, "M2,3")] = ("onset_energy", "onset_width")
        shapes[electrode.lithiated]["Li_K"] = ("peak_energy", "peak_fwhm", "peak_ratio")
    return shapes
