"""CIFs of strangers: nothing in them is run, and what can be read is read right, in whatever setting it is written."""

import contextlib
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import gemmi
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.acom.crystals.crystal_phase import cell_axes, load_phase
from hyperspy_assb.acom.crystals.kinematical import reflections, structure_factors
from hyperspy_assb.reference.cif import CrystalError, read_cif
from hyperspy_assb.reference.crystal_checks import element_of, element_of_label
from hyperspy_assb.reference.space_groups import setting_of_operations, standard_operations
from hyperspy_assb.simulation.acom.crystal import load_structure

# Without x, y, z, commas and blanks it is one translation of an operation for diffpy, which evaluates it.
PAYLOAD = "__import__('pathlib').Path('ran').touch()"
CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
COLUMNS = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy", "U_iso_or_equiv")
TENSOR = tuple(f"U_{component}" for component in ("11", "22", "33", "12", "13", "23"))
SITES = {  # LiFePO4, source: other publication of the same sites (mission of this project)
    "Li1": (0, 0, 0),
    "Fe1": (0.2822, 0.25, 0.9747),
    "P1": (0.0949, 0.25, 0.4182),
    "O1": (0.0968, 0.25, 0.7428),
    "O2": (0.4571, 0.25, 0.2060),
    "O3": (0.1656, 0.0465, 0.2848),
}
PNMA = [operation.triplet() for operation in gemmi.SpaceGroup("P n m a").operations()]


def quoted(value) -> str:
    return f"\n;{value}\n;" if isinstance(value, str) and value not in ("?", ".") else str(value)


def table(names, rows, prefix="") -> str:
    lines = [" ".join(quoted(value) for value in row) for row in rows]
    return "\n".join(["loop_", *(f"_{prefix}{name}" for name in names), *lines]) + "\n"


def write(path, *, cell=(10.334, 6.010, 4.693, 90, 90, 90), operations=PNMA, sites=None, columns=COLUMNS, extra=""):
    """A CIF; `sites` are rows of `columns`, all values in text fields."""
    symbols = {"L": "Li", "F": "Fe"}
    rows = sites or [(label, symbols.get(label[0], label[0]), *xyz, 1.0, 0.01) for label, xyz in SITES.items()]
    text = "data_a\n" + "".join(f"_cell_{key} {quoted(value)}\n" for key, value in zip(CELL, cell, strict=True))
    if operations:
        text += table(["symmetry_equiv_pos_as_xyz"], [(operation,) for operation in operations])
    path.write_text(text + extra + table(columns, rows, "atom_site_"), "utf-8")
    return path


def hostile(path, key, value):
    """The CIF of LiFePO4 with a value of one key replaced, or added."""
    cell, operations, extra = [10.334, 6.010, 4.693, 90, 90, 90], PNMA, ""
    rows = [["Fe1", "Fe", 0.2822, 0.25, 0.9747, 1.0, 0.01], ["P1", "P", 0.0949, 0.25, 0.4182, 1.0, 0.01]]
    name = key.lower().removeprefix("_atom_site_").removeprefix("_cell_")
    columns = list(COLUMNS)
    if name in CELL:
        cell[CELL.index(name)] = value
    elif "xyz" in key.lower():
        operations, extra = [], table([key[1:]], [("x,y,z",), (value,)])
    elif "aniso" in key:
        tensor = [value if key.endswith(component[1:]) else 0.01 for component in TENSOR]
        extra = table(["label", *(key[-4] + component[1:] for component in TENSOR)], [("Fe1", *tensor)], key[1:-4])
    elif key.startswith("_atom_site_"):
        if name.startswith("b"):
            columns[-1] = name
        place = [column.lower() for column in columns].index(name)
        rows[1][place] = value
    else:
        operations, extra = [], f"{key} {quoted(value)}\n"
    return write(path, cell=cell, operations=operations, sites=rows, columns=columns, extra=extra)


NUMERIC = [
    *(f"_cell_{key}" for key in CELL),
    *(f"_atom_site_{key}" for key in (*COLUMNS[2:], "B_iso_or_equiv")),
    *(f"_atom_site_aniso_{component}" for component in TENSOR),
    "_atom_site_aniso_B_11",
]
OPERATIONS = [
    "_symmetry_equiv_pos_as_xyz",
    "_SYMMETRY_EQUIV_POS_AS_XYZ",
    "_space_group_symop_operation_xyz",
    "_Space_Group_Symop_Operation_XYZ",
    "_space_group_symop.operation_xyz",
]
NAMES = [
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_alt",
    "_space_group_name_H-M_ref",
    "_space_group_name_Hall",
    "_symmetry_space_group_name_Hall",
    "_space_group_IT_number",
    "_symmetry_Int_Tables_number",
    "_atom_site_label",
    "_atom_site_type_symbol",
    "_chemical_formula_sum",
    "_symmetry_cell_setting",
    "_audit_conform_dict_location",
]


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """The file that the payload writes, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    eval(PAYLOAD)  # it is a payload
    marker = tmp_path / "ran"
    marker.unlink()
    return marker


@pytest.mark.parametrize("key", [*NUMERIC, *OPERATIONS, *NAMES])
@pytest.mark.parametrize("form", ["{}", "{}+x,y,z", "0.25*{}", "x,y,z,{}", "(0.25,{})", "0.25({})"])
def test_nothing_in_a_file_is_run(marker, key, form):
    path = hostile(marker.parent / "evil.cif", key, form.format(PAYLOAD))
    if key in NAMES:
        with contextlib.suppress(CrystalError):
            load_phase(path)
    else:
        # Operations are looked for under the last of the names that dictionaries have had for them.
        said = re.escape(key.lower().replace(".", "_")) + " cannot be read"
        with pytest.raises(CrystalError, match=f"(?i)evil.cif.*{said}"):
            load_phase(path)
        with pytest.raises(CrystalError, match=f"(?i){said}"):
            load_structure(str(path))
    assert not marker.exists()


@pytest.mark.parametrize("key", [*NUMERIC, OPERATIONS[0], OPERATIONS[2]])
@pytest.mark.parametrize(
    "value",
    [
        "1" * 10**6,
        "0." + "0" * 10**6 + "1",
        "(" * 10**5 + ")" * 10**5,
        "[" * 10**5,
        "x" + "+x" * 10**5 + ",y,z",
        "1e999",
        "1e999999999",
        "1/0",
        "1//2",
        "-1e7",
        "nan",
        "inf",
        "0x10",
        "1_0",
        "٣",
        "1²",
        "--1",
        "1,5",
        "x,y",
        "x,y,z,z",
        "xy,y,z",
        "x+1/0,y,z",
        "x+99999999999,y,z",
        "2*x,y,z",
        "x**9**9,y,z",
        "",
    ],
)
def test_values_that_are_no_numbers_are_named(tmp_path, key, value):
    path = hostile(tmp_path / "odd.cif", key, value)
    with pytest.raises(CrystalError, match=rf"(?i)odd\.cif: {re.escape(key)} cannot be read") as raised:
        load_phase(path)
    assert len(str(raised.value)) < len(str(path)) + 200


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("_cell_length_a", "-10.3", "impossible"),
        ("_cell_length_a", "99999", "too large"),
        ("_cell_length_a", "9000.0", "too large"),
        ("_cell_angle_beta", "0.001", "impossible"),
        ("_cell_angle_beta", "180", "impossible"),
        ("_atom_site_occupancy", "-0.5", "'P1' has an impossible occupancy"),
        ("_atom_site_occupancy", "1000", "'P1' has an impossible occupancy"),
        ("_atom_site_U_iso_or_equiv", "-5", "'P1' has an impossible occupancy or displacement"),
        ("_atom_site_U_iso_or_equiv", "99999", "'P1' has an impossible occupancy or displacement"),
        ("_atom_site_type_symbol", "Qq" * 10**5, "'P1' has an unknown element 'Qq"),
        ("_symmetry_equiv_pos_as_xyz", "x,x,x", "not those of a known space group"),
        ("_symmetry_equiv_pos_as_xyz", "y,x,z+1/3", "not those of a known space group"),
        ("_symmetry_equiv_pos_as_xyz", "x+1/5,y,z", "cannot be read"),
        ("_symmetry_Int_Tables_number", "231", "no known space group"),
        ("_symmetry_Int_Tables_number", "9" * 10**5, "no known space group"),
        ("_symmetry_space_group_name_H-M", "P" * 10**6, "no known space group"),
        ("_symmetry_space_group_name_Hall", "P 2 (x+1/0,y,z)", "no known space group"),
    ],
)
def test_values_that_no_crystal_has_are_named(tmp_path, key, value, said):
    with pytest.raises(CrystalError, match=rf"odd\.cif.*{said}"):
        load_phase(hostile(tmp_path / "odd.cif", key, value))


def test_files_that_would_fill_the_memory_are_refused(tmp_path):
    path = tmp_path / "large.cif"
    shifts = [f"x+{i}/24,y+{j}/24,z+{k}/24" for i, j, k in product(range(24), repeat=3)]
    with pytest.raises(CrystalError, match="too many"):
        load_phase(write(path, operations=["x,y,z", *shifts]))
    sites = [("Fe1", "Fe", *np.random.default_rng(i).random(3), 1.0, 0.0) for i in range(2000)]
    with pytest.raises(CrystalError, match="too many"):
        load_phase(write(path, sites=sites))
    path.write_text("data_a\n" + "".join(f"_key{i} {i}\n" for i in range(50_000)), "utf-8")
    with pytest.raises(CrystalError, match="no atoms"):
        load_phase(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data_a\n_cell_length_a\n;\nnever ended", "line 4"),
        ("data_a\n_cell_length_a 'open\n", "line 2"),
        ("data_a\nloop_\n_a\n_b\n1 2 3\n", "Wrong number of values"),
        ("data_a\n" + "save_b\n" * 3000, "line 3"),
        ("#\\#CIF_2.0\ndata_a\n_b " + "[" * 50_000, "line 3|no atoms"),
        ("data_a\n_b \x00\n", "line 2"),
        ("{}", "data_"),
    ],
)
def test_files_that_are_no_cif(tmp_path, text, said):
    path = tmp_path / "broken.cif"
    path.write_text(text, "utf-8")
    with pytest.raises(CrystalError, match=rf"broken\.cif.*({said})"):
        load_phase(path)


def test_the_parser_that_evaluates_is_not_there(tmp_path):
    path = write(tmp_path / "lfp.cif")
    code = f"""
import sys
from hyperspy_assb.acom.crystals.crystal_phase import load_phase
from hyperspy_assb.simulation.acom.crystal import load_structure
load_phase({str(path)!r}), load_structure({str(path)!r})
print([name for name in sys.modules if name == "CifFile" or name.endswith("p_cif")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    # nor is any other reader of crystals that orix, diffsims and diffpy have
    for file in Path(hyperspy_assb.__file__).parent.rglob("*.py"):
        assert not re.search(r"from_cif|p_cif|loadStructure|CifFile|getParser", file.read_text("utf-8"), re.I), file


def test_every_way_to_write_a_number(tmp_path):
    plain = load_phase(write(tmp_path / "plain.cif"))
    ways = {0.25: ["1/4", ".25", "+0.250", "2.5e-1", "0.25(3)", "25.E-2"], 1.0: ["1", "1.000(12)", "1.", "?", "."]}
    turn = dict.fromkeys(ways, 0)
    rows = []
    for label, xyz in SITES.items():
        row = [label, re.sub(r"\d", "", label), *xyz, 1.0, 0.01]
        for i, value in enumerate(row):
            if value in ways and (value != 1.0 or i == 5):
                row[i] = ways[value][turn[value] % len(ways[value])]
                turn[value] += 1
        rows.append(row)
    operations = [operation.upper().replace("1/2", "0.5") for operation in PNMA[:4]]
    operations += [re.sub(r"([-+]?)([xyz])\+1/2", r" 1/2 \1\2", f"{o}").replace(" x", "+x") for o in PNMA[4:]]
    operations = [re.sub(r" 1/2 ([xyz])", r"1/2+\1", operation) for operation in operations]
    other = load_phase(
        write(
            tmp_path / "other.cif",
            operations=operations,
            sites=rows,
            cell=("10.334(2)", *["6.010", "4.693", "90.", "9e1", "+90"]),
        )
    )
    indices = reflections(plain, max_radius=0.8).indices
    assert other.space_group == 62
    np.testing.assert_allclose(structure_factors(other, indices), structure_factors(plain, indices), atol=1e-9)


def test_thirds_of_three_digits(tmp_path):
    # exact: C of graphite at 1/3, 2/3, written 0.333, 0.667, is one atom and on its place
    operations = [operation.triplet() for operation in gemmi.SpaceGroup("P 63/m m c").operations()]
    cell = (2.464, 2.464, 6.711, 90, 90, 120)
    rows = {
        digits: [
            ("C1", "C", 0, 0, 0.25, 1.0, 0.0),
            ("C2", "C", round(1 / 3, digits), round(2 / 3, digits), 0.25, 1.0, 0.0),
        ]
        for digits in (3, 9)
    }
    short, exact = (
        load_phase(write(tmp_path / "c.cif", cell=cell, operations=operations, sites=row)) for row in rows.values()
    )
    assert len(short.structure) == len(exact.structure) == 4
    np.testing.assert_allclose(sorted(short.structure.xyz.tolist()), sorted(exact.structure.xyz.tolist()), atol=1e-8)
    # decimal translations, too
    rough = [operation.replace("1/2", ".5") for operation in operations]
    assert load_phase(write(tmp_path / "c.cif", cell=cell, operations=rough, sites=rows[3])).space_group == 194


def test_displacements(tmp_path):
    # exact: Ueq of R. X. Fischer, E. Tillmanns, Acta Cryst. C44, 775 (1988), on hexagonal axes
    cell, tensor = (5.0, 5.0, 13.0, 90, 90, 120), (0.00656, 0.008, 0.00442, 0.00405, 0.00177, 0.00365)
    sites = [("O1", "O", 0.1, 0.2, 0.3, 1.0, "?"), ("Fe1", "Fe", 0.4, 0.1, 0.7, 1.0, 0.02)]
    extra = table(["label", *TENSOR], [("O1", *tensor)], "atom_site_aniso_")
    u11, u22, u33, u12, *_ = tensor
    expected = {"O": (4 / 3 * (u11 + u22 - u12) + u33) / 3, "Fe": 0.02}
    found = read_cif(
        write(tmp_path / "u.cif", cell=cell, operations=["x,y,z"], sites=sites, extra=extra).read_text(), "u"
    )
    assert dict(zip(found.elements, found.amounts[:, 1], strict=True)) == pytest.approx(expected, rel=1e-12)
    columns = (*COLUMNS[:-1], "B_iso_or_equiv")
    rows = [(*row[:-1], 8 * np.pi**2 * 0.02) for row in sites]
    found = read_cif(write(tmp_path / "b.cif", operations=["x,y,z"], sites=rows, columns=columns).read_text(), "b")
    np.testing.assert_allclose(found.amounts[:, 1], 0.02)


def test_atoms_that_were_not_located_are_told(tmp_path):
    sites = [(label, re.sub(r"\d", "", label), *xyz, 1.0, 0.0) for label, xyz in SITES.items()]
    sites[0] = ("Li1", "Li", "?", "?", "?", 1.0, 0.0)
    phase = load_phase(write(tmp_path / "a.cif", sites=sites))
    assert "Li1" in phase.caveat
    assert dict(phase.structure.composition) == {"Fe": 4, "P": 4, "O": 16}
    with pytest.raises(CrystalError, match="no atoms"):
        load_phase(write(tmp_path / "a.cif", sites=sites[:1]))


def test_a_file_of_several_structures_tells_which_is_taken(tmp_path):
    first, second = (write(tmp_path / name).read_text("utf-8") for name in "ab")
    path = tmp_path / "two.cif"
    path.write_text("data_global\n_publ_author_name 'A B'\n" + first + second.replace("data_a", "data_b"), "utf-8")
    phase = load_phase(path)
    assert "2 structures" in phase.caveat
    assert "first, a," in phase.caveat


@pytest.mark.parametrize(
    ("label", "element"),
    [("Wat1", "O"), ("HO1", "H"), ("H2O", "O"), ("OW1", "O"), ("OH1", "O"), ("Ho1", "Ho"), ("FE1", "Fe")],
)
def test_labels_without_symbols(tmp_path, label, element):
    columns = COLUMNS[:1] + COLUMNS[2:5]
    path = write(
        tmp_path / "a.cif", operations=["x,y,z"], columns=columns, sites=[("P1", 0, 0, 0), (label, 0.3, 0.2, 0.1)]
    )
    assert [atom.element for atom in load_phase(path).structure] == ["P", element]
    path = write(tmp_path / "a.cif", operations=["x,y,z"], sites=[("HO1", "HO3+", 0, 0, 0, 1.0, 0.0)])
    assert load_phase(path).structure[0].element == "Ho"


SPINEL = [
    ("Li1", "Li", 0.125, 0.125, 0.125, 1.0, 0.0),
    ("Mn1", "Mn", 0.5, 0.5, 0.5, 1.0, 0.0),
    ("O1", "O", *[0.2625] * 3, 1.0, 0.0),
]


@pytest.mark.parametrize(
    ("name", "manganese", "told"),
    [
        ("_space_group_name_H-M_alt 'F d -3 m :2'", 16, False),
        ("_symmetry_space_group_name_H-M 'F d -3 m Z'", 16, False),
        ("_symmetry_space_group_name_H-M 'Fd-3m:2'", 16, False),
        ("_symmetry_space_group_name_H-M 'F d -3 m S'", 8, False),
        ("_symmetry_space_group_name_Hall '-F 4vw 2vw 3'", 16, False),
        ("_symmetry_space_group_name_H-M 'F d -3 m'\n_chemical_formula_sum 'Li Mn2 O4'", 16, False),
        ("_space_group_IT_number 227\n_chemical_formula_sum 'Li4 Mn8 O16'", 16, False),
        ("_symmetry_space_group_name_H-M 'F d -3 m'", 8, True),
        ("_space_group_IT_number 227", 8, True),
    ],
)
def test_origins(tmp_path, name, manganese, told):
    # exact: LiMn2O4 has Li on 8a and Mn on 16d of origin choice 2; on choice 1 they would be exchanged
    phase = load_phase(
        write(tmp_path / "a.cif", cell=(8.24, 8.24, 8.24, 90, 90, 90), operations=[], sites=SPINEL, extra=name + "\n")
    )
    assert phase.space_group == 227
    assert phase.structure.composition["Mn"] == manganese
    assert ("origin" in phase.caveat) == told


def test_names_of_space_groups(tmp_path):
    sites = [("Fe1", "Fe", 0.1, 0.2, 0.37, 1.0, 0.0)]

    def number(name, cell=(5, 5, 5, 90, 90, 90)):
        extra = f"_symmetry_space_group_name_H-M {quoted(name)}\n"
        phase = load_phase(write(tmp_path / "a.cif", cell=cell, operations=[], sites=sites, extra=extra))
        return phase.space_group, len(phase.structure)

    assert number("P b n m") == number("P 21/b 21/n 21/m") == number("Pnma") == (62, 8)
    assert number("F 4/m -3 2/m") == number("Fm-3m") == (225, 192)
    assert number("P 21/n") == number("P 1 21/n 1") == number("P2_1/c") == (14, 4)
    assert number("R -3 c", (5, 5, 13, 90, 90, 120)) == number("R -3 c H", (5, 5, 13, 90, 90, 120)) == (167, 36)
    assert number("R -3 c", (5, 5, 5, 57, 57, 57)) == number("R -3 c :R", (5, 5, 5, 57, 57, 57)) == (167, 36)
    extra = "_symmetry_Int_Tables_number 14\n_symmetry_space_group_name_H-M 'P n m a'\n"
    path = write(tmp_path / "a.cif", operations=[], extra=extra)
    with pytest.raises(CrystalError, match="is not space group 14"):
        load_phase(path)


def test_listed_operations_count_for_more_than_names(tmp_path, shared_data):
    # certified: Fe-O 1.887 (tetrahedra) and 2.059 Å (octahedra) of magnetite (Wechsler et al., Am. Mineral. 69, 754
    # (1984)); its operations are those of origin choice 2, its name says nothing
    phase = load_phase(shared_data / "cif" / "amcsd" / "AMCSD0000945_Magnetite.cif")
    places, elements = phase.structure.xyz, np.array(phase.structure.element)
    apart = places[elements == "Fe"][:, None] - places[elements == "O"]
    lengths = np.sort(np.linalg.norm((apart - np.rint(apart)) * phase.cell[0], axis=2), axis=1)
    octahedra = lengths[:, 4] < 2.5
    assert octahedra.sum() == 16
    assert lengths[octahedra, :6] == pytest.approx(2.06, abs=0.01)
    assert lengths[~octahedra, :4] == pytest.approx(1.89, abs=0.01)


@pytest.mark.parametrize("number", range(1, 231))
def test_every_space_group_comes_back_from_any_axes(number):
    rng = np.random.default_rng(number)
    rotations, translations = standard_operations(number)
    # a metric of the group, at random
    base = np.diag([5.1, 6.3, 7.9]) + rng.normal(scale=0.4, size=(3, 3))
    metric = np.mean(rotations.transpose(0, 2, 1) @ (base @ base.T) @ rotations, axis=0)
    # in its own setting, wherever the origin is, it stays
    origin = rng.random(3)
    moved = translations + origin - rotations @ origin
    found, change = setting_of_operations((rotations, moved), metric)
    assert found == number
    np.testing.assert_array_equal(change, np.eye(3))
    # on skew axes, and in the primitive cell, it comes back
    primitive = np.array(gemmi.find_spacegroup_by_number(number).centred_to_primitive().float_seitz())[:3, :3]
    for axes in (np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]]), primitive):
        inverse = np.linalg.inv(axes)
        turned = np.rint(inverse @ rotations @ axes).astype(np.int64)
        shifted = np.round(np.round(moved @ inverse.T, 6) % 1.0, 6) % 1.0
        unique = np.unique(np.concatenate([turned.reshape(-1, 9), shifted], axis=1), axis=0)
        operations = unique[:, :9].reshape(-1, 3, 3).astype(np.int64), unique[:, 9:]
        found, change = setting_of_operations(operations, axes.T @ metric @ axes)
        assert found == number
        total = axes @ change
        assert np.linalg.det(total) == pytest.approx(1.0)
        standard = {tuple(r.ravel()) for r in rotations}
        assert {tuple(np.rint(np.linalg.inv(total) @ r @ total).astype(int).ravel()) for r in rotations} == standard


def spacings(phase):
    """|F| per volume of the strongest reflections by their lengths: what does not depend on axes."""
    found = reflections(phase, max_radius=0.7)
    volume = np.linalg.det(cell_axes(phase))
    length = np.round(np.linalg.norm(found.vectors, axis=1), 4)
    return {g: found.intensity[length == g].sum() / volume**2 for g in np.unique(length)}


def written_out(phase, axes, noise=0.0):
    """Rows of all atoms in a cell with other axes (columns, on those of the phase), and that cell."""
    base = axes.T @ cell_axes(phase)
    lengths = np.linalg.norm(base, axis=1)
    cosines = [base[i] @ base[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    inverse, rows, rng = np.linalg.inv(axes), [], np.random.default_rng(1)
    points = np.array(list(product(range(-4, 5), repeat=3)))
    for atom in phase.structure:
        places = (atom.xyz + points) @ inverse.T
        inside = places[((places > -1e-6) & (places < 1.0 - 1e-6)).all(axis=1)]
        rows += [(atom.element, atom.element, *place, atom.occupancy, 0.0) for place in inside]
    moved = rng.uniform(-noise, noise, size=(len(rows), 3)) @ np.linalg.inv(base)
    rows = [(*row[:2], *(row[2:5] + move), *row[5:]) for row, move in zip(rows, moved, strict=True)]
    return rows, (*lengths, *np.degrees(np.arccos(cosines)))


@pytest.mark.parametrize(
    ("name", "axes", "noise"),
    [
        ("lfp", np.diag([1, 2, 2]), 0.0),
        ("lfp", np.diag([1, 2, 1]), 0.01),
        ("lfp", np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), 0.01),
        ("lagp", np.array([[2, -1, -1], [1, 1, -2], [1, 1, 1]]) / 3.0, 0.0),
        ("lvp", np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]]), 0.01),
        ("fcc", np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2.0, 0.0),
        ("fcc", np.diag([2, 1, 1]), 0.01),
    ],
)
def test_cells_that_programs_write_in_p1(tmp_path, name, axes, noise):
    # exact: supercells, primitive cells and other axes of one crystal
    if name == "fcc":
        operations = [operation.triplet() for operation in gemmi.SpaceGroup("F m -3 m").operations()]
        sites = [("Na", "Na", 0, 0, 0, 1.0, 0.0), ("Cl", "Cl", 0.5, 0.5, 0.5, 1.0, 0.0)]
        name = write(tmp_path / "fcc.cif", cell=(5.64,) * 3 + (90,) * 3, operations=operations, sites=sites)
    known = load_phase(name)
    for atom in known.structure:
        atom.Uisoequiv = 0.0
    rows, cell = written_out(known, axes, noise)
    phase = load_phase(write(tmp_path / "p1.cif", cell=cell, operations=["x,y,z"], sites=rows))
    assert phase.space_group == known.space_group
    assert len(phase.structure) == len(known.structure)
    if known.space_group != 14:  # whose cell choice is that of the file
        assert phase.cell == pytest.approx(known.cell, abs=1e-5)
    found, expected = spacings(phase), spacings(known)
    for length in sorted(expected, key=expected.get)[-20:]:
        near = sum(value for g, value in found.items() if abs(g - length) < 2e-4)
        also = sum(value for g, value in expected.items() if abs(g - length) < 2e-4)
        assert near == pytest.approx(also, rel=1e-6 if noise == 0.0 else 0.05)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_operations_that_are_not_those_of_the_stated_group(tmp_path, count):
    for stated in (
        "_symmetry_space_group_name_H-M 'P n m a'",
        "_symmetry_Int_Tables_number 62",
        "_space_group_name_Hall '-P 2ac 2n'",
    ):
        path = write(tmp_path / "cut.cif", operations=PNMA[:count], extra=stated + "\n")
        with pytest.raises(
            CrystalError, match=rf"cut\.cif: {stated.split()[0].lower()} .*62, but the {count} symmetry"
        ):
            load_phase(path)
        assert load_phase(write(path, extra=stated + "\n")).caveat == ""


def test_stated_groups_that_are_not_one(tmp_path):
    inversion = "_symmetry_Int_Tables_number 225\n"
    with pytest.raises(CrystalError, match=r"225.*make space group 2:"):
        load_phase(write(tmp_path / "a.cif", operations=["x,y,z", "-x,-y,-z"], extra=inversion))
    two = "_space_group_name_Hall 'P 1'\n_symmetry_space_group_name_H-M 'P n m a'\n"
    for operations in ([], PNMA):
        with pytest.raises(CrystalError, match=r"a\.cif: .*'P n m a' is not space group 1, which .*'P 1' is"):
            load_phase(write(tmp_path / "a.cif", operations=operations, extra=two))


@pytest.mark.parametrize(("formula", "told"), [("Fe Li O4 P", False), ("Fe4 Li4 O16 P4", False), ("Fe O4 P", True)])
def test_a_formula_that_is_not_that_of_the_atoms(tmp_path, formula, told):
    extra = f"_chemical_formula_sum '{formula}'\n"
    caveat = load_phase(write(tmp_path / "sum.cif", extra=extra)).caveat
    assert (f"sum.cif: _chemical_formula_sum is {formula}, but the atoms in the cell are Li4 Fe4" in caveat) == told
    assert told or caveat == ""
    cut = load_phase(write(tmp_path / "sum.cif", operations=PNMA[:4], extra=extra))
    assert "Li4 Fe4 P4 O12" in cut.caveat


@pytest.mark.parametrize("symbol", ["Li0.5Fe0.5", "Fe/Mn", "CO3", "PO4", "VO", "NO3", "Qq", "FeA", "OW", "2", "Fe2+x"])
def test_symbols_of_more_than_one_element(tmp_path, symbol):
    assert element_of(symbol) is None
    sites = [("M1", symbol, 0.1, 0.2, 0.3, 1.0, 0.01)]
    with pytest.raises(CrystalError, match=r"a\.cif: atom 'M1' has an unknown element"):
        load_phase(write(tmp_path / "a.cif", operations=["x,y,z"], sites=sites))


def test_symbols_and_labels_of_one_element():
    symbols = {"Fe": "Fe", "FE": "Fe", "Fe2+": "Fe", "O2-": "O", "Fe+3": "Fe", "V2.5+": "V", "Li1": "Li", "7Li": "Li"}
    symbols |= {"D": "H", "Fe0+": "Fe", "HO3+": "Ho", "Co": "Co", "Po": "Po", "NI": "Ni"}
    assert {symbol: element_of(symbol) for symbol in symbols} == symbols
    labels = {"Fe1": "Fe", "FeA": "Fe", "O1A": "O", "O(2)": "O", "Fe(tet)": "Fe", "C1'": "C", "Li1_2": "Li", "OB1": "O"}
    labels |= {"Co3": "Co", "No1": "No", "Os1": "Os", "Fe3+": "Fe", "SI1": "Si", "D1": "H"}
    assert {label: element_of_label(label) for label in labels} == labels
    for label in ("NO3", "PO4", "OSi", "CO3", "VO", "Fe/Mn", "Li0.5Fe0.5", "Fe1Mn1", "OCo"):
        assert element_of_label(label) is None, label
    # The formula tells.
    assert element_of_label("CO1", {"Li": 1, "Co": 1, "O": 2}) == "Co"
    assert element_of_label("CO1", {"Ca": 1, "C": 1, "O": 3}) is None


@pytest.mark.parametrize(
    ("sites", "told"),
    [
        ([("P1", "P", 0.5, 0.5, 0.5, 1.0, -0.01)], "negative displacement: P1"),
        ([("P1", "P", 0.5, 0.5, 0.5, 1.2, 0.0)], "occupancy above 1: P1"),
        ([("P1", "P", 0.03, 0, 0, 1.0, 0.0)], "nearer to one another than any can be: Fe1 and P1 (0.12 Å)"),
        ([("P1", "P", 0.03, 0, 0, 0.5, 0.0)], ""),
        ([("P1", "P", 0.5, 0.5, 0.5, 1.0, 0.0)], ""),
    ],
)
def test_odd_atoms_are_told(tmp_path, sites, told):
    sites = [("Fe1", "Fe", 0, 0, 0, 1.0, 0.0), *sites]
    path = write(tmp_path / "a.cif", cell=(4, 4, 4, 90, 90, 90), operations=["x,y,z"], sites=sites)
    caveat = load_phase(path).caveat
    assert told in caveat
    assert told or caveat == ""


def test_atoms_in_one_place(tmp_path):
    def load(*occupancies, elements=("Fe", "Mn", "Mg")):
        sites = [(e + "1", e, 0.1, 0.2, 0.3, o, 0.0) for e, o in zip(elements, occupancies, strict=False)]
        return load_phase(write(tmp_path / "a.cif", cell=(3, 3, 3, 90, 90, 90), operations=["x,y,z"], sites=sites))

    assert load(0.5, 0.3, 0.2).caveat == ""
    for occupancies, total in (((1, 1), "2"), ((0.5, 0.5, 0.5), "1.5")):
        with pytest.raises(CrystalError, match=rf"a\.cif: the atoms Fe1, Mn1.* are in one place.* add up to {total}:"):
            load(*occupancies)
    # an atom that an operation makes, too
    sites = [("O1", "O", 0.1, 0.2, 0.3, 1.0, 0.0), ("O2", "O", -0.1, -0.2, -0.3, 1.0, 0.0)]
    with pytest.raises(CrystalError, match="the atoms O1, O2 are in one place"):
        load_phase(write(tmp_path / "a.cif", operations=["x,y,z", "-x,-y,-z"], sites=sites))


def test_a_cell_in_nm_is_told(tmp_path):
    sites = [(label, label[:-1], *xyz, 1.0, 0.01) for label, xyz in SITES.items()]
    path = write(tmp_path / "nm.cif", cell=(1.0334, 1.2020, 1.4079, 90, 90, 90), operations=["x,y,z"], sites=sites)
    assert "An atom such as Li1 has 0.29 Å³ in the cell" in load_phase(path).caveat


def test_too_many_atoms_in_p1_are_refused_at_once(tmp_path):
    places = np.array(list(product(range(20), repeat=3))) / 20
    sites = [("Fe1", "Fe", *place, 1.0, 0.0) for place in places]
    path = write(tmp_path / "big.cif", cell=(56, 56, 56, 90, 90, 90), operations=["x,y,z"], sites=sites)
    with pytest.raises(CrystalError, match=r"big\.cif: 8000 atoms in P1 are too many"):
        load_phase(path)
