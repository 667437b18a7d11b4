"""Requests: what is let pass, and one line for all that is not."""

import json

import pytest

from jaxchar.playground import requests
from jaxchar.playground.refusal import Refusal
from jaxchar.playground.validation import MOST_BYTES, checked, parsed

WRONG_JSON = {
    b"": "must be a JSON object",
    b"[1]": "must be a JSON object, but it is [1]",
    b"\xff{}": "JSON object in UTF-8",
    b'{"a": NaN}': "NaN is no number",
    b'{"a": -Infinity}': "-Infinity is no number",
    b'{"a": 1e999}': "too large",
    b'{"a": 1' + b"0" * 40 + b"}": "too long",
    b'{"a": 1, "a": 2}': "stands twice",
    b"[" * 100_000: "8 levels deep",
    b'{"a":' * 9 + b"1" + b"}" * 9: "8 levels deep",
    b'{"a": "' + b"x" * MOST_BYTES + b'"}': "1,048,576 bytes",
}


@pytest.mark.parametrize("body", WRONG_JSON, ids=list(WRONG_JSON.values()))
def test_json_that_is_none_or_too_much_is_refused_in_one_line(body):
    with pytest.raises(Refusal) as refusal:
        parsed(body)
    assert WRONG_JSON[body] in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_brackets_in_texts_do_not_count_as_depth():
    assert parsed(json.dumps({"text": '[{"\\' * 100}).encode()) == {"text": '[{"\\' * 100}


MODEL = {"model": "small"}
WRITE = {**MODEL, "prompt": "a"}
WRONG = [
    (requests.WRITE, {"model": "small"}, "prompt is missing"),
    (requests.WRITE, WRITE | {"lenght": 3}, "there is no 'lenght' in this request"),
    (requests.WRITE, WRITE | {"length": 0}, "length must be a whole number from 1 to 20,000, but it is 0"),
    (requests.WRITE, WRITE | {"length": True}, "length must be a whole number"),
    (requests.WRITE, WRITE | {"length": 1.5}, "length must be a whole number"),
    (requests.WRITE, WRITE | {"length": "5"}, "length must be a whole number"),
    (requests.WRITE, WRITE | {"temperature": -1}, "temperature must be a number from 0 to 1000"),
    (requests.WRITE, WRITE | {"seed": 2**32}, "seed must be"),
    (requests.WRITE, WRITE | {"stop": "x"}, "stop must be an array"),
    (requests.WRITE, WRITE | {"stop": [1]}, "part 0 of stop must be a text"),
    (requests.WRITE, WRITE | {"prompt": "a" * 20_001}, "prompt must have at most 20,000 characters"),
    (requests.WRITE, WRITE | {"prompt": None}, "prompt must be a text"),
    (requests.WRITE, WRITE | {"held": {}}, "held must be an array"),
    (requests.WRITE, WRITE | {"held": [{"layer": 0}]}, "unit is missing"),
    (requests.WRITE, WRITE | {"held": [{"layer": 0, "unit": 1, "value": 99}]}, "value must be a number"),
    (requests.READ, MODEL | {"text": "a", "memory": "all"}, "memory must be one of none, static, growing"),
    (requests.READ, MODEL | {"text": "a", "memory": ["none"]}, "memory must be one of"),
    (requests.FIND, MODEL | {"marked": {"text": "ab", "spans": [[1, 1]]}}, "begin below end"),
    (requests.FIND, MODEL | {"marked": {"text": "ab", "spans": [[1]]}}, "two positions"),
    (requests.FIND, MODEL | {"marked": {"text": "ab", "spans": [[-1, 1]]}}, "whole number from 0"),
    (requests.CELLS, MODEL | {"text": "a", "layer": 10**29}, "layer must be a whole number"),
]


@pytest.mark.parametrize(("checks", "record", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_a_request_that_cannot_be_is_refused_in_one_line(checks, record, said):
    with pytest.raises(Refusal, match=said):
        checked(record, checks)


def test_what_is_left_out_has_its_default_and_numbers_may_be_whole():
    found = checked(WRITE | {"length": 5.0, "temperature": 1, "step": None}, requests.WRITE)
    assert found["length"] == 5 and isinstance(found["length"], int)
    assert isinstance(found["temperature"], float)
    assert (found["continued"], found["held"], found["memory"], found["stop"]) == ("", (), 0.0, None)
