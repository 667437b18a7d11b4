"""A loss or gradient that is not finite is caught at its very step, and stopped at or skipped."""

import jax
import jax.numpy as jnp
import numpy as np
import promises
import pytest
from jax import lax
from rich.console import Console
from runs import TINY, quiet

import jaxchar
from jaxchar.checkpoint.arrays import verify
from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.config import Config
from jaxchar.data.batches import Streams
from jaxchar.errors import JaxcharError
from jaxchar.progress.display import TrainingDisplay
from jaxchar.training import step as step_module
from jaxchar.training.step import TrainState, make_program

pytestmark = promises.DIVERGENCE

CONFIG = TINY.replace(ema_decay=0.9, epochs=3, checkpoint_every=5, keep_checkpoints=0)
OFTEN = (("loss", 13), ("gradient", 1))


@pytest.fixture(autouse=True)
def programs_made_anew():
    """Let no program that was made before or in a test of this file serve another one."""
    step_module._program.cache_clear()
    yield
    step_module._program.cache_clear()


def inject(monkeypatch, what: str, bad_steps: tuple[int, ...]) -> None:
    """Make the loss, or only its gradient, not a number in some steps, the first of which is step 1."""
    batch_at, predict, now = Streams.batch, step_module.sums_over_batch, {}

    def batch(batches, ids, step, key):
        now["step"] = step
        return batch_at(batches, ids, step, key)

    def poisoned(model, batch, carry, key):
        totals, carry = predict(model, batch, carry, key)
        if key is None and "step" not in now:
            return totals, carry
        bad = jnp.isin(now["step"] + 1, jnp.array(bad_steps))
        nothing = totals.loss - totals.loss
        if what == "loss":
            return totals._replace(loss=totals.loss + jnp.where(bad, jnp.nan, 0.0)), carry
        # The square root has no derivative at 0, where bad steps take it; the others take it at 1.
        root = jnp.sqrt(jnp.where(bad, nothing, 1.0))
        return totals._replace(loss=totals.loss + root - lax.stop_gradient(root)), carry

    monkeypatch.setattr(Streams, "batch", batch)
    monkeypatch.setattr(step_module, "sums_over_batch", poisoned)


def fit(config: Config, run_dir):
    return jaxchar.fit(config.replace(val_fraction=0.0), run_dir, display=quiet())


@pytest.mark.parametrize(
    ("what", "bad_step"),
    [
        pytest.param(what, bad_step, marks=() if (what, bad_step) in OFTEN else pytest.mark.slow)
        for what in ("loss", "gradient")
        for bad_step in (1, 13, 15)
    ],
)
def test_a_run_stops_at_the_step_and_keeps_its_last_good_checkpoint(what, bad_step, tmp_path, monkeypatch):
    inject(monkeypatch, what, (bad_step,))
    said = rf"the {what} of step {bad_step} is not finite.*learning_rate=.*skip_nonfinite=True"
    with pytest.raises(JaxcharError, match=said):
        fit(CONFIG, tmp_path / "run")
    good = [step for step in (10, 5) if step < bad_step]
    assert steps_in(tmp_path / "run" / FOLDER) == good
    for step in good:
        verify(tmp_path / "run" / FOLDER / str(step))


# A step is skipped alike whatever of it is no number, as the test above finds both: one of each kind always.
@pytest.mark.parametrize("what", [pytest.param("loss", marks=pytest.mark.slow), "gradient"])
def test_on_request_such_steps_are_skipped_and_counted(what, tmp_path, monkeypatch, capsys):
    inject(monkeypatch, what, (1, 13, 14))
    display = TrainingDisplay(Console(highlight=False))
    config = CONFIG.replace(skip_nonfinite=True, val_fraction=0.0)
    result = jaxchar.fit(config, tmp_path / "run", display=display)
    assert result.summary["skipped_steps"] == 3
    assert np.isfinite(result.summary["train_loss"])
    assert "3 steps were not finite" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["loss", pytest.param("gradient", marks=pytest.mark.slow)])
def test_a_skipped_step_leaves_everything_but_the_count_as_it_was(what, monkeypatch):
    inject(monkeypatch, what, (13,))
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 5, 1_000), jnp.uint8)
    program = make_program(CONFIG.replace(skip_nonfinite=True), 5, 1_000)

    def at(step: int) -> TrainState:
        state, finite = program.train_steps(program.initial_state(), ids, np.int32(step), program.seed)
        assert finite
        return jax.device_get(state)

    before, after, later = at(12), at(13), at(14)
    assert (int(before.skipped), int(after.skipped)) == (0, 1)
    after = after._replace(step=before.step, skipped=before.skipped)
    assert all(map(np.array_equal, jax.tree.leaves(before), jax.tree.leaves(after)))
    assert not np.array_equal(before.params.head.kernel[...], later.params.head.kernel[...])


def test_a_run_that_skips_a_whole_epoch_is_stopped(tmp_path, monkeypatch):
    inject(monkeypatch, "loss", tuple(range(16, 31)))
    with pytest.raises(JaxcharError, match="no step of the epoch that ended at step 30 was finite"):
        fit(CONFIG.replace(skip_nonfinite=True), tmp_path / "run")


def test_where_all_is_finite_skipping_changes_no_bit(monkeypatch):
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 5, 1_000), jnp.uint8)
    ends = []
    for skip in (True, False):
        program = make_program(CONFIG.replace(skip_nonfinite=skip), 5, 1_000)
        state, _ = program.train_steps(program.initial_state(), ids, np.int32(20), program.seed)
        ends.append(jax.tree.leaves(jax.device_get(state)))
    assert all(map(np.array_equal, *ends))
