"""Errors and warnings of the package are also the built-in kinds that users catch."""

from __future__ import annotations

import inspect
import pickle
import warnings

import pytest

from hyperspy_assb import errors


@pytest.mark.parametrize(
    ("kind", "caught_as"),
    [
        (errors.AssbValueError, (errors.AssbError, ValueError)),
        (errors.AssbTypeError, (errors.AssbError, TypeError)),
        (errors.AssbKeyError, (errors.AssbError, KeyError)),
        (errors.AssbRuntimeError, (errors.AssbError, RuntimeError)),
        (errors.AssbNotImplementedError, (errors.AssbError, NotImplementedError)),
        (errors.AssbFileError, (errors.AssbError, OSError, ValueError)),
        (errors.AssbFileExistsError, (errors.AssbFileError, FileExistsError)),
        (errors.AssbFileNotFoundError, (errors.AssbFileError, errors.AssbError, FileNotFoundError, OSError)),
    ],
)
def test_errors_are_caught_as_what_they_refine(kind: type[Exception], caught_as: tuple[type[Exception], ...]) -> None:
    for base in caught_as:
        with pytest.raises(base, match=r"^a sentence\.$"):
            raise kind("a sentence.")


def test_warnings_are_user_warnings() -> None:
    with pytest.warns(UserWarning, match="a sentence"):
        warnings.warn("a sentence", errors.AssbWarning, stacklevel=1)


def test_everything_there_has_one_of_two_bases() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert len(classes) == 10
    assert all(issubclass(c, errors.AssbError | errors.AssbWarning) for c in classes)


@pytest.mark.parametrize("kind", [errors.AssbValueError, errors.AssbFileError, errors.AssbFileNotFoundError])
def test_errors_come_back_from_other_processes(kind: type[Exception]) -> None:
    back = pickle.loads(pickle.dumps(kind("a sentence.")))
    assert type(back) is kind
    assert str(back) == "a sentence."
