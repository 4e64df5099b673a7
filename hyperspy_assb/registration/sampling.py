"""Images to register: smoothing that minds missing pixels, bins of brightness, averages over the pixels of others."""

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


def noise_and_contrast(image: FloatArray) -> tuple[float, float]:
    """Standard deviation of the noise of single pixels, and of what is beyond it."""
    second = image[:, 1:-1] - 0.5 * (image[:, :-2] + image[:, 2:]) if image.shape[1] > 2 else image
    known = second[np.isfinite(second)]
    noise = 1.4826 * float(np.median(np.abs(known))) / np.sqrt(1.5) if known.size else 0.0
    return noise, float(np.sqrt(max(np.nanvar(image) - noise**2, 0.01 * np.nanvar(image))))
