"""The bar of a work: seen on a terminal, gone at the end, and nothing in a file."""

import io

import pyte
import pytest

from jaxchar.terminal.work_bar import work_bar


class Stream(io.StringIO):
    """A stream that is a terminal, or a file."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def screen_of(stream: Stream) -> list[str]:
    """Return the lines that a terminal shows after what was written."""
    screen = pyte.Screen(80, 5)
    pyte.Stream(screen).feed(stream.getvalue().replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display]


def test_a_terminal_shows_what_is_done_and_at_the_end_nothing():
    stream = Stream(is_terminal=True)
    with work_bar(stream) as tell:
        tell("reading [b]\x1b[2J", 0.25)
        tell("reading [b]\x1b[2J", 0.5)
    assert " 50 %" in stream.getvalue() and "━" in stream.getvalue()
    assert "reading [b]" in stream.getvalue() and "\x1b[2J" not in stream.getvalue()
    assert not any(screen_of(stream))


def test_where_only_ascii_is_shown_there_is_no_drawn_bar(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    stream = Stream(is_terminal=True)
    with work_bar(stream) as tell:
        tell("reading", 0.5)
    assert " 50 %" in stream.getvalue() and "━" not in stream.getvalue()


@pytest.mark.parametrize(("is_terminal", "term"), [(False, "xterm"), (True, "dumb")])
def test_a_file_and_a_simple_terminal_get_nothing(is_terminal, term, monkeypatch):
    monkeypatch.setenv("TERM", term)
    stream = Stream(is_terminal)
    with work_bar(stream) as tell:
        tell("reading", 0.5)
    assert stream.getvalue() == ""


def test_an_error_passes_and_the_bar_is_gone():
    stream = Stream(is_terminal=True)
    with pytest.raises(ZeroDivisionError), work_bar(stream) as tell:
        tell("reading", 1 / 0)
    assert not any(screen_of(stream))
