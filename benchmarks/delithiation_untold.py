"""What the analysis was not told, or told wrongly: bias, coverage and silent errors of the pixels called quantified.

A row is a scene of :mod:`delithiation` in which one thing departs from what references and metadata say. A pixel errs
silently if it is called quantified and its x is off by more than 0.1 and by more than three of its stated errors.

Run: python benchmarks/delithiation_untold.py [--seeds 10] [--rows NAME ...] [--csv FILE]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd
from delithiation_scene import BINS, Scene

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.simulation import EELSConditions
from hyperspy_assb.simulation.conditions import Detector

USUAL = Scene(references=60, pixels=240)
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Row:
    """One thing that was not told.

    Parameters
    ----------
    references, pixels
        Scenes of the pure pixels and of the test pixels.
    unnamed
        Phases that are not among the references.
    both, change
        What is done to the counts of both, and to those of the test pixels; shape (S, E) in and out.
    wrong
        Share of each mask that is exchanged for pixels of the next phase.
    pure_thickness
        Range of t/lambda of the pure pixels.
    """

    references: Scene = USUAL
    pixels: Scene = USUAL
    unnamed: tuple[str, ...] = ()
    both: Change | None = None
    change: Change | None = None
    wrong: float = 0.0
    pure_thickness: tuple[float, float] = (0.15, 1.3)
    extra: dict[str, float] = field(default_factory=dict)


def _blurred(channels: float) -> Scene:
    conditions = EELSConditions(detector=Detector(gain=4.0, light_spread=channels))
    return replace(USUAL, conditions=conditions)


def spike(share: float) -> Change:
    """X-ray hits: one to three neighbouring channels, 1e3 to 1e5 electrons, in a share of the spectra."""

    def change(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out = counts.copy()
        for row in np.flatnonzero(rng.uniform(size=len(counts)) < share):
            first, width = rng.integers(0, counts.shape[1] - 3), rng.integers(1, 4)
            out[row, first : first + width] += 10.0 ** rng.uniform(3, 5)
        return out

    return change


def align(fill: float | None) -> Change:
    """Interpolated to a common zero loss, as alignment before the analysis does; margins are filled or repeated."""

    def change(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        channel = np.arange(counts.shape[1], dtype=float)
        out = np.empty_like(counts)
        near = slice(0, 120)
        for row, own in enumerate(counts):
            top = int(np.argmax(own[near]))
            y = own[top - 1 : top + 2].astype(float)
            shift = top + 0.5 * (y[0] - y[2]) / (y[0] - 2 * y[1] + y[2]) - 50.0
            outside = {} if fill is None else {"left": fill, "right": fill}
            out[row] = np.interp(channel + shift, channel, own, **outside)
        return out

    return change


def with_margins(width: int) -> Change:
    """Channels without data at both ends, as shifts leave them: zero, more in some spectra than in others."""

    def change(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out = counts.copy()
        for row in out:
            row[: rng.integers(0, width)] = 0.0
            row[len(row) - 1 - rng.integers(0, width) :] = 0.0
        return out

    return change


def rebin(factor: float) -> Change:
    """Fractional rebinning: what :meth:`hyperspy.signals.Signal1D.rebin` does for a scale that is no integer."""

    def change(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        edges = np.arange(0.0, counts.shape[1] + 1e-9, factor)
        total = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)
        at = np.array([np.interp(edges, np.arange(total.shape[1]), row) for row in total])
        return np.diff(at, axis=1)

    return change


def reconstruct(components: int) -> Change:
    """Principal components of the variance-scaled map, as denoising does."""

    def change(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        weight = np.sqrt(np.maximum(counts.mean(axis=0), 1.0))
        u, s, v = np.linalg.svd(counts / weight, full_matrices=False)
        return (u[:, :components] * s[:components]) @ v[:components] * weight

    return change


ROWS: dict[str, Row] = {
    "all named": Row(),
    "LAGP and glass unnamed": Row(unnamed=("LAGP", "amorphous_LAGP")),
    "carbon unnamed": Row(unnamed=("carbon",)),
    "glass unnamed": Row(unnamed=("amorphous_LAGP",)),
    "LAGP, glass and carbon unnamed": Row(unnamed=("LAGP", "amorphous_LAGP", "carbon")),
    "thinner": Row(pixels=replace(USUAL, thickness=(0.1, 0.4)), pure_thickness=(0.6, 1.3)),
    "thicker": Row(pixels=replace(USUAL, thickness=(0.8, 1.4)), pure_thickness=(0.15, 0.6)),
    "resolution 10 % worse": Row(pixels=replace(USUAL, conditions=EELSConditions(energy_resolution=0.88))),
    "dose 1e5": Row(pixels=replace(USUAL, dose=1e5)),
    "dose 3e4": Row(pixels=replace(USUAL, dose=3e4)),
    "dose 1e4": Row(pixels=replace(USUAL, dose=1e4)),
    "blur 1 channel": Row(references=_blurred(1.0), pixels=_blurred(1.0)),
    "blur 2 channels": Row(references=_blurred(2.0), pixels=_blurred(2.0)),
    "spikes in 5 %": Row(both=spike(0.05)),
    "spikes in 30 %": Row(both=spike(0.3)),
    "aligned": Row(both=align(None)),
    "aligned, empty margins": Row(both=align(0.0)),
    "empty margins": Row(both=with_margins(30)),
    "rebinned by 1.5": Row(both=rebin(1.5), extra={"rebin": 1.5}),
    "PCA, 25 components": Row(both=reconstruct(25)),
    "PCA, 8 components": Row(both=reconstruct(8)),
    "10 % wrong pixels in masks": Row(wrong=0.1),
    "30 % wrong pixels in masks": Row(wrong=0.3),
}


def make(row: Row, rng: np.random.Generator):
    """Signal and masks of the references, the test signal, and its lithiated share."""
    reference, masks = row.references.draw_references(rng, thickness=row.pure_thickness)
    columns, x = row.pixels.columns(rng)
    pure, test = np.asarray(reference.data, dtype=float), row.pixels.draw(columns, rng).astype(float)
    if row.both is not None:  # one map, from which the references are taken
        both = row.both(np.concatenate([pure, test]), rng)
        pure, test = both[: len(pure)], both[len(pure) :]
    if row.change is not None:
        test = row.change(test, rng)
    conditions = row.pixels.conditions
    if factor := row.extra.get("rebin"):
        conditions = replace(
            conditions,
            dispersion=factor * conditions.dispersion,
            offset=conditions.offset + 0.5 * (factor - 1.0) * conditions.dispersion,
            n_channels=test.shape[1],
        )
    scene = replace(row.pixels, conditions=conditions)
    names = [name for name in masks if name not in row.unnamed]
    own = {name: masks[name].copy() for name in names}
    if row.wrong:
        for name in names[:-1]:
            members = rng.permutation(np.flatnonzero(masks[name]))[: int(row.wrong * masks[name].sum())]
            after = names[(names.index(name) + 1) % (len(names) - 1)]
            own[name][members] = False
            own[after][members] = True
    return scene.signal(pure), own, scene.signal(test), x


def run(name: str, seed: int) -> pd.DataFrame:
    """One row for each test pixel."""
    warnings.simplefilter("ignore")
    reference, masks, test, x = make(ROWS[name], np.random.default_rng([seed, 31]))
    try:
        standard = reference.quantify_delithiation(masks, show_progressbar=False)
        found = test.quantify_delithiation(standard, show_progressbar=False)
    except ValueError as error:
        return pd.DataFrame({"row": name, "seed": seed, "truth": x, "refused": str(error)})
    return pd.DataFrame(
        {
            "row": name,
            "seed": seed,
            "truth": x,
            "x": found.x.data,
            "error": np.hypot(found.x_std.data, found.x_systematic.data),
            "status": found.status.data,
        }
    )


def summarise(pixels: pd.DataFrame) -> dict[str, object]:
    """One line of the table."""
    line: dict[str, object] = {"pixels": len(pixels)}
    if "x" not in pixels:
        return line | {"refused": pixels.refused.iloc[0]}
    refused = pixels["refused"].notna() if "refused" in pixels else np.zeros(len(pixels), dtype=bool)
    quantified = pixels.status == DelithiationStatus.QUANTIFIED
    error = pixels.x - pixels.truth
    line |= {"quantified": quantified.mean(), "refused": refused.mean()}
    for name, (low, high) in BINS.items():
        line[f"bias, {name}"] = error[quantified & (pixels.truth >= low) & (pixels.truth < high)].mean()
    own = error.abs()[quantified]
    stated = pixels.error[quantified]
    line["coverage"] = (own < stated).mean()
    line["silent"] = ((own > 0.1) & (own > 3.0 * stated)).sum() / len(pixels)
    return line


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--csv")
    options = parser.parse_args()
    lines = []
    with ProcessPoolExecutor(max_workers=2) as pool:
        for name in options.rows:
            found = summarise(pd.concat(pool.map(partial(run, name), range(options.seeds))))
            lines.append({"row": name, **found})
            print(pd.DataFrame(lines[-1:]).round(3).to_string(index=False, header=len(lines) == 1), flush=True)
    if options.csv:
        pd.DataFrame(lines).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
