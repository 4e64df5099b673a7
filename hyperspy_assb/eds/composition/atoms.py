"""Atoms of each element in every column, from whole X-ray spectra."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray
from hyperspy_assb.eds.lines.axis_check import check_calibration
from hyperspy_assb.eds.lines.column_spectra import FREE_CONTINUUM_ABOVE, Builder, SpectrumModel, make_builder
from hyperspy_assb.eds.lines.element_finder import find_elements
from hyperspy_assb.eds.lines.factor_check import odd_factors
from hyperspy_assb.eds.lines.sensitivity import COMPUTED, GIVEN_K, compute_sensitivities
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, elements_of
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.fixed_shapes import kernels
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, TemplateFit
from hyperspy_assb.reference import x_ray_elements

ATOMS_PER_VOLUME = 80.0
"""Atoms/nm^3 that X-rays show in a solid: 82 to 84 in the phases of the cell."""
_SCALE_STEP = 0.7
"""Share of a step towards the scale that is taken where films absorb: it settles from 0 to 300 nm."""
_LEAST = 1e-3
"""Share of the largest amount from which fits start at least: an amount of 0 would tell nothing of its scale."""
_PLAUSIBLE = (0.5, 1000.0)
"""nm: mean thicknesses of maps, with the vacuum beside the specimen."""
_SURE = 10.0
"""Standard errors above which the sum of all spectra tells the ratio of two families of an element."""
MOST_UNEXPLAINED = 0.2
"""Share of the counts, and of the pixels with material, above which a list of elements or phases describes no map."""
_DISAGREE = 0.05
"""Relative difference from which on the sum is believed: absorption in columns that differ makes less."""
_SETTLING = 3
"""Fits of the mean with all factors; the scale settles in them."""
_LITHIUM = "X-rays do not show Li: atomic per cent are those of the other elements."


@dataclass(frozen=True, eq=False)
class Scene:
    """What the sum of all spectra says of each of them: where fits start, and the shape of the continuum.

    Parameters
    ----------
    builder
        What models are built from.
    elements
        Elements whose atoms are counted.
    free_families
        Families of lines without a sensitivity, whose counts are amounts of their own.
    electrons
        For each spectrum; found from the thickness where they were not known.
    continuum
        Height at the nodes in one mean spectrum; None: free in every spectrum.
    mean
        Mean amounts: atoms/nm^2 of the elements, counts of the families, strength of the continuum.
    total
        Counts of all spectra, channel by channel.
    n_spectra
        How many there are.
    """

    builder: Builder
    elements: tuple[str, ...]
    free_families: tuple[str, ...]
    electrons: float
    continuum: FloatArray | None
    mean: FloatArray
    total: FloatArray
    n_spectra: int

    def models(self, columns: Mapping[str, Mapping[str, float]] | None = None) -> list[SpectrumModel]:
        """Models whose amounts are atoms/nm^2 of each element; and nm of each phase, with atoms/nm^2 of each element
        that no phase holds.

        Parameters
        ----------
        columns
            Atoms/nm^3 of each element in each phase; None: the first model alone.
        """
        mean = dict(zip(self.elements, self.mean, strict=False))
        atom: dict[str, Mapping[str, float]] = {element: {element: 1.0} for element in self.elements}
        wanted = [(atom, np.array(list(mean.values())))]
        if columns is not None:
            held = {element for atoms in columns.values() for element in atoms}
            visible = sum(mean[element] for element in self.elements if element in held)
            others = {element: one for element, one in atom.items() if element not in held}
            start = [
                visible / max(sum(n for el, n in atoms.items() if el in mean), 1e-9) / len(columns)
                for atoms in columns.values()
            ]
            wanted.append(({**columns, **others}, np.array([*start, *(mean[element] for element in others)])))
        rest = self.mean[len(self.elements) :]
        return [
            self.builder.build(
                amounts,
                self.free_families,
                continuum=self.continuum,
                electrons=self.electrons,
                typical=np.concatenate(
                    [np.maximum(part, _LEAST * max(part.max(initial=0.0), 1e-12)) for part in (own, rest)]
                ),
            )
            for amounts, own in wanted
        ]


def prepare_scene(
    builder: Builder,
    total: FloatArray,
    n_spectra: int,
    elements: Sequence[str],
    *,
    thickness: float | None = None,
    atoms_per_volume: float = ATOMS_PER_VOLUME,
    largest_share: float = 0.0,
) -> Scene:
    """Find from the sum of all spectra what is common to them.

    Parameters
    ----------
    builder
        Lines, instrument, sensitivities.
    total
        Sum of all spectra, all channels.
    n_spectra
        How many were added up.
    elements
        Elements whose atoms are counted; each needs a sensitivity.
    thickness
        Mean thickness in nm: sets the scale, whatever electrons and sensitivities say; None: these do.
    atoms_per_volume
        Atoms/nm^3 that X-rays show, with which a thickness becomes a number of atoms.
    largest_share
        Counts of the largest spectrum over those of all: above 0.05 the continuum is free in every spectrum.

    Returns
    -------
    Scene
        What is common.

    Raises
    ------
    AssbValueError
        If the spectra are empty, an element has no sensitivity or no line in the range, or the scale is not known.
    """
    total = np.asarray(total, dtype=float)
    if not total[builder.channels].sum() > 0.0 and not np.isnan(total).any():
        raise AssbValueError("The spectra are empty: there is no count in the range of the fit.")
    factors = builder.sensitivities
    for element in elements:
        families = builder.families(element)
        if not families:
            raise AssbValueError(
                f"{element} has no line between {builder.edges[0]:.2f} and {builder.edges[-1]:.2f} keV."
            )
        if not any(family in factors.cross_section for family in families):
            factors.of(families[0])
    given, builder = builder, builder.with_best_families(elements)
    factors = builder.sensitivities
    free = builder.free_families(elements)
    known = builder.instrument.electrons
    # A thickness that is told is known better than what current, time and solid angle make of it.
    scaled = known is None or not factors.absolute or thickness is not None
    if scaled and thickness is None and builder.absorption:
        raise AssbValueError(
            "How much X-rays are absorbed depends on the thickness, which is not known: beam current, live time and "
            "solid angle tell it, or thickness in nm; or leave absorption out."
        )
    electrons = known if known is not None else 1.0
    amounts = {element: {element: 1.0} for element in elements}
    mean = None
    for _ in range(7 if scaled and builder.absorption else 3):
        # Without a scale nothing is known of absorption, and any would do: the first is that of a transparent film.
        own = replace(builder, absorption=False) if scaled and mean is None else builder
        height = own.estimate_continuum(total, amounts, None if mean is None else mean[: len(elements)])
        model = own.build(amounts, free, continuum=height / n_spectra, electrons=electrons)
        fit = _fit_mean(model, total, n_spectra)
        mean = fit.amounts[0]
        if scaled and thickness is not None:
            # Absorption makes amounts fall faster than electrons rise: whole steps overshoot, and swing.
            ratio = float(mean[: len(elements)].sum() / (thickness * atoms_per_volume))
            electrons *= ratio if own is not builder else ratio**_SCALE_STEP
    assert mean is not None
    stds = np.sqrt(np.maximum(fit.covariance[0].diagonal(), 0.0))
    builder = _tied_by_sum(given, builder, elements, free, mean, stds, electrons)
    if builder.free_families(elements) != free:
        free = builder.free_families(elements)
        for _ in range(_SETTLING):
            model = builder.build(amounts, free, continuum=height / n_spectra, electrons=electrons)
            mean = _fit_mean(model, total, n_spectra).amounts[0]
            if scaled and thickness is not None:
                electrons *= float(mean[: len(elements)].sum() / (thickness * atoms_per_volume)) ** _SCALE_STEP
    continuum: FloatArray | None = height / n_spectra
    if largest_share > FREE_CONTINUUM_ABOVE:
        mean = np.concatenate([mean[:-1], height / n_spectra * mean[-1]])
        continuum = None
    return Scene(
        builder=builder,
        elements=tuple(elements),
        free_families=free,
        electrons=electrons,
        continuum=continuum,
        mean=mean,
        total=total,
        n_spectra=n_spectra,
    )


def _fit_mean(model: SpectrumModel, total: FloatArray, n_spectra: int) -> TemplateFit:
    """The mean of all spectra, from their sum."""
    start = model.model.guess(total[model.channels] / n_spectra)
    fit = replace(model, typical=start).fit(total[np.newaxis], exposure=np.array([float(n_spectra)]))
    if fit.status[0] != CONVERGED:
        raise AssbValueError("The summed spectrum cannot be fitted with the lines of these elements: check them.")
    return fit


def _tied_by_sum(
    given: Builder,
    builder: Builder,
    elements: Sequence[str],
    free: Sequence[str],
    mean: FloatArray,
    std: FloatArray,
    electrons: float,
) -> Builder:
    """A builder with all factors that were given; where the sum of all spectra has another ratio of two families of an
    element, that counts: tables of weaker lines, which share a factor, are off by more than factors are.
    """
    own, errors = dict(builder.sensitivities.cross_section), dict(builder.sensitivities.uncertainty)
    atoms = dict(zip(elements, mean, strict=False))
    sure = {element: mean[k] > _SURE * std[k] for k, element in enumerate(elements)}
    ties = {tie.hidden for tie in builder.ties}
    for k, family in enumerate(free):
        element = family.partition("_")[0]
        if element not in atoms or family in ties or family not in given.sensitivities.cross_section:
            continue
        own[family] = given.sensitivities.cross_section[family]
        errors[family] = given.sensitivities.uncertainty[family]
        value, error = mean[len(elements) + k], std[len(elements) + k]
        if sure[element] and value > _SURE * error:
            found = float(value / (electrons * atoms[element] * builder.leaving(family, atoms)))
            if abs(found / own[family] - 1.0) > _DISAGREE:
                own[family], errors[family] = found, calibration_of_family(builder, element)
    return replace(builder, sensitivities=replace(builder.sensitivities, cross_section=own, uncertainty=errors))


def calibration_of_family(builder: Builder, element: str) -> float:
    """Relative uncertainty of the best factor of an element."""
    errors = builder.sensitivities.uncertainty
    return min((errors[family] for family in builder.families(element) if family in errors), default=0.0)


class FitStatus(IntEnum):
    """What became of the fit of a spectrum; amounts are NaN where it is above 0."""

    FITTED = kernels.CONVERGED
    EMPTY = kernels.EMPTY
    """No counts."""
    NOT_CONVERGED = kernels.NOT_CONVERGED
    """The fit did not come to an end."""
    UNDETERMINED = kernels.UNDETERMINED
    """Its amounts cannot be told apart."""
    UNEXPLAINED = 4
    """More than a fifth of the counts of the map are of no line of the elements that were looked for."""


@dataclass(frozen=True, eq=False)
class Composition:
    """Elements in N columns.

    Parameters
    ----------
    elements
        Symbols, M of them.
    atoms
        Atoms/nm^2, shape (N, M): not below 0.
    unclipped
        The same without that limit: means of these have no bias.
    covariance
        Of the unclipped ones from counting, shape (N, M, M).
    calibration
        Relative standard uncertainty of the calibration of each element and of the absorption of its lines, shape
        (N, M); or (M,), the same in all columns.
    status
        :class:`FitStatus`, shape (N,).
    besides
        Change of the atoms per standard error of what counts as their lines without being theirs, such as hidden
        families of others, shape (N, M, H).
    """

    elements: tuple[str, ...]
    atoms: FloatArray
    unclipped: FloatArray
    covariance: FloatArray
    calibration: FloatArray
    status: NDArray[np.int8]
    besides: FloatArray | None = None

    @property
    def relative(self) -> FloatArray:
        """``calibration`` of every column, shape (N, M)."""
        return np.broadcast_to(self.calibration, self.atoms.shape)

    @property
    def others(self) -> FloatArray:
        """``besides``, of shape (N, M, 0) where there is nothing."""
        return np.zeros((*self.atoms.shape, 0)) if self.besides is None else self.besides

    @property
    def std(self) -> FloatArray:
        """Standard errors of the atoms from counting, shape (N, M)."""
        return np.sqrt(np.einsum("nii->ni", self.covariance))

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which columns have an answer, shape (N,)."""
        return np.asarray(np.isfinite(self.unclipped).all(axis=1))

    def summed(self, region: NDArray[np.bool_]) -> Composition:
        """Some columns, shape (N,), as one."""
        return self.grouped(np.where(region, 0, -1), 1)

    def grouped(self, group: NDArray[np.int64], groups: int) -> Composition:
        """Columns of each group as one, shape (N,), -1 for those left out; NaN for groups without any."""

        def added(values: FloatArray) -> FloatArray:
            total = np.zeros((groups, *values.shape[1:]))
            np.add.at(total, group[group >= 0], values[group >= 0])
            return total

        total, weight = added(self.unclipped), added(self.atoms + 1e-12)
        spread, calibration = added(self.covariance), added((self.atoms + 1e-12) * self.relative)
        empty = np.bincount(group[group >= 0], minlength=groups) == 0
        total[empty], spread[empty] = np.nan, np.nan
        return replace(
            self,
            atoms=np.maximum(total, 0.0),
            unclipped=total,
            covariance=spread,
            calibration=calibration / np.where(weight > 0.0, weight, 1.0),
            status=np.where(empty, kernels.EMPTY, CONVERGED).astype(np.int8),
            besides=None if self.besides is None else added(self.besides),
        )

    def withheld(self) -> Composition:
        """The same without any number: the elements do not describe the map."""
        filled = self.status != kernels.EMPTY
        nothing = [np.full_like(values, np.nan) for values in (self.atoms, self.unclipped, self.covariance)]
        status = np.where(filled, np.int8(FitStatus.UNEXPLAINED), self.status).astype(np.int8)
        return replace(self, atoms=nothing[0], unclipped=nothing[1], covariance=nothing[2], status=status)

    def subset(self, elements: Sequence[str]) -> Composition:
        """Some of the elements."""
        index = [self.elements.index(element) for element in elements]
        return replace(
            self,
            elements=tuple(elements),
            atoms=self.atoms[:, index],
            unclipped=self.unclipped[:, index],
            covariance=self.covariance[:, index][:, :, index],
            calibration=self.calibration[..., index],
            besides=None if self.besides is None else self.besides[:, index],
        )

    def atomic_percent(self, *, clipped: bool = True) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Atomic per cent of these elements, Li not among them.

        Returns
        -------
        percent, std, systematic
            Shape (N, M) each: value, standard error from counting, and uncertainty from the calibration.
        """
        amounts = self.atoms if clipped else self.unclipped
        share, std = shares(amounts, self.covariance)
        relative = self.relative**2
        spread = share**2 * ((1.0 - 2.0 * share) * relative + (share**2 * relative).sum(axis=1, keepdims=True))
        moved = self.others - share[:, :, np.newaxis] * self.others.sum(axis=1, keepdims=True)
        total = amounts.sum(axis=1)[:, np.newaxis]
        spread = spread + (moved**2).sum(axis=2) / np.where(total > 0.0, total, np.nan) ** 2
        return 100.0 * share, 100.0 * std, 100.0 * np.sqrt(np.maximum(spread, 0.0))


def shares(
    amounts: FloatArray, covariance: FloatArray, unit: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Shares of amounts in their sum, and their standard errors.

    Parameters
    ----------
    amounts
        Shape (N, M).
    covariance
        Shape (N, M, M).
    unit
        What one unit of each adds to the sum, such as densities; 1 by default.

    Returns
    -------
    share, std
        Shape (N, M); NaN where the sum is not above 0.
    """
    unit = np.ones(amounts.shape[-1]) if unit is None else np.asarray(unit, dtype=float)
    weighted = amounts * unit
    total = weighted.sum(axis=-1, keepdims=True)
    total = np.where(total > 0.0, total, np.nan)
    share = weighted / total
    slope = (np.eye(unit.size) - share[..., :, np.newaxis]) * unit / total[..., np.newaxis]
    variance = np.einsum("nij,njk,nik->ni", slope, covariance, slope)
    return share, np.sqrt(np.maximum(variance, 0.0))


def quantify_elements(
    scene: Scene, counts: Any, *, exposure: FloatArray | None = None, threads: int | None = None
) -> Composition:
    """Count the atoms of each element in every column.

    Parameters
    ----------
    scene
        Of :func:`prepare_scene`.
    counts
        Spectra, shape (N, all channels); an array or a dask array.
    exposure
        Of how many pixels each spectrum is the sum, shape (N,); 1 by default.

    Returns
    -------
    Composition
        Maximum-likelihood amounts.
    """
    (model,) = scene.models()
    return _composition(scene, model, model.fit(counts, exposure=exposure, threads=threads))


def _composition(scene: Scene, model: SpectrumModel, fit: TemplateFit) -> Composition:
    m = len(scene.elements)
    calibration = model.calibration(fit.amounts, calibration_of(scene, model.groups))
    own = [model.groups.index(element) for element in scene.elements]
    others = [g for g in range(len(model.groups)) if g not in own]
    return Composition(
        elements=scene.elements,
        atoms=fit.amounts[:, :m],
        unclipped=fit.unclipped[:, :m],
        covariance=fit.covariance[:, :m, :m],
        calibration=calibration[:, own],
        status=fit.status,
        besides=fit.by_group[:, :m, others] * calibration[:, np.newaxis, others] if others else None,
    )


def quantify_columns(
    scene: Scene, counts: Any, columns: Mapping[str, Mapping[str, float]], *, threads: int | None = None
) -> tuple[Composition, tuple[TemplateFit, TemplateFit], FloatArray]:
    """Fit every column twice: as atoms of each element, and as a mixture of phases and of elements that none holds.

    Parameters
    ----------
    scene, counts, threads
        As for :func:`quantify_elements`.
    columns
        Atoms/nm^3 of each element in each phase.

    Returns
    -------
    composition
        Of the first fit.
    fits
        Both; in the second, nm of each phase come first.
    calibration
        Relative uncertainty of the calibration of each of the groups of templates of the second, and of the absorption
        of their lines, shape (N, G).
    """
    models = scene.models(columns)
    by_element, by_phase = (model.fit(counts, threads=threads) for model in models)
    calibration = models[1].calibration(by_phase.amounts, calibration_of(scene, models[1].groups))
    return _composition(scene, models[0], by_element), (by_element, by_phase), calibration


def calibration_of(scene: Scene, elements: Sequence[str] | None = None) -> FloatArray:
    """Relative uncertainty of the calibration of each element: that of its best line in the range."""
    errors = scene.builder.sensitivities.uncertainty
    names = scene.elements if elements is None else elements
    return np.array([errors[n] if n in errors else calibration_of_family(scene.builder, n) for n in names])


Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Analysis(Generic[Found]):
    """What an analysis of a map found, what should be known of it, and how it was done.

    Parameters
    ----------
    found
        As arrays.
    notes
        In words.
    provenance
        Parameters, versions and works that it stands on.
    """

    found: Found
    notes: tuple[str, ...]
    provenance: dict[str, Any]


@dataclass(frozen=True, eq=False)
class PreparedMap:
    """A map that is ready to be fitted.

    Parameters
    ----------
    scene
        What is common to all spectra.
    notes
        What should be known of it, in words.
    parameters, methods
        For the record: what was chosen, and the works that it stands on.
    unexplained
        Share of the counts that lines and continuum do not explain.
    """

    scene: Scene
    notes: tuple[str, ...]
    parameters: Mapping[str, Any]
    methods: tuple[str, ...]
    unexplained: float = 0.0

    @property
    def described(self) -> bool:
        """Whether the elements that were looked for describe the map."""
        return self.unexplained <= MOST_UNEXPLAINED


def prepare_map(recorded: EDSMap, settings: EDSOptions) -> PreparedMap:
    """Find what is common to the spectra of a map, and what should be known of it.

    Raises
    ------
    AssbValueError
        If something is missing or wrong, or an SEM recorded the map; the message names it.

    Warns
    -----
    AssbWarning
        If the energy axis is off, or the metadata make the specimen too thick or too thin to be true.
    """
    if settings.k_factors is None or settings.absorption:
        recorded.must_be_thin()
    builder = make_builder(recorded, settings)
    # Foreign elements without a factor are fitted, but not counted; those of the cell need one.
    elements = builder.countable({*CELL_ELEMENTS, *(settings.elements or ())} - {*settings.spurious})
    elements = [element for element in elements if element not in settings.spurious]
    summed = recorded.spectra.summed()
    checked = check_calibration(builder, summed.total, detector=settings.detector)
    calibration = None
    if checked is not None:
        calibration, shapes = checked
        # Where they are not to be trusted, lines lie where the axis says.
        builder = shapes.builder if calibration.trusted else builder
    elif settings.detector is not None:
        builder = replace(builder, detector=settings.detector)
    factors = builder.sensitivities
    scene = prepare_scene(
        builder,
        summed.total,
        summed.spectra,
        elements,
        thickness=settings.thickness,
        largest_share=summed.largest / summed.total.sum(),
    )
    notes = [_LITHIUM, f"Calibration of the elements: {factors.source}."]
    notes += calibration.notes if calibration else ("The energy axis could not be checked.",)
    computed = compute_sensitivities(
        [line for line in builder.seen if line.element in x_ray_elements()], builder.instrument.beam_energy
    )
    for told in odd_factors(factors, computed):
        warnings.warn(told, AssbWarning, stacklevel=4)
        notes.append(told)
    unexplained = 0.0 if calibration is None else calibration.unexplained
    if unexplained > MOST_UNEXPLAINED:
        notes.insert(0, _candidates(recorded, settings, unexplained))
    if settings.spurious:
        notes.append(f"Not of the column, and not counted as atoms: {', '.join(settings.spurious)}.")
    if scene.free_families:
        free = ", ".join(family.replace("_", " ") for family in scene.free_families)
        notes.append(f"Fitted, but not counted as atoms: {free}.")
    if scene.continuum is None:
        notes.append("The continuum is free in every spectrum: there are too few to know its shape.")
    mean = float(scene.mean[: len(scene.elements)].sum()) / ATOMS_PER_VOLUME
    if not builder.absorption:
        notes.append("Absorption of X-rays in the specimen was left out.")
    if settings.thickness is not None:
        notes.append(
            f"The scale of all amounts is that of the mean thickness that was given, {settings.thickness:g} nm."
        )
        if builder.instrument.electrons is not None and factors.absolute:
            own = settings.thickness * scene.electrons / builder.instrument.electrons
            notes.append(f"Beam current, live time and solid angle of the metadata would make it {own:.3g} nm.")
    elif builder.absorption and not _PLAUSIBLE[0] <= mean <= _PLAUSIBLE[1]:
        told = (
            f"The beam current, the live time and the solid angle of the metadata make the mean thickness {mean:.2g} "
            "nm, which can hardly be: absorption is wrong with it. The live time is that of one pixel (a file may hold "
            "that of the whole map). Set them, or give thickness= in nm."
        )
        warnings.warn(told, AssbWarning, stacklevel=4)
        notes.insert(0, told)
    parameters = {
        "elements": list(scene.elements),
        "factors": factors.kind,
        "factors_source": factors.source,
        "factor_of": dict(factors.cross_section),
        "thickness": settings.thickness,
        "absorption": settings.absorption,
        "electrons": scene.electrons,
        "take_off_angle": builder.instrument.take_off_angle,
        "energy_resolution": builder.instrument.resolution,
        "fit_range": list(builder.fit_range),
    }
    calibrated = {COMPUTED: "x_ray_cross_sections", GIVEN_K: "cliff_lorimer"}.get(factors.kind, "zeta")
    methods = ("poisson", calibrated, "numba", "hyperspy")
    return PreparedMap(scene, tuple(notes), parameters, methods, unexplained)


def _candidates(recorded: EDSMap, settings: EDSOptions, unexplained: float) -> str:
    """In words, that the elements do not describe the map, and what else may be there."""
    looked_for = set(elements_of(recorded, settings))
    try:
        others = [found.name for found in find_elements(recorded, settings) if not looked_for & set(found.elements)]
    except ValueError:
        others = []
    told = f"The spectrum shows {', '.join(others)}: name them in elements=." if others else "Check the energy axis."
    return (
        f"Lines of the elements that were looked for leave {100 * unexplained:.0f} % of the counts unexplained: there "
        f"is no composition. {told}"
    )


def quantify_map(recorded: EDSMap, settings: EDSOptions) -> Analysis[Composition]:
    """Count the atoms of each element in every pixel of a map; errors and warnings are those of :func:`prepare_map`."""
    prepared = prepare_map(recorded, settings)
    found = quantify_elements(prepared.scene, recorded.spectra)
    if not prepared.described:
        warnings.warn(prepared.notes[0], AssbWarning, stacklevel=3)
        found = found.withheld()
    record = provenance.record("quantify_composition", parameters=prepared.parameters, methods=prepared.methods)
    return Analysis(found, prepared.notes, record)
