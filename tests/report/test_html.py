"""The one-page report."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from hyperspy_assb.report.html import Figure, Report, Table, key_table
from hyperspy_assb.report.key_numbers import KeyNumber, key_numbers, rounded


def test_page_is_self_contained_and_escaped(tmp_path):
    figure, ax = plt.subplots()
    ax.plot([0, 1])
    report = Report("A < B", subtitle="Title & more")
    table = pd.DataFrame({"x (nm)": [1.0, float("nan")], "word": ["a", "<b>"]})
    report.add("Findings", points=["x is 0.5."], figures=[Figure.of(figure, "line", "A line")], kind="findings")
    report.add("Values", tables=[Table(table), key_table({"fit": {"gain": 1.5}})])
    report.write(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "A &lt; B" in page
    assert "&lt;b&gt;" in page
    assert "–" in page
    assert "fit.gain" in page
    assert not re.search(r"(https?:)?//\w", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))
    assert re.findall(r'src="(.{22})', page) == ["data:image/png;base64,"]
    assert (tmp_path / "figures" / "line.png").read_bytes().startswith(b"\x89PNG")


HOSTILE = (
    "<script>alert(1)</script>",
    '" onload="alert(1)',
    "{{ 7 * 191 }}",
    "{% include '/etc/passwd' %}",
    "]]>--><!--",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_a_part_of_the_page(text):
    """Titles, names of files and messages come from files."""

    def page(text):
        figure, _ = plt.subplots()
        report = Report(text, subtitle=text)
        report.add(text, text=text, points=[text], figures=[Figure.of(figure, "f", text)], kind="warnings")
        report.add("Values", tables=[Table(pd.DataFrame({text: [text]}), text), key_table({text: {text: text}})])
        return report.to_html()

    class Shape(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags = []

        def handle_starttag(self, tag, attrs):
            self.tags.append((tag, [name for name, _ in attrs]))

    shapes = []
    for words in (text, "plain"):
        parser = Shape()
        parser.feed(page(words))
        shapes.append(parser.tags)
    assert shapes[0] == shapes[1]
    assert "1337" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page(text))


def test_three_findings_stand_open_and_the_others_are_folded():
    report = Report("A cell")
    report.add("Findings", points=[f"Finding {k}." for k in range(5)], kind="findings")
    report.add("Warnings", points=[f"Warning {k}." for k in range(5)], kind="warnings")
    page = report.to_html()
    before, _, after = page.partition("<details>")
    assert [f"Finding {k}." in before for k in range(5)] == [True, True, True, False, False]
    assert "<summary>2 more notes</summary>" in after
    assert "<summary>5 warnings</summary>" in after
    assert page.count("<details>") == 2
    assert all(f"{kind} {k}." in page for kind in ("Finding", "Warning") for k in range(5))


def test_a_headline_has_three_sentences_however_long_the_findings():
    report = Report("A cell")
    report.add("Findings", points=["One. Two has 0.5 nm. Three. Four.", "Five."], kind="findings")
    (section,) = report.sections
    assert section.headline == ("One. Two has 0.5 nm. Three.",)
    assert section.folded == ("Four.", "Five.")


def test_key_numbers_have_two_digits_of_their_uncertainty():
    numbers = [
        KeyNumber("x", 0.51234, "Li", 0.0123, "4.0 σ", before=0.98765),
        KeyNumber("grains", 12.0, "", float("nan"), ""),
    ]
    (table,) = key_numbers(numbers, "All pixels.")
    assert table.columns == ["quantity", "before", "after", "unit", "uncertainty", "significance"]
    assert table.data.iloc[0].tolist() == ["x", "0.988", "0.512", "Li", "0.012", "4.0 σ"]
    (alone,) = key_numbers(numbers[1:], "")
    assert alone.columns == ["quantity", "value"]
    assert key_numbers([], "") == []
    columns = pd.DataFrame({"area": [24.567], "std": [1.234], "doubt": [float("nan")], "pixels": [1234.56]})
    table = Table(columns, "", {"area": ("std", "doubt")})
    assert [text for text, _ in table.rows[0]] == ["24.6", "1.2", "–", "1235"]
    assert [rounded(1.0, u) for u in (0.0996, 0.00999, 12.0, float("inf"))] == ["1.00", "1.000", "1", "1"]


def test_p_values_are_never_zero():
    table = Table(pd.DataFrame({"p": [0.0234, 0.00024], "p of the fit": [0.0, 1e-300]}))
    assert [[text for text, _ in row] for row in table.rows] == [["0.023", "< 1e-06"], ["0.00024", "< 1e-06"]]


def test_what_false_detections_reach_is_no_finding():
    def significance(value: float) -> str:
        number = KeyNumber("not offered", value, "% of the area", 1.4, "2.3 σ", 0.2, floor=5.0)
        return str(key_numbers([number], "")[0].data["significance"].iloc[0])

    assert (significance(3.4), significance(5.5)) == ("within the false rate", "2.3 σ")
