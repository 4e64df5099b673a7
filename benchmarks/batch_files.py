"""What the engine of batches needs for each file beside the analysis: work that costs nothing, for more and more files.

Run: python benchmarks/batch_files.py [--files 50 100 200 400]

Prints processor time for each file of a new batch and of one that is done; ends with exit code 1 if a new batch of the
largest number of files needs more than twice as long for each as one of the smallest. Page and table are written every
two seconds of the clock, which on a busy machine costs more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "batching"))

import toy_work  # isort: skip

import hyperspy_assb


def main() -> int:
    """Measure, print a table, and return 1 if time does not grow as the number of files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, nargs="+", default=[50, 100, 200, 400])
    counts = parser.parse_args().files
    toy_work.use_toy_work()
    found = []
    print(f"{'files':>6} {'new (ms/file)':>14} {'done before (ms/file)':>22}")
    for count in [counts[0], *counts]:  # the first time warms up
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            toy_work.write_inputs(place / "raw", count)
            recipe = {"inputs": {"maps": str(place / "raw" / "*.npy")}, "analysis": {"fit": {"input": "maps"}}}
            spent = []
            for _ in range(2):
                begin = time.process_time()
                assert hyperspy_assb.batch(recipe, place / "out").whole
                spent.append((time.process_time() - begin) / count)
        found.append(spent)
    for count, (new, again) in zip(counts, found[1:], strict=True):
        print(f"{count:6} {1e3 * new:14.2f} {1e3 * again:22.2f}")
    return int(found[-1][0] > 2.0 * found[1][0])


if __name__ == "__main__":
    sys.exit(main())
