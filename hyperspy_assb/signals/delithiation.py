"""Delithiation of a spectrum image: from the signal to x per pixel, and the object that holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.components.edges import IonisationEdge
from hyperspy_assb.eels import delithiation as science
from hyperspy_assb.eels.delithiation import DelithiationStatus
from hyperspy_assb.fitting.kernels import Role
from hyperspy_assb.models.eels import ASSBEELSModel
from hyperspy_assb.models.low_loss import LowLossOptions, create_low_loss_model, refine_shapes

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
    references: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)
    model: ASSBEELSModel | None = field(default=None, repr=False)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a pixel: its indices and position (with units in the name), every quantity, and the status in words."""
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
    return Delithiation(**maps, method=node.method, references=references)


def quantify_delithiation(
    signal: Any,
    references: Mapping[str, Any] | None,
    method: str,
    *,
    elements: tuple[str, ...] | None = None,
    show_progressbar: bool | None = None,
) -> Delithiation:
    """What :meth:`ASSBEELSSpectrum.quantify_delithiation` does."""
    if method not in ("valence", "lithium"):
        raise ValueError(f"method must be 'valence' or 'lithium', not {method!r}.")
    if not references:
        raise ValueError(
            "references must name pure pixels: {'LiFePO4': mask, 'FePO4': mask}, and where they lie in the columns, "
            "'LAGP' and 'carbon'."
        )
    masks = {phase: reference_mask(signal, phase, where) for phase, where in references.items()}
    if elements is None:
        elements = ("Li", "Fe", "P", "Al", "Ge") if "LAGP" in masks else ("Li", "Fe", "P")
    model = create_low_loss_model(signal, signal.check_microscope_parameters(), LowLossOptions(elements=elements))
    refine_shapes(model, masks)
    model.multifit(show_progressbar=show_progressbar)
    features = collect_features(model)
    flat = {phase: mask.ravel() for phase, mask in masks.items()}
    calibration = science.calibrate(features, flat)
    content = science.estimate_lithium_content(features, calibration, method)
    axes = signal.axes_manager._get_navigation_axes_dicts()
    record = {}  # PROV
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    values = {name: getattr(content, name, None) for name in _QUANTITIES}
    values["t_over_lambda"] = features.t_over_lambda
    maps = {name: _as_map(np.asarray(v).reshape(shape), axes, name, record) for name, v in values.items()}
    return Delithiation(**maps, method=method, references=masks, model=model)


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
    if isinstance(where, hs.roi.BaseROI if hasattr(hs.roi, "BaseROI") else tuple(_roi_types())):
        index = _as_map(np.arange(np.prod(shape)).reshape(shape), signal.axes_manager._get_navigation_axes_dicts(), "", {})
        chosen = where(index).data.ravel()
        mask = np.zeros(int(np.prod(shape)), dtype=bool)
        mask[chosen[np.isfinite(chosen)].astype(int)] = True
        return mask.reshape(shape)
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


def _roi_types() -> list[type]:
    names = ("Point1DROI", "Point2DROI", "SpanROI", "RectangularROI", "CircleROI", "Line2DROI", "PolygonROI")
    return [getattr(hs.roi, name) for name in names if hasattr(hs.roi, name)]


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
    signal = hs.signals.BaseSignal(np.asarray(data), axes=[dict(a) for a in axes]) if axes else hs.signals.BaseSignal(data)
    signal = signal.transpose(signal_axes=0) if axes else signal
    signal.metadata.General.title = _QUANTITIES.get(name, name)
    signal.metadata.set_item("ASSB.provenance", record)
    return signal
