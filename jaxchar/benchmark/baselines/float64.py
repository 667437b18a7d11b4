"""The judge: the same model written plainly and computed in float64 on the CPU. It is not timed."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.benchmark import data
from jaxchar.benchmark.cells import Cell

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)


def loss_of(weights: dict[str, jax.Array], inputs: np.ndarray, targets: np.ndarray, cell: Cell) -> jax.Array:
    """Return the mean cross-entropy (nats) of ids [R, T]."""
    features = jax.nn.one_hot(inputs.T, cell.vocab_size, dtype=jnp.float64)  # [T, R, V]
    for layer in range(1, cell.num_layers + 1):
        features = lstm(features, *(weights[f"{kind} {layer}"] for kind in ("input", "recurrent", "bias")))
    outputs = features[-1] if cell.many_to_one else features.swapaxes(0, 1)
    log_probabilities = jax.nn.log_softmax(outputs @ weights["head"] + weights["head bias"])
    return -jnp.mean(jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1))


def lstm(features: jax.Array, kernel: jax.Array, recurrent: jax.Array, bias: jax.Array) -> jax.Array:
    """Return the hidden states [T, R, H] of one layer that begins at zero."""

    def step(state: tuple[jax.Array, jax.Array], at_t: jax.Array) -> tuple:
        hidden, cell = state
        i, f, g, o = jnp.split(at_t @ kernel + hidden @ recurrent + bias, 4, axis=-1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

    zeros = jnp.zeros((features.shape[1], recurrent.shape[0]))
    return jax.lax.scan(step, (zeros, zeros), features)[1]


class Judge:
    """Weights in float64."""

    def __init__(self, cell: Cell) -> None:
        """Take the cell whose loss is asked for."""
        self.cell = cell

    def load(self, weights: data.Weights) -> None:
        """Take these weights."""
        self.weights = {name: jnp.asarray(values, jnp.float64) for name, values in weights.items()}

    def loss_and_gradient(self) -> tuple[float, data.Weights]:
        """Return loss and gradient of the first batch."""
        inputs, targets = data.first_batch(self.cell)
        both = jax.jit(jax.value_and_grad(lambda weights: loss_of(weights, inputs, targets, self.cell)))
        loss, gradient = both(self.weights)
        return float(loss), {name: np.asarray(values) for name, values in gradient.items()}


def prepare(cell: Cell, dtype: str) -> Judge:
    """Return the judge of a cell, whatever the dtype of the baselines."""
    del dtype
    return Judge(cell)
