"""How the page looks: widths, light and dark, contrasts; and pictures of it where they are asked for.

JAXCHAR_PICTURES=docs/pictures/playground writes the pictures. JAXCHAR_PLAY may name the address of a
server to take them of.
"""

import os

import pytest
from on_page import button, contrast, field, ground, put, told, wait_for
from PIL import Image

pytestmark = pytest.mark.slow

VIEWS = ("write", "read", "cells", "learning", "live")
SCHEMES = ("light", "dark")
TEXT = 4.5  # least contrast of WCAG AA
CONTROLS = 3.0
LARGEST_PICTURE = 150_000  # bytes
PASSAGE = """KING RICHARD III:
Now is the winter of our discontent
Made glorious summer by this sun of York;
And all the clouds that lour'd upon our house
In the deep bosom of the ocean buried.
"""
COLOURS = 224  # of a picture: small files


def fill(page, view: str) -> None:
    """Let a view show something."""
    if view == "write":
        button(page, "Write").click()
        wait_for(lambda: "characters." in told(page), 60)
    elif view == "read":
        button(page, "Read").click()
        wait_for(lambda: page.locator("#panel-read .figures b").count() > 0, 60)
    elif view == "cells":
        button(page, "Find").click()
        page.locator(".units").wait_for(timeout=60_000)
    elif view == "learning":
        wait_for(lambda: told(page) == "" and page.locator("#panel-learning .run").count() > 4, 90)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("width", [400, 760, 1600])
def test_nothing_is_wider_than_the_window(show, view, width):
    page = show(view, width=width)
    fill(page, view)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.locator("button, input, select, textarea, .paper, canvas, svg").evaluate_all("""all => all
        .filter(each => each.checkVisibility()).filter(each => {
            const { left, right } = each.getBoundingClientRect();
            return right > innerWidth + 1 || left < -1;
        }).map(each => each.outerHTML.slice(0, 80))""")
    assert outside == []


def test_the_columns_stand_side_by_side_only_where_there_is_room(show):
    for width, beside in ((400, False), (1600, True)):
        page = show("write", width=width)
        main, aside = (page.locator(f"#panel-write > {name}").bounding_box() for name in (".main", "aside"))
        assert (aside["x"] > main["x"] + main["width"]) == beside


def test_dark_is_dark_and_light_is_light(show):
    for scheme in SCHEMES:
        page = show("write", scheme=scheme)
        assert (sum(ground(page.locator("body"))) < 150) == (scheme == "dark")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_letters_can_be_read_on_every_shade(show, scheme):
    page = show("write", scheme=scheme)
    names = ["", *(f"s{n}" for n in range(1, 8)), *(f"{sign}{n}" for sign in "pn" for n in range(1, 9))]
    page.evaluate(
        """names => document.body.replaceChildren(...names.map(name => {
            const box = document.createElement('div');
            box.className = `paper ${name}`;
            box.textContent = 'x';
            return box;
        }))""",
        names,
    )
    ink = colour_of(page, ".paper", "color")
    for index, name in enumerate(names):
        assert contrast(ground(page.locator(".paper").nth(index)), ink) >= TEXT, name


@pytest.mark.parametrize("scheme", SCHEMES)
def test_words_and_edges_have_contrast(show, scheme):
    page = show("write", scheme=scheme)
    page_colour, paper = (
        colour_of(page, "html", "background-color"),
        colour_of(page, ".panel", "background-color"),
    )
    for selector in ("h1 span", "#about", ".field .name", "[role=tab][aria-selected=true]", ".inspector"):
        for behind in (page_colour, paper):
            assert contrast(colour_of(page, selector, "color"), behind) >= TEXT, selector
    for behind in (page_colour, paper):
        assert contrast(colour_of(page, "input[name=seed]", "border-top-color"), behind) >= CONTROLS
    primary = [colour_of(page, ".primary", name) for name in ("color", "background-color")]
    assert contrast(*primary) >= TEXT


def colour_of(page, selector: str, name: str) -> tuple[int, ...]:
    """Return a colour of the style sheet, painted."""
    return tuple(
        page.locator(selector).first.evaluate(
            """(element, name) => {
            const canvas = document.createElement('canvas');
            const context = canvas.getContext('2d');
            context.fillStyle = getComputedStyle(element).getPropertyValue(name);
            context.fillRect(0, 0, 1, 1);
            return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
            name,
        )
    )


def stage(page, view: str) -> None:
    """Show what a view is for."""
    fill(page, view)
    if view == "write":
        paper = page.get_by_label("The text that is written")
        for place, choice in ((40, 2), (90, 0)):
            paper.press("Home")
            for _ in range(place):
                paper.press("ArrowRight")
            paper.press("Enter")
            page.get_by_role("menuitem").first.wait_for()
            if choice:
                page.get_by_role("menuitem").nth(choice).click()
                wait_for(lambda: "characters." in told(page), 60)
    elif view == "read":
        put(field(page, "Text"), PASSAGE)
        button(page, "Read").click()
        wait_for(lambda: page.locator("#panel-read .run").count() > 60 and told(page) == "", 60)
        page.locator("#panel-read .paper").first.press("Home")
        for _ in range(19):
            page.keyboard.press("ArrowRight")
    elif view == "cells":
        page.locator("#panel-cells .units button").first.click()
        page.wait_for_timeout(1000)
    elif view == "live":
        wait_for(lambda: len(page.locator("#panel-live .run").all()) > 20, 60)
        page.wait_for_timeout(1000)


@pytest.mark.parametrize("view", VIEWS)
def test_pictures(show, pictures, view):
    if pictures is None:
        pytest.skip("no pictures are asked for: JAXCHAR_PICTURES=docs/pictures/playground")
    pictures.mkdir(parents=True, exist_ok=True)
    for width, scheme in ((1200, "light"), (400, "dark")):
        page = show(view, width=width, scheme=scheme, address=os.environ.get("JAXCHAR_PLAY", ""))
        stage(page, view)
        page.mouse.move(0, 0)
        page.evaluate("scrollTo(0, 0)")
        path = pictures / f"{view}_{scheme}.png"
        page.screenshot(path=path)
        Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)
        assert path.stat().st_size < LARGEST_PICTURE
