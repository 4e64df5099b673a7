"""Time of `import hyperspy.api` with and without this extension among the installed ones.

HyperSpy finds extensions by their entry points. One interpreter runs with the entry point of this package, the other
with an empty stand-in for its metadata in front of the path.

Run: python benchmarks/import_time.py [--runs 10]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CODE = "import hyperspy.api"
COUNT = (
    "from importlib.metadata import entry_points;"
    "print(sum(e.value == 'hyperspy_assb' for e in entry_points(group='hyperspy.extensions')))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    version = importlib.metadata.version("hyperspy-assb")
    with tempfile.TemporaryDirectory() as folder:
        # The first metadata of a name on the path hides the others.
        info = Path(folder) / f"hyperspy_assb-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hyperspy-assb\nVersion: {version}\n", "utf-8")
        environments = {"with": dict(os.environ), "without": {**os.environ, "PYTHONPATH": folder}}
        for name, environment in environments.items():
            seen = subprocess.run(
                [sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=True
            )
            if (seen.stdout.strip() == "1") is not (name == "with"):
                raise SystemExit(f"the interpreter {name} the extension sees {seen.stdout.strip()} entry points")
        times: dict[str, list[float]] = {name: [] for name in environments}
        for run in range(runs + 1):
            for name, environment in environments.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", CODE], env=environment, check=True)
                if run:  # the first fills the disk cache
                    times[name].append(time.perf_counter() - start)
    for name, values in times.items():
        print(f"{name:8s} median {statistics.median(values):.3f} s  from {min(values):.3f} to {max(values):.3f} s")
    print(f"ratio of the medians: {statistics.median(times['with']) / statistics.median(times['without']):.3f}")


if __name__ == "__main__":
    main()
