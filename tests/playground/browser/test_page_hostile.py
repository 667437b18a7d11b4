"""Whatever a model writes or a text holds is shown on the page, and never run."""

from urllib.parse import urlsplit

import pytest
from on_page import button, field, put, text_of, told, wait_for

pytestmark = pytest.mark.slow

MARKUP = '<script>window.caught = 1</script><img src=x onerror="window.caught = 2"><b>x</b>&lt;'
REORDERING = "a\u202egnp.exe\u202c \u2067b\u2069 \u200fc"
UNSEEN = "nul\x00 bell\x07 esc\x1b[31m del\x7f c1\x9b soft\xad zero\u200bwidth\ufeff line\u2028end"
JOINED = "e\u0301 \U0001f468\U0001f3fd\u200d\U0001f680 \U0001f1ee\U0001f1f1 \u0928\u093f"
RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd, world"
HALF = "\ud800 and \udc00"


def write(page, server, text: str) -> None:
    """Let the model write a text."""
    server.writes = text
    put(field(page, "Length"), str(len(text)))
    button(page, "Write").click()
    wait_for(lambda: "characters" in told(page))


@pytest.mark.parametrize("view", ["write", "read", "cells"])
def test_markup_is_text(show, server, view):
    page = show(view)
    if view == "write":
        write(page, server, MARKUP)
        paper = "The text that is written"
    else:
        if view == "cells":
            page.locator("#panel-cells summary").click()
        put(field(page, "Text"), MARKUP)
        button(page, "Read" if view == "read" else "Show this text").click()
        paper = (
            "The text as the first checkpoint reads it" if view == "read" else "The text coloured by one unit"
        )
    wait_for(lambda: text_of(page, paper).endswith(MARKUP))
    assert page.evaluate("window.caught") is None
    assert page.locator("main :is(script, img, b:has(script))").count() == 0


def test_names_alternatives_and_branches_are_text_too(show, server):
    page = show("write", more="&model=m2")
    assert page.locator("#model option").nth(1).inner_text() == "<b>second</b>"
    put(field(page, "Prompt"), "<b>p</b>")
    write(page, server, MARKUP)
    assert page.locator(".branch bdi").first.inner_text().startswith("<b>p</b><script>")
    server.fails = "<img src=x onerror=1>"
    button(page, "Write").click()
    wait_for(lambda: told(page) == server.fails)


def test_signs_that_reorder_text_are_shown_and_do_not_work(show, server):
    page = show()
    write(page, server, REORDERING)
    signs = page.locator("#panel-write .run.sign").all_inner_texts()
    assert signs == ["U+202E", "U+202C", "U+2067", "U+2069", "U+200F"]
    shown = text_of(page, "The text that is written")
    assert not set(shown) & set("\u202e\u202c\u2067\u2069\u200f")
    runs = page.locator("#panel-write .run")
    lefts = runs.evaluate_all("runs => runs.map(run => run.getBoundingClientRect().left)")
    assert lefts == sorted(lefts)  # still from left to right


def test_what_cannot_be_seen_has_a_sign(show, server):
    page = show()
    write(page, server, UNSEEN)
    signs = page.locator("#panel-write .run.sign").all_inner_texts()
    assert signs == [
        "\u2400", "\u2407", "\u241b", "\u2421", "U+009B", "U+00AD", "U+200B", "U+FEFF", "U+2028",
    ]  # fmt: skip


def test_each_character_is_whole_and_counted_as_python_counts(show, server):
    page = show()
    put(field(page, "Prompt"), "")
    write(page, server, JOINED)
    page.get_by_label("The text that is written").press("Home")
    for index, character in enumerate(JOINED):
        told_of = page.locator("#panel-write .inspector").inner_text()
        assert f"U+{ord(character):04X}" in told_of and str(index + 1) in told_of
        page.keyboard.press("ArrowRight")
    accent = page.locator("#panel-write .run", has_text="\u0301").first
    assert accent.inner_text().startswith("e\u0301")  # not torn from its letter


def test_right_to_left_text_turns_its_own_line_only(show, server):
    page = show()
    put(field(page, "Prompt"), "")
    write(page, server, RIGHT_TO_LEFT + "\n" + "x" * 20)
    box = page.get_by_label("The text that is written").bounding_box()
    hebrew = page.locator("#panel-write .run").first.bounding_box()
    latin = page.locator("#panel-write .run", has_text="xx").first.bounding_box()
    assert hebrew["x"] > box["x"] + box["width"] / 2  # begins at the right
    assert latin["x"] < box["x"] + box["width"] / 2


def test_half_characters_do_not_stop_the_page(show, server):
    page = show()
    write(page, server, HALF)
    assert page.locator("#panel-write .run.sign").all_inner_texts() == ["U+D800", "U+DC00"]


def test_the_page_asks_nobody_else(show, server):
    page = show()
    hosts, refused = set(), []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("console", lambda message: refused.append(message.text))
    page.reload()
    for name in ("Read", "Cells", "Learning", "Live", "Write"):
        page.get_by_role("tab", name=name).click()
    write(page, server, "ok")
    assert {host for host in hosts if host} == {urlsplit(server.address).netloc}
    assert refused == []  # nothing that the policy would have kept from running
    assert page.evaluate(
        "performance.getEntriesByType('resource').every(each => new URL(each.name).origin === origin)"
    )
