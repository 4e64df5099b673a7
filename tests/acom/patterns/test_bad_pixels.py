"""Bad pixels of a detector: each kind is found where it is, and an undamaged scan has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hyperspy_assb.acom.patterns.bad_pixels import find_bad_pixels, marked_pixels
from hyperspy_assb.acom.patterns.detector import examine_detector

SHAPE = (96, 96)
CENTRE = (47.0, 48.0)


def draw(
    count: int = 48, *, seed: int = 0, dose: float = 1.0, grains: bool = True, sigma: float = 0.9
) -> NDArray[np.uint16]:
    """Patterns of a direct beam, diffuse intensity and Bragg spots with their mates, in electrons."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(x - CENTRE[0], y - CENTRE[1])
    smooth = 3.0 * np.exp(-radius / 12.0) + 0.1 + 900.0 * np.exp(-0.5 * (radius / 1.3) ** 2)
    patterns = np.empty((count, *SHAPE), dtype=np.uint16)
    spots = rng.uniform(8, 44, 12), rng.uniform(0, 2 * np.pi, 12), rng.uniform(5, 80, 12)
    for k in range(count):
        if grains:
            spots = rng.uniform(8, 44, 12), rng.uniform(0, 2 * np.pi, 12), rng.uniform(5, 80, 12)
        mean = smooth.copy()
        for r, azimuth, height in zip(*spots, strict=True):
            for side in (-1, 1):
                u, v = CENTRE[0] + side * r * np.cos(azimuth), CENTRE[1] + side * r * np.sin(azimuth)
                mean += height * np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / sigma**2)
        patterns[k] = rng.poisson(dose * mean)
    return patterns


@pytest.fixture(scope="module")
def patterns() -> NDArray[np.uint16]:
    return draw()


def find(patterns: NDArray[Any], **arguments: Any) -> Any:
    return find_bad_pixels(patterns, marked_pixels(patterns), **arguments)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "kind", [{}, {"dose": 0.1}, {"dose": 10.0}, {"grains": False}, {"count": 200}, {"count": 10}, {"sigma": 0.7}]
)
def test_an_undamaged_scan_has_none(seed: int, kind: dict[str, Any]) -> None:
    # Of single crystals too, whose spots stay where they are.
    scan = draw(**({"count": 32} | kind), seed=seed)
    assert find(scan).mask.sum() == 0
    assert examine_detector(scan) is None


def test_a_saturated_beam_is_no_fault(patterns: NDArray[np.uint16]) -> None:
    # Of a camera of 8 bits, and of a counter of 6 bits whose values are kept in 8.
    for most in (255, 63):
        narrow = np.minimum(patterns, most).astype(np.uint8)
        assert (narrow == most).all(axis=0).sum() > 5
        assert find(narrow).mask.sum() == 0
        marked = narrow.copy()
        marked[:, 20, 70] = most
        assert np.argwhere(find(marked).mask).tolist() == [[20, 70]]


def test_a_beam_stop_is_no_fault(patterns: NDArray[np.uint16]) -> None:
    stopped = patterns.copy()
    stopped[:, 36:60, 35:59] = 0
    assert not find(stopped).mask[36:60, 35:59].any()


@pytest.mark.parametrize(
    ("value", "dtype"), [(2**16 - 1, np.uint16), (2**32 - 1, np.uint32), (-1, np.int32), (-(2**15), np.int16)]
)
def test_marked_pixels(patterns: NDArray[np.uint16], value: int, dtype: type) -> None:
    damaged = patterns.astype(dtype)
    damaged[:, 70:74] = value
    damaged[:, 20, 33] = value
    truth = np.zeros(SHAPE, dtype=bool)
    truth[70:74] = truth[20, 33] = True
    found = find(damaged)
    np.testing.assert_array_equal(found.mask, truth)
    np.testing.assert_array_equal(found.marked, truth)
    few = marked_pixels(damaged[:2])
    assert few[70:74].all() or value == -1


def test_not_a_number_is_marked(patterns: NDArray[np.uint16]) -> None:
    damaged = patterns.astype(np.float32)
    damaged[:, 5, 6], damaged[3, 7, 8] = np.nan, np.inf
    assert np.argwhere(find(damaged).marked).tolist() == [[5, 6], [7, 8]]


Damage = Callable[[NDArray[Any], np.random.Generator], tuple[NDArray[np.bool_], str]]


def dead_pixel_in_the_beam(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, 48, 47] = 0
    return np.s_[48, 47], "silent"


def dim_pixel_in_the_beam(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, 49, 47] = rng.binomial(d[:, 49, 47], 0.1)
    return np.s_[49, 47], "silent"


def dead_columns(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, :, 30:32] = 0
    return np.s_[:, 30:32], "silent"


def cross_of_four_chips(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, 60:64] = 0
    return np.s_[60:64], "silent"


def gap_through_the_beam(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, 47:50] = 0
    return np.s_[47:50], "silent"


def hot_pixel(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, 20, 75] += rng.poisson(50, len(d)).astype(d.dtype)
    return np.s_[20, 75], "bright"


def hot_cluster(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, 70:73, 20:23] += rng.poisson(400, (len(d), 3, 3)).astype(d.dtype)
    return np.s_[70:73, 20:23], "bright"


def hotter_than_the_beam(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, 80:83, 80:83] += rng.poisson(20000, (len(d), 3, 3)).astype(d.dtype)
    return np.s_[80:83, 80:83], "bright"


def stuck_pixel(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, 10, 60] = 700
    return np.s_[10, 60], "marked"


def flickering_pixel(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[rng.random(len(d)) < 0.2, 25, 25] = 900
    return np.s_[25, 25], "flickering"


def bright_column(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, :, 66] += rng.poisson(3.0, d[:, :, 66].shape).astype(d.dtype)
    return np.s_[:, 66], "lines"


def half_a_bright_row(d: NDArray[Any], rng: np.random.Generator) -> tuple[Any, str]:
    d[:, 14, :48] += rng.poisson(10.0, d[:, 14, :48].shape).astype(d.dtype)
    return np.s_[14, :48], "lines"


KINDS = [
    dead_pixel_in_the_beam,
    dim_pixel_in_the_beam,
    dead_columns,
    cross_of_four_chips,
    gap_through_the_beam,
    hot_pixel,
    hot_cluster,
    hotter_than_the_beam,
    stuck_pixel,
    flickering_pixel,
    bright_column,
    half_a_bright_row,
]


@pytest.mark.parametrize("damage", KINDS, ids=lambda f: f.__name__)
def test_each_kind_is_found_where_it_is(patterns: NDArray[np.uint16], damage: Any) -> None:
    damaged = patterns.copy()
    place, kind = damage(damaged, np.random.default_rng(1))
    truth = np.zeros(SHAPE, dtype=bool)
    truth[place] = True
    found = find(damaged)
    assert getattr(found, kind)[truth].mean() > 0.95
    assert found.mask[~truth].sum() <= 0.001 * truth.size
    assert f"{int(found.mask.sum())} of 9216 detector pixels" in found.in_words()[0]


@pytest.mark.parametrize("factor", [0.01, 37.5])
def test_faults_are_found_in_any_unit(patterns: NDArray[np.uint16], factor: float) -> None:
    damaged = patterns.copy()
    place, _ = hot_pixel(damaged, np.random.default_rng(1))
    other, _ = dead_columns(damaged, np.random.default_rng(1))
    found = find((damaged * factor).astype(np.float32), gain=factor)
    truth = np.zeros(SHAPE, dtype=bool)
    truth[place] = truth[other] = True
    np.testing.assert_array_equal(found.mask, truth)


def test_what_is_given_counts_and_is_told(patterns: NDArray[np.uint16]) -> None:
    given = np.zeros(SHAPE, dtype=bool)
    given[3:5, 3:6] = True
    found = find(patterns, given=given)
    np.testing.assert_array_equal(found.mask, given)
    assert found.in_words() == (
        "6 of 9216 detector pixels (0.065 %) are left out of all patterns and filled from their surroundings: 6 given "
        "as a mask.",
    )
    assert find(patterns).in_words() == ()


def test_few_patterns_tell_of_marks_alone(patterns: NDArray[np.uint16]) -> None:
    damaged = patterns[:5].copy()
    hot_cluster(damaged, np.random.default_rng(1))
    damaged[:, 4, 4] = 2**16 - 1
    assert np.argwhere(find(damaged).mask).tolist() == [[4, 4]]
