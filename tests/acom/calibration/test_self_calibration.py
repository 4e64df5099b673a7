"""The calibration by the patterns of a scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.acom.calibration.self_calibration import SelfCalibrationOptions, calibrate_on_patterns
from hyperspy_assb.acom.crystals.frames import upper
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.templates.bank import simulate_bank
from hyperspy_assb.simulation import DiffractionConditions, simulate_patterns


@pytest.mark.slow
def test_what_is_found_does_not_depend_on_where_the_search_began():
    rng = np.random.default_rng(3)
    bank = simulate_bank(["lfp", "fp"], resolution=4.0)
    conditions = DiffractionConditions(electrons=5e3).with_shape((96, 96))
    orientations = np.repeat(upper(rng.normal(size=(4, 4))), 5, axis=0)
    patterns = simulate_patterns(orientations, ["LiFePO4"], conditions, rng, phase=np.zeros(20, dtype=int))
    column, row = conditions.direct_beam_position
    truth = PatternGeometry(scale=conditions.scale, centre=(float(column), float(row)))
    centres = np.tile(truth.centre, (20, 1))
    options = SelfCalibrationOptions(threads=1)
    found = [
        calibrate_on_patterns(
            patterns, bank, replace(truth, scale=truth.scale * factor), centres=centres, options=options
        ).geometry
        for factor in (0.95, 1.0, 1.043)
    ]
    assert found[0] == found[1] == found[2]
    assert abs(found[0].scale - truth.scale) < 3.0 * found[0].scale_std
