"""What a signal holds and what its metadata say, looked at once before any analysis: the one place where both are read.

Files hold text where a number belongs, arrays of objects, axes without a scale, and pixels that are no numbers. What
cannot be used is an error that names it; pixels that cannot be used are left out, as empty ones, with a warning.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.reference.elements import elements

MOST_COUNTS = 2.0**53
"""No detector counts so far, and beyond it 64 bits do not tell a count from the next."""
_ELEMENTS = "Sample.elements"
_MOST = 1e20
"""In no unit is anything that is recorded larger, nor a step of an axis smaller than one part of that."""


def title_of(signal: Any, default: str = "'signal'") -> str:
    """What a signal is called, in quotation marks: its title, its file, or a default without them."""
    for item in ("General.title", "General.original_filename"):
        text = recorded_text(signal, item)
        if text:
            return f"'{text}'"
    return default


def recorded_text(signal: Any, item: str) -> str:
    """A text of the metadata; empty where there is none, or something that is no text."""
    found = signal.metadata.get_item(item, None)
    return found if isinstance(found, str) else ""


def check_title(signal: Any) -> None:
    """Check that the title of a signal is a text, which HyperSpy's models take for granted.

    Raises
    ------
    AssbValueError
        If it is something else.
    """
    found = signal.metadata.get_item("General.title", "")
    if not isinstance(found, str):
        raise AssbValueError(f"metadata.General.title is {_shown(found)}, not a text: set it.")


def recorded_names(signal: Any, item: str) -> tuple[str, ...]:
    """Names of the metadata, such as chemical symbols: one text, or several in a list; empty where there are none.

    Raises
    ------
    AssbValueError
        If it is neither; the message names the item.
    """
    found = signal.metadata.get_item(item, None)
    if found is None:
        return ()
    names = [found] if isinstance(found, str) else found
    # Old files hold arrays of strings of NumPy.
    if not isinstance(names, list | tuple | np.ndarray) or not all(isinstance(name, str) for name in names):
        raise AssbValueError(f"metadata.{item} is {_shown(found)}: set it to a list of names, or remove it.")
    return tuple(str(name) for name in names)


def recorded_elements(signal: Any) -> tuple[str, ...]:
    """Chemical symbols of the specimen; empty where none were recorded.

    Raises
    ------
    AssbValueError
        If the metadata hold something else; the message names the item.
    """
    names = recorded_names(signal, _ELEMENTS)
    unknown = [name for name in names if name not in elements()]
    if unknown:
        raise AssbValueError(
            f"metadata.{_ELEMENTS} holds {unknown[0]!r}, which is no chemical element: set_elements()."
        )
    return names


def recorded_number(signal: Any, item: str, *, negative: bool = False) -> float | None:
    """A number of the metadata; None where there is none, or NaN.

    Parameters
    ----------
    signal : hyperspy.signals.BaseSignal
        Whose metadata are read.
    item
        Path of the number, such as "Acquisition_instrument.TEM.beam_energy".
    negative
        Whether it may be below 0.

    Raises
    ------
    AssbValueError
        If it is no number (text, a list, a dictionary, true or false), infinite or beyond anything that is measured, or
        below 0 and must not be; the message names the item.
    """
    found = signal.metadata.get_item(item, None)
    if found is None:
        return None
    number = _number(found)
    if number is None or abs(number) > _MOST or (number < 0.0 and not negative):
        wanted = "a number that can be" if negative else "a number that can be and is not negative"
        raise AssbValueError(f"metadata.{item} is {_shown(found)}, not {wanted}: set it, or remove it.")
    return None if np.isnan(number) else number


def recorded_numbers(signal: Any, item: str, count: int | None = None) -> NDArray[np.float64]:
    """Several numbers of the metadata, shape (N,).

    Raises
    ------
    AssbValueError
        If they are no finite numbers, or not as many as they must be; the message names the item.
    """
    found = signal.metadata.get_item(item, None)
    values = [_number(value) for value in found] if isinstance(found, list | tuple | np.ndarray) else [None]
    if any(value is None or abs(value) > _MOST for value in values) or (count is not None and len(values) != count):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise AssbValueError(f"metadata.{item} is {_shown(found)}, not a list of {wanted}: set it, or remove it.")
    return np.array(values, dtype=np.float64)


def _number(value: Any) -> float | None:
    """What a reader has stored as a number, or as the text of one, as a float; None if it is something else."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    return float(value)


def _shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = str(value.as_dictionary()) if hasattr(value, "as_dictionary") else repr(value)
    return f"{' '.join(text.split())[:60]} ({type(value).__name__})"


def check_axis(axis: Any, what: str) -> None:
    """Check that an axis has been given a place and a scale.

    Parameters
    ----------
    axis : hyperspy.axes.BaseDataAxis
        Any axis of a signal.
    what
        What it is called in the message.

    Raises
    ------
    AssbValueError
        If it has no points, its scale is 0, NaN or beyond anything that is measured, or its values do not differ.
    """
    if axis.size == 0:
        raise AssbValueError(f"The {what} has no points: nothing was read from the file.")
    scale, offset = (float(getattr(axis, name, default)) for name, default in (("scale", 1.0), ("offset", 0.0)))
    if not (1.0 / _MOST < abs(scale) < _MOST and abs(offset) < _MOST):
        raise AssbValueError(
            f"The {what} has the scale {scale:g} and the offset {offset:g}: set them, s.axes_manager[...].scale = ..."
        )
    values = np.asarray(axis.axis, dtype=np.float64)
    if not np.isfinite(values).all() or (axis.is_uniform and (np.diff(values) == 0.0).any()):
        raise AssbValueError(
            f"The {what} runs from {values[0]:g} to {values[-1]:g} with the scale {scale:g}, which does not separate "
            "its points: set scale and offset."
        )


def check_data(signal: Any, *, what: str = "spectrum") -> None:
    """Check that a signal holds real numbers.

    Parameters
    ----------
    signal : hyperspy.signals.BaseSignal
        Lazy or not; nothing is read.
    what
        What lies at a pixel.

    Raises
    ------
    AssbValueError
        If there are no data, or they are not real numbers, or the sizes of the chunks are not known, or an axis has no
        scale.
    """
    data, title = signal.data, title_of(signal)
    if not isinstance(data, np.ndarray) and np.isnan(data.shape).any():
        raise AssbValueError(
            f"The sizes of the chunks of {title} are not known: s.data.compute_chunk_sizes() finds them, or load the "
            "file again."
        )
    if data.size == 0:
        file = recorded_text(signal, "General.original_filename")
        raise AssbValueError(
            f"{title} is empty: no {what} was read" + (f" from {file}." if file else " from its file.")
        )
    if data.dtype.fields is not None:
        raise AssbValueError(f"{title} holds colour pictures, not counts: load the original recording of the detector.")
    if data.dtype.kind not in "buif":
        raise AssbValueError(f"{title} holds {data.dtype} values: counts must be real numbers.")
    for axis in signal.axes_manager._axes:
        check_axis(axis, f"axis {str(axis.name)!r} of {title}")


def recorded_data(signal: Any, *, what: str = "spectrum", unusable: str = "zero") -> Any:
    """The data of a signal, as numbers that any analysis can take.

    Parameters
    ----------
    signal : hyperspy.signals.BaseSignal
        Lazy or not; it stays as it is.
    what
        What lies at a pixel.
    unusable
        What becomes of the pixels that hold NaN, infinity or more than :data:`MOST_COUNTS`: "zero", empty ones, with a
        warning; "number", the same of those that hold nothing else, while in the others all such numbers are NaN;
        "keep", for those that leave them out themselves.

    Returns
    -------
    data
        NumPy array, or dask array where the signal is lazy, of integers or of 32 or 64 bit floats of the machine's own
        byte order.

    Raises
    ------
    AssbValueError
        As for :func:`check_data`, and if no pixel can be used.

    Warns
    -----
    AssbWarning
        If pixels are left out, or the numbers are of 16 bits.
    """
    check_data(signal, what=what)
    data, title = signal.data, title_of(signal)
    data = _of_common_type(data, title)
    if unusable == "keep" or data.dtype.kind != "f":
        return data
    axes = tuple(range(data.ndim - signal.axes_manager.signal_dimension, data.ndim))
    bad = _unusable(data, axes, whole=unusable == "number")
    if unusable == "number":
        data = _where(abs(data) <= MOST_COUNTS, data, np.nan)
    count = int(bad.sum())
    if not count:
        return data
    if count == bad.size:
        raise AssbValueError(
            f"{title} holds NaN, infinity or more than {MOST_COUNTS:.0e} counts in "
            + (f"all of its {bad.size} pixels" if bad.size > 1 else f"its {what}")
            + ": nothing can be analysed. Was a background divided out, or the wrong file loaded?"
        )
    warnings.warn(
        f"{title} holds NaN, infinity or more than {MOST_COUNTS:.0e} counts in {count} of {bad.size} pixels: they are "
        f"left out, as if no {what} had been recorded there.",
        AssbWarning,
        stacklevel=4,
    )
    return _where(~np.expand_dims(bad, axes), data, 0.0)


def _where(good: Any, data: Any, other: float) -> Any:
    """Data of a type of floats, or another number."""
    number = data.dtype.type(other)
    if isinstance(data, np.ndarray):
        return data if good.all() else np.where(good, data, number)
    import dask.array as da

    return da.where(good, data, number)


def _of_common_type(data: Any, title: str) -> Any:
    """Data as a type that compiled code takes, with a warning where the type has lost something."""
    dtype = data.dtype
    if dtype == np.float16:
        warnings.warn(
            f"{title} holds float16 values, which keep three digits and end at 65504: save the counts as integers or "
            "float32.",
            AssbWarning,
            stacklevel=5,
        )
        return data.astype(np.float32)
    if dtype.kind == "b":
        return data.astype(np.uint8)
    if dtype.itemsize > 8:
        return data.astype(np.float64)
    return data if dtype.isnative else data.astype(dtype.newbyteorder("="))


def _unusable(data: Any, axes: tuple[int, ...], *, whole: bool) -> NDArray[np.bool_]:
    """Pixels in which a number (or, the whole of it, every number) is none, or larger than counts can be.

    Lazy data are read block by block.
    """
    # Nearly always all is well, which needs no copy to tell; NaN is the largest and the smallest of all.
    if isinstance(data, np.ndarray) and data.max() <= MOST_COUNTS and data.min() >= -MOST_COUNTS:
        return np.zeros(data.shape[: data.ndim - len(axes)], dtype=bool)
    good = abs(data) <= MOST_COUNTS
    found = ~(good.any(axis=axes) if whole else good.all(axis=axes))
    return np.asarray(found)
