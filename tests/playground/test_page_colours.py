"""The colours of the page, from its style sheet: contrasts of WCAG AA, and what the colour-blind can tell."""

import re
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

SHEET = Path(__file__).parents[2] / "jaxchar" / "playground" / "static" / "colours.css"
LIGHT, DARK = SHEET.read_text(encoding="utf-8").split("@media (prefers-color-scheme: dark)")
TEXT, CONTROLS = 4.5, 3.0  # least contrasts of WCAG 2.2 AA: 1.4.3 and 1.4.11
# From linear RGB to that which is seen without one kind of cones (Machado, Oliveira and Fernandes 2009).
SEEN = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# Björn Ottosson's Oklab (2020): linear RGB to cones, and their cube roots to lightness and two hues.
CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
HUES = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def linear(colour: str) -> np.ndarray:
    """Return a colour of the style sheet as linear RGB."""
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(colour: np.ndarray) -> np.ndarray:
    return HUES @ np.cbrt(CONES @ colour)


def mixed(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Return what color-mix(in oklab) makes of two colours, as linear RGB."""
    return np.linalg.solve(CONES, np.linalg.solve(HUES, share * oklab(one) + (1 - share) * oklab(other)) ** 3)


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    low, high = sorted(float(np.clip(each, 0, 1) @ [0.2126, 0.7152, 0.0722]) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def variables(sheet: str) -> dict[str, np.ndarray]:
    return {name: linear(colour) for name, colour in re.findall(r"--([\w-]+): (#[0-9a-f]{6});", sheet)}


SCHEMES = {"light": variables(LIGHT), "dark": variables(LIGHT) | variables(DARK)}


def shades(colours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the colours behind characters, by their classes."""
    found = {}
    mix = r"\.(\w\d) \{ background: color-mix\(in oklab, var\(--(\w+)\) ([\d.]+)%, var\(--paper\)\); \}"
    for name, of, share in re.findall(mix, DARK):
        found[name] = mixed(colours[of], colours["paper"], float(share) / 100)
    for name, of in re.findall(r"\.(\w\d) \{ background: var\(--(\w+)\); \}", DARK):
        found[name] = colours[of]
    assert len(found) == 7 + 8 + 8
    return found


def test_every_colour_of_the_light_page_has_a_dark_one():
    assert variables(LIGHT).keys() == variables(DARK).keys() and len(variables(DARK)) >= 12


@pytest.mark.parametrize("scheme", SCHEMES)
def test_words_have_contrast_on_all_that_is_behind_them(scheme):
    colours = SCHEMES[scheme]
    for word, behind in product(("ink", "soft", "accent", "wrong"), ("page", "paper", "wash")):
        assert contrast(colours[word], colours[behind]) >= TEXT, (word, behind)
    assert contrast(colours["on-accent"], colours["accent"]) >= TEXT


@pytest.mark.parametrize("scheme", SCHEMES)
def test_edges_of_controls_and_the_focus_have_contrast(scheme):
    colours = SCHEMES[scheme]
    for edge, behind in product(("edge", "accent"), ("page", "paper")):
        assert contrast(colours[edge], colours[behind]) >= CONTROLS, (edge, behind)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_letters_can_be_read_on_every_shade_of_the_sheet(scheme):
    colours = SCHEMES[scheme]
    for name, behind in shades(colours).items():
        assert contrast(colours["ink"], behind) >= TEXT, name


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", SEEN)
def test_the_colour_blind_tell_the_signs_and_the_depths(scheme, kind):
    found = {
        name: oklab(np.clip(SEEN[kind] @ shade, 0, 1)) for name, shade in shades(SCHEMES[scheme]).items()
    }
    for depth in range(4, 9):  # of two weak ones, both are nearly zero
        assert np.linalg.norm(found[f"p{depth}"] - found[f"n{depth}"]) > 0.05, depth
    assert np.linalg.norm(found["p8"] - found["n8"]) > 0.12
    for letter, most in (("s", 7), ("p", 8), ("n", 8)):
        for one, other in pairwise(range(1, most + 1)):
            assert np.linalg.norm(found[f"{letter}{one}"] - found[f"{letter}{other}"]) > 0.01, (letter, one)
