"""pyxem on the patterns of the benchmark."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from acom_scenes import Scene  # isort: skip
from hyperspy_assb.acom.crystals.crystal_phase import to_orix
from hyperspy_assb.acom.crystals.frames import turn_pattern
from hyperspy_assb.acom.templates.bank import TemplateBank


@dataclass(frozen=True)
class PeerResult:
    """What a peer found.

    Parameters
    ----------
    rate
        Patterns per second, unwrapping included.
    phase
        (B,).
    orientations
        The one orientation that was found, for all phases, (B, P, 4).
    """

    rate: float
    phase: Any
    orientations: Any


class Pyxem:
    """Templates of diffsims for the orientations of a bank."""

    def __init__(self, bank: TemplateBank, radius: float) -> None:
        from diffsims.generators.simulation_generator import SimulationGenerator
        from orix.quaternion import Rotation

        self.bank = bank
        self.radius = radius
        generator = SimulationGenerator(bank.beam_energy, precession_angle=bank.precession_angle)
        rotations = [Rotation(bank.orientations[bank.phase == p]) for p in range(len(bank.phases))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.simulations = generator.calculate_diffraction2d(
                [to_orix(phase) for phase in bank.phases],
                rotation=rotations,
                reciprocal_radius=radius,
                with_direct_beam=False,
                max_excitation_error=bank.max_excitation_error,
                shape_factor_width=bank.excitation_width,
            )

    def match(self, scene: Scene, share: float) -> PeerResult:
        """Index with a share of the templates after the pre-selection; 1 is the full search."""
        import pyxem  # noqa: F401
        from pyxem.signals import Diffraction2D

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = scene.patterns.astype(np.float32).reshape(len(scene.patterns), 1, *scene.patterns.shape[1:])
            signal = Diffraction2D(data)
            signal.beam_energy = self.bank.beam_energy
            scale, (column, row) = scene.geometry.scale, scene.geometry.centre
            signal.calibration(scale=scale, units="$A^{-1}$", center=None)
            for axis, centre in zip(signal.axes_manager.signal_axes, (column, row), strict=True):
                axis.scale, axis.offset = scale, -centre * scale
            start = time.perf_counter()
            npt = int(self.radius / scale)
            polar = signal.get_azimuthal_integral2d(
                npt=npt, npt_azim=360, radial_range=(0.0, self.radius), show_progressbar=False
            )
            found = (polar**0.5).get_orientation(
                self.simulations, n_best=1, frac_keep=share, normalize_templates=True, show_progressbar=False
            )
            seconds = time.perf_counter() - start
        best = found.data.reshape(len(scene.patterns), 4)
        which = best[:, 0].astype(int)
        return PeerResult(len(which) / seconds, self.bank.phase[which], self._orientations(which, best))

    def _orientations(self, which: Any, best: Any) -> Any:
        """Of the templates, turned as pyxem says, whose azimuths grow upwards in an image: by 180 degrees less the
        angle, and mirrored where its factor is 1. (Of all signs and offsets these alone give the orientations of drawn
        patterns.)
        """
        angle, mirrored = np.pi - np.radians(best[:, 2]), best[:, 3] > 0
        on_grid = np.where(mirrored[:, None], self.bank.mirrored_orientations[which], self.bank.orientations[which])
        turned = turn_pattern(on_grid, angle)
        return np.repeat(turned[:, None], len(self.bank.phases), axis=1)
