"""The virtual battery: consistent truth, populated classes, reproducible noise."""

import numpy as np
import pytest

from hyperspy_assb.simulation import (
    MATERIALS,
    BatteryOptions,
    EELSConditions,
    XRayConditions,
    XRayDetector,
    build_lamella,
    micro_battery,
)

SMALL = EELSConditions(dispersion=0.5, n_channels=256)
OPTIONS = BatteryOptions(eels=SMALL)


@pytest.fixture(scope="module")
def battery():
    return micro_battery((24, 20), seed=3, options=OPTIONS)


@pytest.fixture(scope="module", params=[(48, 48), (64, 64)], ids=str)
def lamella(request):
    return build_lamella(request.param, np.random.default_rng(1))


def test_signals_are_calibrated(battery):
    for signal, state in ((battery.eels_before, "before"), (battery.eels_after, "after")):
        assert signal.metadata.Signal.signal_type == "EELS"
        assert signal.data.shape == (24, 20, 256)
        x, y = signal.axes_manager.navigation_axes
        assert (x.size, y.size, x.units, x.scale) == (20, 24, "nm", 75.0)
        energy = signal.axes_manager.signal_axes[0]
        assert (energy.offset, energy.scale, energy.units, energy.is_binned) == (-10.0, 0.5, "eV", True)
        tem = signal.metadata.Acquisition_instrument.TEM
        assert (tem.beam_energy, tem.convergence_angle, tem.Detector.EELS.collection_angle) == (200.0, 8.0, 15.0)
        assert state in signal.metadata.General.title


def test_x_rays_are_of_the_same_lamella(battery):
    for signal, truth, state in (
        (battery.edx_before, battery.edx_truth_before, battery.truth.before),
        (battery.edx_after, battery.edx_truth_after, battery.truth.after),
    ):
        assert signal.data.shape == (24, 20, 2048)
        assert signal.metadata.Signal.signal_type == "EDS_TEM"
        assert [axis.scale for axis in signal.axes_manager.navigation_axes] == [75.0, 75.0]
        solid = state.fractions["vacuum"] < 1
        for element in ("C", "O", "Al", "P", "Fe", "Ge", "Li"):
            np.testing.assert_allclose(truth.areal_density[element], state.areal_density(element))
        np.testing.assert_allclose(sum(truth.atomic_percent.values())[solid], 100)
        np.testing.assert_allclose(sum(truth.volume_fraction.values())[solid], 1)
        assert np.isnan(truth.atomic_percent["O"][~solid]).all()
        assert truth.atomic_percent["V"][solid].max() == 0
        # Counts of the iron lines follow the iron.
        iron = signal.data[..., 620:660].sum(axis=-1)[solid]
        assert np.corrcoef(iron, truth.areal_density["Fe"][solid])[0, 1] > 0.98
        # Implanted everywhere on the lamella, platinum most at its edge.
        assert truth.areal_density["Ga"][solid].max() == pytest.approx(20.0)
        platinum = np.where(state.fractions["vacuum"] == 0, truth.areal_density["Pt"], np.nan)
        assert np.all(np.diff(np.nanmean(platinum[2:], axis=1)) < 0)
    olivine = np.nanmean(battery.edx_truth_after.volume_fraction["olivine"])
    assert olivine == pytest.approx(0.455, abs=0.06)


def test_x_rays_are_simulated_once_and_by_seed(battery):
    assert battery.edx_before is battery.edx_before
    again = micro_battery((24, 20), seed=3, options=OPTIONS)
    np.testing.assert_array_equal(again.edx_after.data, battery.edx_after.data)
    assert np.any(battery.edx_before.data != battery.edx_after.data)
    other = micro_battery((24, 20), seed=3, noise_seed=9, options=OPTIONS)
    assert np.any(other.edx_after.data != battery.edx_after.data)
    exact = micro_battery((24, 20), seed=3, options=OPTIONS, noise=False).edx_after.data
    z = (battery.edx_after.data - exact) / np.sqrt(np.maximum(exact, 1e-9))
    assert np.mean(z[exact > 1] ** 2) == pytest.approx(1, abs=0.03)


def test_x_rays_as_asked_for(battery):
    wanted = XRayConditions(counts_per_channel=0.05, detector=XRayDetector(energy_resolution=140.0))
    own = micro_battery((24, 20), seed=3, options=BatteryOptions(eels=SMALL, edx=wanted))
    assert own.edx_before.data.mean() == pytest.approx(0.05, rel=0.02)
    eds = own.edx_after.metadata.Acquisition_instrument.TEM.Detector.EDS
    assert eds.energy_resolution_MnKa == 140.0
    # The same time for both states.
    assert eds.live_time == own.edx_before.metadata.Acquisition_instrument.TEM.Detector.EDS.live_time
    # X-rays leave the EELS counts as they are.
    np.testing.assert_array_equal(own.eels_before.data, battery.eels_before.data)


def test_eels_counts_are_those_of_before_x_rays(battery):
    # Sums of the version without X-rays (own snapshot): another draw would differ by some 20,000.
    assert battery.eels_before.data.sum(dtype=float) == pytest.approx(447231509.0, abs=200)
    assert battery.eels_after.data.sum(dtype=float) == pytest.approx(447029181.0, abs=200)


def test_same_seed_same_data_and_noise_is_separate(battery):
    again = micro_battery((24, 20), seed=3, options=OPTIONS)
    np.testing.assert_array_equal(again.eels_after.data, battery.eels_after.data)
    other = micro_battery((24, 20), seed=3, noise_seed=9, options=OPTIONS)
    np.testing.assert_array_equal(other.truth.after.x, battery.truth.after.x)
    np.testing.assert_array_equal(other.truth.after.orientation, battery.truth.after.orientation)
    assert np.any(other.eels_after.data != battery.eels_after.data)
    assert np.any(battery.eels_before.data != battery.eels_after.data)
    different = micro_battery((24, 20), seed=4, options=OPTIONS)
    assert np.any(different.truth.after.grain_id != battery.truth.after.grain_id)


def test_expectation_is_what_the_counts_scatter_about(battery):
    exact = micro_battery((24, 20), seed=3, options=OPTIONS, noise=False)
    np.testing.assert_array_equal(exact.truth.zero_loss_after, battery.truth.zero_loss_after)
    expected = exact.eels_after.data
    z = (battery.eels_after.data - expected) / np.sqrt(expected)
    assert np.mean(z[expected > 20] ** 2) == pytest.approx(1, abs=0.02)


def test_t_over_lambda(battery):
    state = battery.truth.after
    assert np.all(state.t_over_lambda[state.pure("vacuum")] == 0)
    full = state.fractions["vacuum"] == 0
    assert state.t_over_lambda[full].min() < 0.35
    assert 1.3 < state.t_over_lambda.max() < 1.8


def test_truth_maps_are_consistent(lamella):
    for state in (lamella.before, lamella.after):
        np.testing.assert_allclose(sum(state.fractions.values()), 1)
        assert set(state.fractions) == set(MATERIALS)
        np.testing.assert_array_equal(np.isnan(state.x), state.olivine == 0)
        assert np.nanmin(state.x) >= 0
        assert np.nanmax(state.x) <= 1
        norm = np.linalg.norm(state.orientation, axis=-1)
        np.testing.assert_allclose(norm[state.grain_id > 0], 1)
        assert np.all(np.isnan(norm[state.grain_id == 0]))
        assert np.all(state.particle_id <= len(lamella.particles.radius))
        assert state.carbon_film.min() >= 0
        assert state.carbon_film.max() <= 5
        columns = state.columns()
        np.testing.assert_allclose(sum(columns.values()), state.thickness + state.carbon_film)
        # Every Fe has x Li in the olivine; LAGP brings the rest.
        iron, lithium = state.areal_density("Fe"), state.areal_density("Li")
        lagp = 1.5 * columns["LAGP"] / 0.2032 + 1.2 * columns["amorphous_LAGP"] / 0.2095
        np.testing.assert_allclose(lithium, np.nan_to_num(state.x) * iron + lagp, atol=1e-9)
    np.testing.assert_array_equal(lamella.before.thickness, lamella.after.thickness)
    np.testing.assert_array_equal(lamella.before.particle_id, lamella.after.particle_id)
    assert np.all(lamella.after.carbon_film >= lamella.before.carbon_film)
    assert lamella.after.carbon_film.mean() > lamella.before.carbon_film.mean() + 0.5


def test_proportions_are_those_of_the_paper(lamella):
    state = lamella.after
    solid = 1 - state.fractions["vacuum"].mean()
    shares = {name: 100 * state.fractions[name].mean() / solid for name in MATERIALS[:-1]}
    paper = {"LiFePO4": 24.5, "FePO4": 21.0, "LAGP": 20.5, "amorphous_LAGP": 15.4, "carbon": 18.5}
    assert shares == pytest.approx(paper, abs=0.5)
    before = lamella.before.fractions
    assert before["FePO4"].mean() < 0.08
    assert before["amorphous_LAGP"].mean() < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_every_class_is_populated(seed):
    lamella = build_lamella((48, 48), np.random.default_rng(seed))
    for name in ("LiFePO4", "FePO4", "LAGP", "carbon"):
        pure = lamella.after.pure(name)
        assert pure.sum() >= 20
        assert np.ptp(lamella.after.thickness[pure]) > 60
    for name in ("LiFePO4", "FePO4", "vacuum"):
        assert lamella.before.pure(name).sum() >= 15
    for state in (lamella.before, lamella.after):
        x = state.x[state.olivine > 0.3]
        for inside in (x < 0.1, (x >= 0.1) & (x <= 0.9), x > 0.9):
            assert inside.sum() >= 15
        mixed = (state.olivine > 0.3) & (state.olivine < 0.98)
        assert mixed.sum() > 100


def test_large_particles_are_of_one_phase_and_small_ones_mixed(lamella):
    after, particles = lamella.after, lamella.particles
    assert particles.radius[~particles.mosaic].min() >= particles.radius[particles.mosaic].max() * 0.99
    for i in np.flatnonzero(~particles.mosaic):
        x = after.x[(after.particle_id == i + 1) & (after.olivine > 0.98)]
        if len(x):
            assert np.median(x) == (0 if particles.delithiated[i] else 1)
    small = np.isin(after.particle_id, np.flatnonzero(particles.mosaic) + 1)
    x = after.x[small]
    assert 0.2 < np.mean(x) < 0.8


def test_pure_names_and_film(lamella):
    with pytest.raises(ValueError, match="quartz"):
        lamella.after.pure("quartz")
    clean = lamella.after.pure("LiFePO4", film_share=0.03)
    assert 0 < clean.sum() < lamella.after.pure("LiFePO4").sum()
    with pytest.raises(ValueError, match="Mn"):
        lamella.after.areal_density("Mn")
