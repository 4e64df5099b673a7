"""What indexing found in a scan, in sentences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.maps.area_fractions import area_fractions
from hyperspy_assb.acom.maps.grains import GrainOptions
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.signals.acom.grain_maps import grain_maps_of
from hyperspy_assb.signals.acom.scan_maps import ScanMaps

_GRAINS = GrainOptions(min_pixels=2)
"""Single pixels that were indexed wrongly are no grains."""
_SURE = 0.95
"""Probability from which a phase is called known."""


def scan_in_words(result: ScanMaps) -> list[str]:
    """Area of every class, patterns without an answer, how sure phases are, lengths of boundaries."""
    indexed = np.asarray(result.found.phase) >= 0
    lines = [*_areas(result), *_statuses(result)]
    if indexed.any():
        lines += _scores(result, indexed)
        lines.append(grain_maps_of(result, options=_GRAINS).lengths_in_words())
    return lines


def _areas(result: ScanMaps) -> list[str]:
    if result.classes.left_out == result.classes.index.size:
        return ["No pattern has an answer."]
    found = area_fractions(result.classes, posterior=result.found.posterior)
    parts = (
        f"{name} {100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        for name, share, low, high in zip(found.names, found.fraction, found.low, found.high, strict=True)
        if share > 0.0
    )
    interval = f"with {100 * found.confidence:g} % intervals for another area of the same specimen"
    return [f"Area: {', '.join(parts)}, {interval}."]


def _statuses(result: ScanMaps) -> list[str]:
    status, lines = np.asarray(result.found.status), []
    left_out = result.classes.left_out
    if left_out:
        empty = int(np.sum(status == PatternStatus.EMPTY))
        lines.append(f"{left_out} of {status.size} patterns are left without an answer ({empty} of them empty).")
    counts = {kind: int(np.sum(status == kind)) for kind in (PatternStatus.MIXED, PatternStatus.POWDER)}
    lines += [
        f"{count} pattern{' is' if count == 1 else 's are'} {kind.name.lower()}."
        for kind, count in counts.items()
        if count
    ]
    foreign = int(np.sum(status == PatternStatus.NOT_OFFERED))
    if foreign:
        lines.append(f"{foreign} patterns have a lattice that none of the phases offered explains (not offered).")
    second = result.found.second_phase
    two = 0 if second is None else int(np.sum(second >= 0))
    if two:
        lines.append(f"{two} patterns show two crystals in the column; areas are by their shares.")
    return lines


def _scores(result: ScanMaps, indexed: NDArray[np.bool_]) -> list[str]:
    found = result.found
    reliable = [
        f"{words} {np.nanmedian(values[indexed]):.0f}"
        for words, values in (("of the orientation", found.reliability), ("of the phase", found.phase_reliability))
        if np.isfinite(values[indexed]).any()
    ]
    reliability = f", reliability {', '.join(reliable)}" if reliable else ""
    lines = [f"Median correlation {np.median(found.correlation[indexed]):.2f}{reliability}."]
    posterior = np.asarray(found.posterior)[indexed]
    posterior = posterior[np.isfinite(posterior).any(axis=1)]
    if len(posterior):
        sure = np.nanmax(posterior, axis=1) >= _SURE
        lines.append(
            f"The phase is known with a probability of {100 * _SURE:.0f} % or more in {100 * sure.mean():.0f} % of the "
            "patterns that are indexed."
        )
    return lines
