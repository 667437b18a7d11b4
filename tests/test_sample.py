"""The sampling door: what each option writes, where it goes, and what an interruption leaves."""

import io
import json
import math
import sys

import pytest

import jaxchar
from jaxchar import sample
from jaxchar.sample_display import Display

TRAINING = {"corpus": "python", "max_chars": 2000, "epochs": 1, "sample_length": 0}
TRAINING |= {"hidden_size": 8, "seq_len": 16, "batch_size": 4}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    jaxchar.fit(jaxchar.Config(**TRAINING), folder)
    return folder


@pytest.fixture(scope="module")
def model(run_dir):
    return jaxchar.load(run_dir)


@pytest.fixture
def door(run_dir, capsys):
    """Return a function that types a command line; it gives exit code, standard output and error.

    A piece that begins with "--" may be several words; others are one argument as they are.
    """

    def call(*pieces):
        arguments = [word for piece in pieces for word in (piece.split() if piece[:2] == "--" else [piece])]
        code = 0
        try:
            sample.main(arguments=["--ckpt", str(run_dir), "--seed", "1", *arguments])
        except SystemExit as leaving:
            code = leaving.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_every_control_reaches_the_model(door, model):
    line = "--prompt the --length 40 --temperature 0.7 --top-k 5 --top-p 0.9 --min-p 0.1"
    text = model.generate("the", 40, temperature=0.7, top_k=5, top_p=0.9, min_p=0.1, seed=1)
    assert door(line)[:2] == (0, f"the{text}\n")
    greedy = model.generate("the", 40, temperature=0)
    assert door("--prompt", "the", "--length", "40", "--greedy")[1] == f"the{greedy}\n"
    stop = model.generate("the", 40, seed=1)[10:12]
    stopped = model.generate("the", 40, seed=1, stop=stop)
    assert door("--prompt", "the", "--length", "40", "--stop", stop, "never")[1] == f"the{stopped}\n"


def test_several_temperatures_and_samples_are_blocks(door, model):
    _, out, _ = door("--prompt a --length 10 --temperature 0.5 1 --num-samples 2")
    expected = ""
    for temperature in (0.5, 1):
        batch = model.generate_batch(["a", "a"], 10, temperature=temperature, seed=1)
        for number, text in enumerate(batch):
            expected += f"--- temperature {temperature}, sample {number}\na{text}\n"
    assert out == expected


def test_json_is_one_object_a_text_and_nothing_else_on_standard_output(door, model):
    _, out, err = door("--prompt a --length 30 --num-samples 3 --json --show-alternatives --top-k 4")
    records = [json.loads(line) for line in out.splitlines()]
    texts = model.generate_batch(["a"] * 3, 30, top_k=4, seed=1)
    assert [record["text"] for record in records] == texts
    assert [record["sample"] for record in records] == [0, 1, 2]
    for record in records:
        assert (record["prompt"], record["seed"], record["top_k"]) == ("a", 1, 4)
        assert record["characters_per_second"] > 0
        assert "".join(choice["character"] for choice in record["alternatives"]) == record["text"]
    assert "seed 1" in err


def test_alternatives_are_a_line_a_character(door, model):
    _, out, _ = door("--prompt the --length 20 --show-alternatives")
    prompt, *lines = out.splitlines()
    text = model.generate("the", 20, seed=1)
    assert prompt == "the"
    assert len(lines) == 20
    start = model.writer.start("the")
    for line, choice in zip(lines, model.writer.choices(start, text), strict=True):
        assert f"{choice.probability:.1%} " in line
        assert f"{-math.log2(choice.probability):.2f} bits" in line
        assert line.count("%") == 6


def test_statistics_say_what_is_excluded_and_the_seed(door):
    _, _, err = door("--length", "100")
    assert err.startswith("100 characters: the first after ")
    assert "compiling included, then " in err
    assert err.endswith(" characters/s; seed 1\n")


# ---- prompts -------------------------------------------------------------------------------------


def test_a_prompt_from_a_file_or_a_pipe(door, tmp_path, monkeypatch):
    (tmp_path / "prompt").write_text("the\ncat")
    expected = door("--prompt", "the\ncat", "--length", "9")[1]
    assert door("--prompt-file", str(tmp_path / "prompt"), "--length", "9")[1] == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the\ncat")))
    assert door("--prompt-file", "-", "--length", "9")[1] == expected


def test_a_prompt_from_the_corpus(door):
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics))[:2000]
    for position in (0, 1_790, 1_984):  # training text, across the split, the end of the validation text
        _, out, _ = door("--from-corpus", str(position), "--length", "0")
        assert out == text[position : position + 16] + "\n"


def test_unknown_characters_in_a_prompt(door):
    assert door("--prompt", "ażb", "--unknown", "skip", "--length", "0")[1] == "ab\n"
    assert door("--prompt", "ażb", "--unknown", "replace", "--length", "0")[1] == "a b\n"


WRONG = [
    (["--prompt", "a", "--from-corpus", "0"], "give only one"),
    (["--prompt", "a", "--prompt-file", "x"], "give only one"),
    (["--prompt-file", "no/such/file"], "cannot read the prompt file 'no/such/file'"),
    (["--from-corpus", "1985"], "from 0 to 1,984, but it is 1,985"),
    (["--from-corpus", "-1"], "from 0 to 1,984, but it is -1"),
    (["--prompt", "ż", "--unknown", "skip"], "the prompt is empty"),
    (["--prompt", "ż"], "'ż' (U+017C)"),
    (["--greedy", "--temperature", "0.5"], "--greedy"),
    (["--num-samples", "0"], "num_samples"),
    (["--temperature", "1", "-1"], "temperature must be a number of at least 0"),
    (["--top-p", "0"], "top_p must be a number above 0"),
    (["--top-k", "x"], "whole number"),
    (["--stop", ""], "stop must be a text of at least one character"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(line) for line, _ in WRONG])
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_mistake_is_one_line(door, arguments, said, more):
    code, out, err = door(*arguments, *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert said in err


# ---- terminals and interruptions -----------------------------------------------------------------


def interrupt_after(monkeypatch, pieces):
    show, left = Display.text, [pieces]

    def text(self, piece):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        show(self, piece)

    monkeypatch.setattr(Display, "text", text)


def test_an_interruption_keeps_what_is_there_and_still_tells_the_figures(door, model, monkeypatch):
    interrupt_after(monkeypatch, 2)
    code, out, err = door("--prompt", "a", "--length", "3000")
    whole = model.generate("a", 3000, seed=1)
    assert code == 130
    assert 1 < len(out) < 3000
    assert f"a{whole}".startswith(out.removesuffix("\n"))
    assert " characters: the first after " in err
    assert err.endswith("seed 1\n")


def test_a_terminal_sees_shades_and_symbols_and_a_pipe_the_bare_text(capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)

    def shown(terminal, **options):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
        display = Display(**options)
        display.prompt("a\x1b")
        display.text("b\x07")
        return capsys.readouterr().out

    assert shown(terminal=True) == "\x1b[2ma\u241b\x1b[0mb\u2407"
    assert shown(terminal=True, raw=True) == "\x1b[2ma\x1b\x1b[0mb\x07"
    assert shown(terminal=False) == "a\x1bb\x07"
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(terminal=True) == "a\u241bb\u2407"


def test_a_session_at_the_door(door, model, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("the\n\n"))
    code, out, _ = door("--interactive", "--length", "10")
    text = model.generate("the", 20, seed=1)
    assert (code, out) == (0, f"the{text[:10]}\n{text[10:]}\n")
