"""Tables and sentences of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb.eels.comparison.options import ComparisonOptions
from hyperspy_assb.eels.comparison.results import Change, Comparison
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.fitting.statistics import blocks as partition
from hyperspy_assb.plotting.style import with_error

TITLES = {
    "before": "Single scattering before",
    "after": "Single scattering after",
    "difference": "Change of single scattering",
}
PLASMON = ("plasmon energy", "plasmon width")
CARBON = "carbon build-up"
CHANGED, UNSURE, NOTHING = "changed", "not beyond thickness, calibration or zero-loss peak", "no change beyond noise"
# Share of the difference between states that their thickness may explain before it is said.
_CONFOUNDED = 0.8
_DOSE_RATIO = 1.5


def state_names(scores: Sequence[float], count: int) -> tuple[str, ...]:
    """Names of the states: before and after, or their potentials."""
    return ("before", "after") if count == 2 else tuple(f"{v:g}" for v in scores)


def band_table(
    found: Comparison, bands: Sequence[Any], names: Sequence[str], options: ComparisonOptions
) -> pd.DataFrame:
    """One row for each band, and for energy and width of the plasmon, in each later state.

    Columns: ``state``; ``band``; ``low (eV)``, ``high (eV)``; ``unit`` of the values, "share" (of t/λ) or "eV";
    ``before`` and ``after``, each with its ``std``; ``change``, compared at one thickness; its standard errors ``std``
    (blocks, else counting), ``std counting`` and ``std systematic``, with the parts ``std thickness``, ``std
    calibration`` and ``std zero-loss peak``; ``change if proportional`` (everything grows with thickness); ``p``,
    ``p corrected`` (for all bands) and ``p from`` ("blocks" or "counting"); ``change (%)`` of the value before;
    ``Hedges g``; ``status``; ``meaning`` and ``source`` of the band.
    """
    by_name = {b.name: b for b in bands}
    rows = []
    for state, change, name in zip(found.states[1:], found.changes, names[1:], strict=True):
        first = found.states[0]
        for i, label in enumerate([*(w.name for w in found.windows), *PLASMON]):
            plasmon = i - len(found.windows)
            if plasmon < 0:
                window, band = found.windows[i], by_name[label]
                limits, unit = (window.low, window.high), "share"
                values = [(s.bands[i], s.bands_std[i]) for s in (first, state)]
                text = (band.meaning, band.source)
            else:
                limits, unit = (np.nan, np.nan), "eV"
                values = [
                    ((s.plasmon.energy, s.plasmon.width)[plasmon], s.plasmon_std[plasmon]) for s in (first, state)
                ]
                text = ("Drude function fitted to the highest maximum of the single scattering above half of it", "")
            std = change.std_blocks[i] if found.by_blocks else change.std_counting[i]
            systematic = float(np.sqrt(sum(part[i] ** 2 for part in _systematics(change))))
            rows.append(
                {
                    "state": name,
                    "band": label,
                    "low (eV)": limits[0],
                    "high (eV)": limits[1],
                    "unit": unit,
                    "before": values[0][0],
                    "before std": values[0][1],
                    "after": values[1][0],
                    "after std": values[1][1],
                    "change": change.change[i],
                    "std": std,
                    "std counting": change.std_counting[i],
                    "std systematic": systematic,
                    "std thickness": change.std_thickness[i],
                    "std calibration": change.std_calibration[i],
                    "std zero-loss peak": change.std_zero_loss[i],
                    "change if proportional": change.proportional[i],
                    "p": change.p[i],
                    "p corrected": change.p_corrected[i],
                    "p from": "blocks" if found.by_blocks else "counting",
                    "change (%)": 100 * change.change[i] / values[0][0] if values[0][0] else np.nan,
                    "Hedges g": change.hedges_g[i],
                    "status": _band_status(change.change[i], change.p_corrected[i], systematic, options.alpha),
                    "meaning": text[0],
                    "source": text[1],
                }
            )
    return pd.DataFrame(rows)


def _systematics(change: Change) -> tuple[Any, ...]:
    return change.std_thickness, change.std_calibration, change.std_zero_loss


def _band_status(change: float, p: float, systematic: float, alpha: float) -> str:
    if not np.isfinite(p):
        return "not measured"
    if p > alpha:
        return NOTHING
    return CHANGED if abs(change) > 2 * systematic else UNSURE


def cluster_table(found: Comparison, names: Sequence[str], options: ComparisonOptions) -> pd.DataFrame:
    """Clusters of channels: limits in eV, sign, mass, change, p value, and whether it is below alpha."""
    step = float(found.loss[1] - found.loss[0])
    rows = [
        {
            "state": name,
            "low (eV)": float(found.loss[c.first] - 0.5 * step),
            "high (eV)": float(found.loss[c.last] + 0.5 * step),
            "sign": "more" if c.mass > 0 else "less",
            "mass": c.mass,
            "change": float(change.difference[c.first : c.last + 1].sum()),
            "p": c.p,
            "significant": c.p <= options.alpha,
        }
        for change, name in zip(found.changes, names[1:], strict=True)
        for c in change.clusters
    ]
    columns = ["state", "low (eV)", "high (eV)", "sign", "mass", "change", "p", "significant"]
    return pd.DataFrame(rows, columns=columns)


def state_table(
    found: Comparison, maps: Sequence[LowLossMap], names: Sequence[str], potentials: Sequence[float]
) -> pd.DataFrame:
    """One row a state: pixels, blocks, thickness, plasmon, dose."""
    rows = []
    carbon = [i for i, w in enumerate(found.windows) if w.name == CARBON]
    for state, recorded, name, potential in zip(found.states, maps, names, potentials, strict=True):
        rows.append(
            {
                "state": name,
                "bias": float(potential),
                "pixels": state.pixels,
                "independent pixels": state.effective_pixels,
                "blocks": state.blocks,
                "left out": "; ".join(f"{count} {why}" for why, count in state.left_out.items()),
                "t/λ": state.t_over_lambda,
                "t/λ std": state.t_over_lambda_std,
                "plasmon energy (eV)": state.plasmon.energy,
                "plasmon energy std (eV)": state.plasmon_std[0],
                "plasmon width (eV)": state.plasmon.width,
                "plasmon width std (eV)": state.plasmon_std[1],
                "4 to 7 eV per electron": state.bands[carbon[0]] * state.t_over_lambda if carbon else np.nan,
                "zero-loss FWHM (eV)": state.fwhm,
                "electrons per spectrum": state.electrons,
                "beam current (nA)": recorded.beam_current,
                "dwell time (s)": recorded.dwell_time,
            }
        )
    return pd.DataFrame(rows)


def trend_table(found: Comparison) -> pd.DataFrame:
    """Slope of each band over the potential, or the number, of the state; empty for two states."""
    if found.trend_slope.size == 0:
        return pd.DataFrame(columns=["band", "slope", "p", "p corrected"])
    labels = [*(w.name for w in found.windows), *PLASMON]
    return pd.DataFrame(
        {"band": labels, "slope": found.trend_slope, "p": found.trend_p, "p corrected": found.trend_p_corrected}
    )


def settings_of(found: Comparison, options: ComparisonOptions) -> dict[str, Any]:
    """How the states were compared."""
    return {
        "normalisation": options.normalisation,
        "surfaces": options.surfaces,
        "zero_loss": options.zero_loss,
        "start (eV)": found.start,
        "end (eV)": float(found.loss[-1]),
        "p from": "blocks" if found.by_blocks else "counting",
        "permutations": options.permutations if found.by_blocks else 0,
        "seed": options.seed,
        "alpha": options.alpha,
        "pixels of a block": found.block_pixels,
        "correlation length (pixels)": found.correlation_length,
        "gain (counts per electron)": found.detector.gain,
        "read noise (counts)": found.detector.read_noise,
        "noise": " / ".join(dict.fromkeys(state.noise.sentence for state in found.states)),
        "shift uncertainty (eV)": options.shift_uncertainty,
        "scale uncertainty": options.scale_uncertainty,
    }


def warnings_of(found: Comparison) -> Iterator[str]:
    """What a user must know before believing a comparison."""
    if not found.by_blocks:
        fewest = min(s.blocks for s in found.states)
        yield (
            f"A state has {fewest} blocks of {found.block_pixels} pixels, and permutations need {partition.FEWEST}: p "
            "values come from counting noise alone, and differences between places may appear as changes."
        )
    if any(change.confounded > _CONFOUNDED for change in found.changes):
        yield (
            "The states differ in thickness more than their own pixels do: a change of the specimen can hardly be "
            "separated from one of its thickness. Choose regions of like thickness."
        )
    yield from dict.fromkeys(s.noise.sentence for s in found.states if s.noise.contradicted or not s.noise.is_counting)
    widths = [s.fwhm for s in found.states]
    if max(widths) / min(widths) > 1.05:
        yield (
            f"The zero-loss peak is {', '.join(f'{w:.3g}' for w in widths)} eV wide in the states: zero_loss='each' "
            "brings them to one resolution."
        )


def describe_changes(result: Any) -> Iterator[str]:
    """What a comparison found, in sentences."""
    for sentence in _sentences(result):
        # "t/λ" begins with a small letter everywhere.
        yield sentence[0].upper() + sentence[1:] if sentence[:2].isalpha() else sentence


def _sentences(result: Any) -> Iterator[str]:
    source = "permuted blocks of pixels" if result.settings["p from"] == "blocks" else "counting noise alone"
    several = len(result.states) > 2
    for name, rows in result.bands.groupby("state", sort=False):
        prefix = _prefix(name, several)
        changed = rows[rows["status"] == CHANGED]
        tested = rows["p"].notna().sum()
        if changed.empty:
            yield f"{prefix}none of {tested} quantities changed beyond noise, thickness and calibration ({source})."
        for row in changed.to_dict("records"):
            yield f"{prefix}{_describe(row)} ({source})."
        for row in rows[rows["status"] == UNSURE].to_dict("records"):
            yield (
                f"{prefix}{row['band']} differs beyond noise (p = {row['p corrected']:.2g}), but by no more than "
                f"thickness, calibration or the zero-loss peak may explain (systematic {row['std systematic']:.2g})."
            )
    found = result.clusters[result.clusters["significant"].astype(bool)]
    for row in found.to_dict("records"):
        limits = f"{row['low (eV)']:.1f} to {row['high (eV)']:.1f} eV"
        where = f"{row['state']} V: from" if several else "From"
        yield f"{where} {limits} there is {row['sign']} scattering (cluster p = {row['p']:.2g})."
    for row in result.trend[result.trend["p corrected"] <= result.settings["alpha"]].to_dict("records"):
        yield f"{row['band']} follows the potential (p = {row['p corrected']:.2g})."


def cautions(bands: pd.DataFrame, states: pd.DataFrame) -> Iterator[str]:
    """What else than the potential may have made the change, in sentences."""
    grown = bands[(bands["status"] == CHANGED) & (bands["band"] == CARBON) & (bands["change"] > 0.0)]
    for name in grown["state"]:
        yield (
            f"{_prefix(name, len(states) > 2)}the losses from 4 to 7 eV grew: carbon build-up under the beam imitates "
            "such a change, and adds to the bands up to the plasmon of carbon."
        )
    electrons = states["electrons per spectrum"].to_numpy()
    if electrons.max() / max(electrons.min(), 1e-300) > _DOSE_RATIO:
        yield (
            f"The states were given {', '.join(f'{e:.3g}' for e in electrons)} electrons per spectrum: beam effects "
            "may differ too."
        )


def _prefix(state: str, several: bool) -> str:
    return f"{state} V: " if several else ""


def _describe(row: dict[str, Any]) -> str:
    if row["unit"] == "eV":
        text = f"{row['band']} moved by {with_error(row['change'], row['std'], signed=True)} eV"
    else:
        error = abs(100 * row["std"] / row["before"]) if row["before"] else float("nan")
        text = (
            f"{row['band']} ({row['low (eV)']:g} to {row['high (eV)']:g} eV) changed by "
            f"{with_error(row['change (%)'], error, signed=True)} %"
        )
    return f"{text}, p = {row['p corrected']:.2g}"
