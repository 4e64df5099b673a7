"""Compute dielectric functions of the crystals from first principles, for ``reference/loss_functions``.

Needs GPAW with its setups, which the package itself does not need: ``apt install gpaw gpaw-data`` on Debian, and then
``/usr/bin/python3 tools/compute_loss_functions.py OUT`` (this file imports nothing of the package).
Each step writes one file and is skipped where that file is there, so a run that was stopped goes on.

Method: PBE + U on Fe 3d, plane waves, antiferromagnetic Fe; the full Hamiltonian is diagonalised at each k-point; the
head of the dielectric tensor at q -> 0 from the momentum matrix elements between filled and empty states (PAW, the
commutator of U with the position left out), local fields left out. `local_fields` checks that against GPAW's own
response code. ``write_loss_functions.py`` makes the tables of it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

CIF = Path(__file__).resolve().parents[1] / "hyperspy_assb" / "reference" / "cif"
HARTREE, BOHR = 27.211386245988, 0.529177210903
#: Bins of the oscillator strengths (eV). Much finer than any broadening.
BIN, TOP = 0.02, 140.0
#: Facts of crystals that the package has no CIF of: space group, cell (Å, degrees), sites.
SITES = {
    # C. Keffer et al., Inorg. Chem. 6, 119 (1967), low-temperature lithium phosphate.
    "Li3PO4": (31, (6.115, 5.2394, 4.8554, 90, 90, 90), {
        "Li1": (0.2481, 0.3277, 0.986), "Li2": (0.5, 0.8428, 0.9893), "P1": (0.0, 0.8243, 0.0),
        "O1": (0.20777, 0.68676, 0.8961), "O2": (0.0, 0.1052, 0.9004), "O3": (0.5, 0.1814, 0.8172)}),
    # M. Alami et al., J. Solid State Chem. 90, 185 (1991): the parent of LAGP, whose Al and second Li it has not.
    "LiGe2(PO4)3": (167, (8.275, 8.275, 20.47, 90, 90, 120), {
        "Li1": (0, 0, 0), "Ge1": (0, 0, 0.14097), "P1": (0.2879, 0, 0.25),
        "O1": (0.1802, -0.0152, 0.1883), "O2": (0.1845, 0.1593, 0.0821)}),
}  # fmt: skip
#: Moment of Fe (Bohr magnetons) to begin with.
MOMENTS = {"LiFePO4": 4.0, "FePO4": 5.0}


@dataclass(frozen=True)
class Run:
    """One calculation. Energies in eV; `bands` counts those of one spin, filled and empty."""

    material: str
    hubbard_u: float = 0.0
    kpts: tuple = (2, 2, 2)
    cutoff: float = 340.0
    bands: int = 600

    @property
    def name(self) -> str:
        k = "".join(str(n) for n in self.kpts)
        return f"{self.material}_U{self.hubbard_u:g}_k{k}_cut{self.cutoff:g}_b{self.bands}"


def structure(material):
    """The atoms of one primitive cell, as `ase` holds them."""
    from ase.io.cif import parse_cif
    from ase.spacegroup import crystal

    if material in SITES:
        group, cell, sites = SITES[material]
        symbols = ["".join(c for c in label if c.isalpha()) for label in sites]
        basis = list(sites.values())
    else:
        block = next(iter(parse_cif(str(CIF / f"{material}.cif"))))
        group = int(block["_symmetry_int_tables_number"])
        cell = [block[f"_cell_length_{a}"] for a in "abc"] + [
            block[f"_cell_angle_{a}"] for a in ("alpha", "beta", "gamma")
        ]
        symbols = block["_atom_site_type_symbol"]
        basis = list(zip(*(block[f"_atom_site_fract_{a}"] for a in "xyz"), strict=True))
    atoms = crystal(symbols, basis, spacegroup=group, cellpar=cell, primitive_cell=group == 167)
    atoms.info.clear()
    if material in MOMENTS:
        atoms.set_initial_magnetic_moments(antiferromagnetic(atoms, MOMENTS[material]))
    if group == 62:  # the mirror onto y = 0, where a symmetry operation without translation is seen
        atoms.positions[:, 1] -= atoms.cell[1, 1] / 4
        atoms.wrap()
    return atoms


def antiferromagnetic(atoms, moment):
    """Moments: neighbours in the plane of a Fe-O-Fe layer are opposite, and so are atoms related by inversion."""
    moments = np.zeros(len(atoms))
    fe = [i for i, s in enumerate(atoms.get_chemical_symbols()) if s == "Fe"]
    first = fe[0]
    for i in fe:
        delta = atoms.get_scaled_positions()[i] - atoms.get_scaled_positions()[first]
        moments[i] = moment if abs(delta[1] - round(delta[1])) < 0.1 else -moment
    return moments


def atomically(path, write):
    """Write a file beside its place and move it there: what is there is whole."""
    scratch = path.with_name(path.stem + ".part" + path.suffix)
    write(scratch)
    scratch.replace(path)


def save(path, **arrays):
    """Write arrays as one whole file."""
    atomically(path, lambda scratch: np.savez_compressed(scratch, **arrays))


def new_calculator(run, folder, symmetry):
    """Atoms with the calculator of a run, nothing computed."""
    from gpaw import GPAW, PW, FermiDirac, Mixer, MixerDif

    atoms = structure(run.material)
    setups = {"Fe": f":d,{run.hubbard_u}"} if run.hubbard_u else {}
    atoms.calc = GPAW(
        mode=PW(run.cutoff, force_complex_dtype=True), xc="PBE",
        kpts={"size": run.kpts}, setups=setups, symmetry=symmetry,
        occupations=FermiDirac(0.02), convergence={"density": 1e-4}, maxiter=200, txt=str(folder / "ground.txt"),
        spinpol=run.material in MOMENTS,
        mixer=MixerDif(0.25, 8, 10) if run.material in MOMENTS else Mixer(0.25, 8, 10),
    )  # fmt: skip
    return atoms


def begin_with_density(atoms, source):
    """Begin with the density of another run of the same crystal and cut-off: one of other k-points, or of another U."""
    from gpaw import GPAW

    known = GPAW(str(source), txt=None)
    calc = atoms.calc
    calc.initialize(atoms)
    calc.set_positions(atoms)
    calc.density.initialize_from_other_density(known.density, calc.wfs.kptband_comm)
    calc.density.interpolate_pseudo_density()
    calc.density.calculate_pseudo_charge()
    calc.hamiltonian.update(calc.density)


def ground_state(run, folder, symmetry):
    """The calculator with a converged density, from its file where that is there.

    A run with more k-points takes the density of the run with those of `Run`, which is converged in itself.
    """
    from gpaw import GPAW

    path = folder / "ground.gpw"
    if not path.exists():
        atoms = new_calculator(run, folder, symmetry)
        coarse = folder.with_name(replace(run, kpts=Run.kpts).name) / "ground.gpw"
        if coarse.exists() and coarse != path:
            begin_with_density(atoms, coarse)
            return atoms.calc
        if run.material in MOMENTS:
            others = (replace(run, hubbard_u=4.3, kpts=k) for k in (Run.kpts, (1, 2, 2)))
            known = [g for other in others if (g := folder.with_name(other.name) / "ground.gpw").exists()]
            if known:
                begin_with_density(atoms, known[0])
        atoms.get_potential_energy()
        atomically(path, lambda scratch: atoms.calc.write(str(scratch), mode=""))
    return GPAW(str(path), txt=None)


def filled(calc):
    """Number of filled bands of one spin."""
    number = calc.wfs.nvalence / 2
    if number != int(number):
        raise ValueError(f"{calc.wfs.nvalence} electrons do not fill bands")
    return int(number)


def magnetic_moments(calc):
    """Of each atom, in Bohr magnetons, from the density matrices."""
    moments = []
    for a, d_sp in sorted(calc.density.D_asp.items()):
        setup = calc.wfs.setups[a]
        moments.append(float(np.dot(d_sp[0] - d_sp[1], setup.N0_p)) if len(d_sp) == 2 else 0.0)
    return moments


def states(calc, q, bands):
    """Energies (hartree, one spin), coefficients `(bands, plane waves)` and projections of k-point `q`."""
    from scipy.linalg import cholesky, eigh, solve_triangular

    wfs = calc.wfs
    hamiltonian, overlap = wfs.hs(calc.hamiltonian, q, 0)
    # `hs` stores <G'|H|G> at [G, G']: the eigenvectors are the conjugates of the coefficients.
    lower = cholesky(overlap, lower=True, overwrite_a=True)
    hamiltonian = solve_triangular(lower, hamiltonian, lower=True, overwrite_b=True)
    hamiltonian = solve_triangular(lower, hamiltonian.conj().T, lower=True, overwrite_b=True)
    energies, vectors = eigh(hamiltonian, subset_by_index=[0, bands - 1], driver="evr", overwrite_a=True)
    del hamiltonian
    vectors = solve_triangular(lower, vectors, lower=True, trans="C", overwrite_b=True)
    coefficients = np.ascontiguousarray(vectors.T.conj())
    projections = coefficients @ wfs.pt.expand(q).conj() / wfs.pd.tmp_R.size
    return energies, coefficients, projections


def momentum(calc, q, coefficients, projections, occupied):
    """|<n|d/dx_v|m>|^2 between filled n and empty m, `(3, filled, empty)`, atomic units."""
    wfs = calc.wfs
    norm = wfs.pd.gd.dv / wfs.pd.tmp_R.size
    vectors = wfs.pd.get_reciprocal_vectors(q=q, add_q=True)
    left, right = coefficients[:occupied].conj(), coefficients[occupied:].T
    elements = np.stack([norm * ((left * (1j * vectors[:, v])) @ right) for v in range(3)])
    start = 0
    for atom in wfs.pt.my_atom_indices:
        nabla = wfs.setups[atom].nabla_iiv
        part = projections[:, start : start + len(nabla)]
        start += len(nabla)
        for v in range(3):
            elements[v] += part[:occupied].conj() @ nabla[:, :, v] @ part[occupied:].T
    return np.abs(elements) ** 2


def oscillators(energies, squares, occupied, limits):
    """Oscillator strengths of one spin in bins of `BIN`, `(len(limits), 3, bins)`: with the bands up to each limit."""
    gaps = (energies[None, occupied:] - energies[:occupied, None]) * HARTREE
    index = np.round(gaps / BIN).astype(int)
    strengths = 2 * squares / (gaps / HARTREE)
    bins = int(TOP / BIN)
    out = np.zeros((len(limits), 3, bins))
    for i, limit in enumerate(limits):
        kept = (index < bins) & (np.arange(occupied, len(energies)) < limit)[None]
        for v in range(3):
            out[i, v] = np.bincount(index[kept], weights=strengths[v][kept], minlength=bins)
    return out


def head(run, out):
    """All steps of one run: ground state, each k-point, their sum."""
    folder = out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "head.npz"
    if result.exists():
        return
    started = time.time()
    calc = ground_state(run, folder, {"symmorphic": False})
    print(f"{run.name}: ground state, {time.time() - started:.0f} s", flush=True)
    occupied = filled(calc)
    limits = [int(occupied + (run.bands - occupied) * part) for part in (0.5, 0.75, 1.0)]
    weights = calc.get_k_point_weights()
    for q in range(len(weights)):
        path = folder / f"k{q}.npz"
        if path.exists():
            continue
        begun = time.time()
        if q == 0 or calc.wfs.kpt_u[0].projections is not None:
            calc.wfs.set_positions(calc.atoms.get_scaled_positions())
        energies, coefficients, projections = states(calc, q, run.bands)
        squares = momentum(calc, q, coefficients, projections, occupied)
        strengths = oscillators(energies, squares, occupied, limits)
        gaps = energies[occupied:] - energies[:occupied, None]
        every = (2 * squares / gaps).sum(axis=(1, 2))
        save(path, energies=energies * HARTREE, strengths=strengths, every=every)
        print(f"{run.name}: k-point {q + 1} of {len(weights)}, {time.time() - begun:.0f} s", flush=True)
    parts = [np.load(folder / f"k{q}.npz") for q in range(len(weights))]
    levels = np.stack([p["energies"] for p in parts])
    strengths = 2 * sum(
        w * p["strengths"] for w, p in zip(weights, parts, strict=True)
    )  # two spins, the same by symmetry
    total = 2 * sum(w * p["every"] for w, p in zip(weights, parts, strict=True))
    if run.material == "LiGe2(PO4)3":
        strengths[:, :2] = strengths[:, :2].mean(axis=1, keepdims=True)
    facts = {
        **asdict(run), "volume": float(calc.atoms.get_volume()), "electrons": 2 * occupied, "limits": limits,
        "gap": float(levels[:, occupied].min() - levels[:, occupied - 1].max()),
        "direct_gap": float((levels[:, occupied] - levels[:, occupied - 1]).min()),
        "moments": magnetic_moments(calc) if run.material in MOMENTS else [],
        "total_strength": total.tolist(), "top_band": float(levels[:, -1].min() - levels[:, occupied - 1].max()),
        "setups": {s.symbol: s.fingerprint for s in calc.wfs.setups}, **versions(),
        "cell": calc.atoms.cell.tolist(), "symbols": calc.atoms.get_chemical_symbols(),
        "positions": calc.atoms.get_scaled_positions().tolist(),
    }  # fmt: skip
    save(result, strengths=strengths, facts=json.dumps(facts))
    print(f"{run.name}: gap {facts['gap']:.2f} eV, f-sum {strengths[-1].sum(axis=-1)} of {2 * occupied}", flush=True)


def versions():
    """What computed it."""
    import ase
    import gpaw
    import scipy

    return {"gpaw": gpaw.__version__, "ase": ase.__version__, "numpy": np.__version__, "scipy": scipy.__version__,
            "python": platform.python_version()}  # fmt: skip


def local_fields(run, out, ecut=30.0):
    """The same with local fields, by GPAW's response code, and its head as a check of ours."""
    from gpaw import GPAW
    from gpaw.response.df import DielectricFunction

    folder = out / f"{run.name}_local"
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "local.npz"
    if result.exists():
        return
    ground_state(run, folder, {})
    path = folder / "states.gpw"
    if not path.exists():
        begun = time.time()
        calc = GPAW(str(folder / "ground.gpw"), txt=None)
        calc.diagonalize_full_hamiltonian(nbands=run.bands)
        atomically(path, lambda scratch: calc.write(str(scratch), mode="all"))
        print(f"{run.name}: states for local fields, {time.time() - begun:.0f} s", flush=True)
    begun = time.time()
    response = DielectricFunction(
        str(path), frequencies={"type": "nonlinear", "domega0": 0.05, "omega2": 30.0, "omegamax": 120.0},
        ecut=ecut, eta=0.2, nbands=run.bands, intraband=False,
        name=str(folder / "chi0"), txt=str(folder / "response.txt"),
    )  # fmt: skip
    found = {d: response.get_dielectric_function(direction=d, filename=None) for d in "xyz"}
    values = {f"{kind}_{d}": v for d, pair in found.items() for kind, v in zip(("head", "local"), pair, strict=True)}
    save(result, energy=response.get_frequencies(), ecut=ecut, **values)
    print(f"{run.name}: local fields, {time.time() - begun:.0f} s", flush=True)


SMALL = Run("Li3PO4", bands=320)
ORDER = [
    ("head", SMALL),
    ("head", Run("FePO4", 4.3)),
    ("head", Run("LiFePO4", 4.3)),
    ("head", Run("LiGe2(PO4)3", bands=700)),
    *[("head", Run(material, u)) for u in (6.0, 3.0) for material in ("FePO4", "LiFePO4")],
    ("local-fields", SMALL),
    ("head", Run("FePO4", 4.3, kpts=(2, 2, 4))),
    ("head", Run("FePO4", 4.3, cutoff=300.0)),
    ("head", replace(SMALL, kpts=(1, 2, 2))),
    ("head", replace(SMALL, kpts=(2, 3, 3))),
    ("head", replace(SMALL, cutoff=450.0)),
    ("head", replace(SMALL, cutoff=600.0)),
    ("head", replace(SMALL, bands=1800)),
    *[("head", Run(material, 4.3, kpts=(2, 3, 4))) for material in ("FePO4", "LiFePO4")],
    ("local-fields", Run("FePO4", 4.3, bands=400)),
    ("head", Run("FePO4", 4.3, cutoff=450.0)),
    *[("head", Run(material, 0.0)) for material in ("FePO4", "LiFePO4")],
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the steps")
    parser.add_argument("--only", default="", help="runs whose name holds this")
    parser.add_argument("--small", action="store_true", help="the smallest crystal alone (minutes)")
    arguments = parser.parse_args()
    for kind, run in ORDER[:1] if arguments.small else ORDER:
        if arguments.only in run.name:
            (head if kind == "head" else local_fields)(run, arguments.out)


if __name__ == "__main__":
    main()
