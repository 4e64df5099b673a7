"""How much of what is crystalline in a column each of two crystals is, by the intensities of their spots.

Kinematical intensities do not say how those of one phase compare with those of another: absorption, many-beam
diffraction and disorder change them by tens of per cent. The scan does say it, as the thickness of the lamella is the
same, but for a smooth course, wherever one phase ends and another begins. In columns of one phase, whether of one
crystal of it or of two,

    log A = log u_p + log c + S(x, y)

with A the amount by the intensities, u_p the unit of the phase, c the crystalline part of the column and S a
polynomial.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hyperspy_assb.acom.amorphous.column_shares import smooth_polynomials
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.blocks import choose_block_size, estimate_correlation, split_into_blocks

UNKNOWN_STRENGTH = 0.2
"""Relative error of the kinematical intensities of a phase as a whole, before the scan shows them."""
UNKNOWN_SLOPE = 1.0
"""Expected size of the coefficients of the logarithm of the thickness, on axes from -1 to 1."""
LEAST_CRYSTALLINE = 0.3
"""Columns with a smaller crystalline part say nothing of the unit of their phase."""
FEWEST_ALONE = 8
"""Columns of a phase from which on they say how errors that are stated compare with those that are seen."""
HUBER = 1.5
"""Standard deviations beyond which a column counts less: a hole, or a second crystal that was not seen."""
ONE_STD = 0.683
"""Share of deviations within a standard deviation."""


class _Units(NamedTuple):
    """Logarithms of the units of P phases, their covariance, and by how much errors of amounts are to be widened."""

    value: FloatArray  # (P,)
    covariance: FloatArray  # (P, P)
    wider: FloatArray  # (P,)


def with_crystal_shares(scan: IndexedScan, wider_for_two: float = 1.0) -> IndexedScan:
    """The whole scan with the share of the second crystal in each column of two, and its standard error.

    `wider_for_two` is by how much the amounts of two crystals are less sure than they state, against those of one.
    """
    amount, error = scan.crystal_amount, scan.crystal_amount_std
    if scan.second_phase is None or amount is None or error is None:
        return scan
    two = np.asarray(scan.second_phase) != NOT_INDEXED
    units = _units(scan, two, amount, error)
    first, second = np.maximum(scan.phase, 0), np.maximum(scan.second_phase, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_ratio = np.log(amount[..., 1]) - units.value[second] - np.log(amount[..., 0]) + units.value[first]
        variance = (error[..., 0] / amount[..., 0] * units.wider[first]) ** 2
        variance += (error[..., 1] / amount[..., 1] * units.wider[second]) ** 2
    variance *= wider_for_two**2
    c = units.covariance
    variance += c[first, first] + c[second, second] - 2.0 * c[first, second]
    share = expit(np.where(two, log_ratio, 0.0))
    std = share * (1.0 - share) * np.sqrt(np.where(two, variance, 0.0))
    return replace(scan, second_share=np.where(two, share, 0.0), second_share_std=np.where(two, std, np.nan))


def _units(scan: IndexedScan, two: NDArray[np.bool_], amount: FloatArray, error: FloatArray) -> _Units:
    """Fitted on the columns of one phase, with what is expected before any is seen."""
    phases = len(scan.phases)
    phase = np.asarray(scan.phase)
    gain = np.zeros(phase.shape) if scan.second_gain is None else scan.second_gain
    single = (phase != NOT_INDEXED) & ~two & (gain <= 0.0)
    same = two & (np.asarray(scan.second_phase) == phase)
    total = np.where(same, np.nansum(amount, axis=-1), amount[..., 0])
    crystalline = np.ones(phase.shape)
    if scan.amorphous_share is not None:
        crystalline = 1.0 - np.nansum(scan.amorphous_share, axis=-1)
    used = (single | same) & (np.nan_to_num(total) > 0.0) & (crystalline > LEAST_CRYSTALLINE)
    # Before any is seen, units are those of the kinematical theory, 0, and what all have in common is not known.
    apart = (np.eye(phases) - 1.0 / phases) / UNKNOWN_STRENGTH**2 + 1e-6
    wider = np.ones(phases)
    if not used.any():
        return _Units(np.zeros(phases), np.asarray(np.linalg.inv(apart), dtype=float), wider)
    of_phase = (phase[used][:, None] == np.arange(phases)).astype(float)
    slopes = smooth_polynomials(used)[1:, used].T
    design = np.hstack([of_phase, slopes])
    prior = np.zeros((design.shape[1],) * 2)
    prior[:phases, :phases] = apart
    prior[range(phases, len(prior)), range(phases, len(prior))] = UNKNOWN_SLOPE**-2
    target = np.log(total[used]) - np.log(crystalline[used])
    position = np.argwhere(used)
    weight, found, inverse = np.ones(len(target)), np.zeros(len(prior)), prior
    residual, together = target - np.median(target), 1.0
    for _ in range(20):
        scatter = max(1.4826 * float(np.median(np.abs(residual))), 0.05)
        weight = np.minimum(1.0, HUBER * scatter / np.maximum(np.abs(residual), 1e-9))
        together = _together(weight * residual, position)
        inverse = (design.T * weight) @ design / (scatter**2 * together) + prior
        before, found = found, np.linalg.solve(inverse, design.T @ (weight * target) / (scatter**2 * together))
        residual = target - design @ found
        if np.abs(found - before).max() < 1e-4:
            break
    alone = single[used]
    relative = (error[..., 0] / amount[..., 0])[used]
    for p in range(phases):
        here = alone & (of_phase[:, p] > 0.0) & (relative > 0.0)
        if here.sum() >= FEWEST_ALONE:
            wider[p] = max(float(np.quantile(np.abs(residual[here]) / relative[here], ONE_STD)), 0.5)
    covariance = np.asarray(np.linalg.inv(inverse), dtype=float)
    return _Units(found[:phases], covariance[:phases, :phases], wider)


def _together(residual: FloatArray, position: NDArray[np.int64]) -> float:
    """By how much the variance of sums over the scan is above that of residuals that know nothing of each other."""
    size = choose_block_size(estimate_correlation(residual[:, None], position), len(residual), 2)
    block = split_into_blocks(position, size)
    sums = np.bincount(block, weights=residual)
    return max(float((sums**2).sum() / max((residual**2).sum(), 1e-12)), 1.0)
