"""What a fit says, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hyperspy_assb.components.edges import IonisationEdge
from hyperspy_assb.eels.delithiation import DelithiationStatus
from hyperspy_assb.fitting.solvers import Status
from hyperspy_assb.plotting.delithiation import SIGNATURE_NAMES
from hyperspy_assb.plotting.delithiation import STATUS_NAMES as DELITHIATION_WORDS

POOR_FIT = 1.5
"""Reduced deviance above which the model does not describe the spectra to within their noise."""
SIGNIFICANT = 3.0
"""Standard errors from which the 5 eV band counts as found."""


def describe(
    model: Any, maps: Mapping[str, Any], separability: Sequence[Any], results: Mapping[str, Any] | None
) -> Iterator[str]:
    """Findings on a fitted model, the results of the delithiation first."""
    for method, result in (results or {}).items():
        yield describe_delithiation(method, result)
    unsafe = [s for s in separability if not s.separable]
    for item in sorted(separability, key=lambda s: s.separable):
        yield str(item)
    if results and any(s.edge == "Li_K" for s in unsafe):
        yield "The estimate from Li K stands on an edge that is not separated here: rely on the 5 eV band."
    yield _fit(maps)
    if "band_area" in maps:
        yield _band(maps, calibrated=bool(results))
    else:
        yield "The 5 eV band of FePO4 was not fitted: there is no Fe among the elements."
    yield _range("t/λ", maps["t_over_lambda"].signal.data, "", share_above=1.0)
    yield _range("The zero-loss centre", maps["zero_loss_centre"].signal.data, "eV")
    edges = [component.name.replace("_", " ") for component in model if isinstance(component, IonisationEdge)]
    yield f"Edges in the fitted range: {', '.join(edges)}." if edges else "No edge lies in the fitted range."


def describe_delithiation(method: str, result: Any) -> str:
    """Mean and spread of x, its uncertainty, and in how many pixels there is an answer."""
    x, status = np.ravel(result.x.data), np.ravel(result.status.data)
    quantified = (status == DelithiationStatus.QUANTIFIED) & np.isfinite(x)
    olivine = np.isin(status, [s for s in DelithiationStatus if s.answered])
    name = SIGNATURE_NAMES[method]
    if not quantified.any():
        return f"From the {name}: no pixel could be quantified, {int(olivine.sum())} of {x.size} hold olivine."
    error = np.hypot(np.ravel(result.x_std.data), np.ravel(result.x_systematic.data))[quantified]
    values = x[quantified]
    rich, poor = float(np.mean(values > 0.9)), float(np.mean(values < 0.1))
    flagged = int(olivine.sum() - quantified.sum())
    return (
        f"From the {name}: mean x of LixFePO4 {values.mean():.2f}, median {np.median(values):.2f} "
        f"(median uncertainty of a pixel {np.median(error):.2f}) in {values.size} of {x.size} pixels; x is "
        f"above 0.9 in {100 * rich:.0f} % of them and below 0.1 in {100 * poor:.0f} %. {flagged} more pixels with "
        f"olivine are flagged, {int((~olivine).sum())} have no answer."
    )


def delithiation_maps(method: str, result: Any, make: Callable[..., Any]) -> dict[str, Any]:
    """Maps of a delithiation result, by name."""
    name = SIGNATURE_NAMES[method]
    words = {int(status): text for status, text in DELITHIATION_WORDS.items()}
    labels = {
        "x": f"x in LixFePO4 ({name})",
        "x_std": f"Standard error of x from counting ({name})",
        "x_systematic": f"Systematic uncertainty of x ({name})",
        "significance": f"Significance ({name})",
        "detection_limit": f"Detection limit ({name})",
        "olivine_fraction": "Olivine share of t/λ",
    }
    units = {"significance": "σ"}
    maps = {f"{key}_{method}": make(getattr(result, key), label, units.get(key, "")) for key, label in labels.items()}
    maps[f"status_{method}"] = make(result.status, f"Status of x ({name})", "", words)
    return maps


def _fit(maps: Mapping[str, Any]) -> str:
    status = np.ravel(maps["fit_status"].signal.data)
    deviance = np.ravel(maps["reduced_deviance"].signal.data)
    usable = np.isin(status, [s for s in Status if s.usable])
    failed = {
        maps["fit_status"].words[int(s)]: int((status == s).sum()) for s in np.unique(status) if not Status(s).usable
    }
    text = f"{int(usable.sum())} of {status.size} {_plural('spectrum', 'spectra', status.size)} fitted"
    if failed:
        text += " (not fitted: " + ", ".join(f"{count} {name}" for name, count in failed.items()) + ")"
    median = float(np.median(deviance[usable]))
    text += f"; the median reduced deviance is {median:.2f}"
    if median > POOR_FIT:
        return text + ": the model does not describe the spectra to within their noise, so that errors are too small."
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
            ". Without pure pixels to compare with, what the zero-loss tail and surface losses add to it is not known"
        )
    return text + "."


def _range(name: str, values: Any, units: str, share_above: float | None = None) -> str:
    values = np.ravel(values)
    values = values[np.isfinite(values)]
    unit = f" {units}" if units else ""
    if values.size == 1:
        return f"{name} is {values[0]:.3g}{unit}."
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    text = f"{name} has the median {median:.3g}{unit} (5 to 95 % of the pixels: {low:.3g} to {high:.3g}{unit})"
    if share_above is not None and (values > share_above).any():
        text += f"; it is above {share_above:g} in {100 * np.mean(values > share_above):.0f} % of them"
    return text + "."


def _plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many
