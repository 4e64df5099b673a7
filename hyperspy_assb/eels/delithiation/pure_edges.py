"""Core-loss edges of pure pixels, and how they look in other pixels.

Edges are taken from all pure pixels of a phase by one deconvolution, which brings their thicknesses and energy shifts
together, and convolved with the low loss of each pixel: the Fourier-ratio method run forwards (Egerton, Electron
Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed., section 4.3.2). Counts are never resampled: their noise
stays that of counting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyperspy_assb.eels.delithiation.core_loss_edges import EdgeRange
from hyperspy_assb.eels.delithiation.end_members import end_members
from hyperspy_assb.eels.delithiation.standard import VACUUM
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.noise_claim import Noise
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode

FEWEST_PURE = 4
"""Pure pixels of a phase."""
_HOST_DOUBT = 0.05
"""Relative uncertainty of the formula units per t/λ of one end member against the other: continua count atoms, but
their background is extrapolated and their shapes are not quite alike."""
_PASSED = 1e-2
"""Share of a frequency that the low loss passes, below which it is not deconvolved."""
_CERTAIN = 5.0
"""Standard errors of an edge that a phase of unknown composition must show to be taken for part of it."""
_BEYOND = 20.0
"""eV above a range that are deconvolved with it, where they were recorded: its end is not cut off then."""
_RISE = 2.0
"""eV before the fine structure in which an edge may begin."""
_SMOOTHED = 8
"""Channels on either side that are averaged for the first guess of a background."""


@dataclass(frozen=True)
class DualSpectra:
    """Core-loss spectra and the low loss of the same pixels.

    Parameters
    ----------
    counts
        Core loss of S pixels, shape (S, E); NumPy or dask.
    energy
        Its channels in eV, shape (E,).
    low_loss
        Shape (S, L), or (1, L) of all pixels alike, on channels of the same width, with 0 eV among them.
    low_energy
        Shape (L,).
    detector
        Gain and read noise as they were recorded; None where nobody did.
    """

    counts: Any
    energy: FloatArray
    low_loss: Any
    low_energy: FloatArray
    detector: Detector | None = None

    @property
    def width(self) -> float:
        """Of a channel in eV."""
        return float(self.energy[-1] - self.energy[0]) / (self.energy.size - 1)

    def low_losses(self, rows: slice | NDArray[np.intp]) -> FloatArray:
        """Of some pixels, shape (P, L) or (1, L); NaN is 0."""
        return np.nan_to_num(np.asarray(self.low_loss if len(self.low_loss) == 1 else self.low_loss[rows], dtype=float))

    def responses(self, low_loss: FloatArray, size: int) -> NDArray[np.complex128]:
        """Fourier transforms of low-loss spectra with 0 eV in the first of ``size`` channels, shape (P, F)."""
        zero = int(np.argmin(np.abs(self.low_energy)))
        padded = np.zeros((len(low_loss), size))
        padded[:, : self.low_energy.size - zero] = low_loss[:, zero:]
        if zero:
            padded[:, -zero:] = low_loss[:, :zero]
        return np.asarray(fft.rfft(padded))

    def length(self, window: int) -> int:
        """Channels in which so many can be convolved with a low loss."""
        return int(fft.next_fast_len(window + self.low_energy.size, real=True))


@dataclass(frozen=True)
class PureEdges:
    """The edges of the phases in one range.

    Parameters
    ----------
    energy
        Of the channels in eV, shape (C,).
    phases
        Those with an edge here, end members first.
    counts
        Counts above the background for one t/λ, with the response of pure pixels, shape (P, C).
    variance
        Of these, shape (P, C).
    hosts
        Formula units of the end members per t/λ, relative to their mean, shape (2,).
    hosts_doubt
        Relative standard uncertainty of their ratio.
    exponent
        Of the power law of the background.
    misfit
        Share of the counts of the edges, in a wide bin, by which pure pixels differ beyond counting.
    scatter
        Variance of the fraction among pure pixels beyond counting, of the lithiated and the delithiated end member.
    """

    energy: FloatArray
    phases: tuple[str, ...]
    counts: FloatArray
    variance: FloatArray
    hosts: FloatArray
    hosts_doubt: float
    exponent: float
    misfit: float = 0.0
    scatter: FloatArray = field(default_factory=lambda: np.zeros(2))


@dataclass(frozen=True)
class EdgeModel:
    """One range of edges, and what is needed to fit them.

    Parameters
    ----------
    spectra, range, noise
        Where they are, and the noise of the core loss.
    pure
        The edges.
    window
        Channels of the energy axis that were deconvolved.
    transforms
        Fourier transforms of the single core scattering of each phase for one t/λ, shape (P, F).
    passed
        Share of the variance of the edges that the deconvolution leaves, shape (P,).
    """

    spectra: DualSpectra
    range: EdgeRange
    noise: Noise
    pure: PureEdges
    window: slice
    transforms: NDArray[np.complex128]
    passed: FloatArray

    def edges_with(self, responses: NDArray[np.complex128]) -> FloatArray:
        """The edges as they are with some low losses, shape (S, P, C)."""
        size = self.spectra.length(self.window.stop - self.window.start)
        edges = fft.irfft(self.transforms * responses[:, np.newaxis], size)
        return np.asarray(edges[..., : self.pure.energy.size])


def learn_edges(
    spectra: DualSpectra,
    ranges: Sequence[EdgeRange],
    masks: Mapping[str, NDArray[np.bool_]],
    electrode: Electrode,
    thickness: FloatArray,
    noise: Noise,
) -> list[EdgeModel]:
    """Take the edges of all ranges from pure pixels.

    Parameters
    ----------
    spectra
        Core loss and low loss.
    ranges
        Of the edges.
    masks
        Pure pixels of each phase, shape (S,).
    electrode
        Whose end members are among the phases.
    thickness
        t/λ of all pixels, shape (S,).
    noise
        Of the core loss.

    Raises
    ------
    AssbValueError
        If a phase has too few pure pixels, or an end member shows no edge.
    """
    models = [_learn(spectra, found, masks, electrode, thickness, noise) for found in ranges]
    # Formula units per t/λ are a property of the phases, which all ranges count.
    logs = np.array([np.log(model.pure.hosts[1] / model.pure.hosts[0]) for model in models])
    weight = np.array([model.pure.hosts_doubt**-2 for model in models])
    ratio = np.exp(np.sum(weight * logs) / weight.sum())
    hosts, doubt = np.array([1.0, ratio]) * 2.0 / (1.0 + ratio), float(np.hypot(_HOST_DOUBT, weight.sum() ** -0.5))
    return [replace(model, pure=replace(model.pure, hosts=hosts, hosts_doubt=doubt)) for model in models]


def _learn(
    spectra: DualSpectra,
    found: EdgeRange,
    masks: Mapping[str, NDArray[np.bool_]],
    electrode: Electrode,
    thickness: FloatArray,
    noise: Noise,
) -> EdgeModel:
    beyond = round(_BEYOND / spectra.width)
    window = slice(found.channels.start, min(found.channels.stop + beyond, spectra.energy.size))
    inside = slice(0, found.channels.stop - found.channels.start)
    energy = spectra.energy[window]
    members = end_members(electrode)
    edges = {}
    for phase in (*members, *(name for name in masks if name not in members)):
        if phase not in members and found.holds(phase) is False:
            continue
        edge = _edge_of(spectra, found, window, phase, np.flatnonzero(masks[phase]), thickness, noise)
        if phase in members or found.holds(phase) or edge.height > _CERTAIN * edge.height_std:
            edges[phase] = edge
    of_members = [edges[name] for name in members]
    pure = PureEdges(
        energy=energy[inside],
        phases=tuple(edges),
        counts=np.zeros(0),
        variance=np.array([edge.variance[inside] for edge in edges.values()]),
        hosts=np.ones(2),
        hosts_doubt=float(np.sqrt(sum((edge.height_std / edge.height) ** 2 for edge in of_members))),
        exponent=float(np.mean([edge.exponent for edge in of_members])),
    )
    transforms = np.array([edge.transform for edge in edges.values()])
    passed = np.array([edge.passed for edge in edges.values()])
    model = EdgeModel(spectra, found, noise, pure, window, transforms, passed)
    rows = np.flatnonzero(masks[electrode.lithiated])
    common = spectra.responses(spectra.low_losses(rows), spectra.length(energy.size)).mean(axis=0, keepdims=True)
    counts = model.edges_with(common)[0]
    hosts = counts[:2, pure.energy > found.counted_from].sum(axis=1)
    for name, sum_of in zip(members, hosts, strict=True):
        if not sum_of > 0:
            raise AssbValueError(f"references[{name!r}]: its spectra show no {found.name} edge above their background.")
    return replace(model, pure=replace(pure, counts=counts, hosts=hosts))


@dataclass(frozen=True)
class _Edge:
    """The edge of one phase: its transform, the variance of its counts, and its sum where atoms are counted."""

    transform: NDArray[np.complex128]
    passed: float
    variance: FloatArray
    exponent: float
    height: float
    height_std: float


def _edge_of(
    spectra: DualSpectra,
    found: EdgeRange,
    window: slice,
    phase: str,
    rows: NDArray[np.intp],
    thickness: FloatArray,
    noise: Noise,
) -> _Edge:
    energy, detector = spectra.energy[window], noise.broad
    counts = np.asarray(spectra.counts[rows], dtype=float)[:, window]
    good = np.isfinite(counts).all(axis=1) & (counts.sum(axis=1) > 0) & (thickness[rows] > VACUUM)
    if good.sum() < FEWEST_PURE:
        raise AssbValueError(
            f"references[{phase!r}] has {int(good.sum())} spectra with counts, and t/λ above {VACUUM:g} in the low "
            f"loss: {FEWEST_PURE} or more are needed."
        )
    rows, counts = rows[good], counts[good]
    total, of_all = thickness[rows].sum(), counts.sum(axis=0)
    background = _background(energy, of_all, found.below, detector.gain)
    variance = (detector.gain * np.maximum(of_all, 0.0) + len(rows) * detector.read_noise**2) / total**2
    counted = (energy > found.counted_from) & (energy <= spectra.energy[found.channels.stop - 1])
    height_variance = background.variance_of_sum(energy, counted) / total**2 + variance[counted].sum()
    before = counts[:, energy < found.below].sum(axis=1, keepdims=True)
    above = np.where(energy < found.below - _RISE, 0.0, counts - background.counts * before / before.sum())
    size = spectra.length(energy.size)
    responses = spectra.responses(spectra.low_losses(rows), size) * thickness[rows, np.newaxis]
    power = np.sum(np.abs(responses) ** 2, axis=0)
    floor = _PASSED**2 * power[0]
    return _Edge(
        transform=np.sum(np.conj(responses) * fft.rfft(above, size), axis=0) / (power + floor) * (1.0 + _PASSED**2),
        passed=float(np.mean((power / (power + floor)) ** 2)),
        variance=variance,
        exponent=background.exponent,
        height=float(np.sum((of_all - background.counts)[counted]) / total),
        height_std=float(np.sqrt(height_variance)),
    )


@dataclass(frozen=True)
class _Background:
    """A power law: its counts, its exponent, and the covariance of the logarithms of height and energy."""

    counts: FloatArray
    exponent: float
    covariance: FloatArray

    def variance_of_sum(self, energy: FloatArray, channels: NDArray[np.bool_]) -> float:
        """From counting, of the sum over some channels."""
        gradient = self.counts[channels] @ np.stack([np.ones(int(channels.sum())), np.log(energy[channels])], axis=1)
        return float(gradient @ self.covariance @ gradient)


def _background(energy: FloatArray, counts: FloatArray, below: float, gain: float) -> _Background:
    """Power law through the channels before the edges."""
    own = energy < below
    if not (counts[own].sum() > 0):
        raise AssbValueError(f"There are no counts below {below:g} eV, where the background of the edges is measured.")
    design = np.stack([np.ones(int(own.sum())), np.log(energy[own])], axis=1)
    fitted = np.log(np.maximum(running_mean(counts[np.newaxis, own], _SMOOTHED)[0], 1e-9))
    for _ in range(5):  # towards the weights and the mean of counting
        expected = np.exp(fitted)
        value = fitted + (counts[own] - expected) / expected
        line = np.linalg.solve(design.T @ (design * expected[:, np.newaxis]), design.T @ (expected * value))
        fitted = np.clip(design @ line, -50.0, 50.0)
    covariance = gain * np.linalg.inv(design.T @ (design * np.exp(fitted)[:, np.newaxis]))
    return _Background(np.exp(line[0]) * energy ** line[1], float(-line[1]), covariance)


def running_mean(counts: FloatArray, half: int) -> FloatArray:
    """Mean over 2 half + 1 channels of spectra, shape (S, E), over fewer at their ends."""
    running = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)
    place = np.arange(counts.shape[1])
    low, high = np.maximum(place - half, 0), np.minimum(place + half + 1, counts.shape[1])
    return np.asarray((running[:, high] - running[:, low]) / (high - low))
