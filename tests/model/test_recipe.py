"""The recipe: what is chosen fits the text, the time and the machine, and nothing that the user has set."""

import dataclasses

import promises
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.model.recipe import CHOSEN, LEARNING_RATES, LENGTH, MUON_LEARNING_RATE, TextFacts, choose


class Machine:
    """A machine that computes so many operations a second, and counts how often it is measured."""

    def __init__(self, operations_per_second: float = 60e9) -> None:
        self.operations_per_second = operations_per_second
        self.measured: list[Config] = []

    def seconds_per_step(self, config: Config) -> float:
        self.measured.append(config)
        gates = {"lstm": 4, "gru": 3, "rnn": 1}[config.cell]
        operations = 6 * config.batch_size * config.seq_len * gates * sum(h**2 for h in config.layer_sizes)
        return 1e-3 + operations / self.operations_per_second


def text_of(num_chars: int, num_symbols: int = 80) -> TextFacts:
    return TextFacts(num_chars, "\n" + "".join(chr(0x4E00 + i) for i in range(num_symbols - 1)))


def chosen(facts: TextFacts, seconds: float = 170, machine: Machine | None = None, **wishes):
    return choose(facts, wishes, lambda: seconds, (machine or Machine()).seconds_per_step)


SIZES = st.integers(1, 10**8)
TIMES = st.floats(1, 4_000)


@promises.CHOSEN
@settings(max_examples=settings.default.max_examples, deadline=None)
@given(num_chars=SIZES, num_symbols=st.integers(1, 20_000), seconds=TIMES, speed=st.floats(1e9, 1e15))
def test_any_text_on_any_machine_gets_settings_that_can_be_trained(num_chars, num_symbols, seconds, speed):
    recipe = chosen(text_of(num_chars, num_symbols), seconds, Machine(speed))
    config = recipe.config  # its own checks have passed
    assert config.batch_size * config.seq_len <= max(2, num_chars)
    assert (config.max_steps or 1) >= 1
    assert config.eval_every >= 1
    assert 0 < recipe.passes < 10_000


@promises.CHOSEN
@settings(max_examples=100, deadline=None)
@given(num_chars=st.integers(2_000, 10**8), seconds=st.floats(30, 4_000))
def test_a_run_ends_in_the_time_that_it_may_take(num_chars, seconds):
    assert chosen(text_of(num_chars), seconds).seconds <= 1.02 * seconds


def test_the_time_is_used_where_it_helps():
    for num_chars in (300_000, 1_000_000, 10_000_000):
        recipe = chosen(text_of(num_chars))
        assert recipe.more_time_helps
        assert recipe.seconds > 0.9 * 170


def test_a_small_text_does_not_take_more_time_than_helps():
    recipe = chosen(text_of(15_000), 4_000)
    assert not recipe.more_time_helps
    assert recipe.seconds < 600


@settings(max_examples=100, deadline=None)
@given(num_chars=SIZES, seconds=TIMES)
def test_more_time_or_a_faster_machine_is_never_less_training(num_chars, seconds):
    facts = text_of(num_chars)

    def work(recipe):
        return recipe.passes * sum(size**2 for size in recipe.config.layer_sizes)

    base = work(chosen(facts, seconds))
    assert work(chosen(facts, 3 * seconds)) >= 0.99 * base
    assert work(chosen(facts, seconds, Machine(300e9))) >= 0.99 * base


def test_what_is_rehearsed_often_is_dropped_often():
    rates = [chosen(text_of(n)).config.dropout for n in (15_000, 100_000, 1_000_000, 10_000_000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.4
    assert rates[-1] == 0


def test_a_step_is_smaller_for_a_small_text_and_the_learning_rate_with_it():
    small, large = (chosen(text_of(n)).config for n in (15_000, 1_000_000))
    assert small.batch_size * small.seq_len < large.batch_size * large.seq_len
    assert small.learning_rate < large.learning_rate


def test_the_learning_rates_of_a_long_run_are_lower():
    short, long, longer = (chosen(text_of(1_000_000), seconds).config for seconds in (60, 600, 2_400))
    assert short.learning_rate == LEARNING_RATES["muon"]
    assert short.muon_learning_rate == MUON_LEARNING_RATE
    for name in ("learning_rate", "muon_learning_rate"):
        assert getattr(short, name) > getattr(long, name) > getattr(longer, name)
    assert chosen(text_of(1_000_000), 2_400, learning_rate=0.5).config.learning_rate == 0.5


WISHES = {
    "hidden_size": (40, 24),
    "cell": "lstm",
    "batch_size": 7,
    "seq_len": 19,
    "dropout": 0.33,
    "optimizer": "adam",
    "learning_rate": 0.0123,
    "schedule": "constant",
    "epochs": 3,
    "max_steps": 77,
    "eval_every": 11,
    "val_fraction": 0.2,
    "embedding_size": 5,
    "sample_prompt": "The",
    "devices": 2,
    "seed": 5,
    "gate": "hard_sigmoid",
}


@promises.CHOSEN
@pytest.mark.parametrize("name", WISHES)
def test_what_the_user_sets_is_kept(name):
    assert getattr(chosen(text_of(200_000), **{name: WISHES[name]}).config, name) == WISHES[name]


@promises.CHOSEN
def test_all_wishes_together_are_kept():
    config = chosen(text_of(200_000), **WISHES).config
    assert {name: getattr(config, name) for name in WISHES} == WISHES


def test_only_what_is_said_to_be_chosen_is_chosen():
    config, default = chosen(text_of(15_000)).config, Config()
    changed = {
        f.name for f in dataclasses.fields(Config) if getattr(config, f.name) != getattr(default, f.name)
    }
    assert changed <= set(CHOSEN)


def test_everything_but_the_length_can_be_kept():
    before = chosen(text_of(200_000)).config
    kept = {f.name: getattr(before, f.name) for f in dataclasses.fields(Config) if f.name not in LENGTH}
    after = chosen(text_of(200_000), 400, **kept).config
    assert {name: getattr(after, name) for name in kept} == kept
    assert after.epochs > before.epochs


def test_windows_are_given_settings_for_windows():
    recipe = chosen(text_of(600_000), batching="windows", return_sequences=False, seq_len=40, stride=3)
    assert not recipe.config.lane_offsets
    assert recipe.passes > 0


def test_a_batch_can_be_split_between_the_devices_that_are_asked_for():
    assert chosen(text_of(15_000), devices=3).config.batch_size % 3 == 0


def test_the_machine_is_measured_twice_at_the_most():
    for speed in (1e9, 60e9, 1e13):
        machine = Machine(speed)
        chosen(text_of(1_000_000), machine=machine)
        assert 1 <= len(machine.measured) <= 2


def test_wishes_that_contradict_each_other_are_refused():
    with pytest.raises(JaxcharError, match=r"shuffle, stride and max_windows"):
        chosen(text_of(15_000), shuffle=True)


def test_samples_begin_with_a_line_where_the_text_has_lines():
    assert chosen(text_of(15_000)).config.sample_from == "prompt"
    assert chosen(TextFacts(15_000, "abc")).config.sample_from == "corpus"
