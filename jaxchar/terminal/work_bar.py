"""A bar for a work of many parts, on a terminal; an output where nothing can be changed shows none."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from rich.progress import BarColumn, Progress, TextColumn

from jaxchar.terminal.screen import can_draw, is_terminal, make_console
from jaxchar.terminal.visible import visible

Tell = Callable[[str, float], None]  # what is being done, and the share that is done, 0 to 1


@contextmanager
def work_bar(file: IO[str] | None = None) -> Iterator[Tell]:
    """Yield a function that tells how far a work is; the bar is gone when the work ends.

    Args:
        file: where it is shown; None: standard error.
    """
    stream = file or sys.stderr
    if not is_terminal(stream):
        yield _say_nothing
        return
    columns = [BarColumn()] if can_draw(stream) else []
    share = TextColumn("{task.percentage:>3.0f} %")
    words = TextColumn("{task.description}", markup=False)
    with Progress(*columns, share, words, console=make_console(stream), transient=True) as shown:
        task = shown.add_task("", total=1.0)
        yield lambda doing, done: shown.update(task, description=visible(doing), completed=done)


def _say_nothing(doing: str, done: float) -> None:
    del doing, done
