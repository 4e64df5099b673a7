"""The zero loss of a signal: arrays out of it, one function on arrays, signals out of the results."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from hyperspy.signals import BaseSignal
from numpy.typing import NDArray

from hyperspy_assb.eels import checks
from hyperspy_assb.eels.zero_loss.peak_search import SEARCH_RANGE
from hyperspy_assb.eels.zero_loss.position import estimate_centre
from hyperspy_assb.eels.zero_loss.removal import RemovalMethod, check_arguments, removal_noise, remove_zero_loss
from hyperspy_assb.errors import AssbWarning
from hyperspy_assb.fitting.solver.noise_claim import Noise, NoiseSource
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.models.recorded_noise import recorded_detector
from hyperspy_assb.signals.eels.low_loss_reading import on_navigation_axes, read_energy_axis

# Pixels that are read to learn what all have in common, where they are not all in memory.
_SAMPLE = 256
# Energy in eV up to which the tail of the zero loss must be known to be of use under the bands near 5 eV.
_TAIL_END = 10.0


@dataclass(frozen=True)
class ZeroLossMaps:
    """The zero-loss peak of every pixel, as signals on the navigation axes.

    Parameters
    ----------
    centre, centre_std
        Energy of the mode of the peak and its standard deviation, in eV; NaN where there is none.
    fwhm
        Full width at half maximum in eV.
    intensity
        Counts of the peak within 1.06 full widths of its mode.
    status
        A :class:`hyperspy_assb.eels.zero_loss.position.ZeroLossStatus` for each pixel.
    """

    centre: BaseSignal
    centre_std: BaseSignal
    fwhm: BaseSignal
    intensity: BaseSignal
    status: BaseSignal


def estimate(
    signal: Any, *, gain: float | None, read_variance: float, search_range: tuple[float, float]
) -> ZeroLossMaps:
    """See :meth:`hyperspy_assb.signals.ASSBEELSSpectrum.estimate_zero_loss`."""
    energy = read_energy_axis(signal, zero_loss=search_range == SEARCH_RANGE)
    options = {"gain": gain, "read_variance": read_variance, "search_range": search_range}

    def arrays(counts: NDArray, **extra: object) -> NDArray[np.float64]:
        found = estimate_centre(counts, energy, **{**options, **extra})
        return np.stack([found.centre, found.centre_std, found.fwhm, found.intensity, found.status], axis=-1)

    if isinstance(signal.data, da.Array):
        known = estimate_centre(_sample_pixels(signal.data), energy, **options)
        values = _whole_spectra(signal.data).map_blocks(
            arrays, gain=known.gain, shape=known.shape, dtype=float, chunks=(*signal.data.chunks[:-1], (5,))
        )
        values = values.compute()
    else:
        values = arrays(signal.data)
    if np.isnan(values[..., 0]).all():
        raise ValueError(
            f"There is no zero loss in range: none of the {values[..., 0].size} spectra of "
            f"'{signal.metadata.General.title}' has a peak between {search_range[0]:g} and {search_range[1]:g} eV "
            f"({energy[0]:g} to {energy[-1]:g} eV are recorded). Use the low-loss spectrum, or give search_range."
        )
    return ZeroLossMaps(
        centre=on_navigation_axes(signal, values[..., 0], title="Zero-loss centre", quantity="Energy (eV)"),
        centre_std=on_navigation_axes(
            signal, values[..., 1], title="Standard deviation of the zero-loss centre", quantity="Energy (eV)"
        ),
        fwhm=on_navigation_axes(signal, values[..., 2], title="Zero-loss FWHM", quantity="Energy (eV)"),
        intensity=on_navigation_axes(
            signal, values[..., 3], title="Zero-loss intensity", quantity="Intensity (Counts)"
        ),
        status=on_navigation_axes(signal, values[..., 4].astype(np.int8), title="Zero-loss status"),
    )


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
    if not isinstance(signal.data, da.Array):
        checks.check_counts(signal.data, energy, name=f"signal '{signal.metadata.General.title}'")
    some = _sample_pixels(signal.data)
    if gain is None:
        noise = removal_noise(some, energy, recorded_detector(signal.metadata))
    else:
        given = Detector(gain, float(np.sqrt(read_variance)))
        noise = Noise(given, NoiseSource.GIVEN, f"A gain of {gain:.3g} counts per electron was given.")
    if noise.contradicted or not noise.is_counting:
        warnings.warn(noise.sentence, AssbWarning, stacklevel=3)
    options["detector"] = noise.detector
    known = estimate_centre(some, energy, gain=noise.detector.gain, read_variance=noise.detector.read_noise**2)
    if method == "mirror" and np.isfinite(known.centre).any():
        reach = float(np.nanmedian(known.centre)) - energy[0]
        if reach < _TAIL_END:
            warnings.warn(
                f"Only {reach:.3g} eV are recorded below the zero loss: the mirrored tail ends as far above it, and "
                "beyond that nothing is subtracted.",
                UserWarning,
                stacklevel=3,
            )

    def arrays(counts: NDArray, **extra: object) -> NDArray[np.float64]:
        removed = remove_zero_loss(counts, energy, **{**options, **extra})
        return np.stack([removed.spectrum, removed.variance], axis=-2)

    if isinstance(signal.data, da.Array):
        blocks = _whole_spectra(signal.data)
        both = blocks.map_blocks(
            arrays,
            shape=known.shape,
            dtype=float,
            new_axis=blocks.ndim - 1,
            chunks=(*blocks.chunks[:-1], (2,), blocks.chunks[-1]),
        )
    else:
        both = arrays(signal.data)
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
        raise ValueError(f"reference must be a signal, so that its energy axis is known, not {type(signal).__name__}.")
    if signal.axes_manager.navigation_size > 1:
        raise ValueError("reference has navigation axes: sum its pixels, or take one of them.")
    axis = signal.axes_manager.signal_axes[0]
    if not axis.is_uniform:
        raise NotImplementedError("The energy axis of the reference is non-uniform: such axes are not supported.")
    return np.asarray(signal.data).reshape(-1), np.array(axis.axis, dtype=np.float64)
