"""The gate: how much to trust the network, and how much the counts of each order.

Predictions are mixed linearly: P(s) = w_0 network(s) + sum over k of w_k P_k(s). P_k is the n-gram of order
k, smoothed with the one before it (Witten and Bell 1991): seen n times with c(s) of s and d kinds of symbols,
P_k(s) = (c(s) + d P_{k-1}(s)) / (n + d); below the first order all symbols are equally probable. The weights
come from a network of one hidden layer that sees no symbol: of each order log(1 + n) / 5, log(1 + d) / 3 and
whether n > 0, and of the network half its entropy and its largest log-probability. An order whose context was
never seen has no weight.

As it sees no symbol, one gate serves all texts. Its weights are in ``gate.json``; they were fitted on text
that neither the networks nor the counts had seen, see experiments/MEMORY.md. A gate that is fitted on the end
of a text that the network was trained on trusts the network too much.

Letters: P predictions, K orders, F = 3 K + 2 features, M hidden units, E = 1 + K
experts, V symbols.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Gate(NamedTuple):
    """The weights of a gate."""

    inner: Any  # [F, M]
    inner_bias: Any  # [M]
    outer: Any  # [M, E]
    outer_bias: Any  # [E]

    @classmethod
    @cache
    def fitted(cls, file: str = "gate.json") -> "Gate":
        """Return a gate that comes with the package."""
        saved = json.loads(files("jaxchar.memory").joinpath(file).read_text(encoding="utf-8"))
        return cls(*(np.array(saved[name], np.float32) for name in cls._fields))

    def hidden(self, features: jax.Array) -> jax.Array:
        """Return the outputs of the hidden units, [P, M], for features [P, F]."""
        return jnp.tanh(features @ self.inner + self.inner_bias)

    def weights(self, features: jax.Array, was_seen: jax.Array) -> jax.Array:
        """Return the weight of each expert, [P, E]; those that were not seen, [P, E], have none."""
        sums = self.hidden(features) @ self.outer + self.outer_bias
        return jax.nn.softmax(jnp.where(was_seen, sums, -jnp.inf))


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


def seen_by(counts: Counts) -> jax.Array:
    """Return who may have a weight, [P, 1 + K]: the network, and orders whose context was seen."""
    return jnp.pad(jnp.asarray(counts.occurrences) > 0, ((0, 0), (1, 0)), constant_values=True)


def probabilities_of(counts: Counts, num_symbols: int) -> jax.Array:
    """Return what the n-gram of each order gave the characters that did follow, [P, K]."""
    probability = jnp.full(len(counts.hits), 1 / num_symbols, jnp.float32)
    orders = []
    for n, d, c in zip(*(jnp.asarray(each, jnp.float32).T for each in counts), strict=True):
        smoothed = (c + d * probability) / jnp.maximum(n + d, 1)
        probability = jnp.where(n > 0, smoothed, probability)
        orders.append(probability)
    return jnp.stack(orders, axis=1)


class Evidence(NamedTuple):
    """What a gate goes by, and what the experts said, of P characters."""

    features: Any  # [P, F]
    was_seen: Any  # [P, E] bool, who may have a weight
    experts: Any  # [P, E], the probability that each gave the character that did follow


def evidence_of(surprises: Any, entropies: Any, largest: Any, counts: Counts, num_symbols: Any) -> Evidence:
    """Return what is known of each character, from the network and from the counts.

    Args:
        surprises: [P], of the network, nats.
        entropies: [P], of its predictions, nats.
        largest: [P], its largest log-probability.
        counts: before each character, [P, K].
        num_symbols: [], V.
    """
    orders = probabilities_of(counts, num_symbols)
    return Evidence(
        features_of(counts, entropies, largest),
        seen_by(counts),
        jnp.concatenate([jnp.exp(-surprises)[:, None], orders], axis=1),
    )


def mixture_surprises(gate: Gate, evidence: Evidence) -> jax.Array:
    """Return the surprise of each character under the mixture, [P], nats."""
    weights = gate.weights(evidence.features, evidence.was_seen)
    return -jnp.log(jnp.sum(weights * evidence.experts, axis=1))


@jax.jit
def mixed_surprises(
    gate: Gate, surprises: Any, entropies: Any, largest: Any, counts: Counts, num_symbols: Any
) -> jax.Array:
    """Return the surprise of each character under the mixture, [P], nats; see :func:`evidence_of`."""
    return mixture_surprises(gate, evidence_of(surprises, entropies, largest, counts, num_symbols))
