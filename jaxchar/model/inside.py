"""What a model computes inside, for programs of one's own: logits, states, and a pure function for JAX.

Letters: B batch, T time steps, V vocabulary size, H hidden size, L layers.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxchar.ambient import check_not_forked, pinned
from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError, quoted
from jaxchar.model.char_rnn import CharRNN
from jaxchar.model.params import Params, params_of, state_of
from jaxchar.recurrence.cells import Carry
from jaxchar.recurrence.states import unroll_states
from jaxchar.recurrence.unroll import Implementation

WINDOWS_TOGETHER = 128  # windows of a text that are read side by side

Carries = tuple[Carry, ...]  # of every layer, first to last
Ids = Sequence[int] | np.ndarray | jax.Array


class LayerStates(NamedTuple):
    """What a layer had at every character of a text."""

    carry: Any  # its state after each character, [T, H] each part: LSTMCarry or HiddenCarry
    gates: dict[str, jax.Array]  # [T, H] each, by name, where they were asked for

    @property
    def hidden(self) -> jax.Array:
        """h, [T, H], the layer's output."""
        return self.carry.hidden

    @property
    def cell(self) -> jax.Array | None:
        """c, [T, H], the memory of an LSTM; None for other cells."""
        return getattr(self.carry, "cell", None)


class Inside:
    """A network with parameters: all that it computes, and itself as a pure function.

    It is the network alone: what a model remembers of a text (its memory) changes none of these numbers.
    """

    config: Config
    vocabulary: Vocabulary
    graphdef: nnx.GraphDef
    state: nnx.State

    @property
    def params(self) -> Params:
        """The parameters as nested dictionaries of arrays; :mod:`jaxchar.model.params` has the names.

        Kernels hold the gates side by side: i, f, g, o of an LSTM; r, z, n of a GRU.
        """
        return params_of(self.state)

    def encoded(self, text: str) -> np.ndarray:
        """Return the ids of a text, [T], reduced as the training text was.

        Raises:
            JaxcharError: it has a character that the model does not know.
        """
        raise NotImplementedError

    # ---- a pure function -------------------------------------------------------------------------

    def apply(
        self,
        params: Params,
        ids: Ids,
        carry: Carries | None = None,
        *,
        implementation: Implementation = "scan",
    ) -> tuple[jax.Array, Carries]:
        """Return the network's logits for any parameters: pure, for ``jax.jit``, ``jax.grad``, ``jax.vmap``.

        Args:
            params: a pytree like :attr:`params`.
            ids: [T] or [B, T] whole numbers; or their one-hot rows, [T, V] or [B, T, V], or a mixture of
                them, which there is a gradient by.
            carry: the state before the first character, [H] each part, or [B, H] with a batch; None: zeros.
            implementation: "scan" has derivatives of every order, in both modes: gradients, ``jax.jvp``,
                ``jax.hessian``. "fused" is faster and has those in reverse mode. "auto" is the fastest, C++
                on a processor, with first derivatives in reverse mode. All work under ``jax.vmap``.

        Returns:
            Logits [T, V] or [B, T, V] float32: those after ``ids[t]`` are for character t + 1. And the
            state after the last character, as ``carry``.

        Raises:
            JaxcharError: names or shapes are not this network's.
        """
        check_not_forked()
        if implementation not in get_args(Implementation):
            raise JaxcharError(
                f"--implementation must be one of {', '.join(get_args(Implementation))}, but it is "
                f"{quoted(implementation)}"
            )
        rows, is_batch = self._rows(ids, implementation == "scan")
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            model = nnx.merge(self.graphdef, state_of(params, self.state))
            model.config = dataclasses.replace(model.config, implementation=implementation)
            before = model.initial_carry(rows.shape[0])
            if carry is not None:
                before = _like(before, carry if is_batch else _batch_of_one(carry))
            logits, after = model(rows, before)
        return (logits, after) if is_batch else (logits[0], _first(after))

    @property
    def carry(self) -> Carries:
        """The zero state with which one text begins, see :meth:`initial_carry`."""
        return self.initial_carry()

    def initial_carry(self, batch_size: int | None = None) -> Carries:
        """Return the zero state of every layer, with which a text begins.

        Args:
            batch_size: B, for parts of [B, H]; None: for one text, parts of [H].

        Raises:
            JaxcharError: B is no whole number of at least 1.
        """
        check_not_forked()
        if batch_size is not None and not (isinstance(batch_size, int | np.integer) and batch_size >= 1):
            raise JaxcharError(
                f"--batch-size must be a whole number of at least 1, but it is {quoted(batch_size)}; for one "
                "text, leave it out"
            )
        carry = nnx.merge(self.graphdef, self.state).initial_carry(1 if batch_size is None else batch_size)
        return _first(carry) if batch_size is None else carry

    # ---- one text --------------------------------------------------------------------------------

    def logits(self, text: str | Ids, carry: Carries | None = None) -> jax.Array:
        """Return the network's logits after each character of a text, [T, V] float32.

        Row t is for the character after ``text[t]``: ``jax.nn.log_softmax`` of it, at that character, is
        minus its surprise in :meth:`score`. A model trained on windows looks back on ``seq_len`` characters,
        as in scoring and sampling.

        Args:
            text: at least one character, or ids [T].
            carry: the state before the text, see :meth:`carry_after`; the text is then read in one pass, by a
                model trained on windows, too. None: the text is the beginning.

        Raises:
            JaxcharError: the text is empty, or has a character or id that the model does not know.
        """
        ids = self._ids(text)
        return self._at_every_character(_logits, ids, carry)

    def hidden_states(
        self, text: str | Ids, carry: Carries | None = None, *, gates: bool = False
    ) -> list[LayerStates]:
        """Return what every layer has at every character of a text.

        Args:
            text: as of :meth:`logits`.
            carry: as of :meth:`logits`.
            gates: the gates, too, by name: i, f, g, o of an LSTM; r, z, n of a GRU.

        Returns:
            For each layer, first to last, its ``hidden`` [T, H], ``cell`` [T, H] and ``gates``.

        Raises:
            JaxcharError: as of :meth:`logits`.
        """
        ids = self._ids(text)
        return self._at_every_character(_states_and_gates if gates else _states, ids, carry)

    def carry_after(self, text: str | Ids, carry: Carries | None = None) -> Carries:
        """Return the state of every layer after a text, [H] each part; arguments as of :meth:`logits`.

        ``model.logits(more, model.carry_after(text))`` reads on where the text ended.
        """
        ids = self._ids(text)
        states = self._at_every_character(_states, ids, carry)
        return tuple(jax.tree.map(lambda part: part[-1], layer.carry) for layer in states)

    # ---- how -------------------------------------------------------------------------------------

    @pinned()
    def _at_every_character(self, compute: Callable, ids: np.ndarray, carry: Carries | None) -> Any:
        """Return what a function of a network, ids [B, T] and states has at every character, [T, ...]."""
        zeros = self.initial_carry(1)
        before = zeros if carry is None else _like(zeros, _batch_of_one(carry))
        window = self.config.context_limit if carry is None else None
        padded = np.zeros(1 << (len(ids) - 1).bit_length(), np.int32)  # few lengths: few compilations
        padded[: len(ids)] = ids
        if window is not None and len(ids) <= window:
            padded = padded[:window]
        found = _every_character(
            self.state, padded, before, graphdef=self.graphdef, compute=compute, window=window
        )
        return jax.tree.map(lambda leaf: leaf[: len(ids)], found)

    def _ids(self, text: str | Ids) -> np.ndarray:
        """Return the ids of a text, or the ids themselves, checked: [T]."""
        ids = self.encoded(text) if isinstance(text, str) else np.asarray(text)
        if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
            raise JaxcharError(f"text must be a str, or whole numbers [T], but it is {quoted(text)}")
        if ids.size == 0:
            raise JaxcharError("the text is empty; give at least one character")
        if ids.min() < 0 or ids.max() >= len(self.vocabulary):
            raise JaxcharError(
                f"ids must be from 0 to {len(self.vocabulary) - 1}, but they are from {ids.min()} to "
                f"{ids.max()}"
            )
        return ids

    def _rows(self, ids: Ids, one_hot: bool) -> tuple[jax.Array, bool]:
        """Return ids or rows with a batch, [B, T] or [B, T, V], and whether they had one."""
        if isinstance(ids, str):
            raise JaxcharError("apply takes ids, not a text; give model.encoded(text)")
        given: jax.Array = jnp.asarray(ids)
        is_ids = jnp.issubdtype(given.dtype, jnp.integer)
        sizes = (1, 2) if is_ids else (2, 3)
        symbols = len(self.vocabulary)
        fits = given.ndim in sizes and given.size and (is_ids or given.shape[-1] == symbols)
        if not fits or not (is_ids or jnp.issubdtype(given.dtype, jnp.floating)):
            raise JaxcharError(
                f"ids must be whole numbers [T] or [B, T], or rows [T, {symbols}] or [B, T, {symbols}], but "
                f"they are {given.dtype} {list(given.shape)}"
            )
        if is_ids and one_hot:  # the only way to the input vectors that JAX differentiates again and again
            given = jax.nn.one_hot(given, symbols, dtype=jnp.float32)
        is_batch = given.ndim == (2 if is_ids and not one_hot else 3)
        return (given if is_batch else given[None]), is_batch


def _batch_of_one(carry: Any) -> Any:
    return jax.tree.map(lambda part: jnp.asarray(part)[None], carry)


def _first(carry: Any) -> Any:
    return jax.tree.map(lambda part: part[0], carry)


def _like(zeros: Carries, carry: Any) -> Carries:
    """Return a state as float32, if it has the structure and shapes of another."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (zeros, carry)]
    fits = structures[0] == structures[1]
    if not fits or [x.shape for x in jax.tree.leaves(zeros)] != [
        jnp.shape(x) for x in jax.tree.leaves(carry)
    ]:
        raise JaxcharError(
            f"carry must be as initial_carry() returns it, of {len(zeros)} layers, but it is {quoted(carry)}"
        )
    return jax.tree.map(lambda part: jnp.asarray(part, jnp.float32), carry)


# ---- compiled ------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("graphdef", "compute", "window"))
def _every_character(
    state: nnx.State,
    ids: jax.Array,
    carry: Carries,
    *,
    graphdef: nnx.GraphDef,
    compute: Callable,
    window: int | None,
) -> Any:
    """Return what ``compute`` has at every character of ids [T]; after a window, at each window's end."""
    model = nnx.merge(graphdef, state)

    def of(text: jax.Array) -> Any:
        return _first(compute(model, text[None], carry))

    if window is None or len(ids) <= window:
        return of(ids)

    def at_end(start: jax.Array) -> Any:
        return jax.tree.map(lambda leaf: leaf[-1], of(lax.dynamic_slice_in_dim(ids, start, window)))

    starts = 1 + jnp.arange(len(ids) - window)
    later = lax.map(at_end, starts, batch_size=WINDOWS_TOGETHER)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), of(ids[:window]), later)


def _logits(model: CharRNN, ids: jax.Array, carry: Carries) -> jax.Array:
    return model(ids, carry)[0]


def _states(model: CharRNN, ids: jax.Array, carry: Carries) -> list[LayerStates]:
    return [layer._replace(gates={}) for layer in _states_and_gates(model, ids, carry)]


def _states_and_gates(model: CharRNN, ids: jax.Array, carry: Carries) -> list[LayerStates]:
    """Return every layer's states, [B, T, H]."""
    features, layers = model.embedded(jnp.swapaxes(ids, 0, 1)), []
    for cell, before in zip(model.cells, carry, strict=True):
        states, gates = unroll_states(cell, features, before)
        features = states.hidden
        layers.append(jax.tree.map(lambda part: jnp.swapaxes(part, 0, 1), LayerStates(states, gates)))
    return layers
