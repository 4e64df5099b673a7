"""Write the tables of ``hyperspy_assb/reference/loss_functions`` from the steps of ``compute_loss_functions.py``.

``python tools/write_loss_functions.py OUT``; with ``--compare``, how far the tables that are there are from a new run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from compute_loss_functions import BIN, BOHR, HARTREE, MOMENTS, Run
from scipy.ndimage import gaussian_filter1d

TARGET = Path(__file__).resolve().parents[1] / "hyperspy_assb" / "reference" / "loss_functions"
#: Broadening of what is written (eV), see `permittivity`, and its energies.
SPREAD, BROADENING = 0.15, 0.05
ENERGY = np.round(np.arange(0.1, 80.05, 0.1), 1)


def permittivity(strengths, volume, energy, spread=SPREAD, broadening=BROADENING):
    """Complex permittivity `(3, energies)` of oscillator strengths in a cell of `volume` (Å^3); energies in eV.

    The strengths are spread by a Gaussian of standard deviation `spread`, which stands for the k-points that are not
    there and leaves the gap empty; `broadening` is the damping of each, which a Lorentzian tail would fill it with.
    """
    smooth = gaussian_filter1d(strengths, spread / BIN, axis=-1, mode="constant") if spread else strengths
    centres = np.arange(strengths.shape[-1]) * BIN
    scale = 4 * np.pi * HARTREE**2 / (volume / BOHR**3)
    eps = np.ones((len(strengths), len(energy)), dtype=complex)
    for start in range(0, len(energy), 100):
        some = energy[start : start + 100, None]
        poles = scale / (centres[1:] ** 2 - (some + 1j * broadening) ** 2)
        eps[:, start : start + 100] += smooth[:, 1:] @ poles.T
    return eps


#: What is written for the package: material, U, and the file without ending.
WRITTEN = [
    *[(material, u) for material in ("FePO4", "LiFePO4") for u in (0.0, 3.0, 4.3, 6.0)],
    ("LiGe2(PO4)3", 0.0),
    ("Li3PO4", 0.0),
]
CAVEATS = {
    "": [
        "local fields, excitons and phonons are left out",
        "cores are frozen: Li 1s, Fe 3p and all below are not in it",
    ],
    "FePO4": ["the commutator of U with the position is left out of the matrix elements"],
    "LiFePO4": ["the commutator of U with the position is left out of the matrix elements"],
    "LiGe2(PO4)3": [
        "the parent of LAGP, without its Al and its second Li",
        "Ge 3d is frozen: Ge M4,5 near 30 eV is not in it",
    ],
}


def load(path):
    """Facts and oscillator strengths `(limits, 3, bins)` of a run."""
    found = np.load(path)
    return json.loads(str(found["facts"])), found["strengths"]


def loss_area(eps, start, stop):
    """Area of Im(-1/eps) between two energies, for each direction."""
    first, last = np.searchsorted(ENERGY, (start - 1e-9, stop + 1e-9))
    return np.trapezoid(-(1 / eps).imag[:, first:last], ENERGY[first:last], axis=-1)


def figures(facts, strengths, spread=SPREAD, limit=-1):
    """What is compared between runs: sums, plasmon and areas, of each direction."""
    eps = permittivity(strengths[limit], facts["volume"], ENERGY, spread)
    scale = 2 / np.pi * facts["volume"] / BOHR**3 / (4 * np.pi) / HARTREE**2 / facts["electrons"]
    loss = -(1 / eps).imag
    peak = ENERGY[np.argmax(np.convolve(loss.mean(axis=0), np.ones(21) / 21, "same"))]
    return {
        "material": facts["material"], "hubbard_u": facts["hubbard_u"], "kpts": list(facts["kpts"]),
        "cutoff": facts["cutoff"], "bands": facts["limits"][limit], "spread": spread,
        "gap": round(facts["gap"], 3),
        "f_sum_eps2": (strengths[limit][:, : int(80 / BIN)].sum(axis=-1) / facts["electrons"]).round(4).tolist(),
        "f_sum_loss": (np.trapezoid(ENERGY * loss, ENERGY, axis=-1) * scale).round(4).tolist(),
        "f_sum_all": (np.array(facts["total_strength"]) / facts["electrons"]).round(4).tolist() if limit == -1 else [],
        "plasmon": round(float(peak), 1),
        "free_electron": round(float(np.sqrt(2 / np.pi / scale)), 2),
        "area_3_8": loss_area(eps, 3, 8).round(5).tolist(), "area_4_7": loss_area(eps, 4, 7).round(5).tolist(),
    }  # fmt: skip


def toml_rows(name, rows):
    """Rows of plain values as TOML, each value as JSON writes it."""
    lines = []
    for row in rows:
        lines.append(f"[[{name}]]")
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in row.items()]
        lines.append("")
    return "\n".join(lines)


def local_areas(path):
    """Areas of the loss functions by GPAW's response code, without ("head") and with ("local") local fields."""
    found = np.load(path)
    energy, row = found["energy"], {"run": path.parent.name, "ecut": float(found["ecut"])}
    for start, stop in ((3, 8), (4, 7), (8, 45)):
        k = (energy >= start) & (energy <= stop)
        for kind in ("head", "local"):
            loss = [-(1 / found[f"{kind}_{d}"][k]).imag for d in "xyz"]
            row[f"{kind}_{start}_{stop}"] = [round(float(np.trapezoid(one, energy[k])), 5) for one in loss]
    return row


def export(out, target):
    """Write the tables of the package, and `convergence.toml`, from all runs that are there."""
    target.mkdir(parents=True, exist_ok=True)
    runs, rows = {}, []
    for path in sorted(out.glob("*/head.npz")):
        facts, strengths = load(path)
        key = (facts["material"], facts["hubbard_u"])
        runs[(*key, tuple(facts["kpts"]), facts["cutoff"], facts["bands"])] = facts, strengths
        variants = [(SPREAD, -1)]
        if tuple(facts["kpts"]) == Run.kpts and facts["cutoff"] == Run.cutoff:
            variants += [(SPREAD, 0), (SPREAD, 1), (0.08, -1), (0.3, -1)]
        rows += [figures(facts, strengths, *variant) for variant in variants]
    written = []
    for material, u in WRITTEN:
        # The same k-points and cut-off for all; others tell how far these are converged.
        chosen = [k for k in runs if k[:4] == (material, u, Run.kpts, Run.cutoff) and k[4] <= 700]
        if not chosen:
            continue
        facts, strengths = runs[chosen[0]]
        if not facts["gap"] > 0:
            print(f"{material}, U = {u:g} eV: no gap, so that bands are not filled or empty; left out")
            continue
        eps = permittivity(strengths[-1], facts["volume"], ENERGY)
        stem = material.replace("(", "_").replace(")", "_") + (f"_U{u:g}" if material in MOMENTS else "")
        lines = [f"# {material}, computed by tools/compute_loss_functions.py; the facts are in runs.toml",
                 "energy," + ",".join(f"eps{part}_{d}" for d in "xyz" for part in (1, 2))]  # fmt: skip
        for i, energy in enumerate(ENERGY):
            values = [v for e in eps[:, i] for v in (e.real, e.imag)]
            lines.append(f"{energy:.1f}," + ",".join(f"{v:.4g}" for v in values))
        text = "\n".join(lines) + "\n"
        (target / f"{stem}.csv").write_text(text, encoding="utf-8")
        told = figures(facts, strengths)
        told |= {
            "file": f"{stem}.csv", "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "electrons": facts["electrons"],
            "volume": round(facts["volume"], 4),
            "moments": sorted({round(m, 2) for m in facts["moments"] if abs(m) > 1}),
            "damping": BROADENING, "caveats": [*CAVEATS[""], *CAVEATS.get(material, [])],
            "versions": [f"{n} {facts[n]}" for n in ("gpaw", "ase", "numpy", "scipy", "python")],
            "setups": [f"{s} {f}" for s, f in facts["setups"].items()],
        }  # fmt: skip
        written.append(told)
    head = (
        "# Written by tools/compute_loss_functions.py. Energies in eV, volumes in Å^3; lists of three are x, y, z.\n\n"
    )
    (target / "runs.toml").write_text(head + toml_rows("run", written), encoding="utf-8")
    (target / "convergence.toml").write_text(
        head
        + toml_rows("run", rows)
        + "\n"
        + toml_rows("local", [local_areas(p) for p in sorted(out.glob("*/local.npz"))]),
        encoding="utf-8",
    )


def compare(out, target):
    """Print the largest difference of each table from a new run, over the largest permittivity."""
    new = out / "tables"
    export(out, new)
    for path in sorted(new.glob("*.csv")):
        ours, theirs = (np.genfromtxt(p / path.name, delimiter=",", skip_header=2)[:, 1:] for p in (target, new))
        same = hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256((target / path.name).read_bytes()).digest()
        print(f"{path.name}: same bytes {same}, difference {np.abs(ours - theirs).max() / np.abs(ours).max():.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the steps")
    parser.add_argument(
        "--compare", action="store_true", help="write nothing; compare the tables with those of this run"
    )
    arguments = parser.parse_args()
    (compare if arguments.compare else export)(arguments.out, TARGET)


if __name__ == "__main__":
    main()
