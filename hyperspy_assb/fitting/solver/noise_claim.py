"""Recorded noise is a claim: it is compared with the scatter of the data, and what is used is said.

HyperSpy's variance is a gain times the counts; the gain that Gatan's files bring under the same name is in electrons
per count, the inverse. A camera or an interpolation spreads an electron over several channels, whose noise is then
correlated. Spectra that were put together from a few, by PCA or NMF, have lost the noise that their errors come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from hyperspy_assb.fitting.solver.detector import FEWEST_SPECTRA, NoiseEstimate, estimate_noise, numerical_rank
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_MARGIN, _SIGNIFICANT = 0.12, 4.0
"""Share of a variance, and standard errors, by which a claim may be off: errors are then right to 6 %."""
_NO_ELECTRONS = 0.01
"""Scatter of neighbours over that of single electrons that no camera with a point spread of one channel goes below."""
_NO_COUNTS = 10.0
"""Counts below which such spectra pass for normalised ones."""
_FAR_OFF = 2.0
"""Times that neighbours of a few spectra must scatter more than claimed before the claim is given up."""


class NoiseSource(StrEnum):
    """Where gain and read noise come from."""

    GIVEN = "given"
    """They were given by the user."""
    RECORDED = "recorded"
    """They are those of the metadata, and the data scatter as they say."""
    TRUSTED = "trusted"
    """They are those of the metadata, or of a perfect counter; too few data tell whether they are right."""
    COUNTER = "counter"
    """Nothing was recorded, and the data scatter as the counts of a perfect counter do."""
    INVERSE = "inverse"
    """From the scatter of the data, which is that of the inverse of what was recorded."""
    ESTIMATED = "estimated"
    """From the scatter of the data."""
    NOT_COUNTS = "not counts"
    """The spectra were put together from a few, and have no noise of their own: what was recorded is not comparable."""


@dataclass(frozen=True)
class Noise:
    """Noise of spectra: what is used, and why.

    Parameters
    ----------
    detector
        Gain and read noise of single channels.
    source
        Where they come from.
    sentence
        The same in words.
    correlation
        Of the noise of a channel with those 1, 2 ... above it, shape (L,); empty where neighbours are independent.
    contradicted
        Whether something was recorded that the data contradict.

    Examples
    --------
    Counts of a camera with 4 counts per electron, whose file says 0.25:

    >>> rng = np.random.default_rng(0)
    >>> counts = 4.0 * rng.poisson(50.0, (100, 60))
    >>> noise = judge_noise(counts, Detector(0.25))
    >>> noise.source, round(noise.detector.gain)
    (<NoiseSource.INVERSE: 'inverse'>, 4)
    """

    detector: Detector
    source: NoiseSource
    sentence: str
    correlation: FloatArray = field(default_factory=lambda: np.zeros(0))
    contradicted: bool = False

    @property
    def inflation(self) -> float:
        """Variance of what is much broader than the correlation, over that of independent channels."""
        return max(1.0 + 2.0 * float(self.correlation.sum()), 0.05)

    @property
    def broad(self) -> Detector:
        """Gain and read noise that give what is much broader than the correlation its right standard errors."""
        return Detector(self.detector.gain * self.inflation, self.detector.read_noise)

    @property
    def is_counting(self) -> bool:
        """Whether the noise is that of the data: not where they were put together from a few spectra."""
        return self.source is not NoiseSource.NOT_COUNTS


def judge_noise(
    counts: FloatArray,
    claim: Detector | None,
    expectation: FloatArray | None = None,
    *,
    segments: tuple[slice, ...] = (slice(None),),
    directions: FloatArray | None = None,
    counter: bool = True,
) -> Noise:
    """Compare what was recorded of the noise with the scatter of the data.

    Parameters
    ----------
    counts
        Recorded counts of spectra spread over a map, shape (S, E).
    claim
        Gain and read noise as they were recorded; None where nobody did.
    expectation, segments, directions
        As for :func:`.detector.estimate_noise`.
    counter
        Whether a perfect counter is assumed where nothing was recorded and many spectra scatter so; if not, what they
        tell is used, whatever the gain.

    Returns
    -------
    noise
        The claim where the data agree, else what they tell. Fewer than 24 spectra overrule a claim only if they scatter
        twice as much as it says.
    """
    if rank := numerical_rank(counts):
        used = claim or Detector()
        return Noise(
            used,
            NoiseSource.NOT_COUNTS,
            f"These spectra are sums of {rank}: their noise was removed (PCA, NMF) or never existed, so errors cannot "
            f"be derived from it. {_gain(used)} is assumed; use the spectra as they were recorded.",
        )
    try:
        found = estimate_noise(counts, expectation, segments=segments, directions=directions)
    except ValueError:
        used = claim or Detector()
        return Noise(used, NoiseSource.TRUSTED, f"{_gain(used)} is assumed: the counts do not reveal it.")
    if len(counts) < FEWEST_SPECTRA:
        return _judge_few(found, claim, len(counts))
    return _judge_many(found, claim, counter)


def _judge_many(found: NoiseEstimate, claim: Detector | None, counter: bool) -> Noise:
    if claim is None and not counter:
        found = _without_read_noise(found)
    correlated = bool(found.correlation.size)
    broad = found.detector.gain * found.inflation
    told = _gain(found.detector) + _correlated(found)
    agrees = _agrees(found, claim or Detector())
    if not correlated and agrees and (counter or claim is not None):
        if claim is None:
            said = "No gain was recorded; the counts scatter like those of an ideal counting detector."
            return Noise(Detector(), NoiseSource.COUNTER, said)
        return Noise(claim, NoiseSource.RECORDED, f"{_gain(claim)} was recorded, and the counts scatter accordingly.")

    def noise(source: NoiseSource, said: str, *, contradicted: bool = False) -> Noise:
        return Noise(found.detector, source, said, found.correlation, contradicted)

    if claim is None:
        return noise(NoiseSource.ESTIMATED, f"No gain was recorded; by the scatter of the counts it is {told}.")
    if agrees or (correlated and _close(broad, claim.gain, found.relative_std)):
        return noise(NoiseSource.RECORDED, f"{_gain(claim)} was recorded, and the counts scatter accordingly: {told}.")
    if _close(broad, 1.0 / claim.gain, found.relative_std):
        said = (
            f"{_gain(claim)} was recorded, but the counts scatter by {told}. What was recorded is in electrons per "
            "count, as Gatan's files have it; the scatter is used."
        )
        return noise(NoiseSource.INVERSE, said, contradicted=True)
    said = f"{_gain(claim)} was recorded, but the counts scatter by {told}. The scatter is used."
    return noise(NoiseSource.ESTIMATED, said, contradicted=True)


def _without_read_noise(found: NoiseEstimate) -> NoiseEstimate:
    """The same by a gain alone, where the scatter at every height of the counts is that of one."""
    alone = Detector(found.level_ratio(Detector()))
    return replace(found, detector=alone) if _agrees(found, alone) else found


def _judge_few(found: NoiseEstimate, claim: Detector | None, count: int) -> Noise:
    spectra = "a single spectrum" if count == 1 else f"{count} spectra"
    assumed = claim or Detector()
    told = found.level_ratio(assumed)
    if claim is None and told < _NO_ELECTRONS and found.levels.max() < _NO_COUNTS:
        said = (
            f"Neighbours of {spectra} scatter by {told:.2g} of the scatter of single-electron counts: these are not "
            f"counts. {_gain(found.detector)} describes their scatter."
        )
        return Noise(found.detector, NoiseSource.ESTIMATED, said)
    if told < _FAR_OFF * (1.0 + _SIGNIFICANT * found.relative_std):
        said = (
            f"{_gain(assumed)} is assumed: {spectra} cannot distinguish it from a camera that spreads electrons over "
            f"channels; neighbours scatter by {told:.2g} times that variance."
        )
        return Noise(assumed, NoiseSource.TRUSTED, said)
    said = (
        f"{_gain(assumed)} is {'recorded' if claim else 'that of a perfect counter'}, but the neighbours of {spectra} "
        f"scatter by {_gain(found.detector)}. The scatter is used."
    )
    return Noise(found.detector, NoiseSource.ESTIMATED, said, contradicted=claim is not None)


def _agrees(found: NoiseEstimate, claim: Detector) -> bool:
    """Whether the scatter at every height of the counts is that of a claim.

    Where there are most counts a model that misses them adds to their scatter: that alone refutes nothing.
    """
    ratio = found.squares / np.maximum(claim.variance(found.levels), 1e-300)
    allowed = _MARGIN + _SIGNIFICANT * found.squares_std / np.maximum(found.squares, 1e-300)
    off = np.log(np.maximum(ratio, 1e-300))
    return bool(np.all(np.abs(off[:-1]) < allowed[:-1]) and off[-1] > -allowed[-1])


def _close(one: float, other: float, relative_std: float) -> bool:
    return abs(np.log(one / other)) < 2 * _MARGIN + _SIGNIFICANT * relative_std


def _gain(detector: Detector) -> str:
    noise = f" and a read noise of {detector.read_noise:.3g} counts" if detector.read_noise > 0.0 else ""
    return f"{detector.gain:.3g} counts per electron{noise}"


def _correlated(found: NoiseEstimate) -> str:
    if not found.correlation.size:
        return ""
    return (
        f" in each channel, and neighbours are correlated by {found.correlation[0]:.2f} (point spread of the camera, "
        f"or interpolation), so that broad features have {found.inflation:.2g} times the variance of independent "
        "channels"
    )
