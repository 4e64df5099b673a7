"""References that computed spectra find in the map, on lamellae of oscillators: another truth than the computed one."""

import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.computed_phases import band_share, computed_contrast, confirm
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry
from hyperspy_assb.eels.scattering.single_scattering import (
    Grid,
    estimate_single_scattering,
    fit_zero_loss_shape,
    sum_aligned,
)
from hyperspy_assb.eels.zero_loss.position import estimate_centre
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation import EELSConditions, mean_free_path, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal
from hyperspy_assb.simulation.eels.dielectric import computed_phase, phase

GEOMETRY = ScatteringGeometry(200.0, 8.0, 15.0)
OLIVINE = reference.electrode("LixFePO4")
CONTRAST = computed_contrast(OLIVINE, GEOMETRY)


def signal_of(columns, seed=1):
    counts = simulate_spectra(columns, rng=seed)
    return spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")


@pytest.fixture(scope="module")
def olivine():
    rng = np.random.default_rng(3)
    x = np.concatenate([np.ones(60), np.zeros(60), rng.uniform(0.1, 0.9, 60)])
    nm = rng.uniform(40.0, 110.0, x.size)
    return signal_of({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}), x


def test_x_without_naming_pixels(olivine, tmp_path):
    signal, share = olivine
    found = signal.quantify_delithiation("computed", ensemble=False, show_progressbar=False)
    assert found.calibration == "references found by computed spectra"
    assert "have not been checked by eye" in found.notes[0]
    assert found.references["LiFePO4"][:60].sum() == found.references["LiFePO4"].sum()
    assert found.references["FePO4"][60:120].sum() == found.references["FePO4"].sum()
    volumes = (share * phase("FePO4").volume, (1 - share) * phase("LiFePO4").volume)
    x = volumes[0] / (volumes[0] + volumes[1])
    error = (found.x.data - x)[found.quantified]
    assert abs(error.mean()) < 0.02
    assert found.x_systematic.data[found.quantified].max() < 0.25
    found.save(tmp_path / "x.zspy")
    again = hyperspy_assb.load(tmp_path / "x.zspy")
    assert again.calibration == found.calibration
    assert again.notes == found.notes


def test_what_is_named_stays_as_it_was(olivine):
    signal, share = olivine
    named = signal.quantify_delithiation(
        {"LFP": share == 1.0, "FP": share == 0.0}, ensemble=False, show_progressbar=False
    )
    assert named.calibration == "references"
    assert not named.found_by_computed


def test_a_map_without_olivine_shows_neither():
    rng = np.random.default_rng(1)
    nm = np.stack([rng.uniform(30, 90, 120) * (np.arange(120) < 60), rng.uniform(30, 90, 120) * (np.arange(120) >= 60)])
    with pytest.raises(AssbValueError, match="neither LiFePO4 nor FePO4"):
        signal_of({"LAGP": nm[0], "carbon": nm[1]}).quantify_delithiation("computed", show_progressbar=False)


def test_a_real_map_without_olivine_shows_neither(shared_data):
    signal = hyperspy_assb.load_spectrum_image(shared_data / "eels/lowloss_map/lowloss_16x16_0.3eV.dm3")
    with pytest.raises(AssbValueError, match="neither LiFePO4 nor FePO4"):
        signal.quantify_delithiation("computed", show_progressbar=False)


def test_another_electrode_was_not_computed(olivine):
    with pytest.raises(AssbValueError, match="LiCoO2 and CoO2 has none"):
        olivine[0].quantify_delithiation("computed", electrode="LixCoO2")


@pytest.mark.parametrize(("name", "above"), [("LiFePO4", False), ("FePO4", True)])
def test_theory_tells_oscillators_apart(name, above):
    """Construction: shares of the loss functions themselves; neither truth lies near the limit between them."""
    loss = phase(name).energy[1:1200]
    angles = GEOMETRY.effective_collection_angle(loss) / GEOMETRY.characteristic_angle(loss)
    share = float(band_share(phase(name).loss_function[1:1200] * np.log1p(angles**2), loss))
    assert (share > 1.5 * CONTRAST.limit) if above else (share < CONTRAST.limit / 1.5)
    other = "LiFePO4" if above else "FePO4"
    assert confirm(name, "", share, OLIVINE, CONTRAST)[0] == name
    assert confirm(other, "", share, OLIVINE, CONTRAST)[0] == ""
    assert confirm("LAGP", "as it is", share, OLIVINE, CONTRAST) == ("LAGP", "as it is")


@pytest.mark.parametrize("name", ["LiFePO4", "FePO4"])
def test_computed_phase_has_its_electrons_and_its_losses(name):
    made, table = computed_phase(name, 4.3), reference.computed_optics(name, hubbard_u=4.3)
    assert made.electrons == pytest.approx(phase(name).electrons, rel=1e-6)
    inside = (made.energy >= 4) & (made.energy <= 7)
    area = np.trapezoid(made.loss_function[inside], made.energy[inside])
    mean = -(1 / table.permittivity.mean(axis=0)).imag
    own = (table.energy >= 4) & (table.energy <= 7)
    assert area == pytest.approx(np.trapezoid(mean[own], table.energy[own]), rel=0.05)


def test_optics_that_do_not_exist_are_refused():
    with pytest.raises(AssbValueError, match="optics must be"):
        EELSConditions(optics="measured")


@pytest.mark.slow
@pytest.mark.parametrize("optics", ["oscillators", "computed"])
@pytest.mark.parametrize("name", ["LiFePO4", "FePO4"])
def test_pure_pixels_are_told_apart_by_theory_alone(name, optics):
    """300 pure pixels of 1e6 electrons, t/lambda 0.2 to 1: 99 % on the right side of the limit."""
    conditions = EELSConditions(optics=optics)
    nm = mean_free_path(name) * np.random.default_rng(7).uniform(0.2, 1.0, 300)
    counts = simulate_spectra({name: nm}, conditions, rng=8).astype(float)
    energy, grid = conditions.energy, Grid.of(conditions.energy)
    found = estimate_centre(counts, energy)
    centre, fwhm = np.ravel(found.centre), float(np.median(found.fwhm))
    total = sum_aligned(counts, energy, centre, grid)
    peak = fit_zero_loss_shape(total, grid, fwhm=fwhm, first=float(energy[0] - centre.max()))
    single = estimate_single_scattering(counts, energy, centre, peak)
    above = band_share(single.distribution, single.loss) > CONTRAST.limit
    assert np.mean(above == (name == "FePO4")) > 0.99
