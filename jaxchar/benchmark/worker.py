"""One baseline in its own process: ``python -m jaxchar.benchmark.worker torch``.

It reads one request per line on standard input and writes one answer per line on standard output, all JSON.
Whatever a library prints goes to standard error. A request is {"do": NAME, ...} for one of the functions of
:class:`Server`. An answer with "left_out" or "failed" says why there is no result.
"""

import argparse
import json
import os
import resource
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from jaxchar.benchmark.baselines import KNOWN, LeftOut
from jaxchar.benchmark.cells import Cell
from jaxchar.benchmark.data import made_up_weights, save_arrays

LEARNING_STEPS = 3  # after which the baselines' losses are compared: the same optimiser, the same batches
WARM_SECONDS = 0.2
JUDGE, MACHINE = "float64", "machine"  # what else a worker can be


class Server:
    """Answers requests for one baseline."""

    def __init__(self, load: Callable[[], Any], options: dict[str, Any]) -> None:
        """Take the function that imports the baseline's module, and more arguments of its ``prepare``."""
        self._load, self._options = load, options
        self._run: Callable[[int], float]  # does units of the prepared work; returns seconds

    def start(self) -> dict[str, Any]:
        """Import the baseline; this shows whether it is installed."""
        self.module = self._load()
        return {}

    def build(self, cell: dict[str, Any], dtype: str, weights: str, gradient: str) -> dict[str, Any]:
        """Build a model for training and show what it computes; several processes may do so at once.

        Args:
            cell: a :class:`Cell`.
            dtype: see :mod:`jaxchar.benchmark.baselines`.
            weights: an .npz file with the initial weights.
            gradient: the .npz file to write the first batch's gradient to.
        """
        self._baseline = baseline = self.module.prepare(Cell(**cell), dtype, **self._options)
        with np.load(weights) as arrays:
            baseline.load(dict(arrays))
        loss, found = baseline.loss_and_gradient()
        save_arrays(Path(gradient), found)
        counts = {name: getattr(baseline, name, 0) for name in ("num_parameters", "redundant_parameters")}
        variant = getattr(baseline, "variant", "")
        return {"loss": loss, **counts, **({"variant": variant} if variant else {})}

    def train(self) -> dict[str, Any]:
        """Do the first steps, which compiles them, and warm up."""
        first = self._baseline.train(1)
        seconds = [self._baseline.train(1) for _ in range(LEARNING_STEPS - 1)]
        loss_after, _ = self._baseline.loss_and_gradient()
        self._run = self._baseline.train
        return {
            "loss_after": loss_after,
            "compile_seconds": max(0.0, first - min(seconds)),
            "unit_seconds": self._warm(min(seconds)),
        }

    def footprint(self, cell: dict[str, Any], dtype: str) -> dict[str, Any]:
        """Train a little, and return the memory that this took; for a process that did nothing before."""
        given = Cell(**cell)
        baseline = self.module.prepare(given, dtype, **self._options)
        baseline.load(made_up_weights(given))
        baseline.train(LEARNING_STEPS)
        return self.memory() | {"planned": baseline.planned_bytes()}

    def write(self, cell: dict[str, Any], dtype: str) -> dict[str, Any]:
        """Prepare writing: a unit is a character of every text."""
        return self._prepare("writer", cell, dtype)

    def read(self, cell: dict[str, Any], dtype: str) -> dict[str, Any]:
        """Prepare reading: a unit is a pass over the text."""
        return self._prepare("reader", cell, dtype)

    def _prepare(self, what: str, cell: dict[str, Any], dtype: str) -> dict[str, Any]:
        make = getattr(self.module, what, None)
        if make is None:
            raise LeftOut(f"it has no {what} in this benchmark")
        self._run = make(Cell(**cell), dtype)
        self._run(1)
        return {"unit_seconds": self._warm(self._run(1))}

    def _warm(self, seconds: float) -> float:
        """Run until WARM_SECONDS have been spent in one call; return seconds a unit."""
        units = 1
        while seconds < WARM_SECONDS:
            units = max(2 * units, round(units * WARM_SECONDS / max(seconds, 1e-6)))
            seconds = self._run(units)
        return seconds / units

    def run(self, units: int) -> dict[str, Any]:
        """Do units of the prepared work."""
        return {"seconds": self._run(units)}

    def memory(self) -> dict[str, Any]:
        """Return the peak memory of this process, and on its accelerator, in bytes."""
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return {"host_bytes": peak, "device_bytes": device_bytes()}

    def measure(self, dtypes: list[str] | None) -> dict[str, Any]:
        """Measure the machine; None: describe it only."""
        return self.module.describe() if dtypes is None else self.module.measure(dtypes)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request says, or say why not."""
        arguments = dict(request)
        try:
            return getattr(self, arguments.pop("do"))(**arguments)
        except ModuleNotFoundError as error:
            return {"left_out": f"{error.name} is not installed"}
        except LeftOut as reason:
            return {"left_out": str(reason)}
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def device_bytes() -> int | None:
    """Return the most bytes that this process has had on an accelerator; None: it has none."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        return sys.modules["torch"].cuda.max_memory_allocated()
    if "jax" in sys.modules:
        stats = sys.modules["jax"].devices()[0].memory_stats()
        return stats and stats.get("peak_bytes_in_use")
    return None


def serve(server: Server, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        print(json.dumps(server.answer(json.loads(line))), file=answers, flush=True)


def main() -> None:
    """Serve the baseline that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m jaxchar.benchmark.worker")
    parser.add_argument("baseline", choices=[*KNOWN, JUDGE, MACHINE])
    parser.add_argument("--devices", type=int, help="for jaxchar-devices: how many")
    typed = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints cannot break an answer
    serve(server_of(typed.baseline, typed.devices), sys.stdin, answers)


def server_of(name: str, devices: int | None) -> Server:
    """Return the server of a baseline, of the judge or of the machine."""
    if name == MACHINE:
        return Server(lambda: import_module("jaxchar.benchmark.machine"), {})
    module = name if name == JUDGE else KNOWN[name].module
    options = {} if name == JUDGE else dict(KNOWN[name].options)
    if devices is not None and "devices" in options:
        options["devices"] = devices
    return Server(lambda: import_module(f"jaxchar.benchmark.baselines.{module}"), options)


if __name__ == "__main__":
    main()
