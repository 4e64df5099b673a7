from __future__ import annotations

import threading
import time

import pytest

from hyperspy_assb.fitting.spectra.threads import in_threads


def test_all_items_are_worked_on_once():
    done = []
    in_threads(lambda begin, end: done.extend(range(begin, end)), 100, 2, block=7)
    assert sorted(done) == [*range(100)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_begun_after_an_error(error):
    begun, lock = [], threading.Lock()

    def work(begin, end):
        with lock:
            begun.append(begin)
        if begin == 3:
            raise error
        time.sleep(0.02)

    with pytest.raises(error):
        in_threads(work, 200, 2, block=1)
    assert len(begun) < 20
