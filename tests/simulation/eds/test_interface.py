"""The virtual interface: its profile has the width, and the migration the amount, that was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.simulation import InterfaceOptions, XRayConditions, simulate_interface
from hyperspy_assb.simulation.eds.interface import (
    interface_atoms,
    interface_profile,
    migration_profile,
)

DISTANCE = np.linspace(-400, 400, 160001)
STEP = DISTANCE[1] - DISTANCE[0]


def width(profile):
    low, high = np.interp([0.1, 0.9], profile, DISTANCE)
    return high - low


@given(st.floats(0.5, 50), st.floats(0, 10))
@settings(max_examples=25, deadline=None)
def test_width_is_the_10_to_90_width(asked, probe):
    # A Gaussian of full width w at half maximum is an error function of 10-90 % width 1.0885 w.
    expected = np.hypot(asked, 2.5631031 / 2.3548200 * probe)
    assert width(interface_profile(DISTANCE, width=asked, probe=probe)) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_sharp_interface_is_a_step():
    profile = interface_profile(DISTANCE, width=0.0)
    np.testing.assert_array_equal(profile, np.where(DISTANCE == 0, 0.5, DISTANCE > 0))


@pytest.mark.parametrize("asked", [0.0, 8.0])
def test_tilt_and_probe_are_convolutions(asked):
    smear, probe = 14.0, 3.0
    exact = interface_profile(DISTANCE, width=asked, probe=probe, smear=smear)
    sharp = interface_profile(DISTANCE, width=asked)
    kernel = np.exp(-4 * np.log(2) * (DISTANCE[np.abs(DISTANCE) < 20] / probe) ** 2)
    box = np.ones(round(smear / STEP) + 1)
    box[[0, -1]] = 0.5
    for k in (kernel, box):
        sharp = np.convolve(sharp, k / k.sum(), mode="same")
    inner = np.abs(DISTANCE) < 300
    np.testing.assert_allclose(exact[inner], sharp[inner], atol=3e-4)


def test_tilt_smears_by_thickness_times_tangent():
    options = InterfaceOptions(tilt=10.0, thickness=100.0, probe=0.0)
    iron = interface_atoms(DISTANCE, options)["Fe"]
    assert width(iron / iron[-1]) == pytest.approx(0.8 * 100 * np.tan(np.deg2rad(10)), rel=1e-4)


@pytest.mark.parametrize(("probe", "smear"), [(0.0, 0.0), (2.0, 0.0), (0.0, 9.0), (4.0, 9.0)])
def test_migration_profile_holds_one_atom(probe, smear):
    profile = migration_profile(DISTANCE, decay=12.0, probe=probe, smear=smear)
    assert profile.sum() * STEP == pytest.approx(1, abs=1e-3)
    # Neither beam nor tilt moves it.
    assert np.sum(profile * DISTANCE) * STEP == pytest.approx(12.0, abs=0.02)
    assert profile.min() > -1e-9


@pytest.mark.parametrize("asked", [0.0, 20.0])
def test_amount_beyond_the_boundary(asked):
    options = InterfaceOptions(width=asked, probe=0.0, migrated={"Fe": 4.0, "Ge": 1.5}, decay=8.0)
    atoms = interface_atoms(DISTANCE, options)
    truth = simulate_interface(InterfaceOptions(**{**options.__dict__, "shape": (1, 8)}), rng=0).truth
    here = {"Fe": DISTANCE < 0, "Ge": DISTANCE > 0}
    for element, side in here.items():
        beyond = atoms[element][side].sum() * STEP / options.thickness
        assert beyond == pytest.approx(truth.beyond[element], rel=2e-3)
    assert truth.beyond["Fe"] == pytest.approx(4.0 + 13.723 * asked / 2.5631 / np.sqrt(2 * np.pi), rel=1e-3)
    # What went over is missing where it came from.
    plain = interface_atoms(DISTANCE, InterfaceOptions(width=asked, probe=0.0))
    assert atoms["Fe"].sum() == pytest.approx(plain["Fe"].sum(), rel=1e-6)


def test_widths_by_element():
    atoms = interface_atoms(DISTANCE, InterfaceOptions(width={"Fe": 20.0, "Ge": 5.0}, probe=0.0))
    assert width(atoms["Fe"] / atoms["Fe"][-1]) == pytest.approx(20.0, rel=1e-3)
    assert width(1 - atoms["Ge"] / atoms["Ge"][0]) == pytest.approx(5.0, rel=1e-3)
    assert np.unique(atoms["P"].round(6)).size <= 3


def test_electrode_may_be_a_mixture():
    atoms = interface_atoms(np.array([50.0]), InterfaceOptions(electrode={"Li3V2(PO4)3": 0.7, "carbon": 0.3}))
    assert atoms["V"] / atoms["P"] == pytest.approx(2 / 3)
    assert atoms["C"] > 0
    assert atoms["Ge"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0])
def test_map_turns_with_its_angle(angle):
    options = InterfaceOptions(angle=angle, position=3.0, shape=(40, 40), pixel_size=2.0, width=6.0)
    truth = simulate_interface(options, rng=1).truth
    direction = np.deg2rad(angle)
    middle = truth.distance.mean()
    assert middle == pytest.approx(-3.0)
    assert truth.distance[0, 1] - truth.distance[0, 0] == pytest.approx(2 * np.cos(direction))
    assert truth.distance[1, 0] - truth.distance[0, 0] == pytest.approx(2 * np.sin(direction), abs=1e-9)
    np.testing.assert_allclose(sum(truth.atomic_percent.values()), 100)
    iron = truth.areal_density["Fe"] / truth.areal_density["Fe"].max()
    np.testing.assert_allclose(iron, interface_profile(truth.distance, width=6.0, probe=1.5), atol=1e-3)


def test_scene_is_reproducible_and_a_signal():
    options = InterfaceOptions(width=5.0, shape=(4, 24))
    conditions = XRayConditions(counts_per_channel=0.5)
    one, two = (simulate_interface(options, conditions, rng=7) for _ in range(2))
    np.testing.assert_array_equal(one.counts, two.counts)
    assert one.truth.position == two.truth.position
    other = simulate_interface(options, conditions, rng=8)
    assert other.truth.position != one.truth.position
    assert one.counts.mean() == pytest.approx(0.5, rel=0.02)
    signal = one.signal
    assert signal.axes_manager.navigation_shape == (24, 4)
    assert signal.axes_manager.navigation_axes[0].scale == 2.0
    live_time = signal.metadata.Acquisition_instrument.TEM.Detector.EDS.live_time
    assert live_time * conditions.electrons / conditions.live_time == pytest.approx(one.truth.electrons)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="width and probe"):
        InterfaceOptions(width=-1.0)
    with pytest.raises(ValueError, match="tilt"):
        InterfaceOptions(tilt=90.0)
    with pytest.raises(ValueError, match="no 1000 atoms"):
        interface_atoms(DISTANCE, InterfaceOptions(migrated={"Fe": 1000.0}))
    with pytest.raises(ValueError, match="P must lie on one side"):
        interface_atoms(DISTANCE, InterfaceOptions(migrated={"P": 1.0}))
    with pytest.raises(ValueError, match="neither side holds Au"):
        interface_atoms(DISTANCE, InterfaceOptions(migrated={"Au": 1.0}))
