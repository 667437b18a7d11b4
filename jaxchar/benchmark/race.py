"""Baselines in turns: A B C A B C ..., so that a machine that is busy for a while slows down all of them.

Rates are compared within each round, not by their averages: a baseline's ratio to another is the median of
its ratios in all rounds.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from jaxchar.benchmark.workers import Absent

ROUNDS = 9
FEWER_ROUNDS = 5  # if a single unit of work takes longer than a turn
FEWEST_ROUNDS = 3  # if it takes longer than all turns of a baseline
PAUSE = 0.05  # seconds before a turn, in which the threads of the previous one go to sleep
PATIENCE = 60.0  # seconds that a turn may take, plus
PATIENCE_FACTOR = 20.0  # this many times as long as expected


class Ratio(NamedTuple):
    """How many times as fast one baseline is as another."""

    median: float
    lowest: float
    highest: float


def ratio(rates: list[float], reference: list[float]) -> Ratio:
    """Return the median, lowest and highest of the ratios of every round."""
    ratios = [rate / other for rate, other in zip(rates, reference, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def turn_units(unit_seconds: float, turn_seconds: float) -> int:
    """Return how many units of work fill a turn; at least one."""
    return max(1, int(turn_seconds / unit_seconds))


def num_rounds(unit_seconds: float, seconds: float) -> int:
    """Return how often baselines take turns, if the slowest needs ``unit_seconds`` for a unit of work."""
    if unit_seconds > seconds:
        return FEWEST_ROUNDS
    return FEWER_ROUNDS if unit_seconds > seconds / ROUNDS else ROUNDS


def take_turns(
    unit_seconds: dict[str, float], run: Callable[[str, int, float], float], seconds: float
) -> tuple[dict[str, list[float]], dict[str, Absent]]:
    """Let baselines take turns.

    Args:
        unit_seconds: about how long each of them needs for a unit of work.
        run: (name, units, patience) -> seconds; raises Absent.
        seconds: for each baseline, all its turns together.

    Returns:
        Units/s of every round for those that finished, and why the others did not.
    """
    rounds = num_rounds(max(unit_seconds.values(), default=0), seconds)
    rates: dict[str, list[float]] = {name: [] for name in unit_seconds}
    gone: dict[str, Absent] = {}
    for _ in range(rounds):
        for name, one in unit_seconds.items():
            if name in gone:
                continue
            units = turn_units(one, seconds / rounds)
            time.sleep(PAUSE)
            try:
                rates[name].append(units / run(name, units, PATIENCE + PATIENCE_FACTOR * units * one))
            except Absent as absent:
                gone[name] = absent
    return {name: found for name, found in rates.items() if name not in gone}, gone
