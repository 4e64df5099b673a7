"""Crystal maps in files of other programs, read back by orix."""

from __future__ import annotations

import numpy as np
import pytest
from orix import io
from orix.quaternion import Orientation

from hyperspy_assb.acom.crystals.crystal_phase import load_phase
from hyperspy_assb.acom.crystals.disorientation import symmetry_of
from hyperspy_assb.acom.crystals.frames import multiply, upper
from hyperspy_assb.acom.crystals.orix_setting import in_orix_setting
from hyperspy_assb.acom.matching.indexed import IndexedScan, PatternStatus
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.signals.acom.crystal_map import setting_notes
from hyperspy_assb.signals.acom.orientations import OrientationMaps

PHASES = tuple(load_phase(name) for name in ("lfp", "fp", "lagp", "lvp"))


def maps_of(rng, shape):
    phase = rng.integers(-1, len(PHASES), shape)
    orientation = upper(rng.normal(size=(*shape, 4)))
    orientation[phase < 0] = np.nan
    ones = np.ones(shape)
    known = np.where(phase < 0, np.nan, 20.0)
    scan = IndexedScan(
        phases=PHASES,
        geometry=PatternGeometry(scale=0.02, centre=(16.0, 16.0)),
        phase=phase,
        orientation=orientation,
        correlation=0.3 * ones,
        reliability=known,
        phase_reliability=known,
        phase_scores=np.ones((*shape, len(PHASES))),
        phase_orientations=np.repeat(orientation[:, :, None], len(PHASES), axis=2),
        posterior=np.full((*shape, len(PHASES)), 0.25),
        lattice_scale=None,
        virtual_bright_field=ones,
        crystalline_score=ones,
        ring_amounts=np.ones((*shape, 1)),
        ring_materials=("carbon",),
        status=np.where(phase < 0, PatternStatus.AMORPHOUS, PatternStatus.INDEXED),
        twin_reliability=known,
    )
    axes = tuple(
        {"_type": "UniformDataAxis", "name": n, "scale": 5.0, "offset": 0.0, "units": "nm", "size": s, "navigate": True}
        for n, s in zip("yx", shape, strict=True)
    )
    return OrientationMaps(scan, axes=axes)


@pytest.mark.parametrize("ending", ["ang", "ctf", "h5"])
@pytest.mark.parametrize("shape", [(7, 9), (1, 12)])
def test_orix_reads_what_was_written(rng, tmp_path, ending, shape):
    maps = maps_of(rng, shape)
    path = tmp_path / f"maps.{ending}"
    maps.export(path)
    read = io.load(str(path))
    unit, factor = ("nm", 1.0) if ending == "h5" else ("um", 1e-3)
    assert read.scan_unit == unit
    assert read.size == np.prod(shape)
    assert read.dx == pytest.approx(5.0 * factor)
    numbers = {entry.name: number for number, entry in read.phases}
    phase, orientation = maps.found.phase.ravel(), maps.found.orientation.reshape(-1, 4)
    np.testing.assert_array_equal(read.phase_id == -1, phase == -1)
    # orix forgets phases that no pixel has.
    present = [(number, entry) for number, entry in enumerate(PHASES) if (phase == number).any()]
    assert set(numbers) - {"not_indexed"} == {entry.name for _, entry in present}
    assert len({read.phases[entry.name].color for _, entry in present}) == len(present)
    for number, entry in present:
        here = phase == number
        np.testing.assert_array_equal(read.phase_id == numbers[entry.name], here)
        group = read.phases[entry.name].point_group.laue
        symmetry = symmetry_of(entry)
        assert group.proper_subgroup.size == len(symmetry)
        # Every equivalent of what was found here is one of what is read there, with the axes that it has there.
        _, turn, _ = in_orix_setting(entry)
        every = multiply(turn, multiply(symmetry[:, None], orientation[here]))
        there = np.tile(read.rotations.data.reshape(-1, 4)[here], (len(symmetry), 1))
        angle = Orientation(every.reshape(-1, 4), symmetry=group).angle_with(Orientation(there, symmetry=group))
        assert np.degrees(angle).max(initial=0.0) < 1e-3


def test_a_plane_normal_is_the_same_in_either_setting():
    """100 of Li3V2(PO4)3 is 010 of the cell in the file: the same direction and spacing."""
    phase = PHASES[3]
    entry, turn, note = in_orix_setting(phase)
    assert "c, a, b are called a, b, c" in note
    from orix.vector import Miller
    from scipy.spatial.transform import Rotation

    from hyperspy_assb.acom.crystals.crystal_phase import cell_axes

    reciprocal = np.linalg.inv(cell_axes(phase)).T
    turned = Rotation.from_quat(np.roll(turn, -1))
    for ours, theirs in (
        ((1, 0, 0), (0, 1, 0)),
        ((0, 1, 0), (0, 0, 1)),
        ((0, 0, 1), (1, 0, 0)),
        ((1, 2, 3), (3, 1, 2)),
    ):
        np.testing.assert_allclose(
            turned.apply(np.array(ours) @ reciprocal), Miller(hkl=theirs, phase=entry).data[0], atol=1e-12
        )


def test_notes_name_phases_that_are_turned():
    assert [note.split(":")[0] for note in setting_notes(PHASES)] == ["Li3V2(PO4)3"]


def test_files_are_not_replaced_unasked(rng, tmp_path):
    maps = maps_of(rng, (2, 3))
    path = tmp_path / "maps.ctf"
    maps.export(path)
    with pytest.raises(OSError, match="there already"):
        maps.export(path)
    maps.export(path, overwrite=True)
    with pytest.raises(ValueError, match="does not end with"):
        maps.export(tmp_path / "maps.txt")


def test_selected_pixels_lose_their_answer(rng):
    maps = maps_of(rng, (5, 6))
    maps.found.posterior[2:, :, :] = 0.1
    found = maps.select(posterior=0.2)
    before, after = maps.found.phase, found.found.phase
    np.testing.assert_array_equal(after[:2], before[:2])
    assert (after[2:] == -1).all()
    out = int((before[2:] >= 0).sum())
    assert any(f"{out} of 30 patterns were taken out" in note for note in found.notes)
    assert np.isnan(found.found.orientation[2:]).all()
    assert (maps.found.phase == before).all()
    assert (maps.select().found.phase == before).all()
    assert (maps.select(reliability=30.0).found.phase == -1).all()
    with pytest.raises(ValueError, match="posterior: from 0 to 1"):
        maps.select(posterior=1.5)


def test_boundaries_over_the_area_that_is_indexed(rng):
    maps = maps_of(rng, (5, 6))
    grains = maps.grain_boundaries()
    table = grains.lengths.set_index("boundary")
    area = 25.0 * (maps.found.phase >= 0).sum()
    for kind in ("GRAIN", "PHASE", "MARGIN", "FRIEDEL"):
        assert table.loc[kind, "length (nm)"] == grains.length(kind)
        assert table.loc[kind, "length per area (1/nm)"] == pytest.approx(grains.length(kind) / area)


def test_texture_of_grains(rng):
    from hyperspy_assb.acom.crystals.crystal_phase import cell_axes
    from hyperspy_assb.acom.templates.zone_axes import towards

    maps = maps_of(rng, (20, 20))
    lagp = cell_axes(PHASES[2])[0]
    base = towards((lagp / np.linalg.norm(lagp))[None])[0]
    turn = rng.uniform(0, np.pi, (20, 20))
    about = np.stack([np.cos(turn), 0 * turn, 0 * turn, np.sin(turn)], axis=-1)
    maps.found.phase[:] = 2
    maps.found.orientation[:] = multiply(base, about)
    table = maps.texture("LAGP").set_index(["direction", "axis"])
    assert table.loc[("[1 0 0]", "z"), "p corrected"] < 1e-3
    assert table.loc[("[1 0 0]", "z"), "density"] > 3.0
    assert table.loc[("[0 0 1]", "z"), "within"] == 0
    with pytest.raises(ValueError, match="phase: one of"):
        maps.texture("LCO")
    with pytest.raises(ValueError, match="no grain"):
        maps.texture("LiFePO4")
