"""Runs: begun, resumed, gone back to an epoch, begun from another's weights."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import promises
import pytest
from runs import TINY, quiet, timeless_metrics

import jaxchar
from jaxchar.checkpoint.arrays import named_leaves
from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.layout import steps_in
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.randomness import SHUFFLE_KEY, purpose_key
from jaxchar.training.pace import Pace
from jaxchar.training.run_folder import RunFolder
from jaxchar.training.step import state_structure
from jaxchar.training.trainer import Trainer

# Everything that could tell one training from another: dropout of all kinds, carried state, a schedule,
# a weight average.
STREAMS = TINY.replace(
    max_chars=2_000,
    hidden_size=8,
    dropout=0.2,
    input_dropout=0.1,
    recurrent_dropout=0.1,
    weight_dropout=0.1,
    schedule="exponential",
    decay_rate=0.5,
    ema_decay=0.9,
    clip_norm=1.0,
    epochs=3,
    log_every=10,
    sample_length=10,
    keep_checkpoints=0,
)
WINDOWS = STREAMS.replace(
    batching="windows",
    stride=13,
    shuffle=True,
    batch_size=5,
    return_sequences=False,
    cell="gru",
    eval_stride=16,
)


def fit(config: Config, run_dir: Path, **options):
    return jaxchar.fit(config, run_dir, display=quiet(), **options)


def resume(run_dir: Path, **options):
    return jaxchar.resume(run_dir, display=quiet(), **options)


def leaves(run_dir: Path) -> dict[str, np.ndarray]:
    """Return every array of a run's newest checkpoint."""
    return named_leaves(jax.device_get(load_checkpoint(run_dir, state_structure).state))


def assert_same_run(one: Path, other: Path) -> None:
    """Fail unless two runs ended in the same bits, metrics and samples."""
    mine, theirs = leaves(one), leaves(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    assert timeless_metrics(one) == timeless_metrics(other)
    assert (one / "samples.txt").read_text() == (other / "samples.txt").read_text()


BOTH = [pytest.param(STREAMS, id="streams"), pytest.param(WINDOWS, id="windows", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=BOTH)
def undisturbed(request, tmp_path_factory) -> tuple[Config, Path]:
    """A run that nothing happened to."""
    run_dir = tmp_path_factory.mktemp("runs") / "undisturbed"
    fit(request.param, run_dir)
    return request.param, run_dir


def test_a_run_folder_holds_what_it_promises(undisturbed):
    config, run_dir = undisturbed
    assert Config.from_json(json.loads((run_dir / "config.json").read_text())) == config
    summary = json.loads((run_dir / "summary.json").read_text())
    promised = "steps epochs seconds steps_per_second chars_per_second parameters train_loss train_accuracy"
    promised += " val_loss val_accuracy val_bits_per_char best_step"
    assert set(promised.split()) <= set(summary)
    assert all(summary[name] is not None for name in promised.split())
    assert summary["epochs"] == config.epochs
    assert (run_dir / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (run_dir / "samples.txt").read_text().count("--- sample at step") == config.epochs
    assert steps_in(run_dir / "checkpoints")[0] == summary["steps"]


def test_resumed_after_an_epoch_it_ends_in_the_same_bits(undisturbed, tmp_path):
    config, run_dir = undisturbed
    fit(config.replace(epochs=1), tmp_path / "run")
    resume(tmp_path / "run", config=config.replace(epochs=2))
    resume(tmp_path / "run", config=config)
    assert_same_run(run_dir, tmp_path / "run")


@pytest.mark.parametrize("stop", [7, pytest.param(25, marks=pytest.mark.slow)])
def test_stopped_in_the_middle_of_an_epoch_it_ends_in_the_same_bits(undisturbed, tmp_path, monkeypatch, stop):
    config, run_dir = undisturbed
    after_a_step = Trainer._show_progress

    def interrupt(trainer, recent):
        after_a_step(trainer, recent)
        if trainer.step == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "_show_progress", interrupt)
    monkeypatch.setattr(Pace, "add", lambda pace, steps, seconds: 1)  # one step a call
    stopped = fit(config, tmp_path / "run")
    assert stopped.stopped_by == signal.SIGTERM
    assert steps_in(tmp_path / "run" / "checkpoints")[0] == stop
    monkeypatch.undo()
    resume(tmp_path / "run")
    assert_same_run(run_dir, tmp_path / "run")


def test_a_killed_run_loses_only_what_came_after_its_last_checkpoint(undisturbed, tmp_path, monkeypatch):
    """What was logged after the checkpoint is cut off, so nothing is told twice."""
    config, run_dir = undisturbed

    def die(trainer):
        raise MemoryError

    finish = Trainer._sample_now
    monkeypatch.setattr(
        Trainer, "_sample_now", lambda t: finish(t) if t.step < t.program.total_steps else die(t)
    )
    with pytest.raises(MemoryError):
        fit(config, tmp_path / "run")
    monkeypatch.undo()
    resume(tmp_path / "run")
    assert_same_run(run_dir, tmp_path / "run")


@pytest.mark.parametrize(
    "changes",
    [
        {"eval_every": 25},
        pytest.param({"sample_every": 4, "sample_length": 3}, marks=pytest.mark.slow),
        pytest.param({"checkpoint_every": 5}, marks=pytest.mark.slow),
        pytest.param({"log_every": 1}, marks=pytest.mark.slow),
        pytest.param(
            {"eval_every": 1_000, "sample_length": 0, "eval_protocol": None}, marks=pytest.mark.slow
        ),
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_looking_at_a_run_changes_no_bit_of_it(undisturbed, tmp_path, changes):
    config, run_dir = undisturbed
    fit(config.replace(**changes), tmp_path / "run")
    mine, theirs = leaves(run_dir), leaves(tmp_path / "run")
    for name in mine:
        if not name.startswith("recent_totals"):  # counts from the last line of the log
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


def test_going_back_to_an_epoch_destroys_nothing(undisturbed, tmp_path):
    config, run_dir = undisturbed
    fit(config, tmp_path / "run")
    before = steps_in(tmp_path / "run" / "checkpoints")
    resume(tmp_path / "run", initial_epoch=1)
    assert_same_run(run_dir, tmp_path / "run")
    (aside,) = (tmp_path / "run").glob("set-aside-*")
    assert sorted([*steps_in(aside / "checkpoints"), before[-1]], reverse=True) == before
    assert len(timeless_metrics(aside)) == len(timeless_metrics(run_dir))


def test_an_epoch_without_a_checkpoint_is_refused_with_those_that_have_one(undisturbed):
    _, run_dir = undisturbed
    with pytest.raises(JaxcharError, match="those kept ended the epochs: 1, 2, 3"):
        resume(run_dir, initial_epoch=9)


def test_a_finished_run_can_be_resumed_and_stays_as_it_is(undisturbed):
    _, run_dir = undisturbed
    before = {p: p.read_bytes() for p in run_dir.iterdir() if p.suffix in (".json", ".jsonl", ".txt", ".png")}
    assert resume(run_dir).summary == json.loads((run_dir / "summary.json").read_text())
    assert {p: p.read_bytes() for p in before} == before


def test_a_run_is_not_trained_over(undisturbed):
    config, run_dir = undisturbed
    before = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}
    with pytest.raises(JaxcharError, match="already holds a run"):
        fit(config, run_dir)
    assert {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")} == before


@pytest.mark.parametrize("changes", [{"hidden_size": 9}, {"seed": 1}, {"max_chars": 1_900}, {"dropout": 0.0}])
def test_resuming_with_other_arithmetic_is_refused_by_name(undisturbed, changes):
    config, run_dir = undisturbed
    (name,) = changes
    with pytest.raises(JaxcharError, match=f"{name}: .* -> "):
        resume(run_dir, config=config.replace(epochs=9, **changes))


@promises.NOTHING_MIXED_UP
def test_resuming_on_another_text_is_refused(tmp_path):
    corpus = tmp_path / "text"
    corpus.write_text("to be or not to be, " * 100)
    fit(TINY.replace(corpus=str(corpus), epochs=1), tmp_path / "run")
    corpus.write_text("not to be or to be, " * 100)
    said = (
        "not the one that the run was trained on.*; to train on another text, begin a new run .*: "
        rf"jaxchar\.fit\(config, init_from='{tmp_path}/run'\)"
    )
    with pytest.raises(JaxcharError, match=said):
        resume(tmp_path / "run", config=TINY.replace(corpus=str(corpus), epochs=2))
    corpus.write_text("to be or not to be: " * 100)  # with a character that is new
    with pytest.raises(JaxcharError, match=said):
        resume(tmp_path / "run", config=TINY.replace(corpus=str(corpus), epochs=2))


def test_another_runs_weights_begin_a_run_on_another_text(undisturbed, tmp_path):
    config, run_dir = undisturbed
    other = tmp_path / "other.txt"
    other.write_text("the cat sat on the mat and " * 100)
    start = config.replace(corpus=str(other), learning_rate=1e-12, epochs=1)
    fit(start, tmp_path / "run", init_from=run_dir)
    donor = jaxchar.load(run_dir)
    model = jaxchar.load(tmp_path / "run")
    assert model.vocabulary == donor.vocabulary
    for mine, theirs in zip(jax.tree.leaves(model.params), jax.tree.leaves(donor.params), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@promises.NOTHING_MIXED_UP
def test_weights_for_other_characters_are_refused_with_the_characters(undisturbed, tmp_path):
    config, run_dir = undisturbed
    other = tmp_path / "other.txt"
    other.write_text("żółw " * 1_000)
    with pytest.raises(JaxcharError, match=r"'ó'.*'ł'.*'ż'"):
        fit(config.replace(corpus=str(other)), tmp_path / "run", init_from=run_dir)
    assert not (tmp_path / "run").exists()


@promises.NOTHING_MIXED_UP
def test_weights_of_another_shape_are_refused(undisturbed, tmp_path):
    config, run_dir = undisturbed
    with pytest.raises(JaxcharError, match=r"layer_sizes: \(8,\) there, \(9,\) here"):
        fit(config.replace(hidden_size=9), tmp_path / "run", init_from=run_dir)


@promises.ANY_SETTING
def test_a_text_too_short_for_the_settings_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(JaxcharError, match="need at least 641"):
        fit(STREAMS.replace(max_chars=100, seq_len=160), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@promises.ANY_SETTING
@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 65_536, "num_layers": 10},
        {"hidden_size": 65_536},
        {"batching": "windows", "batch_size": 10**9},
        {"batching": "windows", "batch_size": 10**6, "hidden_size": 10**4},
        {"batch_size": 10**9},
        {"seq_len": 10**6},
        {"batching": "windows", "seq_len": 10**6},
        {"epochs": 10**9, "batch_size": 1, "seq_len": 1},
        {"cell": "rnn", "implementation": "native"},
        {"dtype": "bfloat16", "implementation": "native"},
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_before_anything_is_written_or_compiled(changes, tmp_path):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, fun_name="", **__: compiled.append(fun_name) if "backend_compile" in event else None
    )
    with pytest.raises(
        JaxcharError, match=r"need at least|more than can be counted|native, which is for an lstm or gru"
    ) as refused:
        fit(Config(corpus="python", **changes), tmp_path / "run")
    jax.monitoring.clear_event_listeners()
    assert "\n" not in str(refused.value)
    assert not {"jit(initial_state)", "jit(train_steps)"} & set(compiled)
    assert not (tmp_path / "run").exists()


def test_early_stopping_ends_a_run_that_does_not_get_better(tmp_path):
    config = TINY.replace(learning_rate=1e-12, epochs=50, early_stopping=2)
    result = fit(config, tmp_path / "run")
    assert result.summary["epochs"] < 50


def test_three_lines_of_python_train_load_and_write(tmp_path):
    jaxchar.fit(jaxchar.Config(corpus="python", max_chars=6_000, epochs=1, hidden_size=8), tmp_path / "run")
    model = jaxchar.load(tmp_path / "run")
    text = model.generate("the ", 50, temperature=0.8, seed=1)
    assert len(text) == 50
    assert text == "".join(model.stream("the ", 50, temperature=0.8, seed=1))
    assert text != model.generate("the ", 50, temperature=0.8, seed=2)


@pytest.mark.parametrize(
    "sample_from",
    [
        pytest.param("prompt", marks=pytest.mark.slow),
        pytest.param("corpus", marks=pytest.mark.slow),
        "training",
    ],
)
def test_samples_can_go_on_from_anywhere(tmp_path, sample_from):
    settings = {"sample_from": sample_from, "sample_prompt": "The", "sample_length": 10}
    fit(TINY.replace(**settings), tmp_path / "run")
    assert "temperature 0.8, after " in (tmp_path / "run" / "samples.txt").read_text()


@pytest.mark.parametrize(
    "offsets",
    [
        pytest.param(False, id="lanes", marks=pytest.mark.slow),
        pytest.param(True, id="lanes with offsets"),
    ],
)
def test_samples_of_the_training_go_on_from_the_character_that_it_has_just_reached(
    tmp_path, monkeypatch, offsets
):
    config = STREAMS.replace(sample_from="training", sample_every=1, lane_offsets=offsets, epochs=2)
    prompts, expected = [], []

    def look(trainer):
        text, done = trainer.dataset.splits["train"], trainer.program.batches.steps_per_epoch
        epoch, position = (trainer.step - 1) // done, (trainer.step - 1) % done
        key = jax.random.fold_in(purpose_key(config.seed, SHUFFLE_KEY), epoch)
        first = int(jax.random.randint(key, (), 0, len(text))) if offsets else 0
        place = (first + (position + 1) * config.seq_len) % len(text)
        expected.append(trainer.dataset.vocabulary.decode(np.asarray(text[place])[None]))
        prompts.append(trainer._sampler.start(trainer.state, trainer.step, jax.random.key(0))[2])

    monkeypatch.setattr(Trainer, "_sample_now", look)
    fit(config, tmp_path / "run")
    assert len(prompts) > 10
    assert prompts == expected


def test_a_run_that_died_before_its_first_checkpoint_can_be_begun_anew(undisturbed, tmp_path, monkeypatch):
    config, run_dir = undisturbed

    def die(trainer):
        raise MemoryError

    monkeypatch.setattr(Trainer, "_sample_now", die)
    with pytest.raises(MemoryError):
        fit(config, tmp_path / "run")
    monkeypatch.undo()
    fit(config, tmp_path / "run")
    assert_same_run(run_dir, tmp_path / "run")


def test_stopped_while_it_compiles_a_run_can_be_gone_on_with(undisturbed, tmp_path, monkeypatch):
    """A new run saves its first state; a resumed one has nothing new to save."""
    config, run_dir = undisturbed
    compiled = Trainer._compiled

    def interrupt(trainer):
        os.kill(os.getpid(), signal.SIGINT)
        return compiled(trainer)

    monkeypatch.setattr(Trainer, "_compiled", interrupt)
    assert fit(config, tmp_path / "run").stopped_by == signal.SIGINT
    assert resume(tmp_path / "run").stopped_by == signal.SIGINT
    assert steps_in(tmp_path / "run" / "checkpoints") == [0]
    monkeypatch.undo()
    resume(tmp_path / "run")
    assert_same_run(run_dir, tmp_path / "run")


HOLDER = """
import os, signal, sys
from pathlib import Path
from jaxchar.checkpoint.store import CheckpointStore
with CheckpointStore(Path(sys.argv[1])):
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


@promises.ONE_WRITER
def test_a_second_process_on_a_run_is_refused_by_name_until_the_first_is_gone(tmp_path):
    """Gone means killed here: what it leaves behind must lock nobody out."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        number = holder.stdout.readline().strip()
        with pytest.raises(JaxcharError, match=f"process {number} is training in '.*run'"):
            fit(TINY, tmp_path / "run")
        holder.kill()
    assert not RunFolder(tmp_path / "run").holds_run()
    fit(TINY, tmp_path / "run")


@promises.ONE_WRITER
def test_a_run_that_is_being_trained_cannot_be_resumed(undisturbed):
    _, run_dir = undisturbed
    with CheckpointStore(run_dir), pytest.raises(JaxcharError, match=f"process {os.getpid()} is training"):
        resume(run_dir)


def test_the_best_evaluation_has_a_checkpoint_whenever_it_comes(tmp_path):
    result = fit(STREAMS.replace(eval_every=11, keep_checkpoints=1, epochs=1), tmp_path / "run")
    best = load_checkpoint(tmp_path / "run", state_structure, "best").metadata
    assert best.step == result.summary["best_step"]
    assert best.metrics["val_loss"] == result.summary["best_val_loss"]


def test_a_text_that_moved_is_still_the_runs_text(tmp_path):
    corpus = tmp_path / "here.txt"
    corpus.write_text("to be or not to be, " * 100)
    config = TINY.replace(corpus=str(corpus), epochs=1)
    fit(config, tmp_path / "run")
    corpus.rename(tmp_path / "there.txt")
    moved = config.replace(corpus=str(tmp_path / "there.txt"), epochs=2)
    assert resume(tmp_path / "run", config=moved).summary["epochs"] == 2


def test_a_sample_prompt_that_the_text_lacks_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(JaxcharError, match="sample_prompt"):
        fit(STREAMS.replace(sample_from="prompt", sample_prompt="\u017c"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
