"""The page of a lamella: contradictions first, then claims, registrations, maps, and a viewer of linked maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from hyperspy_assb.errors import AssbFileError, AssbValueError
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.staging import remove, sibling

_CELLS = 40
"""Blocks along the longer side of the viewer."""
_MOST_MAPS = 24
_DIGITS = 4


def write_lamella_report(lamella: Any, path: Path, *, fdr: float) -> None:
    """Write the page; see :meth:`.Lamella.report`."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise AssbValueError(f"{path}: the report is a page, whose name ends in .html.")
    page = build_page(lamella, fdr=fdr)
    part = sibling(path, "part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        remove(part)
        raise AssbFileError(f"{path} could not be written ({error}).") from error


def build_page(lamella: Any, *, fdr: float) -> str:
    """The page as text."""
    claims = lamella.agreement(fdr=fdr)
    report = Report(f"Lamella {lamella.name}", subtitle=f"{len(lamella.members)} signals and results in one frame")
    against = [claim.sentence for claim in claims if claim.contradiction]
    if against:
        report.add("Contradictions", points=against, kind="warnings")
    agreed = [claim.sentence for claim in claims if not claim.contradiction]
    first = ["No two signals contradict each other."] if claims and not against else []
    report.add("Findings", points=[*first, *agreed] or ["No two members tell of the same thing."], kind="findings")
    problems = [*lamella.check_inputs(), *lamella.notes]
    if problems:
        report.add("Notes", points=problems, kind="warnings")
    if any(member.registration is not None for member in lamella.members.values()):
        axes = lamella.plot()
        figure = Figure.of(axes[0].figure, "checkerboard", "Each signal in turn with the reference; boundaries go on.")
        plt.close(axes[0].figure)
        table = Table(lamella._registration_table().reset_index(), "Frames, from the reference")
        report.add("Registration", figures=[figure], tables=[table])
    if claims:
        rows = [{"claim": c.subject, "number": c.value, "p": c.p, "from": ", ".join(c.sources)} for c in claims]
        report.add("Claims", tables=[Table(pd.DataFrame(rows), "p of contradictions: false discovery rate")])
    report.add("Members", tables=[Table(lamella._table(), "Signals and results")])
    viewer = viewer_data(lamella)
    templates = Environment(loader=PackageLoader("hyperspy_assb.lamella", "."), autoescape=True)
    # A tag in the data would end the script.
    text = json.dumps(viewer, allow_nan=False).replace("<", "\\u003c")
    block = templates.get_template("viewer.html.j2").render(data=Markup(text))
    return report.to_html().replace("</main>", f"{block}\n</main>", 1)


def viewer_data(lamella: Any) -> dict[str, Any]:
    """Maps in blocks of one frame, and the spectra of the blocks, as numbers of few digits."""
    framed = [key for key, member in lamella.members.items() if member.frame is not None]
    if not framed:
        return {"shape": [0, 0], "maps": {}, "spectra": {}}
    # The coarsest frame: no map is shown finer than it was measured.
    frame = max(framed, key=lambda key: lamella.members[key].frame.coarseness)
    rows, columns = lamella.members[frame].frame.shape
    step = max(1, -(-max(rows, columns) // _CELLS))
    shape = -(-rows // step), -(-columns // step)
    table = lamella.table(frame)
    block = np.add.outer(np.arange(rows) // step * shape[1], np.arange(columns) // step).ravel()
    maps = {}
    for name in table.columns[2:]:
        if len(maps) == _MOST_MAPS:
            break
        if pd.api.types.is_numeric_dtype(table[name]):
            values = table[name].astype(float).groupby(block).mean()
            maps[name] = [_short(value) for value in values]
        else:
            chosen = (
                table[name]
                .groupby(block)
                .agg(lambda words: words.dropna().mode().iloc[0] if words.notna().any() else None)
            )
            maps[name] = [value if isinstance(value, str) else None for value in chosen]
    return {"shape": list(shape), "maps": maps, "spectra": _spectra(lamella, frame, block)}


def _spectra(lamella: Any, frame: str, block: np.ndarray) -> dict[str, Any]:
    """Mean spectra of the blocks, of signals that have the pixels of the frame."""
    found = {}
    for key, member in lamella.members.items():
        if member.frame is None or not hasattr(lamella[key], "axes_manager"):
            continue
        signal = lamella[key]
        manager = signal.axes_manager
        if (
            manager.navigation_dimension != 2
            or manager.signal_dimension != 1
            or lamella._root(key) != lamella._root(frame)
        ):
            continue
        data = np.asarray(signal.data).reshape(len(block), -1)
        width = max(1, data.shape[1] // 256)
        data = data[:, : data.shape[1] // width * width].reshape(len(block), -1, width).sum(axis=-1)
        means = pd.DataFrame(data).groupby(block).mean().to_numpy()
        axis = manager.signal_axes[0]
        found[key] = {
            "start": float(axis.axis[0]),
            "step": float(axis.scale) * width,
            "units": str(axis.units),
            "values": [[_short(value, 3) for value in row] for row in means],
        }
    return found


def _short(value: float, digits: int = _DIGITS) -> float | None:
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None
