"""Reading of the data files that lie beside this module."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from hyperspy_assb.errors import AssbError, AssbValueError


class UnknownReferenceError(AssbError, LookupError):
    """A name that the reference tables do not have; the message lists those that they have."""

    @classmethod
    def of(cls, what: str, name: object, known: Iterable[object]) -> UnknownReferenceError:
        """The error for an unknown ``name`` of a ``what``, naming those that exist."""
        return cls(f"no {what} {name!r} in the reference tables; there are: {', '.join(str(k) for k in known)}.")


class MaterialError(AssbValueError):
    """A material or an electrode that is not told as it must be; the message names the row and the file."""


class MissingFactError(MaterialError, UnknownReferenceError):
    """A fact that a technique needs and that the row of the material lacks; the message names row, file and fact."""


@cache
def read_toml(name: str) -> dict[str, Any]:
    """Content of a TOML file of this package; do not change it, it is shared."""
    return tomllib.loads(read_text(name))


def read_text(name: str) -> str:
    """Text of a file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
