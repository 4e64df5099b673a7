"""Units of energy as files spell them."""

import pytest

from hyperspy_assb.reference.energy_units import energy_unit


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("eV", "eV"),
        (" ev ", "eV"),
        ("Energy Loss (eV)", "eV"),
        ("Energy [keV]", "keV"),
        ("electron volts", "eV"),
        ("KEV", "keV"),
        ("meV", "meV"),
        ("MeV", ""),
        ("nm", ""),
        ("1/nm", ""),
        ("V", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_energy_unit(text, unit):
    assert energy_unit(text) == unit
