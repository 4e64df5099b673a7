"""Orientation mapping: speed and exactness on patterns of the independent simulator, beside pyxem in the same run.

LiFePO4 and FePO4 at 1 degree (12,422 templates), noisy patterns of 256 x 256 pixels. Scenes: A speed and exactness of
the search, the refinement and the posterior; B coarse-to-fine against all templates; C four phases; D a tenth of the
dose; E two overlapping grains; F rate against the number of templates and the size of patterns; G LiFePO4 strained
towards FePO4; H the posterior against what is right, with few electrons and a wrong scale. pyxem, where it is
installed, runs on a subset of A, D and E.

Run: python benchmarks/acom.py [--scenes ABCDEFGH] [--patterns 2000] [--repeats 3] [--quick]

Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
from acom_scenes import NAMES, Scene, errors, scene  # noqa: E402

from hyperspy_assb.acom.matching.block_indexing import Indexer, IndexingOptions  # noqa: E402
from hyperspy_assb.acom.matching.matcher import Matcher, MatchOptions  # noqa: E402
from hyperspy_assb.acom.matching.posterior import PosteriorOptions  # noqa: E402
from hyperspy_assb.acom.templates.bank import TemplateBank, simulate_bank  # noqa: E402

EXACT = {"scale_std": 0.0, "centre_std": (0.15, 0.15)}


class Table:
    """Rows with a figure and a bar, printed as they come."""

    def __init__(self) -> None:
        self.missed = 0
        print(f"load before the run {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")

    def add(self, scene_: str, what: str, figure: str, bar: str = "", met: bool | None = None) -> None:
        """One figure."""
        self.missed += met is False
        verdict = {True: "met", False: "MISSED", None: ""}[met]
        print(f"{scene_} | {what:<62} | {figure:>28} | {bar:>10} | {verdict}", flush=True)

    def quality(self, scene_: str, what: str, found: tuple[float, float, float], bars: Any = None) -> None:
        """Right phase, median disorientation, within 3 degrees."""
        right, median, within = found
        text = f"{right:.1%}, {median:.2f} deg, {within:.1%}"
        met, bar = None, ""
        if bars is not None:
            met = right >= bars[0] and median <= bars[1] and within >= bars[2]
            bar = f"{bars[0]:.0%} {bars[1]} {bars[2]:.0%}"
        self.add(scene_, what, text, bar, met)


def rate(call: Callable[[], Any], count: int, repeats: int) -> tuple[float, float, float, Any]:
    """Patterns per second at best, in the median, and on two idle cores by the processor time, and the result."""
    walls, cpus, result = [], [], None
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return count / min(walls), count / float(np.median(walls)), 2 * count / min(cpus), result


def speed_text(found: tuple[float, float, float, Any]) -> str:
    """Three rates."""
    return f"{found[0]:,.0f} (median {found[1]:,.0f}, cpu {found[2]:,.0f})"


def indexer(bank: TemplateBank, data: Scene, *, refine: bool = True, **options: Any) -> Indexer:
    """For patterns of a scene."""
    settings = IndexingOptions(**options) if refine else IndexingOptions(refine=None, **options)
    return Indexer(bank, replace(data.geometry, **EXACT), data.patterns.shape[1:], options=settings)


class Run:
    """All scenes of one run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.count = 100 if arguments.quick else arguments.patterns
        self.some = 8 if arguments.quick else arguments.peer_patterns
        self.repeats = 1 if arguments.quick else arguments.repeats
        self.table = Table()
        self.bank = simulate_bank(list(NAMES), resolution=1.0)
        self.pyxem: Any = None
        if not arguments.no_peers and importlib.util.find_spec("pyxem") is not None:
            from acom_peers import Pyxem

            self.pyxem = Pyxem(self.bank, self.bank.max_radius)
        self.full_search = float("nan")

    def a(self) -> None:
        """The task of the claims."""
        data = scene(self.count)
        self.table.add("A", "templates", f"{len(self.bank):,}")
        matcher = Matcher(self.bank, data.geometry, data.patterns.shape[1:])
        matcher.match(data.patterns[:4])
        found = rate(lambda: matcher.match(data.patterns), self.count, self.repeats)
        self.table.add("A", "search, patterns/s", speed_text(found), ">= 800", found[0] >= 800.0)
        matches = found[3]
        self.table.quality(
            "A",
            "search: phase, disorientation, within 3 deg",
            errors(data, matches.phase, matches.phase_orientations, self.bank),
            (0.99, 0.6, 0.98),
        )
        whole = indexer(self.bank, data)
        whole.index(data.patterns[:4])
        refined = rate(lambda: whole.index(data.patterns), self.count, self.repeats)
        self.table.add("A", "search, refinement and posterior, patterns/s", speed_text(refined))
        self.table.quality(
            "A", "refined", errors(data, refined[3].phase, refined[3].phase_orientations, self.bank), (0.99, 0.3, 0.98)
        )
        self.peers("A", data, found[0])

    def peers(self, name: str, data: Scene, own: float | None = None) -> None:
        """pyxem on a part of the patterns."""
        if self.pyxem is None:
            self.table.add(name, "pyxem", "not installed")
            return
        part = data.some(self.some)
        self.pyxem.match(data.some(2), 1.0)
        for share, what in ((1.0, "pyxem, full search"), (0.1, "pyxem, default pre-selection")):
            found = self.pyxem.match(part, share)
            self.table.add(name, f"{what}, patterns/s", f"{found.rate:.2f}")
            self.table.quality(name, what, errors(part, found.phase, found.orientations, self.bank))
            if own is not None and share == 1.0:
                times = own / found.rate
                self.table.add(name, "search over pyxem's full search", f"{times:.0f} x", ">= 120 x", times >= 120.0)

    def b(self) -> None:
        """What coarse-to-fine loses."""
        data = scene(self.count)
        shape = data.patterns.shape[1:]
        every = Matcher(self.bank, data.geometry, shape, options=MatchOptions(coarse=None))
        found = rate(lambda: every.match(data.patterns), self.count, 1)
        self.table.add("B", "all templates, patterns/s", speed_text(found))
        full = found[3]
        self.table.quality("B", "all templates", errors(data, full.phase, full.phase_orientations, self.bank))
        quick = Matcher(self.bank, data.geometry, shape).match(data.patterns)
        at = np.arange(self.count), full.phase, 0
        same = (quick.phase == full.phase) & (quick.template[at] == full.template[at])
        self.table.add("B", "coarse-to-fine finds the same", f"{same.mean():.2%}", ">= 99.5 %", same.mean() >= 0.995)

    def c(self) -> None:
        """Four phases offered."""
        bank = simulate_bank(["lfp", "fp", "lagp", "lvp"], resolution=1.0)
        data = scene(self.count // 2, names=("LiFePO4", "FePO4", "LAGP", "Li3V2(PO4)3"))
        self.table.add("C", "four phases, templates", f"{len(bank):,}")
        whole = indexer(bank, data)
        whole.index(data.patterns[:4])
        found = rate(lambda: whole.index(data.patterns), len(data.patterns), 1)
        self.table.add("C", "search, refinement and posterior, patterns/s", speed_text(found))
        self.table.quality("C", "four phases", errors(data, found[3].phase, found[3].phase_orientations, bank))
        matcher = Matcher(bank, data.geometry, data.patterns.shape[1:])
        self.table.add(
            "C", "search, patterns/s", speed_text(rate(lambda: matcher.match(data.patterns), len(data.patterns), 1))
        )

    def harder(self, name: str, what: str, **conditions: Any) -> None:
        """The same with worse patterns."""
        data = scene(self.count // 2, **conditions)
        for refine, how in ((False, "search"), (True, "refined")):
            found = indexer(self.bank, data, refine=refine).index(data.patterns)
            self.table.quality(name, f"{what}, {how}", errors(data, found.phase, found.phase_orientations, self.bank))
        self.peers(name, data)

    def d(self) -> None:
        """A tenth of the electrons."""
        self.harder("D", "1/10 of the dose", dose=0.1)

    def e(self) -> None:
        """Two grains in each column; the thicker one or the other is right."""
        self.harder("E", "two overlapping grains", overlapping=True)

    def f(self) -> None:
        """Scaling."""
        data = scene(min(self.count, 400))
        for resolution in (2.0, 1.41, 1.0, 0.71):
            bank = simulate_bank(list(NAMES), resolution=resolution)
            for coarse, what in ((None, "all templates"), (3.0, "coarse-to-fine")):
                options = MatchOptions(coarse=coarse)
                matcher = Matcher(bank, data.geometry, data.patterns.shape[1:], options=options)
                found = rate(lambda matcher=matcher: matcher.match(data.patterns), len(data.patterns), 1)
                self.table.add("F", f"{len(bank):,} templates, {what}, patterns/s", speed_text(found))
        for size in (64, 128, 256, 512):
            part = scene(min(self.count, 200), size=size)
            matcher = Matcher(self.bank, part.geometry, part.patterns.shape[1:])
            matcher.match(part.patterns[:2])
            found = rate(lambda matcher=matcher, part=part: matcher.match(part.patterns), len(part.patterns), 1)
            self.table.add("F", f"{size} x {size} pixels, patterns/s", speed_text(found))
            whole = indexer(self.bank, part).index(part.patterns)
            self.table.quality(
                "F", f"{size} x {size} pixels", errors(part, whole.phase, whole.phase_orientations, self.bank)
            )

    def g(self) -> None:
        """LiFePO4 strained towards the cell of FePO4: what it is taken for, and how surely."""
        cells = np.array([phase.cell[:3] for phase in self.bank.phases])
        count = max(self.count // 10, 40)
        for share in (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0):
            strain = np.repeat((share * (cells[1] / cells[0] - 1.0))[None], count, axis=0)
            data = scene(count, names=("LiFePO4",), strain=strain)
            found = indexer(self.bank, data, posterior=PosteriorOptions(strain_std=0.01)).index(data.patterns)
            says = float(found.posterior[:, 0].mean())
            text = f"{(found.phase == 0).mean():.1%}, posterior {says:.2f}"
            self.table.add("G", f"LiFePO4, {share:.0%} of the way to FePO4: taken for LiFePO4", text)

    def h(self) -> None:
        """Reliability diagram."""
        claimed, right = [], []
        for error, electrons in ((0.0, 30.0), (0.0, 100.0), (0.01, 300.0), (0.02, 300.0), (0.03, 300.0)):
            count = max(self.count // 4, 50)
            off = np.random.default_rng(7).normal(0.0, error, count)
            strain = -off[:, None] * np.ones(3)
            data = scene(count, strain=strain, diffracted_electrons=electrons, seed=int(electrons + 1000 * error))
            geometry = replace(data.geometry, scale_std=error * data.geometry.scale, centre_std=(0.15, 0.15))
            options = IndexingOptions(min_counts=1.0)
            found = Indexer(self.bank, geometry, data.patterns.shape[1:], options=options).index(data.patterns)
            claimed.append(found.posterior.max(axis=1))
            right.append(found.phase == data.phase[:, 0])
            text = f"says {claimed[-1].mean():.1%}, right {right[-1].mean():.1%}"
            self.table.add("H", f"{electrons:.0f} diffracted electrons, scale off by {error:.0%}", text)
        says, is_right = np.concatenate(claimed), np.concatenate(right)
        for low, high in ((0.5, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 0.95), (0.95, 0.99), (0.99, 1.01)):
            part = (says >= low) & (says < high)
            if part.any():
                text = f"{says[part].mean():.3f}: {is_right[part].mean():.3f} of {part.sum()}"
                self.table.add("H", f"posterior from {low} to {min(high, 1.0)}: right", text)


def main() -> int:
    """Run the scenes that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", default="ABCDEFGH")
    parser.add_argument("--patterns", type=int, default=2000)
    parser.add_argument("--peer-patterns", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few patterns: figures are no measurement")
    arguments = parser.parse_args()
    run = Run(arguments)
    for letter in arguments.scenes.lower():
        getattr(run, letter)()
    print(f"load after the run {os.getloadavg()[0]:.1f}; {run.table.missed} bars missed")
    return int(run.table.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
