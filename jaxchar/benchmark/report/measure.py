"""One section in its own process: ``python -m jaxchar.benchmark.report.measure race SECONDS [PLATFORM]``.

It writes a JSON object a line on standard output, each as soon as it is found. Whatever a library prints goes
to standard error.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module

from jaxchar.benchmark.events import describe_machine
from jaxchar.benchmark.report.clock import Clock
from jaxchar.benchmark.report.sections import Row

# The module of this folder, and its function (platform, clock) -> rows.
MEASUREMENTS = {
    "machine": ("facts", "machine"),
    "tests": ("test_runs", "on_device"),
    "correctness": ("correctness", "correctness"),
    "race": ("races", "race"),
    "implementations": ("races", "implementations"),
    "unroll": ("races", "unrolls"),
    "writing": ("races", "writing"),
    "memory": ("footprints", "memory"),
    "compiled": ("test_runs", "of_compiled"),
}


def measurement(name: str) -> Callable[[str, Clock], Iterator[Row]]:
    """Return what measures a section."""
    module, function = MEASUREMENTS[name]
    return getattr(import_module(f"jaxchar.benchmark.report.{module}"), function)


def main() -> None:
    """Measure the section that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m jaxchar.benchmark.report.measure")
    parser.add_argument("section", choices=MEASUREMENTS)
    parser.add_argument("seconds", type=float)
    parser.add_argument("platform", nargs="?")
    typed = parser.parse_args()
    # A section that is stopped ends the processes that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("it was stopped"))
    rows = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints cannot break a row
    clock = Clock(typed.seconds)
    platform = typed.platform or describe_machine()["platform"]
    for row in measurement(typed.section)(platform, clock):
        print(json.dumps(row), file=rows, flush=True)


if __name__ == "__main__":
    main()
