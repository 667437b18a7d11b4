"""The views Learning and Live in a browser: the slider over checkpoints, and a run that goes on."""

import time

import pytest
from on_page import button, field, pixels, put, text_of, told, wait_for
from playground import fake_model

pytestmark = pytest.mark.slow

PAPER = "What the checkpoint writes"
STEPS = list(fake_model.ORDERS)[:-1]  # the last one comes later


def slide(page, index: int) -> None:
    """Move the slider, as a hand would."""
    page.get_by_label("Checkpoint", exact=True).last.evaluate(
        "(slider, index) => { slider.value = index; slider.dispatchEvent(new Event('input')); }", index
    )


def written(step: int, length: int, seed: int = 0) -> str:
    """Return what a checkpoint writes."""
    text = "The "
    for place in range(length):
        text += fake_model.draw(text, fake_model.ORDERS[step], seed, place)[0]
    return text


def test_the_slider_shows_the_same_prompt_and_seed_at_every_checkpoint(show, server):
    page = show("learning")
    wait_for(lambda: told(page) == "" and len(text_of(page, PAPER)) > 4)
    for index, step in enumerate(STEPS):
        slide(page, index)
        assert text_of(page, PAPER) == written(step, 300)  # at once: nothing is asked now
        assert page.locator("#panel-learning .step").inner_text() == f"step {step:,}"
    asked = [body for name, body in server.asked if name == "write"]
    assert sorted(body["step"] for body in asked) == STEPS
    assert {(body["seed"], body["prompt"], body["length"]) for body in asked} == {(0, "The ", 300)}


def test_a_slide_takes_no_second(show):
    page = show("learning")
    wait_for(lambda: told(page) == "" and len(text_of(page, PAPER)) > 4)
    begin = time.monotonic()
    for index in range(len(STEPS)):
        slide(page, index)
    assert time.monotonic() - begin < 1


def test_another_seed_is_another_text(show, server):
    page = show("learning")
    wait_for(lambda: told(page) == "" and len(text_of(page, PAPER)) > 4)
    put(field(page, "Seed"), "7")
    put(field(page, "Length"), "20")
    button(page, "Write at every checkpoint").click()
    wait_for(lambda: text_of(page, PAPER) == written(4000, 20, seed=7))


def test_one_cell_is_coloured_over_the_same_text_at_every_checkpoint(show, server):
    page = show("learning", more="&unit=2")
    wait_for(lambda: told(page) == "" and len(text_of(page, PAPER)) > 4)
    cell = page.locator("#panel-learning .paper").last
    same = cell.locator(".flow").evaluate("flow => flow.textContent")
    slide(page, 0)
    assert cell.locator(".flow").evaluate("flow => flow.textContent") == same == written(4000, 300)
    assert cell.locator(".run.p8").first.inner_text() == "T"  # unit 2 is on at capitals


def test_the_curve_marks_the_step(show):
    page = show("learning")
    wait_for(lambda: page.locator("#panel-learning .curve .dot").count() == 16)
    assert "1.470 nats a character at step 4000" in page.locator("#panel-learning .curve").get_attribute(
        "aria-label"
    )
    places = []
    for index in (0, 4):
        slide(page, index)
        places.append(float(page.locator("#panel-learning .curve .marker").get_attribute("x1")))
    assert places[0] < places[1]
    assert (pixels(page.locator("#panel-learning .curve")).std(axis=(0, 1)) > 5).all()  # something is drawn


def test_it_plays_from_the_first_checkpoint_on(show):
    page = show("learning")
    wait_for(lambda: told(page) == "")
    button(page, "Play").click()
    assert page.locator("#panel-learning .step").inner_text() == "step 250"
    wait_for(lambda: page.locator("#panel-learning .step").inner_text() == "step 500")
    button(page, "Pause").click()
    assert button(page, "Play").is_visible()


def test_live_follows_a_run_to_its_end(show, server):
    page = show("live")
    samples = page.locator("#panel-live .sample")
    wait_for(lambda: samples.count() == 1 and "Following" in told(page))
    assert page.locator("#panel-live .figures").inner_text().split("\n")[1] == "200 of 400"
    server.live.set()
    wait_for(lambda: told(page) == "The run is finished.")
    assert samples.locator("h3").all_inner_texts() == ["Step 500", "Step 250"]  # the newest first
    wait_for(lambda: len(samples.first.locator(".flow").evaluate("flow => flow.textContent")) == 204)
    assert (
        page.locator("#panel-live .curve").get_attribute("aria-label").startswith("Loss by step: 1.900 nats")
    )
    assert [body["step"] for name, body in server.asked if name == "write"] == [250, 500]


def test_live_is_left_when_another_view_is_chosen(show, server):
    page = show("live")
    wait_for(lambda: page.locator("#panel-live .sample").count() == 1)
    page.get_by_role("tab", name="Write").click()
    server.live.set()  # the server now finds that nobody listens
    wait_for(lambda: "live" in server.broken_off)


def test_new_checkpoints_of_a_run_can_be_slid_to(show, server):
    page = show("learning")
    wait_for(lambda: told(page) == "" and len(text_of(page, PAPER)) > 4)
    page.get_by_role("tab", name="Live").click()
    server.steps = [*STEPS, 5000]
    server.live.set()
    wait_for(lambda: page.locator("#step option").count() == len(STEPS) + 2)  # and the best
    page.get_by_role("tab", name="Learning").click()
    assert page.locator("#panel-learning .steps").get_attribute("max") == str(len(STEPS))
    wait_for(lambda: text_of(page, PAPER) == written(5000, 300))


def test_a_prompt_may_have_lines_and_stays_that_of_its_text(show, server):
    page = show("learning")
    wait_for(lambda: told(page) == "" and len(text_of(page, PAPER)) > 4)
    put(field(page, "Prompt"), "If\n")
    slide(page, 1)
    assert text_of(page, PAPER).startswith("The ")  # what was written with
    button(page, "Write at every checkpoint").click()
    wait_for(lambda: text_of(page, PAPER).startswith("If\n"))
    assert [body["prompt"] for name, body in server.asked if name == "write"][-1] == "If\n"
