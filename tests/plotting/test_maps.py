"""Maps: what the reader of a figure relies on: units, scale bar, missing pixels, classes."""

from __future__ import annotations

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from hyperspy_assb.plotting import MapOptions, add_scale_bar, plot_map, plot_status_map
from hyperspy_assb.plotting.style import MISSING, as_map, quantity, robust_limits


def words(ax) -> list[str]:
    """Everything that is written on the axes and in their legend."""
    written = [text.get_text() for text in ax.texts]
    legend = ax.get_legend()
    return written + ([text.get_text() for text in legend.get_texts()] if legend else [])


def colour_bar(ax):
    return ax.images[0].colorbar


class TestMap:
    def test_values_are_drawn_with_the_first_row_on_top(self, rng):
        values = rng.normal(size=(5, 7))
        ax = plot_map(values)
        np.testing.assert_array_equal(ax.images[0].get_array(), values)
        assert ax.images[0].origin == "upper"

    def test_colour_bar_names_quantity_and_unit(self):
        ax = plot_map(np.eye(4), label="plasmon energy", title="Plasmon", options=MapOptions(units="eV"))
        assert colour_bar(ax).ax.get_ylabel() == "plasmon energy (eV)"
        assert ax.get_title(loc="left") == "Plasmon"

    def test_pixels_without_a_value_are_grey_and_counted(self):
        values = np.ones((4, 4))
        values[0, :3] = [np.nan, np.inf, -np.inf]
        ax = plot_map(values)
        assert "no value (3 px)" in words(ax)
        assert ax.images[0].cmap.get_bad() == pytest.approx(to_rgba(MISSING))

    def test_complete_map_has_no_legend(self):
        assert plot_map(np.ones((4, 4))).get_legend() is None

    @pytest.mark.parametrize(
        ("limits", "extend"),
        [((None, None), "neither"), ((0.5, None), "min"), ((None, 5.0), "max"), ((0.5, 5.0), "both")],
    )
    def test_colour_bar_shows_by_arrows_where_it_cuts(self, limits, extend):
        values = np.array([[0.0, 1.0], [9.0, 10.0]])
        low, high = limits
        ax = plot_map(values, vmin=0.0 if low is None else low, vmax=10.0 if high is None else high)
        assert colour_bar(ax).extend == extend

    @pytest.mark.parametrize(
        "values", [np.full((3, 3), np.nan), np.zeros((3, 3)), np.full((3, 3), 7.0), np.ones((1, 1))]
    )
    def test_map_of_nothing_or_one_value_can_be_drawn(self, values):
        ax = plot_map(values)
        ax.figure.canvas.draw()
        low, high = ax.images[0].get_clim()
        assert low < high

    @pytest.mark.parametrize("shape", [(30,), (1, 30), (30, 1)])
    def test_line_scan_becomes_a_strip_over_its_position(self, shape):
        ax = plot_map(np.arange(30.0).reshape(shape), label="area", options=MapOptions("counts", 2.0, "nm"))
        assert ax.images[0].get_array().shape == (1, 30)
        assert ax.get_xlabel() == "position (nm)"
        assert ax.get_xlim() == pytest.approx((-1.0, 59.0))
        assert ax.get_title(loc="left") == "area (counts)"

    def test_two_rows_stay_two_rows(self):
        ax = plot_map(np.arange(42.0).reshape(2, 21))
        assert ax.images[0].get_array().shape == (2, 21)
        assert ax.get_xlabel() == "position (px)"

    def test_more_than_two_dimensions_are_refused(self):
        with pytest.raises(ValueError, match="one or two dimensions"):
            plot_map(np.zeros((2, 3, 4)))

    def test_given_axes_are_used(self):
        _, ax = plt.subplots()
        assert plot_map(np.eye(3), ax=ax) is ax

    def test_input_is_left_alone(self, rng):
        values = rng.normal(size=(4, 4))
        kept = values.copy()
        plot_map(values, vmin=0.0, vmax=0.1)
        np.testing.assert_array_equal(values, kept)


class TestSignals:
    @pytest.mark.parametrize("transposed", [False, True])
    def test_signal_brings_its_pixel_size(self, transposed):
        signal = hs.signals.BaseSignal(np.zeros((6, 8))).T
        for axis in signal.axes_manager.navigation_axes:
            axis.scale, axis.units = 2.5, "nm"
        values, scale, units = as_map(signal.T if transposed else signal, None, None)
        assert (values.shape, scale, units) == ((6, 8), 2.5, "nm")

    def test_signal_without_units_counts_pixels(self):
        assert as_map(hs.signals.BaseSignal(np.zeros((6, 8))).T, None, None)[1:] == (1.0, "")

    def test_given_pixel_size_comes_first(self):
        signal = hs.signals.BaseSignal(np.zeros((6, 8))).T
        assert as_map(signal, 3.0, "µm")[1:] == (3.0, "µm")


class TestScaleBar:
    @pytest.mark.parametrize(
        ("width", "scale", "units", "text"),
        [(48, 4.0, "nm", "20 nm"), (64, 0.03, "µm", "0.2 µm"), (100, 1.0, "", "20 px"), (3, 1.0, "", "1 px")],
    )
    def test_length_is_round_and_about_a_quarter(self, width, scale, units, text):
        _, ax = plt.subplots()
        bar = add_scale_bar(ax, width=width, scale=scale, units=units)
        assert words(ax) == [text]
        left, right = bar.get_xdata()
        length = float(text.split()[0])
        assert (right - left) * (scale if units else 1.0) == pytest.approx(length)
        assert width / 12 <= right - left <= max(width / 4, 1) * (1 + 1e-9)

    def test_map_has_one_in_its_units(self):
        assert "50 nm" in words(plot_map(np.ones((20, 20)), options=MapOptions(scale=10.0, scale_units="nm")))


class TestStatus:
    def test_legend_gives_the_share_of_each_class_that_is_there(self):
        status = np.array([[0, 0], [0, 2]])
        written = words(plot_status_map(status, {0: "fitted", 1: "at a bound", 2: "not fitted"}))
        assert {"fitted: 75.0 %", "not fitted: 25.0 %"} <= set(written)
        assert not [text for text in written if "bound" in text]

    def test_colour_of_a_class_does_not_depend_on_which_others_are_there(self):
        labels = {0: "a", 1: "b", 2: "c"}
        all_there = plot_status_map([[0, 1, 2]], labels).get_legend().get_patches()[2].get_facecolor()
        alone = plot_status_map([[2, 2, 2]], labels).get_legend().get_patches()[0].get_facecolor()
        assert all_there == alone

    def test_drawn_colour_is_the_one_of_the_legend(self):
        ax = plot_status_map(np.array([[3, 1], [1, 7]]), {1: "one", 3: "three", 7: "seven"})
        drawn = ax.images[0].to_rgba(ax.images[0].get_array(), alpha=None)
        legend = {patch.get_label().split(":")[0]: patch.get_facecolor() for patch in ax.get_legend().get_patches()}
        for place, name in {(0, 0): "three", (0, 1): "one", (1, 1): "seven"}.items():
            np.testing.assert_allclose(drawn[place], legend[name], atol=1 / 255)

    def test_class_without_a_name_is_shown_as_its_number(self):
        assert "5: 100.0 %" in words(plot_status_map(np.full((2, 2), 5), {0: "fitted"}))

    def test_rare_class_is_not_rounded_away(self):
        status = np.zeros((100, 100))
        status[3, 4] = 1
        assert "lost: < 0.1 %" in words(plot_status_map(status, {0: "fitted", 1: "lost"}))


class TestLimits:
    def test_outliers_are_left_out(self, rng):
        values = rng.uniform(0, 1, 10_000)
        values[:5] = 1e6
        low, high = robust_limits(values)
        assert 0.0 <= low < 0.05
        assert 0.95 < high <= 1.0

    @pytest.mark.parametrize("value", [0.0, 1e-300, -3.0, 1e12])
    def test_one_value_has_limits_apart(self, value):
        low, high = robust_limits(np.full(4, value))
        assert low < high

    def test_nothing_has_limits(self):
        assert robust_limits(np.full(3, np.nan)) == (0.0, 1.0)

    def test_unit_alone_is_a_label(self):
        assert quantity("", "eV") == "eV"
