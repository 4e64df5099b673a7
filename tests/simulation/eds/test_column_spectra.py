"""X-rays of the virtual battery: atoms, absorption, detector, counts."""

from dataclasses import replace

import exspy
import numpy as np
import pytest
from exspy.material import elements, mass_absorption_mixture
from exspy.utils.eds import take_off_angle
from scipy import stats

from hyperspy_assb.simulation import (
    Contamination,
    XRayConditions,
    XRayDetector,
    edx_to_signal,
    sensitivity,
    simulate_edx,
    true_k_factors,
)
from hyperspy_assb.simulation.eds import column_spectra
from hyperspy_assb.simulation.eds.column_spectra import expected_spectra
from hyperspy_assb.simulation.eds.detector import (
    FWHM,
    charge_loss,
    efficiency,
    escape_share,
    line_shape,
    peak_sigma,
)
from hyperspy_assb.simulation.eds.physics import (
    absorption_factor,
    areal_densities,
    bremsstrahlung,
    ionisation_cross_section,
    lines,
    photon_yield,
    x_ray_elements,
)


@pytest.fixture
def single_lines(monkeypatch):
    """Lines without splitting and natural width, as exspy's database has them."""
    monkeypatch.setattr(column_spectra, "line_components", lambda element, line: ())
    column_spectra._table.cache_clear()
    yield
    column_spectra._table.cache_clear()


# Every photon counted, lines of 30 eV width, no continuum and nothing foreign: what is made is what is seen.
SHARP = XRayDetector(**{**XRayDetector.ideal().__dict__, "energy_resolution": 30.0, "width_slope": 0.0})
CLEAN = XRayConditions(
    dispersion=0.005, n_channels=4096, bremsstrahlung=0.0, detector=SHARP, contamination=Contamination.none()
)


def window(spectrum, conditions, low, high):
    energy = conditions.energy
    return spectrum[..., (energy > low) & (energy < high)].sum(axis=-1)


@pytest.mark.parametrize(
    ("element", "shell", "energy", "value", "tolerance"),
    [
        # Values of the authors' own program (xion.f) in cm^2, as the tests of NIST's BoteSalvatICX.jl quote them.
        ("V", "L1", 15.3993, 2.63509e-20, 1e-22),
        ("V", "L1", 290068.0, 5.64142e-21, 1e-23),
        ("Pt", "M5", 2.98538, 2.02808e-20, 2e-22),
    ],
)
def test_ionisation_against_the_authors_program(element, shell, energy, value, tolerance):
    assert ionisation_cross_section(element, shell, energy) * 1e-14 == pytest.approx(value, abs=tolerance)


def test_nothing_is_ionised_below_its_edge():
    assert ionisation_cross_section("Fe", "K", 7.0) == 0
    assert photon_yield("Fe", "K", 7.0) == 0
    assert photon_yield("Fe", "L", 7.0) > 0


def test_vacancies_move_on_within_a_shell():
    sigma = {shell: ionisation_cross_section("Fe", shell, 200.0) for shell in ("L1", "L2", "L3")}
    second = sigma["L2"] + 0.3 * sigma["L1"]
    third = sigma["L3"] + 0.57 * sigma["L1"] + 0.42 * second
    expected = 0.001 * sigma["L1"] + 0.0036 * second + 0.0063 * third
    assert photon_yield("Fe", "L", 200.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("single_lines")
@pytest.mark.parametrize("element", x_ray_elements())
def test_lines_lie_and_weigh_as_in_the_database_of_exspy(element):
    expected = expected_spectra({element: 1e-3}, CLEAN, electrons=1e15)
    table = elements[element].Atomic_properties.Xray_lines.as_dictionary()
    sigma = 0.030 / np.sqrt(8 * np.log(2))
    edges = CLEAN.dispersion * (np.arange(4097) - 0.5)
    # Each family by itself, of any strength; no other freedom.
    families = {
        family: sum(
            row["weight"] * np.diff(stats.norm.cdf(edges, row["energy (keV)"], sigma))
            for name, row in table.items()
            if name[0] == family
        )
        for family in {name[0] for name in table}
    }
    shapes = np.array([shape for shape in families.values() if shape.max() > 1e-3]).T
    strength, *_ = np.linalg.lstsq(shapes, expected, rcond=None)
    assert strength.min() > 0
    np.testing.assert_allclose(shapes @ strength, expected, atol=1e-5 * expected.max())


def test_counts_are_electrons_times_atoms_times_yield():
    atoms = {"Fe": np.array([0.5, 1.0])}
    expected = expected_spectra(atoms, CLEAN, electrons=1e10)
    made = photon_yield("Fe", "K", 200.0) + photon_yield("Fe", "L", 200.0)
    np.testing.assert_allclose(
        expected.sum(axis=1), 1e10 * atoms["Fe"] * made * SHARP.solid_angle / (4 * np.pi), rtol=1e-4
    )


@pytest.mark.parametrize("angle", [10.0, 18.0, 40.0])
def test_absorption_is_that_of_a_film(angle):
    conditions = replace(CLEAN, detector=replace(SHARP, elevation_angle=angle, azimuth_angle=0.0))
    thin, thick = expected_spectra(areal_densities({"LAGP": [1e-3, 250.0]}), conditions, electrons=1e9)
    symbols, number = ["Li", "Al", "Ge", "P", "O"], [1.5, 0.5, 1.5, 3.0, 12.0]
    mass = np.array([6.94, 26.982, 72.630, 30.974, 15.999]) * number
    density = mass.sum() * 1.66053907e-24 / 0.2032e-21
    for energy in (0.5249, 1.4865, 2.0133, 9.8864):
        coefficient = mass_absorption_mixture(list(100 * mass / mass.sum()), symbols, [energy])[0]
        depth = coefficient * density * 250e-7 / np.sin(np.deg2rad(angle))
        ratio = [window(s, conditions, energy - 0.05, energy + 0.05) for s in (thick, thin)]
        assert ratio[0] / ratio[1] * 1e-3 / 250 == pytest.approx((1 - np.exp(-depth)) / depth, rel=2e-3)


def test_absorption_factor_of_thin_films_is_smooth():
    depth = np.array([0.0, 1e-12, 1e-8, 2e-8, 1e-3])
    np.testing.assert_allclose(absorption_factor(depth), 1 - depth / 2 + depth**2 / 6, rtol=1e-9)


@pytest.mark.usefixtures("single_lines")
def test_continuum_is_that_of_kramers():
    conditions = replace(CLEAN, bremsstrahlung=1.0)
    carbon = expected_spectra({"C": 1.0}, conditions, electrons=1e10)
    near = (conditions.energy > 9.5) & (conditions.energy < 10.5)
    density = 36 * bremsstrahlung(conditions.energy[near], conditions.beam) * 0.7 / (4 * np.pi) * 1e10
    np.testing.assert_allclose(carbon[near] / conditions.dispersion, density, rtol=1e-4)
    both = expected_spectra({"C": 1.0, "Ge": 1.0}, conditions, electrons=1e10)
    quiet = (conditions.energy > 14) & (conditions.energy < 16)
    np.testing.assert_allclose(both[quiet] / carbon[quiet], (36 + 32**2) / 36, rtol=1e-4)


@pytest.mark.parametrize("energy", [0.277, 0.525, 2.013, 6.404])
def test_response_counts_what_the_efficiency_says(energy):
    conditions = XRayConditions(offset=-0.3)
    shape = line_shape(energy, conditions)
    assert shape.sum() == pytest.approx(efficiency(energy, conditions.detector)[0], rel=1e-3)
    assert shape.min() >= -1e-12
    lost = charge_loss(energy, conditions.detector)[0]
    # Counts well below the peak, without the escape peak, are those of the tail: an exponential spread by a Gaussian.
    sigma, length = float(peak_sigma(energy, conditions.detector)), 0.08 * energy
    bare = line_shape(energy, replace(conditions, detector=replace(conditions.detector, escape=0.0)))
    first = np.searchsorted(conditions.channel_edges, energy - 5.5 * sigma)
    depth = energy - conditions.channel_edges[first]
    share = lost * np.exp(sigma**2 / (2 * length**2) - depth / length)
    assert bare[:first].sum() / bare.sum() == pytest.approx(share, rel=0.02)


def test_width_follows_the_statistics_of_charge():
    detector = XRayDetector(energy_resolution=127.0)
    assert 1e3 * FWHM * peak_sigma(5.8987, detector) == pytest.approx(127.0)
    widths = (1e3 * FWHM * peak_sigma(np.array([2.0, 10.0]), detector)) ** 2
    assert np.diff(widths)[0] == pytest.approx(2.5 * 8000)


def test_escape_peak_lies_below_its_line_by_that_of_silicon():
    conditions = XRayConditions(detector=replace(XRayDetector(), charge_loss_depth=0.0))
    shape = line_shape(6.4039, conditions)
    found = window(shape, conditions, 4.4, 4.9) / shape.sum()
    assert found == pytest.approx(escape_share(6.4039, conditions.detector)[0], rel=1e-3)
    near = (conditions.energy > 4.4) & (conditions.energy < 4.9)
    assert np.average(conditions.energy[near], weights=shape[near]) == pytest.approx(6.4039 - 1.7397, abs=1e-3)
    assert 0.001 < found < 0.01
    assert escape_share(1.7, conditions.detector)[0] == 0


@pytest.mark.usefixtures("single_lines")
def test_two_photons_at_once_count_as_one():
    piled = replace(CLEAN, detector=replace(SHARP, resolving_time=1e-6), live_time=1.0)
    atoms = {"P": 5.0}
    single, both = (expected_spectra(atoms, c, electrons=CLEAN.electrons) for c in (CLEAN, piled))
    live_time = piled.live_time * CLEAN.electrons / piled.electrons
    n = single.sum()
    alpha = window(single, CLEAN, 1.9, 2.09)
    assert window(both, piled, 3.95, 4.09) == pytest.approx(alpha**2 * 1e-6 / live_time, rel=2e-3)
    assert both.sum() == pytest.approx(n - n**2 * 1e-6 / live_time, rel=1e-5)


@pytest.mark.usefixtures("single_lines")
@pytest.mark.parametrize(("gain", "offset"), [(0.0, 0.02), (0.01, 0.0), (-0.002, -0.015)])
def test_miscalibration_moves_lines(gain, offset):
    wrong = replace(CLEAN, gain_error=gain, offset_error=offset)
    expected = expected_spectra({"Fe": 1.0, "P": 1.0}, wrong, electrons=1e10)
    for energy in (6.4039, 2.0133):
        seen = energy * (1 + gain) + offset
        near = np.abs(wrong.energy - seen) < 0.05
        assert np.average(wrong.energy[near], weights=expected[near]) == pytest.approx(seen, abs=3e-4)


@pytest.mark.parametrize("level", [0.01, 0.3, 10.0])
def test_mean_count_that_was_asked_for(level):
    conditions = XRayConditions(counts_per_channel=level)
    counts = simulate_edx({"LiFePO4": np.full((4, 50), 80.0), "LAGP": 40.0}, conditions, rng=2)
    n = counts.size
    assert counts.mean() == pytest.approx(level, abs=4 * np.sqrt(level / n) + 0.002 * level)


def test_counts_are_poisson():
    columns = {"LiFePO4": 80.0, "LAGP": np.full(400, 40.0)}
    conditions = XRayConditions(counts_per_channel=1.0)
    counts = simulate_edx(columns, conditions, rng=3).astype(float)
    expected = simulate_edx(columns, conditions, noise=False)
    assert counts.mean(axis=0).sum() == pytest.approx(expected[0].sum(), rel=4 / np.sqrt(counts.sum()))
    some = expected[0] > 0.05
    z = (counts - expected)[:, some] / np.sqrt(expected[:, some])
    assert np.mean(z**2) == pytest.approx(1, abs=0.02)
    assert np.mean(z**3 * np.sqrt(expected[:, some])) == pytest.approx(1, abs=0.2)


def test_same_seed_same_counts():
    columns = {"LiFePO4": [50.0, 80.0]}
    one, two, other = (simulate_edx(columns, rng=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert np.any(one != other)
    assert one.dtype == np.uint16


def test_many_counts_take_a_wider_type():
    counts = simulate_edx({"LiFePO4": [1.0, 100.0]}, XRayConditions(counts_per_channel=2000.0), rng=4)
    assert counts.dtype == np.uint32
    assert counts[1].max() > 2**16
    expected = simulate_edx({"LiFePO4": [1.0, 100.0]}, XRayConditions(counts_per_channel=2000.0), noise=False)
    z = (counts - expected) / np.sqrt(np.maximum(expected, 1))
    assert np.abs(z).max() < 6


def test_vacuum_shows_grid_and_chip_only():
    conditions = XRayConditions()
    vacuum = simulate_edx({"LAGP": 0.0}, conditions, noise=False)
    assert window(vacuum, conditions, 7.9, 8.2) > 1
    assert window(vacuum, conditions, 1.65, 1.82) > 1
    assert window(vacuum, conditions, 0.45, 0.6) < 0.5
    clean = simulate_edx({"LAGP": 0.0}, replace(conditions, contamination=Contamination.none()), noise=False)
    assert clean.sum() == 0
    np.testing.assert_array_equal(simulate_edx({}, conditions, noise=False), vacuum)


def test_foreign_elements_lie_on_the_lamella():
    conditions = XRayConditions(bremsstrahlung=0.0)
    spectrum = simulate_edx({"carbon": 100.0}, conditions, noise=False)
    for low, high in ((9.15, 9.35), (1.05, 1.15), (2.0, 2.1), (8.0, 8.1)):
        assert window(spectrum, conditions, low, high) > 0.5
    assert window(spectrum, conditions, 6.3, 6.5) < 1e-3 * window(spectrum, conditions, 0.2, 0.35)


def test_vanadium_of_the_other_electrode():
    conditions = replace(CLEAN, live_time=1.0)
    spectrum = simulate_edx({"Li3V2(PO4)3": 10.0}, conditions, noise=False)
    vanadium, phosphorus = window(spectrum, conditions, 4.8, 5.6), window(spectrum, conditions, 1.9, 2.2)
    ratio = 2 * photon_yield("V", "K", 200.0) / (3 * photon_yield("P", "K", 200.0))
    assert vanadium / phosphorus == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize("detector", [XRayDetector(), XRayDetector.polymer_window()], ids=["windowless", "window"])
def test_sensitivity_is_what_a_thin_standard_gives(detector):
    conditions = replace(CLEAN, detector=replace(detector, resolving_time=0.0), live_time=1.0)
    peaks = {"Fe_Ka": (6.0, 6.75, 55.845), "P_Ka": (1.8, 2.09, 30.974)}
    atoms = {"Fe": 0.01, "P": 0.01}
    spectrum = expected_spectra(atoms, conditions)
    for name, (low, high, _) in peaks.items():
        counted = window(spectrum, conditions, low, high)
        # What lies in the window beside the Gaussian of this line: tails, and P Kb.
        assert counted / (conditions.electrons * 0.01) == pytest.approx(sensitivity(name, conditions), rel=0.03)
    k = true_k_factors(list(peaks), conditions)
    assert k[0] == 1
    expected = 30.974 / 55.845 * sensitivity("Fe_Ka", conditions) / sensitivity("P_Ka", conditions)
    assert k[1] == pytest.approx(expected)


def test_nature_may_depart_from_the_tables():
    odd = replace(CLEAN, yields=(("Fe_L", 0.5), ("P_K", 1.2)))
    plain, other = (expected_spectra({"Fe": 1.0, "P": 1.0}, c, electrons=1e10) for c in (CLEAN, odd))
    for (low, high), factor in (((6.2, 7.3), 1.0), ((0.5, 0.9), 0.5), ((1.9, 2.3), 1.2)):
        assert window(other, odd, low, high) == pytest.approx(factor * window(plain, CLEAN, low, high), rel=1e-3)
    assert sensitivity("P_Ka", odd) == pytest.approx(1.2 * sensitivity("P_Ka", CLEAN))
    assert true_k_factors(["Fe_Ka", "Fe_La"], odd)[1] == pytest.approx(2 * true_k_factors(["Fe_Ka", "Fe_La"], CLEAN)[1])


def test_polymer_window_stops_soft_x_rays():
    soft, hard = ([efficiency(e, d)[0] for d in (XRayDetector(), XRayDetector.polymer_window())] for e in (0.277, 6.4))
    assert soft[1] < 0.6 * soft[0]
    assert hard[1] == pytest.approx(0.77 * hard[0], rel=0.01)


@pytest.mark.parametrize(("alpha", "beta"), [(0, 0), (15.0, 0), (-10.0, 5.0)])
def test_take_off_angle_is_that_of_hyperspy(alpha, beta):
    conditions = XRayConditions(tilt_alpha=alpha, tilt_beta=beta)
    assert conditions.take_off_angle == pytest.approx(take_off_angle(alpha, 45.0, 18.0, beta))


def test_signal_knows_the_microscope():
    conditions = XRayConditions(offset=-0.2, tilt_alpha=5.0, n_channels=512)
    counts = simulate_edx({"LAGP": np.full((2, 3), 50.0)}, conditions, rng=1)
    signal = edx_to_signal(counts, conditions, electrons=2 * conditions.electrons, pixel_size=3.0, title="T")
    assert type(signal).__name__ == "EDSTEMSpectrum"
    x, y = signal.axes_manager.navigation_axes
    assert (x.size, y.size, x.scale, x.units) == (3, 2, 3.0, "nm")
    energy = signal.axes_manager.signal_axes[0]
    assert (energy.offset, energy.scale, energy.units, energy.is_binned) == (-0.2, 0.01, "keV", True)
    tem = signal.metadata.Acquisition_instrument.TEM
    assert (tem.beam_energy, tem.beam_current, tem.Stage.tilt_alpha) == (200.0, 1.0, 5.0)
    assert tem.Detector.EDS.energy_resolution_MnKa == 130.0
    assert tem.Detector.EDS.live_time == pytest.approx(0.2)
    assert signal.get_take_off_angle() == pytest.approx(conditions.take_off_angle)
    assert set(signal.metadata.Sample.elements) >= {"O", "Al", "P", "V", "Fe", "Ge", "C", "Pt", "Ga", "Au", "Cu", "Si"}
    signal.add_lines(["Ge_La", "O_Ka"])
    assert set(signal.metadata.Sample.xray_lines) >= {"Ge_La", "O_Ka"}


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="element 'Xx'"):
        expected_spectra({"Xx": 1.0})
    with pytest.raises(ValueError, match=r"columns\['LAGP'\]"):
        simulate_edx({"LAGP": -1.0})
    with pytest.raises(LookupError, match="unobtainium"):
        simulate_edx({"unobtainium": 1.0})
    with pytest.raises(ValueError, match="Fe_Qa"):
        sensitivity("Fe_Qa")
    empty = XRayConditions(counts_per_channel=1.0, contamination=Contamination.none())
    with pytest.raises(ValueError, match="counts_per_channel"):
        simulate_edx({"LAGP": 0.0}, empty)


def test_every_line_belongs_to_a_family_whose_shares_add_up():
    for element in x_ray_elements():
        for family in {line.family for line in lines(element)}:
            assert sum(line.share for line in lines(element) if line.family == family) == pytest.approx(1)


@pytest.mark.usefixtures("single_lines")
def test_platinum_lines_weigh_as_in_a_real_spectrum():
    """Particles of FePt on a Super-X detector (exspy's example): the only check that no table of ours has a part in."""
    real = exspy.data.EDS_TEM_FePt_nanoparticles()
    axis = real.axes_manager.signal_axes[0]
    conditions = replace(
        CLEAN, dispersion=axis.scale, offset=axis.offset, n_channels=axis.size, detector=XRayDetector()
    )
    simulated = expected_spectra({"Pt": 1.0}, conditions, electrons=1e10)
    energy = conditions.energy

    def area(spectrum, low, high):
        peak = (energy > low) & (energy < high)
        width = (high - low) / 4
        beside = ((energy > low - width) & (energy < low)) | ((energy > high) & (energy < high + width))
        return spectrum[peak].sum() - spectrum[beside].mean() * peak.sum()

    ratios = [area(s, 1.85, 2.35) / area(s, 9.25, 9.65) for s in (real.data.astype(float), simulated)]
    # Yields of M shells are known to some 20 %; particles absorb a few per cent of the M lines.
    assert ratios[1] == pytest.approx(ratios[0], rel=0.25)


def test_lines_are_split_and_wide_by_nature():
    """Kα of Ge: two lines 32 eV apart, the weaker with half of the photons of the other."""
    conditions = replace(CLEAN, dispersion=0.003)
    expected = expected_spectra({"Ge": 1e-3}, conditions, electrons=1e15)
    energy = conditions.dispersion * np.arange(expected.size)
    upper, lower = (expected[np.argmin(np.abs(energy - e))] for e in (9.886, 9.855))
    assert 0.4 < lower / upper < 0.75
    near = (energy > 9.6) & (energy < 10.1)
    single = 9.8861 - float(np.average(energy[near], weights=expected[near]))
    assert 0.006 < single < 0.018  # the centre of gravity lies a third of the splitting below Kα1
