"""Cells of one's own: they train, resume and write like the built-in ones, and are missed by name."""

import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import quiet
from small_model import make_model

import jaxchar
from jaxchar import own_cells
from jaxchar.model.recipe import TextFacts, choose
from jaxchar.recurrence.cells import LSTMCarry, LSTMEquations

LSTM_NAMES = ("input_kernel", "recurrent_kernel", "bias")


class TwoPartCarry(NamedTuple):
    hidden: jax.Array
    slow: jax.Array


class Leaky:
    """A cell with a state of two parts."""

    carry = TwoPartCarry

    def init(self, key, features, hidden_size):
        first, second = jax.random.split(key)
        return {
            "kernel": jax.random.normal(first, (features, hidden_size)),
            "recurrent": jax.random.normal(second, (hidden_size, hidden_size)),
        }

    def step(self, params, carry, inputs):
        slow = 0.9 * carry.slow + 0.1 * carry.hidden
        hidden = jnp.tanh(inputs @ params["kernel"] + carry.hidden @ params["recurrent"] + slow)
        return TwoPartCarry(hidden, slow)


class Halved(Leaky):
    def step(self, params, carry, inputs):
        after = super().step(params, carry, inputs)
        return after._replace(hidden=after.hidden / 2)


class OwnLSTM:
    """The LSTM again, with its equations for the fused implementation."""

    carry = LSTMCarry
    equations = LSTMEquations(jax.nn.sigmoid)

    def init(self, key, features, hidden_size):
        shapes = (features, 4 * hidden_size), (hidden_size, 4 * hidden_size), (4 * hidden_size,)
        keys = jax.random.split(key, 3)
        return {name: jax.random.normal(*each) for name, *each in zip(LSTM_NAMES, keys, shapes, strict=True)}

    def step(self, params, carry, inputs):
        projected = inputs @ params["input_kernel"] + params["bias"]
        return self.equations.forward(projected, carry.hidden @ params["recurrent_kernel"], carry)[0]


@pytest.fixture(autouse=True)
def register(monkeypatch):
    monkeypatch.setattr(own_cells, "_register", {})
    jaxchar.register_cell("leaky", Leaky())
    jaxchar.register_cell("own_lstm", OwnLSTM())


def test_a_run_trains_resumes_bit_for_bit_and_writes(tmp_path, text):
    text = jaxchar.Text(text)
    settings = {"hidden_size": 8, "batch_size": 4, "seq_len": 16, "optimizer": "muon", "max_steps": 4}
    saving = {"checkpoint_every": 2, "sample_length": 0, "val_fraction": 0.0}
    jaxchar.fit(
        jaxchar.Config(corpus=text, cell="leaky", **settings, **saving), tmp_path / "run", display=quiet()
    )
    whole = jaxchar.load(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    jaxchar.resume(tmp_path / "run", corpus=text, display=quiet())
    resumed = jaxchar.load(tmp_path / "run")
    assert sorted(whole.params["layers"][0]) == ["kernel", "recurrent"]
    for mine, theirs in zip(jax.tree.leaves(whole.params), jax.tree.leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert whole.generate("The", 20, seed=1) == resumed.generate("The", 20, seed=1)

    cell = own_cells._register.pop("leaky").cell
    with pytest.raises(
        own_cells.UnknownCellError, match=r"'leaky', which is not known here; call .*register_cell"
    ):
        jaxchar.load(tmp_path / "run")
    jaxchar.register_cell("leaky", cell)
    assert jaxchar.load(tmp_path / "run").generate("The", 5) == whole.generate("The", 5)


@pytest.mark.parametrize("num_chars", [5_000, 1_000_000])
def test_settings_that_are_chosen_for_a_text_suit_a_cell_of_ones_own(num_chars):
    facts = TextFacts(num_chars, "".join(map(chr, range(97, 160))))
    config = choose(facts, {"cell": "leaky"}, lambda: 170, lambda config: 0.01).config
    assert (config.cell, config.optimizer) == ("leaky", "adamw")
    assert config.recurrent_dropout == config.weight_dropout == 0 < config.dropout


def test_who_registers_a_name_again_gets_the_new_cell():
    before = make_model(cell="leaky").logits("abc")
    jaxchar.register_cell("leaky", Halved())
    model = make_model(cell="leaky")
    assert np.abs(model.hidden_states("abc")[0].hidden).max() <= 0.5
    assert not np.array_equal(model.logits("abc"), before)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"embedding_size": 3, "batching": "windows"}, marks=pytest.mark.slow),
        pytest.param({"dtype": "bfloat16"}, marks=pytest.mark.slow),
    ],
)
def test_what_it_writes_and_scores_goes_by_its_logits(settings):
    model = make_model(cell="leaky", **settings)
    written = "a" + model.generate("a", 20, temperature=0)
    logits = np.asarray(model.logits(written))
    ids = model.encoded(written)
    best = np.take_along_axis(logits[:-1], ids[1:, None], axis=1)[:, 0]
    tolerance = 0.05 if "dtype" in settings else 1e-4
    assert np.all(best >= logits[:-1].max(axis=1) - tolerance)
    losses = -jax.nn.log_softmax(logits)[np.arange(20), ids[1:]]
    np.testing.assert_allclose(model.score(written).surprises, losses, rtol=1e-4, atol=1e-4)
    assert model.hidden_states("abc")[0].carry.slow.shape == (3, 8)


def test_a_cell_with_equations_runs_fused_and_equals_the_built_in_one():
    built_in, own = make_model(), make_model(cell="own_lstm")
    params = built_in.params
    expected, _ = built_in.apply(params, [1, 2, 3, 4])
    for implementation in ("auto", "fused", "scan"):
        found, _ = own.apply(params, [1, 2, 3, 4], implementation=implementation)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with_gates = own.with_params(params).hidden_states("abc", gates=True)[0]
    assert set(with_gates.gates) == set("ifgo")

    def loss(params: Any, model: Any, implementation: str) -> jax.Array:
        return jnp.mean(model.apply(params, [1, 2, 3, 4], implementation=implementation)[0] ** 2)

    of_own = jax.jit(jax.grad(lambda params: loss(params, own, "fused")))(params)
    of_built_in = jax.jit(jax.grad(lambda params: loss(params, built_in, "scan")))(params)
    for mine, theirs in zip(jax.tree.leaves(of_own), jax.tree.leaves(of_built_in), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


class NoDictionary(Leaky):
    def init(self, key, features, hidden_size):
        return jnp.zeros(3)


class OtherShape(Leaky):
    def step(self, params, carry, inputs):
        return carry._replace(hidden=inputs)


class NoHidden(Leaky):
    carry = tuple


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (NoDictionary(), "must return a dictionary of arrays"),
        (
            OtherShape(),
            r"state like the one that it was given, TwoPartCarry of \[1, 8\], \[1, 8\], but .*\[1, 7\]",
        ),
        (NoHidden(), "a NamedTuple with a field hidden"),
    ],
)
def test_a_cell_that_is_not_as_it_must_be_is_told_what_to_be(cell, message):
    jaxchar.register_cell("wrong", cell)
    with pytest.raises(jaxchar.JaxcharError, match=message) as refused:
        model = make_model(cell="wrong")
        model.apply(model.params, [1, 2])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxchar.register_cell("gru", Leaky()), "none of lstm, gru, rnn, but it is 'gru'"),
        (lambda: jaxchar.register_cell("my cell", Leaky()), "letters, digits and underscores"),
        (lambda: jaxchar.register_cell("leaky", Leaky), "it is a class; call register_cell"),
        (lambda: jaxchar.register_cell("leaky", object()), "it has no init and no step"),
        (
            lambda: jaxchar.Config(cell="mine"),
            "cell must be one of .*'rnn' or the name of a cell of one's own",
        ),
        (
            lambda: make_model(cell="leaky", weight_dropout=0.1),
            "weight_dropout must be 0 with a cell of one's own, 'leaky'",
        ),
        (
            lambda: make_model(cell="leaky", implementation="fused").logits("ab"),
            "needs a cell with equations",
        ),
        (
            lambda: make_model(cell="leaky").with_weights("int8"),
            "weights of fewer bits are for lstm, gru, rnn, but the cell is 'leaky'",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, message):
    with pytest.raises(jaxchar.JaxcharError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)
