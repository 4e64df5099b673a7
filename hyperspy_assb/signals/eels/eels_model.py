"""The EELS model: HyperSpy's and exspy's, with plural scattering and the batched fit, ready for low-loss spectra."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from exspy.models import EELSModel
from hyperspy.component import Component
from hyperspy.signals import BaseSignal
from numpy.typing import NDArray

from hyperspy_assb.components.low_loss import KernelComponent
from hyperspy_assb.eels.scattering.joint_model import JointModel
from hyperspy_assb.eels.scattering.separability import Separability, edge_separability
from hyperspy_assb.errors import AssbNotImplementedError, AssbRuntimeError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.forward import SpectrumModel
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Role
from hyperspy_assb.models.compile import compile_model
from hyperspy_assb.models.recorded_noise import detector_of_model
from hyperspy_assb.models.recorded_signal import check_title
from hyperspy_assb.signals.fits import multifit as batched
from hyperspy_assb.signals.fits.covariance import Covariance
from hyperspy_assb.signals.fits.fit_quality import FitQuality
from hyperspy_assb.signals.fits.live_fit import LiveFit
from hyperspy_assb.signals.fits.model_fit import ModelFit
from hyperspy_assb.signals.result_files import ENDINGS, save_whole
from hyperspy_assb.staging import path_of

_EVALUATED = 64
"""Spectra of the model evaluated together: little memory for their transforms."""


class ASSBEELSModel(EELSModel):
    """An EELS model whose components may scatter the zero-loss peak any number of times.

    With ``plural_scattering`` the expectation is the zero-loss peak folded with the exponential of the sum of all
    scattering components, plus what does not scatter; without it, it is HyperSpy's sum of components. A list of
    components without the zero-loss peak then stands for what they add: the model less the model without them.

    Parameters
    ----------
    signal1D
        The spectra.
    auto_background, auto_add_edges, low_loss, GOS, dictionary, gos_file_path
        As in :class:`exspy.models.EELSModel`.
    plural_scattering
        Whether scattering components act on the zero-loss peak to every order.

    Notes
    -----
    Plural scattering: Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), sec. 4.1.

    Examples
    --------
    >>> from hyperspy_assb.components import VolumePlasmon, ZeroLossPeak
    >>> from hyperspy_assb.signals import ASSBEELSSpectrum
    >>> signal = ASSBEELSSpectrum(np.zeros((2, 3, 400)))
    >>> axis = signal.axes_manager.signal_axes[0]
    >>> axis.offset, axis.scale, axis.units = -10.0, 0.25, "eV"
    >>> model = ASSBEELSModel(signal, auto_background=False, auto_add_edges=False, plural_scattering=True)
    >>> model.extend([ZeroLossPeak(1e5, fwhm=0.9), VolumePlasmon(0.5, 22.0, 8.0)])
    >>> model.spectrum_model(list(model)).n_parameters
    10
    >>> model.plural_scattering, model.detector
    (True, None)
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
        check_title(signal1D)
        self._plural_scattering = plural_scattering
        self._compiled: tuple[Any, ...] | None = None
        self.detector_gain: float | None = None
        self.detector_read_noise = 0.0
        self.fit_quality: FitQuality | None = None
        self._covariance: Covariance | None = None
        stored = dictionary is not None
        # What is restored brings its components: edges for the metadata would be built first, from cross-sections that
        # may have to be downloaded.
        super().__init__(
            signal1D, auto_background and not stored, auto_add_edges and not stored, low_loss, GOS, None, gos_file_path
        )
        self._whitelist |= {"plural_scattering": None, "detector_gain": None, "detector_read_noise": None}
        if stored:
            self._load_dictionary(dictionary)
            for edge in self.edges:
                edge.fine_structure_components = {self[name] for name in edge.fine_structure_components}

    @property
    def plural_scattering(self) -> bool:
        """Whether scattering components act on the zero-loss peak to every order.

        Returns
        -------
        bool
            False: the model is HyperSpy's sum of components.
        """
        return self._plural_scattering

    @plural_scattering.setter
    def plural_scattering(self, value: bool) -> None:
        self._plural_scattering = bool(value)
        if hasattr(self, "_plot"):
            self.update_plot()

    @property
    def detector(self) -> Detector | None:
        """Gain (counts per electron) and read noise (counts) that the batched fit takes.

        ``create_low_loss_model`` finds them in the spectra, and the signal stays as it is.

        Returns
        -------
        Detector or None
            None: those of the metadata of the signal.
        """
        return None if self.detector_gain is None else Detector(self.detector_gain, self.detector_read_noise)

    @detector.setter
    def detector(self, value: Detector | None) -> None:
        self.detector_gain, self.detector_read_noise = (None, 0.0) if value is None else (value.gain, value.read_noise)

    @property
    def _scatters(self) -> bool:
        """Whether there is something to scatter, and something that scatters."""
        roles = {c.term.shape.role for c in self if c.active and isinstance(c, KernelComponent)}
        return self._plural_scattering and {Role.SOURCE, Role.SCATTERING} <= roles

    def spectrum_model(self, components: list[KernelComponent]) -> SpectrumModel:
        """The forward model of some components on the energy axis of the signal; kept until they change.

        Parameters
        ----------
        components
            Components of this package.

        Returns
        -------
        SpectrumModel
            Which evaluates expectation and derivatives of many spectra, in counts per channel.

        Raises
        ------
        ValueError
            If the axis is not uniform, or components scatter and there is no zero-loss peak among them.

        Examples
        --------
        >>> from hyperspy_assb.components import ZeroLossPeak
        >>> from hyperspy_assb.signals import ASSBEELSSpectrum
        >>> model = ASSBEELSSpectrum(np.zeros(64)).create_model(auto_background=False, auto_add_edges=False)
        >>> peak = ZeroLossPeak(1e5)
        >>> model.append(peak)
        >>> model.spectrum_model([peak]).expectation(peak.current_values[np.newaxis]).shape
        (1, 64)
        """
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
    ) -> BaseSignal | None:
        """The fitted model as a signal, as in :meth:`hyperspy.model.BaseModel.as_signal`.

        Parameters
        ----------
        component_list
            Components, or their names; None: all that are active. Without the zero-loss peak: what they add to the
            rest of the model.
        out_of_range_to_nan
            Whether channels that were not fitted are NaN.
        show_progressbar
            As in HyperSpy, where there is no plural scattering.
        out
            Signal that takes the data; None: a new one.
        lazy_output
            Whether the new signal is lazy; None: as the spectra are.
        chunks, block_size_limit, **kwargs
            As ``show_progressbar``.

        Returns
        -------
        BaseSignal or None
            Counts per channel, with the axes of the spectra, NaN at positions that have no fitted values; None where
            ``out`` was given.

        Raises
        ------
        NotImplementedError
            If there is plural scattering and a component is not one of this package.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 2), seed=1, signal_type="EELS_ASSB").eels_before
        >>> model = signal.create_low_loss_model(["Li", "Fe"])
        >>> _ = model.multifit(show_progressbar=False)
        >>> edge = model.as_signal(component_list=["Li_K"])
        >>> edge.data.shape == signal.data.shape
        True
        """
        if not self._scatters:
            return super().as_signal(
                component_list, out_of_range_to_nan, show_progressbar, out, lazy_output, chunks, block_size_limit
            )
        chosen = self.active_components if component_list is None else component_list
        components = [c for c in (self._get_component(c) for c in chosen) if c.active]
        others = [c.name for c in components if not isinstance(c, KernelComponent)]
        if others:
            raise AssbNotImplementedError(f"as_signal with plural scattering cannot evaluate {', '.join(others)}.")
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
            raise AssbNotImplementedError(
                'Plural scattering is not linear in any parameter: use optimizer="batched", or "lm" for one spectrum.'
            )
        return super()._linear_fit(*args, **kwargs)

    def multifit(self, mask: Any = None, *args: Any, optimizer: str | None = None, **kwargs: Any) -> ModelFit | None:
        """Fit every spectrum; ``optimizer="batched"`` fits them together, any other is HyperSpy's.

        Parameters
        ----------
        mask
            Boolean array or signal on the navigation axes; True where not to fit.
        *args
            Of HyperSpy's :meth:`hyperspy.model.BaseModel.multifit`; the batched fit takes no others.
        optimizer
            "batched" by default where plural scattering is on.
        **kwargs
            Of :func:`hyperspy_assb.multifit` for the batched fit; else of HyperSpy's.

        Returns
        -------
        ModelFit
            Of the batched fit: values and standard errors at every position; HyperSpy's returns None.

        Raises
        ------
        NotImplementedError, ValueError, TypeError, FileExistsError
            As :func:`hyperspy_assb.multifit`.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 2), seed=1, signal_type="EELS_ASSB").eels_before
        >>> model = signal.create_low_loss_model(["Li", "Fe"])
        >>> result = model.multifit(show_progressbar=False)
        >>> model.fit_quality.status.data
        array([[0, 0],
               [0, 0]], dtype=int8)
        """
        if optimizer == "batched" or (optimizer is None and self._scatters):
            return batched.multifit(self, *args, mask=mask, **kwargs)
        if optimizer is not None:
            kwargs["optimizer"] = optimizer
        return super().multifit(mask, *args, **kwargs)

    def save(self, file_name: str | PathLike[str], name: str | None = None, **kwargs: Any) -> None:
        """Save the signal with this model in it, as HyperSpy does; a .hspy or .zspy appears whole or not at all.

        Parameters
        ----------
        file_name
            Where to.
        name
            Of the model in the file; None: the first letter that is free.
        **kwargs
            Of :meth:`hyperspy.signal.BaseSignal.save`; ``overwrite=None`` asks, False keeps what is there.

        Raises
        ------
        AssbTypeError
            If ``file_name`` is no path.
        AssbValueError
            If no file can have this name.
        OSError
            If the file cannot be written; what it held is still there.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import hyperspy.api as hs
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 2), seed=1, signal_type="EELS_ASSB").eels_before
        >>> path = Path(tempfile.mkdtemp()) / "fitted.hspy"
        >>> signal.create_low_loss_model(["Li", "Fe"]).save(path, "lithium")
        >>> len(hs.load(path).models.restore("lithium"))
        5
        """
        path = path_of(file_name, "file_name")
        self.store(name)
        if path.suffix in ENDINGS:
            save_whole(path, self.signal, overwrite=kwargs.pop("overwrite", None), **kwargs)
        else:
            self.signal.save(path, **kwargs)

    def fit_live(self, region: Any = None) -> LiveFit:
        """Refit the mean spectrum of a region whenever the region is moved, by hand or by code.

        Parameters
        ----------
        region
            A HyperSpy ROI in the units of the navigation axes; None: a part in the middle of the field.

        Returns
        -------
        LiveFit
            With values, spectrum and fit of the region; ``live.plot()`` shows them and the map with the region.

        Raises
        ------
        ValueError
            If the signal is neither a map nor a line, or nothing can be fitted.
        NotImplementedError
            If the data are lazy, or something in the model cannot be compiled; it is named.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(4, 4), seed=1, signal_type="EELS_ASSB").eels_before
        >>> live = signal.create_low_loss_model(["Li", "Fe"]).fit_live()
        >>> live.table().columns.tolist()
        ['value', 'std']
        """
        return LiveFit(self, region)

    def covariance(self) -> Covariance:
        """Covariance of the free parameters at every position, from the last batched fit.

        Returns
        -------
        Covariance
            Names of the parameters, and their covariance of shape (..., F, F) on the navigation axes.

        Raises
        ------
        RuntimeError
            If there was no batched fit, or it did not keep the covariance.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 2), seed=1, signal_type="EELS_ASSB").eels_before
        >>> model = signal.create_low_loss_model(["Li", "Fe"])
        >>> _ = model.multifit(show_progressbar=False)
        >>> covariance = model.covariance()
        >>> covariance.std("ZeroLossPeak", "centre").data.shape
        (2, 2)
        """
        return batched.covariance(self)

    def joint_model(self) -> JointModel:
        """The compiled model with its stored values at every position, as the functions on arrays take it.

        Returns
        -------
        JointModel
            Names, forward model, free parameters, bounds, values of shape (S, P) and mask of channels.

        Raises
        ------
        NotImplementedError, ValueError
            As :func:`hyperspy_assb.models.compile.compile_model`.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 2), seed=1, signal_type="EELS_ASSB").eels_before
        >>> joint = signal.create_low_loss_model(["Li", "Fe"]).joint_model()
        >>> joint.names[0], len(joint.values)
        (('ZeroLossPeak', 'intensity'), 4)
        """
        compiled = compile_model(self)
        return JointModel(
            compiled.names, compiled.model, compiled.free, compiled.lower, compiled.upper, compiled.start, compiled.mask
        )

    def t_over_lambda(self) -> FloatArray:
        """Thickness over the inelastic mean free path of every fitted spectrum, on the navigation axes.

        It is the integral of the fitted single-scattering distribution over the fitted range; NaN without a fit.

        Returns
        -------
        NDArray[np.float64]
            A pure number for each spectrum, in array order (y before x); shape (1,) of one spectrum.

        Raises
        ------
        NotImplementedError, ValueError
            As :meth:`joint_model`.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 2), seed=1, signal_type="EELS_ASSB").eels_before
        >>> model = signal.create_low_loss_model(["Li", "Fe"])
        >>> _ = model.multifit(show_progressbar=False)
        >>> model.t_over_lambda().shape
        (2, 2)
        """
        joint = self.joint_model()
        total = joint.model.scattering_probability(joint.values)
        shape = self.axes_manager._navigation_shape_in_array or (1,)
        return np.where(self._fitted(), total, np.nan).reshape(shape)

    def edge_separability(self) -> list[Separability]:
        """Whether each edge can be separated from the others; see :func:`.separability.edge_separability`.

        Returns
        -------
        list of Separability
            One for each edge that overlaps with others: by how much its variance grows because these are not known.

        Raises
        ------
        RuntimeError
            If no spectrum is fitted.

        Notes
        -----
        Variance inflation: Marquardt, Technometrics 12, 591 (1970), doi:10.1080/00401706.1970.10488699.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 2), seed=1, signal_type="EELS_ASSB").eels_before
        >>> model = signal.create_low_loss_model(["Li", "Fe"])
        >>> _ = model.multifit(show_progressbar=False)
        >>> [(one.edge, one.overlapping) for one in model.edge_separability()]
        [('Li_K', ('Fe_M23',)), ('Fe_M23', ('Li_K',))]
        """
        joint = self.joint_model()
        fitted = np.flatnonzero(self._fitted() & np.isfinite(joint.values).all(axis=1))
        if self.fit_quality is None or not fitted.size:
            raise AssbRuntimeError("Fit the model first: m.multifit().")
        return edge_separability(replace(joint, values=joint.values[fitted]), self.detector or detector_of_model(self))

    def _fitted(self) -> NDArray[np.bool_]:
        """Where there are fitted values, on flattened navigation axes."""
        first = next(component for component in self if component.active)
        return np.ravel(first.parameters[0].map["is_set"])
