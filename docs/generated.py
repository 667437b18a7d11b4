"""What the reference takes from the package itself: settings from ``config.py``, options from ``--help``.

Nothing here imports Sphinx, so that the tests can read what a page will say; ``docs/conf.py`` puts it there.
"""

import ast
import contextlib
import dataclasses
import inspect
import io
import json
import os
import re
import tokenize
import types
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from jaxchar.terminal.invocation import module_of

COMMANDS = (
    "train",
    "sample",
    "evaluate",
    "memorization",
    "compare",
    "inspect",
    "play",
    "report",
    "import",
    "export",
    "bench",
)
KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "True or False",
    types.NoneType: "None",
}

# ---- settings ------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """One field of a configuration record."""

    name: str
    default: str  # as one writes it in Python
    allowed: str  # in words
    meaning: str  # the comment beside the field, or above it


def settings(record: type) -> list[Setting]:
    """Return the fields that a record declares itself, less those that it inherits."""
    hints = get_type_hints(record, include_extras=True)
    comments = field_comments(record)
    return [
        Setting(field.name, repr(field.default), allowed(hints[field.name]), comments[field.name])
        for field in dataclasses.fields(record)
        if field.name in comments
    ]


def field_comments(record: type) -> dict[str, str]:
    """Return the comment of every field in a record's source: the one beside it, else the lines above it."""
    source = inspect.getsource(record)
    comments = {
        token.start[0]: token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    declared = ast.parse(source).body[0]
    assert isinstance(declared, ast.ClassDef)
    found = {}
    for node in declared.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            beside = comments.get(node.end_lineno or node.lineno)
            lines = [beside] if beside else _comment_above(comments, node.lineno)
            found[node.target.id] = " ".join(line.string.lstrip("# ") for line in lines)
    return found


def _comment_above(comments: dict[int, tokenize.TokenInfo], line: int) -> list[tokenize.TokenInfo]:
    """Return the comments that fill the lines right above a line, first to last."""
    above: list[tokenize.TokenInfo] = []
    while (comment := comments.get(line := line - 1)) and comment.line.lstrip().startswith("#"):
        above.insert(0, comment)
    return above


def allowed(hint: Any) -> str:
    """Return in words which values a type hint of ``config.py`` allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind, interval = arguments
        if kind is str:
            return str(interval)
        return f"{KINDS[kind]} {interval}"
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return ", or ".join(map(allowed, arguments))
    if origin is tuple:
        return f"a tuple, each item {allowed(arguments[0])}"
    return KINDS[hint]


def settings_markdown(record: type) -> str:
    """Return the settings of a record as entries of the reference."""
    entries = []
    for setting in settings(record):
        entries.append(
            f"```{{py:attribute}} jaxchar.Config.{setting.name}\n:value: {json.dumps(setting.default)}\n\n"
            f"{_escaped(setting.meaning)}\n\n*Allowed:* {_escaped(setting.allowed)}\n```\n"
        )
    return "\n".join(entries)


# ---- options -------------------------------------------------------------------------------------


class Option(NamedTuple):
    """One line of a command's ``--help-all``."""

    group: str
    flags: str  # with what each takes
    meaning: str


def options(command: str) -> list[Option]:
    """Return the options that ``jaxchar COMMAND --help-all`` tells of, ``--help`` itself left out."""
    found: list[Option] = []
    group = ""
    for line in _help(command).splitlines():
        indent, text = len(line) - len(line.lstrip()), line.strip()
        if indent == 1 and text[0] != "-":
            group = text
        elif indent == 2 and re.match(r"--?[a-z]|\[[A-Z]", text):
            flags, _, meaning = text.partition("  ")
            found.append(Option(group, flags, meaning.strip()))
        elif indent > 2 and found:
            found[-1] = found[-1]._replace(meaning=f"{found[-1].meaning} {text}".strip())
    return [option for option in found if "--help" not in option.flags]


def _help(command: str) -> str:
    """Return what ``--help-all`` prints where no terminal asks for colours and frames."""
    printed = io.StringIO()
    with (
        _environment(COLUMNS="100"),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        import_module(f"jaxchar.{module_of(command)}").main(arguments=["--help-all"])
    return printed.getvalue()


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def options_markdown(command: str) -> str:
    """Return a command's options as one table a group."""
    lines: list[str] = []
    group = ""
    for option in options(command):
        if option.group != group:
            group = option.group
            title = group.removesuffix(" options").capitalize()
            lines += ["", f"**{title}**", "", "| option | meaning |", "| --- | --- |"]
        flags = "<br>".join(f"`{flag}`".replace("|", "\\|") for flag in option.flags.split(", "))
        lines.append(f"| {flags} | {_escaped(option.meaning)} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#$~])", r"\\\1", text)
