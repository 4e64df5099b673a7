"""One good public name and some bad ones, which the test of public names must find."""

from __future__ import annotations

from typing import Any

__all__ = ["good", "long", "skipped", "undescribed", "without_example", "wrong_words"]


def good(region: int) -> int:
    """Double a number.

    Parameters
    ----------
    region
        The number.

    Returns
    -------
    int
        Twice as much.

    Raises
    ------
    ValueError
        If it is negative.

    Examples
    --------
    >>> good(2)
    4
    """
    if region < 0:
        raise ValueError("region must not be negative.")
    return 2 * region


def without_example(a: int) -> int:
    """Give the number back.

    Parameters
    ----------
    a
        The number.

    Returns
    -------
    int
        The same.
    """
    return a


def skipped() -> None:
    """Do nothing.

    Examples
    --------
    >>> skipped()  # doctest: +SKIP
    """


def undescribed(a: int, b: int) -> Any:
    """Add a and b

    Parameters
    ----------
    b
        One of them.
    """
    if a < 0:
        raise ValueError("a must not be negative.")
    return a + b


def wrong_words(regions: int, glass_share: int, x_std: int, x_errors: int) -> None:
    """Take words that the project does not use."""


def long(a, b, c, d, e, f, g, h, i) -> None:
    """Take nine arguments."""
