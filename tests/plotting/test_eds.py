"""Figures of EDX maps, interfaces and comparisons."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from hyperspy_assb.eds.comparison.composition_change import CompositionOptions
from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.eds.lines.column_spectra import fit_summed_spectrum
from hyperspy_assb.plotting.eds import plot_line_counts, plot_summed_spectrum
from hyperspy_assb.signals.eds.map_reading import read_map
from hyperspy_assb.simulation import InterfaceOptions, micro_battery, simulate_interface


@pytest.fixture(scope="module")
def battery():
    return micro_battery(shape=(8, 10), seed=3, edx_signal_type="EDS_TEM_ASSB")


@pytest.fixture(scope="module")
def phases(battery):
    return battery.edx_after.quantify_phases()


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_summed_spectrum_names_its_lines(battery):
    signal = battery.edx_after
    summed = fit_summed_spectrum(read_map(signal, need_angle=False), EDSOptions(absorption=False))
    ax = plot_summed_spectrum(summed)
    assert ax.get_xlabel() == "Energy (keV)"
    assert ax.get_yscale() == "symlog"
    names = [text.get_text() for text in ax.texts]
    assert any("Fe" in name for name in names)
    assert not any("Au" in name for name in names)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), summed.recorded)


def test_phases_stand_beside_their_map_and_status(phases):
    axes = phases.plot()
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in axes]
    assert len(axes) == len(phases.phases) + 2
    for name, title in zip(phases.phases, titles, strict=False):
        assert name in re.sub(r"[${}_]", "", title)
    image = axes[0].images[0].get_array()
    expected = np.ma.masked_invalid(phases.volume_fraction[phases.phases[0]].data)
    np.testing.assert_allclose(np.ma.filled(image, np.nan), np.ma.filled(expected, np.nan))
    axes[0].get_figure(root=True).canvas.draw()


def test_composition_has_a_map_of_every_element(phases):
    axes = phases.composition.plot()
    assert len(axes) == len(phases.composition.elements)
    for element, ax in zip(phases.composition.elements, axes, strict=True):
        assert element in (ax.get_title(loc="left") or ax.get_title())


def test_line_counts(battery):
    counts = battery.edx_after.fit_line_counts()
    axes = plot_line_counts(counts)
    assert len(axes) > 5
    axes[0].get_figure(root=True).canvas.draw()


def test_interface_has_bars_and_the_fit():
    signal = simulate_interface(InterfaceOptions(width=6.0), rng=1, signal_type="EDS_TEM_ASSB").signal
    found = signal.interface_profile(probe=1.5)
    ax = found.plot()
    assert "nm" in ax.get_xlabel()
    labels = " ".join(ax.get_legend_handles_labels()[1])
    assert "Fe" in labels
    assert "Ge" in labels
    assert ax.containers


def test_changes_count_what_changed(battery):
    found = battery.edx_before.compare_composition(
        battery.edx_after, options=CompositionOptions(block=2, register=False)
    )
    axes = found.plot()
    for element, ax in zip(found.elements, axes, strict=True):
        title = ax.get_title(loc="left") or ax.get_title()
        up = int((found.changed[element].data > 0).sum())
        assert title.startswith(f"{element}: {up} up")
