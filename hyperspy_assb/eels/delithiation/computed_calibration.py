"""Lithium content x of LixFePO4 without reference pixels: by dielectric functions computed from first principles.

The loss function of each phase, with its edges by cross-sections, becomes the spectrum that the instrument would
record: zero loss and thickness of the map itself, plural scattering, collection angle. The joint model is fitted to it
as to the map, and what comes out calibrates the map: the area of the 5 eV band and Li K per formula unit. What theory
does not know is drawn: U on Fe 3d, the direction of momentum transfer, a shift and a stretch of the losses, and a
broadening. Every draw calibrates the map; x is their mean, weighted by how well they explain it, and their spread is in
the systematic uncertainty.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.cross_section_calibration import CROSS_SECTION_UNCERTAINTY, OLIVINE
from hyperspy_assb.eels.delithiation.end_members import SIGNATURES
from hyperspy_assb.eels.delithiation.lithiated_fraction import (
    THICK,
    DelithiationStatus,
    Estimate,
    SignatureEstimate,
    content,
    estimate_from_features,
)
from hyperspy_assb.eels.delithiation.pixels import CONDITIONS
from hyperspy_assb.eels.delithiation.quantification import UNCERTAIN, Quantification
from hyperspy_assb.eels.delithiation.standard import DETECTED, LEAST_ELECTRODE, VACUUM, Calibration
from hyperspy_assb.eels.edges.cross_sections import BOHR_RADIUS, ScatteringGeometry
from hyperspy_assb.eels.edges.edge_terms import edge_name, edge_term
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.microscope import MicroscopeParameters, usable_microscope
from hyperspy_assb.eels.scattering.joint_model import Features, JointFit, fit_joint, start_joint_fit
from hyperspy_assb.eels.scattering.low_loss_components import LowLossOptions
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode

ELEMENTS = ("Li", "Fe", "P", "C")
"""Elements whose edges, or pi band, are in the joint model."""
CRYSTALS = {"LiFePO4": "LiFePO4", "FePO4": "FePO4", "LAGP": "LiGe2(PO4)3"}
"""The crystal that was computed for each phase."""
EDGES_OF = {"LiFePO4": (("Li", "K"), ("Fe", "M2,3"), ("P", "L2,3")), "FePO4": (("Fe", "M2,3"), ("P", "L2,3"))}
EDGES_OF["LAGP"] = (("Li", "K"), ("P", "L2,3"))
STRENGTH_UNCERTAINTY = 0.25
"""Relative standard uncertainty of a computed part of a spectrum: local fields take 10 % of the losses above 8 eV, and a
fifth of the oscillator strength lies beyond the bands or 80 eV."""
SHIFTS, STRETCHES, BROADENINGS = (-0.5, 0.0, 0.5), (0.96, 1.0, 1.04), (0.2, 0.6)
"""What losses may be off by: eV, a factor, and the standard deviation of a Gaussian in eV."""
PI_SHARE, CARBON_PLASMON = 0.04, (24.0, 12.0)
"""Carbon has not been computed: share of its pi band in its scattering, place and width of a Drude plasmon in eV."""
SAMPLE = 200
"""Pixels that tell how well a draw explains the map."""
LEAST_WEIGHT = 0.01
"""Of the largest weight, below which a draw is left out."""


@dataclass(frozen=True)
class Draw:
    """One choice of what theory does not know.

    Parameters
    ----------
    hubbard_u
        U on Fe 3d in eV.
    shares
        Of the directions x, y and z of momentum transfer.
    shift, stretch, broadening
        A loss E is found at `stretch * E + shift`, spread by a Gaussian of standard deviation `broadening`, in eV.
    """

    hubbard_u: float
    shares: tuple[float, float, float]
    shift: float
    stretch: float
    broadening: float


def all_draws() -> tuple[Draw, ...]:
    """Every combination of the values of U that both end members were computed with and of the nuisance parameters."""
    known = reference.computed_materials()
    both = [u for u in known[OLIVINE[0]] if u in known[OLIVINE[1]]]
    directions = ((1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return tuple(Draw(*row) for row in itertools.product(both, directions, SHIFTS, STRETCHES, BROADENINGS))


def single_scattering(
    phase: str, draw: Draw, loss: FloatArray, geometry: ScatteringGeometry
) -> FloatArray:
    """Probability of single scattering in a phase per eV and nm of path into the collection aperture.

    Parameters
    ----------
    phase
        "LiFePO4", "FePO4" or "LAGP".
    draw
        What theory does not know.
    loss
        Energies in eV, uniform from 0, shape (E,).
    geometry
        Beam and angles.
    """
    crystal = CRYSTALS[phase]
    optics = reference.computed_optics(crystal, hubbard_u=draw.hubbard_u if crystal in OLIVINE else 0.0)
    at = (loss - draw.shift) / draw.stretch
    last = optics.energy[-1]
    function = np.interp(at, np.append(0.0, optics.energy), np.append(0.0, optics.mean_loss(draw.shares)))
    function = np.where(at > last, optics.mean_loss(draw.shares)[-1] * (last / np.maximum(at, last)) ** 3, function)
    function = gaussian_filter1d(function, draw.broadening / (loss[1] - loss[0]), mode="nearest")
    # What is screened in a solid is the edge of the atom: eps2 over |eps|^2 of the valence electrons.
    eps = np.mean(optics.permittivity, axis=0)
    inside = np.interp(loss, optics.energy, eps.real) + 1j * np.interp(loss, optics.energy, eps.imag)
    beyond = 1.0 + (eps[-1] - 1.0) * (last / np.maximum(loss, last)) ** 2
    screened = 1.0 / np.abs(np.where(loss > last, beyond, inside)) ** 2
    energy = np.maximum(loss, 0.5 * loss[1])
    angles = (geometry.effective_collection_angle(energy) / geometry.characteristic_angle(energy)) ** 2
    density = function * np.log1p(angles) / (2.0 * np.pi * BOHR_RADIUS * geometry.effective_incident_energy)
    material = reference.material(phase)
    for symbol, shell in EDGES_OF[phase]:
        term = edge_term(symbol, shell, geometry)
        values = term.shape.defaults()
        values[0] = material.atom_density(symbol)
        density = density + screened * term.evaluate(loss, values, np.empty((term.size, loss.size)))
    return np.asarray(np.where(loss > 0, density, 0.0))


def carbon_scattering(loss: FloatArray) -> FloatArray:
    """Single scattering of carbon per eV, of the area 1: a Drude plasmon and the pi band."""
    energy, width = CARBON_PLASMON
    plasmon = loss * width * energy**2 / ((loss**2 - energy**2) ** 2 + (loss * width) ** 2)
    centre = reference.band("carbon pi plasmon").centre
    assert centre is not None
    band = np.exp(-0.5 * ((loss - centre) / 1.2) ** 2) * (loss > 2.0)
    step = loss[1] - loss[0]
    return np.asarray((1.0 - PI_SHARE) * plasmon / plasmon.sum() / step + PI_SHARE * band / band.sum() / step)


def record(zero_loss: FloatArray, distribution: FloatArray) -> FloatArray:
    """Spectra of single-scattering distributions per channel, shape (V, E), behind a zero loss, shape (E,)."""
    size = fft.next_fast_len(4 * zero_loss.size, real=True)
    expected = fft.irfft(fft.rfft(zero_loss, size) * np.exp(fft.rfft(distribution, size, axis=-1)), size)
    return np.asarray(expected[:, : zero_loss.size])


def calibrate_draws(fit: JointFit, draws: Sequence[Draw], geometry: ScatteringGeometry, electrode: Electrode) -> list[Calibration]:
    """What each phase adds to every parameter of the joint fit of a map, by every draw."""
    features = fit.features
    assert features is not None
    usable = np.isfinite(features.values).all(axis=1) & (features.t_over_lambda > VACUUM)
    if not usable.any():
        raise AssbValueError("No spectrum could be fitted that scatters: there is nothing to quantify.")
    thickness = float(np.clip(np.median(features.t_over_lambda[usable]), 0.2, 1.0))
    joint = fit.joint
    typical = np.median(joint.values[usable], axis=0)
    energy, step = joint.model.energy, joint.model.scale
    source = joint.model.terms[0]
    peak = source.evaluate(energy, typical[joint.model.slices[0]], np.empty((source.size, energy.size))) * step
    loss = step * np.arange(2 * energy.size)
    phases = (*OLIVINE, "LAGP")
    single = np.array([[single_scattering(p, d, loss, geometry) for p in phases] for d in draws])
    totals = single.sum(axis=-1) * step  # per nm
    shapes = np.concatenate([single / totals[..., np.newaxis], np.broadcast_to(carbon_scattering(loss), (len(draws), 1, loss.size))], axis=1)
    counts = record(peak, (thickness * step) * shapes.reshape(-1, loss.size))
    microscope = MicroscopeParameters(geometry.beam_energy, geometry.convergence_angle, geometry.collection_angle)
    started = replace(fit, joint=replace(joint, values=np.tile(typical, (len(counts), 1))), result=None, features=None)
    spectra = LowLossMap(counts=counts, energy=energy, microscope=microscope)
    found = fit_joint(started, spectra).features
    assert found is not None
    slopes = (found.values / thickness).reshape(len(draws), len(phases) + 1, -1)
    hosts = np.array([reference.material(p).formula_density for p in OLIVINE]) / totals[:, :2]
    relative = np.array([CROSS_SECTION_UNCERTAINTY.get(name, STRENGTH_UNCERTAINTY) for name in found.names])
    return [
        Calibration(
            phases=(*phases, "carbon"),
            slope=slope,
            offset=np.zeros_like(slope),
            covariance=_end_covariance(slope, relative),
            model_variance=(relative * np.abs(slope).max(axis=0)) ** 2,
            n_pixels=np.zeros(len(slope), dtype=int),
            hosts=host,
            electrode=electrode,
            counted_by=edge_name("Fe", "M2,3"),
        )
        for slope, host in zip(slopes, hosts, strict=True)
    ]


def _end_covariance(slope: FloatArray, relative: FloatArray) -> FloatArray:
    """Covariance of slope and offset of a calibration whose slopes are uncertain by a share, shape (R, K, 2, 2)."""
    covariance = np.zeros((*slope.shape, 2, 2))
    covariance[..., 0, 0] = (relative * slope) ** 2
    return covariance


@dataclass(frozen=True)
class _Answer:
    """What one draw says of all pixels, by method; and its mixture."""

    estimates: dict[str, SignatureEstimate]

    @property
    def chi_squared(self) -> FloatArray:
        return self.estimates["valence"].chi_squared


def _answer(features: Features, calibration: Calibration) -> _Answer:
    return _Answer({method: estimate_from_features(features, calibration, method) for method in SIGNATURES})


def quantify_by_computed(
    spectra: LowLossMap, electrode: Electrode, progress: Callable[[int], object] | None = None
) -> Quantification:
    """Lithium content of every pixel by computed dielectric functions; the result holds no amounts.

    Parameters
    ----------
    spectra
        Low-loss spectra.
    electrode
        LixFePO4.
    progress
        Called with the number of spectra fitted since the last call.

    Raises
    ------
    AssbValueError
        If the beam energy or an angle is unset, or no spectrum scatters.
    """
    microscope = usable_microscope(spectra.microscope)
    if microscope.missing:
        raise AssbValueError(
            f"{', '.join(microscope.missing)} unset or a placeholder: computed spectra need the beam energy and both "
            f"angles. Set them with set_microscope_parameters({', '.join(f'{m}=...' for m in microscope.missing)})."
        )
    assert microscope.beam_energy is not None
    assert microscope.convergence_angle is not None
    assert microscope.collection_angle is not None
    geometry = ScatteringGeometry(microscope.beam_energy, microscope.convergence_angle, microscope.collection_angle)
    spectra = replace(spectra, microscope=microscope)
    fit = fit_joint(start_joint_fit(spectra, LowLossOptions(elements=ELEMENTS)), spectra, progress=progress)
    features, result = fit.features, fit.result
    assert features is not None
    assert result is not None
    draws = all_draws()
    calibrations = calibrate_draws(fit, draws, geometry, electrode)
    weights = weigh(features, calibrations)
    kept = np.flatnonzero(weights > LEAST_WEIGHT * weights.max())
    kept_weights = weights[kept] / weights[kept].sum()
    answers = [_answer(features, calibrations[k]) for k in kept]
    estimates = {
        method: _mean([answer.estimates[method].estimate for answer in answers], kept_weights) for method in SIGNATURES
    }
    estimates["combined"], agreement = _combine(estimates["valence"], estimates["lithium"])
    shares = np.array([answer.estimates["valence"].electrode_share for answer in answers])
    share = kept_weights @ shares
    sure = np.min([answer.estimates["valence"].host_significance for answer in answers], axis=0)
    deviance = result.deviance / np.where(result.dof > 0, result.dof, np.nan)
    thickness = features.t_over_lambda
    fitted = np.isfinite(features.values).all(axis=1) & np.isfinite(thickness)
    contents = {}
    for method, estimate in estimates.items():
        status = np.full(len(thickness), DelithiationStatus.QUANTIFIED, dtype=np.int8)
        with np.errstate(invalid="ignore"):
            status[thickness > THICK] = DelithiationStatus.THICK
            status[estimate.error > UNCERTAIN] = DelithiationStatus.UNCERTAIN
            status[~((thickness > VACUUM) & (share >= LEAST_ELECTRODE) & (sure >= DETECTED))] = (
                DelithiationStatus.NO_ELECTRODE
            )
        status[~fitted] = DelithiationStatus.NOT_FITTED
        contents[method] = content(estimate, method, np.where(fitted & (thickness > VACUUM), share, np.nan), status)
    nothing = np.zeros((len(thickness), 0))
    return Quantification(
        contents=contents,
        amounts=nothing,
        amounts_std=nothing,
        t_over_lambda=thickness,
        reduced_deviance=deviance,
        agreement=agreement,
        residual=nothing,
        struck=np.zeros(len(thickness), dtype=bool),
        explained=np.full(len(thickness), np.nan),
        outside=np.zeros((len(thickness), len(CONDITIONS)), dtype=bool),
    )


def weigh(features: Features, calibrations: Sequence[Calibration]) -> FloatArray:
    """Weight of every draw, shape (V,): the likelihood of a typical pixel, as all of them share what theory misses."""
    fitted = np.isfinite(features.values).all(axis=1) & (features.t_over_lambda > VACUUM)
    rows = np.flatnonzero(fitted)
    rows = rows[np.unique(np.linspace(0, rows.size - 1, min(SAMPLE, rows.size)).astype(int))]
    some = Features(features.names, features.values[rows], features.covariance[rows], features.t_over_lambda[rows])
    freedom = len(features.names) - 6
    typical = np.array([np.nanmedian(_answer(some, c).chi_squared) * freedom for c in calibrations])
    return np.asarray(np.exp(-0.5 * (typical - np.nanmin(typical))))


def _mean(estimates: Sequence[Estimate], weights: NDArray[np.float64]) -> Estimate:
    """Weighted mean of what some draws say; their scatter is systematic."""
    fraction = np.array([e.fraction for e in estimates])
    mean = weights @ fraction
    scatter = weights @ (fraction - mean) ** 2
    variance, systematic, null = (
        weights @ np.array([getattr(e, name) for e in estimates]) for name in ("variance", "systematic", "null_variance")
    )
    return Estimate(mean, variance, systematic + scatter, null + scatter)


def _combine(valence: Estimate, lithium: Estimate) -> tuple[Estimate, FloatArray]:
    """Mean of both by inverse variance, and the p value of their agreement.

    Both divide by the same count of Fe, so that their systematic errors are taken as fully correlated: the smaller one
    stays.
    """
    from scipy import stats

    precise = np.stack([1.0 / (e.variance + e.systematic) for e in (valence, lithium)])
    weights = precise / precise.sum(axis=0)
    fraction = weights[0] * valence.fraction + weights[1] * lithium.fraction
    variance = weights[0] ** 2 * valence.variance + weights[1] ** 2 * lithium.variance
    systematic, null = (
        (weights[0] * np.sqrt(getattr(valence, n)) + weights[1] * np.sqrt(getattr(lithium, n))) ** 2
        for n in ("systematic", "null_variance")
    )
    p_value = stats.chi2.sf((valence.fraction - lithium.fraction) ** 2 * 1.0 / (1.0 / precise).sum(axis=0), 1)
    return Estimate(fraction, variance, systematic, null), np.asarray(p_value)
