"""What the page's viewer holds: maps in blocks of the coarsest frame, spectra and patterns of the nearest pixels."""

from __future__ import annotations

import base64
import json

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb import Lamella
from hyperspy_assb.lamella.linked_viewer import viewer_data
from hyperspy_assb.registration.affine import Affine


def placed(signal, scale, offset=0.0):
    manager = signal.axes_manager
    for axis in manager.navigation_axes if manager.navigation_dimension else manager.signal_axes:
        axis.scale, axis.units, axis.offset = scale, "nm", offset
    return signal


@pytest.fixture
def lamella():
    """Spectra of 4 x 4 coarse pixels, patterns of 8 x 8 fine ones, each of which tells its place."""
    places = np.arange(16.0).reshape(4, 4)
    spectra = placed(hs.signals.Signal1D(places[..., None] + np.arange(6.0)), 20.0, 5.0)
    patterns = np.zeros((8, 8, 4, 4))
    patterns[..., 0, 0] = 1.0
    patterns[..., 1, 1] = np.arange(64.0).reshape(8, 8) ** 2
    found = Lamella("L1")
    found.add("spectra", spectra)
    found.add("patterns", placed(hs.signals.Signal2D(patterns), 10.0))
    found.register("spectra", transforms={"patterns": Affine(np.eye(2), np.zeros(2))})
    return found


def test_blocks_are_those_of_the_coarsest_frame(lamella):
    data = viewer_data(lamella)
    assert data["shape"] == [4, 4]
    assert data["drawn"] == ["spectra: counts", "patterns: counts"]
    assert data["maps"]["spectra: counts"][5] == 6 * 5 + 15


def test_spectra_are_those_of_the_block(lamella):
    spectra = viewer_data(lamella)["spectra"]["spectra"]
    assert spectra["values"][5] == [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    assert (spectra["start"], spectra["step"]) == (0.0, 1.0)


def test_patterns_are_those_of_a_pixel_that_lies_there(lamella):
    patterns = viewer_data(lamella)["patterns"]["patterns"]
    assert patterns["side"] == 4
    # Block (1, 2) has its middle at 25, 45 nm: fine pixel (2, 4) or a neighbour of it.
    picture = np.frombuffer(base64.b64decode(patterns["values"][6]), dtype=np.uint8).reshape(4, 4)
    assert picture[1, 1] == 255
    assert picture[0, 0] == pytest.approx(255 / 20, abs=2)


def test_what_lies_beyond_a_field_is_not_there(lamella):
    other = Lamella("L2")
    other.add("spectra", lamella["spectra"])
    other.add("patterns", lamella["patterns"])
    other.register("spectra", transforms={"patterns": Affine(np.eye(2), np.array([40.0, 0.0]))})
    values = viewer_data(other)["patterns"]["patterns"]["values"]
    assert values[-1] is None
    assert values[0] is not None


def test_a_thousand_blocks_at_most_and_plain_numbers():
    big = Lamella("L1")
    big.add("haadf", placed(hs.signals.Signal2D(np.random.default_rng(1).normal(size=(130, 100))), 1.0))
    data = viewer_data(big)
    assert data["shape"] == [26, 20]
    assert len(data["maps"]["haadf: counts"]) == 26 * 20
    json.dumps(data, allow_nan=False)
