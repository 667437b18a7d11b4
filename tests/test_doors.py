"""The doors: what a user types, and what comes back."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxchar
from jaxchar import evaluate, sample, train
from jaxchar.config import Config
from jaxchar.console import visible

SMALL = "--corpus python --max-chars 2000 --hidden-size 8 --seq-len 16 --batch-size 4 --epochs 1"
SMALL += " --sample-length 10"


def run(main, line: str, capsys) -> tuple[int, str, str]:
    """Call a door with a command line; return its exit code and what it printed."""
    code = 0
    try:
        main(arguments=line.split())
    except SystemExit as leaving:
        code = leaving.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "trained"
    train.main(arguments=[*SMALL.split(), "--run-dir", str(run_dir)])
    return run_dir


def test_training_ends_with_where_the_run_is_and_its_best_loss(tmp_path, capsys):
    code, out, err = run(train.main, f"{SMALL} --run-dir {tmp_path}/mine", capsys)
    best = json.loads((tmp_path / "mine" / "summary.json").read_text())["best_val_loss"]
    assert (code, err) == (0, "")
    assert f"Best validation loss {best:.4f}" in out
    assert f"python -m jaxchar.sample --ckpt {tmp_path}/mine" in out
    assert "--- sample at step" in out


def test_without_a_run_folder_each_run_gets_one_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run(train.main, SMALL, capsys)[0] == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == ["run", "run-2"]


def test_a_resumed_run_keeps_its_settings_but_those_typed(trained, tmp_path, capsys):
    run_dir = tmp_path / "copy"
    run_dir.mkdir()
    for file in trained.rglob("*"):
        if file.is_file():
            target = run_dir / file.relative_to(trained)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    code, out, _ = run(train.main, f"--run-dir {run_dir} --resume --epochs 2", capsys)
    assert code == 0
    assert "Resuming" in out
    after = Config.from_json(json.loads((run_dir / "config.json").read_text()))
    assert after == Config.from_json(json.loads((trained / "config.json").read_text())).replace(epochs=2)


def test_text_goes_to_standard_output_and_figures_to_standard_error(trained, capsys):
    line = f"--ckpt {trained} --prompt the --length 30 --temperature 0.8 --seed 1"
    code, out, err = run(sample.main, line, capsys)
    assert code == 0
    assert out == "the" + jaxchar.load(trained).generate("the", 30, temperature=0.8, seed=1) + "\n"
    assert "seed 1" in err


def test_the_seed_that_is_printed_writes_the_same_text(trained, capsys):
    _, out, err = run(sample.main, f"--ckpt {trained} --length 30", capsys)
    again = run(sample.main, f"--ckpt {trained} --length 30 --seed {err.split()[-1]}", capsys)
    assert again[1] == out


def test_evaluation_scores_every_split_of_the_checkpoints_corpus(trained, capsys):
    code, out, _ = run(evaluate.main, f"--ckpt {trained} --json", capsys)
    result = json.loads(out)
    summary = json.loads((trained / "summary.json").read_text())
    assert code == 0
    assert list(result["splits"]) == ["train", "validation"]
    assert result["splits"]["validation"]["loss"] == pytest.approx(summary["val_loss"], rel=1e-5)
    assert result["splits"]["validation"]["accuracy"] == summary["val_accuracy"]
    assert result["splits"]["train"]["predictions"] == 1_799


@pytest.mark.parametrize("options", ["--protocol blocks --block 32", "--lanes 1", "--split validation"])
def test_evaluation_by_other_protocols(trained, capsys, options):
    code, out, _ = run(evaluate.main, f"--ckpt {trained} {options} --json", capsys)
    assert code == 0
    assert 3 < json.loads(out)["splits"]["validation"]["loss"] < 5


def test_any_text_of_known_characters_can_be_scored(trained, tmp_path, capsys):
    (tmp_path / "t").write_text("the statement " * 5)
    code, out, _ = run(evaluate.main, f"--ckpt {trained} --corpus {tmp_path}/t --json", capsys)
    assert code == 0
    assert json.loads(out)["splits"]["text"]["predictions"] == 69


def test_the_table_shows_what_the_json_holds(trained, capsys):
    line = f"--ckpt {trained} --split validation"
    figures = json.loads(run(evaluate.main, f"{line} --json", capsys)[1])["splits"]["validation"]
    code, out, _ = run(evaluate.main, line, capsys)
    assert code == 0
    assert f"{figures['predictions']:,}" in out
    for name in ("loss", "bits_per_char", "perplexity", "accuracy", "top5_accuracy"):
        low, high = figures["interval"][name]
        assert f"{figures[name]:.4f} ± {(high - low) / 2:.4f}" in out
    assert "validation: 10 blocks of 19" in " ".join(out.split())


def test_each_characters_surprise_goes_into_files_of_the_folder(trained, tmp_path, capsys):
    folder = tmp_path / "surprise"
    line = f"--ckpt {trained} --split validation --per-character {folder} --json"
    figures = json.loads(run(evaluate.main, line, capsys)[1])["splits"]["validation"]
    with (folder / "validation.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    nats = [float(row["nats"]) for row in rows[1:]]
    assert sum(nats) / len(nats) == pytest.approx(figures["loss"], rel=1e-5)
    assert "of 200 characters predicted" in (folder / "validation.html").read_text(encoding="utf-8")
    assert figures["files"] == [str(folder / "validation.csv"), str(folder / "validation.html")]


WRONG = [
    (
        train,
        "--batch-size 0",
        "batch_size must be a whole number of at least 1 and at most 1,000,000,000, but it is 0",
    ),
    (train, "--batch-size x", "expected a whole number, but it is 'x'"),
    (train, "--dropout nan", "dropout must be a number of at least 0 and below 1, but it is nan"),
    (train, "--cell transformer", "'lstm', 'gru', 'rnn'"),
    (train, "--hiden-size 3", "--hiden-size"),
    (train, "--shuffle", "shuffle"),
    (train, "--corpus no/such/file", "no corpus 'no/such/file'"),
    (train, "--corpus shakespeare", "put the file at"),
    (train, "--resume", "--run-dir"),
    (train, "--resume --run-dir no/such/run", "no checkpoint in 'no/such/run'"),
    (train, "--init-from no/such/run", "no checkpoint in 'no/such/run'"),
    (train, "--resume --init-from a --run-dir b", "--init-from"),
    (sample, "", "--ckpt"),
    (sample, "--ckpt no/such/run", "no checkpoint in 'no/such/run'"),
    (sample, "--ckpt {run} --temperature -1", "temperature"),
    (sample, "--ckpt {run} --length -1", "length"),
    (sample, "--ckpt {run} --prompt żółw", "'ó' (U+00F3)"),
    (evaluate, "--ckpt {run} --protocol windows", "eval_protocol='windows' needs batching='windows'"),
    (evaluate, "--ckpt {run} --block 0", "block"),
    (evaluate, "--ckpt {run} --split test", "the test text has 0 characters"),
    (evaluate, "--ckpt {run} --per-character {run}/config.json", "is a file; give another"),
    (evaluate, "--ckpt {run} --per-character new --block 0", "block"),
]


@pytest.mark.parametrize(("door", "line", "said"), WRONG, ids=[f"{d.__name__} {w}" for d, w, _ in WRONG])
def test_a_mistake_is_one_line_on_standard_error_and_exit_code_2(
    door, line, said, trained, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    code, out, err = run(door.main, line.format(run=trained), capsys)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert list(tmp_path.iterdir()) == []


def no_network(*_, **__):
    raise OSError("no network")


def test_without_a_network_the_default_corpus_is_the_interpreters_documentation(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    line = f"{SMALL} --corpus auto --run-dir {tmp_path}/run"
    code, out, _ = run(train.main, line, capsys)
    assert code == 0
    assert out.count("cannot be fetched") == 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["corpus"] == "python"


@pytest.mark.parametrize("door", ["train", "sample", "evaluate"])
def test_help_does_not_wait_for_jax(door):
    program = (
        f"import sys, jaxchar.{door} as door\n"
        "try: door.main(arguments=['--help'])\n"
        "finally: print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m jaxchar.{door}" in done.stdout
    assert done.stdout.endswith("False\n")


def test_a_reader_that_leaves_early_is_no_error(trained):
    command = f"{sys.executable} -m jaxchar.sample --ckpt {trained} --length 5000 | head -c 5"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert len(done.stdout) == 5
    assert "Traceback" not in done.stderr


def test_control_characters_are_symbols_on_a_terminal():
    controls = "".join(map(chr, [*range(32), *range(127, 160)]))
    shown = visible(controls)
    assert len(shown) == len(controls)
    assert [c for c in shown if ord(c) < 32 or 127 <= ord(c) < 160] == ["\t", "\n"]
    assert visible("plain é \U0001f600") == "plain é \U0001f600"


def test_train_takes_the_corpus_from_standard_input(tmp_path):
    command = [sys.executable, "-m", "jaxchar.train", *SMALL.split(), "--corpus", "-"]
    command += ["--run-dir", str(tmp_path / "run")]
    text = "the cat sat on the mat\r\n" * 100
    done = subprocess.run(
        command, input=text.encode(), capture_output=True, timeout=300, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert b"2,000 characters, 12 symbols" in done.stdout
