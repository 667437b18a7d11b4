"""Write the checkpoints of one run: by one process, whole, and read back.

A checkpoint appears under its name in one move, once it is complete. It is read back before an older one
is deleted.
"""

import math
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from jaxchar.checkpoint.arrays import MEMORY, named_leaves, verify
from jaxchar.checkpoint.damage import first_line
from jaxchar.checkpoint.layout import FOLDER, resolved, steps_in
from jaxchar.checkpoint.lock import lock_folder
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.orbax_save import write_checkpoint
from jaxchar.checkpoint.record import read_metadata
from jaxchar.errors import JaxcharError

LEFTOVERS = ("*.orbax-checkpoint-tmp*", "*.deleted")  # of saves and deletions that were cut short


class CheckpointStore:
    """The checkpoints of one run, and the right to write them: no two processes have it at once.

    Used as a context manager; leaving it waits for the last save.
    """

    def __init__(self, run_dir: Path, *, lock: bool = True) -> None:
        """Name the store of a run's folder, which need not exist yet.

        Args:
            run_dir: the run's folder.
            lock: False where the file system has no locks; then nothing keeps other processes out.

        Raises:
            JaxcharError: nothing can be stored under such a path.
        """
        self.run_dir = Path(run_dir)
        self.folder = resolved(self.run_dir) / FOLDER
        self._use_lock = lock
        self.last_error: str | None = None  # why the newest save that ended has failed, if it has
        self.newest_step: int | None = None  # of the newest checkpoint that was saved and read back
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._saving: Future[None] | None = None

    def __enter__(self) -> Self:
        """Take the right to write.

        Raises:
            JaxcharError: another process has it, the folder cannot be written to, or not be locked.
        """
        self._lock_file = lock_folder(self.run_dir, use_lock=self._use_lock)
        for pattern in LEFTOVERS:
            for leftover in self.folder.glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the last save, and give the right back."""
        self._writer.shutdown(wait=True)
        self._lock_file.close()

    def save(self, state: Any, metadata: Metadata, remembered: np.ndarray | None = None) -> None:
        """Write a checkpoint, named after its step; a failed save leaves the older ones alone.

        The state is copied, so the caller may donate it at once. When the save has ended, ``newest_step``
        and ``last_error`` tell how. The settings in the metadata say whether to wait for it, and how many
        older checkpoints stay.

        Args:
            state: a pytree of arrays.
            metadata: what is known of the run.
            remembered: [N], the ids of a text that the model remembers, which nobody changes; None: none.
        """
        self.wait()
        leaves = {name: np.array(leaf) for name, leaf in named_leaves(state).items()}
        if remembered is not None:
            leaves[MEMORY] = remembered
        self._saving = self._writer.submit(self._save, leaves, metadata)
        if not metadata.config.save_in_background:
            self.wait()

    def wait(self) -> None:
        """Wait until the save under way, if there is one, has ended."""
        if self._saving is not None:
            self._saving.result()
            self._saving = None

    def _save(self, leaves: dict[str, np.ndarray], metadata: Metadata) -> None:
        checkpoint = self.folder / str(metadata.step)
        try:
            write_checkpoint(checkpoint, leaves, metadata)
            verify(checkpoint)
        except Exception as error:  # Orbax and TensorStore raise many kinds for a full disk alone
            for worthless in (checkpoint, *self.folder.glob(f"{checkpoint.name}.*")):
                shutil.rmtree(worthless, ignore_errors=True)
            self.last_error = (
                f"the checkpoint of step {metadata.step:,} could not be saved: {first_line(error)}"
            )
            return
        self.last_error, self.newest_step = None, metadata.step
        if metadata.config.keep_checkpoints:
            self._delete_old(metadata.config.keep_checkpoints)

    def _delete_old(self, keep: int) -> None:
        """Delete the checkpoints that are neither among the newest ``keep`` whole ones nor the best."""
        losses = {}
        for step in steps_in(self.folder):
            with suppress(JaxcharError):
                losses[step] = read_metadata(self.folder / str(step)).validation_loss
        best = min(losses, key=losses.__getitem__)
        staying = {*sorted(losses)[-keep:], *([best] if losses[best] < math.inf else [])}
        for step in losses.keys() - staying:
            doomed = self.folder / f"{step}.deleted"  # half deleted, it must not look like a checkpoint
            with suppress(OSError):
                (self.folder / str(step)).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


class ReadOnlyStore(CheckpointStore):
    """The store of a process that computes along and leaves the writing to another."""

    def __enter__(self) -> Self:
        """Take no right to write."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give no right back."""

    def save(self, state: Any, metadata: Metadata, remembered: np.ndarray | None = None) -> None:
        """Write nothing; the other process does."""
        self.newest_step = metadata.step
