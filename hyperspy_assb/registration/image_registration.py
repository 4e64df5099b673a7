"""One image registered on another: found, tested, and refined on boundaries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.registration.affine import Affine, FloatArray, ImageFrame
from hyperspy_assb.registration.alignment_step import DistortionOptions, Refined
from hyperspy_assb.registration.coarse_search import CoarseSearch
from hyperspy_assb.registration.local_contrast import Refinement
from hyperspy_assb.registration.sampling import binned_to
from hyperspy_assb.registration.shared_structure import SharedStructure, judge_shared_structure

_CANDIDATES = (4, 12)
_TRIED = 20_000.0
"""Pixels of the coarse image times places that are refined: the fewer pixels, the less the search tells."""
_RIVAL = 0.6
"""Share of the best evidence from which a place is refined as well."""
_FINEST = 3.0
"""A fine image is binned to no less than this part of a coarse pixel."""
_LARGEST = 160
"""Pixels of the longer side of the coarse image that are used; more are binned."""


@dataclass(frozen=True, eq=False)
class ImageRegistration:
    """How the frame of one image lies in that of another.

    Parameters
    ----------
    transform
        From positions of the reference to those of the image, in nm, with its covariance.
    p
        Probability that images which share nothing match as well.
    misfit
        Share of the variance of the coarser image which the finer one does not explain.
    converged
        Whether the refinement came to an end.
    coarse_pixel
        Larger pixel of the two, in nm of its own frame.
    drop
        Of :meth:`.Refinement.drop`; NaN for a transform that was given.
    """

    transform: Affine
    p: float
    misfit: float
    converged: bool
    coarse_pixel: float
    drop: float = float("nan")


def register_images(
    image: FloatArray,
    frame: ImageFrame,
    reference: FloatArray,
    reference_frame: ImageFrame,
    *,
    options: DistortionOptions | None = None,
    alpha: float = 0.01,
    names: tuple[str, str] = ("the image", "the reference"),
) -> ImageRegistration:
    """Find the affine transform between two images of one specimen, whatever their signals are.

    The coarser image is looked for in the finer one at all shifts and angles by mutual information, which asks for no
    likeness of contrast, and is then predicted from the local contrast of the finer one.

    Parameters
    ----------
    image, reference
        Shape (rows, columns); NaN where there is none.
    frame, reference_frame
        Where their pixels lie.
    options
        What is known of the transform.
    alpha
        Level of the test that anything is shared.
    names
        What the images are called in errors.

    Returns
    -------
    ImageRegistration
        From the reference to the image.

    Raises
    ------
    AssbValueError
        If an image is flat, too small or of another shape than its frame, nothing is shared, or one is mirrored or
        turned further than allowed.

    References
    ----------
    F. Maes et al., IEEE Trans. Med. Imaging 16, 187 (1997), doi:10.1109/42.563664.
    """
    options = options or DistortionOptions()
    for values, at, name in ((image, frame, names[0]), (reference, reference_frame, names[1])):
        _check(values, at, name)
    image, frame = binned_to(image, frame, max(reference_frame.coarseness / _FINEST, float(frame.extent.max()) / 1024))
    reference, reference_frame = binned_to(
        reference, reference_frame, max(frame.coarseness / _FINEST, float(reference_frame.extent.max()) / 1024)
    )
    # The coarser one is predicted from the finer one.
    onto_image = reference_frame.coarseness >= frame.coarseness
    coarse, coarse_frame, fine, fine_frame = (
        (reference, reference_frame, image, frame) if onto_image else (image, frame, reference, reference_frame)
    )
    coarse, coarse_frame = binned_to(coarse, coarse_frame, float(coarse_frame.extent.max()) / _LARGEST)
    search = CoarseSearch(coarse, coarse_frame, fine, fine_frame, options.largest_angle, options.overlap)
    refinement = Refinement(coarse, coarse_frame, fine, fine_frame, options)
    found, evidence = _place(search, refinement)
    if found is None:
        raise AssbValueError(
            f"{names[0]} and {names[1]} overlap too little to be registered on boundaries: name images of the same "
            "region, or give the transform."
        )
    drop = refinement.drop(found.transform)
    shared = judge_shared_structure(search, drop, options, evidence)
    _refuse(shared, alpha, names, options)
    found = refinement.with_block_errors(found)
    transform = found.transform if onto_image else found.transform.inverse
    coarse_pixel = coarse_frame.coarseness
    return ImageRegistration(transform, shared.p, found.misfit, found.converged, coarse_pixel, drop)


def _check(values: FloatArray, frame: ImageFrame, name: str) -> None:
    if values.shape != frame.shape:
        raise AssbValueError(f"{name} has shape {values.shape}, and its frame {frame.shape}.")
    if min(values.shape) < 8:
        raise AssbValueError(f"{name} has {values.shape[0]} x {values.shape[1]} pixels: at least 8 x 8 are needed.")
    known = values[np.isfinite(values)]
    if known.size < 64 or not float(np.ptp(known)) > 0.0:
        raise AssbValueError(f"{name} is flat, or has hardly a finite pixel: choose another map to register on.")
    if not (np.all(np.isfinite(frame.pixel)) and min(frame.pixel) > 0.0):
        raise AssbValueError(f"{name} has no pixel size: set scale and units of its axes.")


def _refuse(shared: SharedStructure, alpha: float, names: tuple[str, str], options: DistortionOptions) -> None:
    if shared.other_way and shared.other_p < alpha:
        raise AssbValueError(
            f"{names[0]} matches {names[1]} only when {shared.other_way} (p = {shared.other_p:.2g}): flip or rotate it "
            "first, or check the scan directions."
        )
    if not shared.p < alpha:
        raise AssbValueError(
            f"{names[0]} and {names[1]} share nothing that chance would not (p = {shared.p:.2g}, alpha = {alpha:g}): "
            f"they show other regions, are turned by more than {options.largest_angle:g}°, or show too little "
            "structure; choose other maps, or give the transform."
        )


def _place(search: CoarseSearch, refinement: Refinement) -> tuple[Refined | None, float]:
    """The best place refined, and its evidence; where others rival it, the likeliest of them."""
    count = int(np.clip(_TRIED / search.coarse.size, *_CANDIDATES))
    candidates = search.candidates(count)
    chosen: Refined | None = None
    evidence = 0.0
    least = _RIVAL * candidates[0].evidence if candidates else 0.0
    for candidate in candidates:
        if candidate.evidence < least:
            break
        found = refinement.refine(candidate.transform)
        if found is not None and (chosen is None or found.surprise < chosen.surprise):
            chosen, evidence = found, candidate.evidence
    return None if chosen is None else refinement.settle(chosen), evidence
