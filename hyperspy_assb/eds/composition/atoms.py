"""Atoms of each element in every column, from whole X-ray spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eds.composition.scene import Scene, calibration_of_family
from hyperspy_assb.eds.eds_map import FloatArray
from hyperspy_assb.eds.lines.column_spectra import SpectrumModel
from hyperspy_assb.fitting.fixed_shapes import kernels
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, TemplateFit


class FitStatus(IntEnum):
    """What became of the fit of a spectrum; amounts are NaN where it is above 0."""

    FITTED = kernels.CONVERGED
    EMPTY = kernels.EMPTY
    """No counts."""
    NOT_CONVERGED = kernels.NOT_CONVERGED
    """The fit did not come to an end."""
    UNDETERMINED = kernels.UNDETERMINED
    """Its amounts cannot be told apart."""
    UNEXPLAINED = 4
    """More than a fifth of the counts of the map are of no line of the elements that were looked for."""


_TOGETHER = 16_384
"""Columns that are added at once."""


@dataclass(frozen=True, eq=False)
class Composition:
    """Elements in N columns.

    Parameters
    ----------
    elements
        Symbols, M of them.
    atoms
        Atoms/nm^2, shape (N, M): not below 0.
    unclipped
        The same without that limit: means of these have no bias.
    covariance
        Of the unclipped ones from counting, shape (N, M, M).
    calibration
        Relative standard uncertainty of the calibration of each element and of the absorption of its lines, shape
        (N, M); or (M,), the same in all columns.
    status
        :class:`FitStatus`, shape (N,).
    besides
        Change of the atoms per standard error of what counts as their lines without being theirs, such as hidden
        families of others, shape (N, M, H).
    """

    elements: tuple[str, ...]
    atoms: FloatArray
    unclipped: FloatArray
    covariance: FloatArray
    calibration: FloatArray
    status: NDArray[np.int8]
    besides: FloatArray | None = None

    @property
    def relative(self) -> FloatArray:
        """``calibration`` of every column, shape (N, M)."""
        return np.broadcast_to(self.calibration, self.atoms.shape)

    @property
    def others(self) -> FloatArray:
        """``besides``, of shape (N, M, 0) where there is nothing."""
        return np.zeros((*self.atoms.shape, 0)) if self.besides is None else self.besides

    @property
    def std(self) -> FloatArray:
        """Standard errors of the atoms from counting, shape (N, M)."""
        return np.sqrt(np.einsum("nii->ni", self.covariance))

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which columns have an answer, shape (N,)."""
        return np.asarray(np.isfinite(self.unclipped).all(axis=1))

    def summed(self, region: NDArray[np.bool_]) -> Composition:
        """Some columns, shape (N,), as one."""
        return self.grouped(np.where(region, 0, -1), 1)

    def grouped(self, group: NDArray[np.int64], groups: int) -> Composition:
        """Columns of each group as one, shape (N,), -1 for those left out; NaN for groups without any."""

        def added(values: FloatArray) -> FloatArray:
            total = np.zeros((groups, *values.shape[1:]))
            # Some columns at a time: covariances of a large map are not copied.
            for first in range(0, len(group), _TOGETHER):
                part = group[first : first + _TOGETHER]
                np.add.at(total, part[part >= 0], values[first : first + _TOGETHER][part >= 0])
            return total

        total, weight = added(self.unclipped), added(self.atoms + 1e-12)
        spread, calibration = added(self.covariance), added((self.atoms + 1e-12) * self.relative)
        empty = np.bincount(group[group >= 0], minlength=groups) == 0
        total[empty], spread[empty] = np.nan, np.nan
        return replace(
            self,
            atoms=np.maximum(total, 0.0),
            unclipped=total,
            covariance=spread,
            calibration=calibration / np.where(weight > 0.0, weight, 1.0),
            status=np.where(empty, kernels.EMPTY, CONVERGED).astype(np.int8),
            besides=None if self.besides is None else added(self.besides),
        )

    def withheld(self) -> Composition:
        """The same without any number: the elements do not describe the map."""
        filled = self.status != kernels.EMPTY
        nothing = [np.full_like(values, np.nan) for values in (self.atoms, self.unclipped, self.covariance)]
        status = np.where(filled, np.int8(FitStatus.UNEXPLAINED), self.status).astype(np.int8)
        return replace(self, atoms=nothing[0], unclipped=nothing[1], covariance=nothing[2], status=status)

    def subset(self, elements: Sequence[str]) -> Composition:
        """Some of the elements."""
        index = [self.elements.index(element) for element in elements]
        return replace(
            self,
            elements=tuple(elements),
            atoms=self.atoms[:, index],
            unclipped=self.unclipped[:, index],
            covariance=self.covariance[:, index][:, :, index],
            calibration=self.calibration[..., index],
            besides=None if self.besides is None else self.besides[:, index],
        )

    def atomic_percent(self, *, clipped: bool = True) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Atomic per cent of these elements, Li not among them.

        Returns
        -------
        percent, std, systematic
            Shape (N, M) each: value, standard error from counting, and uncertainty from the calibration.
        """
        amounts = self.atoms if clipped else self.unclipped
        share, std = shares(amounts, self.covariance)
        relative = self.relative**2
        spread = share**2 * ((1.0 - 2.0 * share) * relative + (share**2 * relative).sum(axis=1, keepdims=True))
        moved = self.others - share[:, :, np.newaxis] * self.others.sum(axis=1, keepdims=True)
        total = amounts.sum(axis=1)[:, np.newaxis]
        spread = spread + (moved**2).sum(axis=2) / np.where(total > 0.0, total, np.nan) ** 2
        return 100.0 * share, 100.0 * std, 100.0 * np.sqrt(np.maximum(spread, 0.0))


def shares(
    amounts: FloatArray, covariance: FloatArray, unit: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Shares of amounts in their sum, and their standard errors.

    Parameters
    ----------
    amounts
        Shape (N, M).
    covariance
        Shape (N, M, M).
    unit
        What one unit of each adds to the sum, such as densities; 1 by default.

    Returns
    -------
    share, std
        Shape (N, M); NaN where the sum is not above 0.
    """
    unit = np.ones(amounts.shape[-1]) if unit is None else np.asarray(unit, dtype=float)
    weighted = amounts * unit
    total = weighted.sum(axis=-1, keepdims=True)
    total = np.where(total > 0.0, total, np.nan)
    share = weighted / total
    # Slopes are (1 where i = j, less share i) unit j / total; their products are not held.
    own = np.einsum("nii->ni", covariance) * unit**2
    beside = (covariance @ unit) * unit
    return share, difference_std(own, share, beside, beside.sum(axis=-1, keepdims=True)) / total


def difference_std(own: FloatArray, share: FloatArray, beside: FloatArray, whole: FloatArray) -> FloatArray:
    """Root of own - 2 share beside + share² whole; 0 where no more than rounding is left."""
    variance = own - 2.0 * share * beside + share**2 * whole
    return np.sqrt(np.where(variance <= 1e-13 * (own + share**2 * whole), 0.0, variance))


def quantify_elements(
    scene: Scene, counts: Any, *, exposure: FloatArray | None = None, threads: int | None = None
) -> Composition:
    """Count the atoms of each element in every column.

    Parameters
    ----------
    scene
        Of :func:`prepare_scene`.
    counts
        Spectra, shape (N, all channels); an array or a dask array.
    exposure
        Of how many pixels each spectrum is the sum, shape (N,); 1 by default.

    Returns
    -------
    Composition
        Maximum-likelihood amounts.
    """
    (model,) = scene.models()
    return composition_of(scene, model, model.fit(counts, exposure=exposure, threads=threads, merged=True))


def composition_of(scene: Scene, model: SpectrumModel, fit: TemplateFit) -> Composition:
    """What a fit of the first of the models of a scene says of the elements."""
    m = len(scene.elements)
    calibration = model.calibration(fit.amounts, calibration_of(scene, model.groups))
    own = [model.groups.index(element) for element in scene.elements]
    others = [g for g in range(fit.by_group.shape[2]) if g not in own]
    besides = fit.by_group[:, :m, others] * calibration[:, np.newaxis, others]
    if scene.unsure:
        besides = np.concatenate([besides, scene.common_errors(fit.amounts[:, -1], fit.amounts[:, :m])], axis=2)
    return Composition(
        elements=scene.elements,
        atoms=fit.amounts[:, :m],
        unclipped=fit.unclipped[:, :m],
        covariance=fit.covariance[:, :m, :m].copy(),
        calibration=calibration[:, own],
        status=fit.status,
        besides=besides,
    )


def quantify_columns(
    scene: Scene, counts: Any, columns: Mapping[str, Mapping[str, float]], *, threads: int | None = None
) -> tuple[Composition, tuple[TemplateFit, TemplateFit], FloatArray]:
    """Fit every column twice: as atoms of each element, and as a mixture of phases and of elements that none holds.

    Parameters
    ----------
    scene, counts, threads
        As for :func:`quantify_elements`.
    columns
        Atoms/nm^3 of each element in each phase.

    Returns
    -------
    composition
        Of the first fit.
    fits
        Both, the first without covariances; in the second, nm of each phase come first.
    calibration
        Relative uncertainty of the calibration of each of the groups of templates of the second, and of the absorption
        of their lines, shape (N, G).
    """
    first, second = scene.models(columns)
    by_element = first.fit(counts, threads=threads, merged=True)
    composition = composition_of(scene, first, by_element)
    # A kilobyte for each pixel, of which the composition has what it needs.
    nothing = np.empty((len(by_element.status), 0, 0))
    by_element = by_element._replace(covariance=nothing, by_group=nothing)
    by_phase = second.fit(counts, threads=threads, merged=True)
    calibration = second.calibration(by_phase.amounts, calibration_of(scene, second.groups))
    return composition, (by_element, by_phase), calibration


def calibration_of(scene: Scene, elements: Sequence[str] | None = None) -> FloatArray:
    """Relative uncertainty of the calibration of each element: that of its best line in the range."""
    errors = scene.builder.sensitivities.uncertainty
    names = scene.elements if elements is None else elements
    return np.array([errors[n] if n in errors else calibration_of_family(scene.builder, n) for n in names])
