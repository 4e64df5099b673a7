"""The ready low-loss model: what it holds, how it starts, what it finds in real files."""

from __future__ import annotations

import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from hyperspy_assb.eels.lineshapes import VOLUME_PLASMON
from hyperspy_assb.eels.scattering.joint_model import start_plasmon
from hyperspy_assb.eels.scattering.low_loss_components import LowLossOptions
from hyperspy_assb.errors import AssbWarning
from hyperspy_assb.fitting.solver.spectra_fit import Status
from hyperspy_assb.signals.eels.low_loss_model import apply_shapes, refine_shapes
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

CONDITIONS = EELSConditions(n_channels=512)  # -10 to 92 eV


def simulate(columns, conditions=CONDITIONS, *, dose=3e5, seed=1, **kwargs):
    data = simulate_spectra(columns, conditions, seed, dose=dose, **kwargs)
    return spectra_to_signal(data, conditions, pixel_size=2.0, signal_type="EELS_ASSB")


@pytest.fixture(scope="module")
def mixed():
    """2 x 3 columns of LiFePO4 and FePO4; the last is thicker."""
    return simulate(
        {"LiFePO4": [[40.0, 30.0, 20.0], [10.0, 0.0, 30.0]], "FePO4": [[0.0, 10.0, 20.0], [30.0, 40.0, 60.0]]}
    )


def names(signal, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return [c.name for c in signal.create_low_loss_model(*args, **kwargs)]


# --------------------------------------------------------------------------------------------------- what it holds


@pytest.mark.parametrize(
    ("elements", "n_channels", "edges"),
    [
        (("Li", "Fe", "P", "O"), 512, ["Fe_M23", "Li_K"]),  # P L2,3 at 132 eV is out of range
        (("P", "Fe", "Li"), 1024, ["Fe_M23", "Li_K", "P_L23"]),
        (("Al",), 512, ["Al_L23"]),
        (("V", "Ge", "C"), 1024, ["V_M23", "Ge_M23"]),
        (("Mn", "Co", "Ni"), 512, ["Mn_M23", "Co_M23", "Ni_M23"]),
        ((), 512, []),
    ],
)
def test_edges_follow_elements_and_range(elements, n_channels, edges):
    signal = simulate({"LiFePO4": [40.0]}, EELSConditions(n_channels=n_channels))
    model = signal.create_low_loss_model(elements)
    found = [c.name for c in model if hasattr(c, "element")]
    assert sorted(found) == sorted(edges)
    onsets = [c.onset_energy.value for c in model if hasattr(c, "element")]
    assert onsets == sorted(onsets)
    assert ("CarbonPiBand" in [c.name for c in model]) == ("C" in elements)
    assert model.plural_scattering


@pytest.mark.parametrize(
    ("elements", "n_channels", "edges", "said"),
    [
        (
            ("Al", "Li"),
            400,
            ["Li_K"],
            r"Al, whose L2,3 edge at 73 eV needs spectra that reach 81\.\d eV \(they end at 69",
        ),
        (("Ti", "Na", "Zn"), 512, ["Na_L23", "Ti_M23"], "Zn, of which the tables have no edge between 20 and 210 eV"),
        (("La", "Sr", "Cl"), 1024, ["La_N45", "Sr_M45"], "Cl, whose L2,3 edge at 200 eV"),
        (("Ge", "Si"), 512, [], "Ge, whose M2,3 edge at 121 eV .*; Si, whose L2,3 edge at 99 eV"),
    ],
)
def test_elements_without_an_edge_in_range_are_said(elements, n_channels, edges, said):
    signal = simulate({"LiFePO4": [40.0]}, EELSConditions(n_channels=n_channels))
    with pytest.warns(AssbWarning, match=said) as caught:
        model = signal.create_low_loss_model(elements)
    assert len(caught) == 1
    assert sorted(c.name for c in model if hasattr(c, "element")) == sorted(edges)


def test_no_element_that_is_fitted_is_said_to_be_missing():
    # Warnings are errors here. O and F have no edge below 500 eV, and C has its pi band.
    elements = ("Na", "Mg", "Al", "Si", "Ti", "La")
    signal = simulate({"LiFePO4": [40.0]}, EELSConditions(n_channels=1024))
    model = signal.create_low_loss_model((*elements, "C", "O", "F"))
    assert {c.element for c in model if hasattr(c, "element")} == set(elements)


@pytest.mark.parametrize(("elements", "there"), [(("Li", "Fe"), True), (("Li", "Mn", "Co"), False), (("Li",), False)])
def test_the_5_eV_band_is_there_where_iron_is(mixed, elements, there):
    assert ("FePO4ValenceBand" in names(mixed, elements)) == there


def test_valence_and_band(mixed):
    assert names(mixed, ())[:3] == ["ZeroLossPeak", "ValenceContinuum", "FePO4ValenceBand"]
    assert names(mixed, (), valence="plasmon")[1] == "VolumePlasmon"
    assert "FePO4ValenceBand" not in names(mixed, (), valence_band=False)
    with pytest.raises(ValueError, match="'drude'"):
        mixed.create_low_loss_model((), valence="drude")


def test_germanium_m45_needs_the_plasmon():
    signal = simulate({"LAGP": [40.0]})
    assert "Ge_M45" in names(signal, ("Ge",), valence="plasmon")
    assert "Ge_M45" not in names(signal, ("Ge",))


def test_elements_of_the_metadata(mixed):
    signal = mixed.deepcopy()
    assert {"Fe_M23", "Li_K"} <= set(names(signal))
    signal.metadata.set_item("Sample.elements", ["Fe"])
    assert "Li_K" not in names(signal)


@pytest.mark.parametrize("element", ["Xx", "iron", "fe"])
def test_unknown_elements(mixed, element):
    with pytest.raises(ValueError, match=element):
        mixed.create_low_loss_model((element,))


def test_a_dark_level_needs_channels_to_see_it(mixed):
    assert "DarkLevel" not in names(mixed)  # 10 eV before the zero-loss peak are its tail
    wide = simulate({"LiFePO4": [40.0]}, EELSConditions(offset=-40.0, n_channels=700))
    assert "DarkLevel" in names(wide)


def test_geometry_goes_into_the_edges(mixed):
    signal = mixed.deepcopy()
    signal.set_microscope_parameters(beam_energy=120.0, convergence_angle=5.0, collection_angle=12.0)
    edge = signal.create_low_loss_model()["Li_K"]
    assert (edge.beam_energy, edge.convergence_angle, edge.collection_angle) == (120.0, 5.0, 12.0)


def test_missing_angles_are_said(mixed):
    signal = mixed.deepcopy()
    signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=0.0, collection_angle=100.0)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        model = signal.create_low_loss_model()
    said = [str(w.message) for w in record if "relative" in str(w.message)]
    assert len(said) == 1
    assert "convergence_angle, collection_angle unset" in said[0]
    assert model["Li_K"].collection_angle == 15.0
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        signal.create_low_loss_model(())
    assert record  # the placeholders are said
    assert not any("relative" in str(w.message) for w in record)  # no edge, no cross-section


# ----------------------------------------------------------------------------------------------------- how it starts


def reduced(signal, model):
    """Pearson chi-squared over channels, for the present parameters of every pixel."""
    used = model._channel_switches
    mean = model.as_signal(show_progressbar=False).data[..., used]
    return np.sum((signal.data[..., used] - mean) ** 2 / np.maximum(mean, 1.0), axis=-1) / used.sum()


def test_the_start_is_close_and_the_fit_improves_it(mixed):
    model = mixed.create_low_loss_model()
    before = reduced(mixed, model)
    assert np.all(before < 6.0)  # a fit that starts 200 sigma off has thousands
    model.multifit(show_progressbar=False)
    assert np.all(model.fit_quality.status.data == Status.CONVERGED)
    after = reduced(mixed, model)
    # Of the worst pixel a few is left: the true zero-loss peak (tunnelling electrons) is not the model's.
    assert np.all(after < before)
    assert np.all(after < 3.0)


def test_known_truth(mixed):
    model = mixed.create_low_loss_model()
    model.multifit(show_progressbar=False)
    band = model["FePO4ValenceBand"].intensity.map
    # The band of FePO4 grows with its thickness: 0, 10, 20, 30, 40, 60 nm.
    assert np.all(np.diff(band["values"].ravel()) > 3.0 * band["std"].ravel()[1:])
    lithium = model["Li_K"].areal_density.map["values"]
    # LiFePO4, Pnma 10.334 x 6.010 x 4.693: 4 Li per 0.2915 nm^3; the edge shape is still nominal, so only roughly.
    per_nm = 4.0 / (1.0334 * 0.6010 * 0.4693)
    slope = np.polyfit([40.0, 30.0, 20.0, 10.0, 0.0], lithium.ravel()[:5], 1)[0]
    assert slope == pytest.approx(per_nm, rel=0.35)


def test_lazy_signals_give_the_same(mixed):
    one, two = mixed.create_low_loss_model(), mixed.as_lazy().create_low_loss_model()
    one.multifit(show_progressbar=False)
    two.multifit(show_progressbar=False)
    for a, b in zip(one, two, strict=True):
        for p, q in zip(a.parameters, b.parameters, strict=True):
            np.testing.assert_array_equal(p.map["values"], q.map["values"])


def test_an_empty_pixel_does_no_harm(mixed):
    signal = mixed.deepcopy()
    signal.data[0, 1] = 0.0
    model = signal.create_low_loss_model()
    model.multifit(show_progressbar=False)
    assert model.fit_quality.status.data[0, 1] == Status.MASKED
    assert np.sum(model.fit_quality.status.data == Status.CONVERGED) == 5
    signal.data[...] = 0.0
    with pytest.raises(ValueError, match=r"zero-loss|counts|zero"):
        signal.create_low_loss_model()


@pytest.mark.parametrize("n_channels", [512, 1024])
def test_shared_shapes_are_found_on_pure_pixels_and_kept(n_channels):
    columns = {"LiFePO4": np.repeat([40.0, 0.0, 0.0], 20), "FePO4": np.repeat([0.0, 40.0, 0.0], 20)}
    signal = simulate(
        {k: v.reshape(3, 20) for k, v in columns.items()}, EELSConditions(n_channels=n_channels), dose=1e6
    )
    # 512 channels end at 92 eV, before P L2,3.
    elements = ("Li", "Fe", "P") if n_channels > 512 else ("Li", "Fe")
    model = signal.create_low_loss_model(elements)
    phases = ("LiFePO4", "FePO4", "vacuum")
    masks = {p: np.repeat([p == q for q in phases], 20).reshape(3, 20) for p in phases}
    found = refine_shapes(model, {k: v for k, v in masks.items() if v.any()})
    # Fe M2,3 and Li K may end at a bound and keep what they had; the instrument and the band must not.
    assert {c for c, _ in found} >= {"ZeroLossPeak", "FePO4ValenceBand"}
    for (component, name), value in found.items():
        parameter = getattr(model[component], name)
        assert not parameter.free
        assert np.all(parameter.map["values"] == value)
    # Simulation's truth: the band of FePO4 lies between 4 and 7 eV.
    assert 4.0 < found["FePO4ValenceBand", "centre"] < 7.0
    other = signal.create_low_loss_model(elements)
    apply_shapes(other, found)
    assert {(c.name, p.name) for c in other for p in c.parameters if p.free} == {
        (c.name, p.name) for c in model for p in c.parameters if p.free
    }


def test_one_element_needs_no_list(mixed):
    assert "Li_K" in [c.name for c in mixed.create_low_loss_model("Li")]


def test_options_are_checked():
    with pytest.raises(ValueError, match="'free'"):
        LowLossOptions(valence="free")


# --------------------------------------------------------------------------------------------------------- real files


def fit_file(path, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # placeholder angles, as Gatan files hold
        model = hs.load(path, signal_type="EELS_ASSB").create_low_loss_model(*args, **kwargs)
    model.multifit(show_progressbar=False)
    usable = np.isin(model.fit_quality.status.data, (Status.CONVERGED, Status.AT_BOUND))
    return model, usable


@pytest.mark.parametrize("valence_band", [True, False])
def test_the_plasmon_of_aluminium(shared_data, valence_band):
    path = shared_data / "eels" / "aluminium" / "AL-DFoffset0.00.dm3"
    model, usable = fit_file(path, (), valence="plasmon", valence_band=valence_band)
    assert usable.all()
    # Published: 15.0 eV, Egerton (2011), table 3.2; free electrons 15.8 eV.
    assert model["VolumePlasmon"].plasmon_energy.value == pytest.approx(15.0, abs=0.1)
    # Recorded: the zero-loss peak has a full width of 0.18 eV.
    assert model["ZeroLossPeak"].fwhm.value == pytest.approx(0.18, abs=0.02)


@pytest.mark.parametrize(("energy", "width"), [(8.0, 0.5), (15.0, 3.0), (25.0, 6.0)])
def test_a_plasmon_starts_where_the_distribution_has_it(energy, width):
    loss = 0.05 * np.arange(900)
    shape = VOLUME_PLASMON.evaluate(loss, {"intensity": 0.5, "plasmon_energy": energy, "fwhm": width})[0]
    fwhm = 0.4
    seen = gaussian_filter1d(shape, fwhm / 0.05 / np.sqrt(8.0 * np.log(2.0))) + 0.01 / (loss + 1.0) ** 2
    found = start_plasmon(seen, loss, fwhm, start=2.0)
    assert found[0] == pytest.approx(energy, abs=0.2 * width)
    assert found[1] == pytest.approx(width, rel=0.5)
    assert start_plasmon(1.0 / (1.0 + loss), loss, fwhm, start=2.0) is None
    assert start_plasmon(shape, loss, fwhm, start=100.0) is None


def redraw(signal, total, seed):
    """The recorded counts as expectations of others."""
    mean = np.maximum(np.asarray(signal.data, dtype=float), 0.0)
    other = signal.deepcopy()
    other.data = np.random.default_rng([seed, int(total)]).poisson(mean * total / mean.sum()).astype(float)
    return other


def plasmon_of(signal, *, valence_band=False, stray=None):
    """Energy of the plasmon, and whether the fit converged; `stray`: from where starting values are drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = signal.create_low_loss_model((), valence="plasmon", valence_band=valence_band)
    if stray is not None:
        for component in model:
            for parameter in component.free_parameters:
                stored = parameter.map["values"]
                if parameter.name == "centre":
                    stored += 0.3 * model["ZeroLossPeak"].fwhm.value * stray.standard_normal()
                else:
                    share = 0.03 if parameter.name == "plasmon_energy" else 0.2
                    stored *= np.exp(share * stray.standard_normal())
        model.fetch_stored_values()
    model.multifit(show_progressbar=False)
    usable = np.isin(model.fit_quality.status.data, (Status.CONVERGED, Status.AT_BOUND))
    return model["VolumePlasmon"].plasmon_energy.value, bool(np.all(usable))


def aluminium(shared_data):
    path = shared_data / "eels" / "aluminium" / "AL-DFoffset0.00.dm3"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return hs.load(path, signal_type="EELS_ASSB")


def test_the_plasmon_of_aluminium_does_not_hang_on_the_counts_that_were_drawn(shared_data):
    signal = aluminium(shared_data).isig[:20.0]
    for seed, total in enumerate([4.9e9, 4.9e9, 4.9e9, 8e8, 8e8, 8e8, 1e8, 1e8, 1e7, 1e7]):
        energy, usable = plasmon_of(redraw(signal, total, seed))
        assert usable, (seed, total)
        assert energy == pytest.approx(15.0, abs=0.1), (seed, total)


@pytest.mark.slow
@pytest.mark.parametrize("valence_band", [True, False])
@pytest.mark.parametrize("total", [4.9e9, 8e8, 1e8, 1e7])
def test_the_plasmon_of_aluminium_in_fifty_draws(shared_data, total, valence_band):
    signal = aluminium(shared_data)
    for seed in range(50):
        stray = np.random.default_rng(seed) if seed % 2 else None
        energy, usable = plasmon_of(redraw(signal, total, seed), valence_band=valence_band, stray=stray)
        assert usable, seed
        assert energy == pytest.approx(15.0, abs=0.1), seed


def narrow_plasmon(rng, *, channels=1200, electrons, energy, width, zero_loss):
    """A bright spectrum that no model here describes to its noise: a zero-loss peak of two peaks with a broad base, a
    Lorentzian plasmon and a tail of other losses, with plural scattering."""
    step = 45.0 / channels
    axis, loss = -5.0 + step * np.arange(channels), step * np.arange(channels)
    u = (axis - rng.uniform(-0.3, 0.3)) / zero_loss
    peak = np.exp(-4.0 * np.log(2.0) * u**2) + 0.15 * np.exp(-4.0 * np.log(2.0) * ((u - 0.3) / 1.6) ** 2)
    peak += 0.02 / (1.0 + 4.0 * u**2) + 0.01 * np.exp(-np.clip(u, 0.0, None) / 2.0) * (u > -0.5)
    single = 1.0 / (1.0 + 4.0 * ((loss - energy) / width) ** 2)
    other = np.where(loss > 3.0, np.exp(-loss / 15.0), 0.0)
    single = 0.75 * single / single.sum() + 0.25 * other / other.sum()
    plural = np.exp(0.4 * (np.fft.rfft(single, 2 * channels) - 1.0))
    mean = np.fft.irfft(np.fft.rfft(peak, 2 * channels) * plural, 2 * channels)[:channels]
    mean = np.maximum(mean, 0.0) / mean.sum() * electrons + 2.0
    signal = hs.signals.Signal1D(rng.poisson(mean).astype(float))
    signal.set_signal_type("EELS_ASSB")
    signal.axes_manager[0].offset, signal.axes_manager[0].scale, signal.axes_manager[0].units = -5.0, step, "eV"
    signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=8.0, collection_angle=15.0)
    return signal


@pytest.mark.parametrize("electrons", [1e8, 3e9, 1e11])
@pytest.mark.parametrize(
    ("energy", "width", "zero_loss"),
    [(9.0, 0.3, 0.15), (9.7, 1.6, 0.2), (11.0, 0.3, 0.8), (15.0, 2.5, 0.2), (18.0, 1.0, 0.12), (22.0, 1.0, 1.2)],
)
def test_narrow_plasmons_of_bright_spectra(electrons, energy, width, zero_loss):
    rng = np.random.default_rng(0)
    signal = narrow_plasmon(rng, electrons=electrons, energy=energy, width=width, zero_loss=zero_loss)
    found, usable = plasmon_of(signal)
    assert usable
    assert found == pytest.approx(energy, abs=0.1 + 0.1 * width)


def test_a_battery_line_scan(shared_data):
    path = shared_data / "eels" / "nmc_battery" / "EELS_ZLP_EELS_Spectrum_Image.dm3"
    model, usable = fit_file(path, ("Li", "Mn", "Co", "Ni"))
    assert usable.mean() >= 0.9
    centre = model["ZeroLossPeak"].centre.map["values"][usable.reshape(model["ZeroLossPeak"].centre.map.shape)]
    assert np.all(np.abs(centre + 3.3) < 0.8)  # where the file has its zero-loss peak
    assert np.nanmedian(model.t_over_lambda()) == pytest.approx(0.6, abs=0.5)


# Its file holds electrons per count.
@pytest.mark.filterwarnings("ignore:.*was recorded, but the counts scatter:hyperspy_assb.errors.AssbWarning")
def test_a_map_with_a_far_zero_loss(shared_data):
    model, usable = fit_file(shared_data / "eels" / "lowloss_map" / "lowloss_16x16_0.3eV.dm3", ("Al",))
    assert usable.mean() >= 0.9
    centre = model["ZeroLossPeak"].centre.map["values"][usable]
    assert np.median(centre) == pytest.approx(9.0, abs=1.5)
    assert np.ptp(centre) > 1.0  # it jitters by about 3 eV
