"""The view Write in a browser: streams, colours, branches, undo, what goes to the server."""

import math
import re

import pytest
from on_page import button, field, ground, put, text_of, told, wait_for
from playground import fake_model

pytestmark = pytest.mark.slow

PAPER = "The text that is written"
STATUS = "#panel-write .status"


def written(length: int, seed: int = 0, prompt: str = "The ") -> str:
    """Return what the server's model writes after a prompt."""
    text = prompt
    for place in range(length):
        text += fake_model.draw(text, fake_model.ORDERS[fake_model.BEST], seed, place)[0]
    return text


def write(page, length: int = 40) -> None:
    """Write a text and wait for its end."""
    put(field(page, "Length"), str(length))
    button(page, "Write").click()
    wait_for(lambda: "characters" in told(page))


def click_character(page, index: int) -> None:
    """Click the middle of a character of the text."""
    box = page.evaluate(
        """index => {
            const runs = [...document.querySelectorAll('#panel-write .run')];
            let place = 0;
            for (const run of runs) {
                const all = run.classList.contains('plain') ? Array.from(run.textContent) : [run.textContent];
                if (place + all.length > index) {
                    const range = document.createRange();
                    const begin = all.slice(0, index - place).join('').length;
                    range.setStart(run.firstChild, begin);
                    range.setEnd(run.firstChild, begin + all[index - place].length);
                    const rect = range.getBoundingClientRect();
                    return [rect.left + rect.width / 2, rect.top + rect.height / 2];
                }
                place += all.length;
            }
        }""",
        index,
    )
    page.mouse.click(*box)


def test_text_streams_in_and_is_what_the_seed_writes(show, server):
    page = show()
    server.goes_on.clear()
    put(field(page, "Length"), "60")
    button(page, "Write").click()
    page.wait_for_selector("#panel-write .run:not(.prompt)")
    assert text_of(page, PAPER) == written(4)  # not yet the whole
    server.goes_on.set()
    wait_for(lambda: told(page) == "60 characters.")
    assert text_of(page, PAPER) == written(60)


def test_every_field_goes_to_the_server(show, server):
    page = show()
    fields = {
        "Temperature": "0.7",
        "Length": "9",
        "Seed": "12",
        "Top-k": "5",
        "Top-p": "0.9",
        "Min-p": "0.02",
    }
    for name, value in fields.items():
        put(field(page, name), value)
    put(field(page, "Stop at"), r"\n\n")
    put(field(page, "Prompt"), "If x")
    page.locator("#step").select_option("2000")
    button(page, "Write").click()
    wait_for(lambda: any(name == "write" for name, _ in server.asked))
    asked = next(body for name, body in server.asked if name == "write")
    assert asked == {
        "model": "m1",
        "step": 2000,
        "prompt": "If x",
        "continued": "",
        "held": [],
        "temperature": 0.7,
        "length": 9,
        "seed": 12,
        "top_k": 5,
        "top_p": 0.9,
        "min_p": 0.02,
        "stop": ["\n\n"],
        "memory": 0,
    }


def test_stop_frees_the_server(show, server):
    page = show()
    server.pause = 0.05
    put(field(page, "Length"), "4000")
    button(page, "Write").click()
    page.wait_for_selector("#panel-write .run:not(.prompt)")
    button(page, "Stop").click()
    wait_for(lambda: server.broken_off == ["write"])
    assert page.locator(STATUS).inner_text().endswith("stopped by you.")
    assert button(page, "Stop").is_disabled()


def test_the_more_surprising_the_deeper_the_colour(show, server):
    server.writes = "abcdefgh"  # 0, 1, ... 7 nats
    page = show()
    write(page, 8)
    runs = page.locator("#panel-write .run:not(.prompt)")
    classes = [runs.nth(index).get_attribute("class") for index in range(runs.count())]
    assert classes == [
        "run plain",
        "run plain s2",
        "run plain s3",
        *(f"run plain s{n}" for n in (4, 5, 6, 7)),
    ]
    assert runs.nth(6).inner_text() == "gh"  # of one shade: one run
    colours = [ground(runs.nth(index)) for index in range(runs.count())]
    assert colours[0] == (255, 255, 255)
    blues = [blue for _, _, blue in colours]
    assert blues == sorted(blues, reverse=True) and len(set(blues)) == len(blues)  # ever more orange


def test_a_click_shows_what_else_could_stand_there(show, server):
    page = show()
    write(page)
    click_character(page, 14)
    items = page.get_by_role("menuitem")
    items.first.wait_for()
    shares = fake_model.probabilities(written(40)[:14], 5)
    best = max(shares.values())
    assert items.count() == 12
    assert items.first.inner_text().split("\n")[-1] == f"{100 * best:.1f} %"
    present = page.locator("[role=menuitem][aria-current]")
    assert page.evaluate("document.activeElement.role") == "menuitem" and present.count() <= 1
    page.keyboard.press("Escape")
    assert page.get_by_role("menu").is_hidden()


def test_another_character_branches_the_text_and_undo_goes_back(show, server):
    page = show()
    write(page)
    first = text_of(page, PAPER)
    click_character(page, 14)
    page.get_by_role("menuitem").nth(3).click()
    wait_for(lambda: page.locator(".branch").count() == 2 and told(page) == "40 characters.")
    second = text_of(page, PAPER)
    ranked = sorted(fake_model.probabilities(first[:14], 5).items(), key=lambda each: -each[1])
    assert second[:15] == first[:14] + ranked[3][0] and len(second) == 44
    asked = [body for name, body in server.asked if name == "write"][-1]
    assert asked["continued"] == second[4:15] and asked["length"] == 29
    button(page, "Undo").click()
    assert text_of(page, PAPER) == first and button(page, "Undo").is_disabled()
    page.locator(".branch").nth(1).click()  # the tree keeps it
    assert text_of(page, PAPER) == second
    assert page.locator(".branch[aria-current]").inner_text().startswith("at 11")


def test_the_surprise_of_a_chosen_character_is_that_of_its_probability(show, server):
    page = show()
    write(page)
    click_character(page, 14)
    page.get_by_role("menuitem").nth(3).click()
    wait_for(lambda: page.locator(".branch").count() == 2)
    ranked = sorted(fake_model.probabilities(written(40)[:14], 5).values(), reverse=True)
    told = page.locator("#panel-write .inspector").inner_text()
    assert f"surprise {-math.log2(ranked[3]):.2f} bits" in re.sub(r"\s+", " ", told)


def test_it_can_be_written_on_and_the_text_is_that_of_one_stroke(show, server):
    page = show()
    write(page, 20)
    button(page, "Write on").click()
    wait_for(lambda: told(page) == "40 characters.")
    assert text_of(page, PAPER) == written(40)
    assert len([body for name, body in server.asked if name == "write"][-1]["continued"]) == 20


UNUSUAL = "a\u202eb\x07\n\U0001f600e\u0301"


def test_a_text_is_copied_as_it_was_written(show, server):
    server.writes = UNUSUAL
    page = show()
    write(page, len(UNUSUAL))
    button(page, "Copy").click()
    wait_for(lambda: told(page) == "Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "The " + UNUSUAL


def test_a_text_is_saved_as_it_was_written(show, server, browser):
    if browser == "firefox":
        pytest.skip("Firefox does not tell Playwright of files that a page has made")
    server.writes = UNUSUAL
    page = show()
    write(page, len(UNUSUAL))
    with page.expect_download() as saved:
        button(page, "Save").click()
    assert saved.value.path().read_text(encoding="utf-8") == "The " + UNUSUAL
    assert saved.value.suggested_filename == "topics.txt"


def test_an_error_is_told_in_a_line(show, server):
    page = show()
    server.fails = "the prompt has a character that the model does not know: '\u20ac'"
    button(page, "Write").click()
    page.wait_for_selector(f"{STATUS}.error")
    assert page.locator(STATUS).inner_text() == server.fails
    server.fails = None
    write(page, 8)  # and it goes on
    assert text_of(page, PAPER) == written(8)


def test_an_error_in_the_midst_of_a_text_is_told_and_the_text_stays(show, server):
    page = show()
    server.breaks = "the checkpoint was deleted"
    button(page, "Write").click()
    page.wait_for_selector(f"{STATUS}.error")
    assert page.locator(STATUS).inner_text() == server.breaks
    assert text_of(page, PAPER) == written(4)
    assert button(page, "Stop").is_disabled()


def test_a_memory_is_offered_where_the_model_has_one(show, server):
    page = show()
    assert field(page, "Memory").is_hidden()
    page.locator("#model").select_option("m2")
    put(field(page, "Memory"), "0.5")
    write(page, 8)
    asked = [body for name, body in server.asked if name == "write"][-1]
    assert (asked["model"], asked["memory"]) == ("m2", 0.5)
    page.get_by_role("tab", name="Read").click()
    field(page, "Memory").select_option("growing")
    button(page, "Read").click()
    wait_for(lambda: [body["memory"] for name, body in server.asked if name == "read"] == ["growing"])


def test_a_reload_shows_the_same_view_and_model(show, server):
    page = show()
    page.locator("#model").select_option("m2")
    page.locator("#step").select_option("500")
    page.get_by_role("tab", name="Cells").click()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.locator("#panel-cells").is_visible()
    assert (page.locator("#model").input_value(), page.locator("#step").input_value()) == ("m2", "500")
