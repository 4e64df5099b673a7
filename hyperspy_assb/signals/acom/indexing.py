"""From patterns to orientation maps: blocks of a scan, in memory or on disk, through the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.acom.calibration.self_calibration import CalibrationError, calibrate_on_patterns
from hyperspy_assb.acom.matching.block_indexing import IndexingOptions
from hyperspy_assb.acom.matching.indexed import IndexedScan
from hyperspy_assb.acom.patterns.direct_beam import find_centres
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.scan.assembly import ScanAssembler
from hyperspy_assb.acom.scan.diffuse_scan import RingJudge
from hyperspy_assb.acom.scan.scan_blocks import CentreFinder, ScanIndexer, sum_direct_beam, with_column_shares
from hyperspy_assb.acom.templates.bank import TemplateBank, simulate_bank
from hyperspy_assb.signals.acom.diffraction_geometry import read_beam_energy
from hyperspy_assb.signals.acom.orientations import OrientationMaps

if TYPE_CHECKING:
    from hyperspy_assb.signals.acom.signal import ACOMPatterns

BLOCK_BYTES = 48 * 2**20
"""Patterns that are in memory at a time; the next block is read while one is indexed."""
SAMPLE_PATTERNS = 400
"""Patterns on which the calibration is refined, evenly over the scan."""
FEWEST_TO_CALIBRATE = 16
"""Patterns below which the calibration is not refined: they may be of one grain, which any lattice fits."""
BEAM_SCATTER = 0.05
"""How far the direct beam strays from its middle, as a share of the frame."""
PRECESSION_ANGLE = 0.7
BACKENDS = ("numba", "pyxem")
Engine = Callable[[NDArray[Any]], IndexedScan]
"""Patterns of shape (rows, columns, ny, nx) to what is found in them."""


def index_orientations(
    signal: ACOMPatterns,
    bank: TemplateBank | Sequence[Any],
    *,
    geometry: PatternGeometry | None = None,
    calibrate: bool = True,
    refine: bool = True,
    backend: str = "numba",
    options: Any = None,
    show_progressbar: bool | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> OrientationMaps:
    """What :meth:`.ACOMPatterns.index_orientations` does; `progress` is called with stage, done and total patterns."""
    if backend not in BACKENDS:
        raise ValueError(f"backend: one of {', '.join(map(repr, BACKENDS))}, not {backend!r}.")
    shape = scan_shape(signal)
    check_patterns(signal)
    stated = signal.geometry if geometry is None else geometry
    check_centre(stated, signal.data.shape[-2:])
    notes: list[str] = []
    report = progress or (lambda stage, done, total: None)
    if not isinstance(bank, TemplateBank):
        bank = bank_for(signal, bank, stated, notes, report)
    notes += [f"{phase.name}: {phase.caveat}" for phase in bank.phases if phase.caveat]
    with _bar(int(np.prod(shape)), show_progressbar, progress) as tick:
        if backend == "pyxem":
            from hyperspy_assb.signals.acom.pyxem_backend import pyxem_engine

            radius = direct_beam_radius(signal, stated)
            engine = pyxem_engine(bank, stated, signal.data.shape[-2:], direct_beam=radius)
        else:
            report("calibrate", 0, 0)
            engine = numba_engine(
                signal, bank, stated, calibrate=calibrate, refine=refine, options=options, notes=notes
            )
        whole = ScanAssembler(shape)
        for rows, columns, patterns in read_blocks(signal, shape):
            whole.put(rows, columns, engine(patterns))
            tick(patterns.shape[0] * patterns.shape[1])
        found = with_column_shares(whole.finish())
    record = provenance.record(
        "index_orientations",
        parameters={
            "phases": [phase.name for phase in bank.phases],
            "sources": [phase.source for phase in bank.phases],
            "templates": len(bank),
            "resolution (degrees)": bank.resolution,
            "beam energy (keV)": bank.beam_energy,
            "precession angle (degrees)": bank.precession_angle,
            "calibrate": calibrate,
            "refine": refine,
            "backend": backend,
            "options": options,
            "stated geometry": stated,
            "geometry": found.geometry,
        },
        methods=["template_matching", "reliability", "orix", "hyperspy", "numpy", "numba"],
    )
    axes = tuple({**axis, "navigate": True} for axis in signal.axes_manager._get_navigation_axes_dicts())
    return OrientationMaps(found, axes, record, bank.diffraction, tuple(dict.fromkeys(notes)))


def scan_shape(signal: Any) -> tuple[int, int]:
    """Rows and columns of the scan; one where there is no axis.

    Raises
    ------
    ValueError
        If there are more than two navigation axes.
    """
    shape = signal.axes_manager._navigation_shape_in_array
    if len(shape) > 2:
        raise ValueError(
            f"The patterns have {len(shape)} navigation axes: index the scans of a series one by one (s.inav[..., 0])."
        )
    return (*(1,) * (2 - len(shape)), *shape)[0], (*(1,) * (2 - len(shape)), *shape)[1]


def check_patterns(signal: Any) -> None:
    """Raise a ValueError where there are no patterns."""
    title = signal.metadata.get_item("General.title", "") or "signal"
    if signal.data.size == 0 or signal.data.dtype == object:
        raise ValueError(f"'{title}' is empty: no pattern was read.")
    if signal.data.dtype.kind not in "buif":
        raise ValueError(f"'{title}' holds {signal.data.dtype}: patterns are counts, of a real type.")


def check_centre(geometry: PatternGeometry, shape: tuple[int, ...]) -> None:
    """Raise a ValueError where the direct beam lies outside of the frame."""
    rows, columns = shape
    column, row = geometry.centre
    if not (-0.5 <= column <= columns - 0.5 and -0.5 <= row <= rows - 0.5):
        raise ValueError(
            f"centre: the direct beam at column {column:.4g}, row {row:.4g} lies outside of the frame of {columns} "
            f"columns and {rows} rows."
        )


def bank_for(
    signal: Any,
    phases: Sequence[Any],
    geometry: PatternGeometry,
    notes: list[str],
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> TemplateBank:
    """A bank of some phases for the microscope that recorded the patterns.

    Raises
    ------
    ValueError
        If the beam energy is not in the metadata.
    """
    node = "Acquisition_instrument.TEM."
    angle = signal.metadata.get_item(node + "precession_angle", None)
    rocking = signal.metadata.get_item(node + "rocking_angle", None)
    if angle is None and rocking is not None:
        angle = float(np.degrees(float(rocking) * 1e-3))
    if angle is None:
        angle = PRECESSION_ANGLE
        notes.append(
            f"No precession angle is in the metadata: templates were made for {angle:g} degrees "
            f"(metadata.{node}precession_angle)."
        )
    # As far as the frame reaches along its sides: few spots are in the corners.
    rows, columns = signal.data.shape[-2:]
    reach = float(np.max(np.abs(geometry.to_reciprocal(np.array([[0, 0], [columns - 1.0, rows - 1.0]])))))
    return simulate_bank(
        phases if not isinstance(phases, str | Path) else [phases],
        beam_energy=read_beam_energy(signal),
        precession_angle=float(angle),
        max_radius=float(min(round(reach, 2), 1.5)),
        progress=lambda name, done, total: report("templates", done, total),
    )


def read_blocks(
    signal: Any, shape: tuple[int, int], *, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[slice, slice, NDArray[np.generic]]]:
    """Blocks of a scan with their places; of lazy signals the next is read while one is worked on.

    Parameters
    ----------
    signal
        Patterns, lazy or not.
    shape
        Rows and columns of the scan.
    block_bytes
        Size of a block, at most; a single pattern may be larger.

    Yields
    ------
    rows, columns, patterns
        Patterns of shape (rows, columns, ny, nx).
    """
    data = signal.data.reshape(*shape, *signal.data.shape[-2:])
    places = list(_places(data, shape, block_bytes))
    if not signal._lazy:
        for rows, columns in places:
            yield rows, columns, np.asarray(data[rows, columns])
        return
    with ThreadPoolExecutor(1) as pool:

        def read(place: tuple[slice, slice]) -> NDArray[Any]:
            return np.asarray(data[place].compute())

        waiting = pool.submit(read, places[0])
        for number, (rows, columns) in enumerate(places):
            patterns = waiting.result()
            if number + 1 < len(places):
                waiting = pool.submit(read, places[number + 1])
            yield rows, columns, patterns


def _places(data: Any, shape: tuple[int, int], block_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Blocks along the chunks of the data, split where they are too large, joined where they are small."""
    pattern = int(np.prod(data.shape[-2:])) * data.dtype.itemsize
    most = max(block_bytes // pattern, 1)
    chunks = getattr(data, "chunks", None)
    tall, wide = (chunks[0][0], chunks[1][0]) if chunks is not None else shape
    # Whole chunks where they fit, so that none is read twice; else parts of rows of them.
    wide = min(wide, most)
    tall = min(tall, max(most // wide, 1))
    while tall * wide * 2 <= most and wide < shape[1]:
        wide *= 2
    for y in range(0, shape[0], tall):
        for x in range(0, shape[1], wide):
            yield slice(y, min(y + tall, shape[0])), slice(x, min(x + wide, shape[1]))


def sample_patterns(signal: Any, count: int = SAMPLE_PATTERNS) -> NDArray[Any]:
    """Patterns evenly over a scan, shape (B, ny, nx)."""
    shape = scan_shape(signal)
    data = signal.data.reshape(*shape, *signal.data.shape[-2:])
    step = max(np.sqrt(np.prod(shape) / count), 1.0)
    rows, columns = (np.unique(np.arange(step / 2 - 0.5, n, step).astype(int)) for n in shape)
    rows, columns = (k if k.size else np.zeros(1, dtype=int) for k in (rows, columns))
    if not signal._lazy:
        return np.asarray(data[np.ix_(rows, columns)]).reshape(-1, *data.shape[-2:])
    # Row by row: a whole block of the file may have to be read for one of its patterns.
    parts = [np.asarray(data[int(row)][columns].compute()) for row in rows]
    return np.concatenate(parts)


def direct_beam_radius(signal: Any, geometry: PatternGeometry) -> float:
    """One and a half times the convergence angle in the metadata in 1/Å, at least 3 pixels."""
    radius = 3.0 * geometry.scale
    angle = signal.metadata.get_item("Acquisition_instrument.TEM.convergence_angle", None)
    if angle is not None and float(angle) > 0.0:
        from hyperspy_assb.acom.crystals.kinematical import electron_wavelength

        radius = max(radius, 1.5e-3 * float(angle) / electron_wavelength(read_beam_energy(signal)))
    return radius


def virtual_bright_field(signal: Any, radius: float | None, *, show_progressbar: bool | None = None) -> Any:
    """What :meth:`.ACOMPatterns.virtual_bright_field` does."""
    geometry = signal.geometry
    radius = direct_beam_radius(signal, geometry) if radius is None else radius
    shape = scan_shape(signal)
    counts = np.empty(shape)
    with _bar(int(np.prod(shape)), show_progressbar if signal._lazy else False, None) as tick:
        for rows, columns, patterns in read_blocks(signal, shape):
            counts[rows, columns] = sum_direct_beam(patterns, geometry, radius)
            tick(patterns.shape[0] * patterns.shape[1])
    result = signal._get_navigation_signal(data=counts.reshape(signal.axes_manager._navigation_shape_in_array or (1,)))
    if signal.axes_manager.navigation_dimension:
        result = result.transpose(signal_axes=0)
    result.metadata.General.title = "Virtual bright field"
    result.metadata.set_item("Signal.quantity", "Counts")
    return result


class _bar:
    """A progress bar, or a function that is called instead, over a number of patterns."""

    def __init__(self, total: int, show: bool | None, progress: Callable[[str, int, int], None] | None) -> None:
        self.total, self.show, self.progress, self.done = total, show, progress, 0

    def __enter__(self) -> Callable[[int], None]:
        if self.progress is None:
            from tqdm.auto import tqdm

            show = hs.preferences.General.show_progressbar if self.show is None else self.show
            self.tqdm = tqdm(total=self.total, disable=not show, unit="patterns", desc="Index")
        return self._tick

    def _tick(self, count: int) -> None:
        self.done += count
        if self.progress is None:
            self.tqdm.update(count)
        else:
            self.progress("index", self.done, self.total)

    def __exit__(self, *exception: object) -> None:
        if self.progress is None:
            self.tqdm.close()


def numba_engine(
    signal: Any,
    bank: TemplateBank,
    geometry: PatternGeometry,
    *,
    calibrate: bool,
    refine: bool,
    options: IndexingOptions | None,
    notes: list[str],
) -> Engine:
    """The engine of this package, laid out for the patterns of a signal."""
    options = options or IndexingOptions()
    if not refine:
        options = replace(options, refine=None)
    finder, sample = None, sample_patterns(signal)
    beam_stopped = False
    if calibrate:
        geometry, finder = locate_beam(signal, geometry, sample, notes)
        beam_stopped = finder is None
        geometry, finder = refine_geometry(sample, bank, geometry, finder, notes)
    engine = ScanIndexer(
        bank,
        geometry,
        signal.data.shape[-2:],
        options=options,
        direct_beam=direct_beam_radius(signal, geometry),
        beam_stopped=beam_stopped,
        find_centres=finder,
    )
    engine.judge_diffuse = RingJudge(engine.indexer.matcher, sample, centres=None if finder is None else finder(sample))
    return engine


def locate_beam(
    signal: Any, geometry: PatternGeometry, sample: NDArray[Any], notes: list[str]
) -> tuple[PatternGeometry, CentreFinder | None]:
    """The place of the direct beam in a sample of patterns, and the function that finds it in each pattern.

    Where it is seen in less than half of them, as behind a beam stop, what the axes state holds for all.
    """
    stated = any(axis.offset != 0.0 for axis in signal.axes_manager.signal_axes)
    centres = find_centres(sample, expected=geometry.centre if stated else None)
    known = np.isfinite(centres).all(axis=1)
    middle = np.median(centres[known], axis=0) if known.any() else np.asarray(geometry.centre)
    # The beam drifts by a few pixels; where the places scatter more, they are spots of crystals beside a beam stop.
    near = np.linalg.norm(centres - middle, axis=1) <= max(3.0, BEAM_SCATTER * min(sample.shape[-2:]))
    share = float((known & near).mean())
    if share < 0.5:
        notes.append(
            f"The direct beam was found in {100 * share:.0f} % of the patterns only: it is taken to be at column "
            f"{geometry.centre[0]:.1f}, row {geometry.centre[1]:.1f}" + (", as the axes state." if stated else ".")
        )
        return geometry, None
    middle = np.median(centres[known & near], axis=0)
    away = float(np.linalg.norm(middle - geometry.centre))
    if stated and away > 2.0:
        notes.append(
            f"The direct beam is at column {middle[0]:.1f}, row {middle[1]:.1f}, {away:.1f} pixels from where the axes "
            "have it."
        )
    place = (float(middle[0]), float(middle[1]))

    def finder(patterns: NDArray[Any]) -> NDArray[np.float64]:
        found = find_centres(patterns, expected=place)
        seen = np.linalg.norm(found - place, axis=1) <= max(3.0, BEAM_SCATTER * min(sample.shape[-2:]))
        # Where it is not seen, it is where it is in the patterns about.
        found[~seen] = np.median(found[seen], axis=0) if seen.any() else place
        return found

    return replace(geometry, centre=place), finder


def refine_geometry(
    sample: NDArray[Any],
    bank: TemplateBank,
    geometry: PatternGeometry,
    finder: CentreFinder | None,
    notes: list[str],
) -> tuple[PatternGeometry, CentreFinder | None]:
    """Scale, centre and ellipse refined on a sample of patterns; with a note as they were, where that is impossible."""
    if len(sample) < FEWEST_TO_CALIBRATE:
        notes.append(f"{len(sample)} patterns are too few to refine the calibration on: what is stated holds.")
        return geometry, finder
    centres = np.tile(geometry.centre, (len(sample), 1)) if finder is None else finder(sample)
    try:
        found = calibrate_on_patterns(sample, bank, geometry, centres=centres)
    except CalibrationError as error:
        notes.append(f"The calibration was not refined on the patterns: {error}")
        return geometry, finder
    if found.ambiguous:
        others = ", ".join(f"{c.geometry.scale:.5g}" for c in found.candidates[1:3])
        notes.append(
            f"The patterns agree with the phases at more than one scale ({found.geometry.scale:.5g}; {others} 1/Å per "
            "pixel): LiFePO4 and FePO4 differ like two camera lengths. Calibrate on a known phase."
        )
    if finder is None:
        return found.geometry, None
    return found.geometry, lambda patterns: finder(patterns) + found.shift
