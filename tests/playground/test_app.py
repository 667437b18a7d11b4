"""The playground over real connections: streams, several requests at once, and whoever means it harm."""

import json
import random
import socket
import threading
import time

import pytest
from asking import check_one_line, encoded, events, get, post, raw, request, split, wait_until_free
from hostile_requests import hostile_requests

from jaxchar.playground import app

LONG = {"prompt": "the ", "length": 20_000, "temperature": 1.0}


def test_the_interface_answers(served):
    assert get(served, "/api/models")[1]["models"][0]["id"] == "small"
    assert len(get(served, "/api/patterns")[1]["patterns"]) == 9
    assert get(served, "/api/curve?model=small")[1]["finished"] is True
    status, found = post(served, "alternatives", prompt="the ", count=3)
    assert status == 200 and len(found["alternatives"]) == 3
    assert post(served, "read", text="the cat")[1]["characters"] == 7
    assert post(served, "cells", text="the cat")[1]["units"] == 8
    assert events(served, "find", pattern="quotes")[-1][0] == "units"
    status, _, body = split(raw(served, request(served, "GET", "/api/live?model=small")))
    assert status == 200 and body.decode().rstrip().endswith("event: finished\ndata: {}")


def test_a_text_streams_in_pieces_and_equals_that_of_the_model(served, library):
    from jaxchar.playground.library import Wanted

    found = events(served, "write", **LONG | {"length": 3000})
    text = "".join(data["text"] for event, data in found if event == "piece")
    assert text == library.model(Wanted("small", None)).generate("the ", 3000)
    assert len(found) > 3 and found[-1] == ("done", {"stopped": "length"})


def begun(served, **asked):
    """Begin a stream, and return the connection after its first piece, and the seconds that it took."""
    connection = socket.create_connection((served.host, served.port), 30)
    started = time.perf_counter()
    connection.sendall(request(served, "POST", "/api/write", encoded(asked)))
    got = b""
    while b"event: piece" not in got:
        part = connection.recv(65_536)
        assert part, got
        got += part
    return connection, time.perf_counter() - started


def test_the_first_character_comes_soon_also_beside_a_long_request(served):
    begun(served, prompt="the ", length=50)[0].close()  # compiled
    times = []
    with begun(served, **LONG)[0]:
        for seed in range(5):
            connection, seconds = begun(served, prompt="the ", length=50, seed=seed)
            connection.close()
            times.append(seconds)
    assert sorted(times)[2] < 0.5  # some 10 ms where nobody else computes


def test_who_leaves_frees_the_work_and_the_place_at_once(served, monkeypatch):
    ended = threading.Event()

    def endless(model, asked):
        try:
            while True:
                yield "piece", {"text": "a", "surprises": [0.0]}
        finally:
            ended.set()

    time.sleep(0.2)  # streams of other tests have ended
    monkeypatch.setattr(app, "MOST_STREAMS", 1)
    monkeypatch.setitem(app.STREAMS, "write", endless)
    with begun(served, prompt="the ")[0]:
        status, found = post(served, "find", pattern="quotes")
        assert status == 503 and "busy with 1 requests" in found["error"]
        assert not ended.is_set()
    assert ended.wait(2)
    monkeypatch.undo()
    wait_until_free(served)


def test_more_answers_than_the_server_takes_are_refused(served, monkeypatch):
    monkeypatch.setattr(app, "MOST_ANSWERS", 0)
    status, found = get(served, "/api/models")
    assert status == 503 and "busy" in found["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("GET", "/static/..%2f..%2fplay.py", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", "/api/write", 405),
        ("DELETE", "/api/models", 405),
        ("GET", "/api/curve", 400),
        ("GET", "/api/curve?model=small&model=small", 400),
        ("GET", "/api/curve?model=../../etc", 404),
        ("GET", "/api/live?model=%00", 404),
    ],
)
def test_other_addresses_are_refused_in_one_line(served, method, path, status):
    found, _, body = split(raw(served, request(served, method, path)))
    error = json.loads(body)["error"]
    assert found == status and "\n" not in error and error


def test_a_body_of_another_type_is_refused(served):
    body = encoded({"prompt": "a"})
    sent = request(served, "POST", "/api/write", body, **{"Content-Type": "text/plain"})
    assert split(raw(served, sent))[0] == 415


def test_a_body_that_does_not_come_is_refused(served, monkeypatch):
    monkeypatch.setattr(app, "BODY_SECONDS", 0.1)
    sent = request(served, "POST", "/api/write", b"", Content_Length="500") + b'{"model"'
    assert split(raw(served, sent))[0] == 408


def test_a_body_that_never_ends_is_refused(served):
    chunk = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    sent = request(served, "POST", "/api/write", Transfer_Encoding="chunked").replace(
        b"Content-Length: 0\r\n", b""
    )
    assert b" 413 " in raw(served, sent + chunk * 5)[:20]


def test_what_goes_wrong_inside_is_told_in_one_line_without_its_words(served, library, monkeypatch, caplog):
    monkeypatch.setattr(library, "described", lambda: [][0])
    status, found = get(served, "/api/models")
    assert status == 500 and found == {"error": "the work failed: IndexError; see the server's output"}


def test_warming_loads_the_models_before_anybody_asks(library, monkeypatch):
    from jaxchar.playground.library import Library, Wanted

    fresh = Library([run.path for run in library.runs.values()])
    app.warm(fresh)
    monkeypatch.setattr(Library, "_load", None)  # nothing is loaded any more
    assert fresh.model(Wanted("small", None)).generate("t", 3)


# ---- 500 requests that mean harm -----------------------------------------------------------------

NAMES = ("write", "alternatives", "read", "cells", "find")
VALUES = [
    None,
    True,
    -1,
    0,
    1e308,
    2**63,
    10**29,
    "",
    "..",
    "../../../etc/passwd",
    "\0",
    "\ud800",
    "<script>alert(1)</script>",
    "a" * 30_000,
    [],
    {},
    [[[[]]]],
    [{"layer": 0, "unit": 10**9}],
    {"text": "the", "spans": [[0, 10**6]]},
]
FIELDS = "model step held prompt continued length temperature top_k top_p min_p seed stop memory text layer "
FIELDS += "part pattern marked count __proto__"
LITERALS = [
    b"NaN",
    b"Infinity",
    b"1e9999",
    b"9" * 5000,
    b"-0",
    b"[" * 3000,
    b'{"a":' * 500,
    b"\xff\xfe",
    b"",
    b"{]",
]


def hostile(served, chance: random.Random) -> bytes:
    """Return one request that is wrong somewhere."""
    name, kind = chance.choice(NAMES), chance.randrange(8)
    if kind > 5:
        return chance.choice(list(hostile_requests(served).values()))
    valid = {"model": "small", "prompt": "the ", "text": "the cat", "pattern": "quotes"}
    fields = {"write": "prompt", "alternatives": "prompt", "read": "text", "cells": "text", "find": "pattern"}
    asked = {"model": "small", fields[name]: valid[fields[name]]}
    if kind == 0:  # a value that cannot be
        asked[chance.choice(FIELDS.split())] = chance.choice(VALUES)
        asked["nothing"] = 1
        return request(served, "POST", f"/api/{name}", json.dumps(asked).encode())
    if kind == 1:  # a number that is none, or JSON that is none
        body = json.dumps(asked).encode()[:-1] + b', "length": ' + chance.choice(LITERALS) + b"}"
        return request(served, "POST", f"/api/{name}", body)
    if kind == 2:  # bytes turned over
        body = bytearray(json.dumps(asked).encode())
        for _ in range(chance.randrange(1, 9)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        return request(served, "POST", f"/api/{name}", bytes(body) + b"}")
    if kind == 3:  # a path that climbs
        parts = [
            "..",
            "%2e%2e",
            "static",
            "api",
            "%00",
            "etc",
            "\\..",
            "a" * 500,
            "models",
            "?model=" + "x" * 900,
        ]
        return request(served, "GET", "/" + "/".join(chance.choice(parts) for _ in range(6)))
    if kind == 4:  # from somewhere else
        header = chance.choice(["Host", "Origin"])
        return request(
            served, "POST", f"/api/{name}", encoded(asked), **{header: chance.choice(["evil", "null", "x:1"])}
        )
    return chance.choice(
        [b"", b"\0" * 99, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000, b"\x16\x03\x01"]
    )


@pytest.mark.slow  # each kind of them is tried in test_hostile_kinds.py, each value in test_validation.py
def test_five_hundred_hostile_requests_leave_it_serving_with_a_line_each(served):
    chance, slow = random.Random(18), []
    for number in range(500):
        sent = hostile(served, chance)
        if number % 25 == 0:  # one that reads nothing, and one that never ends its request
            for part in (request(served, "POST", "/api/write", encoded(LONG | {"seed": number})), sent[:20]):
                slow.append(socket.create_connection((served.host, served.port), 30))
                slow[-1].sendall(part)
        with socket.create_connection((served.host, served.port), 30) as connection:
            connection.settimeout(30)
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while part := connection.recv(65_536):
                    answer += part
            except ConnectionResetError:
                pass
        if answer:
            check_one_line(answer)
        if number % 100 == 99:
            for connection in slow:
                connection.close()
            slow.clear()
            assert get(served, "/api/models")[0] == 200
    assert threading.active_count() < 60
    wait_until_free(served)
    assert events(served, "write", prompt="the ", length=5)[-1][0] == "done"
