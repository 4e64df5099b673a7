"""Kernels of the refinement: spots of any orientation, and how well a smoothed pattern agrees with them."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray


class Optics(NamedTuple):
    """Numbers that kernels need, in 1/Å and radians."""

    wavenumber: float
    precession: float
    width: float
    cut: float
    intensity_power: float
    radius_power: float
    min_radius: float
    radial_step: float
    j00: float
    j01: float
    j10: float
    j11: float


class Seen(NamedTuple):
    """A pattern as kernels compare it with spots.

    Parameters
    ----------
    image
        Smoothed counts, shape (ny, nx).
    mean
        Mean square root of each radius, shape (R,).
    cx, cy
        Column and row of the direct beam.
    """

    image: NDArray[np.float32]
    mean: NDArray[np.float32]
    cx: float
    cy: float


class Lattices(NamedTuple):
    """Reflections of all phases, one after the other.

    Parameters
    ----------
    parts
        ``h a*``, ``k b*`` and ``l c*`` of each reflection on the Cartesian axes of the crystal in 1/Å, (M, 3, 3).
    vectors
        Their sum, and its length, (4, M).
    weight
        Of a spot that stays on the Ewald sphere, see :class:`~hyperspy_assb.acom.templates.bank.SpotWeighting`, (M,);
        the length of the vector stands for the radius of the spot, which is the same to 0.1 %.
    begin
        Where the reflections of each phase begin, and where the last ones end, (P + 1,).
    """

    parts: FloatArray
    vectors: NDArray[np.float32]
    weight: FloatArray
    begin: NDArray[np.int64]


class Desk(NamedTuple):
    """Room for the reflections of a phase that are near the Ewald sphere (M,), what :func:`strained` makes of them
    (4, M), and their spots (M, 3)."""

    listed: NDArray[np.int64]
    near: FloatArray
    spots: FloatArray


def desk_for(lattices: Lattices) -> Desk:
    """Room for any of the phases."""
    room = int(np.diff(lattices.begin).max())
    return Desk(np.empty(room, dtype=np.int64), np.empty((4, room)), np.empty((room, 3)))


class Ascent(NamedTuple):
    """How far and in what steps an agreement is maximised; see :func:`climb`.

    Parameters
    ----------
    steps
        First step of each parameter; 0 keeps it. They are two tilts of the specimen and a turn of the pattern in
        radians, the shift of the direct beam along columns and rows in pixels, and the strain along a, b, c; with 6 of
        them there is one strain for all three.
    prior
        Standard deviation of a parameter about 0; infinity where nothing is known.
    rounds
        How often steps are halved, less 1.
    norm, noise
        Norm of the image, and standard deviation of a brightness between spots.
    """

    steps: FloatArray
    prior: FloatArray
    rounds: int
    norm: float
    noise: float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def rotation_of(quaternion: FloatArray, tilt: FloatArray, out: FloatArray) -> None:
    """Matrix from the specimen to the crystal of an orientation turned in the specimen by a rotation vector."""
    angle = np.sqrt(tilt[0] * tilt[0] + tilt[1] * tilt[1] + tilt[2] * tilt[2])
    scale = 0.5 - angle * angle / 48.0 if angle < 1e-4 else np.sin(0.5 * angle) / angle
    e = np.cos(0.5 * angle)
    f, g, h = scale * tilt[0], scale * tilt[1], scale * tilt[2]
    a, b, c, d = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    w = a * e - b * f - c * g - d * h
    x = a * f + b * e + c * h - d * g
    y = a * g - b * h + c * e + d * f
    z = a * h + b * g - c * f + d * e
    out[0, 0], out[0, 1], out[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    out[1, 0], out[1, 1], out[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    out[2, 0], out[2, 1], out[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def in_reach(
    quaternion: FloatArray, lattices: Lattices, phase: int, optics: Optics, tilt: float, out: NDArray[np.int64]
) -> int:
    """Reflections that may light up if an orientation is tilted by an angle in radians, into `out`; their number."""
    rotation = np.empty((3, 3))
    rotation_of(quaternion, np.zeros(3), rotation)
    x, y, z = np.float32(rotation[0, 2]), np.float32(rotation[1, 2]), np.float32(rotation[2, 2])
    curve = np.float32(0.5 / optics.wavenumber)
    spread, cut = np.float32(1.03 * (optics.precession + tilt)), np.float32(1.03 * optics.cut)
    first, last = lattices.begin[phase], lattices.begin[phase + 1]
    a, b, c = lattices.vectors[0, first:last], lattices.vectors[1, first:last], lattices.vectors[2, first:last]
    g = lattices.vectors[3, first:last]
    # Two loops: the first one becomes whole vectors.
    off = np.empty(last - first, np.float32)
    for m in range(len(off)):
        off[m] = abs(x * a[m] + y * b[m] + z * c[m] - curve * g[m] * g[m]) - spread * g[m]
    count = 0
    for m in range(len(off)):
        out[count] = first + m
        count += 1 if off[m] < cut else 0
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def strained(lattices: Lattices, listed: NDArray[np.int64], strain: FloatArray, out: FloatArray) -> None:
    """Vectors and weights of the reflections that are listed, of a strained lattice, into `out` (4, M)."""
    parts = lattices.parts
    s0, s1, s2 = 1.0 / (1.0 + strain[0]), 1.0 / (1.0 + strain[1]), 1.0 / (1.0 + strain[2])
    for i in range(len(listed)):
        m = listed[i]
        for j in range(3):
            out[j, i] = parts[m, 0, j] * s0 + parts[m, 1, j] * s1 + parts[m, 2, j] * s2
        out[3, i] = lattices.weight[m]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def spots_of(rotation: FloatArray, near: FloatArray, number: int, optics: Optics, out: FloatArray) -> int:
    """Spots of one orientation, x, y in 1/Å and weight into `out` (M, 3); returns how many there are.

    The weight is that of :class:`~hyperspy_assb.acom.templates.bank.SpotWeighting`, but goes to zero smoothly
    where a reflection leaves the Ewald sphere (by `cut`), so that the agreement has no steps; intensities far from the
    sphere depend on thickness most.

    Parameters
    ----------
    rotation
        Specimen to crystal, (3, 3).
    near, number
        Of :func:`strained`, and how many.
    """
    r02, r12, r22 = rotation[0, 2], rotation[1, 2], rotation[2, 2]
    squared, width2 = optics.wavenumber * optics.wavenumber, optics.width * optics.width
    a, b, c = near[0, :number], near[1, :number], near[2, :number]
    beyond, shine = np.empty(number), np.empty(number)
    for i in range(number):
        z = r02 * a[i] + r12 * b[i] + r22 * c[i]
        radius2 = max(a[i] * a[i] + b[i] * b[i] + c[i] * c[i] - z * z, 0.0)
        excitation = radius2 / (optics.wavenumber + np.sqrt(squared - radius2)) - z
        radius = np.sqrt(radius2)
        spread = radius * optics.precession
        # The square of precession_average.
        u = width2 + spread * spread - excitation * excitation
        v = np.sqrt(u * u + 4.0 * width2 * excitation * excitation)
        shine[i] = 0.5 * width2 * max(u + v, 1e-30) / (v * v)
        off = (abs(excitation) - spread) / optics.cut
        beyond[i] = off if radius >= optics.min_radius else 1.0
    power = 0.5 * optics.intensity_power
    count = 0
    for i in range(number):
        if beyond[i] >= 1.0:
            continue
        weight = near[3, i] * np.exp(power * np.log(shine[i]))
        if beyond[i] > 0.0:
            weight *= (1.0 - beyond[i] * beyond[i]) ** 2
        out[count, 0] = rotation[0, 0] * a[i] + rotation[1, 0] * b[i] + rotation[2, 0] * c[i]
        out[count, 1] = rotation[0, 1] * a[i] + rotation[1, 1] * b[i] + rotation[2, 1] * c[i]
        out[count, 2] = weight
        count += 1
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def spots_at(
    quaternion: FloatArray,
    strain: FloatArray,
    lattices: Lattices,
    phase: int,
    optics: Optics,
    listed: NDArray[np.int64],
    near: FloatArray,
    out: FloatArray,
) -> int:
    """Spots of a phase in an orientation into `out` (M, 3); returns how many there are.

    `listed` (M,) and `near` (4, M) are overwritten.
    """
    number = in_reach(quaternion, lattices, phase, optics, 0.0, listed)
    strained(lattices, listed[:number], strain, near)
    rotation = np.empty((3, 3))
    rotation_of(quaternion, np.zeros(3), rotation)
    return spots_of(rotation, near, number, optics, out)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def brightness(
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    x: float,
    y: float,
    cx: float,
    cy: float,
    optics: Optics,
) -> float:
    """Square root of a smoothed pattern less the mean of its radius, at a place in 1/Å; NaN outside of the frame."""
    column = cx + optics.j00 * x + optics.j01 * y
    row = cy + optics.j10 * x + optics.j11 * y
    ny, nx = image.shape
    # Rounded down by way of a number that is not negative, which is faster than floor.
    i, j = int(column + 1024.5) - 1024, int(row + 1024.5) - 1024
    place = (np.sqrt(x * x + y * y) - optics.min_radius) * (1.0 / optics.radial_step)
    inside = i >= 1 and j >= 1 and i <= nx - 2 and j <= ny - 2 and place <= len(mean) - 0.5
    # No branch: loops over spots become whole vectors.
    i, j = min(max(i, 1), nx - 2), min(max(j, 1), ny - 2)
    r = min(max(int(place), 0), len(mean) - 2)
    level = mean[r] + (place - r) * (mean[r + 1] - mean[r])
    # Quadratic B-splines: no kinks, at which a maximum would stop.
    u, v = column - i, row - j
    u0, u1, u2 = 0.5 * (0.5 - u) ** 2, 0.75 - u * u, 0.5 * (0.5 + u) ** 2
    above = u0 * image[j - 1, i - 1] + u1 * image[j - 1, i] + u2 * image[j - 1, i + 1]
    middle = u0 * image[j, i - 1] + u1 * image[j, i] + u2 * image[j, i + 1]
    below = u0 * image[j + 1, i - 1] + u1 * image[j + 1, i] + u2 * image[j + 1, i + 1]
    value = 0.5 * (0.5 - v) ** 2 * above + (0.75 - v * v) * middle + 0.5 * (0.5 + v) ** 2 * below
    return np.sqrt(max(value, 0.0)) - level if inside else np.nan


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def agreement(
    spots: FloatArray,
    count: int,
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    cx: float,
    cy: float,
    turn: float,
    optics: Optics,
) -> float:
    """Sum of weight times brightness over the norm of the weights, spots outside of the frame left out.

    `turn` is by how much the spots are turned first, in radians from +x towards +y.
    """
    total, power = 0.0, 0.0
    e, f = np.cos(turn), np.sin(turn)
    for k in range(count):
        x, y = spots[k, 0], spots[k, 1]
        value = brightness(image, mean, e * x - f * y, f * x + e * y, cx, cy, optics)
        weight = spots[k, 2] if value == value else 0.0
        total += weight * (value if value == value else 0.0)
        power += weight * weight
    return total / np.sqrt(power) if power > 0.0 else 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def objective(r: float, noise: float, parameters: FloatArray, prior: FloatArray) -> float:
    """Logarithm of the likelihood times the priors, see :func:`climb`; rises with r where there are no priors."""
    value = 0.5 * r * abs(r) / (noise * noise)
    for i in range(3, len(prior)):
        if prior[i] < np.inf:
            value -= 0.5 * (parameters[i] / prior[i]) ** 2
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def climb(
    quaternion: FloatArray,
    ascent: Ascent,
    done: int,
    lattices: Lattices,
    phase: int,
    seen: Seen,
    optics: Optics,
    desk: Desk,
    best: FloatArray,
) -> float:
    """Maximise the correlation over the parameters with a step above 0, by parabolas along each, steps halved.

    With priors, what is maximised is ``agreement**2 / (2 noise)`` plus their logarithm: the likelihood of brightnesses
    whose noise is measured, at the beginning of each round, as the scatter of spots about their weights. Tilts are
    tried along two axes that turn by 45 degrees from round to round, as they may go together.

    Parameters
    ----------
    quaternion
        Orientation to begin with.
    ascent
        Steps, priors and noise.
    done
        Rounds that led to `best`; 0 begins anew.
    lattices, phase
        Reflections, and whose are taken.
    seen
        The pattern.
    optics
        How reflections fall on the detector.
    desk
        Overwritten.
    best
        Overwritten with the parameters.

    Returns
    -------
    correlation
        At the best parameters.
    """
    steps, prior, rounds, norm, noise = ascent
    image, mean, cx, cy = seen
    listed, near, spots = desk
    # A single look does not tilt.
    tilted = 3.0 * steps[0] + 0.01 if rounds > 0 else 0.0
    number = in_reach(quaternion, lattices, phase, optics, tilted, listed)
    strains = steps[5:].any()
    strained(lattices, listed[:number], np.zeros(3), near)
    rotation = np.empty((3, 3))
    tilt = np.zeros(3)
    trial = np.zeros(8)
    if done == 0:
        best[:] = 0.0
    width = steps * 0.5 ** max(done, 0)
    correlation = 0.0
    values = np.empty(3)
    origin, direction, round_origin = np.empty(8), np.empty(8), np.empty(8)
    top, round_top = -np.inf, -np.inf
    count = 0
    for rung in range(rounds + 1 - done):
        # Rung 0 is the start only.
        turn = rung + done if rung else 0
        round_top = top
        for i in range(8):
            round_origin[i] = best[i]
        for p in range(1 if turn == 0 else len(steps) + 1):
            # Last, on along the way of the whole round: parameters may go together.
            whole = p == len(steps)
            step = 1.0 if whole else width[p]
            way = 0.0
            for i in range(8):
                origin[i] = best[i]
                direction[i] = best[i] - round_origin[i] if whole else 0.0
                way += abs(direction[i])
            if not whole:
                way = 1.0
                direction[p] = 1.0
                if p < 2 and turn % 2 == 0:
                    direction[p] = 0.7071067811865476 * (1 - 2 * p)
                    direction[1 - p] = 0.7071067811865476
                elif p == 5 and len(steps) == 6:
                    direction[6], direction[7] = 1.0, 1.0
            if turn > 0 and (step <= 0.0 or way == 0.0):
                continue
            values[0], values[1] = round_top, top
            moves_spots = whole or p < 2 or p > 4
            # Both sides, and the top of the parabola through them and the middle.
            for attempt in range(1 if turn == 0 else 3):
                if turn == 0:
                    move = 0.0
                elif attempt == 0 and whole:
                    continue
                elif attempt < 2:
                    move = step * (2 * attempt - 1)
                else:
                    bend = values[0] - 2.0 * values[1] + values[2]
                    if bend >= 0.0:
                        break
                    move = 0.5 * step * (values[0] - values[2]) / bend
                    if abs(move) > 1.5 * step or abs(move) < 0.02 * step:
                        break
                for i in range(8):
                    trial[i] = origin[i] + move * direction[i]
                if moves_spots or attempt == 0:
                    tilt[0], tilt[1] = trial[0], trial[1]
                    rotation_of(quaternion, tilt, rotation)
                    if strains:
                        strained(lattices, listed[:number], trial[5:], near)
                    count = spots_of(rotation, near, number, optics, spots)
                r = agreement(spots, count, image, mean, cx + trial[3], cy + trial[4], trial[2], optics)
                value = objective(r, noise, trial, prior)
                if attempt < 2:
                    values[2 * attempt] = value
                if value > top:
                    top, correlation = value, r / norm
                    for i in range(8):
                        best[i] = trial[i]
        for p in range(len(steps)):
            width[p] *= 0.5 if turn > 0 else 1.0
    return correlation


@numba.njit(cache=True, nogil=True, error_model="numpy")
def moved(quaternion: FloatArray, parameters: FloatArray, out: FloatArray) -> None:
    """Orientation that the first three parameters of :func:`climb` lead to."""
    x, y = parameters[0], parameters[1]
    angle = np.sqrt(x * x + y * y)
    scale = 0.5 - angle * angle / 48.0 if angle < 1e-4 else np.sin(0.5 * angle) / angle
    e, f, g = np.cos(0.5 * angle), scale * x, scale * y
    a, b, c, d = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    w, x, y, z = a * e - b * f - c * g, a * f + b * e - d * g, a * g + c * e + d * f, b * g - c * f + d * e
    # turned by the inverse about z: see turn_pattern
    e, h = np.cos(0.5 * parameters[2]), -np.sin(0.5 * parameters[2])
    out[0], out[1], out[2], out[3] = w * e - z * h, x * e + y * h, y * e - x * h, w * h + z * e
    if out[0] < 0.0:
        for i in range(4):
            out[i] = -out[i]
