"""The playground as an application of Starlette: which address is answered by which function."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from jaxchar.errors import JaxcharError
from jaxchar.playground import following, looking, requests, sampling
from jaxchar.playground.gatekeeper import Gatekeeper
from jaxchar.playground.library import Library, Wanted, wanted_of
from jaxchar.playground.refusal import BUSY, MALFORMED, TOO_SLOW, UNKNOWN, WRONG_TYPE, Refusal
from jaxchar.playground.streams import EventStream, encoded, failure
from jaxchar.playground.validation import MOST_BYTES, checked, parsed, too_many_bytes

STATIC = Path(__file__).parent / "static"
MOST_STREAMS = 16  # at a time, of all tabs
MOST_ANSWERS = 16  # being computed or waited for
STREAM_THREADS, ANSWER_THREADS = 8, 4
BODY_SECONDS = 10.0
WARMED = 3  # runs whose models are made ready before anybody asks

ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {
    "alternatives": sampling.alternatives,
    "read": looking.read,
    "cells": looking.cells,
}
STREAMS: dict[str, Callable[..., Iterator]] = {"write": sampling.write, "find": looking.find}
IN_WORDS = {
    404: "there is nothing at this address; open /",
    405: "this address is asked in another way; see docs/playground.md",
}

log = logging.getLogger("jaxchar.playground")


class Playground:
    """Answers requests with the models of a library."""

    def __init__(self, library: Library) -> None:
        """Take the models."""
        self._library = library
        self._streams = self._answers = 0
        self._stream_threads = CapacityLimiter(STREAM_THREADS)
        self._answer_threads = CapacityLimiter(ANSWER_THREADS)

    def application(self, host: str, port: int, token: str | None = None) -> Gatekeeper:
        """Return the guarded application, see :class:`Gatekeeper`."""
        handlers: Any = {
            JaxcharError: _refused,
            HTTPException: _http_error,
            ClientDisconnect: _left,
            Exception: _failed,
        }
        starlette = Starlette(routes=list(self._routes()), exception_handlers=handlers)
        starlette.router.redirect_slashes = False
        return Gatekeeper(_quiet(starlette), host, port, token)

    def _routes(self) -> Iterator[BaseRoute]:
        yield Route("/", _index)
        yield Route("/api/models", self._told(lambda: {"models": self._library.described()}))
        yield Route("/api/patterns", self._told(looking.patterns))
        yield Route("/api/curve", self._curve)
        yield Route("/api/live", self._live)
        for name in ANSWERS:
            yield Route(f"/api/{name}", self._answer(name), methods=["POST"])
        for name in STREAMS:
            yield Route(f"/api/{name}", self._stream(name), methods=["POST"])
        if STATIC.is_dir():
            yield Mount("/static", StaticFiles(directory=STATIC))

    # ---- plain answers ---------------------------------------------------------------------------

    def _answer(self, name: str) -> Callable:
        async def answer(request: Request) -> Response:
            asked = await _asked_for(request, name)
            return await self._computed(lambda: ANSWERS[name](self._library.model(wanted_of(asked)), asked))

        return answer

    def _told(self, work: Callable[[], dict[str, Any]]) -> Callable:
        async def answer(request: Request) -> Response:
            del request
            return await self._computed(work)

        return answer

    async def _curve(self, request: Request) -> Response:
        run = self._library.run(_model_in_address(request))
        checkpoints = partial(self._library.checkpoints, run)
        return await self._computed(lambda: following.curve(run.path, checkpoints))

    async def _computed(self, work: Callable[[], dict[str, Any]]) -> Response:
        """Compute an answer in a thread, while other requests go on."""
        if self._answers >= MOST_ANSWERS:
            raise _busy(MOST_ANSWERS)
        self._answers += 1
        try:
            body = await to_thread.run_sync(lambda: encoded(work()), limiter=self._answer_threads)
        finally:
            self._answers -= 1
        return Response(body, media_type="application/json")

    # ---- streams ---------------------------------------------------------------------------------

    def _stream(self, name: str) -> Callable:
        async def stream(request: Request) -> Any:
            asked = await _asked_for(request, name)
            return await self._streamed(lambda: STREAMS[name](self._library.model(wanted_of(asked)), asked))

        return stream

    async def _live(self, request: Request) -> Any:
        run = self._library.run(_model_in_address(request))
        checkpoints = partial(self._library.checkpoints, run)
        return await self._streamed(lambda: following.follow(run.path, checkpoints))

    async def _streamed(self, begin: Callable[[], Iterator]) -> EventStream:
        """Begin a stream; what is wrong with the request is told before it."""
        if self._streams >= MOST_STREAMS:
            raise _busy(MOST_STREAMS)
        self._streams += 1
        try:
            events = await to_thread.run_sync(begin, limiter=self._stream_threads)
        except BaseException:
            self._stream_ended()
            raise
        return EventStream(events, self._stream_threads, self._stream_ended)

    def _stream_ended(self) -> None:
        self._streams -= 1


def warm(library: Library) -> None:
    """Load the models of some runs and compile what writing needs, so that a first click does not wait."""
    for name in list(library.runs)[:WARMED]:
        with contextlib.suppress(JaxcharError):
            model = library.model(Wanted(name, None))
            for top_k in (0, 1):  # drawing with filters is another program
                asked = {"model": name, "prompt": model.vocabulary.symbols[0], "length": 1, "top_k": top_k}
                list(sampling.write(model, checked(asked, requests.WRITE)))


async def _index(request: Request) -> Response:
    del request
    page = STATIC / "index.html"
    if not page.is_file():
        raise Refusal("the page's files are not installed; install jaxchar again", UNKNOWN)
    return FileResponse(page, media_type="text/html")


# ---- requests ------------------------------------------------------------------------------------


async def _asked_for(request: Request, name: str) -> dict[str, Any]:
    """Return what a request asks for, checked."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal("the request must be of the type application/json; send that header", WRONG_TYPE)
    return checked(parsed(await _body_of(request)), getattr(requests, name.upper()))


async def _body_of(request: Request) -> bytes:
    """Return the body of a request, if it is not too long and does not take too long."""
    parts, length = [], 0
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                length += len(part)
                if length > MOST_BYTES:
                    raise too_many_bytes()
                parts.append(part)
    except TimeoutError:
        raise Refusal(
            f"the request took more than {BODY_SECONDS:g} seconds; send it at once", TOO_SLOW
        ) from None
    return b"".join(parts)


def _model_in_address(request: Request) -> str:
    values = request.query_params.getlist("model")
    if len(values) != 1:
        raise Refusal("the address must name one model, as in ?model=NAME")
    return values[0]


def _busy(most: int) -> Refusal:
    return Refusal(f"the playground is busy with {most} requests; stop one, or wait", BUSY)


# ---- errors --------------------------------------------------------------------------------------


def _refused(request: Request, error: Exception) -> Response:
    del request
    return _error(str(error), getattr(error, "status", 400))


def _http_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return _error(IN_WORDS.get(error.status_code, error.detail), error.status_code)


def _left(request: Request, error: Exception) -> Response:
    """Answer one who has left, or whose request broke off: nobody reads it, and nothing is to be logged."""
    del request, error
    return _error("the request broke off; send it whole", MALFORMED)


def _failed(request: Request, error: Exception) -> Response:
    del request
    log.error("a request failed", exc_info=error)
    return _error(failure(error), 500)


def _error(message: str, status: int) -> Response:
    line = " ".join(message.split())
    return Response(encoded({"error": line}), status, media_type="application/json")


def _quiet(application: Callable) -> Callable:
    """Return an application that raises nothing once it has begun to answer.

    Then the error was answered and logged, or the client has left or did not read.
    """

    async def quiet(scope: Any, receive: Callable, send: Callable) -> None:
        has_begun = False

        async def send_on(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await application(scope, receive, send_on)
        except ClientDisconnect:
            pass
        except Exception:
            if not has_begun:
                raise

    return quiet
