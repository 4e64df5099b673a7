"""What makes a delithiation from a signal: by references, or without any by cross-sections."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.eels.delithiation.lithium_content import check_contrast
from hyperspy_assb.eels.delithiation.quantification import quantify
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.eels.microscope import METADATA_ITEMS
from hyperspy_assb.signals.eels import pure_pixels
from hyperspy_assb.signals.eels.by_cross_sections import quantify_by_cross_sections
from hyperspy_assb.signals.eels.channels import add_channels
from hyperspy_assb.signals.eels.delithiation import BUILTIN, Delithiation, check_method


def _compare_microscopes(signal: Any, calibration: Delithiation) -> None:
    """Warn if a signal and its calibration say that they were recorded differently."""
    known = calibration.record.get("parameters", {}).get("microscope", {})
    for name, item in METADATA_ITEMS.items():
        own, other = signal.metadata.get_item(item), known.get(name)
        if own is not None and other is not None and not np.isclose(own, other, rtol=0.01):
            warnings.warn(
                f"{name} is {own:g} here, but {other:g} where the references were recorded: the spectra of the phases "
                "depend on it, and so does x.",
                UserWarning,
                stacklevel=4,
            )


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
    masks: dict[str, NDArray[np.bool_]] = {}
    builtin = references is None and method == "lithium"
    standard: Standard | None = None
    if isinstance(references, Delithiation):
        standard = references.needed_standard("The calibration of another signal")
        _compare_microscopes(signal, references)
    elif isinstance(references, str | PathLike):
        raise TypeError(f"references is a path: load_delithiation({str(references)!r}) makes a calibration of it.")
    elif references:
        standard, masks = pure_pixels.calibrate_on(signal, references, elements)
    elif not builtin:
        raise ValueError(
            "references must name pure pixels: {'LiFePO4': mask, 'FePO4': mask}, and where they lie in the columns, "
            "'LAGP' and 'carbon'; or be the Delithiation of another signal of the same specimen. Without any, "
            f"method='lithium' takes Li per Fe by {BUILTIN}, which leaves x uncertain by about 0.3 near FePO4 "
            "and 1 near LiFePO4."
        )
    if standard is not None:
        check_contrast(standard.calibration, standard.names, method)
        spectra = add_channels(signal, max(1, round(standard.dispersion / signal.axes_manager.signal_axes[0].scale)))
        if standard is not getattr(references, "standard", None):
            pure_pixels.check_purity(standard)
    count = max(1, int(signal.axes_manager.navigation_size))
    show = hs.preferences.General.show_progressbar if show_progressbar is None else show_progressbar
    with tqdm(total=count, disable=progress is not None or not show, unit="spectra", desc="Delithiation") as bar:
        progress = progress or bar.update
        if standard is None:
            found = quantify_by_cross_sections(signal, elements, progress)
        else:
            found = quantify(
                standard,
                spectra.data.reshape(-1, spectra.data.shape[-1]),
                np.array(spectra.axes_manager.signal_axes[0].axis, dtype=float),
                detector=pure_pixels.detector_of(spectra, standard),
                ensemble=ensemble,
                progress=progress,
            )
    result = Delithiation(found, standard, method, tuple(signal.axes_manager._get_navigation_axes_dicts()), {}, masks)
    parameters = {
        "method": method,
        "calibration": result.calibration,
        "microscope": {name: signal.metadata.get_item(item) for name, item in METADATA_ITEMS.items()},
        "file": signal.metadata.get_item("General.original_filename", ""),
    }
    works = ["lithium", "cross_sections", "mean_free_path"] if builtin else ["delithiation"]
    return replace(result, record=provenance.record("quantify_delithiation", parameters=parameters, methods=works))
