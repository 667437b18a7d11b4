"""The recurrence in C++: built once, exact in its functions, every row by itself, and done without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxchar import native, native_layer
from jaxchar.errors import JaxcharError
from jaxchar.unroll import initial_carry, unroll

needs_compiler = pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")


@pytest.fixture
def not_yet_loaded(monkeypatch, tmp_path):
    """A process that has not asked for the library, and an empty cache folder."""
    monkeypatch.setenv("JAXCHAR_COMPILED", str(tmp_path / "empty"))
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *_, **__: None)  # XLA takes each name once
    native.library.cache_clear()
    yield tmp_path
    native.library.cache_clear()


# ---- numbers -------------------------------------------------------------------------------------


def activations(x):
    """Return sigmoid and tanh of numbers: the gates i and g of LSTM cells of one unit without weights."""
    sums = jnp.asarray(x, jnp.float32)[None, :, None]  # [T = 1, B, D = 1], a feature that reaches every gate
    weights = native_layer.Weights(jnp.ones((1, 4)), jnp.zeros(4), jnp.zeros((1, 4)))
    zeros = jnp.zeros((len(x), 1))
    _, _, saved = native_layer._forward(
        "lstm", *native_layer.Inputs.of(sums), *weights, zeros, zeros, zeros[:, :0]
    )
    return np.asarray(saved[0, :, 0]), np.asarray(saved[0, :, 2])


@needs_compiler
def test_sigmoid_and_tanh_are_exact_to_a_few_units_in_the_last_place():
    x = np.concatenate([np.linspace(-12, 12, 20_001), np.geomspace(1e-7, 1, 500), [-300.0, 300.0]])
    x = x.astype(np.float32).astype(np.float64)
    sigmoid, tanh = activations(x)
    np.testing.assert_allclose(tanh, np.tanh(x), rtol=5e-7)
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-x)), rtol=5e-7, atol=1e-34)


@needs_compiler
def test_what_is_no_number_shows_and_the_infinite_has_its_limit():
    sigmoid, tanh = activations(np.array([np.nan, np.inf, -np.inf]))
    np.testing.assert_array_equal(tanh, [np.nan, 1, -1])
    np.testing.assert_allclose(sigmoid, [np.nan, 1, 0], atol=1e-34)


@needs_compiler
@pytest.mark.parametrize("cell_type", [nnx.OptimizedLSTMCell, nnx.GRUCell])
@pytest.mark.parametrize(("rows", "size"), [(1, 16), (7, 3), (31, 21)])
def test_a_rows_bits_do_not_depend_on_the_batch_around_it(cell_type, rows, size):
    cell = cell_type(9, size, rngs=nnx.Rngs(0))
    ids = jax.random.randint(jax.random.key(1), (4, 101), 0, 9)
    weights = jax.random.normal(jax.random.key(2), (4, 101, size))

    def outputs_and_gradients(first, last):
        def loss(carry):
            _, hiddens = unroll(cell, ids[:, first:last], carry, implementation="native")
            return jnp.vdot(hiddens, weights[:, first:last]), hiddens

        gradients, hiddens = jax.jit(jax.grad(loss, has_aux=True))(initial_carry(cell, last - first))
        return [hiddens[-1], *gradients]

    for whole, part in zip(outputs_and_gradients(0, 101), outputs_and_gradients(60, 60 + rows), strict=True):
        np.testing.assert_array_equal(whole[60 : 60 + rows], part)


@needs_compiler
@pytest.mark.parametrize("cell_type", [nnx.OptimizedLSTMCell, nnx.GRUCell])
def test_ids_outside_the_vocabulary_are_those_of_its_ends(cell_type):
    cell = cell_type(3, 5, rngs=nnx.Rngs(0))

    def loss(kernel, ids):
        own = nnx.clone(cell)
        own.dense_i.kernel[...] = kernel
        return unroll(own, ids, initial_carry(cell, 4), implementation="native")[1].sum()

    kernel = cell.dense_i.kernel[...]
    both = [jax.grad(loss)(kernel, jnp.array([ids])) for ids in ([-3, 0, 2, 9], [0, 0, 2, 2])]
    np.testing.assert_array_equal(*both)
    np.testing.assert_array_equal(both[0].any(axis=1), [True, False, True])


# ---- building ------------------------------------------------------------------------------------


@needs_compiler
def test_it_is_built_once_and_its_digest_tells_what_was_built(not_yet_loaded, capsys):
    digest = native.identity()
    (library,) = (not_yet_loaded / "empty").rglob("native-*.so")
    built = library.stat().st_mtime_ns
    native.library.cache_clear()
    assert capsys.readouterr().err.startswith("Building")
    assert native.identity() == digest and not capsys.readouterr().err
    assert library.stat().st_mtime_ns == built
    assert list(library.parent.iterdir()) == [library], "something unfinished was left"


@pytest.mark.parametrize("compiler", ["missing", "failing"])
def test_without_a_compiler_the_same_is_computed_in_jax(compiler, not_yet_loaded, monkeypatch):
    monkeypatch.setenv("PATH", str(not_yet_loaded))
    monkeypatch.delenv("CXX", raising=False)
    if compiler == "failing":
        script = not_yet_loaded / "g++"
        script.write_text("#!/bin/sh\nexit 1\n")
        script.chmod(0o755)
    assert not native.is_available() and native.identity() == ""
    cell = nnx.GRUCell(5, 4, rngs=nnx.Rngs(0))
    inputs = jnp.array([[0, 1], [4, 2]])
    carry = initial_carry(cell, 2)
    _, expected = unroll(cell, inputs, carry, implementation="fused")
    np.testing.assert_array_equal(unroll(cell, inputs, carry)[1], expected)
    with pytest.raises(JaxcharError, match="implementation is native"):
        unroll(cell, inputs, carry, implementation="native")


@needs_compiler
@pytest.mark.parametrize(
    "cell",
    [
        nnx.SimpleCell(5, 4, rngs=nnx.Rngs(0)),
        nnx.GRUCell(5, 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)),
        nnx.OptimizedLSTMCell(5, 4, gate_fn=jnp.tanh, rngs=nnx.Rngs(0)),
    ],
    ids=["a plain cell", "bfloat16", "another gate"],
)
def test_what_it_does_not_know_is_refused_or_computed_in_jax(cell):
    inputs, carry = jnp.array([[0, 1], [4, 2]]), initial_carry(cell, 2)
    with pytest.raises(JaxcharError, match="implementation is native"):
        unroll(cell, inputs, carry, implementation="native")
    assert unroll(cell, inputs, carry)[1].shape == (2, 2, 4)
