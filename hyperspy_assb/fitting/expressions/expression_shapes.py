"""Line shapes from expressions: text in SymPy's notation becomes a numba kernel with exact derivatives.

The generated source is kept in the user's cache directory, next to what numba compiles from it, so that a later process
neither imports SymPy nor compiles.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import platformdirs

from hyperspy_assb import staging
from hyperspy_assb.compiled_code import may_be_trusted
from hyperspy_assb.fitting.spectra.line_shape import LineShape, Parameter, Role

_CHECKSUM = "# sha256 of what precedes: "


@dataclass(frozen=True)
class ExpressionLineShape(LineShape):
    """A line shape that was compiled from an expression; it is pickled as its expression.

    Parameters
    ----------
    name, parameters, kernel, role
        Those of :class:`~hyperspy_assb.fitting.spectra.line_shape.LineShape`. The parameters that are marked linear
        are jointly linear: with the others fixed, values = c(x) + sum_k a_k b_k(x).
    expression
        What it was compiled from.
    homogeneous
        Whether c(x) is zero: the values are then proportional to the linear parameters together.
    """

    expression: str
    homogeneous: bool

    def __reduce__(self) -> tuple[Callable[[str, tuple[str, ...]], LineShape], tuple[str, tuple[str, ...]]]:
        return expression_line_shape, (self.expression, self.parameter_names)


@functools.cache
def expression_line_shape(expression: str, parameters: tuple[str, ...]) -> ExpressionLineShape:
    """Compile an expression of x into a line shape with exact derivatives.

    Parameters
    ----------
    expression
        Expression in SymPy's notation, with substitutions behind ``;``, as HyperSpy's ``Expression`` takes it:
        ``"A * exp(-u**2); u = (x - x0) / width"``. Beside elementary functions it may hold ``where(condition, a, b)``,
        ``Heaviside``, ``Abs``, ``sign``, ``Max``, ``Min``, ``erf``, ``erfc``, ``gamma`` and the real or imaginary part
        of ``wofz`` (on the real axis and above). Unlike there, only formulas reach :func:`sympy.sympify`, which
        evaluates its text as Python; see :func:`.checked_text.formula`.
    parameters
        Names of the symbols other than x, in the order in which the kernel takes them.

    Returns
    -------
    line shape
        Its kernel writes values, shape (E,), and gradients, shape (P, E), at x of shape (E,), in the units that the
        caller gives to x and the parameters. Its role is ``Role.ADDITIVE``.

    Raises
    ------
    ValueError
        If the expression has a symbol that is neither x nor among the parameters, or y (there is one dimension), or
        cannot be parsed.
    NotImplementedError
        If a function of the expression has no compiled form.

    Notes
    -----
    The derivative of a step is zero wherever it is finite; a parameter of a condition is not marked linear. Of
    parameters of which each is linear but not all together (``a * b * x``), the first in order are marked.

    Examples
    --------
    >>> line = expression_line_shape("slope * x + level", ("level", "slope"))
    >>> values, gradients = line.evaluate([0.0, 1.0], [3.0, 2.0])
    >>> values
    array([3., 5.])
    >>> line.homogeneous, [parameter.linear for parameter in line.parameters]
    (True, [True, True])
    """
    module = _load(expression, parameters)
    return ExpressionLineShape(
        name="Expression",
        parameters=tuple(
            Parameter(name, 1.0, "", linear=linear) for name, linear in zip(parameters, module.LINEAR, strict=True)
        ),
        kernel=module.kernel,
        role=Role.ADDITIVE,
        expression=expression,
        homogeneous=module.HOMOGENEOUS,
    )


def cache_directory(kind: str = "expressions") -> Path:
    """Directory of what is computed once: compiled expressions, templates.

    Parameters
    ----------
    kind
        Name of the subdirectory.

    Returns
    -------
    directory
        ``HYPERSPY_ASSB_CACHE_DIR`` where it is set, else that of the platform for caches of the user. Where it cannot
        be written, or others may write to it, a private temporary directory that lasts as long as the process.
    """
    named = os.environ.get("HYPERSPY_ASSB_CACHE_DIR")
    whole = Path(named) if named else platformdirs.user_cache_path("hyperspy-assb", appauthor=False)
    directory = whole / kind
    try:
        directory.mkdir(parents=True, exist_ok=True)
    # RuntimeError: no home folder is known.
    except (OSError, RuntimeError):
        return _temporary_directory()
    # What is in there is executed.
    safe = may_be_trusted(directory) and os.access(directory, os.W_OK)
    return directory if safe else _temporary_directory()


@functools.cache
def _temporary_directory() -> Path:
    # mkdtemp, not a fixed name: what is in there is executed, so that nobody else may write to it.
    directory = Path(tempfile.mkdtemp(prefix="hyperspy_assb-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@functools.cache
def _version() -> bytes:
    """Format of the cached sources: a digest of what writes them and of what numba inlines into them.

    numba's own cache does not notice a change of the functions that a cached one calls.
    """
    folder = Path(__file__).parent
    files = [
        folder / "checked_text.py",
        folder / "parsing.py",
        folder / "code_generation.py",
        folder.with_name("spectra") / "special_functions.py",
    ]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()


def _load(expression: str, parameters: tuple[str, ...]) -> ModuleType:
    """The generated module of an expression, from the cache if it is there and whole."""
    digest = hashlib.sha256(_version() + repr((expression, parameters)).encode()).hexdigest()
    path = cache_directory() / f"expression_{digest}.py"
    if not _is_whole(path):
        from hyperspy_assb.fitting.expressions.code_generation import kernel_source

        source = kernel_source(expression, parameters)
        try:
            _write(path, source)
        except OSError:  # a full disk, or a directory that somebody removes
            path = _temporary_directory() / path.name
            _write(path, source)
    name = f"hyperspy_assb_expression_{digest}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(specification)
    # numba finds the globals of what it loads from its cache by the name of the module.
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def _checksum(source: str) -> str:
    return f"{_CHECKSUM}{hashlib.sha256(source.encode()).hexdigest()}\n"


def _is_whole(path: Path) -> bool:
    try:
        if not may_be_trusted(path):
            return False
        source, mark, checksum = path.read_text(encoding="utf-8").rpartition(_CHECKSUM)
    except (OSError, UnicodeDecodeError):
        return False
    return mark + checksum == _checksum(source)


def _write(path: Path, source: str) -> None:
    """Write the file at once: other processes see all of it or nothing."""
    with staging.whole_file(path) as part:
        part.write_text(source + _checksum(source), encoding="utf-8", newline="\n")
