"""Answers as server-sent events: made piece by piece in threads, and given up when the reader leaves.

The work is an iterator. Its next event is computed in a thread, so that other requests go on; between two
events it ends if the client has gone, or does not read.
"""

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread

from jaxchar.errors import JaxcharError
from jaxchar.playground.events import Event, Wait

SEND_SECONDS = 20.0  # a client that does not read for so long is given up
HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
END = object()

log = logging.getLogger("jaxchar.playground")


def encoded(record: Any) -> bytes:
    """Return a value as JSON in ASCII, whatever characters it has; a number that is none is an error."""
    return json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def failure(error: Exception) -> str:
    """Return what a client is told of an error that is ours, not its own; the log has the rest."""
    return f"the work failed: {type(error).__name__}; see the server's output"


class EventStream:
    """An answer of ASGI that sends events as they are made."""

    def __init__(
        self, events: Iterator[Event | Wait], threads: CapacityLimiter, on_end: Callable[[], object]
    ) -> None:
        """Take the work.

        Args:
            events: to send; closed at the end.
            threads: how many may compute at a time.
            on_end: called once, when the answer has ended in whatever way.
        """
        self._events = events
        self._threads = threads
        self._on_end = on_end

    async def __call__(self, scope: Any, receive: Callable, send: Callable) -> None:
        """Send the events until they end, or the client leaves."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_until_gone, receive, group.cancel_scope)
                await self._send(send)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._close)
            self._on_end()

    async def _send(self, send: Callable) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        async for event, record in self._told():
            body = b"event: " + event.encode("ascii") + b"\ndata: " + encoded(record) + b"\n\n"
            with anyio.fail_after(SEND_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _told(self) -> AsyncIterator[Event]:
        """Yield the events; an error is the last one."""
        event: Any = None
        while event is not END:
            event = await to_thread.run_sync(self._next, limiter=self._threads)
            if isinstance(event, Wait):
                await anyio.sleep(event.seconds)
            elif event is not END:
                yield event
                if event[0] == "error":
                    return

    def _next(self) -> Any:
        try:
            return next(self._events, END)
        except JaxcharError as error:
            return "error", {"error": str(error)}
        except Exception as error:  # ours, not the client's: the page is told, the log has the rest
            log.exception("a stream failed")
            return "error", {"error": failure(error)}

    def _close(self) -> None:
        close = getattr(self._events, "close", None)
        if close is not None:
            close()


async def _until_gone(receive: Callable, scope: anyio.CancelScope) -> None:
    """Cancel the work when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
