"""The EELS model: HyperSpy's and exspy's, with plural scattering and the batched fit, ready for low-loss spectra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from exspy.models import EELSModel
from hyperspy.component import Component
from numpy.typing import NDArray

from hyperspy_assb import components as own_components
from hyperspy_assb.components.low_loss import KernelComponent
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.scattering.joint_model import JointModel, Shapes, start_joint_fit
from hyperspy_assb.eels.scattering.joint_model import refine_shapes as refine_shapes_of_arrays
from hyperspy_assb.eels.scattering.low_loss_components import Component as LowLossComponent
from hyperspy_assb.eels.scattering.low_loss_components import LowLossOptions
from hyperspy_assb.eels.scattering.separability import Separability, edge_separability
from hyperspy_assb.fitting.solver.noise_claim import Noise
from hyperspy_assb.fitting.spectra.forward import SpectrumModel
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Role
from hyperspy_assb.models import multifit as batched
from hyperspy_assb.models import results
from hyperspy_assb.models.compile import compile_model
from hyperspy_assb.models.recorded_noise import model_noise

_EVALUATED = 64
"""Spectra of the model evaluated together: little memory for their transforms."""
_EDGES = {cls.shell: cls for cls in own_components.EDGE_CLASSES}


class ASSBEELSModel(EELSModel):
    """An EELS model whose components may scatter the zero-loss peak any number of times.

    With ``plural_scattering`` the expectation is the zero-loss peak folded with the exponential of the sum of all
    scattering components, plus what does not scatter; without it, it is HyperSpy's sum of components. A list of
    components without the zero-loss peak then stands for what they add: the model less the model without them.

    Parameters
    ----------
    signal1D
        The spectra.
    plural_scattering : bool
        Whether scattering components act on the zero-loss peak to every order.
    auto_background, auto_add_edges, low_loss, GOS, dictionary, gos_file_path
        As in :class:`exspy.models.EELSModel`; nothing is added on its own here.
    """

    def __init__(
        self,
        signal1D: Any,
        auto_background: bool = True,
        auto_add_edges: bool = True,
        low_loss: Any = None,
        GOS: str = "dft",
        dictionary: dict[str, Any] | None = None,
        gos_file_path: str | None = None,
        plural_scattering: bool = False,
    ) -> None:
        self._plural_scattering = plural_scattering
        self._compiled: tuple[Any, ...] | None = None
        self.fit_quality: results.FitQuality | None = None
        self._covariance: results.Covariance | None = None
        self._started_noise: Noise | None = None
        super().__init__(signal1D, auto_background, auto_add_edges, low_loss, GOS, None, gos_file_path)
        self._whitelist["plural_scattering"] = None
        if dictionary is not None:
            while len(self):
                self.remove(self[0])
            self._load_dictionary(dictionary)

    @property
    def plural_scattering(self) -> bool:
        """Whether scattering components act on the zero-loss peak to every order."""
        return self._plural_scattering

    @plural_scattering.setter
    def plural_scattering(self, value: bool) -> None:
        self._plural_scattering = bool(value)
        if hasattr(self, "_plot"):
            self.update_plot()

    @property
    def _scatters(self) -> bool:
        """Whether there is something to scatter, and something that scatters."""
        roles = {c.term.shape.role for c in self if c.active and isinstance(c, KernelComponent)}
        return self._plural_scattering and {Role.SOURCE, Role.SCATTERING} <= roles

    def spectrum_model(self, components: list[KernelComponent]) -> SpectrumModel:
        """The forward model of some components on the energy axis of the signal; kept until they change."""
        key = (tuple(id(c) for c in components), self.axis.scale, self.axis.offset, self.axis.size)
        if self._compiled is None or self._compiled[0] != key:
            self._compiled = (key, SpectrumModel([c.term for c in components], self.axis.axis))
        return self._compiled[1]

    def _expectation(self, components: list[Component], values: list[FloatArray] | None = None) -> FloatArray:
        """Counts per channel for the current values, or for one array (S, P) of values a component."""
        own = [c for c in components if isinstance(c, KernelComponent)]
        other = [c for c in components if not isinstance(c, KernelComponent)]
        if values is None:
            values = [c.current_values[np.newaxis] for c in own]
        total = self.spectrum_model(own).expectation(np.concatenate(values, axis=1))
        for component in other:
            total = total + component.function(self.axis.axis) * self.axis.scale
        return total

    def _selected(self, components: list[Component], values: Any = None) -> FloatArray:
        """The model of a list of components; what they add, if the zero-loss peak is not among them."""
        if self._has_source(components):
            return self._expectation(components, self._pick(values, components))
        active = [c for c in self if c.active or c in components]
        rest = [c for c in active if c not in components]
        whole = self._expectation(active, self._pick(values, active))
        return whole - self._expectation(rest, self._pick(values, rest))

    @staticmethod
    def _has_source(components: list[Component]) -> bool:
        return any(isinstance(c, KernelComponent) and c.term.shape.role is Role.SOURCE for c in components)

    @staticmethod
    def _pick(values: Any, components: list[Component]) -> list[FloatArray] | None:
        return None if values is None else [values[c] for c in components if isinstance(c, KernelComponent)]

    def _get_current_data(
        self,
        onlyactive: bool = False,
        component_list: list[Component] | None = None,
        binned: bool | None = None,
        ignore_channel_switches: bool = False,
    ) -> FloatArray:
        if not self._scatters:
            return super()._get_current_data(onlyactive, component_list, binned, ignore_channel_switches)
        components = list(self) if component_list is None else list(component_list)
        if onlyactive or component_list is None:
            components = [c for c in components if c.active]
        data = self._selected(components)[0] if components else np.zeros(self.axis.size)
        binned = self.axis.is_binned if binned is None else binned
        if not binned:
            data = data / self.axis.scale
        return data if ignore_channel_switches else data[self._channel_switches]

    def _jacobian(self, param: Any, y: Any, weights: Any = None) -> FloatArray:
        if not self._scatters:
            return super()._jacobian(param, y, weights)
        self.fetch_values_from_array(param)
        active = [c for c in self if c.active]
        own = [c for c in active if isinstance(c, KernelComponent)]
        model = self.spectrum_model(own)
        theta = np.concatenate([c.current_values for c in own])[np.newaxis]
        gradients = model.evaluate(theta, np.ones(model.n_parameters, dtype=bool))[1][0]
        by_parameter = {}
        for component, where in zip(own, model.slices, strict=True):
            by_parameter.update({id(p): g for p, g in zip(component.parameters, gradients[where], strict=True)})

        def gradient(parameter: Any) -> FloatArray:
            if id(parameter) in by_parameter:
                return by_parameter[id(parameter)]
            return parameter.grad(self.axis.axis) * self.axis.scale

        rows = [sum((gradient(t) for t in p._twins), gradient(p)) for c in active for p in c.free_parameters]
        scale = 1.0 if self.axis.is_binned else 1.0 / self.axis.scale
        return np.array(rows)[:, self._channel_switches] * (1.0 if weights is None else weights) * scale

    def as_signal(
        self,
        component_list: Any = None,
        out_of_range_to_nan: bool = True,
        show_progressbar: bool | None = None,
        out: Any = None,
        lazy_output: bool | None = None,
        chunks: Any = "auto",
        block_size_limit: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The fitted model as a signal, as in :meth:`hyperspy.model.BaseModel.as_signal`.

        Positions that have no fitted values are NaN.
        """
        if not self._scatters:
            return super().as_signal(
                component_list, out_of_range_to_nan, show_progressbar, out, lazy_output, chunks, block_size_limit
            )
        chosen = self.active_components if component_list is None else component_list
        components = [c for c in (self._get_component(c) for c in chosen) if c.active]
        others = [c.name for c in components if not isinstance(c, KernelComponent)]
        if others:
            raise NotImplementedError(f"as_signal with plural scattering cannot evaluate {', '.join(others)}.")
        values = {
            c: np.stack([np.ravel(p.map["values"]) for p in c.parameters], axis=-1)
            for c in self
            if isinstance(c, KernelComponent)
        }
        is_set = np.all([np.ravel(p.map["is_set"]) for c in values for p in c.parameters], axis=0)
        data = np.full((is_set.size, self.axis.size), np.nan)
        good = np.flatnonzero(is_set & np.all([np.isfinite(v).all(axis=1) for v in values.values()], axis=0))
        for start in range(0, good.size, _EVALUATED):
            rows = good[start : start + _EVALUATED]
            data[rows] = self._selected(components, {c: v[rows] for c, v in values.items()})
        if out_of_range_to_nan:
            data[:, ~self._channel_switches] = np.nan
        signal = self.signal._deepcopy_with_new_data(data.reshape(self.signal.data.shape))
        signal.metadata.General.title = f"{self.signal.metadata.General.title} from fitted model"
        if out is not None:
            out.data = signal.data
            return None
        lazy_output = self.signal._lazy if lazy_output is None else lazy_output
        return signal.as_lazy() if lazy_output and not signal._lazy else signal

    def _linear_fit(self, *args: Any, **kwargs: Any) -> Any:
        if self._scatters:
            raise NotImplementedError(
                'Plural scattering is not linear in any parameter: use optimizer="batched", or "lm" for one spectrum.'
            )
        return super()._linear_fit(*args, **kwargs)

    def multifit(self, *args: Any, optimizer: str | None = None, **kwargs: Any) -> Any:
        """Fit every spectrum; ``optimizer="batched"`` fits them together, any other is HyperSpy's.

        Parameters
        ----------
        *args, **kwargs
            For the batched fit those of :func:`hyperspy_assb.multifit`, otherwise HyperSpy's.
        optimizer : str, optional
            "batched" by default where plural scattering is on.
        """
        if optimizer == "batched" or (optimizer is None and self._scatters):
            return batched.multifit(self, *args, **kwargs)
        if optimizer is not None:
            kwargs["optimizer"] = optimizer
        return super().multifit(*args, **kwargs)

    def covariance(self) -> results.Covariance:
        """Covariance of the free parameters at every position, from the last batched fit.

        Raises
        ------
        RuntimeError
            If there was no batched fit.
        """
        return results.covariance(self)

    def joint_model(self) -> JointModel:
        """The compiled model with its stored values at every position, as the functions on arrays take it."""
        compiled = compile_model(self)
        return JointModel(
            compiled.names, compiled.model, compiled.free, compiled.lower, compiled.upper, compiled.start, compiled.mask
        )

    def t_over_lambda(self) -> FloatArray:
        """Thickness over the inelastic mean free path of every fitted spectrum, on the navigation axes.

        It is the integral of the fitted single-scattering distribution over the fitted range; NaN without a fit.
        """
        joint = self.joint_model()
        total = joint.model.scattering_probability(joint.values)
        shape = self.axes_manager._navigation_shape_in_array or (1,)
        return np.where(self._fitted(), total, np.nan).reshape(shape)

    def edge_separability(self) -> list[Separability]:
        """Whether each edge is told from those that overlap with it; see :func:`.separability.edge_separability`.

        Raises
        ------
        RuntimeError
            If no spectrum is fitted.
        """
        joint = self.joint_model()
        fitted = np.flatnonzero(self._fitted() & np.isfinite(joint.values).all(axis=1))
        if self.fit_quality is None or not fitted.size:
            raise RuntimeError("Fit the model first: m.multifit().")
        detector = model_noise(self).broad
        return edge_separability(replace(joint, values=joint.values[fitted]), detector)

    def _fitted(self) -> NDArray[np.bool_]:
        """Where there are fitted values, on flattened navigation axes."""
        first = next(component for component in self if component.active)
        return np.ravel(first.parameters[0].map["is_set"])


def create_low_loss_model(signal: Any, spectra: LowLossMap, options: LowLossOptions) -> ASSBEELSModel:
    """Assemble the joint model of a low-loss signal.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        Low-loss spectra with the zero loss in range.
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
    UserWarning
        If the beam energy or an angle is unset, so that areal densities are only relative.
    """
    started = start_joint_fit(spectra, options)
    joint = started.joint
    model = ASSBEELSModel(signal, auto_background=False, auto_add_edges=False, plural_scattering=True)
    model.extend([_as_hyperspy(component) for component in started.components])
    if joint.mask.size < spectra.energy.size:
        model.set_signal_range(float(spectra.energy[0]), float(spectra.energy[joint.mask.size - 1]))
    model._started_noise = started.noise
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
    detector = model_noise(model).broad
    _, shapes = refine_shapes_of_arrays(model.joint_model(), (counts, energy), masks, detector)
    apply_shapes(model, shapes)
    return shapes


def apply_shapes(model: ASSBEELSModel, shapes: Shapes) -> None:
    """Fix shared positions and widths at given values, in every pixel."""
    for (component, name), value in shapes.items():
        parameter = getattr(model[component], name)
        parameter.value = value
        parameter.free = False
        parameter.assign_current_value_to_all()
