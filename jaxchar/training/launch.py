"""New runs: from settings or a text, with weights drawn from the seed or taken over from another run."""

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import optax

from jaxchar.ambient import pinned
from jaxchar.cache import compiled_programs_kept
from jaxchar.checkpoint.find import Loaded
from jaxchar.config import Config
from jaxchar.data.dataset import Dataset, split_anew
from jaxchar.errors import JaxcharError, quoted
from jaxchar.model.own_optimizer import CUSTOM, own_optimizer
from jaxchar.model.recipe import Recipe
from jaxchar.parallel.devices import make_mesh
from jaxchar.parallel.processes import all_or_none
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training.callbacks import Callbacks, SomeCallback, checked_callbacks
from jaxchar.training.donor import donor_of, load_text, show_added
from jaxchar.training.memory_report import best_with_memory
from jaxchar.training.models import model_maker
from jaxchar.training.planner import Planner, agreed_on
from jaxchar.training.run_folder import name_for
from jaxchar.training.setup import (
    check_same_everywhere,
    checked_program,
    guarded,
    new_run_folder,
    open_run,
    show_warnings,
    train,
)
from jaxchar.training.signals import after_this
from jaxchar.training.step import Program, TrainState
from jaxchar.training.summary import RunResult
from jaxchar.training.trainer import Trainer
from jaxchar.training.transfer import NewCharacters, check_fit, transfer

OR_ELSE = "go on with it (--resume), or give another --run-dir"  # where a folder holds a run


@compiled_programs_kept()
@pinned()
def fit(
    config: Config | str | PathLike[str] | Sequence[str],
    run_dir: str | Path | None = None,
    *,
    minutes: float | None = None,
    name: str | None = None,
    init_from: str | Path | None = None,
    keep_optimizer: bool = False,
    new_characters: NewCharacters = "error",
    callbacks: Iterable[SomeCallback] | None = None,
    optimizer: str | optax.GradientTransformation | None = None,
    display: TrainingDisplay | GuardedDisplay | None = None,
    **settings: Any,
) -> RunResult:
    """Train a new model and leave everything about it in a folder.

    ``fit("my_novel.txt", minutes=20)`` chooses all settings for the text, the time and this machine.
    ``fit(Config(...))`` trains with exactly these settings.

    Args:
        config: a text, as a path, several paths, a corpus name or ``jaxchar.Text("...")``; or all settings.
        run_dir: the run's folder; it must not hold a run yet. None makes a new one in ``runs/``.
        minutes: that all of it may take; None: as long as the text needs, and three minutes at the most.
        name: what a new folder in ``runs/`` is called; None: as the corpus is.
        init_from: a run folder or checkpoint whose weights to begin with. Its vocabulary is taken
            over, and its model settings must be the same.
        keep_optimizer: take over the optimizer's state of ``init_from`` as well; the optimizer must be
            the same. Steps, epochs and the learning rate's schedule begin anew. See :func:`load_donor`.
        new_characters: what becomes of characters that the model of ``init_from`` does not know: "error"
            refuses the text, "add" adds them to the model.
        callbacks: what is called when training begins, after each evaluation, and at the end; see
            :class:`jaxchar.Callback`.
        optimizer: the name of one, as the setting; or any ``optax.GradientTransformation``, which is then
            all that becomes of a gradient: its clipping, learning rate and decay are its own. Give it to
            :func:`jaxchar.resume` again.
        display: where progress is shown; None takes standard output.
        settings: of :class:`jaxchar.Config`, by name; they are kept, and the others chosen around them.

    Returns:
        The run's folder, its summary, and the signal that stopped it early, if one did.

    Raises:
        JaxcharError: something given cannot be used; nothing has been written then.
        Exception: what a callback has raised; the run is saved then.
    """
    started = time.monotonic()
    new: dict[str, Any] = {"name": name, "init_from": init_from, "keep_optimizer": keep_optimizer}
    new |= {"new_characters": new_characters, "callbacks": callbacks, "display": display}
    if isinstance(optimizer, str):
        settings["optimizer"], optimizer = optimizer, None
    elif optimizer is not None:
        own_optimizer(optimizer)  # refuses what is none
        new["optimizer"] = optimizer
    if isinstance(config, Config):
        if minutes is not None or settings:
            raise JaxcharError(
                "a jaxchar.Config sets everything, so --minutes and single settings cannot go with it; give "
                "the text instead: jaxchar.fit('my.txt', minutes=20, hidden_size=512)"
            )
        return fit_config(
            config if optimizer is None else config.replace(optimizer=CUSTOM), None, run_dir, **new
        )
    if optimizer is not None:
        settings["optimizer"] = CUSTOM
    _check_corpus(config)
    return fit_text({"corpus": config, **settings}, run_dir, minutes, started, **new)


@pinned()
def fit_text(
    settings: Mapping[str, Any],
    run_dir: str | Path | None,
    minutes: float | None,
    started: float,
    **new: Any,
) -> RunResult:
    """Train a new model with settings that are chosen for the text, see :func:`fit`.

    Args:
        settings: those that are not to be chosen, by name.
        run_dir: the run's folder.
        minutes: that the whole command may take.
        started: when it began, by ``time.monotonic()``.
        new: as the arguments of :func:`fit` from ``name`` on.
    """
    planner = Planner(settings, minutes, started, new.get("optimizer"))
    return fit_config(planner.settings_to_load(), planner, run_dir, **new)


@pinned()
def plan_text(
    settings: Mapping[str, Any],
    minutes: float | None,
    started: float,
    display: TrainingDisplay | GuardedDisplay | None = None,
) -> Recipe:
    """Show what :func:`fit_text` would do, and return it."""
    planner, shown = Planner(settings, minutes, started), guarded(display)
    config = planner.settings_to_load()
    make_mesh(config.devices)  # before anything else uses JAX
    with shown.phase("loading the text ..."):
        dataset, config = load_text(config)
    return planner.plan(dataset, config, shown)


@pinned()
def fit_config(
    config: Config,
    planner: Planner | None,
    run_dir: str | Path | None,
    *,
    name: str | None,
    init_from: str | Path | None,
    keep_optimizer: bool,
    new_characters: NewCharacters,
    callbacks: Iterable[SomeCallback] | None = None,
    optimizer: optax.GradientTransformation | None = None,
    display: TrainingDisplay | GuardedDisplay | None,
    deadline: float | None = None,
) -> RunResult:
    """Train a new model with these settings, or with those that a planner makes of them."""
    called = checked_callbacks(callbacks)
    make_mesh(config.devices, 0 if planner else config.batch_size)  # before anything else uses JAX
    shown = guarded(display)
    with all_or_none():
        if run_dir is not None:
            open_run(run_dir, config)[0].check_free(OR_ELSE)
        donor = donor_of(init_from, keep_optimizer, new_characters)
        with shown.phase("loading the text ..."):
            dataset, config = load_text(config, donor, new_characters)
    asked = config if planner is None else planner.asked().replace(corpus=config.corpus)
    check_same_everywhere(asked, dataset.identity.to_json())  # before processes plan together
    with all_or_none():
        if planner is not None:
            config = agreed_on(planner.plan(dataset, config, shown).config)
            dataset = split_anew(dataset, config)
        program, state = _model_made(config, dataset, donor, optimizer, shown)
    with contextlib.ExitStack() as until_trained:
        with all_or_none():
            if run_dir is None:
                run_dir = new_run_folder(name or name_for(dataset.identity.source))
            folder, store = open_run(run_dir, config)
            until_trained.enter_context(store)
            folder.check_free(OR_ELSE)  # that has begun since
            folder.create(config)
            folder.cut_logs({})  # of a run that died before its first checkpoint
        deadline = planner.deadline if planner else deadline
        trainer = Trainer(
            config,
            dataset,
            program,
            state,
            folder,
            store,
            shown,
            deadline=deadline,
            callbacks=Callbacks(called, model_maker(config.memory == "text", dataset)),
            correct=planner.correction(config, dataset, program) if planner else None,
        )
        result = train(trainer, planned=planner is not None)
        if planner is None or config.memory == "none" or result.stopped_by is not None:
            return result
        with shown.phase("asking its memory ..."):
            return result._replace(with_memory=best_with_memory(folder, dataset))


def _model_made(
    config: Config,
    dataset: Dataset,
    donor: Loaded | None,
    optimizer: optax.GradientTransformation | None,
    shown: GuardedDisplay,
) -> tuple[Program, TrainState]:
    """Return the functions of a run and its first state, with the donor's weights where there is one."""
    if donor is not None:
        check_fit(donor, config)  # before the model is made, which takes a while
    with shown.phase("making the model ..."), after_this():
        program = checked_program(config, dataset, make_mesh(config.devices, config.batch_size), optimizer)
        state = program.initial_state()
    if donor is not None:
        state = transfer(donor, config, state, dataset.vocabulary)
        show_warnings(shown, donor.warnings)
        show_added(shown, donor.metadata.vocabulary.unknown(dataset.vocabulary.symbols))
    return program, state


def _check_corpus(corpus: Any) -> None:
    if not isinstance(corpus, str | PathLike | list | tuple):
        raise JaxcharError(
            f"the text must be a path, several paths, a corpus name or a jaxchar.Text, or all settings a "
            f"jaxchar.Config, but it is {quoted(corpus)}; give jaxchar.fit('my.txt')"
        )
