"""Stock Flax: ``nnx.RNN`` over ``nnx.OptimizedLSTMCell``, one call of ``nnx.jit`` per step."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxchar.benchmark import data
from jaxchar.benchmark.baselines.nnx_weights import give_weights, module_dtype, set_precision, weights_of
from jaxchar.benchmark.cells import Cell


class Model(nnx.Module):
    """One-hot characters, a stack of LSTM layers, a linear head."""

    def __init__(self, cell: Cell, dtype: str) -> None:
        """Draw weights."""
        rngs, kind = nnx.Rngs(0), module_dtype(dtype)
        sizes = [cell.vocab_size] + [cell.hidden_size] * cell.num_layers
        lstms = [nnx.OptimizedLSTMCell(*pair, dtype=kind, rngs=rngs) for pair in pairwise(sizes)]
        self.layers = nnx.List([nnx.RNN(lstm) for lstm in lstms])
        self.head = nnx.Linear(cell.hidden_size, cell.vocab_size, dtype=kind, rngs=rngs)
        self.vocab_size, self.many_to_one = cell.vocab_size, cell.many_to_one

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Return logits, [B, T, V] or [B, V], for ids [B, T]."""
        features = jax.nn.one_hot(inputs, self.vocab_size)
        for layer in self.layers:
            features = layer(features)
        return self.head(features[:, -1] if self.many_to_one else features).astype(jnp.float32)

    @property
    def cells(self) -> list[Any]:
        """The layers' cells."""
        return [layer.cell for layer in self.layers]


def loss_of(model: Model, inputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the mean cross-entropy, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(model(inputs), targets).mean()


def optimizer_of(cell: Cell) -> optax.GradientTransformation:
    """Return clipping and Adam."""
    adam = optax.adam(data.LEARNING_RATE, *data.BETAS, eps=data.EPSILON)
    if cell.clip_value:
        return optax.chain(optax.clip(cell.clip_value), adam)
    return optax.chain(optax.clip_by_global_norm(cell.clip_norm), adam) if cell.clip_norm else adam


class Flax:
    """A model, an ``nnx.Optimizer`` and a jitted step."""

    redundant_parameters = 0

    def __init__(self, cell: Cell, dtype: str) -> None:
        """Make the model and put the text on the device."""
        self.cell = cell
        self.ids = jnp.asarray(data.made_up_text(cell.vocab_size))
        self.model = Model(cell, dtype)
        self.num_parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self.model, nnx.Param)))
        rows, chars = jnp.asarray(data.batch_starts(cell, 0))[:, None], jnp.arange(cell.seq_len + 1)

        @nnx.jit
        def train_step(model: Model, optimizer: nnx.Optimizer, ids: jax.Array, step: int) -> jax.Array:
            start = step % cell.steps_per_epoch * cell.step_distance
            batch = data.inputs_and_targets(cell, ids[rows + start + chars].astype(jnp.int32))
            loss, gradient = nnx.value_and_grad(loss_of)(model, *batch)
            optimizer.update(model, gradient)
            return loss

        self._train_step = train_step
        self._judged = nnx.jit(nnx.value_and_grad(loss_of))

    def load(self, weights: data.Weights) -> None:
        """Take these weights, a fresh optimiser and the first batch."""
        give_weights(self.model.cells, self.model.head, weights)
        self.optimizer = nnx.Optimizer(self.model, optimizer_of(self.cell), wrt=nnx.Param)
        self.step = 0
        # What the guide to Flax's performance advises: the modules are taken apart once, not every step.
        self._cached_step = nnx.cached_partial(self._train_step, self.model, self.optimizer)

    def loss_and_gradient(self) -> tuple[float, data.Weights]:
        """Return loss and gradient of the first batch."""
        loss, gradient = self._judged(self.model, *data.first_batch(self.cell))
        holder = nnx.clone(self.model)
        nnx.update(holder, gradient)
        return float(loss), weights_of(holder.cells, holder.head)

    def train(self, steps: int) -> float:
        """Do steps, one call for each."""
        started = time.perf_counter()
        for step in range(self.step, self.step + steps):
            loss = self._cached_step(self.ids, step)
        jax.block_until_ready((loss, nnx.state(self.model)))
        self.step += steps
        return time.perf_counter() - started


def prepare(cell: Cell, dtype: str) -> Flax:
    """Return stock Flax for a cell."""
    set_precision(dtype)
    return Flax(cell, dtype)


def writer(cell: Cell, dtype: str) -> Callable[[int], float]:
    """Return the usual first loop: one jitted step per character."""
    set_precision(dtype)
    model = Model(cell, dtype)
    graphdef, params = nnx.split(model)

    @jax.jit
    def draw_next(params: nnx.State, carry: list, last: jax.Array, key: jax.Array) -> tuple:
        model = nnx.merge(graphdef, params)
        features, carries = jax.nn.one_hot(last, cell.vocab_size), []
        for lstm, before in zip(model.cells, carry, strict=True):
            after, features = lstm(before, features)
            carries.append(after)
        key, now = jax.random.split(key)
        return carries, jax.random.categorical(now, model.head(features)), key

    def write(chars: int) -> float:
        started = time.perf_counter()
        zeros = jnp.zeros((cell.batch_size, cell.hidden_size))
        carry: list = [(zeros, zeros)] * cell.num_layers
        last, key, drawn = jnp.zeros(cell.batch_size, jnp.int32), jax.random.key(0), []
        for _ in range(chars):
            carry, last, key = draw_next(params, carry, last, key)
            drawn.append(last)
        jax.device_get(drawn)
        return time.perf_counter() - started

    return write
