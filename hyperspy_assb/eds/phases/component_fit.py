"""Compositions of components from many spectra, by scoring with the amounts in each spectrum projected out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from hyperspy_assb.eds.composition.atoms import calibration_of
from hyperspy_assb.eds.composition.scene import Scene
from hyperspy_assb.eds.eds_map import FloatArray
from hyperspy_assb.eds.lines.column_spectra import SpectrumModel
from hyperspy_assb.fitting.fixed_shapes.fixed_shape_fit import TemplateModel, fit_templates, score_templates
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, TemplateFit
from hyperspy_assb.fitting.fixed_shapes.nonnegative import solve_nonnegative

_STEPS, _STILL = 25, 1e-3
"""Steps at most, and the change of a share of atoms below which they end."""
_DAMPING = 1e-3
"""Share that is added to the information of each share."""
_LONGEST, _ROUNDING = 0.1, 1e-12
"""Largest change of a share of atoms in a step; and what keeps singular matrices solvable."""


@dataclass(frozen=True, eq=False)
class Factors:
    """Spectra, and how amounts of components become amounts of a model of elements.

    Parameters
    ----------
    scene, model
        What is common to all spectra; atoms of each element, then everything else.
    counts, exposure
        Of S spectra, on the channels of the model, added up as it says; of how many pixels each is the sum.
    held
        Numbers of the amounts that components hold, M of them.
    """

    scene: Scene
    model: SpectrumModel
    counts: NDArray[np.float32]
    exposure: FloatArray
    held: list[int]

    def columns(self, parts: FloatArray) -> FloatArray:
        """Amounts of the model, in rows, by those of components of some shares (K, M) and of what none holds."""
        size, k = len(self.model.names), len(parts)
        rest = np.delete(np.arange(size), self.held)
        table = np.zeros((size, k + rest.size))
        table[self.held, :k] = parts.T
        table[rest, np.arange(k, table.shape[1])] = 1.0
        return table

    def fit(
        self, parts: FloatArray, which: NDArray[np.bool_] | slice = slice(None), *, bounded: bool = False
    ) -> TemplateFit:
        """Amounts of components, and of what none holds, in some spectra; the latter ``bounded`` by 0 as well."""
        table, typical = self.columns(parts), self.model.typical
        even = np.full(len(parts), typical[self.held].sum() / len(parts))
        own = self.merged
        mixed = replace(
            own,
            strength=own.strength @ table,
            absorption=own.absorption @ table,
            # What stopped at 0 in some spectra would take from the others in all.
            bounded=bounded | (np.arange(table.shape[1]) < len(parts)),
        )
        start = np.concatenate([even, np.delete(typical, self.held)])
        return fit_templates(self.counts[which], mixed, start, exposure=self.exposure[which])

    @cached_property
    def merged(self) -> TemplateModel:
        """Templates on the channels of the counts."""
        return self.model.model.merged(self.model.bins)

    def response(self, parts: FloatArray, fit: TemplateFit, which: NDArray[np.bool_]) -> Response:
        """How fitted amounts follow the atoms that components hold, and what all spectra have in common."""
        table = self.columns(parts)
        full = fit.amounts @ table.T
        score, information, groups = score_templates(
            self.counts[which], self.merged, full, exposure=self.exposure[which]
        )
        unsure = self.model.calibration(full, calibration_of(self.scene, self.model.groups))
        groups = groups * unsure[:, np.newaxis, : groups.shape[2]]
        if self.scene.unsure:
            soft = self.scene.common_errors(full[:, -1], full[:, : len(self.scene.elements)])
            groups = np.concatenate([groups, information[:, :, : soft.shape[1]] @ soft], axis=2)
        # Amounts that stopped at 0 do not move.
        moves = fit.amounts != 0.0
        inner = np.einsum("ki,nkl,lj->nij", table, information, table)
        inner *= moves[:, :, np.newaxis] & moves[:, np.newaxis, :]
        inner += np.eye(table.shape[1]) * (~moves)[:, :, np.newaxis]
        scale = np.sqrt(np.einsum("nii->ni", inner))
        inner = inner / (scale[:, :, np.newaxis] * scale[:, np.newaxis, :]) + _ROUNDING * np.eye(table.shape[1])
        seen = (moves / scale)[:, :, np.newaxis]
        cross = np.einsum("ki,nkm->nim", table, information[:, :, self.held]) * seen
        moved = np.concatenate([score[:, :, np.newaxis], groups], axis=2)
        by_other = np.einsum("ki,nkh->nih", table, moved) * seen
        follows = np.linalg.solve(inner, np.concatenate([cross, by_other], axis=2))
        m = len(self.held)
        back = cross.swapaxes(1, 2) @ follows
        return Response(
            information=information[:, self.held][:, :, self.held] - back[:, :, :m],
            moved=moved[:, self.held] - back[:, :, m:],
            follows=follows * seen,
        )


@dataclass(frozen=True, eq=False)
class Response:
    """Of S spectra: information on the atoms that components hold when amounts follow them, shape (S, M, M); score, and
    information shared with what all spectra have in common, shape (S, M, 1 + H); how amounts follow both.
    """

    information: FloatArray
    moved: FloatArray
    follows: FloatArray


def _supports(fit: TemplateFit, k: int, sure: float) -> NDArray[np.bool_]:
    """Which of k components each spectrum holds: the fewest that explain it, each above some standard errors."""
    amounts, spread = fit.unclipped[:, :k], fit.covariance[:, :k, :k]
    chosen, best = np.zeros((len(amounts), k), dtype=bool), np.full(len(amounts), np.inf)
    good = np.flatnonzero(np.isfinite(amounts).all(axis=1))
    amounts, spread = amounts[good], spread[good]
    for choice in product([False, True], repeat=k):
        inside = np.array(choice)
        if not inside.any():
            continue
        left, lost = amounts, np.zeros(good.size)
        if not inside.all():
            without = spread[:, :, ~inside]
            weighed = np.linalg.solve(without[:, ~inside], amounts[:, ~inside, np.newaxis])
            lost = np.einsum("no,no->n", amounts[:, ~inside], weighed[:, :, 0])
            left = amounts - (without @ weighed)[:, :, 0]
        price = np.where((left[:, inside] > 0.0).all(axis=1), lost + sure**2 * inside.sum(), np.inf)
        better = good[price < best[good]]
        chosen[better] = inside
        best[good] = np.minimum(price, best[good])
    return chosen


@dataclass(frozen=True, eq=False)
class Curvature:
    """Score of the shares of F free components, shape (F M,), their information, what all spectra have in common that
    would move them, shape (F M, H), and the share of the spectra that hold each component.
    """

    score: FloatArray
    information: FloatArray
    moved: FloatArray
    present: FloatArray


def curvature_of(factors: Factors, parts: FloatArray, known: int, sure: float) -> Curvature:
    """Fit amounts of components of some shares, and see how the shares should change."""
    k, m = parts.shape
    free = k - known
    information: FloatArray = np.zeros((free, m, free, m))
    moved: Any = 0.0
    chosen = _supports(factors.fit(parts), k, sure)
    for support in np.unique(chosen[chosen.any(axis=1)], axis=0):
        which = (chosen == support).all(axis=1)
        fit = factors.fit(parts[support], which)
        good = fit.status == CONVERGED
        which[which] = good
        fit = TemplateFit._make(values[good] for values in fit)
        found = factors.response(parts[support], fit, which)
        weight = np.zeros((len(fit.status), free))
        weight[:, support[known:]] = fit.amounts[:, int(support[:known].sum()) : int(support.sum())]
        information += np.einsum("nf,nml,ng->fmgl", weight, found.information, weight, optimize=True)
        moved = moved + np.einsum("nf,nmh->fmh", weight, found.moved)
    moved = np.reshape(moved, (free * m, -1))
    return Curvature(moved[:, 0], information.reshape(free * m, free * m), moved[:, 1:], chosen.mean(axis=0))


def covariance_of_shares(information: FloatArray, free: int) -> FloatArray:
    """Covariance of shares that add up to 1."""
    m = len(information) // free
    # What is left of shares where all of a component together stay 1.
    moves = np.kron(np.eye(free), null_space(np.ones((1, m))))
    own = moves.T @ information @ moves
    scale = np.sqrt(np.maximum(own.diagonal(), 1e-300))
    inverse = np.linalg.pinv(own / np.outer(scale, scale), rcond=_ROUNDING, hermitian=True)
    return np.asarray(moves @ (inverse / np.outer(scale, scale)) @ moves.T)


def refine(factors: Factors, parts: FloatArray, known: int, sure: float) -> tuple[FloatArray, Curvature]:
    """Shares of the free components that make all spectra most likely, from a start (K, M)."""
    parts = parts.copy()
    free, m = len(parts) - known, parts.shape[1]
    for _ in range(_STEPS):
        found = curvature_of(factors, parts, known, sure)
        now = parts[known:].ravel()
        # More of all elements of a component is less of it in the pixels: nothing else holds their sum.
        gram = found.information + found.information.diagonal().max() * np.kron(np.eye(free), np.ones((m, m)))
        gram += _DAMPING * np.diag(found.information.diagonal())
        norm = np.sqrt(np.maximum(gram.diagonal(), 1e-300))
        new, active = np.empty(free * m), np.empty(free * m, dtype=bool)
        solve_nonnegative(gram / np.outer(norm, norm), (found.score + gram @ now) / norm, new, active)
        step = new / norm - now
        step *= min(1.0, _LONGEST / max(float(np.abs(step).max()), 1e-300))
        moved = np.maximum(now + step, 0.0).reshape(free, m)
        parts[known:] = moved / moved.sum(axis=1, keepdims=True)
        if np.abs(step).max() < _STILL:
            break
    return parts, curvature_of(factors, parts, known, sure)
