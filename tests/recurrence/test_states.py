"""States and gates at every step: those of the layer that trains, and gates that give the states back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxchar.config import Config
from jaxchar.model.char_rnn import CharRNN
from jaxchar.recurrence.states import unroll_states
from jaxchar.recurrence.unroll import unroll


@pytest.mark.parametrize(("cell", "gate"), [("lstm", "hard_sigmoid"), ("gru", "sigmoid"), ("rnn", "sigmoid")])
def test_states_are_those_of_the_layer_and_follow_from_the_gates(cell, gate):
    config = Config(cell=cell, gate=gate, hidden_size=6)
    (layer,) = CharRNN(config, 5, rngs=nnx.Rngs(0)).cells
    rows = jax.random.normal(jax.random.key(1), (7, 2, 5))
    carry = jax.tree.map(lambda part: part + 0.3, CharRNN(config, 5, rngs=nnx.Rngs(0)).initial_carry(2)[0])
    states, gates = unroll_states(layer, rows, carry)
    last, hiddens = unroll(layer, rows, carry, implementation="scan")
    np.testing.assert_allclose(states.hidden, hiddens, atol=1e-5)
    for mine, theirs in zip(states, last, strict=True):
        np.testing.assert_allclose(mine[-1], theirs, atol=1e-5)
    before = jnp.concatenate([carry.hidden[None], hiddens[:-1]])
    if cell == "lstm":
        cells = jnp.concatenate([carry.cell[None], states.cell[:-1]])
        i, f, g, o = (gates[name] for name in "ifgo")
        np.testing.assert_allclose(f * cells + i * g, states.cell, atol=1e-5)
        np.testing.assert_allclose(o * jnp.tanh(states.cell), hiddens, atol=1e-5)
    elif cell == "gru":
        np.testing.assert_allclose((1 - gates["z"]) * gates["n"] + gates["z"] * before, hiddens, atol=1e-5)
        assert gates["r"].shape == hiddens.shape
    else:
        assert gates == {}
