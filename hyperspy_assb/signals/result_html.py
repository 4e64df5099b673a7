"""A result as a notebook shows it: a small table, a thumbnail, and its notes, folded."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from hyperspy_assb.plotting.material_colours import class_colours, is_material
from hyperspy_assb.plotting.style import COLOURS, MISSING, robust_limits
from hyperspy_assb.reference import shown_names

_ROWS = 10
_COLUMNS = 6
_INCHES = (2.5, 2.0)
_DPI = 96
_NONE = "#dfe8ee"


def result_html(result: Any) -> str:
    """A result as HTML, every text escaped.

    Parameters
    ----------
    result
        A :class:`.Result` of any class.

    Returns
    -------
    str
        Of a result with pixels, the median and the range of every quantity, and how many pixels have which status;
        of others, the first rows of their table.
    """
    name = type(result).__name__
    pixels = int(np.prod(result.shape))
    size = f", {' × '.join(map(str, result.shape))} pixels" if pixels > 1 else ""
    table, left = _small(result)
    shown = result._shown()
    picture = _thumbnail(shown)
    parts = [f"<div><b>{escape(name)}</b>{escape(size)}", '<div style="display:flex;flex-wrap:wrap;gap:1em">']
    parts.append(
        table.to_html(index=table.index.name is not None, border=0, float_format=_short, na_rep="–", justify="left")
    )
    if picture:
        names = shown.metadata.get_item("ASSB.quantities", [])
        title = escape(": ".join([str(shown.metadata.get_item("General.title", "")), *map(str, names[:1])]))
        parts.append(
            f'<figure style="margin:0"><img alt="{title}" src="data:image/png;base64,{picture}">'
            f"<figcaption>{title}</figcaption></figure>"
        )
    parts.append("</div>")
    if left:
        parts.append(f"<p>{left} more in <code>to_dataframe()</code>.</p>")
    if result.notes:
        points = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
        count = len(result.notes)
        parts.append(f"<details><summary>{count} note{'s' * (count > 1)}</summary><ul>{points}</ul></details>")
    return shown_names("".join([*parts, "</div>"]))


def _small(result: Any) -> tuple[pd.DataFrame, int]:
    """The table that is shown, and how many rows were left out."""
    whole = result.to_dataframe()
    if not result.axes or len(whole) != int(np.prod(result.shape)):
        return whole.iloc[:_ROWS, :_COLUMNS], max(len(whole) - _ROWS, 0)
    rows = []
    for name in whole.columns.difference(list(result._position_columns()), sort=False):
        values = whole[name]
        if values.dtype.kind not in "fiu":
            continue
        finite = np.asarray(values, dtype=float)
        finite = finite[np.isfinite(finite)]
        if finite.size:
            rows.append((name, *np.quantile(finite, [0.5, 0.05, 0.95]), str(finite.size)))
    left = max(len(rows) - _ROWS, 0)
    rows = rows[:_ROWS]
    if "status" in whole:
        counts = whole["status"].value_counts().items()
        rows += [(f"status {word}".replace("_", " "), *(np.nan,) * 3, str(n)) for word, n in counts]
    return pd.DataFrame(rows, columns=["quantity", "median", "5 %", "95 %", "pixels"]), left


def _short(value: float) -> str:
    return f"{value:.3g}"


def _class_image(data: np.ndarray, classes: Iterable[str]) -> np.ndarray:
    """Colours of numbered pixels: those of materials where the numbers are named, as "2: LAGP"."""
    names = [line.split(": ", 1)[1] for line in classes if line[:1].isdigit()]
    numbers, place = np.unique(data, return_inverse=True)
    if any(map(is_material, names)):
        colours = class_colours(names)
    else:  # regions, particles, answers: neighbours apart, what is none of them pale
        colours = {int(n): COLOURS[(int(n) - 1) % len(COLOURS)] if n > 0 else _NONE for n in numbers}
    rgb = np.array([to_rgb(colours.get(int(n), "white")) for n in numbers])
    return rgb[place].reshape(*data.shape, 3)


def _thumbnail(signal: Any) -> str:
    """The first map or curve of a signal as a PNG in base64; empty where there is one value."""
    data = np.asarray(signal.data[(0,) * max(signal.data.ndim - 2, 0)])
    data = data[0] if data.ndim == 2 and 1 in data.shape[:1] else data
    if data.size < 2 or data.dtype.kind not in "biuf":
        return ""
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    ax = figure.subplots()
    ax.tick_params(labelsize=7)
    axis = signal.axes_manager._axes[-1]
    if data.ndim == 1 and axis.size == data.size and str(axis.units) not in ("<undefined>", ""):
        ax.plot(axis.axis, data, linewidth=1.0)
        ax.set_xlabel(f"{axis.name} ({axis.units})", fontsize=7)
    elif data.ndim == 1:
        ax.hist(data[np.isfinite(data)], bins="fd")
    else:
        values = np.asarray(data, dtype=float)
        low, high = robust_limits(values)
        ax.set_facecolor(MISSING)
        if data.dtype.kind in "bi":
            classes = signal.metadata.get_item("ASSB.classes", [])
            ax.imshow(_class_image(data, map(str, classes)), interpolation="nearest")
            ax.set_axis_off()
        else:
            image = ax.imshow(values, vmin=low, vmax=high, cmap="viridis")
            figure.colorbar(image, ax=ax).ax.tick_params(labelsize=7)
        ax.set_xticks([])
        ax.set_yticks([])
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode("ascii")
