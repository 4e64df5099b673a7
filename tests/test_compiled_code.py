"""Whatever stands in the cache of compiled code, a run goes on with the right values."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hyperspy_assb.compiled_code import may_be_trusted

FUNCTIONS = """
import numba, numpy as np

@numba.njit(cache=True)
def twice(x):
    return 2 * x

@numba.guvectorize("(n)->(n)", cache=True)
def squares(x, y):
    for i in range(x.size):
        y[i] = x[i] * x[i]
"""
USE = """
import sys, numpy as np
{before}
sys.path.insert(0, {folder!r})
import functions
out = np.empty(3)
functions.squares(np.arange(3.0), out)
print(functions.twice(21), out.tolist(), sum(functions.twice.stats.cache_hits.values()))
"""
MEND = "import hyperspy_assb.compiled_code"
KINDS = ("cut", "empty", "zeros", "flipped", "text", "pickle")
RIGHT = "42 [0.0, 1.0, 4.0]"


def start(folder: Path, before: str = MEND, cache: Path | None = None) -> subprocess.Popen[str]:
    # Written once: the stamp of numba before 0.63 is the time of the file, not its content.
    if not (folder / "functions.py").exists():
        (folder / "functions.py").write_text(FUNCTIONS)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache or folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    code = USE.format(folder=str(folder), before=before)
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> int:
    """Check the values; returns how many functions came from the cache."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.strip().startswith(RIGHT)
    return int(out.split()[-1])


def cached(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "cache").rglob("*.nb?"))


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """What two processes keep in which symbols, numbered as functions come, differ."""
    folder = tmp_path_factory.mktemp("caches")
    other = f"{MEND}\nimport numba\nnumba.njit(lambda x: x)(1)"
    processes = [start(folder, cache=folder / "cache"), start(folder, before=other, cache=folder / "other")]
    assert [finish(process) for process in processes] == [0, 0]
    return folder


@pytest.fixture
def copy(caches, tmp_path):
    # The same file: what numba keeps is for a path and the content there.
    for path in caches.iterdir():
        if path.is_dir():
            shutil.copytree(path, tmp_path / path.name)
    return lambda **named: start(caches, cache=tmp_path / "cache", **named)


def test_kept_code_is_used(copy, tmp_path):
    # The function, the kernel and the wrapper of the generalised ufunc.
    assert len([path for path in cached(tmp_path) if path.suffix == ".nbc"]) == 3
    assert finish(copy()) == 1


@pytest.mark.parametrize(
    "kinds",
    ["cut flipped empty zeros text pickle", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)],
)
def test_damaged_files(kinds, copy, tmp_path):
    draw = random.Random(kinds)
    for number, path in enumerate(cached(tmp_path)):
        whole = path.read_bytes()
        place = draw.randrange(len(whole) - 60)
        kind = kinds.split()[number % len(kinds.split())]
        path.write_bytes(
            {
                "cut": whole[: len(whole) // 2],
                "empty": b"",
                "zeros": bytes(len(whole)),
                "flipped": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
                "text": b"no cache",
                "pickle": b"\x80\x04N.",
            }[kind]
        )
    assert finish(copy()) == 0
    assert finish(copy()) == 1


def test_wrapper_and_kernel_of_two_processes_are_not_joined(copy, tmp_path):
    for path in (tmp_path / "other").rglob("guf-*"):
        shutil.copy(path, tmp_path / "cache" / path.parent.name)
    assert finish(copy()) == 1


@pytest.mark.slow
def test_three_processes_begin_at_once_with_nothing(tmp_path):
    before = ("{}", "{}\nimport numba\nnumba.njit(lambda x: x)(1)", "{}\nimport numba")
    for process in [start(tmp_path, before=text.format(MEND)) for text in before]:
        finish(process)
    finish(start(tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files")
def test_what_others_may_write_is_not_executed(copy, tmp_path):
    hostile = pickle.dumps(Trap(tmp_path / "ran"))
    for path in cached(tmp_path):
        path.write_bytes(hostile)
        path.chmod(0o666)
    assert finish(copy()) == 0
    assert not (tmp_path / "ran").exists()


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


NOWHERE = """
from numba.core import caching
def refuse(self): raise PermissionError(13, "Permission denied")
caching._CacheLocator.ensure_cache_path = refuse
"""


SETTINGS = ("import functions", MEND)


@pytest.mark.parametrize("first", SETTINGS)
def test_settings_in_the_working_folder_name_no_code(first, tmp_path):
    """Whoever gives a folder of data away may have put settings of numba and compiled code into it."""
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / ".numba_config.yaml").write_text("cache_dir: theirs\n")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    (second,) = set(SETTINGS) - {first}

    def run(before: str) -> None:
        code = USE.format(folder=str(tmp_path), before=before)
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, env=environment, check=True)

    run("")
    indices = list((tmp_path / "theirs").rglob("*.nbi"))
    assert indices
    for path in indices:
        path.write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    run(f"{first}\n{second}")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("where", [pytest.param("nowhere", marks=pytest.mark.slow), "not even in a temporary folder"])
def test_no_folder_can_be_written(where, tmp_path):
    temporary = "import tempfile\ndef none(*a, **k): raise OSError(28, 'No space left')\n"
    temporary += "tempfile.TemporaryDirectory = none\n"
    before = NOWHERE + ("" if where == "nowhere" else temporary) + MEND
    assert finish(start(tmp_path, before=before)) == 0
    assert not cached(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of processes")
def test_a_disk_that_takes_no_more(tmp_path):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    assert finish(start(tmp_path, before=limit + MEND)) == 0
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files")
def test_trust(tmp_path):
    assert may_be_trusted(tmp_path)
    assert not may_be_trusted(tmp_path / "missing")
    tmp_path.chmod(0o777)
    assert not may_be_trusted(tmp_path)
    tmp_path.chmod(0o700)
    if os.geteuid() == 0:
        file = tmp_path / "file"
        file.touch()
        os.chown(file, 12345, 12345)
        assert not may_be_trusted(file)


@pytest.mark.slow
def test_three_cold_starts_of_orix(tmp_path):
    """Several rounds, as the crash needs luck."""
    code = (
        "from hyperspy_assb.acom.crystals.crystal_phase import load_phase; import orix.quaternion as q; "
        "q.Rotation.random(5) * q.Rotation.random(5); load_phase('lfp')"
    )
    for number in range(4):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / str(number))}
        processes = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment) for _ in range(3)]
        assert [process.wait() for process in processes] == [0, 0, 0]


def test_types_are_registered_before_threads_begin():
    # A first call that registered more would end a thread that looks for the type of a value meanwhile.
    code = (
        f"{MEND}\nimport numba, numpy as np\nfrom numba.core.typing.typeof import typeof_impl\n"
        "before = set(typeof_impl.registry)\nnumba.njit(lambda x: x + 1)(np.ones(3))\n"
        "print(set(typeof_impl.registry) - before)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
