"""How a run begins: new, resumed, from an epoch of its own, or from another run's weights."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from jaxchar import native
from jaxchar.checkpoint import (
    FOLDER,
    CheckpointStore,
    Damaged,
    Loaded,
    WatchedStore,
    load_checkpoint,
    peek,
    read_metadata,
    steps_in,
)
from jaxchar.config import Config, RunConfig
from jaxchar.console import TrainingDisplay
from jaxchar.dataset import Dataset, load_dataset, refuse_another_corpus
from jaxchar.devices import make_mesh
from jaxchar.errors import JaxcharError
from jaxchar.language_model import weights_structure
from jaxchar.metadata import Metadata, describe_machine, library_versions, memory_bytes
from jaxchar.model import GATE_BLOCKS
from jaxchar.processes import all_or_none, is_first, refuse_differences
from jaxchar.run_folder import RunFolder, WatchedFolder
from jaxchar.step import Program, TrainState, evaluation_batches, make_program
from jaxchar.trainer import RunResult, Trainer
from jaxchar.unroll import refuse_impossible
from jaxchar.vocabulary import Vocabulary

# What a resumed run may change: how long it lasts and what it does on the way, not what a step computes.
# A text may have moved: what it must be is told by its SHA-256.
CHANGEABLE = {field.name for field in dataclasses.fields(RunConfig)} - {"seed"} | {"corpus"}
# What weights taken from another run depend on.
ARCHITECTURE = ("cell", "layer_sizes", "embedding_size", "gate")


def fit(
    config: Config,
    run_dir: str | Path,
    *,
    init_from: str | Path | None = None,
    display: TrainingDisplay | None = None,
) -> RunResult:
    """Train a new model and leave everything about it in a folder.

    Args:
        config: all settings.
        run_dir: the run's folder; it must not hold a run yet.
        init_from: a run folder or checkpoint whose weights to begin with. Its vocabulary is taken
            over, so the text may hold no other characters, and its model settings must be the same.
        display: where progress is shown; None takes standard output.

    Returns:
        The run's folder, its summary, and the signal that stopped it early, if one did.

    Raises:
        JaxcharError: something given cannot be used; nothing has been written then.
    """
    mesh = make_mesh(config.devices, config.batch_size)
    folder, store, display = _open(run_dir, display)
    with all_or_none():
        _refuse_a_run(folder)
        donor = None if init_from is None else load_checkpoint(init_from, weights_structure)
        dataset, config = _load(config, donor and donor.metadata.vocabulary)
        program = _program(config, dataset, mesh)
        state = program.initial_state()
        if donor is not None:
            _warn(display, donor.warnings)
            state = _with_weights_of(donor, config, state)
    _refuse_differences(config, dataset.identity.to_json())
    with contextlib.ExitStack() as until_trained:
        with all_or_none():
            until_trained.enter_context(store)
            _refuse_a_run(folder)  # that has begun since
            folder.create(config)
            folder.cut_logs({})  # of a run that died before its first checkpoint
        return _train(Trainer(config, dataset, program, state, folder, store, display))


def resume(
    run_dir: str | Path,
    *,
    config: Config | None = None,
    initial_epoch: int | None = None,
    display: TrainingDisplay | None = None,
) -> RunResult:
    """Go on with a run, bit for bit as if it had never stopped.

    Args:
        run_dir: the run's folder.
        config: its settings with other ``epochs``, or other ways to evaluate, sample and save; None
            takes them as they were.
        initial_epoch: go on from the checkpoint that ended this epoch rather than from the newest.
            Later checkpoints are set aside in the run's folder, not destroyed.
        display: where progress is shown; None takes standard output.

    Raises:
        JaxcharError: there is nothing whole to go on from, or a setting that enters the arithmetic
            differs from the checkpoint's.
    """
    path = RunFolder(run_dir).path
    if not steps_in(path / FOLDER):
        raise JaxcharError(f"{str(path)!r} holds no run to go on with; give the folder of one")
    asked = config or peek(path).config
    mesh = make_mesh(asked.devices, asked.batch_size)
    folder, store, display = _open(run_dir, display)
    with contextlib.ExitStack() as until_trained:
        with all_or_none():
            until_trained.enter_context(store)
            start = path if initial_epoch is None else _checkpoint_of_epoch(path, initial_epoch)
            loaded = load_checkpoint(start, state_structure)
            config = config or loaded.metadata.config
            _refuse_changes(loaded.metadata.config, config)
        _refuse_differences(config, {**loaded.metadata.corpus, "step": loaded.metadata.step})
        with all_or_none():  # none touches the folder before all have read it
            trainer = _continued(loaded, config, mesh, folder, store, display)
        return _train(trainer)


def _continued(
    loaded: Loaded,
    config: Config,
    mesh: Mesh,
    folder: RunFolder,
    store: CheckpointStore,
    display: TrainingDisplay,
) -> Trainer:
    """Return the trainer that goes on from a checkpoint, in a folder made ready for it."""
    before = loaded.metadata
    dataset, config = _load(config, before.vocabulary)
    refuse_another_corpus(before.corpus, dataset.identity)
    program = _program(config, dataset, mesh)
    if before.step >= program.total_steps:
        raise JaxcharError(
            f"the run is at step {before.step:,} of {program.total_steps:,}: nothing is left to train; give "
            "more --epochs (or --max-steps)"
        )
    _warn(display, [*loaded.warnings, *_differences(before, config, mesh.size)])
    later = [p for p in _checkpoints(folder.path) if int(p.name) > before.step]
    folder.create(config)
    aside = folder.set_aside(later, f"after-step-{before.step}")
    if aside is not None:
        display.notice(f"{len(later)} later checkpoint(s), with metrics and samples, set aside in {aside}")
    trainer = Trainer(config, dataset, program, loaded.state, folder, store, display)
    trainer.go_on_from(before)
    display.notice(f"Resuming {folder.path} at step {before.step:,}.")
    return trainer


def _open(
    run_dir: str | Path, display: TrainingDisplay | None
) -> tuple[RunFolder, CheckpointStore, TrainingDisplay]:
    """Return what a run is written and shown with; of several processes, only the first does either."""
    if is_first():
        folder, display = RunFolder(run_dir), display or TrainingDisplay()
        return folder, CheckpointStore(folder.path), display
    folder = WatchedFolder(run_dir)
    return folder, WatchedStore(folder.path), TrainingDisplay(Console(quiet=True))


def _refuse_a_run(folder: RunFolder) -> None:
    if folder.holds_run() and steps_in(folder.path / FOLDER):
        raise JaxcharError(
            f"{str(folder.path)!r} already holds a run; go on with it (--resume), or give another --run-dir"
        )
    folder.refuse_foreign()


def _refuse_differences(config: Config, corpus: dict[str, Any]) -> None:
    """Raise a JaxcharError where the processes of a run were not all given the same."""
    refuse_differences(json.dumps([config.to_json(), corpus, library_versions(), native.identity()]))


def state_structure(metadata: Metadata) -> TrainState:
    """Return the structure of the training state that a checkpoint's metadata promises."""
    program = make_program(metadata.config, len(metadata.vocabulary), metadata.corpus["characters"])
    return jax.eval_shape(program.initial_state)


def _differences(before: Metadata, config: Config, devices: int) -> list[str]:
    """Return what keeps a resumed run from ending in the bits that it would have ended in."""
    lines = []
    for name, then, now in (
        ("library versions", before.versions, library_versions()),
        ("machine", before.machine, describe_machine(devices)),
    ):
        changed = [f"{key} {then.get(key)} -> {now.get(key)}" for key in now if then.get(key) != now.get(key)]
        if changed:
            lines.append(f"other {name}, so the run may round differently: {', '.join(changed)}")
    length = ("epochs", "max_steps")
    changes = before.config.describe_changes(config, ignoring=set(config.to_json()) - set(length))
    if changes and config.schedule in ("linear", "cosine"):
        lines.append(f"the {config.schedule} schedule ends at another step: {', '.join(changes)}")
    return lines


def _warn(display: TrainingDisplay, lines: list[str]) -> None:
    for line in lines:
        display.notice(f"warning: {line}")


def _train(trainer: Trainer) -> RunResult:
    """Show what is about to be trained, on what; then train it."""
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
    if dataset.starts is not None:
        facts.append(
            f"{len(dataset.starts):,} documents to train on, each ended by {config.separator!r}, in another "
            "order every epoch"
        )
    if dataset.notice:
        trainer.display.notice(dataset.notice)
    rows = model.summary(return_sequences=config.return_sequences)
    trainer.display.summary(f"CharRNN on {_in_words(trainer.program.mesh)}", rows, facts)
    return trainer.run()


def _in_words(mesh: Mesh) -> str:
    """Return what a mesh is made of: cpu, 2 x cpu, ..."""
    kind = mesh.devices.flat[0].device_kind
    return kind if mesh.size == 1 else f"{mesh.size} x {kind}"


def _load(config: Config, vocabulary: Vocabulary | None) -> tuple[Dataset, Config]:
    """Load the corpus; return it and the settings that name what was loaded."""
    dataset = load_dataset(config, vocabulary)
    source = dataset.identity.source
    return dataset, config.replace(corpus=source[0] if len(source) == 1 else source)


def _program(config: Config, dataset: Dataset, mesh: Mesh) -> Program:
    """Build the program, refusing a text that is too short for the settings."""
    num_chars = len(dataset.splits["train"])
    need = config.seq_len + 1 if config.batching == "windows" else config.batch_size * config.seq_len + 1
    if num_chars < need:
        raise JaxcharError(
            f"the training text has {num_chars:,} characters, but seq_len {config.seq_len} and batch_size "
            f"{config.batch_size} as {config.batching} need at least {need:,}; lower them, or give more text"
        )
    if config.sample_length and config.sample_from == "prompt":
        unknown = dataset.vocabulary.unknown(config.sample_prompt)
        if unknown:
            raise JaxcharError(
                f"sample_prompt {config.sample_prompt!r} has characters that the text lacks: {unknown!r}; "
                "give another --sample-prompt, or --sample-from corpus"
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


def _with_weights_of(donor: Loaded, config: Config, state: TrainState) -> TrainState:
    """Return a fresh state that begins with another run's weights."""
    theirs = donor.metadata.config
    differences = [
        f"{name}: {getattr(theirs, name)} there, {getattr(config, name)} here"
        for name in ARCHITECTURE
        if getattr(theirs, name) != getattr(config, name)
    ]
    if differences:
        raise JaxcharError(
            f"the weights of {str(donor.path)!r} do not fit these settings ({'; '.join(differences)}); "
            "use the settings that they were trained with"
        )
    (params,) = donor.state.values()
    average = None if state.average is None else jax.tree.map(jnp.copy, params)
    return state._replace(params=params, average=average)


def _refuse_changes(before: Config, now: Config) -> None:
    changes = before.describe_changes(now, ignoring=CHANGEABLE)
    if changes:
        raise JaxcharError(
            f"a resumed run must keep what enters its arithmetic, but these differ: {'; '.join(changes)}; "
            "leave them as they were, or start a new run with --init-from"
        )


def _checkpoints(run_dir: Path) -> list[Path]:
    return [run_dir.resolve() / FOLDER / str(step) for step in steps_in(run_dir / FOLDER)]


def _checkpoint_of_epoch(run_dir: Path, epoch: int) -> Path:
    """Return the checkpoint that ended an epoch."""
    there, damaged = {}, 0
    for checkpoint in _checkpoints(run_dir):
        try:
            metadata = read_metadata(checkpoint)
        except Damaged:
            damaged += 1
            continue
        if metadata.step == metadata.epoch * metadata.steps_per_epoch:
            there[metadata.epoch] = checkpoint
    if epoch not in there:
        known = ", ".join(map(str, sorted(there))) or "none"
        known += f"; {damaged} more are damaged" if damaged else ""
        raise JaxcharError(
            f"no whole checkpoint in {str(run_dir)!r} ended epoch {epoch}; those kept ended the epochs: "
            f"{known} (--keep-checkpoints says how many stay)"
        )
    return there[epoch]
