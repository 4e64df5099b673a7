"""Li per Fe by cross-sections: known numbers of atoms, propagation of errors, status."""

from __future__ import annotations

import numpy as np
import pytest
from exspy.utils.eels import iMFP_angular_correction, iMFP_Iakoubovskii

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.cross_section_calibration import (
    CROSS_SECTION_UNCERTAINTY,
    LAGP_LITHIUM_UNCERTAINTY,
    MEAN_FREE_PATH_UNCERTAINTY,
    NearEdgeErrors,
    estimate_by_cross_sections,
    inelastic_mean_free_path,
    screening,
)
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry
from hyperspy_assb.eels.scattering.joint_model import Features

GEOMETRY = ScatteringGeometry(200.0, 8.0, 15.0)
EXACT_SHAPES = NearEdgeErrors(np.zeros((2, 4)), np.zeros((2, 4)))
NAMES = ("ValenceContinuum.c0", "Li_K", "Fe_M23", "P_L23")
AT_EDGES = screening(reference.near_edge("Li", "K")["peak_energy"])
AT_P = screening(reference.near_edge("P", "L2,3")["peak_energy"])
PER_THICKNESS = np.mean(
    [
        reference.material(p).formula_density * inelastic_mean_free_path(reference.material(p).density, GEOMETRY)
        for p in ("LiFePO4", "FePO4")
    ]
)


def columns(x, share, *, total=800.0, noise=1.0):
    """Features of columns of olivine and LAGP with ``total`` P/nm2, of which ``share`` in the olivine."""
    x, share = np.broadcast_arrays(np.asarray(x, dtype=float), share)
    iron = share * total
    lithium = x * iron + 0.5 * (total - iron)  # 1.5 Li for 3 P in LAGP
    values = np.stack(
        [
            np.ones_like(iron),
            AT_EDGES[0] * lithium,
            AT_EDGES[0] * iron,
            np.full_like(iron, AT_P[0] * total),
        ],
        axis=-1,
    )
    covariance = np.zeros((iron.size, 4, 4))
    covariance[:] = np.diag([1.0, 100.0, 100.0, 50.0]) * noise**2
    covariance[:, 1, 2] = covariance[:, 2, 1] = -90.0 * noise**2
    thickness = np.full(iron.size, total / PER_THICKNESS)
    return Features(NAMES, values, covariance, thickness)


def quantify(features, near_edges=EXACT_SHAPES, deviance=1.0):
    return estimate_by_cross_sections(features, GEOMETRY, near_edges, np.full(len(features.values), deviance))


def test_known_numbers_of_atoms():
    x, share = np.array([1.0, 0.0, 0.6, 1.0, 0.3]), np.array([1.0, 1.0, 1.0, 0.5, 0.4])
    found = quantify(columns(x, share))
    np.testing.assert_allclose(found.fraction, x, atol=1e-12)  # by construction
    np.testing.assert_allclose(found.electrode_share, share, rtol=1e-12)


def test_without_phosphorus_it_is_the_plain_ratio():
    features = columns([0.7, 0.2], 1.0)
    plain = Features(NAMES[:3], features.values[:, :3], features.covariance[:, :3, :3], features.t_over_lambda)
    np.testing.assert_allclose(quantify(plain).fraction, [0.7, 0.2], rtol=1e-12)


def test_counting_errors_are_those_of_repeated_measurements():
    features = columns(np.full(20000, 0.8), 0.7)
    noise = np.random.default_rng(1).multivariate_normal(np.zeros(4), features.covariance[0], 20000)
    noisy = Features(NAMES, features.values + noise, features.covariance, features.t_over_lambda)
    assert quantify(features).fraction_std[0] == pytest.approx(np.std(quantify(noisy).fraction), rel=0.03)


def test_the_systematic_holds_every_stated_error():
    """Each part is the change of x when its number is off by its stated uncertainty."""
    x, share, step = 0.7, 0.6, 1e-6
    features = columns([x], share)
    exact = quantify(features).fraction[0]

    def moved(column, relative):
        values = features.values.copy()
        values[:, column] *= 1.0 + relative * step
        return (
            quantify(Features(NAMES, values, features.covariance, features.t_over_lambda)).fraction[0] - exact
        ) / step

    thicker = Features(
        NAMES,
        features.values,
        features.covariance,
        features.t_over_lambda * (1.0 + MEAN_FREE_PATH_UNCERTAINTY * step),
    )
    parts = [moved(k, CROSS_SECTION_UNCERTAINTY[NAMES[k]]) for k in (1, 2, 3)]
    parts.append((quantify(thicker).fraction[0] - exact) / step)
    parts.append(LAGP_LITHIUM_UNCERTAINTY * (1.0 - share) / share)
    parts.append(AT_EDGES[1] * 0.5 / share)  # Li and Fe enhanced alike: the P of the column per Fe
    assert quantify(features).fraction_systematic[0] == pytest.approx(np.linalg.norm(parts), rel=1e-3)


def test_near_edge_shapes_move_lithium_and_iron():
    """One shape of Fe that turns a tenth of it into Li."""
    shapes = NearEdgeErrors(np.zeros((2, 1)), np.array([[0.1], [-0.1]]))
    features = columns([1.0], 1.0)
    without, with_shapes = quantify(features), quantify(features, shapes)
    added = np.sqrt(with_shapes.fraction_systematic**2 - without.fraction_systematic**2)
    # d(Li - 0.5 (P - Fe)) / Fe = 0.1 - 0.5 * 0.1 for Li and the P of LAGP, + 0.1 x for fewer Fe
    np.testing.assert_allclose(added, 0.1 - 0.05 + 0.1, rtol=1e-9)


def test_status():
    features = columns([1.0, 1.0, 0.5, 0.5], [1.0, 1.0, 0.02, 0.0])
    features.values[1] = np.nan
    found = quantify(features)
    assert [DelithiationStatus(s) for s in found.status] == [
        DelithiationStatus.QUANTIFIED,
        DelithiationStatus.NOT_FITTED,
        DelithiationStatus.NO_ELECTRODE,
        DelithiationStatus.NO_ELECTRODE,
    ]
    assert np.isnan(found.fraction[1:]).all()
    assert quantify(features, deviance=6.0).status[0] == DelithiationStatus.UNEXPLAINED
    thick = columns([1.0], 1.0, total=1.2 * PER_THICKNESS)
    assert quantify(thick).status[0] == DelithiationStatus.THICK


def test_low_x_is_not_certain_where_high_x_would_not_be():
    """The error of a ratio grows with it: noise that makes x small must not make it look well known."""
    shapes = NearEdgeErrors(np.array([[-0.6], [0.3]]), np.zeros((2, 1)))
    found = quantify(columns([0.0], 1.0), shapes)
    assert np.hypot(found.fraction_std, found.fraction_systematic)[0] < 0.25
    assert found.status[0] == DelithiationStatus.UNCERTAIN


def test_iron_in_the_noise_is_no_electrode():
    assert quantify(columns([1.0], 1.0, total=50.0, noise=20.0)).status[0] == DelithiationStatus.NO_ELECTRODE


def test_vacuum_is_no_electrode():
    found = quantify(columns([1.0], 1.0, total=0.01 * PER_THICKNESS, noise=0.01))
    assert found.status[0] == DelithiationStatus.NO_ELECTRODE


def test_missing_edges_are_named():
    features = columns([1.0], 1.0)
    part = Features(NAMES[:2], features.values[:, :2], features.covariance[:, :2, :2], features.t_over_lambda)
    with pytest.raises(ValueError, match="no Fe_M23"):
        quantify(part)


@pytest.mark.parametrize(("density", "geometry"), [(3.6, (200, 8, 15)), (2.33, (300, 20, 20)), (8.9, (100, 5, 30))])
def test_the_mean_free_path_is_that_of_exspy(density, geometry):
    expected = iMFP_Iakoubovskii(density, geometry[0]) * iMFP_angular_correction(density, *geometry)
    assert inelastic_mean_free_path(density, ScatteringGeometry(*geometry)) == pytest.approx(expected, rel=1e-9)


def test_screening_fades_with_energy():
    near, far = screening(60.0), screening(150.0)
    assert 1.2 < near[0] < 1.35
    assert 1.0 < far[0] < 1.05
    assert near[1] > far[1] > 0.0
