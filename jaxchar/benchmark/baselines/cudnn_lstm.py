"""JAX with cuDNN's LSTM, ``jax.experimental.rnn``, many steps per call. NVIDIA GPUs only."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import rnn

from jaxchar.benchmark import data
from jaxchar.benchmark.baselines import LeftOut
from jaxchar.benchmark.baselines.flax_rnn import optimizer_of
from jaxchar.benchmark.baselines.nnx_weights import set_precision
from jaxchar.benchmark.cells import GATES, Cell


class CuDNN:
    """cuDNN's flat weights with a head, and a loop of whole steps."""

    def __init__(self, cell: Cell, dtype: str) -> None:
        """Compile nothing yet; put the text on the device."""
        self.cell, self.dtype = cell, dtype
        self.optimizer = optax.chain(optimizer_of(cell), _half_rate_of_biases(cell))
        self.ids = jnp.asarray(data.made_up_text(cell.vocab_size))
        flat = rnn.get_num_params_in_lstm(cell.vocab_size, cell.hidden_size, cell.num_layers, False)
        self.num_parameters = flat + (cell.hidden_size + 1) * cell.vocab_size
        self.redundant_parameters = 4 * cell.hidden_size * cell.num_layers  # the second bias of each layer
        self._steps = jax.jit(self._train_steps, donate_argnums=0)
        self._judged = jax.jit(jax.value_and_grad(self._loss))

    # ---- weights ---------------------------------------------------------------------------------

    def _packed(self, weights: data.Weights) -> dict[str, jax.Array]:
        """Return weights as cuDNN keeps them: all kernels, [4H, D] and [4H, H], then all biases."""
        layers = range(1, self.cell.num_layers + 1)
        parts = [weights[f"{kind} {layer}"].T for layer in layers for kind in ("input", "recurrent")]
        for layer in layers:
            parts += [weights[f"bias {layer}"], np.zeros_like(weights[f"bias {layer}"])]
        flat = np.concatenate([part.ravel() for part in parts])
        return {"lstm": jnp.asarray(flat)} | {
            name: jnp.asarray(weights[name]) for name in ("head", "head bias")
        }

    def _unpacked(self, params: dict[str, jax.Array]) -> data.Weights:
        sizes = (self.cell.vocab_size, self.cell.hidden_size, self.cell.num_layers)
        inputs, recurrent, biases, _ = rnn.unpack_lstm_weights(params["lstm"], *sizes, False)
        weights = {name: np.asarray(params[name]) for name in ("head", "head bias")}
        for layer in range(self.cell.num_layers):
            weights[f"input {layer + 1}"] = np.asarray(inputs[layer].T)
            weights[f"recurrent {layer + 1}"] = np.asarray(recurrent[layer].T)
            weights[f"bias {layer + 1}"] = np.asarray(biases[layer])
        return weights

    def load(self, weights: data.Weights) -> None:
        """Take these weights, a fresh optimiser and the first batch."""
        params = self._packed(weights)
        self.state: Any = (jnp.int32(0), params, self.optimizer.init(params))

    # ---- training --------------------------------------------------------------------------------

    def _loss(self, params: dict[str, jax.Array], inputs: jax.Array, targets: jax.Array) -> jax.Array:
        cell, rows = self.cell, inputs.shape[0]
        zeros = jnp.zeros((cell.num_layers, rows, cell.hidden_size))
        features, _, _ = rnn.lstm(
            jax.nn.one_hot(inputs, cell.vocab_size),
            zeros,
            zeros,
            params["lstm"],
            jnp.full(rows, cell.seq_len, jnp.int32),
            cell.vocab_size,
            cell.hidden_size,
            cell.num_layers,
            0.0,
            False,
            jax.lax.Precision.HIGHEST if self.dtype == "float32" else jax.lax.Precision.HIGH,
        )
        logits = (features[:, -1] if cell.many_to_one else features) @ params["head"] + params["head bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    def loss_and_gradient(self) -> tuple[float, data.Weights]:
        """Return loss and gradient of the first batch."""
        loss, gradient = self._judged(self.state[1], *data.first_batch(self.cell))
        return float(loss), self._unpacked(gradient)

    def _train_steps(self, state: Any, ids: jax.Array, stop: jax.Array) -> Any:
        cell = self.cell
        rows, chars = jnp.asarray(data.batch_starts(cell, 0))[:, None], jnp.arange(cell.seq_len + 1)

        def one_step(state: Any) -> Any:
            step, params, opt_state = state
            start = step % cell.steps_per_epoch * cell.step_distance
            batch = data.inputs_and_targets(cell, ids[rows + start + chars].astype(jnp.int32))
            gradient = jax.grad(self._loss)(params, *batch)
            updates, opt_state = self.optimizer.update(gradient, opt_state, params)
            return step + 1, optax.apply_updates(params, updates), opt_state

        return jax.lax.while_loop(lambda state: state[0] < stop, one_step, state)

    def train(self, steps: int) -> float:
        """Do steps in one call."""
        stop = np.int32(int(self.state[0]) + steps)
        started = time.perf_counter()
        self.state = jax.block_until_ready(self._steps(self.state, self.ids, stop))
        return time.perf_counter() - started


def _half_rate_of_biases(cell: Cell) -> optax.GradientTransformation:
    """Halve the updates of both biases, so that their sum moves as the one bias of others does."""
    biases = 2 * GATES * cell.hidden_size * cell.num_layers  # at the end of cuDNN's flat weights

    def halve(updates: dict[str, jax.Array], _: Any = None) -> dict[str, jax.Array]:
        flat = updates["lstm"]
        return updates | {"lstm": jnp.where(jnp.arange(flat.size) < flat.size - biases, flat, flat / 2)}

    return optax.stateless(halve)


def prepare(cell: Cell, dtype: str) -> CuDNN:
    """Return cuDNN for a cell."""
    if jax.default_backend() != "gpu":
        raise LeftOut("cuDNN needs an NVIDIA GPU")
    if dtype == "bfloat16":
        raise LeftOut("jax.experimental.rnn has no bfloat16")
    set_precision(dtype)
    return CuDNN(cell, dtype)
