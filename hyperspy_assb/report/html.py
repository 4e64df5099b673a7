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

from hyperspy_assb.reference import shown_names
from hyperspy_assb.report.output import wants_vectors

_DPI = 130
_HEADLINE = 3
"""Sentences that a report opens with."""
_PROSE = 100_000
"""Letters of what may be a sentence; pictures are longer."""
_LONG = 80
"""Letters of a cell that is given room, so that its row does not become a tower."""
_PHRASE = 12
"""Letters of a cell of several words that is given some room."""
_NARROW = 46
"""Letters of a row that a telephone shows; longer ones are shown as cards, a quantity below the other."""
_MOST_CARDS = 80
"""Rows of a table up to which they become cards."""
_UNBROKEN = 40
"""Letters of a word that may be broken anywhere: checksums, paths."""
_MOST_PLACES = 6
"""Behind the point, however small an uncertainty is."""
_UNIT = re.compile(r" ?\([^)]*\)$")
_ERROR = re.compile(r"(?:(?P<of>.+) )??(std|systematic)( systematic| classification)?")
_LIMIT = re.compile(r" (low|high)$")
_SHARED = re.compile(r"area|at. %|before|after|change|mean|value|expected|(low|high), .*")
"""Columns that an uncertainty without a name of its own is of, if it has their unit."""
_P_VALUE = re.compile(r"p( |$)")
_LEAST_P = 1e-6
_NEGATIVE = re.compile(r"(?<![^\s(])-(?=\d+(?:\.\d+)?(?![\w-]|\.\d))")
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
        Names of the columns with the standard uncertainties of a column, by its name; found by their names unless
        given. These have two digits, and it has the digits of all of them together. p values have two digits, other
        numbers three or those before the point.
    """

    data: pd.DataFrame
    caption: str = ""
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [str(name) for name in self.data.columns]

    @property
    def layout(self) -> str:
        """How a narrow screen shows the table: as cards, or as it is."""
        rows = [self.columns, *([text for text, _ in row] for row in self.rows)]
        width = sum(max(map(len, column)) for column in zip(*rows, strict=True))
        return "cards" if width > _NARROW and len(self.columns) > 2 and len(rows) - 1 <= _MOST_CARDS else "plain"

    @property
    def rows(self) -> list[list[tuple[str, str]]]:
        """Cells as text with their kind: number, word, phrase, long or code."""
        names, found = list(self.data.columns), []
        errors = dict(self.errors) or errors_of(names)
        for values in self.data.itertuples(index=False):
            row = dict(zip(names, values, strict=True))
            cells = zip(names, values, strict=True)
            texts = [(_cell(name, value, row, errors), value) for name, value in cells]
            found.append([(text, "number" if _is_number(v) else _kind_of(text)) for text, v in texts])
        return found


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


def errors_of(columns: Iterable[Any]) -> dict[Any, tuple[Any, ...]]:
    """Columns with uncertainties, by those whose values and limits they belong to: by their names, without units.

    Examples
    --------
    >>> errors_of(["phase", "volume", "volume low", "volume std", "volume systematic", "pixels"])
    {'volume': ('volume std', 'volume systematic'), 'volume low': ('volume std', 'volume systematic')}
    >>> errors_of(["width (nm)", "width std (nm)", "time (s)"])
    {'width (nm)': ('width std (nm)',)}
    >>> errors_of(["band", "low (eV)", "before", "after", "std", "p"])
    {'before': ('std',), 'after': ('std',)}
    >>> errors_of(["additive brightness (share)", "additive std"])
    {'additive brightness (share)': ('additive std',)}
    """
    bare = {name: _UNIT.sub("", str(name)) for name in columns}
    owned: dict[str, list[Any]] = {}
    for name, text in bare.items():
        if match := _ERROR.fullmatch(text):
            unit = str(name).removeprefix(text)
            owned.setdefault(match["of"] or f"shared{unit}", []).append(name)
    # "additive std" is that of "additive brightness", if of nothing else.
    for key in [key for key in owned if key not in {*bare.values()} and not key.startswith("shared")]:
        longer = {text for text in bare.values() if text.startswith(f"{key} ") and not _ERROR.fullmatch(text)}
        if len(longer) == 1:
            owned[longer.pop()] = owned.pop(key)
    errors = {name for names in owned.values() for name in names}
    found = {}
    for name, text in bare.items():
        unit = str(name).removeprefix(text)
        of = owned.get(_LIMIT.sub("", text)) or (owned.get(f"shared{unit}") if _SHARED.fullmatch(text) else None)
        if name not in errors and of:
            found[name] = tuple(of)
    return found


def rounded(value: float, uncertainty: float) -> str:
    """A value with the digits that its uncertainty has two of, or three significant digits without one.

    Examples
    --------
    >>> rounded(0.51234, 0.0123), rounded(51234.0, 1234.0), rounded(0.51234, float("nan")), rounded(-2.0, 0.5)
    ('0.512', '51200', '0.512', '−2.00')
    >>> rounded(-0.001, 0.2)
    '0.00'
    """
    if not math.isfinite(value):
        return "–"
    if math.isfinite(uncertainty) and uncertainty > 0.0:
        # 0.0996 has two digits as 0.10, and one place less than its logarithm says.
        places = min(1 - math.floor(math.log10(float(f"{uncertainty:.1e}"))), _MOST_PLACES)
        text = f"{round(value, places):z.{max(places, 0)}f}"
    else:
        text = _digits(float(value))
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _cell(name: Any, value: Any, row: Mapping[Any, Any], errors: Mapping[Any, Sequence[Any]]) -> str:
    of = [row[error] for error in errors.get(name, ())]
    if any(name in names for names in errors.values()):
        of = [value]
    if not of or not _is_number(value):
        return _p_value(value) if _is_number(value) and value == value and _P_VALUE.match(str(name)) else _text(value)
    return rounded(float(value), math.hypot(*(float(e) for e in of if _is_number(e) and e == e)))


def _p_value(value: float) -> str:
    """A p value; far in the tail of a law, its size says nothing."""
    return f"{value:.2g}" if value >= _LEAST_P else f"< {_LEAST_P:g}"


def _kind_of(text: str) -> str:
    if " " not in text:
        return "code" if len(text) > _UNBROKEN else "word"
    return "long" if len(text) > _LONG else "phrase" if len(text) > _PHRASE else "word"


def first_sentence(text: str) -> str:
    """The first of several sentences."""
    return _SENTENCES.split(text, maxsplit=1)[0]


def page_templates() -> Environment:
    """The templates of all pages; texts are escaped, and have the names of materials as readers know them."""
    pages = Environment(
        loader=PackageLoader("hyperspy_assb.report", "."),
        autoescape=True,
        finalize=lambda value: shown_names(value) if isinstance(value, str) and len(value) < _PROSE else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["with_minus"] = with_minus
    return pages


def with_minus(text: str) -> str:
    """A sentence whose negative numbers have a minus sign, as those of tables have.

    Examples
    --------
    >>> with_minus("by -0.06. (p = 1e-05) in LAGP (-3m), file a-5, 2026-11-30, version -1.2.3")
    'by −0.06. (p = 1e-05) in LAGP (-3m), file a-5, 2026-11-30, version -1.2.3'
    """
    return _NEGATIVE.sub("−", text)


def key_table(values: dict[str, Any], caption: str = "", names: tuple[str, str] = ("", "value")) -> Table:
    """A table of two columns; nested dictionaries become ``outer.inner``."""
    rows: list[tuple[str, Any]] = []

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict):
            for key, item in node.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        else:
            rows.append((prefix, ", ".join(map(_part, node)) if isinstance(node, list | tuple) else node))

    walk("", values)
    return Table(pd.DataFrame(rows, columns=list(names), dtype=object), caption)


def _part(value: Any) -> str:
    """A value of a list, with the digits that places in pixels need."""
    return "–" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def _digits(number: float) -> str:
    """Three significant digits, or all those before the point."""
    whole = number.is_integer() or abs(number) >= 100.0
    return f"{number:.0f}" if whole and abs(number) < 1e9 else f"{number:.3g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (hasattr(value, "dtype") and value.dtype.kind in "iuf")


def _text(value: Any) -> str:
    if value is None or (_is_number(value) and value != value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_number(value):
        text = _digits(float(value))
        return text.replace("-", "−", 1) if text.startswith("-") else text
    return str(value)
