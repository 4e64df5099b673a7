"""The lamella: which material, grain and thickness lies where, before and after bias."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from hyperspy_assb.simulation.state import MATERIALS, LamellaState, Particles

LIFEPO4, FEPO4, LAGP, AMORPHOUS, CARBON, VACUUM = range(len(MATERIALS))


@dataclass(frozen=True)
class LamellaOptions:
    """
    What the virtual lamella looks like.

    Attributes
    ----------
    field_width
        Width of the map in nm; the height follows from the shape.
    olivine, carbon
        Shares of the lamella's area. Defaults from Fig. 5i of the paper on in situ micro-batteries that this package is
        made for: LAGP 20.5, LiFePO4 24.5, carbon 18.5, FePO4 21.0, amorphous 15.4 %.
    iron_phosphate_after, iron_phosphate_before
        Share of the olivine that is FePO4 (the share before is met roughly, with one particle and parts of others).
    amorphous_after, amorphous_before
        Shares of the lamella's area that are amorphous LAGP.
    vacuum
        Share of the map's height that is beyond the edge of the lamella.
    thickness
        Thickness in nm at the edge of the lamella and at the far side.
    particle_radius, particle_spread
        Median radius in nm and logarithmic standard deviation of the olivine particles.
    mosaic_share
        Share of the olivine in small particles, which are mosaics of LiFePO4 and FePO4 after bias; the larger ones
        are wholly one or the other.
    grain_size, domain_size
        Mean distance in nm of neighbouring LAGP grains, and of domains of mosaic particles.

    Examples
    --------
    >>> import numpy as np
    >>> thin = LamellaOptions(thickness=(50.0, 60.0))
    >>> lamella = build_lamella((16, 16), np.random.default_rng(1), thin)
    >>> bool(45.0 < np.median(lamella.before.thickness) < 65.0)
    True
    """

    field_width: float = 1500.0
    olivine: float = 0.455
    carbon: float = 0.185
    iron_phosphate_after: float = 0.46
    iron_phosphate_before: float = 0.12
    amorphous_after: float = 0.154
    amorphous_before: float = 0.02
    vacuum: float = 0.05
    thickness: tuple[float, float] = (28.0, 205.0)
    particle_radius: float = 75.0
    particle_spread: float = 0.45
    mosaic_share: float = 0.35
    grain_size: float = 140.0
    domain_size: float = 55.0


@dataclass(frozen=True)
class Lamella:
    """
    One lamella in two states.

    Attributes
    ----------
    before, after
        States; grains and particles have the same numbers in both.
    particles
        Olivine particles; row ``i`` is particle number ``i + 1``.
    pixel_size
        nm.
    """

    before: LamellaState
    after: LamellaState
    particles: Particles
    pixel_size: float


@dataclass
class _Waves:
    """A smooth random function of position with mean 0 and variance 1: a sum of plane waves."""

    rng: np.random.Generator
    wavelength: float
    size: int = 40
    wave: np.ndarray = field(init=False)
    phase: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        direction = self.rng.normal(size=(3, self.size))
        direction /= np.linalg.norm(direction, axis=0)
        self.wave = 2 * np.pi / self.wavelength * direction * self.rng.lognormal(0, 0.3, self.size)
        self.phase = self.rng.uniform(0, 2 * np.pi, self.size)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        value = np.zeros(len(points))
        for wave, phase in zip(self.wave.T, self.phase, strict=True):
            value += np.cos(points @ wave + phase)
        return value * np.sqrt(2 / self.size)


def _seeds(rng: np.random.Generator, size: np.ndarray, distance: float) -> np.ndarray:
    """Random points in the field and 150 nm around it, ``(n, 3)``."""
    low = np.array([-150.0, -150.0, -200.0])
    extent = np.array([size[0] + 300, size[1] + 300, 400.0])
    return low + extent * rng.random((int(np.prod(extent) / distance**3), 3))


def _random_rotations(rng: np.random.Generator, n: int) -> np.ndarray:
    q = rng.normal(size=(n, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def _small_rotations(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    """Rotations about random axes; sigma in degrees for each component."""
    half = np.deg2rad(rng.normal(0, sigma, (n, 3))) / 2
    q = np.concatenate([np.ones((n, 1)), half], axis=1)
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def _multiply(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    a, b, c, d = np.moveaxis(p, -1, 0)
    e, f, g, h = np.moveaxis(q, -1, 0)
    return np.stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ],
        axis=-1,
    )


def _place_particles(rng: np.random.Generator, size: np.ndarray, options: LamellaOptions) -> dict[str, np.ndarray]:
    """Random sequential packing of ellipses, large ones first."""
    target = 1.1 * options.olivine * np.prod(size)
    radius = []
    while np.sum(np.square(radius)) * np.pi < target or len(radius) < 4:
        radius.append(options.particle_radius * np.clip(rng.lognormal(0, options.particle_spread), 0.4, 2.8))
    radius = np.sort(radius)[::-1]
    centre = np.empty((len(radius), 2))
    for i, r in enumerate(radius):
        candidates = rng.random((200, 2)) * size
        if i == 0:
            centre[i] = candidates[0]
            continue
        gap = np.linalg.norm(candidates[:, None] - centre[None, :i], axis=2) - 0.95 * (r + radius[:i])
        gap = gap.min(axis=1)
        free = np.flatnonzero(gap > 0)
        centre[i] = candidates[free[0] if free.size else gap.argmax()]
    n = len(radius)
    return {
        "radius": radius,
        "centre": centre,
        "slope": rng.normal(0, 0.25, (n, 2)),
        "angle": rng.uniform(0, np.pi, n),
        "aspect": rng.uniform(1.0, 1.5, n),
    }


def _particle_distance(points: np.ndarray, p: dict[str, np.ndarray], i: int) -> np.ndarray:
    """Distance to the axis of an oblique elliptic cylinder, in units of its radius."""
    offset = points[:, :2] - p["centre"][i] - points[:, 2:] * p["slope"][i]
    cos, sin = np.cos(p["angle"][i]), np.sin(p["angle"][i])
    u = offset[:, 0] * cos + offset[:, 1] * sin
    v = offset[:, 1] * cos - offset[:, 0] * sin
    return np.hypot(u / np.sqrt(p["aspect"][i]), v * np.sqrt(p["aspect"][i])) / p["radius"][i]


def _lowest(score: np.ndarray, among: np.ndarray, count: float) -> np.ndarray:
    """Mask of the ``count`` lowest scores among some points."""
    values = score[among]
    count = int(np.clip(round(count), 0, len(values)))
    if count == 0:
        return np.zeros_like(among)
    return among & (score <= np.partition(values, count - 1)[count - 1])


def _choose_delithiated(
    rng: np.random.Generator, area: np.ndarray, mosaic: np.ndarray, target: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which large particles are FePO4 after bias, and which one already before."""
    large = np.flatnonzero(~mosaic)
    wanted = target - 0.45 * area[mosaic].sum()
    trials = rng.random((500, len(large))) < 0.5
    chosen = trials[np.abs(trials @ area[large] - wanted).argmin()]
    after = np.zeros_like(mosaic)
    after[large[chosen]] = True
    before = np.zeros_like(mosaic)
    if after.any():
        # One of middle size: wide enough for pure pixels, too small to matter for the average.
        candidates = np.flatnonzero(after)
        before[candidates[np.abs(area[candidates] - 0.09 * area.sum()).argmin()]] = True
    return after, before


def build_lamella(shape: tuple[int, int], rng: np.random.Generator, options: LamellaOptions | None = None) -> Lamella:
    """
    Build a lamella of the cathode side of an all-solid battery.

    Parameters
    ----------
    shape
        Rows and columns of the map.
    rng
        Source of the structure.
    options
        Sizes and proportions.

    Returns
    -------
    Lamella
        Olivine particles in LAGP grains and carbon black, with a strip of vacuum at the top. Every pixel is sampled
        at four places and eight depths, so inclined boundaries give mixed columns.

    Examples
    --------
    >>> import numpy as np
    >>> lamella = build_lamella((16, 16), np.random.default_rng(1))
    >>> lamella.before.x.shape, len(lamella.particles.radius) > 0
    ((16, 16), True)
    """
    options = options or LamellaOptions()
    ny, nx = shape
    pixel = options.field_width / nx
    size = np.array([options.field_width, pixel * ny])

    p = _place_particles(rng, size, options)
    grain_seeds = _seeds(rng, size, options.grain_size)
    domain_seeds = _seeds(rng, size, options.domain_size)
    edge_waves, streaks, film_waves, growth_waves = (_Waves(rng, w) for w in (700.0, 120.0, 500.0, 600.0))
    carbon_waves, amorphous_waves, domain_waves = (_Waves(rng, w) for w in (230.0, 150.0, 400.0))
    n_particles = len(p["radius"])
    domain_preference = rng.random(len(domain_seeds))

    # Sample points: (pixels, 4, 8) places and depths, as rows x, y, z in nm.
    sub = np.array([0.25, 0.75])
    y, x, sy, sx = np.meshgrid(np.arange(ny), np.arange(nx), sub, sub, indexing="ij")
    flat = np.stack([(x + sx).ravel() * pixel, (y + sy).ravel() * pixel, np.zeros(x.size)], axis=1)
    edge = options.vacuum * size[1] * (1 + 0.25 * edge_waves(flat * [1, 0, 0]))
    depth_in = (flat[:, 1] - edge) / ((1 - options.vacuum) * size[1])
    thin, thick = options.thickness
    local = thin + (thick - thin) * np.clip(depth_in, 0, 1)
    local *= 1 + 0.03 * np.clip(streaks(flat * [1, 0.1, 0]), -2, 2)
    local[depth_in <= 0] = 0
    z = (np.arange(8) + 0.5) / 8 - 0.5
    points = np.repeat(flat, 8, axis=0)
    points[:, 2] = (local[:, None] * z).ravel()
    solid = np.repeat(depth_in > 0, 8)
    volume = solid.sum()

    distance = np.full(len(points), np.inf)
    particle = np.zeros(len(points), dtype=np.int32)
    for i in range(n_particles):
        d = _particle_distance(points, p, i)
        nearer = d < distance
        distance[nearer], particle[nearer] = d[nearer], i
    olivine = _lowest(distance, solid, options.olivine * volume)
    area = np.bincount(particle[olivine], minlength=n_particles).astype(float)
    small_first = np.argsort(p["radius"])
    mosaic = np.zeros(n_particles, dtype=bool)
    mosaic[small_first] = np.cumsum(area[small_first]) <= options.mosaic_share * area.sum()

    # Carbon black keeps to the surfaces of the particles.
    coat = np.minimum(distance / max(distance[olivine].max(), 1e-9) - 1, 2)
    carbon = _lowest(0.8 * coat - carbon_waves(points), solid & ~olivine, options.carbon * volume)
    electrolyte = solid & ~olivine & ~carbon

    to_mosaic = np.full(len(points), 1e4)
    for i in np.flatnonzero(mosaic):
        to_mosaic = np.minimum(to_mosaic, (_particle_distance(points, p, i) - 1) * p["radius"][i])
    score = to_mosaic + 25 * amorphous_waves(points)
    amorphous_after = _lowest(score, electrolyte, options.amorphous_after * volume)
    amorphous_before = _lowest(score, electrolyte, options.amorphous_before * volume)

    _, domain = cKDTree(domain_seeds).query(points)
    _, lagp_grain = cKDTree(grain_seeds).query(points)

    whole_after, whole_before = _choose_delithiated(rng, area, mosaic, options.iron_phosphate_after * area.sum())
    in_mosaic = olivine & mosaic[particle]
    preference = domain_preference[domain] + 0.25 * domain_waves(points) + 1e-6 * distance
    missing = options.iron_phosphate_after * area.sum() - area[whole_after].sum()
    iron_after = _lowest(preference, in_mosaic, missing) | (olivine & whole_after[particle])
    # At least a few mixed columns, whatever the size of the whole particle.
    missing = max(options.iron_phosphate_before * area.sum() - area[whole_before].sum(), 0.03 * area.sum())
    iron_before = _lowest(preference, in_mosaic, missing) | (olivine & whole_before[particle])

    # Numbers of grains: particles, then LAGP grains, then domains of mosaic particles.
    grain = np.zeros(len(points), dtype=np.int64)
    grain[olivine] = 1 + particle[olivine]
    grain[electrolyte] = 1 + n_particles + lagp_grain[electrolyte]
    first = 1 + n_particles + len(grain_seeds)
    keys, inverse = np.unique(
        particle[in_mosaic].astype(np.int64) * len(domain_seeds) + domain[in_mosaic], return_inverse=True
    )
    grain[in_mosaic] = first + inverse
    parents = _random_rotations(rng, first)
    owner = 1 + keys // len(domain_seeds)
    orientations = {
        # A mosaic before bias is one crystal with a little strain; delithiation turns its domains.
        name: np.concatenate([parents, _multiply(_small_rotations(rng, len(keys), sigma), parents[owner])])
        for name, sigma in (("before", 0.3), ("after", 7.0))
    }

    inside = solid.reshape(ny, nx, -1).mean(axis=2)
    middle = np.stack(np.meshgrid((np.arange(nx) + 0.5) * pixel, (np.arange(ny) + 0.5) * pixel), axis=-1)
    middle = np.concatenate([middle.reshape(-1, 2), np.zeros((nx * ny, 1))], axis=1)
    film_before = np.clip(1.0 + 0.6 * film_waves(middle), 0, 2.5).reshape(ny, nx)
    film_after = np.clip(film_before + np.clip(1.6 + 0.8 * growth_waves(middle), 0, None).reshape(ny, nx), 0, 5)

    def state(name: str, iron: np.ndarray, amorphous: np.ndarray, film: np.ndarray) -> LamellaState:
        material = np.full(len(points), VACUUM, dtype=np.int8)
        material[carbon] = CARBON
        material[electrolyte] = LAGP
        material[amorphous] = AMORPHOUS
        material[olivine] = LIFEPO4
        material[iron] = FEPO4
        crystalline = np.where(material <= LAGP, grain, 0)
        return LamellaState.from_samples(
            material.reshape(ny, nx, -1),
            crystalline.reshape(ny, nx, -1),
            np.where(olivine, particle + 1, 0).reshape(ny, nx, -1),
            grain_orientations=np.where(orientations[name][:, :1] < 0, -1, 1) * orientations[name],
            thickness=local.reshape(ny, nx, 4).mean(axis=2),
            carbon_film=film * inside,
        )

    particles = Particles(radius=p["radius"], centre=p["centre"], mosaic=mosaic, delithiated=whole_after)
    return Lamella(
        before=state("before", iron_before, amorphous_before, film_before),
        after=state("after", iron_after, amorphous_after, film_after),
        particles=particles,
        pixel_size=pixel,
    )
