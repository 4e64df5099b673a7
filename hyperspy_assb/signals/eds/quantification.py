"""How composition and phases of an X-ray map come about, and what should be known of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from hyperspy_assb import provenance
from hyperspy_assb.eds.composition.atoms import ATOMS_PER_VOLUME, Composition, Scene, quantify_elements
from hyperspy_assb.eds.phases.evidence import PhaseStatus, Verdict
from hyperspy_assb.eds.phases.stoichiometry import PhaseMixture, PhaseOptions, quantify_phases
from hyperspy_assb.signals.eds import setup as eds_setup
from hyperspy_assb.signals.eds.compositions import EDSComposition, EDSPhases
from hyperspy_assb.signals.eds.eds_files import navigation_axes
from hyperspy_assb.signals.eds.setup import Settings

_FEW = 0.02
"""Share of the pixels with material that may be unexplained without a word."""
_PLAUSIBLE = (0.5, 1000.0)
"""nm: mean thicknesses of maps, with the vacuum beside the specimen."""
OLIVINES = "LiFePO4 and FePO4 have the same X-ray lines: they are one class, olivine."
LITHIUM = "X-rays do not show Li: atomic per cent are those of the other elements."


def prepare(signal: Any, settings: Settings) -> tuple[Scene, eds_setup.Spectra, tuple[str, ...], dict[str, Any]]:
    """Scene and spectra of a signal, what should be known of them, and the parameters for the record."""
    builder = eds_setup.make_builder(signal, settings)
    spectra = eds_setup.Spectra(signal)
    summed = eds_setup.sum_spectra(spectra)
    calibration = eds_setup.check_calibration(builder, summed.total)
    scene = eds_setup.make_scene(signal, builder, settings, summed)
    factors = builder.sensitivities
    findings = [LITHIUM, f"Calibration of the elements: {factors.source}."]
    findings += calibration.findings if calibration else ("The energy axis could not be checked.",)
    if scene.free_families:
        free = ", ".join(family.replace("_", " ") for family in scene.free_families)
        findings.append(f"Fitted, but not counted, for want of a factor: {free}.")
    if scene.continuum is None:
        findings.append("The continuum is free in every spectrum: there are too few to know its shape.")
    if not builder.absorption:
        findings.append("Absorption of X-rays in the specimen was left out.")
    elif settings.thickness is None:
        told = _implausible(scene)
        if told:
            warnings.warn(told, UserWarning, stacklevel=4)
            findings.insert(0, told)
    parameters = {
        "elements": list(scene.elements),
        "factors": factors.kind,
        "factors_source": factors.source,
        "factor_of": {line: factors.cross_section[line] for line in factors.cross_section},
        "thickness": settings.thickness,
        "absorption": settings.absorption,
        "electrons": scene.electrons,
        "take_off_angle": builder.instrument.take_off_angle,
        "energy_resolution": builder.instrument.resolution,
        "fit_range": list(builder.fit_range),
    }
    return scene, spectra, tuple(findings), parameters


def _implausible(scene: Scene) -> str:
    """In words, that the mean thickness is not one through which electrons go; nothing where it may be one."""
    mean = float(scene.mean[: len(scene.elements)].sum()) / ATOMS_PER_VOLUME
    if _PLAUSIBLE[0] <= mean <= _PLAUSIBLE[1]:
        return ""
    return (
        f"The beam current, the live time and the solid angle of the metadata make the mean thickness {mean:.2g} nm, "
        "which can hardly be: absorption is wrong with it. The live time is that of one pixel (a file may hold that of "
        "the whole map). Set them, or give thickness= in nm."
    )


def methods_of(parameters: dict[str, Any]) -> tuple[str, ...]:
    """Works that a quantification stands on."""
    kind = {"computed": "x_ray_cross_sections", "k-factors": "cliff_lorimer"}.get(parameters["factors"], "zeta")
    return ("poisson", kind, "numba", "hyperspy")


def composition_of(signal: Any, settings: Settings) -> EDSComposition:
    """What :meth:`ASSBEDSTEMSpectrum.quantify_composition` does."""
    scene, spectra, findings, parameters = prepare(signal, settings)
    found = quantify_elements(scene, spectra)
    record = provenance.record("quantify_composition", parameters=parameters, methods=methods_of(parameters))
    keep = Composition(**{**{f: getattr(found, f) for f in found.__dataclass_fields__}, "fit": None})
    return EDSComposition(navigation_axes(signal), record, findings, keep)


def _unexplained(whole: Verdict) -> str:
    """In words, why no mixture of the phases explains the map."""
    if not whole.pixels:
        return "No pixel could be fitted: nothing is said of phases."
    amount = "more" if whole.worst_ratio > 0.0 else "less"
    text = (
        f"No mixture of the phases explains the map as a whole (p = {whole.p_value:.1g}; {100 * whole.foreign:.0f} ± "
        f"{100 * whole.foreign_std:.0f} % of the atoms are of elements that no phase holds): there is {amount} "
        f"{whole.worst} than in any mixture, by {abs(whole.worst_ratio):.1f} standard errors. Its fractions mean "
        "nothing."
    )
    return text


def _partly_unexplained(found: PhaseMixture) -> str:
    """In words, how many pixels no mixture explains; nothing where there are hardly any."""
    bad = np.isin(found.status, (PhaseStatus.UNEXPLAINED, PhaseStatus.RESIDUAL))
    material = bad | (found.status == PhaseStatus.GOOD)
    share = bad.sum() / max(material.sum(), 1)
    if share < _FEW:
        return ""
    return (
        f"No mixture of the phases explains {bad.sum()} of {material.sum()} pixels with material "
        f"({100 * share:.0f} %): see the status, and judge() for regions."
    )


def phases_of(signal: Any, settings: Settings, options: PhaseOptions) -> EDSPhases:
    """What :meth:`ASSBEDSTEMSpectrum.quantify_phases` does."""
    scene, spectra, findings, parameters = prepare(signal, settings)
    shape = signal.axes_manager._navigation_shape_in_array
    found = quantify_phases(scene, spectra, options, shape=shape if 1 <= len(shape) <= 2 else None)
    parameters |= {"phases": [name for name, _ in options.phases], "densities": dict(options.densities)}
    record = provenance.record("quantify_phases", parameters=parameters, methods=methods_of(parameters))
    findings = (OLIVINES, *findings)
    whole = found.judge()
    told = _partly_unexplained(found) if whole.explained else _unexplained(whole)
    if told:
        warnings.warn(told, UserWarning, stacklevel=3)
        findings = (told, *findings)
    return EDSPhases(navigation_axes(signal), record, findings, found)
