"""The events of a benchmark, one after the other: who starts, what is measured, what came of it.

An event's result is a JSON object: its cell, its dtype, and under "contenders" what is known of each: "rates"
(units/s of every round) of those who finished, "left_out" or "failed" with the reason of the others.
"""

import statistics
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxchar.benchmark.cells import READING, WRITING, Cell, floor_seconds
from jaxchar.benchmark.contenders import KNOWN
from jaxchar.benchmark.data import made_up_weights, save_arrays
from jaxchar.benchmark.race import race, ratio
from jaxchar.benchmark.same_work import differences, gradient_error
from jaxchar.benchmark.worker import JUDGE, MACHINE
from jaxchar.benchmark.workers import Absent, Worker, worker_command, workers

OURS = "jaxchar"  # the one that the others' first steps are compared with
Result = dict[str, Any]
Prepare = Callable[[str, Worker], Result]


class Plan(NamedTuple):
    """What is to be measured."""

    cells: tuple[Cell, ...]
    dtypes: tuple[str, ...]
    names: tuple[str, ...]  # of the contenders
    seconds: float  # for each contender in each event
    devices: int | None  # of the contender that splits its batch; None: all there are
    sampling: bool  # also write and read


def run(plan: Plan, progress: Callable[[str], AbstractContextManager]) -> Result:
    """Hold every event of a plan; ``progress(words)`` tells of each while it lasts."""
    found: Result = {"seconds": plan.seconds, "training": [], "write": [], "read": []}
    before = measure_machine(plan.dtypes)
    for cell in plan.cells:
        for dtype in plan.dtypes:
            with progress(f"training {cell.name}, {dtype}"):
                found["training"].append(training(cell, dtype, plan))
    uses = [("write", cell) for cell in WRITING] + [("read", cell) for cell in READING]
    for what, cell in uses if plan.sampling else ():
        with progress(cell.name):
            found[what].append(using(what, cell, plan))
    return with_capacity(found, before, measure_machine(plan.dtypes))


def describe_machine() -> Result:
    """Return what this machine is."""
    with workers({MACHINE: worker_command(MACHINE)}) as started:
        started[MACHINE].receive()
        return started[MACHINE].ask({"do": "measure", "dtypes": None})


def measure_machine(dtypes: tuple[str, ...]) -> Result:
    """Return what this machine can do at this moment."""
    with workers({MACHINE: worker_command(MACHINE)}) as started:
        started[MACHINE].receive()
        return started[MACHINE].ask({"do": "measure", "dtypes": dtypes})


# ---- an event ------------------------------------------------------------------------------------


def training(cell: Cell, dtype: str, plan: Plan) -> Result:
    """Judge and race whole training steps."""
    about: Result = {"cell": cell.to_json(), "dtype": dtype}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        save_arrays(weights, made_up_weights(cell))
        try:
            judge = _judge(cell, weights)
        except Absent as absent:
            unjudged = {"failed": f"nobody can judge its work: {absent.why}"}
            return with_ratios(about | {"contenders": dict.fromkeys(plan.names, unjudged)})
        found: dict[str, Result] = {}

        def prepare(name: str, worker: Worker) -> Result:
            file = Path(folder) / f"{name}.npz"
            files = {"weights": str(weights), "gradient": str(file)}
            answer = worker.ask({"do": "train", "cell": cell.to_json(), "dtype": dtype, **files})
            found[name] = answer
            with np.load(file) as gradient, np.load(weights.with_name("judge.npz")) as exact:
                answer["gradient_error"] = gradient_error(dict(gradient), dict(exact))
            answer["our_loss_after"] = found.get(OURS, answer)["loss_after"]
            if said := differences(cell, dtype, answer, judge["loss"]):
                raise Absent(f"does not do the same work: {'; '.join(said)}", failed=True)
            return answer

        contenders = {
            name: found.get(name, {}) | result for name, result in _event(plan.names, prepare, plan).items()
        }
    return with_ratios(about | {"judge_loss": judge["loss"], "contenders": contenders})


def _judge(cell: Cell, weights: Path) -> Result:
    """Return the loss in float64; write its gradient beside the weights."""
    with workers({JUDGE: worker_command(JUDGE)}) as started:
        started[JUDGE].receive()
        files = {"weights": str(weights), "gradient": str(weights.with_name("judge.npz"))}
        return started[JUDGE].ask({"do": "judge", "cell": cell.to_json(), **files})


def using(what: str, cell: Cell, plan: Plan) -> Result:
    """Race writing ("write") or reading ("read")."""
    dtype = plan.dtypes[0]
    names = tuple(name for name in plan.names if not KNOWN[name].options)  # no variants of training

    def prepare(name: str, worker: Worker) -> Result:
        return worker.ask({"do": what, "cell": cell.to_json(), "dtype": dtype})

    contenders = _event(names, prepare, plan)
    return with_ratios({"cell": cell.to_json(), "dtype": dtype, "contenders": contenders})


def _event(names: tuple[str, ...], prepare: Prepare, plan: Plan) -> dict[str, Result]:
    """Start, prepare and race contenders; return what is known of each."""
    results: dict[str, Result] = {name: {} for name in names}

    def attempt(name: str, work: Callable[[], Result]) -> None:
        try:
            results[name] |= work()
        except Absent as absent:
            results[name] |= _reason(absent)

    with workers({name: worker_command(name, plan.devices) for name in names}) as started:
        for name in names:  # all have imported before any compiles
            attempt(name, started[name].receive)
        for name in _standing(results):
            attempt(name, partial(prepare, name, started[name]))

        def run(name: str, units: int, patience: float) -> float:
            return started[name].ask({"do": "run", "units": units}, patience)["seconds"]

        ready = {name: results[name]["unit_seconds"] for name in _standing(results)}
        rates, gone = race(ready, run, plan.seconds)
        for name, absent in gone.items():
            results[name] |= _reason(absent)
        for name, found in rates.items():
            results[name]["rates"] = found
            attempt(name, partial(started[name].ask, {"do": "memory"}))
    return results


def _reason(absent: Absent) -> Result:
    return {"failed" if absent.failed else "left_out": absent.why}


def _standing(results: dict[str, Result]) -> list[str]:
    return [name for name, found in results.items() if not {"left_out", "failed"} & found.keys()]


# ---- what came of it -----------------------------------------------------------------------------


def reference_of(contenders: dict[str, Result]) -> str | None:
    """Return whom the others are compared with: the fastest peer, or jaxchar where no peer finished."""
    finished = {
        name: statistics.median(found["rates"]) for name, found in contenders.items() if "rates" in found
    }
    peers = {name: rate for name, rate in finished.items() if KNOWN[name].is_peer}
    return max(peers or finished, key=finished.__getitem__, default=None)


def with_ratios(event: Result) -> Result:
    """Add each finished contender's median rate and its ratio to the reference."""
    contenders = event["contenders"]
    reference = reference_of(contenders)
    for found in contenders.values():
        if "rates" in found and reference is not None:
            found["rate"] = statistics.median(found["rates"])
            found["ratio"] = ratio(found["rates"], contenders[reference]["rates"])._asdict()
    return event | {"reference": reference}


def with_floor(event: Result, peaks: dict[str, float], bandwidth: float) -> Result:
    """Add the least time of a step on this machine, and how far from it every contender is."""
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
