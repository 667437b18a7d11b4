"""What a run came to: its summary and its picture. Either may fail without harm to the other."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxchar.config import Config
from jaxchar.data.dataset import Dataset
from jaxchar.model.loss import Means, bits_per_char
from jaxchar.progress.guard import GuardedDisplay, reason_of
from jaxchar.scoring.reference_losses import reference_losses
from jaxchar.training.evaluations import Evaluations
from jaxchar.training.metrics import Series
from jaxchar.training.plot import plot_loss
from jaxchar.training.run_folder import PICTURE, SUMMARY, RunFolder
from jaxchar.training.step import TrainState

REFERENCES = "reference_bits_per_char"
SHOWN_REFERENCES = {"bzip2": "bzip2", "frequencies": "letter frequencies"}  # in the picture


class RunResult(NamedTuple):
    """What a run came to."""

    run_dir: Path
    summary: dict[str, Any]  # as in summary.json
    stopped_by: int | None  # the signal that ended it early, if one did
    # The best model's validation loss, nats, with counts of the training text ("static") and with counts that
    # grow; None where it was not asked for.
    with_memory: dict[str, float] | None = None

    @property
    def metrics(self) -> dict[str, Series]:
        """Every figure over the steps, by its name: ``steps, losses = run.metrics["val_loss"]``."""
        return RunFolder(self.run_dir).metrics()

    @property
    def figures(self) -> dict[str, float]:
        """The numbers of the summary."""
        return {name: value for name, value in self.summary.items() if isinstance(value, int | float)}


def summarize(
    state: TrainState,
    seconds: float,
    config: Config,
    steps_per_epoch: int,
    evaluations: Evaluations,
) -> dict[str, Any]:
    """Return the figures of a run as a JSON object, those of other models left out.

    Args:
        state: after the last step.
        seconds: of training.
        config: all settings.
        steps_per_epoch: steps an epoch.
        evaluations: of the validation text.
    """
    train, step = Means.of(state.epoch_totals), int(state.step)
    seconds = round(seconds, 3)  # as in a checkpoint, so that a resumed run sums up the same
    rate = step / max(seconds, 1e-9)
    last, best = evaluations.last, evaluations.best
    return {
        "steps": step,
        "epochs": step / steps_per_epoch,
        "seconds": seconds,
        "steps_per_second": round(rate, 3),
        "chars_per_second": round(rate * config.batch_size * config.seq_len, 1),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "train_loss": train.loss,
        "train_accuracy": train.accuracy,
        "val_loss": None if last is None else last.val_loss,
        "val_accuracy": None if last is None else last.val_accuracy,
        "val_bits_per_char": (last and bits_per_char(last.val_loss)) or None,
        "best_step": best.step,
        "best_val_loss": None if best.step is None else best.val_loss,
        "skipped_steps": int(state.skipped),
    }


def _references(folder: RunFolder, dataset: Dataset) -> dict[str, float] | None:
    """Return what others make of the validation text, in bits per character; None where there is none.

    It is the same for every summary of a run, so it is taken from the one on disk where that has it.
    """
    training, held_out = (np.asarray(dataset.splits[name]) for name in ("train", "validation"))
    if not len(held_out):
        return None
    known = (folder.summary() or {}).get(REFERENCES)
    return known or reference_losses(training, held_out, dataset.vocabulary.symbols).to_json()


def write_report(
    folder: RunFolder, dataset: Dataset, display: GuardedDisplay, summary: dict[str, Any], *, is_new: bool
) -> dict[str, Any]:
    """Write the summary and the picture, unless they are there; a failure of either is told.

    Args:
        folder: the run's.
        dataset: the text, on which other models are measured.
        display: where failures are told.
        summary: see :func:`summarize`.
        is_new: whether there are steps that the picture on disk cannot have.

    Returns:
        The summary, with what others make of the held-out text.
    """
    summary = {**summary, REFERENCES: _references(folder, dataset)}
    is_written = folder.summary() == summary
    if not is_written:
        with _failing_alone(SUMMARY, display):
            folder.write_json(SUMMARY, summary)
    with _failing_alone(PICTURE, display):
        if is_new or not is_written or not folder.has(PICTURE):
            _draw(folder, display, summary[REFERENCES] or {})
    return summary


def _draw(folder: RunFolder, display: GuardedDisplay, reference_bits: dict[str, float]) -> None:
    metrics = folder.metrics()
    losses = {
        SHOWN_REFERENCES[name]: bits * math.log(2)
        for name, bits in reference_bits.items()
        if name in SHOWN_REFERENCES
    }
    if metrics:
        with display.phase("drawing the picture ..."):
            plot_loss(metrics, folder.path.name, folder.path / PICTURE, losses)


@contextlib.contextmanager
def _failing_alone(name: str, display: GuardedDisplay) -> Iterator[None]:
    """Turn whatever goes wrong with a file that tells of the run into one line of warning."""
    try:
        yield
    except Exception as error:  # of libraries, their settings and the file system
        display.notice(
            f"warning: {name} could not be written: {reason_of(error)}; the checkpoint is whole, and "
            "resuming the run tries again"
        )
