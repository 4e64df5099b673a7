"""Peak memory of the commands for maps on disk, as the operating system counts it.

Low-loss maps of 1024 channels, EDX maps and scans are those of the virtual battery, tiled, in files of HyperSpy that
are written block by block: 512 x 512 spectra are 1.1 GB in each state, 256 x 256 patterns 4.3 GB. EDX maps are
compressed. Each command runs as a program of its own; with --interrupt it is sent SIGINT after so many seconds, and
what is told is how long it went on.

Run: python benchmarks/lazy_memory.py [--paths fit delithiation compare edx index] [--side 512] [--scan 256]
     [--keep FOLDER] [--interrupt SECONDS]

Ends with exit code 1 if a command needs more than 2 GB, or fails. Models are measured by ``fit_engine_memory.py``,
the search for orientations alone by ``acom_memory.py``, series by ``series_memory.py``.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

BAR = 2e9
"""Bytes."""
TILE = 64
"""Rows and columns of the map of which others are made."""
EELS, EDX, SCAN = ("before.hspy", "after.hspy"), ("edx.hspy",), ("scan.hspy",)
PATHS: dict[str, tuple[str, ...]] = {
    "fit": ("fit", "after.hspy"),
    "delithiation": ("fit", "after.hspy", "--references", "pure.npz"),
    "compare": ("compare", *EELS),
    "edx": ("fit", "edx.hspy", "--elements", "C,O,Al,P,Fe,Ge", "--thickness", "80"),
    "index": ("index", "scan.hspy", "--phases", "lfp,fp,lagp"),
}


def save_tiled(made: Any, path: Path, side: int, block: int, compression: str | None = None) -> None:
    """The pixels of a signal again and again, in blocks."""
    import dask.array as da
    import numpy as np

    tile = np.asarray(made.data)
    rows = tile.shape[0]
    times = (-(-side // rows),) * 2 + (1,) * (tile.ndim - 2)
    data = da.tile(da.from_array(tile, chunks=(block, block, *tile.shape[2:])), times)[:side, :side]
    lazy = made._deepcopy_with_new_data(data.rechunk((block, block, *tile.shape[2:]))).as_lazy()
    for axis in lazy.axes_manager.navigation_axes:
        axis.size = side
    lazy.save(path, overwrite=True, compression=compression, show_progressbar=False)


def write(folder: Path, names: tuple[str, ...], side: int) -> None:
    """The files that a command reads, where they are not there yet."""
    import numpy as np

    from hyperspy_assb.simulation import BatteryOptions, DiffractionConditions, EELSConditions, micro_battery
    from hyperspy_assb.simulation.acom.scan import simulate_scan
    from hyperspy_assb.simulation.lamella import build_lamella

    names = tuple(name for name in names if not (folder / name).exists())
    if "scan.hspy" in names:
        state = build_lamella((TILE // 2,) * 2, np.random.default_rng(0)).after
        scan = simulate_scan(state, DiffractionConditions(dtype="uint8"), pixel_size=10.0, signal_type="ACOM")
        save_tiled(scan, folder / "scan.hspy", side, 16)
    elif names:
        # Some channels are cut away, as by a spectrometer.
        options = BatteryOptions(eels=replace(EELSConditions(), n_channels=1080))
        battery = micro_battery(shape=(TILE, TILE), seed=6, options=options)
        for name in names:
            made = battery.edx_after if name in EDX else getattr(battery, f"eels_{Path(name).stem}")
            made.data = np.asarray(made.data).astype(np.uint32 if name in EDX else np.float32)
            if name in EELS:
                made = made.isig[:1024]
            # As HyperSpy does it unasked: 1 GB of counts, most of which are zero, become a small file.
            save_tiled(made, folder / name, side, 32, "gzip" if name in EDX else None)
        share = battery.truth.after.fractions
        pure = {"LiFePO4": share["LiFePO4"] > 0.999, "FePO4": share["FePO4"] > 0.999}
        times = -(-side // TILE)
        np.savez(folder / "pure.npz", **{k: np.tile(m, (times, times))[:side, :side] for k, m in pure.items()})


def processor_time(process: int) -> float:
    """Seconds that a running process has used; NaN where the system does not tell."""
    try:
        words = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def run(words: tuple[str, ...], folder: Path, interrupt: float | None) -> tuple[int, float, float, float, float]:
    """Exit code, peak in bytes, seconds, and seconds after the interrupt: of the clock, and of the processor."""
    command = [str(Path(sys.executable).with_name("assb")), *words, "--out", f"result of {words[0]}", "--force"]
    begin, sent, before = time.monotonic(), 0.0, 0.0

    def stop() -> None:
        nonlocal sent, before
        sent, before = time.monotonic(), processor_time(process.pid)
        os.kill(process.pid, signal.SIGINT)

    # Ignored signals are inherited, as by what a shell starts in the background.
    process = subprocess.Popen(command, cwd=folder, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    timer = threading.Timer(interrupt or 0.0, stop)
    if interrupt:
        timer.start()
    _, status, used = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    end = time.monotonic()
    late = (end - sent, used.ru_utime + used.ru_stime - before) if sent else (0.0, 0.0)
    return process.returncode, 1024.0 * used.ru_maxrss, end - begin, *late


def main() -> int:
    """Measure, print a table, and return 1 if a command needs more than the bar or fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--paths", nargs="+", default=list(PATHS), choices=list(PATHS))
    parser.add_argument("--side", type=int, default=512, help="rows and columns of maps")
    parser.add_argument("--scan", type=int, default=256, help="rows and columns of scans")
    parser.add_argument("--keep", type=Path, help="folder where files are kept, and found again")
    parser.add_argument("--interrupt", type=float, help="seconds after which to send SIGINT")
    parser.add_argument("--write", action="store_true", help="write the files, and no more")
    given = parser.parse_args()
    if given.write:
        for name in given.paths:
            files = tuple(word for word in PATHS[name] if word.endswith(".hspy"))
            write(given.keep, files, given.scan if name == "index" else given.side)
        return 0
    missed = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        sizes = ["--side", str(given.side), "--scan", str(given.scan), "--keep", str(folder), "--write"]
        # This process stays small: what it holds would be counted for those that it starts.
        subprocess.run([sys.executable, __file__, *sizes, "--paths", *given.paths], check=True)
        for name in given.paths:
            code, peak, seconds, late, busy = run(PATHS[name], folder, given.interrupt)
            side = given.scan if name == "index" else given.side
            said = (
                f"exit {code} {late:.1f} s after the interrupt, {busy:.1f} s of the processor"
                if late
                else f"exit {code}"
            )
            print(f"{name:14} {side:5} {peak / 1e6:8.0f} MB {seconds:8.0f} s  {said}", flush=True)
            missed |= peak > BAR or code != (130 if late else 0)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
