"""What a delithiation result says, in sentences, each number with its uncertainty; and its maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.populations import FEWEST
from hyperspy_assb.eels.delithiation.quantification import DISAGREEMENT
from hyperspy_assb.eels.delithiation.region_statistics import RegionStatistics
from hyperspy_assb.plotting.delithiation import STATUS_NAMES as WORDS
from hyperspy_assb.plotting.delithiation import method_text
from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.reference import Electrode
from hyperspy_assb.report.key_numbers import KeyNumber, sigmas
from hyperspy_assb.signals.eels.delithiation import Delithiation

FALSE_FINDS = 0.05
"""Expected share of false finds of the delithiated end member."""
FOUND_WORDS = {0: "no electrode, or no answer", 1: "not found", 2: "found"}
FEW_DISAGREE = 0.01
"""Share of pixels whose estimates contradict each other up to which they are said to agree; by chance there is a tenth
of it."""


def describe_delithiation(result: Delithiation) -> Iterator[str]:
    """Findings on x, the combined estimate first."""
    result = result.with_method("combined")
    quantified = result.quantified
    yield _content(result)
    if not quantified.any():
        return
    agreement = _agreement(result)
    if agreement:
        yield agreement
    yield result.find_delithiated(FALSE_FINDS)._in_one_sentence()
    if quantified.sum() >= FEWEST:
        yield result.fit_populations(quantified).summary()
    mixture = result.compare_with_mixture()
    if np.isfinite(mixture.found.p_value):
        yield f"A mixture of two phases, or a line shape of its own: {mixture.summary()}"
    yield _carbon(result, quantified)
    deviance = float(np.median(result.reduced_deviance.data[quantified]))
    yield (
        f"As columns of the reference phases, the spectra of these pixels have the median reduced deviance "
        f"{deviance:.2f} (1: explained to within their noise)."
    )
    yield from result.notes


def delithiation_numbers(result: Delithiation) -> Iterator[KeyNumber]:
    """x of the quantified pixels together, how far it is delithiated, and where that is found."""
    # What the built-in cross-sections calibrate has one method, and no finds.
    result = result if result.standard is None else result.with_method("combined")
    quantified, electrode = result.quantified, result.electrode
    if not quantified.any():
        return
    found = result.region_statistics(quantified)
    error = float(np.hypot(found.fraction_std, found.fraction_systematic))
    unit = f"{electrode.ion} per formula unit"
    yield KeyNumber(f"x in {electrode.name}", electrode.x_of(found.fraction), unit, electrode.ions_removed * error)
    poor = 1.0 - found.fraction
    yield KeyNumber(f"share of {electrode.delithiated}", 100 * poor, "%", 100 * error, sigmas(poor, error))
    if result.standard is None:
        return
    finds = result.find_delithiated(FALSE_FINDS).found.data
    name = f"pixels with {electrode.delithiated}, at most {100 * FALSE_FINDS:g} % of them false"
    yield KeyNumber(name, int(finds.sum()), f"of {int(quantified.sum())}")


def carbon_of(result: Delithiation, pixels: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Mean t/lambda of carbon in some pixels and its standard error from counting; None if it is no reference."""
    if "carbon" not in result.amounts or not pixels.any():
        return None
    errors = result.amounts_std["carbon"].data[pixels]
    return float(np.mean(result.amounts["carbon"].data[pixels])), float(np.sqrt(np.sum(errors**2)) / errors.size)


def state_x(found: RegionStatistics, electrode: Electrode) -> str:
    """x of a region with both of its errors."""
    std, systematic = (electrode.ions_removed * e for e in (found.fraction_std, found.fraction_systematic))
    digits = 1 - int(np.floor(np.log10(np.clip(np.hypot(std, systematic), 1e-4, 0.1))))
    x = electrode.x_of(found.fraction)
    return f"{x:.{digits}f} ± {std:.{digits}f} (counting) ± {systematic:.{digits}f} (systematic)"


def delithiation_maps(result: Delithiation, make: Callable[..., Any]) -> dict[str, Any]:
    """Maps of a delithiation result by name: x by every method, then what all methods share."""
    words = {int(status): text for status, text in WORDS.items()}
    electrode, delithiated = result.electrode.name, result.electrode.delithiated
    maps = {}
    for method in result.methods:
        shown = result.with_method(method)
        name = method_text(shown)
        maps |= {
            f"x_{method}": make(shown.x, f"x in {electrode} ({name})", electrode=result.electrode),
            f"x_std_{method}": make(shown.x_std, f"Standard error of x from counting ({name})"),
            f"x_systematic_{method}": make(shown.x_systematic, f"Systematic uncertainty of x ({name})"),
            f"significance_{method}": make(shown.significance, f"Significance ({name})", "σ"),
            f"detection_limit_{method}": make(shown.detection_limit, f"Detection limit ({name})"),
            f"status_{method}": make(shown.status, f"Status of x ({name})", "", words),
        }
    finds = result.with_method("combined").find_delithiated(FALSE_FINDS)
    answered = np.isfinite(result.x.data)
    classes = finds.found._deepcopy_with_new_data(np.where(answered, 1 + finds.found.data, 0).astype(np.int8))
    maps |= {
        "delithiated": make(classes, delithiated, "", FOUND_WORDS),
        "delithiated_q_value": make(finds.q_value, f"Share of false finds at which {delithiated} is found"),
        "agreement": make(result.agreement, "p value of the agreement of the estimates"),
        "electrode_share": make(result.electrode_share, f"Share of {electrode} in t/λ"),
        "mixture_deviance": make(result.reduced_deviance, "Reduced deviance as a column of the phases"),
    }
    for phase, amount in result.amounts.items():
        maps[f"amount_{phase}"] = make(amount, f"t/λ of {phase}")
        maps[f"amount_{phase}_std"] = make(result.amounts_std[phase], f"Standard error of t/λ of {phase}")
    return maps


def _content(result: Delithiation) -> str:
    status, fraction, quantified = result.status.data, result.fraction.data, result.quantified
    name, how, electrode = result.electrode.name, method_text(result), result.electrode
    held = np.isin(status, [s for s in DelithiationStatus if s.answered])
    if not quantified.any():
        return f"By {how}: no pixel could be quantified, {int(held.sum())} of {status.size} hold {name}."
    error = np.hypot(result.x_std.data, result.x_systematic.data)[quantified]
    rich, poor = float(np.mean(fraction[quantified] > 0.9)), float(np.mean(fraction[quantified] < 0.1))
    flagged = {WORDS[s]: int(np.sum(held & (status == s))) for s in DelithiationStatus if s is not s.QUANTIFIED}
    reasons = ", ".join(f"{count} {word}" for word, count in flagged.items() if count)
    return (
        f"x in {name} is {state_x(result.region_statistics(quantified), electrode)}: {electrode.ion} per formula unit "
        f"of {int(quantified.sum())} of {status.size} pixels, by {how}. A single pixel has the median uncertainty "
        f"{np.median(error):.2g}; more than nine tenths are {electrode.lithiated} in {100 * rich:.0f} % of them, and "
        f"{electrode.delithiated} in {100 * poor:.0f} %. "
        + (f"More pixels with {name} are flagged ({reasons}); " if reasons else "")
        + f"{int((~held).sum())} have no answer."
    )


def _agreement(result: Delithiation) -> str:
    p, quantified = result.agreement.data, result.quantified
    known = np.isfinite(p) & np.isfinite(result.x.data)
    parts = []
    for method in ("references", *(m for m in result.methods if m not in ("references", "combined"))):
        own = result.with_method(method)
        if np.isfinite(own.x.data[quantified]).any():
            found = own.region_statistics(quantified)
            error = result.electrode.ions_removed * float(np.hypot(found.fraction_std, found.fraction_systematic))
            parts.append(f"{with_error(result.electrode.x_of(found.fraction), error)} ({method_text(own)})")
    if not known.any() or len(parts) < 2:
        return ""
    apart = float(np.mean(p[known] < DISAGREEMENT))
    judged = "agree" if apart <= FEW_DISAGREE else "contradict each other"
    return (
        f"The estimates {judged}: in the same pixels x is {', '.join(parts[:-1])} and {parts[-1]}; they differ by "
        f"more than their errors (p < {DISAGREEMENT:g}) in {100 * apart:.1f} % of {int(known.sum())} pixels."
    )


def _carbon(result: Delithiation, quantified: NDArray[np.bool_]) -> str:
    carbon = carbon_of(result, quantified)
    if carbon is None:
        imitated = "valence" in result.methods
        return "Carbon is not among the references: " + (
            "carbon that grows under the beam has its pi band at 5 to 6 eV and may be mistaken for delithiation. Name "
            "carbon pixels "
            "to separate it."
            if imitated
            else "carbon that grows under the beam is counted as part of the column. Name carbon pixels to separate it."
        )
    return (
        f"Carbon in these pixels adds t/λ = {with_error(*carbon)} (mean, error from counting) to the carbon on the "
        "reference pixels; x is corrected for it. If it grows between two states, the beam deposited it."
    )
