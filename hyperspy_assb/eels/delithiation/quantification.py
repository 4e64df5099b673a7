"""Lithiated fraction of many pixels by several estimators, from a standard; and their combination.

Every spectrum is first fitted as a column of the phases of the standard, which uses every channel: the estimate
"references". One step of maximum likelihood from there, with the linear parameters of the joint fit free instead of the
amounts of the phases, gives these parameters, on which "valence" and "lithium" stand: they trust one signature each,
and nothing else of the spectra of the end members; where the electrode has it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.eels.delithiation.end_members import SIGNATURES, end_members, methods_of
from hyperspy_assb.eels.delithiation.lithiated_fraction import (
    THICK,
    DelithiationStatus,
    Estimate,
    LithiatedFraction,
    combine,
    content,
    estimate_from_features,
    widened,
)
from hyperspy_assb.eels.delithiation.pixels import MOST_DILUTION, Pixels
from hyperspy_assb.eels.delithiation.standard import DETECTED, LEAST_ELECTRODE, VACUUM, Standard
from hyperspy_assb.eels.delithiation.unexplained import freedom, measure_misfit
from hyperspy_assb.eels.delithiation.unnamed_phases import Unnamed, find_unnamed, see_through
from hyperspy_assb.eels.low_loss_map import LowLossMap, blocks_of
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

UNCERTAIN = 0.25
"""Standard error of the fraction above which a pixel is flagged: the end members are then less than four of them
apart."""
DISAGREEMENT = 1e-3
"""p value of the agreement of the estimates below which a pixel is flagged."""
NOT_PURE, NOT_ONE_PHASE = 0.1, 0.3
"""Scatter of the fraction among pure pixels, beyond counting, from which a user is warned, and that no phase has."""
SCATTER_NODES = 8
"""Thicknesses at which the scatter of pure pixels is told."""
SIGNIFICANT = 3.0
"""Standard errors above which a change counts: eight are looked at."""
FEWEST, MOST_TRIED, MOST_CHOICES = 10, 1024, 400
"""Pixels that are needed, that are looked at, and those of them that hold the electrode and are fitted again."""
MUCH_ELECTRODE = 0.3
"""Share of the electrode in t/lambda of the pixels that are looked at."""
NOISY = 0.1
"""Share of the information of the rest of a spectrum that noise of the references may imitate; beyond, a change of the
fraction tells of this noise."""
_HUBER = 1.345
"""Standard deviations from which a value weighs less: 95 % of the efficiency of least squares for normal errors."""
_BLOCK = 512
"""Spectra that a thread takes at a time."""


@dataclass(frozen=True)
class Quantification:
    """What is found in S pixels.

    Parameters
    ----------
    contents
        The fraction by each method that the electrode allows.
    amounts, amounts_std
        t/lambda of each phase and its standard error from counting, and from what was not named, shape (S, R); 0 and
        NaN in vacuum.
    t_over_lambda
        Their sum, with what was not named, shape (S,).
    reduced_deviance
        Of the fit as a column of the phases, shape (S,).
    agreement
        p value of the hypothesis that the estimates differ by their errors only, shape (S,); NaN of a single one.
    residual
        What the linear parameters of the joint fit have beyond a column of the phases, shape (S, K); NaN where there is
        no electrode.
    struck
        Whether channels were filled that X-rays or defects of the camera had struck, shape (S,).
    explained
        p value of the hypothesis that the phases, and what the map was found to hold beside them, explain the spectrum,
        shape (S,); NaN where there is no electrode.
    outside
        Which of ``pixels.CONDITIONS`` lie outside the range of the references, shape (S, C).
    choices
        What leaving out a part of the spectra changes; see ``measure_choices``.
    unnamed
        What the map holds beside the phases; None where it was not looked for.
    """

    contents: dict[str, LithiatedFraction]
    amounts: FloatArray
    amounts_std: FloatArray
    t_over_lambda: FloatArray
    reduced_deviance: FloatArray
    agreement: FloatArray
    residual: FloatArray
    struck: NDArray[np.bool_]
    explained: FloatArray
    outside: NDArray[np.bool_]
    choices: dict[str, FloatArray] = field(default_factory=dict)
    unnamed: Unnamed | None = None

    @property
    def unnamed_thickness(self) -> FloatArray:
        """t/lambda of what was not named, shape (S,): that which is of no phase."""
        left = self.t_over_lambda - self.amounts.sum(axis=1)
        return left if self.unnamed else np.where(np.isfinite(left), 0.0, np.nan)

    @classmethod
    def join(cls, parts: Sequence[Quantification]) -> Quantification:
        """Those of several blocks, one after the other."""
        contents = {
            method: LithiatedFraction(
                **{
                    f.name: np.concatenate([getattr(part.contents[method], f.name) for part in parts])
                    for f in fields(LithiatedFraction)
                }
            )
            for method in parts[0].contents
        }
        arrays: dict[str, Any] = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(cls)
            if f.name not in ("contents", "choices", "unnamed")
        }
        return cls(contents=contents, **arrays)


def quantify(
    standard: Standard,
    counts: ArrayLike,
    energy: FloatArray,
    *,
    detector: Detector | None = None,
    minimum_electrode: float = LEAST_ELECTRODE,
    ensemble: bool = True,
    workers: int = 2,
    progress: Callable[[int], object] | None = None,
) -> Quantification:
    """Lithiated fraction of every pixel by every method that the electrode allows.

    Parameters
    ----------
    standard
        What is known of the phases.
    counts
        As recorded, shape (S, E); anything that gives NumPy arrays for slices of it, such as a dask array.
    energy
        Centres of the channels in eV, shape (E,).
    detector
        Gain and read noise.
    minimum_electrode
        Share of the electrode in t/lambda below which a pixel gets no x.
    ensemble
        Whether some of the pixels are looked at first: for what no phase explains, and without one part of the
        spectrum after the other; what this changes counts as systematic.
    workers
        Threads.
    progress
        Called with the number of pixels done since the last call.

    Returns
    -------
    quantification
        Pixels that are not finite, or hold no counts, are not fitted and say so in their status.

    Raises
    ------
    ValueError
        If the energy axis is not that of the standard.
    """
    energy = np.asarray(energy, dtype=float)
    _check_axis(standard, energy)
    detector = detector or Detector()
    choices: dict[str, FloatArray] = {}
    unnamed = None
    if ensemble:
        some = np.unique(np.linspace(0, len(counts) - 1, min(len(counts), MOST_TRIED)).astype(int))  # type: ignore[arg-type]
        looked_at = standard.fill_spikes(np.asarray(counts[some]), detector)[0]  # type: ignore[index]
        sample = Pixels.of(standard, looked_at, energy, detector, workers)
        residuals = sample.features(sample.holds_electrode(minimum_electrode))[1]
        # Surfaces and the zero loss, which thick references do not tell of, are no phase.
        like = replace(residuals, values=np.where(sample.thinner[:, np.newaxis], np.nan, residuals.values))
        unnamed = find_unnamed(standard, like, sample.amounts, sample.amount_covariance)
        guise = see_through(standard, residuals, unnamed)
        choices = measure_choices(sample, guise.unexplained | guise.holds | sample.misfit(residuals))

    def judge(block: NDArray[Any]) -> Quantification:
        filled, struck = standard.fill_spikes(block, detector)
        pixels = Pixels.of(standard, filled, energy, detector, workers=1)
        found = replace(_judge(pixels, minimum_electrode, choices, unnamed), struck=struck)
        if progress is not None:
            progress(len(block))
        return found

    def read() -> Iterator[NDArray[Any]]:
        for _, block in blocks_of(counts):
            for start in range(0, max(len(block), 1), _BLOCK):
                yield np.ascontiguousarray(block[start : start + _BLOCK])

    parts: list[Future[Quantification]] = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for block in read():
                parts.append(pool.submit(judge, block))
                if len(parts) > workers:  # no more is read than is worked on
                    parts[-1 - workers].result()
            return replace(Quantification.join([part.result() for part in parts]), choices=choices, unnamed=unnamed)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def distrust_errors(found: Quantification) -> Quantification:
    """The same with the status of pixels whose errors nothing tells, where they would be quantified."""
    contents = {}
    for method, content_of in found.contents.items():
        status = content_of.status.copy()
        status[np.isin(status, (DelithiationStatus.QUANTIFIED, DelithiationStatus.THICK))] = (
            DelithiationStatus.NOT_COUNTS
        )
        contents[method] = replace(content_of, status=status)
    return replace(found, contents=contents)


def _check_axis(standard: Standard, energy: FloatArray) -> None:
    """Raise ValueError if spectra on this axis cannot be compared with the standard."""
    dispersion = float(energy[-1] - energy[0]) / (energy.size - 1)
    if energy.size != standard.channels or abs(dispersion - standard.dispersion) > 1e-6 * standard.dispersion:
        raise AssbValueError(
            f"The calibration is for {standard.channels} channels of {standard.dispersion:g} eV, but the energy axis "
            f"has {energy.size} of {dispersion:g} eV: both signals need the same energy axis."
        )


def measure_scatter(
    standard: Standard, pure: LowLossMap, masks: Mapping[str, NDArray[np.bool_]], detector: Detector
) -> Standard:
    """The standard with what pure pixels scatter beyond counting: their fraction, and what no phase explains.

    Parameters
    ----------
    standard
        From these spectra.
    pure
        On one navigation axis, in memory.
    masks
        Which of them are of each phase, shape (S,) each.
    detector
        Gain and read noise.
    """
    every = np.any([masks[phase] for phase in standard.spectra.phases], axis=0)
    known = standard.fill_spikes(pure.counts[every], detector)[0]
    pixels = Pixels.of(standard, known, pure.energy, detector, workers=2)
    known = pixels.conditions[~pixels.vacuum]
    standard = replace(standard, conditions=np.array([np.nanmin(known, axis=0), np.nanmax(known, axis=0)]))
    noise_scale, misfit = measure_misfit(pixels.features(~pixels.vacuum)[1], freedom(standard))
    standard = replace(standard, noise_scale=noise_scale, residual_misfit=misfit)
    low, high = standard.spectra.thickness
    nodes = np.linspace(low, high, SCATTER_NODES)
    scatter = np.zeros((2, nodes.size))
    for k, (phase, pure_fraction) in enumerate(zip(end_members(standard.electrode), (1.0, 0.0), strict=True)):
        found = quantify(standard, pure.counts[masks[phase]], pure.energy, detector=detector, ensemble=False)
        whole = found.contents["references"]
        known = np.isfinite(whole.fraction)
        if known.sum() > 2:
            excess = (whole.fraction - pure_fraction)[known] ** 2 - whole.fraction_std[known] ** 2
            far = (nodes[:, np.newaxis] - found.t_over_lambda[known]) / max((high - low) / SCATTER_NODES, 0.05)
            weight = np.exp(-0.5 * far**2) + 1e-9
            scatter[k] = np.maximum(weight @ excess / weight.sum(axis=1), 0.0)
    return replace(standard, scatter=scatter)


def check_purity(standard: Standard) -> None:
    """Raise ValueError if pure pixels scatter as no phase does, warn if more than one phase should."""
    for phase, variance in zip(end_members(standard.electrode), standard.scatter, strict=True):
        scatter = float(np.sqrt(np.mean(variance)))
        if scatter < NOT_PURE:
            continue
        message = f"references[{phase!r}]: x of its spectra scatters by {scatter:.2g} beyond counting. "
        if scatter > NOT_ONE_PHASE:
            raise AssbValueError(
                message + "They are not of one phase: check the mask (y before x) and the energy axis."
            )
        message += "Leave out pixels that are not pure; x_systematic includes this scatter."
        warnings.warn(message, AssbWarning, stacklevel=4)


def _judge(
    pixels: Pixels, minimum_electrode: float, choices: dict[str, FloatArray], unnamed: Unnamed | None
) -> Quantification:
    """Every estimate of some pixels, and what each is worth."""
    thickness = pixels.amounts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        looked_at = thickness > VACUUM if unnamed else pixels.holds_electrode(minimum_electrode)
    features, residuals = pixels.features(looked_at)
    guise = see_through(pixels.standard, residuals, unnamed)
    absent = ~(looked_at & pixels.holds_electrode(minimum_electrode, guise))
    amounts, covariance = pixels.without(guise), pixels.amount_covariance + guise.amounts_covariance
    estimates = {"references": pixels.from_amounts(guise)}
    features = replace(features, values=features.values - guise.parameters)
    methods = methods_of(pixels.standard.electrode)
    lost: dict[str, NDArray[np.bool_]] = {}
    for method in (m for m in SIGNATURES if m in methods):
        try:
            found = estimate_from_features(features, pixels.standard.calibration, method)
            estimates[method] = widened(found.estimate, pixels.extrapolation)
            if len(pixels.standard.spectra.phases) == 2:  # one edge counts the host, and may lie in the noise
                lost[method] = ~(found.host_significance >= DETECTED)
                fraction = np.where(lost[method], np.nan, found.estimate.fraction)
                estimates[method] = replace(estimates[method], fraction=fraction)
        except ValueError:  # the references do not differ in it
            nothing = np.full(len(amounts), np.nan)
            blank = np.zeros(features.values.shape)
            estimates[method] = Estimate(nothing, nothing, nothing, nothing, blank, nothing)
    combined, agreement = combine(estimates, features, guise.parameters_covariance)
    estimates = {method: widened(plain, guise.parameters_covariance) for method, plain in estimates.items()}
    estimates["combined"] = combined
    for method in (
        m for m in ("references", "valence", "combined") if m in methods
    ):  # Li K stands apart from what the windows leave out
        plain = estimates[method]
        estimates[method] = replace(
            plain,
            systematic=plain.systematic + systematic_of(choices, plain.fraction),
            null_variance=plain.null_variance + systematic_of(choices, np.ones_like(plain.fraction)),
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        share = amounts[:, :2].sum(axis=1) / thickness
        status = np.zeros(len(amounts), dtype=np.int8)
        status[thickness > THICK] = DelithiationStatus.THICK
        unexplained = guise.unexplained | pixels.misfit(residuals)
        status[unexplained] = DelithiationStatus.UNEXPLAINED
        outside = pixels.outside
        unlike = unexplained & outside.any(axis=1) & (thickness > VACUUM)
        status[unlike] = DelithiationStatus.OUTSIDE
    thickness = np.where(pixels.vacuum, 0.0, thickness)
    unfit = ~np.isfinite(thickness)
    contents = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.sqrt(pixels.from_amounts().variance)
        fixed = np.nan_to_num(pixels.expected_hosts()[1] / whole, nan=1.0, posinf=np.inf)
    for method in methods:
        own, estimate = status.copy(), estimates[method]
        with np.errstate(invalid="ignore"):
            own[fixed * estimate.error > UNCERTAIN] = DelithiationStatus.UNCERTAIN
            if method in ("references", "combined"):  # beyond, it is drawn towards the middle
                own[pixels.dilution[:, 1] > MOST_DILUTION] = DelithiationStatus.UNCERTAIN
            if method == "combined":
                own[(agreement < DISAGREEMENT) & ~unlike] = DelithiationStatus.DISAGREES
        own[absent & ~unlike] = DelithiationStatus.NO_ELECTRODE  # amounts of what is unlike the references are guesses
        own[unfit | (~absent & ~np.isfinite(estimate.fraction))] = DelithiationStatus.NOT_FITTED
        if method in lost:
            own[lost[method] & ~unfit] = DelithiationStatus.NO_ELECTRODE
        contents[method] = content(estimate, method, np.where(unfit | pixels.vacuum, np.nan, share), own)
    return Quantification(
        contents=contents,
        amounts=np.where(pixels.vacuum[:, np.newaxis], 0.0, amounts),
        amounts_std=np.sqrt(np.einsum("srr->sr", covariance)),
        t_over_lambda=thickness,
        reduced_deviance=pixels.reduced_deviance,
        agreement=agreement,
        residual=residuals.values,
        struck=np.zeros(len(amounts), dtype=bool),
        explained=guise.explained,
        outside=outside,
    )


@dataclass(frozen=True)
class Window:
    """A part of the spectra that is left out, to see what the fraction depends on.

    Parameters
    ----------
    name
        What lies there.
    start, stop
        Its limits in eV; a start of None is where the zero loss ends.
    """

    name: str
    start: float | None
    stop: float

    def mask(self, energy: FloatArray, fwhm: float) -> NDArray[np.bool_]:
        """The channels that are left out, shape (E,)."""
        start = 1.5 * fwhm if self.start is None else self.start
        return (energy > start) & (energy < self.stop)


WINDOWS = (
    Window("tail of the zero loss", None, 3.0),
    Window("5 eV band", 3.0, 8.0),
    Window("all losses up to 15 eV", None, 15.0),
    Window("core losses", 45.0, np.inf),
)
"""What is left out in turn by ``measure_choices``."""


def measure_choices(
    whole: Pixels, unexplained: NDArray[np.bool_], *, windows: Sequence[Window] = WINDOWS
) -> dict[str, FloatArray]:
    """How the fraction by mixture depends on the part of the spectra that it is taken from.

    If the spectra of the phases in a column are those of the standard, every part gives the same.

    Parameters
    ----------
    whole
        Some pixels, fitted by all channels.
    unexplained
        Which of them the phases do not explain, shape (S,); they are looked at only if there is nothing else.
    windows
        What is left out in turn.

    Returns
    -------
    changes
        By the name of each window, the change of the fraction in both end members, from a robust straight line against
        it through the pixels with the electrode, shape (2,); 0 where it is not significant, NaN where too few pixels
        can tell.
    """
    standard, energy = whole.standard, whole.model.energy
    enough = whole.holds_electrode(MUCH_ELECTRODE)
    explained = enough & ~unexplained
    rows = np.flatnonzero(explained if explained.sum() >= FEWEST else enough)[:MOST_CHOICES]
    first, changes = whole.from_amounts(), {}
    x, certain = first.fraction[rows], first.variance[rows]
    shared = float(np.median(whole.reference_noise[rows])) if rows.size else 0.0
    for window in windows:
        changes[window.name] = np.full(2, np.nan)
        if rows.size < FEWEST:
            continue
        left_out = window.mask(energy, standard.zero_loss[2])
        rest = Pixels.of(standard, whole.counts[rows], energy, whole.detector, whole.workers, left_out)
        part = rest.from_amounts()
        # The change has the variance that the window takes away from the estimate (Hausman).
        variance = np.maximum(part.variance - certain, 0.1 * certain)
        good = np.isfinite(part.fraction) & np.isfinite(variance) & (rest.dilution[:, 0] < NOISY)
        good &= variance < 9.0 * np.median(variance[good]) if good.any() else False
        if good.sum() >= FEWEST:
            line, covariance = _robust_line(x[good], (part.fraction - x)[good], variance[good])
            # All pixels share the noise of the references.
            noise = np.diag(covariance) + shared * np.median(variance[good])
            changes[window.name] = np.where(line**2 > SIGNIFICANT**2 * noise, line, 0.0)
    return changes


def _robust_line(x: FloatArray, values: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Height at 1 and at 0 of a line through most of the values, and its covariance by how they scatter.

    Huber's estimate: Ann. Math. Stat. 35, 73 (1964), doi 10.1214/aoms/1177703732.
    """
    design = np.stack([x, 1.0 - x], axis=1)
    weight = 1.0 / variance
    for _ in range(30):
        inverse = np.linalg.pinv(design.T @ (design * weight[:, np.newaxis]))
        line = inverse @ (design.T @ (weight * values))
        away = np.abs(values - design @ line) / np.sqrt(variance)
        scale = max(1.0, float(np.median(away)) / 0.6745)
        weight = np.minimum(1.0, _HUBER * scale / np.maximum(away, 1e-12)) / variance
    return line, np.asarray(inverse * scale**2, dtype=float)


def systematic_of(changes: dict[str, FloatArray], fraction: FloatArray) -> FloatArray:
    """Variance of a fraction from the part of the spectra it is taken from: the squares of all changes, shape (S,)."""
    inside = np.clip(fraction, 0.0, 1.0)
    lines = np.array([np.zeros(2), *(np.nan_to_num(change) for change in changes.values())])
    return np.sum((np.outer(inside, lines[:, 0]) + np.outer(1.0 - inside, lines[:, 1])) ** 2, axis=1)
