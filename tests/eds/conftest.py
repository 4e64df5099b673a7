"""Builders of models for virtual X-ray microscopes, random columns, made-up results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hyperspy_assb.eds.composition.atoms import Composition
from hyperspy_assb.eds.composition.scene import with_mean_column
from hyperspy_assb.eds.eds_map import Instrument
from hyperspy_assb.eds.lines.column_spectra import Builder
from hyperspy_assb.eds.lines.sensitivity import Sensitivities
from hyperspy_assb.eds.lines.shape_fit import fit_shapes
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, FOREIGN_ELEMENTS, in_range
from hyperspy_assb.eds.phases.stoichiometry import PhaseMixture, PhaseOptions
from hyperspy_assb.signals.eds.map_reading import MassAbsorption, element_tables
from hyperspy_assb.simulation import sensitivity

RANGE = (0.18, 15.0)


@pytest.fixture(scope="session")
def coefficients() -> MassAbsorption:
    """Mass absorption coefficients, looked up once for all tests."""
    return MassAbsorption()


@pytest.fixture(scope="session")
def true_sensitivities() -> Callable[..., Sensitivities]:
    """Make the sensitivities that thin standards would give on a virtual microscope."""

    def make(conditions: Any, elements: tuple[str, ...] = (*CELL_ELEMENTS, *FOREIGN_ELEMENTS)) -> Sensitivities:
        lines = in_range(element_tables().lines_of(elements), 0.18, 14.0, conditions.beam.beam_energy)
        names = [line.full_name for line in lines if line.name == line.family]
        values = {name: sensitivity(name, conditions) for name in names}
        return Sensitivities(values, dict.fromkeys(names, 0.05), "computed", "standards of the virtual microscope")

    return make


@pytest.fixture(scope="session")
def make_builder(coefficients: MassAbsorption, true_sensitivities: Callable[..., Sensitivities]) -> Callable[..., Any]:
    """Make a builder for a virtual microscope; keywords replace its fields or those of its instrument."""

    def make(
        conditions: Any,
        elements: tuple[str, ...] = (*CELL_ELEMENTS, *FOREIGN_ELEMENTS),
        *,
        electrons: float | None = None,
        sensitivities: Sensitivities | None = None,
        fit_range: tuple[float, float] = RANGE,
        absorption: bool = True,
    ) -> Builder:
        instrument = Instrument(
            resolution=conditions.detector.energy_resolution,
            beam_energy=conditions.beam.beam_energy,
            take_off_angle=conditions.take_off_angle,
            electrons=electrons,
        )
        factors = true_sensitivities(conditions, elements) if sensitivities is None else sensitivities
        lines = element_tables().lines_of(elements)
        return Builder(conditions.energy, lines, instrument, factors, coefficients, fit_range, absorption)

    return make


@pytest.fixture(scope="session")
def random_columns() -> Callable[..., dict[str, np.ndarray]]:
    """Make columns of 50 to 150 nm of the phases of the cell: pure ones, mixtures of two and of all."""

    def make(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        share = rng.gamma(np.where(rng.random(n) < 0.5, 0.4, 1.0)[:, None] * [1.0, 1.0, 1.0, 0.6])
        thickness = share / share.sum(axis=1, keepdims=True) * rng.uniform(50.0, 150.0, n)[:, None]
        return dict(zip(("LiFePO4", "LAGP", "Li3V2(PO4)3", "carbon"), thickness.T, strict=True))

    return make


@pytest.fixture(scope="session")
def make_mixture() -> Callable[..., PhaseMixture]:
    """Make the phases of pixels from thicknesses in nm, of shape (N, 2) or (N, K), and their standard errors."""

    def make(
        thickness: Any, std: Any = 1.0, *, status: Any = 0, density: Any = None, by_calibration: Any = None
    ) -> Any:
        thickness = np.atleast_2d(np.asarray(thickness, dtype=float))
        n, k = thickness.shape
        names = ("olivine", "LAGP", "carbon")[:k]
        nothing = np.zeros((n, k))
        composition = Composition(names, nothing, nothing, np.zeros((n, k, k)), np.zeros(k), np.zeros(n, dtype=np.int8))
        return PhaseMixture(
            phases=names,
            elements=("Fe", "Ge"),
            density=np.ones(k) if density is None else np.asarray(density, dtype=float),
            matrix=np.eye(2, k),
            options=PhaseOptions(),
            thickness=np.maximum(thickness, 0.0),
            unclipped=thickness,
            covariance=np.array([np.diag(row**2) for row in np.broadcast_to(std, (n, k)).astype(float)]),
            by_calibration=np.zeros((n, k, 2))
            if by_calibration is None
            else np.asarray(by_calibration, dtype=float) * [0.1, 0.05],
            composition=composition,
            residual=np.zeros((n, 2)),
            residual_std=np.ones((n, 2)),
            p_value=np.ones(n),
            misfit=np.zeros(n),
            misfit_significance=np.zeros(n),
            status=np.broadcast_to(status, (n,)).astype(np.int8),
        )

    return make


@pytest.fixture(scope="session")
def with_found_shapes() -> Callable[[Builder, np.ndarray], Builder]:
    """Give a builder the shapes of lines and the ratios within families that a summed spectrum has, as maps get them.

    Tables have Fe Ll and V Ll 15 % too strong here: the continuum under them, and with it C, would pay for that.
    """

    def found(builder: Builder, counts: np.ndarray) -> Builder:
        total = counts.sum(axis=0, dtype=float)
        elements = (*CELL_ELEMENTS, *FOREIGN_ELEMENTS)
        return fit_shapes(with_mean_column(builder, total, len(counts), elements, None), total).builder

    return found
