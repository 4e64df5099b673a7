"""Shares of two crystals whose phases scatter with other strengths than the kinematical ones."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.acom.scan.crystal_shares import with_crystal_shares
from tests.conftest import scan_of

STRENGTH = np.array([1.0, 1.6])
"""Amounts of either phase for a unit of thickness."""


def columns(rng, shape=(40, 40), *, wedge=0.5, noise=0.1, film=0.6):
    """Columns of one phase or two, in a wedge; those of the second phase alone lie with glass."""
    y = np.linspace(0.0, 1.0, shape[0])[:, None] * np.ones(shape)
    grain = rng.integers(0, 4, (shape[0] // 4, shape[1] // 4)).repeat(4, axis=0).repeat(4, axis=1)
    phase, two = np.where(grain == 1, 1, 0), grain >= 2
    share = np.where(two, rng.uniform(0.2, 0.8, shape), 0.0)
    glass = np.where(grain == 1, film, 0.0)
    thickness = np.exp(wedge * (2.0 * y - 1.0)) * (1.0 - glass)
    true = thickness[..., None] * np.stack([1.0 - share, share], axis=-1)
    second = np.where(two, 1, -1)
    strength = STRENGTH[np.stack([phase, np.maximum(second, 0)], axis=-1)]
    amount = true * strength * np.exp(noise * rng.standard_normal((*shape, 2)))
    amount[..., 1] = np.where(two, amount[..., 1], np.nan)
    scan = scan_of(phase, np.tile([1.0, 0.0, 0.0, 0.0], (*shape, 1)))
    return replace(
        scan,
        second_phase=second,
        second_gain=np.where(two, 50.0, 0.0),
        crystal_amount=amount,
        crystal_amount_std=noise * amount,
        amorphous_share=glass[..., None],
        ring_materials=("glass",),
    ), share


def test_shares_know_the_strengths_the_wedge_and_the_glass(rng):
    scan, true = columns(rng)
    found = with_crystal_shares(scan)
    two = np.asarray(scan.second_phase) >= 0
    off = (found.second_share - true)[two]
    assert abs(off.mean()) < 0.01
    assert np.mean(np.abs(off) < found.second_share_std[two]) == pytest.approx(0.68, abs=0.08)
    assert (found.second_share[~two] == 0.0).all()


def test_without_columns_of_one_phase_the_strengths_are_in_the_error(rng):
    scan, _ = columns(rng)
    alone = np.asarray(scan.second_phase) < 0
    hidden = replace(scan, phase=np.where(alone, -1, scan.phase))
    two = ~alone
    known, unknown = with_crystal_shares(scan), with_crystal_shares(hidden)
    assert np.median(unknown.second_share_std[two] / known.second_share_std[two]) > 1.3


def test_two_crystals_of_one_phase_need_no_strengths(rng):
    scan, true = columns(rng)
    two = np.asarray(scan.second_phase) >= 0
    unit = np.where(two[..., None], [1.0, STRENGTH[1]], 1.0)
    amount, error = scan.crystal_amount / unit, scan.crystal_amount_std / unit
    one_phase = replace(scan, second_phase=np.where(two, 0, -1), crystal_amount=amount, crystal_amount_std=error)
    found = with_crystal_shares(one_phase)
    off = (found.second_share - true)[two]
    assert abs(off.mean()) < 0.01
    assert np.mean(np.abs(off) < found.second_share_std[two]) == pytest.approx(0.68, abs=0.08)
