"""The interface of a decoder: what reads and writes texts with a model.

:mod:`jax_decoder` does it in JAX, :mod:`native_decoder` in C++, :mod:`memory_decoder` with a memory beside.

Letters: B texts, N characters, H hidden size, G gate columns, V vocabulary size.
"""

from typing import Protocol

import jax

from jaxchar.recurrence.cells import Carry
from jaxchar.sampling.context import Context
from jaxchar.sampling.filters import TracedParams

MOST_PIECE = 4096  # characters a call at the most


class Decoder(Protocol):
    """A model's weights made ready to read and write B texts: a pytree; its methods run under jit."""

    @property
    def num_symbols(self) -> int:
        """V."""

    @property
    def table(self) -> jax.Array:
        """[V, G], what each character adds to the first layer's gates; it lies where the weights do."""

    @property
    def zero_carry(self) -> tuple[Carry, ...]:
        """[1, H] each part: where every text begins."""

    @property
    def history_chars(self) -> int:
        """How many of a text's last characters it needs beside the network's state."""

    def begun(self, contexts: Context) -> Context:
        """Return what it knows of B texts of one character each, from what the network knows."""

    def read(self, contexts: Context, ids: jax.Array, lengths: jax.Array) -> Context:
        """Read on in B texts: ``lengths`` [B] characters of ids [B, N]; return the contexts after them."""

    def token_logits(
        self, contexts: Context, ids: jax.Array, lengths: jax.Array
    ) -> tuple[Context, jax.Array]:
        """Read on; return the contexts after it, and the logits before each character, [B, N, V]."""

    def sample(
        self,
        contexts: Context,
        keys: jax.Array,
        start: jax.Array,
        counts: jax.Array,
        params: TracedParams,
        filters: bool,
    ) -> tuple[Context, jax.Array]:
        """Write on in B texts.

        Args:
            contexts: of the texts.
            keys: [B].
            start: [] int32, the number of the first new character; number n is sampled with
                ``fold_in(key, n)``.
            counts: [B] int32, how many characters, MOST_PIECE at the most.
            params: temperature and filters.
            filters: False promises that no filter is on.

        Returns:
            The contexts after it, and ids [B, MOST_PIECE]; those beyond a text's count are undefined.
        """


class NetworkAlone:
    """What the decoders of a network have in common: its state is all that they need of a text."""

    @property
    def history_chars(self) -> int:
        """See :class:`Decoder`: none."""
        return 0

    def begun(self, contexts: Context) -> Context:
        """See :class:`Decoder`."""
        return contexts
