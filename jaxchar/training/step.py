"""One training step, and many of them in one call: plain functions of plain pytrees."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh

from jaxchar.ambient import pinned
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.config import BatchConfig, Config, Count, Interval, ModelConfig, OptimizerConfig, part_of
from jaxchar.data.batches import Batch, Documents, Ordered, Streams, Text, Windows
from jaxchar.errors import JaxcharError
from jaxchar.machine import memory_bytes
from jaxchar.model.loss import MetricSums
from jaxchar.model.optimizer import average_weights, make_optimizer
from jaxchar.model.own_optimizer import check_own_optimizer, own_optimizer
from jaxchar.model.predictions import sums_over_batch
from jaxchar.model.split import model_structure, split_model
from jaxchar.own_cells import RegisteredCell, own_cell
from jaxchar.parallel.devices import check_precision, make_mesh, replicated, split_rows
from jaxchar.randomness import DROPOUT_KEY, SHUFFLE_KEY, purpose_key
from jaxchar.recurrence import native
from jaxchar.recurrence.cells import GATE_BLOCKS, Carry
from jaxchar.tracing import traced_for

MOST_STEPS = 2**31 - 1  # counters are int32
SMOOTHING = 0.999  # min-char-rnn's smoothed loss: 0.999 old + 0.001 new


class TrainState(NamedTuple):
    """All that training is: saved whole, a run goes on from it bit for bit."""

    step: jax.Array  # [] int32, steps done
    params: nnx.State
    opt_state: optax.OptState
    average: nnx.State | None  # moving average of params, where one is kept
    carry: tuple[Carry, ...]  # the streams' state after the last step
    epoch_totals: MetricSums  # since the start of the epoch
    recent_totals: MetricSums  # since the last line of the log
    smoothed_loss: jax.Array  # [] float32, nats per character
    skipped: jax.Array  # [] int32, steps left out because their loss or gradient was not finite


@dataclass(frozen=True, kw_only=True)
class StepSettings(OptimizerConfig, ModelConfig, BatchConfig):
    """The settings that a training step depends on; runs that agree in them share what is compiled."""

    log_every: Count
    # Of the run; None where the schedule does not depend on it.
    total_steps: Annotated[int, Interval(0, MOST_STEPS)] | None

    @classmethod
    def of(cls, config: Config, total_steps: int) -> "StepSettings":
        """Return those of a run with so many steps."""
        falls_to_the_end = config.schedule in ("linear", "cosine")
        return part_of(
            config,
            cls,
            total_steps=total_steps if falls_to_the_end else None,
            hold_until=config.hold_until if falls_to_the_end else 0,
        )


class Program(NamedTuple):
    """A configuration made executable: the functions of one run."""

    graphdef: nnx.GraphDef
    batches: Windows | Streams
    initial_state: Callable[..., TrainState]  # without arguments
    # (state, ids or documents, stop, seed) -> (state, finite); the state given is used up.
    train_steps: jax.stages.Wrapped
    total_steps: int
    seed: np.uint32  # what train_steps is given
    mesh: Mesh
    compiled: dict[Any, jax.stages.Compiled]  # train_steps, by the shapes of what it is given

    def compiled_for(self, state: TrainState, text: Text) -> jax.stages.Compiled:
        """Return ``train_steps`` compiled for a state and a text."""
        leaves, tree = jax.tree.flatten((state, text))
        key = tree, tuple((leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves)
        if key not in self.compiled:
            self.compiled[key] = self.train_steps.lower(state, text, np.int32(0), self.seed).compile()
        return self.compiled[key]


# (step, steps per second) -> settings with another last step, and their program; None: all stays as it is.
Correction = Callable[[int, float], tuple[Config, Program] | None]

# (state, ids or what is read of documents, seed) -> (state, finite)
OneStep = Callable[[TrainState, jax.Array | Ordered, jax.Array], tuple[TrainState, jax.Array]]


def evaluation_params(state: TrainState) -> nnx.State:
    """Return the weights that evaluation and sampling use: the average, where there is one."""
    return state.params if state.average is None else state.average


def figures_of(state: TrainState) -> TrainState:
    """Return a state with its figures alone, which take one transfer together."""
    return state._replace(params=nnx.State({}), opt_state=(), average=None, carry=())


def training_batches(config: BatchConfig, num_chars: int) -> Windows | Streams:
    """Return how the configuration cuts ``num_chars`` characters of training text."""
    if config.batching == "streams":
        return Streams(num_chars, config.seq_len, config.batch_size, offsets=config.lane_offsets)
    return Windows(
        num_chars,
        config.seq_len,
        config.batch_size,
        config.stride,
        config.shuffle,
        config.return_sequences,
        config.max_windows,
    )


def enough_chars(config: Config) -> int:
    """Return a number of characters that is enough for a step of training."""
    return config.batch_size * config.seq_len + 1


def last_character(config: Config, batches: Streams, text: Text, step: int) -> jax.Array:
    """Return the character, [] int32, that the first row of a batch ended with, so many steps done."""
    key, last = purpose_key(config.seed, SHUFFLE_KEY), jnp.int32(step - 1)
    return batches.batch(batches.reading(text, last, key), last, key).targets[0, -1]


def total_steps(config: Config, steps_per_epoch: int) -> int:
    """Return the step at which a run of this configuration ends."""
    steps = config.epochs * steps_per_epoch
    return steps if config.max_steps is None else min(steps, config.max_steps)


def make_program(
    config: Config,
    vocab_size: int,
    num_chars: int,
    mesh: Mesh | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Program:
    """Return the functions that train on ``num_chars`` characters with ``vocab_size`` symbols.

    A process builds and compiles them once for all runs of the same :class:`StepSettings` and sizes.

    Args:
        config: all settings.
        vocab_size: V.
        num_chars: N.
        mesh: the devices to split each batch over; None: the first one.
        optimizer: the user's own, where ``config.optimizer`` is "custom".

    Raises:
        JaxcharError: the run has too many steps, or the optimizer cannot be used.
    """
    batches = training_batches(config, num_chars)
    steps = total_steps(config, batches.steps_per_epoch)
    if max(steps, batches.steps_per_epoch * config.batch_size * config.seq_len) > MOST_STEPS:
        raise JaxcharError(
            f"the run has {steps:,} steps and an epoch of {batches.steps_per_epoch:,}, more than can be "
            f"counted ({MOST_STEPS:,} steps, and as many characters an epoch); lower epochs, raise stride"
        )
    settings, mesh = StepSettings.of(config, steps), mesh or make_mesh()
    if optimizer is not None:  # there is no saying which two of them do the same
        shared = _program.__wrapped__(settings, vocab_size, num_chars, mesh, None, optimizer)
    else:
        shared = _program(settings, vocab_size, num_chars, mesh, (native.identity(), own_cell(config.cell)))
    seed = np.uint32(config.seed)
    return shared._replace(
        initial_state=functools.partial(shared.initial_state, seed), total_steps=steps, seed=seed
    )


@functools.lru_cache(16)
def _program(
    settings: StepSettings,
    vocab_size: int,
    num_chars: int,
    mesh: Mesh,
    _layer: tuple[str, RegisteredCell | None] | None,  # C++ library and cell: how a layer is computed
    optimizer: optax.GradientTransformation | None = None,
) -> Program:
    """Build the functions; ``initial_state`` takes the seed, and the number of steps is left open."""
    batches = training_batches(settings, num_chars)
    graphdef, params = model_structure(settings, vocab_size)
    if settings.optimizer == "custom" and optimizer is not None:
        optimizer = own_optimizer(optimizer)
        check_own_optimizer(optimizer, params)
    else:
        optimizer = make_optimizer(settings, batches.steps_per_epoch, settings.total_steps or 1)
    one_step = _make_step(settings, graphdef, batches, optimizer, mesh)
    initial_state = _make_initial_state(settings, graphdef, vocab_size, optimizer)
    device, everywhere = mesh.devices.flat[0], replicated(mesh)
    check_precision(device, settings.precision)
    traced = traced_for(device.platform, settings.precision)
    return Program(
        graphdef,
        batches,
        jax.jit(traced(initial_state), out_shardings=everywhere),
        jax.jit(traced(_make_train_steps(batches, one_step)), donate_argnums=0, out_shardings=everywhere),
        total_steps=0,
        seed=np.uint32(0),
        mesh=mesh,
        compiled={},
    )


def _make_initial_state(
    settings: StepSettings, graphdef: nnx.GraphDef, vocab_size: int, optimizer: optax.GradientTransformation
) -> Callable[[jax.Array], TrainState]:
    def initial_state(seed: jax.Array) -> TrainState:
        """Return the state before the first step."""
        _, params = split_model(settings, vocab_size, seed)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            average=jax.tree.map(jnp.copy, params) if settings.ema_decay else None,
            carry=nnx.merge(graphdef, params).initial_carry(settings.batch_size),
            epoch_totals=MetricSums.zero(),
            recent_totals=MetricSums.zero(),
            smoothed_loss=jnp.log(jnp.float32(vocab_size)),  # a model that knows nothing
            skipped=jnp.zeros((), jnp.int32),
        )

    return initial_state


def _make_train_steps(
    batches: Windows | Streams, one_step: OneStep
) -> Callable[[TrainState, Text, jax.Array, jax.Array], tuple[TrainState, jax.Array]]:
    def until(stop: jax.Array, body: Callable[[TrainState], Any], so_far: Any) -> Any:
        def goes_on(so_far: tuple[TrainState, jax.Array]) -> jax.Array:
            state, finite = so_far
            return finite & (state.step < stop)

        return lax.while_loop(goes_on, lambda so_far: body(so_far[0]), so_far)

    def train_steps(
        state: TrainState, text: Text, stop: jax.Array, seed: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        """Train until ``stop`` steps are done; one compilation serves every number of them.

        Where a loss or gradient is not finite, and such steps are not to be skipped, training stops
        right after the step, and ``finite`` is False.
        """

        def one_epoch(state: TrainState) -> tuple[TrainState, jax.Array]:
            """Train to the end of the epoch; its order of the documents is found once."""
            assert isinstance(batches, Streams)  # windows are shuffled one by one
            reading = batches.reading(text, state.step, purpose_key(seed, SHUFFLE_KEY))
            end = (state.step // batches.steps_per_epoch + 1) * batches.steps_per_epoch
            start = (state, jnp.bool_(True))
            return until(jnp.minimum(stop, end), lambda state: one_step(state, reading, seed), start)

        start = (state, jnp.bool_(True))
        if isinstance(text, Documents):
            return until(stop, one_epoch, start)
        return until(stop, lambda state: one_step(state, text, seed), start)

    return train_steps


@pinned()
def state_structure(metadata: Metadata, optimizer: optax.GradientTransformation | None = None) -> TrainState:
    """Return the structure of the training state that a checkpoint's metadata promises.

    Args:
        metadata: the checkpoint's.
        optimizer: the user's own, where the run has one.
    """
    config, num_chars = metadata.config, metadata.corpus["characters"]
    if "imported" in metadata.corpus:  # the state is the same for every text
        num_chars = enough_chars(config)
    program = make_program(config, len(metadata.vocabulary), num_chars, optimizer=optimizer)
    return jax.eval_shape(program.initial_state)


def _make_step(
    settings: StepSettings,
    graphdef: nnx.GraphDef,
    batches: Windows | Streams,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
) -> OneStep:
    def loss_of(params: nnx.State, batch: Batch, carry: Any, key: jax.Array | None):
        totals, carry = sums_over_batch(nnx.merge(graphdef, params), batch, carry, key)
        loss = totals.loss / totals.count
        if settings.loss_reduction == "sum" and settings.return_sequences:
            loss = loss * settings.seq_len
        return loss, (totals, carry)

    def begin(state: TrainState) -> TrainState:
        """Forget what does not reach from the step before into this one."""
        starts_epoch = state.step % batches.steps_per_epoch == 0
        starts_line = state.step % settings.log_every == 0
        fresh = starts_epoch if settings.carries_state else jnp.bool_(True)
        return state._replace(
            carry=split_rows(_zero_where(fresh, state.carry), mesh),
            epoch_totals=_zero_where(starts_epoch, state.epoch_totals),
            recent_totals=_zero_where(starts_line, state.recent_totals),
        )

    def one_step(
        state: TrainState, ids: jax.Array | Ordered, seed: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        """Read a batch, follow its gradient, and count; tell whether all went well."""
        before = begin(state)
        batch = split_rows(batches.batch(ids, before.step, purpose_key(seed, SHUFFLE_KEY)), mesh)
        key = jax.random.fold_in(purpose_key(seed, DROPOUT_KEY), before.step) if settings.drops else None
        gradient = jax.grad(loss_of, has_aux=True)
        grads, (totals, carry) = gradient(before.params, batch, before.carry, key)
        finite = jnp.isfinite(totals.loss + optax.tree.sum(grads))
        extras = {"value": totals.loss / totals.count} if settings.optimizer == "custom" else {}
        updates, opt_state = optimizer.update(grads, before.opt_state, before.params, **extras)
        params = optax.apply_updates(before.params, updates)
        average = before.average
        if average is not None:
            average = average_weights(average, params, before.step, settings.ema_decay)
        after = TrainState(
            step=before.step + 1,
            params=params,
            opt_state=opt_state,
            average=average,
            carry=carry,
            epoch_totals=before.epoch_totals.add(totals),
            recent_totals=before.recent_totals.add(totals),
            smoothed_loss=SMOOTHING * before.smoothed_loss + (1 - SMOOTHING) * totals.loss / totals.count,
            skipped=before.skipped,
        )
        if not settings.skip_nonfinite:
            return after, finite
        skipped = before._replace(step=after.step, skipped=before.skipped + 1)
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, skipped)
        return kept, jnp.bool_(True)

    return one_step


def _zero_where(condition: jax.Array, tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.where(condition, jnp.zeros_like(leaf), leaf), tree)


# ---- memory --------------------------------------------------------------------------------------


def check_memory(config: Config, program: Program) -> None:
    """Raise a JaxcharError where the machine cannot hold what training needs at the very least."""
    state = sum(
        leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(program.initial_state))
    )
    # The gradient needs every layer's gates and hidden state at every time step.
    units = sum((GATE_BLOCKS.get(config.cell, 1) + 1) * hidden_size for hidden_size in config.layer_sizes)
    needed = state + config.batch_size * config.seq_len * units * jnp.dtype(config.dtype).itemsize
    memory = memory_bytes()
    if needed > memory:
        raise JaxcharError(
            f"these settings need at least {needed / 1e9:,.1f} GB of memory, and this machine has "
            f"{memory / 1e9:,.1f}; lower --hidden-size, --num-layers, --batch-size or --seq-len"
        )


# ---- divergence ----------------------------------------------------------------------------------


def divergence(state: TrainState, saved_at: int | None) -> str:
    """Return what is said when a step's loss or gradient is not finite.

    Args:
        state: after that step.
        saved_at: the step of the last good checkpoint; None: there is none.
    """
    loss_is_finite = math.isfinite(float(state.recent_totals.loss))
    kept = "none was saved yet" if saved_at is None else f"the last one is of step {saved_at:,}"
    return (
        f"the {'gradient' if loss_is_finite else 'loss'} of step {int(state.step):,} is not finite: "
        f"training has diverged; begin anew, or from the last good checkpoint ({kept}) with --init-from, "
        "with a lower --learning-rate or --clip-norm 1, or leave such steps out with --skip-nonfinite"
    )
