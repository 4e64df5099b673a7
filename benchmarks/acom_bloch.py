"""Orientation mapping on diffraction patterns by many beams: Bloch waves, for each direction of a precession cone.

Nothing of the package makes the patterns but the structures of its CIFs: scattering factors are those of xraylib for
X-rays by the formula of Mott and Bethe, intensities come from the eigenvectors of the dynamical matrix, spots are discs
with a blurred edge. Phase and orientation of crystals of 20 to 100 nm, 30 % of them within 2 degrees of a zone axis, at
6,000 and 600 electrons in the spots; then crystals that are bent by 4 degrees to either side through a zone axis.

Run: python benchmarks/acom_bloch.py [--patterns 600] [--keep patterns.npz] [--still]

Needs xraylib (``pip install xraylib``).

References
----------
J. M. Zuo, J. C. H. Spence, Advanced Transmission Electron Microscopy (2017), chapter 5.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
import xraylib  # noqa: E402
from acom_scenes import disorientation  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from scipy.special import erfc  # noqa: E402

from hyperspy_assb.acom.matching.block_indexing import Indexer  # noqa: E402
from hyperspy_assb.acom.patterns.geometry import PatternGeometry  # noqa: E402
from hyperspy_assb.acom.templates.bank import simulate_bank  # noqa: E402
from hyperspy_assb.signals.acom.signal import ACOMPatterns  # noqa: E402
from hyperspy_assb.simulation.acom.crystal import cell_matrix, load_structure  # noqa: E402

MOTT_BETHE = 0.023933754  # m e² / (8 π² ε0 ħ²) in 1/Å
ELECTRON_REST_ENERGY = 510998.95  # eV
HC = 12398.419843320026  # eV Å


def wave_number(energy: float) -> float:
    """1/λ in 1/Å of electrons of an energy in keV."""
    ev = 1e3 * energy
    return float(np.sqrt(ev * (ev + 2 * ELECTRON_REST_ENERGY)) / HC)


class Crystal:
    """Fourier coefficients of the potential of a crystal.

    Parameters
    ----------
    cell
        a, b, c as rows in Å: x along a, z along c*, shape (3, 3).
    atoms
        Element, position in the cell, occupancy, B in Å² of each.
    reach
        Largest reciprocal vector of a beam in 1/Å.
    energy
        keV.
    """

    def __init__(self, cell: Any, atoms: list[tuple[str, Any, float, float]], reach: float, energy: float) -> None:
        self.wave = wave_number(energy)
        self.reciprocal = np.linalg.inv(cell).T
        # Differences of two beams are needed as well.
        most = np.floor(2 * reach * np.linalg.norm(cell, axis=1)).astype(int) + 1
        self.most = most
        hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1)
        length = np.linalg.norm(hkl @ self.reciprocal, axis=-1)
        gamma = 1 + 1e3 * energy / ELECTRON_REST_ENERGY
        self.potential = np.zeros(length.shape, dtype=complex)  # U_g in 1/Å²
        of_element: dict[str, Any] = {}
        for element, position, occupancy, b in atoms:
            if element not in of_element:
                of_element[element] = electron_factor(element, length)
            wave = np.exp(-2j * np.pi * (hkl @ position) - b * length**2 / 4)
            self.potential += occupancy * of_element[element] * wave
        self.potential *= gamma / (np.pi * abs(np.linalg.det(cell)))
        self.potential[tuple(most)] = 0.0  # the mean inner potential only refracts
        near = (length <= reach).ravel()
        self.hkl = hkl.reshape(-1, 3)[near]
        self.vectors = self.hkl @ self.reciprocal

    def between(self, hkl: Any) -> Any:
        """U of the differences of beams, shape (N, N)."""
        at = hkl[:, None] - hkl[None] + self.most
        return self.potential[at[..., 0], at[..., 1], at[..., 2]]


def electron_factor(element: str, length: Any) -> Any:
    """Scattering factor of an atom for electrons in Å, by Mott and Bethe."""
    number = xraylib.SymbolToAtomicNumber(element)
    s = np.linspace(0.02, max(float(length.max()) / 2, 0.1), 800)
    values = MOTT_BETHE * np.array([number - xraylib.FF_Rayl(number, x) for x in s]) / s**2
    return np.interp(length / 2, s, values)


def load_crystal(name: str, reach: float, energy: float) -> Crystal:
    """A phase of the package."""
    _, structure = load_structure(name)
    atoms = [
        ("".join(c for c in a.element if c.isalpha()), np.asarray(a.xyz), a.occupancy, a.Bisoequiv or 0.6)
        for a in structure
    ]
    return Crystal(cell_matrix(structure), atoms, reach, energy)


def intensities(
    crystal: Crystal, matrix: Any, beam: Any, thickness: Any, *, absorption: float = 0.08, beams: int = 180
) -> tuple[Any, Any]:
    """Intensities behind a slab.

    Parameters
    ----------
    crystal
        Potential.
    matrix
        From the crystal to the specimen, shape (3, 3).
    beam
        Unit vector of the incident electrons in the specimen, near -z.
    thickness
        Å, shape (T,).
    absorption
        Imaginary part of the potential relative to the real part.
    beams
        Number of beams that are taken, strongest first.

    Returns
    -------
    vectors : numpy.ndarray
        Reciprocal vectors of the beams in the specimen, 1/Å, shape (N, 3), the direct beam first.
    intensities : numpy.ndarray
        Of one incident electron, shape (T, N).
    """
    g = crystal.vectors @ matrix.T
    along = 2 * crystal.wave * (g @ beam) + (g**2).sum(axis=1)
    error = -along / (2 * crystal.wave)
    at = crystal.hkl + crystal.most
    coupling = np.abs(crystal.potential[at[:, 0], at[:, 1], at[:, 2]]) / crystal.wave
    direct = (crystal.hkl == 0).all(axis=1)
    # Beams that reach at least a little by two beams, and those near the sphere, through which others go.
    weight = (coupling + 2e-4) / (np.abs(error) + 2e-3)
    weight[direct] = np.inf
    chosen = np.argsort(-weight)[:beams]
    hkl = crystal.hkl[chosen]
    between = crystal.between(hkl) / (2 * crystal.wave)
    dynamical = between.copy()
    np.fill_diagonal(dynamical, error[chosen])
    values, vectors = np.linalg.eigh(dynamical)
    excited = vectors[0].conj()
    damped = np.zeros(len(values))
    if absorption:
        lost = absorption * between
        # What is lost on the way, whichever the beam: about what the mean potential of 10 eV takes.
        np.fill_diagonal(lost, absorption * np.abs(between[0]).max())
        damped = np.maximum(np.einsum("gj,gh,hj->j", vectors.conj(), lost, vectors).real, 0.0)
    t = np.atleast_1d(thickness)[:, None]
    waves = excited * np.exp(2j * np.pi * values * t - 2 * np.pi * damped * t)
    return g[chosen], np.abs(waves @ vectors.T) ** 2


@dataclass(frozen=True)
class Camera:
    """What a pattern is recorded with; the names are those of the package's own simulator."""

    energy: float = 200.0
    precession: float = 0.7  # degrees
    directions: int = 16
    size: int = 256
    scale: float = 0.012  # 1/Å a pixel
    disc: float = 1.7  # radius in pixels
    blur: float = 0.6  # pixels
    background: float = 0.6  # electrons in the background relative to those in the spots
    background_width: float = 0.12  # 1/Å

    def directions_of(self) -> Any:
        """Unit vectors of the incident electrons, shape (D, 3)."""
        turn = 2 * np.pi * (np.arange(self.directions) + 0.5) / self.directions
        tilt = np.radians(self.precession) if self.directions > 1 else 0.0
        across = np.sin(tilt)
        return np.stack([across * np.cos(turn), across * np.sin(turn), np.full(len(turn), -np.cos(tilt))], axis=1)


def expected_pattern(
    crystal: Crystal, matrix: Any, thickness: float, camera: Camera, centre: Any, electrons: float
) -> Any:
    """Expected electrons of a pattern, shape (size, size), with a number of them in the Bragg spots."""
    total: dict[tuple[float, float], float] = {}
    spread = thickness * (1 + 0.05 * (2 * ((np.arange(camera.directions) * 0.618) % 1) - 1))
    for beam, t in zip(camera.directions_of(), spread, strict=True):
        places, found = intensities(crystal, matrix, beam, 10 * t)
        # The descan takes the tilt of the beam out again.
        for (x, y, _), value in zip(places[1:], found[0, 1:], strict=True):
            key = (round(x, 6), round(y, 6))
            total[key] = total.get(key, 0.0) + value / camera.directions
    image = np.zeros((camera.size, camera.size))
    rows, columns = np.mgrid[: camera.size, : camera.size]
    reach = camera.disc + 4 * camera.blur
    for (x, y), value in total.items():
        column, row = centre[0] + x / camera.scale, centre[1] + y / camera.scale
        if not (-reach < column < camera.size + reach and -reach < row < camera.size + reach) or value < 1e-7:
            continue
        j = slice(max(int(row - reach), 0), int(row + reach) + 2)
        i = slice(max(int(column - reach), 0), int(column + reach) + 2)
        distance = np.hypot(columns[j, i] - column, rows[j, i] - row)
        image[j, i] += (
            value * erfc((distance - camera.disc) / (np.sqrt(2) * camera.blur)) / (2 * np.pi * camera.disc**2)
        )
    bragg = image.sum()
    image *= electrons / bragg
    radius = np.hypot(columns - centre[0], rows - centre[1]) * camera.scale
    diffuse = np.exp(-radius / camera.background_width)
    image += camera.background * electrons * diffuse / diffuse.sum()
    direct = np.hypot(columns - centre[0], rows - centre[1])
    image += electrons * erfc((direct - camera.disc) / (np.sqrt(2) * camera.blur)) / (2 * np.pi * camera.disc**2)
    return image


@dataclass(frozen=True)
class Patterns:
    """Expected patterns of random crystals and their truth.

    Parameters
    ----------
    expected
        Electrons for one in the Bragg spots, shape (B, ny, nx).
    orientations
        Specimen to crystal, shape (B, 4).
    phase
        Index of the crystal, shape (B,).
    near_zone
        Within 2 degrees of a zone axis of low indices, shape (B,).
    centre
        Column and row of the direct beam, shape (B, 2).
    """

    expected: Any
    orientations: Any
    phase: Any
    near_zone: Any
    centre: Any


ZONES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1), (1, 2, 0), (2, 0, 1), (0, 1, 2))


def near_zone(rng: np.random.Generator, crystal: Crystal) -> Any:
    """A rotation from the crystal to the specimen that is at most 2 degrees off a zone axis."""
    cell = np.linalg.inv(crystal.reciprocal).T
    axis = np.array(ZONES[rng.integers(len(ZONES))]) * rng.choice([-1, 1], 3) @ cell
    off = Rotation.from_rotvec(np.radians(2.0) * np.sqrt(rng.uniform()) * _across(rng, axis))
    to_beam, _ = Rotation.align_vectors([[0.0, 0.0, 1.0]], [off.apply(axis)])
    return (Rotation.from_rotvec([0.0, 0.0, rng.uniform(0, 2 * np.pi)]) * to_beam).as_matrix()


def _across(rng: np.random.Generator, axis: Any) -> Any:
    vector = np.cross(rng.normal(size=3), axis)
    return vector / np.linalg.norm(vector)


def to_orientation(matrix: Any) -> Any:
    """Quaternion from the specimen to the crystal, scalar first, of a matrix from the crystal to the specimen."""
    x, y, z, w = Rotation.from_matrix(matrix).inv().as_quat()
    return np.array([w, x, y, z]) * (1.0 if w >= 0 else -1.0)


def random_patterns(count: int, share_near_zones: float, camera: Camera, seed: int, names: tuple[str, ...]) -> Patterns:
    """Crystals that take turns, 20 to 100 nm thick, a share of them near a zone axis."""
    rng = np.random.default_rng(seed)
    crystals = [load_crystal(name, 1.6, camera.energy) for name in names]
    expected, orientations, zones, centres = [], [], [], []
    for i in range(count):
        crystal = crystals[i % len(crystals)]
        zones.append(rng.uniform() < share_near_zones)
        matrix = near_zone(rng, crystal) if zones[-1] else Rotation.random(random_state=rng).as_matrix()
        centres.append(camera.size / 2 + rng.normal(0.0, 0.15, 2))
        expected.append(expected_pattern(crystal, matrix, rng.uniform(20.0, 100.0), camera, centres[-1], 1.0))
        orientations.append(to_orientation(matrix))
    return Patterns(
        np.array(expected, dtype=np.float32),
        np.array(orientations),
        np.arange(count) % len(crystals),
        np.array(zones),
        np.array(centres),
    )


def bent_crystal(name: str, zone: tuple[int, int, int], camera: Camera, columns: int, rows: int) -> Patterns:
    """One crystal that is bent by 4 degrees to either side, through a zone axis in its middle."""
    crystal = load_crystal(name, 1.6, camera.energy)
    axis = np.array(zone) @ np.linalg.inv(crystal.reciprocal).T
    to_beam, _ = Rotation.align_vectors([[0.0, 0.0, 1.0]], [axis])
    expected, orientations = [], []
    for bend in np.linspace(-4.0, 4.0, columns):
        for row in range(rows):
            # A little off the row, so that the beam never meets the axis exactly.
            tilt = Rotation.from_rotvec(np.radians([0.3 * (row - rows / 2), bend, 0.0]))
            matrix = (tilt * to_beam).as_matrix()
            thickness = 50.0 + 2.0 * row
            expected.append(expected_pattern(crystal, matrix, thickness, camera, np.full(2, camera.size / 2), 1.0))
            orientations.append(to_orientation(matrix))
    count = rows * columns
    return Patterns(
        np.array(expected, dtype=np.float32).reshape(columns, rows, camera.size, camera.size).swapaxes(0, 1),
        np.array(orientations).reshape(columns, rows, 4).swapaxes(0, 1),
        np.zeros(count, dtype=int),
        np.ones(count, dtype=bool),
        np.full((count, 2), camera.size / 2),
    )


def check_simulator() -> None:
    """All electrons are somewhere, and a thin crystal diffracts kinematically."""
    crystal = load_crystal("LiFePO4", 1.6, 200.0)
    matrix = Rotation.random(random_state=1).as_matrix()
    beam = np.array([0.0, 0.0, -1.0])
    lost = np.abs(intensities(crystal, matrix, beam, [10.0, 600.0], absorption=0.0)[1].sum(axis=1) - 1.0).max()
    thin = 0.2
    g, found = intensities(crystal, matrix, beam, [thin], absorption=0.0)
    hkl = np.rint(g @ matrix @ np.linalg.inv(crystal.reciprocal)).astype(int) + crystal.most
    coupling = np.abs(crystal.potential[hkl[:, 0], hkl[:, 1], hkl[:, 2]]) / crystal.wave
    error = (2 * crystal.wave * (g @ beam) + (g**2).sum(axis=1)) / (2 * crystal.wave)
    kinematical = (np.pi * thin * coupling * np.sinc(thin * error)) ** 2
    bright = np.argsort(-kinematical)[:30]
    off = np.abs(found[0, bright] / kinematical[bright] - 1.0).max()
    print(
        f"electrons lost without absorption {lost:.1e}; {thin} Å against the kinematical limit, worst of 30: {off:.1%}"
    )


def judge(patterns: Patterns, bank: Any, electrons: float, camera: Camera, seed: int) -> dict[str, float]:
    """Index patterns with a number of electrons in their Bragg spots."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(patterns.expected * electrons).astype(np.uint16)
    geometry = PatternGeometry(
        scale=camera.scale, centre=(camera.size / 2,) * 2, scale_std=0.0, centre_std=(0.15, 0.15)
    )
    found = Indexer(bank, geometry, counts.shape[1:]).index(counts)
    of_phase = found.phase_orientations[np.arange(len(counts)), patterns.phase]
    angles = disorientation(of_phase, patterns.orientations, patterns.phase, bank)
    right = found.phase == patterns.phase
    best = found.posterior.max(axis=1)
    away = ~patterns.near_zone
    return {
        "right phase": right.mean(),
        "within 3 degrees": (right & (angles < 3.0)).mean(),
        "median, random": float(np.median(angles[away])),
        "median, near zones": float(np.median(angles[~away])),
        "posterior above .99 of the right": (best[right] > 0.99).mean(),
        "wrong with posterior above .99": int((best[~right] > 0.99).sum()),
    }


def bent(camera: Camera, bank: Any, electrons: float, seed: int) -> None:
    """One crystal bent through each of some axes: how many grains, how many false boundaries."""
    for zone in ((0, 1, 1), (1, 0, 0), (0, 0, 1), (1, 1, 0)):
        scan = bent_crystal("LiFePO4", zone, camera, 17, 6)
        counts = np.random.default_rng(seed).poisson(scan.expected * electrons).astype(np.uint16)
        signal = ACOMPatterns(counts)
        for axis in signal.axes_manager.navigation_axes:
            axis.scale, axis.units = 5.0, "nm"
        for axis in signal.axes_manager.signal_axes:
            axis.scale, axis.units, axis.offset = camera.scale, "1/Å", -camera.scale * camera.size / 2
        signal.metadata.set_item("Acquisition_instrument.TEM.beam_energy", camera.energy)
        result = signal.index_orientations(bank, calibrate=False, show_progressbar=False)
        grains = result.grain_boundaries()
        true = scan.orientations.reshape(-1, 4)
        angles = disorientation(
            np.asarray(result.found.orientation).reshape(-1, 4), true, np.zeros(len(true), dtype=int), bank
        )
        print(
            f"bent through {zone}: {len(grains.table)} grains,"
            f" within 3 degrees {(angles < 3.0).mean():.1%}, median {np.median(angles):.2f}",
            flush=True,
        )


def main() -> None:
    """Print what was found at each number of electrons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patterns", type=int, default=600)
    parser.add_argument("--near-zones", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--still", action="store_true", help="no precession")
    parser.add_argument("--keep", help="file for the expected patterns, read if it is there")
    parser.add_argument("--no-bent", action="store_true")
    arguments = parser.parse_args()
    check_simulator()
    names = ("LiFePO4", "FePO4")
    camera = Camera(directions=1) if arguments.still else Camera()
    bank = simulate_bank(list(names), resolution=1.0, precession_angle=0.0 if arguments.still else camera.precession)
    if arguments.keep and Path(arguments.keep).exists():
        with np.load(arguments.keep) as kept:
            patterns = Patterns(**kept)
    else:
        patterns = random_patterns(arguments.patterns, arguments.near_zones, camera, arguments.seed, names)
        if arguments.keep:
            np.savez(arguments.keep, **vars(patterns))
    for electrons in (6000.0, 600.0):
        for what, value in judge(patterns, bank, electrons, camera, arguments.seed).items():
            print(f"{electrons:.0f} electrons in the spots | {what} | {value:.3f}", flush=True)
    if not arguments.no_bent:
        bent(camera, bank, 6000.0, arguments.seed)


if __name__ == "__main__":
    main()
