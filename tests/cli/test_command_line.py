"""What a user types: one command, short and long help, options of other tools, texts and runs."""

import ast
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import promises
import pytest

from docs import generated
from jaxchar import __main__ as jaxchar_command
from jaxchar import train
from jaxchar.cli import foreign_flags, newest_run, short_help
from jaxchar.cli.arguments import flags_of, scan
from jaxchar.cli.commands import COMMANDS
from jaxchar.cli.train_settings import TypedSettings
from jaxchar.config import Config
from jaxchar.model.recipe import CHOSEN, LENGTH
from jaxchar.terminal.invocation import called_as, called_as_experiment, module_of

ROOT = Path(__file__).parent.parent.parent
ALL = frozenset(field.name for field in dataclasses.fields(Config))
STARTED = {  # how the user started us: what Python puts into argv[0], and the prefix of messages
    "console script": ("/nowhere/bin/jaxchar", "/nowhere/bin/jaxchar sample"),
    "python -m jaxchar": ("/site-packages/jaxchar/__main__.py", "python -m jaxchar sample"),
    "python -m jaxchar.train": ("/site-packages/jaxchar/train.py", "python -m jaxchar.sample"),
    "an experiment": ("experiments/shakespeare.py", "python -m jaxchar.sample"),
}


def arguments_of(command: str) -> type:
    return import_module(f"jaxchar.{module_of(command)}").Arguments


def answer(main, line: list[str], capsys) -> tuple[int, str, str]:
    """Call a command; return its exit code and what it printed."""
    code = 0
    try:
        main(arguments=line)
    except SystemExit as leaving:
        code = leaving.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def one_line_error(main, line: list[str], capsys) -> str:
    """Return what a mistake is answered with."""
    code, out, err = answer(main, line, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    return err


# ---- one command ---------------------------------------------------------------------------------


def test_jaxchar_alone_lists_every_command_with_one_line(capsys):
    code, out, _ = answer(jaxchar_command.main, [], capsys)
    assert code == 0
    for command, what in COMMANDS.items():
        assert f"  {command} " in out and what.split()[0] in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert answer(jaxchar_command.main, ["--help"], capsys)[1] == out


def test_every_command_is_a_module_with_a_main():
    assert all(callable(import_module(f"jaxchar.{module_of(command)}").main) for command in COMMANDS)


@pytest.mark.parametrize("line", [[], ["--version"]])
def test_jaxchar_answers_without_importing_what_is_slow(line):
    program = (
        f"import sys, jaxchar.__main__ as it; it.main({line!r}); print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    imported = set(ast.literal_eval(done.stderr))
    assert not imported & {"jax", "numpy", "tyro", "rich", "flax", "orbax"}


def test_the_version_names_the_libraries_that_compute(capsys):
    _, out, _ = answer(jaxchar_command.main, ["--version"], capsys)
    import jaxchar

    names = [line.split()[0] for line in out.splitlines()]
    assert names[:4] == ["jaxchar", "Python", "jax", "jaxlib"] and "flax" in names
    assert out.startswith(f"jaxchar {jaxchar.__version__}\n")


def test_the_first_word_names_the_command_and_the_rest_is_its_command_line(monkeypatch):
    taken = []
    monkeypatch.setattr("jaxchar.sample.main", lambda arguments: taken.append(arguments))
    jaxchar_command.main(["sample", "runs/mine", "--length", "3"])
    jaxchar_command.main(["help", "sample"])
    assert taken == [["runs/mine", "--length", "3"], ["--help"]]


@promises.ANY_SETTING
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trian", "jaxchar train?"),
        ("Sample", "jaxchar sample?"),
        ("evalaute", "jaxchar evaluate?"),
        ("generate", "jaxchar sample?"),
        ("fit", "jaxchar train?"),
        ("benchmark", "jaxchar bench?"),
        ("--verson", "--version?"),
        ("--lr", "options come after the command"),
        (
            "xyzzy",
            f"there are {', '.join(COMMANDS)}",
        ),
    ],
)
def test_a_command_that_does_not_exist_is_refused_with_the_nearest(typed, said, capsys):
    assert said in one_line_error(jaxchar_command.main, [typed], capsys)


def test_a_text_in_place_of_a_command_is_answered_with_the_command_that_trains_on_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("my novel.txt").write_text("text")
    assert "jaxchar train 'my novel.txt'" in one_line_error(jaxchar_command.main, ["my novel.txt"], capsys)


@pytest.mark.parametrize("way", STARTED)
def test_messages_show_commands_as_the_user_types_them(way, monkeypatch):
    started, expected = STARTED[way]
    monkeypatch.setattr(sys, "argv", [started])
    assert called_as("sample") == expected


def test_a_script_that_the_shell_finds_is_called_by_its_name(tmp_path, monkeypatch):
    script = tmp_path / "jaxchar"
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert called_as("sample") == "jaxchar sample"
    assert called_as() == "jaxchar"


def test_where_the_environment_is_not_activated_python_is_called_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["experiments/shakespeare.py"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert called_as("sample") == ".venv/bin/python -m jaxchar.sample"
    assert called_as_experiment() == ".venv/bin/python experiments/shakespeare.py"
    monkeypatch.setattr(sys, "executable", "/opt/env/bin/python3")
    assert called_as("sample") == "/opt/env/bin/python3 -m jaxchar.sample"
    monkeypatch.setattr(sys, "executable", "")  # Python does not know
    assert called_as("sample") == "python -m jaxchar.sample"


def test_an_experiment_is_called_by_its_file(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["experiments/shakespeare.py"])
    assert called_as_experiment() == "python experiments/shakespeare.py"
    monkeypatch.setattr(sys, "argv", ["/site-packages/pytest/__main__.py"])
    assert called_as_experiment() == "python -m jaxchar.train"


# ---- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", short_help.SHORT_HELP)
@pytest.mark.parametrize("called", ["jaxchar {}", "python -m jaxchar.{}"])
def test_the_first_help_is_a_screenful(command, called, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    called = called.format(module_of(command) if "-m" in called else command)
    lines = short_help.short_help(short_help.SHORT_HELP[command], called).splitlines()
    assert lines[0].startswith(f"usage: {called} ")
    assert len(lines) <= 40
    assert all(len(line) <= 80 for line in lines)
    assert 3 <= sum(line.startswith(f"  {called}") for line in lines) <= 5
    assert "--help-all" in lines[-1]


@pytest.mark.parametrize("columns", [40, 60])
def test_the_first_help_fits_a_narrow_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = short_help.short_help(short_help.SHORT_HELP["train"], "jaxchar train")
    options = text.partition("options:")[2].splitlines()
    assert all(len(line) <= columns for line in options)


@pytest.mark.parametrize("command", short_help.SHORT_HELP)
def test_every_option_of_the_first_help_exists(command):
    of = short_help.SHORT_HELP[command]
    known = flags_of(arguments_of(command)).keys() | {"help-all"}
    words = " ".join([*of.options, *of.examples]).split()
    assert {word.removeprefix("--") for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_short_wherever_it_stands(flag, capsys):
    code, out, _ = answer(train.main, ["my.txt", "--epochs", "3", flag], capsys)
    assert code == 0
    assert out.startswith("usage:") and len(out.splitlines()) <= 40


def test_all_help_says_what_is_chosen_for_the_text_and_no_number_that_is_not_used():
    meanings = {
        option.flags.split(",")[0].split()[0]: option.meaning for option in generated.options("train")
    }
    for field in dataclasses.fields(Config):
        meaning = meanings[f"--{field.name.replace('_', '-')}"]
        assert meaning.endswith("(default: chosen for the text)") == (field.name in CHOSEN), field


def test_an_experiment_shows_its_numbers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def main(arguments):
        train.main(Config(hidden_size=304), "mine", arguments=arguments)

    _, out, _ = answer(main, ["--help-all"], capsys)
    assert "(default: 304)" in out
    assert "chosen for the text" not in out
    assert "numbers in its file" in answer(main, ["--help"], capsys)[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_all_help_has_every_option(command, capsys):
    code, out, _ = answer(import_module(f"jaxchar.{module_of(command)}").main, ["--help-all"], capsys)
    assert code == 0
    assert all(f"--{flag}" in out for flag in flags_of(arguments_of(command)))


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "xterm")])
def test_help_has_colours_only_on_a_terminal_that_wants_them(name, value):
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", name: value}
    command = [sys.executable, "-m", "jaxchar.inspect", "--help-all"]
    subprocess.run(command, stdout=theirs, env=environment, timeout=60, check=True)
    os.close(theirs)
    assert (b"\x1b[" in os.read(ours, 100_000)) == (value == "xterm")
    os.close(ours)


# ---- options of other tools ----------------------------------------------------------------------

FOREIGN = {
    "train": {
        "--lr": "--learning-rate",
        "--rnn_size": "--hidden-size",
        "--rnn-size": "--hidden-size",
        "-rnn_size": "--hidden-size",
        "--hidden": "--hidden-size",
        "--units": "--hidden-size",
        "--numLayers": "--num-layers",
        "--n_layer": "--num-layers",
        "--batch": "--batch-size",
        "--batch_Size": "--batch-size",
        "--seq_length": "--seq-len",
        "--maxlen": "--seq-len",
        "--steps": "--max-steps",
        "--max_epochs": "--epochs",
        "-epochs": "--epochs",
        "--wordvec_size": "--embedding-size",
        "--clipvalue": "--clip-value",
        "--grad_clip": "--clip-norm",
        "--save_dir": "--run-dir",
        "--out_dir": "--run-dir",
        "--checkpoint": "--init-from",
        "--model": "--cell",
        "--temp": "--sample-temperatures",
        "--data_dir": "my_novel.txt",
        "--input": "my_novel.txt",
        "--file": "my_novel.txt",
        "--cuda": "--devices",
        "--gpu": "--devices",
        "--device": "--devices",
        "--n_head": "leave it out",
        "--hidden-szie": "--hidden-size",
        "--hiden-size=3": "--hidden-size",
        "--learning-rte": "--learning-rate",
        "--embed": "--embedding-size",
        "--no-shufle": "--no-shuffle",
        "--prompt-file": "an option of sample",
        "--xyzzy": "--help-all",
    },
    "sample": {
        "--primetext": "--prompt",
        "--start_text": "--prompt",
        "--temp": "--temperature",
        "--diversity": "--temperature",
        "--init_from": "--ckpt",
        "--model": "--ckpt",
        "--checkpoint": "--ckpt",
        "--run-dir": "--ckpt",
        "--max_new_tokens": "--length",
        "-sample": "--greedy",
        "--gpu": "leave it out",
        "--temprature": "--temperature",
        "--epochs": "an option of train",
    },
    "evaluate": {"--checkpoint": "--ckpt", "--data": "--corpus", "--batch_size": "--lanes"},
    "memorization": {"--model": "--ckpt", "--dataset": "--corpus"},
    "inspect": {"--checkpoint": "--ckpt", "--jsno": "--json"},
    "bench": {"--output": "--out", "--epochs": "an option of train"},
}


@promises.ANY_SETTING
@pytest.mark.parametrize(
    ("command", "typed", "said"),
    [(command, typed, said) for command, flags in FOREIGN.items() for typed, said in flags.items()],
)
def test_a_wrong_option_is_answered_with_ours(command, typed, said, capsys):
    error = one_line_error(import_module(f"jaxchar.{module_of(command)}").main, [typed, "5"], capsys)
    assert f"there is no {typed.partition('=')[0]}" in error
    assert said in error
    assert "--help-all" in error


@pytest.mark.parametrize("command", COMMANDS)
def test_the_table_of_other_names_holds_no_name_twice_none_of_ours_and_leads_to_ours(command):
    table, ours = foreign_flags.TABLES[command], flags_of(arguments_of(command))
    words = [word for names in table.values() for word in names.split()]
    assert sorted(words) == sorted(set(words))
    assert not set(words) & set(ours)
    for known in table:
        mentioned = [word for word in known.replace(",", " ").split() if word.startswith("--")]
        assert all(word.removeprefix("--") in ours for word in mentioned), known


def test_what_the_docs_say_of_other_tools_switches_is_in_the_table():
    section = (
        (ROOT / "docs" / "migration.md")
        .read_text()
        .partition("The switches you know")[2]
        .partition("\n##")[0]
    )
    theirs = [line.split("|")[1] for line in section.splitlines() if line.startswith("| char-rnn")]
    switches = [word.strip("`, ") for cell in theirs for word in cell.split() if word.startswith("`-")]
    assert len(switches) > 8
    for switch in switches:
        ours = {**flags_of(train.Arguments), **flags_of(arguments_of("sample"))}
        said = " ".join(foreign_flags.advice(switch, name, ours, []) for name in ("train", "sample"))
        assert "jaxchar calls it" in said, switch


# ---- a text and a run by position ----------------------------------------------------------------


def typed_settings(line: str, default: Config | None = None) -> TypedSettings:
    return train.parse_arguments(default, line.split())


@pytest.mark.parametrize(
    ("line", "corpus"),
    [
        ("a.txt", "a.txt"),
        ("a.txt b.txt --epochs 3", ("a.txt", "b.txt")),
        ("--epochs 3 a.txt", "a.txt"),
        ("--lowercase a.txt --epochs 3 b.txt", ("a.txt", "b.txt")),
        ("--hidden-size 256 a.txt", "a.txt"),
        ("--hidden-size 256 128 a.txt --seed 1", "a.txt"),
        ("--sample-temperatures=0.5 1.0 a.txt", "a.txt"),
        ("--stateful False a.txt", "a.txt"),
        ("-", "-"),
        ("--seed 1 -- --odd.txt", "--odd.txt"),
        ("--corpus a.txt b.txt", ("a.txt", "b.txt")),
        ("--seed 1", "auto"),
    ],
)
def test_a_text_is_what_belongs_to_no_option(line, corpus):
    assert typed_settings(line).config.corpus == corpus


def test_the_values_of_options_stay_theirs():
    config = typed_settings("--hidden-size 256 128 a.txt --sample-temperatures 0.5 1.0").config
    assert (config.hidden_size, config.sample_temperatures) == ((256, 128), (0.5, 1.0))


@pytest.mark.parametrize("prompt", ["- a", "--- b", "-->", "-"])
def test_a_text_value_may_begin_with_dashes(prompt):
    line = scan(["--sample-prompt", prompt, "a.txt"], train.Arguments, "train")
    assert (line.options, line.positionals) == (["--sample-prompt", prompt], ["a.txt"])


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("", set()),
        ("a.txt", {"corpus"}),
        ("--corpus a.txt", {"corpus"}),
        ("--hidden-size 5 --seq_len=6 --no-lowercase", {"hidden_size", "seq_len", "lowercase"}),
        ("--dropout 0.0", {"dropout"}),
        ("--minutes 3 --plan --run-dir r", set()),
        ("--stateful None a.txt --cell gru", {"stateful", "corpus", "cell"}),
    ],
)
def test_the_settings_that_were_typed_are_known(line, given):
    assert typed_settings(line).given == given


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("", None),
        ("a.txt --hidden-size 5", None),
        ("--minutes 3", ALL.difference(LENGTH)),
        ("--plan --epochs 2 a.txt", ALL.difference(LENGTH) | {"epochs"}),
    ],
)
def test_an_experiments_settings_are_all_kept_but_how_long_it_is_where_the_time_is_given(line, given):
    assert typed_settings(line, Config(hidden_size=7)).given == given


def test_an_experiment_keeps_its_numbers_but_those_typed():
    experiment = Config(hidden_size=304, corpus="shakespeare", cell="gru")
    assert typed_settings("", experiment).config == experiment
    assert typed_settings("a.txt", experiment).config == experiment.replace(corpus="a.txt")


def test_minutes_and_plan_are_returned():
    assert (typed_settings("").minutes, typed_settings("").plan) == (None, False)
    found = typed_settings("a.txt --minutes 0.5 --plan")
    assert (found.minutes, found.plan) == (0.5, True)


@promises.ANY_SETTING
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a.txt --corpus b.txt", "the text is given twice, as 'a.txt' and with --corpus"),
        ("a.txt --minutes 0", "--minutes must be a number above 0, but it is 0.0"),
        ("a.txt --minutes -3", "above 0"),
        ("a.txt --minutes nan", "above 0"),
        ("a.txt --minutes inf", "above 0"),
        ("a.txt --minutes soon", "expected a number or None, but it is 'soon'"),
        ("a.txt --hidden-size wide", "expected a whole number or several of them, but it is 'wide'"),
        ("--tyro-print-completion elvish", "bash, zsh, fish"),
    ],
)
def test_what_cannot_be_trained_is_one_line(line, said, capsys):
    assert said in one_line_error(train.main, line.split(), capsys)


def made_run(path: Path, *steps: tuple[int, float]) -> None:
    """Make what looks like a run, each step saved at a time."""
    for step, time in steps:
        folder = path / "checkpoints" / str(step)
        folder.mkdir(parents=True)
        os.utime(folder, (time, time))


def test_the_newest_run_is_that_with_the_newest_checkpoint(tmp_path):
    assert newest_run.newest_run(tmp_path / "none") is None
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    (tmp_path / "file").touch()
    assert newest_run.newest_run(tmp_path) is None
    made_run(tmp_path / "a", (10, 5_000.0), (20, 9_000.0))
    made_run(tmp_path / "b", (900, 8_000.0))
    assert newest_run.newest_run(tmp_path) == tmp_path / "a"
    made_run(tmp_path / "nested" / "c", (1, 10_000.0))
    assert newest_run.newest_run(tmp_path) == tmp_path / "nested" / "c"
    made_run(tmp_path / "a" / "set-aside-after-step-20", (30, 20_000.0))
    assert newest_run.newest_run(tmp_path) == tmp_path / "nested" / "c"


@promises.ANY_SETTING
@pytest.mark.parametrize("command", ["sample", "evaluate", "memorization", "inspect"])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ([], "my_novel.txt"),
        (["a", "--ckpt", "b"], "the run is given twice, as 'a' and with --ckpt"),
        (["my", "run"], "takes one run, but there is also 'run'"),
        (["no/such/run"], "no checkpoint in 'no/such/run'"),
    ],
)
def test_a_run_that_is_not_there_is_one_line(command, line, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert said in one_line_error(import_module(f"jaxchar.{module_of(command)}").main, line, capsys)


# ---- a real run ----------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("unmeasured")

SMALL = "--hidden-size 8 --seq-len 16 --batch-size 4 --sample-length 0 --seed 1 --learning-rate 0.03"
SMALL += " --optimizer adamw --recurrent-init same --eval-every 30 --checkpoint-every 30"  # quick


@pytest.fixture(scope="module")
def overtrained(tmp_path_factory) -> Path:
    """A folder with a run whose best checkpoint is not its last, and an older run beside it."""
    folder = tmp_path_factory.mktemp("home")
    begun, ended = "the cat sat on the mat; " * 90, "tam eht no tas tac eht ;" * 10  # what is held out
    (folder / "my novel.txt").write_text(begun + ended, encoding="utf-8")
    where = ["--run-dir", str(folder / "runs" / "mine")]
    made_run(folder / "runs" / "older", (99, 1_000_000.0))
    train.main(arguments=[str(folder / "my novel.txt"), *where, *SMALL.split(), "--epochs", "5"])
    return folder


def steps_and_losses(folder: Path) -> dict[int, float]:
    from jaxchar.checkpoint.record import read_metadata

    checkpoints = (folder / "runs" / "mine" / "checkpoints").iterdir()
    return {
        int(path.name): read_metadata(path).metrics["val_loss"]
        for path in checkpoints
        if path.name.isdecimal()
    }


def test_without_a_word_the_newest_run_and_its_best_checkpoint_are_used(overtrained, monkeypatch, capsys):
    import jaxchar

    monkeypatch.chdir(overtrained)
    losses = steps_and_losses(overtrained)
    best, last = min(losses, key=losses.__getitem__), max(losses)
    assert best != last, "the test needs a run that became worse at the end"
    code, out, err = answer(
        import_module("jaxchar.sample").main, ["--length", "30", "--seed", "3", "--prompt", "the"], capsys
    )
    assert code == 0
    assert f"Using runs/mine, the newest run.\nUsing its best checkpoint, of step {best}.\n" in err
    for which, step in ((None, best), ("best", best), ("last", last)):
        model = jaxchar.load("runs/mine", which)
        alone = jaxchar.load(f"runs/mine/checkpoints/{step}")
        assert model.generate("the", 30, seed=3) == alone.generate("the", 30, seed=3)
    assert out == "the" + jaxchar.load("runs/mine").generate("the", 30, seed=3) + "\n"


@pytest.mark.parametrize(
    ("line", "without"),
    [
        ("sample --length 0", "--memory 0 "),
        ("sample --length 0 --memory 0", None),
        ("evaluate --memory static --split validation", "--memory none "),
        ("evaluate --memory none --split validation", None),
    ],
)
def test_what_sorting_a_long_text_takes_is_said_before_it_is_sorted(
    overtrained, monkeypatch, capsys, line, without
):
    monkeypatch.chdir(overtrained)
    command, *options = line.split()
    monkeypatch.setattr(newest_run, "LONG_SORTING", 1e-9)
    _, _, err = answer(import_module(f"jaxchar.{command}").main, options, capsys)
    said = re.search(
        r"Sorting the ([\d,]+) characters that it remembers: about 0 seconds, and 0 MB; (.*) does", err
    )
    assert (said is not None) == (without is not None)
    assert said is None or said[2].strip() == without.strip()
    monkeypatch.setattr(newest_run, "LONG_SORTING", 3.0)
    assert "Sorting" not in answer(import_module(f"jaxchar.{command}").main, options, capsys)[2]


def test_a_run_that_is_named_is_not_named_again_and_a_checkpoint_least_of_all(
    overtrained, monkeypatch, capsys
):
    monkeypatch.chdir(overtrained)
    main = import_module("jaxchar.evaluate").main
    said = {}
    for line in ("runs/mine", "--ckpt runs/mine --which last", f"runs/mine/checkpoints/{_last(overtrained)}"):
        code, out, said[line] = answer(main, [*line.split(), "--json", "--split", "validation"], capsys)
        assert code == 0 and out.startswith("{")
    first, *others = said.values()
    assert "newest run" not in first and "Using its best checkpoint, of step" in first
    assert others == ["", ""]


def _last(folder: Path) -> int:
    return max(steps_and_losses(folder))


@pytest.mark.slow
def test_a_run_without_validation_is_sampled_at_its_end(overtrained, tmp_path):
    import jaxchar

    line = [str(overtrained / "my novel.txt"), "--run-dir", str(tmp_path / "r"), "--val-fraction", "0"]
    train.main(arguments=[*line, *SMALL.split(), "--epochs", "3"])
    last = max(int(path.name) for path in (tmp_path / "r" / "checkpoints").iterdir() if path.name.isdecimal())
    alone = jaxchar.load(tmp_path / "r" / "checkpoints" / str(last))
    assert jaxchar.load(tmp_path / "r").generate("t", 20) == alone.generate("t", 20)


# ---- make, and the shell -------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["train"], "python experiments/shakespeare.py"),
        (["train", "EXPERIMENT=char_rnn", "ARGS=--epochs 3"], "python experiments/char_rnn.py --epochs 3"),
        (["train", "CORPUS=my novel's.txt", "MINUTES=20"], "jaxchar train [my novel's.txt] --minutes 20"),
        (["train", "CORPUS=a.txt", "EXPERIMENT=char_rnn"], "python experiments/char_rnn.py a.txt"),
        (["sample"], "jaxchar sample"),
        (["sample", "EXPERIMENT=char_rnn"], "jaxchar sample --ckpt runs/char_rnn-2"),
        (["sample", "EXPERIMENT=nietzsche"], "jaxchar sample"),
        (["sample", "RUN=runs/my run", "ARGS=--length 3"], "jaxchar sample --ckpt [runs/my run] --length 3"),
        (["evaluate", "RUN=runs/a"], "jaxchar evaluate --ckpt runs/a"),
    ],
)
def test_make_hands_texts_runs_and_minutes_on(line, words, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    made_run(tmp_path / "runs" / "char_rnn-2", (1, 5.0))
    show = '#!/bin/sh\nprintf %s "${0##*/}"\n'
    show += 'for a; do\ncase $a in *" "*) a="[$a]";; esac\nprintf " %s" "$a"\ndone'
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "jaxchar"):
        (programs / name).write_text(show)
        (programs / name).chmod(0o755)
    (tmp_path / ".venv" / "ready").touch()
    ours = {"EXPERIMENT", "CORPUS", "RUN", "ARGS", "MINUTES", "EXTRA"}
    of_make = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}  # where `make test` runs this
    environment = {name: value for name, value in os.environ.items() if name not in ours | of_make}
    done = subprocess.run(
        ["make", "-s", *line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == words, done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["jaxchar", "ev"], {"evaluate"}),
        (["jaxchar", "train", "--hidden"], {"--hidden-size"}),
        (["jaxchar", "sample", "--which", "b"], {"best"}),
        (["jaxchar", "train", "my_no"], set()),  # for bash itself, which knows the names of files
    ],
)
def test_bash_completes_commands_options_and_choices(words, offered, tmp_path):
    script = tmp_path / "completion"
    jaxchar_command.main(["--tyro-write-completion", "bash", str(script)])
    ask = f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _jaxchar; "
    ask += 'echo "${COMPREPLY[@]}"; complete -p jaxchar | grep -q default || echo no files >&2'
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60)
    assert set(done.stdout.split()) == offered, done.stderr
    assert done.stderr == ""


def test_the_console_script_is_declared():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["jaxchar"].partition(":")
    assert getattr(import_module(module), function) is jaxchar_command.main
    assert COMMANDS.keys() == foreign_flags.TABLES.keys()
