"""Spots and banks of templates: against diffsims, by construction, and on disk."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import orix.quaternion
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.spatial import cKDTree

import hyperspy_assb
from hyperspy_assb.acom import BankOptions, simulate_bank
from hyperspy_assb.acom.crystals.crystal_phase import AtomSite, laue_rotations, load_phase, scale_lattice, to_orix
from hyperspy_assb.acom.crystals.frames import matrices, turn_pattern
from hyperspy_assb.acom.crystals.kinematical import (
    Diffraction,
    electron_wavelength,
    precession_average,
    reflections,
    simulate_spots,
    strain_reflections,
    structure_factors,
)
from hyperspy_assb.acom.templates.bank import TemplateBank, bank_in_stages, mirror

NAMES = ("lfp", "fp", "lagp", "lvp")
PBNM = """data_triphylite
_cell_length_a 4.693
_cell_length_b 10.334
_cell_length_c 6.010
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_symmetry_equiv_pos_as_xyz
'x,y,z'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{sites}
"""
UNIT = st.floats(-1.0, 1.0)
QUATERNION = st.tuples(UNIT, UNIT, UNIT, UNIT).filter(lambda q: np.linalg.norm(q) > 0.1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of their own: what others left on this machine is neither read nor changed."""
    monkeypatch.setenv("HYPERSPY_ASSB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "templates"


@pytest.fixture(scope="module")
def bank():
    return simulate_bank(["lfp", "lvp"], resolution=4.0, cache=False)


def orientations(rng, number):
    found = rng.normal(size=(number, 4))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def spots_of(found, n):
    count = found.count[n]
    return np.stack([found.x[n], found.y[n], found.intensity[n]], axis=1)[:count]


def same_spots(one, other, atol=1e-9):
    """Whether two lists of x, y, intensity hold the same spots in any order."""
    assert len(one) == len(other)
    distance, place = cKDTree(one[:, :2]).query(other[:, :2])
    assert distance.max() < atol
    np.testing.assert_allclose(one[place, 2], other[:, 2], rtol=1e-6, atol=1e-9 * one[:, 2].max())


# --- construction


def test_wavelength():
    # certified: Kirkland's table, 200 kV 0.02508 Å, 300 kV 0.01969 Å, 100 kV 0.03701 Å
    assert electron_wavelength(200.0) == pytest.approx(0.02508, abs=5e-6)
    assert electron_wavelength(300.0) == pytest.approx(0.01969, abs=5e-6)
    assert electron_wavelength(100.0) == pytest.approx(0.03701, abs=5e-6)


@pytest.mark.parametrize("excitation", [0.0, 0.004, -0.011, 0.03])
@pytest.mark.parametrize("spread", [0.0, 0.002, 0.01, 0.02])
def test_precession_average_is_the_integral(excitation, spread):
    width = 0.006

    def shining(theta):
        return width**2 / ((excitation + spread * np.cos(theta)) ** 2 + width**2)

    expected = quad(shining, 0.0, np.pi, epsabs=1e-12)[0] / np.pi
    assert precession_average(excitation, spread, width) == pytest.approx(expected, rel=1e-8)


def test_absolute_frame_by_hand():
    # Orientation by hand: specimen x is the crystal's b, specimen y its c, specimen z (against the beam) its a.
    found = simulate_spots(
        load_phase("lfp"),
        orix.quaternion.Rotation.from_matrix([[0, 0, 1], [1, 0, 0], [0, 1, 0]]).data,
        diffraction=Diffraction(),
    )
    place = {tuple(np.round(xy, 6)) for xy in spots_of(found, 0)[:, :2]}
    b, c = 6.010, 4.693
    assert (round(2 / b, 6), 0.0) in place  # 020
    assert (round(1 / b, 6), round(1 / c, 6)) in place  # 011
    assert (0.0, round(1 / c, 6)) not in place  # 001 is extinct


def test_structure_factor_of_rock_salt():
    # exact: h k l all even: 4 (f1 + f2), all odd: 4 (f1 - f2), mixed: 0
    phase = load_phase("lfp")
    sites = [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    atoms = [AtomSite("Li", *site) for site in sites] + [AtomSite("O", *np.add(site, 0.5) % 1.0) for site in sites]
    salt = replace(phase, atoms=tuple(atoms))
    index = np.array([[2, 0, 0], [1, 1, 1], [2, 1, 0]])
    length = np.linalg.norm(index / np.array([10.334, 6.010, 4.693]), axis=1)
    li, o = (hyperspy_assb.reference.electron_scattering_factor(e, length) for e in ("Li", "O"))
    np.testing.assert_allclose(
        structure_factors(salt, index), 4 * np.array([1, 1, 0]) * (li + [1, -1, 0] * o), atol=1e-9
    )


def test_friedel_pairs_are_neighbours():
    found = reflections(load_phase("lagp"), max_radius=0.7)
    np.testing.assert_array_equal(found.indices[0::2], -found.indices[1::2])
    assert (np.diff(found.intensity) <= 0).all()
    assert len(np.unique(found.indices, axis=0)) == len(found)
    np.testing.assert_allclose(np.abs(structure_factors(load_phase("lagp"), found.indices)) ** 2, found.intensity)


@given(QUATERNION, st.floats(-np.pi, np.pi))
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("name", ["lfp", "lvp"])
def test_turned_and_mirrored_patterns(name, quaternion, angle):
    orientation = np.array([quaternion]) / np.linalg.norm(quaternion)
    phase = load_phase(name)
    diffraction = Diffraction(max_radius=0.8)
    first = spots_of(simulate_spots(phase, orientation, diffraction=diffraction), 0)
    turned = spots_of(simulate_spots(phase, turn_pattern(orientation, np.array([angle])), diffraction=diffraction), 0)
    cosine, sine = np.cos(angle), np.sin(angle)
    expected = first.copy()
    expected[:, :2] = first[:, :2] @ np.array([[cosine, sine], [-sine, cosine]])
    same_spots(turned, expected)
    same_spots(spots_of(simulate_spots(phase, mirror(orientation), diffraction=diffraction), 0), first * [1, -1, 1])
    # the zone axis of the mirror image is the opposite one
    np.testing.assert_allclose(matrices(mirror(orientation))[0, :, 2], -matrices(orientation)[0, :, 2], atol=1e-12)


@given(QUATERNION)
@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("name", ["lfp", "lagp", "lvp"])
def test_equivalent_orientations_have_one_pattern(name, quaternion):
    phase = load_phase(name)
    rotation = orix.quaternion.Rotation(np.array([quaternion]) / np.linalg.norm(quaternion))
    diffraction = Diffraction(max_radius=0.6)
    first = spots_of(simulate_spots(phase, rotation.data, diffraction=diffraction), 0)
    for symmetry in laue_rotations(phase)[1:]:
        other = (orix.quaternion.Rotation.from_matrix(symmetry) * rotation).data
        same_spots(spots_of(simulate_spots(phase, other, diffraction=diffraction), 0), first, atol=1e-6)


def test_strained_lattice():
    phase, scale = load_phase("lfp"), (0.95, 0.963, 1.019)
    orientation = orientations(np.random.default_rng(3), 3)
    strained = simulate_spots(phase, orientation, lattice_scale=scale)
    whole = simulate_spots(scale_lattice(phase, scale), orientation)
    known = reflections(phase, max_radius=1.5)
    moved = strain_reflections(known, phase, scale)
    np.testing.assert_allclose(
        np.linalg.norm(moved.vectors, axis=1),
        np.linalg.norm(known.indices / (np.array([10.334, 6.010, 4.693]) * scale), axis=1),
    )
    for n in range(3):
        inner = spots_of(strained, n)[strained.radius[n, : strained.count[n]] < 1.3]
        distance, _ = cKDTree(spots_of(whole, n)[:, :2]).query(inner[:, :2])
        assert distance.max() < 1e-9


# --- another program


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_spots_against_diffsims(name, angle, rng):
    # other program: same table, same rods, and the cone as diffsims has it (exact for small angles): all must agree
    generators = pytest.importorskip("diffsims.generators.simulation_generator")
    phase, orientation = load_phase(name), orientations(rng, 3)
    cut, radius = 0.02, 1.0
    # On oblique axes diffsims leaves out reflections near the radius (it looks for the longest h00, 0k0, 00l).
    theirs = generators.SimulationGenerator(200, precession_angle=angle).calculate_diffraction2d(
        to_orix(phase),
        orix.quaternion.Rotation(orientation),
        reciprocal_radius=1.25,
        with_direct_beam=False,
        max_excitation_error=cut,
    )
    diffraction = Diffraction(
        precession_angle=angle, max_radius=radius, excitation_width=cut / np.pi, max_excitation_error=cut
    )
    ours = simulate_spots(phase, orientation, diffraction=diffraction)
    for n in range(3):
        spots = theirs.coordinates[n]
        inside = np.linalg.norm(spots.data, axis=1) <= radius
        place, intensity = spots.data[inside, :2], spots.intensity[inside]
        strong = intensity > 1e-6 * intensity.max()
        found = spots_of(ours, n)
        assert (found[:, 2] > 1e-6 * found[:, 2].max()).sum() == strong.sum() > 10
        distance, nearest = cKDTree(found[:, :2]).query(place[strong])
        assert distance.max() < 1e-4
        ratio = intensity[strong] / found[nearest, 2]
        np.testing.assert_allclose(ratio / ratio[0], 1.0, rtol=1e-4)


def test_approximate_precession_against_the_numerical_one(rng):
    # other program: diffsims integrates the rod over the cone by quadrature
    generators = pytest.importorskip("diffsims.generators.simulation_generator")
    phase, orientation = load_phase("lfp"), orientations(rng, 1)
    generator = generators.SimulationGenerator(200, precession_angle=0.7, approximate_precession=False)
    theirs = generator.calculate_diffraction2d(
        to_orix(phase),
        orix.quaternion.Rotation(orientation),
        reciprocal_radius=0.8,
        with_direct_beam=False,
        max_excitation_error=0.02,
    ).coordinates
    ours = simulate_spots(phase, orientation, diffraction=Diffraction(max_radius=0.8, excitation_width=0.02 / np.pi))
    _, nearest = cKDTree(spots_of(ours, 0)[:, :2]).query(theirs.data[:, :2])
    ours_there = spots_of(ours, 0)[nearest, 2]
    strong = theirs.intensity > 1e-4 * theirs.intensity.max()
    ratio = theirs.intensity[strong] / ours_there[strong]
    np.testing.assert_allclose(ratio / ratio[0], 1.0, rtol=2e-3)


# --- sampling


@pytest.mark.parametrize(("names", "number"), [(["lfp", "fp"], 12422), (["lagp"], 4087), (["lvp"], 12331)])
def test_number_of_templates(names, number):
    # 12,422 is the number of the reference measurements; the others are close to 1.2 times the area of the sector
    found = simulate_bank(names, max_radius=0.7, options=BankOptions(max_spots=4), cache=False)
    assert len(found) == pytest.approx(number, abs=5)
    if names != ["lagp"]:
        assert len(found) == number


@given(QUATERNION)
@settings(max_examples=100, deadline=None)
def test_every_orientation_has_a_template(bank, quaternion):
    # the template, its mirror image, and rotations in the plane reach any orientation
    direction = matrices(np.array(quaternion) / np.linalg.norm(quaternion))[:, 2]
    for index, phase in enumerate(bank.phases):
        mine = bank.phase == index
        axes = np.concatenate([matrices(o[mine])[:, :, 2] for o in (bank.orientations, bank.mirrored_orientations)])
        equivalent = laue_rotations(phase) @ direction
        nearest = np.degrees(np.arccos(np.clip(equivalent @ axes.T, -1.0, 1.0).max()))
        assert nearest < 0.8 * bank.resolution


def test_templates_are_the_spots_of_their_orientations(bank):
    assert (np.diff(bank.phase) >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(bank.orientations, axis=1), 1.0)
    assert (bank.orientations[:, 0] >= 0.0).all()
    assert (np.diff(bank.intensity, axis=1) <= 0.0).all()
    used = np.arange(bank.radius.shape[1]) < bank.count[:, None]
    assert (bank.intensity[used] > 0).all()
    assert not bank.intensity[~used].any()
    assert not bank.radius[~used].any()
    assert bank.radius.max() <= bank.max_radius
    for n in (0, len(bank) // 2, len(bank) - 1):
        phase = bank.phases[bank.phase[n]]
        spots = simulate_spots(phase, bank.orientations[n], diffraction=bank.diffraction, max_spots=64)
        count = bank.count[n]
        np.testing.assert_allclose(bank.radius[n, :count], spots.radius[0, :count])
        np.testing.assert_allclose(bank.azimuth[n, :count], spots.azimuth[0, :count])
        np.testing.assert_allclose(bank.intensity[n, :count], spots.intensity[0, :count])


def test_select(bank):
    part = bank.select("Li3V2(PO4)3")
    assert len(part) == (bank.phase == 1).sum()
    assert not part.phase.any()
    with pytest.raises(ValueError, match="LiFePO4"):
        bank.select("nmc")


# --- disk


def same_bank(one, other):
    for key in ("phase", "orientations", "radius", "azimuth", "intensity", "count"):
        np.testing.assert_array_equal(getattr(one, key), getattr(other, key))
    assert [phase.name for phase in one.phases] == [phase.name for phase in other.phases]
    assert [phase.caveat for phase in one.phases] == [phase.caveat for phase in other.phases]
    assert one.diffraction == other.diffraction
    assert (one.resolution, one.min_intensity) == (other.resolution, other.min_intensity)


def test_save_and_load(bank, tmp_path):
    path = bank.save(tmp_path / "bank")
    assert path.name == "bank.npz"
    same_bank(TemplateBank.load(path), bank)
    assert [p.name for p in tmp_path.glob("*") if p.is_file()] == ["bank.npz"]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"bank\.npz"):
        TemplateBank.load(path)
    path.write_text("no", "utf-8")
    with pytest.raises(ValueError, match="not a template bank"):
        TemplateBank.load(path)
    with pytest.raises(FileNotFoundError):
        TemplateBank.load(tmp_path / "nowhere.npz")


def test_cache(cache, monkeypatch):
    options = {"resolution": 8.0, "max_radius": 0.8}
    first = simulate_bank("lfp", **options)
    (file,) = cache.glob("*.npz")
    stamp = file.stat().st_mtime_ns
    same_bank(simulate_bank("lfp", **options), first)
    assert file.stat().st_mtime_ns == stamp
    # every input counts
    changes = [{"resolution": 9.0}, {"beam_energy": 300.0}, {"precession_angle": 0.5}, {"max_radius": 0.9}]
    spots = [{"min_intensity": 1e-3}, {"max_spots": 32}, {"excitation_width": 0.01}, {"max_excitation_error": 0.03}]
    changes += [{"options": BankOptions(**change)} for change in spots]
    for change in changes:
        simulate_bank("lfp", **options | change)
    simulate_bank(scale_lattice(load_phase("lfp"), (1.001, 1.0, 1.0)), **options)
    assert len(list(cache.glob("*.npz"))) == len(changes) + 2
    # a damaged file is made again
    for damage in (file.read_bytes()[:-500], b"", b"nonsense"):
        file.write_bytes(damage)
        same_bank(simulate_bank("lfp", **options), first)
        same_bank(TemplateBank.load(file), first)
    # nothing is written where it is not wanted
    simulate_bank("fp", **options, cache=False)
    assert len(list(cache.glob("*"))) == len(changes) + 2


def test_a_user_cif_in_pbnm_gives_the_same_bank(tmp_path):
    # LiFePO4 on the axes c, a, b of Pnma, labels with charges
    lfp = load_phase("lfp")
    sites = "\n".join(
        f"{atom.element}1+ {atom.xyz[2]:.6f} {atom.xyz[0]:.6f} {atom.xyz[1]:.6f}" for atom in lfp.structure
    )
    path = tmp_path / "triphylite.cif"
    path.write_text(PBNM.format(sites=sites), "utf-8")
    ours = simulate_bank(path, resolution=8.0, max_radius=0.8, cache=False)
    known = simulate_bank("lfp", resolution=8.0, max_radius=0.8, cache=False)
    np.testing.assert_allclose(ours.orientations, known.orientations)
    np.testing.assert_array_equal(ours.count, known.count)
    np.testing.assert_allclose(ours.intensity, known.intensity, rtol=1e-6, atol=1e-6)


# --- errors and imports


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_radius": 0.05}, "LiFePO4: no reflection within max_radius = 0.05"),
        ({"max_radius": -1.0}, "max_radius"),
        ({"beam_energy": 0.0}, "beam_energy"),
        ({"beam_energy": 200_000.0}, "200 keV is 200"),
        ({"precession_angle": -0.1}, "precession_angle"),
        ({"precession_angle": np.nan}, "precession_angle"),
        ({"resolution": 0.0}, "resolution"),
        ({"options": BankOptions(excitation_width=0.0)}, "excitation_width"),
    ],
)
def test_errors(options, said):
    with pytest.raises(ValueError, match=said):
        simulate_bank("lfp", **{"resolution": 8.0, "cache": False} | options)


@pytest.mark.parametrize("options", [{"min_intensity": 1.0}, {"max_spots": 0}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        BankOptions(**options)


def test_errors_of_phases():
    with pytest.raises(ValueError, match="each with its own name"):
        simulate_bank(["lfp", "LiFePO4"], cache=False)
    with pytest.raises(ValueError, match="phases"):
        simulate_bank([], cache=False)
    with pytest.raises(ValueError, match="orientations"):
        simulate_spots(load_phase("lfp"), np.zeros((2, 3)))


def test_progress(capsys):
    simulate_bank(["lfp", "fp"], resolution=10.0, cache=False, show_progressbar=False)
    assert capsys.readouterr().err == ""
    simulate_bank(["lfp", "fp"], resolution=10.0, cache=False, show_progressbar=True)
    shown = capsys.readouterr().err
    assert "LiFePO4" in shown
    assert "2/2" in shown


def test_stages_are_reported():
    said = []
    conditions = {"beam_energy": 200.0, "precession_angle": 0.7, "max_radius": 1.5}
    bank_in_stages(["lfp", "fp"], 10.0, cache=False, report=lambda *a: said.append(a), **conditions)
    assert said == [("LiFePO4", 0, 2), ("FePO4", 1, 2), ("", 2, 2)]


RUST = """
import sys
from pathlib import Path

def is_rust(path):
    content = Path(path).read_bytes()
    return b"RUST_BACKTRACE" in content or b"/rustc/" in content or b"rust_panic" in content

def loaded():
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = {f for f in files if f and f.endswith((".so", ".pyd", ".dylib"))}
    maps = Path("/proc/self/maps")
    if maps.exists():  # libraries that extension modules bring with them, too
        files |= {line.split(maxsplit=5)[5] for line in maps.read_text().splitlines() if ".so" in line}
    return sorted(f for f in files if Path(f).is_file())
"""


def run(code, tmp_path):
    environment = os.environ | {"HYPERSPY_ASSB_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", RUST + code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_import_is_light(tmp_path):
    heavy = ["hyperspy", "exspy", "matplotlib", "orix", "diffpy", "dask", "pandas", "skimage"]
    (said,) = run(
        "import hyperspy_assb.acom.templates.bank, hyperspy_assb.acom.crystals.kinematical\n"
        f"print(sorted(name for name in {heavy} if name in sys.modules))",
        tmp_path,
    )
    assert said == "[]"


@pytest.mark.slow
def test_no_rust_and_no_framework(tmp_path):
    lines = run(
        "from hyperspy_assb.acom import BankOptions, simulate_bank\n"
        "simulate_bank(['lfp', 'lagp'], resolution=10.0)\n"
        "files = loaded()\n"
        "print(len(files), [f for f in files if is_rust(f)], [n for n in ('hyperspy', 'exspy') if n in sys.modules])",
        tmp_path,
    )
    number, rest = lines[-1].split(" ", 1)
    assert int(number) > 30
    assert rest == "[] []"


def test_the_search_for_rust_finds_it(tmp_path):
    found = False
    for name in ("rpds", "pydantic_core"):
        lines = run(
            f"try:\n    import {name}\nexcept ImportError:\n    print('absent')\n"
            "else:\n    print(any(is_rust(f) for f in loaded()))",
            tmp_path,
        )
        assert lines[-1] in ("absent", "True")
        found |= lines[-1] == "True"
    made_up = tmp_path / "module.so"
    made_up.write_bytes(b"\x7fELF\x00/rustc/90c541806f23a127002de5b4038be731ba1458ca/library/core\x00")
    plain = tmp_path / "plain.so"
    plain.write_bytes(b"\x7fELF\x00GCC: (Debian) 12\x00")
    assert run(f"print(is_rust({str(made_up)!r}), is_rust({str(plain)!r}))", tmp_path) == ["True False"]
