"""Delithiation without references: by cross-sections, labelled so, and refused where they cannot tell."""

from __future__ import annotations

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.eels.delithiation.cross_section_calibration import near_edge_errors
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.scattering.separability import NEAR_EDGE_UNCERTAINTY
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, SolverOptions, fit_spectra
from hyperspy_assb.models.compile import compile_model
from hyperspy_assb.models.recorded_noise import detector_of_model
from hyperspy_assb.simulation import micro_battery

NEEDS = "needs references: this result is by built-in cross-sections"


@pytest.fixture(scope="module")
def battery():
    return micro_battery(shape=(20, 20), seed=7, signal_type="EELS_ASSB")


@pytest.fixture(scope="module")
def result(battery):
    return battery.eels_after.quantify_delithiation(method="lithium", show_progressbar=False)


# -------------------------------------------------------------------------------------------------------- the answer


def pure(result, truth, phase):
    return truth.pure(phase) & np.isfinite(result.x.data)


def test_pure_olivines_are_within_the_stated_systematic(result, battery):
    truth = battery.truth.after
    for phase, x in (("LiFePO4", 1.0), ("FePO4", 0.0)):
        pixels = pure(result, truth, phase)
        assert pixels.sum() > 0.7 * truth.pure(phase).sum(), phase
        off = abs(np.median(result.x.data[pixels]) - x)  # known truth
        assert off < np.median(result.x_systematic.data[pixels]), phase


def test_the_olivines_differ_in_the_right_direction(result, battery):
    truth = battery.truth.after
    ends = {phase: pure(result, truth, phase) for phase in ("LiFePO4", "FePO4")}
    table = result.to_dataframe(ends)
    difference = table.x["LiFePO4"] - table.x["FePO4"]
    assert difference > 5.0 * np.hypot(table.x_std["LiFePO4"], table.x_std["FePO4"])


def test_what_is_no_electrode_has_no_x(result, battery):
    for phase in ("LAGP", "carbon", "vacuum"):
        assert not pure(result, battery.truth.after, phase).any(), phase


def test_no_pixel_is_passed_off_as_certain(result):
    """The stated systematic leaves LiFePO4 and FePO4 less than four standard errors apart."""
    answered = result.status.data[np.isfinite(result.x.data)]
    assert set(np.unique(answered)) <= {DelithiationStatus.UNCERTAIN, DelithiationStatus.UNEXPLAINED}


# --------------------------------------------------------------------------------------------------------- the label


def test_it_says_that_it_is_built_in(result):
    assert result.builtin
    assert result.standard is None
    assert result.method == "lithium"
    assert "built-in cross-sections" in repr(result)
    assert result.provenance["parameters"]["calibration"] == "built-in cross-sections"
    assert any("Egerton" in work for work in result.provenance["citations"])
    axes = result.plot()
    assert "built-in cross-sections" in axes[0, 0].get_figure(root=True).get_suptitle()
    plt.close("all")


def test_the_signal_is_left_alone(result, battery):
    assert battery.eels_after.metadata.get_item("Signal.Noise_properties.Variance_linear_model") is None


def test_a_table_of_pixels(result):
    table = result.to_dataframe()
    assert len(table) == 400
    assert [name for name in table.columns if name.startswith(("t/lambda of", "x ("))] == ["x (nm)"]  # an axis


def test_what_needs_references_says_so(result, battery):
    few = battery.eels_after.inav[:2, :2]
    for method in ("valence", "references", "combined"):
        with pytest.raises(ValueError, match=f"'{method}' {NEEDS}"):
            result.with_method(method)
    assert result.with_method("lithium").builtin
    for call in (
        lambda: result.amounts,
        lambda: result.amounts_std,
        lambda: result.predict_precision([1e6]),
        lambda: result.dose_to_find(0.2),
        lambda: result.find_delithiated(),
        lambda: result.fit_populations(),
        lambda: few.quantify_delithiation(result, "lithium"),
    ):
        with pytest.raises(ValueError, match=NEEDS):
            call()


@pytest.mark.parametrize("method", ["combined", "references", "valence"])
def test_other_methods_need_references(battery, method):
    with pytest.raises(ValueError, match=r"references must name pure pixels.*method='lithium'.*uncertain by about"):
        battery.eels_after.inav[:2, :2].quantify_delithiation(method=method)


def test_it_survives_a_file(result, tmp_path):
    result.save(tmp_path / "x.hspy")
    loaded = hyperspy_assb.load(tmp_path / "x.hspy")
    assert loaded.builtin
    assert repr(loaded) == repr(result)
    for name in ("x", "x_std", "x_systematic", "significance", "detection_limit", "electrode_share", "status"):
        np.testing.assert_array_equal(getattr(loaded, name).data, getattr(result, name).data)
    assert loaded.to_dataframe().equals(result.to_dataframe())
    with pytest.raises(ValueError, match=NEEDS):
        loaded.with_method("valence")


def test_one_spectrum(battery):
    """The sum of pure pixels: what the noise of one pixel hides."""
    signal, truth = battery.eels_after, battery.truth.after
    pixels = truth.pure("FePO4") & (truth.t_over_lambda < 1.2)
    one = signal.inav[0, 0]
    one.data = signal.data[pixels].sum(axis=0)
    found = one.quantify_delithiation(method="lithium", show_progressbar=False)
    assert found.x.data.shape == (1,)
    assert abs(found.x.data[0]) < 1.5 * found.x_systematic.data[0]  # known truth


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.filterwarnings("ignore:.*(placeholder|Missing|never set):UserWarning")
@pytest.mark.parametrize(
    ("item", "value", "name"),
    [
        ("beam_energy", 0.0, "beam_energy"),
        ("convergence_angle", 0.0, "convergence_angle"),
        ("Detector.EELS.collection_angle", 100.0, "collection_angle"),
    ],
)
def test_placeholders_are_refused(battery, item, value, name):
    signal = battery.eels_after.inav[:2, :2].deepcopy()
    signal.metadata.set_item(f"Acquisition_instrument.TEM.{item}", value)
    with pytest.raises(ValueError, match=rf"^{name} unset.*set_microscope_parameters\({name}=\.\.\.\)"):
        signal.quantify_delithiation(method="lithium")


@pytest.mark.filterwarnings("ignore:.*Missing:UserWarning")
def test_missing_angles_are_refused(battery):
    signal = battery.eels_after.inav[:2, :2].deepcopy()
    del signal.metadata.Acquisition_instrument
    with pytest.raises(ValueError, match="beam_energy, convergence_angle, collection_angle unset"):
        signal.quantify_delithiation(method="lithium")


def test_other_metals_are_refused(battery):
    few = battery.eels_after.inav[:2, :2].deepcopy()
    with pytest.raises(ValueError, match="M2,3 edge of Co, Mn overlaps"):
        few.quantify_delithiation(method="lithium", elements=("Li", "Fe", "P", "Mn", "Co"))
    few.metadata.set_item("Sample.elements", ["Li", "Ni", "O"])
    with pytest.raises(ValueError, match="M2,3 edge of Ni overlaps"):
        few.quantify_delithiation(method="lithium")
    with pytest.raises(ValueError, match="must hold Li and Fe"):
        few.quantify_delithiation(method="lithium", elements=("Li", "P"))


@pytest.mark.filterwarnings("ignore:(.*unset|Missing|.*placeholder|.*treated):UserWarning")
def test_a_cathode_without_iron(shared_data):
    """M edges of Mn, Co and Ni lie there where those of Li and Fe are sought."""
    signal = hs.load(shared_data / "eels" / "nmc_battery" / "EELS_ZLP_EELS_Spectrum_Image.dm3", signal_type="EELS_ASSB")
    with pytest.raises(ValueError, match="convergence_angle, collection_angle unset or a placeholder"):
        signal.quantify_delithiation(method="lithium", show_progressbar=False)
    signal.set_microscope_parameters(beam_energy=300.0, convergence_angle=10.0, collection_angle=20.0)
    found = signal.quantify_delithiation(method="lithium", show_progressbar=False)
    answered = np.isfinite(found.x.data)
    assert set(found.status.data[answered]) <= {DelithiationStatus.UNCERTAIN}
    assert np.all(np.hypot(found.x_std.data, found.x_systematic.data)[answered] > 0.25)
    signal.metadata.set_item("Sample.elements", ["Li", "Ni", "Mn", "Co", "O"])
    with pytest.raises(ValueError, match="M2,3 edge of Co, Mn, Ni"):
        signal.quantify_delithiation(method="lithium", show_progressbar=False)


# -------------------------------------------------------------------------------------------------- near-edge shapes


@pytest.mark.parametrize(("edge", "shape"), [("Li_K", "peak_energy"), ("Fe_M23", "onset_energy")])
def test_wrong_shapes_do_what_is_said(battery, edge, shape):
    """Spectra of one near-edge shape, fitted with another."""
    model = battery.eels_after.inav[:4, :4].create_low_loss_model(("Li", "Fe", "P"))
    model.multifit(show_progressbar=False)
    thickness = np.ravel(model.t_over_lambda())
    said = near_edge_errors(model.joint_model(), thickness, detector_of_model(model), atoms=2000.0)
    compiled = compile_model(model)
    column = {name: k for k, name in enumerate(compiled.names)}
    usable = thickness > 0.02
    theta = np.median(compiled.start[usable], axis=0)
    counted = [column["Li_K", "areal_density"], column["Fe_M23", "areal_density"]]
    theta[counted] = amount = 2000.0 * np.median(thickness[usable])
    step = 0.02 * NEAR_EDGE_UNCERTAINTY[shape]
    theta[column[edge, shape]] += step
    none = np.zeros(theta.size, dtype=bool)
    expected = compiled.model.evaluate(theta[np.newaxis], none)[0]
    theta[column[edge, shape]] -= step
    fitted = fit_spectra(
        expected,
        FitProblem(
            model=compiled.model,
            start=theta,
            free=compiled.free,
            lower=np.full(theta.size, -np.inf),
            upper=np.full(theta.size, np.inf),
            mask=compiled.mask,
        ),
        detector=Detector(),
        options=SolverOptions(max_iterations=200, workers=1),
    )
    # The shape of the specimen is beyond that of the model, so that the model's is off by as much to the other side.
    change = (1.0 - fitted.values[0, counted] / amount) / 0.02
    own = said.lithium if edge == "Li_K" else said.iron
    np.testing.assert_allclose(own[:, list(NEAR_EDGE_UNCERTAINTY).index(shape)], change, rtol=0.1)
