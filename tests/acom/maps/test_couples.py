"""The electrode that is meant, from the phases that were offered."""

from __future__ import annotations

import pytest

from hyperspy_assb.acom.maps.couples import find_couple, needed_couple
from hyperspy_assb.reference import UnknownReferenceError, electrode


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["LAGP", "FePO4", "LiFePO4"], "LixFePO4"),
        (["CoO2", "LiCoO2"], "LixCoO2"),
        (["Na3V2(PO4)3", "NaV2(PO4)3", "LiFePO4"], "NaxV2(PO4)3"),
        (["LiFePO4", "CoO2"], None),
        ([], None),
    ],
)
def test_the_only_couple_of_the_table_is_meant(names: list[str], found: str | None) -> None:
    couple = find_couple(names)
    assert (None if couple is None else couple.name) == found


def test_a_couple_is_named_where_there_are_several() -> None:
    names = ["LiFePO4", "FePO4", "LiCoO2", "CoO2"]
    with pytest.raises(ValueError, match="couple: the phases hold several, 'LixFePO4', 'LixCoO2': name one"):
        find_couple(names)
    assert find_couple(names, "LixCoO2").lithiated == "LiCoO2"
    assert find_couple(names, electrode("LixFePO4")).delithiated == "FePO4"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="the phases are LAGP, FePO4: offer LiFePO4"):
        find_couple(["LAGP", "FePO4"], "LixFePO4")
    with pytest.raises(ValueError, match="The mechanism needs both end members of an electrode"):
        needed_couple(["LAGP"], by="The mechanism")
    with pytest.raises(UnknownReferenceError, match="no electrode 'LixFe'"):
        find_couple(["LiFePO4", "FePO4"], "LixFe")
