"""A tiny checkpoint, saved without training, for the tests of checkpoints."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.model.loss import MetricSums

STATE = {
    "params": {"kernel": np.arange(12, dtype=np.float32).reshape(3, 4) / 7},
    "totals": MetricSums(np.float32(1.5), np.int32(3), np.int32(4)),
    "average": None,
}


def state() -> dict:
    """Return the training state that is saved."""
    return jax.tree.map(jnp.asarray, STATE)


def metadata(step: int, val_loss: float | None = None, keep: int = 0) -> Metadata:
    """Return the metadata of a step."""
    return Metadata(
        step=step,
        epoch=step // 10,
        steps_per_epoch=10,
        config=Config(hidden_size=(3, 4), sample_prompt="\n\ud800", keep_checkpoints=keep),
        vocabulary=Vocabulary("abc\n\ud800\U0001f600"),
        corpus={"source": ["python"], "sha256": "0" * 64, "characters": 7},
        metrics={} if val_loss is None else {"val_loss": val_loss},
        last={},
        best={},
        logs={"metrics.jsonl": 12},
        versions=library_versions(),
        machine=describe_machine(),
    )


def save(run_dir: Path, *steps: int, keep: int = 0, losses: dict[int, float] | None = None) -> None:
    """Save a checkpoint at each step."""
    with CheckpointStore(run_dir) as store:
        for step in steps:
            store.save(state(), metadata(step, (losses or {}).get(step), keep))
            store.wait()
            assert store.last_error is None
            assert store.newest_step == step


def assert_equal(a, b) -> None:
    """Assert that two states have the same structure, types and numbers."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for mine, theirs in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def load(path: Path, which="last"):
    """Load a checkpoint that was saved here."""
    return load_checkpoint(path, lambda _: state(), which)
