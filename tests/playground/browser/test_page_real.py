"""The page with the real server and a model of 128 units, in Chromium and in Firefox: all that it is for."""

import shutil
import threading
from pydoc_data.topics import topics

import numpy as np
import pytest
from browsers import opened
from on_page import button, field, ground, put, text_of, told, wait_for

import jaxchar
from jaxchar.playground.app import Playground, warm
from jaxchar.playground.library import Library
from jaxchar.playground.server import bound, server_of

pytestmark = pytest.mark.slow

WRITTEN, CELLS = "The text that is written", "The text coloured by one unit"
CHECKPOINTS = 10
SETTINGS = {
    "cell": "gru",
    "hidden_size": 128,
    "batch_size": 32,
    "seq_len": 64,
    "max_steps": 200,
    "checkpoint_every": 200 // CHECKPOINTS,
    "eval_every": 200 // CHECKPOINTS,
    "log_every": 10,
    "keep_checkpoints": 0,
    "sample_length": 0,
}
TEXT = "".join(topics[name] for name in sorted(topics)).replace("\r", "")[:200_000]
PASSAGE = 'He said "go on", and the Statement went on.\n'


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Train a model for some seconds; its run is named statements."""
    folder = tmp_path_factory.mktemp("played")
    jaxchar.fit(jaxchar.Text(TEXT), run_dir=folder / "statements", **SETTINGS)
    shutil.copytree(folder / "statements", folder / "growing")
    return folder


@pytest.fixture(scope="session")
def model(runs):
    """Return the model as Python has it."""
    return jaxchar.load(runs / "statements").with_memory(0)


@pytest.fixture(scope="session")
def real_address(runs):
    """Serve the runs, and return where the page is."""
    library, address = Library([runs]), bound(port=0)
    server = server_of(Playground(library).application(address.host, address.port))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address.listening]}, daemon=True)
    thread.start()
    warm(library)
    yield address.url
    server.should_exit = True
    thread.join(10)


@pytest.fixture(params=["chromium", "firefox"])
def show_real(request, browsers, real_address):
    """Return a function that opens a view of the real page in a browser."""
    with opened(browsers, request.param, real_address) as open_view:
        yield open_view


def write(page, length: int, seed: int = 0) -> None:
    """Write a text with a seed, and wait for its end."""
    put(field(page, "Seed"), str(seed))
    put(field(page, "Length"), str(length))
    button(page, "Write").click()
    wait_for(lambda: told(page) == f"{length} characters.", 60)


def walk_to(page, paper: str, index: int) -> None:
    """Go to a character of a text with the arrow keys."""
    page.get_by_label(paper, exact=True).press("Home")
    for _ in range(index):
        page.keyboard.press("ArrowRight")


def test_it_writes_what_python_writes_and_branches(show_real, model):
    page = show_real("write", more="&model=statements")
    put(field(page, "Temperature"), "0.7")
    write(page, 300, seed=5)
    prompt = field(page, "Prompt").input_value()
    whole = prompt + model.generate(prompt, 300, temperature=0.7, seed=5)
    assert text_of(page, WRITTEN) == whole
    assert text_of(page, WRITTEN) != prompt + model.generate(prompt, 300, temperature=0.7, seed=6)
    walk_to(page, WRITTEN, 50)
    page.keyboard.press("Enter")
    items = page.get_by_role("menuitem")
    items.first.wait_for()
    best = model.session.most_probable(model.session.start(whole[:50]), 12)
    third = best[2][0] if best[2][0] != whole[50] else best[3][0]
    items.nth([each for each, _ in best].index(third)).click()
    wait_for(lambda: page.locator(".branch").count() == 2 and told(page) == "300 characters.", 60)
    assert text_of(page, WRITTEN).startswith(whole[:50] + third)
    assert len(text_of(page, WRITTEN)) == len(prompt) + 300
    button(page, "Undo").click()
    assert text_of(page, WRITTEN) == whole


def test_it_stops_at_once_and_writes_again(show_real):
    page = show_real("write", more="&model=statements")
    put(field(page, "Length"), "20000")
    button(page, "Write").click()
    page.wait_for_selector("#panel-write .run:not(.prompt)")
    button(page, "Stop").click()
    assert told(page).endswith("stopped by you.")
    write(page, 20)


def test_it_reads_and_colours_what_python_scores(show_real, model):
    page = show_real("read", more="&model=statements")
    put(field(page, "Text"), PASSAGE)
    button(page, "Read").click()
    wait_for(lambda: page.locator("#panel-read .figures b").count() > 0 and told(page) == "", 60)
    score = model.score(PASSAGE)
    assert f"{score.bits_per_char:.2f}" in page.locator("#panel-read .figures").inner_text()
    worst = int(np.argmax(score.surprises)) + 1
    walk_to(page, "The text as the first checkpoint reads it", worst)
    facts = " ".join(page.locator("#panel-read .inspector").inner_text().split())
    assert f"surprise {score.surprises[worst - 1] / np.log(2):.2f} bits" in facts
    assert facts.endswith(f"rank {score.ranks[worst - 1]}")
    deepest = page.locator("#panel-read .run.s7, #panel-read .run.s6").first
    red, _, blue = ground(deepest)
    assert red > blue + 60


def test_the_cells_have_the_values_of_python(show_real, model):
    unit = jaxchar.unit_report(model, TEXT[:20_000], "quotes").units[0].unit
    page = show_real("cells", more=f"&model=statements&unit={unit}")
    page.locator("#panel-cells summary").click()
    put(field(page, "Text"), PASSAGE)
    button(page, "Show this text").click()
    wait_for(lambda: text_of(page, CELLS) == PASSAGE)
    values = model.hidden_states(PASSAGE)[0].hidden[:, unit]
    signs = []
    # Playwright's evaluate_all ends a process of Firefox 153 here.
    runs = page.get_by_label(CELLS).evaluate(
        "paper => [...paper.querySelectorAll('.run')].map(run => [run.textContent, run.className])"
    )
    for text, name in runs:
        shade = name.split()[-1]
        sign = {"p": 1, "n": -1}.get(shade[0], 0) if shade[1:].isdigit() else 0
        signs += [sign] * len(text)
    strong = np.abs(values) > 0.15
    assert strong.sum() > 10 and (np.sign(values)[strong] == np.array(signs)[strong]).all()
    button(page, "Find").click()
    page.locator("#panel-cells .units").wait_for(timeout=60_000)
    button(page, "Switch it off").click()
    wait_for(lambda: page.get_by_label(CELLS).locator(".run:is(.p8, .n8, .p4, .n4)").count() == 0)
    held = page.locator("#panel-cells .main .panel .status")
    wait_for(lambda: "part at character" in held.inner_text(), 60)
    without = model.with_held_units([(0, unit)])
    prompt = field(page, "Prompt").input_value()
    assert text_of(page, "The text with units held") == prompt + without.generate(prompt, 300, seed=0)
    assert text_of(page, "The text as it is") == prompt + model.generate(prompt, 300, seed=0)


def test_the_slider_shows_every_checkpoint_of_the_run(show_real, runs):
    page = show_real("learning", more="&model=statements")
    paper = "What the checkpoint writes"
    wait_for(lambda: told(page) == "" and len(text_of(page, paper)) > 4, 90)
    slider = page.get_by_label("Checkpoint", exact=True).last
    assert slider.get_attribute("max") == str(CHECKPOINTS - 1)
    prompt = field(page, "Prompt").input_value()
    slider.focus()
    slider.press("Home")
    for index in range(CHECKPOINTS):
        step = (index + 1) * 200 // CHECKPOINTS
        assert page.locator("#panel-learning .step").inner_text() == f"step {step}"
        trained = jaxchar.load(runs / "statements" / "checkpoints" / str(step)).with_memory(0)
        assert text_of(page, paper) == prompt + trained.generate(prompt, 300, seed=0)
        slider.press("ArrowRight")


def test_live_follows_a_run_that_goes_on(show_real, runs):
    whole, growing = runs / "statements", runs / "growing"
    lines = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)
    (growing / "summary.json").unlink()
    (growing / "metrics.jsonl").write_text("".join(lines[: len(lines) // 2]))
    for step in range(100, 201, 20):
        shutil.rmtree(growing / "checkpoints" / str(step))
    page = show_real("live", more="&model=growing")
    samples = page.locator("#panel-live .sample")
    wait_for(lambda: samples.count() == 1 and "Following" in told(page), 30)
    assert samples.locator("h3").all_inner_texts() == ["Step 80"]
    for step in range(100, 201, 20):
        shutil.copytree(whole / "checkpoints" / str(step), growing / "checkpoints" / str(step))
    (growing / "metrics.jsonl").write_text("".join(lines))
    wait_for(lambda: samples.count() == 2, 30)
    assert samples.locator("h3").first.inner_text() == "Step 200"
    shutil.copy(whole / "summary.json", growing)
    wait_for(lambda: told(page) == "The run is finished.", 30)
    assert page.locator("#panel-live .figures").inner_text().split("\n")[1].startswith("200")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_it(show_real, scheme):
    page = show_real("write", more="&model=statements", width=400, scheme=scheme)
    write(page, 40)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert (sum(ground(page.locator("body"))) < 150) == (scheme == "dark")


def test_it_is_used_with_keys_alone(show_real):
    page = show_real("write", more="&model=statements")
    page.locator("#tab-write").focus()
    for name in ("Read", "Cells", "Learning", "Live", "Write"):
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.textContent") == name
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "prompt"
    page.keyboard.press("Control+Enter")
    wait_for(lambda: told(page) == "500 characters.", 60)
