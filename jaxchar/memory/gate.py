"""The gate: how much to trust the network, and how much the counts of each order.

Predictions are mixed linearly: P(s) = w_0 network(s) + sum over k of w_k P_k(s). P_k is the n-gram of order
k, smoothed with the one before it (Witten and Bell 1991): seen n times with c(s) of s and d kinds of symbols,
P_k(s) = (c(s) + d P_{k-1}(s)) / (n + d); below the first order all symbols are equally probable. The weights
come from a network of one hidden layer that sees no symbol: of each order log(1 + n) / 5, log(1 + d) / 3 and
whether n > 0, and of the network half its entropy and its largest log-probability. An order whose context was
never seen has no weight.

As it sees no symbol, one gate serves all texts. Its weights are in ``gate.json``; they were fitted on text
that neither the networks nor the counts had seen, see experiments/MEMORY.md. A gate that is fitted on the end
of a text that the network was trained on trusts the network too much. While it reads a text of which it also
counts what it reads, the gate learns from every character that it has predicted.

Letters: P predictions, K orders, F = 3 K + 2 features, M hidden units, V symbols.
"""

import json
from functools import cache, partial
from importlib.resources import files
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

GATE_LEARNING_RATE = 0.01  # tried from 0.0005 to 0.02 on texts of three kinds: experiments/MEMORY.md


class Gate(NamedTuple):
    """The weights of a gate."""

    inner: Any  # [F, M]
    inner_bias: Any  # [M]
    outer: Any  # [M, 1 + K]
    outer_bias: Any  # [1 + K]

    @classmethod
    @cache
    def fitted(cls) -> "Gate":
        """Return the gate that comes with the package."""
        saved = json.loads(files("jaxchar.memory").joinpath("gate.json").read_text(encoding="utf-8"))
        return cls(*(np.array(saved[name], np.float32) for name in cls._fields))

    def weights(self, features: jax.Array) -> jax.Array:
        """Return the weights of the network and of each order, [P, 1 + K], for features [P, F]."""
        sums = self.hidden(features) @ self.outer + self.outer_bias
        return jax.nn.softmax(jnp.where(self.was_seen(features), sums, -jnp.inf))

    def hidden(self, features: jax.Array) -> jax.Array:
        """Return the outputs of the hidden units, [P, M]."""
        return jnp.tanh(features @ self.inner + self.inner_bias)

    def was_seen(self, features: jax.Array) -> jax.Array:
        """Return who may have a weight, [P, 1 + K]: the network, and orders whose context was seen."""
        num_orders = len(self.outer_bias) - 1
        seen = features[:, 2 * num_orders : 3 * num_orders] > 0
        return jnp.pad(seen, ((0, 0), (1, 0)), constant_values=True)


class Counts(NamedTuple):
    """What was counted of each context before P characters that were read."""

    occurrences: Any  # [P, K] int32, n: how often the context was seen
    kinds: Any  # [P, K] int32, d: how many kinds of symbols followed
    hits: Any  # [P, K] int32, c: how often the character that did follow


def features_of(counts: Counts, entropies: jax.Array, largest: jax.Array) -> jax.Array:
    """Return what the gate sees, [P, F].

    Args:
        counts: of the contexts.
        entropies: [P], of the network's predictions, nats.
        largest: [P], its largest log-probability.
    """
    n, d = (jnp.asarray(each, jnp.float32) for each in counts[:2])
    network = [entropies[:, None] / 2, largest[:, None]]
    return jnp.concatenate(
        [jnp.log1p(n) / 5, jnp.log1p(d) / 3, (n > 0).astype(jnp.float32), *network], axis=1
    )


def probabilities_of(counts: Counts, num_symbols: int) -> jax.Array:
    """Return what the n-gram of each order gave the characters that did follow, [P, K]."""
    probability = jnp.full(len(counts.hits), 1 / num_symbols, jnp.float32)
    orders = []
    for n, d, c in zip(*(jnp.asarray(each, jnp.float32).T for each in counts), strict=True):
        smoothed = (c + d * probability) / jnp.maximum(n + d, 1)
        probability = jnp.where(n > 0, smoothed, probability)
        orders.append(probability)
    return jnp.stack(orders, axis=1)


@partial(jax.jit, static_argnames="learns")
def mixed_surprises(
    gate: Gate,
    surprises: jax.Array,
    entropies: jax.Array,
    largest: jax.Array,
    counts: Counts,
    num_symbols: Any,
    *,
    learns: bool = False,
) -> jax.Array:
    """Return the surprise of each character under the mixture, [P], nats.

    Args:
        gate: gives the weights.
        surprises: [P], of the network.
        entropies: [P], of its predictions.
        largest: [P], its largest log-probability.
        counts: before each character.
        num_symbols: [], V.
        learns: the gate learns from each character, once it is predicted; see :func:`_learning_surprises`.
    """
    features = features_of(counts, entropies, largest)
    experts = jnp.concatenate([jnp.exp(-surprises)[:, None], probabilities_of(counts, num_symbols)], axis=1)
    if learns:
        return _learning_surprises(gate, features, experts)
    return -jnp.log(jnp.sum(gate.weights(features) * experts, axis=1))


def _learning_surprises(gate: Gate, features: jax.Array, experts: jax.Array) -> jax.Array:
    """Return the surprise of each character under a gate that learns from those before it, [P], nats.

    The output layer takes a step of gradient descent after every character. With w_k the weight of expert k
    and r_k = w_k P_k / P its share of the probability of the character that came, the gradient of the
    surprise -ln P by the sum that w_k comes from is w_k - r_k.

    Args:
        gate: with which it begins.
        features: [P, F].
        experts: [P, 1 + K], what each gave the character that did follow.
    """
    hidden, was_seen = gate.hidden(features), gate.was_seen(features)

    def predict(layer: tuple[jax.Array, jax.Array], at: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        (outer, bias), (inputs, seen, given) = layer, at
        weights = jax.nn.softmax(jnp.where(seen, inputs @ outer + bias, -jnp.inf))
        shares = weights * given
        total = jnp.maximum(jnp.sum(shares), jnp.finfo(jnp.float32).tiny)
        step = GATE_LEARNING_RATE * (shares / total - weights)
        return (outer + inputs[:, None] * step, bias + step), -jnp.log(total)

    _, surprises = jax.lax.scan(predict, (gate.outer, gate.outer_bias), (hidden, was_seen, experts))
    return surprises
