"""The view Read in a browser: surprise and rank of each character, passages, two checkpoints, long texts."""

import math
import re

import pytest
from on_page import button, field, ground, put, text_of, told, wait_for
from playground import fake_model

pytestmark = pytest.mark.slow

FIRST = "The text as the first checkpoint reads it"
SECOND = "The text as the second checkpoint reads it"
TEXT = 'The "assert" statement is a convenient way\nto insert debugging assertions into a program.\n'


def read(page, text: str = TEXT) -> None:
    """Read a text and wait for the figures."""
    put(field(page, "Text"), text)
    button(page, "Read").click()
    wait_for(lambda: page.locator("#panel-read .figures b").count() > 0 and told(page) == "")


def inspected(page) -> str:
    """Return what is told of a character."""
    return re.sub(r"\s+", " ", page.locator("#panel-read .inspector").inner_text())


def test_a_character_tells_its_surprise_and_rank(show):
    page = show("read")
    read(page)
    surprises, ranks = fake_model.read(TEXT, 5)
    assert text_of(page, FIRST) == TEXT
    page.get_by_label(FIRST).focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    expected = f"surprise {surprises[6] / math.log(2):.2f} bits"
    assert f"s U+0073 character 7 {expected}" in inspected(page)
    assert inspected(page).endswith(f"rank {ranks[6]}")
    page.keyboard.press("Home")
    assert "none: the first character" in inspected(page)


def test_pointing_is_enough(show):
    page = show("read")
    read(page, "convenient")
    box = page.locator("#panel-read .paper").first.locator(".run").last.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    wait_for(lambda: "character 10" in inspected(page))


def test_the_arrow_keys_go_up_and_down_lines(show):
    page = show("read")
    read(page)
    page.get_by_label(FIRST).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert f"character {TEXT.index(chr(10)) + 1 + 3} " in inspected(page)
    page.keyboard.press("ArrowUp")
    assert "character 3 " in inspected(page)
    page.keyboard.press("End")
    assert f"line feed U+000A character {len(TEXT)} " in inspected(page)


def test_the_hardest_passage_is_found_in_the_text(show):
    page = show("read")
    read(page)
    page.locator(".passage").first.click()
    begin = page.evaluate("getSelection().toString()")
    assert len(begin) == 40 and begin in TEXT
    assert page.locator("#panel-read .passages h2").all_inner_texts() == [
        "Hardest passages",
        "Easiest passages",
    ]


def test_two_checkpoints_stand_side_by_side_or_as_their_difference(show, server):
    page = show("read")
    field(page, "With").select_option('["m1",500]')
    read(page)
    assert [body["step"] for name, body in server.asked if name == "read"] == [None, 500]
    assert text_of(page, SECOND) == TEXT
    assert page.locator("#panel-read .sides h2").all_inner_texts() == ["topics, best", "topics, step 500"]
    field(page, "Show").select_option("difference")
    assert page.get_by_label(SECOND).is_hidden()
    red, _, blue = ground(page.locator("#panel-read .run.n8").first)  # the weaker one is much more surprised
    assert red > blue
    deepest = [page.locator(f"#panel-read .run.{name}").count() for name in ("n8", "p8")]
    assert deepest[0] > deepest[1]


def test_a_text_can_be_dropped(show):
    page = show("read")
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.items.add(new File(['dropped \\u00e9\\r\\nline'], 'a.txt', {type: 'text/plain'}));
        document.querySelector('#panel-read .drop').dispatchEvent(new DragEvent('drop',
            {dataTransfer: data, bubbles: true, cancelable: true}));
    }""")
    wait_for(lambda: field(page, "Text").input_value() == "dropped \u00e9\nline")


def test_a_long_text_is_pasted_where_the_cursor_is(show):
    page = show("read")
    put(field(page, "Text"), "ab")
    field(page, "Text").evaluate("""area => {
        area.setSelectionRange(1, 1);
        const data = new DataTransfer();
        data.setData('text/plain', 'word\\n'.repeat(3000));
        const event = new ClipboardEvent('paste', {bubbles: true, cancelable: true});
        Object.defineProperty(event, 'clipboardData', {value: data}); // which Firefox does not take above
        area.dispatchEvent(event);
    }""")
    assert field(page, "Text").input_value() == "a" + "word\n" * 3000 + "b"


def test_of_a_dropped_book_the_beginning_is_taken_and_that_is_said(show):
    page = show("read")
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.items.add(new File(['\\u{1f600}'.repeat(20_005)], 'a.txt', {type: 'text/plain'}));
        document.querySelector('#panel-read .drop').dispatchEvent(new DragEvent('drop',
            {dataTransfer: data, bubbles: true, cancelable: true}));
    }""")
    wait_for(lambda: told(page) == "Only the first 20,000 characters were taken.")
    assert field(page, "Text").input_value() == "\U0001f600" * 20_000


def test_twenty_thousand_characters_stay_fluid(show):
    page = show("read")
    seconds = page.evaluate("""async () => {
        const { Paper } = await import('/static/paper.js');
        const paper = new Paper({ label: 'long' });
        document.querySelector('#panel-read .main').prepend(paper.element);
        const line = 'It was the best of times, it was the worst of times, said he.\\n';
        const all = Array.from(line.repeat(323)).slice(0, 20_000);
        const classes = all.map((_, index) => `s${(index * 7) % 8}`);
        const frame = () => new Promise(requestAnimationFrame);
        const taken = [];
        for (const what of [() => paper.set(all, classes), () => paper.recolour(classes.toReversed()),
            () => paper.append(Array.from('more'), ['s1', 's2', 's3', 's4']), () => paper.moveTo(15_000),
            () => { paper.element.scrollTop = 9_000; }]) {
            await frame();
            const begin = performance.now();
            what();
            paper.element.getBoundingClientRect();
            taken.push(performance.now() - begin);
        }
        return taken;
    }""")
    show_all, recolour, append, move, scroll = seconds
    assert max(show_all, recolour) < 1500, seconds  # milliseconds, on a machine that does other work, too
    assert max(append, move, scroll) < 400, seconds
