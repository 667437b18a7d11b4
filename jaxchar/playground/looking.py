"""What the page asks about a text: surprises, what the units did, and which of them tell a pattern."""

import base64
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxchar.language_model import LanguageModel
from jaxchar.playground.events import Event
from jaxchar.playground.refusal import Refusal
from jaxchar.playground.texts import known_text
from jaxchar.scoring.text_patterns import PATTERNS
from jaxchar.scoring.unit_report import REPORT_CHARS, UnitReport, unit_report_steps
from jaxchar.scoring.unit_states import check_part, part_in_pieces

MOST_VALUES = 16_000_000  # characters times units of one answer
PASSAGE_CHARS = 60  # of the worst and the best passages
MOST_PASSAGES = 5
LN2 = math.log(2)


def read(model: LanguageModel, asked: dict[str, Any]) -> dict[str, Any]:
    """Return how surprising each character of a text is, as a JSON object."""
    if asked["memory"] != "none" and model.remembering is None:
        raise Refusal("the model remembers no text; ask for memory none")
    text = model.session.fitted(asked["text"], "text").text
    score = model.score(text, unknown="skip", memory=asked["memory"])
    passages = _passages(score.surprises)
    half = -(-len(passages) // 2)
    return {
        "text": score.context + score.text,
        "surprises": [None, *(_rounded(nats) for nats in score.surprises)],
        "ranks": [None, *map(int, score.ranks)],
        "bits_per_character": _rounded(score.bits_per_char),
        "characters": len(score) + 1,
        "worst": passages[: min(MOST_PASSAGES, half)],
        "best": passages[half:][: -MOST_PASSAGES - 1 : -1],  # none of the worst
        "left_out": score.left_out,
    }


def cells(model: LanguageModel, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what every unit of a layer did at every character of a text, as a JSON object."""
    layer = asked["layer"]
    text = known_text(model, asked["text"])
    check_layer(model, layer)
    check_part(model, asked["part"])
    units = model.config.layer_sizes[layer]
    if len(text) * units > MOST_VALUES:
        raise Refusal(
            f"the text must have at most {MOST_VALUES // units:,} characters with {units:,} units, but it "
            f"has {len(text):,}; send fewer"
        )
    ids = model.vocabulary.encode(text)
    values = np.concatenate([piece[layer] for piece in part_in_pieces(model, ids, asked["part"])])
    if asked["part"] == "h":
        for each in asked["held"]:
            if each["layer"] == layer:
                values[:, each["unit"]] = each["value"]
    scale = float(np.abs(values).max()) or 1.0
    packed = np.rint(values * (127 / scale)).astype(np.int8)
    return {
        "text": text,
        "units": units,
        "characters": len(text),
        "scale": scale,
        "values": base64.b64encode(packed.tobytes()).decode("ascii"),
    }


def patterns() -> dict[str, Any]:
    """Return the patterns that can be looked for, as a JSON object."""
    return {
        "patterns": [
            {"id": each.id, "name": each.name, "explanation": each.explanation} for each in PATTERNS.values()
        ]
    }


def find(model: LanguageModel, asked: dict[str, Any]) -> Iterator[Event]:
    """Begin to look for units that tell a pattern; return the events: how far it is, and the units."""
    if (asked["pattern"] is None) == (asked["marked"] is None):
        raise Refusal("either pattern or marked must be given; send one of them")
    if asked["layer"] is not None:
        check_layer(model, asked["layer"])
    pattern: Any = asked["pattern"]
    if asked["marked"] is not None:
        (text, pattern), source = _marked(model, asked["marked"]), "marked"
    else:
        text, source = corpus_of(model)
    layers = None if asked["layer"] is None else [asked["layer"]]
    steps = unit_report_steps(model, text, pattern, layers=layers, parts=[asked["part"]])
    first = next(steps)  # what is wrong with the request is told before the stream begins
    return _found(first, steps, source)


def corpus_of(model: LanguageModel) -> tuple[str, str]:
    """Return some 20,000 characters to try units on, and where they are from.

    It is the middle of the text that the model remembers; a model that remembers none writes one.
    """
    if model.remembering is None:
        prompt = model.vocabulary.symbols[0]
        return model.generate(prompt, REPORT_CHARS, seed=0), "written by the model"
    ids = model.remembering.memory.ids
    start = max(0, (len(ids) - REPORT_CHARS) // 2)
    return model.vocabulary.decode(ids[start : start + REPORT_CHARS]), "training text"


def check_layer(model: LanguageModel, layer: int) -> None:
    """Raise a Refusal where a model has no such layer."""
    layers = len(model.config.layer_sizes)
    if layer >= layers:
        raise Refusal(f"layer must be a whole number from 0 to {layers - 1}, but it is {layer}")


def _found(first: Any, steps: Iterator[Any], source: str) -> Iterator[Event]:
    yield "progress", {"done": first[0], "of": first[1]}
    for step in steps:
        if isinstance(step, UnitReport):
            units = [unit._asdict() for unit in step.units]
            about = {"characters": step.characters, "share": step.share, "source": source}
            yield "units", {**about, "units": units}
        else:
            yield "progress", {"done": step[0], "of": step[1]}


def _marked(model: LanguageModel, marked: dict[str, Any]) -> tuple[str, np.ndarray]:
    """Return a text as the model reads it, and the labels of its characters, 1 where it was marked."""
    text, labels = marked["text"], np.zeros(len(marked["text"]))
    for begin, end in marked["spans"]:
        if end > len(text):
            raise Refusal(
                f"a span ends at {end:,}, but the text has {len(text):,} characters; mark inside it"
            )
        labels[begin:end] = 1
    fitted = model.session.fitted(text, "text").text
    if len(fitted) != len(text):
        raise Refusal("the model reads the text with other characters; mark the text that /api/cells returns")
    unknown = set(model.vocabulary.unknown(fitted))
    known = np.array([character not in unknown for character in fitted], bool)
    return known_text(model, fitted), labels[known]


def _passages(surprises: np.ndarray) -> list[dict[str, Any]]:
    """Return passages of a text, which begins one character earlier, the most surprising first."""
    passages = []
    for start in range(0, len(surprises), PASSAGE_CHARS):
        part = surprises[start : start + PASSAGE_CHARS]
        if len(part) >= PASSAGE_CHARS // 2 or start == 0:
            bits = _rounded(part.mean(dtype=np.float64) / LN2)
            passages.append({"begin": start + 1, "end": start + 1 + len(part), "bits": bits})
    return sorted(passages, key=lambda passage: -(passage["bits"] or 0.0))


def _rounded(value: Any) -> float | None:
    """Return a number as JSON has it; None for what is none."""
    return round(float(value), 4) if math.isfinite(value) else None
