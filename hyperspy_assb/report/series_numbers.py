"""What the report of a series opens with: three sentences, and a table of numbers before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hyperspy_assb.plotting.style import si_prefix
from hyperspy_assb.report.key_numbers import KeyNumber, sigmas
from hyperspy_assb.series.grains.grain_changes import GrainStatus

ABOUT = (
    "Before: the first frame, or cycle; after: the last. Areas, brightness and contrast change along a line through "
    "all frames; uncertainty and significance are those of the change."
)
_OPENING = ("cracks", "grains", "tracks", "peaks", "resistance")


def opening_first(results: Mapping[str, Any]) -> list[str]:
    """The sentences of all summaries, those that a reader looks for first at the head: cracks, boundaries, grains."""
    lines = {name: result.summary().splitlines() for name, result in results.items()}
    # The first sentence about boundaries says how many grains there are, the second how they change.
    first = [lines[name][1 if name == "grains" else 0] for name in _OPENING if name in lines]
    return list(dict.fromkeys([*first, *(line for found in lines.values() for line in found)]))


def series_numbers(results: Mapping[str, Any]) -> Iterator[KeyNumber]:
    """Numbers of the results of a series by name, as :func:`.report.series.analyse_series` has them."""
    for name, numbers in _NUMBERS.items():
        if name in results:
            yield from numbers(results[name])


def _boundaries(grains: Any) -> Iterator[KeyNumber]:
    mean = 100.0 * float(np.nanmean(grains.boundaries.area))
    growth, std = grains.growth
    yield KeyNumber(
        "area of the boundaries",
        mean * (1.0 + 0.5 * growth),
        "% of the field",
        mean * std,
        sigmas(growth, std),
        mean * (1.0 - 0.5 * growth),
    )


def _tracks(tracks: Any) -> Iterator[KeyNumber]:
    tested = int((tracks.found.status != GrainStatus.UNKNOWN).sum())
    for word, grains in (("shrink", tracks.shrinking), ("grow", tracks.growing)):
        yield KeyNumber(f"grains that {word}", len(grains), f"of {tested}", significance=f"alpha = {tracks.alpha:g}")


def _cracks(cracks: Any) -> Iterator[KeyNumber]:
    yield KeyNumber("cracks", len(cracks.cracks), "", significance=f"alpha = {cracks.alpha:g}", before=0.0)
    scale, unit = (cracks.pixel, "nm") if np.isfinite(cracks.pixel) else (1.0, "pixels")
    widest = max(cracks.cracks, key=lambda crack: crack.opening, default=None)
    if widest is not None:
        opening, std = widest.opening * scale, widest.opening_std * scale
        yield KeyNumber("opening of the widest crack, at least", opening, unit, std, sigmas(opening, std), 0.0)


def _beam(beam: Any) -> Iterator[KeyNumber]:
    for name, (share, std) in (("added brightness", beam.carbon_index), ("lost contrast", beam.contrast_loss)):
        yield KeyNumber(name, 100.0 * share, "%", 100.0 * std, sigmas(share, std), 0.0)


def _resistance(resistance: Any) -> Iterator[KeyNumber]:
    lines = [line for line in resistance.cycles or resistance.sweeps if np.isfinite(line.resistance_interval[1])]
    if not lines:
        return
    first, last = lines[0], lines[-1]
    factor, prefix = si_prefix(last.resistance)
    name, value, unit = "apparent resistance", last.resistance / factor, f"{prefix}Ω"
    if first is last:
        yield KeyNumber(name, value, unit, last.resistance_std / factor)
        return
    change = (last.resistance - first.resistance) / factor
    std = float(np.hypot(first.resistance_std, last.resistance_std)) / factor
    yield KeyNumber(name, value, unit, std, sigmas(change, std), first.resistance / factor)


_NUMBERS = {"cracks": _cracks, "grains": _boundaries, "tracks": _tracks, "beam": _beam, "resistance": _resistance}
