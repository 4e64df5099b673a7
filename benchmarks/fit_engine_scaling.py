"""Scene F: time against the number of spectra and of channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fit_engine_scenes import Scene, scene_a
from fit_engine_table import Report, median_seconds, ours

SPECTRA = (1_000, 3_000, 10_000, 30_000, 100_000)
CHANNELS = (250, 500, 1000, 2000, 4000)
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "fit_engine_scaling.png"


def seconds_of(scene: Scene, repeats: int) -> float:
    """Median time of our engine with 2 threads."""
    model = scene.model()
    return median_seconds(lambda: ours(model), repeats, lambda: scene.reset(model))


def tiled(scene: Scene, count: int) -> Scene:
    """The same spectra again and again."""
    counts = np.resize(scene.counts, (count, scene.energy.size))
    return Scene(counts, scene.energy, scene.build, scene.reset, scene.make_signal)


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Slope in a plot of logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def run_f(report: Report, *, figure: bool = False) -> None:
    """Both series, their exponents, and the figure if asked for."""
    sizes, channels, count = (100, 300), (250, 1000), 100
    if not report.quick:
        sizes, channels, count = SPECTRA, CHANNELS, 2000
    with report.expecting("F", "scaling"):
        scene = scene_a(min(4096, max(sizes)))
        ours(tiled(scene, 64).model())  # compiles
        spectra_seconds = [seconds_of(tiled(scene, size), report.repeats) for size in sizes]
        channel_seconds = [seconds_of(scene_a(count, size), report.repeats) for size in channels]
        for size, seconds in zip(sizes, spectra_seconds, strict=True):
            report.add("F", f"{size:,} spectra of 1000 channels, spectra/s", f"{size / seconds:,.0f}")
        for size, seconds in zip(channels, channel_seconds, strict=True):
            report.add("F", f"{count:,} spectra of {size:,} channels, spectra/s", f"{count / seconds:,.0f}")
        report.add("F", "exponent of the time over spectra", f"{exponent(sizes, spectra_seconds):.2f}")
        report.add("F", "exponent of the time over channels", f"{exponent(channels, channel_seconds):.2f}")
        if figure:
            draw_figure(sizes, spectra_seconds, channels, channel_seconds, count)


def draw_figure(sizes: tuple, spectra_seconds: list, channels: tuple, channel_seconds: list, count: int) -> None:
    """Two panels, each with a line of slope one through its point in the middle."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=False)
    panels = (
        (axes[0], sizes, spectra_seconds, "spectra of 1000 channels"),
        (axes[1], channels, channel_seconds, f"channels of {count:,} spectra"),
    )
    for axis, x, seconds, label in panels:
        middle = len(x) // 2
        line = seconds[middle] * np.array(x, dtype=float) / x[middle]
        axis.loglog(x, line, "--", color="0.6", label="slope 1")
        axis.loglog(x, seconds, "o-", color="C0", label=f"slope {exponent(x, seconds):.2f}")
        axis.set_xlabel(label)
        axis.set_ylabel("time (s)")
        axis.set_xticks(x, [f"{size:,}" for size in x], fontsize="small")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.legend(frameon=False)
    fig.savefig(FIGURE, dpi=150)
    plt.close(fig)
    print(f"wrote {FIGURE.name}")
