"""Crystal phases: what is read from a CIF, and the errors of those that cannot be read."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb import reference
from hyperspy_assb.acom.crystals.crystal_phase import (
    CrystalError,
    cell_axes,
    laue_rotations,
    load_phase,
    pack_phase,
    point_group,
    scale_lattice,
    to_orix,
    unpack_phase,
)
from hyperspy_assb.acom.crystals.kinematical import reflections, structure_factors
from hyperspy_assb.reference import UnknownReferenceError

NAMES = ("LiFePO4", "FePO4", "LAGP", "Li3V2(PO4)3")

PBNM = """data_{name}
_cell_length_a {a}
_cell_length_b {b}
_cell_length_c {c}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M '{group}'
loop_
_symmetry_equiv_pos_as_xyz
{operations}
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{sites}
"""
ANDERSSON = {  # LiFePO4 on the axes of Pnma, source: other publication of the same sites (mission of this project)
    "Li1+": (0, 0, 0),
    "Fe2+": (0.2822, 0.25, 0.9747),
    "P5+": (0.0949, 0.25, 0.4182),
    "O2-": (0.0968, 0.25, 0.7428),
    "O2-b": (0.4571, 0.25, 0.2060),
    "O2-c": (0.1656, 0.0465, 0.2848),
}
CELL = (10.334, 6.010, 4.693)
PNMA = "x,y,z;-x+1/2,-y,z+1/2;-x,y+1/2,-z;x+1/2,-y+1/2,-z+1/2;-x,-y,-z;x+1/2,y,-z+1/2;x,-y+1/2,z;-x+1/2,y+1/2,z+1/2"


def olivine(order: str, group: str) -> str:
    """LiFePO4 with the axes of Pnma in another order: the new a, b, c are the old ones named by `order`."""
    places = ["abc".index(axis) for axis in order]
    operations = []
    for operation in PNMA.split(";"):
        parts = operation.split(",")
        renamed = [parts[i] for i in places]
        for new, old in enumerate(places):
            renamed = [part.replace("xyz"[old], "XYZ"[new]) for part in renamed]
        operations.append("'" + ",".join(renamed).lower() + "'")
    sites = "\n".join(f"{label} {' '.join(str(site[i]) for i in places)}" for label, site in ANDERSSON.items())
    a, b, c = (CELL[i] for i in places)
    return PBNM.format(name="olivine", a=a, b=b, c=c, group=group, operations="\n".join(operations), sites=sites)


@pytest.mark.parametrize("name", NAMES)
def test_cells_and_compositions_are_those_of_the_reference_table(name):
    phase, table = load_phase(name), reference.material(name)
    a, b, c, *angles = table.cell
    assert phase.cell == pytest.approx((10 * a, 10 * b, 10 * c, *angles), abs=1e-9)
    assert to_orix(phase).structure.lattice.volume == pytest.approx(1000 * table.cell_volume, rel=1e-9)
    for element, number in table.composition.items():
        found = phase.structure.composition[element] / table.formula_units
        missing = 0.5 if (name, element) == ("LAGP", "Li") else 0.0  # said in the caveat
        assert found == pytest.approx(number - missing, abs=1e-6), element
    assert phase.source


def test_caveats_say_what_is_not_known():
    assert load_phase("LFP").caveat == ""
    assert load_phase("fp").caveat == ""
    assert "36f" in load_phase("lagp").caveat
    assert "idealised" in load_phase("LVP").caveat


@pytest.mark.parametrize(
    ("alias", "name"), [("lfp", "LiFePO4"), ("Heterosite", "FePO4"), ("Li1.5Al0.5Ge1.5(PO4)3", "LAGP")]
)
def test_aliases(alias, name):
    assert load_phase(alias).name == name


@pytest.mark.parametrize(("name", "group", "order"), [("LFP", 62, 4), ("FP", 62, 4), ("LAGP", 167, 6), ("LVP", 14, 2)])
def test_symmetry(name, group, order):
    phase = load_phase(name)
    assert phase.space_group == group
    rotations = laue_rotations(phase)
    assert len(rotations) == order
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)
    np.testing.assert_allclose(rotations[0], np.eye(3), atol=1e-12)
    # orix has the same rotations, on the same axes
    ours = {tuple(np.round(r, 6).ravel() + 0.0) for r in rotations}
    theirs = point_group(phase).laue_proper_subgroup.to_matrix()
    assert {tuple(np.round(r, 6).ravel() + 0.0) for r in theirs} == ours
    # and they leave the structure factors as they are: exact test of the coordinates too
    vectors = reflections(phase, max_radius=0.5)
    for rotation in rotations:
        turned = np.rint(vectors.vectors @ rotation.T @ cell_axes(phase).T)
        np.testing.assert_allclose(
            np.abs(structure_factors(phase, turned)) ** 2, vectors.intensity, rtol=1e-3, atol=1e-2
        )


def test_monoclinic_axis_is_b_in_orix_too():
    group = point_group(load_phase("lvp"))
    diad = group[(np.abs(group.angle - np.pi) < 1e-6) & ~group.improper]
    np.testing.assert_allclose(np.abs(diad.axis.data), [[0, 1, 0]], atol=1e-9)
    assert group.name == "2/m"


@pytest.mark.parametrize(("number", "across"), [(164, False), (162, True)])
def test_trigonal_axes_are_where_the_space_group_has_them(number, across):
    phase = load_phase("lagp")
    other = replace(phase, name="other", space_group=number)
    x = np.array([1.0, 0.0, 0.0])
    keep_a = (np.abs(laue_rotations(other) @ x - x).max(axis=1) < 1e-9).sum()
    assert keep_a == (1 if across else 2)
    theirs = {tuple(np.round(r, 6).ravel() + 0.0) for r in point_group(other).laue_proper_subgroup.to_matrix()}
    assert theirs == {tuple(np.round(r, 6).ravel() + 0.0) for r in laue_rotations(other)}


@pytest.mark.parametrize(
    ("order", "group"), [("cab", "P b n m"), ("bac", "P m n b"), ("abc", "P n m a"), ("cba", "P c m n")]
)
def test_olivines_come_back_in_pnma(tmp_path, order, group):
    path = tmp_path / "olivine.cif"
    path.write_text(olivine(order, group), "utf-8")
    phase, known = load_phase(path), load_phase("lfp")
    assert phase.space_group == 62
    assert phase.name == "olivine"
    assert phase.cell == pytest.approx(known.cell)
    assert dict(phase.structure.composition) == {"Li": 4, "Fe": 4, "P": 4, "O": 16}
    ours, theirs = reflections(phase, max_radius=0.8), reflections(known, max_radius=0.8)
    order_of = {tuple(h): i for h, i in zip(theirs.indices.tolist(), theirs.intensity, strict=True)}
    assert len(ours) == len(theirs)
    for index, intensity in zip(ours.indices.tolist(), ours.intensity, strict=True):
        assert intensity == pytest.approx(order_of[tuple(index)], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "cation", "number", "shortest", "longest"),
    [
        # certified: sums of Shannon's radii, and for the refined structures their own spread
        *[(name, "P", 4, 1.46, 1.60) for name in NAMES],
        ("LiFePO4", "Fe", 6, 2.0, 2.3),
        ("LiFePO4", "Li", 6, 2.0, 2.3),
        ("FePO4", "Fe", 6, 1.85, 2.25),
        ("LAGP", "Ge", 6, 1.80, 1.95),
        ("Li3V2(PO4)3", "V", 6, 1.88, 2.15),
    ],
)
def test_bonds(name, cation, number, shortest, longest):
    structure = load_phase(name).structure
    base = np.asarray(structure.lattice.base)
    oxygen = np.array([atom.xyz for atom in structure if atom.element == "O"])
    for atom in structure:
        if atom.element == cation:
            apart = oxygen - atom.xyz
            length = np.sort(np.linalg.norm((apart - np.rint(apart)) @ base, axis=1))
            assert shortest < length[0]
            assert length[number - 1] < longest
            assert length[number] > longest + 0.2


def test_strongest_reflections():
    # other program (diffsims, on the sites of another publication, LiFePO4_Pnma_exp of the real data): the five
    # strongest families of LiFePO4 for electrons at 200 kV
    found = reflections(load_phase("lfp"), max_radius=1.0).indices.tolist()
    families = list(dict.fromkeys(tuple(map(abs, index)) for index in found))
    assert families[:5] == [(0, 2, 0), (0, 4, 0), (3, 1, 1), (6, 2, 0), (6, 1, 0)]


def test_extinctions():
    for name in ("lfp", "fp"):
        h, k, l = reflections(load_phase(name), max_radius=1.0).indices.T  # noqa: E741
        assert not ((h == 0) & ((k + l) % 2 == 1)).any()
        assert not ((l == 0) & (h % 2 == 1)).any()
        assert ((k == 0) & ((h + l) % 2 == 1)).any()  # no glide there
    h, k, l = reflections(load_phase("lagp"), max_radius=1.0).indices.T  # noqa: E741
    assert not ((-h + k + l) % 3).any()
    assert not ((h == -k) & (l % 2 == 1)).any()
    h, k, l = reflections(load_phase("lvp"), max_radius=0.8).indices.T  # noqa: E741
    assert not ((k == 0) & ((h + l) % 2 == 1)).any()
    assert not ((h == 0) & (l == 0) & (k % 2 == 1)).any()


def test_a_cell_in_p1_gets_its_symmetry(tmp_path):
    atoms = "\n".join(
        f"{atom.element}{i} {' '.join(f'{value:.4f}' for value in atom.xyz)}"
        for i, atom in enumerate(load_phase("lfp").structure)
    )
    path = tmp_path / "p1.cif"
    path.write_text(
        PBNM.format(name="p1", a=10.334, b=6.010, c=4.693, group="P 1", operations="'x,y,z'", sites=atoms), "utf-8"
    )
    phase = load_phase(path)
    assert phase.space_group == 62
    assert len(phase.structure) == 28
    # one atom moved by 0.3 Å: no symmetry is left, and none is invented
    spoilt = path.read_text("utf-8").replace("P8 0.0949", "P8 0.1249")
    assert spoilt != path.read_text("utf-8")
    path.write_text(spoilt, "utf-8")
    assert load_phase(path).space_group in (1, 6)  # its mirror plane stays


def test_rhombohedral_axes_become_hexagonal(tmp_path):
    # bismuth-like: one atom on the threefold axis, R-3m; construction
    path = tmp_path / "rhombohedral.cif"
    operations = ["x,y,z", "z,x,y", "y,z,x", "y,x,z", "z,y,x", "x,z,y"]
    operations += [",".join(f"-{part}" for part in operation.split(",")) for operation in operations]
    text = PBNM.format(
        name="r",
        a=4.7,
        b=4.7,
        c=4.7,
        group="R -3 m",
        sites="Bi1 0.23 0.23 0.23",
        operations="\n".join(f"'{operation}'" for operation in operations),
    )
    for angle in ("alpha", "beta", "gamma"):
        text = text.replace(f"angle_{angle} 90", f"angle_{angle} 57.2")
    path.write_text(text, "utf-8")
    phase = load_phase(path)
    assert phase.space_group == 166
    assert len(phase.structure) == 6
    a, b, _, *angles = phase.cell
    assert a == pytest.approx(2 * 4.7 * np.sin(np.radians(28.6)))
    assert b == pytest.approx(a)
    assert angles == pytest.approx([90, 90, 120])
    h, k, l = reflections(phase, max_radius=1.0).indices.T  # noqa: E741
    assert not ((-h + k + l) % 3).any()


def test_real_files(shared_data):
    folder = shared_data / "cif" / "amcsd"
    expected = {
        "AMCSD0000269_Heterosite_FePO4": (62, (9.79, 5.83, 4.769)),
        "AMCSD0005979_Triphylite_Fe0.75": (62, (10.341, 6.0166, 4.7006)),
        "AMCSD0000945_Magnetite": (227, (8.3958, 8.3958, 8.3958)),
        "AMCSD0016403_LiGe2P3O12_a": (167, (8.275, 8.275, 20.47)),
    }
    for name, (number, lengths) in expected.items():
        phase = load_phase(folder / f"{name}.cif")
        assert phase.space_group == number
        assert phase.cell[:3] == pytest.approx(lengths)
    # other measurement of the same structures: LFP, FP and LAGP have the sites of these, moved a little
    others = [("lfp", "AMCSD0005979_Triphylite_Fe0.75"), ("fp", "AMCSD0000269_Heterosite_FePO4")]
    for name, file in [*others, ("lagp", "AMCSD0016403_LiGe2P3O12_a")]:
        ours = reflections(load_phase(name), max_radius=0.7)
        theirs = np.abs(structure_factors(load_phase(folder / f"{file}.cif"), ours.indices)) ** 2
        assert np.corrcoef(ours.intensity, theirs)[0, 1] > 0.98


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (("Fe2+", "Xx2+"), CrystalError, "unknown element"),
        (("_cell_length_a 10.334", ""), CrystalError, "_cell_length_a missing"),
        (("_cell_length_a 10.334", "_cell_length_a ?"), CrystalError, "cannot be read"),
        (("_cell_length_a 10.334", "_cell_length_a 0"), CrystalError, "impossible|cannot be read"),
        (("_cell_angle_alpha 90", "_cell_angle_alpha 200"), CrystalError, "impossible|cannot be read"),
        (("_cell_angle_beta 90", "_cell_angle_beta 97"), CrystalError, "symmetry of space group 62"),
        (("_atom_site_label", "_atom_other_label"), CrystalError, "no atoms|cannot be read"),
        (("data_", "dat"), CrystalError, "cannot be read|no atoms"),
    ],
)
def test_errors_name_the_file(tmp_path, change, error, said):
    path = tmp_path / "bad.cif"
    text = olivine("abc", "P n m a")
    assert change[0] in text
    path.write_text(text.replace(*change, 1), "utf-8")
    with pytest.raises(error, match=said) as raised:
        load_phase(path)
    assert "bad.cif" in str(raised.value)


def test_errors_of_names(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.cif"):
        load_phase(tmp_path / "nothing.cif")
    with pytest.raises(FileNotFoundError, match=r"nothing\.cif"):
        load_phase("nothing.cif")
    with pytest.raises(UnknownReferenceError, match=r"LiFePO4 \(LFP"):
        load_phase("nmc")
    with pytest.raises(UnknownReferenceError, match="amorphous"):
        load_phase("carbon black")
    empty = tmp_path / "empty.cif"
    empty.write_text("", "utf-8")
    with pytest.raises(CrystalError, match=r"empty\.cif"):
        load_phase(empty)


def test_scaled_lattice():
    phase = load_phase("lagp")
    scaled = scale_lattice(phase, (1.01, 1.01, 0.98))
    assert scaled.cell == pytest.approx((8.257 * 1.01, 8.257 * 1.01, 20.65 * 0.98, 90, 90, 120))
    assert phase.cell[0] == pytest.approx(8.257)
    assert [atom.element for atom in scaled.structure] == [atom.element for atom in phase.structure]
    with pytest.raises(ValueError, match="scale"):
        scale_lattice(phase, (1.0, 0.0, 1.0))


@pytest.mark.parametrize("name", NAMES)
def test_a_phase_survives_packing(name):
    phase = load_phase(name)
    again = unpack_phase(pack_phase(phase))
    assert (again.name, again.space_group, again.source, again.caveat) == (
        phase.name,
        phase.space_group,
        phase.source,
        phase.caveat,
    )
    assert again.cell == pytest.approx(phase.cell, abs=1e-12)
    indices = reflections(phase, max_radius=0.5).indices
    np.testing.assert_allclose(structure_factors(again, indices), structure_factors(phase, indices))


def test_scattering_factors():
    # exact: the Mott-Bethe limit Z / (2 pi^2 a0) / g^2, of every element
    symbols = list(reference.electron_scattering_table())
    assert len(symbols) == 103
    for z, symbol in enumerate(symbols, start=1):
        a, b = reference.electron_scattering_table()[symbol]
        assert (a / b).sum() == pytest.approx(z / (2 * np.pi**2 * 0.529177210903), rel=1e-8), symbol
    with pytest.raises(UnknownReferenceError, match="Fe"):
        reference.electron_scattering_factor("Xx", np.zeros(1))


def test_scattering_factors_against_the_international_tables():
    # other program's copy of another parametrization (International Tables C, 4.3.2.2, good to s = 2 1/Å)
    xtables = pytest.importorskip("diffsims.utils.atomic_scattering_params").ATOMIC_SCATTERING_PARAMS
    length = np.linspace(0.2, 2.0, 19)
    for symbol in ("Li", "C", "O", "Al", "P", "V", "Fe", "Ge"):
        a, b = np.array(xtables[symbol]).T
        theirs = (a * np.exp(-0.25 * length[:, None] ** 2 * b)).sum(axis=1)
        np.testing.assert_allclose(reference.electron_scattering_factor(symbol, length), theirs, rtol=0.04)
