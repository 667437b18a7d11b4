"""What a model knows of a text so far, and the contexts of many texts as one.

Letters: B texts, T characters a window, H hidden size; DEEPEST, the longest context of a memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxchar.recurrence.cells import Carry


class StreamContext(NamedTuple):
    """What a stateful model needs to know of the text so far."""

    carry: tuple[Carry, ...]  # [1, H] each part: after all characters but the last
    last: jax.Array  # [] int32, the last character's id


class WindowContext(NamedTuple):
    """What a windowed model needs to know of the text so far."""

    carry: tuple[Carry, ...]  # [T, H] each part: the slots', after all characters but the last
    position: jax.Array  # [] int32: of the slot that begins with the last character
    last: jax.Array  # [] int32, the last character's id


# Of one text; with a leading [B] in every part, of many. With a memory, a MemoryContext takes its place.
Context = StreamContext | WindowContext


class MemoryContext(NamedTuple):
    """What a model with a memory beside it needs to know of the text so far."""

    network: Context
    history: jax.Array  # [DEEPEST] int32: the last characters, at the end of the row
    length: jax.Array  # [] int32: how many of them there are


def row_of(contexts: Context, number: int) -> Context:
    """Return the context of one of B texts."""
    return jax.tree.map(lambda part: part[number], contexts)


def batched(contexts: Sequence[Context]) -> Context:
    """Return the contexts of B texts as one, with a leading [B] in every part."""
    return jax.tree.map(lambda *parts: jnp.stack(parts), *contexts)
