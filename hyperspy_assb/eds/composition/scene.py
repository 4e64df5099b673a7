"""What the sum of all spectra says of each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hyperspy_assb.eds.composition.least_carbon import PartialSum
from hyperspy_assb.eds.eds_map import FloatArray
from hyperspy_assb.eds.lines.column_spectra import FREE_CONTINUUM_ABOVE, Builder, SpectrumModel
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, TemplateFit

ATOMS_PER_VOLUME = 80.0
"""Atoms/nm^3 that X-rays show in a solid: 82 to 84 in the phases of the cell."""
_SCALE_STEP = 0.7
"""Share of a step towards the scale that is taken where films absorb: it settles from 0 to 300 nm."""
_LEAST = 1e-3
"""Share of the largest amount from which fits start at least: an amount of 0 would tell nothing of its scale."""
_SURE = 10.0
"""Standard errors above which the sum of all spectra tells the ratio of two families of an element."""
_DISAGREE = 0.05
"""Relative difference from which on the sum is believed: absorption in columns that differ makes less."""
_SOFT = 0.4
"""keV below which the continuum is curved, and jumps, between lines."""
_ROUGHLY, _THICKEST = 5, 1000.0
"""Rounds for a rough mean column, and nm that it has at most."""
_SETTLING = 3
"""Fits of the mean with all factors; the scale settles in them."""
_SUM_ITERATIONS = 20_000
"""Steps of the fit of a sum at most: many counts and shapes that do not describe them take thousands."""


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
    unsure
        Atoms/nm^2 by which the shape of the continuum leaves elements with soft lines unsure in the mean spectrum:
        standard errors, the same in all spectra for a continuum of the same strength.
    beneath
        Atoms/nm^2 of these elements for which the continuum beneath their lines would pass in the mean spectrum.
    reference
        Mean amounts of the spectra from which the continuum is taken, where these are not all.
    """

    builder: Builder
    elements: tuple[str, ...]
    free_families: tuple[str, ...]
    electrons: float
    continuum: FloatArray | None
    mean: FloatArray
    total: FloatArray
    n_spectra: int
    unsure: Mapping[str, float] = field(default_factory=dict)
    beneath: Mapping[str, float] = field(default_factory=dict)
    reference: FloatArray | None = None

    def common_errors(self, continuum: FloatArray, atoms: FloatArray) -> FloatArray:
        """Errors of the atoms that the shape of the continuum makes in common, shape (N, M, H).

        Parameters
        ----------
        continuum
            Strength in each spectrum, shape (N,).
        atoms
            Of each element, shape (N, M): columns that are not the mean one absorb the continuum by tables alone.
        """
        errors = np.zeros((continuum.size, len(self.elements), 2 * len(self.unsure)))
        mean, m = self.mean if self.reference is None else self.reference, len(self.elements)
        strength = np.nan_to_num(continuum) / mean[-1]
        apart = np.nan_to_num(atoms) - np.multiply.outer(strength, mean[:m])
        for h, (element, error) in enumerate(self.unsure.items()):
            place = self.elements.index(element)
            errors[:, place, 2 * h] = error * strength
            slope = self.builder.doubt_of_leaving(element, dict(zip(self.elements, mean, strict=False)))
            errors[:, place, 2 * h + 1] = self.beneath[element] * strength * (apart @ slope)
        return errors

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
    least: PartialSum | None = None,
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
    least
        Those spectra from which the continuum is taken; None: all.

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
            "Absorption depends on the thickness, which is unknown: set beam current, live time and solid angle, or "
            "give thickness in nm, or switch the absorption correction off."
        )
    electrons = known if known is not None else 1.0
    amounts = {element: {element: 1.0} for element in elements}
    mean: FloatArray | None = None
    typical: FloatArray | None = None
    bare, many = (total, n_spectra) if least is None else (least.total, least.spectra)
    for _ in range(7 if scaled and builder.absorption else 3):
        # Without a scale nothing is known of absorption, and any would do: the first is that of a transparent film.
        own = replace(builder, absorption=False) if scaled and mean is None else builder
        height = own.estimate_continuum(bare) / many
        model = own.build(amounts, free, continuum=height, electrons=electrons, typical=typical)
        fit = _fit_mean(model, total, n_spectra)
        mean = fit.amounts[0]
        reference = mean if least is None else _fit_mean(model, bare, many).amounts[0]
        column = reference[: len(elements)]
        typical = np.maximum(mean, _LEAST * mean[: len(elements)].max())
        if scaled and thickness is not None:
            # Before the scale has settled, what is known of the mean column is its thickness.
            scale = thickness * atoms_per_volume / max(float(mean[: len(elements)].sum()), 1e-300)
            column, typical = scale * column, scale * typical
        builder = replace(builder, absorber=dict(zip(elements, column.tolist(), strict=True)))
        if scaled and thickness is not None:
            # Absorption makes amounts fall faster than electrons rise: whole steps overshoot, and swing.
            ratio = float(mean[: len(elements)].sum() / (thickness * atoms_per_volume))
            electrons *= ratio if own is not builder else ratio**_SCALE_STEP
    assert mean is not None
    stds = np.sqrt(np.maximum(fit.covariance[0].diagonal(), 0.0))
    given = replace(given, absorber=builder.absorber)
    builder = _tied_by_sum(given, builder, elements, free, mean, stds, electrons)
    if builder.free_families(elements) != free:
        free = builder.free_families(elements)
        for _ in range(_SETTLING):
            model = builder.build(amounts, free, continuum=height, electrons=electrons, typical=typical)
            mean = _fit_mean(model, total, n_spectra).amounts[0]
            if scaled and thickness is not None:
                electrons *= float(mean[: len(elements)].sum() / (thickness * atoms_per_volume)) ** _SCALE_STEP
    continuum: FloatArray | None = height
    unsure: dict[str, float] = {}
    beneath: dict[str, float] = {}
    if largest_share > FREE_CONTINUUM_ABOVE:
        mean = np.concatenate([mean[:-1], height * mean[-1]])
        continuum = None
    else:
        reference = mean if least is None else _fit_mean(model, bare, many).amounts[0]
        unsure, beneath = _unsure(builder, bare, dict(zip(elements, reference, strict=False)), electrons * many)
    return Scene(
        builder=builder,
        elements=tuple(elements),
        free_families=free,
        electrons=electrons,
        continuum=continuum,
        mean=mean,
        total=total,
        n_spectra=n_spectra,
        unsure=unsure,
        beneath=beneath,
        reference=None if continuum is None else reference,
    )


def with_mean_column(
    builder: Builder, total: FloatArray, n_spectra: int, elements: Sequence[str], thickness: float | None
) -> Builder:
    """A builder that knows roughly through what column the continuum leaves; the same where its scale is not known.

    Parameters
    ----------
    builder, total, n_spectra, elements, thickness
        As for :func:`prepare_scene`. Without the steps of the continuum at edges of absorption, lines beside them, such
        as O Kα, would seem to lie elsewhere.
    """
    factors = builder.with_best_families(elements).sensitivities
    known = builder.instrument.electrons if factors.absolute else None
    if not builder.absorption or (known is None and thickness is None):
        return builder
    try:
        summed = builder.fit_sum(total)
    except AssbValueError:
        return builder
    made = {
        line.full_name: count / n_spectra / factors.of(line.full_name)
        for line, count in zip(summed.lines, summed.counts, strict=True)
        if line.element in elements and line.full_name in factors.cross_section
    }
    leaving = dict.fromkeys(made, 1.0)
    atoms: dict[str, float] = {}
    most = (thickness or _THICKEST) * ATOMS_PER_VOLUME
    for _ in range(_ROUGHLY):
        atoms = {family.partition("_")[0]: count / leaving[family] / (known or 1.0) for family, count in made.items()}
        whole = max(sum(atoms.values()), 1e-300)
        scale = most / whole if thickness is not None else min(most / whole, 1.0)
        atoms = {element: scale * number for element, number in atoms.items()}
        leaving = {family: builder.leaving(family, atoms) for family in made}
    return replace(builder, absorber=atoms)


def _unsure(
    builder: Builder, total: FloatArray, atoms: Mapping[str, float], electrons: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Standard errors of elements with soft lines where the continuum is free, in atoms/nm^2 of the mean spectrum, and
    for how many the continuum beneath would pass.
    """
    found = builder.fit_sum(total)
    continuum = found.continuum @ builder.hats[1]
    errors, beneath = {}, {}
    for line, error in zip(found.lines, found.std, strict=True):
        if line.energy < _SOFT and line.element in atoms and line.full_name in builder.sensitivities.cross_section:
            counted = electrons * builder.sensitivities.of(line.full_name) * builder.leaving(line.full_name, atoms)
            weighed = builder.shape(line) / np.maximum(found.expected, 1e-9)
            errors[line.element] = float(error / counted)
            beneath[line.element] = float(weighed @ continuum / (weighed @ builder.shape(line)) / counted)
    return errors, beneath


def _fit_mean(model: SpectrumModel, total: FloatArray, n_spectra: int) -> TemplateFit:
    """The mean of all spectra, from their sum."""
    start = model.model.guess(total[model.channels] / n_spectra)
    fit = replace(model, typical=start).fit(
        total[np.newaxis], exposure=np.array([float(n_spectra)]), max_iterations=_SUM_ITERATIONS
    )
    if fit.status[0] != CONVERGED:
        raise AssbValueError(
            "The lines of these elements cannot be fitted to the summed spectrum. If the energy axis may be off, "
            "correct it first with correct_energy_calibration() (assb fit --correct-energy); else check the elements."
        )
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
