"""What the delithiation claims beyond x itself: no finds where there is nothing, finds where there is something, a
systematic uncertainty that covers spectra that are not those of the references, and columns of two phases told from
solid solutions with a line shape of their own.

Run: python benchmarks/delithiation_claims.py [--only null power misspecified mixing alarms] [--images 1000]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from delithiation_scene import BINS, Scene
from scipy import ndimage, stats

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.mixing import OWN_SHAPE_ALPHA
from hyperspy_assb.eels.delithiation.quantification import quantify
from hyperspy_assb.eels.delithiation.region_statistics import find_excess
from hyperspy_assb.simulation import simulate_spectra
from hyperspy_assb.simulation.conditions import Detector
from hyperspy_assb.simulation.eels import dielectric, spectra

IMAGE, IMAGES_A_STANDARD = 8, 25
MAPS_A_STANDARD = 3
FLAGS = (DelithiationStatus.UNEXPLAINED, DelithiationStatus.DISAGREES, DelithiationStatus.OUTSIDE)


def null_images(seed: int) -> pd.DataFrame:
    """One row an image of pure LiFePO4 of thickness that varies from place to place, and of vacuum."""
    warnings.simplefilter("ignore")
    rng, scene = np.random.default_rng([seed, 9]), Scene()
    signal, masks = scene.draw_references(rng)
    standard = signal.quantify_delithiation(masks, show_progressbar=False).standard
    rough = rng.standard_normal((IMAGES_A_STANDARD, IMAGE, IMAGE))
    smooth = np.array([ndimage.gaussian_filter(image, 2.0, mode="wrap") for image in rough])
    smooth /= smooth.std(axis=(1, 2), keepdims=True)
    thickness = np.clip(0.5 * np.exp(0.25 * smooth), 0.2, 1.0).ravel()
    rows = []
    for name, columns in (
        ("pure LiFePO4", scene.scale({"LiFePO4": np.ones(thickness.size)}, thickness, rng)),
        ("vacuum", {"LiFePO4": np.zeros(thickness.size)}),
    ):
        found = quantify(standard, scene.draw(columns, rng), scene.conditions.energy).contents["combined"]
        for image in range(IMAGES_A_STANDARD):
            own = slice(image * IMAGE**2, (image + 1) * IMAGE**2)
            finds = find_excess(found.significance[own]).found
            rows.append({"image": name, "finds": int(finds.sum()), "answered": np.isfinite(found.fraction[own]).mean()})
    return pd.DataFrame(rows)


def show_null(images: int) -> None:
    """Share of images with any find."""
    with ProcessPoolExecutor(max_workers=2) as pool:
        table = pd.concat(pool.map(null_images, range(images // IMAGES_A_STANDARD)))
    for name, group in table.groupby("image"):
        count, n = int((group.finds > 0).sum()), len(group)
        limit = int(stats.binom.ppf(0.975, n, 0.05))
        print(
            f"{name}: any FePO4 found in {count} of {n} images ({100 * count / n:.1f} %; bar 5 %, {limit} with "
            f"binomial error); {100 * group.answered.mean():.0f} % of the pixels answered"
        )


def show_power(pixels: int = 600) -> None:
    """Dose at which 5 % of FePO4 is found in 90 % of the pixels, predicted and simulated."""
    rng = np.random.default_rng(17)
    scene = Scene(references=150)
    signal, masks = scene.draw_references(rng)
    known = signal.quantify_delithiation(masks, show_progressbar=False)
    volumes = [dielectric.phase(name).volume for name in ("LiFePO4", "FePO4")]
    shares = np.array([0.95, 0.05]) * volumes
    shares /= shares.sum()
    columns = scene.scale(
        {"LiFePO4": np.full(pixels, shares[0]), "FePO4": np.full(pixels, shares[1])}, np.full(pixels, 0.5), rng
    )
    predicted = known.dose_to_find(0.05, power=0.9, t_over_lambda=0.5)
    doses = predicted * np.array([0.5, 0.7, 1.0, 1.4, 2.0])
    found = []
    for dose in doses:
        own = replace(scene, dose=dose)
        content = quantify(known.standard, own.draw(columns, rng), scene.conditions.energy).contents["references"]
        found.append(np.mean(content.significance > stats.norm.isf(0.05)))
    # A probit line through the shares.
    line = np.polyfit(np.log(doses), stats.norm.ppf(np.clip(found, 1e-3, 1 - 1e-3)), 1)
    simulated = float(np.exp((stats.norm.ppf(0.9) - line[1]) / line[0]))
    print(f"found at the doses {np.round(doses):}: {np.round(found, 3)}")
    print(f"90 % found at {simulated:.3g} electrons, predicted {predicted:.3g}: ratio {simulated / predicted:.2f}")


@contextmanager
def other_band(width: float = 1.0, shift: float = 0.0) -> Iterator[None]:
    """The 5 eV band of FePO4 wider by a factor, or shifted by some eV."""
    row = dielectric._tables()[0]["FePO4"]
    usual = [list(band) for band in row["band"]]
    row["band"] = [
        [band[0] + shift, band[1] * width, *band[2:]] if 4.0 <= band[0] <= 7.0 else list(band) for band in usual
    ]
    dielectric.phase.cache_clear()
    spectra.scattering_table.cache_clear()
    try:
        yield
    finally:
        row["band"] = usual
        dielectric.phase.cache_clear()
        spectra.scattering_table.cache_clear()


def misspecified(kind: str, references: int, seed: int) -> pd.DataFrame:
    """One row a test pixel whose spectrum is not made as the references are."""
    warnings.simplefilter("ignore")
    rng, scene = np.random.default_rng([seed, 3]), Scene(references=references, pixels=300)
    signal, masks = scene.draw_references(rng)
    standard = signal.quantify_delithiation(masks, show_progressbar=False)
    columns, x = scene.columns(rng)
    if kind == "5 eV band 20 % wider":
        with other_band(width=1.2):
            counts = scene.draw(columns, rng)
    elif kind == "5 eV band 0.3 eV higher":
        with other_band(shift=0.3):
            counts = scene.draw(columns, rng)
    elif kind == "zero-loss tail 2.5 times as strong":
        own = replace(scene.conditions, detector=Detector(tail_strength=0.05, core_spread=0.6))
        counts = simulate_spectra(columns, own, rng, dose=scene.dose)
    elif kind == "3 % gain error between channels":
        pattern = 1.0 + 0.03 * rng.standard_normal(scene.conditions.n_channels)
        counts = (scene.draw(columns, rng) * pattern).astype(np.float32)
    else:
        counts = scene.draw(columns, rng)
    found = scene.signal(counts).quantify_delithiation(standard, show_progressbar=False)
    return pd.DataFrame(
        {
            "truth": x,
            "x": found.x.data,
            "systematic": found.x_systematic.data,
            "std": found.x_std.data,
            "flagged": np.isin(found.status.data, FLAGS),
        }
    )


KINDS = (
    "as the references",
    "5 eV band 20 % wider",
    "5 eV band 0.3 eV higher",
    "zero-loss tail 2.5 times as strong",
    "3 % gain error between channels",
)


def alarms(dose: float, reference_dose: float, seed: int) -> pd.DataFrame:
    """One row a map in which everything is named: share of its pixels that are flagged, and whether a note says so."""
    warnings.simplefilter("ignore")
    rng, scene = np.random.default_rng([seed, 91]), Scene(references=60, pixels=60, dose=dose)
    signal, masks = replace(scene, dose=reference_dose).draw_references(rng)
    standard = signal.quantify_delithiation(masks, show_progressbar=False)
    rows = []
    for _ in range(MAPS_A_STANDARD):
        found = scene.signal(scene.draw(scene.columns(rng)[0], rng)).quantify_delithiation(
            standard, show_progressbar=False
        )
        rows.append(
            {
                "flagged": np.isin(found.status.data, FLAGS).mean(),
                "note": any("no reference explains" in note for note in found.notes),
            }
        )
    return pd.DataFrame(rows)


def show_alarms(maps: int = 30) -> None:
    """Pixels and maps that are flagged although all is as the references say, by the dose of map and references."""
    with ProcessPoolExecutor(max_workers=2) as pool:
        for dose, reference_dose in product((1e5, 1e6, 1e7, 3e7), repeat=2):
            if reference_dose in (1e6, dose):
                work = partial(alarms, dose, reference_dose)
                found = pd.concat(pool.map(work, range(maps // MAPS_A_STANDARD)))
                print(
                    f"map of {dose:.0e}, references of {reference_dose:.0e} electrons: "
                    f"{100 * found.flagged.mean():.1f} % of the pixels flagged, "
                    f"{found.note.sum()} of {len(found)} maps said to hold what was not named"
                )


def show_misspecified(seeds: int = 6) -> None:
    """Bias of x against the systematic uncertainty that is stated, for some numbers of pure pixels of a phase."""
    lines = []
    with ProcessPoolExecutor(max_workers=2) as pool:
        for references, kind in product((150, 40), KINDS):
            pixels = pd.concat(pool.map(partial(misspecified, kind, references), range(seeds)))
            for name, (low, high) in BINS.items():
                part = pixels[(pixels.truth >= low) & (pixels.truth < high)]
                error = part.x - part.truth
                lines.append(
                    {
                        "references": references,
                        "spectra": kind,
                        "bin": name,
                        "bias": error.mean(),
                        "systematic": part.systematic.mean(),
                        "covered": abs(error.mean()) <= part.systematic.mean(),
                        "flagged": part.flagged.mean(),
                        "68 %": (error.abs() < np.hypot(part["std"], part.systematic)).mean(),
                    }
                )
    print(pd.DataFrame(lines).round(3).to_string(index=False))


def mixing(shift: float, seed: int) -> float:
    """p value that spectra of intermediate x are mixtures, where their 5 eV band is shifted by some eV."""
    warnings.simplefilter("ignore")
    rng, scene = np.random.default_rng([seed, 21]), Scene(references=80, pixels=400, electrode=(0.7, 1.0))
    signal, masks = scene.draw_references(rng)
    standard = signal.quantify_delithiation(masks, show_progressbar=False)
    columns, x = scene.columns(rng)
    counts = scene.draw(columns, rng)
    if shift:
        between = (x > 0.1) & (x < 0.9)
        with other_band(shift=shift):
            counts[between] = scene.draw({name: nm[between] for name, nm in columns.items()}, rng)
    found = scene.signal(counts).quantify_delithiation(standard, ensemble=False, show_progressbar=False)
    return found.compare_with_mixture().p_value


def show_mixing(seeds: int = 100) -> None:
    """Share of images whose spectra of intermediate x are said to have a line shape of their own."""
    with ProcessPoolExecutor(max_workers=2) as pool:
        for shift, count in ((0.0, seeds), (0.05, seeds // 5), (0.1, seeds // 5)):
            p = np.array(list(pool.map(partial(mixing, shift), range(count))))
            uniform = f", p values uniform: p = {stats.kstest(p, 'uniform').pvalue:.2g}" if shift == 0.0 else ""
            print(
                f"intermediate x, 5 eV band shifted by {shift:g} eV: a line shape of their own in "
                f"{100 * np.mean(p < OWN_SHAPE_ALPHA):.0f} % of {count} images{uniform}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=["null", "power", "misspecified", "mixing", "alarms"])
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if "power" in options.only:
        show_power()
    if "misspecified" in options.only:
        show_misspecified()
    if "mixing" in options.only:
        show_mixing()
    if "alarms" in options.only:
        show_alarms()
    if "null" in options.only:
        show_null(options.images)


if __name__ == "__main__":
    main()
