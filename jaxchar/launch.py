"""How a run begins: new, resumed, from an epoch of its own, or from another run's weights."""

import contextlib
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from jaxchar.checkpoint import FOLDER, Damaged, Loaded, load_checkpoint, read_metadata, steps_in
from jaxchar.config import Config, RunConfig
from jaxchar.console import TrainingDisplay
from jaxchar.dataset import Dataset, load_dataset, refuse_another_corpus
from jaxchar.errors import JaxcharError
from jaxchar.language_model import evaluation_params, state_structure
from jaxchar.run_folder import LOGS, RunFolder
from jaxchar.step import Program, TrainState, evaluation_batches, make_program
from jaxchar.trainer import RunResult, Trainer
from jaxchar.vocabulary import Vocabulary

# What a resumed run may change: how long it lasts and what it does on the way, not what a step computes.
CHANGEABLE = {field.name for field in dataclasses.fields(RunConfig)} - {"seed"}
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
    display = display or TrainingDisplay()
    folder = RunFolder(run_dir)
    if folder.holds_run() and steps_in(folder.path / FOLDER):
        raise JaxcharError(
            f"{str(folder.path)!r} already holds a run; go on with it (--resume), or give another --run-dir"
        )
    donor = None if init_from is None else load_checkpoint(init_from, state_structure)
    dataset, config = _load(config, donor and donor.metadata.vocabulary)
    program = _program(config, dataset)
    state = program.initial_state()
    if donor is not None:
        state = _with_weights_of(donor, config, state)
    folder.create(config)
    folder.cut_logs(dict.fromkeys(LOGS, 0))  # of a run that died before its first checkpoint
    return _train(Trainer(config, dataset, program, state, folder, display))


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
    display = display or TrainingDisplay()
    folder = RunFolder(run_dir)
    start = folder.path if initial_epoch is None else _checkpoint_of_epoch(folder.path, initial_epoch)
    loaded = load_checkpoint(start, state_structure)
    for warning in loaded.warnings:
        display.notice(f"warning: {warning}")
    config = config or loaded.metadata.config
    _refuse_changes(loaded.metadata.config, config)
    dataset, config = _load(config, loaded.metadata.vocabulary)
    refuse_another_corpus(loaded.metadata.corpus, dataset.identity)
    program = _program(config, dataset)
    if loaded.metadata.step >= program.total_steps:
        raise JaxcharError(
            f"the run is at step {loaded.metadata.step:,} of {program.total_steps:,}: nothing is left to "
            "train; give more --epochs (or --max-steps)"
        )
    later = [p for p in _checkpoints(folder.path) if int(p.name) > loaded.metadata.step]
    aside = folder.set_aside(later, f"after-step-{loaded.metadata.step}")
    if aside is not None:
        display.notice(f"{len(later)} later checkpoint(s), with metrics and samples, set aside in {aside}")
    folder.create(config)
    trainer = Trainer(config, dataset, program, loaded.state, folder, display)
    trainer.go_on_from(loaded.metadata)
    display.notice(f"Resuming {folder.path} at step {loaded.metadata.step:,}.")
    return _train(trainer)


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
        f"{config.batch_size} {config.batching} of {config.seq_len} characters a step",
    ]
    if dataset.notice:
        trainer.display.notice(dataset.notice)
    rows = model.summary(return_sequences=config.return_sequences)
    trainer.display.summary(f"CharRNN on {jax.devices()[0].device_kind}", rows, facts)
    return trainer.run()


def _load(config: Config, vocabulary: Vocabulary | None) -> tuple[Dataset, Config]:
    """Load the corpus; return it and the settings that name what was loaded."""
    dataset = load_dataset(config, vocabulary)
    source = dataset.identity.source
    return dataset, config.replace(corpus=source[0] if len(source) == 1 else source)


def _program(config: Config, dataset: Dataset) -> Program:
    """Build the program, refusing a text that is too short for the settings."""
    num_chars = len(dataset.splits["train"])
    need = config.seq_len + 1 if config.batching == "windows" else config.batch_size * config.seq_len + 1
    if num_chars < need:
        raise JaxcharError(
            f"the training text has {num_chars:,} characters, but seq_len {config.seq_len} and batch_size "
            f"{config.batch_size} as {config.batching} need at least {need:,}; lower them, or give more text"
        )
    num_val = len(dataset.splits["validation"])
    if num_val:
        evaluation_batches(config, num_val)  # refuses a text that is too short
    return make_program(config, len(dataset.vocabulary), num_chars)


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
    params = evaluation_params(donor.state)
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
    there = {}
    for checkpoint in _checkpoints(run_dir):
        with contextlib.suppress(Damaged):
            metadata = read_metadata(checkpoint)
            if metadata.step == metadata.epoch * metadata.steps_per_epoch:
                there[metadata.epoch] = checkpoint
    if epoch not in there:
        known = ", ".join(map(str, sorted(there))) or "none"
        raise JaxcharError(
            f"no whole checkpoint in {str(run_dir)!r} ended epoch {epoch}; those kept ended the epochs: "
            f"{known} (--keep-checkpoints says how many stay)"
        )
    return there[epoch]
