"""Make the links and pictures of README.md absolute, for the page of a package index, which has no files beside it.

Run, before a release is built: python tools/absolute_links.py OWNER/REPOSITORY TAG
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
_LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?:|mailto:|#)([^)\s]+)\)")


def absolute_links(text: str, repository: str, tag: str) -> str:
    """Markdown whose relative links lead to the files of a tag on GitHub.

    Parameters
    ----------
    text
        Of a file at the top of the repository.
    repository
        Its owner and name, with a slash between.
    tag
        Tag, branch or commit.

    Returns
    -------
    str
        Links to pages of files, pictures as files.

    Examples
    --------
    >>> absolute_links("![x](a/x.png) [y](y.md) [z](https://z.org)", "me/tool", "v1")
    '![x](https://github.com/me/tool/raw/v1/a/x.png) [y](https://github.com/me/tool/blob/v1/y.md) [z](https://z.org)'
    """
    return _LINK.sub(
        lambda m: f"{m[1]}{m[2]}(https://github.com/{repository}/{'raw' if m[1] else 'blob'}/{tag}/{m[3]})", text
    )


if __name__ == "__main__":
    README.write_text(absolute_links(README.read_text("utf-8"), *sys.argv[1:3]), "utf-8")
