"""Prompts and stops from the command line, made to fit the text that the model was trained on."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jaxchar.cli.messages import note
from jaxchar.config import SampleConfig

if TYPE_CHECKING:  # this imports JAX, which --help need not wait for
    from jaxchar.sampling.session import TextSession


def fitted(writer: "TextSession", what: str, text: str) -> str:
    """Return a typed text reduced as the training text was; notes on standard error tell what was changed.

    Args:
        writer: the model.
        what: the text is, for the notes: "prompt" or "stop".
        text: as it was typed.
    """
    from jaxchar.sampling.prompt import escape_note, notes_of

    found = writer.fitted(_as_utf8(text), what)
    note(notes_of(what, [found]))
    if not writer.vocabulary.unknown(found.text):
        note(filter(None, [escape_note(what, found.text)]))
    return found.text


def with_fitted_stops(writer: "TextSession", settings: Sequence[SampleConfig]) -> list[SampleConfig]:
    """Return settings whose stops are reduced as the training text was.

    Raises:
        JaxcharError: the model can never write one of the stops.
    """
    from jaxchar.sampling.prompt import check_stop

    stop = tuple(fitted(writer, "stop", text) for text in settings[0].stop or ()) or None
    check_stop(stop, writer.vocabulary)
    return [replace(config, stop=stop) for config in settings]


def _as_utf8(text: str) -> str:
    """Return an argument of the command line as UTF-8, where the locale only knows ASCII."""
    if not any("\udc80" <= character <= "\udcff" for character in text):
        return text
    try:
        return os.fsencode(text).decode("utf-8")
    except ValueError:
        return text
