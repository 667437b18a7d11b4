"""The system's browsers, driven by Playwright: Chromium, and Firefox as it is delivered."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox", "firefox-esr"),
}
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
# Firefox asks nobody for anything but the page. Which colours it prefers is a preference, too.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.events.testing.asyncClipboard": True,  # what was copied can be looked at
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}
SCHEME = "layout.css.prefers-color-scheme.content-override"
SCHEMES = {"dark": 0, "light": 1}
LEFT_ALONE = dict.fromkeys(("color_scheme", "reduced_motion", "forced_colors", "contrast"), "null")
SHIM = Path(__file__).parent / "older_firefox.cjs"
PATIENCE = 15_000  # milliseconds until something that must happen counts as missing
EXPECTED = (
    "Failed to load resource",  # what the console says of answers that are errors
    "settings blocked an inline style",  # which Playwright adds to the page for a picture of it, in Firefox
)


@contextmanager
def started():
    """Start Playwright, so that it gets on with a Firefox that lacks one of its commands."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: make test-browser"
    )
    before = os.environ.get("NODE_OPTIONS")
    os.environ["NODE_OPTIONS"] = f'{before or ""} --require "{SHIM}"'
    try:
        with playwright.sync_playwright() as running:
            yield Browsers(running)
    finally:
        os.environ.pop("NODE_OPTIONS") if before is None else os.environ.update(NODE_OPTIONS=before)


class Browsers:
    """Starts each browser once."""

    def __init__(self, playwright) -> None:
        """Take Playwright, which is running."""
        self._playwright = playwright
        self._running = {}

    def context(self, name: str, *, width: int = 1200, scheme: str = "light"):
        """Return a window with a profile of its own; without the browser, the test is skipped."""
        program = next(filter(None, map(shutil.which, PROGRAMS[name])), None)
        if program is None:
            package = {"firefox": "firefox-esr"}.get(name, name)
            pytest.skip(f"no {name.capitalize()} on this machine: apt-get install {package}")
        key = (name, scheme if name == "firefox" else "any")
        if key not in self._running:
            start = self._firefox if name == "firefox" else self._chromium
            self._running[key] = start(program, scheme)
        size = {"width": width, "height": 900}
        if name == "firefox":
            return self._running[key].new_context(viewport=size, **LEFT_ALONE)
        clipboard = ["clipboard-read", "clipboard-write"]
        return self._running[key].new_context(viewport=size, color_scheme=scheme, permissions=clipboard)

    def close(self) -> None:
        """End all."""
        for each in self._running.values():
            each.close()

    def _chromium(self, program: str, _: str):
        return self._playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))

    def _firefox(self, program: str, scheme: str):
        return self._playwright.firefox.launch(
            executable_path=program,
            channel="moz-firefox",  # by WebDriver BiDi, which every Firefox speaks
            firefox_user_prefs=PREFERENCES | {SCHEME: SCHEMES[scheme]},
        )


@contextmanager
def opened(browsers, browser: str, usual_address: str) -> Iterator[Callable]:
    """Yield a function that opens views in windows; then close them, and see that none has failed."""
    contexts, wrong = [], []

    def open_view(view="write", *, width=1200, scheme="light", more="", address=""):
        context = browsers.context(browser, width=width, scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.goto(f"{address or usual_address}#view={view}{more}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_view
    for context in contexts:
        context.close()
    assert [text for text in wrong if not any(each in text for each in EXPECTED)] == []
