"""Run the code of the README and keep its figure.

Run: python docs/make_readme_figure.py
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl

ROOT = Path(__file__).resolve().parents[1]


def readme_code() -> str:
    """The first Python block of the README."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    if found is None:
        raise ValueError("README.md has no Python block.")
    return found.group(1)


def main() -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    exec(compile(readme_code(), "README.md", "exec"), {})  # our own README
    target = ROOT / "docs" / "images" / "delithiation.png"
    plt.gcf().savefig(target, dpi=90)
    print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
