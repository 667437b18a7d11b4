"""The command sample: what each option writes, where it goes, and what an interruption leaves."""

import io
import json
import math
import os
import subprocess
import sys

import promises
import pytest

import jaxchar
from jaxchar import sample
from jaxchar.cli.messages import one_line_errors
from jaxchar.recurrence import native
from jaxchar.terminal.sample_display import Display

TRAINING = {"corpus": "python", "max_chars": 2000, "epochs": 1, "sample_length": 0}
TRAINING |= {"hidden_size": 8, "seq_len": 16, "batch_size": 4}
TRAINING |= {"recurrent_init": "same"}  # quick to compile

pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    jaxchar.fit(jaxchar.Config(**TRAINING), folder)
    return folder


@pytest.fixture(scope="module")
def model(run_dir):
    return jaxchar.load(run_dir)


@pytest.fixture
def call(run_dir, capsys):
    """Return a function that types a command line; it gives exit code, standard output and error.

    A piece that begins with "--" may be several words; others are one argument as they are.
    """

    def run_sample(*pieces):
        arguments = [word for piece in pieces for word in (piece.split() if piece[:2] == "--" else [piece])]
        code = 0
        try:
            sample.main(arguments=["--ckpt", str(run_dir), "--seed", "1", *arguments])
        except SystemExit as leaving:
            code = leaving.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_sample


def test_every_control_reaches_the_model(call, model):
    line = "--prompt the --length 40 --temperature 0.7 --top-k 5 --top-p 0.9 --min-p 0.1"
    text = model.generate("the", 40, temperature=0.7, top_k=5, top_p=0.9, min_p=0.1, seed=1)
    assert call(line)[:2] == (0, f"the{text}\n")
    greedy = model.generate("the", 40, temperature=0)
    assert call("--prompt", "the", "--length", "40", "--greedy")[1] == f"the{greedy}\n"
    stop = model.generate("the", 40, seed=1)[10:12]
    stopped = model.generate("the", 40, seed=1, stop=stop)
    assert (
        call("--prompt", "the", "--length", "40", "--stop", stop, "it is not there")[1] == f"the{stopped}\n"
    )


def test_the_memory_is_a_dial_and_may_read_more(call, model, tmp_path):
    def written(*pieces):
        code, out, _ = call("--prompt the --length 60", *pieces)
        assert code == 0
        return out.removeprefix("the").removesuffix("\n")

    assert written() == written("--memory 1") == model.generate("the", 60, seed=1)
    assert written("--memory 0") == model.with_memory(0).generate("the", 60, seed=1) != written()
    asked = model.with_memory(0.5, 3).generate("the", 60, seed=1)
    assert written("--memory 0.5 --memory-context 3") == asked
    (tmp_path / "more.txt").write_text("these are other words, " * 40, encoding="utf-8")
    adapted = model.adapted("these are other words, " * 40).generate("the", 60, seed=1)
    assert written("--adapt", str(tmp_path / "more.txt")) == adapted != written()
    learned = model.adapted("these are other words, " * 40, dynamic=True).generate("the", 60, seed=1)
    assert written("--dynamic --adapt", str(tmp_path / "more.txt")) == learned != adapted


def test_weights_of_fewer_bits(call, model):
    for weights in ("bfloat16", "int8"):
        _, out, said = call("--prompt=ab", "--length=30", "--memory=0", f"--weights={weights}")
        assert out == "ab" + model.with_memory(0).with_weights(weights).generate("ab", 30, seed=1) + "\n"
        assert ("warning" in said) is (not native.is_available())


def test_weights_of_fewer_bits_without_the_library_get_a_warning(call, monkeypatch):
    monkeypatch.setattr("jaxchar.sampling.generate.native_name", lambda cell: None)
    _, _, said = call("--prompt=ab", "--length=3", "--weights=int8")
    assert "warning: --weights int8 makes only C++ faster" in said


def test_several_temperatures_and_samples_are_blocks(call, model):
    _, out, _ = call("--prompt a --length 10 --temperature 0.5 1 --num-samples 2")
    expected = ""
    for temperature in (0.5, 1):
        batch = model.generate_batch(["a", "a"], 10, temperature=temperature, seed=1)
        for number, text in enumerate(batch):
            expected += f"--- temperature {temperature}, sample {number}\na{text}\n"
    assert out == expected


def test_json_is_one_object_a_text_and_nothing_else_on_standard_output(call, model):
    _, out, err = call("--prompt a --length 30 --num-samples 3 --json --show-alternatives --top-k 4")
    records = [json.loads(line) for line in out.splitlines()]
    texts = model.generate_batch(["a"] * 3, 30, top_k=4, seed=1)
    assert [record["text"] for record in records] == texts
    assert [record["sample"] for record in records] == [0, 1, 2]
    for record in records:
        assert (record["prompt"], record["seed"], record["top_k"]) == ("a", 1, 4)
        assert record["characters_per_second"] > 0
        assert "".join(choice["character"] for choice in record["alternatives"]) == record["text"]
    assert "seed 1" in err


def test_alternatives_are_a_line_a_character(call, model):
    _, out, _ = call("--prompt the --length 20 --show-alternatives")
    prompt, *lines = out.splitlines()
    text = model.generate("the", 20, seed=1)
    assert prompt == "the"
    assert len(lines) == 20
    start = model.session.start("the")
    for line, choice in zip(lines, model.session.choices(start, text), strict=True):
        assert f"{choice.probability:.1%} " in line
        assert f"{-math.log2(choice.probability):.2f} bits" in line
        assert line.count("%") == 6


def test_statistics_say_what_is_excluded_and_the_seed(call):
    _, _, err = call("--length", "100")
    note, _, err = err.partition("\n")
    assert note == "Using its best checkpoint, of step 28."
    assert err.startswith("100 characters: the first after ")
    assert "compiling included, then " in err
    assert err.endswith(" characters/s; seed 1\n")


# ---- prompts -------------------------------------------------------------------------------------


def test_a_prompt_from_a_file_or_a_pipe(call, tmp_path, monkeypatch):
    (tmp_path / "prompt").write_text("the\ncat")
    expected = call("--prompt", "the\ncat", "--length", "9")[1]
    assert call("--prompt-file", str(tmp_path / "prompt"), "--length", "9")[1] == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the\ncat")))
    assert call("--prompt-file", "-", "--length", "9")[1] == expected


def test_a_prompt_from_the_corpus(call):
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics))[:2000]
    for position in (0, 1_790, 1_984):  # training text, across the split, the end of the validation text
        _, out, _ = call("--from-corpus", str(position), "--length", "0")
        assert out == text[position : position + 16] + "\n"


def test_unknown_characters_in_a_prompt(call):
    assert call("--prompt", "ażb", "--unknown", "skip", "--length", "0")[1] == "ab\n"
    assert call("--prompt", "ażb", "--unknown", "replace", "--length", "0")[1] == "a b\n"


WRONG = [
    (["--prompt", "a", "--from-corpus", "0"], "give only one"),
    (["--prompt", "a", "--prompt-file", "x"], "give only one"),
    (["--prompt-file", "no/such/file"], "cannot read the prompt file 'no/such/file'"),
    (["--from-corpus", "1985"], "from 0 to 1,984, but it is 1,985"),
    (["--from-corpus", "-1"], "from 0 to 1,984, but it is -1"),
    (["--prompt", "ż", "--unknown", "skip"], "the prompt is empty"),
    (["--prompt", "ż"], "'ż' (U+017C)"),
    (["--greedy", "--temperature", "0.5"], "--greedy"),
    (["--num-samples", "0"], "--num-samples must be"),
    (["--temperature", "1", "-1"], "temperature must be a number of at least 0"),
    (["--top-p", "0"], "--top-p must be a number above 0"),
    (["--top-k", "x"], "whole number"),
    (["--stop", ""], "stop must be a text of at least one character"),
    (["--memory", "1.5"], "--memory must be a number from 0 to 1, but it is 1.5"),
    (["--memory-context", "-1"], "--memory-context must be 0 or more, but it is -1"),
    (["--adapt", "no/such/file"], "no/such/file"),
    (["--dynamic"], "--dynamic is for a text that is read first; give one with --adapt FILE"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(line) for line, _ in WRONG])
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_mistake_is_one_line(call, arguments, said, more):
    code, out, err = call(*arguments, *more)
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


def test_an_interruption_keeps_what_is_there_and_still_tells_the_figures(call, model, monkeypatch):
    interrupt_after(monkeypatch, 2)
    code, out, err = call("--prompt", "a", "--length", "3000")
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


def test_a_session_from_the_command(call, model, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("the\n\n"))
    code, out, _ = call("--interactive", "--length", "10")
    text = model.generate("the", 20, seed=1)
    assert (code, out) == (0, f"the{text[:10]}\n{text[10:]}\n")


# ---- stops and prompts that cannot be ------------------------------------------------------------


@promises.PROMPTS_FIT
def test_a_stop_that_can_never_come_up_is_refused_with_a_hint(call, model):
    code, out, err = call("--prompt", "the", "--stop", r"\n\n")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert r"--stop '\\n\\n' can never come up" in err
    assert r"a line break is typed $'\n' in a shell" in err
    assert "--stop 'ż' can never come up" in call("--stop", "the", "ż")[2]
    for stop, said in (("ż", "stop='ż' can never come up"), (r"a\tb", r"'\t' in Python")):
        for use in (model.generate, model.stream, lambda *_, stop: model.generate_batch(["the"], stop=stop)):
            with pytest.raises(jaxchar.JaxcharError) as refused:
                use("the", stop=stop)
            assert said in str(refused.value)


@promises.PROMPTS_FIT
@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (r"the\ncat", r"a line break is typed $'\n' in a shell"),
        (r"the\tcat", r"a tab is typed $'\t' in a shell"),
        ("ż", "--unknown skip or --unknown replace"),
        ("", "the prompt is empty"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_refused_with_a_hint(call, prompt, said):
    code, out, err = call("--prompt", prompt, "--length", "5")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert said in err


PREPARED = "the caf\u00e9 is on the road - it's so\n" * 60


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A run whose text was lower-cased, and reduced to some characters."""
    folder = tmp_path_factory.mktemp("runs")
    config = jaxchar.Config(**{**TRAINING, "corpus": jaxchar.Text(PREPARED)}, lowercase=True)
    jaxchar.fit(config, folder / "lower")
    jaxchar.fit(config.replace(keep="the cafisonrd\n", fill="_"), folder / "kept")
    return folder


def test_typographic_quotation_marks_and_dashes_get_a_hint_and_can_be_replaced(prepared, call):
    line = ["--ckpt", str(prepared / "lower"), "--prompt", "it\u2019s \u2014 so", "--length", "0"]
    code, out, err = call(*line)
    assert (code, out) == (2, "")
    assert "write '-' for '\u2014', \"'\" for '\u2019', for instance with" in err
    assert call(*line, "--unknown", "replace")[1] == "it's - so\n"


@promises.PROMPTS_FIT
@pytest.mark.parametrize(
    ("run", "typed", "read", "note"),
    [
        ("lower", "THE CAF\u00c9", "the caf\u00e9", "lower-cased, as"),
        ("lower", "the cafe\u0301", "the caf\u00e9", "with composed characters (Unicode NFC)"),
        (
            "lower",
            "THE CAFE\u0301\r\nis",
            "the caf\u00e9\nis",
            "with LF for its line breaks, lower-cased, with comp",
        ),
        (
            "kept",
            "THE CAFÉ, so",
            "the caf__ so",
            "lower-cased, with '_' for characters",
        ),
        ("lower", "the café", "the café", None),
    ],
)
def test_a_prompt_and_a_stop_are_read_as_the_training_text_was(
    prepared, call, tmp_path, run, typed, read, note
):
    more = ["--ckpt", str(prepared / run), "--length", "20"]
    (tmp_path / "prompt.txt").write_bytes(typed.encode())
    expected = jaxchar.load(prepared / run).generate(read, 20, seed=1)
    for given in (["--prompt", typed], ["--prompt-file", str(tmp_path / "prompt.txt")]):
        code, out, err = call(*more, *given)
        assert (code, out) == (0, f"{read}{expected}\n")
        assert note is None or f"note: the prompt is read {note}" in err
        assert err.count("note: ") == (note is not None)
    code, _, err = call(*more, "--stop", typed)
    assert code == 0
    assert err.count("note: the stop is read ") == (note is not None)


@promises.PROMPTS_FIT
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_prompt_file_with_a_mark_and_with_crlf(call, tmp_path, encoding):
    (tmp_path / "prompt").write_bytes("the\r\ncat".encode(encoding))
    expected = call("--prompt", "the\ncat", "--length", "9")[1]
    code, out, err = call("--prompt-file", str(tmp_path / "prompt"), "--length", "9")
    assert (code, out) == (0, expected)
    assert "note: the prompt is read with LF for its line breaks" in err


def test_a_prompt_file_in_another_encoding_is_refused_with_the_command(call, tmp_path):
    (tmp_path / "prompt").write_bytes("caf\u00e9".encode("cp1252"))
    code, out, err = call("--prompt-file", str(tmp_path / "prompt"))
    assert (code, out) == (2, "")
    assert "byte 0xe9 at position 3 is not UTF-8; convert it to UTF-8 first" in err and "iconv" in err


def test_a_backslash_that_the_model_knows_is_read_and_remarked_on(tmp_path, call):
    text = jaxchar.Text('printf("one\\n");\n' * 100)
    jaxchar.fit(jaxchar.Config(**{**TRAINING, "corpus": text}), tmp_path / "code")
    code, _, err = call("--ckpt", str(tmp_path / "code"), "--prompt", "one", "--length", "9", "--stop", r"\n")
    assert code == 0
    assert r"note: look at the stop: it has a backslash and an n, which is no line break" in err


# ---- files and pipes -----------------------------------------------------------------------------

LOCALES = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "utf-16": {"PYTHONIOENCODING": "utf-16"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def in_locale(locale, module, *arguments, **options):
    """Run a command as its users do, in a locale; return what it wrote, in bytes."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONIO", "PYTHONUTF8"))
    }
    command = [sys.executable, "-m", f"jaxchar.{module}", *map(str, arguments)]
    return subprocess.run(command, env=kept | LOCALES[locale], capture_output=True, timeout=300, **options)


# Every process takes seconds: one of each kind always, the others in `make prove`.
@promises.OUTPUT_WHOLE
@pytest.mark.parametrize(
    "locale", [pytest.param(name, marks=() if name == "C" else pytest.mark.slow) for name in LOCALES]
)
def test_what_is_written_to_a_pipe_is_utf_8_whatever_the_locale(prepared, locale):
    lower = prepared / "lower"
    expected = "the caf\u00e9" + jaxchar.load(lower).generate("the caf\u00e9", 60, seed=1) + "\n"
    assert expected.count("\u00e9") > 1
    done = in_locale(locale, "sample", "--ckpt", lower, "--prompt-file", "-", "--length", 60, "--seed", 1,
                     input="the caf\u00e9".encode())  # fmt: skip
    assert (done.returncode, done.stdout) == (0, expected.encode())


@pytest.mark.slow
@promises.OUTPUT_WHOLE
def test_a_prompt_is_read_as_utf_8_where_the_locale_knows_only_ascii(prepared):
    typed = ["--prompt", "the caf\u00e9", "--stop", "\u00e9", "--length", 60, "--json"]
    done = in_locale("C", "sample", "--ckpt", prepared / "lower", *typed)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prompt"] == "the caf\u00e9"


@pytest.mark.slow
@promises.OUTPUT_WHOLE
def test_a_session_reads_and_writes_utf_8_in_pipes(prepared):
    lower = prepared / "lower"
    done = in_locale("C", "sample", "--ckpt", lower, "--length", 30, "--seed", 1, "--interactive",
                     input="the caf\u00e9\n".encode())  # fmt: skip
    expected = "the caf\u00e9" + jaxchar.load(lower).generate("the caf\u00e9", 30, seed=1) + "\n"
    assert (done.returncode, done.stdout) == (0, expected.encode())


@pytest.mark.slow
@promises.OUTPUT_WHOLE
def test_all_that_print_text_do_so_in_utf_8(prepared, tmp_path):
    lower, file = prepared / "lower", tmp_path / "caf\u00e9.txt"
    file.write_text(PREPARED, encoding="utf-8")
    out = in_locale("ascii", "inspect", "--ckpt", lower).stdout.decode()
    assert "\u00e9" in out and "?" not in out
    out = in_locale("ascii", "evaluate", "--ckpt", lower, "--corpus", file).stdout.decode()
    assert "caf\u00e9.txt" in out and "±" in out
    out = in_locale(
        "ascii", "memorization", "--ckpt", lower, "--corpus", file, "--length", 200
    ).stdout.decode()
    assert "caf\u00e9.txt" in out
    small = [
        "--hidden-size",
        "8",
        "--seq-len",
        "16",
        "--batch-size",
        "4",
        "--epochs",
        "1",
        "--sample-length",
        "200",
    ]
    done = in_locale("ascii", "train", "--corpus", file, "--run-dir", tmp_path / "r", *small)
    assert done.returncode == 0
    assert "caf\u00e9.txt" in done.stdout.decode()
    done = in_locale("ascii", "sample", "--ckpt", "no/caf\u00e9")
    assert (done.returncode, "no/caf\u00e9" in done.stderr.decode()) == (2, True)


@promises.OUTPUT_WHOLE
def test_a_terminal_that_lacks_a_character_shows_an_escape(monkeypatch):
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding="ascii")
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with one_line_errors():
        print("caf\u00e9")
    monkeypatch.delenv("PYTHONIOENCODING")
    with one_line_errors():
        print("caf\u00e9")
    assert raw.getvalue() == b"caf\\xe9\ncaf\xc3\xa9\n"
    assert (terminal.encoding, terminal.errors) == ("ascii", "strict")


@promises.OUTPUT_WHOLE
def test_a_byte_of_a_path_that_is_not_utf_8_stays_and_other_surrogates_are_escapes(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with one_line_errors():
        print("a\udcffb\ud800c")
    assert raw.getvalue() == b"a\xffb\\ud800c\n"
