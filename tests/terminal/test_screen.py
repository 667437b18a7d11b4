"""What is shown is the text, and what a terminal can show is found out."""

import io

import promises
import pytest
from rich.console import Console

from jaxchar.cli.messages import fail
from jaxchar.terminal import tables
from jaxchar.terminal.sample_display import Display
from jaxchar.terminal.screen import can_draw, drawn, has_colour, is_terminal, make_console, make_table, say
from jaxchar.terminal.visible import visible

# Each of these is changed by a library that means well.
TEXTS = [
    ":smile: r/c16:100: :+1:",
    "[b]bold[/b] [/] [red] [link=x]",
    "a\tb\t\tc",
    "trailing spaces   ",
    "  leading",
    "x" * 300,
    "word " * 60,
    "zero\u200bwidth \u200djoiner \ufeffmark",
    "\u202ereversed\u202c \u2066isolated\u2069 שלום",
    "漢字 かな 한국어 ﾊﾝｶｸ",
    "e\u0301 é \U0001f600\U0001f3fd",
    "'/etc/passwd' 192.168.0.1 3.14 None https://x.y",
    "two\n\nlines\n",
    "\\[escaped] \\n %s {x}",
    "line\u2028and paragraph\u2029separators\x0b".replace("\x0b", "\u240b"),
]


class Stream(io.StringIO):
    """A stream that says of itself what a test wants."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal, self._encoding = terminal, encoding

    @property
    def encoding(self) -> str:
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES", "LC_ALL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LC_CTYPE", "C.UTF-8")


@promises.VERBATIM
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("columns", ["5", "80"])
def test_a_text_is_written_as_it_is(text, terminal, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    stream = Stream(terminal=terminal)
    say(make_console(stream), text)
    assert stream.getvalue() == text + "\n"


@promises.VERBATIM
def test_a_sentence_that_rich_breaks_into_lines_is_no_markup_either():
    stream = Stream(terminal=False)
    make_console(stream).print(":smile: [b] 'quoted' 3.14")
    assert stream.getvalue() == ":smile: [b] 'quoted' 3.14\n"


@promises.VERBATIM
def test_control_characters_never_reach_the_output():
    stream = Stream(terminal=True)
    say(make_console(stream), "a\r\x1b[2Jb\x07\x00\x9b1m")
    assert stream.getvalue() == "a\u240d\u241b[2Jb\u2407\u2400\ufffd1m\n"


@promises.VERBATIM
def test_what_no_encoding_can_write_does_not_end_the_program():
    assert visible("bytes \udcff of a path") == "bytes \ufffd of a path"


@promises.VERBATIM
@pytest.mark.parametrize("text", [t for t in TEXTS if not set("\n\t\u2028") & set(t) and len(t) < 100])
def test_a_cell_a_heading_and_a_title_show_their_text(text):
    console = make_console(Stream(terminal=False))
    table = make_table(console, text, title=text)
    table.add_row(text)
    lines = [line.strip("┃│ ") for line in drawn(table, console).splitlines()]
    assert [line.strip() for line in lines].count(text.strip()) == 3


@promises.VERBATIM
def test_a_cell_that_is_too_wide_is_broken_and_not_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    console = make_console(Stream(terminal=True))
    table = make_table(console, "Path")
    table.add_row("a/very/long/path/" * 5)
    cells = [line.strip("│ ") for line in drawn(table, console).splitlines()[3:-1]]
    assert "".join(cells) == "a/very/long/path/" * 5


@promises.VERBATIM
def test_an_evaluation_names_its_checkpoint_as_it_is_called(capsys):
    figures = dict.fromkeys(tables.EVALUATION_ROWS, 1.0) | {"predictions": 9, "interval": None}
    result = {"checkpoint": "r/c16:100: [b]", "corpus": "a\tb :smile:", "protocol": "blocks"}
    result["unknown"] = {"replaced": 0, "left_out": 0}
    tables.evaluation_table(result | {"splits": {":smile:[b]": figures}})
    out = capsys.readouterr().out
    assert "r/c16:100: [b]: a\tb :smile:, blocks\n" in out
    assert ":smile:[b]" in out.splitlines()[2]


@promises.VERBATIM
def test_an_error_keeps_the_spaces_of_what_it_names(capsys):
    with pytest.raises(SystemExit):
        fail("no corpus 'a  b'\n   in two lines")
    assert capsys.readouterr().err == "error: no corpus 'a  b' in two lines\n"


# ---- what the output is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (True, {"CLICOLOR": "0"}, False),
        (True, {"FORCE_COLOR": "0"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"CLICOLOR_FORCE": "1"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "dumb", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_are_as_the_environment_wishes(terminal, environment, colour, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Stream(terminal=terminal)
    assert has_colour(stream) == colour
    say(make_console(stream), "words", "bold red")
    assert ("\x1b[" in stream.getvalue()) == colour


def test_a_text_in_a_file_is_only_text_even_where_colours_are_forced(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    Display().prompt("words")
    assert capsys.readouterr().out == "words"


@pytest.mark.parametrize("name", ["dumb", "unknown"])
def test_a_simple_terminal_is_written_like_a_file(name, monkeypatch, capsys):
    monkeypatch.setenv("TERM", name)
    assert not is_terminal(Stream(terminal=True))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    display = Display()
    display.prompt("words")
    display.text("\x1b")
    assert capsys.readouterr().out == "words\u241b"


@pytest.mark.parametrize("columns", ["0", "-5", "wide", "", "8O", "²"])
def test_columns_that_make_no_sense_are_not_believed(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    console = make_console(Stream(terminal=True))
    assert console.width >= 20 and console.height >= 5


@pytest.mark.parametrize(
    ("locale", "encoding", "draws"),
    [
        ({"LC_ALL": "C"}, "utf-8", False),
        ({"LC_ALL": "POSIX"}, "utf-8", False),
        ({"LC_ALL": "de_DE.UTF-8"}, "UTF-8", True),
        ({"LC_CTYPE": "C.UTF-8"}, "utf8", True),
        ({"LC_ALL": "de_DE.ISO-8859-1"}, "iso8859-1", False),
        ({}, "ascii", False),
    ],
)
def test_bars_are_ascii_where_there_is_no_utf_8(locale, encoding, draws, monkeypatch):
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    stream = Stream(terminal=True, encoding=encoding)
    assert can_draw(stream) == draws
    console = make_console(stream)
    table = make_table(console, "heading")
    table.add_row("cell")
    assert drawn(table, console).isascii() == (not draws)


def test_a_stream_that_is_gone_is_no_terminal():
    closed = io.StringIO()
    closed.close()
    assert not is_terminal(closed)
    assert not has_colour(closed)


def test_a_table_of_a_console_of_somebody_elses_shows_text_too():
    console = Console(file=io.StringIO(), width=40)
    table = make_table(console, ":smile: [b]")
    assert ":smile: [b]" in drawn(table, console)
