"""The electrode whose two end members are among the phases of a scan."""

from __future__ import annotations

from collections.abc import Sequence

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference import Electrode, electrode
from hyperspy_assb.reference.materials import electrodes


def find_couple(names: Sequence[str], couple: Electrode | str | None = None) -> Electrode | None:
    """The electrode both end members of which are among some phases; None if there is none.

    Parameters
    ----------
    names
        Of the phases.
    couple
        The electrode, or its name in :data:`hyperspy_assb.electrodes`; None: that of the table, if it is the only one.

    Returns
    -------
    Electrode
        The couple.

    Raises
    ------
    ValueError
        If the phases hold several couples and none is named, or not both end members of the one that is.

    Examples
    --------
    >>> find_couple(["LAGP", "LiFePO4", "FePO4"]).name
    'LixFePO4'
    >>> find_couple(["LAGP", "LiFePO4"]) is None
    True
    """
    if couple is not None:
        named = electrode(couple) if isinstance(couple, str) else couple
        missing = [member for member in (named.lithiated, named.delithiated) if member not in names]
        if missing:
            raise AssbValueError(
                f"couple: {named.name} is {named.lithiated} and {named.delithiated}, but the phases are "
                f"{', '.join(names)}: offer {' and '.join(missing)} in indexing as well."
            )
        return named
    found = [row for row in electrodes.values() if {row.lithiated, row.delithiated} <= set(names)]
    if len(found) > 1:
        raise AssbValueError(
            f"couple: the phases hold several, {', '.join(repr(row.name) for row in found)}: name one of them."
        )
    return found[0] if found else None


def needed_couple(names: Sequence[str], couple: Electrode | str | None = None, *, by: str) -> Electrode:
    """As :func:`find_couple`, for something that cannot do without; ``by`` is the first words of a sentence.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = find_couple(names, couple)
    if found is None:
        raise AssbValueError(
            f"{by} needs both end members of an electrode, but indexing was offered {', '.join(names)}: offer both of "
            f"one of {', '.join(electrodes)}, or add your own by hyperspy_assb.add_materials."
        )
    return found
