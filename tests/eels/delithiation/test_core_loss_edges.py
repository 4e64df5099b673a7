from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.eels.delithiation.core_loss_edges import edge_ranges
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference import electrode

ENERGY = np.arange(440.0, 920.0, 0.25)


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("LixFePO4", ["O K", "Fe L2,3"]),
        ("LixV2(PO4)3", ["V L2,3 and O K"]),
        ("LixCoO2", ["O K", "Co L2,3"]),
        ("LixNi0.8Mn0.1Co0.1O2", ["O K", "Mn L2,3", "Co L2,3", "Ni L2,3"]),
    ],
)
def test_edges_of_an_electrode(name, ranges):
    found = edge_ranges(ENERGY, electrode(name))
    assert [one.name for one in found] == ranges
    for one in found:
        assert ENERGY[one.channels][0] < one.below < one.onset <= one.last_onset < one.counted_from
        assert one.counted_from < ENERGY[one.channels][-1]


def test_an_edge_without_its_background_is_left_out():
    assert [one.name for one in edge_ranges(np.arange(525.0, 800.0, 0.5), electrode("LixFePO4"))] == ["Fe L2,3"]


def test_no_edge_in_range_says_which_there_are():
    with pytest.raises(AssbValueError, match=r"300 to 399 eV, has no edge of LixFePO4 \(O K at 532 eV, Fe L2,3"):
        edge_ranges(np.arange(300.0, 400.0), electrode("LixFePO4"))


def test_which_phases_have_the_edge():
    oxygen, iron = edge_ranges(ENERGY, electrode("LixFePO4"))
    assert oxygen.holds("LAGP")
    assert iron.holds("LAGP") is False
    assert iron.holds("a film of mine") is None


def test_wide_bins_are_finer_at_the_fine_structure():
    oxygen = edge_ranges(ENERGY, electrode("LixFePO4"))[0]
    first = oxygen.coarse(ENERGY)
    width = np.diff(first) * 0.25
    assert first[0] == 0
    assert 12 < first.size < 30
    assert width.min() == pytest.approx(2.0, abs=0.3)
    assert width.max() == pytest.approx(8.0, abs=0.3)
