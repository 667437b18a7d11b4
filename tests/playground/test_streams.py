"""Streams of events: sent as they are made, and given up at once when nobody reads."""

import math
import threading

import anyio
import pytest
from anyio import CapacityLimiter
from asking import parsed

from jaxchar.errors import JaxcharError
from jaxchar.playground import streams
from jaxchar.playground.events import Wait
from jaxchar.playground.streams import EventStream, encoded


class Client:
    """One end of a connection: keeps what is sent, and leaves when it is told to."""

    def __init__(self, reads=True):
        self.body, self.reads, self.gone = b"", reads, anyio.Event()

    async def send(self, message):
        if not self.reads:
            await anyio.sleep_forever()
        self.body += message.get("body", b"")

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def run(events, client, ended):
    await EventStream(events, CapacityLimiter(2), lambda: ended.append(True))({}, client.receive, client.send)


def test_events_are_sent_to_the_last():
    async def main():
        client, ended = Client(), []
        await run(iter([("a", {"x": 1}), Wait(0.01), ("b", {"y": '"\n\u202e\ud800'})]), client, ended)
        return client, ended

    client, ended = anyio.run(main)
    assert parsed(client.body) == [("a", {"x": 1}), ("b", {"y": '"\n\u202e\ud800'})]
    assert ended == [True]


@pytest.mark.parametrize("error", [JaxcharError("what to do"), ZeroDivisionError("inside")])
def test_an_error_is_the_last_event(error, caplog):
    def events():
        yield "a", {}
        raise error

    async def main():
        client = Client()
        await run(events(), client, [])
        return client

    (_, (event, data)) = parsed(anyio.run(main).body)
    assert event == "error"
    assert ("what to do" in data["error"]) == isinstance(error, JaxcharError)
    assert "inside" not in data["error"]


def test_who_leaves_frees_the_work():
    closed, made = threading.Event(), []

    def events():
        try:
            while True:
                made.append(1)
                yield "a", {}
        finally:
            closed.set()

    async def main():
        client, ended = Client(), []
        async with anyio.create_task_group() as group:
            group.start_soon(run, events(), client, ended)
            while not client.body:
                await anyio.sleep(0.001)
            client.gone.set()
        return ended

    assert anyio.run(main) == [True]
    assert closed.is_set()
    count = len(made)
    assert count == len(made)


def test_who_does_not_read_is_given_up(monkeypatch):
    monkeypatch.setattr(streams, "SEND_SECONDS", 0.05)
    closed = []

    class Late(Client):
        async def send(self, message):
            if message["type"] == "http.response.body":
                await anyio.sleep_forever()

    def events():
        try:
            yield "a", {}
            yield "b", {}
        finally:
            closed.append(True)

    async def main():
        ended = []
        with pytest.raises(BaseExceptionGroup):
            await run(events(), Late(), ended)
        return ended

    assert anyio.run(main) == [True]
    assert closed == [True]


def test_numbers_that_are_none_are_an_error_and_all_characters_are_ascii():
    assert encoded({"a": "\ud800\u2028é"}).isascii()
    with pytest.raises(ValueError):
        encoded({"a": math.nan})
