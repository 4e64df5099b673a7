"""EELS, EDX and 4D-STEM analysis of all-solid-state batteries, as HyperSpy signal methods.

Public names stand in ``__init__.pyi`` and are imported when they are first used: importing this package alone costs
nothing, neither to ``import hyperspy.api``, which finds every installed extension, nor to the command line.
"""

import lazy_loader as _lazy

__version__ = "0.2.0"

__getattr__, _names, _ = _lazy.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names()]


def __dir__() -> list[str]:
    return sorted(__all__)
