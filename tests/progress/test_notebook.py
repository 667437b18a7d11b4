"""A run in a notebook: one output, updated in place, that shows what is in the text and nothing else."""

import re
import sys
import time
import types

import promises
import pytest
from rich.console import Console

from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.notebook import NotebookView, in_notebook
from jaxchar.progress.status import LossCurve, Phase, Progress, Sample, Status

RUN = """
import types
from jaxchar.progress.display import TrainingDisplay
means = types.SimpleNamespace(loss=2.0, accuracy=0.5)
display = TrainingDisplay()
display.notice("Corpus <b> :smile:")
with display.live(100):
    for step in range(100):
        with display.phase("evaluating ..."):
            pass
        display.progress(step + 1, f"step {step + 1}/100", 3 - step / 100, 0.5, (1.0, 2.0), 99.0 - step)
    display.evaluation("step 100", means, means, True)
    display.sample("sample at step 100", "<script>", "&amp; the end")
display.notice("Done.")
"""


@pytest.fixture(scope="module")
def cells():
    """Run a notebook in a real kernel; return its two cells."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(RUN), nbformat.v4.new_code_cell("print('next')")]
    )
    nbclient.NotebookClient(notebook, timeout=120).execute()
    return notebook.cells


@promises.DISPLAY
def test_a_run_in_a_kernel_is_one_output_that_ends_with_how_it_ended(cells):
    (output,) = cells[0].outputs
    shown = output.data["text/html"]
    assert output.output_type == "display_data"
    for words in ("Corpus &lt;b&gt; :smile:", "step 100/100", "Done.", "&lt;script&gt;", "&amp;amp; the end"):
        assert words in shown
    assert "<script" not in shown and "<svg" in shown and "width:100.0%" in shown
    assert "Corpus <b> :smile:" in output.data["text/plain"]
    assert cells[1].outputs[0].text == "next\n"


class Frontend:
    """Stands for IPython: remembers what it was asked to show."""

    def __init__(self, monkeypatch) -> None:
        self.shown: list[dict] = []
        self.displays = 0
        module = types.SimpleNamespace(display=self._display)
        monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=module))
        monkeypatch.setitem(sys.modules, "IPython.display", module)

    def _display(self, bundle, raw, display_id):
        assert raw and display_id
        self.displays += 1
        self.update(bundle, raw)
        return self

    def update(self, bundle, raw):
        assert raw
        self.shown.append(bundle)


def progress(step: int) -> Progress:
    return Progress(step, 10_000, f"step {step}", 2.0, 0.5, (1.0, 2.0), 9.0, time.monotonic())


def test_the_display_is_updated_twice_a_second_at_most(monkeypatch):
    frontend, view = Frontend(monkeypatch), NotebookView()
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for step in range(10_000):
        now = 100.0 + step / 1_000
        view.notice(f"line {step}")
        view.look(Status(progress(step)))
    assert frontend.displays == 1
    assert 10 <= len(frontend.shown) <= 21
    view.rest()
    last = frontend.shown[-1]["text/html"]
    assert "line 9999" in last and "(9,900 earlier lines are left out)" in last
    assert len(last) < 20_000


def test_the_curve_stays_in_its_frame_and_an_empty_one_is_no_error(monkeypatch):
    frontend, view = Frontend(monkeypatch), NotebookView()
    curve = LossCurve()
    for step in range(1, 10_001, 10):
        curve.add(step, 5 / step)
    view.look(Status(progress(10_000), [], curve, [(5_000, 4.0), (10_000, 3.5)]))
    points = re.search(r'polyline points="([^"]*)"', frontend.shown[-1]["text/html"])[1]
    numbers = [float(number) for number in re.split("[ ,]", points)]
    assert all(0 <= x <= 480 for x in numbers[::2]) and all(0 <= y <= 120 for y in numbers[1::2])
    assert frontend.shown[-1]["text/html"].count("<circle") == 2
    view = NotebookView()
    view.look(Status(progress(0)))
    assert "<svg" not in frontend.shown[-1]["text/html"]


@promises.VERBATIM
def test_text_is_text_and_control_characters_are_symbols(monkeypatch):
    frontend, view = Frontend(monkeypatch), NotebookView()
    view.notice("a\x1b[2J <i>")
    view.sample(Sample("title", "<b>\t", "x\x00 :smile: "), "title")
    view.look(Status(phases=[Phase("loading <x> ...", 0.0)]))
    shown = frontend.shown[-1]["text/html"]
    assert "a\u241b[2J &lt;i&gt;" in shown and "&lt;b&gt;\t</span>x\u2400 :smile: </pre>" in shown
    assert "loading &lt;x&gt; ..." in shown
    assert "\x1b" not in frontend.shown[-1]["text/plain"]


def test_outside_of_a_kernel_there_are_lines(monkeypatch, capsys):
    assert not in_notebook()
    shell = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace())  # of IPython in a terminal
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert not in_notebook()
    TrainingDisplay().notice("a line")
    TrainingDisplay(Console()).notice("another")
    assert capsys.readouterr().out == "a line\nanother\n"
