"""Write a checkpoint with Orbax, and keep Orbax quiet: it logs every save, and configures the host's logging.

This module is the only one that uses Orbax.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from absl import logging as absl_logging

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.record import describe, make_record


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


with quiet():
    import orbax.checkpoint as ocp


@quiet()
def write_checkpoint(checkpoint: Path, leaves: dict[str, np.ndarray], metadata: Metadata) -> None:
    """Write a checkpoint; it appears under its name in one move, once it is complete.

    Args:
        checkpoint: its folder, an absolute path; an older one of that name is replaced.
        leaves: the state's arrays, by the names of :func:`jaxchar.checkpoint.arrays.named_leaves`.
        metadata: what is known of the run at this step.

    Raises:
        Exception: of many kinds, from Orbax and TensorStore.
    """
    record = make_record(metadata, {name: describe(leaf) for name, leaf in leaves.items()})
    arguments = ocp.args.Composite(state=ocp.args.PyTreeSave(leaves), metadata=ocp.args.JsonSave(record))
    handler = ocp.CompositeCheckpointHandler(
        state=_array_handler(),
        metadata=ocp.JsonCheckpointHandler(multiprocessing_options=_this_process_alone()),
        composite_options=ocp.CompositeOptions(multiprocessing_options=_this_process_alone()),
    )
    with ocp.Checkpointer(handler, multiprocessing_options=_this_process_alone()) as checkpointer:
        checkpointer.save(checkpoint, args=arguments, force=True)


def _array_handler() -> ocp.PyTreeCheckpointHandler:
    return ocp.PyTreeCheckpointHandler(
        use_ocdbt=False, use_compression=False, multiprocessing_options=_this_process_alone()
    )


def _this_process_alone() -> ocp.options.MultiprocessingOptions:
    """Keep Orbax from waiting for the run's other processes, which take no part in a save or a read."""
    this = jax.process_index()
    prefix = f"process-{this}"
    return ocp.options.MultiprocessingOptions(this, active_processes={this}, barrier_sync_key_prefix=prefix)
