"""A checkpoint scored from Python, on its own text and on another one."""

import warnings

import pytest
from runs import TINY, quiet

import jaxchar
from jaxchar.errors import JaxcharError
from jaxchar.scoring.evaluation import evaluate
from jaxchar.scoring.options import EvaluationOptions
from jaxchar.scoring.protocols import stateful_pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "trained"
    jaxchar.fit(TINY, run_dir, display=quiet())
    return run_dir


def test_the_runs_own_text_is_scored_split_by_split(trained):
    report = evaluate(trained)
    assert list(report.splits) == ["train", "validation"]
    assert report.splits["train"].predictions == 899
    assert (report.protocol, report.replaced, report.left_out, report.files) == ("stateful", 0, 0, {})
    assert report.checkpoint.parent == trained / "checkpoints"


def test_the_figures_are_those_of_the_model(trained, text, tmp_path):
    model = jaxchar.load(trained)
    text = "".join(character for character in text if character in model.vocabulary.symbols)[:400]
    (tmp_path / "other.txt").write_text(text, encoding="utf-8")
    report = evaluate(trained, EvaluationOptions(corpus=str(tmp_path / "other.txt"), lanes=1))
    expected = model.evaluate(model.vocabulary.encode(text), stateful_pass(400, 1))
    assert report.splits == {"text": expected}


def test_the_caller_is_told_before_anything_is_scored(trained):
    told = []
    report = evaluate(
        trained, EvaluationOptions(split="validation"), on_ready=lambda loaded: told.append(loaded.path)
    )
    assert told == [report.checkpoint]
    assert list(report.splits) == ["validation"]


def test_a_report_has_the_files_with_each_characters_surprise(trained, tmp_path):
    folder = tmp_path / "surprise"
    report = evaluate(trained, EvaluationOptions(split="validation"), per_character=str(folder))
    files = [str(folder / "validation.csv"), str(folder / "validation.html")]
    assert report.files == {"validation": files}
    assert report.to_json()["splits"]["validation"]["files"] == files


def test_unknown_characters_are_refused_in_the_words_of_python(trained, tmp_path):
    (tmp_path / "t").write_text("the \u017c cat", encoding="utf-8")
    with pytest.raises(JaxcharError, match="with unknown='skip' or unknown='replace'"):
        evaluate(trained, EvaluationOptions(corpus=str(tmp_path / "t")))
    report = evaluate(trained, EvaluationOptions(corpus=str(tmp_path / "t"), unknown="skip"))
    assert (report.replaced, report.left_out) == (0, 1)


def test_what_is_said_of_the_text_is_a_warning_at_the_callers_line(trained, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("the cat", encoding="utf-8")
    (tmp_path / "folder" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evaluate(trained, EvaluationOptions(corpus=str(tmp_path / "folder"), unknown="skip"))
    (told,) = (warning for warning in caught if "b.png" in str(warning.message))
    assert told.filename == __file__


# ---- memory --------------------------------------------------------------------------------------


def test_the_loss_with_a_memory_stands_beside_that_of_the_network(trained):
    report = evaluate(trained)
    assert {name: list(losses) for name, losses in report.with_memory.items()} == {
        "train": ["static"],  # it is what is remembered, so there is nothing to grow by
        "validation": ["static", "growing"],
    }
    for name, losses in report.with_memory.items():
        assert losses["static"].value < report.splits[name].loss.value - 0.1
    figures = report.to_json()["splits"]["validation"]["memory"]["growing"]
    assert figures["loss"] == report.with_memory["validation"]["growing"].value
    assert figures["interval"][0] < figures["loss"] < figures["interval"][1]


def test_another_text_is_scored_with_the_memory_of_the_training_text(trained, tmp_path):
    model = jaxchar.load(trained)
    training = model.vocabulary.decode(model.remembering.memory.ids)
    (tmp_path / "copy.txt").write_text(training[100:600], encoding="utf-8")
    report = evaluate(trained, EvaluationOptions(corpus=str(tmp_path / "copy.txt")))
    assert report.with_memory["text"]["static"].value < report.splits["text"].loss.value - 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"memory": "none"}, {}),
        ({"memory": "static", "split": "validation"}, {"validation": ["static"]}),
        ({"split": "whole"}, {}),  # a part of it is what is remembered
    ],
)
def test_memory_is_asked_as_the_options_say(trained, options, expected):
    report = evaluate(trained, EvaluationOptions(**options))
    assert {name: list(losses) for name, losses in report.with_memory.items()} == expected


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "forgetful"
    jaxchar.fit(TINY.replace(memory="none"), run_dir, display=quiet())
    return run_dir


def test_a_run_that_kept_its_text_out_has_no_memory(forgetful):
    assert evaluate(forgetful).with_memory == {}
    assert jaxchar.load(forgetful).remembering is None


# ---- a network that goes on learning -------------------------------------------------------------


def test_the_loss_of_a_network_that_learns_as_it_reads_stands_beside_the_others(trained):
    report = evaluate(trained, EvaluationOptions(dynamic=True))
    assert list(report.dynamic) == ["validation"]  # it has learned the training text before
    scored = report.dynamic["validation"]
    assert scored.evaluation.loss.value < report.splits["validation"].loss.value
    assert list(scored.with_memory) == ["static", "growing"]
    figures = report.to_json()["splits"]["validation"]["dynamic"]
    assert figures["loss"] == scored.evaluation.loss.value
    assert figures["memory"]["growing"]["loss"] == scored.with_memory["growing"].value
    assert evaluate(trained).dynamic == {}


@pytest.mark.parametrize("split", ["train", "whole"])
def test_it_is_for_text_that_the_network_was_not_trained_on(trained, split):
    with pytest.raises(JaxcharError, match=f"not trained on, but split is {split}; leave one of them out"):
        evaluate(trained, EvaluationOptions(dynamic=True, split=split))
    with pytest.raises(JaxcharError, match=r"the protocol is blocks; leave dynamic=True out"):
        evaluate(trained, EvaluationOptions(dynamic=True, protocol="blocks"))


def test_another_text_is_learned_from_by_a_model_that_remembers_its_own(trained, forgetful, tmp_path):
    (tmp_path / "other.txt").write_text("the thing that " * 40, encoding="utf-8")
    options = EvaluationOptions(corpus=str(tmp_path / "other.txt"), dynamic=True)
    report = evaluate(trained, options)
    model = jaxchar.load(trained)
    text = "the thing that " * 40
    assert report.dynamic["text"].evaluation.loss.value == pytest.approx(
        model.score(text, dynamic=True).loss, rel=1e-5
    )
    with pytest.raises(JaxcharError, match="needs the training text"):
        evaluate(forgetful, options)
