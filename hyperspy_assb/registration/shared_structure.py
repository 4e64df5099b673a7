"""Whether two images share anything: the search is repeated with the image turned and mirrored, which shares nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hyperspy_assb.registration.affine import Affine, FloatArray
from hyperspy_assb.registration.coarse_search import CoarseSearch

_WAYS = {
    (0, True): "mirrored left to right",
    (2, True): "mirrored top to bottom",
    (1, True): "transposed",
    (3, True): "transposed and turned by 180°",
    (1, False): "turned by 90°",
    (2, False): "turned by 180°",
    (3, False): "turned by -90°",
}
"""Quarter turns and a mirror, in words."""


@dataclass(frozen=True)
class SharedStructure:
    """What a search found beside what chance finds.

    Parameters
    ----------
    p
        Probability that two images which share nothing match as well.
    other_way
        In which way the image was turned or mirrored that matches better, in words; empty if none does.
    other_p
        The same for that way.
    """

    p: float
    other_way: str
    other_p: float


def judge_shared_structure(search: CoarseSearch, placed: Affine | None) -> SharedStructure:
    """Test a search against itself with the coarse image turned, mirrored and rolled over its edges.

    Each of these keeps every texture and every length of the image, and no place. Their strongest evidences follow a
    distribution of extremes, whose scale and position are estimated from them.

    Parameters
    ----------
    search
        The search.
    placed
        The place that was refined from what the search found; None if there is none.

    Returns
    -------
    SharedStructure
        With its p value.
    """
    template = search.template()
    ways = list(_WAYS)
    templates = [template]
    for turns, mirrored in ways:
        image = np.rot90(template[:, ::-1] if mirrored else template, turns)
        half = image.shape[0] // 2, image.shape[1] // 2
        templates += [image, *(np.roll(image, shift, (0, 1)) for shift in ((half[0], 0), (0, half[1]), half))]
    found = search.strongest(templates)
    refined = search.evidence_at(placed) if placed is not None else 0.0
    observed, rest = max(float(found[0]), refined), found[1:].reshape(len(ways), 4)
    best = int(np.argmax(rest[:, 0]))
    others = np.delete(rest, best, axis=0)
    if rest[best, 0] > observed and (p := _chance(float(rest[best, 0]), others.ravel())) < 1.0:
        return SharedStructure(_chance(observed, others.ravel()), _WAYS[ways[best]], p)
    return SharedStructure(_chance(observed, rest.ravel()), "", 1.0)


def _chance(observed: float, null: FloatArray) -> float:
    """Probability of a value at least as large under a Gumbel distribution fitted to others, by L-moments."""
    values = np.sort(null)
    count = len(values)
    second = 2.0 * float((np.arange(count) / (count - 1) * values).mean()) - float(values.mean())
    scale = max(second / np.log(2.0), 1e-9)
    location = float(values.mean()) - np.euler_gamma * scale
    # The scale is estimated as well: a value that far out is less rare than it seems.
    return float(stats.gumbel_r.sf((observed - location) / scale / np.sqrt(1.0 + 1.0 / count)))
