"""Patterns to orientation maps, from the signal to the result."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.acom.scan.scan_indexing import bank_of_scan
from hyperspy_assb.acom.templates.bank import simulate_bank
from hyperspy_assb.signals import load_patterns
from hyperspy_assb.signals.acom.pattern_metadata import read_scan
from hyperspy_assb.simulation import DiffractionConditions
from hyperspy_assb.simulation.acom.scan import simulate_scan
from hyperspy_assb.simulation.lamella import build_lamella


@pytest.fixture(scope="module")
def state():
    return build_lamella((14, 14), np.random.default_rng(2)).after


@pytest.fixture(scope="module")
def patterns(state):
    conditions = DiffractionConditions().with_shape((96, 96))
    return simulate_scan(state, conditions, pixel_size=20.0, signal_type="ACOM")


@pytest.fixture(scope="module")
def bank():
    return simulate_bank(["lfp", "fp", "lagp"], resolution=2.5)


@pytest.fixture(scope="module")
def maps(patterns, bank):
    return patterns.index_orientations(bank, calibrate=False, show_progressbar=False)


def test_phases_and_orientations_are_those_of_the_truth(maps, state):
    share = np.stack([state.fractions[phase.name] for phase in maps.phases])
    pure = (share.max(axis=0) > 0.9) & (maps.found.phase >= 0)
    assert pure.sum() > 25
    truth = share.argmax(axis=0)
    assert (maps.found.phase == truth)[pure].mean() >= 0.95
    angles = []
    for number, phase in enumerate(maps.phases):
        at = pure & (maps.found.phase == number) & (truth == number)
        angles.extend(disorientation(maps.found.orientation[at], state.orientation[at], symmetry_of(phase)))
    assert np.median(angles) < 0.5
    assert np.mean(np.array(angles) < 3.0) >= 0.9


def test_vacuum_is_empty_and_amorphous_material_has_no_lattice(maps, state):
    vacuum = state.fractions["vacuum"] > 0.99
    assert (maps.status.data[vacuum] == PatternStatus.EMPTY).mean() > 0.9
    assert not maps.amorphous.data[vacuum].any()
    crystal = np.sum([state.fractions[phase.name] for phase in maps.phases], axis=0)
    assert maps.amorphous.data[crystal > 0.9].mean() < 0.05


def test_the_record_says_what_was_done(maps, bank):
    parameters = maps.provenance["parameters"]
    assert parameters["templates"] == len(bank)
    assert parameters["phases"] == ["LiFePO4", "FePO4", "LAGP"]
    assert parameters["backend"] == "numba"
    assert any("Rauch" in citation for citation in maps.provenance["citations"])
    # What is not known of a structure is said.
    assert any(note.startswith("LAGP: ") for note in maps.notes)


def test_lazy_patterns_give_the_same(patterns, bank, maps):
    lazy = patterns.as_lazy()
    lazy.data = lazy.data.rechunk((5, 6, 96, 96))
    found = lazy.index_orientations(bank, calibrate=False, show_progressbar=False)
    for name in ("phase", "orientation", "correlation", "posterior", "virtual_bright_field", "status"):
        np.testing.assert_array_equal(getattr(found.found, name), getattr(maps.found, name))
    assert lazy._lazy


@pytest.mark.slow
def test_a_direct_beam_that_is_elsewhere_is_found(patterns, bank, maps, state):
    column, row = patterns.geometry.centre
    wrong = patterns.deepcopy()
    wrong.set_diffraction_calibration(centre=(column + 3.0, row - 2.5))
    found = wrong.index_orientations(bank, show_progressbar=False)
    assert any("pixels from the position that the axes state" in note for note in found.notes)
    share = np.stack([state.fractions[phase.name] for phase in maps.phases])
    pure = (share.max(axis=0) > 0.9) & (found.found.phase >= 0)
    right = (found.found.phase == share.argmax(axis=0))[pure].mean()
    lost = wrong.index_orientations(bank, calibrate=False, show_progressbar=False)
    assert right >= 0.95
    assert (lost.found.phase == share.argmax(axis=0))[pure].mean() < right
    # The bright field is that about the beam, not about the middle of the frame.
    np.testing.assert_allclose(
        found.virtual_bright_field.data, patterns.virtual_bright_field(show_progressbar=False).data, rtol=0.35
    )


@pytest.mark.slow
def test_a_wrong_camera_length_is_put_right(patterns, bank, state):
    wrong = patterns.deepcopy()
    truth = patterns.geometry.scale
    wrong.set_diffraction_calibration(1.03 * truth)
    found = wrong.index_orientations(bank, show_progressbar=False)
    assert found.geometry.scale == pytest.approx(truth, rel=0.004)
    assert found.geometry.scale_std > 0
    share = np.stack([state.fractions[phase.name] for phase in found.phases])
    pure = (share.max(axis=0) > 0.9) & (found.found.phase >= 0)
    assert (found.found.phase == share.argmax(axis=0))[pure].mean() >= 0.95


@pytest.mark.slow
def test_behind_a_beam_stop_the_stated_centre_holds(patterns, bank, maps):
    s = patterns.inav[:6, 6:10].deepcopy()
    column, row = (round(c) for c in s.geometry.centre)
    s.data[..., row - 8 : row + 9, column - 8 : column + 9] = 0
    s.data[..., row:, column - 3 : column + 4] = 0
    found = s.index_orientations(bank, show_progressbar=False)
    assert any("direct beam was found in" in note for note in found.notes)
    np.testing.assert_allclose(found.geometry.centre, s.geometry.centre, atol=1.0)
    sure = maps.found.reliability[6:10, :6] > 30
    assert (found.found.phase == maps.found.phase[6:10, :6])[sure].mean() > 0.8


def test_lines_and_single_patterns(patterns, bank, maps):
    line = patterns.inav[:, 7].index_orientations(bank, calibrate=False, show_progressbar=False)
    # What counts as crystalline hangs on the scores that the patterns of the signal reach by chance.
    found, known = line.phase_map.data, maps.phase_map.data[7]
    both = (found >= 0) & (known >= 0)
    np.testing.assert_array_equal(found[both], known[both])
    assert both.sum() >= 0.8 * (known >= 0).sum()
    assert line.phase_map.axes_manager.navigation_shape == (14,)
    y, x = np.argwhere(maps.found.phase >= 0)[0]
    one = patterns.inav[x, y].index_orientations(bank, calibrate=False, show_progressbar=False)
    assert one.found.phase[0, 0] == maps.found.phase[y, x]
    assert one.plot_match(patterns.inav[x, y], ()) is not None


@pytest.mark.slow
def test_without_refinement_orientations_are_those_of_the_bank(patterns, bank, maps, state):
    coarse = patterns.index_orientations(bank, calibrate=False, refine=False, show_progressbar=False)
    both = (coarse.found.phase == maps.found.phase) & (maps.found.phase == 0) & (state.fractions["LiFePO4"] > 0.9)
    group = symmetry_of(maps.phases[0])
    errors = [
        np.median(disorientation(r.found.orientation[both], state.orientation[both], group)) for r in (coarse, maps)
    ]
    assert errors[1] < errors[0]


def test_a_bank_is_made_for_the_microscope(patterns):
    small = patterns.deepcopy()
    small.metadata.Acquisition_instrument.TEM.beam_energy = 300.0
    bank, notes = bank_of_scan(read_scan(small), ["lfp"])
    assert bank.beam_energy == 300.0
    assert bank.precession_angle == pytest.approx(0.7)
    assert not notes
    del small.metadata.Acquisition_instrument.TEM.precession_angle
    del small.metadata.Acquisition_instrument.TEM.rocking_angle
    _, notes = bank_of_scan(read_scan(small), "lfp")
    assert "No precession angle" in notes[0]
    del small.metadata.Acquisition_instrument.TEM.beam_energy
    with pytest.raises(ValueError, match="beam energy"):
        bank_of_scan(read_scan(small), ["lfp"])


def test_bad_input(patterns, bank):
    with pytest.raises(ValueError, match="backend: one of 'numba', 'pyxem', not 'rust'"):
        patterns.index_orientations(bank, backend="rust")
    with pytest.raises(ValueError, match="column 300, row 3 lies outside of the frame"):
        patterns.index_orientations(bank, geometry=replace(patterns.geometry, centre=(300.0, 3.0)))
    uncalibrated = patterns.inav[:1, :1].deepcopy()
    uncalibrated.axes_manager["kx"].units = ""
    with pytest.raises(ValueError, match=r"axis 'kx'.*is not calibrated"):
        uncalibrated.index_orientations(bank)
    with pytest.raises(ValueError, match="3 navigation axes"):
        hs.stack([patterns.inav[:2, :2]] * 2).index_orientations(bank)
    broken = patterns.inav[:2, :2].deepcopy()
    broken.change_dtype("float32")
    broken.data[0, 0, 3, 3] = np.nan
    found = broken.index_orientations(bank, show_progressbar=False)
    assert any("1 of 9216 detector pixels" in note and "1 marked by the detector" in note for note in found.notes)
    with pytest.raises(ValueError, match=r"mask: booleans, True where pixels .* \(96, 96\)"):
        broken.index_orientations(bank, mask=np.zeros((3, 3), dtype=bool))
    with pytest.raises(ValueError, match="mask: True where pixels"):
        broken.index_orientations(bank, mask=np.ones((96, 96), dtype=bool))
    no_reflections = patterns.inav[:1, :1].deepcopy()
    no_reflections.set_diffraction_calibration(0.002)
    with pytest.raises(ValueError, match=r"scale: patterns of 96 x 96 pixels of 0\.002"):
        no_reflections.index_orientations(["lfp"], show_progressbar=False)


def test_empty_and_saturated_patterns(patterns, bank):
    s = patterns.inav[:3, 7:8].deepcopy()
    s.data[0, 0] = 0
    s.data[0, 1, 10:40, 10:40] = np.iinfo(s.data.dtype).max
    found = s.index_orientations(bank, calibrate=False, show_progressbar=False)
    assert found.status.data[0, 0] == PatternStatus.EMPTY
    assert found.found.phase[0, 0] == -1
    assert np.isnan(found.found.orientation[0, 0]).all()
    assert found.status.data[0, 1] == PatternStatus.SATURATED


def test_pyxem_is_asked_for_where_it_is_missing(patterns, bank, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyxem", None)
    with pytest.raises(ImportError, match="pip install pyxem"):
        patterns.index_orientations(bank, backend="pyxem")


def test_pyxem_finds_the_same(patterns, bank, maps):
    pytest.importorskip("pyxem")
    found = patterns.inav[:6, 6:10].index_orientations(bank, backend="pyxem", show_progressbar=False)
    ours = maps.found.phase[6:10, :6]
    sure = (ours >= 0) & (maps.found.reliability[6:10, :6] > 20)
    assert (found.found.phase == ours)[sure].mean() > 0.7


# ------------------------------------------------------------------ real files


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Loading old file version")
def test_steel_is_austenite(shared_data):
    folder = shared_data / "diffraction" / "sped_austenite"
    s = load_patterns(folder / "subset_data.hspy")
    s.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    s.metadata.set_item("Acquisition_instrument.TEM.precession_angle", 0.5)
    names = [folder / "austeniteLP.cif", folder / "g-phaseLP.cif", folder / "Cu.cif", "lfp", "fp"]
    found = s.index_orientations(names, show_progressbar=False)
    # Copper has a lattice that is 0.9 % larger than that of austenite; the first file states displacements U of 1 Å².
    assert (found.found.phase == 0).all()
    assert (found.posterior[found.phases[0].name].data > 0.75).all()
    assert any("cannot be so large" in note for note in found.notes)
    # The file has the direct beam in the middle of the frame; it is four pixels beside it.
    assert any("pixels from the position that the axes state" in note for note in found.notes)
    assert found.geometry.centre == pytest.approx((132.2, 128.5), abs=0.3)
    assert (found.correlation.data > 0.15).all()
    assert sum(p.data for name, p in found.posterior.items() if "PO4" in name).max() < 0.2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Loading old file version")
@pytest.mark.parametrize(
    ("file", "scale", "status"),
    [
        ("Amorphous.hspy", 0.004, PatternStatus.AMORPHOUS),
        ("Amorphous.hspy", 0.006, PatternStatus.AMORPHOUS),
        ("au_xgrating_20cm.tif", 0.01, PatternStatus.POWDER),
    ],
)
def test_single_patterns_are_amorphous_or_crystalline(shared_data, bank, file, scale, status):
    s = load_patterns(shared_data / "diffraction" / "single_patterns" / file)
    # No scale is known of the first; the rings of gold give that of the second.
    s.set_diffraction_calibration(scale)
    found = s.index_orientations(bank, calibrate=file.startswith("au"), show_progressbar=False)
    assert found.status.data.item() == status
    assert found.amorphous.data.item() == (status == PatternStatus.AMORPHOUS)
    assert found.found.phase.item() == -1


@pytest.mark.parametrize(("file", "scale"), [("blockfile/test1.blo", None), ("merlin/002_4x2_6bit_roi128.mib", 0.02)])
def test_files_of_nanomegas_and_merlin_run(shared_data, bank, file, scale):
    s = load_patterns(shared_data / "diffraction" / file, lazy=True)
    if scale is not None:
        s.set_diffraction_calibration(scale)
    found = s.index_orientations(bank, calibrate=False, show_progressbar=False)
    assert found.phase_map.data.shape == s.data.shape[:2]
    assert set(np.unique(found.status.data)) <= {status.value for status in PatternStatus}


# -------------------------------------------------------------- free of Rust


@pytest.mark.slow
def test_nothing_that_is_imported_is_made_in_rust():
    code = (
        "import json, sys\n"
        "import hyperspy_assb.acom.scan.scan_indexing\n"
        "from hyperspy_assb.acom.maps import grains, mechanism_tests\n"
        "from hyperspy_assb.signals.acom import indexing, phase_comparison, signal\n"
        "files = [getattr(m, '__file__', None) for m in list(sys.modules.values())]\n"
        "print(json.dumps([f for f in files if f and f.endswith(('.so', '.pyd', '.dylib'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    files = json.loads(done.stdout.splitlines()[-1])
    assert len(files) > 50
    made = []
    for file in files:
        with open(file, "rb") as stream:  # noqa: PTH123
            content = stream.read()
        # Every Rust library holds the paths of the standard library that its panics name.
        if b"/rustc/" in content or b"rust_begin_unwind" in content:
            made.append(file)
    assert not made
