"""Checkpoints: a whole training state and all that is needed to understand it, or nothing.

The only room that knows Orbax. A checkpoint is a folder named after its step:

    runs/mine/checkpoints/2000/state      every array, by name, as Orbax stores arrays
    runs/mine/checkpoints/2000/metadata   JSON: configuration, vocabulary, corpus, versions, metrics,
                                          and the SHA-256 of every array and of the metadata itself

No pickle, no code: what is read is numbers and JSON, and it is checked before it is used.
"""

import hashlib
import json
import logging
import math
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

import jaxchar
from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.vocabulary import Vocabulary

FORMAT_VERSION = 1
FOLDER = "checkpoints"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax narrates every save
# A read that fails leaves Orbax's other reads of the same checkpoint behind, not waited for.
warnings.filterwarnings("ignore", r"coroutine .* was never awaited", RuntimeWarning)

Which = Literal["last", "best"]


class Metadata(NamedTuple):
    """What a checkpoint says of itself, besides its arrays."""

    step: int
    epoch: int  # whole epochs done
    steps_per_epoch: int
    config: Config
    vocabulary: Vocabulary
    corpus: dict[str, Any]  # source, sha256, characters
    metrics: dict[str, float]  # at this step
    last: dict[str, float]  # step, val_loss and val_accuracy of the last evaluation, or nothing
    best: dict[str, float]  # step and val_loss of the best evaluation so far, or nothing
    logs: dict[str, int]  # bytes of each log file when this was saved
    versions: dict[str, str]
    machine: dict[str, Any]  # platform, device kind and count, processor cores

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        plain = {"config": self.config.to_json(), "vocabulary": self.vocabulary.to_json()}
        return {**self._asdict(), **plain}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Metadata":
        """Return what :meth:`to_json` wrote."""
        fields = {name: record[name] for name in cls._fields}
        fields["config"] = Config.from_json(record["config"])
        fields["vocabulary"] = Vocabulary.from_json(record["vocabulary"])
        return cls(**fields)


class Damaged(JaxcharError):
    """A checkpoint is not what was saved."""


def describe_machine() -> dict[str, Any]:
    """Return what bit-exactness depends on beside the library versions."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "device_count": jax.device_count(),
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def library_versions() -> dict[str, str]:
    """Return the versions of the packages that make the numbers, and of Python."""
    ours = {"jaxchar": jaxchar.__version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in PACKAGES}


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, run_dir: Path, keep: int = 0) -> None:
        """Open the store, which need not exist yet.

        Args:
            run_dir: the run's folder.
            keep: how many of the newest stay, beside the best one; 0 keeps all.
        """
        self.folder = Path(run_dir).resolve() / FOLDER
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_preserve_newest_and_best(keep),
                best_fn=_goodness,
                enable_async_checkpointing=False,
                enable_background_delete=False,
            ),
            item_names=("state", "metadata"),
        )

    def save(self, state: Any, metadata: Metadata) -> None:
        """Write a checkpoint, named after its step; a failed save leaves the older ones alone.

        Raises:
            JaxcharError: it could not be written.
        """
        leaves = named_leaves(state)
        record = {"format": FORMAT_VERSION, **metadata.to_json(), "leaves": _describe(leaves)}
        record["sha256"] = _digest_of_json(record)
        metrics = {"val_loss": metadata.metrics["val_loss"]} if "val_loss" in metadata.metrics else None
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(leaves), metadata=ocp.args.JsonSave(record)
        )
        try:
            self._manager.save(metadata.step, args=arguments, metrics=metrics, force=True)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise JaxcharError(f"cannot save a checkpoint in {str(self.folder)!r}: {reason}") from error

    def close(self) -> None:
        """Wait for everything to be on disk."""
        self._manager.close()


def _goodness(metrics: dict[str, float]) -> float:
    loss = metrics["val_loss"]
    return -math.inf if math.isnan(loss) else -loss


def _preserve_newest_and_best(keep: int) -> preservation_policy.PreservationPolicy:
    if keep == 0:
        return preservation_policy.PreserveAll()
    return preservation_policy.AnyPreservationPolicy(
        [
            preservation_policy.LatestN(keep),
            preservation_policy.BestN(get_metric_fn=_goodness, n=1, keep_checkpoints_without_metrics=False),
        ]
    )


# ---- reading -------------------------------------------------------------------------------------


def steps_in(folder: Path) -> list[int]:
    """Return the steps that a checkpoint folder has a folder for, newest first, sound or not."""
    if not folder.is_dir():
        return []
    folders = (path for path in folder.iterdir() if path.is_dir())
    return sorted((int(path.name) for path in folders if path.name.isdecimal()), reverse=True)


def read_metadata(checkpoint: Path) -> Metadata:
    """Return a checkpoint's metadata, verified.

    Raises:
        Damaged: it is missing, altered or not a checkpoint's.
        JaxcharError: a newer jaxchar wrote it.
    """
    return Metadata.from_json(_read_record(checkpoint))


def _read_record(checkpoint: Path) -> dict[str, Any]:
    with _damage_named(checkpoint):
        text = (checkpoint / "metadata" / "metadata").read_text(encoding="utf-8")
        record = json.loads(text)
        found = record.pop("sha256")
        if found != _digest_of_json(record):
            raise Damaged("its metadata does not match its SHA-256")
    if record["format"] != FORMAT_VERSION:
        raise JaxcharError(
            f"checkpoint {str(checkpoint)!r} has format {record['format']}, and this jaxchar reads "
            f"format {FORMAT_VERSION}; upgrade jaxchar"
        )
    return record


def read_state(checkpoint: Path, like: Any) -> Any:
    """Return a checkpoint's arrays in the structure of ``like``, every one verified.

    Args:
        checkpoint: one checkpoint's folder.
        like: the state's structure, with arrays or ``jax.ShapeDtypeStruct`` as leaves; it may be a
            part of what was saved.

    Raises:
        Damaged: an array is missing, altered, or of another shape than ``like`` has.
    """
    record = _read_record(checkpoint)
    names, wanted = zip(*named_leaves(like).items(), strict=True)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _damage_named(checkpoint):
        for name, leaf in zip(names, wanted, strict=True):
            saved = record["leaves"].get(name)
            if saved is None:
                raise Damaged(f"it has no array {name} (it was written with {record['versions']})")
            if (tuple(saved["shape"]), saved["dtype"]) != (leaf.shape, leaf.dtype.name):
                raise Damaged(
                    f"{name} is {saved['dtype']}{saved['shape']}, expected {leaf.dtype.name}"
                    f"{list(leaf.shape)}"
                )
        abstract = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)
            for name, leaf in zip(names, wanted, strict=True)
        }
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            leaves = checkpointer.restore(
                (checkpoint / "state").resolve(),
                args=ocp.args.PyTreeRestore(
                    abstract,
                    restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
                    partial_restore=True,
                ),
            )
        for name in names:
            if _digest_of_array(leaves[name]) != record["leaves"][name]["sha256"]:
                raise Damaged(f"{name} does not match its SHA-256")
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in names])


@contextmanager
def _damage_named(checkpoint: Path) -> Iterator[None]:
    """Turn whatever goes wrong in reading a checkpoint into one line that names it."""
    try:
        yield
    except JaxcharError as error:
        raise Damaged(f"checkpoint {str(checkpoint)!r} is damaged: {error}") from error
    except Exception as error:  # Orbax and TensorStore raise many kinds for the same damage
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise Damaged(f"checkpoint {str(checkpoint)!r} is damaged: {reason}") from error


class Loaded(NamedTuple):
    """A checkpoint that was looked for and is whole, and what was passed over on the way to it."""

    path: Path
    metadata: Metadata
    state: Any
    warnings: list[str]


def load_checkpoint(path: str | Path, like: Callable[[Metadata], Any], which: Which = "last") -> Loaded:
    """Load the newest (or best) whole checkpoint that a path means.

    Args:
        path: a run folder, its ``checkpoints`` folder, or one checkpoint's folder.
        like: gives the structure of the state to read, see :func:`read_state`.
        which: of several, the newest, or the one with the lowest validation loss. A damaged one is
            passed over with a warning.

    Raises:
        JaxcharError: no checkpoint there is whole.
    """
    candidates, passed_over = _candidates(path, which)
    for candidate in candidates:
        try:
            metadata = read_metadata(candidate)
            return Loaded(candidate, metadata, read_state(candidate, like(metadata)), passed_over)
        except Damaged as error:
            passed_over.append(f"{error}; passed over")
    raise JaxcharError(_nothing_found(path, passed_over))


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


def _candidates(path: str | Path, which: Which) -> tuple[list[Path], list[str]]:
    """Return the checkpoints that a path may mean, the preferred one first, and passed_over."""
    try:
        given = Path(path).expanduser().resolve()
        if given.name.isdecimal() and (given / "state").exists():
            return [given], []
        folder = given / FOLDER if (given / FOLDER).is_dir() else given
        candidates = [folder / str(step) for step in steps_in(folder)]
    except (OSError, RuntimeError, ValueError) as error:
        raise JaxcharError(f"the path {str(path)!r} cannot be used: {error}") from error
    if which == "last":
        return candidates, []
    losses, passed_over = {}, []
    for candidate in candidates:
        try:
            losses[candidate] = -_goodness({"val_loss": math.inf, **read_metadata(candidate).metrics})
        except Damaged as error:
            passed_over.append(f"{error}; passed over")
    return sorted(losses, key=losses.__getitem__), passed_over


def _nothing_found(path: str | Path, passed_over: list[str]) -> str:
    damaged = f" that is whole ({'; '.join(passed_over)})" if passed_over else ""
    return (
        f"no checkpoint{damaged} in {str(path)!r}; give a run folder, its {FOLDER} folder, or one "
        "checkpoint's folder"
    )


# ---- names and digests ---------------------------------------------------------------------------


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a pytree by a name that is made of the path to each."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    names = (jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves)
    # Flax's variables hold their array in a field called value, which says nothing.
    return {name.removesuffix(".value"): leaf for name, (_, leaf) in zip(names, leaves, strict=True)}


def _describe(leaves: dict[str, jax.Array]) -> dict[str, dict[str, Any]]:
    return {
        name: {"shape": list(leaf.shape), "dtype": leaf.dtype.name, "sha256": _digest_of_array(leaf)}
        for name, leaf in leaves.items()
    }


def _digest_of_array(array: jax.Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _digest_of_json(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
