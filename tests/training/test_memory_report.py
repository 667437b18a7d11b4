"""The loss with a memory that a run ends with: that of its best model, where there is something to say."""

import pytest
from runs import TINY, quiet

import jaxchar
from jaxchar.data.dataset import load_dataset
from jaxchar.scoring.evaluation import evaluate
from jaxchar.scoring.options import EvaluationOptions
from jaxchar.training import memory_report
from jaxchar.training.memory_report import best_with_memory
from jaxchar.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "trained"
    jaxchar.fit(TINY, run_dir, display=quiet())
    return RunFolder(run_dir)


def test_it_is_what_evaluate_says_of_the_best_model(trained):
    found = best_with_memory(trained, load_dataset(TINY))
    report = evaluate(trained.path, EvaluationOptions(split="validation"), which="best")
    assert found == {counting: loss.value for counting, loss in report.with_memory["validation"].items()}
    assert list(found) == ["static", "growing"]


def test_where_there_is_nothing_to_say_there_is_none(trained, tmp_path, monkeypatch):
    assert best_with_memory(trained, load_dataset(TINY.replace(val_fraction=0.0))) is None
    assert best_with_memory(RunFolder(tmp_path), load_dataset(TINY)) is None  # no checkpoint was kept
    monkeypatch.setattr(memory_report, "MOST_REPORTED", 10)
    assert best_with_memory(trained, load_dataset(TINY)) is None


def test_a_run_whose_settings_were_chosen_has_it(tmp_path, text, monkeypatch):
    monkeypatch.setattr("jaxchar.training.planner.seconds_per_step", lambda *_: 0.01)
    few = {"max_steps": 4, "hidden_size": 6, "sample_length": 0, "eval_every": 4, "checkpoint_every": 4}
    few |= {"optimizer": "adamw", "recurrent_init": "same"}  # quick to compile
    result = jaxchar.fit(jaxchar.Text(text[:2_000]), tmp_path / "a", display=quiet(), **few)
    assert result.with_memory["static"] < result.summary["best_val_loss"]
    without = jaxchar.fit(jaxchar.Text(text[:2_000]), tmp_path / "b", display=quiet(), memory="none", **few)
    assert without.with_memory is None
