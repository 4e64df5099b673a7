"""Elements that nobody named."""

import numpy as np
import pytest

from hyperspy_assb.eds.lines.element_finder import FoundElement, find_elements
from hyperspy_assb.signals.eds.map_reading import read_map
from hyperspy_assb.simulation import XRayConditions, edx_to_signal, simulate_edx


@pytest.fixture(scope="module")
def recorded(rng):
    conditions = XRayConditions(counts_per_channel=50.0)
    counts = simulate_edx({"LiFePO4": np.array([50.0]), "LAGP": np.array([50.0])}, conditions, 3)
    return read_map(edx_to_signal(counts, conditions, signal_type="EDS_TEM_ASSB"))


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(0)


def test_elements_of_the_cell_are_found(recorded):
    found = find_elements(recorded)
    seen = {element for item in found for element in item.elements}
    assert {"O", "P", "Fe", "Ge", "Cu", "Si"} <= seen
    there = {"C", "O", "Al", "P", "Fe", "Ge", "Cu", "Si", "Ga", "Pt", "Au"}
    assert all(there & set(item.elements) for item in found), [item.name for item in found]


def test_names_of_those_that_cannot_be_told_apart():
    found = FoundElement("S", "S_Ka", 2.307, 100.0, 5.0, ("Mo_La", "Pb_Ma"))
    assert found.name == "S K / Mo L / Pb M"
    assert found.elements == ("S", "Mo", "Pb")


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_alpha_is_a_share(recorded, alpha):
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        find_elements(recorded, alpha=alpha)
