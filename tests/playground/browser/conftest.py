"""A real browser for the tests of the page, and a server that answers it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsers import opened, started
from playground.fake_server import FakeServer


@pytest.fixture(scope="session")
def browsers():
    """Return the system's browsers; each is started when the first test needs it."""
    with started() as found:
        yield found
        found.close()


@pytest.fixture
def browser() -> str:
    """Return the name of the browser that JAXCHAR_BROWSER asks for, else Chromium."""
    return os.environ.get("JAXCHAR_BROWSER") or "chromium"


@pytest.fixture(scope="session")
def one_server():
    """Serve the page, for all tests."""
    server = FakeServer()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(one_server) -> FakeServer:
    """Return the server as if nothing had been asked yet."""
    one_server.live.set()  # a stream of another test ends
    one_server.reset()
    return one_server


@pytest.fixture
def show(browsers, browser, server) -> Iterator[Callable]:
    """Return a function that opens a view in a window of a width; at the end no page may have failed."""
    with opened(browsers, browser, server.address) as open_view:
        yield open_view


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """Return the folder for pictures of the page where JAXCHAR_PICTURES asks for them."""
    asked = os.environ.get("JAXCHAR_PICTURES")
    return Path(asked) if asked else None
