"""Phases that nobody named: compositions of which, with those of known phases, every X-ray spectrum is a mixture.

Non-negative factors by Poisson likelihood, tied to lines of elements, as in A. Teurtrie et al., Ultramicroscopy 249,
113719 (2023), doi 10.1016/j.ultramic.2023.113719; compositions by scoring with the amounts of the pixels projected out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hyperspy_assb import provenance
from hyperspy_assb.eds.composition.atoms import composition_of, quantify_elements, shares
from hyperspy_assb.eds.composition.map_analysis import Analysis, PreparedMap, prepare_map
from hyperspy_assb.eds.composition.scene import Scene
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray, Spectra
from hyperspy_assb.eds.lines.x_ray_lines import FOREIGN_ELEMENTS
from hyperspy_assb.eds.phases.component_fit import Factors, covariance_of_shares, refine
from hyperspy_assb.eds.phases.evidence import PhaseStatus, explain
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, EMPTY, TemplateFit
from hyperspy_assb.reference import material

_MOST_PIXELS = 4096
"""Spectra from which compositions are found at most: errors of more fall below those of the calibration."""
_COUNTS, _FEWEST = 2000.0, 64
"""Mean counts that neighbouring pixels are added up to, for compositions, while as many sums are left."""
_SURE, _LESS_SURE = 3.0, 2.0
"""Standard errors above which a component is in a spectrum. Were those below counted as well, compositions would be
pushed apart until all noise lies between them; how much hangs on this number is in the uncertainty."""
_ALPHA = 0.01
"""Probability with which noise alone passes for one more component."""
_UNSURE = 0.1
"""Standard error of a share of atoms from which on a component is not told from the others."""
_FEW = 3
"""Spectra that must hold a component, for it to be more than an odd pixel."""
_PIXEL, _MANY = 1e-3, 0.02
"""p value below which a pixel is no mixture, and the share of such pixels that is told."""
_TRACE, _HIDDEN = 0.005, 0.05
"""Share of atoms from which on an element is part of a component; and of a component that may be another, untold."""
_PURE = (
    "Components are the purest compositions that the spectra allow: one that occurs in no pixel without the others "
    "holds part of them."
)


@dataclass(frozen=True, eq=False)
class Unmixed:
    """Components of N columns; K of them, M elements.

    Parameters
    ----------
    components
        Names: phases that were known, then those that were found.
    known
        How many of them were known.
    elements
        That components may hold.
    shares
        Of the atoms of each component, shape (K, M), Li not among them.
    shares_std, shares_systematic
        Standard errors from counting, and uncertainty from calibration and from which pixels are pure; 0 where known.
    amounts
        Atoms/nm^2 of each component, not below 0, shape (N, K).
    unclipped, covariance
        The same without that limit, and their covariance from counting, shape (N, K, K).
    by_calibration
        Change of the unclipped amounts per standard error of what all pixels have in common, shape (N, K, H).
    p_value
        That a mixture has elements at least as far from a mixture as those found, shape (N,).
    status
        :class:`~hyperspy_assb.eds.phases.evidence.PhaseStatus`, shape (N,).
    separable
        Which components are told from the others, shape (K,).
    """

    components: tuple[str, ...]
    known: int
    elements: tuple[str, ...]
    shares: FloatArray
    shares_std: FloatArray
    shares_systematic: FloatArray
    amounts: FloatArray
    unclipped: FloatArray
    covariance: FloatArray
    by_calibration: FloatArray
    p_value: FloatArray
    status: NDArray[np.int8]
    separable: NDArray[np.bool_]

    def fractions(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Share of each component in the atoms of the column, shape (N, K), standard error, systematic uncertainty."""
        found = _shares(self.amounts, self.covariance, self.by_calibration)
        for values in found:
            values[~np.isin(self.status, (PhaseStatus.GOOD, PhaseStatus.UNEXPLAINED))] = np.nan
        return found

    def together(self, region: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The same of some columns, shape (N,), as one, shape (K,); NaN where there are none."""
        if not region.any():
            nothing = np.full(len(self.components), np.nan)
            return nothing, nothing, nothing
        parts = (self.unclipped, self.covariance, self.by_calibration)
        value, std, systematic = _shares(*(values[region].sum(axis=0, keepdims=True) for values in parts))
        return np.clip(value[0], 0.0, 1.0), std[0], systematic[0]

    def hidden(self) -> FloatArray:
        """Largest share of a component that may be another one, shape (K, K), by the elements that both hold."""
        k = len(self.components)
        most = np.zeros((k, k))
        for a in range(self.known, k):
            for b in set(range(k)) - {a}:
                ratio = (self.shares[a] + self.shares_std[a]) / np.where(self.shares[b] > _TRACE, self.shares[b], 1e-9)
                most[a, b] = min(float(ratio.min()), 1.0)
        return most


def _shares(
    amounts: FloatArray, covariance: FloatArray, change: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    value, std = shares(amounts, covariance)
    total = amounts.sum(axis=1)[:, np.newaxis]
    moved = change - value[:, :, np.newaxis] * change.sum(axis=1, keepdims=True)
    return value, std, np.sqrt((moved**2).sum(axis=2)) / np.where(total > 0.0, total, np.nan)


def _add_up(spectra: Spectra, shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Sums of neighbouring pixels, from which compositions are found, and how many pixels each is of."""
    summed, n = spectra.summed(), len(spectra)
    mean = summed.total.sum() / max(summed.spectra, 1)
    place = np.indices(shape if len(shape) > 1 else (1, *shape)).reshape(2, -1)
    size = 1
    while mean * size**2 < _COUNTS and n / (size + 1) ** 2 >= _FEWEST:
        size += 1
    tile = np.unique(place // size, axis=1, return_inverse=True)[1].ravel().astype(np.int64)
    count = int(tile.max()) + 1
    if count > _MOST_PIXELS:
        kept = np.sort(np.random.default_rng(0).choice(count, _MOST_PIXELS, replace=False))
        number = np.full(count, -1, dtype=np.int64)
        number[kept] = np.arange(_MOST_PIXELS)
        tile, count = number[tile], _MOST_PIXELS
    sums = spectra.summed_by(tile, count)
    pixels = np.bincount(tile[tile >= 0], minlength=count).astype(float)
    filled = sums.sum(axis=1) > 0.0
    return sums[filled], pixels[filled]


def unmix(
    scene: Scene,
    spectra: Spectra,
    free: int,
    columns: Mapping[str, Mapping[str, float]],
    held: Sequence[str],
    *,
    shape: tuple[int, ...],
) -> tuple[Unmixed, int]:
    """Find compositions of which, with those of known phases, every spectrum is a mixture.

    Parameters
    ----------
    scene
        Of :func:`~hyperspy_assb.eds.composition.scene.prepare_scene`.
    spectra
        Counts of N pixels.
    free
        How many compositions are looked for.
    columns
        Atoms of each element in each known phase, in any unit.
    held
        Elements that components may hold; the others have an amount of their own in every pixel.
    shape
        Of the map.

    Returns
    -------
    unmixed
        Components, those that were found by their amount, and their amounts.
    needed
        How many of those that were looked for it took before nothing was left but noise; at most ``free``.

    Raises
    ------
    AssbValueError
        If there are too few spectra, or none that can be fitted.
    """
    (model,) = scene.models()
    sums, pixels = _add_up(spectra, shape)
    if len(sums) < 2 * (free + len(columns)):
        raise AssbValueError(f"{free + len(columns)} components need more than {len(sums)} spectra to be separated.")
    counts = np.add.reduceat(sums[:, model.channels], model.bins, axis=1).astype(np.float32)
    factors = Factors(scene, model, counts, pixels, [scene.elements.index(element) for element in held])
    found = quantify_elements(scene, sums, exposure=pixels).subset(held)
    known = len(columns)
    parts = np.array([[atoms.get(element, 0.0) for element in held] for atoms in columns.values()])
    parts = parts.reshape(known, len(held)) / parts.reshape(known, len(held)).sum(axis=1, keepdims=True)
    needed = free
    for number in range(free):
        nearest = explain(found, parts.T) if len(parts) else None
        distance = found.unclipped.sum(axis=1) if nearest is None else nearest.distance
        if nearest is not None and needed == free and np.nanmin(nearest.p_value) * len(sums) > _ALPHA:
            needed = number
        if not np.isfinite(distance).any():
            raise AssbValueError("No spectrum could be fitted: nothing is said of components.")
        start = np.maximum(found.unclipped[np.nanargmax(distance)], 0.0)
        parts, curvature = refine(factors, np.vstack([parts, start / start.sum()]), known, _SURE)
    # What changes where other pixels count as pure.
    other, _ = refine(factors, parts, known, _LESS_SURE)
    covariance = covariance_of_shares(curvature.information, free)
    by_common = -covariance @ curvature.moved
    std = np.sqrt(np.maximum(covariance.diagonal(), 0.0)).reshape(free, -1)
    systematic = np.sqrt((by_common**2).sum(axis=1)).reshape(free, -1)
    systematic = np.hypot(systematic, np.abs(other - parts)[known:])
    told = np.hypot(std, np.abs(other - parts)[known:]).max(axis=1) < _UNSURE
    # Beside a component of noise the others are no longer themselves.
    told &= (curvature.present[known:] * len(sums) >= _FEW) & (needed == free)
    nothing = np.zeros((known, len(held)))
    mixed = _mix(factors, spectra, parts, covariance, by_common)
    order = [*range(known), *(known + np.argsort(-np.nansum(mixed["amounts"][:, known:], axis=0)))]
    # In the layout that they have when loaded: sums round alike.
    unmixed = Unmixed(
        components=(*columns, *(f"unknown {k + 1}" for k in range(free))),
        known=known,
        elements=tuple(held),
        shares=parts[order],
        shares_std=np.vstack([nothing, std])[order],
        shares_systematic=np.vstack([nothing, systematic])[order],
        amounts=np.ascontiguousarray(mixed["amounts"][:, order]),
        unclipped=np.ascontiguousarray(mixed["unclipped"][:, order]),
        covariance=np.ascontiguousarray(mixed["covariance"][:, order][:, :, order]),
        by_calibration=np.ascontiguousarray(mixed["by_calibration"][:, order]),
        p_value=mixed["p_value"],
        status=mixed["status"],
        separable=np.append(np.ones(known, dtype=bool), told)[order],
    )
    return unmixed, needed


def _mix(
    factors: Factors, spectra: Spectra, parts: FloatArray, covariance: FloatArray, by_common: FloatArray
) -> dict[str, NDArray[Any]]:
    """Amounts of components in every pixel, and whether they explain it."""
    k, m = parts.shape
    free = len(covariance) // m
    scene, model = factors.scene, factors.model
    size, spread = np.linalg.eigh(covariance)
    modes = np.concatenate([by_common, spread * np.sqrt(np.maximum(size, 0.0))], axis=1)
    blocks: dict[str, list[NDArray[Any]]] = {}
    for _, block in spectra.blocks():
        counts = np.add.reduceat(block[:, model.channels].astype(np.float32), model.bins, axis=1)
        own = replace(factors, counts=counts, exposure=np.ones(len(block)))
        fit = own.fit(parts, bounded=True)
        each = model.fit(block, merged=True)
        evidence = explain(composition_of(scene, model, each).subset(_named(factors)), parts.T)
        # With few counts errors are not normal: what the likelihoods say of both fits then counts.
        worse = special.chdtrc(evidence.freedom, np.maximum(fit.deviance - each.deviance, 0.0))
        p_value = np.where(evidence.freedom > 0, np.fmax(evidence.p_value, worse), 1.0)
        p_value[np.isnan(evidence.p_value) | (fit.status != CONVERGED)] = np.nan
        common = np.full((len(block), k, modes.shape[1]), np.nan)
        good = fit.status == CONVERGED
        if good.any():
            kept = TemplateFit._make(values[good] for values in fit)
            follows = own.response(parts, kept, good).follows[:, :k]
            weight = kept.amounts[:, k - free : k]
            cross = follows[:, :, :m]
            by_shares = np.einsum("nkm,nf,fmh->nkh", cross, weight, modes.reshape(free, m, -1), optimize=True)
            common[good] = -by_shares
            common[good, :, : by_common.shape[1]] -= follows[:, :, m + 1 :]
        total, error = fit.unclipped[:, :k].sum(axis=1), np.sqrt(np.einsum("nij->n", fit.covariance[:, :k, :k]))
        status = np.where(p_value < _PIXEL, PhaseStatus.UNEXPLAINED, PhaseStatus.GOOD).astype(np.int8)
        status[~(total > _SURE * error)] = PhaseStatus.VACUUM
        status[~good] = PhaseStatus.NOT_FITTED
        status[fit.status == EMPTY] = PhaseStatus.EMPTY
        for name, values in (
            ("amounts", fit.amounts[:, :k]),
            ("unclipped", fit.unclipped[:, :k]),
            ("covariance", fit.covariance[:, :k, :k]),
            ("by_calibration", common),
            ("p_value", p_value),
            ("status", status),
        ):
            blocks.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in blocks.items()}


def _named(factors: Factors) -> list[str]:
    return [factors.scene.elements[k] for k in factors.held]


def unmix_map(recorded: EDSMap, settings: EDSOptions, n: int, known: Sequence[str]) -> Analysis[Unmixed]:
    """Find phases of a map that nobody named; errors and warnings are those of :func:`.prepare_map` and :func:`unmix`.

    Parameters
    ----------
    n
        Components in all.
    known
        Materials among them.

    Raises
    ------
    AssbValueError
        If n does not exceed the number of known phases, or an element of one of them is not counted.

    Warns
    -----
    AssbWarning
        If n is too many, or too few.
    """
    rows = [material(name) for name in known]
    whole: Any = n
    if isinstance(whole, bool) or not isinstance(whole, int | np.integer) or whole <= len(rows):
        raise AssbValueError(
            f"n must be a whole number above {len(rows)}, the number of known phases: it counts them as well."
        )
    columns = {row.name: {el: x for el, x in row.composition.items() if el != "Li"} for row in rows}
    if len(columns) < len(rows):
        raise AssbValueError(f"known names a material twice: {', '.join(row.name for row in rows)}.")
    needed = tuple(dict.fromkeys(element for atoms in columns.values() for element in atoms))
    looked = replace(recorded, elements=tuple(dict.fromkeys((*recorded.elements, *needed))))
    if settings.elements is not None:
        settings = replace(settings, elements=tuple(dict.fromkeys((*settings.elements, *needed))))
    prepared = prepare_map(looked, settings)
    scene = prepared.scene
    missing = [element for element in needed if element not in scene.elements]
    if missing:
        raise AssbValueError(
            f"{', '.join(missing)} of the known phases is not counted: it has no line in the range, or no factor. Give "
            "the factor of its line in k_factors=."
        )
    own = set(settings.elements or ()) | set(needed)
    held = [element for element in scene.elements if element in own or element not in FOREIGN_ELEMENTS]
    found, enough = unmix(scene, recorded.spectra, int(n) - len(rows), columns, held, shape=recorded.shape or (1,))
    told = _judge(found, enough, prepared)
    if warned := " ".join(told):
        warnings.warn(warned, AssbWarning, stacklevel=3)
    parameters = {**prepared.parameters, "n": int(n), "known": list(columns), "component_elements": held}
    record = provenance.record("unmix", parameters=parameters, methods=(*prepared.methods, "unmixing"))
    return Analysis(found, (*told, _PURE, *prepared.notes), record)


def _judge(found: Unmixed, enough: int, prepared: PreparedMap) -> tuple[str, ...]:
    """In words, what speaks against the number of components."""
    told = [] if prepared.described else [prepared.notes[0]]
    free, total = len(found.components) - found.known, len(found.components)
    vague = [name for name, told_apart in zip(found.components, found.separable, strict=True) if not told_apart]
    if enough < free:
        told.append(
            f"n = {total} is too many: {enough + found.known} components explain all spectra within the errors of "
            "counting and calibration. What further ones hold is noise, and makes the others wrong: lower n."
        )
    elif vague:
        told.append(
            f"{', '.join(vague)} cannot be separated from the other components: they occur in every spectrum, or "
            "in too few. Lower n, or name more phases in known=."
        )
    most = found.hidden()
    for a, b in zip(*np.nonzero(most > _HIDDEN), strict=True):
        told.append(
            f"Up to {100 * most[a, b]:.0f} % of {found.components[a]} may be {found.components[b]}, if no pixel holds "
            f"{found.components[a]} alone."
        )
    material_there = np.isin(found.status, (PhaseStatus.GOOD, PhaseStatus.UNEXPLAINED))
    bad = float(np.mean(found.status[material_there] == PhaseStatus.UNEXPLAINED)) if material_there.any() else 0.0
    if bad > _MANY:
        told.append(
            f"n = {total} is too few, or a known phase is another: no mixture explains {100 * bad:.0f} % of the pixels "
            "with material."
        )
    return tuple(told)
