"""Contenders in turns: A B C A B C ..., so that what slows the machine down for a while slows all of them.

What is compared is not one average with another, but the turns of one round with each other: a contender's
ratio to another is the median of its ratios in every round.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from jaxchar.benchmark.workers import Absent

ROUNDS = 9
FEWER_ROUNDS = 5  # where a single unit of work outlasts a turn
FEWEST_ROUNDS = 3  # where it outlasts all of a contender's turns
PAUSE = 0.05  # seconds before a turn, in which the threads of the one before go to sleep
PATIENCE = 60.0  # seconds that a turn may take beyond
PATIENCE_FACTOR = 20.0  # this many times as long as expected


class Ratio(NamedTuple):
    """How many times as fast one contender is as another."""

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
    """Return how often contenders take turns, of which the slowest takes so long for a unit of work."""
    if unit_seconds > seconds:
        return FEWEST_ROUNDS
    return FEWER_ROUNDS if unit_seconds > seconds / ROUNDS else ROUNDS


def take_turns(
    unit_seconds: dict[str, float], run: Callable[[str, int, float], float], seconds: float
) -> tuple[dict[str, list[float]], dict[str, Absent]]:
    """Let contenders take turns.

    Args:
        unit_seconds: how long a unit of work takes each of them, about.
        run: (name, units, patience) -> seconds; raises Absent.
        seconds: for each contender, all its turns together.

    Returns:
        Units/s of every round for those who came to the end, and why the others did not.
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
