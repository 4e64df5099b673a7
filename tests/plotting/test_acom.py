"""Figures of orientation maps."""

from __future__ import annotations

from dataclasses import replace

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import orix.quaternion
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle

from hyperspy_assb.acom.crystals.crystal_phase import load_phase
from hyperspy_assb.acom.crystals.frames import turn_pattern, upper
from hyperspy_assb.acom.crystals.kinematical import simulate_spots
from hyperspy_assb.acom.maps.grains import BoundaryKind
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.plotting.acom import plot_boundaries, plot_ipf_key, zone_axis
from hyperspy_assb.plotting.colours import key_image
from hyperspy_assb.plotting.maps import plot_status_map
from hyperspy_assb.simulation.lamella import build_lamella


@pytest.fixture(scope="module")
def states(make_maps, make_scan_of_state):
    lamella = build_lamella((40, 48), np.random.default_rng(3))
    return [make_maps(make_scan_of_state(s), lamella.pixel_size) for s in (lamella.before, lamella.after)]


def test_the_page_of_maps(states):
    axes = states[1].plot()
    assert axes.shape == (3, 3)
    titles = [ax.get_title(loc="left") for ax in axes.flat]
    assert titles[0] == "Virtual bright field"
    assert titles[3:6] == ["Orientation along x", "Orientation along y", "Orientation along z"]
    legend = [text.get_text() for text in axes[2, 0].get_legend().get_texts()]
    share = states[1].phase_fractions().set_index("class")["area (%)"]
    assert f"LiFePO$_{{4}}$: {share['LiFePO4']:.1f} %" in legend
    assert f"amorphous LAGP: {share['amorphous_LAGP']:.1f} %" in legend
    # One key for both olivines, one for LAGP.
    names = [ax.get_title() for ax in axes[0, 0].get_figure(root=True).axes]
    assert "LiFePO$_{4}$, FePO$_{4}$ (mmm)" in names
    assert "LAGP (-3m)" in names
    axes[0, 0].get_figure(root=True).canvas.draw()


def test_boundaries_are_black_and_green(states):
    grains = states[1].grain_boundaries()
    found, ax = grains.boundaries, plot_boundaries(grains)
    lines = {tuple(c.get_color()[0]): len(c.get_segments()) for c in ax.collections if isinstance(c, LineCollection)}
    assert lines[to_rgba("black")] == found.count(BoundaryKind.GRAIN)
    assert lines[to_rgba("#1a9641")] == found.count(BoundaryKind.PHASE)


@pytest.mark.parametrize(
    ("entry", "labels"), [("Oh", ["[001]", "[101]", "[111]"]), ("lfp", ["[001]", "[010]", "[100]"])]
)
def test_corners_of_a_key(entry, labels):
    phase = orix.quaternion.symmetry.Oh if entry == "Oh" else load_phase(entry)
    outline, corners, found, shades, _ = key_image(phase, size=60)
    assert sorted(found) == labels
    assert np.abs(outline).max() <= 1 + 1e-9
    assert corners.shape == (3, 2)
    assert 0.3 < shades[..., 3].mean() < 0.9
    plot_ipf_key(phase).figure.canvas.draw()


def test_the_colour_of_a_corner_is_that_of_the_map():
    from hyperspy_assb.plotting.colours import orientation_colours

    phase = load_phase("lfp")
    _, corners, labels, shades, (left, right, bottom, top) = key_image(phase)
    # Seen along c: the crystal lies as the specimen does.
    colour = orientation_colours(np.zeros((1, 1), dtype=int), np.array([[[1.0, 0, 0, 0]]]), [phase], "z")[0, 0] / 255
    x, y = corners[labels.index("[001]")]
    column = round((x - left) / (right - left) * shades.shape[1])
    row = round((y - bottom) / (top - bottom) * shades.shape[0])
    np.testing.assert_allclose(shades[row, column, :3], colour, atol=0.1)


def match_of(make_scan, make_maps, rotation, mirrored):
    geometry = PatternGeometry(0.03, (30.0, 34.0), 0.05, 0.7, rotation, mirrored)
    orientation = upper(np.array([[[0.9, 0.2, -0.3, 0.25]]]))
    maps = make_maps(replace(make_scan(np.zeros((1, 1), dtype=int), orientation), geometry=geometry))
    maps = replace(maps, axes=())
    spots = simulate_spots(maps.phases[0], orientation[0], max_spots=12)
    turned = simulate_spots(maps.phases[0], turn_pattern(orientation[0], np.array([rotation])), max_spots=12)
    image = np.zeros((64, 64))
    for x, y in zip(turned.x[0], turned.y[0], strict=True):
        column, row = np.round(geometry.to_pixels([x, y])).astype(int)
        if 0 <= row < 64 and 0 <= column < 64:
            image[row, column] = 100
    signal = hs.signals.Signal2D(image)
    signal.set_signal_type("ACOM")
    return maps, signal, geometry, spots


@pytest.mark.parametrize(("rotation", "mirrored"), [(0.0, False), (0.6, False), (-1.1, True)])
def test_spots_lie_where_the_pattern_has_them(make_scan, make_maps, rotation, mirrored):
    maps, signal, geometry, _ = match_of(make_scan, make_maps, rotation, mirrored)
    ax = maps.plot_match(signal, (), max_spots=12)
    circles = np.array([patch.center for patch in ax.patches if isinstance(patch, Circle)])
    pixels = circles / geometry.scale + geometry.centre
    rows, columns = np.nonzero(signal.data)
    for row, column in zip(rows, columns, strict=True):
        assert np.abs(pixels - [column, row]).max(axis=1).min() <= 0.51
    assert "LiFePO$_{4}$ near [" in ax.get_title(loc="left")


def test_match_of_another_scan_is_refused(states):
    signal = hs.signals.Signal2D(np.zeros((2, 3, 8, 8)))
    signal.set_signal_type("ACOM")
    with pytest.raises(ValueError, match="not the same scan"):
        states[0].plot_match(signal, (0, 0))


def test_zone_axes():
    phase = load_phase("lfp")
    assert zone_axis(phase, np.array([1.0, 0.0, 0.0, 0.0])) == "[0 0 1] (0.0°)"
    half = np.sqrt(0.5)
    assert zone_axis(phase, np.array([half, half, 0.0, 0.0])) in ("[0 1 0] (0.0°)", "[0 -1 0] (0.0°)")


def test_mechanism_and_comparison(states):
    axes = states[1].mechanism().plot()
    assert axes.shape == (2, 2)
    axes = states[0].compare_phases(states[1]).plot()
    legend = [text.get_text() for text in axes[1, 0].get_legend().get_texts()]
    assert any(text.startswith("LiFePO4 to FePO4: ") for text in legend)
    axes[0, 0].get_figure(root=True).canvas.draw()
    plt.close("all")


def test_classes_that_are_not_counted():
    ax = plot_status_map(np.array([[0, 0, 1, -1]]), {-1: "no answer", 0: "a", 1: "b"}, uncounted=(-1,))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["no answer: 1 px", "a: 66.7 %", "b: 33.3 %"]
