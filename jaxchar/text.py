"""A text in memory as a corpus: ``Config(corpus=Text("..."))``."""

import hashlib
import os
import re
from typing import Any

from jaxchar.errors import JaxcharError, quoted

PREFIX = "memory:"
NAME = re.compile(PREFIX + "[0-9a-f]{16}")
MOST_PATH, MOST_NAME = 4_096, 255  # bytes that Linux takes for a path, and for one name in it


class Text(str):
    """A text in memory to train on, where a setting expects the name of a corpus.

    As a string it is a short name that holds the start of the text's SHA-256, ``memory:86c4e6aa9db7c042``.
    The name is what a run keeps of it, so a run that goes on needs the text again.

    Args:
        content: the text.

    Attributes:
        content: the text.

    Raises:
        JaxcharError: it is not a str, is empty, or cannot be written as UTF-8.
    """

    content: str

    def __new__(cls, content: str) -> "Text":
        """Name the text."""
        if not isinstance(content, str):
            raise JaxcharError(f"a Text is made of a str, but it is {quoted(content)}; decode bytes first")
        if isinstance(content, Text):
            return content
        if not content:
            raise JaxcharError("the text is empty; give a text with characters in it")
        try:
            digest = hashlib.sha256(content.encode()).hexdigest()
        except UnicodeEncodeError as error:
            raise JaxcharError(
                f"the text has the lone surrogate {content[error.start]!r} at position {error.start:,}, "
                "which is no character; leave it out"
            ) from None
        text = super().__new__(cls, PREFIX + digest[:16])
        text.content = str.__str__(content)
        return text

    def __repr__(self) -> str:
        return f"Text({quoted(self.content)})"

    def __deepcopy__(self, memo: Any) -> "Text":
        return self

    def __getnewargs__(self) -> tuple[str]:
        return (self.content,)


def is_in_memory(source: str) -> bool:
    """Return whether a corpus setting means a text in memory, at hand or not."""
    return isinstance(source, Text) or NAME.fullmatch(source) is not None


def content_in_memory(source: str) -> bytes:
    """Return the UTF-8 content of a text in memory.

    Raises:
        JaxcharError: only its name is known, or it names no text in memory at all.
    """
    if isinstance(source, Text):
        return source.content.encode()
    if not is_in_memory(source):
        raise JaxcharError(f"texts in memory and files cannot be mixed, but there is {quoted(source)}, too")
    raise JaxcharError(
        f"the corpus was a text in memory ({quoted(source)}), which a run does not keep; say with --corpus "
        "where a file with the same text lies",
        f"the corpus was a text in memory ({quoted(source)}), which a run does not keep; give the same text "
        "again with corpus=jaxchar.Text(...), or with corpus= and the path of a file that holds it",
    )


def is_no_path(source: str) -> bool:
    """Return whether no file can have such a path, because it is too long."""
    names = (name.encode("utf-8", "surrogatepass") for name in source.split("/"))
    return len(source) > MOST_PATH or max(map(len, names)) > MOST_NAME


def check_not_text(source: str) -> None:
    """Raise a JaxcharError where what should be a path is plainly a text."""
    if is_no_path(source) or ("\n" in source and not os.path.lexists(source)):
        raise JaxcharError(
            f"--corpus must be a name or a path, but {quoted(source)} looks like a text; put it into a file, "
            "or pipe it in and give --corpus -",
            f"corpus must be a name or a path, but {quoted(source)} looks like a text; give "
            "corpus=jaxchar.Text(...) for a text in memory",
        )
