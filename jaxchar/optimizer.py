"""Optax chains and schedules from the configuration."""

import jax
import jax.numpy as jnp
import optax

from jaxchar.config import OptimizerConfig


def make_optimizer(
    config: OptimizerConfig, steps_per_epoch: int, total_steps: int
) -> optax.GradientTransformation:
    """Return clipping followed by the update rule at its scheduled learning rate.

    Args:
        config: what to build.
        steps_per_epoch: turns the schedule's epochs into steps.
        total_steps: where the cosine ends.
    """
    parts = []
    if config.clip_value:
        parts.append(optax.clip(config.clip_value))
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    parts.append(_update_rule(config, make_schedule(config, steps_per_epoch, total_steps)))
    return optax.chain(*parts)


def make_schedule(config: OptimizerConfig, steps_per_epoch: int, total_steps: int) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    ``exponential`` multiplies by decay_rate at the end of every decay_every-th epoch once decay_after
    epochs have passed (char-rnn: 0.97, 1, 10); ``step`` multiplies every decay_every epochs (torch-rnn:
    0.5, 5); ``cosine`` warms up linearly and falls to zero at the last step (Loshchilov and Hutter 2017).
    """
    if config.schedule == "constant":
        return optax.constant_schedule(config.learning_rate)
    if config.schedule == "cosine":
        warmup_steps = min(config.warmup_steps, total_steps - 1)
        return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup_steps, total_steps)
    delay = config.decay_after if config.schedule == "exponential" else 0

    def decayed(step: jax.Array) -> jax.Array:
        epochs_done = step // steps_per_epoch
        decays = jnp.maximum(epochs_done - delay, 0) // config.decay_every
        return config.learning_rate * jnp.power(config.decay_rate, decays.astype(jnp.float32))

    return decayed


def _update_rule(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    betas = {"b1": config.beta1, "b2": config.beta2, "eps": config.epsilon}
    match config.optimizer:
        case "adam":
            return optax.adam(schedule, **betas)
        case "adamw":
            return optax.adamw(schedule, weight_decay=config.weight_decay, **betas)
        case "rmsprop":
            return optax.rmsprop(
                schedule, decay=config.rms_decay, eps=config.epsilon, eps_in_sqrt=False
            )
        case "adagrad":
            return optax.adagrad(schedule, initial_accumulator_value=0.0, eps=config.epsilon)
        case "sgd":
            return optax.sgd(schedule, momentum=config.momentum or None)


def average_weights(average: optax.Params, params: optax.Params, step: jax.Array, decay: float):
    """Return the exponential moving average of the weights after one more step.

    The decay grows as (1 + step) / (10 + step) up to its value, so that the average of a young run
    is not made of its first weights (TensorFlow's ExponentialMovingAverage with num_updates).
    """
    step = step.astype(jnp.float32)
    decay_now = jnp.minimum(decay, (1 + step) / (10 + step))
    return optax.incremental_update(params, average, 1 - decay_now)
