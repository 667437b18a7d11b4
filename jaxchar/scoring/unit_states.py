"""One part of what the layers of a model have at every character of a long text, some characters at a time.

Letters: T characters, H hidden size.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from jaxchar.config import Config
from jaxchar.errors import JaxcharError, quoted
from jaxchar.model.inside import Inside, LayerStates

PIECE_CHARS = 256  # a call: few calls, and a stop takes effect soon
GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}


class Configured(Protocol):
    """A model, or what a checkpoint says of one."""

    @property
    def config(self) -> Config:
        """All settings of its training."""


def parts_of(model: Configured) -> tuple[str, ...]:
    """Return what can be looked at in a layer: h, the output; c, the memory of an LSTM; and the gates."""
    cell = model.config.cell
    return ("h", *(("c",) if cell == "lstm" else ()), *GATES.get(cell, ()))


def check_part(model: Inside, part: str) -> None:
    """Raise a JaxcharError where a model has no such part, see :func:`parts_of`."""
    parts = parts_of(model)
    if part not in parts:
        raise JaxcharError(f"part must be one of {', '.join(parts)}, but it is {quoted(part)}")


def part_in_pieces(model: Inside, ids: np.ndarray, part: str) -> Iterator[list[np.ndarray]]:
    """Yield one part of every layer, some characters at a time: [n, H] float32 each.

    They are the numbers of ``model.hidden_states``, but neither a long text nor its gates have to fit into
    memory, and one compiled program serves texts of every length.

    Args:
        model: any.
        ids: [T], at least one.
        part: see :func:`parts_of`.

    Raises:
        JaxcharError: the model has no such part.
    """
    check_part(model, part)
    window = model.config.context_limit
    pieces = _streamed(model, ids, part) if window is None else _windowed(model, ids, part, window)
    for layers, length in pieces:
        yield [np.asarray(_part(layer, part))[-PIECE_CHARS:][:length] for layer in layers]


def _streamed(model: Inside, ids: np.ndarray, part: str) -> Iterator[tuple[list[LayerStates], int]]:
    carry = model.initial_carry()
    for start in range(0, len(ids), PIECE_CHARS):
        piece = ids[start : start + PIECE_CHARS]
        layers = model.hidden_states(_padded(piece, PIECE_CHARS), carry, gates=part not in "hc")
        yield layers, len(piece)
        carry = tuple(type(layer.carry)(*(each[-1] for each in layer.carry)) for layer in layers)


def _windowed(
    model: Inside, ids: np.ndarray, part: str, window: int
) -> Iterator[tuple[list[LayerStates], int]]:
    """Read every piece after the characters that the first window in it begins with."""
    for start in range(0, len(ids), PIECE_CHARS):
        begin = max(0, start - window + 1)
        piece = ids[begin : start + PIECE_CHARS]
        length = len(piece) - (start - begin)
        filled = _padded(piece, start - begin + PIECE_CHARS)
        yield model.hidden_states(filled, gates=part not in "hc"), length


def _padded(ids: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([ids, np.zeros(length - len(ids), ids.dtype)])


def _part(layer: LayerStates, part: str) -> np.ndarray:
    if part == "h":
        return np.asarray(layer.hidden)
    return np.asarray(layer.cell if part == "c" else layer.gates[part])
