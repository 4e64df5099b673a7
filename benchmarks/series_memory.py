"""Peak memory of the drift, the boundaries and the cracks of a lazy series against the number of its frames.

python benchmarks/series_memory.py [--size N] [--frames N ...]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from typing import Any

import dask.array as da
import numpy as np

from hyperspy_assb.series.cracks.crack_paths import find_lines
from hyperspy_assb.series.drift.mean_alignment import align, shift_frame
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.simulation.series.image_series import SeriesConditions, image_series


def lazy_series(size: int, frames: int) -> FrameSeries:
    """Frames of one scene that drift, each made when it is asked for."""
    _, truth = image_series(SeriesConditions(frames=2, size=size, oversampling=2), 1)
    scene = np.pad(truth.expected[0], 8, mode="reflect")
    shift = np.clip(np.cumsum(np.random.default_rng(2).normal(0.0, 0.3, (frames, 2)), axis=0), -6.0, 6.0)

    def make(block_info: Any = None) -> np.ndarray:
        number = block_info[None]["array-location"][0][0]
        moved = shift_frame(scene, shift[number])[8:-8, 8:-8]
        return np.random.default_rng(number).poisson(np.clip(moved, 0.0, None)).astype(np.uint16)[None]

    chunks = ((1,) * frames, (size,), (size,))
    return FrameSeries(da.map_blocks(make, chunks=chunks, dtype=np.uint16), np.arange(float(frames)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=176)
    parser.add_argument("--frames", type=int, nargs="*", default=[20, 40, 80])
    parser.add_argument("--cracks", action="store_true", help="with cracks, whose frames go to the disk beyond 512 MB")
    arguments = parser.parse_args()
    print(f"{'frames':>8}{'data (MB)':>12}{'drift (MB)':>12}{'s of processor':>16}{'cracks (MB)':>13}")
    for frames in arguments.frames:
        series = lazy_series(arguments.size, frames)
        tracemalloc.start()
        begin = time.process_time()
        drift = align(series)
        taken = time.process_time() - begin
        peak = [tracemalloc.get_traced_memory()[1]]
        if arguments.cracks:
            tracemalloc.reset_peak()
            find_lines(series, drift, None, 0.05)
            peak.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        data = frames * arguments.size**2 * 2 / 1e6
        shown = "".join(f"{value / 1e6:13.1f}" for value in peak[1:])
        print(f"{frames:8}{data:12.1f}{peak[0] / 1e6:12.1f}{taken:16.1f}{shown}", flush=True)


if __name__ == "__main__":
    main()
