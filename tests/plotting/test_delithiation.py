"""Figures of x: the colours are those of the end members, and the histogram counts what is quantified."""

from __future__ import annotations

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv, to_rgb

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus, LithiatedFraction
from hyperspy_assb.eels.delithiation.quantification import Quantification
from hyperspy_assb.plotting.chemical_text import formula_text
from hyperspy_assb.plotting.delithiation import (
    SHOWN,
    fraction_colours,
    method_text,
    plot_delithiation_change,
    plot_distribution,
    plot_x,
)
from hyperspy_assb.plotting.material_colours import colour_of
from hyperspy_assb.reference import electrode
from hyperspy_assb.reference.materials import electrodes
from hyperspy_assb.signals.eels.delithiation import Delithiation


def drawn(fraction, status=None, of="LixFePO4", methods=("references", "combined")):
    fraction = np.asarray(fraction, dtype=float)
    flat, nothing = fraction.ravel(), np.full(fraction.size, np.nan)
    status = np.where(np.isfinite(flat), 0, DelithiationStatus.NOT_FITTED) if status is None else np.asarray(status)
    content = LithiatedFraction(
        flat, 0.03 + 0.0 * flat, 0.04 + 0.0 * flat, nothing, nothing, np.ones(flat.size), status.astype(np.int8)
    )
    none = np.zeros((flat.size, 0))
    found = Quantification(
        contents=dict.fromkeys(methods, content),
        amounts=none,
        amounts_std=none,
        t_over_lambda=np.ones(flat.size),
        reduced_deviance=nothing,
        agreement=nothing,
        residual=none,
        struck=np.zeros(flat.size, dtype=bool),
        explained=nothing,
        outside=np.zeros((flat.size, 3), dtype=bool),
    )
    axes = tuple(
        {"name": name, "size": size, "navigate": True} for name, size in zip("yx", fraction.shape, strict=False)
    )
    return Delithiation(found, electrode(of), "combined", axes=axes)


def at(colours, fraction):
    return np.array(colours((fraction - SHOWN[0]) / (SHOWN[1] - SHOWN[0]))[:3])


@pytest.mark.parametrize("name", list(electrodes))
def test_end_members_have_the_colours_of_their_materials(name):
    of = electrode(name)
    colours = fraction_colours(of)
    for fraction, material in ((0.0, of.delithiated), (1.0, of.lithiated)):
        np.testing.assert_allclose(at(colours, fraction), to_rgb(colour_of(material)), atol=0.02)
    # Halfway it is nearly white.
    assert rgb_to_hsv(at(colours, 0.5))[1] < 0.1


def test_map_and_histogram_agree_with_the_materials():
    result = drawn([[0.0, 0.0, 1.0, 1.0]])
    ax = plot_x(result.x, result.electrode)
    image = ax.get_images()[0]
    shown = image.cmap(image.norm(np.array([0.0, 1.0])))[:, :3]
    bars = [bar for bar in plot_distribution(result).patches if bar.get_height()]
    for x, colour, bar in zip((0.0, 1.0), shown, bars, strict=True):
        family = to_rgb(colour_of("LiFePO4" if x else "FePO4"))
        np.testing.assert_allclose(colour, family, atol=0.02)
        np.testing.assert_allclose(bar.get_facecolor()[:3], family, atol=0.15)
        assert bar.get_x() - 1e-9 <= x <= bar.get_x() + bar.get_width() + 1e-9


def test_the_histogram_counts_the_quantified_pixels_and_says_how_many():
    status = [0, 0, 0, 0, DelithiationStatus.UNCERTAIN, DelithiationStatus.NOT_FITTED]
    ax = plot_distribution(drawn([-9.0, 0.02, 0.98, 9.0, 0.98, np.nan], status))
    assert sum(bar.get_height() for bar in ax.patches) == 4  # what lies beyond the axis is counted at its ends
    assert ax.patches[0].get_height() == ax.patches[-1].get_height() == 1
    assert ax.get_title(loc="left") == "4 of 6 pixels quantified, median uncertainty 0.050"
    assert ax.get_xlabel() == "x in Li$_x$FePO$_{4}$"


def test_nothing_quantified_is_an_empty_histogram():
    ax = plot_distribution(drawn(np.full((3, 3), np.nan)))
    assert sum(bar.get_height() for bar in ax.patches) == 0
    assert ax.get_title(loc="left") == "0 of 9 pixels quantified"


def test_figures_of_a_sodium_couple_speak_of_it_alone():
    result = drawn(np.linspace(0.0, 1.0, 12).reshape(3, 4), of="NaxV2(PO4)3")
    axes = result.plot()
    figure = axes[0, 0].get_figure(root=True)
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.findobj(plt.Text)]
    assert not [text for text in texts if "FePO" in text or "Li" in text]
    assert axes[0, 0].get_title(loc="left") == "Na content"
    assert axes[1, 1].get_xlabel() == "x in Na$_x$V$_{2}$(PO$_{4}$)$_{3}$"
    image = axes[0, 0].get_images()[0]
    assert (image.norm.vmin, image.norm.vmax) == pytest.approx((0.6, 3.4))


def test_methods_are_told_as_they_are():
    both = ("valence", "lithium", "references", "combined")
    assert method_text(drawn([0.0], methods=both)) == "reference spectra, 5 eV band and Li K combined"
    one = drawn([0.0], methods=("lithium", "references", "combined"))
    assert method_text(one) == "reference spectra and Li K combined"
    assert method_text(drawn([0.0])) == "mixture of reference spectra"


def test_a_change_names_regions_and_refuses_two_electrodes():
    before, after = drawn(np.ones((4, 5))), drawn(np.zeros((4, 5)))
    axes = plot_delithiation_change(before, after, region={"rim": np.eye(4, 5, dtype=bool)})
    (legend,) = axes[0].figure.legends
    assert legend.get_texts()[0].get_text() == "rim: x = 1.000 ± 0.043 before, 0.000 ± 0.043 after"
    with pytest.raises(ValueError, match=r"of LixFePO4 and NaxV2\(PO4\)3"):
        plot_delithiation_change(before, drawn(np.ones((4, 5)), of="NaxV2(PO4)3"))
    with pytest.raises(ValueError, match=r"region\['rim'\] has the shape \(2, 2\)"):
        plot_delithiation_change(before, after, region={"rim": np.ones((2, 2), dtype=bool)})


@pytest.mark.parametrize("name", ["Na/SI, $_{CON$", "LiFePO4, $_{CON$", "$"])
def test_dollars_in_names_are_no_mathematics(name):
    figure, ax = plt.subplots()
    text = ax.set_title(formula_text(name))
    figure.canvas.draw()  # matplotlib raises where it reads wrong mathematics
    assert text.get_text().count(r"\$") == name.count("$")
    shown = dataclasses.replace(drawn([0.0, 1.0]), electrode=dataclasses.replace(electrode("LixFePO4"), name=name))
    plot_x(shown.x, shown.electrode).figure.canvas.draw()
    plt.close("all")
