"""Loss and gradient of every cell and dtype beside a plain model in float64, for each implementation."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxchar.benchmark import events
from jaxchar.benchmark.baselines import IMPLEMENTATIONS
from jaxchar.benchmark.cells import Cell, cells_named, dtypes_on
from jaxchar.benchmark.data import made_up_weights, save_arrays
from jaxchar.benchmark.report.clock import NO_TIME, Clock
from jaxchar.benchmark.report.sections import Row
from jaxchar.benchmark.same_work import GRADIENT_TOLERANCE, LOSS_TOLERANCE, gradient_error, relative
from jaxchar.benchmark.worker import JUDGE
from jaxchar.benchmark.workers import Worker, worker_command, workers

NAMES = tuple(f"jaxchar-{name}" for name in IMPLEMENTATIONS)


def correctness(platform: str, clock: Clock) -> Iterator[Row]:
    """Yield a row for each cell and dtype, the cells that take least first."""
    every = sorted(cells_named(None, platform != "cpu"), key=lambda cell: cell.step_operations)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        commands = {name: worker_command(name) for name in (JUDGE, *NAMES)}
        started = stack.enter_context(workers(commands, platform))
        events.Field(started)  # they import their libraries, which is no cell's time
        for cell, fits in clock.in_time(every):
            if fits:
                yield from compare(cell, dtypes_on(platform), started, folder)
            else:
                yield from (
                    {"cell": cell.name, "dtype": dtype, "left_out": NO_TIME} for dtype in dtypes_on(platform)
                )


def compare(cell: Cell, dtypes: Sequence[str], started: dict[str, Worker], folder: Path) -> Iterator[Row]:
    """Yield a row for each dtype of a cell: the errors of each implementation and what is allowed."""
    save_arrays(folder / "weights.npz", made_up_weights(cell))
    files = {name: folder / f"{name}.npz" for name in started}
    judge: Row = {}
    for dtype in dtypes:
        asked = started if not judge else {name: one for name, one in started.items() if name != JUDGE}
        field = events.Field(asked)
        request = {
            "do": "build",
            "cell": cell.to_json(),
            "dtype": dtype,
            "weights": str(folder / "weights.npz"),
        }
        field.ask_side_by_side({name: request | {"gradient": str(files[name])} for name in asked})
        judge = judge or field.results.pop(JUDGE)
        found = {name: _judged(field.results[name], judge, files, name, dtype) for name in NAMES}
        yield {"cell": cell.name, "dtype": dtype, "judge": judge, "contenders": found}


def _judged(found: Row, judge: Row, files: dict[str, Path], name: str, dtype: str) -> Row:
    """Return the errors of one implementation, or why there are none."""
    if "loss" not in found:
        return found
    if "loss" not in judge:
        return {"failed": f"nobody can judge its work: {judge.get('failed', judge)}"}
    with np.load(files[name]) as gradient, np.load(files[JUDGE]) as exact:
        gradient_off = gradient_error(dict(gradient), dict(exact))
    loss_off = relative(found["loss"], judge["loss"])
    holds = loss_off <= LOSS_TOLERANCE[dtype] and gradient_off <= GRADIENT_TOLERANCE[dtype]
    return {"loss": found["loss"], "loss_error": loss_off, "gradient_error": gradient_off, "holds": holds}
