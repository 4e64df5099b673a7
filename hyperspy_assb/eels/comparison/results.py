"""What a comparison found: arrays, one object for each state and each change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.comparison.options import Window
from hyperspy_assb.eels.scattering.plasmon import Plasmon
from hyperspy_assb.fitting.solver.noise_claim import Noise
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.statistics.permutation import Cluster

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """What is known of one state.

    Parameters
    ----------
    mean
        Mean single-scattering distribution per channel and unit of thickness, shape (E,).
    std, std_counting
        Its standard errors, from the scatter of blocks (NaN where there are too few) and from counting, shape (E,).
    bands, bands_std
        Bands, with their standard errors (of blocks, else of counting), shape (F,).
    t_over_lambda, t_over_lambda_std
        Mean t/λ and its standard error over blocks.
    plasmon, plasmon_std
        The plasmon, and standard errors of its energy and width in eV, shape (2,).
    electrons
        Electrons in a spectrum.
    fwhm
        Full width at half maximum of the zero-loss peak in eV.
    pixels, effective_pixels, blocks
        Pixels that were used, as many independent ones, and the blocks they form.
    left_out
        Number of pixels that were not used, by reason.
    """

    mean: FloatArray
    std: FloatArray
    std_counting: FloatArray
    bands: FloatArray
    bands_std: FloatArray
    t_over_lambda: float
    t_over_lambda_std: float
    plasmon: Plasmon
    plasmon_std: FloatArray
    electrons: float
    noise: Noise
    fwhm: float
    pixels: int
    effective_pixels: float
    blocks: int
    left_out: dict[str, int]


@dataclass(frozen=True)
class Change:
    """What changed from the first state to another. Bands first, then energy and width of the plasmon: shape (F + 2,).

    Parameters
    ----------
    difference, difference_std, difference_std_counting
        Difference of the mean distributions and its standard errors, shape (E,).
    change, std_blocks, std_counting
        Change of each band and its standard errors.
    std_thickness, std_calibration, std_zero_loss
        What the choice of the thickness, the energy calibration and the shape of the zero-loss peak leave open.
    p, p_corrected
        p values, one by one and for all bands together.
    hedges_g
        Difference in standard deviations of blocks, corrected for small numbers.
    proportional
        The change if everything grew with thickness.
    other_thickness
        The change with the other measure of thickness.
    confounded
        Share of the difference between the states that their thicknesses explain: near 1, a change of the specimen
        cannot be told from one of its thickness.
    clusters
        Clusters of channels; empty where there are too few blocks.
    """

    difference: FloatArray
    difference_std: FloatArray
    difference_std_counting: FloatArray
    change: FloatArray
    std_blocks: FloatArray
    std_counting: FloatArray
    std_thickness: FloatArray
    std_calibration: FloatArray
    std_zero_loss: FloatArray
    p: FloatArray
    p_corrected: FloatArray
    hedges_g: FloatArray
    proportional: FloatArray
    other_thickness: FloatArray
    confounded: float
    clusters: tuple[Cluster, ...]


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`hyperspy_assb.eels.comparison.low_loss_comparison.compare_states`.

    Parameters
    ----------
    loss
        Energy losses in eV, shape (E,).
    start
        Loss from which spectra were compared.
    windows
        The bands that lie in range.
    states
        In the order given.
    changes
        Of every later state against the first.
    trend_slope, trend_p, trend_p_corrected
        Slope of each band and of the plasmon over the scores of the states, with p values, shape (F + 2,); empty where
        there are two states or too few blocks.
    by_blocks
        Whether p values come from permutations of blocks; else from counting alone.
    block_pixels, correlation_length
        Pixels of a block, and distance in pixels up to which neighbours are correlated.
    detector
        Gain and read noise.
    """

    loss: FloatArray
    start: float
    windows: tuple[Window, ...]
    states: tuple[State, ...]
    changes: tuple[Change, ...]
    trend_slope: FloatArray
    trend_p: FloatArray
    trend_p_corrected: FloatArray
    by_blocks: bool
    block_pixels: int
    correlation_length: int
    detector: Detector
