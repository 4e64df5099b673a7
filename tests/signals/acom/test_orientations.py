"""Orientation maps as HyperSpy signals, as an orix map, as tables and as a file."""

from __future__ import annotations

import pickle
from dataclasses import replace

import hyperspy.api as hs
import numpy as np
import orix.quaternion
import pandas as pd
import pytest

import hyperspy_assb
from hyperspy_assb import compare_phases
from hyperspy_assb.acom.crystals.crystal_phase import point_group
from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of
from hyperspy_assb.acom.crystals.frames import upper
from hyperspy_assb.acom.maps.grains import BoundaryKind, GrainOptions
from hyperspy_assb.acom.maps.particles import ParticleStatus
from hyperspy_assb.signals.packing import digest, pack
from hyperspy_assb.signals.result import KINDS
from hyperspy_assb.simulation.lamella import build_lamella


@pytest.fixture(scope="module")
def lamella():
    return build_lamella((40, 48), np.random.default_rng(3))


@pytest.fixture(scope="module")
def maps(lamella, make_maps, make_scan_of_state):
    return make_maps(make_scan_of_state(lamella.after), lamella.pixel_size)


def test_maps_are_signals_on_the_scan_axes(maps):
    names = ("phase_map", "class_map", "correlation", "reliability", "phase_reliability", "crystalline_score")
    for name in (*names, "virtual_bright_field", "status", "amorphous"):
        signal = getattr(maps, name)
        assert signal.axes_manager.navigation_shape == (48, 40), name
        assert signal.axes_manager.signal_dimension == 0
        assert [axis.units for axis in signal.axes_manager.navigation_axes] == ["nm", "nm"]
        assert signal.metadata.General.title
        assert signal.metadata.ASSB.provenance.action == "made up"
    assert set(maps.posterior) == {"LiFePO4", "FePO4", "LAGP"}
    assert set(maps.ring_amounts) == {"carbon", "amorphous_LAGP"}
    assert maps.phase_map.metadata.ASSB.classes[1] == "0: LiFePO4"
    np.testing.assert_array_equal(maps.amorphous.data, maps.classes.amorphous)
    assert "LiFePO4" in repr(maps)
    assert "40 x 48 pixels" in repr(maps)


@pytest.mark.parametrize("shape", [(1, 7), (1, 1)])
def test_lines_and_single_patterns(make_scan, rng, shape):
    from hyperspy_assb.signals.acom.orientations import OrientationMaps

    scan = make_scan(np.zeros(shape, dtype=int), upper(rng.normal(size=(*shape, 4))))
    axes = ({"name": "x", "size": 7, "scale": 2.0, "offset": 1.0, "units": "nm", "navigate": True},)
    r = OrientationMaps(scan, axes=axes if shape == (1, 7) else ())
    assert r.correlation.data.size == np.prod(shape)
    assert r.phase_fractions()["area (%)"][0] == 100
    assert r.ipf("z").data.size == np.prod(shape)
    assert r.to_crystal_map().size == np.prod(shape)
    assert len(r.mechanism().particles) == 0


# ------------------------------------------------------------------ orientations


def test_crystal_map_of_orix(maps):
    found = maps.to_crystal_map()
    assert found.shape == (40, 48)
    indexed = maps.found.phase >= 0
    np.testing.assert_array_equal(found.phase_id.reshape(40, 48), np.where(indexed, maps.found.phase, -1))
    assert [found.phases[n].name for n in ("LiFePO4", "FePO4", "LAGP")] == ["LiFePO4", "FePO4", "LAGP"]
    assert found.phases["LAGP"].point_group == point_group(maps.phases[2])
    assert found.scan_unit == "nm"
    assert found.dx == pytest.approx(maps.axes[1]["scale"])
    np.testing.assert_array_equal(found.prop["correlation"], maps.found.correlation.ravel())
    for number, phase in enumerate(maps.phases):
        inside = maps.found.phase == number
        ours = maps.found.orientation[inside]
        theirs = found[phase.name].orientations
        np.testing.assert_allclose(disorientation(theirs.data, ours, symmetry_of(phase)), 0.0, atol=1e-5)


def test_ipf_colours_are_those_of_the_crystal_direction(make_scan, make_maps, rng):
    # The crystal direction along z of the specimen is M z: colours depend on it and on nothing else.
    quaternions = upper(rng.normal(size=(6, 8, 4)))
    maps = make_maps(make_scan(rng.integers(0, 3, (6, 8)), quaternions))
    image = maps.ipf("z")
    assert image.axes_manager.signal_shape == (8, 6)
    assert image.data.dtype == hs.signals.Signal2D(image.data).data.dtype
    half = np.radians(77.0) / 2
    turned = np.array([np.cos(half), 0.0, 0.0, np.sin(half)])
    from hyperspy_assb.acom.crystals.frames import multiply

    other = make_maps(make_scan(maps.found.phase, multiply(quaternions, turned)))
    for channel in "RGB":
        difference = other.ipf("z").data[channel].astype(int) - image.data[channel].astype(int)
        assert np.abs(difference).max() <= 1
        assert np.abs(other.ipf("x").data[channel].astype(int) - maps.ipf("x").data[channel].astype(int)).max() > 50
    with pytest.raises(ValueError, match='"x", "y" or "z"'):
        maps.ipf("w")


@pytest.mark.parametrize("name", ["lfp", "lagp"])
def test_equivalent_orientations_have_one_colour(rng, name):
    from hyperspy_assb.acom.crystals.crystal_phase import load_phase
    from hyperspy_assb.acom.crystals.frames import multiply
    from hyperspy_assb.plotting.colours import orientation_colours

    phase = load_phase(name)
    first = upper(rng.normal(size=(1, 60, 4)))
    index = np.zeros((1, 60), dtype=int)
    colours = [orientation_colours(index, multiply(s, first), [phase], "y").astype(int) for s in symmetry_of(phase)]
    for other in colours[1:]:
        assert np.abs(other - colours[0]).max() <= 1


def test_what_is_not_indexed_is_black(maps):
    image = maps.ipf("x").data
    nothing = maps.found.phase < 0
    assert all((image[channel][nothing] == 0).all() for channel in "RGB")
    assert any((image[channel][~nothing] > 0).any() for channel in "RGB")


def test_real_maps_of_astar_have_the_colours_of_orix(shared_data):
    from orix.io import load
    from orix.plot import IPFColorKeyTSL
    from orix.vector import Vector3d

    from hyperspy_assb.plotting.colours import orientation_colours

    crystal_map = load(str(shared_data / "diffraction" / "astar_maps" / "astar_111x59.ctf"))
    group = next(iter(crystal_map.phases))[1].point_group
    orientation = upper(crystal_map.rotations.data).reshape(59, 111, 4)
    for direction, vector in (("x", (1, 0, 0)), ("z", (0, 0, 1))):
        found = orientation_colours(np.zeros((59, 111), dtype=int), orientation, [group], direction)
        key = IPFColorKeyTSL(group, direction=Vector3d(vector))
        expected = key.orientation2color(orix.quaternion.Orientation(crystal_map.rotations, symmetry=group))
        np.testing.assert_allclose(found.reshape(-1, 3) / 255, expected, atol=0.5 / 255 + 1e-9)


# --------------------------------------------------------- grains and fractions


def test_boundaries_of_a_perfect_result_are_those_of_the_truth(maps, lamella):
    state = lamella.after
    found = maps.grain_boundaries(options=GrainOptions(threshold=0.5)).boundaries.pixels > 0
    number = np.where(maps.found.phase >= 0, state.grain_id * 4 + maps.found.phase, -1)
    truth = np.zeros_like(found)
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        edge = (number[first] != number[second]) & (number[first] >= 0) & (number[second] >= 0)
        truth[first] |= edge
        truth[second] |= edge
    assert truth.sum() > 100
    precision, recall = (found & truth).sum() / found.sum(), (found & truth).sum() / truth.sum()
    assert 2 * precision * recall / (precision + recall) > 0.999
    cleaned = maps.grain_boundaries(options=GrainOptions(min_pixels=4))
    assert cleaned.length("GRAIN") < maps.grain_boundaries().length(BoundaryKind.GRAIN)


def test_tables(maps, lamella):
    table = maps.grain_boundaries().table
    assert table["pixels"].sum() == (maps.found.phase >= 0).sum()
    assert table["area (nm²)"].sum() == pytest.approx((maps.found.phase >= 0).sum() * lamella.pixel_size**2)
    fractions = maps.phase_fractions()
    assert fractions["area (%)"].sum() == pytest.approx(100)
    assert (fractions["low, 95 % (%)"] <= fractions["area (%)"]).all()
    assert fractions.attrs["pixels"] + fractions.attrs["left out"] == 40 * 48
    left = np.zeros((40, 48), dtype=bool)
    left[:, :10] = True
    part = maps.phase_fractions(left)
    assert part.attrs["pixels"] <= 400
    roi = hs.roi.RectangularROI(0, 0, 10 * lamella.pixel_size, 40 * lamella.pixel_size)
    np.testing.assert_allclose(maps.phase_fractions(roi)["area (%)"], part["area (%)"])


def test_mechanism_table(maps):
    found = maps.mechanism()
    assert len(found.table) == len(found.particles) == found.labels.data.max()
    assert set(found.table["kind"]) <= {"LiFePO4", "FePO4", "mixed"}
    assert {"size", "orientation", "amorphous"} <= set(found.tests["test"])
    assert found.summary().startswith(f"{len(found.particles)} particles of LixFePO4: {found.evidence.kind}.")
    assert found.evidence.kind in repr(found)
    np.testing.assert_array_equal(found.status.data == ParticleStatus.NO_PARTICLE, found.labels.data == 0)
    for particle, kind in enumerate(found.table["kind"], start=1):
        status = {"LiFePO4": "LITHIATED", "FePO4": "DELITHIATED", "mixed": "MIXED"}[kind]
        assert (found.status.data[found.labels.data == particle] == ParticleStatus[status]).all()


# ----------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def results(maps, lamella, make_maps, make_scan_of_state):
    before = make_maps(make_scan_of_state(lamella.before), lamella.pixel_size)
    return {
        "maps": maps,
        "grains": maps.grain_boundaries(options=GrainOptions(min_pixels=2)),
        "mechanism": maps.mechanism(),
        "comparison": before.compare_phases(maps),
    }


NAMES = ("maps", "grains", "mechanism", "comparison")


@pytest.mark.parametrize("ending", ["hspy", "zspy"])
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_result_comes_back(results, name, ending, tmp_path):
    saved, path = results[name], tmp_path / f"{name}.{ending}"
    saved.save(path)
    back = hyperspy_assb.load(path)
    assert type(back) is type(saved)
    assert digest(*pack(back, KINDS)) == digest(*pack(saved, KINDS))
    assert repr(back) == repr(saved)
    assert back.summary() == saved.summary()
    pd.testing.assert_frame_equal(back.to_dataframe(), saved.to_dataframe())
    np.testing.assert_array_equal(back.status.data, saved.status.data)
    shown = hs.load(path)
    assert shown.metadata.General.title
    assert isinstance(pickle.loads(pickle.dumps(saved)), type(saved))


def test_phases_come_back_with_their_atoms(results, tmp_path):
    results["maps"].save(tmp_path / "maps.hspy")
    back = hyperspy_assb.load(tmp_path / "maps.hspy")
    assert back.phases == results["maps"].phases
    assert back.phases[0].structure.composition == results["maps"].phases[0].structure.composition
    np.testing.assert_array_equal(back.ipf("z").data, results["maps"].ipf("z").data)


@pytest.mark.parametrize("name", NAMES)
def test_regions_are_counted_by_status(results, name):
    result = results[name]
    left = np.broadcast_to(np.arange(48) < 12, (40, 48))
    corner = np.zeros((40, 48), dtype=bool)
    corner[0, 0] = True
    table = result.to_dataframe(region={"left": left, "all": np.ones((40, 48), dtype=bool), "corner": corner})
    statuses = [status.name.lower() for status in result.statuses]
    assert table[statuses].sum(axis=1).tolist() == [left.sum(), left.size, 1]
    pixels = result.to_dataframe()
    assert len(pixels) == left.size
    assert pixels["status"].value_counts().to_dict() == {
        status: n for status, n in table.loc["all", statuses].astype(int).items() if n
    }
    labels = result.to_dataframe(np.where(left, 1, 2), names=["left", "right"])
    np.testing.assert_array_equal(labels.loc["left"], table.loc["left"])


def test_numbers_of_regions_are_those_of_the_methods(results):
    left = np.broadcast_to(np.arange(48) < 24, (40, 48))
    row = results["maps"].to_dataframe(left).iloc[0]
    area = results["maps"].phase_fractions(left).set_index("class")
    for name in ("LiFePO4", "FePO4", "LAGP"):
        assert row[f"{name} area (%)"] == area.loc[name, "area (%)"]
        assert row[f"{name} std (%)"] == area.loc[name, "std (%)"]
    comparison = results["comparison"]
    row = comparison.to_dataframe(np.ones((40, 48), dtype=bool)).iloc[0]
    whole = comparison.fractions.set_index("class")
    for name in whole.index:
        assert row[f"{name} change (%)"] == pytest.approx(whole.loc[name, "change (%)"])
        assert row[f"{name} std (%)"] == pytest.approx(whole.loc[name, "change std (%)"])
    mechanism = results["mechanism"]
    first = mechanism.to_dataframe(mechanism.labels.data == 1).iloc[0]
    assert first["particles"] == 1
    assert first["share of FePO4"] == pytest.approx(mechanism.table["FePO4"][0])
    grains = results["grains"]
    assert grains.to_dataframe(grains.labels.data == 1)["grains"].item() == 1


def test_a_region_without_an_answer_has_no_numbers(results, make_maps, make_scan):
    phase = np.full((4, 4), -1)
    phase[:, 2:] = 0
    orientation = np.where((phase >= 0)[..., None], [1.0, 0.0, 0.0, 0.0], np.nan)
    maps = make_maps(make_scan(phase, orientation))
    row = maps.to_dataframe(phase < 0).iloc[0]
    assert np.isnan(row["LiFePO4 area (%)"])
    assert row["empty"] == 8
    nothing = maps.compare_phases(maps).to_dataframe(phase < 0).iloc[0]
    assert np.isnan(nothing["LiFePO4 change (%)"])
    assert nothing["unknown"] == 8


@pytest.mark.parametrize("name", NAMES)
def test_summary_ends_with_the_notes(results, name):
    result = replace(results[name], notes=("The first.", "The second."))
    lines = result.summary().splitlines()
    assert lines[-2:] == ["The first.", "The second."]
    assert len(lines) > 2
    assert all(line.endswith(".") for line in lines)


def test_other_electrodes_have_a_mechanism(make_scan, make_maps, rng):
    scan = make_scan(rng.integers(0, 2, (12, 12)), np.broadcast_to([1.0, 0.0, 0.0, 0.0], (12, 12, 4)).copy())
    phases = tuple(replace(p, name=n) for p, n in zip(scan.phases, ("LiCoO2", "CoO2", "LAGP"), strict=True))
    maps = make_maps(replace(scan, phases=phases))
    found = maps.mechanism()
    assert (found.electrode, found.lithiated, found.delithiated) == ("LixCoO2", "LiCoO2", "CoO2")
    assert "particles of LixCoO2" in found.summary()
    assert found.table["CoO2"].between(0, 1).all()
    comparison = maps.compare_phases(maps)
    assert comparison.change_names[2] == "LiCoO2 to CoO2"
    assert "went from LiCoO2 to CoO2" in comparison.summary()


def test_without_a_couple_there_is_no_mechanism(make_scan, make_maps):
    scan = make_scan(np.zeros((4, 4), dtype=int), np.broadcast_to([1.0, 0.0, 0.0, 0.0], (4, 4, 4)).copy())
    phases = tuple(replace(p, name=n) for p, n in zip(scan.phases, ("a", "b", "LAGP"), strict=True))
    maps = make_maps(replace(scan, phases=phases))
    with pytest.raises(ValueError, match="needs both end members of an electrode, but indexing was offered a, b, LAGP"):
        maps.mechanism()
    comparison = maps.compare_phases(maps)
    assert not comparison.became_delithiated.data.any()
    assert comparison.summary().startswith("0.0 % became amorphous.")
    with pytest.raises(ValueError, match="couple: LixFePO4 is LiFePO4 and FePO4, but the phases are a, b, LAGP"):
        maps.compare_phases(maps, couple="LixFePO4")
    several = tuple(
        replace(p, name=n) for p, n in zip(scan.phases, ("Li3V2(PO4)3", "V2(PO4)3", "LiV2(PO4)3"), strict=True)
    )
    with pytest.raises(ValueError, match="the phases hold several"):
        make_maps(replace(scan, phases=several)).mechanism()


# ------------------------------------------------------------------ comparison


def test_two_states(maps, lamella, make_maps, make_scan_of_state):
    before = make_maps(make_scan_of_state(lamella.before), lamella.pixel_size)
    found = before.compare_phases(maps)
    assert found.registration.shift == (0, 0)
    both = (before.classes.index >= 0) & (maps.classes.index >= 0)
    gained = both & (before.found.phase == 0) & (maps.found.phase == 1)
    np.testing.assert_array_equal(found.became_delithiated.data, gained)
    amorphised = both & (before.found.phase >= 0) & maps.classes.amorphous
    np.testing.assert_array_equal(found.became_amorphous.data, amorphised)
    table = found.fractions.set_index("class")
    assert table.loc["LiFePO4", "change (%)"] < 0 < table.loc["FePO4", "change (%)"]
    np.testing.assert_allclose(table["after (%)"] - table["before (%)"], table["change (%)"], atol=1e-9)
    assert found.transitions.to_numpy().sum() == pytest.approx(100)
    assert found.transitions.loc["LiFePO4", "FePO4"] == pytest.approx(100 * gained.sum() / both.sum())
    assert "went from LiFePO4 to FePO4" in found.summary()
    # Change does not depend on the order of blocks; nothing changes against itself.
    same = compare_phases(maps, maps)
    assert np.abs(same.fractions["change (%)"]).max() == 0


def test_a_displaced_scan_is_registered(maps, make_maps):
    from hyperspy_assb.acom.matching.indexed import crop_scan

    first = make_maps(crop_scan(maps.found, slice(0, 36), slice(2, 48)))
    second = make_maps(crop_scan(maps.found, slice(3, 40), slice(0, 45)))
    found = compare_phases(first, second)
    assert found.registration.shift == (-3, 2)
    assert found.status.data.shape == (33, 43)
    assert set(np.unique(found.status.data)) <= {0, 5}
    assert found.before_map.axes_manager["y"].offset == pytest.approx(30.0)


def test_scans_of_other_pixels_are_refused(maps, make_maps):
    with pytest.raises(ValueError, match="only scans of one pixel size"):
        compare_phases(maps, make_maps(maps.found, 99.0))


def test_comparison_has_the_dose_beside_it(results, maps):
    assert "The dose of before and after is not known" in results["comparison"].summary()
    stated = replace(maps, provenance={**maps.provenance, "dose": {"electrons per nm²": 3e4}})
    found = stated.compare_phases(stated, shift=(0, 0))
    assert "Electrons per nm²: 3e+04 before, 3e+04 after." in found.summary()
    assert found.provenance["dose"]["after"]["electrons per nm²"] == 3e4
