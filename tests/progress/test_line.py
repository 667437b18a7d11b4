"""The line that shows where a run stands: what it says at any width."""

import time

import promises
import pytest
from rich.cells import cell_len

from jaxchar.progress.line import ASCII, UNICODE, bar, progress_line, sparkline
from jaxchar.progress.status import LossCurve, Phase, Progress, Status, clock


def status(phase: str = "", step: int = 400) -> Status:
    curve = LossCurve()
    for number in range(1, step + 1):
        curve.add(number, 4 / number**0.2)
    position = f"epoch 1  step {step}/1,000"
    progress = Progress(step, 1_000, position, 1.9, 0.431, (50.0, 1_600.0), 754.9, time.monotonic())
    return Status(progress, [Phase(phase, time.monotonic())] if phase else [], curve)


def line(columns: int, **options) -> str:
    return "".join(piece.text for piece in progress_line(status(**options), columns))


@promises.DISPLAY
@pytest.mark.parametrize("phase", ["", "evaluating ...", "读取 the text ..."])
def test_the_line_never_is_wider_than_the_terminal(phase):
    for columns in range(1, 250):
        assert 0 < cell_len(line(columns, phase=phase)) <= columns


@promises.DISPLAY
def test_the_bar_shrinks_first_and_the_time_left_goes_last():
    marks = ("12:34 left", "loss 1.9000", "step 400/1,000", "▁", "━", "accuracy", "characters/s", "steps/s")
    shown = {columns: [mark for mark in marks if mark in line(columns)] for columns in range(10, 200)}
    assert all(kept == list(marks[: len(kept)]) for kept in shown.values())
    assert shown[10] == [marks[0]]
    assert len(shown[60]) >= 5 and len(shown[80]) >= 5 and len(shown[199]) == len(marks)
    bars = [sum(line(columns).count(c) for c in "━─") for columns in (60, 62, 64)]
    assert 8 <= bars[0] < bars[1] < bars[2]


def test_a_wide_terminal_shows_everything():
    told = ("step 400/1,000", "loss 1.9000", "12:34 left", "accuracy 43.1%", "50.0 steps/s", "1,600 char")
    assert [words for words in told if words not in line(200)] == []


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_what_is_being_done_stands_in_the_line(columns):
    shown = line(columns, phase="evaluating ...")
    assert "evaluating ..." in shown and "12:34 left" in shown and "loss 1.9" in shown


def test_before_the_first_step_the_line_says_what_is_being_done():
    waiting = Status(phases=[Phase("loading the text ...", time.monotonic() - 5)])
    assert [piece.text for piece in progress_line(waiting, 80)] == ["loading the text ... 0:05"]
    assert [piece.text for piece in progress_line(waiting, 7)] == ["loading"]
    assert [piece.text for piece in progress_line(Status(), 80)] == ["training ..."]


def test_a_control_character_in_a_phase_is_a_symbol():
    waiting = Status(phases=[Phase("loading \x1b[2J", time.monotonic())])
    assert progress_line(waiting, 80)[0].text == "loading \u241b[2J"


@pytest.mark.parametrize(("glyphs", "expected"), [(UNICODE, "██▅▁"), (ASCII, "^^.__")])
def test_a_curve_has_its_highest_value_highest(glyphs, expected):
    values = [3.0, 3.0, 2.0, 1.0] if glyphs is UNICODE else [5.0, 5.0, 2.0, 1.0, 1.0]
    assert sparkline(values, glyphs) == expected
    assert sparkline([], glyphs) == ""
    assert sparkline([2.0, 2.0], glyphs) == 2 * glyphs.heights[0]


def test_a_bar_is_as_full_as_the_run_is_far_and_tells_so_without_colour():
    done, to_do = bar(0.25, 8)
    assert (done.text, to_do.text) == ("━━", "──────")
    assert bar(1.0, 8, ASCII)[0].text == "########"


def test_the_curve_grows_while_the_run_goes_on():
    def cells(step: int) -> int:
        return sum(line(80, step=step).count(height) for height in UNICODE.heights)

    lengths = [cells(step) for step in (1, 50, 200, 500, 1_000)]
    assert lengths == sorted(set(lengths)) and lengths[0] == 1 and lengths[-1] == 11


def test_the_curve_of_a_long_run_keeps_its_shape_in_few_points():
    curve = LossCurve()
    for step in range(100_000):
        curve.add(step, 5 - step / 25_000)
    assert len(curve.points) <= 400
    assert curve.points[-1][0] > 99_000
    means = curve.means(10)
    assert len(means) == 10 and means == sorted(means, reverse=True)
    assert LossCurve().means(5) == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.9, "0:00"), (43, "0:43"), (725, "12:05"), (3723, "1:02:03")]
)
def test_a_duration_in_words(seconds, words):
    assert clock(seconds) == words
