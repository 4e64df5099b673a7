"""Lithium content x of LixFePO4 without reference pixels: Li per Fe by cross-sections, and how far these can be off.

Li K and Fe M2,3 lie at the same energy loss, so that thickness, beam and most of the screening by the solid drop out of
their ratio. What LAGP in the column adds to Li K is taken off by its P: the column holds one P for each formula unit of
the olivine and two for each Li of LAGP, and the number of all of them follows from P L2,3 and from t/lambda, as
phosphates of the battery hold nearly the same number of P in a volume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.end_members import end_members
from hyperspy_assb.eels.delithiation.lithiated_fraction import (
    THICK,
    DelithiationStatus,
    Estimate,
    LithiatedFraction,
    content,
)
from hyperspy_assb.eels.delithiation.pixels import CONDITIONS
from hyperspy_assb.eels.delithiation.quantification import UNCERTAIN, Quantification
from hyperspy_assb.eels.delithiation.standard import LEAST_ELECTRODE, VACUUM
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry
from hyperspy_assb.eels.edges.edge_terms import EDGES
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.microscope import usable_microscope
from hyperspy_assb.eels.scattering.joint_model import Features, JointModel, fit_joint, start_joint_fit
from hyperspy_assb.eels.scattering.low_loss_components import LowLossOptions
from hyperspy_assb.eels.scattering.separability import NEAR_EDGE_UNCERTAINTY
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.fit_statistics import fisher_information
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode

OLIVINE = ("LiFePO4", "FePO4")
"""The only end members that it is for."""
ELEMENTS = ("Li", "Fe", "P")
"""Elements of the olivine whose edges lie in the low-loss range."""
CROSS_SECTION_UNCERTAINTY = {"Li_K": 0.15, "Fe_M23": 0.25, "P_L23": 0.30}
"""Relative standard uncertainty of the number of atoms by a cross-section.

Hydrogenic K shells 10 to 20 %, L shells without white lines 10 to 30 %, M2,3 20 to 30 %, as the strength near the onset
depends on valence and bonding: R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed.
(2011), sections 3.6 and 4.5; R. D. Leapman, P. Rez, D. F. Mayers, J. Chem. Phys. 72, 1232 (1980)."""
MEAN_FREE_PATH_UNCERTAINTY = 0.2
"""Relative standard uncertainty of :func:`inelastic_mean_free_path`: T. Malis, S. C. Cheng, R. F. Egerton, J. Electron
Microsc. Tech. 8, 193 (1988), say 20 % for parametrisations of its kind."""
LAGP_LITHIUM_UNCERTAINTY = 0.07
"""Standard uncertainty of Li per P in LAGP, Li1+xAlxGe2-x(PO4)3: x between 0.3 and 0.7."""
UNEXPLAINED = 5.0
"""Reduced deviance of the joint fit above which a pixel is flagged."""

SIGNIFICANT = 11.83
"""Chi-squared of two degrees of freedom that is exceeded as rarely as three standard errors, 27 times in 10000."""


@dataclass(frozen=True)
class NearEdgeErrors:
    """What wrong near-edge shapes do to the numbers of atoms of Li and Fe, for shapes off by one standard deviation.

    Parameters
    ----------
    lithium
        Change of Li and of Fe for each atom of Li, for each shape parameter of Li K, shape (2, Q).
    iron
        The same for each atom of Fe, and the shape of Fe M2,3, shape (2, Q).
    """

    lithium: FloatArray
    iron: FloatArray


def inelastic_mean_free_path(density: float, geometry: ScatteringGeometry) -> float:
    """Mean free path of inelastic scattering into the collection aperture.

    Parameters
    ----------
    density
        In g/cm3.
    geometry
        Beam energy and angles.

    Returns
    -------
    lambda in nm.

    Notes
    -----
    K. Iakoubovskii, K. Mitsuishi, Y. Nakayama and K. Furuya, Microsc. Res. Tech. 71, 626 (2008),
    doi:10.1002/jemt.20597.

    Examples
    --------
    >>> round(inelastic_mean_free_path(3.6, ScatteringGeometry(200.0, 8.0, 15.0)))
    147
    """
    energy = geometry.beam_energy
    factor = (1.0 + energy / 1022.0) / (1.0 + energy / 511.0) ** 2
    characteristic, cutoff = 5.5 * density**0.3 / (factor * energy), 20.0  # mrad
    alpha, beta = geometry.convergence_angle**2, geometry.collection_angle**2
    outer = alpha + beta + abs(alpha - beta)
    ratio = (outer + 2.0 * characteristic**2) / (outer + 2.0 * cutoff**2) * (cutoff / characteristic) ** 2
    return 200.0 * factor * energy / (11.0 * density**0.3 * float(np.log(ratio)))


def screening(energy: float) -> tuple[float, float]:
    """How many times the solid enhances an edge, and the relative standard uncertainty of that.

    A spectrum holds Im(-1/eps) where cross-sections of atoms hold eps2. By free valence electrons eps1 is
    1 - (E_p / E)^2; how much of the enhancement the smooth continuum under the edge takes up is not known: between all
    and nothing of it, every logarithm is as likely.

    Parameters
    ----------
    energy
        Energy loss in eV, above the plasmon.
    """
    plasmon = np.mean([reference.material(phase).free_electron_plasmon_energy for phase in OLIVINE])
    largest = -2.0 * np.log(1.0 - (plasmon / energy) ** 2)
    return float(np.exp(0.5 * largest)), float(largest / np.sqrt(12.0))


def check_olivine(electrode: Electrode) -> None:
    """Raise AssbValueError if an electrode cannot be quantified without references."""
    if end_members(electrode) != OLIVINE:
        raise AssbValueError(
            f"Li per Fe by cross-sections is for {' and '.join(OLIVINE)}, not for {electrode.name}: name references "
            f"{{{electrode.lithiated!r}: ..., {electrode.delithiated!r}: ...}}."
        )


def quantify_by_cross_sections(
    spectra: LowLossMap, elements: tuple[str, ...] | None, progress: Callable[[int], object] | None = None
) -> Quantification:
    """Lithium content of every pixel from Li K per Fe M2,3; the result holds "lithium" alone, and no amounts.

    Parameters
    ----------
    spectra
        Low-loss spectra.
    elements
        Elements whose edges are fitted; None: those of the olivine. Without P, all Li is taken to be in the olivine.
    progress
        Called with the number of spectra fitted since the last call.

    Raises
    ------
    ValueError
        If the beam energy or an angle is unset, Li or Fe is not among the elements, or another metal whose M2,3 edge
        overlaps with Fe and Li is among them or among those of the metadata.
    """
    microscope = usable_microscope(spectra.microscope)
    if microscope.missing:
        raise AssbValueError(
            f"{', '.join(microscope.missing)} unset or a placeholder: cross-sections need the beam energy and both "
            f"angles. Set them with set_microscope_parameters({', '.join(f'{m}=...' for m in microscope.missing)}), or "
            "name references, which need neither."
        )
    elements = elements or ELEMENTS
    if not {"Li", "Fe"} <= set(elements):
        raise AssbValueError(
            f"elements must hold Li and Fe to count both by cross-sections, not {', '.join(elements)}."
        )
    metals = sorted({*elements, *spectra.elements} & (set(EDGES["M2,3"]) - {"Fe", "Ge"}))
    if metals:
        raise AssbValueError(
            f"The M2,3 edge of {', '.join(metals)} overlaps with Fe M2,3 and Li K: Li per Fe cannot be "
            "computed by cross-sections. Name references."
        )
    spectra = replace(spectra, microscope=microscope)
    fit = fit_joint(start_joint_fit(spectra, LowLossOptions(elements=elements)), spectra, progress=progress)
    features, result = fit.features, fit.result
    assert features is not None
    assert result is not None
    assert microscope.beam_energy is not None
    assert microscope.convergence_angle is not None
    assert microscope.collection_angle is not None
    geometry = ScatteringGeometry(microscope.beam_energy, microscope.convergence_angle, microscope.collection_angle)
    pristine = reference.material(OLIVINE[0])
    density = pristine.needed("density", by="Li per Fe by cross-sections")
    atoms = pristine.formula_density * inelastic_mean_free_path(density, geometry)
    errors = near_edge_errors(fit.joint, features.t_over_lambda, fit.detector, atoms=atoms)
    deviance = result.deviance / np.where(result.dof > 0, result.dof, np.nan)
    nothing = np.zeros((deviance.size, 0))
    return Quantification(
        contents={"lithium": estimate_by_cross_sections(features, geometry, errors, deviance)},
        amounts=nothing,
        amounts_std=nothing,
        t_over_lambda=features.t_over_lambda,
        reduced_deviance=deviance,
        agreement=np.full(deviance.size, np.nan),
        residual=nothing,
        struck=np.zeros(deviance.size, dtype=bool),
        explained=np.full(deviance.size, np.nan),
        outside=np.zeros((deviance.size, len(CONDITIONS)), dtype=bool),
    )


def near_edge_errors(
    joint: JointModel, t_over_lambda: FloatArray, detector: Detector, *, atoms: float
) -> NearEdgeErrors:
    """Change of Li and Fe for near-edge shapes off by what :data:`.separability.NEAR_EDGE_UNCERTAINTY` says.

    To first order, all free parameters fitted again, for the median of the fitted spectra with as many atoms of Li as
    of Fe.

    Parameters
    ----------
    joint
        A low-loss model with Li K and Fe M2,3, and its fitted values.
    t_over_lambda
        Shape (S,); NaN where there is no fit.
    detector
        Gain and read noise.
    atoms
        Atoms/nm2 of both at t/lambda = 1.

    Raises
    ------
    ValueError
        If no spectrum scatters.
    """
    column = joint.columns
    usable = np.flatnonzero((t_over_lambda > VACUUM) & np.isfinite(joint.values).all(axis=1))
    if not usable.size:
        raise AssbValueError("No spectrum could be fitted that scatters: there is nothing to quantify.")
    typical = np.median(joint.values[usable], axis=0)
    amount = atoms * float(np.median(t_over_lambda[usable]))
    edges = ("Li_K", "Fe_M23")
    counted = [column[edge, "areal_density"] for edge in edges]
    typical[counted] = amount
    free = joint.free.copy()
    shapes = [[column[edge, name] for name in NEAR_EDGE_UNCERTAINTY] for edge in edges]
    free[np.ravel(shapes)] = True
    information = fisher_information(joint.model, typical[np.newaxis], free, detector=detector, mask=joint.mask)[0]
    position = np.cumsum(free) - 1
    kept = position[free & joint.free]
    scale = 1.0 / np.sqrt(np.maximum(np.diag(information)[kept], 1e-300))  # counts and eV differ by many orders
    scaled = information[kept] * scale[:, np.newaxis]
    shift = -scale[:, np.newaxis] * (np.linalg.pinv(scaled[:, kept] * scale, hermitian=True) @ scaled)
    rows = np.searchsorted(kept, position[counted])
    deviation = np.array(list(NEAR_EDGE_UNCERTAINTY.values())) / amount
    lithium, iron = (shift[np.ix_(rows, position[own])] * deviation for own in shapes)
    return NearEdgeErrors(lithium, iron)


def estimate_by_cross_sections(
    features: Features,
    geometry: ScatteringGeometry,
    near_edges: NearEdgeErrors,
    reduced_deviance: FloatArray,
    *,
    minimum_electrode: float = LEAST_ELECTRODE,
) -> LithiatedFraction:
    """Lithium content of every pixel from Li K, Fe M2,3 and P L2,3 by their cross-sections.

    Parameters
    ----------
    features
        Parameters of the joint fit of S pixels: atoms/nm2 of "Li_K", "Fe_M23" and, where the range holds it, "P_L23".
        Without P, all Li is taken to be in the olivine.
    geometry
        Beam energy and angles that the cross-sections were computed for.
    near_edges
        What wrong near-edge shapes do.
    reduced_deviance
        Of the joint fit, shape (S,).
    minimum_electrode
        Share of the olivine in t/lambda below which a pixel gets no x.

    Returns
    -------
    content
        One entry a pixel; ``fraction_systematic`` is common to all of them.

    Raises
    ------
    ValueError
        If the fit has no Li K or no Fe M2,3.

    Notes
    -----
    With Li, Fe and P in atoms/nm2 and N the P atoms of the column, x = (Li - a (N - Fe)) / Fe, where a is Li per P of
    LAGP. N is the mean of P by P L2,3 and of t/lambda times mean free path and density, by inverse variance.

    Whether a pixel holds olivine is told by Li and Fe together, by chi-squared of the hypothesis that all Li is that of
    LAGP and that there is no Fe. Asking for Fe alone would choose the pixels in which noise has moved atoms from Li to
    Fe, as the overlap of their edges makes the errors of both nearly opposite.
    """
    li, fe = features.index("Li_K"), features.index("Fe_M23")
    values, thickness = features.values, features.t_over_lambda
    olivine = [reference.material(phase) for phase in OLIVINE]
    densities = [p.needed("density", by="Li per Fe by cross-sections") for p in olivine]
    free_paths = [inelastic_mean_free_path(density, geometry) for density in densities]
    per_thickness = np.mean([p.formula_density * path for p, path in zip(olivine, free_paths, strict=True)])
    enhanced, enhanced_error = screening(reference.near_edge("Li", "K")["peak_energy"])
    by_thickness = per_thickness * thickness
    with np.errstate(divide="ignore", invalid="ignore"):
        iron, lithium = values[:, fe] / enhanced, values[:, li] / enhanced
        gradient = np.zeros_like(values)
        if "P_L23" in features.names:
            lagp = reference.material("LAGP").composition
            in_lagp, total, errors, weight = lagp["Li"] / lagp["P"], *_count_phosphorus(features, by_thickness)
            gradient[:, features.index("P_L23")] = -in_lagp * weight / iron
        else:
            in_lagp, total, errors = 0.0, iron, np.zeros_like(iron)
        x = (lithium - in_lagp * (total - iron)) / iron

        def variances(x: FloatArray) -> tuple[FloatArray, FloatArray]:
            """From counting and from all else, of a pixel that holds this x."""
            direction = gradient.copy()
            direction[:, li] = 1.0 / (enhanced * iron)
            direction[:, fe] = (in_lagp - x) / (enhanced * iron)
            others = (total - iron) / iron
            all_lithium = x + in_lagp * others
            parts = [
                CROSS_SECTION_UNCERTAINTY["Li_K"] * all_lithium,
                CROSS_SECTION_UNCERTAINTY["Fe_M23"] * (in_lagp - x),
                enhanced_error * in_lagp * total / iron,
                in_lagp * errors / iron,
                (LAGP_LITHIUM_UNCERTAINTY if in_lagp else 0.0) * others,
                *(all_lithium * (near_edges.lithium[0] + np.multiply.outer(in_lagp - x, near_edges.lithium[1])).T),
                *(near_edges.iron[0] + np.multiply.outer(in_lagp - x, near_edges.iron[1])).T,
            ]
            counting = np.einsum("sk,skl,sl->s", direction, features.covariance, direction)
            return counting, np.sum(np.square(parts), axis=0)

        variance, systematic = variances(x)
        null = np.sum(variances(np.zeros_like(x)), axis=0)
        share = iron / by_thickness
        chi_squared = _chi_squared(
            np.stack([lithium - in_lagp * total, iron], axis=-1),
            features.covariance[:, [[li], [fe]], [li, fe]] / enhanced**2,
        )
        estimate = Estimate(x, variance, systematic, null)
        status = np.full(x.size, DelithiationStatus.QUANTIFIED, dtype=np.int8)
        status[thickness > THICK] = DelithiationStatus.THICK
        status[reduced_deviance > UNEXPLAINED] = DelithiationStatus.UNEXPLAINED
        # The error of a ratio grows with it: noise that makes x small must not make it look well known.
        of_lithiated = np.sqrt(np.sum(variances(np.ones_like(x)), axis=0))
        status[np.maximum(estimate.error, of_lithiated) > UNCERTAIN] = DelithiationStatus.UNCERTAIN
        enough = (thickness > VACUUM) & (share >= minimum_electrode) & (chi_squared >= SIGNIFICANT)
    status[~enough] = DelithiationStatus.NO_ELECTRODE
    fitted = np.isfinite(values).all(axis=1) & np.isfinite(thickness)
    status[~fitted] = DelithiationStatus.NOT_FITTED
    return content(estimate, "lithium", np.where(fitted & (thickness > VACUUM), share, np.nan), status)


def _chi_squared(values: FloatArray, covariance: FloatArray) -> FloatArray:
    """Of values that should be 0, shape (S, 2), by their covariance, shape (S, 2, 2)."""
    (a, b), (d, e) = values.T, np.einsum("skk->ks", covariance)
    c = covariance[:, 0, 1]
    return (e * a**2 - 2.0 * c * a * b + d * b**2) / (d * e - c**2)


def _count_phosphorus(features: Features, by_thickness: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """P/nm2 of the column, its systematic error, and its derivative by P of the fit, shape (S,) each."""
    key = features.index("P_L23")
    enhanced = screening(reference.near_edge("P", "L2,3")["peak_energy"])[0]
    relative = CROSS_SECTION_UNCERTAINTY["P_L23"]
    # Both systematic errors are taken of the same number: that of a noisy one would prefer what came out small.
    ours, theirs = (MEAN_FREE_PATH_UNCERTAINTY * by_thickness) ** 2, (relative * by_thickness) ** 2
    weight = ours / (ours + theirs + features.covariance[:, key, key] / enhanced**2)
    total = weight * features.values[:, key] / enhanced + (1.0 - weight) * by_thickness
    error = by_thickness * np.hypot(weight * relative, (1.0 - weight) * MEAN_FREE_PATH_UNCERTAINTY)
    return total, error, weight / enhanced
