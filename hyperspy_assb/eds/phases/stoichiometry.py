"""Phases in every column by stoichiometry, from whole X-ray spectra."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hyperspy_assb import provenance
from hyperspy_assb.eds.composition.atoms import Composition, difference_std, quantify_columns, shares
from hyperspy_assb.eds.composition.map_analysis import Analysis, prepare_map
from hyperspy_assb.eds.composition.scene import Scene
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS
from hyperspy_assb.eds.phases.evidence import (
    MixtureCheck,
    PhaseStatus,
    check_whole,
    describe,
    explain,
    refuted_together,
    too_foreign,
)
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, EMPTY
from hyperspy_assb.reference import MissingFactError, material
from hyperspy_assb.reference.materials import electrodes

PHASES: Mapping[str, str] = {
    "olivine": "LiFePO4",
    "LAGP": "LAGP",
    "Li3V2(PO4)3": "Li3V2(PO4)3",
    "carbon": "carbon",
}
"""Phases of the cell by the name they have here, and the material with their composition and density. LiFePO4
and FePO4 have the same X-ray lines: they are one class, "olivine", with the atom density of LiFePO4 (FePO4 has 7 % more
formula units in a volume)."""
_FEW = 0.02
"""Share of the pixels with material that may be unexplained without a word."""
_MATERIAL = 3.0
"""Standard errors above which a column holds material."""
_MISFIT = 6.0
"""Standard deviations above which the residuals of a spectrum are more than noise."""


@dataclass(frozen=True)
class PhaseOptions:
    """How phases are told.

    Parameters
    ----------
    phases
        Names here, and the material of each.
    densities
        Mass density in g/cm^3 where it is not that of the reference table: that of carbon black is 1.7 to 2.1.
    alpha
        Probability with which a pixel that is a mixture is called none.
    misfit
        Relative misfit of the spectrum, below which nothing is said of it however significant it is.
    foreign
        Share of atoms of elements that no phase holds, above which the phases do not explain a pixel. Preparation adds
        a few per cent.
    """

    phases: tuple[tuple[str, str], ...] = tuple(PHASES.items())
    densities: tuple[tuple[str, float], ...] = ()
    alpha: float = 1e-3
    misfit: float = 0.15
    foreign: float = 0.1

    def columns(self) -> dict[str, dict[str, float]]:
        """Atoms/nm^3 of each element in each phase.

        Raises
        ------
        AssbValueError
            If there is no phase, a density is of no phase or not above 0, or that of a phase is not known.
        """
        if not self.phases:
            raise AssbValueError("phases must name at least one phase; None takes those of the cell.")
        for name, density in self.densities:
            if name not in dict(self.phases) or not density > 0.0:
                raise AssbValueError(
                    f"densities: {name!r} must be one of {', '.join(dict(self.phases))}, with g/cm^3 above 0."
                )
        own, columns = dict(self.densities), {}
        for name, ref in self.phases:
            row, factor = material(ref), 1.0
            if name in own and row.density is None:
                row = replace(row, written_density=own[name])
            elif name in own:
                factor = own[name] / _density(ref)
            else:
                _density(ref)
            columns[name] = {el: factor * row.atom_density(el) for el in row.composition if el != "Li"}
        return columns

    def elements(self) -> tuple[str, ...]:
        """Elements of the phases, sorted, Li not among them; errors as :meth:`columns` has them."""
        return tuple(sorted({element for atoms in self.columns().values() for element in atoms}))

    def mass_density(self) -> FloatArray:
        """g/cm^3 of each phase, Li included."""
        own = dict(self.densities)
        return np.array([own[name] if name in own else _density(ref) for name, ref in self.phases])


def _density(name: str) -> float:
    """g/cm^3 of a material, which must be known."""
    found: float = material(name).needed("density", by="EDX quantification of phases")
    return found


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
    matrix
        Atoms/nm^3 of each of the elements in each phase, shape (M, K).
    options
        With which the phases were told.
    thickness
        nm of each phase, not below 0, shape (N, K).
    unclipped
        The same without that limit: means of these have no bias.
    covariance
        Of the unclipped ones from counting, shape (N, K, K).
    by_calibration
        Shape (N, K, G): change of the unclipped thickness per standard error of the sensitivity of an element, and of
        the absorption of its lines.
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
    status
        ``PhaseStatus``, shape (N,).
    described
        Whether the elements that were looked for describe the map: if not, nothing is said of its composition.
    """

    phases: tuple[str, ...]
    elements: tuple[str, ...]
    density: FloatArray
    matrix: FloatArray
    options: PhaseOptions
    thickness: FloatArray
    unclipped: FloatArray
    covariance: FloatArray
    by_calibration: FloatArray
    composition: Composition
    residual: FloatArray
    residual_std: FloatArray
    p_value: FloatArray
    misfit: FloatArray
    misfit_significance: FloatArray
    status: NDArray[np.int8]
    described: bool = True

    def withheld(self) -> PhaseMixture:
        """The same where the elements that were looked for do not describe the map: no pixel is explained."""
        seen = np.isin(self.status, (PhaseStatus.GOOD, PhaseStatus.UNEXPLAINED))
        status = np.where(seen, np.int8(PhaseStatus.RESIDUAL), self.status).astype(np.int8)
        return replace(self, status=status, described=False)

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
        AssbValueError
            If there is no such kind.
        """
        unit = self._unit(kind)
        amounts = self.thickness if clipped else self.unclipped
        fraction, std = shares(amounts, self.covariance, unit)
        total = (amounts * unit).sum(axis=1)[:, np.newaxis]
        # Changes less their shares in the sum, squared and summed over elements; their products are not held.
        change = self.by_calibration
        together = np.einsum("nkm,k->nm", change, unit)
        own = np.einsum("nkm,nkm->nk", change, change) * unit**2
        beside = np.einsum("nkm,nm->nk", change, together) * unit
        systematic = difference_std(own, fraction, beside, (together**2).sum(axis=1)[:, np.newaxis]) / np.abs(total)
        bad = np.isin(self.status, (PhaseStatus.EMPTY, PhaseStatus.NOT_FITTED, PhaseStatus.VACUUM))
        fraction[bad], std[bad], systematic[bad] = np.nan, np.nan, np.nan
        return fraction, std, systematic

    def dominant(self) -> NDArray[np.int64]:
        """Number of the phase with the largest volume, shape (N,); -1 where nothing is said, or no mixture explains."""
        fraction = self.fractions()[0]
        best = np.argmax(np.nan_to_num(fraction, nan=-1.0), axis=1)
        return np.where((self.status == PhaseStatus.GOOD) & np.isfinite(fraction[:, 0]), best, -1)

    @property
    def std(self) -> FloatArray:
        """Standard errors of the thickness from counting, shape (N, K)."""
        return np.sqrt(np.einsum("nii->ni", self.covariance))

    @property
    def residual_ratio(self) -> FloatArray:
        """Residual of each element over its standard error, shape (N, M)."""
        return self.residual / self.residual_std

    def status_counts(self) -> dict[str, int]:
        """Pixels by status, in words; with the element responsible where no mixture explains them."""
        counted: dict[str, int] = {}
        for status, row, p_value in zip(self.status, self.residual_ratio, self.p_value, strict=True):
            told = status == PhaseStatus.UNEXPLAINED and p_value < self.options.alpha
            words = describe(int(status), row if told else None, self.elements)
            counted[words] = counted.get(words, 0) + 1
        return dict(sorted(counted.items(), key=lambda item: -item[1]))

    def told(self) -> str:
        """In words, what the phases do not explain of all pixels together; nothing where that is hardly anything."""
        whole = self.check_mixture()
        if not whole.pixels:
            return "No pixel could be fitted: nothing is said of phases."
        alike = whole.p_value >= self.options.alpha and whole.worst in self.elements
        if not whole.explained and alike:
            return (
                f"No mixture of the phases explains {100 * whole.unexplained:.0f} % of the pixels with material, "
                "though their sum looks like one: see the status. Fractions mean nothing."
            )
        if not whole.explained:
            amount = "more" if whole.worst_ratio > 0.0 else "less"
            return (
                f"No mixture of the phases explains the map as a whole (p = {whole.p_value:.1g}; "
                f"{100 * whole.foreign:.0f} ± {100 * whole.foreign_std:.0f} % of the atoms are of elements that no "
                f"phase holds): there is {amount} {whole.worst} than in any mixture, by {abs(whole.worst_ratio):.1f} "
                "standard errors. Its fractions mean nothing."
            )
        bad = np.isin(self.status, (PhaseStatus.UNEXPLAINED, PhaseStatus.RESIDUAL))
        material = bad | (self.status == PhaseStatus.GOOD)
        share = bad.sum() / max(material.sum(), 1)
        if share < _FEW:
            return ""
        return (
            f"No mixture of the phases explains {bad.sum()} of {material.sum()} pixels with material "
            f"({100 * share:.0f} %): see the status, and check_mixture() for regions."
        )

    def check_mixture(self, region: NDArray[np.bool_] | None = None) -> MixtureCheck:
        """Whether the phases explain pixels together, shape (N,); None: all that were fitted."""
        fitted = ~np.isin(self.status, (PhaseStatus.EMPTY, PhaseStatus.NOT_FITTED))
        return check_whole(
            self.composition,
            self.elements,
            self.matrix,
            fitted if region is None else fitted & region,
            alpha=self.options.alpha,
            largest_foreign=self.options.foreign,
            status=self.status,
        )

    def _unit(self, kind: str) -> FloatArray:
        if kind not in ("volume", "mass"):
            raise AssbValueError(f'kind must be "volume" or "mass", not {kind!r}; areas refer to a region.')
        return np.ones(len(self.phases)) if kind == "volume" else self.density


def quantify_phases(
    scene: Scene,
    counts: Any,
    options: PhaseOptions | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    threads: int | None = None,
) -> PhaseMixture:
    """Fit every spectrum as a mixture of phases and foreign elements, by Poisson likelihood.

    Parameters
    ----------
    scene
        Of :func:`~hyperspy_assb.eds.composition.scene.prepare_scene`.
    counts
        Spectra, shape (N, all channels); an array or a dask array.
    options
        Phases and levels.
    shape
        Of the map: neighbours are judged together as well; None: spectra have no neighbours.

    Returns
    -------
    PhaseMixture
        Phases, and whether they explain each pixel.

    Raises
    ------
    AssbValueError
        If an element of a phase is not among those that are counted.
    """
    options = options or PhaseOptions()
    columns, held = options.columns(), options.elements()
    missing = [element for element in held if element not in scene.elements]
    if missing:
        raise AssbValueError(
            f"The phases contain {', '.join(missing)}, which no measured line stands for: not in the list of elements, "
            "without a line in the range, or without a factor. Add the missing ones to elements=, and give the factors "
            "of their lines in k_factors=."
        )
    _must_differ(columns, held)
    composition, (by_element, fit), calibration = quantify_columns(scene, counts, columns, threads=threads)
    names = tuple(columns)
    k = len(names)
    cell = tuple(el for el in scene.elements if el in held or el in CELL_ELEMENTS)
    own = composition.subset(cell)
    matrix = np.array([[atoms.get(el, 0.0) for atoms in columns.values()] for el in cell])
    evidence = explain(own, matrix)
    # With few counts errors are not normal: what the likelihoods say of both fits then counts.
    by_likelihood = special.chdtrc(evidence.freedom, np.maximum(fit.deviance - by_element.deviance, 0.0))
    p_value = np.fmax(evidence.p_value, np.where(evidence.freedom > 0, by_likelihood, 1.0))
    p_value[np.isnan(evidence.p_value)] = np.nan
    status = np.full(len(fit.status), PhaseStatus.GOOD, dtype=np.int8)
    total = fit.unclipped[:, :k].sum(axis=1)
    error = np.sqrt(np.einsum("nij->n", fit.covariance[:, :k, :k]))
    # Judged where each element has its own amount: what factors are off by is no line of another element.
    misfit = np.sign(by_element.mismatch) * np.sqrt(np.abs(by_element.mismatch))
    status[(misfit > options.misfit) & (by_element.pearson > _MISFIT)] = PhaseStatus.RESIDUAL
    refuted = (p_value < options.alpha) | too_foreign(composition, cell, options.foreign)
    if shape is not None:
        levels = {"alpha": options.alpha, "largest_foreign": options.foreign}
        refuted |= refuted_together(composition, cell, matrix, shape, **levels)
    status[refuted] = PhaseStatus.UNEXPLAINED
    found = np.abs(own.unclipped.sum(axis=1)) > _MATERIAL * np.sqrt(np.einsum("nij->n", own.covariance))
    status[~(total > _MATERIAL * error) & ~found] = PhaseStatus.VACUUM
    status[(fit.status != CONVERGED) | (composition.status != CONVERGED)] = PhaseStatus.NOT_FITTED
    status[fit.status == EMPTY] = PhaseStatus.EMPTY
    return PhaseMixture(
        phases=names,
        elements=cell,
        density=options.mass_density(),
        matrix=matrix,
        options=options,
        thickness=fit.amounts[:, :k],
        unclipped=fit.unclipped[:, :k],
        covariance=fit.covariance[:, :k, :k].copy(),
        by_calibration=np.concatenate(
            [
                fit.by_group[:, :k] * calibration[:, np.newaxis, : fit.by_group.shape[2]],
                _common_errors(scene, columns, fit.amounts),
            ],
            axis=2,
        ),
        composition=composition,
        residual=evidence.residual,
        residual_std=evidence.std,
        p_value=p_value,
        misfit=misfit,
        misfit_significance=by_element.pearson,
        status=status,
    )


def _common_errors(scene: Scene, columns: Mapping[str, Mapping[str, float]], amounts: FloatArray) -> FloatArray:
    """nm of the phase that holds most of an element that the shape of the continuum leaves unsure, shape (N, K, H)."""
    table = np.array([[own.get(element, 0.0) for element in scene.elements] for own in columns.values()])
    atoms = scene.common_errors(amounts[:, -1], amounts[:, : len(columns)] @ table)
    errors = np.zeros((len(amounts), len(columns), atoms.shape[2]))
    for element in scene.unsure:
        held = table[:, scene.elements.index(element)]
        if held.max() > 0.0:
            own = np.flatnonzero(np.abs(atoms[:, scene.elements.index(element)]).any(axis=0))
            errors[:, int(np.argmax(held)), own] = atoms[:, scene.elements.index(element), own] / held.max()
    return errors


def _must_differ(columns: Mapping[str, Mapping[str, float]], elements: Sequence[str]) -> None:
    matrix = np.array([[atoms.get(element, 0.0) for element in elements] for atoms in columns.values()])
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    same = np.argwhere(np.triu(matrix @ matrix.T, 1) > 1.0 - 1e-9)
    if same.size:
        one, other = (list(columns)[i] for i in same[0])
        raise AssbValueError(
            f"{one} and {other} have the same elements in the same proportions (EDX does not detect Li): leave one of "
            "them out."
        )


def _alike(phases: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Which phases are told from no other with more or less Li, in words."""
    for name, ref in phases:
        own = material(ref).name
        for couple in electrodes.values():
            members = (couple.lithiated, couple.delithiated)
            if couple.ion == "Li" and own in members:
                yield f"{' and '.join(members)} have the same X-ray lines: they are one class, {name}."


def phases_of_map(recorded: EDSMap, settings: EDSOptions, options: PhaseOptions) -> Analysis[PhaseMixture]:
    """Fit every pixel of a map as a mixture of phases; errors and warnings are those of :func:`.prepare_map` and of
    :func:`quantify_phases`.

    Warns
    -----
    AssbWarning
        If the phases do not explain the map as a whole, or one pixel in fifty and more.
    """
    # Those of phases that a user named are looked for as those that the file names.
    for name, ref in options.phases:
        for element in material(ref).composition:
            if element not in recorded.tables.lines:
                raise MissingFactError(
                    f"EDX quantification of phases needs X-ray lines of {element}, an element of {name} in "
                    f"{material(ref).file}, but no such lines are known."
                )
    held = tuple(dict.fromkeys((*recorded.elements, *options.elements())))
    prepared = prepare_map(replace(recorded, elements=held), settings)
    shape = recorded.shape if 1 <= len(recorded.shape) <= 2 else None
    found = quantify_phases(prepared.scene, recorded.spectra, options, shape=shape)
    told = found.told()
    if not prepared.described:
        found, told = found.withheld(), prepared.notes[0]
        prepared = replace(prepared, notes=prepared.notes[1:])
    if told:
        warnings.warn(told, AssbWarning, stacklevel=3)
    record = provenance.record(
        "quantify_phases",
        parameters={
            **prepared.parameters,
            "phases": [name for name, _ in options.phases],
            "densities": dict(options.densities),
        },
        methods=prepared.methods,
    )
    return Analysis(found, (*([told] if told else ()), *_alike(options.phases), *prepared.notes), record)
