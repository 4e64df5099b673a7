"""A self-contained HTML page out of sections, texts, figures and tables."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Kind = Literal["result", "note", "warning"]


@dataclass(frozen=True)
class Finding:
    """One sentence on what was found.

    Parameters
    ----------
    text
        The sentence.
    kind
        "result" for what holds, "note" for what to keep in mind, "warning" for what could not be done or told apart.
    """

    text: str
    kind: Kind = "result"


@dataclass(frozen=True)
class _Block:
    kind: str
    content: Any
    caption: str = ""


@dataclass
class Section:
    """A part of a report: a heading, and texts, figures, tables and further sections in the order they were added.

    Every ``add_`` method but :meth:`add_section` returns the section itself, so that calls can be chained.

    Parameters
    ----------
    heading
        Heading of the section.
    """

    heading: str
    blocks: list[_Block] = field(default_factory=list)

    def add_text(self, text: str) -> Section:
        """Add paragraphs; an empty line begins a new one."""
        self.blocks.append(_Block("text", [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]))
        return self

    def add_findings(self, findings: Sequence[Finding]) -> Section:
        """Add a list of findings."""
        self.blocks.append(_Block("findings", list(findings)))
        return self

    def add_figure(self, figure: Figure, caption: str = "", *, dpi: float = 130) -> Section:
        """Add a matplotlib figure as an embedded PNG. The caption is also its alternative text."""
        self.blocks.append(_Block("figure", _data_uri(figure, dpi), caption))
        return self

    def add_table(self, frame: pd.DataFrame, caption: str = "", *, digits: int = 4, index: bool = False) -> Section:
        """Add a data frame, numbers with a given number of significant digits, missing values as a dash."""
        if index:
            frame = frame.reset_index()
        rows = [[format_value(value, digits) for value in row] for row in frame.itertuples(index=False)]
        numeric = [frame.dtypes.iloc[column].kind in "iuf" for column in range(frame.shape[1])]
        content = {"columns": [str(column) for column in frame.columns], "rows": rows, "numeric": numeric}
        self.blocks.append(_Block("table", content, caption))
        return self

    def add_values(self, values: Mapping[str, Any], caption: str = "") -> Section:
        """Add names with their values; nested mappings are flattened to ``a.b``."""
        self.blocks.append(_Block("values", list(_flatten(values)), caption))
        return self

    def add_section(self, heading: str) -> Section:
        """Add a section inside this one, and return the new one."""
        section = Section(heading)
        self.blocks.append(_Block("section", section))
        return section


@dataclass
class Report:
    """A report of one page that needs nothing but itself.

    Parameters
    ----------
    title
        Title of the page.
    subtitle
        One line under the title.
    findings
        What the reader should know first.

    Examples
    --------
    >>> report = Report("Delithiation of one particle", findings=[Finding("x is 0.4 ± 0.1.")])
    >>> section = report.add_section("Maps").add_text("There is one map.")
    >>> "x is 0.4" in report.to_html()
    True
    """

    title: str
    subtitle: str = ""
    findings: list[Finding] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def add_section(self, heading: str) -> Section:
        """Add a section at the end, and return it."""
        section = Section(heading)
        self.sections.append(section)
        return section

    def to_html(self) -> str:
        """The page as a string."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("hyperspy_assb.report", ""),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("report.html.jinja").render(report=self)

    def save(self, path: str | Path) -> Path:
        """Write the page, and return where it is."""
        path = Path(path)
        path.write_text(self.to_html(), encoding="utf-8")
        return path


def format_value(value: Any, digits: int = 4) -> str:
    """A value as a reader wants to see it: significant digits for numbers, a dash for what is missing.

    Examples
    --------
    >>> format_value(0.123456), format_value(float("nan")), format_value(12345.6), format_value(True)
    ('0.1235', '–', '12346', 'yes')
    """
    import numpy as np

    if value is None:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            return "–" if np.isnan(value) else ("∞" if value > 0 else "−∞")
        if 10 ** (digits - 1) <= abs(value) < 1e7:
            return f"{value:.0f}"
        return f"{value:.{digits}g}"
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item, digits) for item in value) or "–"
    return str(value)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", format_value(value, 6)


def _data_uri(figure: Figure, dpi: float) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")

