"""A real browser for the tests of the page, and a server that answers it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playground.fake_server import FakeServer

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 15_000  # milliseconds until something that must happen counts as missing
REFUSALS = "Failed to load resource"  # what the console says of answers that are errors


@pytest.fixture(scope="session")
def browser():
    """Start the system's Chromium; each context that is made of it has a profile of its own."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: make test-browser"
    )
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


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
def show(browser, server) -> Callable:
    """Return a function that opens a view in a window of a width; at the end no page may have failed."""
    contexts, wrong = [], []

    def open_view(view="write", *, width=1200, scheme="light", more="", address=""):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.goto(f"{address or server.address}#view={view}{more}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_view
    for context in contexts:
        context.close()
    assert [text for text in wrong if REFUSALS not in text] == []


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """Return the folder for pictures of the page where JAXCHAR_PICTURES asks for them."""
    asked = os.environ.get("JAXCHAR_PICTURES")
    return Path(asked) if asked else None
