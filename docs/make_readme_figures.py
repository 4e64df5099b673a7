"""Run the code of the README and of the guide's first examples, and keep their figures.

Run: python docs/make_readme_figures.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

ROOT = Path(__file__).resolve().parents[1]


def readme_code() -> str:
    """The first Python block of the README."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    if found is None:
        raise ValueError("README.md has no Python block.")
    return found.group(1)


def delithiation() -> Any:
    """x of a virtual battery after bias, by the code of the README."""
    import matplotlib.pyplot as plt

    exec(compile(readme_code(), "README.md", "exec"), {})  # our own README
    return plt.gcf()


def edx_phases() -> Any:
    """Phases of the same kind of battery by EDX."""
    from hyperspy_assb.simulation import micro_battery

    battery = micro_battery(shape=(32, 48), seed=6, edx_signal_type="EDS_TEM_ASSB")
    return battery.edx_after.quantify_phases().plot()[0].figure


def orientations() -> Any:
    """Phases and orientations of a scan."""
    from hyperspy_assb.simulation import micro_battery

    patterns = micro_battery(shape=(48, 64), seed=6).patterns_after
    return (
        patterns.index_orientations(["lfp", "fp", "lagp"], show_progressbar=False)
        .plot()
        .ravel()[0]
        .get_figure(root=True)
    )


def series() -> Any:
    """Grains of an image series against time."""
    from hyperspy_assb.simulation.series import SeriesConditions, simulate_series

    frames, _ = simulate_series(SeriesConditions(frames=12, size=192, boundary_growth=0.4), seed=1)
    drift = frames.correct_drift()
    return frames.segment_grains(drift).plot().figure


def main() -> None:
    mpl.use("Agg")
    for make in (delithiation, edx_phases, orientations, series):
        target = ROOT / "docs" / "images" / f"{make.__name__}.png"
        make().savefig(target, dpi=90)
        print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
