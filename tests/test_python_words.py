"""What a Python program may hand over, and the words in which it is answered."""

import copy
import decimal
import enum
import fractions
import importlib
import itertools
import json
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import promises
import pytest
from runs import TINY, quiet
from small_model import make_model

import jaxchar
from jaxchar import errors
from jaxchar.cli.messages import one_line_errors
from jaxchar.config import Config, SampleConfig
from jaxchar.errors import JaxcharError, in_callers_words, quoted
from jaxchar.training.resume import resume

# ---- numbers, paths and lists of any kind --------------------------------------------------------


class Whole(enum.IntEnum):
    THREE = 3


@promises.ANY_KIND
def described(value: object) -> str:
    """Name a case in the same words in every process: less the address that repr may give."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@pytest.mark.parametrize(
    "three", [np.int64(3), np.uint8(3), np.array(3), jnp.array(3), jnp.int32(3), Whole.THREE], ids=described
)
def test_whole_numbers_of_any_kind_become_pythons_own(three):
    config = Config(epochs=three, seed=three)
    assert (config.epochs, type(config.epochs)) == (3, int)
    assert json.loads(json.dumps(config.to_json())) == json.loads(
        json.dumps(Config(epochs=3, seed=3).to_json())
    )
    assert hash(config) == hash(Config(epochs=3, seed=3))
    assert type(SampleConfig(length=three, seed=three).seed) is int


def test_a_seed_from_a_generator_of_numpys():
    assert Config(seed=np.random.default_rng(0).integers(9)) == Config(seed=7)


HALVES = [np.float32(0.5), np.float64(0.5), np.array(0.5), jnp.float32(0.5), jnp.bfloat16(0.5)]
HALVES += [fractions.Fraction(1, 2), decimal.Decimal("0.5"), np.float16(0.5)]


@promises.ANY_KIND
@pytest.mark.parametrize("half", HALVES, ids=described)
def test_numbers_of_any_kind_become_pythons_own(half):
    config = Config(dropout=half, learning_rate=half)
    assert (config.dropout, type(config.dropout)) == (0.5, float)
    assert json.dumps(config.to_json()) == json.dumps(Config(dropout=0.5, learning_rate=0.5).to_json())
    assert SampleConfig(temperature=half) == SampleConfig(temperature=0.5)


@promises.ANY_KIND
@pytest.mark.parametrize(
    "sizes",
    [[4, 5], (np.int64(4), 5), np.array([4, 5]), jnp.array([4, 5]), range(4, 6), iter([4, 5])],
    ids=described,
)
def test_lists_of_any_kind(sizes):
    config = Config(hidden_size=sizes)
    assert config.hidden_size == (4, 5) and {type(size) for size in config.hidden_size} == {int}


@promises.ANY_KIND
def test_one_item_may_be_given_where_several_could_be():
    assert Config(sample_temperatures=np.float32(0.5)).sample_temperatures == (0.5,)
    assert SampleConfig(stop="x").stop == ("x",)


@promises.ANY_KIND
def test_texts_and_truths_of_numpys_are_pythons_own():
    config = Config(cell=np.str_("gru"), lowercase=np.bool_(True), keep=np.str_("abc"))
    assert config == Config(cell="gru", lowercase=True, keep="abc")
    assert (type(config.cell), type(config.lowercase), type(config.keep)) == (str, bool, str)


class AnyPath:
    def __fspath__(self):
        return b"a/b.txt"


@promises.ANY_KIND
@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (Path("a/b.txt"), "a/b.txt"),
        (AnyPath(), "a/b.txt"),
        ([Path("a"), "b"], ("a", "b")),
        (iter([Path("a"), Path("b")]), ("a", "b")),
        (np.str_("a"), "a"),
    ],
    ids=described,
)
def test_paths_of_any_kind(given, stored):
    config = Config(corpus=given)
    assert config.corpus == stored
    assert json.loads(json.dumps(config.to_json()))["corpus"] in (stored, [*stored])


@promises.ANY_KIND
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", np.bool_(True)),
        ("epochs", True),
        ("epochs", np.float64(3)),
        ("epochs", np.array([3])),
        ("epochs", jnp.array([3, 4])),
        ("epochs", np.bytes_(b"3")),
        ("epochs", Path("3")),
        ("dropout", np.bool_(False)),
        ("dropout", np.complex64(0.5)),
        ("dropout", np.str_("0.5")),
        ("dropout", np.float32("nan")),
        ("learning_rate", fractions.Fraction(10**400)),
        ("lowercase", np.int64(1)),
        ("corpus", b"my.txt"),
        ("corpus", 3),
        ("corpus", {"a.txt"}),
        ("hidden_size", np.zeros((2, 2))),
        ("hidden_size", {4, 5}),
    ],
    ids=described,
)
def test_what_is_of_no_such_kind_is_refused_by_name(name, value):
    with pytest.raises(JaxcharError, match=f"^{name} must be .*, but it is "):
        Config(**{name: value})


@pytest.mark.parametrize("config", [{"epochs": 3}, None, 3, b"x"], ids=described)
def test_what_is_neither_a_text_nor_a_config_is_refused(config, tmp_path):
    with pytest.raises(JaxcharError, match=r"the text must be a path, .* or all settings a jaxchar\.Config"):
        jaxchar.fit(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


NO_PATHS = [3, ["a"], "x" * 20_000]


@pytest.mark.parametrize(
    ("use", "path"),
    [
        *itertools.product([jaxchar.load, resume, lambda path: jaxchar.fit(TINY, path)], NO_PATHS),
        (jaxchar.load, None),
        (resume, None),  # but fit() makes a new folder
    ],
    ids=lambda value: "" if callable(value) else str(value)[:9],
)
def test_what_is_no_path_is_refused(use, path):
    with pytest.raises(JaxcharError) as refused:
        use(path)
    assert len(str(refused.value)) < 400


def test_a_checkpoint_is_the_last_or_the_best(tmp_path):
    with pytest.raises(JaxcharError, match="which must be 'last' or 'best', but it is 'Best'"):
        jaxchar.load(tmp_path, which="Best")


# ---- what a model is asked to write --------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return make_model()


def test_no_stop_is_none_or_an_empty_list(model):
    whole = model.generate("ab", 30, seed=2)
    for stop in (None, (), [], iter([])):
        assert model.generate("ab", 30, seed=2, stop=stop) == whole
    stop = whole[5:7]
    for stops in (stop, [stop], (stop,), iter([stop]), np.array([stop]), np.str_(stop)):
        assert model.generate("ab", 30, seed=2, stop=stops) == whole[: whole.index(stop) + 2]


@pytest.mark.parametrize("prompts", ["abc", b"abc", 3, None], ids=described)
def test_a_single_text_is_no_batch(model, prompts):
    with pytest.raises(JaxcharError, match=r"prompts must be a list of texts.*generate\(\)"):
        model.generate_batch(prompts)


def test_a_batch_may_be_anything_that_has_items(model):
    expected = model.generate_batch(["a", "b"], 9)
    for prompts in (("a", "b"), iter("ab"), np.array(["a", "b"])):
        assert model.generate_batch(prompts, 9) == expected
    assert model.generate_batch([]) == []


@pytest.mark.parametrize("prompt", [None, 3, b"ab", ["ab"], Path("ab")], ids=described)
def test_a_prompt_is_a_str(model, prompt):
    for use in (
        model.generate,
        model.stream,
        model.score,
        model.session.start,
        lambda p: model.generate_batch([p]),
    ):
        with pytest.raises(JaxcharError, match="must be a str, but it is "):
            use(prompt)


@pytest.mark.parametrize("stop", [3, b"a", [3], [b"a"], "", ["a", ""]], ids=described)
def test_a_stop_is_a_text(model, stop):
    with pytest.raises(JaxcharError, match=r"^stop must be "):
        model.generate("a", 9, stop=stop)


def test_numbers_of_any_kind_reach_the_sampling(model):
    settings = {
        "temperature": np.float32(0.5),
        "top_k": np.int64(3),
        "seed": np.random.default_rng(0).integers(9),
    }
    expected = model.generate("a", 20, temperature=0.5, top_k=3, seed=7)
    assert model.generate("a", np.int32(20), **settings) == expected


# ---- errors are short, and in the words of the caller --------------------------------------------

NOVEL = "It was the best of times; it was the 'worst' of \"times\".\n" * 350  # some 20,000 characters


@promises.SHORT_ERRORS
@pytest.mark.parametrize(
    "use",
    [
        lambda: Config(corpus=NOVEL),
        lambda: Config(corpus=[NOVEL, "a"]),
        lambda: jaxchar.fit(TINY.replace(corpus="First line\nand the second"), "never/made"),
        lambda: jaxchar.fit(TINY.replace(corpus="What is this? " * 50), "never/made"),
    ],
    ids=["novel", "several", "two lines", "one long line"],
)
def test_a_text_where_a_path_should_be_is_told_of_text(use):
    with pytest.raises(JaxcharError, match=r"looks like a text; give corpus=jaxchar\.Text") as refused:
        use()
    assert len(str(refused.value)) < 320
    assert "\n" not in str(refused.value)
    assert not Path("never").exists()


LONG = ["x" * 20_000, NOVEL, list(range(20_000)), np.zeros((300, 300)), {"a": NOVEL}, b"x" * 20_000]


@promises.SHORT_ERRORS
@pytest.mark.parametrize("value", LONG, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", sorted(Config().to_json()))
def test_errors_are_a_few_lines_however_long_the_value(name, value):
    try:
        Config(**{name: value})
    except JaxcharError as error:
        assert len(str(error)) < 450
        assert "\n" not in str(error)
    else:
        assert name in ("keep", "sample_prompt", "separator")  # texts of any length are what they are


@promises.SHORT_ERRORS
@pytest.mark.parametrize(
    "use",
    [
        lambda model, text: model.generate(text),
        lambda model, text: model.generate("a", stop=text),
        lambda model, text: model.generate_batch([text]),
        lambda model, text: model.generate_batch(text),
        lambda model, text: model.score(text),
        lambda model, text: model.generate("a", temperature=text),
        lambda model, text: jaxchar.load(text),
        lambda model, text: jaxchar.load("x", which=text),
        lambda model, text: model.vocabulary.adapt("a", text),
        lambda model, text: jaxchar.Config.from_json({text: 3}),
        lambda model, text: jaxchar.Config.from_json(text),
    ],
)
def test_errors_of_every_call_are_short(use, model):
    with pytest.raises(JaxcharError) as refused:
        use(model, NOVEL + "".join(map(chr, range(300, 5_000))))
    assert len(str(refused.value)) < 700
    assert "\n" not in str(refused.value)


@promises.SHORT_ERRORS
def test_an_error_that_quotes_without_care_is_short_all_the_same():
    for message in (
        f"no file {NOVEL!r}; look",
        "a" * 50_000,
        f"{NOVEL!r} and {NOVEL!r}",
        "'" * 9_999 + NOVEL,
    ):
        assert len(str(JaxcharError(message))) <= errors.MOST_CHARS
    assert str(JaxcharError(f"no file {NOVEL!r}; look")).endswith("; look")
    path = "/" + "x" * 200
    assert str(JaxcharError(f"no file {path!r}; look")) == f"no file {path!r}; look"


def test_a_short_value_is_quoted_whole_and_a_long_one_with_its_length():
    assert quoted("a'b\n") == '"a\'b\\n"'
    assert quoted("x" * 70) == repr("x" * 70)
    assert quoted("x" * 71) == f"'{'x' * 60}...' (71 characters)"


WORDS = [
    (
        "go on with it (--resume), or give another --run-dir",
        "go on with it (jaxchar.resume(run_dir)), or give another run_dir=",
    ),
    ("lower --hidden-size, --batch-size or --seq-len", "lower hidden_size=, batch_size= or seq_len="),
    ("--devices is 4; give at most --devices 2", "devices is 4; give at most devices=2"),
    ("give --clip-norm 1, or --skip-nonfinite", "give clip_norm=1, or skip_nonfinite=True"),
    ("XLA's --xla_a_b=1 --xla_c is set", "XLA's --xla_a_b=1 --xla_c is set"),
    ("--run-dir '/a --b/c' is a file", "run_dir='/a --b/c' is a file"),
    ("--shuffle and --stride are for --batching=windows", "shuffle and stride are for batching='windows'"),
    (
        "the run's text 'is --what' it is -- with --no-shuffle",
        "the run's text 'is --what' it is -- with shuffle=False",
    ),
]


@promises.CALLERS_WORDS
@pytest.mark.parametrize(("typed", "in_python"), WORDS)
def test_flags_are_arguments_in_python_and_flags_on_the_command_line(typed, in_python):
    assert str(JaxcharError(typed)) == in_python
    with errors.speaking("command line"):
        assert str(JaxcharError(typed)) == typed.replace("=windows", " windows")
    assert str(JaxcharError(typed)) == in_python


@promises.CALLERS_WORDS
def test_none_on_the_command_line_is_none_in_python():
    message = "give --separator=none for one running text"
    assert str(JaxcharError(message)) == "give separator=None for one running text"
    assert in_callers_words(message, "command line") == "give --separator none for one running text"


@promises.CALLERS_WORDS
def test_in_a_session_settings_are_its_commands():
    assert in_callers_words("--top-p must be; see --unknown", "session") == ":top-p must be; see --unknown"


@promises.CALLERS_WORDS
def test_no_flag_is_in_what_python_says(tmp_path):
    jaxchar.fit(TINY.replace(max_steps=2), tmp_path / "run", display=quiet())
    said = []
    for use in (
        lambda: jaxchar.fit(TINY, tmp_path / "run", display=quiet()),
        lambda: jaxchar.fit(TINY, __file__, display=quiet()),
        lambda: jaxchar.fit(TINY.replace(devices=3), tmp_path / "new"),
        lambda: jaxchar.fit(TINY.replace(devices=99), tmp_path / "new"),
        lambda: jaxchar.fit(TINY.replace(batch_size=500), tmp_path / "new"),
        lambda: jaxchar.fit(
            TINY.replace(sample_from="prompt", sample_prompt="ż", sample_length=9), tmp_path / "new"
        ),
        lambda: resume(tmp_path / "run", config=TINY.replace(seed=5)),
        lambda: resume(tmp_path / "run", initial_epoch=7),
        lambda: resume(tmp_path / "run", config=TINY.replace(corpus=__file__)),
        lambda: jaxchar.load(tmp_path / "run").generate("ż\\n"),
        lambda: jaxchar.load(tmp_path / "run").generate(" ", stop="ż"),
        lambda: jaxchar.load(tmp_path / "nowhere"),
    ):
        with pytest.raises(JaxcharError) as refused:
            use()
        said.append(str(refused.value))
    assert [line for line in said if "--" in line] == []
    assert "jaxchar.resume(run_dir)" in said[0] and "run_dir=" in said[0]
    with errors.speaking("command line"), pytest.raises(JaxcharError, match=r"\(--resume\).* --run-dir"):
        jaxchar.fit(TINY, tmp_path / "run", display=quiet())


@promises.CALLERS_WORDS
def test_a_command_speaks_of_flags_and_leaves_the_words_as_they_were(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        Config(batch_size=0)
    assert capsys.readouterr().err.startswith("error: --batch-size must be a whole number")
    with pytest.raises(JaxcharError, match=r"^batch_size must be"):
        Config(batch_size=0)


# ---- a text in memory ----------------------------------------------------------------------------

MEMORY = "the cat sat on the mat, and the dog lay on the rug. " * 20


@pytest.fixture(scope="module")
def from_memory(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("memory") / "run"
    jaxchar.fit(TINY.replace(corpus=jaxchar.Text(MEMORY)), run_dir, display=quiet())
    return run_dir


@promises.TEXT_IN_MEMORY
def test_a_text_in_memory_trains_as_a_file_with_it_does(from_memory, tmp_path):
    (tmp_path / "t.txt").write_text(MEMORY)
    jaxchar.fit(TINY.replace(corpus=tmp_path / "t.txt"), tmp_path / "run", display=quiet())
    one, other = (json.loads((run / "summary.json").read_text()) for run in (from_memory, tmp_path / "run"))
    for name in ("train_loss", "val_loss", "steps"):
        assert one[name] == other[name]


@promises.TEXT_IN_MEMORY
def test_its_run_keeps_the_name_and_not_the_text(from_memory):
    config = json.loads((from_memory / "config.json").read_text())
    assert config["corpus"] == str(jaxchar.Text(MEMORY)) == Config.from_json(config).corpus
    assert len((from_memory / "config.json").read_text()) < 3_000
    assert jaxchar.load(from_memory).generate("the", 5)


@pytest.mark.slow
@promises.TEXT_IN_MEMORY
def test_its_run_goes_on_with_the_text_or_a_file_of_it(from_memory, tmp_path):
    (tmp_path / "t.txt").write_text(MEMORY)
    text = jaxchar.Text(MEMORY)
    config = TINY.replace(corpus=text, epochs=2)
    assert resume(from_memory, config=config, display=quiet()).summary["epochs"] == 2
    with pytest.raises(
        JaxcharError, match=r"text in memory \('memory:\w{16}'\).*corpus=jaxchar\.Text"
    ) as refused:
        resume(from_memory, config=config.replace(corpus=str(text), epochs=3), display=quiet())
    assert "\n" not in str(refused.value)
    with pytest.raises(JaxcharError, match="not the one that the run was trained on"):
        resume(
            from_memory, config=config.replace(epochs=3), corpus=jaxchar.Text(MEMORY + "!"), display=quiet()
        )
    config = config.replace(epochs=3)
    done = resume(from_memory, config=config, corpus=tmp_path / "t.txt", display=quiet())
    assert done.summary["epochs"] == 3
    config = jaxchar.load(from_memory).config.replace(epochs=4)
    assert resume(from_memory, config=config, corpus=text, display=quiet()).summary["epochs"] == 4


@promises.TEXT_IN_MEMORY
def test_on_the_command_line_it_is_said_with_corpus(from_memory, capsys):
    from jaxchar import evaluate

    with pytest.raises(SystemExit):
        evaluate.main(arguments=["--ckpt", str(from_memory)])
    said = capsys.readouterr().err
    assert "say with --corpus where a file with the same text lies" in said and said.count("\n") == 1


def test_a_text_is_a_name_that_carries_its_content():
    text = jaxchar.Text("abc\u00e9" * 999)
    assert text.content == "abc\u00e9" * 999
    assert len(text) < 30 and text == str(text)
    for same in (copy.deepcopy(text), pickle.loads(pickle.dumps(text)), jaxchar.Text(text)):
        assert (same, same.content) == (text, text.content)
    assert Config(corpus=text) != Config(corpus=jaxchar.Text("abc"))
    assert Config(corpus=text).replace(epochs=3).corpus.content == text.content
    assert repr(text).startswith("Text('abc\u00e9") and len(repr(text)) < 100


@pytest.mark.parametrize("content", ["", b"abc", None, 3, "a\ud800"], ids=described)
def test_what_is_no_text_is_refused(content):
    with pytest.raises(JaxcharError, match=r"[tT]ext"):
        jaxchar.Text(content)


def test_texts_and_files_cannot_be_mixed():
    with pytest.raises(JaxcharError, match="cannot be mixed"):
        jaxchar.fit(TINY.replace(corpus=[jaxchar.Text(MEMORY), "a.txt"]), "never/made")


# ---- the interface -------------------------------------------------------------------------------


def test_dir_is_the_public_interface():
    assert {name for name in dir(jaxchar) if not name.startswith("_")} == set(jaxchar.__all__)


def test_every_public_name_can_be_imported_and_says_what_it_is():
    for name in jaxchar.__all__:
        found = getattr(importlib.import_module("jaxchar"), name)
        assert found.__doc__ and found.__doc__.strip(), name


def test_listing_the_interface_does_not_wait_for_jax():
    program = "import sys, jaxchar; print(*dir(jaxchar)); print('jax' in sys.modules, 'numpy' in sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    names, loaded = printed.splitlines()
    assert {"Config", "Text", "fit", "load"} <= set(names.split())
    assert loaded == "False False"


# ---- prompts and stops, made to fit --------------------------------------------------------------


@promises.PROMPTS_FIT
def test_a_prompt_in_capitals_is_read_as_the_training_text_was():
    model = make_model(lowercase=True)
    with pytest.warns(
        UserWarning, match="the prompt is read lower-cased, as the training text was"
    ) as warned:
        assert model.generate("AB", 20) == model.generate("ab", 20)
    assert Path(warned[0].filename) == Path(__file__)  # where the caller is
    with pytest.warns(UserWarning, match="lower-cased"):
        assert list(model.stream("AB", 20)) == list(model.stream("ab", 20))
    with pytest.warns(UserWarning, match="lower-cased") as warned:
        assert model.generate_batch(["AB", "BC"], 9) == model.generate_batch(["ab", "bc"], 9)
    assert len(warned) == 1
    with pytest.warns(UserWarning, match="the stop is read lower-cased"):
        assert model.generate("a", 99, stop="B") == model.generate("a", 99, stop="b")
    with pytest.warns(UserWarning, match="the text to score is read lower-cased"):
        assert model.score("ABC").loss == model.score("abc").loss
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate("ab", 5, stop="c")
    with pytest.raises(JaxcharError, match="write 'a', 'b', which the training text has"):
        make_model().generate("AB")
