"""Pure pixels of a map, found and told apart by spectra that were computed from first principles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.end_members import end_members
from hyperspy_assb.eels.delithiation.reference_candidates import NEIGHBOURS
from hyperspy_assb.errors import AssbValueError, see
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.eels.delithiation_estimate import DEFAULT_ELECTRODE
from hyperspy_assb.signals.eels.reference_suggestion import suggest_references

COMPUTED = "computed"
"""What ``references`` is for this."""


def find_pure_pixels(signal: Any, electrode: str | Electrode | None) -> tuple[dict[str, NDArray[np.bool_]], str]:
    """Pure pixels of both end members and of what else is pure somewhere, and how they were found, as a sentence.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        A low-loss map.
    electrode
        Whose end members are looked for; LixFePO4 by default.

    Raises
    ------
    AssbValueError
        If the end members were not computed, or the map has no pure pixels of one of them.
    """
    couple = reference.electrode(electrode or DEFAULT_ELECTRODE) if not isinstance(electrode, Electrode) else electrode
    ends = end_members(couple)
    known = reference.computed_materials()
    if lacking := [name for name in ends if name not in known]:
        raise AssbValueError(
            f'references="computed" needs the computed spectra of {" and ".join(ends)}, but {" and ".join(lacking)} '
            f"has none; there are spectra of {', '.join(known)}."
        )
    found = suggest_references(signal, couple, None, NEIGHBOURS)
    masks = {name: np.asarray(mask.data, dtype=bool) for name, mask in found.references.items()}
    if missing := [name for name in ends if name not in masks]:
        what = f"neither {ends[0]} nor {ends[1]}" if len(missing) == 2 else f"no {missing[0]}"
        raise AssbValueError(
            f"The map shows {what}: no pure pixel matches its edges and its computed losses between 4 and 7 eV. "
            f"Proposed are: {', '.join(found.names) or 'none'}. " + see("delithiation")
        )
    told = ", ".join(f"{name} {int(mask.sum())}" for name, mask in masks.items())
    return masks, (
        "The references are pixels of this map, chosen automatically by computed spectra and edges, and have not been "
        "checked by eye "
        f"({told}): their strengths come from the map, not from theory."
    )
