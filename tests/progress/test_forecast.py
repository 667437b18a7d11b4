"""How long the rest of a run takes."""

import time

import pytest

from jaxchar.progress.forecast import Forecast, times_left


@pytest.mark.parametrize("total", [1, 10, 12, 100])
@pytest.mark.parametrize("period", [1, 3, 10, 1_000])
def test_times_left_counts_what_is_due_after_a_step_and_at_the_end(total, period):
    for step in range(total):
        due = [s for s in range(step + 1, total + 1) if s % period == 0 or s == total]
        assert times_left(step, total, period) == len(due)
    assert times_left(total, total, period) <= 1


def test_work_is_expected_to_take_what_it_took_the_last_time():
    forecast = Forecast()
    assert forecast.seconds("evaluating", 5) == 0
    for seconds in (0.05, 0.0):
        with forecast.measured("evaluating"):
            time.sleep(seconds)
        assert forecast.seconds("evaluating", 10) >= 10 * seconds
    assert forecast.seconds("evaluating", 10) < 0.5
