"""Held units: the model computes what a loop computes that puts the value in place of the unit's output."""

import jax
import numpy as np
import pytest
from small_model import make_model

from jaxchar.errors import JaxcharError
from jaxchar.recurrence import native

TEXT = "abcade\nbca dabc"
HELD = [(0, 3, 0.6), (0, 5), (1, 2, -0.4)]
MODELS = {
    "lstm": {},
    "hard lstm": {"gate": "hard_sigmoid"},
    "gru": {"cell": "gru"},
    "gru of two biases": {"cell": "gru", "recurrent_bias": True},
    "rnn": {"cell": "rnn"},
    "tied": {"embedding_size": 4, "tie_embeddings": True},
}


def logits_of_a_loop(model, held) -> np.ndarray:
    """Read a text one character at a time, with the value in place of every held unit's output."""
    params = jax.tree.map(np.asarray, model.params)
    symbols = params.get("embedding", np.eye(len(model.vocabulary), dtype=np.float32))
    states = [{"h": np.zeros(size), "c": np.zeros(size)} for size in model.config.layer_sizes]
    rows = []
    for number in model.encoded(TEXT):
        features = symbols[number].astype(np.float64)
        for layer, (weights, state) in enumerate(zip(params["layers"], states, strict=True)):
            values = {unit: value for at, unit, value in held if at == layer}
            put(state["h"], values)
            step(model.config, weights, state, features)
            put(state["h"], values)
            features = state["h"]
        head = params["head"]
        out = features @ head["kernel"] if "kernel" in head else features @ head["projection"] @ symbols.T
        rows.append(out + head["bias"])
    return np.array(rows)


def put(h, values):
    for unit, value in values.items():
        h[unit] = value


def step(config, weights, state, features):
    """One step of a cell in float64, from its equations."""
    p, q = features @ weights["input_kernel"] + weights["bias"], state["h"] @ weights["recurrent_kernel"]
    q = q + weights.get("recurrent_bias", 0.0)
    gate = (
        (lambda z: np.clip(0.2 * z + 0.5, 0, 1))
        if config.gate == "hard_sigmoid"
        else (lambda z: 1 / (1 + np.exp(-z)))
    )
    if config.cell == "lstm":
        i, f, g, o = np.split(p + q, 4)
        state["c"] = gate(f) * state["c"] + gate(i) * np.tanh(g)
        state["h"] = gate(o) * np.tanh(state["c"])
    elif config.cell == "gru":
        (pr, pz, pn), (qr, qz, qn) = np.split(p, 3), np.split(q, 3)
        z = gate(pz + qz)
        state["h"] = (1 - z) * np.tanh(pn + gate(pr + qr) * qn) + z * state["h"]
    else:
        state["h"] = np.tanh(p + q)


def held_model(name):
    return make_model(num_layers=2, **MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_a_loop_that_replaces_the_output(name):
    model, held = held_model(name), [(*unit, 0.0)[:3] for unit in HELD]
    expected = logits_of_a_loop(model, held)
    assert np.abs(expected - logits_of_a_loop(model, [])).max() > 0.1  # the units matter
    np.testing.assert_allclose(model.with_held_units(HELD).logits(TEXT), expected, atol=2e-5)
    np.testing.assert_allclose(model.logits(TEXT), logits_of_a_loop(model, []), atol=2e-5)  # unchanged


@pytest.mark.parametrize("name", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_every_implementation_and_the_decoder_compute_the_held_model(name):
    model = held_model(name)
    for units in (HELD, [(0, 3), (1, 2)]):
        held = model.with_held_units(units)
        ids = held.encoded(TEXT)
        for implementation in ("scan", "fused", "auto"):
            logits, _ = held.apply(held.params, ids, implementation=implementation)
            np.testing.assert_allclose(logits, held.logits(TEXT), atol=2e-5)
        shares = held.session.probabilities(held.session.start(TEXT[0]), TEXT[1:])
        np.testing.assert_allclose(shares, jax.nn.softmax(held.logits(TEXT)), atol=2e-5)


@pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")
def test_only_a_gru_held_at_a_value_leaves_cpp():
    decoders = {
        (cell, value): type(make_model(cell=cell).with_held_units([(0, 1, value)]).session._decoder).__name__
        for cell in ("lstm", "gru")
        for value in (0.0, 0.5)
    }
    assert decoders.pop(("gru", 0.5)) == "JaxDecoder"
    assert set(decoders.values()) == {"NativeDecoder"}


def test_a_forced_cpp_model_of_a_gru_can_be_held_at_a_value():
    model = make_model(cell="gru", implementation="native").with_held_units([(0, 1, 0.5)])
    assert model.generate("a", 5, seed=1)


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ([(2, 0)], "layer of a held unit must be 0 to 1, but it is 2"),
        ([(0, 8)], "held in layer 0 must be 0 to 7, but it is 8"),
        ([(0, -1)], "must be 0 to 7"),
        ([(True, 1)], "layer of a held unit"),
        ([(0, 1, float("nan"))], "number from -10 to 10"),
        ([(0, 1, "x")], "number from -10 to 10"),
        ([(0, 1), (0, 1, 1.0)], "held twice"),
        ([3], r"\(layer, unit, value\)"),
    ],
)
def test_what_cannot_be_held_is_refused_in_one_line(units, said):
    with pytest.raises(JaxcharError, match=said):
        make_model(num_layers=2).with_held_units(units)
