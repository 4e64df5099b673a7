"""Checks of spectra and energy axes, made before any number is computed from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.errors import AssbNotImplementedError, AssbValueError

_LARGEST_ENERGY = 1e7
"""eV: more than an electron of any microscope has to lose."""
_LEAST_STEP = 1e-6
"""eV: a thousandth of what the best monochromators resolve."""


def check_energy_axis(energy: ArrayLike, *, name: str = "energy axis") -> None:
    """Check that an energy axis is finite, increasing and uniform.

    Parameters
    ----------
    energy
        Centres of the channels in eV, shape (E,).
    name
        What the axis is called in the message.

    Raises
    ------
    ValueError
        If it is empty, not finite, reversed, or has fewer than eight channels.
    NotImplementedError
        If its channels are not equally wide.
    """
    axis = np.asarray(energy, dtype=np.float64)
    if axis.ndim != 1:
        raise AssbValueError(f"The {name} must have one dimension, not {axis.ndim}.")
    if axis.size < 8:
        raise AssbValueError(f"The {name} has {axis.size} channels: a spectrum needs at least 8.")
    if not np.all(np.isfinite(axis)):
        raise AssbValueError(f"The {name} holds values that are not finite: set its scale and offset.")
    steps = np.diff(axis)
    if np.all(steps < 0):
        raise AssbValueError(
            f"The {name} is reversed: it runs from {axis[0]:g} to {axis[-1]:g} eV (negative scale). "
            "Flip the data along it and give it a positive scale."
        )
    if np.any(steps <= 0):
        raise AssbValueError(f"The {name} does not increase: its scale must be positive.")
    if np.abs(axis).max() > _LARGEST_ENERGY or steps.mean() < _LEAST_STEP:
        raise AssbValueError(
            f"The {name} runs from {axis[0]:g} to {axis[-1]:g} eV in steps of {steps.mean():g} eV, which no "
            "spectrometer records: set its scale, offset and units."
        )
    # float32 axes read from files are uniform to about 1e-7 of their largest value
    tolerance = 1e-3 * steps.mean() + 4e-7 * np.abs(axis).max()
    if np.ptp(steps) > tolerance:
        raise AssbNotImplementedError(f"The {name} is non-uniform: EELS signals with such axes are not supported.")


def check_energy_range(
    energy: ArrayLike, *, minimum_end: float | None = None, maximum_start: float | None = None, purpose: str = ""
) -> None:
    """Check that an energy axis reaches as far as an analysis needs.

    Parameters
    ----------
    energy
        Centres of the channels in eV, shape (E,).
    minimum_end
        Energy in eV that the axis must reach; None: any.
    maximum_start
        Energy in eV at or below which the axis must begin; None: any.
    purpose
        What the range is for, named in the message.

    Raises
    ------
    ValueError
        If the axis ends before `minimum_end` or begins after `maximum_start`.
    """
    axis = np.asarray(energy, dtype=np.float64)
    what = f" for {purpose}" if purpose else ""
    if minimum_end is not None and axis[-1] < minimum_end:
        raise AssbValueError(
            f"The energy axis ends at {axis[-1]:g} eV, but must reach {minimum_end:g} eV{what}: "
            "record or load a spectrum with a wider range."
        )
    if maximum_start is not None and axis[0] > maximum_start:
        raise AssbValueError(
            f"The energy axis begins at {axis[0]:g} eV, but must begin at {maximum_start:g} eV or below{what}: "
            "use the low-loss spectrum, or correct the offset of the axis."
        )


def check_counts(counts: ArrayLike, energy: ArrayLike | None = None, *, name: str = "signal") -> None:
    """Check that spectra hold numbers.

    Parameters
    ----------
    counts
        Recorded counts, shape (..., E). Zero and negative counts are valid.
    energy
        Centres of the channels in eV, shape (E,), to check the length against.
    name
        What the data are called in the message.

    Raises
    ------
    ValueError
        If there are no data, the length is not that of `energy`, the type is not a real number, or a value is NaN or
        infinite; the message counts the pixels concerned and gives the first index.
    """
    data = np.asarray(counts)
    if data.size == 0:
        raise AssbValueError(f"The {name} is empty (shape {data.shape}): nothing was read from its file.")
    if data.dtype == object or data.dtype.kind not in "buif":
        raise AssbValueError(f"The {name} holds {data.dtype} values: counts must be real numbers.")
    if energy is not None and data.shape[-1] != np.asarray(energy).size:
        raise AssbValueError(
            f"The {name} has {data.shape[-1]} channels, but its energy axis has {np.asarray(energy).size}."
        )
    if data.dtype.kind != "f":
        return
    bad = ~np.isfinite(data)
    if not bad.any():
        return
    pixels = bad.reshape(-1, data.shape[-1]).any(axis=1)
    first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), data.shape))
    raise AssbValueError(
        f"The {name} holds values that are not finite (NaN or infinite) in {int(pixels.sum())} of {pixels.size} "
        f"pixels, the first at index {first}. Leave these pixels out or replace the values."
    )


def find_empty_pixels(counts: ArrayLike) -> NDArray[np.bool_]:
    """Find the pixels in which every channel is zero.

    Parameters
    ----------
    counts
        Recorded counts, shape (..., E); a dask array is read block by block.

    Returns
    -------
    NDArray[np.bool_]
        Shape (...): True where the pixel holds no counts at all.
    """
    return np.asarray(~np.any(counts, axis=-1))


ZERO_LOSS_MARGIN = 15.0
"""eV. How far from 0 eV an axis that is not calibrated may begin or end, and yet hold the zero-loss peak."""


def reaches_zero_loss(energy: ArrayLike, *, margin: float = ZERO_LOSS_MARGIN) -> bool:
    """Whether an energy axis, shape (E,), can hold a zero-loss peak."""
    axis = np.asarray(energy, dtype=np.float64)
    return bool(axis[0] <= margin and axis[-1] >= -margin)


def check_zero_loss_in_range(energy: ArrayLike, *, margin: float = ZERO_LOSS_MARGIN) -> None:
    """Check that the energy axis can hold a zero-loss peak.

    Parameters
    ----------
    energy
        Centres of the channels in eV, shape (E,).
    margin
        How far from 0 eV, in eV, the axis may begin or end, for an axis that is not calibrated.

    Raises
    ------
    ValueError
        If the axis begins above `margin` or ends below ``-margin``.
    """
    axis = np.asarray(energy, dtype=np.float64)
    if not reaches_zero_loss(axis, margin=margin):
        raise AssbValueError(
            f"There is no zero-loss peak in the range of the energy axis, {axis[0]:g} to {axis[-1]:g} eV: use the "
            "low-loss spectrum, or correct the offset of the axis."
        )
