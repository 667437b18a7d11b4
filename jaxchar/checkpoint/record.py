"""The record of a checkpoint: its metadata and the description of its arrays, as one JSON object.

    {"format": 2, "step": 2000, ..., "leaves": {"params.kernel": {"shape", "dtype", "sha256"}, ...}, "sha256"}

The last entry is the SHA-256 of all the others. A record is untrusted input: it is validated on load.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxchar.checkpoint.damage import Damaged, check_inside, damage_named
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.errors import JaxcharError, quoted
from jaxchar.own_cells import BUILT_IN, UnknownCellError, how_to_register, is_registered

# 2: arrays are stored uncompressed, one folder each, so the size on disk bounds the memory that an array
# may claim. (1 was never released.)
FORMAT_VERSION = 2
MOST_METADATA_BYTES = 1 << 26  # a vocabulary of all Unicode takes a fifth of it


def describe(array: np.ndarray) -> dict[str, Any]:
    """Return what a record says of an array."""
    as_bytes = np.ascontiguousarray(array).reshape(-1).view(np.uint8)  # bfloat16 has no buffer of its own
    digest = hashlib.sha256(as_bytes.data).hexdigest()
    return {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": digest}


def make_record(metadata: Metadata, leaves: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a checkpoint.

    Args:
        metadata: what is known of the run at this step.
        leaves: shape, dtype and SHA-256 of each array, by its name.
    """
    return with_digest({"format": FORMAT_VERSION, **metadata.to_json(), "leaves": leaves})


def with_digest(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its SHA-256 as the last entry, ``sha256``."""
    return {**record, "sha256": _digest(record)}


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def read_record(checkpoint: Path) -> dict[str, Any]:
    """Return a checkpoint's record without its SHA-256, which it was compared with.

    Raises:
        Damaged: it is missing, altered or not a checkpoint's.
        JaxcharError: another version of jaxchar wrote it, in a format that this one cannot read.
        UnknownCellError: its cell is one's own, and is not registered.
    """
    with damage_named(checkpoint):
        file = checkpoint / "metadata" / "metadata"
        check_inside(checkpoint, file)
        if file.stat().st_size > MOST_METADATA_BYTES:
            raise Damaged(f"its metadata has {file.stat().st_size:,} bytes, more than any checkpoint's")
        record = json.loads(file.read_text(encoding="utf-8"))
        found = record.pop("sha256")
        if found != _digest(record):
            raise Damaged("its metadata does not match its SHA-256")
        written = int(record["format"])
    if written != FORMAT_VERSION:
        remedy = "upgrade jaxchar" if written > FORMAT_VERSION else "it was never released; train anew"
        raise JaxcharError(
            f"checkpoint {str(checkpoint)!r} has format {written}, and this jaxchar reads format "
            f"{FORMAT_VERSION}; {remedy}"
        )
    _check_cell(checkpoint, record)
    return record


def read_metadata(checkpoint: Path) -> Metadata:
    """Return a checkpoint's metadata, verified.

    Raises:
        Damaged: it is missing, altered or not a checkpoint's.
        JaxcharError: another version of jaxchar wrote it, in a format that this one cannot read.
        UnknownCellError: its cell is one's own, and is not registered.
    """
    record = read_record(checkpoint)
    with damage_named(checkpoint):
        return Metadata.from_json(record)


def _check_cell(checkpoint: Path, record: dict[str, Any]) -> None:
    """Raise an UnknownCellError where the cell of a checkpoint is one's own and not known in this process."""
    config = record.get("config")
    cell = config.get("cell") if isinstance(config, dict) else None
    if isinstance(cell, str) and cell not in BUILT_IN and cell.isidentifier() and not is_registered(cell):
        raise UnknownCellError(
            f"checkpoint {str(checkpoint)!r} has a cell of its author's own, {quoted(cell)}, which is not "
            f"known here; {how_to_register(cell)}"
        )
