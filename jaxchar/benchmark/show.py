"""What the benchmark prints: a line while each event runs, then a table for each of them."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from jaxchar.benchmark.baselines import KNOWN
from jaxchar.benchmark.cells import READING_STEPS, Cell
from jaxchar.terminal.screen import drawn, make_console, make_table, say

WIDTH = 118  # columns of a table that is not shown on a terminal


def console() -> Console:
    """Return the console for tables."""
    out = make_console()
    if not out.is_terminal:
        out.width = WIDTH
    return out


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Print on standard error what is measured, and how long it took."""
    started = time.monotonic()
    print(f"{what} ... ", end="", file=sys.stderr, flush=True)
    yield
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)


def machine(about: dict[str, Any]) -> None:
    """Show the machine."""
    facts = dict(about)
    head = f"{facts.pop('device')}, {facts.pop('cores')} cores, {facts.pop('system')}, {facts.pop('date')}"
    notice = facts.pop("notice", "")
    del facts["platform"]
    versions = ", ".join(f"{name} {version}" for name, version in facts.items())
    say(console(), "\n".join(filter(None, (head, versions, notice))))


EXPLANATION = """
The floor of a step is the longer of its matrix products at that peak and its least traffic at that rate.
Speeds are medians of rounds in turns; "times" is the median of each round's ratio to the fastest baseline
(the one marked = 1), with the lowest and the highest. Compiling and warming up are not timed. Memory is the
process's highest, its libraries and the check of its results included."""


def results(found: dict[str, Any]) -> None:
    """Show the machine's capacity and every event's table."""
    peaks = ", ".join(f"{peak / 1e9:,.0f} GFLOP/s in {dtype}" for dtype, peak in found["peak"].items())
    rate = f"{found['bandwidth'] / 1e9:,.1f} GB/s"
    console().print(f"\nBest matrix product in this run: {peaks}; memory: {rate}.")
    console().print(" ".join(EXPLANATION.split()))
    for event in found["training"]:
        training(event)
    for what in ("write", "read"):
        if found[what]:
            using(what, found[what])


def training(event: dict[str, Any]) -> None:
    """Show one cell: a row for each baseline that finished, a line for each that did not."""
    cell = Cell(**event["cell"])
    dtype = "" if event["dtype"] == "float32" else f", {event['dtype']}"
    title = (
        f"{cell.name}{dtype}: {cell.sizes}\n{cell.num_parameters:,} parameters; a step: "
        f"{event['step_operations'] / 1e9:,.2f} GFLOP, {event['step_bytes'] / 1e6:,.0f} MB, "
        f"{event['sequential_depth']} products in sequence, floor {1e3 * event['floor_seconds']:,.2f} ms"
    )
    out = console()
    table = make_table(out, title=title, title_justify="left", title_style="")
    table.add_column("Training", no_wrap=True)
    for heading in (
        "steps/s",
        "chars/s",
        "GFLOP/s",
        "of peak",
        "floors",
        "compile s",
        "MB",
        "times (low, high)",
    ):
        table.add_column(heading, justify="right")
    for name, baseline in event["contenders"].items():
        if "rate" in baseline:
            variant = f", {baseline['variant']}" if "variant" in baseline else ""
            table.add_row(label(name, event["reference"], variant), *_figures(baseline))
    say(out, "\n" + drawn(table, out))
    _absent(out, event["contenders"])


def _figures(baseline: dict[str, Any]) -> list[str]:
    memory = baseline.get("device_bytes") or baseline.get("host_bytes", 0)
    return [
        short(baseline["rate"]),
        f"{baseline['chars_per_second']:,.0f}",
        f"{baseline['operations_per_second'] / 1e9:,.1f}",
        f"{baseline['share_of_peak']:.0%}",
        f"{baseline['times_floor']:,.1f}",
        f"{baseline['compile_seconds']:.1f}",
        f"{memory / 1e6:,.0f}",
        _ratio(baseline),
    ]


def using(what: str, events: list[dict[str, Any]]) -> None:
    """Show the speeds of writing or reading, a row for each baseline of each event."""
    out = console()
    table = make_table(out, "Writing" if what == "write" else "Reading", "Baseline")
    for heading in ("chars/s, all texts", "times (low, high)"):
        table.add_column(heading, justify="right")
    for event in events:
        cell = Cell(**event["cell"])
        chars = cell.batch_size * (1 if what == "write" else READING_STEPS * cell.seq_len)
        for name, baseline in event["contenders"].items():
            if "rate" in baseline:
                speed = f"{chars * baseline['rate']:,.0f}"
                table.add_row(cell.name, label(name, event["reference"]), speed, _ratio(baseline))
        table.add_section()
    say(out, "\n" + drawn(table, out))
    for event in events:
        _absent(out, event["contenders"], f"{event['cell']['name']}: ")


def label(name: str, reference: str | None, variant: str = "") -> str:
    """Return a baseline's label and variant; the one that others are compared with is marked."""
    return KNOWN[name].label + variant + (" (= 1)" if name == reference else "")


def short(rate: float) -> str:
    """Return a rate with about three digits."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 10 else f"{rate:.2f}"


def _ratio(baseline: dict[str, Any]) -> str:
    ratio = baseline["ratio"]
    return f"{ratio['median']:.2f} ({ratio['lowest']:.2f}, {ratio['highest']:.2f})"


def _absent(out: Console, baselines: dict[str, Any], before: str = "") -> None:
    for name, found in baselines.items():
        for kind, words in (("left_out", "left out"), ("failed", "FAILED")):
            if kind in found:
                line = f"{before}{KNOWN[name].label}: {words}: {found[kind]}"
                say(out, line, "" if kind == "left_out" else "bold red")
