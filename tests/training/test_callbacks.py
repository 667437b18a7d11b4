"""Callbacks: what they are given, that they change nothing, how they stop a run, and their exceptions."""

import jax
import numpy as np
import pytest
from runs import TINY, quiet, timeless_metrics

import jaxchar
from jaxchar.checkpoint.arrays import named_leaves
from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.errors import JaxcharError
from jaxchar.training.step import state_structure

CONFIG = TINY.replace(epochs=3, log_every=5, ema_decay=0.9)
EPOCH = 14  # steps


def fit(run_dir, *callbacks, **settings):
    return jaxchar.fit(CONFIG.replace(**settings), run_dir, callbacks=callbacks, display=quiet())


def resume(run_dir, *callbacks):
    return jaxchar.resume(run_dir, callbacks=callbacks, display=quiet())


def leaves(run_dir):
    return named_leaves(jax.device_get(load_checkpoint(run_dir, state_structure).state))


def assert_same(one, other):
    others = leaves(other)
    for name, leaf in leaves(one).items():
        np.testing.assert_array_equal(leaf, others[name], name)
    assert timeless_metrics(one) == timeless_metrics(other)


class Watcher:
    """Keeps what it is told, uses the model, and tries to do harm."""

    def __init__(self):
        self.told = []

    def on_train_begin(self, snapshot):
        self.told.append(("begin", snapshot.step, dict(snapshot.metrics)))

    def on_evaluation(self, snapshot):
        np.random.seed(1)
        text = snapshot.model.generate("a", 10, seed=snapshot.step)
        jax.tree.map(lambda leaf: leaf.delete(), snapshot.model.with_memory(0).params)
        self.told.append(("evaluation", snapshot.step, dict(snapshot.metrics), text))

    def on_train_end(self, snapshot):
        self.told.append(("end", snapshot.step, dict(snapshot.metrics), snapshot.model))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "plain"
    fit(run_dir)
    return run_dir


class Stopper:
    """Stops a run at its evaluation of a step, in one of the ways there are."""

    def __init__(self, step, answer):
        self.step, self.answer = step, answer

    def on_evaluation(self, snapshot):
        if snapshot.step < self.step:
            return None
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


# ---- what they are given -------------------------------------------------------------------------


def test_callbacks_are_told_and_change_no_bit(plain, tmp_path):
    watcher = Watcher()
    result = fit(tmp_path / "run", watcher)
    assert_same(tmp_path / "run", plain)
    assert [(kind, step) for kind, step, *_ in watcher.told] == [
        ("begin", 0),
        *(("evaluation", EPOCH * epoch) for epoch in (1, 2, 3)),
        ("end", 3 * EPOCH),
    ]
    logged = result.metrics["val_loss"]
    assert [told[2]["val_loss"] for told in watcher.told[1:4]] == logged.values.tolist()
    assert watcher.told[1][2].keys() >= {"train_loss", "train_accuracy", "val_accuracy", "val_bits_per_char"}
    assert watcher.told[-1][2]["best_val_loss"] == result.summary["best_val_loss"]
    model, loaded = watcher.told[-1][3], jaxchar.load(tmp_path / "run", "last")
    assert model.generate("a", 50, seed=3) == loaded.generate("a", 50, seed=3)
    assert model.score("the text").surprises.tolist() == loaded.score("the text").surprises.tolist()


@pytest.mark.slow
def test_a_run_resumed_with_callbacks_changes_no_bit(plain, tmp_path):
    fit(tmp_path / "run", Stopper(EPOCH, True))
    watcher = Watcher()
    resume(tmp_path / "run", watcher)
    assert watcher.told[0][:2] == ("begin", EPOCH)
    assert watcher.told[0][2]["val_loss"] > 0
    assert_same(tmp_path / "run", plain)
    again = Watcher()
    resume(tmp_path / "run", again)
    assert again.told == []


def test_a_model_is_kept_if_it_is_asked_for_in_time(tmp_path):
    kept = []

    class Keeper:
        def on_evaluation(self, snapshot):
            if not kept:
                kept.append((snapshot, snapshot.model, snapshot.model.generate("a", 20)))
            elif len(kept) == 1:
                kept.append((snapshot,))

    fit(tmp_path / "run", Keeper())
    (first, model, text), (late,) = kept
    assert model.generate("a", 20) == text
    assert first.model is model
    with pytest.raises(JaxcharError, match="the model of step 28 is gone"):
        late.model  # noqa: B018


def test_without_validation_there_is_the_training_loss(tmp_path):
    watcher = Watcher()
    fit(tmp_path / "run", watcher, val_fraction=0.0, epochs=1)
    assert watcher.told[1][2].keys() == {"train_loss", "train_accuracy"}


# ---- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [True, pytest.param(np.True_, marks=pytest.mark.slow)])
def test_a_callback_that_returns_true_stops_the_run_where_it_can_be_resumed(answer, plain, tmp_path):
    watcher = Watcher()
    result = fit(tmp_path / "run", Stopper(2 * EPOCH, answer), watcher)
    assert (result.summary["steps"], result.stopped_by) == (2 * EPOCH, None)
    assert [step for _, step, *_ in watcher.told] == [0, EPOCH, 2 * EPOCH, 2 * EPOCH]
    assert steps_in(tmp_path / "run" / FOLDER)[0] == 2 * EPOCH
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", plain)


def test_no_other_answer_stops_a_run(tmp_path):
    class Talker:
        answers = iter([None, False, 1, "yes", [1], 0.5, np.False_])

        def on_evaluation(self, snapshot):
            return next(self.answers)

    talker = Talker()
    result = fit(tmp_path / "run", talker, max_steps=7, eval_every=1, checkpoint_every=7)
    assert (result.summary["steps"], next(talker.answers, "all were given")) == (7, "all were given")


@pytest.mark.parametrize("error", [KeyError("mine"), pytest.param(SystemExit(3), marks=pytest.mark.slow)])
def test_an_exception_is_raised_after_the_run_is_saved(error, plain, tmp_path):
    watcher = Watcher()
    with pytest.raises(type(error)) as raised:
        fit(tmp_path / "run", Stopper(EPOCH, error), watcher, checkpoint_every=1_000)
    assert raised.value is error
    assert any(frame.name == "on_evaluation" for frame in raised.traceback)
    assert [kind for kind, *_ in watcher.told] == ["begin"]  # none is called after it
    assert steps_in(tmp_path / "run" / FOLDER) == [EPOCH]
    assert (tmp_path / "run" / "summary.json").exists()
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", plain)


@pytest.mark.parametrize(("method", "steps"), [("on_train_begin", 0), ("on_train_end", EPOCH)])
def test_an_exception_at_the_beginning_or_the_end_leaves_a_run_that_is_saved(method, steps, tmp_path):
    def fail(snapshot):
        raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        fit(tmp_path / "run", type("Failing", (), {method: staticmethod(fail)})(), epochs=1)
    assert steps_in(tmp_path / "run" / FOLDER)[0] == steps


# ---- what cannot be called -----------------------------------------------------------------------


class Other:
    def on_epoch_end(self, epoch):
        """As in Keras."""


class OnlyNamed(jaxchar.Callback):
    def on_epoch_end(self, epoch):
        """As in Keras."""


@pytest.mark.parametrize(
    ("callbacks", "said"),
    [
        ([Other()], "with on_epoch_end"),
        ([OnlyNamed()], "with on_epoch_end"),
        ([Watcher], "at least one of"),
        ([Watcher(), None], "at least one of"),
        ([print], "at least one of"),
        (Watcher(), "must be a list"),
        ("watch", "must be a list"),
        ({"a": Watcher()}, "must be a list"),
        (5, "must be a list"),
    ],
)
def test_what_has_nothing_to_call_is_refused_before_anything_is_written(callbacks, said, tmp_path):
    with pytest.raises(JaxcharError, match=said) as raised:
        jaxchar.fit(CONFIG, tmp_path / "run", callbacks=callbacks, display=quiet())
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_class_of_the_protocol_may_leave_methods_out(tmp_path):
    class Counter(jaxchar.Callback):
        evaluations = 0

        def on_evaluation(self, snapshot):
            self.evaluations += 1

    counter = Counter()
    fit(tmp_path / "run", counter, epochs=1)
    assert counter.evaluations == 1
