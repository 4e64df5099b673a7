"""Axis, width, tails and ratios of lines from a summed spectrum."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.eds.lines.sensitivity import Sensitivities
from hyperspy_assb.eds.lines.shape_fit import fit_shapes
from hyperspy_assb.simulation import XRayConditions

NO_FACTORS = Sensitivities({}, {}, "computed", "no factors")
ELEMENTS = ("O", "P", "Fe", "Ge")
SHARES = {"O_Ka": 4e5, "P_Ka": 2e5, "Fe_Ka": 2e5, "Fe_La": 6e4, "Ge_Ka": 1e5, "Ge_La": 1e5}


@pytest.fixture(scope="module")
def record(make_builder):
    """A builder, and the spectrum of lines over a continuum as another builder has them."""

    def run(**changes):
        stated = make_builder(XRayConditions(), ELEMENTS, sensitivities=NO_FACTORS)
        lines = changes.pop("lines", stated.lines)
        resolution = changes.pop("resolution", 130.0)
        instrument = replace(stated.instrument, resolution=resolution)
        true = replace(stated, lines=lines, instrument=instrument, **changes)
        model = true.build({}, list(SHARES)).model
        amounts = np.array([*SHARES.values(), *np.full(model.strength.shape[1] - len(SHARES), 1e3)])
        total = np.zeros(true.energy.size)
        total[true.channels] = model.expectation(amounts)
        return stated, total

    return run


def test_what_is_right_stays(record):
    builder, total = record()
    found = fit_shapes(builder, total)
    assert abs(found.offset) < 2e-5
    assert abs(found.gain) < 1e-5
    assert found.resolution == pytest.approx(130.0, abs=0.1)
    assert found.detector.width_slope == pytest.approx(2.5, abs=0.02)
    assert found.detector.tail_depth < 1.0
    assert all(ratio == pytest.approx(1.0, abs=0.03) for ratio in found.ratios.values())


@pytest.mark.parametrize("slope", [2.2, 2.7])
def test_fano_factor_is_found(record, slope):
    builder, total = record(detector=DetectorShape(width_slope=slope), resolution=135.0)
    found = fit_shapes(builder, total)
    assert found.detector.width_slope == pytest.approx(slope, abs=0.02)
    assert found.resolution == pytest.approx(135.0, abs=0.3)
    assert found.builder.detector is not builder.detector


def test_tail_is_found_beside_the_axis(record):
    true = DetectorShape(tail_depth=20.0, tail_length=100.0)
    builder, total = record(detector=true, offset=0.004, gain=0.001)
    found = fit_shapes(builder, total)
    assert found.detector.tail_depth == pytest.approx(20.0, abs=3.0)
    for energy in (0.5249, 9.8864):
        # A fiftieth of the width of O Kα.
        assert found.offset + found.gain * energy == pytest.approx(0.004 + 0.001 * energy, abs=1.2e-3)


def test_ratios_within_a_family_are_found(record, make_builder):
    lines = make_builder(XRayConditions(), ELEMENTS, sensitivities=NO_FACTORS).lines
    other = tuple(replace(line, weight=2.0 * line.weight) if line.full_name == "Ge_Lb1" else line for line in lines)
    builder, total = record(lines=other)
    found = fit_shapes(builder, total)
    assert found.ratios["Ge_Lb1"] == pytest.approx(2.0, rel=0.1)
    assert found.ratios["Ge_Ll"] == pytest.approx(1.0, abs=0.2)


def test_detector_that_is_given_stays(record):
    builder, total = record(detector=DetectorShape(width_slope=2.3))
    given = DetectorShape(width_slope=2.3, tail_depth=1.0)
    found = fit_shapes(builder, total, detector=given)
    assert found.detector == given
    assert set(found.detector_std.values()) == {0.0}


def test_window_is_found_in_the_continuum(record):
    builder, total = record(detector=DetectorShape(carbon_window=1.2))
    found = fit_shapes(builder, total)
    assert found.detector.carbon_window == pytest.approx(1.2, abs=0.15)
    builder, total = record()
    assert fit_shapes(builder, total).detector.carbon_window < 0.1
