"""X-ray spectra of thin columns by other tables and another detector than those of the package.

Nothing of the analysis is used here, and nothing of hyperspy_assb.simulation: lines, radiative rates, yields, widths
of levels and absorption are those of xraylib (T. Schoonjans et al., Spectrochim. Acta B 66, 776 (2011)), ionisation is
that of C. J. Powell, Rev. Mod. Phys. 48, 33 (1976), with the relativistic terms of Bethe, and the detector has a window
or none, a Fano factor, a tail, a shelf, escape peaks and its own resolution. Needs xraylib (``pip install xraylib``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import xraylib
from scipy import special

AVOGADRO = 6.02214076e23
CHARGE = 1.602176634e-19
M_C2 = 510.99895  # keV
PAIR = 3.65  # eV for an electron-hole pair in silicon
MN_KA = 5.8951

PHASES = {
    "LFP": ({"Li": 1, "Fe": 1, "P": 1, "O": 4}, 3.60),
    "LAGP": ({"Li": 1.5, "Al": 0.5, "Ge": 1.5, "P": 3, "O": 12}, 3.42),
    "LVP": ({"Li": 3, "V": 2, "P": 3, "O": 12}, 3.03),
    "C": ({"C": 1}, 1.80),
}
"""Formula, and g/cm^3."""

_MAIN = {"Ka": ("KL3", "KL2"), "La": ("L3M5", "L3M4"), "Ma": ("M5N7", "M5N6")}
_LINES = {
    "K": [f"KL{i}" for i in (2, 3)] + [f"KM{i}" for i in (2, 3)] + ["KN2", "KN3"],
    "L1": [f"L1M{i}" for i in (2, 3)] + ["L1N2", "L1N3"],
    "L2": ["L2M1", "L2M4", "L2N1", "L2N4"],
    "L3": ["L3M1", "L3M4", "L3M5", "L3N1", "L3N4", "L3N5"],
    "M3": ["M3N5"],
    "M4": ["M4N6", "M4N2"],
    "M5": ["M5N6", "M5N7", "M5N3"],
}
_ELECTRONS = {"K": 2, "L1": 2, "L2": 2, "L3": 4, "M1": 2, "M2": 2, "M3": 4, "M4": 4, "M5": 6}
# Coefficients b and c of Powell.
_BETHE = {"K": (0.9, 0.65), "L": (0.75, 0.60), "M": (0.65, 0.60)}


@dataclass(frozen=True)
class Microscope:
    """How X-rays are made and recorded.

    Parameters
    ----------
    resolution
        eV at Mn Kα.
    fano
        Fano factor: the square of the width grows by 5.545 x 3.65 x fano eV for each eV.
    window
        None, or "polymer": 300 nm of polyimide and 40 nm of Al on a grid of Si.
    dead
        nm of silicon from which no charge comes.
    loss
        nm of silicon below, from which part of the charge is lost into the tail.
    tail
        Length of the tail in eV.
    shelf
        Share of the photons on the shelf below a line.
    escape
        Strength of escape peaks relative to theory.
    yields
        Families of lines, such as ("Ge_L", 1.1), whose yield is so many times that of the tables.
    stray
        Atoms/nm^2 seen everywhere.
    """

    beam_energy: float = 200.0
    take_off: float = 20.0
    resolution: float = 131.0
    fano: float = 0.117
    window: str | None = None
    dead: float = 20.0
    loss: float = 15.0
    tail: float = 70.0
    shelf: float = 0.003
    escape: float = 0.9
    crystal: float = 0.45
    dispersion: float = 0.01
    channels: int = 2048
    offset: float = 0.0
    offset_error: float = 0.0
    gain_error: float = 0.0
    continuum: float = 1.0
    yields: tuple[tuple[str, float], ...] = ()
    stray: tuple[tuple[str, float], ...] = (("Cu", 25.0), ("Si", 20.0))
    extra: tuple[tuple[str, float], ...] = (("Ga", 20.0), ("Pt", 2.0))

    @property
    def energy(self) -> np.ndarray:
        return self.offset + self.dispersion * np.arange(self.channels)

    @property
    def edges(self) -> np.ndarray:
        """True energies in keV between which channels count."""
        stated = self.offset + self.dispersion * (np.arange(self.channels + 1) - 0.5)
        return (stated - self.offset_error) / (1.0 + self.gain_error)


def absorption(element: str, energy: np.ndarray) -> np.ndarray:
    """cm^2/g."""
    number = xraylib.SymbolToAtomicNumber(element)
    return np.array([xraylib.CS_Total(number, max(float(e), 0.1)) for e in np.atleast_1d(energy)])


@cache
def _ionisation(element: str, shell: str, beam: float) -> float:
    """nm^2."""
    number = xraylib.SymbolToAtomicNumber(element)
    try:
        edge = xraylib.EdgeEnergy(number, getattr(xraylib, f"{shell}_SHELL"))
    except ValueError:
        return 0.0
    if not 0.0 < edge < beam:
        return 0.0
    tau = beam / M_C2
    beta2 = tau * (tau + 2.0) / (tau + 1.0) ** 2
    b, c = _BETHE[shell[0]]
    half = 0.5 * M_C2 * beta2
    # pi e^4 = 6.51e-14 cm^2 eV^2 = 6.51e-6 nm^2 keV^2
    bracket = np.log(c * half / edge) - np.log(1.0 - beta2) - beta2
    return float(6.51e-6 * _ELECTRONS[shell] * b / (half * edge) * max(bracket, 0.0))


@cache
def lines(element: str, beam: float) -> tuple[tuple[str, str, float, float, float], ...]:
    """Shell letter, transition, keV, natural width in keV, photons in nm^2 per electron and atom/nm^2."""
    number = xraylib.SymbolToAtomicNumber(element)
    holes = {s: _ionisation(element, s, beam) for s in _ELECTRONS}
    for one, other, name in (("L1", "L2", "FL12"), ("L1", "L3", "FL13"), ("L2", "L3", "FL23")):
        try:
            holes[other] += holes[one] * xraylib.CosKronTransProb(number, getattr(xraylib, f"{name}_TRANS"))
        except ValueError:
            continue
    found = []
    for shell, names in _LINES.items():
        for name in names:
            try:
                energy = xraylib.LineEnergy(number, getattr(xraylib, f"{name}_LINE"))
                rate = xraylib.RadRate(number, getattr(xraylib, f"{name}_LINE"))
                fluorescence = xraylib.FluorYield(number, getattr(xraylib, f"{shell}_SHELL"))
            except ValueError:
                continue
            width = 0.0
            for level in (shell, name[len(shell) :]):
                try:
                    width += xraylib.AtomicLevelWidth(number, getattr(xraylib, f"{level}_SHELL"))
                except ValueError:
                    width += 0.0001
            photons = holes[shell] * fluorescence * rate
            if photons > 0.0 and energy > 0.1:
                found.append((shell[0], name, energy, width, photons))
    # Light elements have no tabulated Kα: half of the table's edge would be wrong, so it is named here.
    light = {"B": (0.1833, 0.0014), "C": (0.2770, 0.0026), "N": (0.3924, 0.0047), "O": (0.5249, 0.0069)}
    if element in light and not any(row[0] == "K" for row in found):
        energy, fluorescence = light[element]
        found.append(("K", "KL3", energy, 0.0002, holes["K"] * fluorescence))
    return tuple(found)


def efficiency(energy: np.ndarray, scope: Microscope) -> np.ndarray:
    """Share of the photons that leave all or part of their charge."""
    energy = np.atleast_1d(energy)
    silicon = absorption("Si", energy) * 2.33
    passed = np.exp(-silicon * scope.dead * 1e-7) * -np.expm1(-silicon * 0.1 * scope.crystal)
    if scope.window == "polymer":
        film = {"C": 0.691, "H": 0.026, "N": 0.073, "O": 0.209}
        polymer = 1.42 * sum(w * absorption(el, energy) for el, w in film.items())
        passed *= np.exp(-polymer * 300e-7 - absorption("Al", energy) * 2.70 * 40e-7)
        passed *= 0.78 + 0.22 * np.exp(-silicon * 380e-4)
    return passed


def sigma(energy: np.ndarray | float, scope: Microscope) -> np.ndarray:
    """Standard deviation in keV."""
    slope = 8.0 * np.log(2.0) * PAIR * scope.fano
    squared = scope.resolution**2 - slope * 1000.0 * (MN_KA - np.asarray(energy))
    return np.sqrt(np.maximum(squared, 30.0**2)) / 2354.82


def _shares(energy: float, scope: Microscope) -> tuple[float, float, float]:
    """Photons in the tail, on the shelf, in the escape peak."""
    silicon = absorption("Si", np.array([energy, 1.7398])) * 2.33
    tail = float(-np.expm1(-silicon[0] * scope.loss * 1e-7))
    ratio = silicon[1] / silicon[0]
    escaped = 0.5 * 0.0485 * 0.91 * (1.0 - ratio * np.log1p(1.0 / ratio)) if energy > 1.839 else 0.0
    return tail, scope.shelf, float(scope.escape * escaped)


def peak_share(energy: float, scope: Microscope) -> float:
    """Share of the counted photons in the full-energy peak."""
    return 1.0 - sum(_shares(energy, scope))


def _shape(energy: float, width: float, scope: Microscope) -> np.ndarray:
    """Counts of one counted photon."""
    edges = scope.edges
    s = float(sigma(energy, scope))
    fine = np.linspace(-30.0, 30.0, 1201) * max(width, 1e-6)
    if width > 2e-4:
        lorentz = 1.0 / (1.0 + (2.0 * fine / width) ** 2)
        nodes = np.interp(np.arange(0.5, 40) / 40, np.cumsum(lorentz) / lorentz.sum(), fine)
    else:
        nodes = np.zeros(1)
    peak = np.mean([np.diff(special.ndtr((edges - energy - d) / s)) for d in nodes], axis=0)
    tail, shelf, escaped = _shares(energy, scope)
    length = scope.tail / 1000.0
    z = (edges - energy) / s
    r = s / length
    below = special.ndtr(z) + np.exp(np.minimum(0.5 * r**2 + z * r + special.log_ndtr(-z - r), 0.0))
    flat = np.interp(edges, [0.0, energy], [0.0, 1.0])
    whole = (1.0 - tail - shelf - escaped) * peak + tail * np.diff(below) + shelf * np.diff(flat)
    if escaped > 0.0:
        left = energy - 1.7398
        whole = whole + escaped * np.diff(special.ndtr((edges - left) / float(sigma(left, scope))))
    return whole


def densities(phase: str) -> dict[str, float]:
    """Atoms/nm^3."""
    formula, density = PHASES[phase]
    mass = sum(n * xraylib.AtomicWeight(xraylib.SymbolToAtomicNumber(el)) for el, n in formula.items())
    return {el: n * density / mass * AVOGADRO * 1e-21 for el, n in formula.items()}


@dataclass
class Table:
    """Everything for one microscope."""

    scope: Microscope
    elements: tuple[str, ...]
    rows: list = field(default_factory=list)

    def __post_init__(self) -> None:
        scope = self.scope
        factor = dict(scope.yields)
        for el in self.elements:
            for family, name, energy, width, photons in lines(el, scope.beam_energy):
                if scope.edges[0] + 0.05 < energy < scope.edges[-1] + 1.0:
                    made = photons * factor.get(f"{el}_{family}", 1.0) * float(efficiency(energy, scope)[0])
                    self.rows.append((el, name, energy, made, _shape(energy, width, scope)))
        centre = 0.5 * (scope.edges[1:] + scope.edges[:-1])
        e = np.maximum(centre, 0.05)
        shape = e**-1.12 * (1.0 - np.minimum(e / scope.beam_energy, 1.0)) * (1.0 + 0.25 * np.exp(-e / 2.5))
        self.centre = e
        self.background = (
            1.1e-11 * scope.continuum * shape * efficiency(e, scope) * np.diff(scope.edges) * (centre > 0.05)
        )
        # The resolution smooths the continuum and its steps.
        s = sigma(e, scope)
        z = (scope.edges[:, np.newaxis] - centre) / s
        self.smooth = np.diff(special.ndtr(z), axis=0)

    def depth(self, atoms: Mapping[str, np.ndarray], energy: np.ndarray) -> np.ndarray:
        path = 1e14 / AVOGADRO / np.sin(np.deg2rad(self.scope.take_off))
        return path * sum(
            np.multiply.outer(n * xraylib.AtomicWeight(xraylib.SymbolToAtomicNumber(el)), absorption(el, energy))
            for el, n in atoms.items()
            if np.any(n)
        )

    def spectra(self, atoms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Expected counts per electron of columns, shape (N, channels)."""

        def leaves(depth: np.ndarray) -> np.ndarray:
            depth = np.maximum(depth, 1e-9)
            return -np.expm1(-depth) / depth

        energy = np.array([row[2] for row in self.rows])
        zero = np.zeros(len(next(iter(atoms.values()))))
        made = np.stack([atoms.get(row[0], zero) * row[3] for row in self.rows], axis=1)
        out = (made * leaves(self.depth(atoms, energy))) @ np.array([row[4] for row in self.rows])
        heavy = sum(n * xraylib.SymbolToAtomicNumber(el) ** 1.95 for el, n in atoms.items())
        coarse = np.geomspace(0.1, self.centre[-1], 240)
        # Steps of absorption are kept by their own energies.
        steps = np.array([e for el in atoms for e in _absorption_edges(el) if 0.1 < e < self.centre[-1]])
        grid = np.unique(np.concatenate([coarse, steps - 1e-4, steps + 1e-4]))
        left = leaves(self.depth(atoms, grid))
        left = np.array([np.interp(self.centre, grid, row) for row in left])
        out += (heavy[:, np.newaxis] * self.background * left) @ self.smooth.T
        for el, n in self.scope.stray:
            for row in self.rows:
                if row[0] == el:
                    out += n * row[3] * row[4]
        return out


def _absorption_edges(element: str) -> list[float]:
    number = xraylib.SymbolToAtomicNumber(element)
    found = []
    for shell in _ELECTRONS:
        try:
            found.append(xraylib.EdgeEnergy(number, getattr(xraylib, f"{shell}_SHELL")))
        except ValueError:
            continue
    return found


ELEMENTS = ("C", "O", "Al", "P", "V", "Fe", "Ge", "Si", "Cu", "Ga", "Pt")


def simulate(columns: Mapping[str, np.ndarray], scope: Microscope, counts: float, elements=ELEMENTS):
    """Expected spectra of a mean number of counts, and atoms/nm^2 of each element; columns in nm by phase."""
    atoms: dict[str, np.ndarray] = {}
    for phase, nm in columns.items():
        for el, n in densities(phase).items():
            atoms[el] = atoms.get(el, 0.0) + n * np.asarray(nm, dtype=float)
    atoms.pop("Li", None)
    size = len(next(iter(atoms.values())))
    for el, n in scope.extra:
        atoms[el] = atoms.get(el, 0.0) + np.full(size, n)
    table = Table(scope, tuple(dict.fromkeys((*elements, *atoms))))
    expected = table.spectra(atoms)
    electrons = counts / expected.sum(axis=1).mean()
    return electrons * expected, atoms, electrons


def k_factors(scope: Microscope, elements=ELEMENTS) -> dict[str, float]:
    """Factors of the main lines (Kα1 and Kα2, Lα1 and Lα2, Mα1 and Mα2 together) by counts in the full-energy peak."""
    factor = dict(scope.yields)
    found = {}
    for el in elements:
        mass = xraylib.AtomicWeight(xraylib.SymbolToAtomicNumber(el))
        for main, members in _MAIN.items():
            own = [row for row in lines(el, scope.beam_energy) if row[1] in members]
            total = sum(
                photons
                * factor.get(f"{el}_{family}", 1.0)
                * float(efficiency(energy, scope)[0])
                * peak_share(energy, scope)
                for family, _, energy, _, photons in own
                if scope.edges[0] + 0.1 < energy < scope.edges[-1] - 0.3
            )
            if total > 0.0:
                found[f"{el}_{main}"] = mass / total
    return found


def random_microscope(rng: np.random.Generator, **fixed) -> Microscope:
    """One of many: with a window or none, 125 to 140 eV, weak or strong tails."""
    return replace(
        Microscope(
            resolution=rng.uniform(125.0, 140.0),
            fano=rng.uniform(0.108, 0.125),
            window=rng.choice(["none", "polymer"]),
            dead=rng.uniform(5.0, 40.0),
            loss=rng.uniform(3.0, 25.0),
            tail=rng.uniform(40.0, 110.0),
            shelf=rng.uniform(0.0005, 0.006),
            escape=rng.uniform(0.7, 1.2),
            take_off=rng.uniform(15.0, 25.0),
            continuum=rng.uniform(0.7, 1.5),
        ),
        **fixed,
    )


def signal_of(counts: np.ndarray, scope: Microscope, electrons: float, shape: tuple[int, ...] = ()):
    """An EDX signal of the package with the metadata that such a microscope writes."""
    import hyperspy.api as hs

    s = hs.signals.Signal1D(counts.reshape(*(shape or counts.shape[:-1]), counts.shape[-1]))
    s.set_signal_type("EDS_TEM_ASSB")
    axis = s.axes_manager.signal_axes[0]
    axis.name, axis.units, axis.scale, axis.offset = "Energy", "keV", scope.dispersion, scope.offset
    for nav in s.axes_manager.navigation_axes:
        nav.units, nav.scale = "nm", 5.0
    s.set_microscope_parameters(
        beam_energy=scope.beam_energy,
        tilt_stage=0.0,
        elevation_angle=scope.take_off,
        azimuth_angle=0.0,
        energy_resolution_MnKa=scope.resolution,
    )
    return s
