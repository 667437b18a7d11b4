"""Signals that ask to stop: a run that trains notes them, and saves; elsewhere they end the program.

SIGQUIT (Ctrl and backslash) stays as it is: it ends a program that hangs, at once and without saving.
"""

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Ctrl-C and kill. Who repeats one of these does not want to wait for a save.
INSISTING = (signal.SIGINT, signal.SIGTERM)
# And a terminal that is closed, and the warnings that batch systems send before a time limit.
STOP_SIGNALS = (*INSISTING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
# Two signals within this time are one request: `timeout` signals a process and then its group, wrappers
# pass Ctrl-C on to a child that has had it from the terminal, too.
ONE_REQUEST_SECONDS = 0.5


def name_of(number: int) -> str:
    """Return what a user calls a signal: Ctrl-C, SIGTERM, ..."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


@contextlib.contextmanager
def stop_requests(
    announce: Callable[[int], None], leave: Callable[[], None] | None
) -> Iterator[Callable[[], int]]:
    """Take note of the signals that ask to stop instead of dying of them.

    Args:
        announce: called at once with the number of the first signal, in a thread of its own.
        leave: called when Ctrl-C or SIGTERM is repeated, before the process ends at once; None where the
            process is not ours to end: the repeated signal raises KeyboardInterrupt or SystemExit then.

    Yields a function that returns the number of the first signal received, or 0. Outside the main thread,
    where Python lets nobody handle signals, it is always 0.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    watcher = _Watcher(announce, leave)
    with _handled(watcher.note), watcher:
        yield lambda: watcher.first


@contextlib.contextmanager
def leaving_at_once() -> Iterator[None]:
    """Let the signals that ask to stop end the program with exit code 128 + number, without a save."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handled(_leave_at_once):
        yield


@contextlib.contextmanager
def after_this() -> Iterator[None]:
    """Let a signal that would leave at once wait until the work of this block has ended.

    An exception that comes up inside of JAX while it compiles leaves an interpreter that dies of a
    segmentation fault when it ends.
    """
    free = threading.current_thread() is threading.main_thread()
    waiting: list[int] = []

    def note(number: int, frame: Any) -> None:
        del frame
        waiting.append(number)

    numbers = [n for n in STOP_SIGNALS if free and signal.getsignal(n) is _leave_at_once]
    for number in numbers:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, _leave_at_once)
        if waiting:
            _leave_at_once(waiting[0], None)


def _leave_at_once(number: int, frame: Any) -> None:
    del frame
    with contextlib.suppress(Exception):  # nobody may be there to read it
        print(f"{name_of(number)}: stopped; nothing had to be saved", file=sys.stderr)
    raise SystemExit(128 + number)


# ---- handlers ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Let a function handle the stop signals that are free for it; then put back what was there."""
    before = {number: signal.signal(number, handler) for number in STOP_SIGNALS if _is_free(number)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _is_free(number: int) -> bool:
    """Whether a signal would end the process: it is not ignored, and the host has no other use for it."""
    handler = signal.getsignal(number)
    if handler is signal.SIG_IGN:  # as nohup and `trap '' TERM` ask for
        return False
    if number in INSISTING or handler is _leave_at_once:
        return True
    return handler is signal.SIG_DFL and not _is_caught_in_c(number)


def _is_caught_in_c(number: int) -> bool:
    """Whether a handler is installed that Python's table does not show, as faulthandler.register does."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
    except (OSError, ValueError, IndexError):  # no Linux
        return False
    return bool(caught >> (number - 1) & 1)


class _Watcher:
    """A thread that sees every signal as it comes.

    Python runs its handlers only between two bytecodes, so not while XLA compiles or computes. A thread
    that reads the numbers of the signals from a pipe is not bound to that.
    """

    def __init__(self, announce: Callable[[int], None], leave: Callable[[], None] | None) -> None:
        self.first = 0  # number of the first signal that asked to stop
        self._announce, self._leave = announce, leave
        self._insisted_at: float | None = None  # when Ctrl-C or SIGTERM first came
        self._insists = False  # whether one of them came again
        self._threads: list[threading.Thread] = []

    def note(self, number: int, frame: Any) -> None:
        """Handle a signal in Python; that it came may be known already."""
        del frame
        self.first = self.first or number
        if self._insists:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    def __enter__(self) -> None:
        self._numbers, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup)
        self._start(self._watch)

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._wakeup)  # the thread reads the end, and ends
        for thread in self._threads:
            thread.join()
        os.close(self._numbers)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _watch(self) -> None:
        announced = False
        while byte := os.read(self._numbers, 1):
            number = byte[0]
            if number not in STOP_SIGNALS:
                continue
            if not announced:
                announced = True
                self._start(lambda number=number: self._announce(number))  # type: ignore[misc]
            if number in INSISTING and not self._insists and self._is_repeated():
                self._insist(number)

    def _is_repeated(self) -> bool:
        """Whether Ctrl-C or SIGTERM, which has come now, had come before."""
        now = time.monotonic()
        if self._insisted_at is None:
            self._insisted_at = now
        return now - self._insisted_at >= ONE_REQUEST_SECONDS

    def _insist(self, number: int) -> None:
        if self._leave is not None:
            try:
                self._leave()
            finally:
                os._exit(128 + number)
        self._insists = True
        _thread.interrupt_main(signal.Signals(number))
