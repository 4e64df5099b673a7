"""Patterns as a scan: arrays without signal axes, and scans that come as one line."""

from __future__ import annotations

from typing import Any

from hyperspy_assb.errors import AssbValueError


def as_pattern_scan(signal: Any, scan_shape: tuple[int, int] | None = None) -> Any:
    """A signal whose two fastest axes are those of the patterns, on the rows and columns of a scan.

    Parameters
    ----------
    signal
        With two signal axes, or one array of three or four axes none of which is told apart: the slowest are of the
        scan.
    scan_shape
        Rows and columns of the scan, into which the patterns are laid in the order in which they come; None: as they
        are.

    Raises
    ------
    AssbValueError
        If there are more or fewer patterns than the scan has pixels.
    """
    if signal.axes_manager.signal_dimension != 2:
        signal = signal.transpose(signal_axes=2)
    if scan_shape is None:
        return signal
    rows, columns = (int(number) for number in scan_shape)
    frame = signal.data.shape[-2:]
    count = int(signal.data.size // (frame[0] * frame[1]))
    if rows < 1 or columns < 1 or rows * columns != count:
        pairs = [f"({n}, {count // n})" for n in range(1, count + 1) if count % n == 0]
        shown = ", ".join(pairs[max(len(pairs) // 2 - 3, 0) : len(pairs) // 2 + 3])
        raise AssbValueError(
            f"scan_shape: {rows} x {columns} pixels, but there are {count} patterns; rows and columns may be {shown}."
        )
    content = signal._to_dictionary(add_models=False)
    axes = list(content["axes"])
    known = {axis["size"]: axis for axis in axes[:-2]} if len(axes) == 4 else {}
    made = [
        {**known.get(size, {}), "_type": "UniformDataAxis", "name": name, "size": size, "navigate": True}
        for name, size in (("y", rows), ("x", columns))
    ]
    content["axes"] = [*made, *axes[-2:]]
    content["data"] = signal.data.reshape(rows, columns, *frame)
    return type(signal)(**content)
