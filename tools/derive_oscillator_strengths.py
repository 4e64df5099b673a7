"""Derive ``hyperspy_assb/reference/oscillator_strengths.csv`` from tabulated photoabsorption.

Needs ``periodictable`` (Henke tables) and ``xraylib`` (Kissel's sub-shell photoeffect); neither is needed to use the
package. Run ``python tools/derive_oscillator_strengths.py`` to rewrite the table; it prints the oscillator-strength
sums that the tests check. ``--check`` compares with the stored table instead of writing it.

Method
------
1. Total: df/dE = 2 f2 / (pi E), f2 from Henke, Gullikson & Davis, At. Data Nucl. Data Tables 54, 181 (1993), with the
   CXRO updates. Between 10 and 200 eV this rests on measured absorption of the elements, giant resonances included.
2. Sub-shells deeper than the edge, which open above it, are cut off: from 0.97 of the first deeper threshold on, the
   table is continued by the power law of the 30 % of energy below it.
3. Shells of less binding energy ("outer") are removed. For an isolated edge their df/dE is the power law fitted to the
   total just below the edge, with its exponent kept within the limits below.
4. Weak sub-shells that no jump separates (3s over 3p, 2s over 2p, 3p of Ge over its 3d maximum) are taken from the
   independent-particle calculation of Kissel as distributed by xraylib (Schoonjans et al., Spectrochim. Acta B 66,
   776 (2011)), scaled to the measured total where the whole total can be so divided.

Limits of step 3: an isotropic power law is what an EELS background looks like, but it is not the 3d photoionisation of
a free atom, which has a delayed maximum and interferes with 3p -> 3d. "The M2,3 oscillator strength" of a 3d metal is
therefore defined here as what rises above the smooth continuation of the pre-edge.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import periodictable
import xraylib

TABLE = Path(__file__).resolve().parents[1] / "hyperspy_assb" / "reference" / "oscillator_strengths.csv"

# The grid of the package: 20 eV * expm1(i * STEP), 0 to 1500 eV above the onset, 0.34 eV apart at the onset.
POINTS = 256
SCALE = 20.0
RANGE = 1500.0
STEP = np.log1p(RANGE / SCALE) / (POINTS - 1)
RELATIVE = SCALE * np.expm1(STEP * np.arange(POINTS))

BARN_PER_UNIT = 109.760983e6
"""sigma (barn) of df/dE = 1 per eV: 2 pi^2 e^2 hbar / (m c), Egerton (2011), eq. 4.11."""


@dataclass(frozen=True)
class Recipe:
    """How one edge is cut out of the total; energies in eV."""

    element: str
    shell: str
    onset: float
    pre_edge: tuple[float, float] | None
    """Where the outer shells are fitted; None: the total is divided by Kissel's shares."""
    exponent: tuple[float, float] = (1.5, 3.5)
    """Limits of the exponent of the outer shells. Below 1.5 their remaining strength would exceed the valence
    electrons that Thomas-Reiche-Kuhn leaves; above 3.5 they would fall faster than any hydrogenic shell."""
    subtract: tuple[str, ...] = ()
    """Weak sub-shells taken away with Kissel's values."""
    deeper: float = 1e9
    """First deeper threshold: the total is not used from here on."""
    own: tuple[str, ...] = ()
    """Sub-shells of the edge, for Kissel's shares."""
    threshold: float | None = None
    """Where Henke's table has the edge, if not at the onset: it is brought to the onset."""


L = ("L2", "L3")
RECIPES = [
    Recipe("V", "M2,3", 38.0, (20.0, 33.0), subtract=("M1",), deeper=512.1),
    Recipe("Mn", "M2,3", 49.0, (30.0, 45.0), subtract=("M1",), deeper=638.7),
    Recipe("Fe", "M2,3", 54.0, (35.0, 52.0), subtract=("M1",), deeper=706.8),
    Recipe("Co", "M2,3", 59.0, (35.0, 54.0), subtract=("M1",), deeper=778.1),
    Recipe("Ni", "M2,3", 68.0, (35.0, 62.0), subtract=("M1",), deeper=852.7),
    Recipe("V", "M1", 66.0, None, own=("M1",), deeper=512.1),
    Recipe("Fe", "M1", 91.0, None, own=("M1",), deeper=706.8),
    Recipe("Ge", "M4,5", 29.0, (18.0, 26.0), subtract=("M1", "M2", "M3"), deeper=1217.0),
    Recipe("Ge", "M2,3", 121.0, None, own=("M2", "M3"), deeper=1217.0),
    Recipe("Al", "L2,3", 73.0, (60.0, 72.0), subtract=("L1",), deeper=1559.0),
    Recipe("P", "L2,3", 132.0, (90.0, 130.0), subtract=("L1",), deeper=2145.5, threshold=135.1),
    Recipe("V", "L2,3", 513.0, (300.0, 505.0), subtract=("L1",), deeper=5465.0),
    Recipe("Fe", "L2,3", 708.0, (400.0, 700.0), subtract=("L1",), deeper=7112.0),
    Recipe("Ti", "L2,3", 456.0, (250.0, 448.0), subtract=("L1",), deeper=4966.0),
    Recipe("Mn", "L2,3", 640.0, (370.0, 632.0), subtract=("L1",), deeper=6539.0),
    Recipe("Co", "L2,3", 779.0, (450.0, 770.0), subtract=("L1",), deeper=7709.0),
    Recipe("Ni", "L2,3", 855.0, (500.0, 845.0), subtract=("L1",), deeper=8333.0),
    Recipe("Ti", "M2,3", 35.0, (20.0, 31.5), subtract=("M1",), deeper=453.8, threshold=32.6),
    Recipe("Na", "L2,3", 31.0, (15.0, 29.5), subtract=("L1",), deeper=1070.8),
    Recipe("Mg", "L2,3", 50.0, (30.0, 48.0), subtract=("L1",), deeper=1303.0),
    Recipe("Si", "L2,3", 99.0, (80.0, 98.0), subtract=("L1",), deeper=1839.0, threshold=99.8),
    Recipe("S", "L2,3", 165.0, (100.0, 160.0), subtract=("L1",), deeper=2472.0, threshold=163.0),
    Recipe("Cl", "L2,3", 200.0, (120.0, 195.0), subtract=("L1",), deeper=2822.4, threshold=202.0),
    Recipe("Sr", "M4,5", 134.0, (105.0, 122.0), subtract=("M1", "M2", "M3"), deeper=1940.0),
    Recipe("Zr", "M4,5", 181.0, (140.0, 172.0), subtract=("M1", "M2", "M3"), deeper=2222.3),
    Recipe("La", "N4,5", 99.0, (65.0, 85.0), subtract=("N1", "N2", "N3"), deeper=832.0),
]


def henke(element: str) -> tuple[np.ndarray, np.ndarray]:
    """Energy (eV) and total df/dE (1/eV per atom) of Henke's table."""
    energy, _, f2 = np.array(periodictable.elements.symbol(element).xray.sftable)[:3]
    return energy * 1e3, 2 * f2 / np.pi / (energy * 1e3)


def kissel(element: str, shell: str, energy: np.ndarray) -> np.ndarray:
    """df/dE (1/eV per atom) of one sub-shell by Kissel; zero where the shell is closed."""
    z = xraylib.SymbolToAtomicNumber(element)
    index = getattr(xraylib, f"{shell}_SHELL")
    result = np.zeros(energy.size)
    try:
        occupation = xraylib.ElectronConfig(z, index)
    except ValueError:  # no such sub-shell
        return result
    for i, e in enumerate(energy):
        try:
            result[i] = occupation * xraylib.CSb_Photo_Partial(z, index, float(e) * 1e-3) / BARN_PER_UNIT
        except ValueError:  # below the threshold of this sub-shell
            result[i] = 0.0
    return result


def extrapolate(energy: np.ndarray, values: np.ndarray, last: float) -> np.ndarray:
    """``values`` continued above ``last`` by the power law of the 30 % of energy below it."""
    used = energy < last
    if used.all():
        return values
    fit = used & (energy > 0.7 * last)
    slope, intercept = np.polyfit(np.log(energy[fit]), np.log(values[fit]), 1)
    return np.where(used, values, np.exp(intercept + slope * np.log(energy)))


def derive(recipe: Recipe, shift: float = 0.0) -> tuple[np.ndarray, dict[str, float]]:
    """df/dE on the grid and the figures of the check; ``shift`` is added to the exponent of the outer shells."""
    table_energy, table_total = henke(recipe.element)
    energy = (recipe.threshold or recipe.onset) + RELATIVE
    total = np.exp(np.interp(np.log(energy), np.log(table_energy), np.log(table_total)))
    last = 0.97 * recipe.deeper
    numbers: dict[str, float] = {}
    if recipe.pre_edge is None:
        # Kissel's thresholds lie up to 2 eV off the nominal onsets: use the first open point for those before it.
        kissel_energy = np.maximum(energy, recipe.onset + 4.0)
        shells = ("M1", "M2", "M3", "M4", "M5", "N1", "N2", "N3")
        parts = {shell: kissel(recipe.element, shell, kissel_energy) for shell in shells}
        own = sum(parts[shell] for shell in recipe.own)
        if recipe.element == "Ge":  # full 3d shell, no 3p -> 3d: the independent-particle sum agrees with Henke
            edge = total * own / sum(parts.values())
        else:
            edge = own
    else:
        low, high = recipe.pre_edge
        pre = np.geomspace(low, high, 60)
        slope, _ = np.polyfit(np.log(pre), np.log(np.interp(pre, table_energy, table_total)), 1)
        exponent = float(np.clip(-slope, *recipe.exponent)) + shift
        anchor = float(np.interp(high, table_energy, table_total))
        outer = anchor * (energy / high) ** -exponent
        weak = sum((kissel(recipe.element, shell, energy) for shell in recipe.subtract), np.zeros(energy.size))
        edge = total - outer - weak
        numbers["exponent_fitted"], numbers["exponent"] = -float(slope), exponent
        numbers["outer_at_onset"] = float(outer[0])
        if exponent > 1:
            numbers["outer_sum"] = float(outer[0] * recipe.onset / (exponent - 1))
    if shift == 0.0:  # a shifted exponent only serves the first 50 eV
        edge = extrapolate(energy, edge, last)
    if shift == 0.0 and edge.min() <= 0:
        raise ValueError(f"{recipe.element} {recipe.shell}: df/dE is not positive at {energy[edge.argmin()]:.0f} eV")
    numbers["onset"], numbers["max"] = float(edge[0]), float(edge.max())
    numbers["max_at"] = float(RELATIVE[edge.argmax()])
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (edge[1:] + edge[:-1]) * np.diff(RELATIVE))])
    numbers["sum_50"] = float(np.interp(50.0, RELATIVE, cumulative))
    numbers["sum"] = float(cumulative[-1])
    return edge, numbers


def main() -> None:
    """Write the table, or compare with the stored one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the stored table; write nothing")
    check = parser.parse_args().check
    columns = [RELATIVE]
    for recipe in RECIPES:
        edge, numbers = derive(recipe)
        columns.append(edge)
        if recipe.pre_edge is not None:  # what an outer-shell exponent wrong by 0.5 does to a 50 eV window
            spread = [derive(recipe, shift)[1]["sum_50"] for shift in (-0.5, 0.5)]
            numbers["spread_50"] = (spread[1] - spread[0]) / 2 / numbers["sum_50"]
        print(recipe.element, recipe.shell, {key: float(f"{value:.3g}") for key, value in numbers.items()})
    header = "relative_energy," + ",".join(f"{r.element} {r.shell.replace(',', '')}" for r in RECIPES)
    rows = np.column_stack(columns)
    if check:
        stored = np.loadtxt(TABLE, delimiter=",", comments="#", skiprows=8)
        print("largest relative difference:", float(np.max(np.abs(stored[:, 1:] / rows[:, 1:] - 1))))
        return
    comments = [
        "Optical oscillator-strength density df/dE of one sub-shell, 1/eV per atom, over energy above the onset in eV.",
        "Written by tools/derive_oscillator_strengths.py, which says how: do not edit.",
        "Total: Henke, Gullikson & Davis, At. Data Nucl. Data Tables 54, 181 (1993), with CXRO updates, through",
        "periodictable (public domain). Outer shells: power law of the pre-edge, removed. Weak sub-shells (3s, 2s, and",
        "3p of Ge) by Kissel through xraylib (Schoonjans et al., Spectrochim. Acta B 66, 776 (2011); BSD licence).",
        "Near the onset this is the pure element; no fine structure of compounds. Onsets: edges.toml.",
        "Above the next deeper edge: power-law continuation.",
    ]
    with TABLE.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"# {line}\n" for line in comments)
        file.write(header + "\n")
        for row in rows:
            file.write(f"{row[0]:.6f}," + ",".join(f"{value:.5e}" for value in row[1:]) + "\n")


if __name__ == "__main__":
    main()
