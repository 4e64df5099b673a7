"""Delithiation of a signal without references, by cross-sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hyperspy_assb import reference
from hyperspy_assb.components import M23Edge
from hyperspy_assb.eels.delithiation.cross_section_calibration import (
    estimate_by_cross_sections,
    inelastic_mean_free_path,
)
from hyperspy_assb.eels.delithiation.phase_features import OLIVINE
from hyperspy_assb.eels.delithiation.quantification import Quantification
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry
from hyperspy_assb.models.low_loss import LowLossOptions, create_low_loss_model
from hyperspy_assb.models.near_edges import near_edge_errors
from hyperspy_assb.signals.eels.pure_pixels import collect_features

ELEMENTS = ("Li", "Fe", "P")
"""Elements of the olivine whose edges lie in the low-loss range."""


def quantify_by_cross_sections(
    signal: Any, elements: tuple[str, ...] | None, progress: Callable[[int], object]
) -> Quantification:
    """Lithium content of every pixel from Li K per Fe M2,3; the result holds "lithium" alone, and no amounts.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        Low-loss spectra.
    elements
        Elements whose edges are fitted; None: those of the olivine. Without P, all Li is taken to be in the olivine.
    progress
        Called with the number of spectra fitted since the last call.

    Raises
    ------
    ValueError
        If the beam energy or an angle is unset, Li or Fe is not among the elements, or another metal whose M2,3 edge
        overlaps with Fe and Li is among them or among those of the metadata.
    """
    microscope = signal.check_microscope_parameters()
    if microscope.missing:
        raise ValueError(
            f"{', '.join(microscope.missing)} unset or a placeholder: cross-sections need the beam energy and both "
            f"angles. Set them with set_microscope_parameters({', '.join(f'{m}=...' for m in microscope.missing)}), or "
            "name references, which need neither."
        )
    elements = elements or ELEMENTS
    if not {"Li", "Fe"} <= set(elements):
        raise ValueError(f"elements must hold Li and Fe to count both by cross-sections, not {', '.join(elements)}.")
    named = {*elements, *(signal.metadata.get_item("Sample.elements", None) or ())}
    metals = sorted(named & (set(M23Edge.elements) - {"Fe", "Ge"}))
    if metals:
        raise ValueError(
            f"The M2,3 edge of {', '.join(metals)} overlaps with Fe M2,3 and Li K: Li per Fe by cross-sections is not "
            "to be had. Name references."
        )
    signal = signal._deepcopy_with_new_data(signal.data)  # the noise that the fit notes is not the caller's
    model = create_low_loss_model(signal, microscope, LowLossOptions(elements=elements))
    model.multifit(progress=progress)
    features = collect_features(model)
    geometry = ScatteringGeometry(microscope.beam_energy, microscope.convergence_angle, microscope.collection_angle)
    pristine = reference.material(OLIVINE[0])
    density = pristine.needed("density", by="Li per Fe by cross-sections")
    atoms = pristine.formula_density * inelastic_mean_free_path(density, geometry)
    deviance = np.ravel(model.fit_quality.reduced_deviance.data)
    nothing = np.zeros((deviance.size, 0))
    return Quantification(
        contents={
            "lithium": estimate_by_cross_sections(features, geometry, near_edge_errors(model, atoms=atoms), deviance)
        },
        amounts=nothing,
        amounts_std=nothing,
        t_over_lambda=features.t_over_lambda,
        reduced_deviance=deviance,
        agreement=np.full(deviance.size, np.nan),
        residual=nothing,
    )
