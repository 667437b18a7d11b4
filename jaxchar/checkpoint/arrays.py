"""The arrays of a checkpoint: read with their sizes and SHA-256 checked.

Orbax writes them (:mod:`jaxchar.checkpoint.orbax_save`). Reading needs no more than TensorStore, which Orbax
itself reads with, and which is imported ten times as fast. On disk:

    runs/mine/checkpoints/2000/state      a folder for every array, of its name, as uncompressed Zarr
    runs/mine/checkpoints/2000/metadata   JSON, see :mod:`jaxchar.checkpoint.record`

Nothing on disk is trusted. There is no pickle and no code: only numbers and JSON, checked before use.
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore

from jaxchar.ambient import pinned
from jaxchar.checkpoint.damage import Damaged, check_inside, damage_named, first_line
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.record import describe, read_record

MEMORY = "memory"  # name of the array that holds the ids of a remembered text, beside those of the state
ARRAY_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a pytree, each by a name that is made of the path to it."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    names = (jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves)
    # Flax's variables hold their array in a field called value, which says nothing.
    return {name.removesuffix(".value"): leaf for name, (_, leaf) in zip(names, leaves, strict=True)}


# ---- reading -------------------------------------------------------------------------------------


@pinned()
def read_state(checkpoint: Path, like: Any) -> Any:
    """Return a checkpoint's arrays in the structure of ``like``, every one verified.

    They are put on the default device, whatever devices they were saved from.

    Args:
        checkpoint: one checkpoint's folder.
        like: the state's structure, with arrays or ``jax.ShapeDtypeStruct`` as leaves; it may be a
            part of what was saved.

    Raises:
        Damaged: an array is missing, altered, or of another shape than ``like`` has.
        JaxcharError: another version of jaxchar wrote it, in a format that this one cannot read.
    """
    record = read_record(checkpoint)
    wanted = named_leaves(like)
    with damage_named(checkpoint):
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
    # Copied, since training uses up the memory of its state.
    leaves = jax.device_put([arrays[name] for name in wanted], may_alias=False)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def read_array(checkpoint: Path, name: str) -> np.ndarray | None:
    """Return one array of a checkpoint, verified; None if the checkpoint has none of that name.

    Raises:
        Damaged: it is altered, or not there though the metadata say so.
        JaxcharError: another version of jaxchar wrote it, in a format that this one cannot read.
    """
    record = read_record(checkpoint)
    if name not in record["leaves"]:
        return None
    with damage_named(checkpoint):
        return _read_arrays(checkpoint, record, [name])[name]


def described_array(checkpoint: Path, name: str) -> jax.ShapeDtypeStruct | None:
    """Return shape and type of one array by the metadata, unread; None if there is none of that name.

    Raises:
        Damaged: the metadata are altered.
    """
    saved = read_record(checkpoint)["leaves"].get(name)
    if saved is None:
        return None
    with damage_named(checkpoint):
        return jax.ShapeDtypeStruct(tuple(saved["shape"]), np.dtype(saved["dtype"]))


def described_part(checkpoint: Path, part: str) -> dict[str, jax.ShapeDtypeStruct]:
    """Return shape and type of every array of a part of the state, such as ``opt_state``, by its name in it.

    Raises:
        Damaged: the metadata are altered.
    """
    record = read_record(checkpoint)
    with damage_named(checkpoint):
        return {
            name.removeprefix(part).removeprefix("."): jax.ShapeDtypeStruct(
                tuple(saved["shape"]), jnp.dtype(saved["dtype"])
            )
            for name, saved in record["leaves"].items()
            if name.split(".")[0] == part
        }


class Verified(NamedTuple):
    """The content of a whole checkpoint."""

    arrays: int
    num_bytes: int


def verify(checkpoint: Path) -> Verified:
    """Read everything in a checkpoint and compare it with its SHA-256.

    Raises:
        Damaged: something is missing or altered.
        JaxcharError: another version of jaxchar wrote it, in a format that this one cannot read.
    """
    record = read_record(checkpoint)
    with damage_named(checkpoint):
        Metadata.from_json(record)
        arrays = _read_arrays(checkpoint, record, record["leaves"])
        return Verified(len(arrays), sum(array.nbytes for array in arrays.values()))


def _read_arrays(checkpoint: Path, record: dict[str, Any], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the named arrays, each verified to be the one that the record describes."""
    folder = checkpoint / "state"
    for name in names:
        _check_name(name)
        _check_size(checkpoint, folder / name, record["leaves"][name])
    try:
        opened = {name: tensorstore.open(_zarr(folder.resolve() / name)) for name in names}
        reads = {name: array.result().read() for name, array in opened.items()}
        arrays = {name: read.result() for name, read in reads.items()}
    except Exception as error:  # TensorStore raises many kinds for the same damage
        raise Damaged(first_line(error)) from None
    for name in names:
        if describe(arrays[name]) != record["leaves"][name]:
            raise Damaged(f"{name} does not match its SHA-256")
    return arrays


def _zarr(folder: Path) -> dict[str, Any]:
    """Return how TensorStore is to open the array of a folder: to be read."""
    return {"driver": "zarr", "kvstore": {"driver": "file", "path": str(folder)}, "open": True}


def _check_name(name: str) -> None:
    """Raise Damaged where an array's name could lead out of the checkpoint's folder."""
    if ARRAY_NAME.fullmatch(name) is None:
        raise Damaged(f"it names an array {name!r}, which is no name")


def _check_size(checkpoint: Path, folder: Path, saved: dict[str, Any]) -> None:
    """Raise Damaged where an array claims more memory than its size on disk, before any is taken."""
    files = [file for file in folder.rglob("*") if not file.is_dir()]
    # Whatever else lies in the folder is as far inside as the folder itself.
    check_inside(checkpoint, folder, *(file for file in files if file.is_symlink()))
    zarr = json.loads((folder / ".zarray").read_text(encoding="utf-8"))
    claimed = math.prod(saved["shape"]) * np.dtype(saved["dtype"]).itemsize
    stored = sum(file.stat().st_size for file in files)
    plain = zarr["compressor"] is None and not zarr["filters"]
    chunks_fit = math.prod(zarr["chunks"]) <= math.prod(saved["shape"])
    if zarr["shape"] != saved["shape"] or not plain or not chunks_fit or not 0 <= claimed <= stored:
        raise Damaged(
            f"{folder.name} claims {claimed:,} bytes as {saved['dtype']}{saved['shape']} and has {stored:,}"
        )
