"""What the tests of whole commands share: the options of a tiny run, and how to tell that it is whole."""

import json
import sys
from pathlib import Path

from runs import TINY, timeless_metrics

from jaxchar import train
from jaxchar.checkpoint.layout import FOLDER, steps_in

CONFIG = TINY.replace(epochs=2, log_every=5)
EPOCH = 14  # steps
STEPS = 2 * EPOCH
_OPTIONS = "--corpus python --max-chars 1000 --batch-size 4 --seq-len 16 --hidden-size 6 --sample-length 0"
_OPTIONS += " --recurrent-init same --optimizer adamw"  # quick to compile
PERIODS = {"--log-every": 5, "--eval-every": EPOCH, "--checkpoint-every": EPOCH}  # else the recipe's
OPTIONS = [*_OPTIONS.split(), *(str(word) for period in PERIODS.items() for word in period)]
TRAIN = [sys.executable, "-m", "jaxchar.train", *OPTIONS]
# Nothing is chosen for the text, for which the machine would be measured.
_AS_EXPERIMENT = "from jaxchar.config import Config; from jaxchar.train import main; main(Config(), 'run')"
EXPERIMENT = [sys.executable, "-c", _AS_EXPERIMENT, *OPTIONS]


def assert_whole(run_dir: Path, steps: int = STEPS) -> None:
    """Fail unless everything of a finished run is there."""
    assert steps_in(run_dir / FOLDER)[0] == steps
    assert json.loads((run_dir / "summary.json").read_text())["steps"] == steps
    assert (run_dir / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len(timeless_metrics(run_dir)) == steps // 5 + steps // EPOCH


def main(*options: str) -> int:
    """Train as a command; return the exit code."""
    try:
        train.main(arguments=[*OPTIONS, *options])
    except SystemExit as leaving:
        return leaving.code or 0
    return 0
