"""The pages: every public name and setting is told of, and what a reader is asked to type exists."""

import ast
import dataclasses
import inspect
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import pytest
from runs import quiet

import jaxchar
from docs import generated
from jaxchar import config as records
from jaxchar import own_cells
from jaxchar.model.split import split_model
from jaxchar.scoring.options import EvaluationOptions
from jaxchar.terminal.invocation import module_of

DOCS = Path(__file__).parent.parent / "docs"
GROUPS = ("CorpusConfig", "BatchConfig", "ModelConfig", "OptimizerConfig", "RunConfig")
PAGES = ("index", "tutorial", "command_line", "reference", "interchange", "many_runs")
RUN_PAGES = ("inside_jax",)  # whose programs are run, one after the other, with a small model
TO_BE_RUN = ("many_runs",)  # pages whose programs are run one by one, and may use names of other packages
# What every command takes, what jaxchar itself takes, and an example of a mistake.
OF_ALL = {"--help", "--help-all", "--version", "--tyro-print-completion", "--lr"}
INSTANCE_NAMES = {"config", "text", "surprises", "ranks"}  # set on an instance, not on its class


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page(name), flags=re.DOTALL | re.MULTILINE)


@cache
def flags_of(command: str) -> set[str]:
    if command in ("--tyro-print-completion", "--version"):  # of jaxchar itself
        return set()
    return {
        flag for option in generated.options(command) for flag in re.findall(r"--[a-z0-9-]+", option.flags)
    }


# ---- the reference -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", jaxchar.__all__)
def test_the_reference_has_every_public_name(name):
    assert re.search(rf"auto(function|class|exception):: jaxchar\.{name}\b", page("reference"))


def test_the_reference_has_every_setting_once_with_its_meaning_default_and_range():
    found = [
        setting
        for group in re.findall(r"{settings} (\w+)", page("reference"))
        for setting in generated.settings(getattr(records, group))
    ]
    fields = {field.name: field for field in dataclasses.fields(jaxchar.Config)}
    assert sorted(setting.name for setting in found) == sorted(fields)
    for setting in found:
        assert setting.meaning, f"{setting.name} has no comment in config.py"
        assert setting.allowed
        assert ast.literal_eval(setting.default) == fields[setting.name].default


def test_a_default_keeps_its_quotation_marks_through_yaml():
    entries = generated.settings_markdown(records.CorpusConfig)
    defaults = [json.loads(line) for line in re.findall(r"^:value: (.*)$", entries, flags=re.MULTILINE)]
    assert [ast.literal_eval(default) for default in defaults] == [
        "auto",
        None,
        False,
        None,
        " ",
        None,
        None,
        0.1,
        0.0,
    ]


@dataclasses.dataclass
class Commented:
    first: int = 1  # beside
    # above, on
    # two lines
    second: str = "#"
    third: int = 3


def test_a_comment_belongs_to_the_field_that_it_stands_beside_or_above():
    assert generated.field_comments(Commented) == {
        "first": "beside",
        "second": "above, on two lines",
        "third": "",
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dropout", "a number of at least 0 and below 1"),
        ("cell", "'lstm' or 'gru' or 'rnn', or the name of a cell of one's own (jaxchar.register_cell)"),
        ("stateful", "True or False, or None"),
        ("sample_temperatures", "a tuple, each item a number of at least 0 and at most 1,000"),
    ],
)
def test_what_is_allowed_is_told_in_words(name, words):
    settings = {s.name: s for group in GROUPS for s in generated.settings(getattr(records, group))}
    assert settings[name].allowed == words


# ---- the command line ----------------------------------------------------------------------------


def test_every_command_has_its_table():
    package = Path(jaxchar.__file__).parent
    modules = {
        path.stem for path in package.glob("*.py") if 'if __name__ == "__main__"' in path.read_text("utf-8")
    } - {"__main__"}
    assert modules == set(map(module_of, generated.COMMANDS))
    assert set(generated.COMMANDS) == set(re.findall(r"{options} (\w+)", page("command_line")))


@pytest.mark.parametrize("command", generated.COMMANDS)
def test_every_option_has_a_meaning(command):
    assert flags_of(command)
    assert not [option.flags for option in generated.options(command) if not option.meaning.partition("(")[0]]


def test_the_tables_have_every_setting():
    missing = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(jaxchar.Config)}
    assert missing <= flags_of("train")


# ---- what a reader types -------------------------------------------------------------------------


def commands() -> list[tuple[str, str]]:
    return [
        (name, line)
        for name in PAGES
        for block in blocks(name, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith(("python ", "jaxchar "))
    ]


@pytest.mark.parametrize(("name", "line"), commands())
def test_a_line_names_a_command_or_an_experiment_and_options_that_it_has(name, line):
    line = line.partition("  #")[0]
    if experiment := re.match(r"python (experiments/\w+\.py)", line):
        assert (DOCS.parent / experiment[1]).exists()
        command = "train"
    else:
        command = re.match(r"(?:python -m jaxchar\.|jaxchar )([\w-]+)", line)[1]
    assert set(re.findall(r" (--[a-z0-9-]+)", line.partition(command)[2])) <= flags_of(command)


@pytest.mark.parametrize("name", PAGES)
def test_every_option_in_the_text_exists(name):
    known = set().union(*map(flags_of, generated.COMMANDS)) | OF_ALL
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", page(name))) <= known


def test_there_are_commands_and_programs_to_check():
    assert len(commands()) > 10
    assert len(blocks("tutorial", "python")) >= 4


@pytest.mark.parametrize(
    "program", [p for name in PAGES if name not in TO_BE_RUN for p in blocks(name, "python")]
)
def test_a_program_parses_and_uses_names_that_exist(program):
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owners = {"jaxchar": jaxchar, "model": jaxchar.LanguageModel, "score": jaxchar.Score}
            if owner := owners.get(node.value.id):
                assert hasattr(owner, node.attr) or node.attr in INSTANCE_NAMES
        if isinstance(node, ast.Call):
            unknown = {keyword.arg for keyword in node.keywords} - _keywords()
            assert not unknown


@pytest.mark.slow
def test_the_programs_have_the_types_that_are_asked_for(tmp_path):
    pytest.importorskip("mypy")
    files = [tmp_path / f"{name}.py" for name in RUN_PAGES]
    for file in files:
        file.write_text("\n".join(blocks(file.stem, "python")))
    for name in PAGES:
        for number, program in enumerate(blocks(name, "python")):
            files.append(tmp_path / f"{name}_{number}.py")
            files[-1].write_text(("" if "import jaxchar" in program else "import jaxchar\n") + program)
    command = [sys.executable, "-m", "mypy", "--check-untyped-defs", *map(str, files)]
    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _keywords() -> set[str]:
    """Return the names of settings and arguments that the programs of the pages may use."""
    settings = {
        field.name
        for kind in (jaxchar.Config, records.SampleConfig, EvaluationOptions)
        for field in dataclasses.fields(kind)
    }
    arguments = {*inspect.signature(jaxchar.fit).parameters}
    return settings | arguments | {"which", "end", "flush"}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_PAGES)
def test_the_programs_of_a_page_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_cells, "_register", {})
    pangram = "The quick brown fox jumps over the lazy dog.\n"
    config = jaxchar.Config(
        corpus=jaxchar.Text(pangram * 20),
        hidden_size=24,
        batch_size=4,
        seq_len=16,
        max_steps=4,
    )
    jaxchar.fit(config.replace(val_fraction=0.0, sample_length=0), "runs/mine", display=quiet())
    names: dict[str, object] = {}
    for program in blocks(name, "python"):
        exec(compile(program, f"docs/{name}.md", "exec"), names)
    assert (tmp_path / "states.png").exists()
    assert jax.tree.structure(names["product"]) == jax.tree.structure(names["model"].params)
    assert own_cells.is_registered("leaky")
    leaky = jaxchar.Config(cell="leaky", hidden_size=4)
    assert len(jax.tree.leaves(split_model(leaky, 5))) == 5


# ---- programs that are run -----------------------------------------------------------------------

TEXT = "to be or not to be, that is the question\n" * 60
SMALL = {"hidden_size": 6, "max_steps": 4, "sample_length": 0, "memory": "none"}
SMALL |= {"optimizer": "adamw", "recurrent_init": "same"}  # quick to compile


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=pytest.mark.slow if number in (0, 4, 5) else ())
        for number in range(len(blocks("many_runs", "python")))
    ],
)
def test_the_programs_about_many_runs_run(number, tmp_path, monkeypatch, capsys):
    program = blocks("many_runs", "python")[number]
    for name in ("pandas", "optuna"):
        if f"import {name}" in program:
            pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    Path("my.txt").write_text(TEXT)
    fit, resume = jaxchar.fit, jaxchar.resume
    monkeypatch.setattr(jaxchar, "fit", lambda *given, **named: fit(*given, **SMALL | named), raising=False)
    monkeypatch.setattr(jaxchar, "resume", lambda run, minutes, **named: resume(run, **named), raising=False)
    from jaxchar.training import seeds

    fit_seeds = seeds.fit_seeds
    monkeypatch.setattr(
        seeds,
        "fit_seeds",
        lambda of, *given, **named: fit_seeds({**of, **SMALL}, *given, **named | {"seeds": 1}),
    )
    if "runs/mine" in program.replace('"runs/mine", minutes', "") or "compare_runs" in program:
        fit("my.txt", "runs/mine", **SMALL)
    exec(program.replace("n_trials=20", "n_trials=1"), {"jaxchar": jaxchar, "__name__": "page"})
    assert capsys.readouterr().out


# ---- pictures ------------------------------------------------------------------------------------


def test_every_picture_is_there_small_and_told_of_in_words():
    shown = re.findall(r"!\[(.*?)\]\(pictures/(\w+\.png)\)", page("tutorial"), flags=re.DOTALL)
    assert {name for _, name in shown} == {path.name for path in (DOCS / "pictures").glob("*.png")}
    for words, name in shown:
        assert len(words) > 20
        assert (DOCS / "pictures" / name).stat().st_size <= 60_000
