"""Which characters a training step sees: a pure function of (ids, step), computed on the device.

There is no iterator and nothing to save: the position in the data is the step number.

Letters: N characters, B batch, T time steps. ``ids`` is the whole text, [N], on the device.

Windows  many overlapping samples, each on its own:  ids[s : s + T] predicts ids[s + T] (and, with a
         target at every step, each of its characters predicts the next).
Streams  the text cut into B contiguous lanes read in parallel, T characters a step, so that the
         state at the end of a step is the right state to begin the next one with.

A text of many short documents is the same to streams: :class:`Documents` puts them one after another in an
order of the epoch, and what has an order is read like ids.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.randomness import mixed
from jaxchar.tracing import numerics

SHUFFLE_ROUNDS = 6


MOST_GROUPS = 1 << 15  # documents, or groups of neighbours, that an epoch puts in order


class Batch(NamedTuple):
    """What one step reads and predicts; ids are int32."""

    inputs: jax.Array  # [B, T]
    targets: jax.Array  # [B, T], or [B] with one target after each window
    weights: jax.Array  # like targets, float32: 1 for a real prediction, 0 for padding


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ordered:
    """A text whose parts are read in an order of their own; it is indexed as ids are."""

    ids: jax.Array  # [N]
    starts: jax.Array  # [D] int32, where in ids each part begins, in the order of reading
    ends: jax.Array  # [D] int32, where it ends among what is read

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ids."""
        return self.ids.shape

    def __getitem__(self, positions: jax.Array) -> jax.Array:
        """Return the ids at some positions, of any shape, of what is read."""
        part = jnp.searchsorted(self.ends, positions, side="right")
        before = jnp.where(part > 0, self.ends[part - 1], 0)
        return self.ids[self.starts[part] + positions - before]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Documents:
    """A text of many short ones, each with its separator at its end.

    An order is made anew for every epoch, and for every call of ``train_steps``, so it may not cost much:
    of more than ``MOST_GROUPS`` documents, neighbours go in groups. They lie in a random order already.
    """

    ids: jax.Array  # [N]
    starts: jax.Array  # [D] int32, where each document, or group of them, begins

    @classmethod
    def of(cls, ids: jax.Array, starts: np.ndarray) -> "Documents":
        """Return a text, [N] ids, of documents that begin at ``starts``, the first of which is 0."""
        size = -(-len(starts) // MOST_GROUPS)
        return cls(ids, jnp.asarray(starts[::size], jnp.int32))

    def in_order(self, key: jax.Array) -> Ordered:
        """Return the text with its documents in a random order, which follows from the key."""
        count = len(self.starts)
        lengths = jnp.diff(self.starts, append=self.ids.shape[0])
        order = shuffled(jnp.arange(count), count, key)
        return Ordered(self.ids, self.starts[order], jnp.cumsum(lengths[order]))


Text = jax.Array | Documents | Ordered


@dataclass(frozen=True)
class Windows:
    """Windows of ``seq_len`` characters, ``stride`` apart; every one of them once an epoch."""

    num_chars: int
    seq_len: int
    batch_size: int
    stride: int = 1
    shuffle: bool = False
    return_sequences: bool = True
    max_windows: int | None = None

    @property
    def count(self) -> int:
        """How many windows with a character after them the text has."""
        count = max(0, -(-(self.num_chars - self.seq_len) // self.stride))
        return count if self.max_windows is None else min(count, self.max_windows)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches they make, the smaller last one counted in."""
        return -(-self.count // self.batch_size)

    def batch(self, ids: jax.Array | Ordered, step: jax.Array, key: jax.Array) -> Batch:
        """Return the batch of a step; a smaller last batch is filled up with weightless windows."""
        epoch, position = step // self.steps_per_epoch, step % self.steps_per_epoch
        numbers = position * self.batch_size + jnp.arange(self.batch_size)
        real = numbers < self.count
        numbers = jnp.minimum(numbers, self.count - 1)
        if self.shuffle:
            numbers = shuffled(numbers, self.count, jax.random.fold_in(key, epoch))
        chars = _gather(ids, numbers * self.stride, self.seq_len + 1)
        weights = real.astype(jnp.float32)
        if self.return_sequences:
            weights = jnp.broadcast_to(weights[:, None], (self.batch_size, self.seq_len))
            return Batch(chars[:, :-1], chars[:, 1:], weights)
        return Batch(chars[:, :-1], chars[:, -1], weights)


@dataclass(frozen=True)
class Streams:
    """The text as ``batch_size`` contiguous lanes, ``seq_len`` characters of each a step.

    Training leaves out the few characters at a lane's end that fill no whole step; evaluation
    (``whole``) reads them too, in a last step that is partly padding, and so scores every character
    of the text but the first: a lane's first character is the last target of the lane before it.

    With ``offsets`` the text is a ring, its first character coming after its last, and every epoch begins
    at a random character of it: lanes begin, end and leave characters out elsewhere every time.
    """

    num_chars: int
    seq_len: int
    batch_size: int
    whole: bool = False
    offsets: bool = False

    @property
    def lane_chars(self) -> int:
        """Targets in a lane; the last lane may hold fewer where the pass is whole."""
        targets = self.num_chars - 1
        return -(-targets // self.batch_size) if self.whole else targets // self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Steps from the start of the lanes to their end."""
        return -(-self.lane_chars // self.seq_len) if self.whole else self.lane_chars // self.seq_len

    def reading(self, text: Text, step: jax.Array, key: jax.Array) -> jax.Array | Ordered:
        """Return the text as the epoch of a step reads it: documents in an order by (key, epoch)."""
        if not isinstance(text, Documents):
            return text
        epoch_key = jax.random.fold_in(key, step // self.steps_per_epoch)
        return text.in_order(jax.random.fold_in(epoch_key, 1))  # the epoch's own key is for offsets

    def batch(self, ids: jax.Array | Ordered, step: jax.Array, key: jax.Array | None = None) -> Batch:
        """Return the batch of a step; row b goes on where row b of the step before ended."""
        offset = step % self.steps_per_epoch * self.seq_len
        starts = jnp.arange(self.batch_size) * self.lane_chars
        if self.offsets:
            assert key is not None  # nothing but training has offsets
            epoch_key = jax.random.fold_in(key, step // self.steps_per_epoch)
            chars = _gather_from_ring(ids, starts + offset, self.seq_len + 1, epoch_key)
        else:
            chars = _gather(ids, starts + offset, self.seq_len + 1)
        in_lane = offset + jnp.arange(self.seq_len)
        real = (in_lane < self.lane_chars) & (starts[:, None] + in_lane < self.num_chars - 1)
        return Batch(chars[:, :-1], chars[:, 1:], real.astype(jnp.float32))


@dataclass(frozen=True)
class Blocks:
    """Cold blocks of ``seq_len`` characters side by side; every character but the first is a target.

    The evaluation protocol of nanoGPT, over all blocks rather than random ones.
    """

    num_chars: int
    seq_len: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches that all blocks make."""
        return -(-(self.num_chars - 1) // (self.seq_len * self.batch_size))

    def batch(self, ids: jax.Array, step: jax.Array, key: jax.Array | None = None) -> Batch:
        """Return the blocks of a step; what lies beyond the text has no weight."""
        del key  # blocks have one order
        starts = (step * self.batch_size + jnp.arange(self.batch_size)) * self.seq_len
        chars = _gather(ids, starts, self.seq_len + 1)
        real = starts[:, None] + jnp.arange(self.seq_len) < self.num_chars - 1
        return Batch(chars[:, :-1], chars[:, 1:], real.astype(jnp.float32))


def _gather(ids: jax.Array | Ordered, starts: jax.Array, length: int) -> jax.Array:
    """Return ``ids[start : start + length]`` for every start, [B, length] int32."""
    positions = jnp.minimum(starts[:, None] + jnp.arange(length), ids.shape[0] - 1)
    return ids[positions].astype(jnp.int32)


def _gather_from_ring(ids: jax.Array | Ordered, starts: jax.Array, length: int, key: jax.Array) -> jax.Array:
    """Gather as :func:`_gather` does, from a text that begins at a random character and ends before it."""
    first = jax.random.randint(key, (), 0, ids.shape[0])
    positions = starts[:, None] + jnp.arange(length)
    wrapped = positions - (ids.shape[0] - first)  # first + position could pass the range of int32
    return ids[jnp.where(wrapped < 0, first + positions, wrapped)].astype(jnp.int32)


def shuffled(numbers: jax.Array, count: int, key: jax.Array) -> jax.Array:
    """Map each of 0 ... count - 1 to its place in a random order, without making the whole order.

    An unbalanced Feistel network over a grid of a x b >= count cells permutes the cells; walking on
    until a cell below ``count`` is met makes it a permutation of exactly ``count`` numbers (Black and
    Rogaway 2002, "Ciphers with Arbitrary Finite Domains"). It costs a few operations for each number
    asked for, where sorting random keys would cost the whole corpus at every step.
    """
    rows = max(1, round(count**0.5))
    columns = -(-count // rows)
    round_keys = jax.random.bits(key, (SHUFFLE_ROUNDS,), jnp.uint32)

    def permute(cells: jax.Array) -> jax.Array:
        row, column = cells // columns, cells % columns
        for i in range(0, SHUFFLE_ROUNDS, 2):
            row = (row + mixed(column ^ round_keys[i]) % rows) % rows
            column = (column + mixed(row ^ round_keys[i + 1]) % columns) % columns
        return row * columns + column

    cells = permute(numbers.astype(jnp.uint32))
    beyond = rows * columns - count
    walk = _walk if numerics().on_processor else partial(_looked_up, beyond=beyond)
    return (walk(cells, permute, count) if beyond else cells).astype(jnp.int32)


Permutation = Callable[[jax.Array], jax.Array]


def _walk(cells: jax.Array, permute: Permutation, count: int) -> jax.Array:
    """Permute the cells from ``count`` on until all are below."""
    return jax.lax.while_loop(
        lambda cells: (cells >= count).any(),
        lambda cells: jnp.where(cells >= count, permute(cells), cells),
        cells,
    )


def _looked_up(cells: jax.Array, permute: Permutation, count: int, *, beyond: int) -> jax.Array:
    """Return what :func:`_walk` does, without a loop whose end depends on data: an accelerator waits for it.

    A table says where each of the ``beyond`` cells from ``count`` on leads to. With every doubling it says so
    for twice as many steps, and no walk that begins below ``count`` has more steps beyond it than there are
    cells.
    """
    table = permute(jnp.arange(count, count + beyond, dtype=jnp.uint32))
    for _ in range((beyond - 1).bit_length()):
        table = jnp.where(table >= count, table[table - count], table)
    return jnp.where(cells >= count, table[cells - count], cells)
