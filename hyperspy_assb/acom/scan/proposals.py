"""Which materials of the table would explain patterns that no phase offered does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase, load_phase
from hyperspy_assb.acom.matching.block_indexing import Indexer
from hyperspy_assb.acom.scan.answers_judged import AnswerJudge
from hyperspy_assb.acom.templates.bank import simulate_bank
from hyperspy_assb.errors import AssbError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference.materials import materials

TRIED = 24
"""Patterns that are tried."""
FEWEST_TRIED = 4
"""Patterns below which nothing is proposed."""
RESOLUTION = 2.0
"""Degrees between the templates that are tried: it is asked what a crystal is, not how it lies."""
EXPLAINED = 0.5
"""Share of the patterns that a material must explain to be proposed."""


def other_materials(phases: tuple[CrystalPhase, ...]) -> list[CrystalPhase]:
    """Crystalline materials of the table that were not offered."""
    offered = {phase.name for phase in phases}
    found: list[CrystalPhase] = []
    for row in materials.values():
        if row.cif is None or row.name in offered or row.name in {phase.name for phase in found}:
            continue
        try:
            found.append(load_phase(row.name))
        except (AssbError, OSError):
            # A row whose CIF cannot be read explains nothing.
            continue
    return found


def propose_materials(
    patterns: NDArray[Any],
    centres: FloatArray,
    indexer: Indexer,
    answers: AnswerJudge,
) -> tuple[str, ...]:
    """Try other materials on patterns that no phase explains.

    Parameters
    ----------
    patterns
        Shape (B, ny, nx); some of them are tried.
    centres
        Column and row of the direct beam of each, shape (B, 2).
    indexer
        That did not explain them.
    answers
        That judges answers.

    Returns
    -------
    notes
        What would explain them, in a sentence; nothing where there are too few patterns, or no other material.
    """
    others = other_materials(indexer.bank.phases)
    if len(patterns) < FEWEST_TRIED or not others or not answers.known:
        return ()
    some = np.unique(np.linspace(0, len(patterns) - 1, min(len(patterns), TRIED)).round().astype(int))
    bank = indexer.bank
    trial = simulate_bank(
        others,
        resolution=max(RESOLUTION, bank.resolution),
        beam_energy=bank.beam_energy,
        precession_angle=bank.precession_angle,
        max_radius=bank.max_radius,
    )
    other = Indexer(
        trial,
        indexer.geometry,
        patterns.shape[1:],
        options=indexer.options,
        spot_sigma=indexer.second_look.finder.sigma,
    )
    found = other.index(patterns[some], centres=centres[some])
    explained = answers.not_offered(answers.log_odds(found.looked)) < 0.5
    counts = {phase.name: int((explained & (found.phase == p)).sum()) for p, phase in enumerate(trial.phases)}
    best = max(counts, key=lambda name: counts[name])
    names = ", ".join(counts)
    if counts[best] < EXPLAINED * len(some):
        return (f"No other material of the table explains these patterns ({names}).",)
    return (f"Of the other materials of the table, {best} explains {counts[best]} of {len(some)} of them: offer it.",)
