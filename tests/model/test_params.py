"""Parameters as a plain pytree: there and back, with documented names, shapes and order of gates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.model.params import params_of, state_of
from jaxchar.model.split import split_model

V = 7
SETTINGS = [
    {},
    {"cell": "gru", "embedding_size": 4, "tie_embeddings": True},
    {"cell": "rnn", "hidden_size": 2, "num_layers": 11},  # 10 comes after 9
]
TWO_BIASES = {"cell": "gru", "recurrent_bias": True, "num_layers": 2}


@pytest.mark.parametrize("settings", SETTINGS)
def test_params_come_back_as_the_same_state(settings):
    _, state = split_model(Config(**{"hidden_size": 8, **settings}), V)
    back = state_of(params_of(state), state)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    for mine, theirs in zip(jax.tree.leaves(back), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_two_biases_of_a_gru_have_names_of_their_own():
    _, state = split_model(Config(hidden_size=8, **TWO_BIASES), V)
    numbered = jax.tree.unflatten(
        jax.tree.structure(state),
        [leaf + number for number, leaf in enumerate(jax.tree.leaves(state), start=1)],
    )
    params = params_of(numbered)
    assert all(
        set(layer) == {"input_kernel", "recurrent_kernel", "bias", "recurrent_bias"}
        for layer in params["layers"]
    )
    for mine, theirs in zip(jax.tree.leaves(state_of(params, state)), jax.tree.leaves(numbered), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    cell = numbered["cells"][1]
    np.testing.assert_array_equal(params["layers"][1]["recurrent_bias"], cell["dense_h"]["bias"][...])
    np.testing.assert_array_equal(params["layers"][1]["bias"], cell["dense_i"]["bias"][...])


@pytest.mark.parametrize(("settings", "blocks"), list(zip(SETTINGS, (4, 3, 1), strict=True)))
def test_names_and_shapes_are_those_that_are_documented(settings, blocks):
    config = Config(**{"hidden_size": 8, **settings})
    params, features = params_of(split_model(config, V)[1]), config.embedding_size or V
    assert type(params) is dict
    assert ("embedding" in params) == (config.embedding_size > 0)
    for layer, size in zip(params["layers"], config.layer_sizes, strict=True):
        shapes = {name: array.shape for name, array in layer.items()}
        columns = blocks * size
        assert shapes == {
            "input_kernel": (features, columns),
            "recurrent_kernel": (size, columns),
            "bias": (columns,),
        }
        features = size
    head = {"projection": (8, 4)} if config.tie_embeddings else {"kernel": (features, V)}
    assert {name: array.shape for name, array in params["head"].items()} == {**head, "bias": (V,)}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_equation_written_with_these_names_gives_the_logits(cell):
    from small_model import make_model

    model = make_model(cell=cell)
    layer, head = model.params["layers"][0], model.params["head"]
    h = c = jnp.zeros(8)
    for number in (ids := model.encoded("abcade")):
        p, q = layer["input_kernel"][number] + layer["bias"], h @ layer["recurrent_kernel"]
        if cell == "lstm":
            i, f, g, o = jnp.split(p + q, 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
        else:
            (pr, pz, pn), (qr, qz, qn) = jnp.split(p, 3), jnp.split(q, 3)
            n, z = jnp.tanh(pn + jax.nn.sigmoid(pr + qr) * qn), jax.nn.sigmoid(pz + qz)
            h = (1 - z) * n + z * h
    np.testing.assert_allclose(h @ head["kernel"] + head["bias"], model.logits(ids)[-1], atol=1e-4)


def test_params_that_are_not_the_networks_are_refused_by_name():
    _, state = split_model(Config(hidden_size=8), V)
    params = params_of(state)
    with pytest.raises(JaxcharError, match=r"like model.params, \{.*input_kernel: array.*but it is \{\}"):
        state_of({}, state)
    params["head"] = {"kernel": jnp.zeros((8, 6)), "bias": jnp.zeros(7)}
    with pytest.raises(
        JaxcharError, match=r"params\['head'\]\['kernel'\] must be \[8, 7\], but it is \[8, 6\]"
    ):
        state_of(params, state)
