"""The ready low-loss model: its components, started in every spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import components as own_components
from hyperspy_assb.components.low_loss import KernelComponent
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.scattering.joint_model import Shapes, start_joint_fit
from hyperspy_assb.eels.scattering.joint_model import refine_shapes as refine_shapes_of_arrays
from hyperspy_assb.eels.scattering.low_loss_components import Component as LowLossComponent
from hyperspy_assb.eels.scattering.low_loss_components import LowLossOptions
from hyperspy_assb.models.recorded_noise import detector_of_model
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel

_EDGES = {cls.shell: cls for cls in own_components.EDGE_CLASSES}


def create_low_loss_model(signal: Any, spectra: LowLossMap, options: LowLossOptions) -> ASSBEELSModel:
    """Assemble the joint model of a low-loss signal.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        Low-loss spectra with the zero-loss peak in range. What they tell of gain and read noise is the ``detector`` of
        the model; the signal stays as it is.
    spectra
        The same as arrays.
    options
        What goes into the model.

    Returns
    -------
    model
        With plural scattering, started in every spectrum.

    Warns
    -----
    AssbWarning
        If the beam energy or an angle is unset, so that areal densities are only relative.
    """
    started = start_joint_fit(spectra, options)
    joint = started.joint
    model = ASSBEELSModel(signal, auto_background=False, auto_add_edges=False, plural_scattering=True)
    model.extend([_as_hyperspy(component) for component in started.components])
    if joint.mask.size < spectra.energy.size:
        model.set_signal_range(float(spectra.energy[0]), float(spectra.energy[joint.mask.size - 1]))
    model.detector = started.detector
    parameters = [parameter for component in model for parameter in component.parameters]
    for parameter, free, values in zip(parameters, joint.free, joint.values.T, strict=True):
        parameter.free = bool(free)
        parameter.map["values"] = values.reshape(parameter.map.shape)
        parameter.map["std"] = np.nan
        parameter.map["is_set"] = True
    model.fetch_stored_values()
    return model


def _as_hyperspy(component: LowLossComponent) -> KernelComponent:
    cls = _EDGES[component.shell] if component.shell else getattr(own_components, component.name)
    return cls(**component.arguments)


def refine_shapes(model: ASSBEELSModel, masks: Mapping[str, NDArray[np.bool_]]) -> Shapes:
    """Fit positions and widths that all pixels share on pure pixels, and fix them there.

    See :func:`hyperspy_assb.eels.scattering.joint_model.refine_shapes`.

    Parameters
    ----------
    model
        A started model.
    masks
        Pure pixels of each phase, boolean arrays on the navigation axes.

    Returns
    -------
    shapes
        The values by (component, parameter), for :func:`apply_shapes`.
    """
    energy = np.array(model.axis.axis, dtype=float)
    data = model.signal.data.compute() if model.signal._lazy else model.signal.data
    counts = np.asarray(data, dtype=float).reshape(-1, energy.size)
    _, shapes = refine_shapes_of_arrays(model.joint_model(), (counts, energy), masks, detector_of_model(model))
    apply_shapes(model, shapes)
    return shapes


def apply_shapes(model: ASSBEELSModel, shapes: Shapes) -> None:
    """Fix shared positions and widths at given values, in every pixel."""
    for (component, name), value in shapes.items():
        parameter = getattr(model[component], name)
        parameter.value = value
        parameter.free = False
        parameter.assign_current_value_to_all()
