"""How a run begins: new, resumed, from an epoch of its own, or from another run's weights."""

import contextlib
import dataclasses
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from jaxchar.ambient import pinned
from jaxchar.checkpoint.find import Loaded, checkpoint_of_epoch, load_checkpoint, peek
from jaxchar.checkpoint.layout import FOLDER, checkpoints_of, steps_in
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.store import CheckpointStore, ReadOnlyStore
from jaxchar.config import Config, RunConfig
from jaxchar.data.dataset import AnotherCorpusError, Dataset, load_dataset, load_own_dataset, split_anew
from jaxchar.data.documents import documents_in_words
from jaxchar.data.vocabulary import UnknownCharactersError, Vocabulary, describe_characters
from jaxchar.errors import JaxcharError, in_callers_words, quoted
from jaxchar.machine import memory_bytes
from jaxchar.model.recipe import Recipe
from jaxchar.parallel.devices import make_mesh
from jaxchar.parallel.processes import all_or_none, is_first, refuse_differences
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.recurrence import native
from jaxchar.recurrence.cells import GATE_BLOCKS
from jaxchar.recurrence.unroll import refuse_impossible
from jaxchar.scoring.protocols import evaluation_batches
from jaxchar.training.planner import Planner, agreed_on
from jaxchar.training.run_folder import ReadOnlyFolder, RunFolder, make_next_free, name_for
from jaxchar.training.signals import after_this
from jaxchar.training.step import Program, make_program, state_structure
from jaxchar.training.trainer import RunResult, Trainer
from jaxchar.training.transfer import (
    ARCHITECTURE,
    NewCharacters,
    explain_unknown,
    load_donor,
    refuse_misfit,
    transfer,
)

# What a resumed run may change: how long it lasts and what it does on the way, not what a step computes.
# A text may have moved: what it must be is told by its SHA-256.
CHANGEABLE = {field.name for field in dataclasses.fields(RunConfig)} - {"seed"} | {"corpus"}


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
        display: where progress is shown; None takes standard output.
        settings: of :class:`jaxchar.Config`, by name; they are kept, and the others chosen around them.

    Returns:
        The run's folder, its summary, and the signal that stopped it early, if one did.

    Raises:
        JaxcharError: something given cannot be used; nothing has been written then.
    """
    started = time.monotonic()
    new: dict[str, Any] = {"name": name, "init_from": init_from, "keep_optimizer": keep_optimizer}
    new |= {"new_characters": new_characters, "display": display}
    if isinstance(config, Config):
        if minutes is not None or settings:
            raise JaxcharError(
                "a jaxchar.Config sets everything, so --minutes and single settings cannot go with it; give "
                "the text instead: jaxchar.fit('my.txt', minutes=20, hidden_size=512)"
            )
        return _fit(config, None, run_dir, **new)
    _refuse_no_corpus(config)
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
    planner = Planner(settings, minutes, started)
    return _fit(planner.settings_to_load(), planner, run_dir, **new)


@pinned()
def plan_text(
    settings: Mapping[str, Any],
    minutes: float | None,
    started: float,
    display: TrainingDisplay | GuardedDisplay | None = None,
) -> Recipe:
    """Show what :func:`fit_text` would do, and return it."""
    planner, shown = Planner(settings, minutes, started), _guarded(display)
    config = planner.settings_to_load()
    make_mesh(config.devices)  # before anything else uses JAX
    with shown.phase("loading the text ..."):
        dataset, config = _load(config, None)
    return planner.plan(dataset, config, shown)


def _fit(
    config: Config,
    planner: Planner | None,
    run_dir: str | Path | None,
    *,
    name: str | None,
    init_from: str | Path | None,
    keep_optimizer: bool,
    new_characters: NewCharacters,
    display: TrainingDisplay | GuardedDisplay | None,
) -> RunResult:
    """Train a new model with these settings, or with those that a planner makes of them."""
    make_mesh(config.devices, 0 if planner else config.batch_size)  # before anything else uses JAX
    shown = _guarded(display)
    with all_or_none():
        if run_dir is not None:
            _refuse_a_run(_open(run_dir, config)[0])
        donor = _donor(init_from, keep_optimizer, new_characters)
        with shown.phase("loading the text ..."):
            dataset, config = (
                _load(config, None) if donor is None else _fitting(donor, config, new_characters)
            )
    asked = config if planner is None else planner.asked().replace(corpus=config.corpus)
    _refuse_differences(asked, dataset.identity.to_json())  # before processes plan together
    with all_or_none():
        if planner is not None:
            config = agreed_on(planner.plan(dataset, config, shown).config)
            dataset = split_anew(dataset, config)
        if donor is not None:
            refuse_misfit(donor, config)  # before the model is made, which takes a while
        with shown.phase("making the model ..."), after_this():
            program = _program(config, dataset, make_mesh(config.devices, config.batch_size))
            state = program.initial_state()
        if donor is not None:
            state = transfer(donor, config, state, dataset.vocabulary)
            _warn(shown, donor.warnings)
            _tell_added(shown, donor.metadata.vocabulary.unknown(dataset.vocabulary.symbols))
    with contextlib.ExitStack() as until_trained:
        with all_or_none():
            if run_dir is None:
                run_dir = _new_folder(name or name_for(dataset.identity.source))
            folder, store = _open(run_dir, config)
            until_trained.enter_context(store)
            _refuse_a_run(folder)  # that has begun since
            folder.create(config)
            folder.cut_logs({})  # of a run that died before its first checkpoint
        trainer = Trainer(config, dataset, program, state, folder, store, shown)
        trainer.deadline = planner.deadline if planner else None
        return _train(trainer, planned=planner is not None)


@pinned()
def resume(
    run_dir: str | Path,
    *,
    config: Config | None = None,
    corpus: str | PathLike[str] | None = None,
    initial_epoch: int | None = None,
    minutes: float | None = None,
    display: TrainingDisplay | GuardedDisplay | None = None,
) -> RunResult:
    """Go on with a run, bit for bit as if it had never stopped.

    Args:
        run_dir: the run's folder.
        config: its settings with other ``epochs``, or other ways to evaluate, sample and save; None
            takes them as they were.
        corpus: where the text lies now, if it has moved; or, for a text in memory, the text again, as
            ``jaxchar.Text("...")``. It must be the text that the run was trained on.
        initial_epoch: go on from the checkpoint that ended this epoch rather than from the newest.
            Later checkpoints are set aside in the run's folder, not destroyed.
        minutes: train on for so long, beyond the step at which the run was to end; everything else stays.
            A linear or cosine schedule then ends at another step, which is said.
        display: where progress is shown; None takes standard output.

    Raises:
        JaxcharError: there is nothing whole to go on from, or a setting that enters the arithmetic
            differs from the checkpoint's.
    """
    started = time.monotonic()
    path = RunFolder(run_dir).path
    if not steps_in(path / FOLDER):
        raise JaxcharError(f"{str(path)!r} holds no run to go on with; give the folder of one")
    if config is not None:
        _refuse_no_config(config)
    asked = config or peek(path).config
    mesh = make_mesh(asked.devices, asked.batch_size)
    folder, store = _open(run_dir, asked)
    shown = _guarded(display)
    with contextlib.ExitStack() as until_trained:
        with all_or_none():
            until_trained.enter_context(store)
            start = path if initial_epoch is None else checkpoint_of_epoch(path, initial_epoch)
            with shown.phase("loading the checkpoint ..."):
                loaded = load_checkpoint(start, state_structure)
            config = config or loaded.metadata.config
            config = config if corpus is None else config.replace(corpus=corpus)
            _refuse_changes(loaded.metadata.config, config, path)
        _refuse_differences(config, {**loaded.metadata.corpus, "step": loaded.metadata.step})
        with all_or_none():  # none touches the folder before all have read it
            trainer = _continued(loaded, config, mesh, folder, store, shown, (started, minutes))
        return _train(trainer)


def _continued(
    loaded: Loaded,
    config: Config,
    mesh: Mesh,
    folder: RunFolder,
    store: CheckpointStore,
    display: GuardedDisplay,
    time_allowed: tuple[float, float | None],
) -> Trainer:
    """Return the trainer that goes on from a checkpoint, in a folder made ready for it."""
    before = loaded.metadata
    with display.phase("loading the text ..."):
        dataset, config = _load_same_text(before, config, folder.path)
    started, minutes = time_allowed
    if minutes is not None:
        planner = Planner({}, minutes, started)
        config = agreed_on(planner.lengthened(dataset, config, before.step, display))
    program = _program(config, dataset, mesh)
    if before.step > program.total_steps:
        raise JaxcharError(
            f"the run is at step {before.step:,}, beyond the {program.total_steps:,} that are asked for; "
            "give more --epochs (or --max-steps), or go back with --initial-epoch"
        )
    _warn(display, [*loaded.warnings, *_differences(before, config, mesh.size)])
    later = [p for p in checkpoints_of(folder.path) if int(p.name) > before.step]
    folder.create(config)
    aside = folder.set_aside(later, f"after-step-{before.step}")
    if aside is not None:
        display.notice(f"{len(later)} later checkpoint(s), with metrics and samples, set aside in {aside}")
    trainer = Trainer(config, dataset, program, loaded.state, folder, store, display)
    trainer.go_on_from(before)
    trainer.deadline = planner.deadline if minutes is not None else None
    if not trainer.is_finished:
        display.notice(f"Resuming {folder.path} at step {before.step:,}.")
    return trainer


def _open(run_dir: str | Path, config: Config) -> tuple[RunFolder, CheckpointStore]:
    """Return what a run is written with; of several processes, only the first writes."""
    if is_first():
        folder = RunFolder(run_dir)
        return folder, CheckpointStore(folder.path, lock=config.lock)
    folder = ReadOnlyFolder(run_dir)
    return folder, ReadOnlyStore(folder.path)


def _new_folder(name: str) -> Path:
    """Return a new folder in ``runs/``; of several processes, only the first makes it."""
    path = Path("runs") / name
    return make_next_free(path) if is_first() else path


def _guarded(display: TrainingDisplay | GuardedDisplay | None) -> GuardedDisplay:
    """Return what a run is shown with; of several processes, only the first shows it."""
    return GuardedDisplay.of(
        (display or TrainingDisplay()) if is_first() else TrainingDisplay(Console(quiet=True))
    )


def _refuse_no_config(config: Any) -> None:
    if not isinstance(config, Config):
        raise JaxcharError(
            f"config must be a jaxchar.Config, but it is {quoted(config)}; give jaxchar.Config(corpus=...)"
        )


def _refuse_no_corpus(corpus: Any) -> None:
    if not isinstance(corpus, str | PathLike | list | tuple):
        raise JaxcharError(
            f"the text must be a path, several paths, a corpus name or a jaxchar.Text, or all settings a "
            f"jaxchar.Config, but it is {quoted(corpus)}; give jaxchar.fit('my.txt')"
        )


def _refuse_a_run(folder: RunFolder) -> None:
    if folder.holds_run() and steps_in(folder.path / FOLDER):
        raise JaxcharError(
            f"{str(folder.path)!r} already holds a run; go on with it (--resume), or give another --run-dir"
        )
    folder.refuse_foreign()


def _refuse_differences(config: Config, corpus: dict[str, Any]) -> None:
    """Raise a JaxcharError where the processes of a run were not all given the same.

    The same text may lie in another place on each machine.
    """
    settings, text = {**config.to_json(), "corpus": None}, {**corpus, "source": None}
    refuse_differences(json.dumps([settings, text, library_versions(), native.identity()]))


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
    if changes and config.schedule in ("linear", "cosine"):
        lines.append(f"the {config.schedule} schedule ends at another step: {', '.join(changes)}")
    return lines


def _warn(display: GuardedDisplay, lines: list[str]) -> None:
    for line in lines:
        display.notice(f"warning: {in_callers_words(line)}")


def _train(trainer: Trainer, *, planned: bool = False) -> RunResult:
    """Train, unless nothing is left; say first what is trained on what, unless a plan has said it."""
    if trainer.is_finished:
        trainer.display.notice(_in_words_of_the_end(trainer))
        return trainer.sum_up()
    if trainer.dataset.notice:
        trainer.display.notice(trainer.dataset.notice)
    if not planned or trainer.display.verbose:
        _show_what_is_trained(trainer)
    result = trainer.run()
    if result.stopped_by is not None:
        trainer.display.stopped(result.run_dir, trainer.step, trainer.program.total_steps)
    return result


def _show_what_is_trained(trainer: Trainer) -> None:
    config, dataset, batches = trainer.config, trainer.dataset, trainer.program.batches
    model = nnx.merge(trainer.program.graphdef, trainer.state.params)
    corpus = dataset.identity
    lengths = ", ".join(f"{name} {len(ids):,}" for name, ids in dataset.splits.items() if len(ids))
    facts = [
        f"Corpus {' '.join(corpus.source)}: {corpus.characters:,} characters, "
        f"{len(dataset.vocabulary)} symbols ({lengths})",
        f"{batches.steps_per_epoch:,} steps an epoch, {trainer.program.total_steps:,} in all: "
        f"{config.batching} of {config.seq_len} characters, {config.batch_size} a step",
    ]
    if config.separator is not None:
        facts.append(_documents_in_words(config.separator, dataset))
    rows = model.summary(return_sequences=config.return_sequences)
    trainer.display.summary(f"CharRNN on {_in_words(trainer.program.mesh)}", rows, facts)


def _in_words_of_the_end(trainer: Trainer) -> str:
    """Return that a run is finished, and what makes it go on."""
    where = f"{trainer.folder.path} is finished at step {trainer.step:,}"
    if trainer.step < trainer.program.total_steps:
        bad, patience = trainer.best["evaluations_since"], trainer.config.early_stopping
        return (
            f"{where}: {bad:,} evaluations in a row were not better, early stopping waits for {patience}; "
            "to train on, give more --early-stopping or --epochs"
        )
    return f"{where}; to train on, give more --epochs (or --max-steps)"


def _documents_in_words(separator: str, dataset: Dataset) -> str:
    """Return how a text of many short ones is read."""
    if dataset.starts is None:
        return f"Documents {documents_in_words(separator)}, in the same order every epoch"
    return f"{len(dataset.starts):,} documents {documents_in_words(separator)}, in another order every epoch"


def _in_words(mesh: Mesh) -> str:
    """Return what a mesh is made of: cpu, 2 x cpu, ..."""
    kind = mesh.devices.flat[0].device_kind
    return kind if mesh.size == 1 else f"{mesh.size} x {kind}"


def _load(
    config: Config, vocabulary: Vocabulary | None, unknown: NewCharacters = "error"
) -> tuple[Dataset, Config]:
    """Load the corpus; return it and the settings that name what was loaded."""
    dataset = load_dataset(config, vocabulary, unknown)
    return dataset, _naming(dataset, config)


def _naming(dataset: Dataset, config: Config) -> Config:
    """Return the settings with the name or the absolute paths of what was loaded."""
    source = dataset.identity.source
    return config.replace(corpus=source[0] if len(source) == 1 else source)


def _program(config: Config, dataset: Dataset, mesh: Mesh) -> Program:
    """Build the program, refusing a text that is too short for the settings."""
    num_chars = len(dataset.splits["train"])
    need = config.seq_len + 1 if config.batching == "windows" else config.batch_size * config.seq_len + 1
    if num_chars < need:
        raise JaxcharError(
            f"the training text has {num_chars:,} characters, but --seq-len {config.seq_len} and "
            f"--batch-size {config.batch_size} as {config.batching} need at least {need:,}; lower them, or "
            "give more text"
        )
    if config.sample_length and config.sample_from == "prompt":
        unknown = dataset.vocabulary.unknown(config.sample_prompt)
        if unknown:
            raise JaxcharError(
                f"--sample-prompt has characters that the text lacks: {quoted(unknown)}, but it is "
                f"{quoted(config.sample_prompt)}; give another --sample-prompt, or --sample-from=corpus"
            )
    num_val = len(dataset.splits["validation"])
    if num_val:
        evaluation_batches(config, num_val)  # refuses a text that is too short
    program = make_program(config, len(dataset.vocabulary), num_chars, mesh)
    _refuse_what_no_memory_holds(config, program)
    _refuse_what_no_recurrence_computes(config, program)
    return program


def _refuse_what_no_recurrence_computes(config: Config, program: Program) -> None:
    """Raise a JaxcharError where the machine lacks the implementation that is asked for."""
    model = nnx.merge(program.graphdef, jax.eval_shape(program.initial_state).params)
    for cell in model.cells:
        refuse_impossible(cell, config.implementation)


def _refuse_what_no_memory_holds(config: Config, program: Program) -> None:
    """Raise a JaxcharError where the machine cannot hold what training needs at the very least."""
    state = sum(
        leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(program.initial_state))
    )
    # The gradient needs every layer's gates and hidden state at every time step.
    units = sum((GATE_BLOCKS[config.cell] + 1) * hidden_size for hidden_size in config.layer_sizes)
    needed = state + config.batch_size * config.seq_len * units * jnp.dtype(config.dtype).itemsize
    memory = memory_bytes()
    if needed > memory:
        raise JaxcharError(
            f"these settings need at least {needed / 1e9:,.1f} GB of memory, and this machine has "
            f"{memory / 1e9:,.1f}; lower --hidden-size, --num-layers, --batch-size or --seq-len"
        )


def _donor(
    init_from: str | Path | None, keep_optimizer: bool, new_characters: NewCharacters
) -> Loaded | None:
    """Return the checkpoint that a run begins with, if it begins with one."""
    if init_from is not None:
        return load_donor(init_from, keep_optimizer=keep_optimizer)
    if keep_optimizer or new_characters != "error":
        raise JaxcharError("--keep-optimizer and --new-characters need --init-from, the run to begin with")
    return None


def _fitting(donor: Loaded, config: Config, new_characters: NewCharacters) -> tuple[Dataset, Config]:
    """Load the corpus in the characters of a donor, and new ones if they may be added."""
    try:
        return _load(config, donor.metadata.vocabulary, new_characters)
    except UnknownCharactersError as error:
        raise explain_unknown(error, donor, config) from error


def _tell_added(display: GuardedDisplay, added: str) -> None:
    if added:
        display.notice(f"Characters added to the model: {len(added):,}: {describe_characters(added)}")


def _refuse_changes(before: Config, now: Config, run_dir: Path) -> None:
    changes = before.describe_changes(now, ignoring=CHANGEABLE)
    if not changes:
        return
    fits = all(getattr(before, name) == getattr(now, name) for name in ARCHITECTURE)
    remedies = _how_to_begin_anew(run_dir) if fits else ["begin a new run"]
    said = f"a resumed run must keep what enters its arithmetic, but these differ: {'; '.join(changes)}"
    raise JaxcharError(*(f"{said}; leave them as they were, or {remedy}" for remedy in remedies))


def _load_same_text(before: Metadata, config: Config, run_dir: Path) -> tuple[Dataset, Config]:
    """Load the text that a run was trained on; raise a JaxcharError where it is another one."""
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
    return dataset, _naming(dataset, config)


def _how_to_begin_anew(run_dir: Path) -> tuple[str, str]:
    """Return the way to other settings or another text: on the command line, and in Python."""
    return (
        f"begin a new run with the weights of this one: --init-from {shlex.quote(str(run_dir))} instead of "
        "--run-dir and --resume (with --keep-optimizer, the optimizer's state is kept, too)",
        f"begin a new run with the weights of this one: jaxchar.fit(config, init_from={str(run_dir)!r}) "
        "(with keep_optimizer=True, the optimizer's state is kept, too)",
    )
