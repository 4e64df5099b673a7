"""From patterns to orientation maps: the engine is laid out and run on arrays, what it finds is dressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hyperspy_assb import provenance
from hyperspy_assb.acom.matching.block_indexing import IndexingOptions
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.acom.patterns.pattern_scan import PatternScan
from hyperspy_assb.acom.scan.scan_indexing import ScanIndexer, Stage, bank_of_scan, index_scan
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.progress import counting, progress_bar
from hyperspy_assb.signals.acom.orientations import OrientationMaps
from hyperspy_assb.signals.acom.pyxem_backend import PyxemIndexer

BACKENDS = ("numba", "pyxem")


def index_orientations(
    scan: PatternScan,
    bank: TemplateBank | Sequence[Any],
    *,
    calibrate: bool = True,
    refine: bool = True,
    backend: str = "numba",
    options: IndexingOptions | None = None,
    show_progressbar: bool | None = None,
    progress: Stage | None = None,
    dose: Mapping[str, float | None] | None = None,
) -> OrientationMaps:
    """What :meth:`.ACOMPatterns.index_orientations` does; `progress` is called with stage, done and total patterns."""
    if backend not in BACKENDS:
        raise AssbValueError(f"backend: one of {', '.join(map(repr, BACKENDS))}, not {backend!r}.")
    with progress_bar("index", show_progressbar, progress) as report:
        report("detector", 0, 0)
        scan = scan.examined()
        notes: tuple[str, ...] = () if scan.detector is None else scan.detector.notes
        if not isinstance(bank, TemplateBank):
            bank, told = bank_of_scan(scan, bank, report=report)
            notes += told
        notes += tuple(f"{phase.name}: {phase.caveat}" for phase in bank.phases if phase.caveat)
        engine: ScanIndexer | PyxemIndexer
        if backend == "pyxem":
            engine = PyxemIndexer(scan, bank)
        else:
            report("calibrate", 0, 0)
            chosen = options or IndexingOptions()
            engine = ScanIndexer(
                scan, bank, calibrate=calibrate, options=chosen if refine else replace(chosen, refine=None)
            )
            notes += engine.calibration.notes
        with counting("index", int(np.prod(scan.shape))) as tick:
            found = index_scan(scan, engine, done=tick)
        if isinstance(engine, ScanIndexer):
            notes += engine.notes(found)
    lost = int(np.sum(found.status == PatternStatus.NO_BEAM))
    if lost:
        notes += (
            f"In {lost} of {found.status.size} patterns the direct beam was not found near its position in their "
            "neighbours: they are not indexed.",
        )
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
            "detector pixels left out": 0 if scan.detector is None else int(scan.detector.mask.sum()),
            "value of an electron": 1.0 if scan.detector is None else scan.detector.units.gain,
            "stated geometry": scan.geometry,
            "geometry": found.geometry,
        },
        methods=["template_matching", "reliability", "orix", "hyperspy", "numpy", "numba"],
        dose=dose,
    )
    return OrientationMaps(
        found, bank.diffraction, axes=scan.axes, provenance=record, notes=tuple(dict.fromkeys(notes))
    )
