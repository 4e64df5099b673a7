"""Images to register: bins of brightness, smoothing that minds missing pixels, and averages over the pixels of others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyperspy_assb.registration.affine import FloatArray, ImageFrame


def block_means(image: FloatArray, rows: int, columns: int) -> FloatArray:
    """Means of whole blocks of pixels; NaN are left out, and a block of them alone is NaN."""
    if rows == columns == 1:
        return image
    height, width = image.shape[0] // rows, image.shape[1] // columns
    blocks = image[: height * rows, : width * columns].reshape(height, rows, width, columns)
    there = np.isfinite(blocks)
    count = there.sum(axis=(1, 3))
    total = np.where(there, blocks, 0.0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def binned_to(image: FloatArray, frame: ImageFrame, pixel: float) -> tuple[FloatArray, ImageFrame]:
    """The image in blocks whose sides are at most ``pixel`` nm, or as it is."""
    rows, columns = (max(1, min(int(pixel / size), n)) for size, n in zip(frame.pixel, frame.shape, strict=True))
    return block_means(image, rows, columns), frame.binned(rows, columns)


def smoothed(image: FloatArray, sigma: tuple[float, float]) -> FloatArray:
    """Gaussian means of the pixels that are there; missing ones stay missing."""
    if max(sigma) < 0.05:
        return image
    there = np.isfinite(image)
    weight = ndimage.gaussian_filter(there.astype(float), sigma, mode="constant")
    total = ndimage.gaussian_filter(np.where(there, image, 0.0), sigma, mode="constant")
    return np.where(there, total / np.maximum(weight, 1e-9), np.nan)


def brightness_knots(image: FloatArray, count: int) -> FloatArray:
    """Brightnesses between which an image is told apart: shares of its pixels and of its range, half each."""
    values = image[np.isfinite(image)]
    low, high = np.quantile(values, [0.01, 0.99])
    shares = np.quantile(values, np.linspace(0.01, 0.99, count))
    return np.unique(0.5 * (shares + np.linspace(low, high, count)))


def tents(image: FloatArray, knots: FloatArray) -> FloatArray:
    """How much of each knot a brightness is, shape (knots, ...), which add up to 1; 0 where the image is missing."""
    there = np.isfinite(image)
    values = np.clip(np.where(there, image, knots[0]), knots[0], knots[-1])
    low = np.clip(np.searchsorted(knots, values, side="right") - 1, 0, max(len(knots) - 2, 0))
    found = np.zeros((len(knots), *image.shape))
    if len(knots) == 1:
        found[0] = there
        return found
    part = (values - knots[low]) / (knots[low + 1] - knots[low])
    for k in range(len(knots)):
        found[k] = np.where(low == k, 1.0 - part, 0.0) + np.where(low + 1 == k, part, 0.0)
    return found * there


def quantile_labels(image: FloatArray, count: int) -> NDArray[np.int64]:
    """Bins of equal numbers of pixels, 0 to ``count`` - 1; -1 where the image is missing."""
    there = np.isfinite(image)
    edges = np.unique(np.quantile(image[there], np.linspace(0.0, 1.0, count + 1)[1:-1]))
    return np.where(there, np.searchsorted(edges, np.where(there, image, 0.0), side="right"), -1)


def box_means(images: FloatArray, frame: ImageFrame, pixel: tuple[float, float]) -> FloatArray:
    """Fine images, shape (K, rows, columns), such that their values between pixels are means over coarse pixels.

    A square has the same second moments however it is turned, so one box serves all transforms. What the fine pixel and
    the linear interpolation average already is taken off.
    """
    for axis, (wanted, own) in enumerate(zip(pixel, frame.pixel, strict=True), start=1):
        width = np.sqrt(max((wanted / own) ** 2 - 3.0, 0.0))
        reach = int(np.ceil(0.5 * width - 0.5)) if width > 0.0 else 0
        if reach <= 0:
            continue
        offsets = np.arange(-reach, reach + 1)
        kernel = np.clip(0.5 * width + 0.5 - np.abs(offsets), 0.0, 1.0)
        images = ndimage.correlate1d(images, kernel / kernel.sum(), axis=axis, mode="constant")
    return images


def values_at(images: FloatArray, frame: ImageFrame, positions: FloatArray) -> FloatArray:
    """Values of images, shape (K, rows, columns), between their pixels at positions of shape (N, 2); shape (K, N)."""
    where = frame.indices(positions).T
    return np.array([ndimage.map_coordinates(image, where, order=1, mode="constant", cval=0.0) for image in images])
