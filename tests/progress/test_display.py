"""A run as people see it: on terminals of all kinds and sizes, in files, in a notebook."""

import io
import itertools
import os
import re
import sys
import threading
import time
from pathlib import Path

import promises
import pytest
from pseudo_terminal import run_in_terminal, screen_of
from rich.console import Console
from runs import TINY

from jaxchar.model.loss import Means
from jaxchar.progress import views
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.views import head, tail
from jaxchar.training.launch import fit
from jaxchar.training.trainer import Trainer

# A run of a second, without JAX: what a terminal gets must not depend on what is trained.
RUN = """
import time, types, sys
from pathlib import Path
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress import views
views.LONG_PHASE_SECONDS = 0.2
means = lambda loss: types.SimpleNamespace(loss=loss, accuracy=0.5)
display = TrainingDisplay()
with display.phase("starting ...", in_lines="never"):
    time.sleep(0.1)
with display.phase("loading the text ..."):
    time.sleep(0.4)
display.notice("Corpus r/c16:100: [b]:smile:")
with display.live(100):
    with display.phase("compiling ..."):
        time.sleep(0.6)
    for step in range(0, 101, 5):
        display.progress(step, f"epoch 1  step {step}/100", 4 - step / 50, 0.5, (10.0, 640.0), 100 - step)
        time.sleep(0.03)
        if step % 50 == 0:
            print("a warning of a library", file=sys.stderr)
            with display.phase("evaluating ..."):
                time.sleep(0.3)
            display.evaluation(f"epoch 1  step {step}", means(3.0), means(3.1), True)
            display.sample(f"sample at step {step}", "prompt [b]\\n", "first :smile:\\tline\\nmore")
summary = dict(steps=100, seconds=61.0, steps_per_second=10.0, chars_per_second=640.0, best_val_loss=3.1)
others = dict(uniform=5.0, frequencies=4.5, bzip2=3.0)
display.finished(Path("runs/my run"), summary | dict(best_step=50, reference_bits_per_char=others))
"""
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


# Every program in a terminal takes seconds: one of each kind always, the others in `make prove`.
@promises.DISPLAY
@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(20, marks=pytest.mark.slow),
        60,
        pytest.param(80, marks=pytest.mark.slow),
        pytest.param(200, marks=pytest.mark.slow),
    ],
)
def test_samples_and_notices_are_whole_and_the_changing_line_leaves_no_trace(columns):
    screen = screen_of(run_in_terminal(RUN, columns, rows=120), columns, rows=120)
    shown = "".join(screen) if columns < 60 else "\n".join(screen)
    assert shown.startswith("Corpus r/c16:100: [b]:smile:")
    for words in ("first :smile:", "a warning of a library", "prompt [b]", "--- sample at step"):
        assert shown.count(words) == 3
    for remnant in ("left", "...", "━", "─", "starting"):
        assert remnant not in shown
    assert shown.replace("\n", "").replace(" ", "").endswith("--ckpt'runs/myrun'")


@promises.DISPLAY
@pytest.mark.parametrize(
    "columns", [pytest.param(60, marks=pytest.mark.slow), 80, pytest.param(200, marks=pytest.mark.slow)]
)
def test_while_it_trains_the_last_line_has_bar_loss_curve_and_time_left(columns):
    output = run_in_terminal(RUN, columns)
    before = output[: output.rindex("left")] + "left"
    last = screen_of(before, columns)[-1]
    assert re.search(r"━+.*loss 2\.\d{4}  [▁-█]+  0:\d\d left", last), last
    for words in ("starting ...", "loading the text ...", "compiling ...", "evaluating ..."):
        assert words in output
    assert all(len(line) < columns for line in re.findall(r"━[^\r\n]*left", ESCAPE.sub("", output)))


@promises.DISPLAY
@pytest.mark.parametrize(
    "environment",
    [pytest.param({"TERM": "dumb"}, marks=pytest.mark.slow), {"TERM": "dumb", "FORCE_COLOR": "1"}],
)
def test_a_simple_terminal_gets_plain_lines(environment):
    output = run_in_terminal(RUN, 80, **environment)
    assert "\x1b" not in output and "\r\n" in output and "\r" not in output.replace("\r\n", "")
    lines = output.splitlines()
    assert "compiling ..." in lines and "evaluating ..." in lines and "starting ..." not in lines
    without_time = [line[: -len("  0:00 left")] for line in lines]
    assert "epoch 1  step 0/100  loss 4.0000  accuracy 0.5000  10.0 steps/s  640 chars/s" in without_time
    assert "prompt [b]" in lines and "first :smile:\tline" in lines


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"NO_COLOR": "1"}, marks=pytest.mark.slow),
        pytest.param({"CLICOLOR": "0"}, marks=pytest.mark.slow),
    ],
)
def test_without_colours_the_line_still_changes_and_tells_what_is_done(environment):
    output = run_in_terminal(RUN, 80, **environment)
    assert re.findall(r"\x1b\[[0-9;]*m", output) == []
    assert "━━" in output and "──" in output


@pytest.mark.slow
def test_without_utf_8_bar_and_curve_are_ascii():
    output = run_in_terminal(RUN, 80, LC_ALL="C")
    assert output.isascii()
    assert re.search(r"#+-+  (step|evaluating).*  loss \d.\d{4}  [_.=^-]+  \d", ESCAPE.sub("", output))


@pytest.mark.slow
@pytest.mark.parametrize(
    "columns", ["0", *(pytest.param(c, marks=pytest.mark.slow) for c in ("nonsense", "300", "-1"))]
)
def test_columns_that_are_not_true_do_not_break_the_line(columns):
    screen = screen_of(run_in_terminal(RUN, 80, rows=120, COLUMNS=columns), 80, rows=120)
    assert not [line for line in screen if "━" in line or "left" in line]


@promises.DISPLAY
def test_the_first_words_come_before_jax_is_imported():
    program = """
import sys, time
import jaxchar.train
class Done(BaseException): pass
def parse(*_): raise Done("jax" in sys.modules)
jaxchar.train.parse_arguments = parse
try: jaxchar.train.main(arguments=[])
except Done as done: print(done)
"""
    assert screen_of(run_in_terminal(program, 80), 80) == ["False"]
    assert "starting ..." in run_in_terminal(program, 80)


# ---- files ---------------------------------------------------------------------------------------


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def in_a_file() -> tuple[TrainingDisplay, io.StringIO]:
    file = io.StringIO()
    return TrainingDisplay(Console(file=file)), file


def test_a_file_gets_a_line_soon_and_then_ever_more_seldom(monkeypatch):
    clock = Clock(monkeypatch)
    display, file = in_a_file()
    times = []
    for second in range(1_000):
        clock.now = 1_000.0 + second
        before = file.tell()
        display.progress(second, f"step {second}", 1.0, 0.5, (1.0, 1.0), 9.0)
        times += [second] if file.tell() > before else []
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert times[0] == 0 and min(pauses) >= 10 and pauses == sorted(pauses) and max(pauses) == 60


def test_what_takes_long_gets_one_line_in_a_file(monkeypatch):
    clock = Clock(monkeypatch)
    display, file = in_a_file()
    with display.phase("short ..."):
        pass
    with display.phase("evaluating ..."):
        for _ in range(5):
            clock.now += 1
            display._look()
    with display.phase("never ...", in_lines="never"):
        clock.now += 100
        display._look()
    with display.phase("loading JAX ...", in_lines="at once"):
        assert file.getvalue() == "evaluating ...\nloading JAX ...\n"


def test_a_sample_says_what_the_validation_loss_was_and_is_whole_in_a_file():
    display, file = in_a_file()
    display.evaluation("epoch 1  step 5", Means(3.0, 0.2, 9), Means(2.5, 0.3, 9), True)
    display.sample("sample at step 5", "a ", "b\n" * 50)
    assert file.getvalue().splitlines()[0] == (
        "epoch 1  step 5  train: loss 3.0000, accuracy 0.2000  "
        "validation: loss 2.5000, accuracy 0.3000 (best so far)"
    )
    assert file.getvalue().endswith("--- sample at step 5, validation 2.5000\na b\n" + "b\n" * 49 + "\n")


def test_layers_are_shown_on_request():
    rows = [("gru 1", "(B, T, 8)", 1_000), ("dense", "(B, T, 9)", 234)]
    for verbose in (False, True):
        file = io.StringIO()
        TrainingDisplay(Console(file=file), verbose=verbose).summary("CharRNN on cpu", rows, ["a fact"])
        assert ("gru 1" in file.getvalue()) == verbose
        assert "CharRNN on cpu" in file.getvalue() and "1,234" in file.getvalue()
        assert file.getvalue().endswith("a fact\n")


def test_the_command_that_writes_can_be_pasted_into_a_shell():
    display, file = in_a_file()
    summary = {"steps": 9, "seconds": 61.0, "steps_per_second": 1.0, "chars_per_second": 5.0}
    display.finished(Path("runs/my [b] :smile:"), summary | {"best_val_loss": None, "best_step": None})
    assert "The run is in runs/my [b] :smile:; write with: " in file.getvalue()
    assert file.getvalue().endswith("--ckpt 'runs/my [b] :smile:'\n")


@pytest.mark.parametrize(
    ("with_memory", "said"),
    [
        (
            {"static": 2.9, "growing": 2.8},
            "the loss is 2.9000, and 2.8000 if it also remembers what it reads",
        ),
        (
            {"static": 3.2, "growing": 2.9},
            "of no use here: with it the loss is 3.2000; write with --memory 0",
        ),
        (None, None),
    ],
)
def test_the_end_says_what_its_memory_makes_of_the_model(with_memory, said):
    display, file = in_a_file()
    summary = {"steps": 9, "seconds": 61.0, "steps_per_second": 1.0, "chars_per_second": 5.0}
    summary |= {"best_val_loss": 3.1, "best_step": 5}
    summary["reference_bits_per_char"] = {"uniform": 5.0, "frequencies": 4.5, "bzip2": 3.0}
    display.finished(Path("runs/a"), summary, with_memory)
    assert ("memory" in file.getvalue()) == (said is not None)
    assert said is None or said in file.getvalue()


def test_plain_lines_can_be_had_on_any_terminal():
    file = io.StringIO()
    display = TrainingDisplay(Console(file=file, force_terminal=True, width=80))
    display.use_plain_lines()
    with display.live(10):
        display.progress(1, "step 1/10", 1.0, 0.5, (1.0, 1.0), 9.0)
    assert "\x1b" not in file.getvalue() and file.getvalue().count("\n") == 1


# ---- terminals -----------------------------------------------------------------------------------


def on_a_terminal(columns: int = 80, rows: int = 24) -> tuple[TrainingDisplay, io.StringIO]:
    file = io.StringIO()
    return TrainingDisplay(Console(file=file, force_terminal=True, width=columns, height=rows)), file


def test_a_small_terminal_shows_the_part_of_a_sample_that_leaves_room():
    display, file = on_a_terminal(40, rows=15)
    display.sample("sample", "x" * 400, "".join(f"line {n}\n" for n in range(50)))
    lines = screen_of(ESCAPE.sub("", file.getvalue()).replace("\n", "\r\n"), 40, 200)
    assert "samples.txt has all" in "".join(lines[:2])
    assert len(lines) <= 2 + 5 + 1 and any("line 1" in line for line in lines)


@pytest.mark.parametrize(
    "text", ["short", "a\n\nb\n", "漢字" * 30, "word " * 100, "\n" * 30, "x" * 39 + "\ny"]
)
@pytest.mark.parametrize("columns", [20, 40])
def test_head_and_tail_of_a_text_fill_no_more_rows_than_asked_for(text, columns):
    for rows in (1, 3, 50):
        first, last = head(text, rows, columns), tail(text, rows, columns)
        assert text.startswith(first) and text.endswith(last)
        screen = screen_of(first.rstrip("\n").replace("\n", "\r\n"), columns, 200)
        assert len(screen) <= rows
        assert rows < 50 or first == last == text


@promises.DISPLAY
def test_a_line_that_a_narrower_window_has_broken_is_erased_whole():
    display, file = on_a_terminal(100)
    display.progress(5, "step 5", 1.0, 0.5, (1.0, 1.0), 9.0)
    display.console.size = (30, 24)
    drawn = len(ESCAPE.sub("", file.getvalue()).strip("\r"))
    display.leave()
    assert f"\x1b[{(drawn - 1) // 30}A\x1b[J" in file.getvalue()


def test_the_line_is_drawn_a_few_times_a_second_however_often_training_reports(monkeypatch):
    clock = Clock(monkeypatch)
    display, file = on_a_terminal()
    for number in range(10_000):
        clock.now = 1_000.0 + number / 1_000
        display.progress(number, "step", 1.0, 0.5, (1.0, 1.0), 9.0)
    assert 10 <= file.getvalue().count("left") <= 41


def test_nothing_is_left_running_and_nothing_replaced():
    display, _ = on_a_terminal()
    before = (threading.active_count(), sys.stderr, sys.stdout)
    with display.phase("a ..."), display.live(5), display.phase("b ..."):
        assert threading.active_count() == before[0] + 1
    assert (threading.active_count(), sys.stderr, sys.stdout) == before


def test_an_error_in_the_middle_of_a_phase_leaves_nothing_behind():
    display, file = on_a_terminal()
    with pytest.raises(RuntimeError), display.live(5), display.phase("b ..."):
        raise RuntimeError
    assert screen_of(file.getvalue(), 80) == []
    assert display._status.phases == []


def test_a_terminal_that_is_gone_ends_the_ticker_without_a_word(monkeypatch):
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def broken() -> None:
        raise OSError(5, os.strerror(5))

    ticker = views.Ticker(broken)
    ticker.start()
    ticker._thread.join(timeout=5)
    assert not ticker._thread.is_alive() and told == []
    ticker.stop()


def test_leaving_does_not_wait_for_a_terminal_that_does_not_take_anything():
    display, _ = on_a_terminal()
    threading.Thread(target=display._lock.acquire).start()
    started = time.monotonic()
    display.leave()
    assert time.monotonic() - started < 5


# ---- a run ---------------------------------------------------------------------------------------


class Recorder(TrainingDisplay):
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.phases: list[str] = []
        self.left: list[float] = []

    def phase(self, text, **options):
        self.phases.append(text)
        return super().phase(text, **options)

    def progress(self, step, position, loss, accuracy, rates, left):
        self.left.append(left - (60 - step) / rates[0])
        super().progress(step, position, loss, accuracy, rates, left)


@promises.DISPLAY
def test_a_run_names_all_that_it_does_and_counts_it_into_the_time_left(tmp_path, monkeypatch):
    evaluate = Trainer._evaluate_now

    def slowly(trainer: Trainer) -> None:
        inner = trainer._evaluator.validate
        trainer._evaluator.validate = lambda state: (time.sleep(0.2), inner(state))[1]
        evaluate(trainer)
        trainer._evaluator.validate = inner

    monkeypatch.setattr(Trainer, "_evaluate_now", slowly)
    display = Recorder()
    fit(
        TINY.replace(max_steps=60, eval_every=20, epochs=10, sample_length=5), tmp_path / "r", display=display
    )
    kinds = ["loading the text", "making the model", "compiling", "evaluating", "saving", "sampling"]
    assert set(display.phases) == {f"{kind} ..." for kind in [*kinds, "drawing the picture"]}
    assert display.phases.count("evaluating ...") == 3
    assert max(display.left) >= 0.4  # two evaluations are still to come after the first
