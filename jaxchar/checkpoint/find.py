"""Which checkpoints a path means: the newest, the best, that of an epoch, or all of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from jaxchar.ambient import pinned, start_jax, unlike_then
from jaxchar.checkpoint.arrays import read_state
from jaxchar.checkpoint.damage import Damaged, damage_named
from jaxchar.checkpoint.layout import FOLDER, checkpoints_of, is_step, resolved, steps_in
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.record import read_metadata
from jaxchar.checkpoint.weights import read_memory
from jaxchar.errors import JaxcharError, quoted, quoted_path, reason_of
from jaxchar.memory.text_memory import TextMemory

Which = Literal["last", "best"]


class Loaded(NamedTuple):
    """A whole checkpoint that was found, and what was passed over on the way to it."""

    path: Path
    metadata: Metadata
    state: Any
    memory: TextMemory | None  # the text that its model remembers
    warnings: list[str]


@pinned()
def load_checkpoint(
    path: str | Path,
    like: Callable[[Metadata], Any],
    which: Which | None = "last",
    *,
    sorts_memory: bool = False,
) -> Loaded:
    """Load the newest (or best) whole checkpoint that a path means.

    Args:
        path: a run folder, its ``checkpoints`` folder, or one checkpoint's folder.
        like: gives the structure of the state to read, see :func:`jaxchar.checkpoint.arrays.read_state`.
        which: of several, the newest, or the one with the lowest validation loss; None: the latter
            where there is a validation loss, else the former. A damaged one is passed over with a warning.
        sorts_memory: begin to sort the remembered text at once, beside the rest: writing needs it soon.

    Raises:
        JaxcharError: no checkpoint there is whole.
    """
    candidates, passed_over = _candidates(path, which)
    if candidates:
        start_jax()
    for candidate in candidates:
        try:
            metadata = read_metadata(candidate)
            memory = read_memory(candidate, metadata)
            if sorts_memory and memory is not None:
                memory.sort_in_background()
            with damage_named(candidate):
                structure = like(metadata)
            warnings = passed_over + _other_settings(metadata)
            return Loaded(candidate, metadata, read_state(candidate, structure), memory, warnings)
        except Damaged as error:
            passed_over.append(f"{error}; passed over")
    raise JaxcharError(_nothing_found(path, passed_over))


def _other_settings(metadata: Metadata) -> list[str]:
    """Return a warning where this process's compiler settings are not those of the training."""
    changed = unlike_then(metadata.machine.get("compiler_settings"))
    if not changed:
        return []
    settings = " ".join(changed)
    return [f"only one of training and this process has {settings}, so numbers may round differently"]


def peek(path: str | Path) -> Metadata:
    """Return the metadata of the newest checkpoint that a path means, without its arrays.

    Raises:
        JaxcharError: no checkpoint there has whole metadata.
    """
    candidates, passed_over = _candidates(path, "last")
    for candidate in candidates:
        try:
            return read_metadata(candidate)
        except Damaged as error:
            passed_over.append(str(error))
    raise JaxcharError(_nothing_found(path, passed_over))


def checkpoint_of_epoch(run_dir: Path, epoch: int) -> Path:
    """Return the checkpoint of a run that ended an epoch.

    Args:
        run_dir: the run's folder.
        epoch: how many whole epochs were done then.

    Raises:
        JaxcharError: there is none, or none with whole metadata.
    """
    found, damaged = {}, 0
    for checkpoint in checkpoints_of(run_dir):
        try:
            metadata = read_metadata(checkpoint)
        except Damaged:
            damaged += 1
            continue
        if metadata.step == metadata.epoch * metadata.steps_per_epoch:
            found[metadata.epoch] = checkpoint
    if epoch not in found:
        known = ", ".join(map(str, sorted(found))) or "none"
        known += f"; {damaged} more are damaged" if damaged else ""
        raise JaxcharError(
            f"no whole checkpoint in {str(run_dir)!r} ended epoch {epoch}; those kept ended the epochs: "
            f"{known} (--keep-checkpoints says how many stay)"
        )
    return found[epoch]


def all_checkpoints(path: str | Path) -> list[Path]:
    """Return all checkpoints that a path means, newest first, whole or damaged.

    One checkpoint's folder may have any name here.

    Raises:
        JaxcharError: there is none, or the path cannot be used.
    """
    given = resolved(path)
    with _errors_named(path):
        found = _checkpoints_inside(given)
        is_checkpoint = (given / "metadata").is_dir() or (given / "state").is_dir()
    if found:
        return found
    if not is_checkpoint:
        raise JaxcharError(_nothing_found(path, []))
    return [given]


def _candidates(path: str | Path, which: Which | None) -> tuple[list[Path], list[str]]:
    """Return the checkpoints that a path may mean, the preferred one first, and what was passed over."""
    if which is not None and which not in get_args(Which):
        raise JaxcharError(f"--which must be 'last' or 'best', but it is {quoted(which)}")
    given = resolved(path)
    with _errors_named(path):
        if is_step(given.name) and (given / "state").exists():
            return [given], []
        candidates = _checkpoints_inside(given)
    if which == "last":
        return candidates, []
    losses, passed_over = {}, []
    for candidate in candidates:
        try:
            losses[candidate] = read_metadata(candidate).validation_loss
        except Damaged as error:
            passed_over.append(f"{error}; passed over")
    # The newest comes first among equals, and so where nothing was validated.
    return sorted(losses, key=losses.__getitem__), passed_over


def _checkpoints_inside(folder: Path) -> list[Path]:
    """Return the checkpoints in a run folder or in a ``checkpoints`` folder, newest first."""
    inside = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    return [inside / str(step) for step in steps_in(inside)]


@contextmanager
def _errors_named(path: str | Path) -> Iterator[None]:
    """Turn an error of the file system into a JaxcharError that names the path as it was given."""
    try:
        yield
    except OSError as error:
        raise JaxcharError(f"the path {quoted_path(path)} cannot be used: {reason_of(error)}") from error


def _nothing_found(path: str | Path, passed_over: list[str]) -> str:
    damaged = f" that is whole ({'; '.join(passed_over)})" if passed_over else ""
    folders = f"give a run folder, its {FOLDER} folder, or one checkpoint's folder"
    if Path(path).is_file():
        folders += "; of the file of a model, jaxchar import makes a run"
    return f"no checkpoint{damaged} in {quoted_path(path)}; {folders}"
