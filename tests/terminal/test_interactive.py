"""A session: lines in, text out."""

import io

import promises
import pytest
from small_model import make_model

from jaxchar.config import SampleConfig
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.sampling.session import TextSession
from jaxchar.terminal.interactive import Session, converse, unescaped
from jaxchar.terminal.sample_display import Display

LENGTH = 12


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def session(model):
    return Session(model.session, SampleConfig(length=LENGTH, seed=3))


def do(session, *lines):
    """Type lines; return what was shown, as (kind, text) with neighbours of one kind joined."""
    shown = []
    for line in lines:
        for kind, text in session.reply(line):
            if shown and shown[-1][0] == kind:
                text = shown.pop()[1] + text
            shown.append((kind, text))
    return shown


def test_a_prompt_gets_text_and_an_empty_line_goes_on(model, session):
    whole = model.generate("ab", 2 * LENGTH, seed=3)
    assert do(session, "ab") == [("prompt", "ab"), ("text", whole[:LENGTH])]
    assert do(session, "") == [("text", whole[LENGTH:])]
    assert session.text == "ab" + whole
    assert do(session, ":text") == [("text", "ab" + whole)]


def test_another_prompt_begins_anew(model, session):
    do(session, "ab", "", "e\\nc")
    assert session.text == "e\nc" + model.generate("e\nc", LENGTH, seed=3)


def test_undo_goes_back_one_step_at_a_time(session):
    texts = []
    for line in ("ab", "", ":add cd", ":retry"):
        texts.append(session.text)
        do(session, line)
    assert session.text.startswith(texts[3][: len(texts[2]) + 2])
    for text in (texts[2], texts[1], texts[0]):
        do(session, ":undo")
        assert session.text == text
    with pytest.raises(JaxcharError, match="nothing to undo"):
        do(session, ":undo")


def test_the_text_after_an_undo_is_the_one_before_it(session):
    do(session, "ab", "")
    text = session.text
    do(session, ":undo", "")
    assert session.text == text


def test_a_retry_writes_the_last_piece_another_way_and_another(session):
    do(session, "ab", "")
    first, kept = session.text, session.text[: 2 + LENGTH]
    versions = {first}
    for _ in range(2):
        do(session, ":retry")
        assert session.text.startswith(kept)
        assert len(session.text) == len(first)
        versions.add(session.text)
    assert len(versions) == 3


def test_settings_change_what_is_written(model, session):
    do(session, ":temperature 0.5", ":top-k 3", ":top-p 0.9", ":min-p 0.01", ":length 40", ":seed 9", "ab")
    settings = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.01, "seed": 9}
    assert session.text == "ab" + model.generate("ab", 40, **settings)
    assert do(session, ":settings")[0][1].startswith(
        "temperature 0.5  top_k 3  top_p 0.9  min_p 0.01  length 40"
    )
    assert do(session, ":temperature") == [("note", "temperature 0.5")]
    do(session, ":top-k 0", ":top-p 1", ":min-p 0", ":greedy", "ab")
    assert session.text == "ab" + model.generate("ab", 40, temperature=0)


def test_stop(model, session):
    stop = model.generate("ab", LENGTH, seed=3)[4:6]
    do(session, f":stop {stop}".replace("\n", "\\n"), "ab")
    assert session.text == "ab" + model.generate("ab", LENGTH, seed=3, stop=stop)
    assert len(session.text) < 2 + LENGTH
    do(session, ":stop", "ab")
    assert len(session.text) == 2 + LENGTH


def test_picking_adds_the_character_of_that_number_and_offers_the_next(model, session):
    do(session, "ab")
    text = session.text
    best = model.session.most_probable(model.session.start(text), 3)
    offered = do(session, ":pick 3")
    assert offered == do(session, ":pick 3")
    assert [offer.split(": ")[0] for offer in offered[0][1].split("   ")] == ["1", "2", "3"]
    do(session, "2")
    assert session.text == text + best[1][0]
    second = model.session.most_probable(model.session.start(session.text), 3)
    do(session, "3")
    assert session.text == text + best[1][0] + second[2][0]
    with pytest.raises(JaxcharError, match="pick a number from 1 to 3"):
        do(session, "4")
    do(session, ":undo")
    assert session.text == text + best[1][0]
    do(session, "")  # picking is over: the text goes on
    assert len(session.text) == len(text) + 1 + LENGTH


def test_what_was_shown_before_an_interruption_stays(model, session):
    session.config = SampleConfig(length=3_000, seed=3)
    reply = session.reply("ab")
    shown = [next(reply).text for _ in range(3)]
    reply.close()
    assert session.text == "".join(shown)
    whole = model.generate("ab", 3_000, seed=3)
    do(session, "")
    assert session.text[: 2 + len(whole)] == "ab" + whole


def test_saving_writes_the_text_and_overwrites_nothing(session, tmp_path):
    do(session, "a\\nb", f":save {tmp_path}/it.txt")
    assert (tmp_path / "it.txt").read_bytes().decode() == session.text
    with pytest.raises(JaxcharError, match="File exists; give another name"):
        do(session, f":save {tmp_path}/it.txt")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no text yet"),
        ("xyz", "no characters 'x'"),
        (":add", "no text yet"),
        (":retry", "nothing to write anew"),
        (":pick 0", "from 1 to 20"),
        (":pick x", "whole number"),
        (":save", "needs the name of a file"),
        (":temperature x", "temperature must be a number, but it is 'x'"),
        (":temperature -1", "temperature must be a number of at least 0"),
        (":top-p 2", "top_p"),
        (":length 1.5", "length must be a whole number"),
        (":nonsense", "no command :nonsense"),
    ],
)
def test_a_mistake_changes_nothing(session, line, said):
    before = session.config
    with pytest.raises(JaxcharError, match=said):
        do(session, line)
    assert (session.config, session.text, session.ended) == (before, "", False)


def test_unknown_characters_can_be_replaced(model):
    session = Session(model.session, SampleConfig(length=1), "replace")
    assert do(session, "ABx")[0] == ("prompt", "ab ")


def test_a_session_can_be_held_with_the_lines_of_a_pipe(model, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\n:nonsense\n\n:quit\nab\n"))
    converse(model.session, SampleConfig(length=LENGTH, seed=3), Display(), "error")
    shown = capsys.readouterr()
    text = model.generate("ab", 2 * LENGTH, seed=3)
    assert shown.out == f"ab{text[:LENGTH]}\n{text[LENGTH:]}\n"
    assert shown.err.endswith("error: there is no command :nonsense; see :help\n")


@promises.PROMPTS_FIT
def test_an_escape_is_a_line_break_a_tab_a_backslash_or_a_colon():
    assert unescaped(r"a\nb\tc") == "a\nb\tc"
    assert unescaped(r'printf("a\\n");\n') == 'printf("a\\n");\n'
    assert unescaped(r"\\\n") == "\\\n"
    assert unescaped(r"\d \: \x") == r"\d \: \x"
    assert unescaped(r"\:quit") == ":quit"


def test_code_can_be_typed(model):
    symbols = Vocabulary(model.vocabulary.symbols.replace("e", "\\"))
    session = Session(TextSession(model.graphdef, model.state, symbols, None), SampleConfig(length=1))
    assert do(session, r"a\\b\nc")[0] == ("prompt", "a\\b\nc")


@promises.PROMPTS_FIT
def test_typed_text_is_read_as_the_training_text_was(model):
    session = Session(make_model(lowercase=True).session, SampleConfig(length=LENGTH, seed=3))
    note, prompt, _ = do(session, "AB")
    assert note == ("note", "note: the prompt is read lower-cased, as the training text was")
    assert prompt == ("prompt", "ab")
    assert do(session, ":stop C")[0][1].startswith("note: the stop is read lower-cased")
    assert session.config.stop == ("c",)


@promises.PROMPTS_FIT
def test_a_stop_that_can_never_come_up_changes_nothing(session):
    do(session, ":stop a")
    with pytest.raises(JaxcharError, match="stop='xa' can never come up"):
        do(session, ":stop xa")
    assert session.config.stop == ("a",)


@promises.CALLERS_WORDS
def test_a_session_speaks_of_its_own_commands(model, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeffab\r\n:top-p 2\r\n:length x\r\n:quit\r\nab\n"))
    converse(model.session, SampleConfig(length=LENGTH, seed=3), Display(), "error")
    shown = capsys.readouterr()
    assert shown.out == f"ab{model.generate('ab', LENGTH, seed=3)}\n"
    assert "error: :top-p must be a number" in shown.err
    assert "error: :length must be a whole number, but it is 'x'" in shown.err
