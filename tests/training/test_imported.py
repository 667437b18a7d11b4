"""An imported model as a run: everything but resuming works with it."""

import json

import numpy as np
import pytest

import jaxchar
from jaxchar import evaluate, export_model, import_model, inspect, sample, train
from jaxchar.checkpoint.find import peek
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.interchange.reading import ImportOptions
from jaxchar.interchange.tensors import safetensors_file
from jaxchar.training.imported import import_model as make_run

SYMBOLS = list("ab c")
TEXT = "abc cab " * 60


def arrays(cell_blocks=4, size=5, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return {
        "rnn.weight_ih_l0": draw(cell_blocks * size, len(SYMBOLS)),
        "rnn.weight_hh_l0": draw(cell_blocks * size, size),
        "rnn.bias_ih_l0": draw(cell_blocks * size),
        "rnn.bias_hh_l0": draw(cell_blocks * size),
        "out.weight": draw(len(SYMBOLS), size),
        "out.bias": draw(len(SYMBOLS)),
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.safetensors").write_bytes(safetensors_file(arrays(), {"format": "pt"}))
    (tmp_path / "chars.json").write_text(json.dumps(SYMBOLS))
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def answer(command, line, capsys):
    code = 0
    try:
        command.main(arguments=line.split())
    except SystemExit as leaving:
        code = leaving.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_imported_model_is_written_with_scored_inspected_and_exported(folder, capsys):
    code, out, _ = answer(
        import_model, "theirs.safetensors --vocabulary chars.json --run-dir runs/theirs --json", capsys
    )
    record = json.loads(out)
    assert (code, record["cell"], record["characters"]) == (0, "lstm", 4)
    corpus = peek("runs/theirs").corpus
    assert (corpus["source"], corpus["sha256"], corpus["imported"]) == (
        ["theirs.safetensors"],
        record["sha256"],
        "PyTorch",
    )
    assert peek("runs/theirs").vocabulary == Vocabulary("abc ")
    code, out, _ = answer(sample, "runs/theirs --length 30 --seed 1", capsys)
    assert (code, set(out.rstrip("\n")) <= set(SYMBOLS)) == (0, True)
    code, out, _ = answer(evaluate, "runs/theirs --corpus text.txt --json", capsys)
    loss = json.loads(out)["splits"]["text"]["loss"]
    assert code == 0
    assert jaxchar.load("runs/theirs").score(TEXT).surprises.mean() == pytest.approx(loss, abs=1e-4)
    code, out, _ = answer(inspect, "runs/theirs", capsys)
    assert code == 0
    assert "unknown; imported from theirs.safetensors (PyTorch)" in out
    code, out, _ = answer(export_model, "runs/theirs out/m.safetensors", capsys)
    assert (code, out.split()[0]) == (0, "out/m.safetensors")
    back, run = jaxchar.load("out/m.safetensors"), jaxchar.load("runs/theirs")
    assert back.score(TEXT).surprises.tobytes() == run.score(TEXT).surprises.tobytes()
    assert "theirs.safetensors (PyTorch)" in (folder / "out" / "README.md").read_text()


def test_what_needs_the_training_text_is_one_line_that_says_what_to_do(folder, capsys):
    make_run("theirs.safetensors", "runs/theirs", ImportOptions(vocabulary="chars.json"))
    for command, line in (
        (evaluate, "runs/theirs"),
        (sample, "runs/theirs --from-corpus 3"),
        (train, "--run-dir runs/theirs --resume"),
    ):
        code, _, error = answer(command, line, capsys)
        assert code == 2
        assert "was imported from 'theirs.safetensors'" in error
        assert "--corpus" in error
        assert error.count("error:") == 1
    assert "give the text to go on with: --corpus" in error


def test_a_model_goes_on_with_the_text_that_it_is_given_and_keeps_to_it(folder, capsys):
    make_run("theirs.safetensors", "runs/theirs", ImportOptions(vocabulary="chars.json"))
    (folder / "other.txt").write_text("no such characters")
    code, _, error = answer(train, "other.txt --run-dir runs/theirs --resume", capsys)
    assert (code, "other.txt': " in error, peek("runs/theirs").step) == (2, True, 0)
    before = jaxchar.load("runs/theirs").score(TEXT).surprises.mean()
    result = jaxchar.resume("runs/theirs", corpus=jaxchar.Text(TEXT * 20), minutes=0.03)
    assert result.summary["steps"] > 0
    assert jaxchar.load("runs/theirs", "last").score(TEXT).surprises.mean() < before
    with pytest.raises(JaxcharError, match="not the one that the run was trained on"):
        jaxchar.resume("runs/theirs", corpus=jaxchar.Text(TEXT), minutes=0.01)


def test_another_run_begins_with_its_weights(folder):
    make_run("theirs.safetensors", "runs/theirs", ImportOptions(vocabulary="chars.json"))
    config = jaxchar.Config(
        corpus="text.txt", hidden_size=5, seq_len=8, batch_size=2, max_steps=2, sample_length=0, eval_every=1
    )
    before = jaxchar.load("runs/theirs").score(TEXT).surprises.mean()
    result = jaxchar.fit(config.replace(learning_rate=1e-9), "runs/more", init_from="runs/theirs")
    assert jaxchar.load(result.run_dir).score(TEXT).surprises.mean() == pytest.approx(before, abs=1e-4)


def test_a_run_that_is_there_is_not_written_over(folder):
    made = make_run("theirs.safetensors", None, ImportOptions(vocabulary="chars.json"))
    assert str(made.run_dir) == "runs/theirs"
    with pytest.raises(JaxcharError, match="already holds a run"):
        make_run("theirs.safetensors", "runs/theirs", ImportOptions(vocabulary="chars.json"))
    again = make_run("theirs.safetensors", None, ImportOptions(vocabulary="chars.json"))
    assert str(again.run_dir) == "runs/theirs-2"


@pytest.mark.parametrize(
    ("command", "line", "said"),
    [
        (import_model, "", "import needs the file of a model"),
        (import_model, "missing.h5", "cannot read the model 'missing.h5'"),
        (import_model, "theirs.safetensors", "give --vocabulary"),
        (import_model, "theirs.safetensors chars.json", "takes one file, but there is also 'chars.json'"),
        (import_model, "theirs.safetensors --vocab chars.json", "jaxchar calls it --vocabulary"),
        (import_model, "text.txt --vocabulary chars.json", "no known format"),
        (export_model, "runs/mine", "export needs a run and the file to write"),
        (export_model, "runs/mine a.keras b.keras", "takes a run and one file"),
        (export_model, "runs/mine a.safetensors", "no checkpoint"),
    ],
)
def test_a_mistake_is_one_line(command, line, said, folder, capsys):
    code, out, error = answer(command, line, capsys)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert said in error
    assert not (folder / "runs").exists()
