"""Does a comparison of low-loss spectra keep its word? Each line is measured and set beside its bar.

Run: python benchmarks/comparison.py [--only null real aluminium truth power] [--seeds 1000] [--data FOLDER]

null       two realisations of one state, with spatially correlated thickness that differs between them
real       pixels of real maps, shared out between two states at random (interleaved)
aluminium  plasmon of real aluminium against measured optical constants
truth      single scattering of spectra that others have simulated
power      share of changes found, against their size
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import hyperspy.api as hs
import numpy as np
from scipy import stats
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares

from hyperspy_assb import reference
from hyperspy_assb.eels.comparison.low_loss_comparison import compare_states
from hyperspy_assb.eels.comparison.options import ComparisonOptions, Spectra, Window
from hyperspy_assb.eels.scattering.plasmon import drude, fit_plasmon
from hyperspy_assb.eels.scattering.single_scattering import (
    Grid,
    estimate_single_scattering,
    fit_zero_loss_shape,
    measured_zero_loss_shape,
    sum_aligned,
)
from hyperspy_assb.eels.zero_loss.position import estimate_centre
from hyperspy_assb.simulation import EELSConditions, simulate_spectra

HERE = Path(__file__).resolve()
WINDOWS = [Window(b.name, *b.window, b.background) for b in map(reference.band, reference.COMPARED)]
CONDITIONS = EELSConditions(n_channels=512)
Row = tuple[str, str, str, bool]


def simulate_state(
    rng: np.random.Generator, *, size: int, correlation: float, dose: float, share: float = 0.0
) -> Spectra:
    """LAGP of which a share is amorphous, 70 nm thick with a smooth standard deviation of 20 %."""
    field = gaussian_filter(rng.normal(size=(size, size)), correlation, mode="wrap")
    field /= 1 / (2 * np.sqrt(np.pi) * correlation)
    thickness = 70 * np.clip(1 + 0.2 * field, 0.3, 2)
    columns = {"LAGP": (1 - share) * thickness, "amorphous_LAGP": share * thickness}
    counts = simulate_spectra(columns, CONDITIONS, rng, dose=dose)
    position = np.stack(np.indices((size, size)), axis=-1).reshape(-1, 2)
    return Spectra(counts.reshape(size * size, -1), CONDITIONS.energy, position)


def null(seeds: int) -> Iterator[Row]:
    """p values where nothing has changed."""
    p, clusters, families, names, blocks = [], [], [], (), []
    begin = time.perf_counter()
    for seed in range(seeds):
        rng = np.random.default_rng([7, seed])
        states = [simulate_state(rng, size=16, correlation=2.0, dose=1e5) for _ in range(2)]
        found = compare_states(states, WINDOWS, ComparisonOptions(permutations=399, seed=seed))
        change = found.changes[0]
        names = (*(w.name for w in found.windows), "plasmon energy", "plasmon width")
        p.append(change.p)
        families.append(np.nanmin(change.p_corrected) <= 0.05)
        clusters.append(min((c.p for c in change.clusters), default=1.0) <= 0.05)
        blocks.append(found.states[0].blocks)
    values = np.array(p)
    for i, name in enumerate(names):
        # The p values are multiples of 1/400: spread each over its step.
        spread = values[:, i] - np.random.default_rng(i).random(seeds) / 400
        ks = stats.kstest(spread, "uniform").pvalue
        yield (
            f"null, {name}: p uniform",
            f"KS p = {ks:.3f}, p <= 0.05 in {100 * np.mean(values[:, i] <= 0.05):.1f} %",
            ("KS p > 0.01"),
            ks > 0.01,
        )
    rate = 100 * np.mean(clusters)
    yield f"null, {seeds} seeds: clusters found", f"{rate:.1f} %", "3.5 to 6.5 %", 3.5 <= rate <= 6.5
    rate = 100 * np.mean(families)
    yield "null, any band after correction", f"{rate:.1f} %", "3.5 to 6.5 %", 3.5 <= rate <= 6.5
    took = (time.perf_counter() - begin) / seeds
    yield "null, blocks of a state (median), time for one", f"{np.median(blocks):.0f}, {took:.2f} s", "", True


def real(data: Path, seeds: int) -> Iterator[Row]:
    """Randomly interleaved pixels of real maps."""
    files = {"TiO2": "tio2_dual/tio2_low_loss.dm4", "low-loss map": "lowloss_map/lowloss_16x16_0.3eV.dm3"}
    for name, file in files.items():
        signal = hs.load(str(data / "eels" / file))
        energy = np.array(signal.axes_manager.signal_axes[0].axis)
        counts = np.asarray(signal.data, dtype=float)
        shape = counts.shape[:-1]
        position = np.stack(np.indices(shape), axis=-1).reshape(-1, len(shape))
        counts = counts.reshape(-1, energy.size)
        bands, clusters, plain = [], [], []
        for seed in range(seeds):
            half = np.random.default_rng([11, seed]).permutation(counts.shape[0]) < counts.shape[0] // 2
            states = [Spectra(counts[rows], energy, position[rows]) for rows in (half, ~half)]
            # Pixels were shared out one by one: they are the blocks.
            found = compare_states(states, WINDOWS, ComparisonOptions(permutations=199, seed=seed, block_pixels=1))
            change = found.changes[0]
            bands.append(np.nanmin(change.p_corrected) <= 0.05)
            plain.append(change.p[np.isfinite(change.p)])
            clusters.append(min((c.p for c in change.clusters), default=1.0) <= 0.05)
        limit = 100 * stats.binom.ppf(0.995, seeds, 0.05) / seeds
        for what, found_share in (("any band", bands), ("any cluster", clusters)):
            share = 100 * np.mean(found_share)
            yield (
                f"real, {name}, {what} in {seeds} interleavings",
                f"{share:.1f} %",
                f"<= {limit:.1f} %",
                share <= limit,
            )
        rate = 100 * np.mean(np.concatenate(plain) <= 0.05)
        yield f"real, {name}, uncorrected p <= 0.05", f"{rate:.1f} %", "", True


def aluminium(data: Path) -> Iterator[Row]:
    """Plasmon of the single scattering of aluminium, and of its measured loss functions."""
    signal = hs.load(str(data / "eels" / "aluminium" / "AL-DFoffset0.00.dm3"))
    energy = np.array(signal.axes_manager.signal_axes[0].axis)
    counts = np.asarray(signal.data, dtype=float)[None]
    known = estimate_centre(counts, energy, gain=None)
    grid = Grid.of(energy)
    total = sum_aligned(counts, energy, known.centre, grid)
    first = float(energy[0] - known.centre[0])
    shape = fit_zero_loss_shape(total, grid, fwhm=float(known.fwhm[0]), first=first, gain=known.gain)
    found = estimate_single_scattering(counts, energy, known.centre, shape)
    plasmon = fit_plasmon(found.distribution[0].astype(float), found.loss, shape)
    yield "aluminium, t/λ", f"{found.t_over_lambda[0]:.3f}", "", True
    optical = {}
    for name in ("Rakic", "Hagemann"):
        loss, _, _, values = np.loadtxt(
            data / "optical_constants" / f"Al_{name}_lossfunction.csv", delimiter=",", comments="#"
        ).T
        near = (loss > 13) & (loss < 17)
        # Half of the maximum and more; tables are coarse, so their neighbours are taken with them.
        top = values[near].max()
        use = near & (values > 0.15 * top)
        fit = least_squares(lambda t, x=loss[use], y=values[use]: t[0] * drude(x, t[1], t[2]) - y, [1.0, 15.0, 0.6])
        optical[name] = fit.x[1], abs(fit.x[2])
        yield f"aluminium, optical constants ({name})", f"{fit.x[1]:.3f} eV, width {abs(fit.x[2]):.3f} eV", "", True
    energies, widths = zip(*optical.values(), strict=True)
    low, high = min(energies) - 0.15, max(energies) + 0.15
    good = low <= plasmon.energy <= high
    yield "aluminium, plasmon energy", f"{plasmon.energy:.3f} eV", f"{low:.2f} to {high:.2f} eV (tables ± 0.15)", good
    low, high = min(widths) - 0.1, max(widths) + 0.1
    good = low <= plasmon.width <= high
    yield "aluminium, plasmon width", f"{plasmon.width:.3f} eV", f"{low:.2f} to {high:.2f} eV (tables ± 0.10)", good


def truth(data: Path) -> Iterator[Row]:
    """Single scattering of others' simulation of silicon."""
    folder = data / "eels" / "deconvolution_truth"
    measured, zero_loss, answer = (hs.load(str(folder / f"{n}.hspy")) for n in ("measured", "zlp", "ssd_ground_truth"))
    energy = np.array(measured.axes_manager.signal_axes[0].axis)
    counts = np.asarray(measured.data, dtype=float)[None]
    grid = Grid.of(energy)
    shape = measured_zero_loss_shape(zero_loss.data, energy, grid)
    centre = estimate_centre(counts, energy, gain=None).centre
    known = np.asarray(answer.data, dtype=float)[energy >= -1e-6]
    incident = float(zero_loss.data.sum())
    sigma = 0.25 / np.sqrt(8 * np.log(2))
    narrow = np.exp(-0.5 * (grid.loss / sigma) ** 2)
    sharp = type(shape)(narrow / narrow.sum(), 0.25)
    for name, resolution in (("at the resolution of the zero-loss peak", shape), ("at 0.25 eV", sharp)):
        found = estimate_single_scattering(counts, energy, centre, shape, resolution=resolution)
        got = found.distribution[0] * incident
        size, above = found.loss.size, found.loss > 3 * shape.fwhm
        shown = grid.back(np.fft.rfft(resolution.values) * grid.transform(known))[:size]
        for against, values in (("the truth so broadened", shown), ("the truth", known[:size])):
            error = 100 * np.abs(got - values)[above].max() / values.max()
            # A blunt answer beside a sharp one differs by what the zero-loss peak broadens: no bar.
            judged = resolution is sharp or values is shown
            bar = "<= 2 %" if judged else ""
            yield f"truth, {name}, against {against}", f"{error:.2f} % of its maximum", bar, error <= 2 or not judged


def power(seeds: int) -> Iterator[Row]:
    """Share of seeds in which a change is found, by the share of LAGP that became amorphous."""
    for share in (0.0, 0.02, 0.05, 0.1, 0.2):
        hits, bands = [], []
        for seed in range(seeds):
            rng = np.random.default_rng([13, seed])
            before = simulate_state(rng, size=16, correlation=2.0, dose=1e5)
            after = simulate_state(rng, size=16, correlation=2.0, dose=1e5, share=share)
            change = compare_states([before, after], WINDOWS, ComparisonOptions(permutations=199, seed=seed)).changes[0]
            hits.append(min((c.p for c in change.clusters), default=1.0) <= 0.05)
            bands.append(np.nanmin(change.p_corrected) <= 0.05)
        text = f"cluster in {100 * np.mean(hits):.0f} %, band in {100 * np.mean(bands):.0f} %"
        yield f"power, {100 * share:g} % amorphous, 256 spectra of 1e5 electrons", text, "", True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("null", "real", "aluminium", "truth", "power"))
    parser.add_argument("--seeds", type=int, default=1000)
    default = os.environ.get("HYPERSPY_ASSB_TEST_DATA", str(HERE.parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    parts = {
        "truth": lambda: truth(options.data),
        "aluminium": lambda: aluminium(options.data),
        "real": lambda: real(options.data, max(options.seeds // 5, 20)),
        "power": lambda: power(max(options.seeds // 20, 10)),
        "null": lambda: null(options.seeds),
    }
    failed = 0
    for name, part in parts.items():
        if options.only and name not in options.only:
            continue
        if name in ("truth", "aluminium", "real") and not options.data.is_dir():
            print(f"{name}: skipped, there is no folder {options.data}")
            continue
        for what, value, bar, good in part():
            failed += not good
            print(f"{'ok ' if good else 'MISSED'}  {what}: {value}" + (f"  (bar: {bar})" if bar else ""), flush=True)
    print(f"{failed} bars missed")


if __name__ == "__main__":
    main()
