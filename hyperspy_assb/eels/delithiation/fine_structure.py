"""Lithiated fraction from the fine structure of core-loss edges, by mixture of the edges of pure pixels.

A core-loss spectrum is a background and the edges of the phases in the column, each convolved with the low loss of the
pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb.eels.delithiation.core_loss_edges import EdgeRange, edge_ranges
from hyperspy_assb.eels.delithiation.end_members import end_members
from hyperspy_assb.eels.delithiation.lithiated_fraction import (
    THICK,
    DelithiationStatus,
    Estimate,
    LithiatedFraction,
    content,
)
from hyperspy_assb.eels.delithiation.pure_edges import DualSpectra, EdgeModel, PureEdges, learn_edges, running_mean
from hyperspy_assb.eels.delithiation.quantification import DISAGREEMENT, UNCERTAIN
from hyperspy_assb.eels.delithiation.standard import DETECTED, VACUUM
from hyperspy_assb.eels.zero_loss.position import find_centre
from hyperspy_assb.eels.zero_loss.starting_values import start_zero_loss
from hyperspy_assb.fitting.solver.noise_claim import Noise, judge_noise
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode

COMBINED = "combined"
UNEXPLAINED = 1e-3
"""p value below which a pixel is no mixture of the references."""
_EIGENVALUE_ERRORS = 5.0
"""Of the largest eigenvalue of noise, beyond which the map holds something else: 1 of about 10,000 maps of noise."""
_SOME = 1.0
"""Standard errors of what the map holds beside the references, above which a pixel is not explained by them."""
_MOST_CORRECTED = 0.5
"""Share of the information of an edge that may be noise of the references."""
_LEAST = 0.05
"""Of the mean counts of a pixel, which the expectation of a channel does not go below."""
_START = 4.0
"""eV on either side that are averaged for the first weights."""
_ROUNDS = 3
"""Of weights by the fit before."""
_MEDIAN_SQUARE, _MEDIAN_ERROR = 0.455, 2.34
"""Median of the square of a standard normal variable, and the standard error of that of one, in variances."""
_MISFITS = (0.0, *np.geomspace(1e-3, 0.1, 15))
"""That are tried."""
_NOISE_SPECTRA = 256
"""Spectra by which noise is judged."""
_SPECTRA, _LOW_LOSSES = 128, 4096
"""That are worked on at a time."""
_USABLE = (DelithiationStatus.QUANTIFIED, DelithiationStatus.THICK, DelithiationStatus.UNCERTAIN)
_ANSWERED = (*_USABLE, DelithiationStatus.UNEXPLAINED, DelithiationStatus.NOT_COUNTS)


@dataclass(frozen=True)
class FineStructureFit:
    """What is found in S pixels.

    Parameters
    ----------
    contents
        Lithiated fraction by each range of edges, and "combined".
    t_over_lambda
        From the low loss, shape (S,).
    agreement
        p value of the hypothesis that the ranges differ by their errors only, shape (S,); NaN of a single one.
    explained
        By the name of each range, p value of the hypothesis that the spectrum is a mixture of the references, shape
        (S,).
    edges
        By the name of each range, the edges of the phases.
    noise
        What the errors are made from.
    unnamed
        Names of the ranges in which the map holds something that is no mixture of the references.
    """

    contents: dict[str, LithiatedFraction]
    t_over_lambda: FloatArray
    agreement: FloatArray
    explained: dict[str, FloatArray]
    edges: dict[str, PureEdges]
    noise: Noise
    unnamed: tuple[str, ...] = ()


def quantify_fine_structure(
    spectra: DualSpectra,
    masks: Mapping[str, NDArray[np.bool_]],
    electrode: Electrode,
    *,
    progress: Callable[[int], object] | None = None,
) -> FineStructureFit:
    """Lithiated fraction of every pixel from the fine structure of each edge, and from all together.

    Parameters
    ----------
    spectra
        Core loss and low loss.
    masks
        Pure pixels of each phase, shape (S,); both end members of the electrode are among them.
    electrode
        The electrode.
    progress
        Called with the number of pixels done since the last call.

    Returns
    -------
    FineStructureFit
        Pixels without counts, or whose low loss has no zero-loss peak, are not fitted.

    Raises
    ------
    AssbValueError
        If no edge of the electrode is in range, or a phase has too few pure pixels or no edge.
    """
    ranges = edge_ranges(spectra.energy, electrode)
    thickness = _thickness(spectra)
    noise = _noise(spectra, ranges)
    models = learn_edges(spectra, ranges, masks, electrode, thickness, noise)
    parts: list[list[_Pixels]] = [[] for _ in models]
    for start in range(0, len(spectra.counts), _SPECTRA):
        rows = slice(start, min(start + _SPECTRA, len(spectra.counts)))
        for model, some in zip(models, parts, strict=True):
            some.append(_fit(model, rows))
        if progress is not None:
            progress(rows.stop - rows.start)
    results = []
    for model, some in zip(models, parts, strict=True):
        found = _Pixels.join(some)
        results.append(_judge_range(_with_pure_pixels(model, found, masks, electrode), found, masks, thickness))
    return _combined(results, thickness, noise)


def _thickness(spectra: DualSpectra) -> FloatArray:
    """t/λ of all pixels, shape (S,); NaN without a zero-loss peak."""
    parts = []
    for start in range(0, len(spectra.low_loss), _LOW_LOSSES):
        low = spectra.low_losses(slice(start, start + _LOW_LOSSES))
        centre = np.ravel(find_centre(low, spectra.low_energy).centre)
        parts.append(start_zero_loss(low, spectra.low_energy, centre).t_over_lambda)
    return np.broadcast_to(np.concatenate(parts), (len(spectra.counts),))


def _noise(spectra: DualSpectra, ranges: tuple[EdgeRange, ...]) -> Noise:
    """Noise of the core loss, by the channels before the edges, which are smooth."""
    count = len(spectra.counts)
    some = np.unique(np.linspace(0, count - 1, min(count, _NOISE_SPECTRA)).astype(int))
    counts = np.asarray(spectra.counts[some], dtype=float)
    counts = counts[np.isfinite(counts).all(axis=1) & np.any(counts, axis=1)]
    segments = tuple(slice(found.channels.start, int(np.searchsorted(spectra.energy, found.below))) for found in ranges)
    return judge_noise(counts, spectra.detector, segments=segments)


@dataclass(frozen=True)
class _Pixels:
    """Fits of a range in S pixels: edges of P phases in t/λ, and what is left in B wide bins."""

    amounts: FloatArray
    """Shape (S, P); NaN where there is no spectrum."""
    covariance: FloatArray
    """From counting, shape (S, P, P)."""
    shared: FloatArray
    """From the noise of the references, shape (S, P, P)."""
    residual: FloatArray
    """Shape (S, B)."""
    variance: FloatArray
    """Of the residual, shape (S, B)."""
    design: FloatArray
    """Background and edges, shape (S, B, P + 2)."""

    @classmethod
    def join(cls, parts: list[_Pixels]) -> _Pixels:
        """Those of several blocks, one after the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def take(self, rows: NDArray[np.bool_]) -> _Pixels:
        """Some of them."""
        return _Pixels(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Where there is a fit, shape (S,)."""
        return np.asarray(np.isfinite(self.amounts).all(axis=1))

    @property
    def freedom(self) -> int:
        """Wide bins less what is fitted to them."""
        return self.design.shape[1] - self.design.shape[2]

    def left(self, misfit: float) -> FloatArray:
        """Residuals over their errors, what background and edges could explain taken out, shape (S, B).

        The misfit is the share of the counts of the edges that counts as error.
        """
        edges = np.einsum("sbp,sp->sb", self.design[:, :, 2:], np.nan_to_num(self.amounts))
        weight = 1.0 / np.maximum(self.variance + (misfit * edges) ** 2, 1e-300)
        weighted = self.design * weight[:, :, np.newaxis]
        information = weighted.transpose(0, 2, 1) @ self.design
        right = np.einsum("sbp,sb->sp", weighted, self.residual)
        solution = np.einsum("spq,sq->sp", np.linalg.pinv(information, hermitian=True), right)
        return np.asarray(np.sqrt(weight) * (self.residual - np.einsum("sbp,sp->sb", self.design, solution)))

    def explained(self, misfit: float) -> FloatArray:
        """p value of the hypothesis that pixels are mixtures, shape (S,)."""
        return np.asarray(stats.chi2.sf(np.sum(self.left(misfit) ** 2, axis=1), self.freedom))


def _fit(model: EdgeModel, rows: slice) -> _Pixels:
    """Fit background and edges to some pixels."""
    spectra, pure = model.spectra, model.pure
    counts = np.asarray(spectra.counts[rows, model.range.channels], dtype=float)
    known = np.isfinite(counts).all(axis=1)
    counts = np.where(known[:, np.newaxis], counts, 0.0)
    known &= counts.sum(axis=1) > 0
    responses = spectra.responses(spectra.low_losses(rows), spectra.length(model.window.stop - model.window.start))
    edges = np.broadcast_to(model.edges_with(responses), (len(counts), *pure.counts.shape))
    place = pure.energy / pure.energy.mean()
    power = place**-pure.exponent
    background = np.broadcast_to([power, power * np.log(place)], (len(counts), 2, power.size))
    design = np.concatenate([background, edges], axis=1)
    least = _LEAST * np.abs(counts.mean(axis=1, keepdims=True)) + 1e-9
    expected = np.maximum(running_mean(counts, max(1, round(_START / spectra.width))), least)
    detector = model.noise.broad
    for _ in range(_ROUNDS):
        weight = 1.0 / (detector.gain * expected + detector.read_noise**2)
        weighted = design * weight[:, np.newaxis]
        information = weighted @ design.transpose(0, 2, 1)
        # The noise of the references adds to the squares of their edges, which would draw amounts together.
        noise = weight @ (pure.variance * model.passed[:, np.newaxis]).T
        diagonal = np.einsum("spp->sp", information)  # a view
        diagonal[:, 2:] -= np.minimum(noise, _MOST_CORRECTED * diagonal[:, 2:])
        scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        outer = scale[:, :, np.newaxis] * scale[:, np.newaxis]
        inverse = np.linalg.pinv(information / outer, rcond=1e-12, hermitian=True) / outer
        solution = np.einsum("spq,sq->sp", inverse, np.einsum("spc,sc->sp", weighted, counts))
        fitted = np.einsum("sp,spc->sc", solution, design)
        expected = np.maximum(fitted, least)
    amounts = np.where(known[:, np.newaxis], solution[:, 2:], np.nan)
    gain = (inverse @ weighted)[:, 2:]
    reference = np.einsum("sp,pc->sc", solution[:, 2:] ** 2, pure.variance)
    first = model.range.coarse(spectra.energy)
    return _Pixels(
        amounts=amounts,
        covariance=inverse[:, 2:, 2:],
        shared=np.einsum("spc,sc,sqc->spq", gain, reference, gain),
        residual=np.add.reduceat(counts - fitted, first, axis=1),
        variance=np.add.reduceat(1.0 / weight + reference, first, axis=1),
        design=np.add.reduceat(design, first, axis=2).transpose(0, 2, 1),
    )


def _with_pure_pixels(
    model: EdgeModel, found: _Pixels, masks: Mapping[str, NDArray[np.bool_]], electrode: Electrode
) -> EdgeModel:
    """The model with what pure pixels differ by beyond counting: from a mixture, and in the fraction."""
    pure = found.take(found.fitted & np.any([masks[phase] for phase in model.pure.phases], axis=0))
    # Half of the pure pixels lie below the median of what counting gives.
    enough = 0.5 - 1.0 / np.sqrt(len(pure.amounts))
    misfit = next((m for m in _MISFITS if np.median(pure.explained(float(m))) > enough), _MISFITS[-1])
    scatter = np.zeros(2)
    for k, phase in enumerate(end_members(electrode)):
        own = found.take(masks[phase] & found.fitted)
        hosts = _Hosts.of(model, own)
        variance = np.median(hosts.variance(hosts.fraction, own.covariance))
        excess = np.median((hosts.fraction - (1.0 - k)) ** 2) / _MEDIAN_SQUARE - variance
        certain = excess > 2.0 * _MEDIAN_ERROR * variance / np.sqrt(len(own.amounts))
        scatter[k] = float(excess) if certain else 0.0
    return replace(model, pure=replace(model.pure, misfit=float(misfit), scatter=scatter))


@dataclass(frozen=True)
class _Hosts:
    """Formula units of the two end members in S pixels."""

    per_thickness: FloatArray
    amounts: FloatArray

    @classmethod
    def of(cls, model: EdgeModel, found: _Pixels) -> _Hosts:
        return cls(model.pure.hosts, found.amounts[:, :2] * model.pure.hosts)

    @property
    def total(self) -> FloatArray:
        return np.asarray(self.amounts.sum(axis=1))

    @property
    def fraction(self) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.amounts[:, 0] / self.total

    def variance(self, fraction: FloatArray, covariance: FloatArray) -> FloatArray:
        """Of the fraction where it is this one, by the covariance of amounts in t/λ, shape (S, P, P)."""
        f = np.clip(fraction, 0.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            gradient = np.stack([1.0 - f, -f], axis=1) * self.per_thickness / self.total[:, np.newaxis]
        return np.asarray(np.einsum("sp,spq,sq->s", gradient, covariance[:, :2, :2], gradient))

    def significance(self, covariance: FloatArray) -> FloatArray:
        """All formula units over their standard error from counting."""
        units = self.per_thickness
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.total / np.sqrt(np.einsum("p,spq,q->s", units, covariance[:, :2, :2], units))


@dataclass(frozen=True)
class _Judged:
    """What one range says of S pixels."""

    model: EdgeModel
    estimate: Estimate
    share: FloatArray
    status: NDArray[np.int8]
    explained: FloatArray
    holds_unnamed: bool


def _judge_range(
    model: EdgeModel, found: _Pixels, masks: Mapping[str, NDArray[np.bool_]], thickness: FloatArray
) -> _Judged:
    """The fraction, its errors and its status from one range."""
    hosts, pure = _Hosts.of(model, found), model.pure
    fraction = hosts.fraction
    f = np.clip(fraction, 0.0, 1.0)
    systematic = hosts.variance(fraction, found.shared) + (f * (1.0 - f) * pure.hosts_doubt) ** 2
    null = hosts.variance(np.ones_like(f), found.covariance + found.shared)
    estimate = Estimate(
        fraction=fraction,
        variance=hosts.variance(fraction, found.covariance),
        systematic=systematic + f * pure.scatter[0] + (1.0 - f) * pure.scatter[1],
        null_variance=null + pure.scatter[0],
    )
    explained = found.explained(pure.misfit)
    unlike = explained < UNEXPLAINED
    along = _along_unnamed(found, pure, np.any([masks[phase] for phase in pure.phases], axis=0))
    if along is not None:
        unlike |= along > _SOME
    status = np.zeros(len(f), dtype=np.int8)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = found.amounts[:, :2].sum(axis=1) / thickness
        status[thickness > THICK] = DelithiationStatus.THICK
        status[estimate.error > UNCERTAIN] = DelithiationStatus.UNCERTAIN
        if not model.noise.is_counting:
            status[:] = DelithiationStatus.NOT_COUNTS
        status[unlike] = DelithiationStatus.UNEXPLAINED
        status[~(hosts.significance(found.covariance) >= DETECTED) | (thickness <= VACUUM)] = (
            DelithiationStatus.NO_ELECTRODE
        )
    status[~np.isfinite(fraction) | ~np.isfinite(thickness)] = DelithiationStatus.NOT_FITTED
    return _Judged(model, estimate, share, status, explained, along is not None)


def _along_unnamed(found: _Pixels, edges: PureEdges, pure: NDArray[np.bool_]) -> FloatArray | None:
    """How far pixels lie, in standard errors, along what the map holds beside the references, shape (S,).

    None where the largest eigenvalue of the residuals is one that noise, or what pure pixels differ by, has:
    Johnstone, Ann. Stat. 29, 295 (2001), doi 10.1214/aos/1009210544.
    """
    left, fitted = found.left(edges.misfit), found.fitted
    known = left[fitted]
    if len(known) < 2:
        return None
    values, vectors = np.linalg.eigh(known.T @ known / len(known))
    along = left @ vectors[:, -1]
    own = max(1.0, float(np.mean(along[fitted & pure] ** 2)))
    roots = np.sqrt([len(known) - 1, found.freedom])
    spread = roots.sum() * np.sum(1.0 / roots) ** (1.0 / 3.0)
    if values[-1] / own * len(known) < roots.sum() ** 2 + _EIGENVALUE_ERRORS * spread:
        return None
    return np.asarray(along * np.sign(np.sum(along[fitted] ** 3)) / np.sqrt(own))


def _combined(results: list[_Judged], thickness: FloatArray, noise: Noise) -> FineStructureFit:
    """The ranges, and their mean by inverse variance where they explain a pixel.

    Where none does, all answer as far as they can, and the pixel keeps their status.
    """
    statuses = np.array([one.status for one in results])
    fraction = np.array([one.estimate.fraction for one in results])
    error = np.array([one.estimate.error for one in results])
    usable, answered = (np.isin(statuses, some) & np.isfinite(error) for some in (_USABLE, _ANSWERED))
    taken = np.where(usable.any(axis=0), usable, answered)
    some = taken.any(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(taken, error**-2, 0.0)
        weight /= weight.sum(axis=0)

        def mean(values: FloatArray, power: int = 1) -> FloatArray:
            return np.where(some, np.sum(np.where(taken, weight**power * values, 0.0), axis=0), np.nan)

        whole = mean(fraction)
        chi_squared = np.sum(np.where(taken, ((fraction - whole) / error) ** 2, 0.0), axis=0)
    more = taken.sum(axis=0) - 1
    agreement = np.where(more > 0, stats.chi2.sf(chi_squared, np.maximum(more, 1)), np.nan)
    combined = Estimate(
        fraction=whole,
        variance=mean(np.array([one.estimate.variance for one in results]), 2),
        systematic=mean(np.array([one.estimate.systematic for one in results]), 2),
        null_variance=mean(np.array([one.estimate.null_variance for one in results]), 2),
    )
    worst = statuses.max(axis=0)
    status = np.where(some, np.min(np.where(taken, statuses, 99), axis=0), worst).astype(np.int8)
    status[usable.any(axis=0) & (agreement < DISAGREEMENT)] = DelithiationStatus.DISAGREES
    names = [one.model.range.name for one in results]
    contents = {
        name: content(one.estimate, name, one.share, one.status) for name, one in zip(names, results, strict=True)
    }
    share = np.where(some, mean(np.array([one.share for one in results])), results[0].share)
    contents[COMBINED] = content(combined, COMBINED, share, status)
    return FineStructureFit(
        contents=contents,
        t_over_lambda=thickness,
        agreement=agreement,
        explained=dict(zip(names, (one.explained for one in results), strict=True)),
        edges=dict(zip(names, (one.model.pure for one in results), strict=True)),
        noise=noise,
        unnamed=tuple(name for name, one in zip(names, results, strict=True) if one.holds_unnamed),
    )
