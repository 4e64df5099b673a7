"""Delithiation by region: tables, populations and finds from the maps of a result, mean spectra from a signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation import region_statistics as regions
from hyperspy_assb.eels.delithiation.lithium_content import DelithiationStatus
from hyperspy_assb.eels.delithiation.mixing import MixtureComparison, compare_with_mixture
from hyperspy_assb.eels.delithiation.populations import Populations, fit_populations
from hyperspy_assb.eels.scattering import mean_spectra
from hyperspy_assb.eels.scattering.mean_spectra import MeanSpectrum
from hyperspy_assb.signals.eels.delithiation import Delithiation
from hyperspy_assb.signals.region_mask import region_mask

WHOLE = "whole image"
_EXPLICABLE = (DelithiationStatus.QUANTIFIED, DelithiationStatus.UNEXPLAINED, DelithiationStatus.DISAGREES)
_OLIVINE = 0.7
"""Share of the olivines in t/lambda from which the line shape of a column is that of the olivines."""


@dataclass(frozen=True)
class IronPhosphate:
    """Where FePO4 is found, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    p_value
        Probability of at least this little lithium in LiFePO4; NaN where x is.
    adjusted
        Smallest level at which the pixel is among the finds.
    found
        Boolean: whether it is among them at ``level``.
    level
        Expected share of false finds among all.
    """

    p_value: Any
    adjusted: Any
    found: Any
    level: float


def region_table(
    result: Delithiation, where: Any = None, *, names: Sequence[str] | Mapping[int, str] | None = None
) -> pd.DataFrame:
    """One row a region: Li/Fe with its errors, thickness, and the pixels by status.

    Parameters
    ----------
    result
        What was quantified.
    where
        The regions: None for the whole image; a boolean array or signal on the navigation axes, or a HyperSpy ROI, for
        one; an array or signal of integers for one a label (0: none); a dictionary of any of these by name.
    names
        Names of the labels 1, 2, ..., or by label.

    Returns
    -------
    table
        Indexed by region: the entries of :class:`~hyperspy_assb.eels.delithiation.region_statistics.RegionStatistics`,
        and the number of pixels of each status. A region without any x has NaN; its status columns tell why.

    Raises
    ------
    ValueError
        If a shape is wrong, a region is empty, or names do not fit.
    TypeError
        If a region is none of these.
    """
    maps = {
        name: np.ravel(getattr(result, name).data)
        for name in ("x", "x_std", "x_systematic", "olivine_fraction", "t_over_lambda")
    }
    status = np.ravel(result.status.data)
    rows = {}
    for name, pixels in _pixels(result.x, where, names).items():
        counts = {s.name.lower(): int(np.sum(status[pixels] == s)) for s in DelithiationStatus}
        rows[name] = {**asdict(regions.region_statistics(pixels, **maps)), **counts}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("region")


def find_iron_phosphate(
    result: Delithiation, level: float = 0.05, *, dependence: Literal["positive", "any"] = "positive"
) -> IronPhosphate:
    """Pixels that hold FePO4, at a controlled share of false ones among them.

    Parameters
    ----------
    result
        What was quantified, by any method.
    level
        Expected share of false finds among all; in an image without FePO4, the probability of any find.
    dependence
        Between the errors of pixels, see :func:`~hyperspy_assb.eels.delithiation.region_statistics.find_excess`.

    Returns
    -------
    finds
        Maps of p values and of the finds.

    Raises
    ------
    ValueError
        If the level or the dependence is none of those known, or there were no references.

    Notes
    -----
    The significance is 1 - x over its statistical and systematic uncertainty, whatever ``result.significance`` is of.
    """
    result.needed_standard("find_iron_phosphate")
    uncertainty = np.hypot(result.x_std.data, result.x_systematic.data)
    finds = regions.find_excess((1.0 - result.x.data) / uncertainty, level=level, dependence=dependence)

    def as_map(values: NDArray[Any], title: str) -> Any:
        signal = result.x._deepcopy_with_new_data(values)
        signal.metadata.General.title = title
        return signal

    return IronPhosphate(
        p_value=as_map(finds.p_value, "p value of no FePO4"),
        adjusted=as_map(finds.adjusted, "Level at which FePO4 is found"),
        found=as_map(finds.found, f"FePO4 found at a false share of {level:g}"),
        level=level,
    )


def populations_of(result: Delithiation, where: Any = None) -> Populations:
    """Tell two phases from a solid solution by the distribution of x in a region.

    Parameters
    ----------
    result
        What was quantified.
    where
        None for the whole image, a boolean array or signal on the navigation axes, or a HyperSpy ROI.

    Returns
    -------
    populations
        See :func:`~hyperspy_assb.eels.delithiation.populations.fit_populations`.

    Raises
    ------
    ValueError
        If the shape is wrong, fewer than 10 pixels of the region have an x, or there were no references.
    TypeError
        If ``where`` is something else.
    """
    result.needed_standard("fit_populations")
    mask = _mask(result.x, "mask", where)
    return fit_populations(result.x.data[mask], result.x_std.data[mask])


def mixture_of(result: Delithiation, where: Any = None) -> MixtureComparison:
    """Whether spectra of intermediate x are mixtures of the end members, or have a line shape of their own.

    Parameters
    ----------
    result
        What was quantified.
    where
        None for the whole image, a boolean array or signal on the navigation axes, or a HyperSpy ROI. It should hold
        pixels near x = 0 and near x = 1 as well.

    Returns
    -------
    comparison
        Of pixels that are quantified, unexplained, or whose estimates disagree, and whose t/lambda is mostly that of
        olivines: a phase that is not among the references has a line shape of its own as well. See
        :func:`~hyperspy_assb.eels.delithiation.mixing.compare_with_mixture`.

    Raises
    ------
    ValueError
        If the shape is wrong.
    TypeError
        If ``where`` is something else.
    """
    pixels = np.flatnonzero(_mask(result.x, "where", where))
    # A line shape of its own is what the references do not explain.
    known = np.isin(np.ravel(result.status.data)[pixels], _EXPLICABLE)
    with np.errstate(invalid="ignore"):
        known &= np.ravel(result.olivine_fraction.data)[pixels] >= _OLIVINE
    pixels = pixels[known]
    standard = result.needed_standard("compare_with_mixture")
    amounts = result.found.amounts[pixels]
    thickness = np.median(result.found.t_over_lambda[pixels]) if pixels.size else 0.5
    ends = standard.calibration.per_thickness(np.array([thickness]))[0]
    return compare_with_mixture(
        standard.names,
        result.found.residual[pixels],
        ends[0] - ends[1],
        x=np.ravel(result.x.data)[pixels],
        olivine=amounts[:, :2].sum(axis=1),
        others=amounts[:, 2:],
    )


def mean_spectrum(signal: Any, where: Any = None, *, t_over_lambda: Any = None) -> MeanSpectrum:
    """Mean spectrum of a region per zero loss and t/lambda, as :func:`.plot_before_after` takes it.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        Low-loss spectra.
    where
        None for all pixels, a boolean array or signal on the navigation axes, or a HyperSpy ROI.
    t_over_lambda
        Signal or array on the navigation axes, such as that of a :class:`.Delithiation`. If None, the logarithm of all
        counts over those of the zero loss.

    Returns
    -------
    spectrum
        Energy in eV from the zero loss, density per eV, and standard error.

    Raises
    ------
    ValueError
        If the shape is wrong, or no pixel of the region has a zero loss and scatters.
    TypeError
        If ``where`` is something else.
    """
    mask = _mask(signal, "where", where)
    energy = signal.axes_manager.signal_axes[0].axis
    data = signal.data.reshape((-1, energy.size))[np.flatnonzero(mask)]
    data = np.asarray(data.compute() if signal._lazy else data, dtype=float)
    maps = signal.estimate_zero_loss()
    thickness = (
        np.log(np.maximum(data.sum(axis=-1), 1e-300) / maps.intensity.data[mask])
        if t_over_lambda is None
        else np.asarray(getattr(t_over_lambda, "data", t_over_lambda)).reshape(mask.shape)[mask]
    )
    return mean_spectra.mean_spectrum(data, energy, zero_loss=maps.centre.data[mask], t_over_lambda=thickness)


def _mask(signal: Any, argument: str, where: Any) -> NDArray[np.bool_]:
    """Boolean array on the navigation axes; errors speak of the argument that the user gave."""
    if where is None:
        return np.ones(signal.axes_manager._navigation_shape_in_array or (1,), dtype=bool)
    return region_mask(signal, where, name=argument)


def _pixels(
    signal: Any, where: Any, names: Sequence[str] | Mapping[int, str] | None, argument: str = "regions"
) -> dict[str, NDArray[np.intp]]:
    """Flat indices of the pixels of each region."""
    if where is None:
        return {WHOLE: np.flatnonzero(_mask(signal, argument, None))}
    if isinstance(where, Mapping):
        found = {}
        for name, part in where.items():
            inner = _pixels(signal, part, names, f"regions[{name!r}]")
            found |= {(name if label == "region" else f"{name} {label}"): pixels for label, pixels in inner.items()}
        return found
    labels = np.asarray(getattr(where, "data", where)) if hasattr(where, "dtype") or hasattr(where, "data") else None
    if labels is not None and np.issubdtype(labels.dtype, np.integer):
        shape = signal.axes_manager._navigation_shape_in_array or (1,)
        if labels.shape != shape:
            raise ValueError(
                f"{argument} has the shape {labels.shape}, but the navigation axes have {shape} (y before x)."
            )
        return regions.name_regions(labels, names)
    return regions.name_regions(_mask(signal, argument, where))
