"""Constants of X-ray emission: the table is whole, and agrees with what others measured."""

import numpy as np
import pytest
from exspy.material import elements

from hyperspy_assb import reference
from hyperspy_assb.reference import x_ray_atom, x_ray_elements
from hyperspy_assb.reference.data_files import read_toml

SUBSHELLS = [(element, name) for element in x_ray_elements() for name in x_ray_atom(element).subshells]


def subshell(element, name):
    return x_ray_atom(element).subshells[name]


def test_elements_are_those_of_cell_and_preparation():
    assert set(x_ray_elements()) == {"C", "O", "Al", "Si", "P", "V", "Fe", "Cu", "Ga", "Ge", "Pt", "Au"}


@pytest.mark.parametrize("element", x_ray_elements())
def test_number_and_mass_are_those_of_the_element(element):
    atom, general = x_ray_atom(element), elements[element].General_properties
    assert atom.element == element
    assert atom.number == general.Z
    # IUPAC moved germanium from 72.64(1) to 72.630(8).
    assert atom.mass == pytest.approx(general.atomic_weight, abs=0.015)


@pytest.mark.parametrize(
    ("element", "name", "edge"),
    [
        # Measured binding energies in eV: J. A. Bearden and A. F. Burr, Rev. Mod. Phys. 39, 125 (1967).
        ("Al", "K", 1559.6),
        ("Si", "K", 1838.9),
        ("P", "K", 2145.5),
        ("V", "K", 5465.1),
        ("Fe", "K", 7112.0),
        ("Cu", "K", 8978.9),
        ("Ga", "K", 10367.1),
        ("Ge", "K", 11103.1),
        ("Pt", "L3", 11563.7),
        ("Au", "L3", 11918.7),
    ],
)
def test_edges_are_near_measured_ones(element, name, edge):
    # The calculation takes its own theoretical edges, which lie up to a per cent below.
    assert subshell(element, name).edge == pytest.approx(edge, rel=0.01)


@pytest.mark.parametrize("element", ["V", "Fe", "Cu", "Ga", "Ge"])
def test_fluorescence_of_k_shells_follows_the_formula_of_bambynek(element):
    # W. Bambynek (1984), as J. H. Hubbell et al., J. Phys. Chem. Ref. Data 23, 339 (1994) quote it.
    z = x_ray_atom(element).number
    fourth = (0.0370 + 0.03112 * z + 5.44e-5 * z**2 - 1.25e-6 * z**3) ** 4
    assert subshell(element, "K").fluorescence == pytest.approx(fourth / (1 + fourth), rel=0.05)


@pytest.mark.parametrize(("element", "name"), SUBSHELLS)
def test_vacancies_emit_or_move_on_or_do_neither(element, name):
    shell = subshell(element, name)
    assert 0 < shell.fluorescence < 1
    assert all(0 < probability < 1 for probability in shell.transfer.values())
    assert shell.fluorescence + sum(shell.transfer.values()) <= 1
    assert (len(shell.high), len(shell.low)) == (6, 5)
    assert np.isfinite([*shell.high, *shell.low]).all()


@pytest.mark.parametrize(("element", "name"), SUBSHELLS)
def test_vacancies_move_to_later_subshells_of_their_shell(element, name):
    names = list(x_ray_atom(element).subshells)
    for higher in subshell(element, name).transfer:
        assert higher[0] == name[0]
        assert names.index(higher) > names.index(name)


@pytest.mark.parametrize("element", x_ray_elements())
def test_outer_subshells_are_bound_more_loosely(element):
    edges = [shell.edge for shell in x_ray_atom(element).subshells.values()]
    assert edges == sorted(edges, reverse=True)


def test_k_shells_change_evenly_with_atomic_number():
    atoms = sorted((x_ray_atom(element) for element in x_ray_elements()), key=lambda atom: atom.number)
    shells = [atom.subshells["K"] for atom in atoms if "K" in atom.subshells]
    assert np.all(np.diff([shell.edge for shell in shells]) > 0)
    assert np.all(np.diff([shell.fluorescence for shell in shells]) > 0)
    assert np.all(np.diff([shell.high[1] for shell in shells]) < 0)


def test_table_is_read_as_it_stands():
    table = read_toml("x_rays.toml")
    for element, name in SUBSHELLS:
        row, shell = table[element][name], subshell(element, name)
        assert shell.name == name
        assert shell.high == (row["b"], row["a"], *row["g"])
        assert shell.low == tuple(row["low"])
        assert (shell.edge, shell.fluorescence) == (row["edge"], row["yield"])
        assert dict(shell.transfer) == row.get("transfer", {})


def test_atoms_cannot_be_changed():
    with pytest.raises(TypeError, match="item assignment"):
        x_ray_atom("Fe").subshells["K"] = None
    with pytest.raises(TypeError, match="item assignment"):
        subshell("Fe", "L1").transfer["L2"] = 1.0


def test_unknown_element_is_named_with_those_that_are_known():
    with pytest.raises(reference.UnknownReferenceError, match=r"Xx.*Fe"):
        x_ray_atom("Xx")
