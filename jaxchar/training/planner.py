"""A plan for a text: the settings that the recipe chooses for it on this machine."""

import dataclasses
import difflib
import json
import numbers
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax

from jaxchar.config import Config, CorpusConfig
from jaxchar.data.dataset import Dataset
from jaxchar.data.documents import detect_separator, parts_to_look_at
from jaxchar.errors import JaxcharError, in_callers_words, quoted
from jaxchar.memory.text_memory import MOST_REPORTED
from jaxchar.model.recipe import (
    DEFAULT_MINUTES,
    EVALUATIONS,
    SAMPLES,
    Recipe,
    TextFacts,
    choose,
    evaluation_seconds,
    length_of_run,
)
from jaxchar.parallel.devices import make_mesh, replicate
from jaxchar.parallel.processes import agree, agreed_text
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training.plan_words import LATEST_SHARE, Time, plan_in_words
from jaxchar.training.signals import after_this
from jaxchar.training.step import Correction, Program, make_program, total_steps, training_batches

MEASURE_SECONDS = 0.6  # of steps, after the first one, that a measurement lasts
CHUNK_MICROSECONDS = 2e5  # of steps in one call
# What a command does besides: compiling training, evaluation and samples, the last save, the picture.
OTHER_SECONDS = 10.0
REMEMBERING_SECONDS = 2e-6  # a character, of sorting what is remembered
CLOSING_SECONDS = 10.0  # what is still to come where a plan is corrected, with compiling once more
PLANNED_SHARE = 0.95  # of the time asked for: a machine is seldom as quiet as when it was measured
CORRECTED_SHARE = 0.98  # once it is known better
LEAST_CORRECTION = 0.04  # of the steps: to compile for another number of them takes some seconds


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
        self._other_seconds, self._closing_seconds = OTHER_SECONDS, CLOSING_SECONDS
        self._most_steps = 0  # that help, as the recipe says

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
        if num_chars <= MOST_REPORTED:
            self._other_seconds += REMEMBERING_SECONDS * num_chars
            self._closing_seconds += REMEMBERING_SECONDS * num_chars
        facts = TextFacts(num_chars, dataset.vocabulary.symbols)
        given = {**self._given, **({"corpus": config.corpus} if "corpus" in self._given else {})}
        given.setdefault("separator", _separator_of(dataset))
        with display.phase("measuring this machine ..."):
            recipe = choose(
                facts, given, self._seconds_left, lambda asked: _measured(asked, dataset, self._optimizer)
            )
        recipe = recipe._replace(config=recipe.config.replace(corpus=config.corpus))
        self._most_steps = recipe.most_steps
        gone = time.monotonic() - self._started
        time_in_words = Time(gone, gone + recipe.seconds + self._other_seconds, self._minutes)
        for line in plan_in_words(recipe, facts, time_in_words, self._given):
            display.notice(in_callers_words(line))
        return recipe

    def corrected(self, config: Config, dataset: Dataset, step: int, steps_per_second: float) -> Config:
        """Return the settings of a run with another last step, if the machine is not as fast as was measured.

        It is asked once, at a step up to which nothing depends on how long the run is
        (``config.hold_until``): so the settings that come out are those of the whole run.

        Args:
            config: the settings until now.
            dataset: the text.
            step: steps done.
            steps_per_second: of training, until now.
        """
        if {"epochs", "max_steps"} & self._given.keys() or config.warmup_steps >= step:
            return config
        steps_per_epoch = training_batches(config, len(dataset.splits["train"])).steps_per_epoch
        planned = total_steps(config, steps_per_epoch)
        seconds = 1 / steps_per_second
        evaluation = evaluation_seconds(config, len(dataset.splits["validation"]), seconds)
        seconds += evaluation / (config.eval_every or steps_per_epoch)
        left = self._seconds_left(CORRECTED_SHARE, self._closing_seconds)
        possible = min(step + int(left / seconds), self._most_steps)
        # What was chosen for the planned passes, dropout above all, suits neither many more nor few.
        possible = max(planned // 2, min(possible, 2 * planned))
        (fewer,) = agree(planned - possible)  # of several processes, the slowest
        if abs(fewer) < LEAST_CORRECTION * planned:
            return config
        return config.replace(**length_of_run({}, planned - fewer, steps_per_epoch))

    def correction(self, config: Config, dataset: Dataset, program: Program) -> Correction:
        """Return what corrects the length of a planned run, see :meth:`corrected`."""

        def correct(step: int, steps_per_second: float) -> tuple[Config, Program] | None:
            corrected = self.corrected(config, dataset, step, steps_per_second)
            if corrected == config:
                return None
            num_chars = len(dataset.splits["train"])
            vocab_size, mesh = len(dataset.vocabulary), program.mesh
            return corrected, make_program(corrected, vocab_size, num_chars, mesh, self._optimizer)

        return correct

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

    def _seconds_left(self, share: float = PLANNED_SHARE, for_others: float | None = None) -> float:
        """Return how long training may take: a share of the time, less what is gone and what else is done."""
        total = share * 60 * (DEFAULT_MINUTES if self._minutes is None else self._minutes)
        for_others = self._other_seconds if for_others is None else for_others
        left = total - (time.monotonic() - self._started) - for_others
        (missing,) = agree(-int(1_000 * left))  # of several processes, those that have the least time
        return max(1.0, -missing / 1_000)


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
