"""Scans of diffraction patterns of the virtual lamella: each pixel's pattern is that of what lies there."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.simulation import (
    MATERIALS,
    BatteryOptions,
    DiffractionConditions,
    DiffractionScan,
    EELSConditions,
    LamellaState,
    build_lamella,
    dominant_material,
    micro_battery,
    simulate_patterns,
    simulate_scan,
)
from hyperspy_assb.simulation.acom.amorphous import RADIAL_STEP, amorphous_profile
from hyperspy_assb.simulation.acom.scan import default_signal_type

CONDITIONS = DiffractionConditions().with_shape((64, 64))
STILL = replace(CONDITIONS, descan=(0.0, 0.0), beam_jitter=0.0, strain=0.0)


@pytest.fixture(scope="module")
def lamella():
    return build_lamella((12, 10), np.random.default_rng(3))


@pytest.fixture(scope="module")
def battery():
    spectra = EELSConditions(dispersion=1.0, n_channels=64)
    return micro_battery((12, 10), seed=3, options=BatteryOptions(eels=spectra, patterns=CONDITIONS))


def one_pixel(material, grain, orientations, thickness=80.0):
    material = np.asarray(material, dtype=np.int8).reshape(1, 1, 32)
    grain = np.asarray(grain).reshape(1, 1, 32)
    return LamellaState.from_samples(
        material,
        grain,
        np.zeros_like(grain),
        grain_orientations=np.asarray(orientations, dtype=float),
        thickness=np.full((1, 1), thickness) * (1 - (material == 5).mean()),
        carbon_film=np.zeros((1, 1)),
    )


def rings(pattern, conditions):
    """Mean and standard deviation of each radius in pixels."""
    y, x = np.indices(pattern.shape)
    cx, cy = conditions.direct_beam_position
    radius = np.rint(np.hypot(x - cx, y - cy)).astype(int).ravel()
    count = np.bincount(radius)
    mean = np.bincount(radius, pattern.ravel()) / count
    return mean, np.sqrt(np.bincount(radius, (pattern.ravel() - mean[radius]) ** 2) / count)


def test_signals_are_calibrated(battery):
    signal = battery.patterns_before
    assert battery.patterns_before is signal
    assert signal.data.shape == (12, 10, 64, 64)
    assert signal.data.dtype == np.uint16
    assert "before" in signal.metadata.General.title
    assert signal.metadata.Signal.signal_type == default_signal_type()
    x, y = signal.axes_manager.navigation_axes
    assert (x.name, y.name, x.size, y.size, x.units) == ("x", "y", 10, 12, "nm")
    assert x.scale == pytest.approx(battery.truth.pixel_size)
    kx, ky = signal.axes_manager.signal_axes
    assert (kx.name, ky.name, kx.units, ky.units) == ("kx", "ky", "1/Å", "1/Å")
    assert kx.scale == CONDITIONS.scale
    assert kx.offset == pytest.approx(-32 * CONDITIONS.scale)
    tem = signal.metadata.Acquisition_instrument.TEM
    assert (tem.beam_energy, tem.precession_angle) == (200.0, 0.7)
    assert tem.rocking_angle == pytest.approx(12.217, abs=1e-3)
    # One pixel, seen from the specimen, covers scale times wavelength.
    angle = CONDITIONS.scale * 0.0250793
    assert tem.camera_length == pytest.approx(1e-3 * CONDITIONS.pixel_size / angle, rel=1e-4)


def test_patterns_leave_the_spectra_as_they_were(battery):
    spectra = EELSConditions(dispersion=1.0, n_channels=64)
    plain = micro_battery((12, 10), seed=3, options=BatteryOptions(eels=spectra))
    np.testing.assert_array_equal(plain.eels_after.data, battery.eels_after.data)
    assert plain.pattern_conditions.shape == (128, 128)
    assert plain.pattern_conditions.scale * 128 == pytest.approx(DiffractionConditions().scale * 256)


def test_stated_calibration_is_only_stated(battery):
    wrong = replace(CONDITIONS, stated_scale=0.05, stated_centre=(30.0, 33.0))
    signal = battery.simulate_patterns("before", wrong)
    np.testing.assert_array_equal(signal.data, battery.patterns_before.data)
    kx, ky = signal.axes_manager.signal_axes
    assert (kx.scale, kx.offset, ky.offset) == pytest.approx((0.05, -1.5, -1.65))


def test_same_seed_same_patterns(battery):
    spectra = EELSConditions(dispersion=1.0, n_channels=64)
    again = micro_battery((12, 10), seed=3, options=BatteryOptions(eels=spectra, patterns=CONDITIONS))
    np.testing.assert_array_equal(again.patterns_after.data, battery.patterns_after.data)
    assert np.any(battery.patterns_after.data != battery.patterns_before.data)
    other = micro_battery((12, 10), seed=3, noise_seed=9, options=BatteryOptions(eels=spectra, patterns=CONDITIONS))
    assert np.any(other.patterns_after.data != battery.patterns_after.data)
    grains = (scan.diffraction_scan("after").grain_strain for scan in (battery, other))
    np.testing.assert_array_equal(*grains)
    with pytest.raises(ValueError, match="during"):
        battery.simulate_patterns("during")


def test_lazy_equals_eager(battery):
    lazy = battery.simulate_patterns("after", lazy=True, chunks=(5, 4))
    assert lazy._lazy
    assert lazy.data.chunks[:2] == ((5, 5, 2), (4, 4, 2))
    np.testing.assert_array_equal(lazy.data.compute(), battery.patterns_after.data)
    part = lazy.inav[3:7, 2:9].data.compute()
    np.testing.assert_array_equal(part, battery.patterns_after.data[2:9, 3:7])


def test_a_scan_without_a_battery(lamella):
    signal = simulate_scan(lamella.after, CONDITIONS, 4, pixel_size=lamella.pixel_size, lazy=True, signal_type="")
    assert signal.data.dtype == np.uint16
    exact = DiffractionScan(lamella.after, CONDITIONS, 4).patterns(noise=False).astype(float)
    z = (signal.data.compute() - exact)[exact > 0.5] / np.sqrt(exact[exact > 0.5])
    assert np.mean(z**2) == pytest.approx(1, abs=0.05)
    assert abs(z.mean()) < 0.02


def test_a_pixel_of_one_grain_is_the_pattern_of_that_crystal():
    q = np.array([[np.nan] * 4, [0.5, -0.1, 0.7, 0.5]])
    q[1] /= np.linalg.norm(q[1])
    conditions = replace(STILL, intensity_scatter=0.0)
    for index, name in enumerate(("LiFePO4", "FePO4", "LAGP")):
        state = one_pixel([index] * 32, [1] * 32, q)
        scanned = DiffractionScan(state, conditions).patterns(noise=False)[0, 0]
        alone = simulate_patterns(q[1:], name, conditions, noise=False, thickness=80.0)[0]
        np.testing.assert_allclose(scanned, alone, rtol=1e-5, atol=1e-6)


def test_samples_become_layers():
    q = np.array([[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0.6, 0.8, 0, 0]])
    # Three places: grain 1 above grain 2, as 3 and 5 of 8 depths; the last place is carbon.
    column = [0] * 3 + [1] * 5
    state = one_pixel(column * 3 + [4] * 8, ([1] * 3 + [2] * 5) * 3 + [0] * 8, q)
    columns = DiffractionScan(state, STILL).columns()
    np.testing.assert_array_equal(columns.phase, [[0, 1]])
    np.testing.assert_allclose(columns.thickness, [[30, 50]])
    np.testing.assert_allclose(columns.weight, [[0.75, 0.75]])
    np.testing.assert_allclose(columns.amorphous["carbon"], [20])
    np.testing.assert_allclose(columns.amorphous["amorphous_LAGP"], [0])
    # One grain through all depths of one place, vacuum elsewhere: as thick as the lamella there.
    state = one_pixel([2] * 8 + [5] * 24, [1] * 8 + [0] * 24, q)
    columns = DiffractionScan(state, STILL).columns()
    np.testing.assert_allclose(columns.thickness, [[80]])
    np.testing.assert_allclose(columns.weight, [[0.25]])


def test_columns_hold_what_the_lamella_holds(lamella):
    state = lamella.after
    columns = DiffractionScan(state, CONDITIONS).columns()
    whole = state.columns()
    for index, name in enumerate(("LiFePO4", "FePO4", "LAGP")):
        volume = np.where(columns.phase == index, columns.thickness * columns.weight, 0).sum(axis=1)
        np.testing.assert_allclose(volume, whole[name].ravel(), atol=1e-9)


@pytest.mark.parametrize("name", ["carbon", "amorphous_LAGP"])
def test_amorphous_pixels_have_rings_only(name):
    state = one_pixel([MATERIALS.index(name)] * 32, [0] * 32, [[1.0, 0, 0, 0]])
    conditions = replace(STILL, shape=(128, 128), scale=0.024, direct_beam=False)
    pattern = DiffractionScan(state, conditions).patterns(noise=False)[0, 0].astype(float)
    mean, spread = rings(pattern, conditions)
    # Within a ring one pixel wide only its slope is left.
    slope = np.abs(np.gradient(mean))
    assert np.all(spread[5:50] < 0.5 * slope[5:50] + 0.02 * mean[5:50])
    crystal = DiffractionScan(one_pixel([0] * 32, [1] * 32, [[1.0, 0, 0, 0]] * 2), conditions)
    mean, spread = rings(crystal.patterns(noise=False)[0, 0].astype(float), conditions)
    assert np.median(spread[5:50] / mean[5:50]) > 0.5


def test_rings_are_where_diffraction_finds_them():
    size = 600
    q = np.arange(size) * RADIAL_STEP
    carbon, rate = amorphous_profile("carbon", CONDITIONS, size)
    # Carbon black: layers 3.5 to 3.7 Å apart; the bands of the graphene plane at 2.13 and 1.23 Å rise steeply on
    # the inner side (Warren), their maxima lie a little outside.
    for low, high, expected, tolerance in (
        (0.22, 0.35, 1 / 3.55, 0.012),
        (0.42, 0.6, 0.47, 0.02),
        (0.7, 1.0, 0.82, 0.02),
    ):
        band = (q > low) & (q < high)
        assert q[band][carbon[band].argmax()] == pytest.approx(expected, abs=tolerance)
    # Elastic mean free path of amorphous carbon at 200 kV: 200 to 350 nm for 2 g/cm3 (density 1.8 here).
    assert 200 < 1 / rate < 400
    glass, _ = amorphous_profile("amorphous_LAGP", CONDITIONS, size)
    inner, outer = (q > 0.2) & (q < 0.33), (q > 0.45) & (q < 0.7)
    assert 0.25 < q[inner][glass[inner].argmax()] < 0.29
    assert 0.5 < q[outer][glass[outer].argmax()] < 0.6

    def width(profile):
        top = profile[inner].max()
        return (profile[inner] > 0.5 * top).sum() * RADIAL_STEP

    assert width(glass) > 1.3 * width(carbon)


def test_vacuum_has_the_direct_beam_only():
    state = one_pixel([5] * 32, [0] * 32, [[1.0, 0, 0, 0]])
    pattern = DiffractionScan(state, STILL).patterns(noise=False)[0, 0]
    y, x = np.indices(pattern.shape)
    assert pattern[np.hypot(x - 32, y - 32) > 6].max() == 0
    assert pattern.sum() == pytest.approx(CONDITIONS.electrons, rel=1e-3)


def test_the_beam_drifts(lamella):
    conditions = replace(CONDITIONS, descan=(4.0, -2.0), beam_jitter=0.1)
    scan = DiffractionScan(lamella.before, conditions, 1)
    shift = scan.beam_shift
    assert shift[:, -1, 0].mean() - shift[:, 0, 0].mean() == pytest.approx(4, abs=0.2)
    assert shift[-1, :, 1].mean() - shift[0, :, 1].mean() == pytest.approx(-2, abs=0.2)
    assert shift[:, -1, 1].mean() - shift[:, 0, 1].mean() == pytest.approx(0, abs=0.2)
    patterns = scan.patterns(noise=False).astype(float)
    near = patterns[..., 27:38, 27:38]
    y, x = np.mgrid[27:38, 27:38]
    core = np.where(near > 0.5 * near.max(axis=(-1, -2), keepdims=True), near, 0)
    total = core.sum(axis=(-1, -2))
    found = np.stack([(core * x).sum(axis=(-1, -2)) / total, (core * y).sum(axis=(-1, -2)) / total], axis=-1) - 32
    assert np.abs(found - shift).max() < 0.6
    assert np.corrcoef(found[..., 0].ravel(), shift[..., 0].ravel())[0, 1] > 0.97


def test_strain_belongs_to_the_grain(lamella):
    strained = DiffractionScan(lamella.after, replace(CONDITIONS, strain=0.003), 1).grain_strain
    np.testing.assert_array_equal(strained, np.swapaxes(strained, 1, 2))
    assert strained.std() == pytest.approx(0.003, rel=0.1)


def test_dominant_material(lamella):
    state = lamella.after
    largest = dominant_material(state)
    for index, name in enumerate(MATERIALS):
        assert np.all(largest[state.pure(name)] == index)
        others = np.max([state.fractions[other] for other in MATERIALS], axis=0)
        np.testing.assert_array_equal(state.fractions[name][largest == index], others[largest == index])
