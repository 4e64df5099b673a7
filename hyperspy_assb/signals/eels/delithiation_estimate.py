"""Delithiation of a signal: its references read, one function on arrays, and the result dressed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import combinations
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import provenance, reference
from hyperspy_assb.eels.delithiation.cross_section_calibration import check_olivine, quantify_by_cross_sections
from hyperspy_assb.eels.delithiation.end_members import (
    SIGNATURE_NAMES,
    canonical_names,
    check_method,
    elements_of,
    end_members,
    find_electrode,
    methods_of,
)
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.mixture import VALENCE_END
from hyperspy_assb.eels.delithiation.pixels import CONDITIONS
from hyperspy_assb.eels.delithiation.quantification import (
    Quantification,
    check_purity,
    distrust_errors,
    measure_scatter,
    quantify,
)
from hyperspy_assb.eels.delithiation.standard import FEWEST_PURE, Standard, build_standard
from hyperspy_assb.eels.delithiation.unnamed_phases import Unnamed
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.eels.zero_loss.position import channels_together
from hyperspy_assb.eels.zero_loss.recorded_noise import noise_of
from hyperspy_assb.errors import AssbTypeError, AssbValueError, AssbWarning, see
from hyperspy_assb.progress import counting
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.eels.delithiation import Delithiation
from hyperspy_assb.signals.eels.delithiation_maps import BUILTIN
from hyperspy_assb.signals.eels.low_loss_reading import read_low_loss
from hyperspy_assb.signals.region_mask import is_roi, region_array, region_mask
from hyperspy_assb.signals.result import navigation_axes

DEFAULT_ELECTRODE = "LixFePO4"
"""Of the built-in calibration, which needs no references."""
MOST_PIXELS = 300
"""Pure pixels of a phase that are looked at: their noise is then a three-hundredth of that of one pixel."""
LITHIUM_END = 70.0
"""eV. The maximum of Li K, near 62 eV, must lie in the range with its upper flank."""


def quantify_delithiation(
    signal: Any,
    references: Mapping[str, Any] | Delithiation | str | None,
    method: str,
    *,
    electrode: str | Electrode | None = None,
    elements: tuple[str, ...] | None = None,
    ensemble: bool = True,
    show_progressbar: bool | None = None,
    progress: Callable[[int], object] | None = None,
    computed_note: str = "",
) -> Delithiation:
    """What :meth:`ASSBEELSSpectrum.quantify_delithiation` does; with a note, computed spectra found the references."""
    couple = choose_electrode(references, method, electrode)
    spectra = read_spectra(signal, couple)
    masks: dict[str, NDArray[np.bool_]] = {}
    standard: Standard | None = None
    said: tuple[str, ...] = ()
    if isinstance(references, Delithiation):
        standard = references.needed_standard("The calibration of another signal")
        _compare_microscopes(spectra.microscope, references)
        standard.calibration.check_contrast(standard.names, method)
    elif references:
        standard, masks = calibrate_on(signal, spectra, references, couple, method=method, elements=elements)
        check_purity(standard)
    with counting("delithiation", len(spectra.counts), show_progressbar, progress) as advance:
        if standard is None:
            found = quantify_by_cross_sections(spectra, elements, advance)
        else:
            spectra = spectra.add_channels(max(1, round(standard.dispersion / spectra.scale)))
            noise = noise_of(spectra, float(standard.zero_loss[2]))
            found = quantify(
                standard,
                spectra.counts,
                spectra.energy,
                detector=noise.broad,
                ensemble=ensemble,
                progress=advance,
            )
            if not noise.is_counting:
                found = distrust_errors(found)
            if noise.contradicted or not noise.is_counting:
                said = (noise.sentence,)
    result = Delithiation(
        found=found,
        electrode=couple,
        method=method,
        standard=standard,
        references=masks,
        found_by_computed=bool(computed_note),
        axes=navigation_axes(signal),
        notes=(*filter(None, [computed_note]), *_notes(couple, standard), *said, *_warnings(found, standard)),
    )
    parameters = {
        "method": method,
        "electrode": couple.name,
        "calibration": result.calibration,
        "microscope": asdict(spectra.microscope),
        "file": spectra.file,
    }
    works = ["lithium", "cross_sections", "mean_free_path"] if result.builtin else ["delithiation"]
    return replace(result, provenance=provenance.record("quantify_delithiation", parameters=parameters, methods=works))


def choose_electrode(
    references: Mapping[str, Any] | Delithiation | str | None, method: str, electrode: str | Electrode | None
) -> Electrode:
    """The electrode that is meant, which allows the method.

    Raises
    ------
    AssbValueError
        If references are missing or fit none or more than one electrode, or the method is unknown or not possible.
    MissingFactError
        If the electrode lacks the signature that the method needs.
    AssbTypeError
        If the references or the electrode are of another kind, such as a path.
    """
    if isinstance(references, str | PathLike):
        raise AssbTypeError(f"references is a path: hyperspy_assb.load({str(references)!r}) makes a calibration of it.")
    if not isinstance(references, Mapping | Delithiation | None):
        raise AssbTypeError(
            "references must be a dictionary of pure pixels or spectra by phase, as {'LiFePO4': mask, 'FePO4': mask}, "
            f"or a Delithiation, not {type(references).__name__}."
        )
    if not isinstance(electrode, str | Electrode | None):
        raise AssbTypeError(
            f"electrode must be the name of an electrode, such as {DEFAULT_ELECTRODE!r}, or an Electrode, not "
            f"{type(electrode).__name__}."
        )
    if isinstance(references, Delithiation):
        couple = references.electrode
        asked = reference.electrode(electrode) if isinstance(electrode, str) else electrode
        if asked is not None and end_members(asked) != end_members(couple):
            raise AssbValueError(f"The references are of {couple.name}, but electrode is {asked.name}.")
        check_method(method, couple)
    elif references:
        couple = find_electrode(list(canonical_names(references).values()), electrode)
        check_method(method, couple)
    else:
        named = DEFAULT_ELECTRODE if electrode is None else electrode
        couple = reference.electrode(named) if isinstance(named, str) else named
        check_method(method, couple)
        if references is not None or method != "lithium":
            raise AssbValueError(
                "references must name pure pixels of both end members: {'LiFePO4': mask, 'FePO4': mask}, and where "
                "they lie in the columns, 'LAGP' and 'carbon'; or be the Delithiation of another signal of the same "
                f"specimen. Without any, method='lithium' computes Li per Fe by {BUILTIN}, which leaves x uncertain by "
                "about 0.3 near FePO4 and 1 near LiFePO4. s.suggest_references() proposes pixels of the map itself. "
                + see("delithiation")
            )
        check_olivine(couple)
    return couple


def read_spectra(signal: Any, electrode: Electrode) -> LowLossMap:
    """The spectra, on a range that holds what tells the end members of the electrode apart."""
    if SIGNATURE_NAMES["lithium"] in electrode.signatures:
        return read_low_loss(signal, minimum_end=LITHIUM_END, purpose="Li K with the edges under it")
    purpose = "the valence electrons, which count formula units"
    return read_low_loss(signal, minimum_end=VALENCE_END, purpose=purpose)


def calibrate_on(
    signal: Any,
    spectra: LowLossMap,
    references: Mapping[str, Any],
    electrode: Electrode,
    *,
    method: str,
    elements: tuple[str, ...] | None,
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
    electrode
        Whose end members are among the phases.
    method
        By which x is to be told.
    elements
        Elements whose edges are fitted; None: those of the phases.

    Raises
    ------
    AssbValueError, AssbTypeError
        If a reference cannot be used, or two name the same pixels; the phases are named.
    """
    masks: dict[str, NDArray[np.bool_]] = {}
    pure, labels, fewest = [], [], FEWEST_PURE
    phases = canonical_names(references)
    for given, region in references.items():
        phase = phases[given]
        found = reference_spectra(spectra.energy, given, region)
        if found is None:
            masks[phase] = region_mask(signal, region, name=f"references[{given!r}]")
            rows = np.flatnonzero(masks[phase])
            rows = rows[np.linspace(0, rows.size - 1, min(rows.size, MOST_PIXELS)).astype(int)]
            found = np.asarray(spectra.counts[rows])
        else:
            fewest = min(fewest, len(found))
        pure.append(found)
        labels += [phase] * len(found)
    for one, other in combinations(masks, 2):
        if shared := int((masks[one] & masks[other]).sum()):
            raise AssbValueError(
                f"references[{one!r}] and references[{other!r}] share {shared} pixels; each holds one phase."
            )
    known = replace(spectra, counts=np.concatenate(pure))
    known = known.add_channels(channels_together(known.counts, known.energy))
    own = {phase: np.array([label == phase for label in labels]) for phase in phases.values()}
    standard, detector = build_standard(
        known, own, electrode, elements or elements_of(own), method=method, minimum_pixels=fewest
    )
    return measure_scatter(standard, known, own, detector), masks


def _notes(electrode: Electrode, standard: Standard | None) -> tuple[str, ...]:
    """What a reader must know of the estimates."""
    if standard is None:
        return (
            f"x is computed from {BUILTIN}, without references: it is uncertain by about 0.3 near "
            f"{electrode.delithiated} and 1 "
            f"near {electrode.lithiated}.",
        )
    own = [m for m in methods_of(electrode) if m in SIGNATURE_NAMES]
    if not own:
        return (
            f"{electrode.name} has no signature apart from its whole spectrum: x comes from the mixture of the "
            f"reference spectra alone, and nothing would reveal that {electrode.lithiated} and "
            f"{electrode.delithiated} are "
            "exchanged.",
        )
    signatures = {"valence": "the 5 eV band", "lithium": "Li K"}
    words = ["the mixture of the reference spectra", *(signatures[m] for m in own)]
    return (f"The combined estimate of x is from {', '.join(words[:-1])} and {words[-1]}.",)


def _about_unnamed(unnamed: Unnamed, status: NDArray[np.int8]) -> Iterator[str]:
    """Sentences on what a map holds beside the references."""
    flagged, like = int(np.sum(status == DelithiationStatus.UNEXPLAINED)), unnamed.candidates
    yield "Some columns contain material that no reference explains."
    if like:
        yield f"It looks like {' or '.join(like)}: name pixels of it in references."
    else:
        yield (
            "It matches no known material: name pixels of the other material in references, or look for a change of "
            "thickness, zero loss or processing between references and map."
        )
    if unnamed.passes is not None:
        yield (
            f"About {100 * unnamed.share:.0f} % of the columns contain some (map: unnamed). x is corrected for it, "
            "and x_systematic includes the uncertainty of this correction."
        )
    if flagged:
        yield (f"{flagged} of {status.size} pixels are unexplained, as their status says: do not trust their x.")


def _warnings(found: Quantification, standard: Standard | None) -> tuple[str, ...]:
    """What was met in the spectra that the references did not tell of."""
    said = []
    content = next(iter(found.contents.values()))
    if found.unnamed:
        said.append(" ".join(_about_unnamed(found.unnamed, content.status)))
    unlike = content.status == DelithiationStatus.OUTSIDE
    if standard is not None and unlike.any():
        counts = found.outside[unlike].sum(axis=0)
        low, high = standard.conditions[:, counts.argmax()]
        said.append(
            f"{int(unlike.sum())} of {content.status.size} pixels are unlike the references and not explained by them: "
            f"{CONDITIONS[counts.argmax()]} lies outside {low:.3g} to {high:.3g}. Name pure pixels like these, or "
            "record the references under the conditions of the map."
        )
    if struck := int(found.struck.sum()):
        said.append(f"Single channels of {struck} spectra were struck (X-rays, defects of the camera) and left out.")
    if standard is not None and standard.noise_scale > 1.0:
        said.append(
            f"Pure pixels scatter {np.sqrt(standard.noise_scale):.2g} times as much as their neighbouring channels "
            "predict, for example because a camera or a processing step shares counts between channels: all errors "
            "are widened by "
            "that factor."
        )
    return tuple(said)


def reference_spectra(energy: NDArray[np.float64], phase: str, region: Any) -> NDArray[Any] | None:
    """Spectra of a phase, shape (S, E), if that is what a reference is; None if it names pixels.

    Raises
    ------
    AssbValueError
        If their energy axis is not that of the signal.
    """
    if is_roi(region):
        return None
    data = region_array(region)
    if data.dtype == bool or data.dtype.kind not in "iufc" or data.ndim == 0:
        return None
    if np.ma.is_masked(region) or np.ma.is_masked(getattr(region, "data", None)):
        raise AssbValueError(f"references[{phase!r}] holds masked values: leave those spectra out.")
    if np.iscomplexobj(data):
        raise AssbTypeError(f"references[{phase!r}] holds complex numbers, but spectra are counts: take real values.")
    scale = float(energy[1] - energy[0])
    manager = getattr(region, "axes_manager", None)
    if manager is not None and manager.signal_dimension == 1:
        other = manager.signal_axes[0]
        same = other.size == energy.size and np.allclose(other.axis, energy, atol=0.01 * scale)
        data = np.moveaxis(data, other.index_in_array, -1)
    else:
        same = manager is None and data.shape[-1] == energy.size
    if not same:
        if data.dtype.kind in "iu":
            return None  # an array of integers on the navigation axes, which is told apart as a wrong mask
        raise AssbValueError(
            f"references[{phase!r}] must have the energy axis of the signal, {energy.size} channels of {scale:g} eV "
            f"from {energy[0]:g} eV, or be a mask of booleans on its navigation axes."
        )
    return data.reshape(-1, energy.size)


def _compare_microscopes(own: MicroscopeParameters, calibration: Delithiation) -> None:
    """Warn if a signal and its calibration say that they were recorded differently."""
    known = calibration.provenance.get("parameters", {}).get("microscope", {})
    for name, value in asdict(own).items():
        other = known.get(name)
        if value is not None and other is not None and not np.isclose(value, other, rtol=0.01):
            warnings.warn(
                f"{name} is {value:g} here, but {other:g} where the references were recorded: the spectra of the "
                "phases depend on it, and so does x.",
                AssbWarning,
                stacklevel=4,
            )
