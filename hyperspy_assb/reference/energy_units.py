"""Units of energy axes, as files spell them."""

from __future__ import annotations

import re

_NAMES = {"ev": "eV", "electronvolt": "eV", "electronvolts": "eV", "kev": "keV", "mev": "meV"}
_IN_BRACKETS = re.compile(r"[(\[]([^)\]]*)[)\]]\s*$")


def energy_unit(text: object) -> str:
    """The unit of energy that a label stands for.

    ISO 22029 (EMSA/MAS files) has the quantity in the label of the axis, with the unit in brackets, and leaves the
    case of letters open.

    Parameters
    ----------
    text
        Label of the units of an axis.

    Returns
    -------
    str
        "eV", "keV" or "meV"; empty where it is none of them. Millions of eV are none: no
        axis of EELS or X-rays is in them.

    References
    ----------
    .. [1] ISO 22029:2012, Microbeam analysis - EMSA/MAS standard file format for spectral-data exchange.

    Examples
    --------
    >>> energy_unit("Energy Loss (eV)"), energy_unit("Electron Volts"), energy_unit("keV"), energy_unit("nm")
    ('eV', 'eV', 'keV', '')
    """
    if not isinstance(text, str):
        return ""
    found = _IN_BRACKETS.search(text)
    unit = (found[1] if found else text).strip()
    if unit.startswith("M"):
        return ""
    return _NAMES.get(unit.replace(" ", "").replace("-", "").lower(), "")
