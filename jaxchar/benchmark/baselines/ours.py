"""jaxchar itself, as its trainer runs it: many steps per call."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxchar.benchmark import data
from jaxchar.benchmark.baselines import LeftOut
from jaxchar.benchmark.baselines.nnx_weights import give_weights, set_precision, weights_of
from jaxchar.benchmark.cells import READING_STEPS, TEXT_CHARS, Cell
from jaxchar.config import Config, Precision
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.language_model import LanguageModel
from jaxchar.model.char_rnn import CharRNN, num_parameters
from jaxchar.model.loss import cross_entropy_sums
from jaxchar.model.split import split_model
from jaxchar.parallel.devices import make_mesh, replicate
from jaxchar.recurrence import cuda_plan, native, nvrtc
from jaxchar.recurrence.cuda_layer import PARTS
from jaxchar.recurrence.fused import unrolled_by
from jaxchar.recurrence.unroll import Implementation
from jaxchar.scoring.protocols import stateful_pass
from jaxchar.scoring.validation import make_evaluation
from jaxchar.training.step import TrainState, make_program

NO_LIMIT = 10**5  # epochs
# Of products of float32 numbers, of which a bfloat16 model has a few, too.
PRODUCTS: dict[str, Precision] = {"float32": "highest", "tf32": "tf32", "bfloat16": "default"}


def config_of(cell: Cell, dtype: str, implementation: Any = "auto") -> Config:
    """Return the settings that mean this cell, computed by an implementation of the recurrence."""
    if cell.many_to_one:
        windows = cell.steps_per_epoch * cell.batch_size
        batching: dict[str, Any] = {"batching": "windows", "return_sequences": False, "max_windows": windows}
    else:
        batching = {"batching": "streams", "stateful": False}
    return Config(
        **batching,
        seq_len=cell.seq_len,
        batch_size=cell.batch_size,
        cell="lstm",
        hidden_size=cell.hidden_size,
        num_layers=cell.num_layers,
        dtype="bfloat16" if dtype == "bfloat16" else "float32",
        precision=PRODUCTS[dtype],
        optimizer="adam",
        learning_rate=data.LEARNING_RATE,
        beta1=data.BETAS[0],
        beta2=data.BETAS[1],
        epsilon=data.EPSILON,
        clip_value=cell.clip_value,
        clip_norm=cell.clip_norm,
        epochs=NO_LIMIT,
        implementation=implementation,
    )


class Ours:
    """A program of :mod:`jaxchar.training.step` and its state."""

    redundant_parameters = 0

    def __init__(
        self, cell: Cell, config: Config, mesh: Mesh, steps_per_call: int | None, unroll: int | None
    ) -> None:
        """Make the program, its state and the text on the device or devices."""
        self.program, self.unroll = make_program(config, cell.vocab_size, TEXT_CHARS, mesh), unroll
        self.ids = replicate(data.made_up_text(cell.vocab_size), mesh)
        self.cell, self.steps_per_call = cell, steps_per_call
        self.state: TrainState = self.program.initial_state()
        self.num_parameters = num_parameters(self._model())
        self._judged = jax.jit(jax.value_and_grad(self._loss))

    def _model(self) -> CharRNN:
        return nnx.merge(self.program.graphdef, self.state.params)

    def load(self, weights: data.Weights) -> None:
        """Take these weights, a fresh optimiser and the first batch."""
        self.state = self.program.initial_state()
        model = self._model()
        assert isinstance(model.head, nnx.Linear)
        give_weights(model.cells, model.head, weights)
        given = replicate(nnx.state(model, nnx.Param), self.program.mesh)
        self.state = self.state._replace(params=given)

    def _loss(self, params: nnx.State) -> jax.Array:
        model = nnx.merge(self.program.graphdef, params)
        inputs, targets = map(jnp.asarray, data.first_batch(self.cell))
        predict = model.last_logits if self.cell.many_to_one else model
        logits, _ = predict(inputs, model.initial_carry(len(inputs)))
        return cross_entropy_sums(logits, targets, jnp.ones(targets.shape)).loss / targets.size

    def loss_and_gradient(self) -> tuple[float, data.Weights]:
        """Return loss and gradient of the first batch through the model's own path."""
        with unrolled_by(self.unroll):
            loss, gradient = self._judged(self.state.params)
        model = nnx.merge(self.program.graphdef, gradient)
        return float(loss), weights_of(model.cells, model.head)

    def train(self, steps: int) -> float:
        """Do steps, in one call or in several of ``steps_per_call``."""
        state, done = self.state, int(self.state.step)
        started = time.perf_counter()
        for stop in range(done, done + steps, self.steps_per_call or steps):
            stop = min(stop + (self.steps_per_call or steps), done + steps)
            with unrolled_by(self.unroll):
                state, _ = self.program.train_steps(state, self.ids, np.int32(stop), self.program.seed)
        self.state = jax.block_until_ready(state)
        return time.perf_counter() - started

    def planned_bytes(self) -> dict[str, int]:
        """Return what XLA's plan of the compiled step takes on the device: arguments, results, between."""
        with unrolled_by(self.unroll):
            plan = self.program.compiled_for(self.state, self.ids).memory_analysis()
        parts = {"arguments": "argument", "results": "output", "between": "temp", "in place": "alias"}
        return {name: getattr(plan, f"{part}_size_in_bytes", 0) for name, part in parts.items()}


def prepare(
    cell: Cell,
    dtype: str,
    *,
    devices: int | None = 1,
    steps_per_call: int | None = None,
    implementation: str = "auto",
    unroll: int | None = None,
) -> Ours:
    """Return jaxchar for a cell.

    Args:
        cell: what to train.
        dtype: see :mod:`jaxchar.benchmark.baselines`.
        devices: to split the batch between; None: all there are, on a CPU as many as it has cores.
        steps_per_call: None: as many as are asked for.
        implementation: of the recurrence.
        unroll: time steps that are compiled as one; None: what is best for the device.
    """
    set_precision(dtype)
    _check_implementation(implementation, cell, dtype)
    config = config_of(cell, dtype, implementation)
    return Ours(cell, config, _mesh(cell, devices), steps_per_call, unroll)


def _check_implementation(name: str, cell: Cell, dtype: str) -> None:
    """Raise LeftOut for an implementation that there is not, or not here."""
    if name not in get_args(Implementation):
        raise LeftOut(f"jaxchar has no implementation {name} yet")
    if name == "native" and (jax.default_backend() != "cpu" or dtype != "float32"):
        raise LeftOut("native computes in float32 on a processor")
    if name == "native" and not native.is_available():
        raise LeftOut(native.why_not())
    if name == "cuda":
        _check_cuda(cell, dtype)


def _check_cuda(cell: Cell, dtype: str) -> None:
    """Raise LeftOut where something else would compute instead of the CUDA kernels."""
    if jax.default_backend() != "gpu" or not cuda_plan.capability_here():
        raise LeftOut("cuda computes on NVIDIA cards")
    parts = PARTS["bfloat16" if dtype == "bfloat16" else PRODUCTS[dtype]]
    reason = nvrtc.why_not() or cuda_plan.why_not(cell.hidden_size, parts)
    if reason:
        raise LeftOut(reason)


def _mesh(cell: Cell, devices: int | None) -> Mesh:
    """Return the devices to split a batch over, made before anything else uses JAX."""
    try:
        mesh = make_mesh(devices or jax.local_device_count(), cell.batch_size)
    except JaxcharError as error:
        raise LeftOut(str(error)) from None
    if devices != 1 and mesh.size == 1:
        raise LeftOut("there is one device here")
    return mesh


# ---- writing and reading -------------------------------------------------------------------------


def writer(cell: Cell, dtype: str) -> Callable[[int], float]:
    """Return what writes texts as ``LanguageModel.generate_batch`` does, its prompt read anew each time."""
    set_precision(dtype)
    config = Config(cell="lstm", hidden_size=cell.hidden_size, num_layers=cell.num_layers)
    vocabulary = Vocabulary("".join(map(chr, range(32, 32 + cell.vocab_size))))
    model = LanguageModel(config, vocabulary, *split_model(config, cell.vocab_size))
    prompts = ["A"] * cell.batch_size

    def write(chars: int) -> float:
        started = time.perf_counter()
        model.generate_batch(prompts, chars)
        return time.perf_counter() - started

    return write


def reader(cell: Cell, dtype: str) -> Callable[[int], float]:
    """Return what reads a text with the state carried, as evaluation does."""
    set_precision(dtype)
    config = config_of(cell, dtype)
    graphdef, params = split_model(config, cell.vocab_size)
    ids = jnp.asarray(data.made_up_text(cell.vocab_size)[: READING_STEPS * cell.step_chars + 1])
    batches = stateful_pass(len(ids), cell.batch_size)
    return partial(_read, make_evaluation(graphdef, batches), params, ids)


def _read(evaluate: Callable, params: nnx.State, ids: jax.Array, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        totals = evaluate(params, ids)
    jax.block_until_ready(totals)
    return time.perf_counter() - started
