"""The optional second backend: template matching by pyxem, with the same phases and the same sampling."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.crystal_phase import to_orix
from hyperspy_assb.acom.crystals.frames import turn_pattern, upper
from hyperspy_assb.acom.matching.indexed import IndexedScan, PatternStatus
from hyperspy_assb.acom.matching.posterior import phase_reliability
from hyperspy_assb.acom.patterns.pattern_scan import PatternScan, beam_radius
from hyperspy_assb.acom.scan.scan_indexing import sum_direct_beam
from hyperspy_assb.acom.templates.bank import TemplateBank, mirror
from hyperspy_assb.errors import AssbNotImplementedError

_AZIMUTHS = 360
_RADII = 128


class PyxemIndexer:
    """Template matching by pyxem: phase, orientation and correlation; reliability of the phase where there are several.

    Patterns are simulated by diffsims in the orientations of the bank, and matched one phase after the other with all
    templates (``frac_keep=1``). Neither refinement nor probabilities nor amorphous material is known to it; the score
    is pyxem's own, and cannot be compared with that of the other backend.

    Parameters
    ----------
    scan
        Patterns. Of their geometry, scale and centre are taken: pyxem knows an ellipse and a scan rotation in another
        way, so that neither may be set.
    bank
        Phases, orientations and range.

    Raises
    ------
    ImportError
        If pyxem is not installed.
    AssbNotImplementedError
        If the geometry has an ellipse, a scan rotation or a mirrored camera.
    """

    def __init__(self, scan: PatternScan, bank: TemplateBank) -> None:
        try:
            import pyxem  # noqa: F401
        except ImportError as error:
            raise ImportError('backend="pyxem" needs pyxem, which is optional: pip install pyxem diffsims') from error
        geometry = scan.geometry
        if geometry.ellipticity or geometry.scan_rotation or geometry.mirrored:
            raise AssbNotImplementedError(
                'backend="pyxem" takes patterns without ellipse, scan rotation or mirrored camera.'
            )
        self.bank = bank
        self.geometry = geometry
        self.beam_radius = beam_radius(geometry, scan.convergence_angle, scan.beam_energy, scan.title)
        self.reach = min(bank.max_radius, geometry.scale * float(np.hypot(*scan.frame)) / 2.0)
        self.simulations = [_simulate(bank, number) for number in range(len(bank.phases))]

    def __call__(self, patterns: NDArray[Any], rows: slice, columns: slice) -> IndexedScan:
        """What is found in patterns of shape (rows, columns, ny, nx), wherever they are in the scan."""
        scan = patterns.shape[:2]
        roots = np.sqrt(np.clip(patterns.astype(np.float32), 0.0, None))
        polar = _unwrap(roots, self.geometry.scale, self.geometry.centre, self.reach)
        matched = [_match(polar, simulation) for simulation in self.simulations]
        scores = np.stack([score for score, _ in matched], axis=-1).reshape(*scan, -1)
        orientations = np.stack([orientation for _, orientation in matched], axis=-2).reshape(*scan, -1, 4)
        counts = patterns.sum(axis=(-2, -1), dtype=float)
        empty = counts <= 0.0
        phase = np.where(empty, -1, scores.argmax(axis=-1))
        best = np.take_along_axis(orientations, np.maximum(phase, 0)[..., None, None], axis=-2)[..., 0, :]
        unknown = np.full(scan, np.nan)
        return IndexedScan(
            phases=self.bank.phases,
            geometry=self.geometry,
            phase=phase,
            orientation=np.where(empty[..., None], np.nan, best),
            correlation=np.where(empty, 0.0, scores.max(axis=-1)),
            reliability=unknown,
            phase_reliability=np.where(empty, np.nan, phase_reliability(scores)),
            phase_scores=scores,
            phase_orientations=orientations,
            posterior=np.full(scores.shape, np.nan),
            lattice_scale=None,
            virtual_bright_field=sum_direct_beam(patterns, self.geometry, self.beam_radius),
            crystalline_score=unknown,
            ring_amounts=np.zeros((*scan, 0)),
            ring_materials=(),
            status=np.where(empty, PatternStatus.EMPTY, PatternStatus.INDEXED).astype(np.int8),
        )


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
