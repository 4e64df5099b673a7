"""From a map to its composition: what is chosen, what is checked, and what should be known of the result."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from hyperspy_assb import provenance
from hyperspy_assb.eds.composition.atoms import Composition, quantify_elements
from hyperspy_assb.eds.composition.least_carbon import PartialSum, sum_least_carbon
from hyperspy_assb.eds.composition.scene import ATOMS_PER_VOLUME, Scene, prepare_scene, with_mean_column
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions
from hyperspy_assb.eds.lines.axis_check import check_calibration, unexplained_share
from hyperspy_assb.eds.lines.column_spectra import make_builder
from hyperspy_assb.eds.lines.element_finder import find_elements
from hyperspy_assb.eds.lines.factor_check import odd_factors
from hyperspy_assb.eds.lines.sensitivity import COMPUTED, GIVEN_K, compute_sensitivities
from hyperspy_assb.eds.lines.shape_fit import Part
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, elements_of
from hyperspy_assb.errors import AssbWarning
from hyperspy_assb.reference import x_ray_elements

_PLAUSIBLE = (0.5, 1000.0)
"""nm: mean thicknesses of maps, with the vacuum beside the specimen."""
MOST_UNEXPLAINED = 0.2
"""Share of the counts, and of the pixels with material, above which a list of elements or phases describes no map."""
_LITHIUM = "EDX does not detect Li: atomic per cent refer to the other elements."

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
    least = sum_least_carbon(recorded.spectra, recorded.energy, builder.instrument.resolution)
    rest = None if least is None else PartialSum(summed.total - least.total, max(summed.spectra - least.spectra, 1))
    bare = builder
    builder = with_mean_column(bare, summed.total, summed.spectra, elements, settings.thickness)
    columns = [
        (part, with_mean_column(bare, part.total, part.spectra, elements, settings.thickness))
        for part in (least, rest)
        if part is not None
    ]
    parts = tuple(Part(part.total, own.absorber) for part, own in columns)
    checked = check_calibration(builder, summed.total, detector=settings.detector, parts=parts)
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
        least=least,
    )
    notes = [_LITHIUM, f"Calibration of the elements: {factors.source}."]
    notes += calibration.notes if calibration else ("The energy axis could not be checked.",)
    computed = compute_sensitivities(
        [line for line in builder.seen if line.element in x_ray_elements()], builder.instrument.beam_energy
    )
    for told in odd_factors(factors, computed):
        warnings.warn(told, AssbWarning, stacklevel=4)
        notes.append(told)
    unexplained = _unexplained(scene) if calibration is None else calibration.unexplained
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
        notes.append(f"All amounts are scaled to the given mean thickness, {settings.thickness:g} nm.")
        if builder.instrument.electrons is not None and factors.absolute:
            own = settings.thickness * scene.electrons / builder.instrument.electrons
            notes.append(f"Beam current, live time and solid angle of the metadata would make it {own:.3g} nm.")
    elif builder.absorption and not _PLAUSIBLE[0] <= mean <= _PLAUSIBLE[1]:
        told = (
            f"Beam current, live time and solid angle in the metadata give a mean thickness of {mean:.2g} nm, which is "
            "implausible and makes the absorption correction wrong. The live time must be that of one pixel (some "
            "files hold that of the whole map). Correct them, or give thickness= in nm."
        )
        warnings.warn(told, AssbWarning, stacklevel=4)
        notes.insert(0, told)
    if unexplained > MOST_UNEXPLAINED:
        # First: all else means nothing then.
        notes.insert(0, _candidates(recorded, settings, unexplained))
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


def _unexplained(scene: Scene) -> float:
    """Share of the counts of all spectra that lines and continuum do not explain."""
    model = scene.models()[0]
    expected = scene.n_spectra * model.model.expectation(scene.mean)
    return unexplained_share(model.energy, scene.total[model.channels], expected)["unexplained"]


def _candidates(recorded: EDSMap, settings: EDSOptions, unexplained: float) -> str:
    """In words, that the elements do not describe the map, and what else may be there."""
    looked_for = set(elements_of(recorded, settings))
    try:
        others = [found.name for found in find_elements(recorded, settings) if not looked_for & set(found.elements)]
    except ValueError:
        others = []
    told = f"The spectrum shows {', '.join(others)}: name them in elements=." if others else "Check the energy axis."
    return (
        f"The lines of the listed elements leave {100 * unexplained:.0f} % of the counts unexplained: there "
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
