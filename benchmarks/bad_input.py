"""What becomes of damaged signals at every public entry point: clear error, right result, flag, or what must not be.

Entry points and damage are those of ``tests/bad_input.py``, which finds them in the package; each entry point gets a
share of the processor's time, so that cheap ones are called more often. Damage is drawn at random.

Run: python benchmarks/bad_input.py [--seconds 1.0] [--most 60] [--seed 0]

Ends with exit code 1 if any call comes to something else.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import bad_input  # isort: skip

ALLOWED = ("error", "flag", "right")


def meet(
    entry: bad_input.EntryPoint,
    table: dict[str, Counter[str]],
    draw: random.Random,
    given: argparse.Namespace,
) -> int:
    """Call an entry point with damaged signals, count what comes of it, and return how often it must not."""
    bad_input.judge(entry, bad_input.damages(entry.kind)[0])  # compiled, and the right result known
    begin, wrong = time.process_time(), 0
    damages = list(bad_input.damages(entry.kind))
    for damage in draw.sample(damages, min(given.most, len(damages))):
        if time.process_time() - begin > given.seconds:
            break
        outcome = bad_input.judge(entry, damage)
        plt.close("all")  # of which matplotlib warns from the twentieth on
        if outcome.word == "not possible":
            continue
        table[entry.kind][outcome.word if outcome.allowed else "else"] += 1
        if not outcome.allowed:
            wrong += 1
            print(f"{outcome.word}: {outcome.said} | {entry} <- {damage}", flush=True)
    return wrong


def main() -> int:
    """Call, print a table by class of signals, and return 1 if a call came to what it must not."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of the processor, for each entry point")
    parser.add_argument("--most", type=int, default=60, help="calls of an entry point")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    draw, wrong = random.Random(given.seed), 0
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    try:
        for entry in bad_input.entry_points():
            wrong += meet(entry, table, draw, given)
    except KeyboardInterrupt:  # what was done so far
        print("interrupted at", entry)
    print(f"{'signal':22}" + "".join(f"{word:>8}" for word in (*ALLOWED, "else", "calls")))
    for kind, counts in [*table.items(), ("all", sum(table.values(), Counter()))]:
        row = [counts[word] for word in (*ALLOWED, "else")]
        print(f"{kind:22}" + "".join(f"{n:8}" for n in (*row, sum(row))))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
