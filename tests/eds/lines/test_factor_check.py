"""k-factors of another convention."""

import pytest

from hyperspy_assb.eds.lines.factor_check import odd_factors
from hyperspy_assb.eds.lines.sensitivity import GIVEN_K, Sensitivities

COMPUTED = Sensitivities(
    {"O_Ka": 1.0, "Al_Ka": 1.2, "P_Ka": 1.1, "Fe_Ka": 0.9, "Ge_Ka": 0.7, "Cu_Ka": 0.8}, {}, "computed", "computed"
)


def given(power=0.0, **changes):
    values = {line: v * COMPUTED.mass_of(line) ** power for line, v in COMPUTED.cross_section.items()}
    return Sensitivities({**values, **changes}, {}, GIVEN_K, "given")


def test_right_factors_are_not_spoken_of():
    assert odd_factors(given(), COMPUTED) == ()
    # A window keeps back half of O Kα.
    assert odd_factors(given(O_Ka=0.5), COMPUTED) == ()


def test_factors_in_atoms_are_told():
    (note,) = odd_factors(given(power=1.0), COMPUTED)
    assert "atomic fractions" in note


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_one_factor_that_is_far_off_is_named(factor):
    (note,) = odd_factors(given(Fe_Ka=0.9 * factor), COMPUTED)
    assert note.startswith("The k-factor of Fe_Ka is")


def test_few_factors_say_nothing():
    few = Sensitivities({"O_Ka": 1.0, "P_Ka": 90.0}, {}, GIVEN_K, "given")
    assert odd_factors(few, COMPUTED) == ()
