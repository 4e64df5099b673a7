"""Corners of clouds of points, and pure pixels of virtual lamellae."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.eels.delithiation.corner_names import name_corners
from hyperspy_assb.eels.delithiation.reference_candidates import (
    CandidateStatus,
    find_corners,
    suggest_candidates,
    unmix,
)
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference import electrode
from hyperspy_assb.signals.eels.low_loss_reading import read_low_loss
from hyperspy_assb.simulation import EELSConditions, micro_battery, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

OLIVINE = electrode("LixFePO4")
CORNERS = np.array([[0.0, 0.0], [100.0, 0.0], [30.0, 80.0]])


def cloud(rng, *, pure=20, mixed=300, noise=1.0):
    shares = np.concatenate([np.repeat(np.eye(3), pure, axis=0), rng.dirichlet([1.0, 1.0, 1.0], mixed)])
    return shares, shares @ CORNERS + rng.normal(0.0, noise, (len(shares), 2))


def test_unmix_gives_back_shares():
    shares = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], 50)
    np.testing.assert_allclose(unmix(shares @ CORNERS, CORNERS), shares, atol=1e-5)


def test_a_point_outside_has_shares_of_the_nearest_mixture():
    np.testing.assert_allclose(unmix(np.array([[50.0, -30.0]]), CORNERS), [[0.5, 0.5, 0.0]], atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_corners_are_those_of_the_simplex(seed):
    _, points = cloud(np.random.default_rng(seed))
    found = find_corners(points, np.ones(len(points)))
    assert len(found) == 3
    for corner in CORNERS:
        assert np.min(np.linalg.norm(found - corner, axis=1)) < 4.0


def test_a_lone_point_is_no_corner():
    _, points = cloud(np.random.default_rng(3))
    points = np.append(points, [[400.0, 400.0]], axis=0)
    assert np.abs(find_corners(points, np.ones(len(points)))).max() < 110.0


def columns(x, nm):
    counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
    return spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")


def test_corners_are_named_by_their_edges_and_a_solid_solution_is_not():
    # Exact: the columns are of one composition each.
    x, nm = np.repeat([1.0, 0.0, 0.5], 12), np.tile(np.linspace(30.0, 90.0, 12), 3)
    spectra = read_low_loss(columns(x, nm))
    groups = [np.flatnonzero(x == value) for value in (1.0, 0.0, 0.5)]
    centre = np.zeros(x.size)
    names = [name for name, _ in name_corners(spectra, spectra.counts, centre, groups, OLIVINE, ("LAGP", "carbon"))]
    assert names == ["LiFePO4", "FePO4", ""]


def test_an_electrode_without_signatures_has_no_names():
    spectra = read_low_loss(columns(np.ones(12), np.full(12, 50.0)))
    found = name_corners(spectra, spectra.counts, np.zeros(12), [np.arange(12)], electrode("LixV2(PO4)3"), ())
    assert found[0][0] == ""


def test_a_map_that_is_too_small_is_refused():
    with pytest.raises(AssbValueError, match="needs 50"):
        suggest_candidates(read_low_loss(columns(np.ones(20), np.full(20, 50.0))), OLIVINE, ())


def score(state, signal):
    """Name, true material, proposed pixels and how many of them are 95 % pure, by material."""
    found = suggest_candidates(read_low_loss(signal), OLIVINE, ("LAGP", "carbon"))
    fractions = {name: np.ravel(values) for name, values in state.fractions.items()}
    told = []
    for k, name in enumerate(found.names):
        inside = found.material == k
        true = max(fractions, key=lambda q: fractions[q][inside].mean())
        told.append((name, true, int(inside.sum()), int((fractions[true][inside] >= 0.95).sum())))
    return found, told


def named_right(name, true):
    return name.startswith("material") or name == true or (name, true) == ("LAGP", "amorphous_LAGP")


def test_pure_pixels_of_a_virtual_lamella():
    battery = micro_battery(shape=(24, 24), seed=6, signal_type="EELS_ASSB")
    found, told = score(battery.truth.after, battery.eels_after)
    assert {"LiFePO4", "FePO4"} <= set(found.names)
    assert all(named_right(name, true) for name, true, _, _ in told)
    assert sum(pure for *_, pure in told) >= 0.95 * sum(n for *_, n, _ in told)
    assert np.all((found.material >= 0) == np.isin(found.status, [CandidateStatus.PROPOSED, CandidateStatus.UNNAMED]))


def test_without_delithiated_pixels_none_is_proposed():
    battery = micro_battery(shape=(24, 24), seed=6, signal_type="EELS_ASSB")
    spectra = read_low_loss(battery.eels_before)
    known = np.ravel(battery.truth.before.fractions["FePO4"]) == 0.0
    assert known.sum() > 200
    without = replace(spectra, counts=spectra.counts[known], shape=(int(known.sum()),))
    found = suggest_candidates(without, OLIVINE, ("LAGP", "carbon"))
    assert "LiFePO4" in found.names
    assert "FePO4" not in found.names


@pytest.mark.slow
def test_purity_over_lamellae():
    # benchmarks/reference_candidates.py has the table of 20.
    proposed = pure = 0
    for seed in range(100, 104):
        battery = micro_battery(shape=(40, 40), seed=seed, signal_type="EELS_ASSB")
        for state, signal in ((battery.truth.before, battery.eels_before), (battery.truth.after, battery.eels_after)):
            _, told = score(state, signal)
            assert all(named_right(name, true) for name, true, _, _ in told), (seed, told)
            proposed += sum(n for name, _, n, _ in told if name != "vacuum")
            pure += sum(good for name, *_, good in told if name != "vacuum")
    assert proposed > 500
    assert pure >= 0.95 * proposed
