"""Which run a command uses if none is named: the newest in ``runs/``."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.errors import JaxcharError
from jaxchar.terminal.invocation import called_as
from jaxchar.terminal.visible import visible

if TYPE_CHECKING:  # this imports JAX, which an error message need not wait for
    from jaxchar.checkpoint.find import Loaded, Which

RUNS = "runs"
LONG_SORTING = 3.0  # seconds
SET_ASIDE = "set-aside-"  # a run's own old checkpoints, see RunFolder.set_aside


class Typed(Protocol):
    """The arguments of a command that name the run."""

    @property
    def run(self) -> str | None:
        """The path, typed without an option."""

    @property
    def ckpt(self) -> str | None:
        """The path, typed after ``--ckpt``."""


class TypedRuns(Protocol):
    """The arguments of a command that name several runs."""

    @property
    def runs(self) -> tuple[str, ...]:
        """The paths, typed without an option."""

    @property
    def ckpt(self) -> str | None:
        """The path, typed after ``--ckpt``."""


class TypedModel(Typed, Protocol):
    """The arguments that name the run and one of its checkpoints."""

    @property
    def memory(self) -> float | str | None:
        """How far the memory is asked."""

    @property
    def which(self) -> "Which | None":
        """The checkpoint, if it was typed."""


def run_to_use(typed: Typed) -> str:
    """Return the path that a command works with: as typed, else the newest run.

    Raises:
        JaxcharError: it is given twice, or it is not given and there is no run.
    """
    if typed.run is not None and typed.ckpt is not None:
        raise JaxcharError(f"the run is given twice, as {typed.run!r} and with --ckpt; give it once")
    named = typed.ckpt if typed.run is None else typed.run
    return _newest() if named is None else named


def runs_to_show(typed: TypedRuns) -> list[str]:
    """Return the paths that a command shows: as typed, else the newest run, which is then said.

    Raises:
        JaxcharError: there is no run.
    """
    named = [*typed.runs, *([] if typed.ckpt is None else [typed.ckpt])]
    if not named:
        named = [_newest()]
        print(f"Using {visible(named[0])}, the newest run.", file=sys.stderr)
    return named


def _newest() -> str:
    found = newest_run(Path(RUNS))
    if found is None:
        raise JaxcharError(
            f"there is no run in {RUNS}/ here; train one ({called_as('train')} my_novel.txt), or name a run "
            "with --ckpt"
        )
    return str(found)


def newest_run(folder: Path) -> Path | None:
    """Return the run with the newest checkpoint, up to two folders deep; None: there is no checkpoint."""
    times = {}
    for pattern in (f"*/{FOLDER}", f"*/*/{FOLDER}"):
        for checkpoints in folder.glob(pattern):
            if not checkpoints.parent.name.startswith(SET_ASIDE):
                times[checkpoints.parent] = max(_times(checkpoints), default=0.0)
    times = {run: time for run, time in times.items() if time}
    return max(times, key=lambda run: (times[run], str(run)), default=None)


def _times(checkpoints: Path) -> Iterator[float]:
    """Return when each checkpoint in a folder was written."""
    with suppress(OSError):
        for step in steps_in(checkpoints):
            yield (checkpoints / str(step)).stat().st_mtime


def say_run(typed: Typed, run: str) -> None:
    """Say on standard error which run is used, if the user named none."""
    if typed.run is None and typed.ckpt is None:
        print(f"Using {visible(run)}, the newest run.", file=sys.stderr)


def say_model(typed: TypedModel, run: str, loaded: "Loaded") -> None:
    """Say on standard error which run and checkpoint are used, if the user did not name them."""
    say_run(typed, run)
    if typed.which is None and loaded.path != Path(run).expanduser().resolve():
        kind = "best" if "val_loss" in loaded.metadata.metrics else "newest"
        print(f"Using its {kind} checkpoint, of step {loaded.metadata.step:,}.", file=sys.stderr)
    _say_what_is_sorted(typed, loaded)


def _say_what_is_sorted(typed: TypedModel, loaded: "Loaded") -> None:
    """Say what sorting a remembered text takes, where that is a while."""
    memory, without = loaded.memory, "none" if isinstance(typed.memory, str) else "0"
    if memory is None or str(typed.memory) in ("none", "0.0", "0") or memory.sorting_seconds < LONG_SORTING:
        return
    print(
        f"Sorting the {len(memory.ids):,} characters that it remembers: about {memory.sorting_seconds:.0f} "
        f"seconds, and {memory.index_bytes / 1e6:.0f} MB; --memory {without} does without.",
        file=sys.stderr,
    )
