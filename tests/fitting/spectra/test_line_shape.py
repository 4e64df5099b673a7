"""The declaration of a line shape: names, defaults, evaluation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hyperspy_assb.fitting.spectra.line_shape import NO_CONSTANTS, LineShape, Parameter, Role


def _line(energy, parameters, constants, values, gradients):
    slope, level = parameters
    values[:] = slope * energy + level + constants.sum()
    gradients[0] = energy
    gradients[1] = 1.0


LINE = LineShape(
    name="Line",
    parameters=(Parameter("slope", 2.0, "counts/eV", linear=True), Parameter("level", -1.0, "counts")),
    kernel=_line,
    role=Role.ADDITIVE,
)


def test_names_keep_the_kernel_order():
    assert LINE.parameter_names == ("slope", "level")


def test_defaults_are_those_declared_and_can_be_replaced():
    np.testing.assert_array_equal(LINE.defaults(), [2.0, -1.0])
    np.testing.assert_array_equal(LINE.defaults(level=5), [2.0, 5.0])
    assert LINE.defaults(level=5).dtype == np.float64


def test_unknown_names_are_all_named():
    with pytest.raises(ValueError, match=r"Line has no parameter \['offset', 'width'\].*'slope', 'level'"):
        LINE.defaults(width=1.0, slope=1.0, offset=2.0)
    with pytest.raises(ValueError, match="has no parameter"):
        LINE.evaluate([0.0], {"width": 1.0})


def test_evaluate_takes_a_sequence_or_a_mapping():
    # Exact: 2 E - 1 and 2 E + 3 by hand.
    values, gradients = LINE.evaluate([0, 1, 2], [2.0, -1.0])
    np.testing.assert_array_equal(values, [-1.0, 1.0, 3.0])
    np.testing.assert_array_equal(gradients, [[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(LINE.evaluate([0, 1, 2], {"level": 3.0})[0], [3.0, 5.0, 7.0])


def test_constants_reach_the_kernel():
    assert NO_CONSTANTS.size == 0
    np.testing.assert_array_equal(LINE.evaluate([1.0], [1.0, 0.0], np.array([10.0, 20.0]))[0], [31.0])


def test_a_declaration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LINE.name = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        LINE.parameters[0].value = 3.0
