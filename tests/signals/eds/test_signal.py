"""The X-ray signal: metadata, lines, counts, composition, phases, interfaces and comparisons as a user meets them."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import replace
from typing import ClassVar

import exspy
import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hyperspy_assb as assb
from hyperspy_assb.eds.comparison.composition_change import CompositionOptions
from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.eds.interfaces.map_interface import ProfileOptions
from hyperspy_assb.eds.phases.evidence import PhaseStatus
from hyperspy_assb.eds.phases.stoichiometry import PhaseOptions
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.signals import ASSBEDSTEMSpectrum, LazyASSBEDSTEMSpectrum
from hyperspy_assb.simulation import (
    Contamination,
    InterfaceOptions,
    XRayConditions,
    XRayDetector,
    edx_to_signal,
    micro_battery,
    simulate_edx,
    simulate_interface,
)
from hyperspy_assb.simulation.eds.column_spectra import exposure, with_contamination
from hyperspy_assb.simulation.eds.physics import areal_densities

EDS = "Acquisition_instrument.TEM.Detector.EDS."
TEM = "Acquisition_instrument.TEM."
CONDITIONS = XRayConditions(counts_per_channel=1.0)


def make_map(columns=None, *, seed=0, conditions=CONDITIONS, shape=(6, 8), pixel_size=5.0):
    columns = columns or {"LiFePO4": 60.0, "LAGP": 40.0}
    columns = {name: np.broadcast_to(np.asarray(nm, dtype=float), shape) for name, nm in columns.items()}
    counts = simulate_edx(columns, conditions, np.random.default_rng(seed))
    electrons = exposure(with_contamination(areal_densities(columns), conditions), conditions)
    return edx_to_signal(counts, conditions, electrons=electrons, pixel_size=pixel_size, signal_type="EDS_TEM_ASSB")


@pytest.fixture(scope="module")
def stored():
    return make_map()


@pytest.fixture
def signal(stored):
    return stored.deepcopy()


@pytest.fixture(scope="module")
def halves():
    """Olivine left, LAGP right."""
    left = np.broadcast_to(np.arange(24) < 12, (8, 24))
    return make_map({"LiFePO4": np.where(left, 100.0, 0.0), "LAGP": np.where(left, 0.0, 100.0)}, shape=(8, 24))


class TestSignal:
    def test_registered_with_its_lazy_twin(self, signal):
        assert type(signal) is ASSBEDSTEMSpectrum
        assert type(signal.as_lazy()) is LazyASSBEDSTEMSpectrum
        plain = hs.signals.Signal1D(signal.data)
        plain.set_signal_type("EDS_TEM_ASSB")
        assert type(plain) is ASSBEDSTEMSpectrum

    def test_is_an_exspy_signal_and_survives_files(self, signal, tmp_path):
        assert isinstance(signal, exspy.signals.EDSTEMSpectrum)
        signal.save(tmp_path / "map.hspy")
        loaded = hs.load(tmp_path / "map.hspy")
        assert type(loaded) is ASSBEDSTEMSpectrum
        np.testing.assert_array_equal(loaded.data, signal.data)

    def test_take_off_angle_is_exspys(self, signal):
        theirs = signal.deepcopy()
        theirs.set_signal_type("EDS_TEM")
        assert signal.get_take_off_angle() == theirs.get_take_off_angle()

    @pytest.mark.parametrize("lazy", [False, True])
    def test_loader_takes_the_spectra_beside_images(self, signal, tmp_path, lazy):
        signal.save(tmp_path / "map.hspy")
        loaded = assb.load_eds_spectrum_image(tmp_path / "map.hspy", lazy=lazy)
        assert type(loaded) is (LazyASSBEDSTEMSpectrum if lazy else ASSBEDSTEMSpectrum)

    def test_loader_names_a_missing_package(self, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise ModuleNotFoundError("No module named 'sparse'", name="sparse")

        path = tmp_path / "map.emd"
        path.write_bytes(b"x")
        monkeypatch.setattr(hs, "load", fail)
        with pytest.raises(ValueError, match=r"map\.emd needs the package 'sparse'.*rosettasciio\[eds-stream\]"):
            assb.load_eds_spectrum_image(path)

    def test_loader_names_damaged_and_foreign_files(self, tmp_path, signal):
        signal.save(tmp_path / "map.hspy")
        whole = (tmp_path / "map.hspy").read_bytes()
        (tmp_path / "cut.hspy").write_bytes(whole[: len(whole) // 3])
        with pytest.raises(ValueError, match=r"cut\.hspy could not be read"):
            assb.load_eds_spectrum_image(tmp_path / "cut.hspy")
        hs.signals.Signal2D(np.ones((4, 4))).save(tmp_path / "image.hspy")
        with pytest.raises(ValueError, match=r"image\.hspy holds no X-ray spectrum"):
            assb.load_eds_spectrum_image(tmp_path / "image.hspy")


class TestLines:
    def test_elements_lines_and_overlaps_of_the_cell(self, signal):
        lines = signal.prepare_battery_lines()
        assert {"C_Ka", "O_Ka", "Al_Ka", "P_Ka", "V_Ka", "Fe_Ka", "Ge_Ka", "Ga_Ka", "Pt_La", "Si_Ka"} <= set(
            lines.names
        )
        pairs = {frozenset(pair) for pair in lines.overlaps[["first", "second"]].itertuples(index=False)}
        for pair in (("Ga_La", "Ge_La"), ("V_La", "O_Ka"), ("P_Ka", "Pt_Ma"), ("P_Ka", "Au_Ma"), ("Pt_La", "Au_La")):
            assert frozenset(pair) in pairs
        assert list(signal.metadata.Sample.xray_lines) == sorted(lines.names)

    def test_elements_can_be_added_and_left_out(self, signal):
        names = signal.prepare_battery_lines(add=["Ti"], remove=["Au"]).names
        assert "Ti_Ka" in names
        assert not any(name.startswith("Au") for name in names)
        with pytest.raises(ValueError, match="Xx"):
            signal.prepare_battery_lines(add=["Xx"])
        with pytest.raises(ValueError, match="remove names W"):
            signal.prepare_battery_lines(remove=["W"])

    def test_counts_are_those_of_exspys_fit(self, signal):
        signal.set_elements(["Al", "P", "Fe", "Ge", "O"])
        signal.set_lines(["Al_Ka", "P_Ka", "Fe_Ka", "Ge_Ka", "O_Ka"])
        summed = signal.sum()
        ours = summed.fit_line_counts()
        model = summed.isig[0.18:15.0].create_model()
        model.fit(optimizer="lstsq")
        theirs = {s.metadata.Sample.xray_lines[0]: float(s.data.ravel()[0]) for s in model.get_lines_intensity()}
        for line in ("P_Ka", "Fe_Ka", "Ge_Ka"):
            # Their background is a polynomial of sixth order.
            assert float(ours.counts[line].data.ravel()[0]) == pytest.approx(theirs[line], rel=0.03)

    def test_counts_serve_exspys_quantification(self, signal):
        signal.set_elements(["P", "Fe"])
        signal.set_lines(["P_Ka", "Fe_Ka"])
        counts = signal.fit_line_counts()
        quantified = signal.quantification(counts.intensities, method="CL", factors=[1.0, 1.0])
        fe = counts.counts["Fe_Ka"].data
        share = fe / (fe + counts.counts["P_Ka"].data)
        weight = {
            s.metadata.Sample.elements[0]: s.data
            for s in signal.quantification(counts.intensities, "CL", [1, 1], "weight")
        }
        np.testing.assert_allclose(weight["Fe"], 100 * share, rtol=1e-6)
        assert len(quantified) == 2
        assert len(counts.to_dataframe()) == 48
        assert len(counts.plot()) == 2

    def test_model_holds_the_fit(self, signal):
        signal.set_elements(["P", "Fe"])
        signal.set_lines(["P_Ka", "Fe_Ka"])
        counts = signal.fit_line_counts()
        counts.model.axes_manager.indices = (2, 1)
        counts.model.fetch_stored_values()
        assert counts.model["Fe_Ka"].A.value == pytest.approx(counts.counts["Fe_Ka"].data[1, 2])
        with pytest.raises(ValueError, match="Ge_Ka was not fitted"):
            counts.select(["Ge_Ka"])

    def test_lines_beyond_the_axis_are_named(self, signal):
        signal.set_elements(["Pt"])
        with pytest.raises(ValueError, match="Pt_Ka lies outside"):
            signal.fit_line_counts(["Pt_Ka"])

    @pytest.mark.slow
    def test_lazy_counts_are_the_same(self, signal):
        signal.set_elements(["P", "Fe"])
        signal.set_lines(["P_Ka", "Fe_Ka"])
        lazy = signal.as_lazy()
        lazy.data = lazy.data.rechunk((2, 8, -1))
        for line, found in lazy.fit_line_counts().counts.items():
            np.testing.assert_allclose(found.data, signal.fit_line_counts().counts[line].data, rtol=1e-6)


class TestComposition:
    def test_maps_have_axes_units_and_errors(self, signal):
        found = signal.quantify_composition()
        iron = found.atomic_percent["Fe"]
        assert iron.data.shape == (6, 8)
        assert [axis.units for axis in iron.axes_manager.navigation_axes] == ["nm", "nm"]
        assert "at. %" in iron.metadata.Signal.quantity
        total = sum(s.data for s in found.atomic_percent.values())
        np.testing.assert_allclose(total, 100.0)
        assert np.all(found.atomic_percent_std["Fe"].data > 0.0)
        assert len(found.to_dataframe()) == 48
        assert len(found.plot()) == len(found.elements)
        assert any("computed" in text for text in found.notes)

    def test_saved_and_loaded(self, signal, tmp_path):
        found = signal.quantify_composition()
        found.save(tmp_path / "composition.hspy")
        loaded = assb.load(tmp_path / "composition.hspy")
        np.testing.assert_array_equal(loaded.found.unclipped, found.found.unclipped)
        assert loaded.notes == found.notes
        assert type(loaded) is type(found)
        signal.save(tmp_path / "map.hspy")
        with pytest.raises(ValueError, match=r"map\.hspy holds no result"):
            assb.load(tmp_path / "map.hspy")

    def test_lazy_is_the_same(self, signal):
        lazy = signal.as_lazy()
        lazy.data = lazy.data.rechunk((2, 8, -1))
        ours, theirs = lazy.quantify_composition(), signal.quantify_composition()
        np.testing.assert_allclose(ours.found.atoms, theirs.found.atoms, rtol=1e-5, atol=1e-3)

    def test_line_scans_and_single_spectra(self, signal):
        assert signal.inav[:, 0].quantify_composition().atomic_percent["Fe"].data.shape == (8,)
        single = signal.sum().quantify_composition(thickness=100.0)
        whole = signal.quantify_composition().mean()
        np.testing.assert_allclose(single.mean()["at. %"], whole["at. %"], rtol=0.03, atol=0.1)

    def test_k_factors_from_a_file(self, signal, tmp_path):
        elements = ["C", "O", "Al", "P", "V", "Fe", "Ge"]
        table = "line,factor,uncertainty\n" + "\n".join(f"{el}_Ka,1.0,0.1" for el in elements)
        (tmp_path / "factors.csv").write_text(table)
        found = signal.quantify_composition(k_factors=str(tmp_path / "factors.csv"))
        assert any("factors.csv" in text for text in found.notes)
        with pytest.raises(FileNotFoundError, match=r"none\.csv"):
            signal.quantify_composition(k_factors=str(tmp_path / "none.csv"))
        with pytest.raises(ValueError, match="not both"):
            signal.quantify_composition(
                k_factors={"Fe_Ka": 1.0}, quantification=EDSOptions(zeta_factors={"Fe_Ka": 1.0})
            )

    def test_element_beyond_the_table_of_constants(self, signal):
        factors = {"O_Ka": 1.6, "P_Ka": 1.0, "Fe_Ka": 1.35, "Ge_Ka": 2.0, "Al_Ka": 1.1, "Mn_Ka": 1.3}
        elements = ["O", "P", "Fe", "Ge", "Al", "Mn"]
        found = signal.quantify_composition(elements=elements, k_factors=factors, thickness=100.0).mean()
        assert abs(found.loc["Mn", "at. %"]) < 5.0 * found.loc["Mn", "std"] + 0.1
        with pytest.raises(ValueError, match=r"main lines.*Fe_Kb is not"):
            signal.quantify_composition(k_factors={**factors, "Fe_Kb": 1.0}, thickness=100.0)
        with pytest.raises(ValueError, match="no element Xx"):
            signal.quantify_composition(elements=elements, k_factors={**factors, "Xx_Ka": 1.0}, thickness=100.0)

    def test_region_of_an_roi(self, halves):
        found = halves.quantify_composition()
        left = found.mean(hs.roi.RectangularROI(0, 0, 55, 40))
        right = found.mean(hs.roi.RectangularROI(65, 0, 120, 40))
        assert left.loc["Fe", "at. %"] > 10 > 1 > abs(right.loc["Fe", "at. %"])
        assert right.loc["Ge", "at. %"] > 5


class TestBadInput:
    def test_no_energy_resolution(self, signal):
        del signal.metadata.Acquisition_instrument.TEM.Detector.EDS.energy_resolution_MnKa
        with pytest.raises(ValueError, match=r"energy resolution.*set_microscope_parameters"):
            signal.quantify_phases()

    @pytest.mark.parametrize("name", ["azimuth_angle", "elevation_angle"])
    def test_no_take_off_angle(self, signal, name):
        delattr(signal.metadata.Acquisition_instrument.TEM.Detector.EDS, name)
        with pytest.raises(ValueError, match=f"take-off angle.*{name}"):
            signal.quantify_composition()
        signal.quantify_composition(quantification=EDSOptions(absorption=False))

    def test_no_live_time(self, signal):
        del signal.metadata.Acquisition_instrument.TEM.Detector.EDS.live_time
        with pytest.raises(ValueError, match=r"live_time.*thickness="):
            signal.quantify_composition()
        assert np.isfinite(signal.quantify_composition(thickness=100.0).found.unclipped).all()

    def test_defaults_of_exspy_are_not_silent(self, stored):
        bare = hs.signals.Signal1D(stored.data)
        own, axis = stored.axes_manager[-1], bare.axes_manager[-1]
        axis.scale, axis.offset = own.scale, own.offset
        axis.units = "keV"
        bare.set_signal_type("EDS_TEM_ASSB")
        bare.metadata.set_item(TEM + "beam_energy", 200.0)
        with pytest.warns(UserWarning, match="nobody measured"):
            bare.quantify_composition(thickness=100.0)

    @pytest.mark.slow
    def test_wrong_energy_calibration_is_said_and_put_right(self, signal):
        channel = signal.axes_manager[-1].scale
        signal.axes_manager[-1].offset += 2 * channel
        with pytest.warns(UserWarning, match=r"energy axis is off.*O Ka \+(1\.9|2\.0)\d"):
            found = signal.quantify_composition()
        assert any("energy axis is off" in text for text in found.notes)
        before = signal.correct_energy_calibration(resolution=False)
        assert before.shifts["O_Ka"][0] == pytest.approx(2.0, abs=0.1)
        assert signal.check_energy_calibration().notes == ()

    @pytest.mark.slow
    @pytest.mark.parametrize("offset", [-0.12, 0.07])
    def test_ten_channels_are_put_right(self, signal, offset):
        axis = signal.axes_manager.signal_axes[0]
        axis.offset += offset
        signal.correct_energy_calibration()
        assert axis.offset == pytest.approx(0.0, abs=0.002)

    @pytest.mark.slow
    @pytest.mark.parametrize("scale", [0.93, 0.98, 1.02, 1.08])
    def test_seven_percent_of_scale_are_put_right(self, signal, scale):
        axis = signal.axes_manager.signal_axes[0]
        axis.scale *= scale
        signal.correct_energy_calibration()
        assert axis.scale == pytest.approx(0.01, rel=2e-4)
        assert axis.offset == pytest.approx(0.0, abs=0.002)

    @pytest.mark.slow
    @pytest.mark.parametrize(("scale", "offset"), [(2.0, 0.0), (1.1, 0.0), (1.0, 1.0)])
    def test_axis_that_is_beyond_correction_is_said(self, signal, scale, offset):
        axis = signal.axes_manager.signal_axes[0]
        axis.scale *= scale
        axis.offset += offset
        stated = axis.scale, axis.offset
        with pytest.raises(ValueError, match=r"of the counts unexplained.*energy axis.*Nothing was changed"):
            signal.correct_energy_calibration()
        assert (axis.scale, axis.offset) == stated
        with pytest.warns(UserWarning, match="of the counts unexplained"):
            signal.quantify_composition()

    def test_right_calibration_is_not_blamed(self, signal):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            signal.quantify_composition()

    def test_empty_map(self, signal):
        signal.data[:] = 0
        for method in (signal.quantify_phases, signal.quantify_composition, signal.fit_line_counts):
            with pytest.raises(ValueError, match="map is empty"):
                method()

    @pytest.mark.parametrize("thickness", [0.0, -3.0, np.nan, np.inf, np.full((6, 8), 80.0)])
    def test_thickness_is_one_number(self, signal, thickness):
        with pytest.raises(ValueError, match="thickness must be one number above 0 nm"):
            signal.quantify_composition(thickness=thickness)

    def test_no_elements(self, signal):
        with pytest.raises(ValueError, match="at least one element"):
            signal.quantify_composition(elements=[])
        with (
            pytest.warns(UserWarning, match="an element is missing in the list"),
            pytest.warns(UserWarning, match="of the counts unexplained: there is no composition"),
        ):
            found = signal.quantify_composition(elements="Fe")
        assert found.elements == ("Fe",)

    def test_empty_pixel_is_flagged(self, signal):
        signal.data[2, 3] = 0
        found = signal.quantify_phases()
        assert found.status.data[2, 3] == PhaseStatus.EMPTY
        assert np.isnan(found.volume_fraction["LAGP"].data[2, 3])
        assert (found.status.data == PhaseStatus.EMPTY).sum() == 1

    @pytest.mark.filterwarnings("ignore:Lines and continuum leave")
    def test_element_without_a_factor(self, signal):
        with pytest.raises(ValueError, match=r"Fe_\wa has no factor"):
            signal.quantify_composition(k_factors={"P_Ka": 1.0, "O_Ka": 1.2}, elements=["O", "P", "Fe"])

    @pytest.mark.slow
    def test_live_time_of_the_whole_map_is_noticed(self, signal):
        signal.metadata.set_item(EDS + "live_time", 1e4 * signal.metadata.get_item(EDS + "live_time"))
        with pytest.warns(UserWarning, match=r"mean thickness .* implausible.* live time must be that of one"):
            found = signal.quantify_composition()
        assert "implausible" in found.notes[0]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            signal.quantify_composition(thickness=100.0)

    def test_nan_negative_and_backward_axes(self, signal):
        spoiled = signal.deepcopy()
        spoiled.change_dtype("float64")
        spoiled.data[0, 0, 50] = np.nan
        with pytest.warns(UserWarning, match=r"NaN.* in 1 of 48 pixels: they are left out"):
            left_out = np.isnan(spoiled.quantify_composition().atomic_percent["Fe"].data)
        assert left_out[0, 0]
        assert left_out.sum() == np.isnan(signal.quantify_composition().atomic_percent["Fe"].data).sum() + 1
        spoiled.data[0, 0, 50] = -1.0
        with pytest.raises(ValueError, match="background subtracted"):
            spoiled.quantify_composition()
        signal.axes_manager[-1].scale *= -1
        with pytest.raises(ValueError, match="runs backwards"):
            signal.quantify_composition()

    def test_axes_of_other_kinds(self, signal):
        in_eV = signal.deepcopy()
        axis = in_eV.axes_manager[-1]
        axis.scale, axis.offset, axis.units = 1000 * axis.scale, 1000 * axis.offset, "eV"
        np.testing.assert_allclose(
            in_eV.quantify_composition().found.atoms, signal.quantify_composition().found.atoms, rtol=1e-4, atol=1e-2
        )
        axis.units = "nm"
        with pytest.raises(ValueError, match="in nm, not keV"):
            in_eV.quantify_composition()
        signal.axes_manager[-1].convert_to_non_uniform_axis()
        with pytest.raises(NotImplementedError, match="non-uniform"):
            signal.quantify_composition()

    def test_detector_behind_the_lamella(self, signal):
        signal.set_microscope_parameters(elevation_angle=-30.0)
        with pytest.raises(ValueError, match="take-off angle"):
            signal.quantify_composition()


class TestPhases:
    def test_fractions_of_a_known_mixture(self, stored):
        found = stored.quantify_phases()
        table = found.phase_fractions().xs("everything")
        assert table.loc["olivine", "volume low"] < 0.6 < table.loc["olivine", "volume high"]
        assert table.loc["LAGP", "volume low"] < 0.4 < table.loc["LAGP", "volume high"]
        assert found.check_mixture().explained
        assert any("one class, olivine" in text for text in found.notes)
        assert (found.status.data == PhaseStatus.GOOD).mean() > 0.9
        assert sum(found.status_counts().values()) == 48

    @pytest.mark.slow
    def test_phase_map_and_figures(self, halves):
        found = halves.quantify_phases()
        olivine, lagp = (found.phases.index(name) for name in ("olivine", "LAGP"))
        assert (found.phase_map.data[:, :11] == olivine).mean() > 0.9
        assert (found.phase_map.data[:, 13:] == lagp).mean() > 0.9
        assert len(found.plot()) == len(found.phases) + 2
        table = found.phase_fractions(
            {"left": np.arange(24) < np.full((8, 1), 11), "right": np.arange(24) > np.full((8, 1), 12)}
        )
        assert table.loc[("left", "olivine"), "volume"] > 0.9
        assert table.loc[("right", "olivine"), "volume"] < 0.1

    def test_saved_and_loaded(self, stored, tmp_path):
        found = stored.quantify_phases()
        found.save(tmp_path / "phases.hspy")
        loaded = assb.load(tmp_path / "phases.hspy")
        np.testing.assert_array_equal(loaded.found.covariance, found.found.covariance)
        assert loaded.check_mixture() == found.check_mixture()
        assert loaded.phase_fractions().equals(found.phase_fractions())
        with pytest.raises(ValueError, match=r"\.hspy or \.zspy"):
            found.save(tmp_path / "phases.csv")

    @pytest.mark.slow
    def test_what_the_phases_do_not_hold_is_flagged(self):
        foreign = make_map({"LAGP": 60.0, "LiFePO4": 30.0}, seed=3)
        with pytest.warns(UserWarning, match="No mixture of the phases explains the map"):
            found = foreign.quantify_phases({"LAGP": "LAGP", "carbon": "carbon"})
        assert not found.check_mixture().explained
        assert found.check_mixture().worst == "Fe"
        assert (found.status.data == PhaseStatus.UNEXPLAINED).mean() > 0.9

    @pytest.mark.slow
    def test_neighbours_tell_what_a_pixel_cannot(self):
        faint = XRayConditions(counts_per_channel=0.03)
        columns = {"LiFePO4": np.where(np.arange(16) < 8, 0.0, 100.0), "LAGP": np.where(np.arange(16) < 8, 100.0, 0.0)}
        signal = make_map(columns, shape=(16, 16), conditions=faint, seed=5)
        with pytest.warns(UserWarning, match="No mixture"):
            found = signal.quantify_phases({"LAGP": "LAGP", "carbon": "carbon"})
        alone = found.p_value.data < found.found.options.alpha
        together = found.status.data == PhaseStatus.UNEXPLAINED
        assert alone[:, 8:].mean() < 0.8 < 0.95 < together[:, 8:].mean()
        assert together[:, :8].mean() < 0.05

    @pytest.mark.slow
    def test_share_of_foreign_atoms_that_is_let_pass(self):
        grid = replace(CONDITIONS, contamination=Contamination(stray_copper=1500.0))
        signal = make_map({"LAGP": 60.0}, conditions=grid)
        with pytest.warns(UserWarning, match="of elements that no phase holds"):
            assert not signal.quantify_phases().check_mixture().explained
        assert signal.quantify_phases(options=PhaseOptions(foreign=0.9)).check_mixture().explained

    @pytest.mark.slow
    @pytest.mark.parametrize("counts", [1.0, 10.0])
    def test_right_pixels_are_explained_behind_a_window(self, counts):
        """Computed factors are off by up to 40 % there, and say so: what they are off by is no other element."""
        window = XRayConditions(counts_per_channel=counts, detector=XRayDetector.polymer_window())
        rng = np.random.default_rng(7)
        share = rng.gamma(0.6, size=(4, 12, 12))
        share *= 100.0 / share.sum(axis=0)
        columns = dict(zip(("LiFePO4", "LAGP", "Li3V2(PO4)3", "carbon"), share, strict=True))
        found = make_map(columns, conditions=window, shape=(12, 12)).quantify_phases()
        assert (found.status.data == PhaseStatus.GOOD).mean() > 0.97
        assert found.check_mixture().explained

    @pytest.mark.slow
    def test_pixels_and_map_are_judged_alike(self):
        # Too much of one element here and of the other there, which add up to what a mixture has.
        left = np.broadcast_to(np.arange(16) < 8, (8, 16))
        columns = {"LiFePO4": np.where(left, 90.0, 10.0), "LAGP": np.where(left, 10.0, 90.0)}
        signal = make_map(columns, shape=(8, 16))
        with pytest.warns(UserWarning, match="No mixture of the phases explains") as warned:
            found = signal.quantify_phases({"both": "LAGP"})
        assert not found.check_mixture().explained
        assert found.check_mixture().unexplained > 0.2
        assert "Volume" not in found.summary()
        assert warned

    @pytest.mark.slow
    def test_phases_by_name_alone(self, signal):
        found = signal.quantify_phases(["LiFePO4", "LAGP"])
        assert found.phases == ("LiFePO4", "LAGP")

    def test_no_phases(self, signal):
        with pytest.raises(ValueError, match="at least one phase"):
            signal.quantify_phases({})

    @pytest.mark.slow
    def test_phases_that_x_rays_do_not_tell_apart(self, signal):
        with pytest.raises(ValueError, match=r"LFP and FP have the same elements .* leave one of them out"):
            signal.quantify_phases({"LFP": "LiFePO4", "FP": "FePO4", "LAGP": "LAGP"})

    def test_densities_are_of_phases(self, signal):
        with pytest.raises(ValueError, match="densities: 'wood'"):
            signal.quantify_phases(densities={"wood": 1.0})


@pytest.fixture(scope="module")
def scene():
    return simulate_interface(
        InterfaceOptions(width=10.0, shape=(12, 48)),
        XRayConditions(counts_per_channel=0.5),
        np.random.default_rng(4),
        signal_type="EDS_TEM_ASSB",
    )


class TestInterface:
    def test_width_without_the_probe(self, scene, tmp_path):
        found = scene.signal.interface_profile(probe=scene.truth.options.probe)
        low, high = found.width_interval
        # Three times the 68 % interval.
        assert abs(found.width - 10.0) < 3.0 * max(high - found.width, found.width - low)
        assert low < found.width < high
        assert any("tilt" in text.lower() for text in found.notes)
        found.save(tmp_path / "profile.hspy")
        assert assb.load(tmp_path / "profile.hspy").width == found.width
        found.plot()
        assert plt.get_fignums()

    @pytest.mark.slow
    def test_drawn_line_is_the_same(self, scene):
        shape, size = scene.truth.options.shape, scene.truth.options.pixel_size
        middle = 0.5 * (shape[0] - 1) * size
        roi = hs.roi.Line2DROI(0.0, middle, (shape[1] - 1) * size, middle, (shape[0] - 1) * size)
        drawn = scene.signal.interface_profile(roi, probe=scene.truth.options.probe)
        straight = scene.signal.interface_profile(probe=scene.truth.options.probe)
        assert drawn.width == pytest.approx(straight.width, abs=1.0)

    @pytest.mark.slow
    def test_distance_to_a_boundary(self, scene):
        mask = scene.truth.distance > 0
        found = scene.signal.interface_profile(
            boundary=mask, probe=scene.truth.options.probe, options=ProfileOptions(smooth=0.0)
        )
        low, high = found.width_interval
        assert abs(found.width - 10.0) < 4.0 * (high - low) / 2.0

    def test_probe_that_is_wider_than_the_profile(self, scene):
        with pytest.warns(UserWarning, match="narrower than a probe of 25 nm"):
            found = scene.signal.interface_profile(probe=25.0)
        assert any("narrower than a probe" in text for text in found.notes)

    def test_nothing_to_fit(self, signal):
        with pytest.raises(ValueError, match=r"8|eight"):
            signal.inav[:5].interface_profile(probe=1.0)
        flat = make_map(shape=(6, 24))
        with pytest.raises(ValueError, match="No element differs"):
            flat.interface_profile(probe=1.0)
        flat.axes_manager[0].units = flat.axes_manager[1].units = "<undefined>"
        with pytest.raises(ValueError, match="unit"):
            flat.interface_profile(probe=1.0)


@pytest.fixture(scope="module")
def pair():
    # The corner of LAGP gains iron.
    corner = np.zeros((16, 16), dtype=bool)
    corner[:6, :6] = True
    lagp = np.where(np.arange(16) < 10, 100.0, 0.0) * np.ones((16, 1))
    before = {"LAGP": lagp, "LiFePO4": 100.0 - lagp}
    after = {"LAGP": lagp - 30.0 * corner, "LiFePO4": 100.0 - lagp + 30.0 * corner}
    return make_map(before, shape=(16, 16)), make_map(after, shape=(16, 16), seed=1), corner


class TestComparison:
    @pytest.mark.slow
    def test_what_moved_where(self, pair, tmp_path):
        before, after, corner = pair
        options = CompositionOptions(register=False)
        found = before.compare_composition(after, options=options)
        assert (found.changed["Fe"].data[corner] == 1).mean() > 0.9
        assert (found.changed["Fe"].data[~corner] != 0).mean() < 0.1
        table = found.changes({"corner": corner, "rest": ~corner})
        assert table.loc[("corner", "Fe"), "change"] > 3.0
        assert abs(table.loc[("rest", "Fe"), "change"]) < 4.0 * table.loc[("rest", "Fe"), "std"]
        found.save(tmp_path / "comparison.hspy")
        loaded = assb.load(tmp_path / "comparison.hspy")
        np.testing.assert_array_equal(loaded.found.q_value, found.found.q_value)
        assert len(found.plot()) == len(found.elements)

    @pytest.mark.slow
    def test_shifted_maps_are_registered(self, pair):
        before = pair[0]
        shifted = make_map(
            {"LAGP": np.where(np.arange(16) < 8, 100.0, 0.0), "LiFePO4": np.where(np.arange(16) < 8, 0.0, 100.0)},
            shape=(16, 16),
            seed=2,
        )
        with pytest.warns(AssbWarning, match="Shift and change explain each other"):
            found = before.compare_composition(shifted)
        assert found.shift[1] == pytest.approx(2.0, abs=0.3)
        # A single boundary: it may have moved as well.
        other = found.other_reading
        assert other.shift == (0.0, 0.0)
        assert (other.changed["Fe"].data == 1).sum() >= 24 > (found.changed["Fe"].data == 1).sum()
        assert "With the other shift, of +0.00 rows" in found.summary()
        still = np.zeros((16, 16), dtype=bool)
        still[:, :4] = True
        with pytest.raises(ValueError, match="no edge to register by"):
            before.compare_composition(shifted, unchanged=still)

    def test_states_must_fit_together(self, pair):
        before, after, _ = pair
        with pytest.raises(ValueError, match="navigation shape"):
            before.compare_composition(after.inav[:8])
        other = after.deepcopy()
        other.axes_manager[0].scale *= 2
        with pytest.raises(ValueError, match="one magnification"):
            before.compare_composition(other)
        with pytest.raises(TypeError, match="EDS_TEM_ASSB"):
            before.compare_composition(hs.signals.Signal1D(after.data))


@pytest.mark.slow
def test_virtual_battery_before_and_after():
    battery = micro_battery((24, 24), seed=2, edx_signal_type="EDS_TEM_ASSB")
    truth = battery.edx_truth_after
    found = battery.edx_after.quantify_phases(densities={"carbon": 2.08})
    fractions, _, systematic = found.found.fractions(clipped=False)
    for k, name in enumerate(found.phases):
        real = truth.volume_fraction[name].ravel()
        use = np.isfinite(fractions[:, k]) & np.isfinite(real)
        error = np.mean(fractions[use, k] - real[use])
        assert abs(error) < 2.0 * np.mean(systematic[use, k]) + 0.005


@pytest.fixture(scope="module")
def particles(shared_data):
    signal = assb.load_eds_spectrum_image(shared_data / "eds" / "fept" / "bare_core.hdf5", reader="hspy")
    signal.correct_energy_calibration()
    return signal


@pytest.fixture(scope="module")
def silica(shared_data):
    folder = shared_data / "eds" / "sio2_particles"
    signal = assb.load_eds_spectrum_image(folder / "SiO2 EDS Spectrum Image.hspy")
    signal.correct_energy_calibration()
    return signal


class TestRealMaps:
    """Platinum-iron and silica particles on carbon: nothing of the battery but the film."""

    def test_energy_axes_were_off(self, shared_data):
        folder = shared_data / "eds" / "sio2_particles"
        signal = assb.load_eds_spectrum_image(folder / "SiO2 EDS Spectrum Image.hspy")
        found = signal.check_energy_calibration()
        assert found.shifts["Cu_Ka"][0] > 4.0
        assert "energy axis is off" in found.notes[0]

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore::hyperspy_assb.errors.AssbWarning")
    def test_sum_that_the_lines_do_not_describe_is_fitted(self, silica):
        """Peaks that are no Gaussians by many standard errors: the fit of the sum takes thousands of steps."""
        p = silica.quantify_phases(quantification=EDSOptions(absorption=False))
        assert "more Si than in any mixture" in p.summary()

    def test_maps_of_the_particles(self, particles):
        found = particles.quantify_composition(thickness=20.0, elements=["C", "O", "Si", "Fe", "Cu", "Pt"])
        there = particles.sum("x").sum("y")
        assert there.data.sum() > 0
        platinum, iron = found.atoms["Pt"].data, found.atoms["Fe"].data
        assert np.corrcoef(platinum.ravel(), iron.ravel())[0, 1] > 0.3
        rich = platinum > np.nanquantile(platinum, 0.95)
        ratio = iron[rich].sum() / platinum[rich].sum()
        assert 0.1 < ratio < 1.0

    def test_quantification_is_exspys_within_its_error(self, particles):
        """Counts of a region and Cliff-Lorimer with one set of factors, by our fit and by exspy's."""
        platinum = particles.isig[9.2:9.6].sum("Energy").data
        region = particles.inav[:, :].data[platinum > np.quantile(platinum, 0.9)].sum(axis=0)
        summed = particles.inav[0, 0].deepcopy()
        summed.data = region.astype(float)
        summed.set_elements(["C", "Cu", "Fe", "Pt", "Si", "O"])
        summed.set_lines(["C_Ka", "Cu_Ka", "Fe_Ka", "O_Ka", "Pt_La", "Si_Ka"])
        factors = [1.45, 5.08]
        ours = summed.fit_line_counts()
        counts = ours.select(["Fe_Ka", "Pt_La"])
        theirs = summed.get_lines_intensity(
            ["Fe_Ka", "Pt_La"], background_windows=summed.estimate_background_windows(xray_lines=["Fe_Ka", "Pt_La"])
        )
        summed.set_elements(["Fe", "Pt"])
        summed.set_lines(["Fe_Ka", "Pt_La"])
        weight = [summed.quantification(c, "CL", factors, "weight")[0].data.ravel()[0] for c in (counts, theirs)]
        std = [float(ours.std[line].data.ravel()[0] / ours.counts[line].data.ravel()[0]) for line in ("Fe_Ka", "Pt_La")]
        share = weight[0] / 100
        # Windows count with the error of their background too: twice ours.
        error = 100 * share * (1 - share) * np.hypot(*std)
        assert abs(weight[0] - weight[1]) < 4.0 * error

    @pytest.mark.slow
    def test_no_battery_phase_explains_the_particles(self, particles):
        with pytest.warns(UserWarning, match="No mixture of the phases explains"):
            found = particles.quantify_phases(thickness=20.0, elements=["C", "O", "Si", "Fe", "Cu", "Pt"])
        platinum = found.composition.atoms["Pt"].data
        verdict = found.check_mixture(platinum > np.nanquantile(platinum, 0.9))
        assert not verdict.explained
        assert verdict.foreign > 0.2

    @pytest.mark.slow
    def test_no_battery_phase_explains_silica(self, silica):
        with pytest.warns(UserWarning, match="No mixture of the phases explains"):
            found = silica.inav[::2, ::2].quantify_phases(thickness=50.0, elements=["C", "O", "Si", "Cu"])
        silicon = found.composition.atoms["Si"].data
        rich = silicon > np.nanquantile(silicon, 0.8)
        assert not found.check_mixture(rich).explained
        assert (found.status.data[rich] == PhaseStatus.UNEXPLAINED).mean() > 0.9
        mean = found.composition.mean(rich)
        ratio = mean.loc["O", "at. %"] / mean.loc["Si", "at. %"]
        error = ratio * np.hypot(*(mean.loc[el, "systematic"] / mean.loc[el, "at. %"] for el in ("O", "Si")))
        assert abs(ratio - 2.0) < 2.0 * error


class TestVendors:
    """What files of several makers hold, or leave out."""

    @pytest.fixture
    def of_sem(self, scene):
        bulk = hs.signals.Signal1D(
            scene.counts.astype(np.uint16), axes=list(scene.signal.axes_manager.as_dictionary().values())
        )
        bulk.set_signal_type("EDS_SEM")
        bulk.set_microscope_parameters(beam_energy=15.0, energy_resolution_MnKa=130.0)
        return bulk

    def test_map_of_an_sem_has_counts_and_profiles(self, of_sem, scene, tmp_path):
        of_sem.save(tmp_path / "sem.hspy")
        loaded = assb.load_eds_spectrum_image(tmp_path / "sem.hspy")
        loaded.set_elements(["P", "Fe"])
        loaded.set_lines(["P_Ka", "Fe_Ka"])
        assert loaded.fit_line_counts().counts["Fe_Ka"].data.shape == (12, 48)
        for signal in (loaded, loaded.inav[:, :6]):
            found = signal.interface_profile(probe=scene.truth.options.probe)
            assert found.found.profile.unit == "counts of the main line"
            assert abs(found.width - 10.0) < 4.0
        assert "Fe (counts of the main line)" in found.to_dataframe()
        assert any("no factors" in text for text in found.notes)
        for method in (loaded.quantify_composition, loaded.quantify_phases):
            with pytest.raises(AssbValueError, match=r"recorded in an SEM.*fit_line_counts\(\) and interface_profile"):
                method()

    def test_profile_of_counts_in_a_tem(self, scene):
        found = scene.signal.interface_profile(
            probe=scene.truth.options.probe, quantification=EDSOptions(k_factors="counts")
        )
        assert abs(found.width - 10.0) < 3.0
        assert found.found.profile.unit == "counts of the main line"

    def test_spectra_without_a_type_are_x_rays_if_that_was_asked_for(self, signal, tmp_path):
        plain = hs.signals.Signal1D(signal.data)
        axis, own = plain.axes_manager.signal_axes[0], signal.axes_manager.signal_axes[0]
        axis.offset, axis.scale, axis.units = 1000 * own.offset, 1000 * own.scale, "eV"
        plain.save(tmp_path / "tia.hspy")
        assert type(assb.load_eds_spectrum_image(tmp_path / "tia.hspy")) is ASSBEDSTEMSpectrum

    @pytest.mark.parametrize("name", ["beam_current", "live_time", "solid_angle"])
    def test_zero_is_unset(self, signal, name):
        where = TEM + name if name == "beam_current" else EDS + name
        signal.metadata.set_item(where, 0.0)
        with pytest.raises(ValueError, match=f"Missing in the metadata: {name}"):
            signal.quantify_composition()
        assert np.isfinite(signal.quantify_composition(thickness=100.0).found.unclipped).all()

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (ImportError("The 'sparse' library was not found"), r"package 'sparse'.*rosettasciio\[eds-stream\]"),
            (ImportError("no wheel for it"), "needs a package that is not installed: no wheel for it"),
            (ModuleNotFoundError("No module named 'imagecodecs._x'", name="imagecodecs._x"), '"imagecodecs"'),
        ],
    )
    @pytest.mark.parametrize("hidden", [False, True])
    def test_missing_package_is_not_damage(self, tmp_path, monkeypatch, error, message, hidden):
        def fail(*args, **kwargs):
            if not hidden:
                raise error
            try:
                raise error
            except ImportError:
                raise OSError("cannot decode") from error

        path = tmp_path / "map.emd"
        path.write_bytes(b"x")
        monkeypatch.setattr(hs, "load", fail)
        with pytest.raises(ValueError, match=message) as raised:
            assb.load_eds_spectrum_image(path)
        assert "damaged" not in str(raised.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
class TestOptionsMatter:
    """Every option of every method changes what comes out, or says why not."""

    FACTORS: ClassVar = {
        "C_Ka": 4.0, "O_Ka": 1.6, "Al_Ka": 1.1, "P_Ka": 1.0, "V_Ka": 1.2, "Fe_Ka": 1.3, "Ge_Ka": 2.0,
    }  # fmt: skip
    QUANTIFICATION: ClassVar = {
        "k_factors": FACTORS,
        "zeta_factors": {line: 300.0 * k for line, k in FACTORS.items()},
        "thickness": 60.0,
        "absorption": False,
        "fit_range": (0.4, 12.0),
        "elements": ["O", "P", "Fe", "Ge"],
    }
    COMMON: ClassVar = {"k_factors": FACTORS, "thickness": 60.0, "quantification": EDSOptions(absorption=False)}
    MASK: ClassVar = np.broadcast_to(np.arange(24) < 12, (8, 24))
    CASES: ClassVar = {
        "prepare_battery_lines": ({}, {"elements": ["Fe", "P"], "add": ["Ti"], "remove": ["Au"]}),
        "fit_line_counts": ({}, {"xray_lines": ["Fe_Ka"], "fit_range": (1.0, 12.0)}),
        "check_energy_calibration": ({}, {"fit_range": (1.0, 12.0)}),
        "correct_energy_calibration": ({}, {"resolution": False}),
        "find_elements": ({}, {"alpha": 1e-300, "fit_range": (1.0, 12.0)}),
        "quantify_composition": ({}, {**COMMON, "elements": ["O", "P", "Fe", "Ge"]}),
        "quantify_phases": (
            {},
            {
                **COMMON,
                "phases": ["LiFePO4", "LAGP"],
                "densities": {"LAGP": 3.0},
                "elements": ["C", "Ti"],
                "options": PhaseOptions(alpha=0.9),
            },
        ),
        "unmix": (
            {"n": 2},
            {**COMMON, "n": 3, "known": ["LAGP"], "elements": ["O", "P", "Fe", "Ge"]},
        ),
        "interface_profile": (
            {"probe": 1.5},
            {
                "quantification": EDSOptions(absorption=False),
                "line": hs.roi.Line2DROI(10.0, 15.0, 110.0, 15.0, 20.0),
                "boundary": MASK,
                "phase": "LAGP",
                "probe": 3.0,
                "reach": 45.0,
                "elements": ["Fe", "Ge"],
                "options": ProfileOptions(bin_width=7.0),
            },
        ),
        "compare_composition": (
            {},
            {
                **COMMON,
                "elements": ["O", "P", "Fe", "Ge"],
                "options": CompositionOptions(block=2),
                "images": (np.eye(8, 24), np.roll(np.eye(8, 24), 1, axis=1)),
                "unchanged": MASK,
            },
        ),
    }
    """Arguments of all calls, and another value of each option."""

    def _run(self, signal, name, **arguments):
        """What comes out of a method and is left in the signal, as text."""
        signal = signal.deepcopy()
        if name == "compare_composition":
            arguments["after"] = signal.deepcopy()
            arguments["after"].data = np.roll(signal.data, (0, 2), axis=(0, 1))
        try:
            found = getattr(signal, name)(**arguments)
        except ValueError as error:
            return str(error)
        left = signal.axes_manager.signal_axes[0].offset, signal.metadata.Acquisition_instrument.as_dictionary()
        with np.printoptions(precision=8, threshold=10**6):
            shown = found if isinstance(found, list) else vars(getattr(found, "found", found))
            return repr([getattr(found, "notes", ""), shown, left])

    @pytest.mark.parametrize(("name", "option"), [(n, o) for n, (_, options) in CASES.items() for o in options])
    def test_option_is_not_lost(self, halves, name, option):
        always, options = self.CASES[name]
        base = dict(always)
        if option == "phase":
            base["boundary"] = halves.quantify_phases()
        if name == "correct_energy_calibration":
            halves = halves.deepcopy()
            halves.set_microscope_parameters(energy_resolution_MnKa=150.0)
        assert self._run(halves, name, **base) != self._run(halves, name, **{**base, option: options[option]})

    @pytest.mark.parametrize(
        "name", ["quantify_composition", "quantify_phases", "interface_profile", "compare_composition"]
    )
    @pytest.mark.parametrize("option", QUANTIFICATION)
    def test_quantification_is_not_lost(self, halves, name, option):
        base = dict(self.CASES[name][0])
        told = EDSOptions(**{option: self.QUANTIFICATION[option]})
        assert self._run(halves, name, **base) != self._run(halves, name, **base, quantification=told)

    def test_profile_options_are_not_lost(self, halves):
        rough = np.arange(24) < 10 + 4 * (np.arange(8)[:, np.newaxis] % 2)
        runs = [
            self._run(halves, "interface_profile", probe=1.5, boundary=rough, options=options)
            for options in (ProfileOptions(), ProfileOptions(smooth=0.5), ProfileOptions(bin_width=7.0))
        ]
        assert len(set(runs)) == 3

    @pytest.mark.parametrize(("option", "value"), [("k_factors", FACTORS), ("thickness", 60.0), ("elements", "Fe")])
    def test_nothing_is_told_twice(self, halves, option, value):
        with pytest.raises(ValueError, match=f"{option} is given twice"):
            halves.quantify_composition(**{option: value}, quantification=EDSOptions(**{option: value}))

    def test_no_option_is_left_out(self):
        own = {
            name for name, method in vars(ASSBEDSTEMSpectrum).items() if not name.startswith("_") and callable(method)
        }
        of_exspy = {"set_microscope_parameters", "get_take_off_angle"}
        assert own - of_exspy == set(self.CASES)
        for name, (_, options) in self.CASES.items():
            parameters = set(inspect.signature(getattr(ASSBEDSTEMSpectrum, name)).parameters)
            parameters -= {"self", "after", "show_progressbar"}  # tests/test_progress.py
            assert parameters == set(options), name
