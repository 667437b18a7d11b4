"""Settings of the process decide nothing: the same text, the same training, or one line that refuses."""

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import flax
import jax
import jax.numpy as jnp
import numpy as np
import promises
import pytest
from runs import TINY, quiet, timeless_metrics

import jaxchar
from jaxchar import ambient
from jaxchar.checkpoint.arrays import named_leaves
from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.provenance import describe_machine
from jaxchar.errors import JaxcharError
from jaxchar.training.step import state_structure

pytestmark = promises.AMBIENT

CONFIG = TINY.replace(
    batching="windows", shuffle=True, stride=7, dropout=0.2, recurrent_dropout=0.1, sample_length=5, epochs=2
)
HOSTILE = {
    "jax_enable_x64": True,
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 7,
    "jax_high_dynamic_range_gumbel": True,
    "jax_legacy_prng_key": "error",
    "jax_debug_key_reuse": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_default_matmul_precision": "bfloat16",
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_check_tracer_leaks": True,
    "jax_disable_jit": True,
    "jax_transfer_guard": "disallow",
    "jax_use_direct_linearize": False,
}


@contextmanager
def configured(settings):
    """Change JAX's configuration for the whole process, as any library in it may."""
    with ExitStack() as restoring:
        for name, value in settings.items():
            restoring.callback(jax.config.update, name, getattr(jax.config, name))
            jax.config.update(name, value)
        yield


def digest(run_dir):
    """Return every bit of a run's last state, and its metrics."""
    leaves = named_leaves(load_checkpoint(run_dir, state_structure).state)
    return {name: np.asarray(leaf).tobytes() for name, leaf in leaves.items()}, timeless_metrics(run_dir)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("ambient") / "run"
    jaxchar.fit(CONFIG, run_dir, display=quiet())
    return run_dir


def made_with(run_dir):
    """Return what a model writes and what it thinks of a text."""
    model = jaxchar.load(run_dir)
    texts = model.generate("a", 20, seed=3, top_k=9), model.generate_batch(["a", "e"], 12)[1]
    return *texts, model.score("the test").surprises.tolist()


@pytest.fixture(scope="module")
def expected(undisturbed):
    return made_with(undisturbed)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_seed_gives_the_same_text_whatever_jax_is_told(name, undisturbed, expected):
    with configured({name: HOSTILE[name]}):
        assert made_with(undisturbed) == expected


def test_a_run_ends_in_the_same_bits_whatever_jax_is_told(undisturbed, tmp_path):
    run_dir = tmp_path / "run"
    with configured(HOSTILE):
        jaxchar.fit(CONFIG.replace(epochs=1), run_dir, display=quiet())
    with configured({"jax_default_prng_impl": "unsafe_rbg", "jax_enable_x64": True}):
        jaxchar.resume(run_dir, config=CONFIG, display=quiet())
    assert digest(run_dir) == digest(undisturbed)


def test_numpys_errors_and_a_mesh_of_the_callers_change_nothing(undisturbed, expected):
    with np.errstate(all="raise"), jax.set_mesh(jax.make_mesh((1,), ("mine",))):
        assert made_with(undisturbed) == expected
        assert jax.sharding.get_abstract_mesh().axis_names == ("mine",)
        assert np.geterr()["under"] == "raise"


def test_a_text_that_streams_keeps_its_settings_and_the_caller_keeps_his(undisturbed):
    model = jaxchar.load(undisturbed)
    whole = model.generate("a", 60, seed=1)
    pieces = model.stream("a", 60, seed=1)
    with configured({"jax_enable_x64": True, "jax_default_prng_impl": "rbg"}):
        first = next(pieces)
        assert jnp.arange(2).dtype == jnp.int64
    assert jnp.arange(2).dtype == jnp.int32
    assert first + "".join(pieces) == whole


# ---- what holds for a whole process --------------------------------------------------------------


def test_flags_that_may_round_differently_are_recorded_and_told_on_resuming(tmp_path, monkeypatch):
    monkeypatch.setattr(ambient, "_check_flags_known_to_xla", lambda: None)
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=1 --xla_dump_to=/tmp/x")
    recorded = describe_machine()["compiler_settings"]
    assert "--xla_backend_optimization_level=1" in recorded and "dump" not in recorded
    jaxchar.fit(CONFIG.replace(epochs=1), tmp_path / "run", display=quiet())
    monkeypatch.delenv("XLA_FLAGS")
    display = quiet()
    told = []
    display.notice = told.append
    with pytest.warns(UserWarning, match="--xla_backend_optimization_level=1, so numbers may round differ"):
        jaxchar.load(tmp_path / "run")
    jaxchar.resume(tmp_path / "run", config=CONFIG, display=display)
    assert any(
        "may round differently" in line and "--xla_backend_optimization_level=1" in line for line in told
    )


@pytest.mark.parametrize("flags", ["--xla_cpu_enable_fast_math=true", "--xla_cpu_enable_fast_math"])
def test_an_arithmetic_of_another_kind_is_refused(flags, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_large_constants=false {flags}")
    for use in (lambda: jaxchar.load(undisturbed), lambda: jaxchar.fit(CONFIG, tmp_path / "run")):
        with pytest.raises(JaxcharError, match=r"XLA_FLAGS has .*fast_math"):
            use()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ambient.FLAX_DEFAULTS)
def test_modules_of_another_kind_are_refused(name, undisturbed, monkeypatch):
    default = ambient.FLAX_DEFAULTS[name]
    assert getattr(flax.config, name) == default
    monkeypatch.setitem(flax.config._values, name, not default)
    with pytest.raises(JaxcharError, match=f"Flax's setting {name} is {not default}"):
        jaxchar.load(undisturbed)


def test_flags_that_would_end_the_process_are_found_beforehand():
    assert "Unknown flag" in ambient._complaint_about("--xla_no_such_flag=1")
    assert ambient._complaint_about("--xla_cpu_enable_fast_math=false") == ""


def sampled(run_dir, **environment):
    """Write with a command in a process of its own."""
    command = [sys.executable, "-m", "jaxchar.sample", "--ckpt", run_dir, "--prompt", "a", "--seed", "3"]
    command += ["--length", "20", "--top-k", "9"]
    return subprocess.run(
        list(map(str, command)),
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", **environment},
        capture_output=True,
        text=True,
    )


def test_a_command_writes_the_same_whatever_the_environment_says(undisturbed, expected):
    hostile = {name.upper(): str(value) for name, value in HOSTILE.items()}
    others = {"MPLBACKEND": "module://none", "LC_ALL": "C", "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    ran = sampled(undisturbed, **hostile, **others, OMP_NUM_THREADS="1", PYTHONOPTIMIZE="1")
    assert (ran.returncode, ran.stdout) == (0, f"a{expected[0]}\n"), ran.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JAX_PLATFORMS", "cuda"),
        pytest.param("JAX_PLATFORMS", "nonsense", marks=pytest.mark.slow),
        pytest.param("JAX_ENABLE_X64", "perhaps", marks=pytest.mark.slow),
        pytest.param("XLA_FLAGS", "--xla_no_such_flag=1", marks=pytest.mark.slow),
    ],
)
def test_what_jax_cannot_use_is_one_line(name, value, undisturbed):
    if value == "cuda" and jax.default_backend() != "cpu":
        pytest.skip("it can be used here")
    ran = sampled(undisturbed, **{name: value})
    assert ran.returncode == 2 and not ran.stdout
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: ") and name in line.upper()
