"""Several seeds of one setting: their folders, their figures, and how they go on after a stop."""

import json
import statistics

import pytest
from runs import TINY, quiet

import jaxchar
from jaxchar import train
from jaxchar.checkpoint.find import peek
from jaxchar.errors import JaxcharError
from jaxchar.training.seeds import SEEDS, SeedsResult, fit_seeds
from jaxchar.training.summary import RunResult

pytestmark = pytest.mark.usefixtures("unmeasured")
CONFIG = TINY.replace(max_steps=3, memory="none")
TEXT = "to be or not to be, that is the question\n" * 60


class StopAt:
    """Asks the process to stop, as Ctrl-C does, when a seed has begun."""

    def __init__(self, seed):
        self.seed = seed

    def on_train_begin(self, snapshot):
        if snapshot.config.seed == self.seed:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)


def test_every_seed_is_the_run_that_it_is_alone_and_the_figures_are_of_all(tmp_path):
    found = fit_seeds(CONFIG.replace(seed=4), tmp_path / "runs", seeds=2, display=quiet())
    alone = jaxchar.fit(CONFIG.replace(seed=5), tmp_path / "alone", display=quiet())
    assert [run.run_dir.name for run in found.runs.values()] == ["seed-4", "seed-5"]
    assert found.runs[5].summary["best_val_loss"] == alone.summary["best_val_loss"]
    losses = [run.summary["best_val_loss"] for run in found.runs.values()]
    assert len(set(losses)) == 2
    record = json.loads((tmp_path / "runs" / SEEDS).read_text())
    assert record["best_val_loss"] == {
        "median": statistics.median(losses),
        "min": min(losses),
        "max": max(losses),
    }
    assert [run["seed"] for run in record["runs"]] == [4, 5]
    assert f"{statistics.median(losses):.4f} (median)" in found.in_words()


@pytest.mark.slow
def test_the_command_stops_at_a_signal_and_goes_on_when_it_is_given_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(TEXT)
    options = "--seeds 2 --run-dir runs/all --hidden-size 6 --max-steps 3 --sample-length 0"
    command = ["my.txt", *options.split()]
    monkeypatch.setattr("jaxchar.training.loggers.logger_named", lambda name: StopAt(1))
    with pytest.raises(SystemExit) as left:
        train.main(arguments=[*command, "--logger", "tensorboard"])
    assert left.value.code == 130
    assert len(json.loads((tmp_path / "runs/all" / SEEDS).read_text())["runs"]) == 1
    assert peek(tmp_path / "runs/all/seed-1").step < 3
    assert capsys.readouterr().out.count("Plan:") == 1

    train.main(arguments=command)
    said = capsys.readouterr().out
    assert "Plan:" not in said and "is finished at step 3" in said and "Resuming" in said
    assert "2 runs in runs/all: best validation loss" in said
    configs = [peek(tmp_path / f"runs/all/seed-{seed}").config for seed in (0, 1)]
    assert configs[1].describe_changes(configs[0]) == ["seed: 1 -> 0"]

    for other, word in ([["--hidden-size", "7"], "hidden_size"], [["--seed", "9"], "seed"]):
        with pytest.raises(SystemExit) as left:
            train.main(arguments=[*command, *other])
        error = capsys.readouterr().err
        assert (left.value.code, error.count("\n")) == (2, 1)
        assert word in error
    (tmp_path / "my.txt").write_text(TEXT[:-50])
    with pytest.raises(SystemExit):
        train.main(arguments=command)
    assert "another text" in capsys.readouterr().err


REFUSED = [
    *("my.txt --seeds 0", "my.txt --seeds -1", "my.txt --seeds 99999", "my.txt --seeds two"),
    *("- --seeds 2", "my.txt --seeds 2 --plan", "my.txt --seeds 2 --seed 4294967295"),
    *("my.txt --seeds 2 --run-dir my.txt", "--seeds 2 --run-dir a --resume", "my.txt --seeds 2 --minutes 0"),
]


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_written(line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(TEXT)
    with pytest.raises(SystemExit) as left:
        train.main(arguments=line.split())
    error = capsys.readouterr().err
    assert (left.value.code, error.count("\n"), error[:7]) == (2, 1, "error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["my.txt"]


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"config": 3}', '{"config": {"seed": -1}}', "\udcff"])
def test_a_record_that_cannot_be_read_is_named(record, tmp_path):
    (tmp_path / SEEDS).write_text(record, errors="surrogateescape")
    with pytest.raises(JaxcharError, match=r"seeds\.json.* cannot be read"):
        fit_seeds(CONFIG, tmp_path, seeds=2, display=quiet())


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(JaxcharError, match="is not empty and holds no run"):
        fit_seeds(CONFIG, tmp_path, seeds=2, display=quiet())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_runs_that_are_there_are_left_alone_without_resume(tmp_path):
    fit_seeds(CONFIG, tmp_path / "runs", seeds=1, display=quiet())
    with pytest.raises(JaxcharError, match="already holds runs"):
        fit_seeds(CONFIG, tmp_path / "runs", seeds=1, display=quiet())


def test_the_time_is_for_all_runs_together(tmp_path, monkeypatch):
    deadlines = []

    def fit(config, planner, run_dir, *, deadline, **_):
        deadlines.append(deadline)
        return RunResult(run_dir, {"steps": 1, "best_step": None, "best_val_loss": None}, None)

    monkeypatch.setattr("jaxchar.training.seeds.fit_config", fit)
    text = {"corpus": jaxchar.Text(TEXT), "hidden_size": 6}
    found = fit_seeds(text, tmp_path, seeds=4, minutes=2.0, started=1_000.0, display=quiet())
    assert deadlines == pytest.approx([1_000 + 1.06 * 120 * share - 2 for share in (0.25, 0.5, 0.75, 1)])
    assert found.to_json()["best_val_loss"] == {"median": None, "min": None, "max": None}
    assert isinstance(found, SeedsResult) and "nothing was validated" in found.in_words()
