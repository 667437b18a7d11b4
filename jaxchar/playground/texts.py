"""Texts that the page sends, made to fit a model."""

from typing import Protocol

from jaxchar.data.vocabulary import Vocabulary, describe_characters
from jaxchar.playground.refusal import Refusal
from jaxchar.sampling.session import TextSession


class Reader(Protocol):
    """What reads a text."""

    vocabulary: Vocabulary
    session: TextSession


def check_known(what: str, text: str, model: Reader) -> None:
    """Raise a Refusal where a text has characters that a model does not know."""
    unknown = model.vocabulary.unknown(text)
    if unknown:
        raise Refusal(
            f"the {what} has characters that the model does not know, {describe_characters(unknown)}; leave "
            "them out"
        )


def known_text(model: Reader, text: str) -> str:
    """Return a text as the model reads it, without characters that it does not know.

    Raises:
        Refusal: nothing is left.
    """
    text = model.vocabulary.adapt(model.session.fitted(text, "text").text, "skip")
    if not text:
        raise Refusal("the text has no character that the model knows; send another one")
    return text
