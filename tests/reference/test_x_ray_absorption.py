"""A second source of absorption, and lines that exspy has not."""

import numpy as np
import pytest
from exspy.material import mass_absorption_coefficient

from hyperspy_assb.reference import UnknownReferenceError, added_lines, lines_by_levels, mass_absorption


def test_step_at_an_edge():
    # L3 of V lies at 512 eV.
    below, above = mass_absorption("V", [0.505, 0.525])
    assert above > 5.0 * below


@pytest.mark.parametrize(("element", "energy"), [("Ge", 2.0), ("O", 1.5), ("Si", 8.0)])
def test_sources_agree_far_from_edges(element, energy):
    assert mass_absorption(element, energy) == pytest.approx(
        float(mass_absorption_coefficient(element, np.array([energy]))[0]), rel=0.1
    )


def test_sources_differ_between_the_edges_of_iron():
    """84.8 (Elam) and 76.5 cm²/g (Chantler) at 6 keV."""
    other = float(mass_absorption_coefficient("Fe", np.array([6.0]))[0])
    assert mass_absorption("Fe", 6.0) / other == pytest.approx(84.8 / 76.5, rel=0.005)


def test_sources_differ_at_the_edge_of_vanadium():
    ours = float(mass_absorption_coefficient("V", np.array([0.5249]))[0])
    assert ours / float(mass_absorption("V", 0.5249)) == pytest.approx(24800 / 17300, rel=0.02)


def test_element_beyond_the_table():
    with pytest.raises(UnknownReferenceError, match="element with mass absorption 'Np'"):
        mass_absorption("Np", 1.0)


def test_lines_that_are_added():
    ((name, energy, weight),) = added_lines("Fe")
    assert (name, weight) == ("Lb1", 0.3)
    assert energy == pytest.approx(0.718, abs=0.001)
    assert added_lines("O") == ()


def test_lines_of_which_only_the_energy_is_known():
    """Pt M3 and N1 are at 2645 and 722 eV (J. A. Bearden and A. F. Burr, Rev. Mod. Phys. 39, 125 (1967))."""
    assert dict(lines_by_levels("Pt"))["M3N1"] == pytest.approx(1.923, abs=0.01)
    assert lines_by_levels("Fe") == ()
