"""Elements that nobody named."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.eds.lines.column_spectra import make_builder
from hyperspy_assb.eds.lines.detected_lines import channel_edges, gaussians
from hyperspy_assb.eds.lines.element_finder import FoundElement, _in_place_of, _Search, find_elements
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


def _recorded(rng, photons, changed=None, added=()):
    """Lines of families such as "Pt_M", some of another weight than in the tables, and a few more on a continuum."""
    signal = edx_to_signal(np.zeros((1, 2048)), XRayConditions(), signal_type="EDS_TEM_ASSB")
    lines = [
        (line.energy, counts * (changed or {}).get(line.full_name, line.weight))
        for family, counts in photons.items()
        for line in read_map(signal).tables.lines[family.partition("_")[0]]
        if line.name[0] == family[-1]
    ]
    energy, counts = np.array([*lines, *added]).T
    axis = signal.axes_manager.signal_axes[0].axis
    peaks = gaussians(channel_edges(axis), energy, line_width(energy, 130.0) / FWHM_PER_SIGMA)
    signal.data[...] = rng.poisson(counts @ peaks + 150.0 / np.maximum(axis, 0.2))
    return read_map(signal)


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
    photons = {"Pt_M": 30000.0, "Pt_L": 19000.0, "Cu_K": 50000.0, "Cu_L": 3000.0, "C_K": 100000.0}
    found = find_elements(_recorded(rng, photons, changed={"Pt_Mz": 0.1}, added=[(1.9204, 0.03 * photons["Pt_M"])]))
    assert {item.element for item in found} == {"Pt", "Cu", "C"}, [item.name for item in found]


def test_what_a_softer_family_takes_is_named_with_it(rng):
    """N K lies 3 eV from Ll of Ti: with Ti in the list, its L lines take the counts."""
    recorded = _recorded(rng, {"Ti_K": 30000.0, "N_K": 6000.0, "P_K": 10000.0})
    settings = EDSOptions(elements=("N", "P", "Ti"), absorption=False)
    builder = replace(make_builder(recorded, settings, need_factors=False), ties=())
    search = _Search.of(builder, recorded.spectra.summed().total, 0.05)
    (hidden,) = _in_place_of(search, [FoundElement(el, f"{el}_Ka", 0.0, 1.0, 0.1) for el in ("Ti", "P")])
    assert hidden.name == "N K / Ti L"
    recorded = _recorded(rng, {"Ti_K": 30000.0, "Ti_L": 6000.0, "P_K": 10000.0})
    search = _Search.of(builder, recorded.spectra.summed().total, 0.05)
    assert _in_place_of(search, [FoundElement(el, f"{el}_Ka", 0.0, 1.0, 0.1) for el in ("Ti", "P")]) == []
