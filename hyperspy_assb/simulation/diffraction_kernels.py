"""Compiled loops of the diffraction simulator: spots of a crystal, images, counts."""

from __future__ import annotations

import numpy as np
from numba import njit

# Reflections further from the Ewald sphere than this (1/Å), at every incident direction, are left out.
REACH = 0.015
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xBF58476D1CE4E5B9)
_THIRD = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@njit(cache=True, nogil=True, inline="always")
def _mix(x):
    """SplitMix64: a well-mixed number of each number."""
    x = x + _FIRST
    x = (x ^ (x >> _S30)) * _SECOND
    x = (x ^ (x >> _S27)) * _THIRD
    return x ^ (x >> _S31)


@njit(cache=True, nogil=True)
def normal_of(key, grain):
    """A standard normal number that belongs to a pair of 64-bit numbers."""
    state = _mix(key ^ _mix(grain))
    u = (float(state >> _S11) + 0.5) / 9007199254740992.0
    v = float(_mix(state) >> _S11) / 9007199254740992.0
    return np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * v)


@njit(cache=True, nogil=True)
def crystal_spots(
    vectors, inverse_extinction, keys, matrix, thickness, beams, spread, wave, reach, common, own, grain, out
):
    """Two-beam intensities of one crystal, averaged over the incident directions.

    `matrix` takes the reciprocal vectors to the specimen, `beams` are unit vectors of the incident electrons, `spread`
    the relative thickness that goes with each. `out` takes x, y (1/Å) and the intensity for one incident electron.
    The result is the number of spots.
    """
    count = 0
    widest = 0.0
    for beam in range(len(beams)):
        widest = max(widest, np.sqrt(beams[beam, 0] ** 2 + beams[beam, 1] ** 2))
    for i in range(len(vectors)):
        a, b, c = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        z = matrix[2, 0] * a + matrix[2, 1] * b + matrix[2, 2] * c
        # Distance along z at normal incidence, less what tilting can make up for.
        square = a * a + b * b + c * c
        if abs(z - 0.5 * square / wave) > reach + widest * np.sqrt(square):
            continue
        x = matrix[0, 0] * a + matrix[0, 1] * b + matrix[0, 2] * c
        y = matrix[1, 0] * a + matrix[1, 1] * b + matrix[1, 2] * c
        square = x * x + y * y + z * z
        coupling = inverse_extinction[i] ** 2
        total = 0.0
        for beam in range(len(beams)):
            along = 2.0 * wave * (beams[beam, 0] * x + beams[beam, 1] * y + beams[beam, 2] * z) + square
            # Distance of g from the Ewald sphere, exactly; the difference of two large lengths is avoided.
            error = along / (wave + np.sqrt(wave * wave + along))
            frequency = error * error + coupling
            total += coupling / frequency * np.sin(np.pi * thickness * spread[beam] * np.sqrt(frequency)) ** 2
        total /= len(beams)
        if common > 0.0 or own > 0.0:
            scatter = common * normal_of(keys[i], np.uint64(0)) + own * normal_of(keys[i], grain)
            total *= np.exp(scatter - 0.5 * (common * common + own * own))
        out[count, 0], out[count, 1], out[count, 2] = x, y, total
        count += 1
    return count


@njit(cache=True, nogil=True)
def _add_spot(image, column, row, weight, profile, step, reach):
    """Add a spot whose profile is tabulated against the squared distance; returns what falls inside the frame."""
    inside = 0.0
    last = len(profile) - 2
    for j in range(max(0, int(np.ceil(row - reach))), min(image.shape[0] - 1, int(np.floor(row + reach))) + 1):
        for i in range(
            max(0, int(np.ceil(column - reach))), min(image.shape[1] - 1, int(np.floor(column + reach))) + 1
        ):
            at = ((i - column) ** 2 + (j - row) ** 2) / step
            k = int(at)
            if k <= last:
                value = weight * (profile[k] + (at - k) * (profile[k + 1] - profile[k]))
                image[j, i] += value
                inside += value
    return inside


@njit(cache=True, nogil=True)
def draw_pattern(
    image, spots, scattered, direct, radial, radial_step, projection, inverse, centre, profile, step, reach, diffracted
):
    """Expected electrons of a pattern; returns those of its Bragg spots.

    `spots` are x, y, intensity for one electron that would all be scattered once; `scattered` makes it the share of the
    electrons that are; `radial` is the background per pixel against the radius in 1/Å. `diffracted` is the number of
    electrons wanted in the spots, or negative for one electron in all.
    """
    image[:] = 0.0
    bragg = 0.0
    for i in range(len(spots)):
        x, y = spots[i, 0], spots[i, 1]
        column = projection[0, 0] * x + projection[0, 1] * y + centre[0]
        row = projection[1, 0] * x + projection[1, 1] * y + centre[1]
        bragg += _add_spot(image, column, row, spots[i, 2] * scattered, profile, step, reach)
    _add_spot(image, centre[0], centre[1], direct, profile, step, reach)
    xx = inverse[0, 0] ** 2 + inverse[1, 0] ** 2
    yy = inverse[0, 1] ** 2 + inverse[1, 1] ** 2
    xy = 2.0 * (inverse[0, 0] * inverse[0, 1] + inverse[1, 0] * inverse[1, 1])
    last = len(radial) - 2
    for j in range(image.shape[0]):
        v = j - centre[1]
        for i in range(image.shape[1]):
            u = i - centre[0]
            at = np.sqrt(xx * u * u + xy * u * v + yy * v * v) / radial_step
            k = min(int(at), last)
            image[j, i] += radial[k] + (at - k) * (radial[k + 1] - radial[k])
    if diffracted >= 0.0 and bragg > 0.0:
        factor = diffracted / bragg
        image *= factor
        bragg *= factor
    return bragg


@njit(cache=True, nogil=True)
def count_electrons(image, rng, gain, offset, read_noise, largest, out):
    """Draw the electrons of a pattern and record them; `largest` is where the record saturates, 0 if it does not."""
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            value = gain * rng.poisson(image[j, i]) + offset
            if read_noise > 0.0:
                value += rng.normal(0.0, read_noise)
            if largest > 0.0:
                value = min(max(np.rint(value), 0.0), largest)
            out[j, i] = value
