"""Read the options of a command with tyro, and turn its framed errors into one line each."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxchar.cli.arguments import scan
from jaxchar.cli.messages import fail
from jaxchar.cli.short_help import show_short_help
from jaxchar.errors import JaxcharError
from jaxchar.terminal.invocation import called_as

# How many arguments may belong to no option, and what they are.
POSITIONALS = {
    **dict.fromkeys(("sample", "evaluate", "memorization", "inspect"), (1, "one run")),
    "import": (1, "one file"),
    "export": (2, "a run and one file"),
    "compare": (sys.maxsize, "runs"),
    "play": (sys.maxsize, "runs"),
    "report": (1, "one run"),
}
# What tyro prints about a value that fits none of several types.
NO_MATCH = re.compile(r"no type matching (.+?) could be instantiated from \[(.*?)\]\.?(?= |$)")


def parse_command(kind: type, command: str, arguments: Sequence[str] | None) -> Any:
    """Return the options of a command, read from the command line; show its help where it is asked for.

    Args:
        kind: the dataclass to fill.
        command: its name in :data:`COMMANDS`.
        arguments: the command line; None takes the process's own.

    Raises:
        JaxcharError: there is no such option, or an argument belongs to none.
        SystemExit: help was shown, or a value cannot be used.
    """
    typed = sys.argv[1:] if arguments is None else list(arguments)
    if show_short_help(command, typed, called_as(command)):
        raise SystemExit(0)
    line = scan(typed, kind, command)
    most, takes = POSITIONALS.get(command, (0, "only options"))
    if len(line.positionals) > most:
        raise JaxcharError(
            f"{command} takes {takes}, but there is also {line.positionals[-1]!r}; leave it out (a path with "
            "spaces needs quotation marks)"
        )
    return parse(kind, prog=called_as(command), arguments=line.for_tyro())


def parse(
    kind: Callable[..., Any], *, prog: str, arguments: Sequence[str] | None = None, **options: Any
) -> Any:
    """Parse the command line with tyro, its framed errors turned into one line each.

    Args:
        kind: the dataclass to fill.
        prog: how the user called the command, for the usage line.
        arguments: the command line; None takes the process's own.
        options: further ones of ``tyro.cli``.
    """
    import tyro

    def attempt() -> Any:
        return tyro.cli(kind, args=arguments, prog=prog, **options)

    try:
        with contextlib.redirect_stderr(io.StringIO()), _looks_of_help():
            return attempt()
    except SystemExit as leaving:
        if leaving.code in (0, None):
            raise
    framed = io.StringIO()
    # A frame so wide that no line in it is broken.
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(framed), _environment(COLUMNS="10000"):
        attempt()
    fail(_unframed(framed.getvalue()))


@contextlib.contextmanager
def _looks_of_help() -> Iterator[None]:
    """Let tyro draw --help with what standard output can show; by itself it ignores NO_COLOR."""
    import tyro

    from jaxchar.terminal.screen import can_draw, has_colour

    options = tyro._experimental_options
    before = options.copy()
    options["ansi_codes"], options["utf8_boxes"] = has_colour(sys.stdout), can_draw(sys.stdout)
    try:
        yield
    finally:
        options.update(before)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for a while; tyro reads the terminal's width from them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _unframed(box: str) -> str:
    """Return the text inside a drawn frame as one line, without title and closing advice."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in box.splitlines()]
    text = " ".join(line.strip("│╭╮╰╯─ ") for line in lines if not line.lstrip().startswith("╭"))
    text = re.split(r"Argument helptext:|For full helptext", text)[0]
    text = re.sub(r"^\s*Error parsing (?:[a-z]+: )?", "", text)
    text = re.sub(r"invalid literal for int\(\) with base 10: ", "expected a whole number, but it is ", text)
    text = re.sub(r"could not convert string to float: ", "expected a number, but it is ", text)
    text = NO_MATCH.sub(lambda found: f"expected {_in_words(found[1])}, but it is {found[2]}", text)
    text = text.split("Got errors")[0].replace("[bold]", "").replace("[/bold]", "")
    return f"{' '.join(text.split()).rstrip('.')}; see --help-all"


def _in_words(metavar: str) -> str:
    """Return in words what tyro calls {None}|FLOAT."""
    words = {"INT": "a whole number", "FLOAT": "a number", "STR": "a text", "{None}": "None"}
    words |= {"{[INT [INT ...]]}": "several of them"}
    return " or ".join(sorted((words.get(part, part) for part in metavar.split("|")), key="None".__eq__))
