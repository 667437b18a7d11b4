"""A connection that has to bring a whole request in time: one that only trickles in is closed."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 15.0  # a connection without the head of a request is closed after it


class BoundedConnection(H11Protocol):
    """Uvicorn's connection in plain Python, with a deadline."""

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        """Take what uvicorn gives."""
        super().__init__(config, *arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin the time of a connection."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """End it."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _too_late(self) -> None:
        if self.cycle is None and not self.transport.is_closing():  # no request has begun
            self.transport.close()
