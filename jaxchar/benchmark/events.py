"""The events of a benchmark, one after the other: what starts, what is measured, and the results.

An event's result is a JSON object: its cell, its dtype, and under "contenders" the results of each: "rates"
(units/s of every round) if it finished, else "left_out" or "failed" with the reason.
"""

import statistics
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxchar.benchmark.baselines import KNOWN
from jaxchar.benchmark.cells import READING, WRITING, Cell, floor_seconds
from jaxchar.benchmark.data import made_up_weights, save_arrays
from jaxchar.benchmark.race import FEWER_ROUNDS, ratio, take_turns
from jaxchar.benchmark.same_work import differences, gradient_error
from jaxchar.benchmark.worker import JUDGE, MACHINE
from jaxchar.benchmark.workers import Absent, Worker, worker_command, workers

OURS = "jaxchar"  # the one that the others' first steps are compared with
TIMES_FLOOR = 3  # that a step takes, about
Result = dict[str, Any]


class Plan(NamedTuple):
    """What to measure."""

    cells: tuple[Cell, ...]
    dtypes: tuple[str, ...]
    names: tuple[str, ...]  # of the baselines
    seconds: float  # for each baseline in each event
    devices: int | None  # of the baseline that splits its batch; None: all
    sampling: bool  # also write and read
    platform: str  # that all compute on: "cpu", "gpu" or "tpu"


def run(
    plan: Plan, progress: Callable[[str], AbstractContextManager], keep: Callable[[Result], None]
) -> Result:
    """Run every event of a plan.

    Args:
        plan: what to measure.
        progress: shows the words that it is given while an event runs.
        keep: is given all results so far after each event.
    """
    found: Result = {"seconds": plan.seconds, "training": [], "write": [], "read": []}
    before = measure_machine(plan.dtypes, plan.platform)
    for cell in plan.cells:
        for dtype in plan.dtypes:
            with progress(f"training {cell.name}, {dtype}"):
                found["training"].append(training(cell, dtype, plan, before["peak"][dtype]))
            keep(found)
    if plan.sampling:
        names = [name for name in plan.names if not KNOWN[name].options]  # no variants of training
        with workers({name: worker_command(name) for name in names}, plan.platform) as started:
            for what, cell in [("write", cell) for cell in WRITING] + [("read", cell) for cell in READING]:
                with progress(cell.name):
                    found[what].append(using(what, cell, plan, started))
                keep(found)
    result = with_capacity(found, before, measure_machine(plan.dtypes, plan.platform))
    keep(result)
    return result


def describe_machine() -> Result:
    """Return what this machine is."""
    with workers({MACHINE: worker_command(MACHINE)}) as started:
        started[MACHINE].ask({"do": "start"})
        return started[MACHINE].ask({"do": "measure", "dtypes": None})


def measure_machine(dtypes: tuple[str, ...], platform: str) -> Result:
    """Return what this machine can do at this moment."""
    with workers({MACHINE: worker_command(MACHINE)}, platform) as started:
        started[MACHINE].ask({"do": "start"})
        return started[MACHINE].ask({"do": "measure", "dtypes": dtypes})


# ---- an event ------------------------------------------------------------------------------------


class Field:
    """The baselines of one event, each in its own process, and their results."""

    def __init__(self, started: dict[str, Worker]) -> None:
        """Take processes, new or used in an earlier event, and let them import."""
        self.workers = started
        self.results: dict[str, Result] = {name: {} for name in started}
        self.ask_side_by_side({name: {"do": "start"} for name in started})

    @property
    def standing(self) -> list[str]:
        """Those that have neither failed nor been left out."""
        return [name for name, found in self.results.items() if not {"left_out", "failed"} & found.keys()]

    def attempt(self, name: str, work: Callable[[], Result]) -> None:
        """Add an answer to a baseline's results, or why there is none."""
        try:
            self.results[name] |= work()
        except Absent as absent:
            self.results[name] |= _reason(absent)

    def ask_side_by_side(self, requests: dict[str, Result]) -> None:
        """Ask all at once; nothing is timed."""
        asked = self.standing
        for name in asked:
            self.workers[name].send(requests[name])
        for name in asked:
            self.attempt(name, self.workers[name].receive)

    def ask_in_turn(self, request: Result) -> None:
        """Ask one after the other."""
        for name in self.standing:
            self.attempt(name, partial(self.workers[name].ask, request))

    def race(self, seconds: float) -> None:
        """Time all in turns; then ask how much memory each took."""

        def run(name: str, units: int, patience: float) -> float:
            return self.workers[name].ask({"do": "run", "units": units}, patience)["seconds"]

        rates, gone = take_turns(
            {name: self.results[name]["unit_seconds"] for name in self.standing}, run, seconds
        )
        for name, absent in gone.items():
            self.results[name] |= _reason(absent)
        for name, found in rates.items():
            self.results[name]["rates"] = found
        self.ask_in_turn({"do": "memory"})


def training(cell: Cell, dtype: str, plan: Plan, peak: float) -> Result:
    """Check and time whole training steps on a machine of ``peak`` operations/s."""
    equal = _equal_calls(cell, plan, peak)
    names = (JUDGE, *(name for name in plan.names if name not in equal))
    commands = {name: worker_command(name, plan.devices) for name in names}
    with workers(commands, plan.platform) as started:
        event = compared(cell, dtype, started, plan.seconds)
    event["contenders"] |= {name: _reason(absent) for name, absent in equal.items()}
    return with_ratios(event)


def compared(
    cell: Cell, dtype: str, started: dict[str, Worker], seconds: float, *, again: bool = False
) -> Result:
    """Check and time whole training steps in processes that have started, the judge's among them.

    Args:
        cell: what to train.
        dtype: see :mod:`jaxchar.benchmark.baselines`.
        started: the processes; new or used in an earlier event.
        seconds: for each of them, all its turns together.
        again: whether the judge will be needed again; otherwise its process ends before anything is timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.npz" for name in (*started, "weights")}
        save_arrays(files["weights"], made_up_weights(cell))
        request = {"do": "build", "cell": cell.to_json(), "dtype": dtype, "weights": str(files["weights"])}
        field = Field(started)
        field.ask_side_by_side({name: request | {"gradient": str(files[name])} for name in started})
        judge = field.results.pop(JUDGE)
        if not again:
            started[JUDGE].close()
        field.ask_in_turn({"do": "train"})
        for name in field.standing:
            field.attempt(name, partial(_judged, name, field.results, judge, files, cell, dtype))
        field.race(seconds)
    return {"cell": cell.to_json(), "dtype": dtype, "judge": judge, "contenders": field.results}


def _judged(
    name: str, results: dict[str, Result], judge: Result, files: dict[str, Path], cell: Cell, dtype: str
) -> Result:
    """Return the error of a baseline's gradient; raise Absent if its work is not the same."""
    if "loss" not in judge:
        raise Absent(f"nobody can judge its work: {judge.get('failed', judge)}", failed=True)
    with np.load(files[name]) as gradient, np.load(files[JUDGE]) as exact:
        error = gradient_error(dict(gradient), dict(exact))
    found = results[name] | {"gradient_error": error}
    our_loss_after = results.get(OURS, {}).get("loss_after", found["loss_after"])
    if said := differences(cell, dtype, found | {"our_loss_after": our_loss_after}, judge["loss"]):
        raise Absent(f"it does not do the same work: {'; '.join(said)}", failed=True)
    return {"gradient_error": error}


def _equal_calls(cell: Cell, plan: Plan, peak: float) -> dict[str, Absent]:
    """Return those that differ only in their steps per call, if a call is likely to be a single step."""
    likely_seconds = TIMES_FLOOR * cell.step_operations / peak
    if likely_seconds < plan.seconds / FEWER_ROUNDS:
        return {}
    why = Absent("a step outlasts a turn here, so that jaxchar is called as often", failed=False)
    return {name: why for name in plan.names if "steps_per_call" in KNOWN[name].options}


def using(what: str, cell: Cell, plan: Plan, started: dict[str, Worker]) -> Result:
    """Time writing ("write") or reading ("read")."""
    dtype = plan.dtypes[0]
    field = Field(started)
    field.ask_in_turn({"do": what, "cell": cell.to_json(), "dtype": dtype})
    field.race(plan.seconds)
    return with_ratios({"cell": cell.to_json(), "dtype": dtype, "contenders": field.results})


def _reason(absent: Absent) -> Result:
    return {"failed" if absent.failed else "left_out": absent.why}


# ---- results -------------------------------------------------------------------------------------


def reference_of(baselines: dict[str, Result]) -> str | None:
    """Return what the others are compared with: the fastest other library, or jaxchar if none finished."""
    finished = {
        name: statistics.median(found["rates"]) for name, found in baselines.items() if "rates" in found
    }
    others = {name: rate for name, rate in finished.items() if not KNOWN[name].is_ours}
    return max(others or finished, key=finished.__getitem__, default=None)


def with_ratios(event: Result) -> Result:
    """Add each finished baseline's median rate and its ratio to the reference."""
    baselines = event["contenders"]
    reference = reference_of(baselines)
    for found in baselines.values():
        if "rates" in found and reference is not None:
            found["rate"] = statistics.median(found["rates"])
            found["ratio"] = ratio(found["rates"], baselines[reference]["rates"])._asdict()
    return event | {"reference": reference}


def with_floor(event: Result, peaks: dict[str, float], bandwidth: float) -> Result:
    """Add the least time of a step on this machine, and how far from it every baseline is."""
    cell, dtype = Cell(**event["cell"]), event["dtype"]
    activation_bytes = 2 if dtype == "bfloat16" else 4
    floor = floor_seconds(cell, peaks[dtype], bandwidth, activation_bytes)
    for found in event["contenders"].values():
        if "rate" in found:
            found["chars_per_second"] = found["rate"] * cell.step_chars
            found["operations_per_second"] = found["rate"] * cell.step_operations
            found["share_of_peak"] = found["operations_per_second"] / peaks[dtype]
            found["times_floor"] = 1 / found["rate"] / floor
    return event | {
        "floor_seconds": floor,
        "step_operations": cell.step_operations,
        "step_bytes": cell.step_bytes(activation_bytes),
        "sequential_depth": cell.sequential_depth,
    }


def with_capacity(results: Result, before: Result, after: Result) -> Result:
    """Add the best that the machine did, before or after the events, and what follows from it."""
    peaks = {dtype: max(before["peak"][dtype], after["peak"][dtype]) for dtype in before["peak"]}
    bandwidth = max(before["bandwidth"], after["bandwidth"])
    training = [with_floor(event, peaks, bandwidth) for event in results["training"]]
    measured = {"peak": peaks, "bandwidth": bandwidth, "measured_before": before, "measured_after": after}
    return results | measured | {"training": training}
