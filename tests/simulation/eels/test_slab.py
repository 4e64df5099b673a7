"""Slab losses against limits and against an independent solution of Maxwell's equations."""

import numpy as np
import pytest

from hyperspy_assb.simulation.conditions import BOHR_RADIUS, HBAR_C, Beam
from hyperspy_assb.simulation.eels.dielectric import phase
from hyperspy_assb.simulation.eels.slab import (
    aperture_integral,
    aperture_overlap,
    bulk_probability,
    kroger,
    surface_table,
)

BEAM = Beam()


def _boundary_value_solution(angle, energy, eps, thickness, beam):
    """Loss probability from matching the fields of a line charge at both faces (lengths in nm, c = 1)."""
    beta = np.sqrt(beam.beta_squared)
    w = energy / HBAR_C
    k = w / beta
    q = beam.gamma * beam.m0_v2 / (HBAR_C * beta) * angle
    a, a0 = np.sqrt(q * q - eps * w * w + 0j), np.sqrt(q * q - w * w * (1 + 1e-12j))
    h, h0 = -1j * q / (k * k + a * a), -1j * q / (k * k + a0 * a0)
    z1, z2 = -thickness / 2, thickness / 2
    e1, e2, decay = np.exp(1j * k * z1), np.exp(1j * k * z2), np.exp(-a * thickness)
    matrix = [
        [1, -1, -decay, 0],
        [a0, a / eps, -a / eps * decay, 0],
        [0, decay, 1, -1],
        [0, -a / eps * decay, a / eps, a0],
    ]
    right = [(h - h0) * e1, 1j * k * (h / eps - h0) * e1, (h0 - h) * e2, 1j * k * (h0 - h / eps) * e2]
    out1, in1, in2, out2 = np.linalg.solve(np.array(matrix), np.array(right))
    work = q / w * out1 / e1 / (a0 - 1j * k)
    work += q / (w * eps) * in1 / e1 * (1 - np.exp(-(a + 1j * k) * thickness)) / (a + 1j * k)
    work += q / (w * eps) * in2 / e2 * (1 - np.exp(-(a - 1j * k) * thickness)) / (a - 1j * k)
    work += q / w * out2 / e2 / (a0 + 1j * k)
    work += thickness * (1 - 1j * q * h) / (-1j * w * eps)
    # The constant makes the bulk term t Im(-1/eps) / (theta^2 + theta_E^2) at slow speed.
    theta_e = beam.characteristic_angle(energy)
    return work.real * w / theta_e**2 / (np.pi**2 * BOHR_RADIUS * beam.m0_v2)


@pytest.mark.parametrize("angle", [1e-6, 1e-5, 5e-5, 4e-4])
@pytest.mark.parametrize(("energy", "eps"), [(5.0, 2.5 + 0.5j), (5.0, 4 + 0.5j), (15.0, -1 + 1.5j), (25.0, 0.4 + 0.6j)])
@pytest.mark.parametrize("thickness", [10.0, 120.0])
def test_kroger_agrees_with_matched_fields(angle, energy, eps, thickness):
    expected = _boundary_value_solution(angle, energy, eps, thickness, BEAM)
    assert kroger(angle, energy, eps, thickness, BEAM) == pytest.approx(expected, rel=1e-4)


def test_thick_slab_tends_to_bulk_with_retardation():
    # Two thick slabs differ by bulk only.
    angle, energy, eps = 1e-4, 24.0, 0.3 + 0.8j
    theta_e2 = BEAM.characteristic_angle(energy) ** 2
    c = np.conj(eps)
    mu2, phi2 = 1 - c * BEAM.beta_squared, angle**2 - c * theta_e2 * BEAM.beta_squared + theta_e2
    bulk = (mu2 / (c * phi2)).imag / (np.pi**2 * BOHR_RADIUS * BEAM.m0_v2)
    assert kroger(angle, energy, eps, 5000.0, BEAM) == pytest.approx(5000 * bulk, rel=0.02)


def test_slow_beam_tends_to_the_electrostatic_surface_plasmon():
    # A free-electron slab loses energy at Ep / sqrt(2) on its faces when they do not couple (q t >> 1).
    slow = Beam(beam_energy=5.0)
    energy = np.arange(5, 25, 0.05)
    eps = 1 - 20**2 / (energy**2 + 0.5j * energy)
    loss = kroger(3e-3, energy, eps, 30.0, slow) - 30.0 * kroger(3e-3, energy, eps, 1e4, slow) / 1e4
    below = energy < 17
    assert energy[below][loss[below].argmax()] == pytest.approx(20 / np.sqrt(2), abs=0.2)
    # The Begrenzung takes from the bulk plasmon.
    assert loss[np.abs(energy - 20).argmin()] < 0


def test_surface_terms_leave_a_positive_loss():
    energy = np.linspace(0.5, 70, 140)
    for name in ("LiFePO4", "carbon"):
        p = phase(name)
        thickness = np.array([3.0, 30, 150])
        bulk = bulk_probability(energy, -(1 / p.at(energy)).imag, BEAM)
        total = surface_table(energy, p.at(energy), thickness, BEAM) + thickness[:, None] * bulk
        assert total.min() > 0


def test_aperture_of_a_parallel_beam_is_the_logarithm():
    energy = np.array([2.0, 25.0, 60.0])
    beam = Beam(convergence_angle=0.0)
    expected = np.log1p((15e-3 / beam.characteristic_angle(energy)) ** 2)
    np.testing.assert_allclose(aperture_integral(energy, beam), expected, rtol=2e-3)
    assert np.all(aperture_integral(energy, BEAM) < expected)


def test_overlap_of_discs():
    overlap = aperture_overlap(np.array([0, 6e-3, 15e-3, 23e-3, 30e-3]), convergence=8e-3, collection=15e-3)
    np.testing.assert_allclose(overlap[[0, 1, 3, 4]], [1, 1, 0, 0], atol=1e-6)
    assert 0.3 < overlap[2] < 0.5
