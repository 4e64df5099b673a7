"""Progress of long calls: functions on arrays count what they have done, and the call that the user made shows it.

Who counts does not know whether a bar, a stage of the command or nothing at all is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TypeVar

Report = Callable[[str, int, int], object]
"""Called with a step, what is done and how much there is (0: unknown)."""

T = TypeVar("T")
_report: ContextVar[Report | None] = ContextVar("report", default=None)
_step: ContextVar[str] = ContextVar("step", default="")


@contextmanager
def progress_bar(step: str, show: bool | None = None, report: Report | None = None) -> Iterator[Report]:
    """Show what is counted inside: one bar, whose steps follow each other.

    Parameters
    ----------
    step
        Name of what is counted without a name of its own.
    show
        Whether there is a bar; None: HyperSpy's preference. Inside another call that shows its progress, that one goes
        on.
    report
        Called instead of a bar.

    Yields
    ------
    callable
        To report directly, with step, done and total.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, also where compiled code turns that into an error of its own.

    Examples
    --------
    >>> with progress_bar("fit", report=lambda step, done, total: print(step, done, total)):
    ...     squares = [n**2 for n in counted([1, 2], 2)]
    fit 0 2
    fit 1 2
    fit 2 2
    """
    report = report or _report.get()
    with ExitStack() as stack:
        if report is None and _wanted(show):
            report = _Bar(stack, step)
        # Where nothing is shown, calls inside show nothing either.
        report = report or _in_silence
        token, name = _report.set(report), _step.set(step)
        try:
            yield report
        except SystemError as error:
            # What becomes of Ctrl-C while compiled code is called.
            cause: BaseException | None = error
            while isinstance(cause, SystemError):
                cause = cause.__cause__
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        finally:
            _report.reset(token)
            _step.reset(name)


@contextmanager
def counting(
    step: str, total: int, show: bool | None = None, instead: Callable[[int], object] | None = None
) -> Iterator[Callable[[int], object]]:
    """As :func:`progress_bar`, of one step; yields what is called with the number of items just finished.

    Parameters
    ----------
    step, show
        As for :func:`progress_bar`.
    total
        Number of items.
    instead
        Yielded as it is: somebody else shows the progress.
    """
    if instead is not None:
        yield instead
        return
    with progress_bar(step, show) as report:
        finished = 0

        def advance(count: int) -> None:
            nonlocal finished
            finished += count
            report(step, finished, total)

        advance(0)
        yield advance


def counted(
    items: Iterable[T], total: int, step: str = "", *, size: Callable[[T], int] = lambda item: 1
) -> Iterator[T]:
    """Items one after the other, each of which counts as done when the next one is asked for.

    Parameters
    ----------
    items
        Such as blocks of spectra, or frames.
    total
        What their sizes add up to.
    step
        Name of what is done with them; that of the call by default.
    size
        Of an item.
    """
    report, step, done = _report.get(), step or _step.get(), 0
    if report is None:
        yield from items
        return
    report(step, 0, total)
    for item in items:
        yield item
        done += size(item)
        report(step, done, total)


def _in_silence(step: str, done: int, total: int) -> None:
    """Report nothing."""


class _Bar:
    """A bar of tqdm, which begins again with each step."""

    def __init__(self, stack: ExitStack, step: str) -> None:
        from tqdm.auto import tqdm

        self.bar = stack.enter_context(tqdm(desc=step))
        self.step = step

    def __call__(self, step: str, done: int, total: int) -> None:
        bar = self.bar
        if step != self.step:
            self.step = step
            bar.set_description(step, refresh=False)
        if (total or None) != bar.total or done < bar.n:
            bar.reset(total or None)
        bar.update(done - bar.n)


def _wanted(show: bool | None) -> bool:
    # Below signals nothing imports HyperSpy; who uses it has it loaded.
    hyperspy = sys.modules.get("hyperspy.defaults_parser")
    if show is not None or hyperspy is None:
        return show is not False
    return bool(hyperspy.preferences.General.show_progressbar)
