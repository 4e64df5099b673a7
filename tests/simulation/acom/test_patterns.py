"""Diffraction patterns: where the spots are, how bright, and how they are counted."""

from dataclasses import replace

import numpy as np
import pytest
from diffpy.structure import Atom, Lattice, Structure
from scipy import ndimage

from hyperspy_assb.simulation import DiffractionConditions, PatternOptions, simulate_patterns
from hyperspy_assb.simulation.acom.columns import incident_beams
from hyperspy_assb.simulation.acom.crystal import crystal_from_structure, load_crystals, scattering_factor
from hyperspy_assb.simulation.acom.patterns import rotation_matrices

# Without scatter between grains, double diffraction and background: what can be said exactly.
CLEAN = DiffractionConditions(
    shape=(128, 128),
    scale=0.02,
    centre=(63.0, 64.5),
    intensity_scatter=0.0,
    double_scattering=0.0,
    diffuse_mean_free_path=1e12,
    thickness_spread=0.0,
    convergence_angle=0.1,
)


def random_orientations(n, seed=0):
    q = np.random.default_rng(seed).normal(size=(n, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def mass_near(pattern, column, row, reach=4):
    """Intensity and centre of mass in a square about a place."""
    c, r = round(column), round(row)
    part = pattern[r - reach : r + reach + 1, c - reach : c + reach + 1].astype(float)
    y, x = np.mgrid[r - reach : r + reach + 1, c - reach : c + reach + 1]
    total = part.sum()
    return total, (part * x).sum() / total, (part * y).sum() / total


def cubic(a=6.0):
    return Structure([Atom("Fe", [0, 0, 0])], lattice=Lattice(a, a, a, 90, 90, 90), title="cubic")


def test_scattering_factors_are_those_of_the_book():
    # Kirkland, appendix C: f(0) of carbon is 2.51 Å; the high-angle limit is that of Rutherford, Z / (2 pi^2 a0 q^2).
    assert scattering_factor("C", 0.0) == pytest.approx(2.51, abs=0.01)
    for element, number in (("Li", 3), ("O", 8), ("P", 15), ("Fe", 26), ("Ge", 32)):
        # From 1 to 6 1/Å the electrons still screen some of the nucleus.
        ratio = scattering_factor(element, 6.0) * 36 * 2 * np.pi**2 * 0.529177 / number
        assert 0.85 < ratio < 1.02
    np.testing.assert_array_equal(scattering_factor("Fe2+", [0.3]), scattering_factor("Fe", [0.3]))
    with pytest.raises(ValueError, match="Xx"):
        scattering_factor("Xx", 0.3)


def test_wavelength_and_extinction():
    assert DiffractionConditions(beam_energy=200).wavelength == pytest.approx(0.0250793, abs=1e-6)
    # Extinction distances at 100 kV as Williams and Carter, Transmission Electron Microscopy, table 13.2, have them.
    places = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    conditions = DiffractionConditions(beam_energy=100)
    for element, a, table in (
        ("Al", 4.049, {(1, 1, 1): 563, (2, 0, 0): 685}),
        ("Cu", 3.615, {(1, 1, 1): 286, (2, 0, 0): 326}),
        ("Au", 4.078, {(1, 1, 1): 183, (2, 0, 0): 202}),
    ):
        structure = Structure([Atom(element, xyz) for xyz in places], lattice=Lattice(a, a, a, 90, 90, 90))
        crystal = crystal_from_structure(structure, element, 0.6)
        distance = dict(zip(map(tuple, crystal.hkl.tolist()), 1 / crystal.inverse_extinction(conditions), strict=True))
        for hkl, expected in table.items():
            assert distance[hkl] == pytest.approx(expected, rel=0.05)
        assert (1, 0, 0) not in distance  # face centred
        assert (1, 1, 0) not in distance


@pytest.mark.parametrize("name", ["LiFePO4", "FePO4"])
def test_absences_of_pnma(name):
    (crystal,) = load_crystals(name, 1.5)
    h, k, l = crystal.hkl.T  # noqa: E741
    assert np.all((k + l)[h == 0] % 2 == 0)  # n glide across a
    assert np.all(h[l == 0] % 2 == 0)  # a glide across c
    strength = np.abs(crystal.structure_factors)
    brightest = {tuple(np.abs(hkl)) for hkl in crystal.hkl[strength > 0.6 * strength.max()].tolist()}
    assert (0, 2, 0) in brightest


def test_absences_of_lagp():
    (crystal,) = load_crystals("LAGP", 1.0)
    h, k, l = crystal.hkl.T  # noqa: E741
    assert np.all((-h + k + l) % 3 == 0)
    assert np.all(l[(h + k) == 0] % 2 == 0)  # c glide


def test_a_known_orientation_by_hand():
    # A turn by 30 degrees about z from the specimen to the crystal: a is seen at -30 degrees, towards smaller rows.
    half = np.deg2rad(15)
    pattern = simulate_patterns([[np.cos(half), 0, 0, np.sin(half)]], cubic(), CLEAN, noise=False, thickness=20)[0]
    for order in (1, 2):
        for angle in (-30, 60, 150, 240):
            g = order / 6.0 / 0.02
            column = 63.0 + g * np.cos(np.deg2rad(angle))
            row = 64.5 + g * np.sin(np.deg2rad(angle))
            total, x, y = mass_near(pattern, column, row)
            assert total > 1e-4 * CLEAN.electrons
            assert (x, y) == pytest.approx((column, row), abs=0.05)


def test_the_tilt_has_its_sign():
    # Without precession, turned by a little about x, the reflection along y leaves or meets the Ewald sphere.
    still = replace(CLEAN, precession_angle=0.0)
    (crystal,) = load_crystals(cubic(), 1.0)
    g = 3 / 6.0
    bragg = np.arcsin(g * still.wavelength / 2)
    excited = []
    for tilt in (bragg, -bragg):
        # v_specimen = R(-tilt about x) v_crystal when the orientation is a turn by +tilt about x.
        q = [np.cos(tilt / 2), np.sin(tilt / 2), 0, 0]
        z = (rotation_matrices(np.array(q)) @ [0, g, 0])[2]
        pattern = simulate_patterns([q], crystal, still, noise=False, thickness=40)[0]
        excited.append((z, mass_near(pattern, 63.0, 64.5 + g / 0.02)[0]))
    (z_first, first), (z_second, second) = excited
    # Electrons run along -z: the sphere bends towards +z, so a reflection above the plane is the excited one.
    assert z_second > 0 > z_first
    assert second > 20 * first


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("seed", range(3))
def test_spots_lie_where_diffsims_puts_them(seed):
    generators = pytest.importorskip("diffsims.generators.simulation_generator")
    from orix.crystal_map import Phase
    from orix.quaternion import Rotation

    # A crystal without symmetry but the centre (diffsims takes the zone axis as it is in the phase's axes).
    atoms = [Atom("Fe", [0, 0, 0]), Atom("O", [0.21, 0.33, 0.4]), Atom("O", [-0.21, -0.33, -0.4])]
    phase = Phase("triclinic", space_group=2, structure=Structure(atoms, lattice=Lattice(5, 6.2, 7.1, 82, 97, 105)))
    q = random_orientations(1, seed)
    generator = generators.SimulationGenerator(200, precession_angle=0.7, minimum_intensity=1e-9)
    theirs = generator.calculate_diffraction2d(
        phase, Rotation(q), reciprocal_radius=1.2, max_excitation_error=0.005, with_direct_beam=False
    ).coordinates
    (crystal,) = load_crystals([phase], 1.5)
    ours = dict(zip(map(tuple, crystal.hkl.tolist()), crystal.vectors @ rotation_matrices(q)[0].T, strict=True))
    assert len(theirs.data) > 20
    for hkl, place in zip(np.rint(theirs.hkl).astype(int).tolist(), np.asarray(theirs.data), strict=True):
        np.testing.assert_allclose(ours[tuple(hkl)], place, atol=1e-9)
    pattern = simulate_patterns(q, phase, replace(CLEAN, direct_beam=False), noise=False, thickness=30)[0]
    pattern = pattern.astype(float)
    peaks = (pattern == ndimage.maximum_filter(pattern, 3)) & (pattern > 0.02 * pattern.max())
    assert peaks.sum() > 8
    image = pattern.copy()
    for column, row in np.rint(CLEAN.to_pixels(np.asarray(theirs.data))).astype(int):
        image[row - 3 : row + 4, column - 3 : column + 4] = 0
    y, x = np.indices(image.shape)
    inside = np.hypot(x - 63, y - 64.5) < 1.15 / 0.02
    # What diffsims leaves out are the tails of far reflections.
    assert image[inside].sum() < 0.1 * pattern[inside].sum()


def test_friedel_pairs():
    # With the beam precessing about a zone axis, +g and -g are alike.
    conditions = replace(CLEAN, centre=(64.0, 64.0), convergence_angle=0.0, direct_beam=False)
    pattern = simulate_patterns([[1.0, 0, 0, 0]], "LiFePO4", conditions, noise=False)[0]
    np.testing.assert_allclose(pattern[:0:-1, :0:-1], pattern[1:, 1:], atol=1e-4 * pattern.max())
    tilted = simulate_patterns([[1.0, 0.01, 0, 0]], "LiFePO4", conditions, noise=False)[0]
    assert np.abs(tilted[:0:-1, :0:-1] - tilted[1:, 1:]).max() > 0.2 * tilted.max()


@pytest.mark.parametrize("precession", [0.0, 0.7])
def test_intensities_are_those_of_two_beams_at_every_direction(precession):
    conditions = replace(
        CLEAN, precession_angle=precession, convergence_angle=1.0, thickness_spread=0.1, direct_beam=False, scale=0.01
    )
    (crystal,) = load_crystals(cubic(), 1.0)
    beams, spread = incident_beams(conditions)
    assert np.hypot(*beams.mean(axis=0)[:2]) < 3e-4
    np.testing.assert_allclose(np.linalg.norm(beams, axis=1), 1)
    wave = 1 / conditions.wavelength
    expected = {}
    for hkl, g, inverse in zip(
        crystal.hkl.tolist(), crystal.vectors, crystal.inverse_extinction(conditions), strict=True
    ):
        # Signed distance from the sphere of radius wave about -wave * beam.
        error = wave - np.linalg.norm(wave * beams + g, axis=1)
        total = np.hypot(error, inverse)
        expected[tuple(hkl)] = np.mean((inverse / total) ** 2 * np.sin(np.pi * 300 * spread * total) ** 2)
    events = sum(expected.values())
    share = conditions.electrons * -np.expm1(-events) / events
    pattern = simulate_patterns([[1.0, 0, 0, 0]], crystal, conditions, noise=False, thickness=30)[0]
    for hkl in ((1, 0, 0), (0, -2, 0), (2, 1, 0)):
        total, _, _ = mass_near(pattern, *conditions.to_pixels(np.array(hkl) / 6.0), reach=8)
        assert total == pytest.approx(share * expected[hkl], rel=0.02)


def test_double_diffraction_excites_what_a_glide_plane_forbids():
    # Along b: 100 is forbidden by the screw axis; 201 and -1 0 -1 add up to it.
    q = [[np.sqrt(0.5), np.sqrt(0.5), 0, 0]]
    (crystal,) = load_crystals("LiFePO4", 1.5)
    assert (1, 0, 0) not in set(map(tuple, crystal.hkl.tolist()))
    seen, whole = [], []
    for share in (0.0, 0.5, 1.0):
        conditions = replace(CLEAN, double_scattering=share, scale=0.016, direct_beam=False)
        place = conditions.to_pixels((rotation_matrices(np.array(q))[0] @ [1 / 10.334, 0, 0])[:2])
        pattern = simulate_patterns(q, crystal, conditions, noise=False, thickness=60)[0]
        seen.append(mass_near(pattern, *place, reach=2)[0])
        whole.append(simulate_patterns(q, crystal, replace(conditions, direct_beam=True), noise=False)[0].sum())
    assert seen[0] < 1e-3
    assert seen[2] > 10
    assert seen[1] == pytest.approx(seen[2] / 2, rel=1e-3)
    np.testing.assert_allclose(whole, whole[0], rtol=1e-3)


def test_precession_evens_the_intensities():
    q = np.concatenate([random_orientations(40, 3)])
    spread = []
    for angle in (0.0, 0.7):
        conditions = replace(CLEAN, precession_angle=angle, direct_beam=False, diffracted_electrons=1e4)
        patterns = simulate_patterns(q, "LiFePO4", conditions, noise=False, thickness=100)
        spread.append((patterns.astype(float) ** 2).sum() / 1e8 / len(q))
    assert spread[1] < 0.6 * spread[0]


def test_electrons_are_those_asked_for():
    q = random_orientations(30)
    conditions = replace(CLEAN, diffracted_electrons=700.0, direct_beam=False)
    exact = simulate_patterns(q, "FePO4", conditions, noise=False)
    np.testing.assert_allclose(exact.sum(axis=(1, 2)), 700, rtol=1e-3)
    drawn = simulate_patterns(q, "FePO4", conditions, 1)
    assert drawn.dtype == np.uint16
    assert float(drawn.sum()) == pytest.approx(700 * 30, abs=4 * np.sqrt(700 * 30))
    whole = simulate_patterns(q, "FePO4", replace(CLEAN, scale=0.04, centre=None), noise=False)
    # Spots are sampled at the middle of each pixel: they hold their electrons within 3e-4.
    assert np.all(whole.sum(axis=(1, 2)) <= 1.0003 * CLEAN.electrons)
    assert whole.sum(axis=(1, 2)).mean() > 0.97 * CLEAN.electrons


def test_counts_are_poissonian():
    q = np.repeat(random_orientations(1), 150, axis=0)
    conditions = DiffractionConditions(shape=(64, 64), scale=0.04, electrons=3e4)
    grain = np.zeros(150)
    exact = simulate_patterns(q, "LiFePO4", conditions, 1, options=PatternOptions(grain=grain), noise=False)
    np.testing.assert_array_equal(exact[0], exact[-1])
    drawn = simulate_patterns(q, "LiFePO4", conditions, 1, options=PatternOptions(grain=grain)).astype(float)
    mean, variance = drawn.mean(axis=0), drawn.var(axis=0, ddof=1)
    bright = exact[0] > 0.5
    z = (mean - exact[0])[bright] / np.sqrt(exact[0][bright] / 150)
    assert np.mean(z**2) == pytest.approx(1, abs=0.15)
    assert (variance[bright] / exact[0][bright]).mean() == pytest.approx(1, abs=0.03)
    tenth = simulate_patterns(q, "LiFePO4", replace(conditions, electrons=3e3), 1, options=PatternOptions(grain=grain))
    assert float(tenth.sum()) == pytest.approx(drawn.sum() / 10, rel=0.005)


def test_same_seed_same_patterns():
    q = random_orientations(20)
    first = simulate_patterns(q, ["LiFePO4", "FePO4"], CLEAN, 7, phase=np.arange(20) % 2)
    np.testing.assert_array_equal(simulate_patterns(q, ["LiFePO4", "FePO4"], CLEAN, 7, phase=np.arange(20) % 2), first)
    assert np.any(simulate_patterns(q, ["LiFePO4", "FePO4"], CLEAN, 8, phase=np.arange(20) % 2) != first)


def test_overlapping_grains_add_up():
    q = random_orientations(2, 5)
    kept = replace(CLEAN, diffracted_electrons=1.0, direct_beam=False)
    phases = ["LiFePO4", "LAGP"]
    alone = simulate_patterns(q, phases, kept, noise=False, phase=[0, 1])
    both = simulate_patterns(q[None], phases, kept, noise=False, phase=[[0, 1]])[0]
    share, *_ = np.linalg.lstsq(alone.reshape(2, -1).T, both.ravel(), rcond=None)
    np.testing.assert_allclose(np.tensordot(share, alone, 1), both, atol=2e-4 * both.max())
    assert share.sum() == pytest.approx(1, abs=1e-3)
    assert share.min() > 0.1
    half = simulate_patterns(
        q[None], phases, kept, noise=False, phase=[[0, 1]], options=PatternOptions(weight=[[1.0, 0.0]])
    )[0]
    np.testing.assert_allclose(half, alone[0], atol=1e-7)


def test_strain_moves_spots_outwards_when_the_lattice_shrinks():
    q = [[1.0, 0, 0, 0]]
    strained = simulate_patterns(
        q, cubic(), CLEAN, noise=False, thickness=20, options=PatternOptions(strain=[[-0.05, 0.0, 0.0]])
    )[0]
    g = 2 / 6.0 / 0.02
    assert mass_near(strained, 63 + g / 0.95, 64.5)[1] == pytest.approx(63 + g / 0.95, abs=0.05)
    assert mass_near(strained, 63, 64.5 + g)[2] == pytest.approx(64.5 + g, abs=0.05)
    with pytest.raises(ValueError, match="strain"):
        simulate_patterns(q, cubic(), CLEAN, options=PatternOptions(strain=[0.1, 0.2]))


def test_the_camera_turns_squeezes_and_mirrors():
    conditions = replace(CLEAN, scan_rotation=20, ellipticity=0.04, ellipse_azimuth=20, mirrored=False)
    pattern = simulate_patterns([[1.0, 0, 0, 0]], cubic(), conditions, noise=False, thickness=20)[0]
    # The long axis lies along the turned x axis: that reflection is further out, the one across it further in.
    for g, angle, factor in ((2 / 6, 20, np.sqrt(1.04)), (2 / 6, 110, 1 / np.sqrt(1.04))):
        place = factor * g / 0.02 * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]) + [63.0, 64.5]
        assert mass_near(pattern, *place)[1:] == pytest.approx(tuple(place), abs=0.05)
    mirrored = simulate_patterns(
        random_orientations(1), "LiFePO4", replace(CLEAN, mirrored=True, centre=(64, 64)), noise=False
    )[0]
    upright = simulate_patterns(random_orientations(1), "LiFePO4", replace(CLEAN, centre=(64, 64)), noise=False)[0]
    np.testing.assert_allclose(mirrored[1:], upright[:0:-1], atol=1e-3)


def test_scatter_belongs_to_the_grain():
    q = np.repeat(random_orientations(1), 3, axis=0)
    conditions = replace(CLEAN, intensity_scatter=0.5, scatter_correlation=0.0, diffracted_electrons=1.0)
    a, b, c = simulate_patterns(q, "LiFePO4", conditions, options=PatternOptions(grain=[4, 4, 5]), noise=False)
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.05 * a.max()
    common = replace(conditions, scatter_correlation=1.0)
    a, _, c = simulate_patterns(q, "LiFePO4", common, options=PatternOptions(grain=[4, 4, 5]), noise=False)
    np.testing.assert_allclose(a, c, rtol=1e-6)


def test_the_record_saturates():
    conditions = replace(CLEAN, dtype="uint8", electrons=1e6)
    pattern = simulate_patterns([[1.0, 0, 0, 0]], "LiFePO4", conditions, 0)[0]
    assert pattern.dtype == np.uint8
    assert pattern[64, 63] == 255
    camera = replace(CLEAN, dtype="float32", gain=3.0, dark_offset=10.0, read_noise=2.0, electrons=0.0)
    dark = simulate_patterns([[1.0, 0, 0, 0]], "LiFePO4", camera, 0)
    assert dark.mean() == pytest.approx(10, abs=0.1)
    assert dark.std() == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"orientations": np.ones((2, 3))}, "orientations"),
        ({"orientations": [[np.nan, 0, 0, 0]]}, "finite"),
        ({"orientations": [[1.0, 0, 0, 0]], "phase": 3}, "phase"),
        ({"orientations": [[1.0, 0, 0, 0]], "thickness": [1.0, 2.0]}, "thickness"),
        ({"orientations": [[1.0, 0, 0, 0]], "phases": "quartz"}, "quartz"),
        ({"orientations": [[1.0, 0, 0, 0]], "options": PatternOptions(amorphous={"ice": 3.0})}, "ice"),
    ],
)
def test_bad_input_is_named(arguments, message):
    arguments = {"phases": "LiFePO4", "conditions": CLEAN, **arguments}
    with pytest.raises(ValueError, match=message):
        simulate_patterns(**arguments)


@pytest.mark.parametrize("name", ["scale", "electrons", "point_spread", "scatter_correlation"])
def test_bad_conditions_are_named(name):
    with pytest.raises(ValueError, match=name):
        DiffractionConditions(**{name: -1.0})


@pytest.mark.parametrize("name", ["LiFePO4", "FePO4", "LAGP"])
def test_the_analysis_sees_the_same_crystal(name):
    # Two programs that share nothing but the CIF: other scattering factors, other excitation errors, other frames.
    diffraction = pytest.importorskip("hyperspy_assb.acom.crystals.kinematical")
    phases = pytest.importorskip("hyperspy_assb.acom.crystals.crystal_phase")
    phase = phases.load_phase(name)
    (crystal,) = load_crystals(name, 1.6)
    strength = dict(zip(map(tuple, crystal.hkl.tolist()), np.abs(crystal.structure_factors) ** 2, strict=True))
    theirs = diffraction.reflections(phase, max_radius=1.5)
    ours = [strength.get(tuple(hkl), 0.0) for hkl in theirs.indices.tolist()]
    assert np.corrcoef(ours, theirs.intensity)[0, 1] > 0.99
    q = random_orientations(30)
    patterns = simulate_patterns(q, name, DiffractionConditions(diffracted_electrons=2000.0), 1)

    def share(orientations):
        spots = diffraction.simulate_spots(phase, orientations, max_spots=24)
        columns, rows = np.rint(np.stack([spots.x, spots.y]) / 0.012 + 128).astype(int).clip(1, 254)
        index = np.arange(len(q))[:, None]
        near = [patterns[index, rows + j, columns + i] for j in (-1, 0, 1) for i in (-1, 0, 1)]
        return np.median(np.sum(near, axis=(0, 2))) / 2000

    assert share(q) > 0.4
    assert share(q * [1, -1, -1, -1]) < 0.05
