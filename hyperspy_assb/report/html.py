"""One-page reports: sections of text, figures and tables, as a single HTML file that needs no other."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import pyplot as plt
from matplotlib.figure import Figure as MatplotlibFigure

from hyperspy_assb.report.output import wants_vectors

_DPI = 130
_HEADLINE = 3
"""Sentences that a report opens with."""
_MOST_PLACES = 6
"""Behind the point, however small an uncertainty is."""
_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Parameters
    ----------
    name
        File name without the ending.
    png
        The picture.
    caption
        What it shows; also the text for those who cannot see it.
    svg
        The picture as vectors, where these were asked for; see :func:`.output.figures_as`.
    """

    name: str
    png: bytes = field(repr=False)
    caption: str
    svg: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, figure: MatplotlibFigure, name: str, caption: str) -> Figure:
        """Draw a matplotlib figure, and close it."""
        buffer, vectors = io.BytesIO(), io.BytesIO()
        shared: dict[str, Any] = {"dpi": _DPI, "facecolor": "white", "bbox_inches": "tight"}
        figure.savefig(buffer, format="png", metadata={"Software": None}, **shared)
        if wants_vectors():
            # Text stays text: it can be changed, and searched for.
            with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
                figure.savefig(vectors, format="svg", metadata={"Date": None}, **shared)
        plt.close(figure)
        return cls(name, buffer.getvalue(), caption, vectors.getvalue())

    @property
    def data_uri(self) -> str:
        """The picture as text, for the ``src`` of an image."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Table:
    """A table with its caption; NaN becomes a dash.

    Parameters
    ----------
    data
        Its cells.
    caption
        What stands above it.
    errors
        Names of the columns with the standard uncertainties of a column, by its name: these have two digits, and it has
        the digits of all of them together. Other numbers have four digits.
    """

    data: pd.DataFrame
    caption: str = ""
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [str(name) for name in self.data.columns]

    @property
    def rows(self) -> list[list[tuple[str, bool]]]:
        """Cells as text, and whether each is a number."""
        names, found = list(self.data.columns), []
        for values in self.data.itertuples(index=False):
            row = dict(zip(names, values, strict=True))
            cells = zip(names, values, strict=True)
            found.append([(self._cell(name, value, row), _is_number(value)) for name, value in cells])
        return found

    def _cell(self, name: Any, value: Any, row: dict[Any, Any]) -> str:
        of = [row[error] for error in self.errors.get(name, ())]
        if any(name in errors for errors in self.errors.values()):
            of = [value]
        if not of or not _is_number(value):
            return _text(value)
        return rounded(float(value), math.hypot(*(float(e) for e in of if _is_number(e) and e == e)))


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it."""

    heading: str
    text: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    kind: str = ""

    @property
    def headline(self) -> tuple[str, ...]:
        """What stands open: of what was found three sentences at most, of warnings how many there are, else all."""
        return self._open[0]

    @property
    def folded(self) -> tuple[str, ...]:
        """The points that a reader unfolds."""
        return self._open[1]

    @property
    def _open(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if self.kind == "warnings":
            return (), self.points
        if self.kind != "findings":
            return self.points, ()
        left, shown = _HEADLINE, []
        for number, point in enumerate(self.points):
            sentences = _SENTENCES.split(point)
            shown.append(" ".join(sentences[:left]))
            rest = sentences[left:]
            left -= min(len(sentences), left)
            if not left:
                return tuple(shown), ((" ".join(rest),) if rest else ()) + self.points[number + 1 :]
        return tuple(shown), ()

    @property
    def anchor(self) -> str:
        """Name to link to."""
        return re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-")


@dataclass
class Report:
    """A report that grows section by section.

    Parameters
    ----------
    title
        Heading of the page.
    subtitle
        A sentence below it.

    Examples
    --------
    >>> report = Report("Delithiation", subtitle="Virtual battery")
    >>> report.add("Findings", points=["The mean x is 0.52."])
    >>> "The mean x is 0.52." in report.to_html()
    True
    """

    title: str
    subtitle: str = ""
    sections: list[Section] = field(default_factory=list)

    def add(
        self,
        heading: str,
        *,
        text: str | Sequence[str] = (),
        points: Sequence[str] = (),
        figures: Sequence[Figure] = (),
        tables: Sequence[Table] = (),
        kind: str = "",
    ) -> None:
        """Add a section.

        Parameters
        ----------
        heading
            Its heading.
        text
            Paragraphs.
        points
            Sentences of a list.
        figures, tables
            In the order in which they stand.
        kind
            "findings", of which three sentences and the tables stand open, or "warnings", which are folded.
        """
        paragraphs = (text,) if isinstance(text, str) else tuple(text)
        self.sections.append(Section(heading, paragraphs, tuple(points), tuple(figures), tuple(tables), kind))

    @property
    def figures(self) -> list[Figure]:
        """All figures."""
        return [figure for section in self.sections for figure in section.figures]

    def to_html(self) -> str:
        """The page as text."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return page_templates().get_template("report.html.j2").render(report=self, time=now)

    def write(self, folder: Path) -> None:
        """Write ``report.html`` and, under ``figures``, every figure as a PNG file, and SVG where that is asked for."""
        (folder / "figures").mkdir()
        for figure in self.figures:
            (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
            if figure.svg:
                (folder / "figures" / f"{figure.name}.svg").write_bytes(figure.svg)
        (folder / "report.html").write_text(self.to_html(), encoding="utf-8", errors="replace")


def errors_of(columns: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Columns with the uncertainties of fractions of area, volume or mass, by those with values and their limits.

    Examples
    --------
    >>> errors_of(["phase", "volume", "volume std", "volume systematic"])
    {'volume': ('volume std', 'volume systematic')}
    """
    names = list(columns)
    found = {}
    for kind in ("volume", "mass", "area"):
        errors = tuple(name for name in (f"{kind} std", f"{kind} systematic") if name in names)
        found.update({name: errors for name in (kind, f"{kind} low", f"{kind} high") if errors and name in names})
    whole = tuple(name for name in ("std (%)", "std classification (%)") if name in names)
    parts = ("area (", "low,", "high,", "expected (")
    return found | {name: whole for name in names if whole and name.startswith(parts)}


def rounded(value: float, uncertainty: float) -> str:
    """A value with the digits that its uncertainty has two of, or three significant digits without one.

    Examples
    --------
    >>> rounded(0.51234, 0.0123), rounded(51234.0, 1234.0), rounded(0.51234, float("nan")), rounded(-2.0, 0.5)
    ('0.512', '51200', '0.512', '−2.00')
    """
    if not math.isfinite(value):
        return "–"
    if math.isfinite(uncertainty) and uncertainty > 0.0:
        # 0.0996 has two digits as 0.10, and one place less than its logarithm says.
        places = min(1 - math.floor(math.log10(float(f"{uncertainty:.1e}"))), _MOST_PLACES)
        text = f"{round(value, places):.{max(places, 0)}f}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def first_sentence(text: str) -> str:
    """The first of several sentences."""
    return _SENTENCES.split(text, maxsplit=1)[0]


def page_templates() -> Environment:
    """The templates of all pages; every text that they are given is escaped."""
    return Environment(
        loader=PackageLoader("hyperspy_assb.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def key_table(values: dict[str, Any], caption: str = "", names: tuple[str, str] = ("", "value")) -> Table:
    """A table of two columns; nested dictionaries become ``outer.inner``."""
    rows: list[tuple[str, Any]] = []

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict):
            for key, item in node.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        else:
            rows.append((prefix, ", ".join(map(str, node)) if isinstance(node, list | tuple) else node))

    walk("", values)
    return Table(pd.DataFrame(rows, columns=list(names), dtype=object), caption)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (hasattr(value, "dtype") and value.dtype.kind in "iuf")


def _text(value: Any) -> str:
    if value is None or (_is_number(value) and value != value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_number(value):
        number = float(value)
        text = f"{number:.0f}" if number.is_integer() and abs(number) < 1e9 else f"{number:.4g}"
        return text.replace("-", "−", 1) if text.startswith("-") else text
    return str(value)
