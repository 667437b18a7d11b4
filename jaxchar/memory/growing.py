"""The mixture while a text is read: with counts that grow, and a gate that learns.

Beside the network and the orders of a memory (:mod:`jaxchar.memory.gate`) stand, for some orders, what was
read of this text, and what was read lately. Each is smoothed with the one before it: with c(s) of n and d
kinds of symbols in what was read, and c'(s) of n' lately,

    read_k(s) = (c(s) + d P_k(s)) / (n + d)        lately_k(s) = (c'(s) + read_k(s)) / (n' + 1)

After every character the gate's output layer takes a step of gradient descent. With w_e the weight of expert
e and r_e = w_e P_e / P its share of the probability P of the character that came, the gradient of the
surprise -ln P by the sum that w_e comes from is w_e - r_e. The compressors of the PAQ family (Mahoney 2005)
learn in this way whom to trust.

Letters: P predictions, K orders of the memory, R orders of what was read, F = 3 K + 5 R + 2 features,
E = 1 + K + 2 R experts.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxchar.memory.gate import Evidence, Gate
from jaxchar.memory.read_counts import ORDERS_READ, ReadCounts
from jaxchar.memory.text_index import ORDERS

GATE = "growing_gate.json"
LEARNING_RATE = 0.01  # tried from 0.0005 to 0.04: experiments/MEMORY.md


def with_read(known: Evidence, read: ReadCounts) -> Evidence:
    """Return the evidence with what was read of this text, and lately, beside it.

    Args:
        known: from the network and from the counts of the remembered text and of what was read.
        read: of what was read alone, [P, R].
    """
    n, d, c, late_n, late_c = (jnp.asarray(part, jnp.float32) for part in read)
    features = [jnp.log1p(n) / 5, jnp.log1p(d) / 3, n > 0, jnp.log1p(late_n) / 5, late_n > 0]
    same_orders = known.experts[:, [1 + ORDERS.index(order) for order in ORDERS_READ]]
    of_read = (c + d * same_orders) / jnp.maximum(n + d, 1)
    lately = (late_c + of_read) / (late_n + 1)
    return Evidence(
        jnp.concatenate([known.features, *features], axis=1),
        jnp.concatenate([known.was_seen, n > 0, late_n > 0], axis=1),
        jnp.concatenate([known.experts, of_read, lately], axis=1),
    )


@jax.jit
def learning_surprises(gate: Gate, evidence: Evidence) -> jax.Array:
    """Return the surprise of each character under a gate that learns from those before it, [P], nats.

    Args:
        gate: with which it begins.
        evidence: of the characters, in the order of the text.
    """

    def predict(layer: tuple[jax.Array, jax.Array], at: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        (outer, bias), (hidden, was_seen, experts) = layer, at
        weights = jax.nn.softmax(jnp.where(was_seen, hidden @ outer + bias, -jnp.inf))
        shares = weights * experts
        total = jnp.maximum(jnp.sum(shares), jnp.finfo(jnp.float32).tiny)
        step = LEARNING_RATE * (shares / total - weights)
        return (outer + hidden[:, None] * step, bias + step), -jnp.log(total)

    inputs = gate.hidden(evidence.features), evidence.was_seen, evidence.experts
    _, surprises = jax.lax.scan(predict, (gate.outer, gate.outer_bias), inputs)
    return surprises
