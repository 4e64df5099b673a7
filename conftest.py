"""Modules are imported once: pytest imports again what a package, imported for its sake, has already imported."""

import hyperspy_assb.signals  # noqa: F401
