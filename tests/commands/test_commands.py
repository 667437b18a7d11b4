"""The commands: what a user types, and what comes back."""

import csv
import gc
import io
import json
import math
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import promises
import pytest

import jaxchar
from jaxchar import evaluate, inspect, memorization, sample, train
from jaxchar.cli.messages import fail, warn
from jaxchar.config import Config, CorpusConfig
from jaxchar.data.corpus import load_corpus
from jaxchar.terminal.visible import visible

pytestmark = pytest.mark.usefixtures("unmeasured")

SMALL = "--corpus python --max-chars 2000 --hidden-size 8 --seq-len 16 --batch-size 4 --epochs 1"
SMALL += " --sample-length 10 --optimizer adamw --recurrent-init same"  # quick to compile
# What the tests tell of it is not chosen for the text: the learning rate, and one checkpoint, at the end.
TRAINED = f"{SMALL} --learning-rate 0.004 --eval-every 1000 --checkpoint-every 1000"


def run(main, line: str, capsys) -> tuple[int, str, str]:
    """Call a command with a command line; return its exit code and what it printed."""
    code = 0
    try:
        main(arguments=line.split())
    except SystemExit as leaving:
        code = leaving.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def training(tmp_path_factory) -> tuple[Path, str, str]:
    """A run, and what the command that trained it printed."""
    run_dir = tmp_path_factory.mktemp("runs") / "trained"
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        train.main(arguments=[*TRAINED.split(), "--run-dir", str(run_dir)])
    return run_dir, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def trained(training) -> Path:
    return training[0]


def test_training_ends_with_where_the_run_is_and_its_best_loss(training):
    run_dir, out, err = training
    best = json.loads((run_dir / "summary.json").read_text())["best_val_loss"]
    assert err == ""
    assert f"Best validation loss {best:.4f}" in out
    assert f"python -m jaxchar.sample --ckpt {run_dir}" in out
    assert "--- sample at step" in out


def test_without_a_run_folder_each_run_gets_one_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run(train.main, f"{SMALL} --max-steps 1", capsys)[0] == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == ["python", "python-2"]


def test_a_run_without_a_folder_is_called_after_its_text_and_an_experiments_after_the_experiment(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my novel.txt").write_text("the cat sat on a mat. " * 100)
    line = [*SMALL.split(), "--max-steps", "1", "--sample-length", "0", "--corpus", "my novel.txt"]
    train.main(arguments=line)
    train.main(Config(), "classic", arguments=line)
    assert "The run is in runs/my_novel; " in capsys.readouterr().out
    assert sorted(p.name for p in Path("runs").iterdir()) == ["classic", "my_novel"]


@pytest.mark.slow
def test_of_two_runs_that_are_started_at_once_each_has_a_folder(tmp_path):
    command = [sys.executable, "-m", "jaxchar.train", *SMALL.split(), "--max-steps", "1"]
    started = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["python", "python-2"]
    assert all((run_dir / "summary.json").exists() for run_dir in (tmp_path / "runs").iterdir())


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


def test_windows_can_be_scored_at_every_place(tmp_path, capsys):
    config = "--corpus python --max-chars 800 --batching windows --seq-len 8 --hidden-size 4 --max-steps 2"
    options = "--eval-stride 16 --no-return-sequences --sample-length 0 --optimizer adamw"
    assert run(train.main, f"{config} {options} --run-dir {tmp_path}/run", capsys)[0] == 0
    line = f"--ckpt {tmp_path}/run --split validation --json"
    predicted = [
        json.loads(run(evaluate.main, line + more, capsys)[1])["splits"]["validation"]["predictions"]
        for more in ("", " --stride 1")
    ]
    assert predicted == [5, 72]  # of 80 characters


def test_any_text_of_known_characters_can_be_scored(trained, tmp_path, capsys):
    (tmp_path / "t").write_text("the statement " * 5)
    code, out, _ = run(evaluate.main, f"--ckpt {trained} --corpus {tmp_path}/t --json", capsys)
    assert code == 0
    assert json.loads(out)["splits"]["text"]["predictions"] == 69


@pytest.mark.parametrize(
    ("unknown", "replaced", "left_out", "predicted"), [("replace", 10, 0, 74), ("skip", 0, 10, 64)]
)
def test_a_text_with_unknown_characters_can_be_scored_without_them(
    trained, tmp_path, capsys, unknown, replaced, left_out, predicted
):
    known = jaxchar.load(trained).vocabulary.symbols
    assert "\u017c" not in known and "\u017b" not in known and " " in known
    (tmp_path / "t").write_text("the \u017cstate\u017cment" * 5, encoding="utf-8")
    line = f"--ckpt {trained} --corpus {tmp_path}/t"
    code, _, err = run(evaluate.main, line, capsys)
    assert code == 2 and "'\u017c' (U+017C); leave them out or replace them, with --unknown skip or" in err
    code, out, _ = run(evaluate.main, f"{line} --unknown {unknown} --json", capsys)
    result = json.loads(out)
    assert code == 0
    assert result["unknown"] == {"replaced": replaced, "left_out": left_out}
    assert result["splits"]["text"]["predictions"] == predicted
    _, out, _ = run(evaluate.main, f"{line} --unknown {unknown}", capsys)
    assert f"Characters that the model lacks: {replaced} replaced, {left_out} left out" in out


def test_a_text_of_known_characters_needs_no_word_about_unknown_ones(trained, capsys):
    line = f"--ckpt {trained} --unknown replace"
    assert json.loads(run(evaluate.main, f"{line} --json", capsys)[1])["unknown"] == {
        "replaced": 0,
        "left_out": 0,
    }
    assert "Characters that the model lacks" not in run(evaluate.main, line, capsys)[1]


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


# ---- memorisation --------------------------------------------------------------------------------


def shares(trained, capsys, options) -> dict:
    code, out, _ = run(memorization.main, f"--ckpt {trained} --json {options}", capsys)
    assert code == 0
    return json.loads(out)


def test_what_the_model_writes_is_compared_with_the_training_text_beside_held_out_text(trained, capsys):
    found = shares(trained, capsys, "--length 500 --temperature 0.5 --seed 3")
    model, whole = jaxchar.load(trained), load_corpus(CorpusConfig(corpus="python", max_chars=2000)).text
    training, held_out = whole[:1800], whole[1800:]
    written = model.generate(held_out[:100], 500, temperature=0.5, seed=3)
    assert (found["training_chars"], found["text"]["characters"]) == (1800, 500)
    for text, about in ((written, found["text"]), (held_out, found["held_out"])):
        grams = [text[i : i + 5] for i in range(len(text) - 4)]
        assert about["copied_share"]["5"] == sum(gram in training for gram in grams) / len(grams)
        longest = about["longest"]
        assert longest["passage"] == training[longest["corpus_position"] :][: longest["length"]]
        assert longest["passage"] == text[longest["text_position"] :][: longest["length"]]


def test_a_copy_of_the_training_text_is_found_out_though_it_has_other_characters(trained, tmp_path, capsys):
    training = load_corpus(CorpusConfig(corpus="python", max_chars=1800)).text
    (tmp_path / "t[b]").write_text("żółw" + training[300:400] + "żółw", encoding="utf-8")
    found = shares(trained, capsys, f"--text {tmp_path}/t[b]")["text"]
    assert found["longest"] == {
        "length": 100,
        "text_position": 4,
        "corpus_position": 300,
        "passage": training[300:400],
    }
    assert found["copied_share"]["50"] == 51 / 59
    code, out, _ = run(memorization.main, f"--ckpt {trained} --text {tmp_path}/t[b]", capsys)
    assert code == 0 and "t[b]" in out and f"{51 / 59:.2%}" in out
    assert "100 characters: at 4 in the text, at 300 in the corpus" in out


# ---- inspection ----------------------------------------------------------------------------------


def test_inspection_tells_what_is_in_a_checkpoint_and_that_it_is_whole(trained, capsys):
    code, out, _ = run(inspect.main, f"--ckpt {trained} --json", capsys)
    result = json.loads(out)
    shown = result["shown"]
    summary = json.loads((trained / "summary.json").read_text())
    assert code == 0
    assert [(found["metadata"], found["damage"]) for found in result["checkpoints"]] == [(True, [])]
    assert shown["config"] == json.loads((trained / "config.json").read_text())
    assert shown["changed"]["hidden_size"] == Config().hidden_size
    assert all(shown["config"][name] != default for name, default in shown["changed"].items())
    assert {name for names in shown["groups"].values() for name in names} == set(shown["config"])
    assert sum(math.prod(array["shape"]) for array in shown["parameters"]) == summary["parameters"]
    assert sum(layer["parameters"] for layer in shown["layers"]) == summary["parameters"]
    assert shown["optimizer_state"]["numbers"] >= 2 * summary["parameters"]  # Adam's two averages


def test_inspection_for_people_marks_what_differs_from_the_defaults(trained, capsys):
    code, out, _ = run(inspect.main, f"--ckpt {trained}", capsys)
    assert code == 0
    assert "hidden_size = 8  (default 512)" in out
    assert "whole: " in out and "all SHA-256 match" in out
    assert "\u240a\u2420" in out  # the vocabulary's line feed and space
    assert "recurrent_dropout 0.0" in out.split("model settings")[1].split("by default: ")[1]


def copy_of(run_dir: Path, target: Path) -> Path:
    """Return the only checkpoint of a copy of a run, which is to be damaged."""
    gc.freeze()  # after damage, garbage is collected for each array
    shutil.copytree(run_dir, target)
    return next((target / "checkpoints").iterdir())


def test_a_flipped_bit_in_an_array_is_named_and_ends_with_exit_code_1(trained, tmp_path, capsys):
    checkpoint = copy_of(trained, tmp_path / "copy")
    chunks = (file for file in (checkpoint / "state").glob("*/*") if file.name[0].isdecimal())
    largest = max(chunks, key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    code, out, _ = run(inspect.main, f"--ckpt {tmp_path}/copy --json", capsys)
    (found,) = json.loads(out)["checkpoints"]
    assert code == 1
    assert 1 <= len(found["damage"]) < found["arrays"]
    code, out, _ = run(inspect.main, f"--ckpt {checkpoint}", capsys)
    assert code == 1 and f"DAMAGED, of {found['arrays']} arrays" in out and found["damage"][0] in out


def test_altered_metadata_are_damage_too(trained, tmp_path, capsys):
    checkpoint = copy_of(trained, tmp_path / "copy")
    file = checkpoint / "metadata" / "metadata"
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    code, out, _ = run(inspect.main, f"--ckpt {tmp_path}/copy", capsys)
    assert code == 1
    assert f"{checkpoint}: DAMAGED: its metadata does not match its SHA-256" in out


@pytest.mark.slow
def test_the_command_called_inspect_leaves_the_standard_librarys_inspect_alone(trained):
    command = [sys.executable, "-m", "jaxchar.inspect", "--ckpt", str(trained), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["shown"]["step"] > 0


WRONG = [
    (
        train,
        "--batch-size 0",
        "--batch-size must be a whole number of at least 1 and at most 1,000,000,000, but it is 0",
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
    (train, "--keep-optimizer", "--keep-optimizer and --new-characters need --init-from"),
    (train, "--new-characters add", "--keep-optimizer and --new-characters need --init-from"),
    (train, "--init-from {run} --keep-optimizer --optimizer sgd", "optimizer: adamw there, sgd here"),
    (train, "--init-from {run} --hidden-size 9", "layer_sizes: (8,) there, (9,) here"),
    (
        train,
        "--run-dir {run} --resume --epochs 2 --learning-rate 0.1",
        "learning_rate: 0.004 -> 0.1; leave them as they were, or begin a new run with the weights of this "
        "one: --init-from {run} instead of --run-dir and --resume (with --keep-optimizer, ",
    ),
    (train, "--run-dir {run} --resume --epochs 2 --hidden-size 9", "or begin a new run\n"),
    (
        train,
        "--run-dir {run} --resume --epochs 2 --corpus {run}/samples.txt",
        "the corpus is not the one that the run was trained on",
    ),
    (train, "--run-dir {run} --resume --epochs 2 --corpus {run}/samples.txt", "--init-from {run} instead"),
    (sample, "", "--ckpt"),
    (sample, "--ckpt no/such/run", "no checkpoint in 'no/such/run'"),
    (sample, "--ckpt {run} --temperature -1", "temperature"),
    (sample, "--ckpt {run} --length -1", "length"),
    (sample, "--ckpt {run} --prompt żółw", "'ó' (U+00F3)"),
    (evaluate, "--ckpt {run} --protocol windows", "--eval-protocol windows needs --batching windows"),
    (evaluate, "--ckpt {run} --block 0", "block"),
    (evaluate, "--ckpt {run} --block 5", "--block is for --protocol blocks, but the protocol is stateful"),
    (evaluate, "--ckpt {run} --stride 5", "--stride is for --protocol windows"),
    (evaluate, "--ckpt {run} --protocol blocks --lanes 1", "--lanes is for --protocol stateful"),
    (evaluate, "--ckpt {run} --split test", "the test text has 0 characters"),
    (
        evaluate,
        "--ckpt {run} --dynamic --split train",
        "--dynamic is for text that the network was not trained",
    ),
    (memorization, "--ckpt {run} --length 0", "length must be a whole number of 1 or more, but it is 0"),
    (memorization, "--ckpt {run} --temperature -1 --length 9", "temperature"),
    (memorization, "--ckpt {run} --text no/such/file", "no corpus 'no/such/file'"),
    (memorization, "--ckpt {run} --corpus {run}/config.json", "is not the one that the run was trained on"),
    (inspect, "--ckpt no/such/run", "no checkpoint in 'no/such/run'"),
    (evaluate, "--ckpt {run} --per-character {run}/config.json", "is a file; give another"),
    (evaluate, "--ckpt {run} --per-character new --block 0", "block"),
]


@promises.ANY_SETTING
@pytest.mark.parametrize(("module", "line", "said"), WRONG, ids=[f"{d.__name__} {w}" for d, w, _ in WRONG])
def test_a_mistake_is_one_line_on_standard_error_and_exit_code_2(
    module, line, said, trained, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    code, out, err = run(module.main, line.format(run=trained), capsys)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said.format(run=trained) in err
    assert list(tmp_path.iterdir()) == []


def no_network(*_, **__):
    raise OSError("no network")


def test_without_a_network_the_default_corpus_is_the_interpreters_documentation(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    line = f"{SMALL} --max-steps 1 --corpus auto --run-dir {tmp_path}/run"
    code, out, _ = run(train.main, line, capsys)
    assert code == 0
    assert out.count("cannot be fetched") == 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["corpus"] == "python"


@pytest.mark.parametrize(
    "module",
    [
        "train",
        "sample",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("evaluate", "memorization", "inspect")),
    ],
)
def test_help_does_not_wait_for_jax(module):
    program = (
        f"import sys, jaxchar.{module} as module\n"
        "try: module.main(arguments=['--help'])\n"
        "finally: print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m jaxchar.{module}" in done.stdout
    assert done.stdout.endswith("False\n")


def test_a_reader_that_leaves_early_is_no_error(trained):
    command = f"{sys.executable} -m jaxchar.sample --ckpt {trained} --length 5000 | head -c 5"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert len(done.stdout) == 5
    assert "Traceback" not in done.stderr


@promises.TERMINAL
def test_control_characters_are_symbols_on_a_terminal():
    controls = "".join(map(chr, [*range(32), *range(127, 160)]))
    shown = visible(controls)
    assert len(shown) == len(controls)
    assert [c for c in shown if ord(c) < 32 or 127 <= ord(c) < 160] == ["\t", "\n"]
    assert visible("plain é \U0001f600") == "plain é \U0001f600"


@promises.TERMINAL
def test_control_characters_in_warnings_and_errors_are_symbols_too(capsys):
    """Either may quote what a checkpoint from anywhere says."""
    warn(["a\x1b[2Jb"])
    with pytest.raises(SystemExit):
        fail("c\x1b[2Jd")
    assert capsys.readouterr().err == "warning: a\u241b[2Jb\nerror: c\u241b[2Jd\n"


def test_train_takes_the_corpus_from_standard_input(tmp_path, capsys, monkeypatch):
    text = "the cat sat on the mat\r\n" * 100
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, out, err = run(train.main, f"{SMALL} --max-steps 1 --corpus - --run-dir {tmp_path}/run", capsys)
    assert (code, err) == (0, "")
    assert "2,000 characters, 12 different ones" in out
