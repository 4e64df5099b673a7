"""What is known in some thousand blocks of one frame, for the viewer of the page: maps, spectra, patterns."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

_CELLS = 32
"""Blocks along the longer side."""
_DIGITS = 4
_PATTERN = 32
"""Pixels along a side of a pattern."""
_CHANNELS = 192
_ROWS = 16
"""Rows of spectra that are read together."""
_SHOWN = {
    "OrientationMaps": ("class", "phase reliability", "probability of LiFePO4", "probability of FePO4"),
    "Delithiation": ("x", "t_over_lambda"),
    "FineStructure": ("x", "t_over_lambda"),
    "EDSComposition": ("Fe (at", "Ge (at", "C (at", "P (at"),
    "EDSPhases": ("olivine volume", "LAGP volume", "carbon volume"),
}
"""Beginnings of the quantities that are drawn; of others all, but for signals from which a result was computed. All
stand in the table."""
_MOST_MAPS = 24
_LEFT_OUT = ("orientation ", "fraction", "x_systematic", "status")


def viewer_data(lamella: Any) -> dict[str, Any]:
    """Maps in blocks of one frame, spectra and patterns of the blocks, as numbers of few digits."""
    framed = [key for key, member in lamella.members.items() if member.frame is not None]
    if not framed:
        return {"shape": [0, 0], "maps": {}, "drawn": [], "spectra": {}, "patterns": {}}
    # The coarsest frame: no map is shown finer than it was measured.
    frame = max(framed, key=lambda key: lamella.members[key].frame.coarseness)
    rows, columns = lamella.members[frame].frame.shape
    step = max(1, -(-max(rows, columns) // _CELLS))
    shape = -(-rows // step), -(-columns // step)
    block = np.add.outer(np.arange(rows) // step * shape[1], np.arange(columns) // step).ravel()
    table = lamella.table(frame)
    maps, drawn = {}, []
    for name in table.columns[2:]:
        key, _, quantity = name.partition(": ")
        if quantity.endswith(("std", "_std", "systematic", "std (at. %)")) or quantity.startswith(_LEFT_OUT):
            continue
        maps[name] = _in_blocks(table[name], block)
        if _is_drawn(lamella, key, quantity):
            drawn.append(name)
    spectra, patterns = {}, {}
    for key in framed:
        held = lamella[key]
        manager = getattr(held, "axes_manager", None)
        if manager is None or manager.navigation_dimension != 2:
            continue
        groups = _pixels_of_blocks(lamella, frame, key, block, shape[0] * shape[1])
        if manager.signal_dimension == 1:
            spectra[key] = _spectra(held, groups)
        elif manager.signal_dimension == 2:
            patterns[key] = _patterns(held, groups)
    return {"shape": list(shape), "maps": maps, "drawn": drawn[:_MOST_MAPS], "spectra": spectra, "patterns": patterns}


def _is_drawn(lamella: Any, key: str, quantity: str) -> bool:
    wanted = _SHOWN.get(lamella.members[key].kind)
    if wanted is not None:
        return any(quantity == word or (len(word) > 1 and quantity.startswith(word)) for word in wanted)
    root = lamella._root(key)
    return not any(member.kind in _SHOWN and lamella._root(k) == root for k, member in lamella.members.items())


def _in_blocks(values: pd.Series, block: NDArray[np.int64]) -> list[Any]:
    if pd.api.types.is_numeric_dtype(values):
        return [_short(value) for value in values.astype(float).groupby(block).mean()]
    found = values.groupby(block).agg(
        lambda words: words.dropna().mode().iloc[0] if words.notna().any() else None  # majority
    )
    return [value if isinstance(value, str) and value else None for value in found]


def _pixels_of_blocks(
    lamella: Any, frame: str, key: str, block: NDArray[np.int64], count: int
) -> list[NDArray[np.int64]]:
    """Pixels of a member, by number, that lie nearest to those of each block; none where it does not reach."""
    at, own = lamella._framed(frame), lamella._framed(key)
    positions = at.positions()
    roots = lamella._root(frame), lamella._root(key)
    if roots[0] != roots[1]:
        found = [lamella.members[root].registration for root in roots]
        if None in found:
            return [np.zeros(0, dtype=np.int64)] * count
        positions = found[0].transform.inverse.then(found[1].transform)(positions)
    index = np.rint(own.indices(positions)).astype(np.int64).reshape(-1, 2)
    inside = np.all((index >= 0) & (index < np.array(own.shape)), axis=1)
    flat = index[:, 0] * own.shape[1] + index[:, 1]
    return [np.unique(flat[inside & (block == number)]) for number in range(count)]


def _spectra(signal: Any, groups: list[NDArray[np.int64]]) -> dict[str, Any]:
    """Mean counts of each block; channels are summed to at most some hundred."""
    rows, columns, channels = signal.data.shape
    width = -(-channels // _CHANNELS)
    count = np.array([len(pixels) for pixels in groups])
    block = np.repeat(np.arange(len(groups)), count)
    member = sparse.csr_matrix(
        (np.ones(len(block)), (block, np.concatenate(groups).astype(np.int64))), (len(groups), rows * columns)
    )
    total = np.zeros((len(groups), channels))
    # Some rows at a time: lazy data are never all in memory.
    for first in range(0, rows, _ROWS):
        part = np.asarray(signal.data[first : first + _ROWS]).reshape(-1, channels)
        total += member[:, first * columns : first * columns + len(part)] @ part
    summed = total[:, : channels // width * width].reshape(len(groups), -1, width).sum(axis=-1)
    means = [[_short(v, 3) for v in one / n] if n else None for one, n in zip(summed, count, strict=True)]
    axis = signal.axes_manager.signal_axes[0]
    start, step = float(axis.axis[0]), float(axis.scale) * width
    return {"start": start, "step": step, "units": str(axis.units), "values": means}


def _patterns(signal: Any, groups: list[NDArray[np.int64]]) -> dict[str, Any]:
    """One pattern of each block, square root of the counts in 256 steps: a mean would show what no pixel shows."""
    side = min(_PATTERN, *signal.data.shape[-2:])
    rows, columns = (n // side for n in signal.data.shape[-2:])
    width = signal.data.shape[1]
    pictures: list[str | None] = [None] * len(groups)
    places = {
        number: divmod(int(pixels[pixels.size // 2]), width) for number, pixels in enumerate(groups) if pixels.size
    }
    row_read, line = -1, np.zeros(0)
    # By rows: of lazy data each row is read once.
    for number, (row, column) in sorted(places.items(), key=lambda item: item[1]):
        if row != row_read:
            row_read, line = row, np.asarray(signal.data[row])
        pattern = line[column].astype(float)[: side * rows, : side * columns]
        # The strongest pixel of each cell: spots are small.
        root = np.sqrt(np.maximum(pattern, 0.0)).reshape(side, rows, side, columns).max(axis=(1, 3))
        top = float(np.quantile(root, 0.995))
        scaled = np.clip(255.0 * root / max(top, 1e-9), 0.0, 255.0).astype(np.uint8)
        pictures[number] = base64.b64encode(scaled.tobytes()).decode("ascii")
    return {"side": side, "values": pictures}


def _short(value: float, digits: int = _DIGITS) -> float | None:
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None
