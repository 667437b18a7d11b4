"""Several processes that train one model together, on one machine or on many; a single one is the usual case.

Each runs the same program on the same text, with its own devices in one common mesh. The first writes the
run's folder and talks; the others compute. What a clock or a signal decides is agreed on first.
"""

import contextlib
import hashlib
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxchar.errors import JaxcharError


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Meet the other processes of a run, before JAX is first used.

    Args:
        coordinator: HOST:PORT on which process 0 can be reached; None leaves everything to what the
            launcher (Slurm, Open MPI, Cloud TPU, ...) says in the environment.
        num_processes: how many there are.
        process_id: which of them this one is, from 0.

    Raises:
        JaxcharError: they could not meet.
    """
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise JaxcharError(
            f"the processes of this run could not meet: {reason}; give --coordinator HOST:PORT, "
            "--num-processes and --process-id, or start them with a launcher that JAX knows"
        ) from error


def is_first() -> bool:
    """Return whether this process is the one that writes and talks."""
    return jax.process_index() == 0


def agree(*values: int) -> tuple[int, ...]:
    """Return the largest of what the processes say, for each of some values; all must call this together."""
    if jax.process_count() == 1:
        return values
    said = multihost_utils.process_allgather(np.array(values, np.int32))
    return tuple(int(value) for value in said.max(axis=0))


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """Let no process go on from a block before all have come to its end; if one fails there, all fail.

    Raises:
        JaxcharError: another process has failed.
    """
    try:
        yield
    except BaseException:
        agree(True)
        raise
    (failed,) = agree(False)
    if failed:
        raise JaxcharError("another process of this run could not go on; what it says will tell why")


def agreed_text(text: str) -> str:
    """Return the first process's text; all processes must call this together."""
    if jax.process_count() == 1:
        return text
    (length,) = agree(len(text.encode()))
    mine = np.zeros(length, np.uint8)
    mine[: len(text.encode())] = np.frombuffer(text.encode(), np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(mine)).rstrip(b"\0").decode()


def check_same_in_all(what: str) -> None:
    """Raise a JaxcharError unless all processes give the same text."""
    digest = int.from_bytes(hashlib.sha256(what.encode()).digest()[:4], "big") >> 1
    if agree(digest, -digest) != (digest, -digest):
        raise JaxcharError(
            "the processes of this run differ in their settings, text, library versions or C++ compiler; "
            "start all of them with the same"
        )
