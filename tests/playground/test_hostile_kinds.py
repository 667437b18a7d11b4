"""Each kind of request that means harm: answered once, in one line, without a word in the log, and soon."""

import logging
import re
import socket
import time
from types import SimpleNamespace

import pytest
from asking import check_one_line, encoded, events, get, raw, request, wait_until_free
from hostile_requests import hostile_requests

from jaxchar.playground import app
from jaxchar.playground.validation import parsed

NAMES = list(hostile_requests(SimpleNamespace(host="127.0.0.1", port=1)))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_answered_once_in_one_line_and_nothing_is_logged(served, name, caplog):
    with caplog.at_level(logging.INFO):
        started = time.monotonic()
        answer = raw(served, hostile_requests(served)[name])
        seconds = time.monotonic() - started
    assert len(re.findall(rb"HTTP/1\.[01] \d{3}", answer)) == 1
    check_one_line(answer)
    assert seconds < 3
    assert get(served, "/api/models")[0] == 200
    assert [each.getMessage() for each in caplog.records if each.name != "asyncio"] == []


def test_the_second_request_of_a_connection_is_not_answered(served):
    second = request(served, "GET", "/api/models")
    answer = raw(served, request(served, "GET", "/api/patterns") + second)
    assert answer.count(b"HTTP/1.1 200") == 1 and b"line_position" in answer and b'"models"' not in answer


@pytest.mark.parametrize("path", ["/", "/api/models", "/static/main.js"])
def test_who_asks_for_the_head_alone_gets_no_body(served, path):
    answer = raw(served, request(served, "HEAD", path))
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "text", ['"' + '\\"' * 500_000, '"' * 1_000_001, '"' + "\\" * 1_000_001, '"a' * 500_000]
)
def test_the_time_to_refuse_a_text_is_not_that_of_its_square(text):
    started = time.monotonic()
    with pytest.raises(ValueError, match="the request must be a JSON object"):
        parsed(text.encode())
    assert time.monotonic() - started < 2


def test_brackets_in_strings_are_no_depth():
    assert parsed(b'{"a": "[[[[[[[[[[[[[[", "b": "\\"{{{{{{{{{{{{{{"}') == {
        "a": "[" * 14,
        "b": '"' + "{" * 14,
    }


def test_many_streams_that_nobody_reads_leave_room_for_answers(served):
    wait_until_free(served)
    connections, statuses = [], []
    try:
        for seed in range(40):
            connection = socket.create_connection((served.host, served.port), 30)
            connections.append(connection)
            asked = {"prompt": "the ", "length": 20_000, "temperature": 1.0, "seed": seed}
            connection.sendall(request(served, "POST", "/api/write", encoded(asked)))
        for connection in connections:
            statuses.append(int(connection.recv(12).split()[1]))
            started = time.monotonic()
            assert get(served, "/api/models")[0] == 200
            assert time.monotonic() - started < 5
        assert set(statuses) <= {200, 503} and statuses.count(200) >= app.MOST_STREAMS
    finally:
        for connection in connections:
            connection.close()
    wait_until_free(served)
    assert events(served, "write", prompt="the ", length=5)[-1][0] == "done"
