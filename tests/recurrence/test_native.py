"""The recurrence in C++: built once, exact in its functions, every row by itself, and done without."""

import os
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import promises
import pytest
from flax import nnx

from jaxchar import cache
from jaxchar.errors import JaxcharError
from jaxchar.recurrence import native, native_layer
from jaxchar.recurrence.cells import initial_carry
from jaxchar.recurrence.unroll import unroll

needs_compiler = pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")


@pytest.fixture
def not_yet_loaded(monkeypatch, tmp_path):
    """A process that has not asked for the library, and an empty cache folder."""
    monkeypatch.setenv("JAXCHAR_COMPILED", str(tmp_path / "empty"))
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *_, **__: None)  # XLA takes each name once
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no-such-folder"))  # nothing is built there
    native.forget()
    yield tmp_path
    native.forget()


# ---- numbers -------------------------------------------------------------------------------------


def activations(x):
    """Return sigmoid and tanh of numbers: the gates i and g of LSTM cells of one unit without weights."""
    sums = jnp.asarray(x, jnp.float32)[None, :, None]  # [T = 1, B, D = 1], a feature that reaches every gate
    weights = native_layer.Weights(jnp.ones((1, 4)), jnp.zeros(4), jnp.zeros((1, 4)))
    zeros = jnp.zeros((len(x), 1))
    _, _, saved = native_layer._forward("lstm", native_layer.Inputs.of(sums), weights, zeros, zeros, None)
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
@pytest.mark.parametrize(
    ("rows", "size"),
    [pytest.param(1, 16, marks=pytest.mark.slow), (7, 3), pytest.param(31, 21, marks=pytest.mark.slow)],
)
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
@pytest.mark.parametrize(
    "cell_type", [nnx.OptimizedLSTMCell, pytest.param(nnx.GRUCell, marks=pytest.mark.slow)]
)
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
@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_is_built_once_and_its_digest_tells_what_was_built(real, built, not_yet_loaded, caplog, request):
    if not real:
        request.getfixturevalue("compiler")(PRETENDING.format(built=built))
        native.forget()
        caplog.clear()
    digest = native.identity()
    (library,) = (not_yet_loaded / "empty").rglob("native-*.so")
    written = library.stat().st_mtime_ns
    assert library.stem.endswith(digest)
    (line,) = caplog.messages
    assert line.startswith("Building")
    native.forget()
    assert native.identity() == digest and caplog.messages == [line]
    assert library.stat().st_mtime_ns == written
    assert list(library.parent.iterdir()) == [library], "something unfinished was left"


@pytest.fixture
def compiler(not_yet_loaded, monkeypatch):
    """Return what makes a compiler of a shell script, the only one there is; it counts its calls."""
    folder = not_yet_loaded / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)

    def make(script, name="g++"):
        file = folder / name
        file.write_text(f"#!/bin/sh\necho x >> {not_yet_loaded}/calls\nPATH=/usr/bin:/bin\n{script}\n")
        file.chmod(0o755)
        return file

    return make


def calls(folder):
    file = folder / "calls"
    return len(file.read_text().split()) if file.exists() else 0


# Puts a library that was built before where the compiler's is to be.
PRETENDING = 'while [ "$1" != -o ]; do shift; done; cp {built} "$2"'


@pytest.fixture
def built():
    """A library that was built before."""
    recipe, digest = native._recipe(), native.identity()
    return cache.folder_for_compiled() / f"native-{recipe}-{digest}.so"


def computes_in_jax():
    cell = nnx.GRUCell(5, 4, rngs=nnx.Rngs(0))
    inputs = jnp.array([[0, 1], [4, 2]])
    carry = initial_carry(cell, 2)
    _, expected = unroll(cell, inputs, carry, implementation="fused")
    np.testing.assert_array_equal(unroll(cell, inputs, carry)[1], expected)
    with pytest.raises(JaxcharError, match=r"implementation is native.*or give implementation='auto'") as no:
        unroll(cell, inputs, carry, implementation="native")
    return str(no.value)


@promises.ANY_COMPILER
def test_without_a_compiler_the_same_is_computed_in_jax_and_one_line_says_so(compiler, caplog):
    for _ in range(2):
        assert "no C++ compiler was found" in computes_in_jax()
    (line,) = caplog.messages
    assert "half as fast" in line and "apt install g++" in line


@promises.ANY_COMPILER
def test_a_failure_is_told_and_remembered_until_its_cause_changes(compiler, not_yet_loaded, caplog):
    file = compiler("echo 'native.cc:1: error: no vectors here' >&2; exit 1")
    for _ in range(3):
        native.forget()
        assert "g++: native.cc:1: error: no vectors here" in computes_in_jax()
    assert calls(not_yet_loaded) == 1
    assert sum("Building" in line for line in caplog.messages) == 1
    assert sum("no vectors here" in line for line in caplog.messages) == 3  # once a process
    file.write_text(file.read_text() + "\n# another version")
    native.forget()
    computes_in_jax()
    assert calls(not_yet_loaded) == 2


@promises.ANY_COMPILER
def test_a_failure_is_tried_again_after_a_day(compiler, not_yet_loaded):
    compiler("exit 1")
    assert native.library() is None
    (note,) = (not_yet_loaded / "empty").rglob("native-*.failed")
    old = note.stat().st_mtime - native.FAILURE_SECONDS - 1
    os.utime(note, (old, old))
    native.forget()
    assert native.library() is None and calls(not_yet_loaded) == 2


@promises.ANY_COMPILER
@pytest.mark.parametrize("note", ["", "{", "[]", '{"cause": 3}', "\xff"])
def test_a_note_that_is_damaged_is_not_believed(note, compiler, not_yet_loaded):
    compiler("exit 1")
    assert native.library() is None
    (file,) = (not_yet_loaded / "empty").rglob("native-*.failed")
    file.write_bytes(note.encode("latin1"))
    native.forget()
    assert native.library() is None and calls(not_yet_loaded) == 2


@promises.ANY_COMPILER
def test_a_compiler_that_hangs_is_ended_with_all_that_it_started(compiler, not_yet_loaded, monkeypatch):
    monkeypatch.setattr(native, "TRIAL_SECONDS", 1)
    compiler(f"sleep 300 & echo $! > {not_yet_loaded}/child; wait")
    assert "no answer in 1 seconds" in native.why_not()
    child = int((not_yet_loaded / "child").read_text())
    assert ended(child)


def ended(process):
    """Whether a process is gone, or waits only for its parent to notice."""
    for _ in range(100):
        status = Path(f"/proc/{process}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@needs_compiler
@promises.ANY_COMPILER
@pytest.mark.parametrize("command", ["g++", "no-such-compiler", "ccache g++ -O1", "'", "no-such -x", "false"])
def test_whatever_cxx_says_a_compiler_that_works_is_found(
    command, built, compiler, not_yet_loaded, monkeypatch
):
    compiler(PRETENDING.format(built=built))
    compiler(PRETENDING.format(built=built), "ccache")
    compiler("exit 1", "false")
    monkeypatch.setenv("CXX", command)
    native.forget()
    monkeypatch.setenv("JAXCHAR_COMPILED", str(not_yet_loaded / "other"))
    assert native.identity() == built.stem.rpartition("-")[2]


@needs_compiler
@promises.ANY_COMPILER
@pytest.mark.parametrize(
    "damage", [lambda data: data[:1000], lambda data: b"", lambda data: data[:-1] + b"?"]
)
def test_a_library_that_was_damaged_is_not_loaded_but_built_anew(damage, built, compiler, not_yet_loaded):
    content = built.read_bytes()
    (not_yet_loaded / "sound.so").write_bytes(content)
    compiler(PRETENDING.format(built=not_yet_loaded / "sound.so"))
    (not_yet_loaded / "empty").mkdir()
    native.forget()
    assert native.identity()
    (file,) = (not_yet_loaded / "empty").rglob("native-*.so")
    file.unlink()
    file.write_bytes(damage(content))
    native.forget()
    assert native.identity() and file.read_bytes() == content


@promises.ANY_COMPILER
def test_what_was_built_but_cannot_be_loaded_is_done_without(compiler, not_yet_loaded):
    compiler(PRETENDING.format(built="/bin/sh"))
    assert not native.is_available()
    assert "JAXCHAR_CACHE" in native.why_not()


@needs_compiler
@promises.ANY_COMPILER
def test_where_the_cache_cannot_be_written_to_it_is_built_in_the_temporary_folder(
    built, compiler, not_yet_loaded, monkeypatch, caplog
):
    compiler(PRETENDING.format(built=built))
    (not_yet_loaded / "file").touch()
    monkeypatch.setenv("JAXCHAR_COMPILED", str(not_yet_loaded / "file" / "below"))
    monkeypatch.setattr(tempfile, "tempdir", str(not_yet_loaded))
    for _ in range(2):
        native.forget()
        assert native.identity()
    assert sum("cannot be written to" in line for line in caplog.messages) == 1
    assert calls(not_yet_loaded) == 2  # a trial, and the library


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


@needs_compiler
@pytest.mark.parametrize("name", ["plain", "hard_plain", ""])
def test_a_cell_that_the_library_does_not_have_is_an_error(name):
    inputs = native_layer.Inputs.of(jnp.zeros((1, 2, 3)))
    weights = native_layer.Weights(jnp.zeros((3, 12)), jnp.zeros(12), jnp.zeros((4, 12)))
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"INVALID_ARGUMENT.*no cell is called '{name}'"):
        jax.block_until_ready(native_layer.run(name, inputs, weights, None, jnp.zeros((2, 4)), None))
