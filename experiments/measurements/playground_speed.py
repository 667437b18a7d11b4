"""How soon the playground answers: the first character after a click, and a slider of ten checkpoints.

    python experiments/measurements/playground_speed.py  # with Chromium and Playwright also in the browser

It trains a GRU of 128 units for some seconds, serves it in a process of its own (``jaxchar play``), and asks:

first        milliseconds from the request to the first characters of a text, each of another seed
beside       the same while another text of 20,000 characters is being written
checkpoint   milliseconds until the text and the unit that the slider shows of one checkpoint are there, each
             for the first time since the server began
click        milliseconds in the page from a click on "Write" until the first characters stand in it
drawn        the same until a frame with them is drawn
slide        milliseconds in the page from a step of the slider until it is drawn, once all are there
ready        seconds from opening the page's Learning until all ten are there

Medians, and in brackets the largest. The last line is the same as JSON.
"""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pydoc_data.topics import topics

import jaxchar

TEXT = "".join(topics[name] for name in sorted(topics))[:200_000]
CHECKPOINTS, EACH = 10, 20  # steps between two
TIMES = 20
PROMPT = "The "
# In the page: when the first character of a text is drawn after a click; when a step of the slider is.
CLICK = """() => new Promise((resolve) => {
  const panel = document.querySelector('#panel-write');
  let begin = 0;
  new MutationObserver((_, observer) => {
    if (!begin || !panel.querySelector('.run:not(.prompt)')) return;
    observer.disconnect();
    const there = performance.now() - begin;
    requestAnimationFrame(() => setTimeout(() => resolve([there, performance.now() - begin])));
  }).observe(panel.querySelector('.paper'), { childList: true, subtree: true });
  begin = performance.now();
  panel.querySelector('button.primary').click();
})"""
SLIDE = """(index) => new Promise((resolve) => {
  const slider = document.querySelector('#panel-learning .steps');
  const begin = performance.now();
  slider.value = index;
  slider.dispatchEvent(new Event('input'));
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begin)));
})"""


def main() -> None:
    """Measure, print a line a figure, and the whole as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "small"
        train(run)
        with served(run) as port:
            figures = through_the_server(port)
        with served(run) as port:
            figures |= in_a_browser(port)
    for name, values in figures.items():
        print(f"{name:10}  {statistics.median(values):8.1f}  ({max(values):.1f})")
    print(json.dumps(figures))


def train(run: Path) -> None:
    """Train the model, with ten checkpoints."""
    settings = {
        "cell": "gru",
        "hidden_size": 128,
        "batch_size": 32,
        "seq_len": 64,
        "max_steps": CHECKPOINTS * EACH,
    }
    often = dict.fromkeys(("checkpoint_every", "eval_every", "log_every"), EACH)
    jaxchar.fit(jaxchar.Text(TEXT), run_dir=run, keep_checkpoints=0, sample_length=0, **settings, **often)


@contextmanager
def served(run: Path) -> Iterator[int]:
    """Serve a run in a process of its own, and yield the port once a text was written."""
    command = [sys.executable, "-m", "jaxchar.play", str(run), "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rstrip("/\n").rpartition(":")[2])
        write(port, seed=0)
        time.sleep(2)  # what the server makes ready before anybody asks
        yield port
        server.terminate()


def through_the_server(port: int) -> dict[str, list[float]]:
    """Return the figures of requests."""
    figures = {"first": [first(port, seed) for seed in range(TIMES)]}
    long, answer = begun(port, "write", prompt=PROMPT, length=20_000, seed=99)
    figures["beside"] = [first(port, seed) for seed in range(TIMES)]
    answer.close()
    long.close()
    figures["checkpoint"] = [
        1e3 * seconds(lambda step=step: checkpoint(port, step * EACH)) for step in range(1, CHECKPOINTS + 1)
    ]
    return figures


def in_a_browser(port: int) -> dict[str, list[float]]:
    """Return the figures of the page; none without a browser."""
    import shutil

    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        return {}
    with sync_playwright() as playwright:
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu"]
        page = playwright.chromium.launch(executable_path=program, args=arguments).new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("html[data-ready]")
        click = []
        for seed in range(TIMES):
            page.locator("#panel-write input[name=seed]").fill(str(seed))
            click.append(page.evaluate(CLICK))
            page.wait_for_timeout(400)
        begin = time.perf_counter()
        page.locator("#tab-learning").click()
        status, paper = page.locator("#panel-learning .status").first, page.locator("#panel-learning .run")
        while status.inner_text() or paper.count() < 5:
            time.sleep(0.01)
        ready = [time.perf_counter() - begin]
        slide = [page.evaluate(SLIDE, index) for index in range(CHECKPOINTS)]
    there, drawn = map(list, zip(*click, strict=True))
    return {"click": there, "drawn": drawn, "slide": slide, "ready": ready}


# ---- requests ------------------------------------------------------------------------------------


def begun(
    port: int, name: str, **asked: object
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Ask for something; return the connection and the answer, of which the head has come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"model": "small", **asked})
    connection.request("POST", f"/api/{name}", body, {"Content-Type": "application/json"})
    return connection, connection.getresponse()


def write(port: int, **asked: object) -> str:
    """Return all events of a text of 300 characters."""
    connection, answer = begun(port, "write", prompt=PROMPT, length=300, **asked)
    whole = answer.read().decode()
    connection.close()
    assert "event: done" in whole, whole
    return whole


def first(port: int, seed: int) -> float:
    """Return the milliseconds until the first characters of a text have come."""
    begin = time.perf_counter()
    connection, answer = begun(port, "write", prompt=PROMPT, length=500, seed=seed)
    answer.readline()
    assert answer.readline().startswith(b'data: {"text"')
    taken = time.perf_counter() - begin
    answer.close()
    connection.close()
    time.sleep(0.05)
    return 1e3 * taken


def checkpoint(port: int, step: int) -> None:
    """Ask for what the slider shows of a checkpoint."""
    write(port, step=step, seed=0)
    connection, answer = begun(port, "cells", step=step, text=PROMPT * 75, layer=0, part="h")
    assert answer.status == 200 and answer.read()
    connection.close()


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
