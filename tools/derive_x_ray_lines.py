"""Write tables of hyperspy_assb/reference: x_ray_line_components.csv (how X-ray lines are split, and how wide they are
by nature), x_ray_lines_added.csv (lines that exspy has not), x_ray_lines_by_levels.csv (lines of which only the energy
is known) and mass_absorption.csv (a second source of absorption).

Needs xraydb (public domain), which the package does not: W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem.
63, 121 (2002), for lines; O. Keski-Rahkonen and M. O. Krause, At. Data Nucl. Data Tables 14, 139 (1974), and M. O.
Krause and J. H. Oliver, J. Phys. Chem. Ref. Data 8, 329 (1979), for widths of levels, as it has them.

Run: python tools/derive_x_ray_lines.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import xraydb

# Names of exspy, and the lines of which each is made up.
LINES = {
    "Ka": ("Ka1", "Ka2", "Ka3"),
    "Kb": ("Kb1", "Kb2", "Kb3", "Kb4", "Kb5"),
    "La": ("La1", "La2"),
    "Lb1": ("Lb1",),
    "Lb2": ("Lb2,15",),
    "Lb3": ("Lb3",),
    "Lb4": ("Lb4",),
    "Lg1": ("Lg1",),
    "Lg3": ("Lg2", "Lg3"),
    "Ll": ("Ll",),
    "Ln": ("Ln",),
    "Ma": ("Ma",),
    "Mb": ("Mb",),
    "Mg": ("Mg",),
    "Mz": ("Mz",),
}
LEAST = 0.002
"""Share of a line below which a component is left out."""
SOFTEST = 100.0  # eV
REFERENCE = Path(__file__).parents[1] / "hyperspy_assb" / "reference"
TARGET = REFERENCE / "x_ray_line_components.csv"
ADDED = ("Ti", "V", "Cr", "Mn", "Fe", "Co")
"""Elements of which exspy has Lα and no Lβ1."""
SOFT = {
    "K": ("Ll", "Ln"),
    **dict.fromkeys(["Mo", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Cs", "Ba"], ("Mz",)),
}
"""Elements whose soft lines exspy has not."""
BY_LEVELS = (("M1", "N2"), ("M1", "N3"), ("M2", "N1"), ("M3", "N1"), ("M3", "N4"))
"""Allowed transitions to M levels that neither exspy nor Elam lists."""
FIRST_OF_M = 57
"""Atomic number from which on M families have a main line."""
GRID = np.geomspace(50.0, 40000.0, 55)  # eV
STEP = 0.01  # eV on either side of an edge


def level_width(element: str, level: str) -> float:
    """Natural width of a level in eV; of several together, that of the first."""
    return float(xraydb.core_width(element).get(level.split(",")[0], 0.0))


def write(name: str, comments: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with (REFERENCE / name).open("w", newline="", encoding="utf-8") as text:
        text.write(comments)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def added_lines() -> None:
    """Lβ1 of the 3d metals, and soft lines."""
    named = [*((el, ("Lb1",)) for el in ADDED), *SOFT.items()]
    rows = [(el, name, f"{xraydb.xray_lines(el)[name].energy:.1f}") for el, names in named for name in names]
    comments = (
        "# Lines that exspy has not: energy in eV, from XrayDB (public domain): Elam et al. 2002.\n"
        "# Made by tools/derive_x_ray_lines.py.\n"
    )
    write("x_ray_lines_added.csv", comments, ("element", "line", "energy"), rows)


def lines_by_levels() -> None:
    """Energies of lines to M levels that no table lists, as differences of levels."""
    rows = []
    for number in range(FIRST_OF_M, 93):
        element = xraydb.atomic_symbol(number)
        edges = xraydb.xray_edges(element)
        rows += [
            (element, f"{upper}{lower}", f"{edges[upper].energy - edges[lower].energy:.0f}")
            for upper, lower in BY_LEVELS
            if upper in edges and lower in edges
        ]
    comments = (
        "# Lines to M levels that tables do not list: energy in eV as the difference of two levels, good to some eV.\n"
        "# Made by tools/derive_x_ray_lines.py from XrayDB (public domain): Elam et al. 2002.\n"
    )
    write("x_ray_lines_by_levels.csv", comments, ("element", "line", "energy"), rows)


def absorption() -> None:
    """Mass absorption coefficients of a second source."""
    rows = []
    for number in range(3, 93):
        element = xraydb.atomic_symbol(number)
        edges = [edge.energy for edge in xraydb.xray_edges(element).values() if GRID[0] < edge.energy < GRID[-1]]
        energies = np.unique(np.concatenate([GRID, *([e - STEP, e + STEP] for e in edges)]))
        energies = energies[energies >= 100.0]  # the table begins there
        values = xraydb.mu_elam(element, energies)
        rows += [(element, f"{e:.7g}", f"{v:.4g}") for e, v in zip(energies, values, strict=True)]
    comments = (
        "# Mass absorption coefficients: energy in eV, cm2/g; between rows, logarithms are linear.\n"
        "# Made by tools/derive_x_ray_lines.py from XrayDB (public domain): Elam et al. 2002.\n"
    )
    write("mass_absorption.csv", comments, ("element", "energy", "coefficient"), rows)


def main() -> None:
    added_lines()
    lines_by_levels()
    absorption()
    rows = []
    for number in range(3, 96):
        element = xraydb.atomic_symbol(number)
        known = xraydb.xray_lines(element)
        for name, members in LINES.items():
            found = [known[part] for part in members if part in known and known[part].energy > SOFTEST]
            total = sum(line.intensity for line in found)
            found = [line for line in found if line.intensity >= LEAST * total]
            if not found:
                continue
            parts: dict[float, list[float]] = {}
            main = max(found, key=lambda line: line.intensity).energy
            for line in found:
                width = level_width(element, line.initial_level) + level_width(element, line.final_level)
                # Components that lie on each other are one.
                share, widths = parts.get(round(line.energy - main, 1), [0.0, 0.0])
                parts[round(line.energy - main, 1)] = [share + line.intensity, widths + line.intensity * width]
            total = sum(share for share, _ in parts.values())
            for offset, (share, widths) in parts.items():
                rows.append((element, name, f"{offset:.1f}", f"{share / total:.3f}", f"{widths / share:.1f}"))
    with TARGET.open("w", newline="", encoding="utf-8") as text:
        text.write("# Components of X-ray lines: offset from the strongest in eV, share, natural width (FWHM) in eV.\n")
        text.write(
            "# Made by tools/derive_x_ray_lines.py from XrayDB (public domain): Elam et al. 2002; widths of levels:\n"
        )
        text.write("# Keski-Rahkonen and Krause 1974, Krause and Oliver 1979.\n")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("element", "line", "offset", "share", "width"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
