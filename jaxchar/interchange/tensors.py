"""The safetensors format: arrays by name, and texts about them, with no code."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxchar.errors import JaxcharError, quoted

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
        JaxcharError: the file is not whole, or holds a type of numbers that NumPy has not.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise JaxcharError(f"it is no whole safetensors file of floating-point numbers: {reason}") from error
    (length,) = struct.unpack("<Q", data[:8])
    texts: Any = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise JaxcharError(f"its texts are {quoted(texts)}, expected texts by name")
    return arrays, texts


def safetensors_file(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bytes:
    """Return a file of arrays, and of texts about them."""
    from safetensors.numpy import save

    return save(dict(arrays), metadata=dict(texts))
