"""The zero-loss peak of a signal: arrays out of it, one function on arrays, signals out of the results."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar

import dask.array as da
import numpy as np
from hyperspy.signals import BaseSignal
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.eels.zero_loss.peak_search import SEARCH_RANGE
from hyperspy_assb.eels.zero_loss.position import ZeroLossEstimate, ZeroLossStatus, estimate_centre
from hyperspy_assb.eels.zero_loss.removal import RemovalMethod, check_arguments, removal_noise, remove_zero_loss
from hyperspy_assb.errors import AssbNotImplementedError, AssbValueError, AssbWarning
from hyperspy_assb.fitting.solver.noise_claim import Noise, NoiseSource
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.models.recorded_noise import recorded_detector
from hyperspy_assb.models.recorded_signal import recorded_data, recorded_text, title_of
from hyperspy_assb.signals.eels.low_loss_reading import read_energy_axis
from hyperspy_assb.signals.result import Result, navigation_axes

# Pixels that are read to learn what all have in common, where they are not all in memory.
_SAMPLE = 256
# Energy in eV up to which the tail of the zero-loss peak must be known to be of use under the bands near 5 eV.
_TAIL_END = 10.0


@dataclass(frozen=True, eq=False)
class ZeroLossMaps(Result):
    """The zero-loss peak of every pixel, as signals on the navigation axes.

    Parameters
    ----------
    found
        Positions and widths, as arrays; see :class:`~hyperspy_assb.eels.zero_loss.position.ZeroLossEstimate`.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> signal = micro_battery(shape=(2, 3), seed=1, signal_type="EELS_ASSB").eels_before
    >>> peak = signal.estimate_zero_loss()
    >>> peak.centre.data.shape, peak.to_dataframe()["status"].unique().tolist()
    ((2, 3), ['ok'])
    >>> bool((peak.centre_std.data < 0.01).all() and (peak.intensity.data > 0.0).all())
    True
    >>> print(peak.fwhm.data.mean().round(1), peak.status.data.max())
    0.8 0
    >>> peak.summary().splitlines()[0]
    '6 of 6 pixels have a zero-loss peak.'
    >>> ax = peak.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = ZeroLossStatus
    found: ZeroLossEstimate = field(repr=False)

    @cached_property
    def centre(self) -> BaseSignal:
        """Energy of the mode of the peak in eV; NaN without a peak."""
        return self._map(self.found.centre, "Zero-loss centre", "eV")

    @cached_property
    def centre_std(self) -> BaseSignal:
        """Standard error of the centre in eV, from counting and from the shape that all pixels share."""
        return self._map(self.found.centre_std, "Standard error of the zero-loss centre", "eV")

    @cached_property
    def fwhm(self) -> BaseSignal:
        """Full width at half maximum in eV."""
        return self._map(self.found.fwhm, "Zero-loss FWHM", "eV")

    @cached_property
    def intensity(self) -> BaseSignal:
        """Counts of the peak within 1.06 full widths of its mode."""
        return self._map(self.found.intensity, "Zero-loss intensity", "counts")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.eels.zero_loss.position.ZeroLossStatus` as integers."""
        return self._map(self.found.status, "Zero-loss status")

    def summary(self) -> str:
        """Position and width of the peak, how many pixels have no peak, and the notes."""
        centre = self.found.centre[np.isfinite(self.found.centre)]
        lines = [f"{centre.size} of {self.found.centre.size} pixels have a zero-loss peak."]
        if centre.size:
            low, middle, high = np.quantile(centre, (0.0, 0.5, 1.0))
            width = np.nanmedian(self.found.fwhm)
            lines.append(f"It lies at {middle:.3g} eV in the median, {low:.3g} to {high:.3g} eV, {width:.3g} eV wide.")
        return "\n".join((*lines, *self.notes))

    def plot(self) -> Axes:
        """Plot the centre; returns the matplotlib axes."""
        from hyperspy_assb.plotting import MapOptions, plot_map

        options = MapOptions(units="eV", missing_label="no zero-loss peak")
        return plot_map(self.centre, label="Zero-loss centre", options=options)

    def _pixel_columns(self) -> Mapping[str, Any]:
        return {
            "centre (eV)": self.found.centre,
            "centre std (eV)": self.found.centre_std,
            "fwhm (eV)": self.found.fwhm,
            "intensity (counts)": self.found.intensity,
        }

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        centre, width = (np.ravel(v)[mask.ravel()] for v in (self.found.centre, self.found.fwhm))
        known = np.isfinite(centre)
        if not known.any():
            return {"centre (eV)": np.nan, "centre std (eV)": np.nan, "jitter (eV)": np.nan, "fwhm (eV)": np.nan}
        std = np.ravel(self.found.centre_std)[mask.ravel()][known]
        return {
            "centre (eV)": float(centre[known].mean()),
            "centre std (eV)": float(np.sqrt(np.sum(std**2)) / known.sum()),
            # Of the pixels: most of it is the instrument, not counting.
            "jitter (eV)": float(centre[known].std()),
            "fwhm (eV)": float(np.nanmean(width)),
        }

    def _shown(self) -> Any:
        return self.centre


def estimate(
    signal: Any, *, gain: float | None, read_variance: float, search_range: tuple[float, float]
) -> ZeroLossMaps:
    """See :meth:`hyperspy_assb.signals.ASSBEELSSpectrum.estimate_zero_loss`."""
    energy = read_energy_axis(signal, zero_loss=search_range == SEARCH_RANGE)
    options = {"gain": gain, "read_variance": read_variance, "search_range": search_range}

    data = recorded_data(signal)
    if isinstance(data, da.Array):
        known = estimate_centre(_sample_pixels(data), energy, **options)

        def arrays(counts: NDArray) -> NDArray[np.float64]:
            part = estimate_centre(counts, energy, **{**options, "gain": known.gain, "shape": known.shape})
            return np.stack([part.centre, part.centre_std, part.fwhm, part.intensity, part.status], axis=-1)

        values = _whole_spectra(data).map_blocks(arrays, dtype=float, chunks=(*data.chunks[:-1], (5,)))
        *maps, status = np.moveaxis(values.compute(), -1, 0)
        found = ZeroLossEstimate(*maps, status=status.astype(np.int8), gain=known.gain, shape=known.shape)
    else:
        found = estimate_centre(data, energy, **options)
    if np.isnan(found.centre).all():
        raise AssbValueError(
            f"There is no zero-loss peak in range: none of the {found.centre.size} spectra of {title_of(signal)} has "
            f"one between {search_range[0]:g} and {search_range[1]:g} eV ({energy[0]:g} to {energy[-1]:g} eV are "
            "recorded). Use the low-loss spectrum, or give search_range."
        )
    parameters = {**options, "file": recorded_text(signal, "General.original_filename")}
    record = provenance.record("estimate_zero_loss", parameters=parameters, methods=["hyperspy", "numpy", "numba"])
    return ZeroLossMaps(found, axes=navigation_axes(signal), provenance=record)


def remove(
    signal: Any,
    method: RemovalMethod,
    *,
    reference: BaseSignal | None,
    gain: float | None,
    read_variance: float,
) -> Any:
    """See :meth:`hyperspy_assb.signals.ASSBEELSSpectrum.remove_zero_loss`."""
    energy = read_energy_axis(signal, zero_loss=True)
    options: dict[str, object] = {"method": method}
    if reference is not None:
        options["reference"], options["reference_energy"] = _single_spectrum(reference)
    # The method's own arguments are checked now, not when the blocks of a lazy signal are computed.
    check_arguments(method, options.get("reference"))
    data = recorded_data(signal)
    some = _sample_pixels(data)
    if gain is None:
        noise = removal_noise(some, energy, recorded_detector(signal.metadata))
    else:
        given = Detector(gain, float(np.sqrt(read_variance)))
        noise = Noise(given, NoiseSource.GIVEN, f"A gain of {gain:.3g} counts per electron was given.")
    if noise.contradicted or not noise.is_counting:
        warnings.warn(noise.sentence, AssbWarning, stacklevel=3)
    options["detector"] = noise.detector
    known = estimate_centre(some, energy, gain=noise.detector.gain, read_variance=noise.detector.read_noise**2)
    if len(some) == signal.data[..., 0].size and np.isnan(known.centre).all():
        raise AssbValueError(
            f"There is no zero-loss peak to remove in any of the {len(some)} spectra of "
            f"'{signal.metadata.General.title}': use the low-loss spectrum, or correct the offset of the axis."
        )
    if method == "mirror" and np.isfinite(known.centre).any():
        reach = float(np.nanmedian(known.centre)) - energy[0]
        if reach < _TAIL_END:
            warnings.warn(
                f"Only {reach:.3g} eV are recorded below the zero-loss peak: the mirrored tail ends as far above it, "
                "and beyond that nothing is subtracted.",
                AssbWarning,
                stacklevel=3,
            )

    def arrays(counts: NDArray, **extra: object) -> NDArray[np.float64]:
        removed = remove_zero_loss(counts, energy, **{**options, **extra})
        return np.stack([removed.spectrum, removed.variance], axis=-2)

    if isinstance(data, da.Array):
        blocks = _whole_spectra(data)
        both = blocks.map_blocks(
            arrays,
            shape=known.shape,
            dtype=float,
            new_axis=blocks.ndim - 1,
            chunks=(*blocks.chunks[:-1], (2,), blocks.chunks[-1]),
        )
    else:
        both = arrays(data)
    result = signal._deepcopy_with_new_data(both[..., 0, :])
    result.set_noise_variance(signal._deepcopy_with_new_data(both[..., 1, :]))
    result.metadata.set_item("ASSB.Zero_loss.removed_by", method)
    result.metadata.set_item("ASSB.Zero_loss.noise", noise.sentence)
    return result


def _whole_spectra(data: da.Array) -> da.Array:
    """Lazy data with the energy axis in one chunk."""
    return data.rechunk({data.ndim - 1: -1})


def _sample_pixels(data: NDArray | da.Array) -> NDArray:
    """An even choice of the spectra, shape (P, E)."""
    flat = data.reshape(-1, data.shape[-1])
    return np.asarray(flat[:: max(flat.shape[0] // _SAMPLE, 1)])


def _single_spectrum(signal: BaseSignal) -> tuple[NDArray, NDArray]:
    """Counts and energies of a reference that is one spectrum."""
    if not isinstance(signal, BaseSignal):
        raise AssbValueError(f"reference must be a signal, which has an energy axis, not {type(signal).__name__}.")
    if signal.axes_manager.navigation_size > 1:
        raise AssbValueError("reference has navigation axes: sum its pixels, or take one of them.")
    axis = signal.axes_manager.signal_axes[0]
    if not axis.is_uniform:
        raise AssbNotImplementedError("The energy axis of the reference is non-uniform: such axes are not supported.")
    return np.asarray(signal.data).reshape(-1), np.array(axis.axis, dtype=np.float64)
