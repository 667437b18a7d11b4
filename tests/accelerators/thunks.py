"""Count what a GPU is asked to do in a training step, in XLA's own list of a program's thunks.

The list is ``*.thunk_sequence_after_thunk_passes.txt`` of ``--xla_dump_to``. A thunk is a kernel, a copy, a
loop or a command buffer (a CUDA graph: many kernels, one launch). The outermost loop is over steps, whose
number the device knows; the host waits once a step. Those in it are over time: their length is in the
program.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LINE = re.compile(r"(\s*)\d+: (k\w+)")


@dataclass
class Thunk:
    """A thunk and what it holds."""

    kind: str
    indent: int
    inside: list["Thunk"] = field(default_factory=list)


class Counts(NamedTuple):
    """What a step takes."""

    launches: int  # by the host
    kernels: int  # on the device, copies among them
    waits: int  # of the host for the device

    def times(self, factor: int) -> "Counts":
        """Return what it takes to do the same so many times."""
        return Counts(*(factor * number for number in self))


def counts_of(file: Path, turns: int) -> Counts:
    """Return what a program's step takes, whose loops over time have so many turns."""
    return _counts(_read(file.read_text(encoding="utf-8")), turns)


def _read(text: str) -> list[Thunk]:
    root = Thunk("root", -1)
    open_ones = [root]
    for found in filter(None, map(LINE.match, text.splitlines())):
        thunk = Thunk(found[2], len(found[1]))
        while open_ones[-1].indent >= thunk.indent:
            open_ones.pop()
        open_ones[-1].inside.append(thunk)
        open_ones.append(thunk)
    return root.inside


def _counts(thunks: list[Thunk], turns: int, *, in_loop: bool = False) -> Counts:
    found = [_counts_of_one(thunk, turns, in_loop) for thunk in thunks]
    return Counts(*map(sum, zip(*found, strict=True)))


def _counts_of_one(thunk: Thunk, turns: int, in_loop: bool) -> Counts:
    match thunk.kind:
        case "kWhile":  # the first thunk is its condition
            once = _counts(thunk.inside[1:], turns, in_loop=True)
            if in_loop:
                return once.times(turns)
            return Counts(once.launches + 1, once.kernels + 1, once.waits + 1)
        case "kCommandBuffer":
            return _counts(thunk.inside, turns, in_loop=in_loop)._replace(launches=1)
        case "kSequential":
            return _counts(thunk.inside, turns, in_loop=in_loop)
    return Counts(1, 1, 0)
