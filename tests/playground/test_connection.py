"""A connection that brings no request is closed."""

import socket
import time

import pytest

from jaxchar.playground import connection


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: ", b"X: 1\r\n"])
def test_a_connection_that_only_trickles_in_is_closed(served, sent, monkeypatch):
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.2)
    with socket.create_connection((served.host, served.port), 10) as trickling:
        started = time.monotonic()
        trickling.sendall(sent)
        while trickling.recv(1000):
            pass
        assert time.monotonic() - started < 5


def test_a_stream_may_last_longer_than_a_request_may_take(served, monkeypatch):
    from asking import events

    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.01)
    assert events(served, "write", prompt="the ", length=20_000)[-1][0] == "done"
