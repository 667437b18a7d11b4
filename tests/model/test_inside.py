"""What a model computes inside: equal to what it scores by, and a pure function that JAX transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_model import make_model

from jaxchar.errors import JaxcharError
from jaxchar.recurrence import native

TEXT = "abcde abc\nde bad ace\nbead"  # longer than the windows of 5
KINDS = {
    "lstm": {},
    "gru": {"cell": "gru", "hidden_size": (8, 5), "embedding_size": 4},
    "tied": {"embedding_size": 4, "tie_embeddings": True},
    "windows": {"cell": "gru", "batching": "windows"},
    "bfloat16": {"dtype": "bfloat16"},
    "two biases": {"cell": "gru", "recurrent_bias": True},
}


def surprises_of(logits, ids):
    return np.asarray(optax.softmax_cross_entropy_with_integer_labels(logits[:-1], ids[1:]))


def model_of(kind):
    model = make_model(**KINDS[kind])
    return model.with_params(jax.tree.map(lambda weights: weights + 0.1, model.params))  # no bias is zero


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind == "gru" else ()) for kind in KINDS]
)
def test_logits_are_those_of_the_score(kind):
    model = model_of(kind)
    logits = model.logits(TEXT)
    assert logits.shape == (len(TEXT), len(model.vocabulary))
    found = surprises_of(logits, model.encoded(TEXT))
    np.testing.assert_allclose(found, model.score(TEXT).surprises, atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tied", "two biases"])
def test_the_last_layers_states_times_the_head_are_the_logits(kind):
    model = model_of(kind)
    *_, top = model.hidden_states(TEXT, gates=True)
    params, (head,) = model.params, [model.params["head"]]
    kernel = head["kernel"] if "kernel" in head else head["projection"] @ params["embedding"].T
    np.testing.assert_allclose(top.hidden @ kernel + head["bias"], model.logits(TEXT), atol=1e-4)
    assert set(top.gates) == set("rzn" if model.config.cell == "gru" else "ifgo")
    assert (top.cell is None) == (model.config.cell == "gru")


def test_the_carry_is_that_with_which_a_text_begins():
    model = model_of("gru")
    np.testing.assert_array_equal(model.logits("abc", model.carry), model.logits("abc"))
    assert [part.hidden.shape for part in model.carry] == [(8,), (5,)]
    assert not any(part.hidden.any() for part in model.carry)


@pytest.mark.parametrize("kind", ["gru"])
def test_a_text_may_be_read_in_parts(kind):
    model = model_of(kind)
    carry = model.carry_after(TEXT[7:11], model.carry_after(TEXT[:7]))
    np.testing.assert_allclose(model.logits(TEXT[11:], carry), model.logits(TEXT)[11:], atol=1e-5)
    _, after = model.apply(model.params, model.encoded(TEXT[:11]))
    for mine, theirs in zip(jax.tree.leaves(carry), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["gru", pytest.param("tied", marks=pytest.mark.slow)])
@pytest.mark.parametrize("implementation", ["auto", "fused", "scan"])
def test_every_implementation_gives_the_same_logits_one_by_one_in_a_batch_and_under_vmap(
    kind, implementation
):
    model = model_of(kind)
    texts = jnp.stack([model.encoded(TEXT), model.encoded(TEXT[::-1])])
    expected = np.stack([model.logits(TEXT), model.logits(TEXT[::-1])])

    def logits(ids):
        return model.apply(model.params, ids, implementation=implementation)[0]

    np.testing.assert_allclose(jax.jit(logits)(texts), expected, atol=2e-5)
    np.testing.assert_allclose(jax.vmap(logits)(texts), expected, atol=2e-5)


@pytest.mark.slow
@pytest.mark.skipif(not native.is_available(), reason="needs a C++ compiler")
def test_gradients_of_several_models_for_several_texts_are_the_same_in_cpp_and_by_scan():
    model = model_of("gru")
    texts = jnp.stack([model.encoded(TEXT), model.encoded(TEXT[::-1])])
    models = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), model.params)

    def gradient(implementation):
        def loss(params, ids):
            return jnp.mean(model.apply(params, ids, implementation=implementation)[0] ** 2)

        of_texts = jax.vmap(jax.grad(loss), in_axes=(None, 0))
        return jax.jit(jax.vmap(of_texts, in_axes=(0, None)))(models, texts)

    for cpp, scan in zip(jax.tree.leaves(gradient("native")), jax.tree.leaves(gradient("scan")), strict=True):
        assert cpp.shape[:2] == (2, 2)
        np.testing.assert_allclose(cpp, scan, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_second_derivatives_agree_in_forward_and_in_reverse_mode():
    model = make_model(cell="gru", hidden_size=4, embedding_size=3)
    ids, params = model.encoded(TEXT[:8]), model.params
    direction = jax.tree.map(jnp.cos, params)

    def loss(params, implementation="scan"):
        logits, _ = model.apply(params, ids[:-1], implementation=implementation)
        return optax.softmax_cross_entropy_with_integer_labels(logits, ids[1:]).mean()

    def slope(params):
        return optax.tree.vdot(jax.grad(loss)(params, "fused"), direction)

    forward = jax.jit(lambda params: jax.jvp(jax.grad(loss), (params,), (direction,))[1])(params)
    reverse = jax.jit(jax.grad(slope))(params)
    for mine, theirs in zip(jax.tree.leaves(forward), jax.tree.leaves(reverse), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def test_rows_stand_for_ids_and_have_a_gradient():
    model = model_of("tied")
    ids = model.encoded(TEXT)
    rows = jax.nn.one_hot(ids, len(model.vocabulary))
    expected, _ = model.apply(model.params, ids)
    found, _ = model.apply(model.params, rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda rows: model.apply(model.params, rows)[0][3, 0]))(rows)
    assert np.all(gradient[4:] == 0)  # what comes later changes nothing
    assert np.all(np.abs(gradient[:4]).max(axis=1) > 0)


def test_a_programs_own_settings_of_jax_stop_nothing():
    model = model_of("gru")
    expected, _ = model.apply(model.params, [1, 2, 3])
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        found, _ = model.apply(model.params, [1, 2, 3])
    np.testing.assert_array_equal(found, expected)


def test_a_memory_changes_none_of_these_numbers():
    model = model_of("lstm")
    np.testing.assert_array_equal(model.adapted(TEXT).logits(TEXT), model.logits(TEXT))


def test_a_text_is_reduced_as_the_training_text_was_with_a_warning():
    model = make_model(lowercase=True)
    with pytest.warns(UserWarning, match="lower-cased") as warned:
        found = model.logits("ABC")
    assert warned[0].filename == __file__
    np.testing.assert_array_equal(found, model.logits("abc"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.logits(""), "the text is empty"),
        (lambda m: m.logits("x"), "no character 'x'"),
        (lambda m: m.logits([1, 99]), "ids must be from 0 to 6, but they are from 1 to 99"),
        (lambda m: m.logits([[1]]), "whole numbers \\[T\\]"),
        (lambda m: m.hidden_states(1.5), "whole numbers \\[T\\]"),
        (lambda m: m.logits("a", m.initial_carry(2)), "carry must be as initial_carry"),
        (lambda m: m.apply(m.params, "abc"), "give model.encoded\\(text\\)"),
        (lambda m: m.apply(m.params, []), "ids must be whole numbers"),
        (lambda m: m.apply(m.params, [0.5, 0.5]), "ids must be whole numbers"),
        (
            lambda m: m.apply(m.params, [1], implementation="c++"),
            "implementation must be one of auto, native",
        ),
        (lambda m: m.apply(m.params, [1], [3]), "carry must be as initial_carry"),
        (lambda m: m.apply([], [1]), "params must be a pytree like model.params"),
        (lambda m: m.with_params({}), "params must be a pytree like model.params"),
        (lambda m: m.initial_carry(0), "batch_size must be a whole number of at least 1, but it is 0"),
        (lambda m: m.initial_carry("2"), "batch_size must be a whole number"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(call, message):
    with pytest.raises(JaxcharError, match=message) as refused:
        call(model_of("lstm"))
    assert "\n" not in str(refused.value)
