"""What the rows of a section say, as tables of words."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxchar.benchmark.baselines import KNOWN
from jaxchar.benchmark.cells import READING_STEPS, Cell
from jaxchar.benchmark.report.sections import Row
from jaxchar.benchmark.show import label, short

MEGABYTE = 1e6


class Table(NamedTuple):
    """A table; notes stand below it."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    title: str = ""


def tables_of(section: str, rows: Sequence[Row]) -> list[Table]:
    """Return the tables of a section, by its name; none where nothing was found."""
    return TABLES[section](rows) if rows and section in TABLES else []


def verdict(section: str, rows: Sequence[Row]) -> str:
    """Return in a few words what a section found, for the list at the top of the page."""
    late = sum("left_out" in row for row in rows)
    if section in ("tests", "compiled") and rows and "passed" in rows[0]:
        row = rows[0]
        bad = "FAILED: " if row["failures"] or row["exit_code"] else ""
        return f"{bad}{row['passed']} passed, {row['failures']} failed, {row['skipped']} skipped"
    if section == "correctness":
        found = [one for row in rows for one in row.get("contenders", {}).values() if "left_out" not in one]
        off = sum(not one.get("holds", False) for one in found)
        said = f"IS OFF: {off} of {len(found)}" if off else f"{len(found)} of {len(found)} hold"
    else:
        said = f"{len(rows) - late} of {len(rows)} measured" if section != "machine" else ""
    return said + (f"; {late} left out" if late else "")


def _machine(rows: Sequence[Row]) -> list[Table]:
    facts = {name: value for name, value in rows[0].items() if value not in ("", {}, None)}
    shown = [(name, _words(value)) for name, value in facts.items()]
    for measured in rows[1:]:
        for dtype, peak in measured["peak"].items():
            shown.append((f"best product, {dtype}", f"{peak / 1e9:,.0f} GFLOP/s"))
        shown.append(("memory, read and written", f"{measured['bandwidth'] / 1e9:,.1f} GB/s"))
    return [Table(("what", "here"), shown)]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return str(value)


def _tests(rows: Sequence[Row]) -> list[Table]:
    headings = ("pytest", "exit code", "passed", "failed", "skipped")
    shown, notes = [], []
    for row in rows:
        command = " ".join(row["arguments"])
        code = row.get("exit_code")
        shown.append((command, _exit_words(row, code), *(str(row.get(key, "-")) for key in COUNTS)))
        notes += [f"failed: {name}" for name in row.get("names", ())]
        notes += [f"skipped: {why}" for why in row.get("why_skipped", ())]
        notes += [f"{command}: {row[kind]}" for kind in ("left_out", "failed") if kind in row]
    return [Table(headings, shown, tuple(notes))]


COUNTS = ("passed", "failures", "skipped")


def _exit_words(row: Row, code: int | None) -> str:
    if "left_out" in row:
        return "-"
    if code is None:
        return "stopped, its time was over"
    return f"FAILED: {code}" if code else "0"


def _correctness(rows: Sequence[Row]) -> list[Table]:
    shown, notes = [], []
    for row in rows:
        if "left_out" in row:
            shown.append((row["cell"], row["dtype"], "-", "-", "-", f"left out: {row['left_out']}"))
            continue
        for name, found in row["contenders"].items():
            if "gradient_error" in found:
                errors = (f"{found['loss_error']:.1e}", f"{found['gradient_error']:.1e}")
                verdict = "holds" if found["holds"] else "IS OFF"
                shown.append((row["cell"], row["dtype"], label(name, None), *errors, verdict))
            else:
                notes.append(_why_absent(label(name, None), found))
    headings = ("cell", "dtype", "", "loss off by", "gradient off by", "")
    said = (
        "Errors are relative to the loss, and to the largest element of an array's gradient; what is allowed "
        "for a dtype tells it from a coarser one."
    )
    return [Table(headings, shown, (said, *dict.fromkeys(notes)))]


def _events(rows: Sequence[Row]) -> list[Table]:
    """Return a table for each event of training."""
    return [_event(row) for row in rows]


HEADINGS = ("", "steps/s", "chars/s", "GFLOP/s", "compile s", "MB", "gradient off by", "times (low, high)")


def _event(event: Row) -> Table:
    cell = Cell(**event["cell"])
    title = f"{cell.name}, {event['dtype']}: {cell.sizes}"
    if "left_out" in event:
        return Table((), [], (f"left out: {event['left_out']}",), title)
    shown = [
        (label(name, event["reference"], _variant(found)), *_figures(cell, found))
        for name, found in event["contenders"].items()
        if "rate" in found
    ]
    return Table(HEADINGS, shown, _absent(event["contenders"]), title)


def _variant(found: Row) -> str:
    return f", {found['variant']}" if "variant" in found else ""


def _figures(cell: Cell, found: Row) -> tuple[str, ...]:
    rate = found["rate"]
    return (
        short(rate),
        f"{rate * cell.step_chars:,.0f}",
        f"{rate * cell.step_operations / 1e9:,.1f}",
        f"{found['compile_seconds']:.1f}",
        f"{(found.get('device_bytes') or found.get('host_bytes', 0)) / MEGABYTE:,.0f}",
        f"{found['gradient_error']:.1e}",
        times(found),
    )


def times(found: Row) -> str:
    """Return a ratio to the reference in words."""
    ratio = found["ratio"]
    return f"{ratio['median']:.2f} ({ratio['lowest']:.2f}, {ratio['highest']:.2f})"


def _absent(contenders: dict[str, Row]) -> tuple[str, ...]:
    gone = {name: found for name, found in contenders.items() if {"left_out", "failed"} & found.keys()}
    return tuple(_why_absent(label(name, None), found) for name, found in gone.items())


def _why_absent(who: str, found: Row) -> str:
    words = (
        f"left out: {found['left_out']}" if "left_out" in found else f"FAILED: {found.get('failed', found)}"
    )
    return f"{who}: {words}"


def _writing(rows: Sequence[Row]) -> list[Table]:
    shown, notes = [], []
    for event in rows:
        cell = Cell(**event["cell"])
        if "left_out" in event:
            notes.append(f"{cell.name}: left out: {event['left_out']}")
            continue
        chars = cell.batch_size * (1 if event["what"] == "write" else READING_STEPS * cell.seq_len)
        for name, found in event["contenders"].items():
            if "rate" in found:
                speed = f"{chars * found['rate']:,.0f}"
                shown.append((cell.name, label(name, event["reference"]), speed, times(found)))
        notes += [f"{cell.name}: {why}" for why in _absent(event["contenders"])]
    return [Table(("", "", "chars/s, all texts", "times (low, high)"), shown, tuple(notes))]


def _memory(rows: Sequence[Row]) -> list[Table]:
    planned = ("arguments", "results", "in place", "between")
    shown, notes = [], []
    for row in rows:
        head = (row["cell"], row["dtype"], KNOWN[row["contender"]].label)
        if "planned" not in row:
            notes.append(f"{row['cell']}, {row['dtype']}: {_why_absent(head[2], row)}")
            continue
        measured = (row["device_bytes"], row["host_bytes"], *(row["planned"][part] for part in planned))
        shown.append((*head, *("-" if one is None else f"{one / MEGABYTE:,.1f}" for one in measured)))
    headings = (
        "cell",
        "dtype",
        "",
        "MB on the device",
        "MB of the process",
        *(f"{part}, MB" for part in planned),
    )
    said = (
        "The most that the device and the process had; the rest is XLA's plan of the compiled steps. "
        "A processor has no memory of its own."
    )
    return [Table(headings, shown, (said, *notes))]


TABLES: dict[str, Callable[[Sequence[Row]], list[Table]]] = {
    "machine": _machine,
    "tests": _tests,
    "compiled": _tests,
    "correctness": _correctness,
    "race": _events,
    "implementations": _events,
    "unroll": _events,
    "writing": _writing,
    "memory": _memory,
}
