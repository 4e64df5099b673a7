"""What a delithiation result says, in sentences, each number with its uncertainty; and its maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.populations import FEWEST, Verdict
from hyperspy_assb.eels.delithiation.quantification import DISAGREEMENT, METHODS
from hyperspy_assb.eels.delithiation.region_statistics import RegionStatistics, region_statistics
from hyperspy_assb.eels.delithiation.standard import SIGNATURES
from hyperspy_assb.plotting.delithiation import SIGNATURE_NAMES
from hyperspy_assb.plotting.delithiation import STATUS_NAMES as WORDS
from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.signals.eels.delithiation import Delithiation

FALSE_FINDS = 0.05
"""Expected share of pixels without FePO4 among those where it is found."""
FOUND_WORDS = {0: "no olivine, or no answer", 1: "not found", 2: "found"}
FEW_DISAGREE = 0.01
"""Share of pixels whose estimates contradict each other up to which they are said to agree; by chance there is a tenth
of it."""


def describe_delithiation(result: Delithiation) -> Iterator[str]:
    """Findings on x of LixFePO4, the combined estimate first."""
    result = result.select("combined")
    quantified = quantified_pixels(result)
    yield _content(result, quantified)
    if not quantified.any():
        return
    agreement = _agreement(result, quantified)
    if agreement:
        yield agreement
    yield _iron_phosphate(result)
    if quantified.sum() >= FEWEST:
        yield _populations(result, quantified)
    mixture = result.compare_with_mixture()
    if np.isfinite(mixture.p_value):
        yield f"A mixture of two phases, or a line shape of its own: {mixture}"
    yield _carbon(result, quantified)
    deviance = float(np.median(result.reduced_deviance.data[quantified]))
    yield (
        f"As columns of the reference phases, the spectra of these pixels have the median reduced deviance "
        f"{deviance:.2f} (1: explained to within their noise)."
    )


def quantified_pixels(result: Delithiation) -> NDArray[np.bool_]:
    """Pixels with an x that nothing is held against."""
    return (result.status.data == DelithiationStatus.QUANTIFIED) & np.isfinite(result.x.data)


def statistics_of(result: Delithiation, pixels: NDArray[np.bool_]) -> RegionStatistics:
    """x of some pixels together, weighted by their Fe."""
    names = ("x", "x_std", "x_systematic", "electrode_share", "t_over_lambda")
    return region_statistics(np.ravel(pixels), **{name: np.ravel(getattr(result, name).data) for name in names})


def carbon_of(result: Delithiation, pixels: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Mean t/lambda of carbon in some pixels and its standard error from counting; None if it is no reference."""
    if "carbon" not in result.amounts or not pixels.any():
        return None
    errors = result.amounts_std["carbon"].data[pixels]
    return float(np.mean(result.amounts["carbon"].data[pixels])), float(np.sqrt(np.sum(errors**2)) / errors.size)


def state_x(found: RegionStatistics) -> str:
    """x of a region with both of its errors."""
    digits = 1 - int(np.floor(np.log10(np.clip(np.hypot(found.x_std, found.x_systematic), 1e-4, 0.1))))
    return f"{found.x:.{digits}f} ± {found.x_std:.{digits}f} (counting) ± {found.x_systematic:.{digits}f} (systematic)"


def delithiation_maps(result: Delithiation, make: Callable[..., Any]) -> dict[str, Any]:
    """Maps of a delithiation result by name: x by every method, then what all methods share."""
    words = {int(status): text for status, text in WORDS.items()}
    maps = {}
    for method in METHODS:
        shown, name = result.select(method), SIGNATURE_NAMES[method]
        maps |= {
            f"x_{method}": make(shown.x, f"x in LixFePO4 ({name})"),
            f"x_std_{method}": make(shown.x_std, f"Standard error of x from counting ({name})"),
            f"x_systematic_{method}": make(shown.x_systematic, f"Systematic uncertainty of x ({name})"),
            f"significance_{method}": make(shown.significance, f"Significance ({name})", "σ"),
            f"detection_limit_{method}": make(shown.detection_limit, f"Detection limit ({name})"),
            f"status_{method}": make(shown.status, f"Status of x ({name})", "", words),
        }
    finds = result.select("combined").find_iron_phosphate(FALSE_FINDS)
    answered = np.isfinite(result.x.data)
    classes = finds.found._deepcopy_with_new_data(np.where(answered, 1 + finds.found.data, 0).astype(np.int8))
    maps |= {
        "iron_phosphate": make(classes, "FePO4", "", FOUND_WORDS),
        "iron_phosphate_level": make(finds.adjusted, "Share of false finds at which FePO4 is found"),
        "agreement": make(result.agreement, "p value of the agreement of the estimates"),
        "electrode_share": make(result.electrode_share, "Olivine share of t/λ"),
        "mixture_deviance": make(result.reduced_deviance, "Reduced deviance as a column of the phases"),
    }
    for phase, amount in result.amounts.items():
        maps[f"amount_{phase}"] = make(amount, f"t/λ of {phase}")
        maps[f"amount_{phase}_std"] = make(result.amounts_std[phase], f"Standard error of t/λ of {phase}")
    return maps


def _content(result: Delithiation, quantified: NDArray[np.bool_]) -> str:
    x, status = result.x.data, result.status.data
    name = SIGNATURE_NAMES["combined"]
    olivine = np.isin(status, [s for s in DelithiationStatus if s.answered])
    if not quantified.any():
        return f"From {name}: no pixel could be quantified, {int(olivine.sum())} of {x.size} hold olivine."
    error = np.hypot(result.x_std.data, result.x_systematic.data)[quantified]
    rich, poor = float(np.mean(x[quantified] > 0.9)), float(np.mean(x[quantified] < 0.1))
    flagged = {WORDS[s]: int(np.sum(olivine & (status == s))) for s in DelithiationStatus if s is not s.QUANTIFIED}
    reasons = ", ".join(f"{count} {word}" for word, count in flagged.items() if count)
    return (
        f"x of LixFePO4 is {state_x(statistics_of(result, quantified))}: Li per Fe of {int(quantified.sum())} of "
        f"{x.size} pixels, from {name}. A single pixel has the median uncertainty {np.median(error):.2g}; x is above "
        f"0.9 in {100 * rich:.0f} % of them and below 0.1 in {100 * poor:.0f} %. "
        + (f"More pixels with olivine are flagged ({reasons}); " if reasons else "")
        + f"{int((~olivine).sum())} have no answer."
    )


def _agreement(result: Delithiation, quantified: NDArray[np.bool_]) -> str:
    p = result.agreement.data
    known = np.isfinite(p) & np.isfinite(result.x.data)
    parts = []
    for method in ("references", *SIGNATURES):
        own = result.select(method)
        if np.isfinite(own.x.data[quantified]).any():
            found = statistics_of(own, quantified)
            error = float(np.hypot(found.x_std, found.x_systematic))
            parts.append(f"{with_error(found.x, error)} ({SIGNATURE_NAMES[method]})")
    if not known.any() or len(parts) < 2:
        return ""
    apart = float(np.mean(p[known] < DISAGREEMENT))
    verdict = "agree" if apart <= FEW_DISAGREE else "contradict each other"
    return (
        f"The estimates {verdict}: in the same pixels x is {', '.join(parts[:-1])} and {parts[-1]}; they differ by "
        f"more than their errors (p < {DISAGREEMENT:g}) in {100 * apart:.1f} % of {int(known.sum())} pixels."
    )


def _iron_phosphate(result: Delithiation) -> str:
    found = result.find_iron_phosphate(FALSE_FINDS).found.data
    olivine = int(np.isfinite(result.x.data).sum())
    number = int(found.sum())
    text = f"FePO4 is found in {number} of {olivine} pixels with olivine ({100 * number / olivine:.0f} %)"
    if number:
        text += f"; {100 * FALSE_FINDS:g} % of these finds, {FALSE_FINDS * number:.0f}, may be false"
    return text + "."


def _populations(result: Delithiation, quantified: NDArray[np.bool_]) -> str:
    found = result.fit_populations(quantified)
    mixture = found.accepted
    evidence = f"ΔBIC {found.bic_difference:.0f}, {found.n_pixels} pixels"
    shares = [f"{with_error(100 * s, 100 * e)} %" for s, e in zip(mixture.share, mixture.share_std, strict=True)]
    means = [with_error(m, e) for m, e in zip(mixture.mean, mixture.mean_std, strict=True)]
    if found.verdict is Verdict.TWO_PHASE:
        text = f"FePO4 in {shares[0]} of the pixels at x = {means[0]}, LiFePO4 in {shares[1]} at x = {means[1]}"
        if mixture.bridge:
            text += f", columns with both in {shares[2]}"
        return f"The olivine is two-phase by the distribution of x ({evidence}): {text}."
    width = with_error(mixture.width[0], mixture.width_std[0])
    if found.verdict is Verdict.UNDECIDED:
        return (
            "Whether the olivine is two-phase or a solid solution cannot be told from the distribution of x "
            f"({evidence})."
        )
    what = "one phase" if found.verdict is Verdict.ONE_PHASE else "a solid solution"
    return f"The olivine is {what} by the distribution of x ({evidence}): x = {means[0]}, of the width {width}."


def _carbon(result: Delithiation, quantified: NDArray[np.bool_]) -> str:
    carbon = carbon_of(result, quantified)
    if carbon is None:
        return (
            "Carbon is not among the references: what grows under the beam has its pi band at 5 to 6 eV and may pass "
            "for delithiation. Name carbon pixels to tell it apart."
        )
    return (
        f"Carbon in these pixels adds t/λ = {with_error(*carbon)} (mean, error from counting) to what lies on the "
        "reference pixels; x is what is left without it. If it grows between two states, that is the beam."
    )
