"""Families that other elements hide."""

import pytest

from hyperspy_assb.eds.eds_map import Instrument
from hyperspy_assb.eds.lines.families import Tie, find_ties, hidden_families, with_ties
from hyperspy_assb.eds.lines.sensitivity import Sensitivities
from hyperspy_assb.signals.eds.map_reading import element_tables

INSTRUMENT = Instrument(resolution=130.0, beam_energy=200.0, take_off_angle=20.0)


def lines(*elements, low=0.18, high=15.0):
    return [line for line in element_tables().lines_of(elements) if low < line.energy < high]


def test_vanadium_is_hidden_by_oxygen():
    assert hidden_families(lines("O", "V"), 130.0) == {"V_La": "V_Ka"}
    # 180 eV apart.
    assert hidden_families(lines("O", "Fe"), 130.0) == {}


def test_what_has_no_other_family_is_not_hidden():
    # Without V Kα nothing else would tell V.
    assert hidden_families(lines("O", "V", high=4.0), 130.0) == {}


def test_tie_takes_the_factors_of_both():
    factors = Sensitivities({"V_Ka": 2.0, "V_La": 0.5}, {"V_Ka": 0.01, "V_La": 0.04}, "k-factors", "given")
    (tie,) = find_ties(lines("O", "V"), factors, INSTRUMENT)
    assert tie == Tie("V_La", "V_Ka", 0.25, 0.04)


def test_tie_is_computed_where_one_is_lacking():
    factors = Sensitivities({"V_Ka": 2.0}, {"V_Ka": 0.01}, "k-factors", "given")
    (tie,) = find_ties(lines("O", "V"), factors, INSTRUMENT)
    assert 0.05 < tie.ratio < 2.0
    assert tie.uncertainty >= 0.3
    told = with_ties(factors, [tie])
    assert told.cross_section["V_La"] == pytest.approx(2.0 * tie.ratio)
    assert with_ties(Sensitivities({}, {}, "computed", ""), [tie]).cross_section == {}
