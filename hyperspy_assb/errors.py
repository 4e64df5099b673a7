"""Errors and warnings of the package, so that users can tell them from those of others.

Each is also the built-in kind that it refines: ``except ValueError`` and ``except FileNotFoundError`` catch them too.
"""

from __future__ import annotations


class AssbError(Exception):
    """Base of all errors that the package raises on purpose."""


class AssbValueError(AssbError, ValueError):
    """An argument has a value that cannot be used; the message says which and what to do.

    Examples
    --------
    >>> try:
    ...     raise AssbValueError("alpha must be between 0 and 1, not 1.5.")
    ... except ValueError as error:
    ...     print(error)
    alpha must be between 0 and 1, not 1.5.
    """


class AssbTypeError(AssbError, TypeError):
    """An argument is of a type that cannot be used; the message says which types can."""


class AssbKeyError(AssbError, KeyError):
    """There is nothing of that name; the message says what there is."""

    # KeyError shows the repr of its message, as if it were a key.
    __str__ = Exception.__str__


class AssbNotImplementedError(AssbError, NotImplementedError):
    """The package cannot do this, such as analyse spectra on a non-uniform axis; the message says what it can."""


class AssbRuntimeError(AssbError, RuntimeError):
    """Something must be done first, such as a fit; the message says what."""


# A damaged file is an OSError to whoever cares for files, and was a ValueError before: io.UnsupportedOperation of the
# standard library is both as well.
class AssbFileError(AssbError, OSError, ValueError):
    """A file cannot be read or written; the message names it."""


class AssbFileNotFoundError(AssbFileError, FileNotFoundError):
    """There is no such file."""


class AssbFileExistsError(AssbFileError, FileExistsError):
    """There is already such a file or folder, which is not written over.

    Examples
    --------
    >>> import tempfile
    >>> import hyperspy.api as hs
    >>> import hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel
    >>> from hyperspy_assb.models.multifit import FitOptions
    >>> model = hs.signals.Signal1D([[5.0, 6.0, 5.0]]).create_model()
    >>> model.append(DarkLevel(5.0))
    >>> try:
    ...     hyperspy_assb.multifit(model, options=FitOptions(store=tempfile.mkdtemp()))
    ... except AssbFileExistsError as error:
    ...     print(error)
    /...exists: give store= a new folder, or remove it first.
    """


class AssbWarning(UserWarning):
    """Base of all warnings of the package.

    Examples
    --------
    Turn them, and them alone, into errors:

    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", AssbWarning)
    """
