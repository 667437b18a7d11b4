"""Writing: the text of model.generate, in pieces, from any place of it; and what else could come."""

import math

import pytest

from jaxchar.playground import requests
from jaxchar.playground.library import Wanted, wanted_of
from jaxchar.playground.refusal import Refusal
from jaxchar.playground.sampling import alternatives, write
from jaxchar.playground.validation import checked

SETTINGS = {"temperature": 0.8, "top_k": 9, "seed": 5}


def asked(checks=requests.WRITE, **names):
    return checked({"model": "small", "prompt": "the ", **names}, checks)


def begin(library, work, names):
    return work(library.model(wanted_of(names)), names)


def text_of(events):
    return "".join(data["text"] for event, data in events if event == "piece")


@pytest.mark.parametrize("memory", [0.0, 1.0])
def test_the_text_is_that_of_generate(library, memory):
    events = list(begin(library, write, asked(length=200, memory=memory, **SETTINGS)))
    model = library.model(Wanted("small", None, memory=memory))
    assert text_of(events) == model.generate("the ", 200, **SETTINGS)
    assert events[-1] == ("done", {"stopped": "length"})


def test_a_text_goes_on_as_if_it_had_never_been_broken_off(library):
    whole = text_of(begin(library, write, asked(length=120, **SETTINGS)))
    for place in (1, 40, 64, 119):
        rest = begin(library, write, asked(length=120 - place, continued=whole[:place], **SETTINGS))
        assert text_of(rest) == whole[place:]


def test_surprises_are_those_that_score_finds(library):
    events = list(begin(library, write, asked(length=50, **SETTINGS)))
    surprises = [nats for event, data in events if event == "piece" for nats in data["surprises"]]
    score = library.model(Wanted("small", None)).score(text_of(events), context="the ")
    assert surprises == pytest.approx(list(score.surprises), abs=2e-3)


def test_a_stop_ends_the_text(library):
    events = list(begin(library, write, asked(length=2000, stop=["a"], seed=1)))
    assert text_of(events).endswith("a") and text_of(events).count("a") == 1
    assert events[-1] == ("done", {"stopped": "stop"})


def test_held_units_change_the_text(library):
    plain = text_of(begin(library, write, asked(length=100)))
    units = [{"layer": 0, "unit": unit, "value": 0} for unit in range(8)]
    assert text_of(begin(library, write, asked(length=100, held=units))) != plain


def test_alternatives_are_the_most_probable_characters(library):
    found = begin(library, alternatives, asked(requests.ALTERNATIVES, continued="ca", count=1000))[
        "alternatives"
    ]
    shares = [each["probability"] for each in found]
    assert shares == sorted(shares, reverse=True) and math.fsum(shares) == pytest.approx(1)
    model = library.model(Wanted("small", None))
    best = model.generate("the ca", 1, temperature=0)
    assert found[0]["character"] == best


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": "ü\u202e"}, "the prompt has characters that the model does not know"),
        ({"continued": "ü"}, "the continued text has characters"),
        ({"stop": ["ü"]}, "the stop has characters"),
        ({"held": [{"layer": 0, "unit": 99}]}, "must be 0 to 7"),
        ({"top_p": 0}, "top_p"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_stream(library, names, said):
    with pytest.raises(ValueError, match=said):
        begin(library, write, asked(**names))


def test_the_refusal_of_a_character_names_it():
    assert issubclass(Refusal, ValueError)
