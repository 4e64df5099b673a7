"""How sure an orientation and a phase are.

*Reliability* is ``100 (1 - Q2 / Q1)`` from the scores of the best and the second-best solution [1]_. It ranks patterns,
but is no probability.

*Posterior.* Two lattices A and B predict brightnesses m_A and m_B for a pattern d (square root of counts, mean of each
radius removed). The difference of their sums of squares, ``S = |d - m_B|² - |d - m_A|²``, is a sum over spots: one term
for each spot of A with the spot of B that it overlaps, if any. If A is right its expectation is
``M = |m_A - m_B|²``, if B is right it is -M. Its variance is measured, not assumed: intensities are not kinematical,
neighbouring pixels are smoothed together and counts are few, but what happens to one spot is nearly independent of
what happens to the next. So the variance V is the sum of the squared deviations of the terms from their expectation
(the variance of White [2]_ for models that are wrong, as in the test of Vuong [3]_ for two such models), under the one
of A and B that leaves less: the likelier one. As V comes from few terms, S is compared with M and -M by Student's
distribution, with the degrees of freedom f of Satterthwaite [4]_, the square of the sum of the squared deviations over
the sum of their fourth powers: the logarithm of the odds is ``(f + 1) / 2 log((f V + (S + M)²) / (f V + (S - M)²))``,
about ``2 M S / V`` where f is large. One spot is one piece of evidence, however bright, and few spots are not trusted
far.

The calibration is not known exactly, so that evidence is summed over the scale, about where it fits each phase best and
with the prior that its standard error gives, and over the centre. All phases have the same probability beforehand.

What is assumed: that one of the phases is there, alone; that spots are independent of each other given the phase; that
the best orientation of each phase has been found; that strain is isotropic and as small as stated.

References
----------
.. [1] E. F. Rauch, M. Véron, Materials Characterization 98, 1 (2014), doi 10.1016/j.matchar.2014.08.010.
.. [2] H. White, Econometrica 50, 1 (1982), doi 10.2307/1912526.
.. [3] Q. H. Vuong, Econometrica 57, 307 (1989), doi 10.2307/1912557.
.. [4] F. E. Satterthwaite, Biometrics Bulletin 2, 110 (1946), doi 10.2307/3002019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hyperspy_assb.acom.matching.posterior_kernels import weigh_pattern
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.prepared import PreparedBlock
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

if TYPE_CHECKING:
    from hyperspy_assb.acom.matching.refinement import Refined, Refiner


_SCALE_STEP = 0.0025
"""A quarter of a pixel at 100 pixels from the direct beam."""


@dataclass(frozen=True)
class PosteriorOptions:
    """What is not known exactly.

    Parameters
    ----------
    strain_std
        Standard deviation of the lattice parameters about those of the phases, relative.
    unknown_scale_std, unknown_centre_std
        Standard error of the scale (relative) and of the centre (pixels) where the geometry does not state them.
    spots
        So many spots of each phase are compared, the heaviest.
    """

    strain_std: float = 0.003
    unknown_scale_std: float = 0.005
    unknown_centre_std: float = 0.3
    spots: int = 64

    def __post_init__(self) -> None:
        for name in ("strain_std", "unknown_scale_std", "unknown_centre_std"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name}: 0 or above, not {getattr(self, name)}.")
        if self.spots < 2:
            raise ValueError(f"spots: at least 2, not {self.spots}.")


def relative_scale_std(geometry: PatternGeometry, options: PosteriorOptions) -> float:
    """Relative standard error of the scale."""
    if np.isfinite(geometry.scale_std):
        return float(geometry.scale_std / geometry.scale)
    return options.unknown_scale_std


def calibration_nodes(geometry: PatternGeometry, options: PosteriorOptions) -> tuple[float, FloatArray]:
    """Errors of the calibration to sum over.

    Returns
    -------
    scale_std
        Relative standard deviation of the scale, strain included.
    nodes
        Error of the scale from where it was refined, on a grid as fine as a pattern tells scales apart; shift of the
        centre along columns and rows in pixels, and the logarithm of its prior. Those without a shift come first, and
        what was refined before all. Shape (J, 4).
    """
    centre_std = [float(value) if np.isfinite(value) else options.unknown_centre_std for value in geometry.centre_std]
    scale_std = float(np.hypot(relative_scale_std(geometry, options), options.strain_std))
    step = min(2.0 / 3.0 * scale_std, _SCALE_STEP)
    scale = sorted(step * np.arange(-3, 4), key=abs) if step > 0.0 else [0.0]
    # Cubature of degree 3 over two dimensions: the middle, and sqrt(3) standard deviations along each axis.
    far = np.sqrt(3.0)
    centre = [(0.0, 0.0, 1.0 / 3.0)]
    centre += [(sign * far * centre_std[0], 0.0, 1.0 / 6.0) for sign in (-1.0, 1.0)]
    centre += [(0.0, sign * far * centre_std[1], 1.0 / 6.0) for sign in (-1.0, 1.0)]
    if not any(centre_std):
        centre = [(0.0, 0.0, 1.0)]
    return scale_std, np.array([[s, x, y, np.log(w)] for x, y, w in centre for s in scale])


class PhaseWeigher:
    """Evidence for the phases of patterns whose orientations have been refined.

    Parameters
    ----------
    refiner
        Reflections, and how they fall on the detector.
    geometry
        Standard errors of scale and centre.
    sigma
        Standard deviation in pixels with which patterns are smoothed.
    options
        What else is not known exactly.
    """

    def __init__(
        self, refiner: Refiner, geometry: PatternGeometry, sigma: float, *, options: PosteriorOptions | None = None
    ) -> None:
        self.refiner = refiner
        self.options = options or PosteriorOptions()
        # A pattern that is not smoothed still has spots about as wide as its pixels.
        self.sigma = max(sigma, 0.7)
        self.scale_std, self.nodes = calibration_nodes(geometry, self.options)

    def weigh_block(self, block: PreparedBlock, refined: Refined, out: FloatArray) -> None:
        """Logarithm of the evidence of each phase in a few patterns into `out` (B, P), -inf where there is none."""
        table = self.refiner.table
        room = int(np.diff(table.begin).max())
        phases = len(table.begin) - 1
        listed, every = np.empty(room, dtype=np.int64), np.empty((room, 3))
        spots, counts = np.empty((phases, self.options.spots, 3)), np.zeros(phases, dtype=np.int64)
        # Lattices that are refined for their own sake are not those of the phases to be compared.
        scales = np.ones(refined.score.shape)
        if self.refiner.refines_scale:
            scales = 1.0 / refined.lattice_scale[..., 0]
        for b in range(len(block.power)):
            if not refined.score[b].any():
                continue
            weigh_pattern(
                block.images[b],
                block.means[b],
                block.centres[b],
                refined.orientation[b],
                refined.score[b],
                refined.shift[b],
                scales[b],
                table.parts,
                table.strength,
                table.begin,
                self.refiner.optics,
                self.sigma,
                self.scale_std,
                self.nodes,
                listed,
                every,
                spots,
                counts,
                out[b],
            )


def reliability(first: FloatArray, second: FloatArray) -> FloatArray:
    """``100 (1 - Q2 / Q1)`` of two scores, from 0 to 100; 0 where the first is not above 0."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    ratio = np.divide(np.maximum(second, 0.0), first, out=np.ones(np.broadcast(first, second).shape), where=first > 0.0)
    return 100.0 * np.clip(1.0 - ratio, 0.0, 1.0)


def phase_reliability(phase_scores: FloatArray) -> FloatArray:
    """Reliability of the best of P phases against the second best, shape (..., P) to (...); 100 for one phase alone."""
    scores = np.sort(np.asarray(phase_scores, dtype=float), axis=-1)
    second = scores[..., -2] if scores.shape[-1] > 1 else np.zeros(scores.shape[:-1])
    return reliability(scores[..., -1], second)


def probabilities(log_evidence: FloatArray) -> FloatArray:
    """Posterior of each of P phases with equal priors, shape (..., P); NaN where there is no evidence for any."""
    top = log_evidence.max(axis=-1, keepdims=True)
    known = np.isfinite(top)
    shares = np.exp(np.where(known, log_evidence - np.where(known, top, 0.0), np.nan))
    return shares / shares.sum(axis=-1, keepdims=True)
