"""Reading, cells, and units that tell a pattern, as the page gets them."""

import base64

import numpy as np
import pytest

from jaxchar import unit_report
from jaxchar.playground import requests
from jaxchar.playground.library import Wanted, wanted_of
from jaxchar.playground.looking import cells, corpus_of, find, patterns, read
from jaxchar.playground.validation import checked

TEXT = "and the cat sat\non 12 MATS"


def asked(checks, **names):
    return checked({"model": "small", **names}, checks)


def begin(library, work, names):
    return work(library.model(wanted_of(names)), names)


@pytest.mark.parametrize("memory", ["none", "static", "growing"])
def test_reading_is_scoring(library, memory):
    found = begin(library, read, asked(requests.READ, text=TEXT * 20, memory=memory))
    score = library.model(Wanted("small", None, memory=1.0)).score(TEXT * 20, memory=memory)
    assert found["text"] == TEXT * 20 and found["surprises"][0] is None and found["ranks"][0] is None
    assert found["surprises"][1:] == pytest.approx(list(score.surprises), abs=1e-4)
    assert found["ranks"][1:] == list(score.ranks)
    assert found["bits_per_character"] == pytest.approx(score.bits_per_char, abs=1e-4)
    assert found["characters"] == len(TEXT * 20)
    worst, best = found["worst"][0], found["best"][0]
    assert worst["bits"] >= best["bits"]
    part = score.surprises[worst["begin"] - 1 : worst["end"] - 1]
    assert worst["bits"] == pytest.approx(part.mean() / np.log(2), abs=1e-4)


@pytest.mark.parametrize(
    ("characters", "worst", "best"), [(61, 1, 0), (121, 1, 1), (181, 2, 1), (2000, 5, 5)]
)
def test_no_passage_is_among_the_worst_and_the_best(library, characters, worst, best):
    text = (TEXT * 200)[:characters]
    found = begin(library, read, asked(requests.READ, text=text))
    assert (len(found["worst"]), len(found["best"])) == (worst, best)
    begins = [passage["begin"] for passage in found["worst"] + found["best"]]
    assert len(set(begins)) == worst + best
    if best:
        assert found["worst"][0]["bits"] >= found["worst"][-1]["bits"] >= found["best"][-1]["bits"]
        assert found["best"][0]["bits"] <= found["best"][-1]["bits"]


def test_characters_that_the_model_lacks_are_left_out_and_counted(library):
    found = begin(library, read, asked(requests.READ, text="the\u202e \U0001f600cat"))
    assert (found["text"], found["left_out"]) == ("the cat", 2)


@pytest.mark.parametrize("part", ["h", "z"])
def test_cells_are_the_hidden_states_in_a_byte_each(library, part):
    found = begin(library, cells, asked(requests.CELLS, text=TEXT, part=part))
    layer = library.model(Wanted("small", None)).hidden_states(TEXT, gates=True)[0]
    expected = np.asarray({"h": layer.hidden, **layer.gates}[part])
    packed = np.frombuffer(base64.b64decode(found["values"]), np.int8).reshape(found["characters"], -1)
    assert packed.shape == (len(TEXT), found["units"]) == (len(TEXT), 8)
    np.testing.assert_allclose(packed / 127 * found["scale"], expected, atol=found["scale"] / 254 + 1e-6)


def test_a_held_unit_is_shown_held(library):
    held = [{"layer": 0, "unit": 3, "value": 0.5}]
    found = begin(library, cells, asked(requests.CELLS, text=TEXT, held=held))
    packed = np.frombuffer(base64.b64decode(found["values"]), np.int8).reshape(-1, 8)
    np.testing.assert_allclose(packed[:, 3] / 127 * found["scale"], 0.5, atol=0.01)


def test_units_are_found_as_unit_report_finds_them(library):
    events = list(begin(library, find, asked(requests.FIND, pattern="quotes")))
    model = library.model(Wanted("small", None, memory=1.0))
    text, source = corpus_of(model)
    report = unit_report(model, text, "quotes")
    assert events[-1][0] == "units" and events[-1][1]["source"] == source == "training text"
    assert events[-1][1]["units"] == [unit._asdict() for unit in report.units]
    done = [data["done"] for event, data in events if event == "progress"]
    assert done == sorted(done) and done[-1] == events[-2][1]["of"]


def test_marked_text_finds_units_also_where_characters_are_left_out(library):
    marked = {"text": "the\U0001f600 catta " * 18, "spans": [[11 * n, 11 * n + 3] for n in range(18)]}
    events = list(begin(library, find, asked(requests.FIND, marked=marked)))
    labels = [place % 10 < 3 for place in range(180)]
    report = unit_report(library.model(Wanted("small", None)), "the catta " * 18, labels)
    assert events[-1][1]["units"] == [unit._asdict() for unit in report.units]


def test_a_model_without_a_memory_writes_a_text_to_try(library):
    text, source = corpus_of(library.model(Wanted("small", None)))
    assert (len(text), source) == (20_000, "written by the model")


@pytest.mark.parametrize(
    ("work", "names", "said"),
    [
        (read, {"text": "ü"}, "needs 2 of them"),
        (cells, {"text": "\u202e"}, "no character that the model knows"),
        (cells, {"text": "the", "layer": 1}, "layer must be a whole number from 0 to 0"),
        (cells, {"text": "the", "part": "c"}, "part must be one of h, r, z, n"),
        (find, {}, "either pattern or marked"),
        (find, {"pattern": "x"}, "pattern must be one of"),
        (find, {"pattern": "quotes", "part": "c"}, "part must be one of"),
        (find, {"marked": {"text": "the", "spans": [[0, 9]]}}, "a span ends at 9"),
        (find, {"marked": {"text": "the", "spans": []}}, "the same label"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_one_line(library, work, names, said):
    checks = {read: requests.READ, cells: requests.CELLS, find: requests.FIND}[work]
    with pytest.raises(ValueError, match=said):
        begin(library, work, asked(checks, **names))


def test_patterns_have_names_and_explanations():
    found = patterns()["patterns"]
    assert len(found) == 9 and all(set(each) == {"id", "name", "explanation"} for each in found)
