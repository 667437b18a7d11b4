"""What an output can show: a terminal or a file, how wide, in which characters and colours.

Everything that jaxchar shows goes through a console of this module. It shows a text as it is: ``[b]``,
``:smile:``, tabs and long lines stay unchanged, and control characters become symbols.
"""

import io
import os
import sys
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style
from rich.table import Table

from jaxchar.terminal.visible import visible

SIMPLE_TERMINALS = ("dumb", "unknown")  # values of TERM: terminals that show lines, and nothing else
FILE_COLUMNS = 1_000  # lines in a file are not broken: screens have any width


def make_console(file: IO[str] | None = None) -> Console:
    """Return a rich console that changes nothing in a text; None uses standard output."""
    output = file or sys.stdout
    terminal = is_terminal(output)
    environment = {name: value for name, value in os.environ.items() if _is_usable(name, value)}
    return Console(
        file=file,
        force_terminal=terminal,
        force_jupyter=False,  # where rich would print HTML; a notebook has its own view
        color_system="standard" if has_colour(output) else None,
        width=None if terminal or "COLUMNS" in environment else FILE_COLUMNS,
        markup=False,
        emoji=False,
        highlight=False,
        _environ=environment,
    )


def _is_usable(name: str, value: str) -> bool:
    """Whether an environment variable is usable: COLUMNS=0 is no width."""
    return name not in ("COLUMNS", "LINES") or (value.isdecimal() and int(value) > 0)


def is_terminal(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal on which written text can be changed."""
    return _is_a_tty(stream) and os.environ.get("TERM") not in SIMPLE_TERMINALS


def has_colour(stream: IO[str]) -> bool:
    """Return whether to write colours, as NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE, CLICOLOR and TERM say."""
    wishes = os.environ
    if wishes.get("NO_COLOR") or wishes.get("TERM") in SIMPLE_TERMINALS:
        return False
    if forced := wishes.get("FORCE_COLOR") or wishes.get("CLICOLOR_FORCE"):
        return forced != "0"
    return is_terminal(stream) and wishes.get("CLICOLOR") != "0"


def can_draw(stream: IO[str]) -> bool:
    """Return whether a stream shows more than ASCII, by its encoding and the locale."""
    locale = next((v for n in ("LC_ALL", "LC_CTYPE", "LANG") if (v := os.environ.get(n))), "")
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
    return encoding == "utf8" and locale not in ("C", "POSIX")


def _is_a_tty(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def say(console: Console, text: str, style: str = "") -> None:
    """Write a text and a line break, character by character as it is, control characters as symbols."""
    console.print(Segments([verbatim(text, style), Segment.line()]), end="", soft_wrap=True)


def verbatim(text: str, style: str = "") -> Segment:
    """Return a text in a form that rich writes without interpreting it."""
    return Segment(visible(text), Style.parse(style))


def make_table(console: Console, *headings: str, **options: Any) -> Table:
    """Return a table whose cells show every character: long ones are wrapped, not cut.

    Args:
        console: where it will be shown.
        headings: of the first columns, left-justified.
        options: more options of ``rich.table.Table``.
    """
    lines = box.HEAVY_HEAD if can_draw(console.file) else box.ASCII
    table = Table(box=lines, **options)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def drawn(table: Table, console: Console) -> str:
    """Return a table as lines of text, as wide as a console shows it."""
    paper = Console(file=io.StringIO(), width=console.width, color_system=None, markup=False, emoji=False)
    with paper.capture() as lines:
        paper.print(table)
    return "\n".join(line.rstrip() for line in lines.get().rstrip("\n").split("\n"))
