"""What a fit says, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hyperspy_assb.components.low_loss import IonisationEdge
from hyperspy_assb.fitting.solver.spectra_fit import Status, usable
from hyperspy_assb.report.delithiation import describe_delithiation

POOR_FIT = 1.5
"""Reduced deviance above which the model does not describe the spectra to within their noise."""
SIGNIFICANT = 3.0
"""Standard errors from which the 5 eV band counts as found."""


def describe(model: Any, maps: Mapping[str, Any], separability: Sequence[Any], result: Any | None) -> Iterator[str]:
    """Findings on a fitted model: the delithiation first, then what limits it, then what holds of the whole map."""
    if result is not None:
        yield from describe_delithiation(result)
    unsafe = [s for s in separability if not s.separable]
    yield from map(str, unsafe)
    if result is not None and "lithium" in result.methods and any(s.edge == "Li_K" for s in unsafe):
        yield "The estimate from Li K stands on an edge that is not separated here: rely on the other estimates."
    if "band_area" in maps:
        yield _band(maps, calibrated=result is not None)
    yield _fit(maps, joint=result is not None)
    if "plasmon_energy" in maps:
        yield _range("The plasmon energy", maps["plasmon_energy"].signal.data, "eV", digits=4)
    yield _range("t/λ", maps["t_over_lambda"].signal.data, "", share_above=1.0)
    yield from (str(s) for s in separability if s.separable)
    if "band_area" not in maps:
        yield "The 5 eV band was not fitted: there is no Fe among the elements."
    yield _dose(maps["electrons"].signal)
    yield _range("The zero-loss centre", maps["zero_loss_centre"].signal.data, "eV")
    edges = [component.name.replace("_", " ") for component in model if isinstance(component, IonisationEdge)]
    yield f"Edges in the fitted range: {', '.join(edges)}." if edges else "No edge lies in the fitted range."


def _dose(electrons: Any) -> str:
    """Electrons in a spectrum, and for each area where the pixel size is known."""
    values = np.ravel(electrons.data)
    text = _range("The number of recorded electrons per spectrum", values, "").removesuffix(".")
    axes = electrons.axes_manager.navigation_axes
    if len(axes) == 2 and all(str(axis.units) == "nm" for axis in axes):
        area = float(axes[0].scale * axes[1].scale)
        text += f", {np.median(values) / area:.3g} per nm² of the scanned area"
    return text + "; the specimen also received electrons that the aperture stopped or the detector missed."


def _fit(maps: Mapping[str, Any], *, joint: bool) -> str:
    status = np.ravel(maps["fit_status"].signal.data)
    deviance = np.ravel(maps["reduced_deviance"].signal.data)
    fitted = usable(status)
    failed = {
        maps["fit_status"].words[int(s)]: int((status == s).sum()) for s in np.unique(status) if not Status(s).usable
    }
    text = "Joint model of line shapes: " if joint else ""
    text += f"{int(fitted.sum())} of {status.size} {_plural('spectrum', 'spectra', status.size)} fitted"
    if failed:
        text += " (not fitted: " + ", ".join(f"{count} {name}" for name, count in failed.items()) + ")"
    median = float(np.median(deviance[fitted]))
    text += f"; the median reduced deviance is {median:.2f}"
    if median > POOR_FIT:
        text += ": the model does not describe the spectra to within their noise, so that its errors are too small"
        return text + (", which does not concern x." if joint else ".")
    return text + ": the model describes the spectra to within their noise."


def _band(maps: Mapping[str, Any], *, calibrated: bool) -> str:
    significance = np.ravel(maps["band_significance"].signal.data)
    found = np.nan_to_num(significance) > SIGNIFICANT
    area = np.ravel(maps["band_area"].signal.data)
    text = (
        f"The 5 eV band is more than {SIGNIFICANT:g} standard errors above nothing in {int(found.sum())} of "
        f"{found.size} {_plural('pixel', 'pixels', found.size)}"
    )
    if found.any():
        text += f" (median area there {np.median(area[found]):.2g} of the zero loss)"
    if not calibrated:
        text += (
            ". Without pure pixels for comparison, the contributions of the zero-loss tail and of surface losses are "
            "unknown"
        )
    return text + "."


def _range(name: str, values: Any, units: str, share_above: float | None = None, *, digits: int = 3) -> str:
    values = np.ravel(values)
    values = values[np.isfinite(values)]
    unit = f" {units}" if units else ""
    if values.size == 1:
        return f"{name} is {values[0]:.{digits}g}{unit}."
    low, median, high = (f"{v:.{digits}g}" for v in np.quantile(values, [0.05, 0.5, 0.95]))
    text = f"{name} has the median {median}{unit} (5 to 95 % of the pixels: {low} to {high}{unit})"
    if share_above is not None and (values > share_above).any():
        text += f"; it is above {share_above:g} in {100 * np.mean(values > share_above):.0f} % of them"
    return text + "."


def _plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many
