"""Fixtures of the tests of batches."""

from __future__ import annotations

import sys
from pathlib import Path

# The toys are also used by scripts that tests start.
sys.path.insert(0, str(Path(__file__).parent))

from toy_work import toy_work  # noqa: F401
