"""The optional second backend: template matching by pyxem, with the same phases and the same sampling."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.crystal_phase import to_orix
from hyperspy_assb.acom.crystals.frames import turn_pattern, upper
from hyperspy_assb.acom.matching.indexed import IndexedScan, PatternStatus
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.scan.scan_blocks import sum_direct_beam
from hyperspy_assb.acom.templates.bank import TemplateBank, mirror

_AZIMUTHS = 360
_RADII = 128


def pyxem_engine(
    bank: TemplateBank, geometry: PatternGeometry, shape: tuple[int, ...], *, direct_beam: float
) -> Callable[[NDArray[Any]], IndexedScan]:
    """Template matching by pyxem: phase, orientation and correlation; reliability of the phase where there are several.

    Patterns are simulated by diffsims in the orientations of the bank, and matched one phase after the other with all
    templates (``frac_keep=1``). Neither refinement nor probabilities nor amorphous material is known to it; the score
    is pyxem's own, and cannot be compared with that of the other backend.

    Parameters
    ----------
    bank
        Phases, orientations and range.
    geometry
        Scale and centre; pyxem knows an ellipse and a scan rotation in another way, so that neither may be set.
    shape
        Rows and columns of a pattern.
    direct_beam
        Radius in 1/Å within which counts are the virtual bright field.

    Raises
    ------
    ImportError
        If pyxem is not installed.
    NotImplementedError
        If the geometry has an ellipse, a scan rotation or a mirrored camera.
    """
    try:
        import pyxem  # noqa: F401
    except ImportError as error:
        raise ImportError('backend="pyxem" needs pyxem, which is optional: pip install pyxem diffsims') from error
    if geometry.ellipticity or geometry.scan_rotation or geometry.mirrored:
        raise NotImplementedError('backend="pyxem" takes patterns without ellipse, scan rotation or mirrored camera.')
    simulations = [_simulate(bank, number) for number in range(len(bank.phases))]
    column, row = geometry.centre
    reach = min(bank.max_radius, geometry.scale * float(np.hypot(*shape)) / 2.0)

    def engine(patterns: NDArray[Any]) -> IndexedScan:
        scan = patterns.shape[:2]
        polar = _unwrap(np.sqrt(np.clip(patterns.astype(np.float32), 0.0, None)), geometry.scale, (column, row), reach)
        matched = [_match(polar, simulation) for simulation in simulations]
        scores = np.stack([score for score, _ in matched], axis=-1).reshape(*scan, -1)
        orientations = np.stack([orientation for _, orientation in matched], axis=-2).reshape(*scan, -1, 4)
        counts = patterns.sum(axis=(-2, -1), dtype=float)
        empty = counts <= 0.0
        phase = np.where(empty, -1, scores.argmax(axis=-1))
        best = np.take_along_axis(orientations, np.maximum(phase, 0)[..., None, None], axis=-2)[..., 0, :]
        ordered = np.sort(scores, axis=-1)
        second = ordered[..., -2] if scores.shape[-1] > 1 else np.zeros(scan)
        unknown = np.full(scan, np.nan)
        return IndexedScan(
            phases=bank.phases,
            geometry=geometry,
            phase=phase,
            orientation=np.where(empty[..., None], np.nan, best),
            correlation=np.where(empty, 0.0, ordered[..., -1]),
            reliability=unknown,
            phase_reliability=np.where(empty, np.nan, 100.0 * (1.0 - second / np.maximum(ordered[..., -1], 1e-12))),
            phase_scores=scores,
            phase_orientations=orientations,
            posterior=np.full(scores.shape, np.nan),
            lattice_scale=None,
            virtual_bright_field=sum_direct_beam(patterns, geometry, direct_beam),
            crystalline_score=unknown,
            ring_amounts=np.zeros((*scan, 0)),
            ring_materials=(),
            status=np.where(empty, PatternStatus.EMPTY, PatternStatus.INDEXED).astype(np.int8),
        )

    return engine


def _simulate(bank: TemplateBank, number: int) -> Any:
    from diffsims.generators.simulation_generator import SimulationGenerator
    from orix.quaternion import Rotation

    # pyxem puts the in-plane angle in place of the first Euler angle, which must be 0 in the templates.
    angles = Rotation(bank.orientations[bank.phase == number]).to_euler()
    angles[:, 0] = 0.0
    generator = SimulationGenerator(accelerating_voltage=bank.beam_energy, precession_angle=bank.precession_angle)
    return generator.calculate_diffraction2d(
        to_orix(bank.phases[number]),
        rotation=Rotation.from_euler(angles),
        reciprocal_radius=bank.max_radius,
        max_excitation_error=bank.max_excitation_error,
        with_direct_beam=False,
    )


def _unwrap(patterns: NDArray[Any], scale: float, centre: tuple[float, float], reach: float) -> Any:
    from pyxem.signals import ElectronDiffraction2D

    signal = ElectronDiffraction2D(patterns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal.calibration(scale=scale, center=centre, units="k_A^-1")
        return signal.get_azimuthal_integral2d(
            npt=_RADII, npt_azim=_AZIMUTHS, radial_range=(0.0, reach), mean=True, inplace=False, show_progressbar=False
        )


def _match(polar: Any, simulation: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score and orientation of every pattern for one phase, shapes (B,) and (B, 4)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = polar.get_orientation(simulation, n_best=1, frac_keep=1.0, show_progressbar=False)
        rotations = found.to_single_phase_orientations()
    data = np.asarray(found.data).reshape(-1, *found.data.shape[-1:])
    orientation = upper(np.asarray(rotations.data).reshape(-1, 4))
    # pyxem counts y upwards, against the rows of the pattern: half a turn about x.
    return data[:, 1].astype(float), turn_pattern(mirror(orientation), np.full(len(orientation), np.pi))
