"""Keras 3 on JAX: ``LSTM`` and ``Dense``, trained by ``model.fit`` over a prepared array of ids.

That is the fastest of what Keras offers: ``train_on_batch`` waits for the loss of every step.
"""

import os
import time
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np
from keras import layers

from jaxchar.benchmark import data
from jaxchar.benchmark.baselines.nnx_weights import set_precision
from jaxchar.benchmark.cells import Cell


def build(cell: Cell) -> keras.Model:
    """Return one-hot characters, a stack of LSTM layers and a dense layer as one model."""
    inputs = keras.Input((cell.seq_len,), dtype="int32")
    features = keras.ops.one_hot(inputs, cell.vocab_size)
    for layer in range(1, cell.num_layers + 1):
        every_step = not cell.many_to_one or layer < cell.num_layers
        features = layers.LSTM(cell.hidden_size, return_sequences=every_step)(features)
    return keras.Model(inputs, layers.Dense(cell.vocab_size, dtype="float32")(features))


class Keras:
    """A compiled model and its data, cut into batches beforehand."""

    redundant_parameters = 0

    def __init__(self, cell: Cell) -> None:
        """Build the model and cut the text."""
        self.cell, self.model = cell, build(cell)
        # Keras takes cuDNN's LSTM (jax.experimental.rnn) by itself, which has no bfloat16.
        by_cudnn = jax.default_backend() == "gpu" and keras.config.dtype_policy().compute_dtype == "float32"
        self.variant = "its cuDNN path" if by_cudnn else ""
        self.num_parameters = self.model.count_params()
        self._judged = jax.jit(jax.value_and_grad(self._loss))
        starts = np.concatenate([data.batch_starts(cell, step) for step in range(cell.steps_per_epoch)])
        chars = data.made_up_text(cell.vocab_size)[starts[:, None] + np.arange(cell.seq_len + 1)]
        self.inputs, self.targets = data.inputs_and_targets(cell, chars.astype(np.int32))

    def _named(self) -> dict[str, keras.Variable]:
        """Return the weights by the benchmark's names; Keras calls gate g c, and has the same order."""
        named, lstms = {}, [layer for layer in self.model.layers if isinstance(layer, layers.LSTM)]
        for number, layer in enumerate(lstms, start=1):
            named[f"input {number}"] = layer.cell.kernel
            named[f"recurrent {number}"] = layer.cell.recurrent_kernel
            named[f"bias {number}"] = layer.cell.bias
        head = self.model.layers[-1]
        return named | {"head": head.kernel, "head bias": head.bias}

    def load(self, weights: data.Weights) -> None:
        """Take these weights, a fresh optimiser and the first batch."""
        for name, variable in self._named().items():
            variable.assign(weights[name])
        clipping = {"clipvalue": self.cell.clip_value or None, "global_clipnorm": self.cell.clip_norm or None}
        optimizer = keras.optimizers.Adam(data.LEARNING_RATE, *data.BETAS, epsilon=data.EPSILON, **clipping)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer, loss, jit_compile=True)
        self.step = 0

    def _loss(self, values: list[jax.Array]) -> jax.Array:
        inputs, targets = data.first_batch(self.cell)
        others = [variable.value for variable in self.model.non_trainable_variables]
        logits, _ = self.model.stateless_call(values, others, inputs)
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True))

    def loss_and_gradient(self) -> tuple[float, data.Weights]:
        """Return loss and gradient of the first batch."""
        variables = self.model.trainable_variables
        loss, gradient = self._judged([variable.value for variable in variables])
        by_variable = {id(variable): part for variable, part in zip(variables, gradient, strict=True)}
        return float(loss), {name: np.asarray(by_variable[id(v)]) for name, v in self._named().items()}

    def train(self, steps: int) -> float:
        """Do steps, in as few calls of ``fit`` as the ends of epochs allow."""
        started, left, batch_size = time.perf_counter(), steps, self.cell.batch_size
        while left:
            position = self.step % self.cell.steps_per_epoch
            now = min(left, self.cell.steps_per_epoch - position)
            rows = slice(position * batch_size, (position + now) * batch_size)
            self.model.fit(
                self.inputs[rows], self.targets[rows], batch_size=batch_size, shuffle=False, verbose=0
            )
            self.step, left = self.step + now, left - now
        jax.block_until_ready([variable.value for variable in self.model.trainable_variables])
        return time.perf_counter() - started


def _set_precision(dtype: str) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    set_precision(dtype)


def prepare(cell: Cell, dtype: str) -> Keras:
    """Return Keras for a cell."""
    _set_precision(dtype)
    return Keras(cell)


def writer(cell: Cell, dtype: str) -> Callable[[int], float]:
    """Return the loop of Keras's own examples: ``predict_on_batch`` for each character, NumPy draws."""
    _set_precision(dtype)
    last = keras.Input((1,), dtype="int32")
    state = [keras.Input((cell.hidden_size,)) for _ in range(2)]
    lstm = layers.LSTM(cell.hidden_size, return_state=True)
    features, *after = lstm(keras.ops.one_hot(last, cell.vocab_size), initial_state=state)
    model = keras.Model([last, *state], [layers.Dense(cell.vocab_size)(features), *after])

    def write(chars: int) -> float:
        started, random = time.perf_counter(), np.random.default_rng(0)
        ids = np.zeros((cell.batch_size, 1), np.int32)
        now = [np.zeros((cell.batch_size, cell.hidden_size), np.float32) for _ in range(2)]
        for _ in range(chars):
            logits, *now = model.predict_on_batch([ids, *now])
            ids = np.argmax(logits + random.gumbel(size=logits.shape), axis=1)[:, None].astype(np.int32)
        return time.perf_counter() - started

    return write
