"""What near-edge shapes that are not those of the specimen do to the fitted numbers of atoms."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.eels.delithiation.cross_section_calibration import NearEdgeErrors
from hyperspy_assb.eels.delithiation.phase_features import VACUUM
from hyperspy_assb.fitting.solver.fit_statistics import fisher_information
from hyperspy_assb.models.compile import compile_model
from hyperspy_assb.models.eels import ASSBEELSModel
from hyperspy_assb.models.multifit import detector_from_metadata
from hyperspy_assb.models.separability import NEAR_EDGE_UNCERTAINTY


def near_edge_errors(model: ASSBEELSModel, *, atoms: float) -> NearEdgeErrors:
    """Change of Li and Fe for near-edge shapes off by what :data:`.separability.NEAR_EDGE_UNCERTAINTY` says.

    To first order, all free parameters fitted again, for the median of the fitted spectra with as many atoms of Li as
    of Fe.

    Parameters
    ----------
    model
        A fitted low-loss model with Li K and Fe M2,3.
    atoms
        Atoms/nm2 of both at t/lambda = 1.

    Raises
    ------
    ValueError
        If no spectrum scatters.
    """
    compiled = compile_model(model)
    column = {name: k for k, name in enumerate(compiled.names)}
    thickness = np.ravel(model.t_over_lambda())
    usable = np.flatnonzero((thickness > VACUUM) & np.isfinite(compiled.start).all(axis=1))
    if not usable.size:
        raise ValueError("No spectrum could be fitted that scatters: there is nothing to quantify.")
    typical = np.median(compiled.start[usable], axis=0)
    amount = atoms * float(np.median(thickness[usable]))
    edges = ("Li_K", "Fe_M23")
    counted = [column[edge, "areal_density"] for edge in edges]
    typical[counted] = amount
    free = compiled.free.copy()
    shapes = [[column[edge, name] for name in NEAR_EDGE_UNCERTAINTY] for edge in edges]
    free[np.ravel(shapes)] = True
    information = fisher_information(
        compiled.model,
        typical[np.newaxis],
        free,
        detector=detector_from_metadata(model.signal),
        mask=compiled.mask,
    )[0]
    position = np.cumsum(free) - 1
    kept = position[free & compiled.free]
    scale = 1.0 / np.sqrt(np.maximum(np.diag(information)[kept], 1e-300))  # counts and eV differ by many orders
    scaled = information[kept] * scale[:, np.newaxis]
    shift = -scale[:, np.newaxis] * (np.linalg.pinv(scaled[:, kept] * scale, hermitian=True) @ scaled)
    rows = np.searchsorted(kept, position[counted])
    deviation = np.array(list(NEAR_EDGE_UNCERTAINTY.values())) / amount
    lithium, iron = (shift[np.ix_(rows, position[own])] * deviation for own in shapes)
    return NearEdgeErrors(lithium, iron)
