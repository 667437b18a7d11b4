"""What people give a model to go on from or to stop at, made to fit the text that it was trained on.

What the training text went through, a prompt goes through: lower-casing, replaced characters, line breaks.
What cannot be made to fit is refused, with a hint at what may have been meant.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal, NamedTuple

from jaxchar.config import CorpusConfig
from jaxchar.data.corpus import reduce_alphabet
from jaxchar.data.vocabulary import TYPOGRAPHIC, UnknownCharactersError, Vocabulary, no_characters
from jaxchar.errors import JaxcharError, quoted

ESCAPE = re.compile(r"\\[nrt]")  # as people type a line break in a shell, which passes it on as it is


class Fitted(NamedTuple):
    """A text of known characters where that could be had, and what was done for it."""

    text: str
    changes: tuple[str, ...]  # each in words: "lower-cased", ...


def fitted(text: str, vocabulary: Vocabulary, config: CorpusConfig) -> Fitted:
    """Return a text reduced as the training text was; one of known characters is left as it is.

    Args:
        text: any text.
        vocabulary: the characters that the model knows.
        config: what the training text went through.
    """
    changes = []
    for change, changed in (
        ("less its byte-order mark", lambda text: text.removeprefix("\ufeff")),
        ("with LF for its line breaks", lambda text: text.replace("\r\n", "\n").replace("\r", "\n")),
        ("lower-cased", lambda text: text.lower() if config.lowercase else text),
        ("with composed characters (Unicode NFC)", lambda text: _normalized("NFC", text, vocabulary)),
        ("with decomposed characters (Unicode NFD)", lambda text: _normalized("NFD", text, vocabulary)),
        (f"with {config.fill!r} for characters not kept", lambda text: _kept(text, vocabulary, config)),
    ):
        unknown = vocabulary.unknown(text)
        if not unknown:
            break
        candidate = changed(text)
        if len(vocabulary.unknown(candidate)) < len(unknown):
            text = candidate
            changes.append(change)
    return Fitted(text, tuple(changes))


def _normalized(form: Literal["NFC", "NFD"], text: str, vocabulary: Vocabulary) -> str:
    """Return a text in a Unicode form, where that brings in no characters that the vocabulary lacks."""
    found = unicodedata.normalize(form, text)
    return text if set(vocabulary.unknown(found)) - set(vocabulary.unknown(text)) else found


def _kept(text: str, vocabulary: Vocabulary, config: CorpusConfig) -> str:
    can_be = config.keep is not None and config.fill in vocabulary.symbols
    return reduce_alphabet(text, config) if can_be else text


def notes_of(what: str, texts: Iterable[Fitted]) -> list[str]:
    """Return a line for each way in which texts were changed, of each kind one."""
    changes = dict.fromkeys(text.changes for text in texts if text.changes)
    return [f"the {what} is read {', '.join(change)}, as the training text was" for change in changes]


def escape_note(what: str, text: str) -> str:
    """Return a line for a text with backslash and n, which may be meant for a line break, or nothing."""
    found = ESCAPE.search(text)
    return f"look at the {what}: {_spelled(found[0])}" if found else ""


# ---- what cannot be ------------------------------------------------------------------------------


def checked_prompt(prompt: object, what: str = "prompt") -> str:
    """Return a prompt that is a str.

    Raises:
        JaxcharError: it is something else.
    """
    if not isinstance(prompt, str):
        raise JaxcharError(f"the {what} must be a str, but it is {quoted(prompt)}")
    return str.__str__(prompt)


def check_known(
    what: str, text: str, vocabulary: Vocabulary, remedy: str = "--unknown=skip or --unknown=replace"
) -> None:
    """Raise an UnknownCharactersError where a text has characters that the vocabulary lacks."""
    unknown = vocabulary.unknown(text)
    if unknown:
        hint = _hint(text, unknown, vocabulary) or "leave them out or replace them"
        raise UnknownCharactersError(f"{what}: {no_characters(unknown)}; {hint}, for instance with {remedy}")


def check_stop(stop: Iterable[str] | None, vocabulary: Vocabulary) -> None:
    """Raise an UnknownCharactersError where a stop has characters that the model never writes."""
    for text in stop or ():
        unknown = vocabulary.unknown(text)
        if unknown:
            hint = _hint(text, unknown, vocabulary) or "give one of known characters, or leave it out"
            raise UnknownCharactersError(
                f"--stop {quoted(text)} can never come up: {no_characters(unknown)}; {hint}"
            )


def _hint(text: str, unknown: str, vocabulary: Vocabulary) -> str:
    """Return what may have been meant by a text with unknown characters, or nothing."""
    found = ESCAPE.search(text)
    if found and "\\" in unknown:
        return _spelled(found[0])
    plain = {c: TYPOGRAPHIC[c] for c in unknown if TYPOGRAPHIC.get(c, c) in vocabulary.symbols}
    if plain:
        return "write " + ", ".join(f"{ascii_one!r} for {c!r}" for c, ascii_one in plain.items())
    cased = [c for c in unknown if len(c.swapcase()) == 1 and c.swapcase() in vocabulary.symbols]
    if cased:
        return f"write {', '.join(repr(c.swapcase()) for c in cased[:10])}, which the training text has"
    return ""


def _spelled(escape: str) -> str:
    """Return how to give what an escape stands for."""
    article, meant = {"n": ("an", "line break"), "r": ("an", "carriage return"), "t": ("a", "tab")}[escape[1]]
    return (
        f"it has a backslash and {article} {escape[1]}, which is no {meant}; a {meant} is typed $'{escape}' "
        f"in a shell, and '{escape}' in Python"
    )
