"""Colours and small helpers that the figures share."""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperspy_assb.errors import AssbValueError

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#5e3c99")
"""Line colours that stay apart for colour-blind readers (Okabe and Ito, 2008, with two dark ones added)."""

MISSING = "#b8b8b8"
"""Colour of pixels without a value."""

QUIET = "#555555"
"""Colour of what is not data: scale bars, notes, guides."""


def quantity(label: str, units: str) -> str:
    """Axis label: what it is and its unit.

    Examples
    --------
    >>> quantity("energy loss", "eV"), quantity("x", "")
    ('energy loss (eV)', 'x')
    """
    return f"{label} ({units})" if label and units else label or units


_PREFIXES = (
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
)
"""Of units."""


def with_error(value: float, error: float, *, signed: bool = False) -> str:
    """Value and error with as many digits as the error has two of; of changes, with their sign.

    Examples
    --------
    >>> with_error(0.12345, 0.0123), with_error(31.2, 2.4), with_error(0.98, float("nan"))
    ('0.123 ± 0.012', '31.2 ± 2.4', '0.98')
    >>> with_error(3.77, 1.1, signed=True)
    '+3.8 ± 1.1'
    """
    sign = "+" if signed else ""
    if not (np.isfinite(error) and error > 0.0):
        return f"{value:{sign}.2g}"
    digits = max(1 - int(np.floor(np.log10(error))), 0)
    return f"{value:{sign}z.{digits}f} ± {error:.{digits}f}"


def si_prefix(size: float) -> tuple[float, str]:
    """The prefix of a unit with which a number lies between 1 and 1000, and what it stands for.

    Examples
    --------
    >>> si_prefix(2.5e8), si_prefix(-3e-8), si_prefix(12.0), si_prefix(0.0)
    ((1000000.0, 'M'), (1e-09, 'n'), (1.0, ''), (1.0, ''))
    """
    if not (np.isfinite(size) and size != 0.0):
        return 1.0, ""
    return next((p for p in _PREFIXES if abs(size) >= p[0]), _PREFIXES[-1])


def in_units(value: float, error: float, unit: str) -> str:
    """Value and error as of :func:`with_error`, in a unit with a prefix.

    Examples
    --------
    >>> in_units(1.2345e9, 2.3e7, "Ω"), in_units(5e-8, float("nan"), "A")
    ('1.234 ± 0.023 GΩ', '50 nA')
    """
    known = np.isfinite(error) and error > 0.0
    factor, prefix = si_prefix(max(abs(value), error) if known else value)
    return f"{with_error(value / factor, error / factor)} {prefix}{unit}"


def robust_limits(values: np.ndarray, *, share: float = 0.01) -> tuple[float, float]:
    """Colour limits that leave out a share of the extreme values at either end.

    Parameters
    ----------
    values
        Any shape; values that are not finite are ignored.
    share
        Share of the values left out at either end.

    Returns
    -------
    lowest, highest
        0 and 1 where no value is finite; apart from each other in any case.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    lowest, highest = (float(limit) for limit in np.quantile(finite, [share, 1 - share]))
    if highest - lowest <= 1e-12 * max(abs(lowest), abs(highest), 1e-300):
        margin = 0.5 * abs(lowest) or 0.5
        return lowest - margin, highest + margin
    return lowest, highest


def as_map(data: Any, scale: float | None, scale_units: str | None) -> tuple[np.ndarray, float, str]:
    """Array, pixel size and its unit from an array or a HyperSpy signal.

    A signal brings its own pixel size and unit, unless they are given. One dimension becomes one row.

    Raises
    ------
    AssbValueError
        If there are more than two dimensions.
    """
    if hasattr(data, "axes_manager"):
        axes = data.axes_manager.navigation_axes or data.axes_manager.signal_axes
        if axes:
            scale = float(axes[0].scale) if scale is None else scale
            units = str(axes[0].units)
            scale_units = (
                (units if units not in ("<undefined>", "None") else "") if scale_units is None else scale_units
            )
        data = data.data
    values = np.asarray(data)
    if values.ndim > 2:
        values = values.squeeze()
    values = np.atleast_2d(values)
    if values.ndim > 2:
        raise AssbValueError(f"A map has one or two dimensions; this one has the shape {values.shape}.")
    return values, 1.0 if scale is None else scale, scale_units or ""
