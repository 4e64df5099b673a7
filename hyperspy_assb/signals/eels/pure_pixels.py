"""Pure pixels of a signal, or pure spectra from elsewhere, and the standard that they make."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.components.edges import IonisationEdge
from hyperspy_assb.eels.delithiation.phase_features import OLIVINE, Features
from hyperspy_assb.eels.delithiation.quantification import measure_scatter
from hyperspy_assb.eels.delithiation.standard import PurePixels, Standard, build_standard
from hyperspy_assb.eels.scattering.starting_values import estimate_detector
from hyperspy_assb.eels.zero_loss.position import estimate_centre
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Role
from hyperspy_assb.models.compile import compile_model
from hyperspy_assb.models.eels import ASSBEELSModel
from hyperspy_assb.models.low_loss import LowLossOptions, create_low_loss_model, refine_shapes
from hyperspy_assb.models.multifit import VARIANCE, detector_from_metadata, recorded_detector
from hyperspy_assb.signals.eels.channels import add_channels, how_many_together
from hyperspy_assb.signals.region_mask import region_mask

NOT_PURE, NOT_ONE_PHASE = 0.1, 0.3
"""Scatter of x among pure pixels, beyond counting, from which a user is warned, and which no pure phase has."""
MOST_PIXELS = 300
"""Pure pixels of a phase that are looked at: their noise is then a three-hundredth of that of one pixel."""


def calibrate_on(
    signal: Any, references: Mapping[str, Any], elements: tuple[str, ...] | None
) -> tuple[Standard, dict[str, NDArray[np.bool_]]]:
    """The standard that pure pixels or spectra make, and the pure pixels as masks.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        In which pixels are named.
    references
        Of each phase, and of vacuum: pixels (see :func:`.masks.region_mask`), or spectra on the same energy axis.
    elements
        Elements whose edges are fitted; None: what the phases need.

    Raises
    ------
    ValueError, TypeError
        If a reference cannot be used, or two name the same pixels; the phases are named.
    """
    missing = [phase for phase in OLIVINE if phase not in references]
    if missing:
        raise ValueError(f"references must name pure pixels of {' and '.join(missing)}, or hold their spectra.")
    masks: dict[str, NDArray[np.bool_]] = {}
    spectra, labels, fewest = [], [], 3
    for phase, where in references.items():
        found = reference_spectra(signal, phase, where)
        if found is None:
            masks[phase] = region_mask(signal, where, name=f"references[{phase!r}]")
            rows = np.flatnonzero(masks[phase])
            rows = rows[np.linspace(0, rows.size - 1, min(rows.size, MOST_PIXELS)).astype(int)]
            found = _rows(signal, rows)
        else:
            fewest = min(fewest, len(found))
        spectra.append(found)
        labels += [phase] * len(found)
    for one, other in combinations(masks, 2):
        if shared := int((masks[one] & masks[other]).sum()):
            raise ValueError(
                f"references[{one!r}] and references[{other!r}] share {shared} pixels; each holds one phase."
            )
    pure = _with_data(signal, np.concatenate(spectra))
    pure = add_channels(pure, how_many_together(pure))
    own = {phase: np.array([label == phase for label in labels]) for phase in references}
    elements = elements or elements_of(references)
    model = create_low_loss_model(pure, pure.check_microscope_parameters(), LowLossOptions(elements=elements))
    shapes = refine_shapes(model, own)
    model.multifit(show_progressbar=False)
    compiled = compile_model(model)
    used = compiled.model.energy.size
    pixels = PurePixels(
        counts=np.asarray(pure.data[:, :used], dtype=float),
        energy=compiled.model.energy,
        masks={phase: mask for phase, mask in own.items() if phase != "vacuum"},
        zero_loss=compiled.start[:, compiled.model.slices[0]],
        features=collect_features(model),
        columns=_columns(model, compiled),
        source=compiled.model.terms[0],
        detector=detector_from_metadata(pure),
        dark_level=any(component.name == "DarkLevel" for component in model),
    )
    channels = pure.axes_manager.signal_axes[0].size
    standard = build_standard(pixels, elements, shapes, channels=channels, minimum_pixels=fewest)
    energy = np.array(pure.axes_manager.signal_axes[0].axis, dtype=float)
    olivines = [own[phase] for phase in OLIVINE]
    return measure_scatter(standard, pure.data, energy, olivines, pixels.detector), masks


def check_purity(standard: Standard) -> None:
    """Raise ValueError if pure pixels scatter as no phase does, warn if more than one phase should."""
    for phase, variance in zip(OLIVINE, standard.scatter, strict=True):
        scatter = float(np.sqrt(np.mean(variance)))
        if scatter < NOT_PURE:
            continue
        message = f"references[{phase!r}]: x of its spectra scatters by {scatter:.2g} beyond counting. "
        if scatter > NOT_ONE_PHASE:
            raise ValueError(message + "They are not of one phase: check the mask (y before x) and the energy axis.")
        warnings.warn(message + "Leave out what is not pure; x_systematic carries it.", UserWarning, stacklevel=4)


def reference_spectra(signal: Any, phase: str, where: Any) -> NDArray[Any] | None:
    """Spectra of a phase, shape (S, E), if that is what a reference is; None if it names pixels.

    Raises
    ------
    ValueError
        If their energy axis is not that of the signal.
    """
    data = np.asarray(getattr(where, "data", where)) if not _is_roi(where) else np.zeros(0, dtype=bool)
    if data.dtype == bool or data.dtype == object or data.ndim == 0:
        return None
    axis = signal.axes_manager.signal_axes[0]
    manager = getattr(where, "axes_manager", None)
    if manager is not None and manager.signal_dimension == 1:
        other = manager.signal_axes[0]
        same = other.size == axis.size and np.allclose(other.axis, axis.axis, atol=0.01 * axis.scale)
        data = np.moveaxis(data, other.index_in_array, -1)
    else:
        same = manager is None and data.shape[-1] == axis.size
    if not same:
        if data.dtype.kind in "iu":
            return None  # an array of integers on the navigation axes, which is told apart as a wrong mask
        raise ValueError(
            f"references[{phase!r}] must have the energy axis of the signal, {axis.size} channels of {axis.scale:g} eV "
            f"from {axis.offset:g} eV, or be a mask of booleans on its navigation axes."
        )
    return data.reshape(-1, axis.size)


def _is_roi(where: Any) -> bool:
    return type(where).__module__.startswith("hyperspy.roi")


def _rows(signal: Any, rows: NDArray[np.int_]) -> NDArray[Any]:
    data = signal.data.reshape(-1, signal.data.shape[-1])[rows]
    return np.asarray(data.compute() if signal._lazy else data)


def _with_data(signal: Any, data: NDArray[Any]) -> Any:
    """Spectra as a signal with the energy axis and metadata of another."""
    axis = signal.axes_manager.signal_axes[0].get_axis_dictionary()
    plain = hs.signals.Signal1D(data, axes=[{"name": "spectrum", "size": len(data), "navigate": True}, axis])
    plain.set_signal_type("EELS_ASSB")
    plain.axes_manager.signal_axes[0].is_binned = axis["is_binned"]
    for node in ("Acquisition_instrument", VARIANCE):
        kept = signal.metadata.get_item(node)
        if kept is not None:
            plain.metadata.set_item(node, kept.as_dictionary())
    return plain


def elements_of(phases: Iterable[str]) -> tuple[str, ...]:
    """Elements whose edges and bands the named phases need, besides those of the olivines."""
    named = [phase.lower() for phase in phases]
    lagp = ("Al", "Ge") if any("lagp" in phase for phase in named) else ()
    return ("Li", "Fe", "P", *lagp, *(("C",) if any("carbon" in phase for phase in named) else ()))


def collect_features(model: ASSBEELSModel) -> Features:
    """Linear scattering parameters of a fitted model, with their covariance, on flattened navigation axes."""
    covariance = model.covariance()
    names, rows, values = [], [], []
    for component in model.active_components:
        if component.term.shape.role is not Role.SCATTERING:
            continue
        for parameter, linear in zip(component.parameters, component.term.linear, strict=True):
            if not (linear and parameter.free):
                continue
            single = isinstance(component, IonisationEdge) or len(component.parameters) == 3
            names.append(component.name if single else f"{component.name}.{parameter.name}")
            rows.append(covariance.index(component.name, parameter.name))
            values.append(np.ravel(parameter.map["values"]))
    size = len(covariance.names)
    flat = covariance.values.reshape(-1, size, size)
    used = np.array(rows)
    return Features(
        names=tuple(names),
        values=np.stack(values, axis=-1),
        covariance=flat[:, used[:, np.newaxis], used],
        t_over_lambda=np.ravel(model.t_over_lambda()),
    )


def _columns(model: ASSBEELSModel, compiled: Any) -> FloatArray:
    """Single scattering of every linear parameter at 1, per channel, shape (K, E), in the order of the features."""
    columns = []
    forward = compiled.model
    for component, term, where in zip(compiled.components, forward.terms, forward.slices, strict=True):
        if term.shape.role is not Role.SCATTERING:
            continue
        gradients = np.empty((term.size, forward.loss.size))
        term.evaluate(forward.loss, compiled.start[0, where], gradients)
        chosen = [
            k
            for k, (parameter, linear) in enumerate(zip(component.parameters, term.linear, strict=True))
            if linear and parameter.free
        ]
        columns.append(gradients[chosen] * forward.scale)
    return np.concatenate(columns)


def detector_of(signal: Any, standard: Standard) -> Detector:
    """Gain and read noise from the metadata, or estimated from the spectra where nobody measured them."""
    known = recorded_detector(signal)
    if known is not None:
        return known
    rows = np.linspace(0, max(1, signal.axes_manager.navigation_size) - 1, MOST_PIXELS).astype(int)
    counts, energy = _rows(signal, np.unique(rows)), np.array(signal.axes_manager.signal_axes[0].axis)
    counts = counts[np.isfinite(counts).all(axis=1) & np.any(counts, axis=1)]
    if not len(counts):
        return Detector()
    centre = estimate_centre(counts, energy).centre
    return estimate_detector(counts, energy, centre, float(standard.zero_loss[2]))[0]
