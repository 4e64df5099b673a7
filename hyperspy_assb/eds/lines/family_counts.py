"""Counts of families of lines whose shapes are given, with the continuum that the sum of all spectra tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperspy_assb.eds.eds_map import FloatArray, Spectra
from hyperspy_assb.eds.lines.column_spectra import FREE_CONTINUUM_ABOVE, Builder
from hyperspy_assb.eds.lines.detected_lines import without_tails
from hyperspy_assb.fitting.fixed_shapes.fixed_shape_fit import TemplateModel, fit_templates
from hyperspy_assb.fitting.fixed_shapes.kernels import TemplateFit


@dataclass(frozen=True, eq=False)
class GivenLine:
    """A line as another model has it.

    Parameters
    ----------
    family
        Main line of its family.
    centre, sigma
        In the unit of the axis.
    counts
        In the channels that are fitted, shape (E,), for one count in the main line.
    """

    family: str
    centre: float
    sigma: float
    counts: FloatArray


@dataclass(frozen=True, eq=False)
class FamilyCounts:
    """Counts of families of lines in N spectra.

    Parameters
    ----------
    families
        Main lines, F of them.
    fit
        Counts of the main lines, then the strength of the continuum, or the heights of its nodes.
    continuum
        In the channels that are fitted, for a strength of one; None where its shape was free.
    """

    families: tuple[str, ...]
    fit: TemplateFit
    continuum: FloatArray | None


def count_families(spectra: Spectra, builder: Builder, axis: FloatArray, lines: Sequence[GivenLine]) -> FamilyCounts:
    """Count the photons of every family of lines in every spectrum.

    Parameters
    ----------
    spectra
        Counts in all channels.
    builder
        Its range of the fit holds the E channels.
    axis
        Their centres, in the unit of the lines.
    lines
        All of them; families in the order in which they first appear.

    Raises
    ------
    ValueError
        If counts are negative or not finite, or all spectra are empty.
    """
    shapes: dict[str, FloatArray] = {}
    for line in lines:
        shape = without_tails(line.counts, axis, line.centre, line.sigma)
        shapes[line.family] = shapes.get(line.family, 0.0) + shape
    summed = spectra.summed()
    nodes, hats = builder.hats
    size = len(shapes)
    continuum = None
    if summed.largest > FREE_CONTINUUM_ABOVE * summed.total.sum():
        strength = np.eye(size + nodes.size)
    else:
        height = builder.estimate_continuum(summed.total) / summed.spectra
        strength = np.zeros((size + nodes.size, size + 1))
        strength[:size, :size] = np.eye(size)
        strength[size:, size] = height
        continuum = height @ hats
    templates = np.vstack([*shapes.values(), hats])
    model = TemplateModel(
        templates=templates,
        strength=strength,
        absorption=np.zeros_like(strength),
        group=np.full(len(templates), -1, dtype=np.int64),
        bounded=np.ones(strength.shape[1], dtype=bool),
    )
    start = model.guess(summed.total[builder.channels] / summed.spectra)
    fit = fit_templates(spectra, model, start, channels=builder.channels, bins=builder.bins)
    return FamilyCounts(tuple(shapes), fit, continuum)
