"""Compare the speed of jaxchar with other libraries: ``python -m jaxchar.bench --out results.json``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxchar.cli.messages import one_line_errors
from jaxchar.cli.parse import parse_command
from jaxchar.errors import JaxcharError

FEWEST_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure the speed of jaxchar and of other ways to do the same work, in turns, on this machine."""

    # Sizes of a training step: words_generator, words_generator_512, nietzsche, char_rnn, shakespeare,
    # two_layers_512, one_layer_1024; for accelerators many_short_128, large_batch_512, large_batch_1024.
    # None: all that fit the machine.
    cells: tuple[str, ...] | None = None
    # flax, keras, torch; with a GPU also torch-graph, cudnn. None: all; those not installed are named.
    peers: tuple[str, ...] | None = None
    seconds: float = 0.7  # for each baseline in each cell, not counting compiling and warming up
    devices: int | None = None  # of "jaxchar, all devices"; None: all; on a CPU, one per core
    sampling: bool = True  # also measure writing and reading text
    # JSON file for all figures: every round of every baseline. Written again after each event, so that a
    # benchmark that is stopped leaves what it has measured.
    out: str = "bench.json"
    plot: str | None = None  # PNG file for a picture of the training speeds

    def __post_init__(self) -> None:
        if not FEWEST_SECONDS <= self.seconds < float("inf"):
            raise JaxcharError(
                f"seconds must be a number of at least {FEWEST_SECONDS}, but it is {self.seconds}"
            )
        if self.devices is not None and self.devices < 1:
            raise JaxcharError(f"devices must be a whole number of 1 or more, but it is {self.devices}")
        for name in ("out", "plot"):
            folder = Path(getattr(self, name) or ".").parent
            if not folder.is_dir():
                raise JaxcharError(
                    f"{name} must be a file in a folder that exists, but {folder} does not; make it"
                )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says; tables on standard output, every figure in a file."""
    with one_line_errors():
        typed = parse_command(Arguments, "bench", arguments)
        result = bench(typed)
        print(f"Every figure is in {typed.out}")
        if typed.plot:
            from jaxchar.benchmark.picture import plot_speeds

            plot_speeds(result, Path(typed.plot))
            print(f"The picture is {typed.plot}")


def bench(typed: Arguments) -> dict[str, Any]:
    """Run all measurements, show them and write them to ``out``; return everything as a JSON object."""
    from jaxchar.benchmark import events, show
    from jaxchar.benchmark.baselines import baselines_named
    from jaxchar.benchmark.cells import cells_named, dtypes_on

    for named, names in ((cells_named, typed.cells), (baselines_named, typed.peers)):
        named(names, True)  # refuses a wrong name at once
    machine = events.describe_machine()
    show.machine(machine)
    on_accelerator = machine["platform"] != "cpu"
    plan = events.Plan(
        cells=cells_named(typed.cells, on_accelerator),
        dtypes=dtypes_on(machine["platform"]),
        names=baselines_named(typed.peers, on_accelerator),
        seconds=typed.seconds,
        devices=typed.devices or (None if on_accelerator else machine["cores"]),
        sampling=typed.sampling,
        platform=machine["platform"],
    )

    def keep(found: events.Result) -> None:
        Path(typed.out).write_text(
            json.dumps({"machine": machine, **found}, indent=1) + "\n", encoding="utf-8"
        )

    result = {"machine": machine} | events.run(plan, show.progress, keep)
    show.results(result)
    return result


if __name__ == "__main__":
    main()
