"""Phases in every column by stoichiometry, from whole X-ray spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from hyperspy_assb.eds.composition import Composition, Scene, calibration_of, quantify_elements, shares
from hyperspy_assb.eds.lines import CELL_ELEMENTS
from hyperspy_assb.eds.spectra import FloatArray
from hyperspy_assb.fitting.templates import CONVERGED, EMPTY
from hyperspy_assb.reference import phase

PHASES: Mapping[str, str] = {
    "olivine": "LiFePO4",
    "LAGP": "LAGP",
    "Li3V2(PO4)3": "Li3V2(PO4)3",
    "carbon": "carbon",
}
"""Phases of the cell by the name they have here, and the reference phase with their composition and density. LiFePO4
and FePO4 have the same X-ray lines: they are one class, "olivine", with the atom density of LiFePO4 (FePO4 has 7 % more
formula units in a volume)."""


class PhaseStatus(IntEnum):
    """What became of a pixel; fractions are NaN where it is above 0, but for UNEXPLAINED and RESIDUAL."""

    GOOD = 0
    EMPTY = 1
    """No counts."""
    NOT_FITTED = 2
    """The fit did not come to an end, or its amounts cannot be told apart."""
    VACUUM = 3
    """Less material than three standard errors."""
    UNEXPLAINED = 4
    """No mixture of the phases has the elements that are found."""
    RESIDUAL = 5
    """The spectrum holds something that is neither a line of the elements nor continuum."""


@dataclass(frozen=True)
class PhaseOptions:
    """How phases are told.

    Parameters
    ----------
    phases
        Names here, and the reference phase of each.
    densities
        Mass density in g/cm^3 where it is not that of the reference table: that of carbon black is 1.7 to 2.1.
    level
        Probability with which a pixel that is a mixture is called none.
    misfit
        Relative misfit of the spectrum, below which nothing is said of it however significant it is.
    foreign
        Share of atoms of elements that no phase holds, above which the phases do not explain a pixel. Preparation adds
        a few per cent.
    """

    phases: tuple[tuple[str, str], ...] = tuple(PHASES.items())
    densities: tuple[tuple[str, float], ...] = ()
    level: float = 1e-3
    misfit: float = 0.15
    foreign: float = 0.1

    def columns(self) -> dict[str, dict[str, float]]:
        """Atoms/nm^3 of each element in each phase.

        Raises
        ------
        ValueError
            If a density is of no phase, or not above 0.
        """
        factor = {}
        for name, density in self.densities:
            if name not in dict(self.phases) or not density > 0.0:
                raise ValueError(
                    f"densities: {name!r} must be one of {', '.join(dict(self.phases))}, with g/cm^3 above 0."
                )
            factor[name] = density / phase(dict(self.phases)[name]).density
        return {
            name: {
                el: factor.get(name, 1.0) * phase(ref).atom_density(el) for el in phase(ref).composition if el != "Li"
            }
            for name, ref in self.phases
        }

    def mass_density(self) -> FloatArray:
        """g/cm^3 of each phase, Li included."""
        own = dict(self.densities)
        return np.array([own.get(name, phase(ref).density) for name, ref in self.phases])


@dataclass(frozen=True)
class Verdict:
    """Whether phases explain many pixels together: the sum of mixtures is a mixture.

    Parameters
    ----------
    pixels
        How many.
    explained
        Whether nothing speaks against it.
    p_value
        Of the hypothesis that the elements are those of a mixture.
    foreign
        Share of atoms that no phase holds.
    foreign_std
        Standard error, counting and calibration.
    worst
        Element at fault, and by how many standard errors.
    worst_ratio
        Positive if there is too much of it.
    """

    pixels: int
    explained: bool
    p_value: float
    foreign: float
    foreign_std: float
    worst: str
    worst_ratio: float


@dataclass(frozen=True, eq=False)
class PhaseMixture:
    """Phases in N columns; K phases, M elements of the cell, G elements with a calibration.

    Parameters
    ----------
    phases
        Names.
    elements
        Elements of the cell among those that were counted.
    density
        g/cm^3 of each phase.
    thickness
        nm of each phase, not below 0, shape (N, K).
    unclipped
        The same without that limit: means of these have no bias.
    covariance
        Of the unclipped ones from counting, shape (N, K, K).
    by_calibration
        Shape (N, K, G): change of the unclipped thickness per relative change of the sensitivity of an element.
    calibration
        Relative standard uncertainties of these, shape (G,).
    composition
        Elements of the same pixels, fitted one by one.
    residual
        Atoms/nm^2 of each element of the cell that the nearest mixture does not hold, shape (N, M).
    residual_std
        Standard errors, of counting and of calibration together.
    p_value
        That a mixture has elements at least as far from a mixture as those found, shape (N,).
    misfit
        Relative misfit of the spectrum, shape (N,); below 0 where it is smaller than its noise.
    misfit_significance
        In standard deviations.
    whole
        Whether the phases explain all pixels with material together.
    status
        :class:`PhaseStatus`, shape (N,).
    """

    phases: tuple[str, ...]
    elements: tuple[str, ...]
    density: FloatArray
    thickness: FloatArray
    unclipped: FloatArray
    covariance: FloatArray
    by_calibration: FloatArray
    calibration: FloatArray
    composition: Composition
    residual: FloatArray
    residual_std: FloatArray
    p_value: FloatArray
    misfit: FloatArray
    misfit_significance: FloatArray
    whole: Verdict
    status: NDArray[np.int8]

    def fractions(self, kind: str = "volume", *, clipped: bool = True) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Share of each phase in the column.

        Parameters
        ----------
        kind
            "volume" or "mass".
        clipped
            Whether no phase is below 0.

        Returns
        -------
        fraction, std, systematic
            Shape (N, K): the standard error is that of counting; systematic, that of the calibration of the elements.

        Raises
        ------
        ValueError
            If there is no such kind.
        """
        unit = self._unit(kind)
        amounts = self.thickness if clipped else self.unclipped
        fraction, std = shares(amounts, self.covariance, unit)
        total = (amounts * unit).sum(axis=1)[:, np.newaxis, np.newaxis]
        change = self.by_calibration * unit[:, np.newaxis]
        change = (change - fraction[:, :, np.newaxis] * change.sum(axis=1, keepdims=True)) / total
        systematic = np.sqrt((change**2) @ self.calibration**2)
        bad = np.isin(self.status, (PhaseStatus.EMPTY, PhaseStatus.NOT_FITTED, PhaseStatus.VACUUM))
        fraction[bad], std[bad], systematic[bad] = np.nan, np.nan, np.nan
        return fraction, std, systematic

    def dominant(self) -> NDArray[np.int64]:
        """Number of the phase with the largest volume, shape (N,); -1 where nothing is said, or no mixture explains."""
        fraction = self.fractions()[0]
        best = np.argmax(np.nan_to_num(fraction, nan=-1.0), axis=1)
        return np.where((self.status == PhaseStatus.GOOD) & np.isfinite(fraction[:, 0]), best, -1)

    def _unit(self, kind: str) -> FloatArray:
        if kind not in ("volume", "mass"):
            raise ValueError(f'kind must be "volume" or "mass", not {kind!r}; areas are those of a region.')
        return np.ones(len(self.phases)) if kind == "volume" else self.density


def quantify_phases(
    scene: Scene, counts: Any, options: PhaseOptions | None = None, *, threads: int | None = None
) -> PhaseMixture:
    """Fit every spectrum as a mixture of phases and foreign elements, by Poisson likelihood.

    Parameters
    ----------
    scene
        Of :func:`~hyperspy_assb.eds.composition.prepare_scene`.
    counts
        Spectra, shape (N, all channels); an array or a dask array.
    options
        Phases and levels.

    Returns
    -------
    PhaseMixture
        Phases, and whether they explain each pixel.

    Raises
    ------
    ValueError
        If an element of a phase is not among those that are counted.
    """
    options = options or PhaseOptions()
    columns = options.columns()
    missing = {el for atoms in columns.values() for el in atoms} - set(scene.elements)
    if missing:
        raise ValueError(f"The phases hold {', '.join(sorted(missing))}, which is not among the elements: add it.")
    model = scene.column_model(columns)
    fit = model.fit(counts, threads=threads)
    composition = quantify_elements(scene, counts, threads=threads)
    names = tuple(columns)
    k = len(names)
    groups = list(model.elements)
    held = {element for atoms in columns.values() for element in atoms}
    cell = tuple(el for el in scene.elements if el in held or el in CELL_ELEMENTS)
    own = composition.subset(cell)
    matrix = np.array([[atoms.get(el, 0.0) for atoms in columns.values()] for el in cell])
    residual, residual_std, p_value = explain(own, matrix)
    status = np.full(len(fit.status), PhaseStatus.GOOD, dtype=np.int8)
    total = fit.unclipped[:, :k].sum(axis=1)
    error = np.sqrt(np.einsum("nij->n", fit.covariance[:, :k, :k]))
    status[np.sqrt(np.maximum(fit.mismatch, 0.0)) * (fit.pearson > 6.0) > options.misfit] = PhaseStatus.RESIDUAL
    foreign, foreign_std = _foreign_share(composition, cell)
    too_foreign = foreign - 3.0 * foreign_std > options.foreign
    status[(p_value < options.level) | too_foreign] = PhaseStatus.UNEXPLAINED
    found = np.abs(own.unclipped.sum(axis=1)) > 3.0 * np.sqrt(np.einsum("nij->n", own.covariance))
    status[~(total > 3.0 * error) & ~found] = PhaseStatus.VACUUM
    status[(fit.status != CONVERGED) | (composition.status != CONVERGED)] = PhaseStatus.NOT_FITTED
    status[fit.status == EMPTY] = PhaseStatus.EMPTY
    whole = _verdict(composition, cell, matrix, status >= PhaseStatus.VACUUM, options)
    return PhaseMixture(
        phases=names,
        elements=cell,
        density=options.mass_density(),
        thickness=fit.amounts[:, :k],
        unclipped=fit.unclipped[:, :k],
        covariance=fit.covariance[:, :k, :k],
        by_calibration=fit.by_group[:, :k],
        calibration=calibration_of(scene, groups),
        composition=replace(composition, fit=None),
        residual=residual,
        residual_std=residual_std,
        p_value=p_value,
        misfit=np.sign(fit.mismatch) * np.sqrt(np.abs(fit.mismatch)),
        misfit_significance=fit.pearson,
        whole=whole,
        status=status,
    )


def _foreign_share(found: Composition, cell: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Share of atoms of the elements that no phase holds, and its standard error; shape (N,) each."""
    inside = np.array([1.0 if element in cell else 0.0 for element in found.elements])
    total = found.unclipped.sum(axis=1)
    share = found.unclipped @ (1.0 - inside) / np.where(total > 0.0, total, np.nan)
    slope = ((1.0 - inside) - share[:, np.newaxis]) / total[:, np.newaxis]
    spread = np.einsum("ni,nij,nj->n", slope, found.covariance, slope)
    spread = spread + (slope**2 * found.unclipped**2) @ found.calibration**2
    return share, np.sqrt(np.maximum(spread, 0.0))


def _verdict(
    found: Composition, cell: Sequence[str], matrix: FloatArray, where: NDArray[np.bool_], options: PhaseOptions
) -> Verdict:
    """All pixels together, those without an answer left out."""
    used = where & np.isfinite(found.unclipped).all(axis=1)
    if not used.any():
        return Verdict(0, False, float("nan"), float("nan"), float("nan"), "", 0.0)
    total = found.unclipped[used].sum(axis=0, keepdims=True)
    summed = replace(
        found,
        atoms=np.maximum(total, 0.0),
        unclipped=total,
        covariance=found.covariance[used].sum(axis=0, keepdims=True),
    )
    residual, std, p_value = explain(summed.subset(cell), matrix)
    foreign, foreign_std = _foreign_share(summed, cell)
    ratio = residual[0] / std[0]
    worst = int(np.argmax(np.abs(ratio)))
    name, size = cell[worst], float(ratio[worst])
    too_foreign = bool(foreign[0] - 3.0 * foreign_std[0] > options.foreign)
    if too_foreign and p_value[0] >= options.level:
        others = [i for i, element in enumerate(found.elements) if element not in cell]
        best = max(others, key=lambda i: total[0, i])
        name = found.elements[best]
        size = float(total[0, best] / np.sqrt(summed.covariance[0, best, best]))
    return Verdict(
        pixels=int(used.sum()),
        explained=bool(p_value[0] >= options.level and not too_foreign),
        p_value=float(p_value[0]),
        foreign=float(foreign[0]),
        foreign_std=float(foreign_std[0]),
        worst=name,
        worst_ratio=size,
    )


def explain(found: Composition, matrix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Whether a non-negative mixture has the elements that were found.

    Parameters
    ----------
    found
        Atoms/nm^2 of M elements in N columns.
    matrix
        Atoms of each element in one unit of each phase, shape (M, K).

    Returns
    -------
    residual
        Atoms/nm^2 that the nearest mixture lacks, shape (N, M).
    std
        Standard errors of the elements, of counting and of calibration together.
    p_value
        Shape (N,); NaN where there is no composition. Given which phases are present, the squared distance is
        chi-squared with as many degrees of freedom as there are elements more than phases present.
    """
    n, m = found.unclipped.shape
    residual, std, p_value = np.full((n, m), np.nan), np.full((n, m), np.nan), np.full(n, np.nan)
    size = np.einsum("nii->ni", found.covariance)
    spread = found.covariance + np.einsum(
        "ni,ij->nij", (np.maximum(found.atoms, 0.0) * found.calibration) ** 2, np.eye(m)
    )
    for i in np.flatnonzero(np.isfinite(size).all(axis=1)):
        scale = np.sqrt(np.diag(spread[i]))
        factor = np.linalg.cholesky(spread[i] / np.outer(scale, scale))
        white = np.linalg.solve(factor, np.column_stack([found.unclipped[i] / scale, matrix / scale[:, np.newaxis]]))
        amounts, distance = optimize.nnls(white[:, 1:], white[:, 0])
        residual[i] = found.unclipped[i] - matrix @ amounts
        std[i] = scale
        free = m - int(np.count_nonzero(amounts > 0.0))
        p_value[i] = stats.chi2.sf(distance**2, free) if free else 1.0
    return residual, std, p_value


@dataclass(frozen=True)
class RegionPhases:
    """Phases of a region, in the order of the phases.

    Parameters
    ----------
    phases
        Names.
    volume, mass, area
        Fractions: of volume and mass in all columns together, not clipped; of the pixels in which the phase has the
        largest volume (what a phase map shows).
    volume_std, mass_std, area_std
        Standard errors from counting.
    volume_systematic, mass_systematic
        Uncertainty from the calibration of the elements.
    pixels
        Pixels that were used, and in all.
    unexplained
        Share of the pixels with material that no mixture explains, which the area fractions count as none.
    """

    phases: tuple[str, ...]
    volume: FloatArray
    volume_std: FloatArray
    volume_systematic: FloatArray
    mass: FloatArray
    mass_std: FloatArray
    mass_systematic: FloatArray
    area: FloatArray
    area_std: FloatArray
    pixels: tuple[int, int]
    unexplained: float


def summarise_region(mixture: PhaseMixture, where: NDArray[np.bool_] | None = None) -> RegionPhases:
    """Phases of a region.

    Parameters
    ----------
    mixture
        Phases of N pixels.
    where
        Pixels of the region, shape (N,); None: all.

    Returns
    -------
    RegionPhases
        Fractions with uncertainties.

    Raises
    ------
    ValueError
        If no pixel of the region has an answer.
    """
    n, k = mixture.thickness.shape
    inside = np.ones(n, dtype=bool) if where is None else np.asarray(where, dtype=bool)
    material = np.isin(mixture.status, (PhaseStatus.GOOD, PhaseStatus.UNEXPLAINED, PhaseStatus.RESIDUAL))
    good = inside & (mixture.status == PhaseStatus.GOOD)
    if not good.any():
        raise ValueError("No pixel of the region is explained by the phases: there is nothing to add up.")
    amounts = mixture.unclipped[good].sum(axis=0)[np.newaxis]
    covariance = mixture.covariance[good].sum(axis=0)[np.newaxis]
    change = mixture.by_calibration[good].sum(axis=0)
    found = {}
    for kind in ("volume", "mass"):
        unit = mixture._unit(kind)
        fraction, std = shares(amounts, covariance, unit)
        moved = change * unit[:, np.newaxis]
        moved = (moved - fraction[0][:, np.newaxis] * moved.sum(axis=0)) / float(amounts[0] @ unit)
        found[kind] = fraction[0], std[0], np.sqrt(moved**2 @ mixture.calibration**2)
    best = mixture.dominant()[good]
    counted = inside & material
    area = np.bincount(best, minlength=k) / counted.sum()
    chance = _chance(mixture.thickness[good], mixture.covariance[good], best)
    area_std = np.sqrt((chance * (1.0 - chance)).sum(axis=0)) / counted.sum()
    return RegionPhases(
        mixture.phases,
        *found["volume"],
        *found["mass"],
        area,
        area_std,
        (int(good.sum()), int(inside.sum())),
        float(1.0 - good.sum() / counted.sum()),
    )


def _chance(amounts: FloatArray, covariance: FloatArray, best: NDArray[np.int64]) -> FloatArray:
    """Probability of each phase to be the largest, from the largest and its nearest rival, shape (N, K)."""
    n, k = amounts.shape
    rows = np.arange(n)
    chance = np.zeros((n, k))
    difference = amounts[rows, best][:, np.newaxis] - amounts
    variance = (
        covariance[rows, best, best][:, np.newaxis] + np.einsum("nkk->nk", covariance) - 2.0 * covariance[rows, best]
    )
    z = difference / np.sqrt(np.maximum(variance, 1e-30))
    z[rows, best] = np.inf
    rival = np.argmin(z, axis=1)
    chance[rows, best] = special.ndtr(z[rows, rival])
    chance[rows, rival] += 1.0 - chance[rows, best]
    return chance


def describe(status: int, residual: Sequence[float] | None = None, elements: Sequence[str] = ()) -> str:
    """A status in words, with the element at fault where there is one.

    Parameters
    ----------
    status
        :class:`PhaseStatus`.
    residual
        Residual of each element over its standard error.
    elements
        Symbols.
    """
    text = {
        PhaseStatus.GOOD: "explained by the phases",
        PhaseStatus.EMPTY: "no counts",
        PhaseStatus.NOT_FITTED: "not fitted",
        PhaseStatus.VACUUM: "no material above its error",
        PhaseStatus.UNEXPLAINED: "no mixture of the phases has these elements",
        PhaseStatus.RESIDUAL: "the spectrum holds something that is not in the list of elements",
    }[PhaseStatus(status)]
    if status == PhaseStatus.UNEXPLAINED and residual is not None and len(elements):
        worst = int(np.nanargmax(np.abs(residual)))
        text += f": {elements[worst]} is too {'much' if residual[worst] > 0 else 'little'}"
    return text
