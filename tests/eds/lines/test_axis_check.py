"""Offset, gain and resolution of the energy axis, found from the lines themselves."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperspy_assb.eds.lines.axis_check import EnergyCalibration, estimate_calibration
from hyperspy_assb.eds.lines.sensitivity import Sensitivities
from hyperspy_assb.simulation import XRayConditions, XRayDetector, simulate_edx

NO_FACTORS = Sensitivities({}, {}, "computed", "no factors")
# No tails, which make lines look softer than they are.
CONDITIONS = XRayConditions(detector=XRayDetector(charge_loss_depth=0.0, resolving_time=0.0))
COLUMN = {"LAGP": 60.0, "LiFePO4": 60.0}
LINES = {"O_Ka": 0.5249, "P_Ka": 2.0133, "Fe_Ka": 6.4039, "Ge_Ka": 9.8864}


def calibration(offset=0.0, gain=0.0, resolution=130.0, errors=(1e-4, 1e-5, 0.5), lines=None):
    return EnergyCalibration(
        offset=offset,
        gain=gain,
        resolution=resolution,
        covariance=np.diag(np.square(errors)),
        channel=0.01,
        stated_resolution=130.0,
        lines=LINES if lines is None else lines,
    )


@pytest.fixture(scope="module")
def estimate(make_builder):
    """Estimate from a spectrum recorded under some conditions, with the axis and the resolution that are stated."""

    def run(conditions, stated=CONDITIONS, counts=1e6, rng=None):
        spectrum = simulate_edx(COLUMN, conditions, noise=False)
        spectrum = spectrum * counts / spectrum.sum()
        total = spectrum if rng is None else rng.poisson(spectrum)
        return estimate_calibration(make_builder(stated, sensitivities=NO_FACTORS), total)

    return run


def test_shift_by_hand():
    value, std = calibration(offset=0.02, gain=-0.001, errors=(3e-3, 1e-3, 1.0)).shift(4.0)
    assert value == pytest.approx((0.02 - 0.004) / 0.01)
    assert std == pytest.approx(np.hypot(3e-3, 4e-3) / 0.01)


def test_shifts_are_those_of_the_lines():
    found = calibration(gain=0.001)
    assert set(found.shifts) == set(LINES)
    assert found.shifts["Ge_Ka"] == found.shift(9.8864)


def test_nothing_is_said_of_what_is_right():
    assert calibration().notes == ()
    # A twelfth of the width of O Kα, whatever the channels.
    for channel in (0.005, 0.01, 0.02):
        assert replace(calibration(offset=0.005, resolution=135.0), channel=channel).notes == ()


@pytest.mark.parametrize("channel", [0.005, 0.01, 0.02])
def test_limits_are_in_widths_of_lines(channel):
    (finding,) = replace(calibration(offset=-0.011), channel=channel).notes
    assert "-19 % of its width" in finding


def test_shift_is_told_with_the_line_and_the_remedy():
    (finding,) = calibration(gain=0.002).notes
    assert "Ge Ka lies +1.98 ± 0.01 channels" in finding
    assert "O Ka +0.10" in finding
    assert "correct_energy_calibration()" in finding


def test_softest_line_is_named_where_there_is_no_oxygen():
    (finding,) = calibration(gain=0.002, lines={"Ge_Ka": 9.8864, "Fe_La": 0.7045}).notes
    assert "Fe La +0.14" in finding


def test_uncertain_shift_is_not_told():
    assert calibration(offset=0.02, errors=(0.006, 1e-5, 0.5)).notes == ()
    assert len(calibration(offset=0.02, errors=(0.004, 1e-5, 0.5)).notes) == 1


@pytest.mark.parametrize("resolution", [118.0, 145.0])
def test_wrong_resolution_is_told(resolution):
    (finding,) = calibration(resolution=resolution).notes
    assert f"is {resolution:.0f} ± 0 eV, not 130 eV" in finding
    assert calibration(resolution=resolution, errors=(1e-4, 1e-5, 5.0)).notes == ()


def test_right_axis_is_found_right(estimate):
    found = estimate(CONDITIONS)
    assert abs(found.offset) < 1e-4
    assert abs(found.gain) < 1e-4
    assert found.resolution == pytest.approx(130.0, abs=0.5)
    assert found.notes == ()
    assert found.channel == pytest.approx(0.01)
    assert {"O_Ka", "P_Ka", "Fe_Ka", "Ge_Ka", "Ge_La"} <= set(found.lines)
    assert "V_Ka" not in found.lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("offset", "gain", "resolution"),
    [(0.02, 0.0, 130.0), (0.0, 0.004, 130.0), (-0.03, 0.003, 130.0), (0.0, 0.0, 150.0), (0.015, -0.002, 120.0)],
)
def test_wrong_axis_is_measured(estimate, offset, gain, resolution):
    detector = replace(CONDITIONS.detector, energy_resolution=resolution)
    found = estimate(replace(CONDITIONS, offset_error=offset, gain_error=gain, detector=detector))
    # A twentieth of a channel at either end.
    for energy in (0.5249, 9.8864):
        assert found.shift(energy)[0] == pytest.approx((offset + gain * energy) / 0.01, abs=0.05)
    assert found.resolution == pytest.approx(resolution, abs=1.0)
    assert found.notes


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.floats(-0.03, 0.03), st.floats(-0.003, 0.003))
@example(-0.02734375, 0.0)
@example(-0.03, -0.003)
def test_any_small_shift_is_measured(estimate, offset, gain):
    found = estimate(replace(CONDITIONS, offset_error=offset, gain_error=gain))
    for energy in (0.5249, 6.4039):
        assert found.shift(energy)[0] == pytest.approx((offset + gain * energy) / 0.01, abs=0.05)


@pytest.mark.slow
def test_errors_are_the_scatter(estimate, rng):
    found = [estimate(CONDITIONS, counts=20000, rng=rng) for _ in range(25)]
    truth = np.array([0.0, 0.0, 130.0])
    z = np.array(
        [(np.array([f.offset, f.gain, f.resolution]) - truth) / np.sqrt(f.covariance.diagonal()) for f in found]
    )
    assert (np.abs(z.mean(axis=0)) < 4.0 / np.sqrt(25)).all()
    assert ((z.std(axis=0) > 0.6) & (z.std(axis=0) < 1.4)).all()
    assert sum(len(f.notes) for f in found) <= 1


def test_spectrum_without_lines_is_told(make_builder, rng):
    builder = make_builder(CONDITIONS, sensitivities=NO_FACTORS)
    with pytest.raises(ValueError, match="fewer than two lines stand out"):
        estimate_calibration(builder, rng.poisson(np.full(builder.energy.size, 20.0)))


@pytest.mark.parametrize(("value", "message"), [(0.0, "cannot be fitted"), (-1.0, "negative"), (np.nan, "finite")])
def test_spectra_that_cannot_be(make_builder, value, message):
    builder = make_builder(CONDITIONS, sensitivities=NO_FACTORS)
    with pytest.raises(ValueError, match=message):
        estimate_calibration(builder, np.full(builder.energy.size, value))
