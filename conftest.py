"""What tests and examples in docstrings share."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

# Modules are imported once: pytest imports again what a package, imported for its sake, has already imported.
import hyperspy_assb.signals  # noqa: F401
from hyperspy_assb.reference import materials as lookup

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Take back materials that were added, and close figures: those of pyplot live until they are closed."""
    before = lookup._current()
    yield
    lookup._state = before
    plt.close("all")
