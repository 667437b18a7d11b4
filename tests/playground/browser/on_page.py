"""What the tests of the page see: texts without the signs for what cannot be seen, and colours of pixels."""

import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image


def view(page):
    """Return the view that is seen."""
    return page.locator("[role=tabpanel]:not([hidden])")


def button(page, name: str):
    """Return the button of a name in the view that is seen."""
    return view(page).get_by_role("button", name=name, exact=True)


def field(page, name: str):
    """Return the field of a name in the view that is seen; after the name may stand a hint."""
    return (
        view(page)
        .locator("label.field")
        .filter(has=page.get_by_text(name, exact=True))
        .locator("input, select, textarea")
    )


def put(locator, value: str) -> None:
    """Fill a field. (Playwright writes behind what stands in a field of numbers of the system's Firefox.)"""
    locator.fill(value)
    if locator.input_value() != value:
        locator.evaluate(
            """(field, value) => {
                field.value = value;
                field.dispatchEvent(new Event('input', { bubbles: true }));
                field.dispatchEvent(new Event('change', { bubbles: true }));
            }""",
            value,
        )


def told(page) -> str:
    """Return what the view's first status line says."""
    return view(page).locator(".status").first.inner_text()


def text_of(page, label: str) -> str:
    """Return the text of a paper."""
    return page.get_by_label(label, exact=True).evaluate("paper => paper.querySelector('.flow').textContent")


def wait_for(condition: Callable[[], object], seconds: float = 15) -> None:
    """Wait until something is true. (A condition in the page would be a script, which its policy refuses.)"""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def pixels(locator) -> np.ndarray:
    """Return an element as it is drawn, [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(int)


def ground(locator) -> tuple[int, ...]:
    """Return the colour that most of an element has: what is behind its letters."""
    colours, counts = np.unique(pixels(locator) @ [65536, 256, 1], return_counts=True)
    most = int(colours[counts.argmax()])
    return most >> 16, most >> 8 & 255, most & 255


def luminance(colour: tuple[int, ...]) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the contrast of WCAG 2.2, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
