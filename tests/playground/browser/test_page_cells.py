"""The view Cells in a browser: colours by pixel, the strip, units found, marked and held."""

import pytest
from on_page import button, field, ground, pixels, put, told, wait_for
from playground import fake_model

pytestmark = pytest.mark.slow

PAPER = "The text coloured by one unit"
TEXT = 'He said "go on" and went.\nNow.'


def show_text(page, text: str = TEXT) -> None:
    """Colour a text."""
    page.locator("#panel-cells summary").click()
    put(field(page, "Text"), text)
    button(page, "Show this text").click()
    wait_for(lambda: page.get_by_label(PAPER).locator(".flow").evaluate("flow => flow.textContent") == text)


def choose(page, unit: int) -> None:
    """Choose a unit by its number."""
    put(field(page, "Unit"), str(unit))


def run_of(page, character: str):
    """Return the first run that begins with a character."""
    return page.get_by_label(PAPER).locator(".run").filter(has_text=character).first


def test_two_hues_tell_the_sign_and_zero_is_white(show):
    page = show("cells")
    show_text(page)
    choose(page, 1)  # on inside quotation marks
    inside, outside = ground(run_of(page, '"go on')), ground(run_of(page, "He said"))
    assert inside[2] > inside[0] + 60  # blue
    assert outside[0] > outside[2] + 60  # orange
    assert abs(sum(inside) - sum(outside)) < 250  # of about the same depth
    choose(page, 2)  # on at capitals, else zero
    assert ground(run_of(page, "e said")) == (255, 255, 255)
    assert run_of(page, "H").get_attribute("class") == "run plain p8"


def test_the_unit_is_kept_in_the_address(show, server):
    page = show("cells", more="&layer=1&unit=7&part=c")
    assert field(page, "Unit").input_value() == "7" and field(page, "Part").input_value() == "c"
    wait_for(lambda: any(name == "cells" for name, _ in server.asked))
    asked = [body for name, body in server.asked if name == "cells"][-1]
    assert (asked["layer"], asked["part"]) == (1, "c")
    choose(page, 9)
    wait_for(lambda: {"unit=9", "layer=1"} <= set(page.evaluate("location.hash.slice(1)").split("&")))


def test_the_strip_shows_all_units_and_a_click_chooses_one(show):
    page = show("cells")
    show_text(page)
    choose(page, 5)  # which is seen without scrolling
    canvas = page.locator(".strip canvas")
    drawn = pixels(page.locator(".strip"))[1:, 1:]  # without its border
    values = fake_model.activations(TEXT, fake_model.LAYERS[0])
    across, down = drawn.shape[1], canvas.bounding_box()["height"] / fake_model.LAYERS[0]
    each = 12  # pixels a character: a short text fills the strip
    assert len(TEXT) * each < across
    place, unit = TEXT.index("go"), 1
    red, _, blue = drawn[int((unit + 0.5) * down), int((place + 0.5) * each)]
    assert values[place, unit] > 0 and blue > red
    red, _, blue = drawn[int((unit + 0.5) * down), int(1.5 * each)]
    assert values[1, unit] < 0 and red > blue
    canvas.click(position={"x": (place + 0.5) * each, "y": 3.5 * down})
    assert field(page, "Unit").input_value() == "3"
    assert f"character {place + 1}" in " ".join(page.locator(".strip-box .inspector").inner_text().split())


def test_the_strip_zooms_and_goes_along_a_long_text(show):
    page = show("cells")
    show_text(page, (TEXT + "\n") * 60)
    place = page.get_by_label("Where in the text")
    before = int(place.get_attribute("max"))
    button(page, "Zoom in").click()
    assert int(place.get_attribute("max")) > before
    shown = pixels(page.locator(".strip canvas"))
    place.evaluate("slider => { slider.value = 700; slider.dispatchEvent(new Event('input')); }")
    assert (pixels(page.locator(".strip canvas")) != shown).any()
    for _ in range(9):
        button(page, "Zoom out").click()
    assert place.is_disabled()  # all of it is seen
    page.locator(".strip canvas").focus()
    page.keyboard.press("ArrowDown")
    assert field(page, "Unit").input_value() == "1"


def test_a_cell_is_found_and_shown(show, server):
    page = show("cells")
    server.pause = 0.05
    field(page, "That tells").select_option("quotes")
    assert "closing double quote" in page.locator(".find").inner_text()
    button(page, "Find").click()
    bar = page.get_by_label("How much is read")
    bar.wait_for()
    page.locator(".units").wait_for()
    assert bar.is_hidden()
    assert [body["pattern"] for name, body in server.asked if name == "find"] == ["quotes"]
    row = page.locator(".units tbody tr").first
    assert row.inner_text().split() == ["0\u00b71", "0.990", "high"]
    row.get_by_role("button").click()
    wait_for(lambda: field(page, "Unit").input_value() == "1")


def test_passages_are_marked_with_the_keyboard_and_searched_for(show, server):
    page = show("cells")
    show_text(page)
    button(page, "Mark").click()
    assert told(page).startswith("Select a passage of the text first")
    page.get_by_label(PAPER).focus()
    for _ in range(TEXT.index("go")):
        page.keyboard.press("ArrowRight")
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("getSelection().toString()") == "go on"
    button(page, "Mark").click()
    assert told(page) == "1 passage marked."
    assert "".join(page.locator(".run.marked").all_inner_texts()) == "go on"
    button(page, "Find").click()
    page.locator(".units").wait_for()
    asked = [body for name, body in server.asked if name == "find"][-1]
    begin = TEXT.index("go")
    assert asked["marked"] == {"text": TEXT, "spans": [[begin, begin + 5]]} and asked["pattern"] is None


def test_a_unit_is_held_and_the_text_becomes_another(show, server):
    page = show("cells")
    choose(page, 17)
    page.locator(".hold input[type=range]").evaluate(
        "slider => { slider.value = 0.5; slider.dispatchEvent(new Event('input')); }"
    )
    button(page, "Hold this unit").click()
    status = page.locator("#panel-cells .main .panel .status")
    wait_for(lambda: "they part at character" in status.inner_text())
    held = [{"layer": 0, "unit": 17, "value": 0.5}]
    asked = [body for name, body in server.asked if name == "write"]
    assert sorted((body["held"] for body in asked), key=len) == [[], held]
    assert len({(body["seed"], body["prompt"]) for body in asked}) == 1
    assert [body for name, body in server.asked if name == "cells"][-1]["held"] == held
    button(page, "Release").click()
    wait_for(lambda: [body for name, body in server.asked if name == "cells"][-1]["held"] == [])


def test_colours_follow_a_held_unit(show):
    page = show("cells")
    show_text(page)
    choose(page, 1)
    button(page, "Switch it off").click()
    wait_for(lambda: page.get_by_label(PAPER).locator(".run:is(.p8, .n8)").count() == 0)
