"""Where the text of a run lies: kept whole, told anew with --corpus, known by its SHA-256."""

import gzip
import io
import json
import shutil
import sys
from pathlib import Path

import promises
import pytest
from runs import TINY, quiet, rewrite_metadata

import jaxchar
from jaxchar import evaluate, inspect, memorization, sample, train
from jaxchar.checkpoint.find import peek
from jaxchar.checkpoint.layout import FOLDER
from jaxchar.errors import JaxcharError
from jaxchar.scoring import evaluation
from jaxchar.scoring.options import EvaluationOptions

pytestmark = promises.TEXT_FOUND


@pytest.fixture(scope="module")
def trained(tmp_path_factory, text) -> Path:
    """A folder with a text that has been moved since, another text, and runs trained on the first."""
    base = tmp_path_factory.mktemp("trained")
    (base / "tiny.txt").write_text(text[:1_000], encoding="utf-8")
    (base / "other.txt").write_text(text[:500], encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        jaxchar.fit(TINY.replace(corpus="tiny.txt"), "run", display=quiet())
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text[:1_000].encode())))
        jaxchar.fit(TINY.replace(corpus="-"), "piped", display=quiet())
    (base / "moved").mkdir()
    (base / "tiny.txt").rename(base / "moved" / "renamed.txt")
    (base / "moved" / "packed").write_bytes(gzip.compress(text[:1_000].encode()))
    return base


@pytest.fixture
def call(trained, tmp_path, monkeypatch, capsys):
    """Return a function that types a command in another folder; it gives exit code, output and error.

    Words that begin with ":" are paths in the folder of the runs.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))

    def typed(module, line: str) -> tuple[int, str, str]:
        code = 0
        try:
            module.main(arguments=[f"{trained}/{w[1:]}" if w[0] == ":" else w for w in line.split()])
        except SystemExit as leaving:
            code = leaving.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return typed


COMMANDS = {
    "evaluate": (evaluate, "--ckpt :{run} --json --split validation"),
    "sample": (sample, "--ckpt :{run} --from-corpus 5 --length 3 --seed 1"),
    "memorization": (memorization, "--ckpt :{run} --length 50 --json"),
    "train": (train, "--run-dir :{run} --resume --epochs 2"),
}
HOW_TO_SAY = {
    "run": "is not at '{}/tiny.txt' now; say with --corpus",
    "piped": "give the same text as a file with",
}


@pytest.mark.parametrize("run", HOW_TO_SAY)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_text_that_is_gone_is_told_by_its_place_and_how_to_say_where_it_is(call, trained, command, run):
    module, line = COMMANDS[command]
    code, _, error = call(module, line.format(run=run))
    assert code == 2
    assert HOW_TO_SAY[run].format(trained) in error
    assert "--corpus" in error and error.count("\n") == 1


@pytest.mark.parametrize("place", [":moved/renamed.txt", ":moved/packed"])
@pytest.mark.parametrize("run", HOW_TO_SAY)
@pytest.mark.parametrize("command", ["evaluate", "sample", "memorization"])
def test_the_text_of_a_run_is_known_wherever_it_lies(call, text, command, run, place):
    module, line = COMMANDS[command]
    code, out, _ = call(module, f"{line.format(run=run)} --corpus {place}")
    assert code == 0
    if command == "evaluate":
        assert list(json.loads(out)["splits"]) == ["validation"]
    elif command == "sample":
        assert out.startswith(text[5 : 5 + TINY.seq_len])
    else:
        assert json.loads(out)["training_chars"] == 900


@pytest.mark.parametrize("run", HOW_TO_SAY)
def test_training_goes_on_with_the_text_wherever_it_lies(call, trained, tmp_path, run):
    shutil.copytree(trained / run, tmp_path / run)
    code, _, _ = call(train, f"--run-dir {run} --resume --epochs 2 --corpus :moved/packed")
    assert code == 0
    assert peek(tmp_path / run).config.corpus == f"{trained}/moved/packed"


@pytest.mark.parametrize("command", ["sample", "memorization", "train"])
def test_another_text_is_not_taken_for_that_of_the_run(call, command):
    module, line = COMMANDS[command]
    code, _, error = call(module, f"{line.format(run='run')} --corpus :other.txt")
    assert code == 2
    assert "is not the one that the run was trained on" in error and error.count("\n") == 1


def test_evaluation_scores_another_text_whole(call):
    code, out, _ = call(evaluate, "--ckpt :run --json --corpus :other.txt")
    assert code == 0
    assert json.loads(out)["splits"]["text"]["predictions"] == 499
    code, _, error = call(evaluate, "--ckpt :run --split train --corpus :other.txt")
    assert code == 2 and "--split train is for the run's own text" in error


def test_evaluation_scores_the_text_of_a_run_whole_on_request(call):
    code, out, _ = call(evaluate, "--ckpt :run --json --split whole --corpus :moved/renamed.txt")
    assert code == 0
    assert json.loads(out)["splits"]["text"]["predictions"] == 999


def test_a_place_that_is_told_and_empty_is_an_error_of_its_own(call):
    code, _, error = call(evaluate, "--ckpt :run --corpus :nowhere.txt")
    assert code == 2 and "no corpus" in error and "nowhere.txt'" in error


def test_options_without_what_they_are_for_are_refused(call):
    assert "also give --from-corpus POSITION" in call(sample, "--ckpt :run --corpus :other.txt")[2]
    assert "or give --corpus" in call(evaluate, "--ckpt :run --encoding cp1252")[2]
    assert "or give --text" in call(memorization, "--ckpt :run --encoding cp1252")[2]


def test_a_text_piped_in_again_is_the_text_of_the_run(call, text, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text[:1_000].encode())))
    assert call(evaluate, "--ckpt :piped --split validation")[0] == 0


def test_a_relative_path_of_an_old_checkpoint_means_the_folder_that_one_is_in(trained, tmp_path, monkeypatch):
    run_dir = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    (checkpoint,) = (run_dir / FOLDER).iterdir()

    def make_old(record):
        del record["config"]["encoding"]
        record["config"]["corpus"] = "renamed.txt"
        record["corpus"]["source"] = ["renamed.txt"]

    rewrite_metadata(checkpoint, make_old)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JaxcharError, match=r"is not at 'renamed\.txt' now; say with corpus="):
        evaluation.evaluate(run_dir)
    monkeypatch.chdir(trained / "moved")
    assert evaluation.evaluate(run_dir).step > 0


@promises.ENCODINGS
def test_the_encoding_is_in_the_checkpoint_and_a_text_in_another_is_scored(tmp_path, text, capsys):
    (tmp_path / "old.txt").write_text("Träumen " + text[:900], encoding="cp1252")
    (tmp_path / "new.txt").write_text("Träumen " + text[:90], encoding="utf-16-be")
    config = TINY.replace(corpus=str(tmp_path / "old.txt"), encoding="CP1252", max_steps=2, memory="none")
    jaxchar.fit(config, tmp_path / "run", display=quiet())
    assert peek(tmp_path / "run").corpus["encoding"] == "cp1252"
    inspect.main(arguments=["--ckpt", str(tmp_path / "run")])
    assert "908 characters, read as cp1252, SHA-256" in capsys.readouterr().out
    for corpus in (None, str(tmp_path / "old.txt")):
        report = evaluation.evaluate(tmp_path / "run", EvaluationOptions(corpus=corpus))
        assert list(report.splits) == ["train", "validation"]
    options = EvaluationOptions(corpus=str(tmp_path / "new.txt"), encoding="utf-16-be")
    assert evaluation.evaluate(tmp_path / "run", options).splits["text"].predictions == 97
