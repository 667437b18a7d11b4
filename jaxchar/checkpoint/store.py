"""Checkpoints: a whole training state and all that is needed to understand it, or nothing.

The only room that knows Orbax. A checkpoint is a folder named after its step:

    runs/mine/checkpoints/2000/state      every array in a folder of its own name, as uncompressed Zarr
    runs/mine/checkpoints/2000/metadata   JSON: configuration, vocabulary, corpus, versions, metrics,
                                          and the SHA-256 of every array and of the metadata itself

It appears under its name in one move, once it is complete; it is read back before an older one may go.
No pickle, no code: what is read is numbers and JSON, and it is checked before it is used.
"""

import fcntl
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Self, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.ambient import pinned, start_jax, unlike_then
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.quiet_orbax import forget_reads_of, ocp, quiet
from jaxchar.errors import JaxcharError, quoted, quoted_path, reason_of
from jaxchar.paths import refuse_rewritten, refuse_urls

# 2: arrays are stored uncompressed, one folder each, so that the room they take on disk is theirs by
# right. (1 was never released.)
FORMAT_VERSION = 2
FOLDER = "checkpoints"
LOCK = ".lock"
MOST_METADATA_BYTES = 1 << 26  # a vocabulary of all Unicode takes a fifth of it
LEFTOVERS = ("*.orbax-checkpoint-tmp*", "*.deleted")  # of saves and deletions that were cut short
ARRAY_NAME = re.compile(r"\w[\w.-]*", re.ASCII)

Which = Literal["last", "best"]


class Damaged(JaxcharError):
    """A checkpoint is not what was saved."""


# ---- writing -------------------------------------------------------------------------------------


class CheckpointStore:
    """The checkpoints of one run, and the right to write them: no two processes have it at once.

    Used as a context manager; leaving it waits for the last save. The right is a lock that the
    operating system holds, so that it dies with a process that is killed.
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
        self.folder = _resolved(self.run_dir) / FOLDER
        self._locks = lock
        self.problem: str | None = None  # why the newest save that ended has failed, if it has
        self.newest_step: int | None = None  # of the newest checkpoint that was saved and read back
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._saving: Future[None] | None = None

    def __enter__(self) -> Self:
        """Take the right to write.

        Raises:
            JaxcharError: another process has it, the folder cannot be written to, or not be locked.
        """
        with ExitStack() as unless_locked:
            self._lock = unless_locked.enter_context(_lock_file(self.run_dir))
            if self._locks:
                _lock(self._lock, self.run_dir)
            unless_locked.pop_all()
        for pattern in LEFTOVERS:
            for leftover in self.folder.glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the last save, and give the right back."""
        self._writer.shutdown(wait=True)
        self._lock.close()

    def save(self, state: Any, metadata: Metadata) -> None:
        """Write a checkpoint, named after its step; a failed save leaves the older ones alone.

        The state is copied, so it may be given away at once. What has become of the save is told by
        ``newest_step`` and ``problem`` when it has ended. Whether it is waited for, and how many older
        checkpoints stay, the settings in the metadata say.
        """
        self.wait()
        leaves = {name: np.array(leaf) for name, leaf in named_leaves(state).items()}
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
            _write(checkpoint, leaves, metadata)
            verify(checkpoint)
        except Exception as error:  # Orbax and TensorStore raise many kinds for a full disk alone
            for worthless in (checkpoint, *self.folder.glob(f"{checkpoint.name}.*")):
                shutil.rmtree(worthless, ignore_errors=True)
            self.problem = (
                f"the checkpoint of step {metadata.step:,} could not be saved: {_first_line(error)}"
            )
            return
        self.problem, self.newest_step = None, metadata.step
        if metadata.config.keep_checkpoints:
            self._delete_old(metadata.config.keep_checkpoints)

    def _delete_old(self, keep: int) -> None:
        """Delete the checkpoints that are neither among the newest ``keep`` whole ones nor the best."""
        losses = {}
        for step in steps_in(self.folder):
            with suppress(JaxcharError):
                losses[step] = _validation_loss(read_metadata(self.folder / str(step)))
        best = min(losses, key=losses.__getitem__)
        staying = {*sorted(losses)[-keep:], *([best] if losses[best] < math.inf else [])}
        for step in losses.keys() - staying:
            doomed = self.folder / f"{step}.deleted"  # half deleted, it must not look like a checkpoint
            with suppress(OSError):
                (self.folder / str(step)).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


class WatchedStore(CheckpointStore):
    """The checkpoints of a run as a process sees them that leaves the writing to another."""

    def __enter__(self) -> Self:
        """Take no right to write."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give no right back."""

    def save(self, state: Any, metadata: Metadata) -> None:
        """Leave it to the one that writes."""
        self.newest_step = metadata.step


def _resolved(path: str | Path) -> Path:
    """Return an absolute path, less links, that Orbax and TensorStore can do with.

    Raises:
        JaxcharError: they cannot.
    """
    refuse_urls(path, "the path")
    try:
        resolved = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise JaxcharError(f"the path {quoted_path(path)} cannot be used: {reason_of(error)}") from error
    refuse_rewritten(resolved)
    return resolved


def _lock_file(run_dir: Path) -> IO[str]:
    """Open the file that the lock of a run's folder is on; both are made if they are not there."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        return (run_dir / LOCK).open("a+", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise JaxcharError(f"cannot write to --run-dir {str(run_dir)!r}: {error}") from error


def _lock(file: IO[str], run_dir: Path) -> None:
    """Lock a run's folder until the file is closed, and leave this process's number in it."""
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


@quiet()
def _write(checkpoint: Path, leaves: dict[str, np.ndarray], metadata: Metadata) -> None:
    record = {"format": FORMAT_VERSION, **metadata.to_json(), "leaves": _describe(leaves)}
    record["sha256"] = _digest_of_json(record)
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


def _validation_loss(metadata: Metadata) -> float:
    """Return a checkpoint's validation loss; infinite where it has none, or none that is a number."""
    loss = metadata.metrics.get("val_loss", math.inf)
    return math.inf if math.isnan(loss) else loss


# ---- reading -------------------------------------------------------------------------------------


def steps_in(folder: Path) -> list[int]:
    """Return the steps that a checkpoint folder has a folder for, newest first, sound or not."""
    if not folder.is_dir():
        return []
    folders = (path for path in folder.iterdir() if path.is_dir())
    return sorted((int(path.name) for path in folders if _is_step(path.name)), reverse=True)


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name[:20])) == name


def read_metadata(checkpoint: Path) -> Metadata:
    """Return a checkpoint's metadata, verified.

    Raises:
        Damaged: it is missing, altered or not a checkpoint's.
        JaxcharError: another version of jaxchar wrote it, in a format that this one cannot read.
    """
    record = _read_record(checkpoint)
    with _damage_named(checkpoint):
        return Metadata.from_json(record)


@pinned()
def read_state(checkpoint: Path, like: Any) -> Any:
    """Return a checkpoint's arrays in the structure of ``like``, every one verified.

    They are laid on the default device, whatever devices they were saved from.

    Args:
        checkpoint: one checkpoint's folder.
        like: the state's structure, with arrays or ``jax.ShapeDtypeStruct`` as leaves; it may be a
            part of what was saved.

    Raises:
        Damaged: an array is missing, altered, or of another shape than ``like`` has.
    """
    record = _read_record(checkpoint)
    wanted = named_leaves(like)
    with _damage_named(checkpoint):
        for name, leaf in wanted.items():
            saved = record["leaves"].get(name)
            if saved is None:
                raise Damaged(f"it has no array {name} (it was written with {record['versions']})")
            if (tuple(saved["shape"]), saved["dtype"]) != (leaf.shape, leaf.dtype.name):
                raise Damaged(
                    f"{name} is {saved['dtype']}{saved['shape']}, expected {leaf.dtype.name}"
                    f"{list(leaf.shape)}"
                )
        arrays = _read_arrays(checkpoint, record, wanted)
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.array(arrays[name]) for name in wanted])


class Verified(NamedTuple):
    """What a checkpoint that is whole amounts to."""

    arrays: int
    num_bytes: int


def verify(checkpoint: Path) -> Verified:
    """Read everything in a checkpoint and compare it with its SHA-256.

    Raises:
        Damaged: something is missing or altered.
        JaxcharError: another version of jaxchar wrote it, in a format that this one cannot read.
    """
    record = _read_record(checkpoint)
    with _damage_named(checkpoint):
        Metadata.from_json(record)
        arrays = _read_arrays(checkpoint, record, record["leaves"])
        return Verified(len(arrays), sum(array.nbytes for array in arrays.values()))


def _read_record(checkpoint: Path) -> dict[str, Any]:
    with _damage_named(checkpoint):
        file = checkpoint / "metadata" / "metadata"
        _refuse_outside(checkpoint, file)
        if file.stat().st_size > MOST_METADATA_BYTES:
            raise Damaged(f"its metadata has {file.stat().st_size:,} bytes, more than any checkpoint's")
        record = json.loads(file.read_text(encoding="utf-8"))
        found = record.pop("sha256")
        if found != _digest_of_json(record):
            raise Damaged("its metadata does not match its SHA-256")
        written = int(record["format"])
    if written != FORMAT_VERSION:
        remedy = "upgrade jaxchar" if written > FORMAT_VERSION else "it was never released; train anew"
        raise JaxcharError(
            f"checkpoint {str(checkpoint)!r} has format {written}, and this jaxchar reads format "
            f"{FORMAT_VERSION}; {remedy}"
        )
    return record


@quiet()
def _read_arrays(checkpoint: Path, record: dict[str, Any], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the named arrays, each the one that the record describes."""
    folder = checkpoint / "state"
    for name in names:
        _refuse_unfounded(checkpoint, folder / _safe(name), record["leaves"][name])
    as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    arguments = ocp.args.PyTreeRestore(dict.fromkeys(names, 0), restore_args=as_numpy, partial_restore=True)
    options = _this_process_alone()
    try:
        with ocp.Checkpointer(_array_handler(), multiprocessing_options=options) as checkpointer:
            arrays = checkpointer.restore(folder.resolve(), args=arguments)
    except Exception as error:  # Orbax and TensorStore raise many kinds for the same damage
        reason = _first_line(error)
        forget_reads_of(error)
        raise Damaged(reason) from None
    for name in names:
        saved = record["leaves"][name]
        described = {"shape": list(arrays[name].shape), "dtype": arrays[name].dtype.name}
        if {**described, "sha256": _digest_of_array(arrays[name])} != saved:
            raise Damaged(f"{name} does not match its SHA-256")
    return arrays


def _safe(name: str) -> str:
    if ARRAY_NAME.fullmatch(name) is None:
        raise Damaged(f"it names an array {name!r}, which is no name")
    return name


def _refuse_unfounded(checkpoint: Path, folder: Path, saved: dict[str, Any]) -> None:
    """Refuse an array that would take more memory than its files take on disk, before it takes any."""
    files = [file for file in folder.rglob("*") if not file.is_dir()]
    for file in (folder, *files):
        _refuse_outside(checkpoint, file)
    zarr = json.loads((folder / ".zarray").read_text(encoding="utf-8"))
    claimed = math.prod(saved["shape"]) * np.dtype(saved["dtype"]).itemsize
    stored = sum(file.stat().st_size for file in files)
    plain = zarr["compressor"] is None and not zarr["filters"]
    chunks_fit = math.prod(zarr["chunks"]) <= math.prod(saved["shape"])
    if zarr["shape"] != saved["shape"] or not plain or not chunks_fit or not 0 <= claimed <= stored:
        raise Damaged(
            f"{folder.name} claims {claimed:,} bytes as {saved['dtype']}{saved['shape']} and has {stored:,}"
        )


def _refuse_outside(checkpoint: Path, path: Path) -> None:
    """Refuse a path that a symbolic link leads out of the checkpoint."""
    if not path.resolve(strict=True).is_relative_to(checkpoint.resolve()):
        raise Damaged(f"{path.name} lies outside of it, at {str(path.resolve())!r}")


@contextmanager
def _damage_named(checkpoint: Path) -> Iterator[None]:
    """Turn whatever goes wrong in reading a checkpoint into one line that names it."""
    try:
        yield
    except JaxcharError as error:
        raise Damaged(f"checkpoint {str(checkpoint)!r} is damaged: {error}") from error
    except Exception as error:  # Orbax and TensorStore raise many kinds for the same damage
        raise Damaged(f"checkpoint {str(checkpoint)!r} is damaged: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


# ---- finding -------------------------------------------------------------------------------------


class Loaded(NamedTuple):
    """A checkpoint that was looked for and is whole, and what was passed over on the way to it."""

    path: Path
    metadata: Metadata
    state: Any
    warnings: list[str]


@pinned()
def load_checkpoint(
    path: str | Path, like: Callable[[Metadata], Any], which: Which | None = "last"
) -> Loaded:
    """Load the newest (or best) whole checkpoint that a path means.

    Args:
        path: a run folder, its ``checkpoints`` folder, or one checkpoint's folder.
        like: gives the structure of the state to read, see :func:`read_state`.
        which: of several, the newest, or the one with the lowest validation loss; None: the latter
            where there is a validation loss, else the former. A damaged one is passed over with a warning.

    Raises:
        JaxcharError: no checkpoint there is whole.
    """
    candidates, passed_over = _candidates(path, which)
    if candidates:
        start_jax()
    for candidate in candidates:
        try:
            metadata = read_metadata(candidate)
            with _damage_named(candidate):
                structure = like(metadata)
            warnings = passed_over + _other_settings(metadata)
            return Loaded(candidate, metadata, read_state(candidate, structure), warnings)
        except Damaged as error:
            passed_over.append(f"{error}; passed over")
    raise JaxcharError(_nothing_found(path, passed_over))


def _other_settings(metadata: Metadata) -> list[str]:
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


def _candidates(path: str | Path, which: Which | None) -> tuple[list[Path], list[str]]:
    """Return the checkpoints that a path may mean, the preferred one first, and passed_over."""
    if which is not None and which not in get_args(Which):
        raise JaxcharError(f"--which must be 'last' or 'best', but it is {quoted(which)}")
    given = _resolved(path)
    try:
        if _is_step(given.name) and (given / "state").exists():
            return [given], []
        folder = given / FOLDER if (given / FOLDER).is_dir() else given
        candidates = [folder / str(step) for step in steps_in(folder)]
    except OSError as error:
        raise JaxcharError(f"the path {quoted_path(path)} cannot be used: {reason_of(error)}") from error
    if which == "last":
        return candidates, []
    losses, passed_over = {}, []
    for candidate in candidates:
        try:
            losses[candidate] = _validation_loss(read_metadata(candidate))
        except Damaged as error:
            passed_over.append(f"{error}; passed over")
    # The newest comes first among equals, and so where nothing was validated.
    return sorted(losses, key=losses.__getitem__), passed_over


def _nothing_found(path: str | Path, passed_over: list[str]) -> str:
    damaged = f" that is whole ({'; '.join(passed_over)})" if passed_over else ""
    return (
        f"no checkpoint{damaged} in {quoted_path(path)}; give a run folder, its {FOLDER} folder, or one "
        "checkpoint's folder"
    )


# ---- names and digests ---------------------------------------------------------------------------


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a pytree by a name that is made of the path to each."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    names = (jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves)
    # Flax's variables hold their array in a field called value, which says nothing.
    return {name.removesuffix(".value"): leaf for name, (_, leaf) in zip(names, leaves, strict=True)}


def _describe(leaves: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    return {
        name: {"shape": list(leaf.shape), "dtype": leaf.dtype.name, "sha256": _digest_of_array(leaf)}
        for name, leaf in leaves.items()
    }


def _digest_of_array(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _digest_of_json(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
