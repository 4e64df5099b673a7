"""Find links and pictures of the built site that lead nowhere inside it.

Run: python docs/check_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src"):
                self.links.append(value or "")


def broken_links(site: Path) -> list[str]:
    """Links as ``page: link``, sorted; those to other sites are not followed.

    Parameters
    ----------
    site
        Folder of the built pages.
    """
    pages = {}
    for path in site.rglob("*.html"):
        if "_static" in path.parts:  # templates of the theme
            continue
        page = pages[path.resolve()] = _Page()
        page.feed(path.read_text("utf-8"))
    found = set()
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            missing = parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors
            if not target.exists() or missing:
                found.add(f"{path.relative_to(site.resolve()).as_posix()}: {link}")
    return sorted(found)


if __name__ == "__main__":
    broken = broken_links(Path(sys.argv[1]))
    print("\n".join(broken) or "No link is broken.")
    sys.exit(bool(broken))
