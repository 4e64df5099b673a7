"""Errors and warnings of the package are also the built-in kinds that users catch."""

from __future__ import annotations

import ast
import inspect
import pickle
import warnings
from pathlib import Path

import pytest

from hyperspy_assb import errors
from hyperspy_assb.acom.calibration.geometry_fit import CalibrationError
from hyperspy_assb.reference.cif import CrystalError
from hyperspy_assb.reference.data_files import MaterialError, MissingFactError, UnknownReferenceError
from hyperspy_assb.report.output import OutputError
from hyperspy_assb.report.recipe import UsageError


@pytest.mark.parametrize(
    ("kind", "caught_as"),
    [
        (errors.AssbValueError, (errors.AssbError, ValueError)),
        (errors.AssbTypeError, (errors.AssbError, TypeError)),
        (errors.AssbKeyError, (errors.AssbError, KeyError, LookupError)),
        (errors.AssbNotImplementedError, (errors.AssbError, NotImplementedError, RuntimeError)),
        (errors.AssbRuntimeError, (errors.AssbError, RuntimeError)),
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


@pytest.mark.parametrize(
    "kind",
    [UnknownReferenceError, MaterialError, MissingFactError, CrystalError, CalibrationError, UsageError, OutputError],
)
def test_errors_of_their_own_are_errors_of_the_package(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.AssbError)


def test_everything_there_has_one_of_two_bases() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert {c.__name__ for c in classes} == set(errors.__all__)
    assert all(issubclass(c, errors.AssbError | errors.AssbWarning) for c in classes)


@pytest.mark.parametrize("kind", [getattr(errors, name) for name in errors.__all__])
def test_errors_come_back_from_other_processes(kind: type[Exception]) -> None:
    back = pickle.loads(pickle.dumps(kind("a sentence.")))
    assert type(back) is kind
    assert str(back) == "a sentence."


PACKAGE = Path(errors.__file__).parent
PENDING = Path(__file__).with_name("plain_errors_pending.txt")
PLAIN = {
    "Exception",
    "FileExistsError",
    "FileNotFoundError",
    "KeyError",
    "LookupError",
    "NotImplementedError",
    "OSError",
    "RuntimeError",
    "TypeError",
    "ValueError",
}
ALLOWED = {
    ("signals/packing.py", "TypeError"): "caught by load, which tells it with the name of the file",
    ("signals/result.py", "TypeError"): "caught by load, which tells it with the name of the file",
    ("signals/result.py", "NotImplementedError"): "of an abstract class, for those who write another result",
    ("signals/result_files.py", "OSError"): "caught by write_result, which tells it with the name of the file",
    ("signals/result_files.py", "ValueError"): "caught by read_result, which tells it with the name of the file",
}
"""Plain errors that are raised on purpose, with the reason."""


def plain_errors(package: Path) -> set[tuple[str, str]]:
    """Files, and the built-in errors that they raise and warnings that they give."""
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            kind = None
            if isinstance(node, ast.Raise) and node.exc is not None:
                kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "warn"):
                named = [item.value for item in node.keywords if item.arg == "category"]
                kind = (*node.args[1:2], *named, ast.Name("UserWarning"))[0]
            if isinstance(kind, ast.Name) and kind.id in (*PLAIN, "UserWarning"):
                found.add((path.relative_to(package).as_posix(), kind.id))
    return found


def test_errors_are_those_of_the_package() -> None:
    listed = {tuple(line.split()) for line in PENDING.read_text("utf-8").splitlines()} if PENDING.exists() else set()
    found = plain_errors(PACKAGE)
    assert sorted(found - listed - set(ALLOWED)) == []
    assert sorted(listed - found) == [], f"take these out of {PENDING.name}"
    assert sorted(set(ALLOWED) - found) == [], "take these out of ALLOWED"


def test_planted_plain_errors_are_found(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(
        "import warnings\n"
        "def f(a):\n"
        "    warnings.warn('told without a class', stacklevel=2)\n"
        "    warnings.warn('told by its own', AssbWarning, stacklevel=2)\n"
        "    if a: raise ValueError('plain')\n"
        "    if not a: raise FileNotFoundError\n"
        "    raise AssbValueError('of the package')\n"
    )
    assert plain_errors(tmp_path) == {
        ("planted.py", "FileNotFoundError"),
        ("planted.py", "UserWarning"),
        ("planted.py", "ValueError"),
    }
