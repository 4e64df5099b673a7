"""Materials and electrodes: exact facts of the shipped rows, every bad row, files of a user, and other processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hyperspy_assb
from hyperspy_assb import reference
from hyperspy_assb.reference import (
    MaterialError,
    MissingFactError,
    UnknownReferenceError,
    electrode,
    element,
    elements,
    material,
    materials_files,
    parse_formula,
)
from hyperspy_assb.reference import materials as lookup  # the name of the package, bound to its module
from hyperspy_assb.reference.crystal_cells import count_formula_units
from hyperspy_assb.reference.materials import add_materials, electrodes, materials

CIF = """data_test
_cell_length_a 4.0(2)
_cell_length_b 4.0
_cell_length_c '5.0'
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120.
_symmetry_space_group_name_H-M 'P -3 m 1'
loop_
_symmetry_equiv_pos_as_xyz
x,y,z
-y,x-y,z
-x+y,-x,z
y,x,-z
x-y,-y,-z
-x,-x+y,-z
-x,-y,-z
y,-x+y,-z
x-y,x,-z
-y,-x,z
-x+y,y,z
x,x-y,z
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Ti1 Ti4+ 0 0 0 1
S1 S2- 0.3333 0.6667 0.25 1
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with the rows of the package alone, and leaves what was there."""
    monkeypatch.setattr(lookup, "_state", None)
    monkeypatch.delenv(lookup.ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture
def table(tmp_path: Path):
    """Writes a table and gives its path."""

    def write(text: str, name: str = "mine.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return write


# Shipped rows


@pytest.mark.parametrize(
    ("name", "density", "formula_density", "electrons", "plasmon", "volume"),
    [
        # own snapshot: what the table of phases gave before it was a table of materials, to the last digit
        ("LiFePO4", 3.594998710572861, 13.723551230910253, 38.0, 26.815278022063627, 0.29146974661999997),
        ("FePO4", 3.687180962973281, 14.723152699179716, 37.0, 27.40681208421671, 0.27168094237199997),
        ("LAGP", 3.4137191444991375, 4.921029783333515, 96.0, 25.522362050897062, 1.2192569978586043),
        ("Li3V2(PO4)3", 3.0436012596259996, 4.49665496855041, 100.0, 24.900154076121666, 0.8895501273671177),
        ("carbon", 1.8, 90.24938270419835, 4.0, 22.310503297471552, None),
    ],
)
def test_what_follows_from_a_row_is_exact(name, density, formula_density, electrons, plasmon, volume):
    found = material(name)
    assert found.density == density
    assert found.formula_density == formula_density
    assert found.valence_electrons == electrons
    assert found.free_electron_plasmon_energy == plasmon
    assert found.cell_volume == volume


def test_cells_are_those_of_the_cifs():
    assert material("LiFePO4").cell == (1.0334, 0.6010, 0.4693, 90.0, 90.0, 90.0)
    assert material("LAGP").cell == (0.8257, 0.8257, 2.065, 90.0, 90.0, 120.0)
    assert material("LVP").cell == (0.862, 0.860, 1.20, 90.0, 90.5, 90.0)


@pytest.mark.parametrize("name", [name for name, row in materials.items() if row.cif is not None])
def test_formula_units_are_those_counted_in_the_cif(name):
    row = material(name)
    assert count_formula_units(row.cif, row.composition) == row.formula_units


@pytest.mark.parametrize(
    ("name", "density"),
    # other source: handbook values, to 1 %
    [("platinum", 21.45), ("gold", 19.3), ("copper", 8.96), ("LiCoO2", 5.05), ("Na3V2(PO4)3", 3.18)],
)
def test_densities_against_handbooks(name, density):
    assert material(name).density == pytest.approx(density, rel=0.01)


def test_every_shipped_row_has_a_source_a_role_and_a_colour_of_its_own():
    assert all(row.sources and row.role for row in materials.values())
    assert max(Counter(row.colour for row in materials.values()).values()) == 1
    assert None not in {row.colour for row in materials.values()}


def test_names_and_aliases_are_found_without_regard_to_capitals():
    for name, row in materials.items():
        for alias in (name, *row.aliases):
            assert material(alias) is material(alias.lower()) is material(alias.upper()) is row
    assert electrode("lixfepo4") is electrodes["LixFePO4"]


def test_one_name_for_amorphous_lagp():
    assert {material(n).name for n in ("LAGP glass", "amorphous LAGP", "amorphous_lagp")} == {"amorphous_LAGP"}


def test_mappings_are_public_and_read_only():
    assert hyperspy_assb.materials is materials
    assert hyperspy_assb.electrodes is electrodes
    assert hyperspy_assb.add_materials is add_materials
    assert list(materials)[:2] == ["LiFePO4", "FePO4"]
    assert len(materials) == len(list(materials))
    assert "LiFePO4" in repr(materials)
    assert "lfp" in materials  # by an alias, as material() finds it; listed by its name only
    assert "lfp" not in list(materials)
    with pytest.raises(TypeError):
        materials["mine"] = material("LFP")  # type: ignore[index]
    with pytest.raises(AttributeError):
        material("LFP").formula = "Fe"  # type: ignore[misc]
    with pytest.raises(TypeError):
        material("LFP").composition["Fe"] = 2.0  # type: ignore[index]


def test_rows_can_be_pickled_and_hashed():
    for row in (material("LAGP"), material("carbon"), electrode("LixFePO4")):
        again = pickle.loads(pickle.dumps(row))
        assert again == row
        assert hash(again) == hash(row)


@pytest.mark.parametrize(("name", "near"), [("NMC81", "near it: NMC811"), ("LiFePO", "LiFePO4"), ("xyz", "LAGP")])
def test_unknown_names_list_what_is_near_and_where_it_could_be(name, near):
    with pytest.raises(UnknownReferenceError, match=near) as caught:
        material(name)
    assert "materials.toml" in str(caught.value)
    assert "add_materials" in str(caught.value)


def test_unknown_electrode():
    with pytest.raises(UnknownReferenceError, match="near it: LixFePO4"):
        electrode("LiFePO4x")


@pytest.mark.parametrize("fact", ["density", "cif", "rings", "cell"])
def test_a_missing_fact_is_refused_by_row_file_and_fact(fact):
    row = material("CoO2")
    with pytest.raises(MissingFactError, match=rf"^EDX needs the {fact} of CoO2, .*materials\.toml"):
        row.needed(fact, by="EDX")
    assert material("LFP").needed("density", by="EDX") == material("LFP").density


def test_without_a_density_there_is_no_number_of_atoms():
    row = material("CoO2")
    assert row.density is None
    for value in (lambda: row.formula_density, lambda: row.atom_density("O"), lambda: row.free_electron_plasmon_energy):
        with pytest.raises(MaterialError, match="density of CoO2"):
            value()


# Elements


def test_elements_are_all_there():
    assert [row.number for row in elements().values()] == list(range(1, 119))
    with pytest.raises(UnknownReferenceError, match="Xx"):
        element("Xx")


@pytest.mark.parametrize("symbol", reference.x_ray_elements())
def test_masses_are_those_of_the_x_ray_table(symbol):
    assert element(symbol).mass == reference.x_ray_atom(symbol).mass
    assert element(symbol).number == reference.x_ray_atom(symbol).number


def test_masses_against_exspy():
    exspy_elements = pytest.importorskip("exspy.material").elements
    for symbol, row in elements().items():
        if symbol in exspy_elements and row.number < 84 and symbol not in ("Tc", "Pm"):
            # other compilation, of older weights; Tc and Pm have none
            assert row.mass == pytest.approx(exspy_elements[symbol].General_properties.atomic_weight, rel=2e-3), symbol


@pytest.mark.parametrize(
    ("symbols", "electrons"),
    # construction: columns of the periodic table
    [
        ("H Li Na K Cs Fr", 1),
        ("He Be Mg Ca Ba Ra Zn Cd Hg Cn", 2),
        ("Sc Y La Ce Yb Lu U Lr Al Ga In B", 3),
        ("Ti Zr Hf Ge Si C Pb", 4),
        ("V Ta P As Bi N", 5),
        ("Cr W O S Te", 6),
        ("Mn Re F Cl I", 7),
        ("Fe Os Ne Ar Rn Og", 8),
        ("Co Ir", 9),
        ("Ni Pt", 10),
        ("Cu Au", 11),
    ],
)
def test_valence_electrons(symbols, electrons):
    assert {symbol: element(symbol).valence_electrons for symbol in symbols.split()} == dict.fromkeys(
        symbols.split(), electrons
    )


# Formulas


@pytest.mark.parametrize(
    ("formula", "composition"),
    [
        ("C", {"C": 1}),
        ("LiNi0.8Mn0.1Co0.1O2", {"Li": 1, "Ni": 0.8, "Mn": 0.1, "Co": 0.1, "O": 2}),
        ("Li1.5Al0.5Ge1.5(PO4)3", {"Li": 1.5, "Al": 0.5, "Ge": 1.5, "P": 3, "O": 12}),
        ("Li6PS5Cl", {"Li": 6, "P": 1, "S": 5, "Cl": 1}),
        ("[Na(H2O)6]2(SO4)0.5", {"Na": 2, "H": 24, "O": 14, "S": 0.5}),
        ("CH3COOH", {"C": 2, "H": 4, "O": 2}),
        ("(Al0.1)3", {"Al": 0.3}),  # in decimals, not 0.30000000000000004
    ],
)
def test_formulas(formula, composition):
    assert dict(parse_formula(formula)) == composition
    assert list(parse_formula(formula)) == list(composition)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("", "must be text"),
        ("C" * 201, "must be text"),
        ("lifepo4", "character 1: 'l'"),
        ("LiFePo4Q", "character 8: 'Q' is not an element"),
        ("LiXx2", "'Xx' is not an element"),
        ("FePO4.2H2O", "character 6: this dot may be that of a number or may join two compounds"),
        ("FeCl3.6H2O", "character 6: this dot may be"),
        ("FePO4.2(H2O)", "character 6: this dot may be"),
        ("Li2O2.1Li2O", "character 6: this dot may be"),
        ("Li2.", "'.'"),
        ("Li.5", "'.'"),
        ("Li-1", "'-'"),
        ("Li0", "above 0"),
        ("Li0.00O2", "above 0"),
        ("Li FePO4", "' '"),
        ("Li+", r"'\+'"),
        ("CuSO4·5H2O", "'·'"),
        ("2LiFePO4", "'2'"),
        ("(PO4", "never closed"),
        ("PO4)3", "closes no bracket"),
        ("(PO4]3", "closes no bracket"),
        ("Li()3", "empty"),
        ("Li１", "'１'"),
        ("Li\n", r"'\\n'"),
    ],
)
def test_bad_formulas_are_refused_with_the_place(formula, said):
    with pytest.raises(MaterialError, match=said):
        parse_formula(formula)


AMOUNTS = st.integers(1, 99_999).map(lambda n: n / 1000)
COMPOSITIONS = st.dictionaries(st.sampled_from(list(elements())), AMOUNTS, min_size=1, max_size=12)


def write_formula(composition: dict[str, float]) -> str:
    return "".join(symbol + ("" if number == 1 else f"{number:g}") for symbol, number in composition.items())


@settings(deadline=None)
@given(COMPOSITIONS)
def test_what_is_written_is_read(composition):
    assert dict(parse_formula(write_formula(composition))) == composition


@settings(deadline=None)
@given(COMPOSITIONS, COMPOSITIONS, st.integers(1, 30), st.sampled_from(["()", "[]"]))
def test_groups_multiply_and_add(outer, inner, number, brackets):
    found = parse_formula(f"{write_formula(outer)}{brackets[0]}{write_formula(inner)}{brackets[1]}{number}")
    assert set(found) == {*outer, *inner}
    for symbol, amount in found.items():
        assert amount == pytest.approx(outer.get(symbol, 0.0) + number * inner.get(symbol, 0.0), rel=1e-12)


@settings(deadline=None)
@given(st.text(alphabet="LiFePO40123456789.()[] +-", max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        found = parse_formula(text)
    except MaterialError:
        return
    assert found
    assert all(number > 0.0 for number in found.values())


# Electrodes


def test_x_counts_ions_of_the_lithiated_host():
    assert electrode("LixFePO4").x_of(0.25) == 0.25
    sodium = electrode("NaxV2(PO4)3")
    assert sodium.ion == "Na"
    assert (sodium.x_of(0.0), sodium.x_of(1.0)) == (1.0, 3.0)
    np.testing.assert_array_equal(sodium.x_of(np.array([-0.5, 0.5, 1.5])), [0.0, 2.0, 4.0])  # not clipped


@settings(deadline=None)
@given(st.sampled_from(sorted(electrodes)), st.floats(-2.0, 3.0))
def test_fraction_is_the_inverse_of_x(name, fraction):
    found = electrode(name)
    assert found.fraction_of(found.x_of(fraction)) == pytest.approx(fraction, abs=1e-12)


def test_signatures_that_a_couple_has_not_are_refused_by_name():
    assert electrode("LixFePO4").needed("Li K", by="method='lithium'") == "Li K"
    with pytest.raises(
        MissingFactError, match=r"method='valence' needs the signature 'FePO4 5 eV band'.*LixCoO2.*none"
    ):
        electrode("LixCoO2").needed("FePO4 5 eV band", by="method='valence'")


# Files of a user

MINE = """
[[material]]
name = "LiTiS2"
aliases = ["lts", "LTS"]
formula = "LiTiS2"
density = 2.0

[[material]]
name = "TiS2"
formula = "TiS2"
cif = "tis2.cif"
colour = "#ABCDEF"
role = "electrode"
sources = ["a book"]

[[electrode]]
name = "LixTiS2"
lithiated = "lts"
delithiated = "TiS2"
ion = "Li"
ions_removed = 1
signatures = ["Li K"]
"""


def test_a_file_with_a_cif_is_known_everywhere(table, tmp_path):
    (tmp_path / "tis2.cif").write_text(CIF, "utf-8")
    add_materials(table(MINE))
    found = material("tis2")
    assert found is materials["TiS2"]
    assert found.cif == tmp_path / "tis2.cif"
    assert found.cell == (0.4, 0.4, 0.5, 90.0, 90.0, 120.0)
    assert found.formula_units == 1  # counted, with S at 0.3333
    assert found.density == pytest.approx((47.867 + 64.12) * 1.66053906892 / (40 * np.sqrt(3) * 1), rel=1e-12)
    assert found.sources == ("a book",)
    assert electrode("LixTiS2").lithiated == "LiTiS2"
    assert electrode("LixTiS2").ions == 1.0
    assert materials_files() == (str(tmp_path / "mine.toml"),)


def test_a_user_material_is_simulated_and_coloured(table, tmp_path):
    from hyperspy_assb.acom.crystals.crystal_phase import load_phase
    from hyperspy_assb.eds.phases.stoichiometry import PhaseOptions
    from hyperspy_assb.plotting.material_colours import class_colours, colour_of

    (tmp_path / "tis2.cif").write_text(CIF, "utf-8")
    add_materials(table(MINE))
    assert load_phase("TIS2").space_group == 164
    columns = PhaseOptions(phases=(("sulphide", "LTS"),)).columns()
    assert set(columns["sulphide"]) == {"Ti", "S"}
    assert colour_of("tis2") == "#ABCDEF"
    assert class_colours(["LFP", "TiS2"]) == {-1: "white", 0: colour_of("LiFePO4"), 1: "#ABCDEF"}
    assert colour_of("LiTiS2") == class_colours(["LiTiS2"])[0]  # of the palette, and the same in both


def test_adding_a_file_again_changes_nothing(table, tmp_path, monkeypatch):
    (tmp_path / "tis2.cif").write_text(CIF, "utf-8")
    path = table(MINE)
    add_materials(path)
    before = lookup._state
    monkeypatch.chdir(tmp_path)
    for same in (path, str(path), "mine.toml", tmp_path / "." / "mine.toml"):
        add_materials(same)
    assert lookup._state is before


def test_a_changed_file_exchanges_its_rows(table):
    add_materials(table('[[material]]\nname = "a"\nformula = "Li2S"'))
    add_materials(table('[[material]]\nname = "b"\nformula = "Li2S"'))
    assert "a" not in materials
    assert "b" in materials
    assert len(materials_files()) == 1


def test_a_row_replaces_another_only_if_it_says_so(table):
    row = '[[material]]\nname = "LiFePO4"\naliases = ["mine"]\nformula = "LiFePO4"\ndensity = 3.6\n'
    with pytest.raises(MaterialError, match=r"mine\.toml: material 'LiFePO4': .*materials\.toml.*replace = true"):
        add_materials(table(row))
    assert material("LFP").density != 3.6
    add_materials(table(row + "replace = true"))
    assert material("LiFePO4").density == 3.6
    assert material("MINE") is materials["LiFePO4"]
    assert next(iter(materials)) == "LiFePO4"  # it stands where the other did
    with pytest.raises(UnknownReferenceError):
        material("LFP")  # the aliases went with the row
    assert electrode("LixFePO4").lithiated == "LiFePO4"


def test_an_electrode_can_be_replaced(table):
    row = """[[electrode]]
name = "LixFePO4"
lithiated = "LFP"
delithiated = "FP"
ion = "Li"
ions_removed = 1
"""
    with pytest.raises(MaterialError, match=r"mine\.toml: electrode 'LixFePO4'.*replace = true"):
        add_materials(table(row))
    add_materials(table(row + "replace = true"))
    assert electrode("LixFePO4").signatures == ()


def material_row(**keys: str) -> str:
    rows = {"name": '"mine"', "formula": '"LiFePO4"', **keys}
    return "[[material]]\n" + "\n".join(f"{key} = {value}" for key, value in rows.items() if value) + "\n"


def electrode_row(**keys: str) -> str:
    rows = {
        "name": '"pair"',
        "lithiated": '"LFP"',
        "delithiated": '"FP"',
        "ion": '"Li"',
        "ions_removed": "1",
        **keys,
    }
    return "[[electrode]]\n" + "\n".join(f"{key} = {value}" for key, value in rows.items() if value) + "\n"


BAD = [
    (material_row(name=""), "material number 1: the key name is missing"),
    (material_row(name='""'), "name must be one line"),
    (material_row(name='" mine"'), "name must be one line"),
    (material_row(name='"a\\nb"'), "name must be one line"),
    (material_row(name="3"), "name must be one line"),
    (material_row(name='"Vacuum"'), "must not be vacuum"),
    (material_row(name=f'"{"x" * 81}"'), "longer than 80"),
    (material_row(formula=""), "material 'mine': the key formula is missing"),
    (material_row(formula='"LiFePQ4"'), "material 'mine': formula 'LiFePQ4', character 6: 'Q' is not an element"),
    (material_row(formula="1"), "formula must be one line"),
    (material_row(colur='"#ffffff"'), "there is no key colur"),
    (material_row(density="-3.6"), "density must be a number above 0, not -3.6"),
    (material_row(density="0"), "density must be a number above 0"),
    (material_row(density="nan"), "density must be a number above 0"),
    (material_row(density="inf"), "density must be a number above 0"),
    (material_row(density="true"), "density must be a number above 0"),
    (material_row(density='"3.6"'), "density must be a number above 0"),
    (material_row(cif='"nothing.cif"'), "there is no file .*nothing.cif"),
    (material_row(cif='"no_cell.cif"'), "no_cell.cif has no _cell_length_b, _cell_angle_gamma"),
    (material_row(cif='"flat.cif"'), r"a cell of .* is impossible"),
    (material_row(cif='"test.cif"'), "are not those of the formula"),
    (material_row(cif='"no_atoms.cif"'), "no_atoms.cif"),
    (material_row(cif='"test.cif"', cell="[1, 2, 3, 90, 90, 90]"), "leave cell out"),
    (material_row(cell="[1, 2, 3, 90, 90]"), "cell must be"),
    (material_row(cell='"4"'), "cell must be"),
    (material_row(cell="[5, 5, inf, 90, 90, 90]"), "finite"),
    (material_row(cell="[5, 5, 5, 90, 90, 190]", formula_units="1"), "impossible"),
    (material_row(cell="[5, 5, 5, 30, 30, 90]", formula_units="1"), "impossible"),
    (material_row(cell="[5, 5, 5, 90, 90, 90]"), "needs formula_units"),
    (material_row(formula_units="4"), "give cif or cell"),
    (
        material_row(cell="[10.3, 6.0, 4.7, 90, 90, 90]", formula_units="4", density="18"),
        "density is 18 g/cm3, but",
    ),
    (material_row(formula='"LiCoO2"', cif='"feo.cif"'), "feo.cif .Fe4.* O4.* are not those of the formula"),
    (material_row(formula='"LiCoO2"', cif='"feo.cif"', density="5.05"), "material 'mine': .*not those of the formula"),
    (
        material_row(formula='"LiCoO2"', cif='"feo.cif"', formula_units="4"),
        "material 'mine': .*not those of the formula",
    ),
    (material_row(formula='"TiS2"', cif='"test.cif"', density="3.5"), "density is 3.5 g/cm3, but 1 formula .* 2.68"),
    (material_row(formula='"TiS2"', cif='"test.cif"', formula_units="2"), "formula_units is 2, but .*test.cif make 1"),
    (material_row(density="1" + "0" * 400), "'mine': density must be a number above 0, not 10{50,}\\.\\.\\."),
    (material_row(cell="[5, 5, 1" + "0" * 400 + ", 90, 90, 90]", formula_units="1"), "'mine': cell must hold finite"),
    (material_row(density="1" + "0" * 5000), "is not a TOML file"),
    (material_row(density="[" * 5000 + "]" * 5000), "nested too deep"),
    (material_row(cif=f'"{"a" * 5000}"'), "'mine': cif: there is no file .*aaa"),
    (material_row(rings='"carbon"'), "rings must be a list"),
    (material_row(rings='["soot"]'), "rings: there are carbon, amorphous_LAGP, not soot"),
    (material_row(colour='"red"'), "colour must be written like"),
    (material_row(colour='"#12345"'), "colour must be written like"),
    (material_row(role='"anode"'), "role must be one of electrode"),
    (material_row(sources='"a book"'), "sources must be a list"),
    (material_row(aliases="[1]"), "aliases must be one line"),
    (material_row(aliases='["x", "x"]'), "the same text twice"),
    (material_row(aliases='["mine"]'), "among its own aliases"),
    (material_row(aliases='["vacuum"]'), "vacuum is no alias"),
    (material_row(aliases='["a,b"]'), "must not have a comma"),
    (material_row(aliases='["lfp"]'), "'lfp' is a name or an alias of LiFePO4 in .*materials.toml already"),
    (material_row(aliases='["FEPO4"]'), "'FEPO4' is a name or an alias of FePO4"),
    (material_row(name='"lvp"'), "'lvp' is a name or an alias of Li3V2"),
    (material_row() + material_row(), "'mine' is a name or an alias of mine in .*mine.toml already"),
    (material_row(replace="true"), "replace = true, but there is no entry"),
    (material_row(name='"LFP"', replace="true"), "replace = true, but there is no entry"),
    (material_row(replace="1"), "replace must be true or false"),
    (material_row(name='"FePO4"', formula='"MnPO4"', replace="true"), "without 1 Li is not FePO4 .*mine.toml"),
    (electrode_row(name=""), "electrode number 1: the key name is missing"),
    (electrode_row(lithiated='"LMO"'), "electrode 'pair': lithiated: there is no material 'LMO'"),
    (electrode_row(delithiated='"vacuum"'), "there is no material 'vacuum'"),
    (electrode_row(lithiated=""), "the key lithiated is missing"),
    (electrode_row(ion='"Q"'), "ion must be the symbol of an element"),
    (electrode_row(ion=""), "the key ion is missing"),
    (electrode_row(ion='"Na"'), "LiFePO4 in .* has 0 Na per formula unit"),
    (electrode_row(ions_removed="0"), "ions_removed must be a number above 0"),
    (electrode_row(ions_removed="-1"), "ions_removed must be a number above 0"),
    (electrode_row(ions_removed="nan"), "ions_removed must be a number above 0"),
    (electrode_row(ions_removed=""), "the key ions_removed is missing"),
    (electrode_row(ions_removed="1.5"), "ions_removed is 1.5, but LiFePO4 in .* has 1 Li"),
    (electrode_row(ions_removed="0.5"), "without 0.5 Li is not FePO4"),
    (electrode_row(lithiated='"FP"', delithiated='"LFP"'), "FePO4 in .* has 0 Li"),
    (electrode_row(delithiated='"CoO2"'), "without 1 Li is not CoO2"),
    (electrode_row(density="3"), "there is no key density"),
    (electrode_row(signatures='["a", "a"]'), "the same text twice"),
    (electrode_row(signatures='["Li k"]'), "'pair': signatures: there is no 'Li k'; there are FePO4 5 eV band, Li K"),
    (electrode_row(signatures='["Li K", "frobnicate"]'), "'pair': signatures: there is no 'frobnicate'"),
    (
        electrode_row(lithiated='"LiCoO2"', delithiated='"CoO2"', signatures='["FePO4 5 eV band"]'),
        "'pair': signatures: 'FePO4 5 eV band' is that of iron phosphates, but LiCoO2 is LiCoO2; there are",
    ),
    (
        electrode_row(lithiated='"Na3V2(PO4)3"', delithiated='"NaV2(PO4)3"', ion='"Na"', signatures='["Li K"]'),
        "'pair': signatures: 'Li K' is that of Li, but the ion is Na; there are",
    ),
    (electrode_row() + electrode_row(), "'pair' is a name or an alias of pair"),
    (electrode_row(replace="true"), "replace = true, but there is no entry"),
    ('[material]\nname = "mine"\n', "each material is a table"),
    ("material = 3\n", "each material is a table"),
    ("[[phase]]\n", "not phase"),
    ("[[material\n", "is not a TOML file"),
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=[said for _, said in BAD])
def test_a_bad_row_names_row_and_file_and_nothing_of_its_file_is_added(table, tmp_path, text, said):
    (tmp_path / "test.cif").write_text(CIF, "utf-8")
    feo = CIF.replace("Ti1 Ti4+ 0 0 0 1\nS1 S2- 0.3333 0.6667 0.25 1", "Fe1 Fe 0.5 0 0.2 0.6667\nO1 O 0.5 0 0.7 0.6667")
    (tmp_path / "feo.cif").write_text(feo, "utf-8")
    (tmp_path / "no_atoms.cif").write_text(CIF[: CIF.index("loop_\n_atom")], "utf-8")
    (tmp_path / "flat.cif").write_text(CIF.replace("'5.0'", "0.0"), "utf-8")
    no_cell = CIF.replace("_cell_length_b 4.0", "_cell_length_b ?").replace("_cell_angle_gamma 120.", "")
    (tmp_path / "no_cell.cif").write_text(no_cell, "utf-8")
    good = material_row(name='"good one"', formula='"Li2S"')
    path = table(text + good if text.startswith("[[") and not text.startswith("[[material\n") else text)
    before = dict(materials), dict(electrodes)
    with pytest.raises(MaterialError, match=said) as caught:
        add_materials(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert (dict(materials), dict(electrodes)) == before
    assert materials_files() == ()


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MaterialError, match=r"x\.toml is not a TOML file"):
        add_materials(tmp_path / "x.toml")
    with pytest.raises(FileNotFoundError, match="nothing"):
        add_materials(tmp_path / "nothing.toml")


def test_an_unknown_element_breaks_nothing_else(table):
    with pytest.raises(MaterialError, match="'Xx' is not an element"):
        add_materials(table(material_row(formula='"XxO2"')))
    assert material("LFP").valence_electrons == 38.0


def test_rows_may_lack_facts(table):
    add_materials(table(material_row(formula='"Li7La3Zr2O12"')))
    found = material("mine")
    assert (found.density, found.cif, found.cell, found.rings, found.colour, found.role) == (
        None,
        None,
        None,
        (),
        None,
        None,
    )
    assert found.valence_electrons == 7 + 3 * 3 + 2 * 4 + 12 * 6


def test_sites_that_a_cif_leaves_out_do_not_matter():
    row = material("LAGP")  # a third of its Li is not in the CIF
    assert count_formula_units(row.cif, {**row.composition, "H": 0.1}) == 6
    with pytest.raises(MaterialError, match="not those of the formula"):
        count_formula_units(row.cif, {"Na": 1.0, "Cl": 1.0})


def test_latin_1_cifs_are_read(table, tmp_path):
    (tmp_path / "old.cif").write_bytes(("# Müller\n" + CIF).encode("latin-1"))
    add_materials(table(material_row(formula='"TiS2"', cif='"old.cif"')))
    assert material("mine").formula_units == 1


# Other processes and threads

SHOW = (
    "from hyperspy_assb.reference import material, materials_files; print(material('mine').formula, *materials_files())"
)


def test_the_environment_names_files_for_other_processes(table, tmp_path):
    one = table(material_row())
    two = table(material_row(name='"second"', formula='"Li2S"'), "two.toml")
    named = {**os.environ, lookup.ENVIRONMENT_VARIABLE: os.pathsep.join([str(one), "", str(two)])}
    done = subprocess.run([sys.executable, "-c", SHOW], env=named, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["LiFePO4", str(one), str(two)]


def test_a_bad_file_in_the_environment_is_told_at_the_first_use(table, monkeypatch):
    path = table(material_row(density="-1"))
    monkeypatch.setenv(lookup.ENVIRONMENT_VARIABLE, str(path))
    for _ in range(2):
        with pytest.raises(MaterialError, match=r"mine\.toml: material 'mine': density"):
            material("LFP")
    path.write_text(material_row(), "utf-8")
    assert material("mine").formula == "LiFePO4"


def test_files_can_be_handed_to_a_worker(table):
    add_materials(table(material_row()))
    code = f"from hyperspy_assb import add_materials\nfor path in {materials_files()!r}: add_materials(path)\n{SHOW}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "LiFePO4"


def test_threads_that_add_lose_nothing_and_see_whole_tables(tmp_path):
    paths = []
    for number in range(24):
        paths.append(tmp_path / f"{number}.toml")
        rows = [material_row(name=f'"m{number}{letter}"', formula='"Li2S"') for letter in "ab"]
        paths[-1].write_text("".join(rows), "utf-8")
    start, errors = threading.Barrier(8), []

    def work(worker: int) -> None:
        try:
            start.wait()
            for path in paths[worker::4]:  # each file by two threads
                add_materials(path)
                seen = {
                    name for name in materials if name.startswith("m") and name[-1] in "ab" and name[1:-1].isdigit()
                }
                assert {name[:-1] + "a" for name in seen} <= seen
                assert {name[:-1] + "b" for name in seen} <= seen
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number % 4,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(materials_files()) == 24
    assert all(f"m{number}{letter}" in materials for number in range(24) for letter in "ab")


@pytest.mark.parametrize("value", [None, ["a.toml"], 3, b"a.toml", "a\0b", ""])
def test_what_is_no_path_is_refused_by_the_name_of_the_argument(value):
    from hyperspy_assb.acom import load_phase

    kind = hyperspy_assb.errors.AssbValueError if isinstance(value, str) else hyperspy_assb.errors.AssbTypeError
    loaders = [f"load{kind}" for kind in ("", "_spectrum_image", "_eds_spectrum_image", "_patterns", "_voltammogram")]
    readers = [(add_materials, "path"), (load_phase, "name_or_path")]
    if not isinstance(value, list):
        readers.append((hyperspy_assb.load_series, "path"))
    for function, argument in [*readers, *((getattr(hyperspy_assb, name), "path") for name in loaders)]:
        with pytest.raises(kind, match=f"^{argument} must be the path of a file"):
            function(value)


def test_pipes_are_not_waited_for(tmp_path):
    from hyperspy_assb.acom import load_phase

    pipe = tmp_path / "pipe.hspy"
    os.mkfifo(pipe)
    for function in (add_materials, hyperspy_assb.load):
        with pytest.raises(hyperspy_assb.errors.AssbFileError, match=r"pipe\.hspy is n"):
            function(pipe)
    with pytest.raises(FileNotFoundError, match=r"pipe\.hspy"):
        load_phase(pipe)
    with pytest.raises(hyperspy_assb.errors.AssbValueError, match=r"^name_or_path: 'aaa"):
        load_phase("a" * 5000)


def test_results_are_saved_in_the_home_folder(tmp_path, monkeypatch):
    from hyperspy_assb.simulation import micro_battery

    monkeypatch.setenv("HOME", str(tmp_path))
    signal = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
    result = signal.fit_line_counts(["Fe_Ka"])
    result.save("~/counts.hspy")
    assert (tmp_path / "counts.hspy").is_file()
    assert hyperspy_assb.load("~/counts.hspy").lines == ("Fe_Ka",)
    with pytest.raises(hyperspy_assb.errors.AssbTypeError, match=r"^path must be the path of a file"):
        result.save(None)


def test_signatures_are_those_that_methods_need():
    from hyperspy_assb.eels.delithiation.end_members import SIGNATURE_NAMES
    from hyperspy_assb.reference.material_facts import SIGNATURES

    assert set(SIGNATURE_NAMES.values()) == set(SIGNATURES)


def test_composed_and_decomposed_accents_are_one_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(material_row(name='"phase d\u2019\u00e9t\u00e9"'), "utf-8")
    hyperspy_assb.add_materials(path)
    assert material("PHASE d\u2019e\u0301te\u0301").file == path


@pytest.mark.parametrize("formula", ["LiNi0.5Mn1.5O4", "LiFePO4F0.5(OH)0.5", "Li6.4La3Zr1.4Ta0.6O12", "FePO4(H2O)2"])
def test_numbers_with_a_dot_that_can_only_be_that(formula):
    assert parse_formula(formula)


@pytest.mark.parametrize("density", ["4300", "1e-300", "23.1"])
def test_a_density_that_no_material_has(tmp_path, density):
    path = tmp_path / "mine.toml"
    path.write_text(f'[[material]]\nname = "spinel"\nformula = "LiMn2O4"\ndensity = {density}\n')
    with pytest.raises(MaterialError, match=r"mine.toml: material 'spinel': density must be in g/cm3"):
        add_materials(path)


def test_aliases_and_what_is_no_name(tmp_path):
    assert materials["LFP"] is materials["LiFePO4"]
    assert "LFP" in materials
    assert 3 not in materials
    assert "nothing" not in materials
    with pytest.raises(KeyError, match="no electrode 'LiFePO4'; near it: LixFePO4"):
        electrodes["LiFePO4"]
    for ask in (material, electrode):
        with pytest.raises(hyperspy_assb.errors.AssbTypeError, match="not by None"):
            ask(None)


def test_links_in_a_circle(tmp_path):
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    with pytest.raises(hyperspy_assb.errors.AssbFileError, match=r"loop.toml cannot be followed"):
        add_materials(loop)
