"""Whether two images share anything: more at the place that was found than beside it, and than mirrored and turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hyperspy_assb.registration.affine import FloatArray, ImageFrame
from hyperspy_assb.registration.alignment_step import DistortionOptions
from hyperspy_assb.registration.coarse_search import Candidate, CoarseSearch
from hyperspy_assb.registration.local_contrast import Refinement

_WAYS = {
    (0, True): "mirrored left to right",
    (2, True): "mirrored top to bottom",
    (1, True): "transposed",
    (3, True): "transposed and turned by 180°",
    (1, False): "turned by 90°",
    (2, False): "turned by 180°",
    (3, False): "turned by -90°",
}
"""Mirror and quarter turns, in words; half-way between them lie those with 45° more."""
_HALF = 45.0
_NULL = (-2.63, 1.26, 15.0)
"""Mean, scale and degrees of freedom (Student) of the drops of 16 pairs of scenes that share nothing, one draw more."""
_MAXIMA = (-0.716, 1.572, 8.19)
"""Location, scale and degrees of freedom (Student) of how far one of sixteen maxima lies above the others, in standard
deviations of these, where all follow one Gumbel law, as maxima of searches do: within 10 % from p = 0.2 to 5e-5."""
_RIVAL = 0.75
"""Share of the evidence from which another way is refined as well."""
_CLEAR = 1e-3
"""p value below which no other way is looked at."""


@dataclass(frozen=True)
class SharedStructure:
    """What a registration explains beside what chance does.

    Parameters
    ----------
    p
        Probability that two images which share nothing fit as well.
    other_way
        In which way the image was turned or mirrored that fits better, in words; empty if none does.
    other_p
        The same for that way.
    """

    p: float
    other_way: str
    other_p: float


def judge_shared_structure(
    search: CoarseSearch, drop: float, options: DistortionOptions, evidence: float
) -> SharedStructure:
    """Judge a registration by two tests, of which either may find what is shared.

    How much likelier it is than places beside it: chance places, the best of a whole search, follow
    :data:`_NULL`. Where that is not clear, how far its mutual information lies above the best that the same images have
    in fifteen ways that cannot be right, mirrored and turned by eighths: see :data:`_MAXIMA`. One of these ways may be
    the right one, and is then named.

    Parameters
    ----------
    search
        The search.
    drop
        Of :meth:`.Refinement.drop` at the refined place.
    options
        Those of the refinement.
    evidence
        Of the place, as the search has it.

    Returns
    -------
    SharedStructure
        With its p value, that of the clearer test times two.
    """
    p = min(2.0 * _chance(drop), 1.0)
    if p < _CLEAR:
        return SharedStructure(p, "", 1.0)
    ways = [
        *((*way, 0.0, words) for way, words in _WAYS.items()),
        (0, False, _HALF, "turned by about 45°"),
        *((*way, _HALF, f"{words}, and by about 45° further") for way, words in _WAYS.items()),
    ]
    turned = [
        CoarseSearch(
            *_turned(search.coarse, search.coarse_frame, turns, mirrored),
            search.fine,
            search.fine_frame,
            search.largest_angle,
            search.overlap,
            search.side,
            about,
        )
        for turns, mirrored, about, _ in ways
    ]
    found = [other.candidates(1) for other in turned]
    others = np.array([candidates[0].evidence if candidates else 0.0 for candidates in found])
    p = min(p, 2.0 * _beyond_others(evidence, others))
    best = int(np.argmax(others))
    rest = np.append(np.delete(others, best), evidence)
    # The best of all ways, by either test.
    clearer = _beyond_others(float(others[best]), rest)
    if others[best] >= _RIVAL * evidence:
        clearer = min(clearer, _chance(_drop_at(turned[best], found[best], options)))
    other_p = min(2.0 * len(ways) * clearer, 1.0)
    return SharedStructure(p, ways[best][-1], other_p) if other_p < p else SharedStructure(p, "", 1.0)


def _beyond_others(one: float, others: FloatArray) -> float:
    """Probability that one maximum lies so far above others of the same law."""
    spread = float(others.std(ddof=1)) * np.sqrt(1.0 + 1.0 / len(others))
    location, scale, freedom = _MAXIMA
    return float(stats.t.sf(((one - float(others.mean())) / max(spread, 1e-12) - location) / scale, freedom))


def _turned(image: FloatArray, frame: ImageFrame, turns: int, mirrored: bool) -> tuple[FloatArray, ImageFrame]:
    turned = np.rot90(image[:, ::-1] if mirrored else image, turns)
    pixel = frame.pixel[::-1] if turns % 2 else frame.pixel
    return turned, ImageFrame((turned.shape[0], turned.shape[1]), (pixel[0], pixel[1]), frame.origin)


def _drop_at(search: CoarseSearch, candidates: list[Candidate], options: DistortionOptions) -> float:
    if not candidates:
        return float("nan")
    refinement = Refinement(search.coarse, search.coarse_frame, search.fine, search.fine_frame, options)
    found = refinement.refine(candidates[0].transform)
    return float("nan") if found is None else refinement.drop(found.transform)


def _chance(drop: float) -> float:
    """Probability of a drop at least as large where nothing is shared; 1 where it is not known."""
    if np.isnan(drop):
        return 1.0
    mean, std, freedom = _NULL
    return float(stats.t.cdf((drop - mean) / std, freedom))
