"""Schedules at steps worked out by hand, update rules against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxchar.config import OptimizerConfig
from jaxchar.model.optimizer import average_weights, make_optimizer, make_schedule

STEPS_PER_EPOCH = 100

# ---- schedules -----------------------------------------------------------------------------------


def rate(step, total_steps=5_000, **settings):
    schedule = make_schedule(OptimizerConfig(**settings), 0.5, STEPS_PER_EPOCH, total_steps)
    return float(schedule(jnp.int32(step)))


@pytest.mark.parametrize("step", [0, 1, 4_999])
def test_constant_never_changes(step):
    assert rate(step) == 0.5


@pytest.mark.parametrize(("step", "decays"), [(0, 0), (499, 0), (500, 1), (999, 1), (1_000, 2), (4_999, 9)])
def test_step_multiplies_every_five_epochs(step, decays):
    assert rate(step, schedule="step", decay_rate=0.5, decay_every=5) == pytest.approx(0.5 * 0.5**decays)


@pytest.mark.parametrize(("step", "decays"), [(0, 0), (99, 0), (100, 1), (199, 1), (200, 2), (1_050, 10)])
def test_exponential_multiplies_after_every_epoch(step, decays):
    assert rate(step, schedule="exponential", decay_rate=0.97) == pytest.approx(0.5 * 0.97**decays)


@pytest.mark.parametrize(("step", "decays"), [(1_000, 1), (1_099, 1), (1_100, 2)])
def test_exponential_begins_at_the_end_of_the_tenth_epoch_as_char_rnn_does(step, decays):
    """Hold the schedule to char-rnn's train.lua: ``if epoch >= learning_rate_decay_after`` at its end."""
    actual = rate(step, schedule="exponential", decay_rate=0.97, decay_after=10)
    assert actual == pytest.approx(0.5 * 0.97**decays)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (5, 0.25), (10, 0.5), (35, 0.25 * (1 + 0.5**0.5)), (60, 0.25), (110, 0.0), (111, 0.0)],
)
def test_cosine_warms_up_linearly_and_falls_to_exactly_zero(step, expected):
    actual = rate(step, total_steps=110, schedule="cosine", warmup_steps=10)
    assert actual == (0 if expected == 0 else pytest.approx(expected))


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (5, 0.25), (10, 0.5), (35, 0.375), (60, 0.25), (110, 0.0), (111, 0.0)]
)
def test_linear_warms_up_and_falls_to_exactly_zero_in_straight_lines(step, expected):
    actual = rate(step, total_steps=110, schedule="linear", warmup_steps=10)
    assert actual == (0 if expected == 0 else pytest.approx(expected))


ENDING = pytest.mark.parametrize("schedule", ["linear", "cosine"])


@ENDING
def test_a_schedule_without_warm_up_starts_at_the_learning_rate(schedule):
    assert rate(0, schedule=schedule) == 0.5


@ENDING
def test_a_run_shorter_than_its_warm_up_never_exceeds_the_learning_rate(schedule):
    rates = [rate(step, total_steps=3, schedule=schedule, warmup_steps=100) for step in range(4)]
    assert max(rates) <= 0.5 and rates[-1] == 0


@ENDING
def test_a_rate_that_is_held_says_nothing_of_the_length_of_the_run(schedule):
    """A run can still become longer or shorter up to that step, and change no bit of what was trained."""
    given = {"schedule": schedule, "warmup_steps": 10, "hold_until": 30}
    short, long = [[rate(step, total_steps=total, **given) for step in range(41)] for total in (60, 200)]
    assert short[:31] == long[:31] and short[10:31] == [0.5] * 21
    assert short[40] < long[40] < 0.5
    assert rate(60, total_steps=60, **given) == rate(200, total_steps=200, **given) == 0


@ENDING
@pytest.mark.parametrize("hold_until", [3, 10, 1_000])
def test_a_rate_that_is_held_too_shortly_or_too_long(schedule, hold_until):
    given = {"total_steps": 20, "schedule": schedule, "warmup_steps": 10}
    rates = [rate(step, hold_until=hold_until, **given) for step in range(21)]
    if hold_until <= 10:  # as if it were not there
        assert rates == [rate(step, **given) for step in range(21)]
    assert max(rates) == 0.5 and rates[20] == 0


# ---- update rules --------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
PARAMS = RNG.normal(size=4)
GRADIENTS = RNG.normal(size=(3, 4))


def trajectory(gradients=GRADIENTS, **settings):
    """Return the parameters after each gradient, [steps, 4]."""
    optimizer = make_optimizer(OptimizerConfig(**settings), STEPS_PER_EPOCH, 1_000)
    params = jnp.asarray(PARAMS, jnp.float32)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    after = []
    for gradient in jnp.asarray(gradients, jnp.float32):
        updates, state = update(gradient, state, params)
        params = params + updates
        after.append(params)
    return np.stack(after)


def rmsprop(g, t, s, p):
    s["v"] = 0.95 * s.get("v", 0) + 0.05 * g**2
    return p - 0.1 * g / (np.sqrt(s["v"]) + 1e-3)


def adagrad(g, t, s, p):
    s["v"] = s.get("v", 0) + g**2
    return p - 0.1 * g / np.sqrt(s["v"] + 1e-3)


def adam(g, t, s, p):
    s["m"] = 0.8 * s.get("m", 0) + 0.2 * g
    s["v"] = 0.9 * s.get("v", 0) + 0.1 * g**2
    return p - 0.1 * (s["m"] / (1 - 0.8**t)) / (np.sqrt(s["v"] / (1 - 0.9**t)) + 1e-3)


def adamw(g, t, s, p):
    return adam(g, t, s, p) - 0.1 * 0.3 * p


def sgd(g, t, s, p):
    return p - 0.1 * g


def momentum(g, t, s, p):
    s["m"] = 0.7 * s.get("m", 0) + g
    return p - 0.1 * s["m"]


@pytest.mark.parametrize(
    ("formula", "settings"),
    [
        (rmsprop, {"optimizer": "rmsprop", "rms_decay": 0.95}),
        (adagrad, {"optimizer": "adagrad"}),
        (adam, {"optimizer": "adam", "beta1": 0.8, "beta2": 0.9}),
        (adam, {"optimizer": "adam", "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.3}),  # for AdamW only
        (adamw, {"optimizer": "adamw", "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.3}),
        (sgd, {"optimizer": "sgd"}),
        (momentum, {"optimizer": "sgd", "momentum": 0.7}),
    ],
)
def test_three_steps_follow_the_formula(formula, settings):
    expected, params, slots = [], PARAMS, {}
    for t, gradient in enumerate(GRADIENTS, start=1):
        params = formula(gradient, t, slots, params)
        expected.append(params)
    actual = trajectory(learning_rate=0.1, epsilon=1e-3, **settings)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_each_step_takes_its_own_learning_rate():
    ones = np.ones((4, 4))
    steps = trajectory(ones, optimizer="sgd", learning_rate=1.0, schedule="cosine", warmup_steps=4)
    np.testing.assert_allclose(np.diff(steps[:, 0]), [-0.25, -0.5, -0.75])


# ---- clipping ------------------------------------------------------------------------------------

GRADIENT = np.array([[3.0, -4.0, 0.1, 0.0]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, GRADIENT),
        ({"clip_value": 1.0}, [[1.0, -1.0, 0.1, 0.0]]),
        ({"clip_value": 5.0}, GRADIENT),
        ({"clip_norm": 2.5}, GRADIENT * 2.5 / np.linalg.norm(GRADIENT)),
        ({"clip_norm": 6.0}, GRADIENT),
    ],
    ids=str,
)
def test_clip_value_cuts_every_element_and_clip_norm_scales_the_whole(settings, expected):
    actual = PARAMS - trajectory(GRADIENT, optimizer="sgd", learning_rate=1.0, **settings)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_clip_norm_is_global_over_all_arrays():
    optimizer = make_optimizer(OptimizerConfig(optimizer="sgd", learning_rate=1, clip_norm=1), 1, 1)
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    updates, _ = optimizer.update(gradients, optimizer.init(gradients), gradients)
    np.testing.assert_allclose([updates["a"][0], updates["b"][0]], [-0.6, -0.8], rtol=1e-6)


# ---- the weight average --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.1), (1, 2 / 11), (8, 0.5), (100, 101 / 110), (1_000, 0.95)]
)
def test_the_average_keeps_a_share_that_grows_up_to_the_decay(step, decay):
    average = average_weights({"w": jnp.float32(1)}, {"w": jnp.float32(3)}, jnp.int32(step), 0.95)
    assert float(average["w"]) == pytest.approx(decay * 1 + (1 - decay) * 3)
