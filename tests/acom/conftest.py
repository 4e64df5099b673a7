"""Results of indexing made from a known truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hyperspy_assb.acom.geometry import PatternGeometry
from hyperspy_assb.acom.phases import load_phase
from hyperspy_assb.acom.result import NOT_INDEXED, IndexedScan, PatternStatus

PHASES = tuple(load_phase(name) for name in ("lfp", "fp", "lagp"))
RINGS = ("carbon", "LAGP glass")


def scan_of(
    phase: np.ndarray,
    orientation: np.ndarray,
    *,
    ring: np.ndarray | None = None,
    empty: np.ndarray | None = None,
    certainty: float = 0.99,
) -> IndexedScan:
    """What indexing would say of phases (-1: none), orientations and amorphous materials (-1: none)."""
    shape = phase.shape
    ring = np.full(shape, -1) if ring is None else ring
    empty = np.zeros(shape, dtype=bool) if empty is None else empty
    indexed = phase >= 0
    orientation = np.where(indexed[..., None], orientation, np.nan)
    status = np.full(shape, PatternStatus.INDEXED, dtype=np.int8)
    status[~indexed & (ring >= 0)] = PatternStatus.AMORPHOUS
    status[~indexed & (ring < 0)] = PatternStatus.EMPTY
    status[empty] = PatternStatus.EMPTY
    amounts = np.zeros((*shape, len(RINGS)))
    for number in range(len(RINGS)):
        amounts[..., number] = ring == number
    posterior = np.full((*shape, len(PHASES)), (1 - certainty) / (len(PHASES) - 1))
    posterior[indexed, phase[indexed]] = certainty
    posterior[~indexed] = np.nan
    score = np.where(indexed, 0.7, 0.05)
    return IndexedScan(
        phases=PHASES,
        geometry=PatternGeometry(scale=0.012, centre=(64.0, 64.0)),
        phase=np.where(indexed, phase, NOT_INDEXED),
        orientation=orientation,
        correlation=score,
        reliability=np.where(indexed, 40.0, np.nan),
        phase_reliability=np.where(indexed, 25.0, np.nan),
        phase_scores=np.where(indexed[..., None], 0.5, 0.05) * np.ones(len(PHASES)),
        phase_orientations=np.repeat(orientation[..., None, :], len(PHASES), axis=-2),
        posterior=posterior,
        lattice_scale=None,
        virtual_bright_field=np.where(status == PatternStatus.EMPTY, 1000.0, 500.0 + 100.0 * (phase + 1)),
        crystalline_score=score,
        ring_amounts=amounts,
        ring_materials=RINGS,
        status=status,
    )


def scan_of_state(state: object) -> IndexedScan:
    """What perfect indexing would say of a state of the virtual lamella."""
    fractions = state.fractions  # type: ignore[attr-defined]
    names = ("LiFePO4", "FePO4", "LAGP", "carbon", "amorphous_LAGP", "vacuum")
    largest = np.stack([fractions[name] for name in names]).argmax(axis=0)
    grain = state.grain_id > 0  # type: ignore[attr-defined]
    phase = np.where((largest < 3) & grain, largest, -1)
    ring = np.where(phase >= 0, -1, np.where(largest == 5, -1, np.clip(largest - 3, 0, 1)))
    return scan_of(phase, state.orientation, ring=ring)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def make_scan() -> Callable[..., IndexedScan]:
    return scan_of


@pytest.fixture(scope="session")
def make_scan_of_state() -> Callable[[object], IndexedScan]:
    return scan_of_state
