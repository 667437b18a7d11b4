"""The one error that a user can cause, and how its message names things in the caller's words.

A message is written once, with the flags of the command line: ``give another --run-dir``. Who calls from
Python reads ``give another run_dir=``, and in a session at the terminal ``--top-k`` is ``:top-k``.
"""

import contextlib
import os
import re
import reprlib
from collections.abc import Iterator
from typing import Any, Literal

Words = Literal["python", "command line", "session"]

MOST_QUOTED = 70  # characters of a value that a message quotes
MOST_QUOTED_PATH = 250  # of any quoted piece, a path included
MOST_CHARS = 1_200  # of a whole message

# What is no keyword argument in Python, or one that takes True.
IN_PYTHON = {
    "resume": "jaxchar.resume(run_dir)",
    "skip-nonfinite": "skip_nonfinite=True",
    "dynamic": "dynamic=True",
    "unknown": "Vocabulary.adapt",
}
IN_A_SESSION = {"length", "temperature", "top-k", "top-p", "min-p", "stop", "seed"}

_QUOTED = r"""(?<!\w)(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
_NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?\b"
_WORD = r"\w+(?:-\w+)*"
# Not a flag of XLA's, which has underscores: --xla_cpu_enable_fast_math.
_FLAG = rf"(?<![\w-])--[a-z][a-z0-9]*+(?:-[a-z0-9]++)*+(?!_)(?:={_WORD}|[ =](?:{_QUOTED}|{_NUMBER}))?"
_FLAGS = re.compile(
    rf"(?P<flags>{_FLAG}(?:(?:, and |, or |, | and | or ){_FLAG})*)"
    rf"(?P<subject>(?= (?:must|is|are|has|have|needs?|says?|cannot)\b))?|{_QUOTED}",
    re.DOTALL,
)
_ONE_FLAG = re.compile(rf"--([a-z0-9-]+)(?:=({_WORD})|[ =]({_QUOTED}|{_NUMBER}))?", re.DOTALL)
_QUOTED_PIECE = re.compile(_QUOTED, re.DOTALL)

_words: Words = "python"  # of whoever reads the messages of this process now


class JaxcharError(ValueError):
    """Something the user gave cannot be used; the message is one line: given, expected, what to do.

    The commands print it on standard error and leave with exit code 2.
    """

    def __init__(self, message: str, in_python: str | None = None) -> None:
        """Take the message.

        Args:
            message: with the flags of the command line; its ``str`` is in the caller's words.
            in_python: what it is in Python, where other names for the flags are not enough.
        """
        super().__init__(bounded(message))
        self._in_python = in_python

    def __str__(self) -> str:
        if _words == "python" and self._in_python is not None:
            return bounded(self._in_python)
        return in_callers_words(self.args[0])


@contextlib.contextmanager
def speaking(words: Words) -> Iterator[None]:
    """Let messages be in the words of a command line or of a session while the context lasts."""
    global _words
    before, _words = _words, words
    try:
        yield
    finally:
        _words = before


def in_callers_words(message: str, words: Words | None = None) -> str:
    """Return a message with its flags as the caller knows them; what stands in quotes stays as it is.

    Args:
        message: with the flags of the command line; a value that is a word is written ``--cell=gru``.
        words: whose; None takes those of whoever calls now.
    """
    words = words or _words

    def translated(found: re.Match[str]) -> str:
        if not found["flags"]:
            return found[0]
        if words != "python":
            return _ONE_FLAG.sub(lambda flag: _typed(flag, words), found["flags"])
        is_subject = found["subject"] is not None
        return _ONE_FLAG.sub(lambda flag: _argument(flag, is_subject), found["flags"])

    return _FLAGS.sub(translated, message)


def _typed(flag: re.Match[str], words: Words) -> str:
    """Return a flag as it is typed."""
    name, word, value = flag.groups()
    start = ":" if words == "session" and name in IN_A_SESSION else "--"
    return f"{start}{name}" + (f" {word or value}" if word or value else "")


def _argument(flag: re.Match[str], is_subject: bool) -> str:
    """Return a flag as a keyword argument: ``seed=1``, ``seed=``, or ``seed`` where a verb follows."""
    name, word, value = flag.groups()
    argument = name.replace("-", "_")
    if is_subject and not (word or value):
        return argument
    if name in IN_PYTHON:
        return IN_PYTHON[name] + (f"(text, {word!r})" if word else "")
    if name.startswith("no-") and not (word or value):
        return f"{argument.removeprefix('no_')}=False"
    if word == "none":
        return f"{argument}=None"
    if word or value:
        return f"{argument}={repr(word) if word else value}"
    return f"{argument}="


# ---- values in messages --------------------------------------------------------------------------


class _Short(reprlib.Repr):
    """Values as Python writes them, without reading on in one that is long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 4 * MOST_QUOTED
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 20

    def repr_int(self, x: int, level: int) -> str:
        """Return a number, or its size where Python does not write it out."""
        try:
            return super().repr_int(x, level)
        except ValueError:
            return f"a number of {x.bit_length():,} bits"


def quoted(value: Any) -> str:
    """Return a value as Python writes it, on one line and shortened; of a long text also how long it is."""
    if isinstance(value, str) and len(value) > MOST_QUOTED:
        return f"{str.__getitem__(value, slice(MOST_QUOTED - 10)) + '...'!r} ({len(value):,} characters)"
    shown = " ".join(_Short().repr(value).split())
    return shown if len(shown) <= 2 * MOST_QUOTED else f"{shown[:MOST_QUOTED]}...{shown[-10:]}"


def quoted_path(path: Any) -> str:
    """Return a path as Python writes a str; shortened only where no file can have such a path."""
    if not isinstance(path, str | os.PathLike):
        return quoted(path)
    name = os.fsdecode(path)
    return repr(name) if len(name) <= MOST_QUOTED_PATH else quoted(name)


def reason_of(error: Exception) -> str:
    """Return why something failed, without the path, which the operating system may add whole."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def bounded(message: str) -> str:
    """Return a message of a few lines at most, whatever it quotes."""
    if len(message) > MOST_QUOTED_PATH:
        message = _QUOTED_PIECE.sub(lambda piece: _middle_out(piece[0], MOST_QUOTED_PATH), message[:100_000])
    return _middle_out(message, MOST_CHARS)


def _middle_out(text: str, most: int) -> str:
    head = 2 * most // 3
    return text if len(text) <= most else f"{text[:head]} ... {text[head + 5 - most :]}"
