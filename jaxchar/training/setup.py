"""What new and resumed runs begin with: folder and store, display, text, program."""

import json
from pathlib import Path
from typing import Any

import jax
import optax
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.store import CheckpointStore, ReadOnlyStore
from jaxchar.config import Config
from jaxchar.data.dataset import Dataset
from jaxchar.errors import JaxcharError, in_callers_words, quoted
from jaxchar.parallel.hardware import notice_of_device
from jaxchar.parallel.processes import check_same_in_all, is_first
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.recurrence.unroll import check_implementation
from jaxchar.scoring.protocols import evaluation_batches
from jaxchar.tracing import traced_for
from jaxchar.training.describe import show_what_is_trained, words_of_the_end
from jaxchar.training.run_folder import ReadOnlyFolder, RunFolder, make_next_free
from jaxchar.training.step import Program, check_memory, make_program
from jaxchar.training.summary import RunResult
from jaxchar.training.trainer import Trainer


def open_run(run_dir: str | Path, config: Config) -> tuple[RunFolder, CheckpointStore]:
    """Return what a run is written with; of several processes, only the first writes."""
    if is_first():
        folder = RunFolder(run_dir)
        return folder, CheckpointStore(folder.path, lock=config.lock)
    folder = ReadOnlyFolder(run_dir)
    return folder, ReadOnlyStore(folder.path)


def new_run_folder(name: str) -> Path:
    """Return a new folder in ``runs/``; of several processes, only the first makes it."""
    path = Path("runs") / name
    return make_next_free(path) if is_first() else path


def guarded(display: TrainingDisplay | GuardedDisplay | None) -> GuardedDisplay:
    """Return what a run is shown with; of several processes, only the first shows it."""
    return GuardedDisplay.of(
        (display or TrainingDisplay()) if is_first() else TrainingDisplay(Console(quiet=True))
    )


def show_warnings(display: GuardedDisplay, lines: list[str]) -> None:
    """Show a line of warning each."""
    for line in lines:
        display.notice(f"warning: {in_callers_words(line)}")


def check_same_everywhere(config: Config, corpus: dict[str, Any]) -> None:
    """Raise a JaxcharError where the processes of a run were not all given the same.

    The same text may lie in another place on each machine.
    """
    settings, text = {**config.to_json(), "corpus": None}, {**corpus, "source": None}
    recurrence = describe_machine()["recurrence"]
    check_same_in_all(json.dumps([settings, text, library_versions(), recurrence]))


def checked_program(
    config: Config, dataset: Dataset, mesh: Mesh, optimizer: optax.GradientTransformation | None = None
) -> Program:
    """Build the program, refusing a text that is too short for the settings; see :func:`make_program`."""
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
    program = make_program(config, len(dataset.vocabulary), num_chars, mesh, optimizer)
    check_memory(config, program)
    check_recurrence(config, program)
    return program


def check_recurrence(config: Config, program: Program) -> None:
    """Raise a JaxcharError where the machine lacks the implementation that is asked for."""
    model = nnx.merge(program.graphdef, jax.eval_shape(program.initial_state).params)
    with traced_for(program.mesh.devices.flat[0].platform):
        for cell in model.cells:
            check_implementation(cell, config.implementation)


def train(trainer: Trainer, *, planned: bool = False) -> RunResult:
    """Train, unless nothing is left; say first what is trained on what, unless a plan has said it."""
    if trainer.is_finished:
        total, best = trainer.program.total_steps, trainer.evaluations.best
        patience = trainer.config.early_stopping
        trainer.display.notice(
            words_of_the_end(trainer.folder.path, trainer.step, total, best.evaluations_since, patience)
        )
        return trainer.sum_up()
    for line in filter(None, (trainer.dataset.notice, notice_of_device(trainer.program.mesh))):
        trainer.display.notice(in_callers_words(line))
    if not planned or trainer.display.verbose:
        show_what_is_trained(trainer.display, trainer.config, trainer.dataset, trainer.program)
    result = trainer.run()
    if result.stopped_by is not None:
        trainer.display.stopped(result.run_dir, trainer.step, trainer.program.total_steps)
    return result
