"""Optax chains and schedules from the configuration."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxchar.config import OptimizerConfig
from jaxchar.errors import JaxcharError

# Three steps of the quintic iteration that comes nearest to an orthogonal matrix (Amsel, Persson, Musco
# and Gower 2025, "The Polar Express"), with its safety factor of 1.01: for the square-ish kernels here
# as good as Muon's usual five steps, for three fifths of their arithmetic.
POLAR_EXPRESS = tuple(
    (a / 1.01, b / 1.01**3, c / 1.01**5)
    for a, b, c in (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    )
)


def make_optimizer(
    config: OptimizerConfig, steps_per_epoch: int, total_steps: int
) -> optax.GradientTransformation:
    """Return clipping followed by the update rule at its scheduled learning rate.

    Args:
        config: what to build.
        steps_per_epoch: turns the schedule's epochs into steps.
        total_steps: where a linear or cosine schedule ends.

    Raises:
        JaxcharError: the settings say "custom": only who gave that optimizer has it.
    """
    if config.optimizer == "custom":
        raise JaxcharError(
            "--optimizer=custom stands for an optimizer that is given in Python; there, say "
            "jaxchar.fit(..., optimizer=optax.adam(1e-3)), or give another --optimizer",
            "optimizer='custom' stands for an optax.GradientTransformation; give that: "
            "optimizer=optax.adam(1e-3)",
        )
    parts = []
    if config.clip_value:
        parts.append(optax.clip(config.clip_value))
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))

    def scheduled(peak: float) -> optax.Schedule:
        return make_schedule(config, peak, steps_per_epoch, total_steps)

    parts.append(_update_rule(config, scheduled))
    return optax.chain(*parts)


def make_schedule(
    config: OptimizerConfig, peak: float, steps_per_epoch: int, total_steps: int
) -> optax.Schedule:
    """Return the learning rate, at most ``peak``, as a function of the step.

    ``exponential`` multiplies by decay_rate at the end of every decay_every-th epoch, from the end of
    epoch decay_after on (char-rnn: 0.97, 1, 10); ``step`` multiplies every decay_every epochs (torch-rnn:
    0.5, 5); ``linear`` and ``cosine`` (Loshchilov and Hutter 2017) warm up, stay at ``peak`` up to step
    hold_until (half of the run at the most), and fall to reach 0 when the last step is done.
    """
    match config.schedule:
        case "constant":
            return optax.constant_schedule(peak)
        case "linear" | "cosine":
            return _warmed_up(config, peak, total_steps)
    first_decay = max(config.decay_after, 1) if config.schedule == "exponential" else config.decay_every

    def decayed(step: jax.Array) -> jax.Array:
        epochs_done = step // steps_per_epoch
        decays = jnp.maximum(epochs_done - first_decay + config.decay_every, 0) // config.decay_every
        return peak * jnp.power(config.decay_rate, decays.astype(jnp.float32))

    return decayed


def _warmed_up(config: OptimizerConfig, peak: float, total_steps: int) -> optax.Schedule:
    """Return a schedule that rises to the highest rate, stays there, and falls."""
    warmup_steps = min(config.warmup_steps, total_steps - 1)
    hold_until = min(config.hold_until, total_steps // 2)  # of a shorter run, too, the rate falls
    parts, ends = [optax.linear_schedule(0.0, peak, warmup_steps)], [warmup_steps]
    if hold_until > warmup_steps:
        parts.append(optax.constant_schedule(peak))
        ends.append(hold_until)
    falling = total_steps - ends[-1]
    if config.schedule == "linear":
        parts.append(optax.linear_schedule(peak, 0.0, falling))
    else:
        parts.append(optax.cosine_decay_schedule(peak, falling))
    return optax.join_schedules(parts, ends)


def _update_rule(
    config: OptimizerConfig, scheduled: Callable[[float], optax.Schedule]
) -> optax.GradientTransformation:
    rate = scheduled(config.learning_rate)
    betas = {"b1": config.beta1, "b2": config.beta2, "eps": config.epsilon}
    match config.optimizer:
        case "adam":
            return optax.adam(rate, **betas)
        case "adamw":
            return optax.adamw(rate, weight_decay=config.weight_decay, **betas)
        case "muon":
            rules = {
                "muon": optax.contrib.muon(
                    scheduled(config.muon_learning_rate),
                    ns_coeffs=POLAR_EXPRESS,
                    ns_steps=len(POLAR_EXPRESS),
                    weight_decay=config.weight_decay,
                ),
                "adamw": optax.adamw(rate, weight_decay=config.weight_decay, **betas),
            }
            return optax.partition(rules, _muon_labels)
        case "rmsprop":
            return optax.rmsprop(rate, decay=config.rms_decay, eps=config.epsilon, eps_in_sqrt=False)
        case "adagrad":
            return optax.adagrad(rate, initial_accumulator_value=0.0, eps=config.epsilon)
        case "sgd":
            return optax.sgd(rate, momentum=config.momentum or None)


def _muon_labels(params: optax.Params) -> optax.Params:
    """Name the update rule of every weight: Muon is for matrices that are applied again and again."""

    def label(path: tuple, leaf: jax.Array) -> str:
        names = jax.tree_util.keystr(path)
        return "muon" if "dense_h" in names and leaf.ndim == 2 else "adamw"

    return jax.tree.map_with_path(label, params)


def average_weights(average: optax.Params, params: optax.Params, step: jax.Array, decay: float):
    """Return the exponential moving average of the weights after one more step.

    The decay grows as (1 + step) / (10 + step) up to its value, so that the average of a young run
    is not made of its first weights (TensorFlow's ExponentialMovingAverage with num_updates).
    """
    step = step.astype(jnp.float32)
    decay_now = jnp.minimum(decay, (1 + step) / (10 + step))
    return optax.incremental_update(params, average, 1 - decay_now)
