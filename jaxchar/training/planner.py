"""A plan for a text: the settings that the recipe chooses for it on this machine, and the words for them."""

import dataclasses
import difflib
import json
import math
import numbers
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax

from jaxchar.config import Config, CorpusConfig
from jaxchar.data.dataset import Dataset
from jaxchar.data.documents import detect_separator, documents_in_words, parts_to_look_at
from jaxchar.errors import JaxcharError, in_callers_words, quoted
from jaxchar.model.recipe import DEFAULT_MINUTES, EVALUATIONS, SAMPLES, Recipe, TextFacts, choose
from jaxchar.parallel.devices import make_mesh, replicate
from jaxchar.parallel.processes import agree, agreed_text
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training.memory_report import MOST_REMEMBERED
from jaxchar.training.signals import after_this
from jaxchar.training.step import make_program, training_batches

MEASURE_SECONDS = 0.6  # of steps, after the first one, that a measurement lasts
CHUNK_MICROSECONDS = 2e5  # of steps in one call
# What a command does besides: compiling training, evaluation and samples, the last save, the picture.
OTHER_SECONDS = 10.0
REMEMBERING_SECONDS = 2e-6  # a character, of sorting what is remembered
PLANNED_SHARE = 0.95  # of the time asked for: a machine is seldom as quiet as when it was measured
LATEST_SHARE = 1.06  # of the time asked for, after which training stops wherever it is
SMALL_TEXT = 5_000  # training characters, below which a model learns letters and some words at the best


class Planner:
    """Chooses settings for a text, once it is loaded, so that a command ends when it is meant to."""

    def __init__(
        self,
        given: Mapping[str, Any],
        minutes: float | None,
        started: float,
        optimizer: optax.GradientTransformation | None = None,
    ) -> None:
        """Take what the user wants.

        Args:
            given: settings that are not to be chosen, by name.
            minutes: that the whole command may take; None: what the text needs, and ``DEFAULT_MINUTES``
                at the most.
            started: when it began, by ``time.monotonic()``.
            optimizer: the user's own, if there is one.

        Raises:
            JaxcharError: a name is no setting, or the time is no positive number.
        """
        known = {field.name for field in dataclasses.fields(Config)}
        unknown = sorted(set(given) - known)
        if unknown:
            near = [*difflib.get_close_matches(unknown[0], known, n=3), "learning_rate"][:3]
            raise JaxcharError(
                f"there is no setting {unknown[0]!r}; jaxchar.Config has them all, for instance "
                f"{', '.join(near)}"
            )
        if minutes is not None and not _is_time(minutes):
            raise JaxcharError(f"--minutes must be a number above 0, but it is {quoted(minutes)}")
        self._given = dict(given)
        self._minutes = minutes
        self._started = started
        self._optimizer = optimizer
        self._other_seconds = OTHER_SECONDS

    @property
    def deadline(self) -> float | None:
        """When training must stop, by ``time.monotonic()``; None where no time was given."""
        return None if self._minutes is None else part_of_time(self._started, self._minutes)

    def settings_to_load(self) -> Config:
        """Return what is known before the text is: how it is read, and on which devices it is trained on."""
        names = {field.name for field in dataclasses.fields(CorpusConfig)} | {"devices", "lock", "seed"}
        names.remove("separator")  # whether it is a text of documents is seen when it is loaded
        Config(**self._given)  # refuses what cannot be, before anything is loaded
        return Config(**{name: value for name, value in self._given.items() if name in names})

    def asked(self) -> Config:
        """Return the settings that were given, and defaults for those that are to be chosen."""
        return Config(**self._given)

    def plan(self, dataset: Dataset, config: Config, display: GuardedDisplay) -> Recipe:
        """Choose the settings, and say what they come to.

        Args:
            dataset: the text.
            config: how it was loaded.
            display: where the plan is shown.
        """
        num_chars = len(dataset.whole)
        if num_chars <= MOST_REMEMBERED:
            self._other_seconds += REMEMBERING_SECONDS * num_chars
        facts = TextFacts(num_chars, dataset.vocabulary.symbols)
        given = {**self._given, **({"corpus": config.corpus} if "corpus" in self._given else {})}
        given.setdefault("separator", _separator_of(dataset))
        with display.phase("measuring this machine ..."):
            recipe = choose(
                facts, given, self._seconds_left, lambda asked: _measured(asked, dataset, self._optimizer)
            )
        recipe = recipe._replace(config=recipe.config.replace(corpus=config.corpus))
        for line in self._in_words(recipe, num_chars, dataset):
            display.notice(in_callers_words(line))
        return recipe

    def lengthened(self, dataset: Dataset, config: Config, step: int, display: GuardedDisplay) -> Config:
        """Return the settings of a run that goes on from a step for as long as there is time."""
        with display.phase("measuring this machine ..."):
            seconds = _measured(config, dataset, self._optimizer)
        steps_per_epoch = training_batches(config, len(dataset.splits["train"])).steps_per_epoch
        steps = max(1, int(self._seconds_left() / seconds))
        last = step + steps
        often = {  # no more often than in a run of its own: a longer one has longer pauses
            name: max(getattr(config, name) or steps_per_epoch, -(-steps // times))
            for name, times in (
                ("eval_every", EVALUATIONS),
                ("checkpoint_every", EVALUATIONS),
                ("sample_every", SAMPLES),
            )
        }
        return config.replace(max_steps=last, epochs=-(-last // steps_per_epoch), **often)

    def _seconds_left(self) -> float:
        total = PLANNED_SHARE * 60 * (DEFAULT_MINUTES if self._minutes is None else self._minutes)
        left = total - (time.monotonic() - self._started) - self._other_seconds
        (missing,) = agree(-int(1_000 * left))  # of several processes, those that have the least time
        return max(1.0, -missing / 1_000)

    def _in_words(self, recipe: Recipe, num_chars: int, dataset: Dataset) -> list[str]:
        """Return what is known of the text, and what will be done, in plain words."""
        config = recipe.config
        held_out = round(num_chars * config.val_fraction)
        train_chars = num_chars - held_out
        text = f"Text: {num_chars:,} characters, {len(dataset.vocabulary):,} different ones"
        if held_out:
            which = f"the last {held_out:,}" if config.separator is None else f"some {held_out:,} of them"
            text += f"; {which} are held out, to see how good the model is"
        whole = time.monotonic() - self._started + recipe.seconds + self._other_seconds
        passes = f"{_passes(recipe.passes)} over the text"
        plan = f"Plan: {model_in_words(config)}, {passes}, about {_duration(whole)}"
        if recipe.more_time_helps and self._minutes is None:
            plan += "; --minutes 15 would do better"
        elif recipe.more_time_helps:
            plan += "; more time would do better"
        lines = [f"{text}.", *self._documents_in_words(config), f"{plan}.", *self._too_little_time(whole)]
        if train_chars < SMALL_TEXT:
            lines.append(
                f"This is very little text: a model needs some {20 * SMALL_TEXT:,} characters to write "
                "sentences. More text of the same kind helps more than more time."
            )
        return lines

    def _too_little_time(self, whole: float) -> list[str]:
        """Say that what is needed, in seconds, is more than the time that was given, where it is."""
        if self._minutes is None or whole <= LATEST_SHARE * 60 * self._minutes:
            return []
        gone, enough = time.monotonic() - self._started, max(2, math.ceil(whole / 30))
        return [
            f"The time is too short: {gone:.0f} seconds went by before training begins, which will be cut "
            f"off after {60 * self._minutes:.0f}. Give --minutes {enough}."
        ]

    def _documents_in_words(self, config: Config) -> list[str]:
        if config.separator is None or "separator" in self._given:
            return []
        return [
            f"These are many short texts, {documents_in_words(config.separator)}. Their order is taken for "
            "chance: it is another one in every pass. If it means something: --separator=none."
        ]


def _separator_of(dataset: Dataset) -> str | None:
    """Return what ends every document of a text, if it looks like one of many."""
    ids = dataset.whole
    parts = [dataset.vocabulary.decode(ids[part]) for part in parts_to_look_at(len(ids))]
    return detect_separator("\n".join(parts))


def part_of_time(started: float, minutes: float, share: float = 1.0) -> float:
    """Return when training must stop that may take a share of some minutes, by ``time.monotonic()``."""
    return started + LATEST_SHARE * 60 * minutes * share - 2


def _is_time(minutes: object) -> bool:
    is_number = isinstance(minutes, numbers.Real) and not isinstance(minutes, bool)
    return is_number and 0 < float(minutes) < float("inf")  # type: ignore[arg-type]


def _measured(config: Config, dataset: Dataset, optimizer: optax.GradientTransformation | None) -> float:
    with after_this():
        return seconds_per_step(config, dataset, optimizer)


def seconds_per_step(
    config: Config, dataset: Dataset, optimizer: optax.GradientTransformation | None = None
) -> float:
    """Measure how long a training step of a configuration takes on this machine, now."""
    mesh = make_mesh(config.devices, config.batch_size)
    ids = replicate(dataset.splits["train"], mesh)
    program = make_program(config, len(dataset.vocabulary), len(ids), mesh, optimizer)
    state = replicate(program.initial_state(), mesh)
    train_steps = program.compiled_for(state, ids)
    done, chunk, microseconds, rates = 1, 1, 0, []
    state, _ = jax.block_until_ready(train_steps(state, ids, np.int32(done), program.seed))
    while microseconds < 1e6 * MEASURE_SECONDS:
        began = time.perf_counter()
        done += chunk
        state, _ = jax.block_until_ready(train_steps(state, ids, np.int32(done), program.seed))
        (took,) = agree(1 + int(1e6 * (time.perf_counter() - began)))  # processes take their steps together
        microseconds += took
        rates.append(took / chunk)
        chunk = max(1, min(4 * chunk, round(CHUNK_MICROSECONDS * chunk / took)))
    return float(np.median(rates)) / 1e6


def agreed_on(config: Config) -> Config:
    """Return the settings that the first of several processes has chosen: each has measured another speed."""
    return Config.from_json(json.loads(agreed_text(json.dumps(config.to_json()))))


def model_in_words(config: Config) -> str:
    """Return the network in a few words: "GRU of 304 units"."""
    kind = {"gru": "GRU", "lstm": "LSTM", "rnn": "RNN"}.get(config.cell, config.cell)
    sizes = config.layer_sizes
    if len(sizes) == 1:
        return f"{kind} of {sizes[0]} units"
    return f"{len(sizes)} layers of {kind}, {' and '.join(map(str, sizes))} units"


def _passes(passes: float) -> str:
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
