"""Which run a command means where none is named: the newest in ``runs/``."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jaxchar.command_line import called_as
from jaxchar.errors import JaxcharError

if TYPE_CHECKING:  # checkpoint imports JAX, which an error message need not wait for
    from jaxchar.checkpoint import Loaded, Which

RUNS = "runs"
CHECKPOINTS = "checkpoints"  # checkpoint.FOLDER
SET_ASIDE = "set-aside-"  # a run's own old checkpoints, see RunFolder.set_aside


def run_to_use(positional: str | None, option: str | None) -> str:
    """Return the path that a command is to work with, and say which it is where the user named none.

    Args:
        positional: the path as typed alone.
        option: the path as typed after ``--ckpt``.

    Raises:
        JaxcharError: it is given twice, or is not given and there is no run.
    """
    if positional is not None and option is not None:
        raise JaxcharError(f"the run is given twice, as {positional!r} and with --ckpt; give it once")
    if named := option if positional is None else positional:
        return named
    found = newest_run(Path(RUNS))
    if found is None:
        raise JaxcharError(
            f"there is no run in {RUNS}/ here; train one ({called_as('train')} my_novel.txt), or name a run "
            "with --ckpt"
        )
    print(f"The newest run is {found}.", file=sys.stderr)
    return str(found)


def newest_run(folder: Path) -> Path | None:
    """Return the run with the newest checkpoint, in a folder or in a folder inside; None: none has any."""
    times = {}
    for pattern in (f"*/{CHECKPOINTS}", f"*/*/{CHECKPOINTS}"):
        for checkpoints in folder.glob(pattern):
            if not checkpoints.parent.name.startswith(SET_ASIDE):
                times[checkpoints.parent] = max(_times(checkpoints), default=0.0)
    times = {run: time for run, time in times.items() if time}
    return max(times, key=lambda run: (times[run], str(run)), default=None)


def _times(checkpoints: Path) -> Iterator[float]:
    """Return when each checkpoint in a folder was written."""
    with suppress(OSError):
        for step in checkpoints.iterdir():
            if step.name.isdecimal():
                yield step.stat().st_mtime


def say_which(loaded: "Loaded", which: "Which | None") -> None:
    """Say on standard error which checkpoint of a run was taken, where the user left it open."""
    if which is not None:
        return
    kind = "best" if "val_loss" in loaded.metadata.metrics else "newest"
    print(f"Using the {kind} checkpoint, of step {loaded.metadata.step:,}.", file=sys.stderr)
