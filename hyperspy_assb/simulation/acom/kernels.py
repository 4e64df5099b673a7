"""Compiled loops of the diffraction simulator: spots of a crystal, images, counts."""

from __future__ import annotations

import numpy as np
from numba import njit

# Reflections of which at most this share of the electrons could come, at any incident direction, are left out.
FAINTEST = 1e-4
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


@njit(cache=True, nogil=True, fastmath=True)
def _two_beams(x, y, z, coupling, thickness, beams, wave):
    """Two-beam intensity of a reflection, averaged over the incident directions."""
    square = x * x + y * y + z * z
    total = 0.0
    for i in range(beams.shape[1]):
        along = 2.0 * wave * (beams[0, i] * x + beams[1, i] * y + beams[2, i] * z) + square
        # Distance of g from the Ewald sphere, exactly; the difference of two large lengths is avoided.
        error = along / (wave + np.sqrt(wave * wave + along))
        frequency = error * error + coupling
        phase = thickness * beams[3, i] * np.sqrt(frequency)
        # sin(pi phase) by its series to the 11th power after whole turns are taken off (within 1e-7): the compiler
        # does several directions at once, which it does not with the library's sine.
        phase = np.pi * (phase - np.floor(phase + 0.5))
        u = phase * phase
        sine = phase * (1.0 + u * (-1 / 6 + u * (1 / 120 + u * (-1 / 5040 + u * (1 / 362880 - u * (1 / 39916800))))))
        total += coupling / frequency * sine * sine
    return total / beams.shape[1]


@njit(cache=True, nogil=True)
def crystal_spots(vectors, inverse_extinction, keys, matrix, thickness, beams, wave, faintest, common, own, grain, out):
    """Two-beam intensities of one crystal, averaged over the incident directions.

    `matrix` takes the reciprocal vectors to the specimen; `beams` are unit vectors of the incident electrons, x, y and
    z in rows, and the relative thickness that goes with each. Reflections that are so far from the Ewald sphere that
    they stay below `faintest` at every direction are left out, and those that come out below a tenth of it. `out` takes
    x, y (1/Å) and the intensity for one incident electron. The result is the number of spots.
    """
    count = 0
    widest = np.sqrt((beams[0] ** 2 + beams[1] ** 2).max())
    for i in range(len(vectors)):
        a, b, c = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        z = matrix[2, 0] * a + matrix[2, 1] * b + matrix[2, 2] * c
        x = matrix[0, 0] * a + matrix[0, 1] * b + matrix[0, 2] * c
        y = matrix[1, 0] * a + matrix[1, 1] * b + matrix[1, 2] * c
        square = x * x + y * y + z * z
        # Distance from the sphere at normal incidence, less what tilting can make up for.
        away = abs(z - 0.5 * square / wave) - widest * np.sqrt(square)
        coupling = inverse_extinction[i] ** 2
        if away > 0.0 and 0.5 * coupling < faintest * away * away:
            continue
        total = _two_beams(x, y, z, coupling, thickness, beams, wave)
        if total < 0.1 * faintest:
            continue
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
    image, spots, direct, radial, radial_step, projection, inverse, centre, profile, step, reach, diffracted
):
    """Expected electrons of a pattern; returns those of its Bragg spots.

    `spots` are x and y in 1/Å and electrons for each incident one, `direct` those of the direct beam; `radial` is the
    background per pixel against the radius in 1/Å. `diffracted` is the number of electrons wanted in the spots, or
    negative for one incident electron.
    """
    image[:] = 0.0
    bragg = 0.0
    for i in range(len(spots)):
        x, y = spots[i, 0], spots[i, 1]
        column = projection[0, 0] * x + projection[0, 1] * y + centre[0]
        row = projection[1, 0] * x + projection[1, 1] * y + centre[1]
        bragg += _add_spot(image, column, row, spots[i, 2], profile, step, reach)
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
    # Electrons arrive along the running sum of the expectation, with exponential gaps: the same as a Poisson number in
    # every pixel, and little work where there are few.
    gap = rng.standard_exponential()
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            expected = image[j, i]
            number = 0
            if expected > 20.0:
                number = rng.poisson(expected)
            else:
                while gap < expected:
                    number += 1
                    gap += rng.standard_exponential()
                gap -= expected
            value = gain * number + offset
            if read_noise > 0.0:
                value += rng.normal(0.0, read_noise)
            if largest > 0.0:
                value = min(max(np.rint(value), 0.0), largest)
            out[j, i] = value
