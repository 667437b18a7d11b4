"""A run that is finished, or nearly: it can be resumed to its end, and each step is of one epoch."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import promises
import pytest
from command_runs import CONFIG, EPOCH, OPTIONS, STEPS, assert_whole, main
from rich.console import Console
from runs import quiet

import jaxchar
from jaxchar.errors import JaxcharError
from jaxchar.progress.display import TrainingDisplay
from jaxchar.training.pace import Pace
from jaxchar.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("unmeasured")

KILLED_BEFORE_ITS_SUMMARY = """
import os, signal, sys
from jaxchar import train
from jaxchar.training.trainer import Trainer
Trainer.sum_up = lambda trainer, stopped_by: os.kill(os.getpid(), signal.SIGKILL)
train.main(arguments=sys.argv[1:])
"""


@pytest.mark.slow
@promises.FINISHED
def test_killed_between_its_last_save_and_its_summary_a_run_is_resumed_to_its_end(tmp_path, capsys):
    options = ["--epochs=2", f"--run-dir={tmp_path}/run"]
    command = [sys.executable, "-c", KILLED_BEFORE_ITS_SUMMARY, *OPTIONS, *options]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "summary.json").exists()
    assert main("--epochs=2", f"--run-dir={tmp_path}/run", "--resume") == 0
    assert f"is finished at step {STEPS}" in capsys.readouterr().out
    assert_whole(tmp_path / "run")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that is finished, for all tests to copy."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    jaxchar.fit(CONFIG, run_dir, display=quiet())
    return run_dir


@pytest.fixture
def finished(trained, tmp_path) -> Path:
    """A run that is finished, of a test's own."""
    return shutil.copytree(trained, tmp_path / "run")


@promises.FINISHED
@pytest.mark.parametrize(
    "missing", [[], ["summary.json"], ["loss.png"], ["summary.json", "loss.png", "config.json"]]
)
def test_a_finished_run_gets_what_is_missing_and_keeps_the_rest(missing, finished, monkeypatch):
    before = {name: (finished / name).read_bytes() for name in ("summary.json", "config.json")}
    for name in missing:
        (finished / name).unlink()
    there = {path: path.stat().st_mtime_ns for path in finished.glob("*.p*g")} if not missing else {}
    monkeypatch.delattr(Trainer, "_compiled")  # nothing is to be trained
    run = jaxchar.resume(finished, display=quiet())
    assert run.stopped_by is None and run.summary["steps"] == STEPS
    assert {name: (finished / name).read_bytes() for name in before} == before
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert_whole(finished)


@promises.FINISHED
def test_a_summary_of_an_earlier_stop_is_brought_up_to_date(finished):
    right = (finished / "summary.json").read_text()
    (finished / "summary.json").write_text(json.dumps({**json.loads(right), "steps": 3, "train_loss": 9.0}))
    jaxchar.resume(finished, display=quiet())
    assert (finished / "summary.json").read_text() == right


@promises.FINISHED
def test_more_epochs_train_on_and_fewer_are_refused(finished):
    assert (
        jaxchar.resume(finished, config=CONFIG.replace(epochs=3), display=quiet()).summary["steps"]
        == 3 * EPOCH
    )
    with pytest.raises(JaxcharError, match="at step 42, beyond the 28 that are asked for; give more epochs="):
        jaxchar.resume(finished, config=CONFIG, display=quiet())


@promises.FINISHED
def test_a_run_that_was_stopped_early_is_finished_until_more_is_asked_for(tmp_path, capsys):
    config = CONFIG.replace(epochs=50, early_stopping=2, learning_rate=1e-12)
    run = jaxchar.fit(config, tmp_path / "run", display=quiet())
    (tmp_path / "run" / "summary.json").unlink()
    steps = run.summary["steps"]
    assert steps < 50 * EPOCH
    assert jaxchar.resume(tmp_path / "run").summary == run.summary
    assert f"is finished at step {steps}: 2 evaluations in a row were not better" in capsys.readouterr().out
    assert (tmp_path / "run" / "summary.json").exists()
    longer = jaxchar.resume(tmp_path / "run", config=config.replace(epochs=51), display=quiet())
    assert longer.summary["steps"] == steps + EPOCH
    patient = jaxchar.resume(
        tmp_path / "run", config=config.replace(epochs=51, early_stopping=4), display=quiet()
    )
    assert patient.summary["steps"] == steps + 2 * EPOCH


# ---- positions -------------------------------------------------------------------------------------


class Positions(TrainingDisplay):
    """Shows nothing, and remembers every position."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.positions: list[str] = []

    def progress(self, step, position, *_) -> None:
        self.positions.append(position.split("/")[0])

    def evaluation(self, position, *_) -> None:
        self.positions.append(position)


def test_a_step_is_of_one_epoch_wherever_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(Pace, "add", lambda pace, steps, seconds: 1)
    display = Positions()
    jaxchar.fit(CONFIG, tmp_path / "run", display=display)
    expected = [f"epoch {1 + (step - 1) // EPOCH}  step {step}" for step in range(1, STEPS + 1)]
    assert sorted(set(display.positions), key=expected.index) == expected
