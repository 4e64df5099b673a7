"""Elements that nobody named."""

import numpy as np
import pytest

from hyperspy_assb.eds.lines.detected_lines import channel_edges, gaussians
from hyperspy_assb.eds.lines.element_finder import FoundElement, find_elements
from hyperspy_assb.eds.lines.x_ray_lines import FWHM_PER_SIGMA, line_width
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


def test_weaker_lines_that_tables_do_not_know_name_no_elements(rng):
    """Mζ ten times as strong as in the table, and M3N1 (1.92 keV), which is in none: Lu M and Y L lie there."""
    signal = edx_to_signal(np.zeros((1, 2048)), XRayConditions(), signal_type="EDS_TEM_ASSB")
    tables = read_map(signal).tables
    photons = {"Pt": {"M": 30000.0, "L": 19000.0}, "Cu": {"K": 50000.0, "L": 3000.0}, "C": {"K": 100000.0}}
    departed = {"Mz": 0.1}
    lines = [
        (line.energy, height * departed.get(line.name, line.weight))
        for element, families in photons.items()
        for line in tables.lines[element]
        for family, height in families.items()
        if line.name[0] == family
    ]
    energy, counts = np.array([*lines, (1.9204, 0.03 * photons["Pt"]["M"])]).T
    axis = signal.axes_manager.signal_axes[0].axis
    peaks = gaussians(channel_edges(axis), energy, line_width(energy, 130.0) / FWHM_PER_SIGMA)
    expected = counts @ peaks + 150.0 / np.maximum(axis, 0.2)
    signal.data[...] = rng.poisson(expected)
    found = find_elements(read_map(signal))
    assert {item.element for item in found} == {"Pt", "Cu", "C"}, [item.name for item in found]
