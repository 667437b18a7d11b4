"""Training steps: exact whatever the chunking, and the same as a plain Python loop."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxchar.config import Config
from jaxchar.model.loss import Means
from jaxchar.model.optimizer import make_optimizer
from jaxchar.model.split import split_model
from jaxchar.scoring import protocols
from jaxchar.scoring.protocols import evaluation_batches, stateful_pass
from jaxchar.scoring.validation import make_evaluation
from jaxchar.training import step as step_module
from jaxchar.training.step import make_program

pytestmark = pytest.mark.device
V, N = 5, 150
IDS = np.random.default_rng(0).integers(0, V, N).astype(np.uint8)

QUICK_INIT = {"kernel_init": "uniform", "init_scale": 0.5, "recurrent_init": "same"}  # to compile

# Every source of randomness and of memory at once. The epochs end at steps 7 (streams) and 6 (windows).
EVERYTHING = Config(
    optimizer="adamw",
    hidden_size=4,
    **QUICK_INIT,
    recurrent_dropout=0.3,
    weight_dropout=0.2,
    ema_decay=0.9,
    schedule="exponential",
    batch_size=4,
    seq_len=5,
    log_every=3,
    clip_norm=1.0,
)
STREAMS = EVERYTHING.replace(lane_offsets=True)
WINDOWS = EVERYTHING.replace(batching="windows", batch_size=8, stride=3, shuffle=True, return_sequences=False)
STEPS = 16


class Run(NamedTuple):
    """A compiled program with every state that it walks through, one step a call."""

    config: Config
    program: step_module.Program
    states: list  # NumPy, after 0 ... STEPS steps

    def from_step(self, step):
        return jax.tree.map(jnp.array, self.states[step])

    def to_step(self, step, state):
        state, finite = self.program.train_steps(state, jnp.asarray(IDS), np.int32(step), self.program.seed)
        assert finite
        return jax.device_get(state)


def make_run(config, steps=STEPS):
    run = Run(config, make_program(config, V, N), [])
    run.states.append(jax.device_get(run.program.initial_state()))
    for step in range(steps):
        run.states.append(run.to_step(step + 1, run.from_step(step)))
    return run


@pytest.fixture(scope="module")
def streams():
    return make_run(STREAMS)


@pytest.fixture(scope="module")
def windows():
    return make_run(WINDOWS)


@pytest.fixture(params=["streams", "windows"])
def run(request):
    return request.getfixturevalue(request.param)


def same_bits(one, other):
    leaves, others = jax.tree.leaves(one), jax.tree.leaves(other)
    return all(a.tobytes() == b.tobytes() for a, b in zip(leaves, others, strict=True))


# ---- exactness -----------------------------------------------------------------------------------


def test_every_step_changes_the_state(run):
    assert run.program.batches.steps_per_epoch in (6, 7)
    for before, after in pairwise(run.states):
        assert not same_bits(before.params, after.params)
        assert not same_bits(before.average, after.average)
        assert after.step == before.step + 1


@pytest.mark.parametrize("stops", [[STEPS], [5, 6, 13, STEPS], [0, 1, 1, STEPS]], ids=str)
def test_chunk_boundaries_change_no_bit(run, stops):
    state = run.program.initial_state()
    for stop in stops:
        state = jax.tree.map(jnp.array, run.to_step(stop, state))
    assert same_bits(state, run.states[STEPS])


def test_a_run_resumes_exactly_from_any_step(run):
    for start in range(STEPS):
        assert same_bits(run.to_step(STEPS, run.from_step(start)), run.states[STEPS])


def test_log_every_changes_no_bit_but_the_recent_totals(streams):
    program = make_program(STREAMS.replace(log_every=100), V, N)
    end = streams._replace(program=program).to_step(STEPS, streams.from_step(0))
    expected = streams.states[STEPS]
    assert same_bits(end._replace(recent_totals=expected.recent_totals), expected)
    assert end.recent_totals.count == STEPS * 20
    assert expected.recent_totals.count == 20  # step 15 began a line of 3


def test_one_compilation_serves_every_number_of_steps(streams):
    program, compiled = streams.program, set()
    state = program.initial_state()
    for stop in (1, 3, 3, 10):
        state, _ = program.train_steps(state, jnp.asarray(IDS), np.int32(stop), program.seed)
        compiled.add(program.train_steps._cache_size())
    assert same_bits(jax.device_get(state), streams.states[10])
    assert len(compiled) == 1


@pytest.mark.parametrize(
    "changes", [{"seed": 9}, {"epochs": 7}, {"max_steps": 3}, {"sample_length": 3}], ids=str
)
def test_runs_that_differ_in_nothing_that_a_step_computes_share_what_is_compiled(changes):
    one, other = make_program(STREAMS, V, N), make_program(STREAMS.replace(**changes), V, N)
    assert other.train_steps is one.train_steps
    assert (other.total_steps != one.total_steps) == bool({"epochs", "max_steps"} & set(changes))
    starts = [jax.device_get(program.initial_state()) for program in (one, other)]
    assert same_bits(*starts) == ("seed" not in changes)


@pytest.mark.parametrize(
    "changes", [{"log_every": 4}, {"dropout": 0.3}, {"seq_len": 6}, {"epochs": 7}], ids=str
)
def test_runs_that_differ_in_what_a_step_computes_share_nothing(changes):
    config = STREAMS.replace(schedule="linear")
    assert (
        make_program(config.replace(**changes), V, N).train_steps
        is not make_program(config, V, N).train_steps
    )


def test_the_seed_is_all_that_randomness_follows_from():
    def params(seed):
        return jax.device_get(split_model(STREAMS, V, seed)[1])

    assert same_bits(params(3), params(3))
    assert not same_bits(params(3), params(4))


def test_dropout_and_order_differ_from_epoch_to_epoch(run):
    epoch = run.program.batches.steps_per_epoch
    later = run.from_step(0)._replace(step=jnp.int32(epoch))
    assert not same_bits(run.to_step(epoch + 1, later).params, run.states[1].params)


# ---- the carry -----------------------------------------------------------------------------------


def reads_the_carry(run, step):
    """Say whether step number ``step`` depends on the carry that the step before it left."""
    state = run.from_step(step)
    state = state._replace(carry=jax.tree.map(lambda part: part + 1, state.carry))
    return not same_bits(run.to_step(step + 1, state), run.states[step + 1])


def test_streams_carry_their_state_but_into_a_new_epoch(streams):
    starts = {0, 7, 14}
    assert {step for step in range(STEPS) if not reads_the_carry(streams, step)} == starts


def test_windows_never_carry_their_state(windows):
    assert not any(reads_the_carry(windows, step) for step in range(STEPS))


# ---- the plain Python loop -----------------------------------------------------------------------


class Plain(NamedTuple):
    """What the plain loop knows after a step."""

    params: nnx.State
    carry: tuple
    epoch_totals: tuple[float, int, int]  # loss, correct, count
    recent_totals: tuple[float, int, int]
    smoothed_loss: float


def plain_batches(config):
    """Return an epoch's (inputs, targets) by slicing, the smaller last batch as small as it is."""
    B, T = config.batch_size, config.seq_len
    if config.batching == "streams":
        lane = (N - 1) // B
        starts = [[b * lane + t for b in range(B)] for t in range(0, lane - T + 1, T)]
    else:
        windows = list(range(0, N - T, config.stride))[: config.max_windows]
        starts = [windows[i : i + B] for i in range(0, len(windows), B)]
    text = IDS.astype(np.int32)
    batches = [np.stack([text[s : s + T + 1] for s in batch]) for batch in starts]
    return [(batch[:, :-1], batch[:, 1:]) for batch in batches]


def plain_loop(config, params, steps):
    """Yield a ``Plain`` after every step."""
    graphdef, _ = split_model(config, V)
    batches = plain_batches(config)
    optimizer = make_optimizer(config, len(batches), steps)
    time_steps = config.seq_len if config.loss_reduction == "sum" else 1

    @jax.jit
    def one_step(params, opt_state, carry, inputs, targets):
        def loss_of(params):
            logits, after = nnx.merge(graphdef, params)(inputs, carry)
            losses = -(jax.nn.log_softmax(logits) * jax.nn.one_hot(targets, V)).sum(-1)
            return losses.mean() * time_steps, (losses.mean(), (logits.argmax(-1) == targets).sum(), after)

        grads, (loss, correct, carry) = jax.grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, carry, loss, correct

    opt_state = optimizer.init(params)
    smoothed_loss, epoch, recent = np.log(V), [], []
    for step in range(steps):
        inputs, targets = batches[step % len(batches)]
        if step % len(batches) == 0:
            epoch = []
        if step % config.log_every == 0:
            recent = []
        if step % len(batches) == 0 or config.batching == "windows":
            carry = nnx.merge(graphdef, params).initial_carry(len(inputs))
        params, opt_state, carry, loss, correct = one_step(params, opt_state, carry, inputs, targets)
        totals = (float(loss) * targets.size, int(correct), targets.size)
        epoch, recent = [*epoch, totals], [*recent, totals]
        smoothed_loss = 0.999 * smoothed_loss + 0.001 * float(loss)
        sums = (tuple(map(sum, zip(*part, strict=True))) for part in (epoch, recent))
        yield Plain(params, carry, *sums, smoothed_loss)


# Plain SGD, whose update is the gradient itself; 47 windows make six batches, the last one of 7.
PLAIN = Config(
    optimizer="sgd",
    learning_rate=0.1,
    hidden_size=4,
    batch_size=8,
    seq_len=5,
    log_every=4,
    **QUICK_INIT,
)
PLAIN_WINDOWS = PLAIN.replace(
    batching="windows", stride=3, max_windows=47, loss_reduction="sum", learning_rate=0.02
)


@pytest.fixture(
    scope="module", params=[PLAIN, PLAIN_WINDOWS], ids=["streams", "windows with a smaller last batch"]
)
def both(request):
    """The same eight steps in the package's way and in the plain way."""
    run = make_run(request.param, 8)
    return run, list(plain_loop(run.config, run.from_step(0).params, 8))


def test_params_equal_the_plain_loops(both):
    run, plain = both
    for state, expected in zip(run.states[1:], plain, strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, atol=2e-6), state.params, expected.params)


def test_epoch_and_recent_totals_are_sums_since_their_start(both):
    run, plain = both
    for state, expected in zip(run.states[1:], plain, strict=True):
        np.testing.assert_allclose(state.epoch_totals, expected.epoch_totals, rtol=1e-5)
        np.testing.assert_allclose(state.recent_totals, expected.recent_totals, rtol=1e-5)


def test_the_carry_equals_the_plain_loops(both):
    run, plain = both
    for state, expected in zip(run.states[1:], plain, strict=True):
        for part, plain_part in zip(
            jax.tree.leaves(state.carry), jax.tree.leaves(expected.carry), strict=True
        ):
            np.testing.assert_allclose(part[: len(plain_part)], plain_part, atol=2e-6)


def test_the_smoothed_loss_starts_at_ln_v_and_takes_a_thousandth_of_each(both):
    run, plain = both
    assert run.states[0].smoothed_loss == pytest.approx(np.log(V))
    for state, expected in zip(run.states[1:], plain, strict=True):
        assert state.smoothed_loss == pytest.approx(expected.smoothed_loss, abs=1e-6)


def test_the_average_starts_at_the_first_weights_and_follows(streams):
    first, second = streams.states[:2]
    assert same_bits(first.average, first.params)
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, first.params, second.params)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), second.average, expected)


# ---- evaluation ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_character():
    """A tiny model that is fed one character at a time: its structure, its params, its step."""
    graphdef, params = split_model(Config(hidden_size=3), V, seed=1)
    params = jax.tree.map(lambda leaf: 2 * leaf, params)  # opinions strong enough to be wrong

    @jax.jit
    def feed(params, character, carry):
        logits, carry = nnx.merge(graphdef, params).last_logits(character[None, None], carry)
        return jax.nn.log_softmax(logits[0]), carry

    return graphdef, params, feed


def plain_evaluation(one_character, pieces, last_only=False):
    """Score the pieces' characters one by one, each piece from a zero state: loss, correct, count."""
    graphdef, params, feed = one_character
    loss, correct, count = 0.0, 0, 0
    for piece in pieces:
        carry = nnx.merge(graphdef, params).initial_carry(1)
        for place, (character, target) in enumerate(pairwise(piece)):
            log_probabilities, carry = feed(params, jnp.int32(character), carry)
            if not last_only or place == len(piece) - 2:
                loss -= float(log_probabilities[target])
                correct += int(log_probabilities.argmax()) == target
                count += 1
    return loss, correct, count


WINDOWED = Config(batching="windows", seq_len=6, eval_stride=4, stride=3, max_windows=11)


def four_at_a_time(config, split="validation"):
    """Return the configuration's protocol in more than one step, the last one not full."""
    return replace(evaluation_batches(config, N, split), batch_size=4)


PROTOCOLS = {
    "stateful": (stateful_pass(N), [IDS], False),
    "stateful in lanes": (stateful_pass(N, 4), [IDS[s : s + 39] for s in range(0, 149, 38)], False),
    "blocks": (
        four_at_a_time(Config(eval_protocol="blocks", eval_block=15)),
        [IDS[s : s + 16] for s in range(0, N - 1, 15)],
        False,
    ),
    "windows": (four_at_a_time(WINDOWED), [IDS[s : s + 7] for s in range(0, N - 6, 4)], False),
    "windows with one target": (
        four_at_a_time(WINDOWED.replace(return_sequences=False), "train"),
        [IDS[s : s + 7] for s in range(0, 33, 3)],
        True,
    ),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_evaluation_equals_a_character_by_character_loop(protocol, one_character):
    batches, pieces, last_only = PROTOCOLS[protocol]
    graphdef, params, _ = one_character
    totals = make_evaluation(graphdef, batches)(params, jnp.asarray(IDS))
    loss, correct, count = plain_evaluation(one_character, pieces, last_only)
    assert (int(totals.correct), int(totals.count)) == (correct, count)
    np.testing.assert_allclose(totals.loss, loss, rtol=1e-5)


def test_evaluation_in_several_steps_carries_the_state(one_character, monkeypatch):
    monkeypatch.setattr(protocols, "EVALUATION_STEP_CHARS", 16)
    graphdef, params, _ = one_character
    batches = stateful_pass(N)
    assert batches.steps_per_epoch == 10
    totals = make_evaluation(graphdef, batches)(params, jnp.asarray(IDS))
    loss, correct, count = plain_evaluation(one_character, [IDS])
    assert (int(totals.correct), int(totals.count)) == (correct, count) and count == N - 1
    np.testing.assert_allclose(totals.loss, loss, rtol=1e-5)


def test_evaluation_repeats_itself_and_leaves_the_training_state_alone(streams):
    evaluate = make_evaluation(streams.program.graphdef, stateful_pass(N))
    state = streams.from_step(3)
    first, second = (jax.device_get(evaluate(state.params, jnp.asarray(IDS))) for _ in range(2))
    assert same_bits(first, second)
    assert same_bits(jax.device_get(state), streams.states[3])
    assert same_bits(streams.to_step(STEPS, state), streams.states[STEPS])


def test_a_model_that_knows_nothing_loses_ln_v(one_character):
    graphdef, params, _ = one_character
    nothing = jax.tree.map(jnp.zeros_like, params)
    means = Means.of(make_evaluation(graphdef, PROTOCOLS["blocks"][0])(nothing, jnp.asarray(IDS)))
    assert means.loss == pytest.approx(np.log(V))
    assert means.accuracy == pytest.approx((IDS[1:] == 0).mean())
