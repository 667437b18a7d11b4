"""The lock of a run's folder: one process at a time may write checkpoints into it.

The operating system holds the lock, so it ends with the process, even if that is killed.
"""

import fcntl
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from jaxchar.errors import JaxcharError

LOCK = ".lock"


def lock_folder(run_dir: Path, *, use_lock: bool = True) -> IO[str]:
    """Lock a run's folder until the returned file is closed; both are made if they do not exist.

    Args:
        run_dir: the run's folder.
        use_lock: False where the file system has no locks; then the file is opened and not locked.

    Raises:
        JaxcharError: another process has the lock, the folder cannot be written to, or the file system
            has no locks.
    """
    with ExitStack() as on_error:
        file = on_error.enter_context(_open(run_dir))
        if use_lock:
            _lock(file, run_dir)
        on_error.pop_all()
    return file


def _open(run_dir: Path) -> IO[str]:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        return (run_dir / LOCK).open("a+", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise JaxcharError(f"cannot write to --run-dir {str(run_dir)!r}: {error}") from error


def _lock(file: IO[str], run_dir: Path) -> None:
    """Lock an open file, and write this process's number into it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise JaxcharError(
            f"process {file.read().strip()} is training in {str(run_dir)!r}; wait for it, stop it, or give "
            "another --run-dir"
        ) from error
    except OSError as error:
        raise JaxcharError(
            f"--run-dir {str(run_dir)!r} cannot be locked on this file system ({error.strerror}), so nothing "
            "would keep a second process from the run; give a folder on another disk, or add --no-lock and "
            "make sure that only one process uses the folder"
        ) from error
    with suppress(OSError):  # a full disk: the lock holds all the same
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
