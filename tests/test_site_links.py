"""The checker of links inside the built site finds what is broken."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_broken_links_are_found(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("check_links", DOCS / "check_links.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "a.html").write_text(
        '<p id="here">&nbsp;<a href="#here">1</a><a href="b.html#there">2</a><a href="c%20d.html">3</a>'
        '<a href="https://example.org/">4</a><a href="#gone">5</a><img src="no.png"><a href="mailto:a@b">6</a></p>',
        "utf-8",
    )
    (tmp_path / "b.html").write_text('<a name="there" href="a.html">7</a><a href="a.html#away">8</a>', "utf-8")
    (tmp_path / "c d.html").write_text("", "utf-8")
    assert module.broken_links(tmp_path) == ["a.html: #gone", "a.html: no.png", "b.html: a.html#away"]
