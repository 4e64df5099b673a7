"""Delithiation of a spectrum image: from the signal to x per pixel, and the object that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.components.edges import IonisationEdge
from hyperspy_assb.eels import delithiation as science
from hyperspy_assb.eels.delithiation import DelithiationStatus
from hyperspy_assb.fitting.kernels import Role
from hyperspy_assb.models.eels import ASSBEELSModel
from hyperspy_assb.models.low_loss import LowLossOptions, Shapes, apply_shapes, create_low_loss_model, refine_shapes

_QUANTITIES = {
    "x": "Lithium content x in LixFePO4",
    "x_std": "Standard error of x from counting",
    "x_systematic": "Systematic uncertainty of x",
    "significance": "Significance in standard errors",
    "detection_limit": "Detection limit of the end member",
    "olivine_fraction": "Olivine share of t/lambda",
    "t_over_lambda": "t/lambda",
    "status": "Status",
}


@dataclass(frozen=True)
class Standard:
    """What a calibration on pure pixels found, for this signal and others of the same specimen and microscope.

    Parameters
    ----------
    elements
        Elements whose edges were fitted.
    shapes
        Positions and widths that all pixels share, by component and parameter.
    names
        Names of the fitted parameters.
    calibration
        What each phase adds to them.
    """

    elements: tuple[str, ...]
    shapes: Shapes
    names: tuple[str, ...]
    calibration: science.Calibration

    def as_dictionary(self) -> dict[str, Any]:
        """Plain values, for metadata."""
        plain = {f.name: getattr(self.calibration, f.name) for f in fields(self.calibration)}
        plain["phases"] = list(self.calibration.phases)
        return {
            "elements": list(self.elements),
            "shapes": [[component, name, value] for (component, name), value in self.shapes.items()],
            "names": list(self.names),
            "calibration": plain,
        }

    @classmethod
    def from_dictionary(cls, plain: dict[str, Any]) -> Standard:
        """The inverse of :meth:`as_dictionary`."""
        calibration = {name: np.asarray(value) for name, value in plain["calibration"].items() if name != "phases"}
        return cls(
            elements=tuple(plain["elements"]),
            shapes={(component, name): float(value) for component, name, value in plain["shapes"]},
            names=tuple(plain["names"]),
            calibration=science.Calibration(phases=tuple(plain["calibration"]["phases"]), **calibration),
        )


@dataclass(frozen=True)
class Delithiation:
    """x of LixFePO4 in every pixel, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    x
        Lithium content, not clipped; NaN where ``status`` gives no answer.
    x_std
        Standard error from counting.
    x_systematic
        Uncertainty from calibration and from what pure pixels scatter beyond counting.
    significance
        Standard errors by which FePO4 (method "valence") or Li (method "lithium") is above nothing.
    detection_limit
        Share of that end member that is found 95 times of 100.
    olivine_fraction
        Share of the olivines in t/lambda.
    t_over_lambda
        Thickness over the inelastic mean free path.
    status
        :class:`~hyperspy_assb.eels.delithiation.DelithiationStatus` as integers.
    method
        "valence" or "lithium".
    standard
        The calibration, which serves other signals of the same specimen as well: pass this object as ``references``.
    references
        Pure pixels, boolean arrays on the navigation axes.
    model
        The fitted model; None for a result that was loaded.
    """

    x: Any
    x_std: Any
    x_systematic: Any
    significance: Any
    detection_limit: Any
    olivine_fraction: Any
    t_over_lambda: Any
    status: Any
    method: str
    standard: Standard = field(repr=False)
    references: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)
    model: ASSBEELSModel | None = field(default=None, repr=False)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a pixel: indices and position (with units in the name), every quantity, and the status in words."""
        shape = self.x.data.shape
        columns: dict[str, Any] = {}
        for axis, index in zip(self.x.axes_manager._axes, np.indices(shape), strict=False):
            columns[f"{axis.name} index"] = index.ravel()
            columns[f"{axis.name} ({axis.units})"] = axis.axis[index.ravel()]
        for name in _QUANTITIES:
            columns[name] = getattr(self, name).data.ravel()
        table = pd.DataFrame(columns)
        table["status"] = [DelithiationStatus(s).name.lower() for s in table["status"]]
        return table

    def plot(self) -> Any:
        """Plot x, its uncertainty and the status as maps, and the distribution of x.

        Returns
        -------
        axes : numpy.ndarray
            The matplotlib axes.
        """
        from hyperspy_assb.plotting.delithiation import plot_delithiation

        return plot_delithiation(self)

    def save(self, path: str | Path, *, overwrite: bool | None = None) -> None:
        """Save everything but the model in one file.

        Parameters
        ----------
        path
            Ending in .hspy or .zspy.
        overwrite
            As in HyperSpy: None asks.
        """
        x = self.x
        stack = np.stack([getattr(self, name).data.astype(np.float64) for name in _QUANTITIES])
        axes = [{"name": "quantity", "size": len(_QUANTITIES), "navigate": True}, *x.axes_manager._get_axes_dicts()]
        signal = hs.signals.BaseSignal(stack, axes=axes)
        signal.metadata.General.title = x.metadata.General.title
        signal.metadata.set_item(
            "ASSB.delithiation",
            {
                "quantities": list(_QUANTITIES),
                "method": self.method,
                "references": {name: mask.astype(np.uint8) for name, mask in self.references.items()},
                "standard": self.standard.as_dictionary(),
                "provenance": x.metadata.get_item("ASSB.provenance", {}),
            },
        )
        signal.save(str(path), overwrite=overwrite)


def load_delithiation(path: str | Path) -> Delithiation:
    """Load what :meth:`Delithiation.save` wrote.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    signal = hs.load(str(path))
    node = signal.metadata.get_item("ASSB.delithiation", None) if not isinstance(signal, list) else None
    if node is None:
        raise ValueError(f"{path} holds no delithiation result: it was not written by Delithiation.save.")
    axes = signal.axes_manager._get_axes_dicts()[1:]
    record = node.get_item("provenance", {})
    maps = {}
    for name, data in zip(node.quantities, signal.data, strict=True):
        data = data.astype(np.int8) if name == "status" else data
        maps[name] = _as_map(data, axes, name, record)
    references = {name: np.asarray(mask, dtype=bool) for name, mask in node.references.as_dictionary().items()}
    standard = Standard.from_dictionary(node.standard.as_dictionary())
    return Delithiation(**maps, method=node.method, standard=standard, references=references)


def quantify_delithiation(
    signal: Any,
    references: Mapping[str, Any] | Delithiation | None,
    method: str,
    *,
    elements: tuple[str, ...] | None = None,
    show_progressbar: bool | None = None,
    progress: Callable[[int], object] | None = None,
) -> Delithiation:
    """What :meth:`ASSBEELSSpectrum.quantify_delithiation` does."""
    if method not in science.SIGNATURES:
        raise ValueError(f"method must be one of {', '.join(map(repr, science.SIGNATURES))}, not {method!r}.")
    if isinstance(references, Delithiation):
        standard, masks, elements = references.standard, {}, references.standard.elements
    elif references:
        masks = {phase: reference_mask(signal, phase, where) for phase, where in references.items()}
        standard, elements = None, elements or elements_of(masks)
    else:
        raise ValueError(
            "references must name pure pixels: {'LiFePO4': mask, 'FePO4': mask}, and where they lie in the columns, "
            "'LAGP' and 'carbon'; or be the Delithiation of another signal of the same specimen."
        )
    model = create_low_loss_model(signal, signal.check_microscope_parameters(), LowLossOptions(elements=elements))
    if standard is None:
        shapes = refine_shapes(model, masks)
    else:
        shapes = standard.shapes
        apply_shapes(model, shapes)
    model.multifit(show_progressbar=show_progressbar, progress=progress)
    features = collect_features(model)
    if standard is None:
        flat = {phase: mask.ravel() for phase, mask in masks.items() if phase != "vacuum"}
        standard = Standard(elements, shapes, features.names, science.calibrate(features, flat))
    elif standard.names != features.names:
        raise ValueError(
            f"The calibration knows {', '.join(standard.names)}, but this signal gives {', '.join(features.names)}: "
            "both signals need the same energy range."
        )
    return assemble(signal, features, standard, method, masks, model)


def elements_of(phases: Iterable[str]) -> tuple[str, ...]:
    """Elements whose edges and bands the named phases need, besides those of the olivines."""
    named = [phase.lower() for phase in phases]
    lagp = ("Al", "Ge") if any("lagp" in phase for phase in named) else ()
    return ("Li", "Fe", "P", *lagp, *(("C",) if any("carbon" in phase for phase in named) else ()))


def assemble(
    signal: Any,
    features: science.Features,
    standard: Standard,
    method: str,
    references: dict[str, NDArray[np.bool_]],
    model: ASSBEELSModel | None,
) -> Delithiation:
    """x of every pixel as signals, from fitted features and a calibration."""
    content = science.estimate_lithium_content(features, standard.calibration, method)
    axes = signal.axes_manager._get_navigation_axes_dicts()
    source = signal.metadata.get_item("General.original_filename", "")
    record = provenance.record("quantify_delithiation", parameters={"method": method, "file": source}, methods=[method])
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    values = {name: getattr(content, name, None) for name in _QUANTITIES}
    values["t_over_lambda"] = features.t_over_lambda
    maps = {name: _as_map(np.asarray(v).reshape(shape), axes, name, record) for name, v in values.items()}
    return Delithiation(**maps, method=method, standard=standard, references=references, model=model)


def reference_mask(signal: Any, phase: str, where: Any) -> NDArray[np.bool_]:
    """Boolean array on the navigation axes from a boolean array or signal, or a HyperSpy ROI.

    Raises
    ------
    ValueError
        If the shape is wrong or no pixel is named.
    TypeError
        If it is none of these.
    """
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    if type(where).__module__.startswith("hyperspy.roi"):
        axes = signal.axes_manager._get_navigation_axes_dicts()
        index = _as_map(np.arange(np.prod(shape), dtype=float).reshape(shape), axes, "", {})
        chosen = where(index).data.ravel()
        mask = np.zeros(int(np.prod(shape)), dtype=bool)
        mask[chosen[np.isfinite(chosen)].astype(int)] = True
        where = mask.reshape(shape)
    data = getattr(where, "data", where)
    mask = np.asarray(data)
    if mask.dtype != bool:
        raise TypeError(
            f"references[{phase!r}] must be a boolean array or signal on the navigation axes, or a HyperSpy ROI, "
            f"not {type(where).__name__} of {mask.dtype}."
        )
    if mask.shape != shape:
        raise ValueError(
            f"references[{phase!r}] has the shape {mask.shape}, but the navigation axes have {shape} (y before x)."
        )
    if not mask.any():
        raise ValueError(f"references[{phase!r}] names no pixel.")
    return mask


def collect_features(model: ASSBEELSModel) -> science.Features:
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
    return science.Features(
        names=tuple(names),
        values=np.stack(values, axis=-1),
        covariance=flat[:, used[:, np.newaxis], used],
        t_over_lambda=np.ravel(model.t_over_lambda()),
    )


def _as_map(data: NDArray[Any], axes: list[dict[str, Any]], name: str, record: dict[str, Any]) -> Any:
    """A signal whose axes are all navigation axes; a single value where there are none."""
    signal = (
        hs.signals.BaseSignal(np.asarray(data), axes=[dict(a) for a in axes]) if axes else hs.signals.BaseSignal(data)
    )
    signal = signal.transpose(signal_axes=0) if axes else signal
    signal.metadata.General.title = _QUANTITIES.get(name, name)
    signal.metadata.set_item("ASSB.provenance", record)
    return signal
