"""Figures of populations, and of spectra before and after: what is drawn is what was given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from hyperspy_assb.eels.delithiation.mixing import MixtureComparison
from hyperspy_assb.eels.delithiation.populations import fit_populations
from hyperspy_assb.eels.scattering.mean_spectra import MeanSpectrum
from hyperspy_assb.plotting.delithiation_spectra import plot_before_after
from hyperspy_assb.plotting.populations import plot_mixture_comparison, plot_populations
from hyperspy_assb.reference import electrode
from hyperspy_assb.signals.eels.phase_coexistence import DelithiationMixtures, DelithiationPopulations

SODIUM = electrode("NaxV2(PO4)3")


OLIVINE = electrode("LixFePO4")


def read(x, std, of=OLIVINE):
    return DelithiationPopulations(fit_populations(x, std), of, x, std)


def drawn(kind, error, size=400):
    rng = np.random.default_rng(0)
    std = np.full(size, error)
    truth = np.where(rng.random(size) < 0.3, 0.0, 1.0) if kind == "two" else rng.normal(0.5, 0.15, size)
    x = truth + std * rng.standard_normal(size)
    x[0] = np.nan
    return x, std


def text_of(ax):
    return " ".join(entry.get_text() for entry in ax.get_legend().get_texts())


def curve(ax, label):
    (found,) = [line for line in ax.get_lines() if line.get_label().startswith(label)]
    return found.get_xydata().T


def test_two_phases_are_drawn_with_their_shares():
    x, std = drawn("two", 0.1)
    found = fit_populations(x, std)
    ax = plot_populations(read(x, std))
    assert ax.get_title(loc="left").startswith("Two-phase (ΔBIC = ")
    assert "399 pixels" in text_of(ax)
    assert f"LiFePO$_{{4}}$ {100 * found.phases.share[1]:.1f} ± " in text_of(ax)
    heights = np.array([patch.get_height() for patch in ax.patches])
    assert heights.sum() == 399
    grid, total = curve(ax, "sum")
    # The curve counts pixels per bin: its area over the width of a bin is their number.
    assert np.trapezoid(total, grid) / (2.0 / 50) == pytest.approx(399, rel=0.01)
    parts = sum(curve(ax, label)[1] for label in ("FePO", "LiFePO"))
    np.testing.assert_allclose(parts, total, atol=1e-6 * total.max())


def test_other_readings_show_both_readings():
    for kind, error, title in (("solid", 0.05, "Solid solution"), ("solid", 0.9, "Two phases or one: undecided")):
        x, std = drawn(kind, error)
        ax = plot_populations(read(x, std))
        assert ax.get_title(loc="left").startswith(title)
        for label in ("one population", "two phases"):
            assert np.isfinite(curve(ax, label)[1]).all()
        plt.close(ax.figure)


def test_given_axes_are_used():
    _, ax = plt.subplots()
    x, std = drawn("two", 0.1, size=40)
    assert plot_populations(read(x, std), bins=20, ax=ax) is ax


def test_another_electrode_is_drawn_in_its_own_x_and_names():
    ax = plot_populations(read(*drawn("two", 0.1), SODIUM))
    assert ax.get_xlim() == (0.0, 4.0)
    assert ax.get_xlabel() == "x in Na$_x$V$_{2}$(PO$_{4}$)$_{3}$"
    assert "FePO" not in text_of(ax)
    grid, total = curve(ax, "sum")
    # Twice as many ions between the end members: the bins are twice as wide.
    assert np.trapezoid(total, grid) / (4.0 / 50) == pytest.approx(399, rel=0.01)


def test_distances_from_mixtures_are_in_standard_errors():
    found = MixtureComparison(("c0", "Li_K"), np.array([0.2, -3.0]), np.array([0.1, 1.0]), np.ones(2), 1e-4, 30, 90)
    ax = plot_mixture_comparison(DelithiationMixtures(found, SODIUM))
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([2.0, -3.0])
    assert "their own line shape (p = 0.0001)" in ax.get_title(loc="left")


# ------------------------------------------------------------------------------------------------ before and after

ENERGY = np.arange(-5.0, 100.0, 0.25)


def state(band):
    density = 3.0 * np.exp(-(ENERGY**2) / 0.5) + 0.04 * np.exp(-(((ENERGY - 25.0) / 12.0) ** 2))
    density = density + band * np.exp(-(((ENERGY - 5.0) / 1.0) ** 2))
    return MeanSpectrum(ENERGY, density, np.full(ENERGY.size, 1e-4), 10)


def test_before_after_and_difference():
    top, bottom = plot_before_after(state(0.0), state(0.01), labels=("pristine", "charged"), title="a grain")
    assert top.get_title(loc="left") == "a grain"
    assert top.get_ylabel().endswith("(1/eV)")
    assert bottom.get_ylabel() == "difference (1/eV)"
    assert bottom.get_xlabel() == "energy loss (eV)"
    np.testing.assert_array_equal(curve(top, "charged"), [ENERGY, state(0.01).density])
    energy, difference = curve(bottom, "charged - pristine")
    assert energy.min() >= 2.0
    np.testing.assert_allclose(difference, 0.01 * np.exp(-(((energy - 5.0) / 1.0) ** 2)), atol=1e-12)
    # The plasmon sets the height, not the zero loss.
    assert 0.04 < top.get_ylim()[1] < 0.15
    names = " ".join(text.get_text() for text in bottom.texts)
    assert "FePO$_4$ band" in names
    assert "Li K" in names


def test_insets_zoom_on_both_bands():
    top, _ = plot_before_after(state(0.0), state(0.01))
    assert [inset.get_xlim() for inset in top.child_axes] == [(2.0, 10.0), (50.0, 70.0)]
    for inset in top.child_axes:
        assert inset.get_xlabel() == "energy loss (eV)"
        assert inset.get_ylabel() == "1/eV"
    top.figure.canvas.draw()


def test_spectra_that_end_early_have_no_second_inset():
    cut = ENERGY < 40.0
    one, two = (MeanSpectrum(s.energy[cut], s.density[cut], s.std[cut], 1) for s in (state(0.0), state(0.01)))
    top, bottom = plot_before_after(one, two, energy_range=(0.0, 40.0))
    assert len(top.child_axes) == 1
    assert "Li K" not in " ".join(text.get_text() for text in bottom.texts)


def test_signatures_that_an_electrode_has_not_are_not_marked():
    top, bottom = plot_before_after(state(0.0), state(0.01), electrode=SODIUM)
    assert not top.child_axes
    assert not bottom.texts
    top, bottom = plot_before_after(state(0.0), state(0.01), electrode=OLIVINE)
    assert len(top.child_axes) == len(bottom.texts) == 2


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match="no common energies between 200 and 85 eV"):
        plot_before_after(state(0.0), state(0.01), start=200.0)


def test_before_after_uses_given_axes():
    _, axes = plt.subplots(2, 1)
    assert plot_before_after(state(0.0), state(0.0), axes=tuple(axes)) == tuple(axes)
