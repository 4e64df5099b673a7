"""Fixtures of all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

if os.environ.get("PYTEST_XDIST_WORKER"):
    # Before anything imports numba, which reads this once. All workers, and the processes that tests start, share one
    # folder: that this is safe is what hyperspy_assb.compiled_code is for.
    os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "numba")

import numpy as np
import pytest

from hyperspy_assb import compiled_code  # noqa: F401 - before a test imports orix, which compiles

sys.path.insert(0, str(Path(__file__).parent))  # for bad_input.py, which the table of bad input runs as well

collect_ignore = ["planted_names.py"]
"""Whose examples are there to be missed."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, which is not part of the project."""
    named = os.environ.get("HYPERSPY_ASSB_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data are not here: they are looked for in {folder}")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make a file system of so many kB in a folder of the test."""
    with ExitStack() as stack:

        def make(size: int) -> Path:
            place = tmp_path / "small disk"
            place.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)]
            if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
                pytest.skip("a small file system cannot be mounted here")
            stack.callback(subprocess.run, ["umount", str(place)], check=True)
            return place

        yield make


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def differentiate() -> Callable[[Callable[[np.ndarray], np.ndarray], np.ndarray, int, float], np.ndarray]:
    """Derivative of f(parameters) for one parameter by central differences of fourth order in the step."""

    def derivative(function, parameters, index, step):
        def at(multiple):
            moved = np.array(parameters, dtype=float)
            moved[..., index] += multiple * step
            return function(moved)

        return (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * step)

    return derivative


RINGS = ("carbon", "amorphous_LAGP")


def scan_of(
    phase: np.ndarray,
    orientation: np.ndarray,
    *,
    ring: np.ndarray | None = None,
    empty: np.ndarray | None = None,
    certainty: float = 0.99,
) -> Any:
    """What indexing would say of phases (-1: none), orientations and amorphous materials (-1: none)."""
    # Imported here: most tests need none of it.
    from hyperspy_assb.acom.crystals.crystal_phase import load_phase
    from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan, PatternStatus
    from hyperspy_assb.acom.patterns.geometry import PatternGeometry

    phases = tuple(load_phase(name) for name in ("lfp", "fp", "lagp"))
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
    posterior = np.full((*shape, len(phases)), (1 - certainty) / (len(phases) - 1))
    posterior[indexed, phase[indexed]] = certainty
    posterior[~indexed] = np.nan
    score = np.where(indexed, 0.7, 0.05)
    return IndexedScan(
        phases=phases,
        geometry=PatternGeometry(scale=0.012, centre=(64.0, 64.0)),
        phase=np.where(indexed, phase, NOT_INDEXED),
        orientation=orientation,
        correlation=score,
        reliability=np.where(indexed, 40.0, np.nan),
        phase_reliability=np.where(indexed, 25.0, np.nan),
        phase_scores=np.where(indexed[..., None], 0.5, 0.05) * np.ones(len(phases)),
        phase_orientations=np.repeat(orientation[..., None, :], len(phases), axis=-2),
        posterior=posterior,
        lattice_scale=None,
        virtual_bright_field=np.where(status == PatternStatus.EMPTY, 1000.0, 500.0 + 100.0 * (phase + 1)),
        crystalline_score=score,
        ring_amounts=amounts,
        ring_materials=RINGS,
        status=status,
    )


def scan_of_state(state: Any) -> Any:
    """What perfect indexing would say of a state of the virtual lamella."""
    fractions = state.fractions
    names = ("LiFePO4", "FePO4", "LAGP", "carbon", "amorphous_LAGP", "vacuum")
    largest = np.stack([fractions[name] for name in names]).argmax(axis=0)
    grain = state.grain_id > 0
    phase = np.where((largest < 3) & grain, largest, -1)
    ring = np.where(phase >= 0, -1, np.where(largest == 5, -1, np.clip(largest - 3, 0, 1)))
    return scan_of(phase, state.orientation, ring=ring)


@pytest.fixture(scope="session")
def make_scan() -> Callable[..., Any]:
    """Make a result of indexing from phases, orientations and amorphous materials."""
    return scan_of


@pytest.fixture(scope="session")
def make_scan_of_state() -> Callable[[Any], Any]:
    """Make the result that perfect indexing of a state of the virtual lamella would have."""
    return scan_of_state


@pytest.fixture(scope="session")
def make_maps() -> Callable[..., Any]:
    """Dress a result of indexing as orientation maps with pixels of 10 nm."""

    def make(scan: Any, pixel: float = 10.0, units: str = "nm") -> Any:
        from hyperspy_assb.signals.acom.orientations import OrientationMaps

        axes = tuple(
            {"name": name, "size": size, "scale": pixel, "offset": 0.0, "units": units, "navigate": True}
            for name, size in zip("yx", scan.phase.shape, strict=True)
        )
        return OrientationMaps(scan, axes=axes, provenance={"action": "made up"})

    return make
