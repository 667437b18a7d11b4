"""Runs with an optimizer of the user's: trained, resumed bit for bit, inspected, and refused without it."""

import jax
import numpy as np
import optax
import pytest
from runs import TINY, quiet, timeless_metrics

import jaxchar
from jaxchar import train
from jaxchar.checkpoint.arrays import read_array
from jaxchar.checkpoint.find import peek
from jaxchar.checkpoint.layout import checkpoints_of
from jaxchar.checkpoint.record import read_record
from jaxchar.errors import JaxcharError
from jaxchar.training.inspection import inspect_checkpoints

pytestmark = pytest.mark.usefixtures("unmeasured")
CONFIG = TINY.replace(epochs=2, log_every=5, keep_checkpoints=0)
EPOCH = 14  # steps


def make() -> optax.GradientTransformation:
    """Return an optimizer with all that a state may hold: counts, keys, hyperparameters, half precision."""
    return optax.chain(
        optax.add_noise(1e-4, 0.5, jax.random.key(3)),
        optax.clip_by_global_norm(1.0),
        optax.inject_hyperparams(optax.adam, static_args=("mu_dtype",))(
            learning_rate=optax.linear_schedule(3e-3, 1e-3, 30), mu_dtype="bfloat16"
        ),
        optax.contrib.reduce_on_plateau(patience=2, accumulation_size=3),
    )


def fit(run_dir, optimizer=None, **settings):
    return jaxchar.fit(CONFIG.replace(**settings), run_dir, optimizer=optimizer or make(), display=quiet())


def arrays(run_dir):
    newest = checkpoints_of(run_dir)[0]
    return {name: read_array(newest, name) for name in read_record(newest)["leaves"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    fit(run_dir)
    return run_dir


def test_a_run_is_resumed_bit_for_bit_with_the_optimizer_made_again(whole, tmp_path):
    fit(tmp_path / "run", epochs=1)
    jaxchar.resume(
        tmp_path / "run", config=CONFIG.replace(optimizer="custom"), optimizer=make(), display=quiet()
    )
    ours, theirs = arrays(tmp_path / "run"), arrays(whole)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], name)
    assert any(str(array.dtype) == "bfloat16" for array in ours.values())
    assert timeless_metrics(tmp_path / "run") == timeless_metrics(whole)


def test_a_run_learns_and_its_own_learning_rate_is_logged(whole):
    metrics = jaxchar.read_metrics(whole)
    assert metrics["val_loss"].values[-1] < metrics["val_loss"].values[0] < 4
    np.testing.assert_allclose(metrics["learning_rate"].values[0], 3e-3 - 2e-3 * 4 / 30, rtol=1e-5)
    assert peek(whole).config.optimizer == "custom"


@pytest.mark.slow
def test_the_same_optimizer_as_a_builtin_one_trains_the_same(tmp_path):
    settings = {"learning_rate": 3e-3, "beta2": 0.99, "epochs": 1}
    jaxchar.fit(CONFIG.replace(optimizer="adam", **settings), tmp_path / "named", display=quiet())
    fit(tmp_path / "given", optax.adam(3e-3, b2=0.99), epochs=1)
    named, given = (jaxchar.read_metrics(tmp_path / name)["val_loss"].values for name in ("named", "given"))
    np.testing.assert_array_equal(named, given)


def test_the_run_is_sampled_and_inspected_without_the_optimizer(whole):
    assert len(jaxchar.load(whole).generate("a", 10)) == 10
    found = inspect_checkpoints(str(whole))
    assert found.is_whole
    assert found.shown.optimizer_state.arrays == len([n for n in arrays(whole) if n.startswith("opt_state")])
    victim = next((checkpoints_of(whole)[0] / "state").glob("opt_state*mu*"))
    chunk = next(file for file in victim.rglob("*") if file.is_file() and not file.name.startswith("."))
    before = chunk.read_bytes()
    chunk.write_bytes(bytes([before[0] ^ 1]) + before[1:])
    assert victim.name in " ".join(inspect_checkpoints(str(whole)).checkpoints[0].damage)
    chunk.write_bytes(before)


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (None, r"jaxchar\.resume\('.*whole', optimizer=\.\.\.\)"),
        (optax.sgd(0.1), r"0\.count was there, and is not now; give the same one"),
        ("adam", "must be the name of one, or an optax"),
    ],
)
def test_another_optimizer_or_none_is_refused_in_one_line(optimizer, said, whole):
    before = timeless_metrics(whole)
    with pytest.raises(JaxcharError, match=said) as raised:
        jaxchar.resume(whole, optimizer=optimizer, display=quiet())
    assert "\n" not in str(raised.value)
    assert timeless_metrics(whole) == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--run-dir", "RUN", "--resume"], "optimizer=...)"),
        (["--run-dir", "new", "--init-from", "RUN"], "give another --optimizer"),
        (["--run-dir", "new", "--init-from", "RUN", "--keep-optimizer"], "leave --keep-optimizer out"),
    ],
)
def test_the_command_line_says_that_python_has_the_optimizer(
    line, said, whole, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        train.main(arguments=[str(whole) if word == "RUN" else word for word in line])
    error = capsys.readouterr().err
    assert (left.value.code, error.count("\n")) == (2, 1)
    assert said in error
    assert not (tmp_path / "new").exists()


def test_a_run_with_a_named_optimizer_takes_no_other(tmp_path):
    jaxchar.fit(CONFIG.replace(max_steps=3), tmp_path / "run", display=quiet())
    with pytest.raises(JaxcharError, match="jaxchar's own adamw; leave optimizer= out"):
        jaxchar.resume(tmp_path / "run", optimizer=make(), display=quiet())


@pytest.mark.slow
def test_a_planned_run_takes_an_optimizer_or_the_name_of_one(tmp_path):
    text = jaxchar.Text("to be or not to be\n" * 100)
    chosen = {"hidden_size": 6, "max_steps": 3, "sample_length": 0, "memory": "none"}
    given = jaxchar.fit(text, tmp_path / "given", optimizer=optax.adam(1e-3), display=quiet(), **chosen)
    assert (given.summary["steps"], peek(given.run_dir).config.optimizer) == (3, "custom")
    named = jaxchar.fit(text, tmp_path / "named", optimizer="sgd", display=quiet(), **chosen)
    assert peek(named.run_dir).config.optimizer == "sgd"


def test_a_config_cannot_go_with_the_name_of_an_optimizer_nor_stand_for_one(tmp_path):
    with pytest.raises(JaxcharError, match="sets everything"):
        jaxchar.fit(CONFIG, tmp_path / "run", optimizer="sgd", display=quiet())
    with pytest.raises(JaxcharError, match="give that"):
        jaxchar.fit(CONFIG.replace(optimizer="custom"), tmp_path / "run", display=quiet())
    with pytest.raises(JaxcharError, match="must be the name of one"):
        jaxchar.fit(CONFIG, tmp_path / "run", optimizer=5, display=quiet())
    assert not (tmp_path / "run").exists()
