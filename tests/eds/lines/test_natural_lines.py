"""Lines as nature makes them: photons drawn one by one from measured doublets, not from any table of this package."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.eds.eds_map import Instrument
from hyperspy_assb.eds.lines.axis_check import estimate_calibration
from hyperspy_assb.eds.lines.column_spectra import Builder
from hyperspy_assb.eds.lines.detected_lines import channel_edges, peaks
from hyperspy_assb.eds.lines.sensitivity import Sensitivities
from hyperspy_assb.eds.lines.x_ray_lines import line_width
from hyperspy_assb.reference import line_components
from hyperspy_assb.signals.eds.map_reading import element_tables

# Energies in eV of J. A. Bearden, Rev. Mod. Phys. 39, 78 (1967), doi 10.1103/RevModPhys.39.78; photons of each element,
# and shares and natural widths of usual size.
MEASURED = {
    "O": (200_000, ((524.9, 1.0, 0.2),)),
    "Al": (20_000, ((1486.7, 0.98, 0.4),)),
    "P": (200_000, ((2013.7, 0.96, 0.5), (2139.1, 0.04, 0.5))),
    "V": (30_000, ((4952.2, 0.58, 1.0), (4944.64, 0.295, 1.0), (5427.3, 0.12, 1.5))),
    "Fe": (60_000, ((6403.84, 0.58, 1.6), (6390.84, 0.295, 1.6), (7057.98, 0.12, 2.3))),
    "Ge": (50_000, ((9886.42, 0.58, 2.8), (9855.32, 0.30, 2.9), (10982.1, 0.078, 4.0), (10978.0, 0.04, 4.0))),
}


def draw_spectrum(rng, step, *, offset=0.0, gain=0.0, resolution=130.0):
    """Energies in keV and counts of channels of ``step`` eV on an axis that is off."""
    energy = np.arange(0.0, 15000.0, step)
    photons = []
    for number, lines in MEASURED.values():
        for centre, share, width in lines:
            drawn = centre + 0.5 * width * rng.standard_cauchy(rng.poisson(number * share))
            spread = np.sqrt(resolution**2 + 2.5 * (centre - 5895.0)) / 2.3548
            photons.append(rng.normal(drawn, spread))
    continuum = np.where(energy > 100.0, 1.0 / (energy + 50.0), 0.0)
    photons.append(rng.choice(energy, 200_000, p=continuum / continuum.sum()) + rng.uniform(-0.5, 0.5, 200_000) * step)
    seen = np.concatenate(photons) * (1.0 + gain) + offset
    return energy / 1000.0, np.histogram(seen, channel_edges(energy))[0].astype(float)


def check_axis(energy, counts, resolution=130.0):
    tables = element_tables()
    instrument = Instrument(resolution, 200.0, 20.0)
    factors = Sensitivities({}, {}, "computed", "none")
    lines = tables.lines_of(MEASURED)
    builder = Builder(energy, lines, instrument, factors, tables.mass_absorption, (0.18, 14.5), False, tuple(MEASURED))
    return estimate_calibration(builder, counts)


@pytest.mark.parametrize("step", [5.0, 10.0, 20.0])
@pytest.mark.parametrize("resolution", [125.0, 140.0])
def test_right_axis_is_right(step, resolution, rng):
    # Within a tenth of a channel.
    energy, counts = draw_spectrum(rng, step, offset=rng.uniform(-0.1, 0.1) * step, resolution=resolution)
    found = check_axis(energy, counts, resolution)
    assert found.notes == ()
    assert max(map(abs, found.shares_of_width.values())) < 0.04
    assert found.resolution == pytest.approx(resolution, abs=1.0)


@pytest.mark.parametrize("step", [5.0, 10.0, 20.0])
@pytest.mark.parametrize(("offset", "gain"), [(-11.0, 0.0), (14.0, 0.0), (0.0, 0.003), (-9.0, -0.002)])
def test_wrong_axis_is_said_and_put_right(step, offset, gain, rng):
    energy, counts = draw_spectrum(rng, step, offset=offset, gain=gain)
    found = check_axis(energy, counts)
    assert "energy axis is off" in found.notes[0]
    first, scale = found.corrected(0.0, step, per_keV=1000.0)
    for line in (524.9, 2013.7, 6403.84, 9886.42):
        put_right = first + scale * (line * (1.0 + gain) + offset) / step
        assert abs(put_right - line) < 0.05 * 1000.0 * line_width(line / 1000.0, 130.0)


def test_shape_of_a_doublet_is_that_of_its_photons(rng):
    (line,) = (line for line in element_tables().lines["Ge"] if line.name == "Ka")
    energy, step = np.arange(9.3, 10.4, 0.01), 0.01
    shape = peaks(channel_edges(energy), [line], np.array([line.energy]), 130.0)[0]
    drawn = []
    for centre, share, width in MEASURED["Ge"][1][:2]:
        number = round(2e6 * share / 0.88)
        spread = np.sqrt(130.0**2 + 2.5 * (centre - 5895.0)) / 2354.8
        drawn.append(rng.normal((centre + 0.5 * width * rng.standard_cauchy(number)) / 1000.0, spread))
    counts = np.histogram(np.concatenate(drawn), channel_edges(energy))[0] / 2e6
    assert shape.sum() == pytest.approx(1.0, abs=0.005)
    np.testing.assert_allclose(shape, counts, atol=0.01 * shape.max())
    mean = float(energy @ shape / shape.sum())
    assert mean == pytest.approx(line.energy, abs=0.1 * step)
    # The single line at the stronger of the two lies elsewhere.
    assert line.energy == pytest.approx(9.8759, abs=5e-4)


@pytest.mark.parametrize(
    ("element", "line", "energies"),
    [("Ge", "Ka", (9886.42, 9855.32)), ("Fe", "Ka", (6403.84, 6390.84)), ("Pt", "La", (9442.3, 9361.8))],
)
def test_splitting_is_that_which_was_measured(element, line, energies):
    parts = line_components(element, line)
    assert sum(part.share for part in parts) == pytest.approx(1.0, abs=2e-3)
    assert max(parts, key=lambda part: part.share).offset == 0.0
    assert min(part.offset for part in parts) == pytest.approx((energies[1] - energies[0]) / 1000.0, abs=1.5e-3)
