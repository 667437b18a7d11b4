"""What the tests of whole runs share: a tiny run, no output, and metadata that lie."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxchar.checkpoint.record import with_digest
from jaxchar.config import Config
from jaxchar.progress.display import TrainingDisplay

TINY = Config(
    corpus="python",
    max_chars=1_000,
    batch_size=4,
    seq_len=16,
    hidden_size=6,
    recurrent_init="same",  # quick to compile
    epochs=1,
    sample_length=0,
)


def quiet() -> TrainingDisplay:
    """Return a display that shows nothing."""
    return TrainingDisplay(Console(quiet=True))


def timeless_metrics(run_dir: Path) -> list[dict]:
    """Return a run's metrics, less what the clock says."""
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def rewrite_metadata(checkpoint: Path, change: Callable[[dict], Any]) -> None:
    """Change the metadata of a checkpoint in place, or return others, and forge the digest to match."""
    file = checkpoint / "metadata" / "metadata"
    record = json.loads(file.read_text())
    del record["sha256"]
    record = change(record) or record
    file.write_text(json.dumps(with_digest(record)))
