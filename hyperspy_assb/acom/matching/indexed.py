"""What indexing finds in every pattern, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

NOT_INDEXED = -1
"""The phase of a pattern that no phase explains."""


class PatternStatus(IntEnum):
    """What became of a pattern."""

    INDEXED = 0
    """A lattice, whose phase and orientation were found."""
    AMORPHOUS = 1
    """Diffuse rings, no lattice."""
    MIXED = 2
    """A lattice (indexed) and amorphous material in one column."""
    POWDER = 3
    """Many crystals, whose spots make sharp rings: crystalline, but not indexed."""
    EMPTY = 4
    """Too few counts outside of the direct beam, or vacuum."""
    SATURATED = 5
    """Indexed, but the detector was saturated."""
    NO_BEAM = 6
    """The direct beam wanders over the scan, and was not found near where the patterns about have it: not indexed."""
    NOT_OFFERED = 7
    """A lattice that neither one nor two crystals of the phases that were offered explain: not indexed."""
    OVERLAP = 8
    """Two crystals in one column, both indexed."""


@dataclass(frozen=True)
class IndexedScan:
    """Orientation, phase and their reliability in every pattern of a scan of shape (ny, nx).

    Parameters
    ----------
    phases
        Phases that were offered, P of them.
    geometry
        Calibration that was used, refined if it was asked for.
    phase
        Index of the best phase, ``NOT_INDEXED`` where there is none (empty, saturated or amorphous), (ny, nx).
    orientation
        Specimen to crystal of the best phase, NaN where not indexed, (ny, nx, 4).
    correlation
        Score of the best template, 0 to 1, (ny, nx).
    reliability
        100 (1 - Q2 / Q1): Q1 the score of the best orientation, Q2 that of the next of the same phase more than a few
        degrees away, symmetry-equivalent ones left out, (ny, nx).
    phase_reliability
        The same for the best orientation of the next phase, (ny, nx).
    phase_scores
        Best score of each phase, (ny, nx, P).
    phase_orientations
        Best orientation of each phase, (ny, nx, P, 4).
    posterior
        Probability of each phase given that one of them is there, (ny, nx, P).
    lattice_scale
        Lattice relative to that of the best phase along a, b, c, (ny, nx, 3); None if not refined.
    virtual_bright_field
        Counts in the direct beam, (ny, nx).
    crystalline_score
        Best score after the mean of each radius is removed, which amorphous material has not, (ny, nx).
    ring_amounts
        Share of each amorphous material in the diffuse intensity, (ny, nx, A).
    ring_materials
        Names of the A amorphous materials.
    status
        See :class:`PatternStatus`, (ny, nx).
    ring_counts, ring_counts_std
        Rings of each material and their standard errors, NaN where the camera saw too little or too much, (ny, nx, A);
        None if not measured.
    background_counts, spot_counts
        Smooth diffuse background per pixel, and Bragg spots, (ny, nx); None if not measured.
    amorphous_share, amorphous_share_std
        Share of each amorphous material in the thickness and its standard error, NaN where unknown, (ny, nx, A); None
        if not measured.
    twin_reliability
        Reliability against what half a turn about the beam, or about a zone axis near it, makes of the orientation,
        (ny, nx); None where it is not known.
    tied_orientations, tied_scores
        Next best orientations of the best phase and their scores, (ny, nx, T, 4) and (ny, nx, T), NaN and 0 where none
        comes near; None where they are not known.
    centre
        Column and row of the direct beam in each pattern, (ny, nx, 2); None if that of the geometry holds for all.
    answer_odds
        Logarithm of the odds that the best answer is right, from the simulation, NaN where there is no lattice,
        (ny, nx); None where it is not known.
    not_offered
        Probability that none of the phases that were offered is there, NaN where there is no lattice, (ny, nx); None
        where it is not known.
    second_phase, second_orientation, second_score
        Second crystal in the column: index of its phase, -1 where there is none, (ny, nx); specimen to
        crystal, NaN where there is none, (ny, nx, 4); score of what the first one leaves, (ny, nx). None where it was
        not looked for.
    second_posterior
        Probability of each phase given that one of them is the second crystal, (ny, nx, P).
    second_share, second_share_std
        Share of the second crystal in what is crystalline of the column, 0 where there is none, and its standard error,
        (ny, nx).
    second_gain
        By how much the logarithm of the likelihood of the places of spots is higher with the second answer, (ny, nx).
    crystal_amount, crystal_amount_std
        Thickness of the first and second crystal by the intensities of their spots, in common units, (ny, nx, 2).
    """

    phases: tuple[CrystalPhase, ...]
    geometry: PatternGeometry
    phase: NDArray[Any]
    orientation: FloatArray
    correlation: FloatArray
    reliability: FloatArray
    phase_reliability: FloatArray
    phase_scores: FloatArray
    phase_orientations: FloatArray
    posterior: FloatArray
    lattice_scale: FloatArray | None
    virtual_bright_field: FloatArray
    crystalline_score: FloatArray
    ring_amounts: FloatArray
    ring_materials: tuple[str, ...]
    status: NDArray[Any]
    twin_reliability: FloatArray | None = None
    tied_orientations: FloatArray | None = None
    tied_scores: FloatArray | None = None
    centre: FloatArray | None = None
    ring_counts: FloatArray | None = None
    ring_counts_std: FloatArray | None = None
    background_counts: FloatArray | None = None
    spot_counts: FloatArray | None = None
    amorphous_share: FloatArray | None = None
    amorphous_share_std: FloatArray | None = None
    answer_odds: FloatArray | None = None
    not_offered: FloatArray | None = None
    second_phase: NDArray[Any] | None = None
    second_orientation: FloatArray | None = None
    second_score: FloatArray | None = None
    second_posterior: FloatArray | None = None
    second_share: FloatArray | None = None
    second_share_std: FloatArray | None = None
    second_gain: FloatArray | None = None
    crystal_amount: FloatArray | None = None
    crystal_amount_std: FloatArray | None = None

    def is_phase(self, name: str) -> NDArray[np.bool_]:
        """Where a phase was found, shape (ny, nx).

        Raises
        ------
        ValueError
            If it was not offered.
        """
        return np.asarray(self.phase) == [phase.name for phase in self.phases].index(name)


def map_names(scan: IndexedScan) -> tuple[str, ...]:
    """Names of what a result holds for every pixel."""
    shape = np.shape(scan.phase)
    return tuple(
        item.name
        for item in fields(scan)
        if isinstance(getattr(scan, item.name), np.ndarray) and getattr(scan, item.name).shape[:2] == shape
    )


def crop_scan(scan: IndexedScan, rows: slice, columns: slice) -> IndexedScan:
    """A part of a scan."""
    return replace(scan, **{name: getattr(scan, name)[rows, columns] for name in map_names(scan)})
