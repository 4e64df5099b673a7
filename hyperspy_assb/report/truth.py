"""What the analysis of the virtual micro-battery found, beside what was put in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb.eels.delithiation.end_members import METHODS
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.plotting.delithiation import method_text
from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.report.analysis import Analysis
from hyperspy_assb.report.delithiation import FALSE_FINDS, carbon_of, state_x

STATES = ("before", "after")
ELECTROLYTE_SHARE = 0.9
"""Pixels whose column holds at least this share of LAGP are compared before and after."""
OLIVINE_SHARE, THIN = 0.3, 0.8
"""Pixels that are judged: at least this share of olivine in the column, and at most this t/lambda."""
BINS = {"x < 0.1": (-np.inf, 0.1), "0.1 to 0.9": (0.1, 0.9), "x > 0.9": (0.9, np.inf)}
THICKNESS_BINS = (0.0, 0.3, 0.5, 0.8, 1.0, 1.2, 1.5, np.inf)


def judge_accuracy(battery: Any, analyses: dict[str, Analysis]) -> pd.DataFrame:
    """Bias and error of x in thin pixels that hold olivine, by state, method and true x."""
    rows = []
    for state in STATES:
        truth = getattr(battery.truth, state)
        judged = (truth.olivine >= OLIVINE_SHARE) & (truth.t_over_lambda <= THIN)
        for method in METHODS:
            result = analyses[state].delithiation.with_method(method)
            answered = result.status.data == DelithiationStatus.QUANTIFIED
            sigma = np.hypot(result.x_std.data, result.x_systematic.data)
            error = result.x.data - truth.x
            for name, (low, high) in BINS.items():
                here = judged & (truth.x >= low) & (truth.x <= high)
                good = here & answered & np.isfinite(error)
                row = {"state": state, "method": method, "true x": name, "pixels": int(here.sum())}
                if good.any():
                    row |= {
                        "answered (%)": 100 * good.sum() / here.sum(),
                        "bias (median)": np.median(error[good]),
                        "median absolute error": np.median(np.abs(error[good])),
                        "median stated uncertainty": np.median(sigma[good]),
                        "truth within 1σ (%)": 100 * np.mean(np.abs(error[good]) <= sigma[good]),
                    }
                rows.append(row)
    return pd.DataFrame(rows)


def judge_thickness(battery: Any, analysis: Analysis) -> pd.DataFrame:
    """Error of x after bias, and the share of olivine pixels flagged or without an answer, against true t/lambda."""
    truth = battery.truth.after
    rows = []
    for method in METHODS:
        result = analysis.delithiation.with_method(method)
        error, status = np.abs(result.x.data - truth.x), result.status.data
        for low, high in pairwise(THICKNESS_BINS):
            here = (truth.olivine >= OLIVINE_SHARE) & (truth.t_over_lambda > low) & (truth.t_over_lambda <= high)
            if not here.any():
                continue
            answered = np.isfinite(error) & here
            flagged = answered & (status != DelithiationStatus.QUANTIFIED)
            rows.append(
                {
                    "method": method,
                    "t/λ": f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}",
                    "t/λ (median)": np.median(truth.t_over_lambda[here]),
                    "pixels": int(here.sum()),
                    "median absolute error": np.median(error[answered]) if answered.any() else np.nan,
                    "flagged (%)": 100 * flagged.sum() / here.sum(),
                    "no answer (%)": 100 * (here & ~np.isfinite(result.x.data)).sum() / here.sum(),
                }
            )
    return pd.DataFrame(rows)


def compare_findings(
    battery: Any, analyses: dict[str, Analysis], accuracy: pd.DataFrame, calibration: str
) -> Iterator[str]:
    """What was found, the combined estimate first, beside what was put in; and what it was calibrated on."""
    results = {state: analyses[state].delithiation for state in STATES}
    for state, result in results.items():
        yield _compare_content(state, result, getattr(battery.truth, state))
    rows = accuracy[accuracy["method"] == "combined"].dropna(subset="median absolute error")
    for state, known in rows.groupby("state", sort=False):
        worst = known.loc[known["median absolute error"].idxmax()]
        covered = np.average(known["truth within 1σ (%)"], weights=known["pixels"])
        yield (
            f"{state.capitalize()} bias: the median absolute error of x is {worst['median absolute error']:.3f} where "
            f"it is largest ({worst['true x']}, {worst['pixels']} pixels); the stated uncertainty covers the truth in "
            f"{covered:.0f} % of the pixels (68 % expected)."
        )
    for state, result in results.items():
        yield _compare_finds(state, result, getattr(battery.truth, state))
    yield from _compare_carbon(battery, results)
    yield calibration
    for state, analysis in analyses.items():
        # What the analysis itself says of the agreement, the distribution of x and the dose.
        words = (
            "The estimates",
            "LixFePO4 is",
            "Whether LixFePO4",
            "The number of recorded electrons",
            "Carbon is not",
        )
        yield from (f"{state.capitalize()} bias: {s}" for s in analysis.findings if s.startswith(words))
    yield from (str(item) for item in analyses["after"].separability if item.edge == "Li_K")


def electrolyte_masks(battery: Any) -> list[np.ndarray]:
    """Pixels that hold nothing but LAGP, crystalline or amorphous, in each state."""
    states = [getattr(battery.truth, state) for state in STATES]
    return [s.fractions["LAGP"] + s.fractions["amorphous_LAGP"] >= ELECTROLYTE_SHARE for s in states]


def electrolyte_findings(battery: Any, comparison: Any) -> list[str]:
    """What changed in the LAGP, beside the amorphous share that was put in."""
    if comparison is None:
        return []
    shares = [
        100 * getattr(battery.truth, state).fractions["amorphous_LAGP"][mask].mean()
        for state, mask in zip(STATES, electrolyte_masks(battery), strict=True)
    ]
    changed = comparison.bands.loc[comparison.bands["status"] == "changed", "band"]
    found = ", ".join(changed) if len(changed) else "no band"
    return [
        f"LAGP, of which {shares[0]:.0f} % were amorphous before and {shares[1]:.0f} % after: beyond noise, thickness "
        f"and calibration changed {found}."
    ]


def _compare_content(state: str, result: Any, truth: Any) -> str:
    judged = result.quantified & (truth.olivine >= OLIVINE_SHARE) & (truth.t_over_lambda <= THIN)
    if not judged.any():
        return f"{state.capitalize()} bias, no pixel could be quantified."
    # Fe of a column, by which the mean x of a region is weighted.
    iron = truth.areal_density("Fe")[judged]
    return (
        f"{state.capitalize()} bias, x in {result.electrode.name} is "
        f"{state_x(result.region_statistics(judged), result.electrode)} by {method_text(result)}, in "
        f"{int(judged.sum())} pixels with at least {100 * OLIVINE_SHARE:.0f} % of "
        f"olivine and t/λ of at most {THIN:g}; the truth of the same pixels is "
        f"{np.average(truth.x[judged], weights=iron):.3f}."
    )


def _compare_finds(state: str, result: Any, truth: Any) -> str:
    found = result.find_delithiated(FALSE_FINDS).found.data
    olivine = np.isfinite(result.x.data)
    text = (
        f"{state.capitalize()} bias, FePO4 is found in {int(found.sum())} of {int(olivine.sum())} pixels with olivine"
    )
    if found.any():
        # A column without olivine, of which the noise makes one, holds no FePO4 either.
        false = found & ~(truth.fractions["FePO4"] > 0)
        text += (
            f", {100 * false.sum() / found.sum():.1f} % of them wrongly (at most {100 * FALSE_FINDS:g} % were accepted)"
        )
    held = olivine & (truth.fractions["FePO4"] > 0)
    if held.any():
        text += f"; {100 * np.mean(found[held]):.0f} % of the pixels that hold some are found"
    return text + "."


def _compare_carbon(battery: Any, results: dict[str, Any]) -> Iterator[str]:
    """Growth of carbon on the pixels that are quantified in both states."""
    shared = np.all([result.quantified for result in results.values()], axis=0)
    carbon = [carbon_of(result, shared) for result in results.values()]
    if not shared.any() or None in carbon:
        return
    (first, first_error), (second, second_error) = carbon
    film = [float(np.mean(getattr(battery.truth, state).carbon_film[shared])) for state in STATES]
    yield (
        f"Carbon on the olivine is t/λ = {with_error(first, first_error)} before and "
        f"{with_error(second, second_error)} after bias, in the {int(shared.sum())} pixels quantified in both states, "
        "beyond that of the reference pixels: a growth of "
        f"{with_error(second - first, float(np.hypot(first_error, second_error)))} (errors from counting), "
        f"which x is free of; the film that was put in grew from {film[0]:.2f} to {film[1]:.2f} nm."
    )
