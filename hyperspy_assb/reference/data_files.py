"""Reading of the data files that lie beside this module."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from hyperspy_assb.errors import AssbKeyError, AssbValueError


class UnknownReferenceError(AssbKeyError):
    """A name that the reference tables do not have; the message lists those that they have.

    Examples
    --------
    >>> from hyperspy_assb.reference import material
    >>> try:
    ...     material("LiFePO")
    ... except UnknownReferenceError as error:
    ...     print(str(error).partition(".")[0])
    no material 'LiFePO'; near it: LiFePO4, FePO4, LiV2(PO4)3, LiCoO2
    """

    @classmethod
    def of(cls, what: str, name: object, known: Iterable[object]) -> UnknownReferenceError:
        """The error for an unknown ``name`` of a ``what``, naming those that exist.

        Parameters
        ----------
        what
            What was looked for, such as "ring".
        name
            The name that is not known.
        known
            Names that are.

        Returns
        -------
        UnknownReferenceError
            To be raised.

        Examples
        --------
        >>> print(UnknownReferenceError.of("edge", "Li L", ["Li K", "Fe M23"]))
        no edge 'Li L' in the reference tables; there are: Li K, Fe M23.
        """
        return cls(f"no {what} {name!r} in the reference tables; there are: {', '.join(str(k) for k in known)}.")


class MaterialError(AssbValueError):
    """An invalid material or electrode; the message names the row and the file.

    Examples
    --------
    >>> from hyperspy_assb.reference import parse_formula
    >>> try:
    ...     parse_formula("LiFeXx")
    ... except MaterialError as error:
    ...     print(error)
    formula 'LiFeXx', character 5: 'Xx' is not an element.
    """


class MissingFactError(MaterialError, UnknownReferenceError):
    """A fact that a technique needs and that the row of the material lacks; the message names row, file and fact.

    Examples
    --------
    >>> import hyperspy_assb
    >>> try:
    ...     hyperspy_assb.materials["CoO2"].formula_density
    ... except MissingFactError as error:
    ...     print(error)
    A number of atoms in a volume needs the density of CoO2, which its row in ...materials.toml lacks. ...
    """


@cache
def read_toml(name: str) -> dict[str, Any]:
    """Content of a TOML file of this package; do not change it, it is shared."""
    return tomllib.loads(read_text(name))


def read_text(name: str) -> str:
    """Text of a file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
