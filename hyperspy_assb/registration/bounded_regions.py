"""Regions of a fine image, bounded by its edges, and their shares in the pixels of a coarse one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from hyperspy_assb.registration.affine import Affine, FloatArray, ImageFrame
from hyperspy_assb.registration.alignment_step import IntArray
from hyperspy_assb.registration.sampling import noise_and_contrast, smoothed

_APART = 1.5
"""Least distance of the middles of two regions, in coarse pixels."""
_MOST_REGIONS = 300


def find_regions(image: FloatArray, frame: ImageFrame, pixel: float) -> IntArray:
    """Regions that are bounded by edges of an image, numbered from 1; 0 where it is missing.

    Parameters
    ----------
    image
        NaN where it is missing.
    frame
        Of the image.
    pixel
        Coarse pixel in nm: regions are not much smaller.
    """
    there = np.isfinite(image)
    ratio = pixel / frame.coarseness
    noise, contrast = noise_and_contrast(image)
    # A Gaussian of sigma s leaves 1/(2 sqrt(pi) s) of white noise; edges are to stand above it.
    wanted = 8.0 * noise / (2.0 * np.sqrt(np.pi) * max(contrast, 1e-30))
    sigma = float(np.clip(wanted, 0.7, max(0.6 * ratio, 0.7)))
    calm = smoothed(image, (sigma, sigma))
    filled = np.where(there, calm, float(np.nanmedian(calm)))
    edges = np.hypot(ndimage.sobel(filled, 0), ndimage.sobel(filled, 1))
    distance = max(1.0, _APART * ratio, np.sqrt(there.sum() / _MOST_REGIONS) / 1.5)
    peaks = peak_local_max(-edges, min_distance=round(distance), exclude_border=False, labels=there.astype(np.int64))
    markers = np.zeros(image.shape, dtype=np.int64)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    if not len(peaks):
        return there.astype(np.int64)
    return np.asarray(watershed(edges, markers, mask=there), dtype=np.int64)


def region_shares(
    regions: IntArray, fine: ImageFrame, frame: ImageFrame, transform: Affine, positions: FloatArray
) -> sparse.csr_matrix:
    """Shares of the regions in the area of coarse pixels, by points in them; shape (positions, regions)."""
    counts = [int(np.clip(np.ceil(c / f) + 1, 2, 6)) for c, f in zip(frame.pixel, fine.pixel, strict=True)]
    down, right = np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in counts), indexing="ij")
    steps = np.stack([down.ravel(), right.ravel()], axis=-1) * np.array(frame.pixel)
    rows, labels = [], []
    for step in steps:
        at = np.rint(fine.indices(transform(positions + step))).astype(np.int64)
        at = np.clip(at, 0, np.array(regions.shape) - 1)
        labels.append(regions[at[:, 0], at[:, 1]])
        rows.append(np.arange(len(positions)))
    row, label = np.concatenate(rows), np.concatenate(labels)
    known = label > 0
    shape = (len(positions), int(regions.max()))
    return sparse.csr_matrix((np.full(known.sum(), 1.0 / len(steps)), (row[known], label[known] - 1)), shape)
