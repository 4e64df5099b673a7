"""Lines are where they are, to a small part of a pixel, and no wider for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from hyperspy_assb.series.grains.line_course import line_distances

SIZE = 64
MIDDLE = (SIZE - 1) / 2.0


def offset_from(angle: float, place: float) -> np.ndarray:
    """Distance of each pixel from a straight line, with its sign."""
    y, x = np.mgrid[:SIZE, :SIZE] - MIDDLE
    return x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle)) - place


@pytest.mark.parametrize(
    ("angle", "place"), [(0.0, 0.0), (17.0, 0.0), (45.0, np.sqrt(0.125)), (71.0, 0.0), (90.0, 0.0)]
)
def test_distances_of_tilted_lines_are_straight(angle: float, place: float) -> None:
    # Pixels can show lines that run between them.
    offset = offset_from(angle, place)
    distance = line_distances((1 + (offset > 0.0)).astype(np.int32))[1::3, 1::3]
    inner = slice(12, -12)
    error = (distance - np.abs(offset))[inner, inner]
    assert np.abs(error).max() < 0.3
    # Distances on a grid of points fall short by about .03 pixels, which makes areas 2 % too large.
    assert abs(error[np.abs(offset[inner, inner]) < 4.0].mean()) < 0.015


@pytest.mark.parametrize("step", [0.0, 0.15, -0.15], ids=["one brightness", "step up", "step down"])
@pytest.mark.parametrize("wrong", [-1.0, 0.0, 0.6])
def test_line_moves_to_where_the_image_is_dark(wrong: float, step: float) -> None:
    offset = offset_from(25.0, 0.3)
    image = ndimage.gaussian_filter(
        (1.0 + step * (offset > 0.0)) * np.where(np.abs(offset) < 1.5, 0.7, 1.0), 1.0, mode="nearest"
    )
    labels = (1 + (offset > wrong)).astype(np.int32)
    distance = line_distances(labels, image)[1::3, 1::3]
    inner = slice(14, -14)
    near = np.abs(offset[inner, inner]) < 4.0
    assert np.abs((distance - np.abs(offset))[inner, inner][near]).mean() < 0.1


def test_one_label_has_no_line() -> None:
    assert np.isinf(line_distances(np.ones((20, 20), dtype=np.int32))).all()
