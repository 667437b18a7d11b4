"""What the page asks of a model that writes: text as it is drawn, and what else could come next.

A text's beginning is not read again for every request: what the model knew after some beginnings is kept.
"""

import weakref
from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Any

from jaxchar.config import SampleConfig
from jaxchar.language_model import LanguageModel
from jaxchar.playground.events import Event
from jaxchar.playground.refusal import Refusal
from jaxchar.playground.texts import check_known
from jaxchar.sampling.session import Passage

MOST_PASSAGES = 64  # kept of each model


def write(model: LanguageModel, asked: dict[str, Any]) -> Iterator[Event]:
    """Begin to write what was asked for; return the events: pieces of text, and why it ended.

    Args:
        model: that writes.
        asked: as :data:`jaxchar.playground.requests.WRITE` lets it pass.

    Raises:
        JaxcharError: the model cannot write it.
    """
    stops = [model.session.fitted(stop, "stop").text for stop in asked["stop"] or ()]
    for stop in stops:
        check_known("stop", stop, model)
    names = ("temperature", "top_k", "top_p", "min_p", "seed")
    config = SampleConfig(
        length=asked["length"], stop=tuple(stops) or None, **{name: asked[name] for name in names}
    )
    return _pieces(model, passage_of(model, asked), config)


def alternatives(model: LanguageModel, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the most probable next characters, before temperature and filters, as a JSON object."""
    found = model.session.most_probable(passage_of(model, asked), asked["count"])
    return {"alternatives": [{"character": each, "probability": share} for each, share in found]}


def passage_of(model: LanguageModel, asked: dict[str, Any]) -> Passage:
    """Return what a model knows after prompt and continuation; the latter's characters count as sampled.

    Raises:
        Refusal: the prompt is empty, or there are characters that the model does not know.
    """
    prompt = model.session.fitted(asked["prompt"]).text
    continued = asked["continued"]
    if not prompt:
        raise Refusal("the prompt is empty; give at least one character to go on from")
    check_known("prompt", prompt, model)
    check_known("continued text", continued, model)
    return _passages.after(model, prompt + continued)._replace(sampled=len(continued))


def _pieces(model: LanguageModel, passage: Passage, config: SampleConfig) -> Iterator[Event]:
    written = ""
    for piece, after in model.session.write(passage, config):
        surprises = model.session.surprises(passage, piece)
        yield "piece", {"text": piece, "surprises": [round(float(nats), 4) for nats in surprises]}
        passage, written = after, written + piece
        _passages.keep(model, after)
    stopped = any(written.endswith(stop) for stop in config.stop or ())
    yield "done", {"stopped": "stop" if stopped else "length"}


class _Passages:
    """What models knew after texts that were written or read lately."""

    def __init__(self) -> None:
        self._of_models: weakref.WeakKeyDictionary[LanguageModel, OrderedDict[str, Passage]]
        self._of_models = weakref.WeakKeyDictionary()
        self._lock = Lock()

    def keep(self, model: LanguageModel, passage: Passage) -> None:
        with self._lock:
            passages = self._of_models.setdefault(model, OrderedDict())
            passages[passage.text] = passage
            passages.move_to_end(passage.text)
            while len(passages) > MOST_PASSAGES:
                passages.popitem(last=False)

    def after(self, model: LanguageModel, text: str) -> Passage:
        """Return the passage of a text, read on from the longest beginning that is kept."""
        with self._lock:
            known = list(self._of_models.get(model, {}).values())
        begun = max((each for each in known if text.startswith(each.text)), key=_length, default=None)
        if begun is None:
            passage = model.session.start(text)
        else:
            passage = model.session.extend(begun, text[len(begun.text) :])
        self.keep(model, passage)
        return passage


def _length(passage: Passage) -> int:
    return len(passage.text)


_passages = _Passages()
