"""What a verified checkpoint costs: how long training waits for it, how long it takes, how much work it is.

    python experiments/measurements/checkpoint_cost.py

For the states of two models (parameters, two Adam moments, carry): *blocking* is the time that
``CheckpointStore.save`` keeps the training waiting; *total* is the time until the checkpoint is on disk, read
back and compared with its SHA-256; *work* is the processor time that all of it takes, which is what training
loses at the most where every core is busy. Medians of ROUNDS saves, each in the place of the one before.
"""

import statistics
import tempfile
import time
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.training.step import TrainState, make_program

ROUNDS = 11
SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789"
MODELS = {
    "words_generator, 89,124 parameters": Config(
        hidden_size=128, batch_size=32, seq_len=16, optimizer="adam"
    ),
    "10 million parameters": Config(hidden_size=1_536, batch_size=32, seq_len=16, optimizer="adam"),
}


def state_of(config: Config) -> TrainState:
    """Return the state that a training of this configuration begins with."""
    return jax.block_until_ready(make_program(config, len(SYMBOLS), 100_000).initial_state())


def metadata(config: Config, step: int) -> Metadata:
    """Return metadata such as a run's."""
    corpus = {"source": ["text"], "sha256": "0" * 64, "characters": 100_000}
    return Metadata(
        step=step,
        epoch=step,
        steps_per_epoch=1,
        config=config.replace(keep_checkpoints=1),
        vocabulary=Vocabulary(SYMBOLS),
        corpus=corpus,
        metrics={"seconds": 1.0},
        last={},
        best={},
        logs={},
        versions=library_versions(),
        machine=describe_machine(),
    )


def costs(config: Config, run_dir: Path) -> list[tuple[float, float, float]]:
    """Return blocking, total and processor seconds of some saves; the first, which warms up, is left out."""
    state, figures = state_of(config), []
    with CheckpointStore(run_dir) as store:
        for step in range(ROUNDS + 1):
            began, work = time.perf_counter(), time.process_time()
            store.save(state, metadata(config, step))
            blocked = time.perf_counter()
            store.wait()
            figures.append((blocked - began, time.perf_counter() - began, time.process_time() - work))
            if store.last_error:
                raise SystemExit(store.last_error)
    return figures[1:]


def main() -> None:
    """Measure, and print a table."""
    table = Table(title=f"Verified checkpoints, medians of {ROUNDS}, milliseconds")
    for heading in ("State", "MB", "Blocking", "Total", "Work"):
        table.add_column(heading, justify="left" if heading == "State" else "right")
    for name, config in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            figures = costs(config, Path(folder))
        num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state_of(config)))
        medians = (f"{1e3 * statistics.median(column):.1f}" for column in zip(*figures, strict=True))
        table.add_row(name, f"{num_bytes / 1e6:.1f}", *medians)
    Console().print(table)


if __name__ == "__main__":
    main()
