"""Interfaces of two states: whether they grew, and whether more lies beyond them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from hyperspy_assb.eds.interfaces.interface_changes import compare_interfaces
from hyperspy_assb.eds.interfaces.interface_width import WIDTH_PER_SIGMA, Beyond, InterfaceFit, Width, fit_interface
from hyperspy_assb.eds.interfaces.profiles import Profile

ELEMENTS = ("Fe", "Ge")
PLATEAUS = np.array([[10.0, 1100.0], [600.0, 5.0]])


def width(variance, std=4.0):
    value = WIDTH_PER_SIGMA * np.sqrt(max(variance, 0.0))
    return Width(value, value, value, variance, std, 0.0, 0.1, 0.5)


def beyond(amount, std=0.3, side=-1):
    return Beyond(amount, std, 1000.0 * amount, amount + 1.0, std, side)


def made_up(common, widths, over):
    profile = Profile(ELEMENTS, np.arange(9.0), (), np.zeros((9, 2)), np.zeros((9, 2, 2)))
    return InterfaceFit(profile, 2.0, common, widths, np.zeros((2, 2)), np.zeros((2, 2)), over)


def drawn(true_width, rng, std=40.0):
    distance = 2.0 * np.arange(-18.0, 19.0)
    share = special.ndtr(distance * WIDTH_PER_SIGMA / true_width)
    amount = PLATEAUS[:, 0] + share[:, None] * (PLATEAUS[:, 1] - PLATEAUS[:, 0])
    covariance = np.tile(std**2 * np.eye(2), (len(distance), 1, 1))
    members = tuple(np.array([d]) for d in distance)
    return fit_interface(Profile(ELEMENTS, distance, members, rng.normal(amount, std), covariance), probe=0.0)


def test_change_by_hand():
    before = made_up(width(9.0, 3.0), {}, {})
    after = made_up(width(19.0, 4.0), {}, {})
    (change,) = compare_interfaces(before, after)
    # Ten nm^2 with an error of five: two standard errors.
    assert change.what == "width"
    assert (change.change, change.std) == (10.0, 5.0)
    assert change.p_value == pytest.approx(0.0455, abs=1e-4)
    assert change.p_grew == pytest.approx(0.02275, abs=1e-5)
    assert change.before == pytest.approx(WIDTH_PER_SIGMA * 3.0)
    assert change.after == pytest.approx(WIDTH_PER_SIGMA * np.sqrt(19.0))


def test_beyond_is_compared_as_it_was_recorded():
    before = made_up(width(9.0), {}, {"Fe": beyond(2.0, 0.3)})
    after = made_up(width(9.0), {}, {"Fe": beyond(3.0, 0.4)})
    _, change = compare_interfaces(before, after)
    assert change.what == "Fe beyond the boundary"
    assert (change.before, change.after) == (2.0, 3.0)
    assert change.change == pytest.approx(1.0)
    assert change.std == pytest.approx(0.5)
    assert change.p_grew == pytest.approx(0.02275, abs=1e-5)


def test_nothing_changed():
    fit = made_up(width(9.0), {"Fe": width(8.0)}, {"Fe": beyond(2.0)})
    for change in compare_interfaces(fit, fit):
        assert change.change == 0.0
        assert change.p_value == 1.0
        assert change.p_grew == 0.5


def test_elements_with_a_width_in_both_states():
    both = {"Fe": width(8.0), "Ge": width(7.0)}
    one = {"Fe": width(8.0), "Ge": Width.missing("it does not differ between the two sides"), "P": width(3.0)}
    found = compare_interfaces(
        made_up(width(9.0), both, {"Fe": beyond(2.0), "Ge": beyond(2.0)}), made_up(width(9.0), one, {"Fe": beyond(2.0)})
    )
    assert [change.what for change in found] == ["width", "width of Fe", "Fe beyond the boundary"]


def test_no_error_no_test():
    (change,) = compare_interfaces(made_up(width(9.0, 0.0), {}, {}), made_up(width(19.0, 0.0), {}, {}))
    assert change.p_value == 1.0


@settings(max_examples=25, deadline=None)
@given(st.floats(-50.0, 50.0), st.floats(-50.0, 50.0), st.floats(0.1, 20.0), st.floats(0.1, 20.0))
def test_order_of_states_turns_growth_around(one, other, one_std, other_std):
    fits = made_up(width(one, one_std), {}, {}), made_up(width(other, other_std), {}, {})
    (there,), (back,) = compare_interfaces(*fits), compare_interfaces(*fits[::-1])
    assert back.change == -there.change
    assert back.p_value == there.p_value
    assert there.p_grew + back.p_grew == pytest.approx(1.0)
    assert there.p_value == pytest.approx(2.0 * min(there.p_grew, back.p_grew))
    assert (there.p_grew < 0.5) == (other > one) or there.p_grew == 0.5


@pytest.mark.slow
def test_false_growth_is_as_rare_as_the_level():
    rng = np.random.default_rng(12)
    p = {}
    for _ in range(40):
        for change in compare_interfaces(drawn(8.0, rng), drawn(8.0, rng)):
            p.setdefault(change.what, []).append(change.p_grew)
    assert set(p) == {"width", "width of Fe", "width of Ge", "Fe beyond the boundary", "Ge beyond the boundary"}
    for values in p.values():
        assert stats.kstest(values, "uniform").pvalue > 0.005


def test_growth_is_found():
    rng = np.random.default_rng(13)
    for _ in range(3):
        changes = {c.what: c for c in compare_interfaces(drawn(8.0, rng), drawn(16.0, rng))}
        assert changes["width"].p_grew < 1e-4
        assert changes["width"].after - changes["width"].before == pytest.approx(8.0, abs=2.0)
        # More lies beyond a wider error function.
        assert changes["Fe beyond the boundary"].p_grew < 1e-3
        shrunk = {c.what: c for c in compare_interfaces(drawn(16.0, rng), drawn(8.0, rng))}
        assert shrunk["width"].p_grew > 0.9999
        assert shrunk["width"].p_value < 1e-3
