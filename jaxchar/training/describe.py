"""What a run is, in words: what is trained on what, and why a finished run does not go on."""

from pathlib import Path

import jax
from flax import nnx
from jax.sharding import Mesh

from jaxchar.config import Config
from jaxchar.data.dataset import Dataset
from jaxchar.data.documents import documents_in_words
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training.step import Program


def show_what_is_trained(display: GuardedDisplay, config: Config, dataset: Dataset, program: Program) -> None:
    """Show the text, the length of the run, and the layers of the model."""
    batches = program.batches
    model = nnx.merge(program.graphdef, jax.eval_shape(program.initial_state).params)
    corpus = dataset.identity
    lengths = ", ".join(f"{name} {len(ids):,}" for name, ids in dataset.splits.items() if len(ids))
    facts = [
        f"Corpus {' '.join(corpus.source)}: {corpus.characters:,} characters, "
        f"{len(dataset.vocabulary)} symbols ({lengths})",
        f"{batches.steps_per_epoch:,} steps an epoch, {program.total_steps:,} in all: "
        f"{config.batching} of {config.seq_len} characters, {config.batch_size} a step",
    ]
    if config.separator is not None:
        facts.append(_documents_in_words(config.separator, dataset))
    rows = model.summary(return_sequences=config.return_sequences)
    display.summary(f"CharRNN on {_devices_in_words(program.mesh)}", rows, facts)


def words_of_the_end(run_dir: Path, step: int, total_steps: int, bad: int, patience: int | None) -> str:
    """Return that a run is finished, and what makes it go on.

    Args:
        run_dir: the run's folder.
        step: at which it is.
        total_steps: at which it would end without early stopping.
        bad: evaluations since the best one.
        patience: how many early stopping waits for.
    """
    where = f"{run_dir} is finished at step {step:,}"
    if step < total_steps:
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


def _devices_in_words(mesh: Mesh) -> str:
    """Return what a mesh is made of: cpu, 2 x cpu, ..."""
    kind = mesh.devices.flat[0].device_kind
    return kind if mesh.size == 1 else f"{mesh.size} x {kind}"
