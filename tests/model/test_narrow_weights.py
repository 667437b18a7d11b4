"""Recurrent weights of fewer bits: what they are rounded to, and that writing goes by them."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_model import SYMBOLS, make_model

from jaxchar.errors import JaxcharError
from jaxchar.language_model import LanguageModel
from jaxchar.memory.text_memory import TextMemory
from jaxchar.model.narrow_weights import narrow, rounded_params
from jaxchar.sampling.memory_decoder import Remembering
from jaxchar.sampling.native_decoder import NativeDecoder

KERNEL = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
NARROW = pytest.mark.parametrize("weights", ["bfloat16", "int8"])
# 4H columns: 24 and 40 do not fill panels of 16 or 32, 96 is more than the panels that are read at once.
NETWORKS = [
    {"cell": "gru", "hidden_size": 6},
    {"cell": "lstm", "hidden_size": 10},
    {"cell": "gru", "hidden_size": 48, "num_layers": 2},
    {"cell": "lstm", "hidden_size": 24, "gate": "hard_sigmoid", "batching": "windows"},
    {"cell": "rnn", "hidden_size": 8},  # which C++ does not compute
]
# Both cells of C++, small and large, and JAX always; all with weights of both kinds in `make prove`.
OFTEN = {("lstm-10", "bfloat16"), ("lstm-10", "int8"), ("gru-48-2", "int8"), ("rnn-8", "bfloat16")}


def name_of(settings) -> str:
    return "-".join(map(str, settings.values()))


NARROW_NETWORKS = pytest.mark.parametrize(
    ("settings", "weights"),
    [
        pytest.param(
            settings,
            weights,
            id=f"{name_of(settings)}-{weights}",
            marks=() if (name_of(settings), weights) in OFTEN else pytest.mark.slow,
        )
        for settings in NETWORKS
        for weights in ("bfloat16", "int8")
    ],
)


def test_int8_is_within_half_a_step_of_each_column():
    numbers, scales = narrow(jnp.asarray(KERNEL), "int8")
    assert numbers.dtype == jnp.int8 and scales.shape == (5,)
    assert (np.abs(np.asarray(numbers)).max(axis=0) == 127).all()
    assert (np.abs(np.asarray(numbers) * np.asarray(scales) - KERNEL) <= 0.501 * np.asarray(scales)).all()


def test_bfloat16_is_the_nearest_of_its_numbers():
    numbers, scales = narrow(jnp.asarray(KERNEL), "bfloat16")
    assert numbers.dtype == jnp.bfloat16 and (scales == 1).all()
    np.testing.assert_allclose(np.asarray(numbers, np.float32), KERNEL, rtol=2**-8)


def test_a_column_of_zeros_stays_one():
    numbers, scales = narrow(jnp.zeros((3, 2)), "int8")
    assert (np.asarray(numbers) == 0).all() and np.isfinite(scales).all()


@NARROW
def test_only_what_is_read_for_every_character_is_rounded_and_only_once(weights):
    model = make_model(num_layers=2, hidden_size=12)
    before = copy.deepcopy(jax.tree.map(np.asarray, model.params))
    rounded = rounded_params(model.params, weights)
    changed = {
        f"{number}.{name}"
        for number, layer in enumerate(rounded["layers"])
        for name, leaf in layer.items()
        if not np.array_equal(leaf, before["layers"][number][name])
    }
    assert changed == {"0.recurrent_kernel", "1.input_kernel", "1.recurrent_kernel"}
    np.testing.assert_array_equal(rounded["head"]["kernel"], before["head"]["kernel"])
    again = rounded_params(rounded, weights)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), rounded, again)
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, model.params))


@NARROW_NETWORKS
def test_writing_goes_by_the_rounded_weights(settings, weights):
    model = make_model(**settings)
    narrow_model = model.with_weights(weights)
    expected = LanguageModel(model.config, model.vocabulary, model.graphdef, narrow_model.state)
    text = "abc\neda" * 3
    found, wanted, exact = (
        each.session.probabilities(each.session.start("a"), text) for each in (narrow_model, expected, model)
    )
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-6)
    assert np.abs(found - exact).max() > 1e-5
    assert narrow_model.score(text).loss == pytest.approx(expected.score(text).loss)


@NARROW_NETWORKS
def test_a_text_in_a_batch_is_the_text_alone(settings, weights):
    model = make_model(**settings).with_weights(weights)
    together = model.generate_batch(["a"] * 9, 40, seed=3)
    assert len(set(together)) > 1
    assert model.generate_batch(["a"] * 2, 40, seed=3) == together[:2]
    assert model.generate_batch(["a"] * 5, 40, seed=3) == together[:5]
    assert model.generate("a", 40, seed=3) == together[0]


@NARROW
def test_fewer_bits_are_what_the_decoder_holds(weights):
    model = make_model(hidden_size=12).with_weights(weights)
    decoder = model.session._decoder
    if not isinstance(decoder, NativeDecoder):
        pytest.skip("there is no C++ library")
    assert decoder.layers[0].recurrent.dtype == jnp.dtype(weights)


def test_the_weights_go_with_the_model():
    remembering = Remembering(TextMemory(np.arange(50, dtype=np.uint8) % len(SYMBOLS), len(SYMBOLS)))
    model = make_model(remembering, hidden_size=12).with_weights("int8")
    assert pickle.loads(pickle.dumps(model)).weights == "int8"
    assert model.with_memory(0.5).weights == "int8"
    # Others are not rounded, or rounded to another grid.
    assert model.with_params(model.params).weights == model.with_held_units([(0, 1)]).weights == "float32"
    assert model.with_weights("float32").generate("a", 9) != ""


def test_what_is_no_kind_of_weights_is_refused():
    with pytest.raises(JaxcharError, match="one of float32, bfloat16, int8, but it is 'int4'"):
        make_model().with_weights("int4")
