"""Delithiation of a signal: its references read, one function on arrays, and the result dressed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import combinations
from os import PathLike
from typing import Any

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.eels.delithiation.cross_section_calibration import quantify_by_cross_sections
from hyperspy_assb.eels.delithiation.quantification import check_purity, measure_scatter, quantify
from hyperspy_assb.eels.delithiation.standard import (
    FEWEST_PURE,
    OLIVINE,
    Standard,
    build_standard,
    elements_of,
)
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.eels.zero_loss.position import channels_together
from hyperspy_assb.eels.zero_loss.recorded_noise import noise_of
from hyperspy_assb.signals.eels.delithiation import BUILTIN, Delithiation, check_method
from hyperspy_assb.signals.eels.low_loss_reading import read_low_loss
from hyperspy_assb.signals.region_mask import region_mask

MOST_PIXELS = 300
"""Pure pixels of a phase that are looked at: their noise is then a three-hundredth of that of one pixel."""
LITHIUM_END = 70.0
"""eV. The maximum of Li K, near 62 eV, must lie in the range with its upper flank."""


def quantify_delithiation(
    signal: Any,
    references: Mapping[str, Any] | Delithiation | None,
    method: str,
    *,
    elements: tuple[str, ...] | None = None,
    ensemble: bool = True,
    show_progressbar: bool | None = None,
    progress: Callable[[int], object] | None = None,
) -> Delithiation:
    """What :meth:`ASSBEELSSpectrum.quantify_delithiation` does."""
    from tqdm.auto import tqdm

    check_method(method)
    spectra = read_low_loss(signal, minimum_end=LITHIUM_END, purpose="Fe M2,3 and Li K", finite=True)
    masks: dict[str, NDArray[np.bool_]] = {}
    builtin = references is None and method == "lithium"
    standard: Standard | None = None
    if isinstance(references, Delithiation):
        standard = references.needed_standard("The calibration of another signal")
        _compare_microscopes(spectra.microscope, references)
        standard.calibration.check_contrast(standard.names, method)
    elif isinstance(references, str | PathLike):
        raise TypeError(f"references is a path: load_delithiation({str(references)!r}) makes a calibration of it.")
    elif references:
        standard, masks = calibrate_on(signal, spectra, references, method, elements)
        check_purity(standard)
    elif not builtin:
        raise ValueError(
            "references must name pure pixels: {'LiFePO4': mask, 'FePO4': mask}, and where they lie in the columns, "
            "'LAGP' and 'carbon'; or be the Delithiation of another signal of the same specimen. Without any, "
            f"method='lithium' takes Li per Fe by {BUILTIN}, which leaves x uncertain by about 0.3 near FePO4 "
            "and 1 near LiFePO4."
        )
    show = hs.preferences.General.show_progressbar if show_progressbar is None else show_progressbar
    with tqdm(
        total=len(spectra.counts), disable=progress is not None or not show, unit="spectra", desc="Delithiation"
    ) as bar:
        progress = progress or bar.update
        if standard is None:
            found = quantify_by_cross_sections(spectra, elements, progress)
        else:
            spectra = spectra.add_channels(max(1, round(standard.dispersion / spectra.scale)))
            found = quantify(
                standard,
                spectra.counts,
                spectra.energy,
                detector=noise_of(spectra, float(standard.zero_loss[2])).broad,
                ensemble=ensemble,
                progress=progress,
            )
    result = Delithiation(found, standard, method, tuple(signal.axes_manager._get_navigation_axes_dicts()), {}, masks)
    parameters = {
        "method": method,
        "calibration": result.calibration,
        "microscope": asdict(spectra.microscope),
        "file": spectra.file,
    }
    works = ["lithium", "cross_sections", "mean_free_path"] if builtin else ["delithiation"]
    return replace(result, record=provenance.record("quantify_delithiation", parameters=parameters, methods=works))


def calibrate_on(
    signal: Any, spectra: LowLossMap, references: Mapping[str, Any], method: str, elements: tuple[str, ...] | None
) -> tuple[Standard, dict[str, NDArray[np.bool_]]]:
    """The standard that pure pixels or spectra make, and the pure pixels as masks.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        In which pixels are named.
    spectra
        The same as arrays.
    references
        Of each phase, and of vacuum: pixels (see :func:`.region_mask.region_mask`), or spectra on the same energy axis.
    method
        By which x is to be told.
    elements
        Elements whose edges are fitted; None: what the phases need.

    Raises
    ------
    ValueError, TypeError
        If a reference cannot be used, or two name the same pixels; the phases are named.
    """
    missing = [phase for phase in OLIVINE if phase not in references]
    if missing:
        raise ValueError(f"references must name pure pixels of {' and '.join(missing)}, or hold their spectra.")
    masks: dict[str, NDArray[np.bool_]] = {}
    pure, labels, fewest = [], [], FEWEST_PURE
    for phase, where in references.items():
        found = reference_spectra(spectra.energy, phase, where)
        if found is None:
            masks[phase] = region_mask(signal, where, name=f"references[{phase!r}]")
            rows = np.flatnonzero(masks[phase])
            rows = rows[np.linspace(0, rows.size - 1, min(rows.size, MOST_PIXELS)).astype(int)]
            found = np.asarray(spectra.counts[rows])
        else:
            fewest = min(fewest, len(found))
        pure.append(found)
        labels += [phase] * len(found)
    for one, other in combinations(masks, 2):
        if shared := int((masks[one] & masks[other]).sum()):
            raise ValueError(
                f"references[{one!r}] and references[{other!r}] share {shared} pixels; each holds one phase."
            )
    known = replace(spectra, counts=np.concatenate(pure))
    known = known.add_channels(channels_together(known.counts, known.energy))
    own = {phase: np.array([label == phase for label in labels]) for phase in references}
    standard, detector = build_standard(
        known, own, elements or elements_of(references), method=method, minimum_pixels=fewest
    )
    return measure_scatter(standard, known, own, detector), masks


def reference_spectra(energy: NDArray[np.float64], phase: str, where: Any) -> NDArray[Any] | None:
    """Spectra of a phase, shape (S, E), if that is what a reference is; None if it names pixels.

    Raises
    ------
    ValueError
        If their energy axis is not that of the signal.
    """
    data = np.asarray(getattr(where, "data", where)) if not _is_roi(where) else np.zeros(0, dtype=bool)
    if data.dtype == bool or data.dtype == object or data.ndim == 0:
        return None
    scale = float(energy[1] - energy[0])
    manager = getattr(where, "axes_manager", None)
    if manager is not None and manager.signal_dimension == 1:
        other = manager.signal_axes[0]
        same = other.size == energy.size and np.allclose(other.axis, energy, atol=0.01 * scale)
        data = np.moveaxis(data, other.index_in_array, -1)
    else:
        same = manager is None and data.shape[-1] == energy.size
    if not same:
        if data.dtype.kind in "iu":
            return None  # an array of integers on the navigation axes, which is told apart as a wrong mask
        raise ValueError(
            f"references[{phase!r}] must have the energy axis of the signal, {energy.size} channels of {scale:g} eV "
            f"from {energy[0]:g} eV, or be a mask of booleans on its navigation axes."
        )
    return data.reshape(-1, energy.size)


def _is_roi(where: Any) -> bool:
    return type(where).__module__.startswith("hyperspy.roi")


def _compare_microscopes(own: MicroscopeParameters, calibration: Delithiation) -> None:
    """Warn if a signal and its calibration say that they were recorded differently."""
    known = calibration.record.get("parameters", {}).get("microscope", {})
    for name, value in asdict(own).items():
        other = known.get(name)
        if value is not None and other is not None and not np.isclose(value, other, rtol=0.01):
            warnings.warn(
                f"{name} is {value:g} here, but {other:g} where the references were recorded: the spectra of the "
                "phases depend on it, and so does x.",
                UserWarning,
                stacklevel=4,
            )
