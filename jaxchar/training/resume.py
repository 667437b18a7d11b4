"""Resuming: a run goes on from a checkpoint, bit for bit as if it had never stopped."""

import contextlib
import dataclasses
import shlex
import time
from collections.abc import Iterable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import optax
from jax.sharding import Mesh

from jaxchar.ambient import pinned
from jaxchar.cache import compiled_programs_kept
from jaxchar.checkpoint.arrays import described_part
from jaxchar.checkpoint.damage import Damaged
from jaxchar.checkpoint.find import Loaded, all_checkpoints, checkpoint_of_epoch, load_checkpoint, peek
from jaxchar.checkpoint.layout import FOLDER, checkpoints_of, steps_in
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.record import read_metadata
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config, RunConfig
from jaxchar.data.dataset import (
    AnotherCorpusError,
    Dataset,
    load_dataset,
    load_own_dataset,
    with_sources,
)
from jaxchar.errors import JaxcharError, quoted
from jaxchar.model.own_optimizer import CUSTOM, described, difference_of, own_optimizer
from jaxchar.parallel.devices import make_mesh
from jaxchar.parallel.processes import all_or_none
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training.callbacks import Callback, Callbacks, SomeCallback, checked_callbacks
from jaxchar.training.models import model_maker
from jaxchar.training.planner import Planner, agreed_on
from jaxchar.training.run_folder import RunFolder
from jaxchar.training.setup import (
    check_same_everywhere,
    checked_program,
    guarded,
    open_run,
    show_warnings,
    train,
)
from jaxchar.training.step import state_structure
from jaxchar.training.summary import RunResult
from jaxchar.training.trainer import Trainer
from jaxchar.training.transfer import (
    ARCHITECTURE,
)

# What a resumed run may change: how long it lasts and what it does on the way, not what a step computes.
# A text may have moved: what it must be is told by its SHA-256.
CHANGEABLE = {field.name for field in dataclasses.fields(RunConfig)} - {"seed"} | {"corpus"}


class _Given(NamedTuple):
    """What a resumed run is given beside its settings."""

    started: float  # by time.monotonic()
    minutes: float | None
    callbacks: list[Callback]
    optimizer: optax.GradientTransformation | None


@compiled_programs_kept()
@pinned()
def resume(
    run_dir: str | Path,
    *,
    config: Config | None = None,
    corpus: str | PathLike[str] | None = None,
    initial_epoch: int | None = None,
    minutes: float | None = None,
    callbacks: Iterable[SomeCallback] | None = None,
    optimizer: optax.GradientTransformation | None = None,
    display: TrainingDisplay | GuardedDisplay | None = None,
) -> RunResult:
    """Go on with a run, bit for bit as if it had never stopped.

    Args:
        run_dir: the run's folder.
        config: its settings with other ``epochs``, or other ways to evaluate, sample and save; None
            takes them as they were.
        corpus: where the text lies now, if it has moved; or, for a text in memory, the text again, as
            ``jaxchar.Text("...")``. It must be the text that the run was trained on. An imported model, whose
            text is not known, goes on with any text in its characters, with a new optimizer.
        initial_epoch: go on from the checkpoint that ended this epoch rather than from the newest.
            Later checkpoints are set aside in the run's folder, not destroyed.
        minutes: train on for so long, beyond the step at which the run was to end; everything else stays.
            A linear or cosine schedule then ends at another step, which is said.
        callbacks: what is called on the way, see :class:`jaxchar.Callback`; nothing is called of a run
            that is finished.
        optimizer: the one that was given to :func:`jaxchar.fit`, if one was. Its state must have the same
            arrays, by name, shape and type; that it computes the same is for the caller to see to.
        display: where progress is shown; None takes standard output.

    Raises:
        JaxcharError: there is nothing whole to go on from, or a setting that enters the arithmetic
            differs from the checkpoint's.
        Exception: what a callback has raised; the run is saved then.
    """
    started = time.monotonic()
    called = checked_callbacks(callbacks)
    path = RunFolder(run_dir).path
    if not steps_in(path / FOLDER):
        raise JaxcharError(f"{str(path)!r} holds no run to go on with; give the folder of one")
    if config is not None:
        _check_config(config)
    before = peek(path).config
    _check_own_optimizer(before, optimizer, path)
    asked = config or before
    mesh = make_mesh(asked.devices, asked.batch_size)
    folder, store = open_run(run_dir, asked)
    shown = guarded(display)
    with contextlib.ExitStack() as until_trained:
        with all_or_none():
            until_trained.enter_context(store)
            start = path if initial_epoch is None else checkpoint_of_epoch(path, initial_epoch)
            with shown.phase("loading the checkpoint ..."):
                if optimizer is not None:
                    check_optimizer_state(start, optimizer)
                loaded = load_checkpoint(start, partial(state_structure, optimizer=optimizer))
            config = config or _with_length_of(before, loaded.metadata)
            config = config if corpus is None else config.replace(corpus=corpus)
            _check_changes(loaded.metadata.config, config, path)
        check_same_everywhere(config, {**loaded.metadata.corpus, "step": loaded.metadata.step})
        with all_or_none():  # none touches the folder before all have read it
            given = _Given(started, minutes, called, optimizer)
            trainer = _continued(loaded, config, mesh, folder, store, shown, given)
        return train(trainer)


def _with_length_of(newest: Config, checkpoint: Metadata) -> Config:
    """Return a checkpoint's settings, with the length found since where nothing depends on it yet."""
    config = checkpoint.config
    if checkpoint.step > config.hold_until:
        return config
    return config.replace(max_steps=newest.max_steps, epochs=newest.epochs)


def _continued(
    loaded: Loaded,
    config: Config,
    mesh: Mesh,
    folder: RunFolder,
    store: CheckpointStore,
    display: GuardedDisplay,
    given: _Given,
) -> Trainer:
    """Return the trainer that goes on from a checkpoint, in a folder made ready for it."""
    before = loaded.metadata
    with display.phase("loading the text ..."):
        dataset, config = _load_same_text(before, config, folder.path)
    deadline = None
    if given.minutes is not None:
        planner = Planner({}, given.minutes, given.started, given.optimizer)
        deadline = planner.deadline
        config = agreed_on(planner.lengthened(dataset, config, before.step, display))
    program = checked_program(config, dataset, mesh, given.optimizer)
    if before.step > program.total_steps:
        raise JaxcharError(
            f"the run is at step {before.step:,}, beyond the {program.total_steps:,} that are asked for; "
            "give more --epochs (or --max-steps), or go back with --initial-epoch"
        )
    show_warnings(display, [*loaded.warnings, *_differences(before, config, mesh.size)])
    later = [p for p in checkpoints_of(folder.path) if int(p.name) > before.step]
    folder.create(config)
    aside = folder.set_aside(later, f"after-step-{before.step}")
    if aside is not None:
        display.notice(f"{len(later)} later checkpoint(s), with metrics and samples, set aside in {aside}")
    trainer = Trainer(
        config,
        dataset,
        program,
        loaded.state,
        folder,
        store,
        display,
        resumed_from=before,
        deadline=deadline,
        callbacks=Callbacks(given.callbacks, model_maker(config.memory == "text", dataset)),
    )
    if not trainer.is_finished:
        display.notice(f"Resuming {folder.path} at step {before.step:,}.")
    return trainer


def _check_own_optimizer(before: Config, optimizer: Any, run_dir: Path) -> None:
    """Raise a JaxcharError unless an optimizer is given exactly where the run was given one."""
    path = str(run_dir)
    if before.optimizer == CUSTOM and optimizer is None:
        raise JaxcharError(
            f"the run {path!r} was trained with an optimizer that was given in Python; go on with it there, "
            f"and give it again: jaxchar.resume({path!r}, optimizer=...)"
        )
    if before.optimizer != CUSTOM and optimizer is not None:
        raise JaxcharError(
            f"the run {path!r} was trained with jaxchar's own {before.optimizer}; leave optimizer= out, or "
            "begin a new run with jaxchar.fit(..., init_from=..., optimizer=...)"
        )
    if optimizer is not None:
        own_optimizer(optimizer)  # refuses what is none


def check_optimizer_state(start: Path, optimizer: optax.GradientTransformation) -> None:
    """Raise a JaxcharError where an optimizer's state has other arrays than the newest checkpoint's."""
    for checkpoint in all_checkpoints(start):
        try:
            metadata, saved = read_metadata(checkpoint), described_part(checkpoint, "opt_state")
        except Damaged:  # it will be passed over
            continue
        then = {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in saved.items()}
        difference = difference_of(then, described(state_structure(metadata, optimizer).opt_state))
        if difference:
            raise JaxcharError(
                f"the optimizer is not the one that {str(checkpoint)!r} was saved with: of its state, "
                f"{difference}; give the same one"
            )
        return


def _check_config(config: Any) -> None:
    if not isinstance(config, Config):
        raise JaxcharError(
            f"config must be a jaxchar.Config, but it is {quoted(config)}; give jaxchar.Config(corpus=...)"
        )


def _check_changes(before: Config, now: Config, run_dir: Path) -> None:
    changes = before.describe_changes(now, ignoring=CHANGEABLE)
    if not changes:
        return
    fits = all(getattr(before, name) == getattr(now, name) for name in ARCHITECTURE)
    remedies = _how_to_begin_anew(run_dir) if fits else ["begin a new run"]
    said = f"a resumed run must keep what enters its arithmetic, but these differ: {'; '.join(changes)}"
    raise JaxcharError(*(f"{said}; leave them as they were, or {remedy}" for remedy in remedies))


def _differences(before: Metadata, config: Config, devices: int) -> list[str]:
    """Return what keeps a resumed run from ending in the bits that it would have ended in."""
    lines = []
    for name, then, now in (
        ("library versions", before.versions, library_versions()),
        ("machine", before.machine, describe_machine(devices)),
    ):
        now.pop("compiler_settings", None)  # told by whoever loads a checkpoint
        changed = [f"{key} {then.get(key)} -> {now.get(key)}" for key in now if then.get(key) != now.get(key)]
        if changed:
            lines.append(f"other {name}, so the run may round differently: {', '.join(changed)}")
    length = ("epochs", "max_steps")
    changes = before.config.describe_changes(config, ignoring=set(config.to_json()) - set(length))
    depends_on_length = config.schedule in ("linear", "cosine") and before.step > config.hold_until
    if changes and depends_on_length:
        lines.append(f"the {config.schedule} schedule ends at another step: {', '.join(changes)}")
    return lines


def _load_same_text(before: Metadata, config: Config, run_dir: Path) -> tuple[Dataset, Config]:
    """Load the text that a run was trained on; raise a JaxcharError where it is another one.

    Of an imported model that text is not known. It goes on with the one that is given.
    """
    if "imported" in before.corpus:
        source = tuple(before.corpus["source"])
        if config.sources == source:
            raise AnotherCorpusError(
                f"the model was imported from {' '.join(source)!r}, which does not say on what text it was "
                "trained; give the text to go on with: --corpus FILE"
            )
        dataset = load_dataset(config, before.vocabulary)
        return dataset, with_sources(dataset, config)
    try:
        dataset = load_own_dataset(config, before.vocabulary, before.corpus)
    except AnotherCorpusError as error:
        said = (error.args[0], str(error))
        raise AnotherCorpusError(
            *(
                f"{what}; to train on another text, {remedy}"
                for what, remedy in zip(said, _how_to_begin_anew(run_dir), strict=True)
            )
        ) from error
    return dataset, with_sources(dataset, config)


def _how_to_begin_anew(run_dir: Path) -> tuple[str, str]:
    """Return the way to other settings or another text: on the command line, and in Python."""
    return (
        f"begin a new run with the weights of this one: --init-from {shlex.quote(str(run_dir))} instead of "
        "--run-dir and --resume (with --keep-optimizer, the optimizer's state is kept, too)",
        f"begin a new run with the weights of this one: jaxchar.fit(config, init_from={str(run_dir)!r}) "
        "(with keep_optimizer=True, the optimizer's state is kept, too)",
    )
