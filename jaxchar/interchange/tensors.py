"""The safetensors format: arrays by name, and texts about them, with no code."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxchar.errors import JaxcharError, quoted

IN_A_FOLDER = "model.safetensors"  # where other tools look for the weights
TYPES: dict[str, Any] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": jnp.bfloat16}
MOST_HEADER_BYTES = 100_000_000  # the limit of the format


def looks_like_safetensors(start: bytes) -> bool:
    """Whether the first nine bytes of a file are those of the format: a length, and a JSON object."""
    if len(start) < 9:
        return False
    (length,) = struct.unpack("<Q", start[:8])
    return 0 < length <= MOST_HEADER_BYTES and start[8:9] == b"{"


def read_safetensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the texts of a file.

    Raises:
        JaxcharError: the file is not whole, or holds other than floating-point numbers.
    """
    from safetensors import SafetensorError, deserialize

    try:
        views = deserialize(data)
    except SafetensorError as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise JaxcharError(f"it is no whole safetensors file: {reason}") from error
    arrays = {}
    for name, view in views:
        if view["dtype"] not in TYPES:
            raise JaxcharError(
                f"{quoted(name)} is of type {quoted(view['dtype'])}, expected floating-point numbers"
            )
        arrays[name] = np.frombuffer(view["data"], TYPES[view["dtype"]]).reshape(view["shape"])
    (length,) = struct.unpack("<Q", data[:8])
    texts: Any = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise JaxcharError(f"its texts are {quoted(texts)}, expected texts by name")
    return arrays, texts


def safetensors_file(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bytes:
    """Return a file of arrays, and of texts about them."""
    from safetensors.numpy import save

    return save(dict(arrays), metadata=dict(texts))
