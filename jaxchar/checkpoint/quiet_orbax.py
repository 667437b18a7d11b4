"""Import Orbax, and keep it quiet: it logs every save, and configures the host's logging for that.

This module and :mod:`jaxchar.checkpoint.arrays` are the only ones that use Orbax.
"""

import contextlib
import gc
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator

from absl import logging as absl_logging


class _WithoutOrbax(logging.Filter):
    """Drops Orbax's log records below errors; those of all others pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or "orbax" not in record.pathname


class _Quiet:
    """The logging to restore when the last of several calls of Orbax, in any threads, has ended."""

    lock = threading.Lock()
    calls = 0
    handlers: list[logging.Handler] = []  # noqa: RUF012 - of the root logger, before the first call
    level = logging.NOTSET
    filter = _WithoutOrbax()

    @classmethod
    def begin(cls) -> None:
        with cls.lock:
            if cls.calls == 0:
                cls.handlers, cls.level = list(logging.root.handlers), logging.root.level
                absl_logging.get_absl_logger().addFilter(cls.filter)
            cls.calls += 1

    @classmethod
    def end(cls) -> None:
        with cls.lock:
            cls.calls -= 1
            if cls.calls:
                return
            absl_logging.get_absl_logger().removeFilter(cls.filter)
            if not cls.handlers and logging.root.level == cls.level:
                for handler in filter(_is_absls, list(logging.root.handlers)):
                    logging.root.removeHandler(handler)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Log only errors of Orbax until the block ends, and leave logging as it was before.

    Orbax logs through absl, which adds a handler to a root logger that has none.
    """
    _Quiet.begin()
    try:
        yield
    finally:
        _Quiet.end()


def _is_absls(handler: logging.Handler) -> bool:
    """Whether a handler is one that ``logging.basicConfig()`` adds, without arguments."""
    is_plain = type(handler) is logging.StreamHandler and handler.stream in (sys.stderr, sys.__stderr__)
    return is_plain and getattr(handler.formatter, "_fmt", None) == logging.BASIC_FORMAT


def forget_reads_of(error: BaseException) -> None:
    """Free the unfinished reads that an error of Orbax holds; else Python warns that none awaits them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"coroutine .* was never awaited", RuntimeWarning)
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error.__traceback__ = None
            error = error.__cause__ or error.__context__  # type: ignore[assignment]
        gc.collect()


with quiet():
    import orbax.checkpoint as ocp

__all__ = ["forget_reads_of", "ocp", "quiet"]
