"""A plan in plain words: what the text is, what will be done with it, and what keeps it from being good."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from jaxchar.config import Config
from jaxchar.data.documents import documents_in_words
from jaxchar.model.recipe import Recipe, TextFacts

LATEST_SHARE = 1.06  # of the time asked for, after which training stops wherever it is
SMALL_TEXT = 5_000  # training characters, below which a model learns letters and some words at the best


class Time(NamedTuple):
    """What a command takes, in seconds."""

    gone: float  # until training begins
    whole: float  # as planned
    minutes: float | None  # that were asked for


def plan_in_words(recipe: Recipe, facts: TextFacts, times: Time, given: Iterable[str]) -> list[str]:
    """Return what is known of the text, and what will be done.

    Args:
        recipe: what was chosen.
        facts: the text.
        times: what it takes.
        given: the names of the settings that were not chosen.
    """
    config, num_chars = recipe.config, facts.num_chars
    held_out = round(num_chars * config.val_fraction)
    text = f"Text: {num_chars:,} characters, {len(facts.symbols):,} different ones"
    if held_out:
        which = f"the last {held_out:,}" if config.separator is None else f"some {held_out:,} of them"
        text += f"; {which} are held out, to see how good the model is"
    plan = f"Plan: {model_in_words(config)}, {passes_in_words(recipe.passes)} over the text"
    plan += f", about {_duration(times.whole)}"
    if recipe.more_time_helps and times.minutes is None:
        plan += "; --minutes 15 would do better"
    elif recipe.more_time_helps:
        plan += "; more time would do better"
    lines = [f"{text}."]
    if config.separator is not None and "separator" not in given:
        lines.append(
            f"These are many short texts, {documents_in_words(config.separator)}. Their order is taken for "
            "chance: it is another one in every pass. If it means something: --separator=none."
        )
    lines += [f"{plan}.", *_too_little_time(times)]
    if num_chars - held_out < SMALL_TEXT:
        lines.append(
            f"This is very little text: a model needs some {20 * SMALL_TEXT:,} characters to write "
            "sentences. More text of the same kind helps more than more time."
        )
    return lines


def _too_little_time(times: Time) -> list[str]:
    """Say that what is needed is more than the time that was given, where it is."""
    if times.minutes is None or times.whole <= LATEST_SHARE * 60 * times.minutes:
        return []
    return [
        f"The time is too short: {times.gone:.0f} seconds went by before training begins, which will be cut "
        f"off after {60 * times.minutes:.0f}. Give --minutes {max(2, math.ceil(times.whole / 30))}."
    ]


def model_in_words(config: Config) -> str:
    """Return the network in a few words: "GRU of 304 units"."""
    kind = {"gru": "GRU", "lstm": "LSTM", "rnn": "RNN"}.get(config.cell, config.cell)
    sizes = config.layer_sizes
    if len(sizes) == 1:
        return f"{kind} of {sizes[0]} units"
    return f"{len(sizes)} layers of {kind}, {' and '.join(map(str, sizes))} units"


def passes_in_words(passes: float) -> str:
    """Return how often a text is read: "2.6 passes"."""
    return f"{passes:.1f} passes" if passes < 5 else f"{passes:,.0f} passes"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} seconds"
    minutes = seconds / 60
    return (
        f"{minutes:.0f} minutes"
        if minutes >= 10 or abs(minutes - round(minutes)) < 0.15
        else f"{minutes:.1f} minutes"
    )
