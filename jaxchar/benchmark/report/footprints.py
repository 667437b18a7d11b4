"""The memory of a training step: what the device or the process had at most, and what XLA planned."""

from collections.abc import Iterator

from jaxchar.benchmark.cells import Cell, cells_named, dtypes_on
from jaxchar.benchmark.report.clock import NO_TIME, Clock
from jaxchar.benchmark.report.sections import Row
from jaxchar.benchmark.workers import Absent, worker_command, workers

CONTENDERS = ("jaxchar",)


def memory(platform: str, clock: Clock) -> Iterator[Row]:
    """Yield a row for each cell and dtype, each measured in a process that does nothing else."""
    cells = cells_named(None, platform != "cpu")
    asked = [(cell, dtype, name) for cell in cells for dtype in dtypes_on(platform) for name in CONTENDERS]
    for (cell, dtype, name), fits in clock.in_time(asked):
        head = {"cell": cell.name, "dtype": dtype, "contender": name}
        yield head | (footprint(cell, dtype, name, platform) if fits else {"left_out": NO_TIME})


def footprint(cell: Cell, dtype: str, name: str, platform: str) -> Row:
    """Return the bytes that a baseline takes for some steps, or why there is no figure."""
    with workers({name: worker_command(name)}, platform) as started:
        try:
            started[name].ask({"do": "start"})
            return started[name].ask({"do": "footprint", "cell": cell.to_json(), "dtype": dtype})
        except Absent as absent:
            return {"failed" if absent.failed else "left_out": absent.why}
