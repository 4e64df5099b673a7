"""Peak memory of indexing a lazy scan of 256 x 256 patterns of 256 x 256 pixels of 8 bits (4.3 GB).

    python benchmarks/acom_memory.py [--rows 256]

Ends with exit code 1 if more than 2 GB are needed. Fewer rows of the scan take less time and as much memory: what is in
memory is two blocks and the maps. Patterns of a small simulated scan are repeated block by block as they are read, as
from a file.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import dask.array as da
import numpy as np

from hyperspy_assb.acom import simulate_bank
from hyperspy_assb.signals.acom.signal import ACOMPatterns
from hyperspy_assb.simulation import DiffractionConditions
from hyperspy_assb.simulation.acom.scan import simulate_scan
from hyperspy_assb.simulation.lamella import build_lamella

TILE = 16
BAR_GB = 2.0


def peak() -> float:
    """Largest resident memory so far, in GB (Linux counts kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    rows = parser.parse_args().rows
    state = build_lamella((TILE, TILE), np.random.default_rng(0)).after
    small = simulate_scan(state, DiffractionConditions(dtype="uint8"), pixel_size=10.0, signal_type="ACOM")
    tile = np.ascontiguousarray(small.data)
    bank = simulate_bank(["lfp", "fp", "lagp"], resolution=1.5)

    chunks = ((TILE,) * (rows // TILE), (TILE,) * 16, (256,), (256,))
    data = da.map_blocks(lambda: tile.copy(), chunks=chunks, dtype=tile.dtype)
    axes = small.axes_manager.as_dictionary().values()
    lazy = ACOMPatterns(data, axes=[{**axis, "size": n} for axis, n in zip(axes, data.shape, strict=True)])
    lazy = lazy.as_lazy()
    lazy.metadata.add_dictionary(small.metadata.as_dictionary())
    before = peak()
    start = time.perf_counter()
    result = lazy.index_orientations(bank)
    seconds = time.perf_counter() - start
    patterns = result.found.phase.size
    print(f"scan                      {rows} x 256 patterns of 256 x 256, {data.nbytes / 1e9:.2f} GB")
    print(f"templates                 {len(bank)}")
    print(f"peak before indexing      {before:.2f} GB")
    print(f"peak                      {peak():.2f} GB")
    print(f"patterns/s                {patterns / seconds:.0f} (reading included)")
    if peak() > BAR_GB:
        sys.exit(f"more than {BAR_GB} GB")


if __name__ == "__main__":
    main()
