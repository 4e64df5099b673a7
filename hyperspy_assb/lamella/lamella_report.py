"""The page of a lamella: contradictions, headline and claims first, then results, registrations, and linked maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from hyperspy_assb.errors import AssbFileError, AssbValueError
from hyperspy_assb.lamella.agreement import Claim
from hyperspy_assb.lamella.headline import NUMBERS, carbon_of_member, dose_of_member, headline, lamella_numbers
from hyperspy_assb.lamella.linked_viewer import viewer_data
from hyperspy_assb.lamella.result_sections import result_parts
from hyperspy_assb.plotting.material_colours import colour_of, is_material
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.key_numbers import key_numbers
from hyperspy_assb.staging import remove, sibling


def write_lamella_report(lamella: Any, path: Path, *, fdr: float) -> None:
    """Write the page; see :meth:`.Lamella.report`."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise AssbValueError(f"{path}: the report is a page, whose name ends in .html.")
    page = page_text(lamella, build_report(lamella, lamella.agreement(fdr=fdr)))
    part = sibling(path, "part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8", errors="replace")
        part.replace(path)
    except OSError as error:
        remove(part)
        raise AssbFileError(f"{path} could not be written ({error}).") from error


def build_report(lamella: Any, claims: Sequence[Claim], *, more: Callable[[Report], None] | None = None) -> Report:
    """All but the linked maps; ``more`` adds sections of its own before the registrations."""
    report = Report(f"Lamella {lamella.name}", subtitle=f"{len(lamella.members)} signals and results in one frame")
    against = [claim.sentence for claim in claims if claim.contradiction]
    if against:
        report.add("Contradictions", points=against, kind="warnings")
    elif claims:
        report.add("Contradictions", text="No two signals contradict each other.", kind="findings")
    said = headline(lamella, claims) or ["No two members measure the same quantity."]
    report.add("Findings", points=said, tables=key_numbers(lamella_numbers(lamella), NUMBERS), kind="findings")
    if claims:
        report.add("Claims", tables=_claim_tables(lamella, claims))
    problems = [*lamella.check_inputs(), *lamella.notes]
    if problems:
        report.add("Notes", points=problems, kind="warnings")
    for part in result_parts(lamella):
        report.add(part.heading, points=part.points, figures=part.figures, tables=part.tables)
    if more is not None:
        more(report)
    if any(member.registration is not None for member in lamella.members.values()):
        axes = lamella.plot()
        figure = Figure.of(axes[0].figure, "checkerboard", "Each signal in turn with the reference; boundaries go on.")
        plt.close(axes[0].figure)
        table = Table(lamella._registration_table().reset_index(), "Frames, from the reference")
        report.add("Registration", figures=[figure], tables=[table])
    report.add("Members", tables=[Table(lamella._table(), "Signals and results")])
    return report


def page_text(lamella: Any, report: Report) -> str:
    """The page with the linked maps."""
    viewer = viewer_data(lamella)
    words = {v for name in viewer["drawn"] for v in viewer["maps"][name] if isinstance(v, str)}
    viewer["colours"] = {word: colour_of(word) for word in sorted(words) if is_material(word)}
    templates = Environment(loader=PackageLoader("hyperspy_assb.lamella", "."), autoescape=True)
    # A tag in the data would end the script.
    text = json.dumps(viewer, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    block = templates.get_template("viewer.html.j2").render(data=Markup(text))
    return report.to_html().replace("</main>", f"{block}\n</main>", 1)


def _claim_tables(lamella: Any, claims: Sequence[Claim]) -> list[Table]:
    """All claims, with what the beam did to each of their signals."""
    sources = dict.fromkeys(key for claim in claims for key in claim.sources)
    doses = {key: dose_of_member(lamella, key) for key in sources}
    carbon = {key: carbon_of_member(lamella, key) for key in sources}
    rows = [
        {
            "claim": claim.subject,
            "in words": claim.sentence,
            "number": f"{claim.value:z.2f}".replace("-", "−"),
            "p": claim.p,
            "contradicts": "yes" if claim.contradiction else "no",
            "from": ", ".join(claim.sources),
            "dose (e/nm²)": _beside({k: f"{doses[k]:.2g}" for k in claim.sources if np.isfinite(doses[k])}),
            "carbon": _beside({k: carbon[k] for k in claim.sources if carbon[k]}),
        }
        for claim in claims
    ]
    caption = (
        "p is a false discovery rate for contradictions; for other claims it accounts for spatial correlation. Dose "
        "and carbon are those of the signals behind each claim, where known."
    )
    return [Table(pd.DataFrame(rows), caption)]


def _beside(values: dict[str, str]) -> str:
    return "; ".join(f"{key} {value}" for key, value in values.items()) or "not known"
