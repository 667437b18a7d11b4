"""The sections of the report, each in a process with a time limit: one that fails or hangs is named.

A section's process writes a JSON object a line, so that what it found before it failed is kept. The time that
a section does not need passes to those after it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from jaxchar.benchmark.report.clock import NO_TIME
from jaxchar.benchmark.workers import ENVIRONMENT, LAST_WORDS

MEASURE = (sys.executable, "-m", "jaxchar.benchmark.report.measure")
FEWEST_SECONDS = 5.0  # with less a section is not begun: its libraries alone take as long
MOST_OF_LIMIT = 0.85  # of its limit a section plans with: its last item may take longer than expected
GRACE = 5.0  # seconds that a section has to end its own processes
PAGE_SECONDS = 10.0  # that are kept for the page and its picture
Row = dict[str, Any]


class Section(NamedTuple):
    """A part of the report."""

    name: str
    title: str
    share: float  # of the time, beside those of the others
    command: tuple[
        str, ...
    ]  # the seconds to plan with, and the platform where it is known, are put behind it


class Outcome(NamedTuple):
    """What became of a section."""

    name: str
    title: str
    said: str  # "finished", or what happened instead
    limit: float  # seconds
    seconds: float
    rows: list[Row]

    @property
    def finished(self) -> bool:
        """Whether it ended by itself and without an error."""
        return self.said == "finished"


def section(name: str, title: str, share: float) -> Section:
    """Return a section that :mod:`jaxchar.benchmark.report.measure` knows by its name."""
    return Section(name, title, share, (*MEASURE, name))


# What a section does not need is not lost: the first one names the platform, so its share is ample.
SECTIONS = (
    section("machine", "Machine and versions", 6),
    section("tests", "Tests on this device", 5),
    section("compiled", "Tests of what is compiled for an H100 and a TPU v5e", 5),
    section("correctness", "Correctness against float64", 5),
    section("race", "The race", 9),
    section("implementations", "Implementations of the recurrence", 4),
    section("unroll", "Time steps compiled as one", 4),
    section("writing", "Writing and reading", 3),
    section("memory", "Memory", 2),
)


def run_sections(
    sections: Sequence[Section], seconds: float, progress: Callable[[str], AbstractContextManager]
) -> list[Outcome]:
    """Run sections one after the other; all of them together take no longer than told.

    Args:
        sections: what to run. The first row of the one named "machine" says on which platform.
        seconds: for all, and for the page.
        progress: ``progress(words)`` shows each while it runs.
    """
    end = time.monotonic() + seconds - PAGE_SECONDS
    found: list[Outcome] = []
    for number, one in enumerate(sections):
        shares = sum(other.share for other in sections[number:])
        limit = max(0.0, end - time.monotonic()) * one.share / shares
        if limit < FEWEST_SECONDS:
            found.append(Outcome(one.name, one.title, f"left out: {NO_TIME}", limit, 0.0, []))
            continue
        with progress(f"{one.title} (at most {limit:.0f} s)"):
            found.append(run_section(one, limit, platform_of(found)))
    return found


def platform_of(outcomes: Sequence[Outcome]) -> str:
    """Return the platform that the machine's section found; empty where it found none."""
    rows = [row for outcome in outcomes if outcome.name == "machine" for row in outcome.rows]
    return rows[0].get("platform", "") if rows else ""


def run_section(one: Section, limit: float, platform: str) -> Outcome:
    """Run a section in a process of its own for at most ``limit`` seconds."""
    started = time.monotonic()
    command = [*one.command, f"{limit * MOST_OF_LIMIT:.1f}", *filter(None, (platform,))]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as rows,
        tempfile.TemporaryFile("w+", errors="replace") as errors,
    ):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=rows,
            stderr=errors,
            env=os.environ | ENVIRONMENT,
            start_new_session=True,  # so that all of its processes can be ended with it
        )
        try:
            code = process.wait(limit)
            said = "finished" if code == 0 else f"failed: {_last_words(code, errors)}"
        except subprocess.TimeoutExpired:
            said = f"stopped after {limit:.0f} s, its limit; what it had not found by then is missing"
        finally:
            _stop(process)
        return Outcome(one.name, one.title, said, limit, time.monotonic() - started, _rows_of(rows))


def _stop(process: subprocess.Popen) -> None:
    """End a section; with it those that it has started."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _rows_of(stream: Any) -> list[Row]:
    stream.seek(0)
    found = []
    for line in stream:
        with contextlib.suppress(ValueError):  # the last line may be half written
            found.append(json.loads(line))
    return [row for row in found if isinstance(row, dict)]


def _last_words(code: int, stream: Any) -> str:
    how = f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it left with code {code}"
    stream.seek(0)
    said = [line.strip() for line in stream if line.strip()]
    return how + (f": {said[-1][-LAST_WORDS:]}" if said else "")
