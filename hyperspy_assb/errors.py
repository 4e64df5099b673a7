"""Errors and warnings of the package, so that users can distinguish them from those of others.

Each is also the built-in kind that it refines: ``except ValueError`` and ``except FileNotFoundError`` catch them too.
"""

from __future__ import annotations

__all__ = [
    "AssbError",
    "AssbFileError",
    "AssbFileExistsError",
    "AssbFileNotFoundError",
    "AssbKeyError",
    "AssbNotImplementedError",
    "AssbRuntimeError",
    "AssbTypeError",
    "AssbValueError",
    "AssbWarning",
]

GUIDE = {
    "acom": "Phases and orientations (4D-STEM ACOM)",
    "delithiation": "Lithium content",
    "edx": "Elements and phases (EDX)",
    "fit_engine": "The batched fit",
    "materials": "Materials and electrodes",
}
"""Titles of pages of the guide, by the names of their files."""


def see(page: str) -> str:
    """The end of a message that names the page of the guide where a user reads on.

    Parameters
    ----------
    page
        A key of ``GUIDE``.

    Examples
    --------
    >>> see("delithiation")
    'See “Lithium content” in the documentation.'
    """
    return f"See “{GUIDE[page]}” in the documentation."


class AssbError(Exception):
    """Base of all errors that the package raises on purpose.

    Examples
    --------
    >>> import hyperspy_assb
    >>> try:
    ...     hyperspy_assb.load("before bias.hspy")
    ... except hyperspy_assb.errors.AssbError as error:
    ...     print(error)
    There is no file before bias.hspy: check its name and folder.
    """


class AssbValueError(AssbError, ValueError):
    """An argument has a value that cannot be used; the message says which and what to do.

    Examples
    --------
    >>> from hyperspy_assb.reference import parse_formula
    >>> try:
    ...     parse_formula("LiFePO4)")
    ... except AssbValueError as error:
    ...     print(error)
    formula 'LiFePO4)', character 8: ')' closes no bracket of its kind.
    """


class AssbTypeError(AssbError, TypeError):
    """An argument is of a kind that cannot be used.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> before = micro_battery(shape=(4, 4), seed=1, edx_signal_type="EDS_TEM_ASSB").edx_before
    >>> try:
    ...     before.compare_composition("after.hspy")
    ... except AssbTypeError as error:
    ...     print(error)
    after must be an EDX signal as well: set_signal_type('EDS_TEM_ASSB').
    """


class AssbKeyError(AssbError, KeyError):
    """There is nothing of that name; the message says what there is.

    Examples
    --------
    >>> from hyperspy_assb.provenance import cite
    >>> try:
    ...     cite(["alchemy"])
    ... except AssbKeyError as error:
    ...     print(error)
    No citation for ['alchemy']; there are citations for [...].
    """

    # KeyError shows its message as Python would write it, with quotation marks.
    __str__ = Exception.__str__


class AssbNotImplementedError(AssbError, NotImplementedError):
    """It could be done and is not; the message says what to do instead.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> axis = {"axis": [0.5, 1.0, 2.0, 4.0], "units": "keV", "name": "Energy"}
    >>> s = hs.signals.Signal1D([1, 2, 3, 4], axes=[axis])
    >>> s.set_signal_type("EDS_TEM_ASSB")
    >>> try:
    ...     s.quantify_composition()
    ... except AssbNotImplementedError as error:
    ...     print(error)
    The energy axis of 'signal' is non-uniform: interpolate it first.
    """


class AssbRuntimeError(AssbError, RuntimeError):
    """Something must be done before; the message says what.

    Examples
    --------
    >>> try:
    ...     raise AssbRuntimeError("Fit the model first: hyperspy_assb.multifit(m).")
    ... except RuntimeError as error:
    ...     print(error)
    Fit the model first: hyperspy_assb.multifit(m).
    """


# A damaged file is an OSError to whoever cares for files, and was a ValueError before: io.UnsupportedOperation of the
# standard library is both as well.
class AssbFileError(AssbError, OSError, ValueError):
    """A file cannot be read or written; the message names it.

    Examples
    --------
    >>> import hyperspy_assb, tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "map.hspy"
    >>> path.write_bytes(b"")
    0
    >>> try:
    ...     hyperspy_assb.load(path)
    ... except AssbFileError as error:
    ...     print(error)
    /...map.hspy is an empty file: save the result again.
    """


class AssbFileNotFoundError(AssbFileError, FileNotFoundError):
    """There is no such file.

    Examples
    --------
    >>> import hyperspy_assb
    >>> try:
    ...     hyperspy_assb.load_spectrum_image("map.dm4")
    ... except AssbFileNotFoundError as error:
    ...     print(error)
    There is no file map.dm4.
    """


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
