"""A text and a time: a run with settings that are chosen for it, from the command line and from Python."""

import io
import json
import re
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console

import jaxchar
from jaxchar import train
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.data.dataset import load_dataset
from jaxchar.errors import JaxcharError
from jaxchar.model.loss import Means
from jaxchar.progress.display import TrainingDisplay, worth
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training import planner
from jaxchar.training.evaluator import Evaluator
from jaxchar.training.planner import Planner
from jaxchar.training.resume import resume
from jaxchar.training.run_folder import RunFolder
from jaxchar.training.step import total_steps, training_batches

FEW = {"max_steps": 6, "hidden_size": 8, "sample_length": 0}  # so that a test takes no time
FEW |= {"optimizer": "adamw", "recurrent_init": "same"}  # quick to compile
FEW |= {"eval_every": 6, "checkpoint_every": 6}  # at the end alone: a save takes as long as all steps


@pytest.fixture(autouse=True)
def quick_measurement(monkeypatch):
    """Measure nothing: to compile another program takes seconds."""
    monkeypatch.setattr(planner, "seconds_per_step", lambda *_: 0.01)


@pytest.fixture
def novel(tmp_path, text):
    file = tmp_path / "my_novel.txt"
    file.write_text(text, encoding="utf-8")
    return file


def spoken(action) -> str:
    """Return what a run says in lines."""
    console = Console(record=True, width=300, file=io.StringIO())
    action(TrainingDisplay(console))
    return console.export_text()


def settings_of(run_dir) -> dict:
    return json.loads((run_dir / "config.json").read_text())


def test_a_text_is_all_that_fit_needs(novel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = spoken(lambda display: jaxchar.fit(str(novel), display=display, **FEW))
    assert (tmp_path / "runs" / "my_novel" / "summary.json").exists()
    assert "Text: 6,000 characters, " in said
    assert "the last 600 are held out" in said
    assert "Plan: GRU of 8 units, " in said
    assert "CharRNN" not in said


def test_a_text_in_memory_will_do(tmp_path, text):
    run = jaxchar.fit(jaxchar.Text(text), tmp_path / "run", minutes=1, **FEW)
    assert run.summary["steps"] == 6


def test_what_was_chosen_is_kept_as_numbers_and_a_resumed_run_asks_nobody(novel, tmp_path, monkeypatch):
    jaxchar.fit(novel, tmp_path / "run", minutes=1, **FEW)
    before = settings_of(tmp_path / "run")
    assert {name: before[name] for name in FEW} == FEW
    assert before["cell"] == "gru"
    assert isinstance(before["learning_rate"], float)

    def refuse(*_):
        raise AssertionError("a resumed run has its settings")

    monkeypatch.setattr(planner, "choose", refuse)
    run = resume(tmp_path / "run", config=jaxchar.Config.from_json({**before, "max_steps": 9}))
    assert run.summary["steps"] == 9
    assert settings_of(tmp_path / "run") == {**before, "max_steps": 9}


def test_minutes_go_on_with_a_run(novel, tmp_path, monkeypatch):
    jaxchar.fit(novel, tmp_path / "run", **FEW)
    monkeypatch.setattr(planner, "seconds_per_step", lambda *_: 0.8)
    monkeypatch.setattr(Planner, "deadline", None)  # a busy machine would come to it
    jaxchar.resume(tmp_path / "run", minutes=0.6)  # less what a command does besides: some forty steps
    settings = settings_of(tmp_path / "run")
    assert 6 + 1 < settings["max_steps"] < 6 + 45
    assert settings["eval_every"] > 1
    assert RunFolder(tmp_path / "run").summary()["steps"] == settings["max_steps"]


def test_a_config_sets_everything(novel, tmp_path):
    with pytest.raises(jaxchar.JaxcharError, match=r"a jaxchar\.Config sets everything"):
        jaxchar.fit(jaxchar.Config(corpus=str(novel)), tmp_path / "run", minutes=1)


@pytest.mark.parametrize("minutes", [0, -1, float("inf"), float("nan"), "three", True])
def test_a_time_is_a_positive_number(novel, tmp_path, minutes):
    with pytest.raises(jaxchar.JaxcharError, match="minutes must be a number above 0"):
        jaxchar.fit(novel, tmp_path / "run", minutes=minutes)
    assert not (tmp_path / "run").exists()


def test_a_setting_that_is_none_is_refused_with_one_like_it(novel, tmp_path):
    with pytest.raises(jaxchar.JaxcharError, match=r"no setting 'hiden_size'.*hidden_size"):
        jaxchar.fit(novel, tmp_path / "run", hiden_size=3)


# ---- the command ---------------------------------------------------------------------------------


def test_plan_says_what_would_be_done_and_does_nothing(novel, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train.main(arguments=[str(novel), "--plan", "--minutes", "2"])
    said = capsys.readouterr().out
    assert "Plan: GRU of " in said
    assert "passes over the text, about " in said
    assert not (tmp_path / "runs").exists()


def test_typed_settings_are_kept_and_the_others_chosen_around_them(novel, tmp_path):
    typed = ["--hidden-size", "8", "--max-steps", "3", "--cell", "lstm", "--sample-length", "0"]
    train.main(arguments=[str(novel), "--run-dir", str(tmp_path / "run"), *typed])
    settings = settings_of(tmp_path / "run")
    assert (settings["cell"], settings["hidden_size"], settings["max_steps"]) == ("lstm", 8, 3)
    assert settings["optimizer"] == "muon"  # not the default of Config


def test_an_experiment_in_so_many_minutes_keeps_everything_but_its_length(novel, tmp_path):
    experiment = jaxchar.Config(
        hidden_size=8, seq_len=16, batch_size=4, sample_length=0, eval_every=50, epochs=99
    )
    arguments = [f"--corpus={novel}", f"--run-dir={tmp_path / 'run'}", "--minutes", "0.2", "--max-steps", "4"]
    train.main(experiment, "mine", arguments=arguments)
    settings = settings_of(tmp_path / "run")
    assert (settings["hidden_size"], settings["seq_len"], settings["optimizer"]) == (8, 16, "adamw")
    assert settings["max_steps"] == 4


def test_more_epochs_go_beyond_the_step_at_which_a_plan_ended(novel, tmp_path):
    jaxchar.fit(novel, tmp_path / "run", **{**FEW, "eval_every": 20, "checkpoint_every": 20})
    steps_per_epoch = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    before = round(6 / steps_per_epoch["epoch"])
    train.main(arguments=["--run-dir", str(tmp_path / "run"), "--resume", "--epochs", "1"])
    assert RunFolder(tmp_path / "run").summary()["steps"] == before


# ---- the time ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gone", "is_too_short"), [(58, True), (0, False)])
def test_a_time_that_is_gone_before_training_begins_is_told(novel, gone, is_too_short):
    asked = Planner({"corpus": str(novel)}, 1, time.monotonic() - gone)
    config = asked.settings_to_load()
    said = spoken(lambda display: asked.plan(load_dataset(config), config, GuardedDisplay.of(display)))
    assert ("The time is too short: 58 seconds" in said) is ("Give minutes=3." in said) is is_too_short


def test_training_stops_when_the_time_is_up_and_the_best_model_is_kept(novel, tmp_path, monkeypatch):
    monkeypatch.setattr(Planner, "deadline", property(lambda self: time.monotonic()))
    wishes = {**FEW, "max_steps": 100_000, "eval_every": 1}
    said = spoken(lambda display: jaxchar.fit(novel, tmp_path / "run", minutes=1, display=display, **wishes))
    assert re.search(r"The time is up at step \d of 100,000", said)
    assert jaxchar.load(tmp_path / "run", which="best").generate(length=3)
    monkeypatch.undo()
    monkeypatch.setattr(planner, "seconds_per_step", lambda *_: 0.01)
    longer = {"max_steps": 12, "eval_every": 12, "checkpoint_every": 12}
    config = jaxchar.Config.from_json({**settings_of(tmp_path / "run"), **longer})
    assert resume(tmp_path / "run", config=config).summary["steps"] == 12


# ---- what a loss is worth ------------------------------------------------------------------------


def test_the_summary_has_what_others_make_of_the_same_text(novel, tmp_path):
    reference = jaxchar.fit(novel, tmp_path / "run", **FEW).summary["reference_bits_per_char"]
    assert 0 < reference["bzip2"] < reference["frequencies"] < reference["uniform"]


def test_without_held_out_text_there_is_nothing_to_compare(novel, tmp_path):
    run = jaxchar.fit(novel, tmp_path / "run", val_fraction=0.0, **FEW)
    assert run.summary["reference_bits_per_char"] is None


@pytest.mark.parametrize(
    ("bits", "verdict"),
    [
        (1.9, "better than the compressor"),
        (2.5, "a compressor knows more"),
        (4.0, "which letters follow each other"),
        (4.9, "next to nothing"),
    ],
)
def test_a_loss_is_said_to_be_good_or_not(bits, verdict):
    said = worth(bits, {"uniform": 6.4, "frequencies": 4.4, "bzip2": 2.15})
    assert verdict in said
    assert f"{bits:.2f} bits" in said
    assert "bzip2 2.15, letter frequencies 4.40, a blind guess 6.40" in said


def learn(tmp_path, novel, monkeypatch, validation: list[float], training: float) -> str:
    """Return what a run says whose losses are these."""
    losses = iter(validation)
    monkeypatch.setattr(Evaluator, "validate", lambda evaluator, state: Means(next(losses), 0.5, 100))
    means_of = Means.of
    monkeypatch.setattr(
        Means, "of", classmethod(lambda cls, totals: means_of(totals)._replace(loss=training))
    )
    wishes = {**FEW, "max_steps": len(validation), "eval_every": 1, "log_every": 1}
    return spoken(lambda display: jaxchar.fit(novel, tmp_path / "run", display=display, **wishes))


def test_learning_by_heart_is_said_once(novel, tmp_path, monkeypatch):
    said = learn(tmp_path, novel, monkeypatch, [3.0, 2.0, 2.5, 3.5, 5.0], 0.1)
    assert said.count("is being learned by heart") == 1
    assert "The best model, of pass" in said


@pytest.mark.parametrize(
    ("validation", "training"),
    [
        pytest.param([3.0, 2.5, 2.0], 0.1, id="it only gets better", marks=pytest.mark.slow),
        pytest.param([3.0, 2.0, 2.01, 2.0], 0.1, id="it comes and goes"),
        pytest.param([3.0, 2.0, 2.5, 3.0], 2.9, id="training is no better"),
    ],
)
def test_what_is_no_learning_by_heart_is_not_called_so(novel, tmp_path, monkeypatch, validation, training):
    assert "by heart" not in learn(tmp_path, novel, monkeypatch, validation, training)


def test_very_little_text_is_said(text):
    asked = Planner({"corpus": jaxchar.Text(text[:1500]), **FEW}, None, time.monotonic())
    config = asked.settings_to_load()
    said = spoken(lambda display: asked.plan(load_dataset(config), config, GuardedDisplay.of(display)))
    assert "This is very little text" in said


def test_the_measurement_is_of_the_real_step(novel, monkeypatch):
    monkeypatch.undo()
    config = jaxchar.Config(corpus=str(novel), hidden_size=8, seq_len=16, batch_size=4)
    from jaxchar.data.dataset import load_dataset
    from jaxchar.training.planner import seconds_per_step

    found = seconds_per_step(config, load_dataset(config))
    assert 1e-6 < found < 1
    assert np.isfinite(found)


# ---- the length, once the speed is known ---------------------------------------------------------

SLOW = {"hidden_size": 8, "sample_length": 0, "optimizer": "adamw", "recurrent_init": "same"}


@pytest.fixture
def planned(novel):
    """Return a planner of three minutes of which 30 seconds are gone, its text, and what it planned."""
    asked = Planner({"corpus": str(novel), **SLOW}, 3.0, time.monotonic() - 30)
    dataset = load_dataset(asked.settings_to_load())
    display = GuardedDisplay.of(TrainingDisplay(Console(file=io.StringIO())))
    recipe = asked.plan(dataset, asked.settings_to_load(), display)
    return asked, dataset, recipe._replace(config=recipe.config.replace(epochs=20, max_steps=800))


def steps_of(config, dataset) -> int:
    return total_steps(config, training_batches(config, len(dataset.splits["train"])).steps_per_epoch)


@pytest.mark.parametrize(
    ("steps_per_second", "steps"),
    [(4.0, (600, 661)), (2.0, (360, 400)), (8.0, (1_160, 1_224)), (5.0, (800, 800))],
    ids=["slower", "much slower: half of it at the least", "faster", "as it was measured"],
)
def test_a_run_is_as_long_as_there_is_time_at_the_speed_that_it_has(planned, steps_per_second, steps):
    asked, dataset, recipe = planned
    corrected = asked.corrected(recipe.config, dataset, 100, steps_per_second)
    least, most = steps
    assert least <= steps_of(corrected, dataset) <= most
    assert corrected.replace(epochs=20, max_steps=800) == recipe.config


def test_a_fast_machine_makes_no_more_passes_than_help(planned):
    asked, dataset, recipe = planned
    config = recipe.config.replace(max_steps=3_000, epochs=100)
    corrected = asked.corrected(config, dataset, 100, 1e6)
    assert recipe.most_steps - 50 <= steps_of(corrected, dataset) <= recipe.most_steps


def test_a_fast_machine_makes_no_more_than_twice_the_passes_that_dropout_was_chosen_for(planned):
    asked, dataset, recipe = planned
    assert 1_550 <= steps_of(asked.corrected(recipe.config, dataset, 100, 1e6), dataset) <= 1_600


def test_a_length_that_the_user_has_set_is_not_corrected(novel):
    asked = Planner({"corpus": str(novel), **SLOW, "epochs": 3}, 3.0, time.monotonic())
    dataset, config = load_dataset(asked.settings_to_load()), asked.asked()
    assert asked.corrected(config, dataset, 10, 1e-3) == config


SELDOM = SLOW | {"eval_every": 50, "checkpoint_every": 50}


def let_runs_be_longer(patching) -> list[int]:
    """Let every planned run end after 70 steps, which is found where its learning rate begins to fall."""
    asked = []

    def corrected(planner, config, dataset, step, steps_per_second):
        assert step == config.hold_until > 0 and steps_per_second > 0
        asked.append(step)
        return config.replace(max_steps=70, epochs=2)

    patching.setattr(planner, "seconds_per_step", lambda *_: 1.0)
    patching.setattr(Planner, "corrected", corrected)
    return asked


@pytest.fixture
def longer(monkeypatch):
    return let_runs_be_longer(monkeypatch)


@pytest.fixture(scope="module")
def corrected_run(tmp_path_factory, text):
    """A run that was corrected: its folder, what it said, where it was asked, and what it saved."""
    folder, saved, save = tmp_path_factory.mktemp("corrected"), [], CheckpointStore.save
    (folder / "my_novel.txt").write_text(text, encoding="utf-8")

    def save_and_remember(store, state, metadata, *rest):
        saved.append(metadata)
        return save(store, state, metadata, *rest)

    with pytest.MonkeyPatch.context() as patching:
        asked = let_runs_be_longer(patching)
        patching.setattr(CheckpointStore, "save", save_and_remember)
        options = {"minutes": 1, **SELDOM}
        said = spoken(lambda d: jaxchar.fit(folder / "my_novel.txt", folder / "run", display=d, **options))
    return SimpleNamespace(run_dir=folder / "run", said=said, asked=asked, saved=saved)


def assert_same_weights(run_dir, other) -> None:
    found, expected = (jax.tree.leaves(jaxchar.load(run, which="last").params) for run in (run_dir, other))
    for one, another in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, another)


def test_a_run_that_was_corrected_is_the_run_of_its_settings(corrected_run, tmp_path):
    assert "There is time for 70 steps instead of" in corrected_run.said
    settings = settings_of(corrected_run.run_dir)
    assert corrected_run.asked == [settings["hold_until"]]  # asked once
    assert settings["max_steps"] == 70
    at_once = jaxchar.fit(jaxchar.Config.from_json(settings), tmp_path / "at_once")
    assert at_once.summary["steps"] == 70
    assert_same_weights(corrected_run.run_dir, tmp_path / "at_once")


def test_a_run_that_was_corrected_and_stopped_goes_on_as_if_it_had_not_been(
    novel, tmp_path, longer, corrected_run
):
    class Stop(jaxchar.Callback):
        def on_evaluation(self, snapshot):
            return snapshot.step >= 50

    stopped = jaxchar.fit(novel, tmp_path / "stopped", minutes=1, callbacks=[Stop()], **SELDOM)
    assert 50 <= stopped.summary["steps"] < 70
    assert resume(tmp_path / "stopped").summary["steps"] == 70
    assert_same_weights(tmp_path / "stopped", corrected_run.run_dir)


def test_a_checkpoint_of_the_new_length_is_there_at_once(corrected_run):
    hold_until = settings_of(corrected_run.run_dir)["hold_until"]
    (found,) = [metadata for metadata in corrected_run.saved if metadata.step == hold_until]
    assert found.config.max_steps == 70


def test_a_checkpoint_from_before_the_correction_goes_on_to_the_corrected_length(
    novel, tmp_path, longer, corrected_run, monkeypatch
):
    save = CheckpointStore.save

    def save_or_not(store, state, metadata, *rest):
        if metadata.step in (4, 70):  # the checkpoints that are left
            save(store, state, metadata, *rest)

    monkeypatch.setattr(CheckpointStore, "save", save_or_not)
    often = {"keep_checkpoints": 100, "eval_every": 70, "checkpoint_every": 4}
    jaxchar.fit(novel, tmp_path / "run", minutes=1, **often, **SLOW)
    folder = tmp_path / "run" / "checkpoints"
    assert 4 < settings_of(tmp_path / "run")["hold_until"] < 8
    assert sorted(int(checkpoint.name) for checkpoint in folder.iterdir()) == [4, 70]
    damaged = next((folder / "70" / "state").glob("*/0*"))
    damaged.write_bytes(b"")
    said = spoken(lambda display: resume(tmp_path / "run", display=display))
    assert "schedule ends at another step" not in said
    assert settings_of(tmp_path / "run")["max_steps"] == 70
    assert_same_weights(tmp_path / "run", corrected_run.run_dir)


def test_a_folder_that_cannot_be_written_to_at_the_correction_does_not_end_the_run(
    novel, tmp_path, longer, monkeypatch
):
    create, refused = RunFolder.create, []

    def create_or_refuse(folder, config):
        if config.max_steps == 70 and not refused:
            refused.append(config)
            raise JaxcharError("no space left")
        create(folder, config)

    monkeypatch.setattr(RunFolder, "create", create_or_refuse)
    assert jaxchar.fit(novel, tmp_path / "run", minutes=1, **SELDOM).summary["steps"] == 70
    assert refused and settings_of(tmp_path / "run")["max_steps"] == 70


def test_a_run_that_ends_where_it_could_be_corrected_is_not(novel, tmp_path, longer):
    class Stop(jaxchar.Callback):
        def on_evaluation(self, snapshot):
            return snapshot.step == snapshot.config.hold_until

    jaxchar.fit(novel, tmp_path / "run", minutes=1, eval_every=1, callbacks=[Stop()], **SLOW)
    assert longer == []


def test_a_warm_up_that_is_longer_than_the_rate_is_held_keeps_the_length(planned):
    asked, dataset, recipe = planned
    config = recipe.config.replace(warmup_steps=300)
    assert asked.corrected(config, dataset, 100, 1e6) == config
