"""Runs of the tests for the report: by exit code and counts, with the names of those that fail."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from jaxchar.benchmark.report.clock import Clock
from jaxchar.benchmark.report.sections import Row
from jaxchar.benchmark.workers import LAST_WORDS

ROOT = Path(__file__).parents[3]
PLATFORMS = {"gpu": "cuda,cpu", "tpu": "tpu,cpu"}  # as JAX_PLATFORMS has them; the processor is needed, too
PATIENCE = 5.0  # seconds in which pytest writes what it knows once it is stopped
MOST_NAMED = 20


def on_device(platform: str, clock: Clock) -> Iterator[Row]:
    """Run the tests that hold on whatever device JAX computes, there."""
    environment = {"JAXCHAR_TEST_PLATFORMS": PLATFORMS.get(platform, "cpu")}
    yield run_tests(("-m", "device", "tests"), environment, clock)


def of_compiled(platform: str, clock: Clock) -> Iterator[Row]:
    """Run the tests of what XLA makes of programs for accelerators, which need not be there."""
    del platform
    yield run_tests(("-m", "slow or not slow", "tests/accelerators"), {}, clock)


def run_tests(arguments: Sequence[str], environment: dict[str, str], clock: Clock, root: Path = ROOT) -> Row:
    """Run pytest in the root of the source for as long as the clock allows.

    Returns:
        Its arguments, its exit code (None: it was stopped), the counts, and the first of those that failed.
    """
    if not (root / "tests").is_dir():
        return {"arguments": list(arguments), "left_out": "the tests are not installed; run it in the source"}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=root,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        code, said = _wait(process, clock.left())
        found = counts(said) | (named(report) if report.is_file() else {})
    if not found:
        found = {"failed": " ".join(said.split())[-LAST_WORDS:] or "it said nothing"}
    return {"arguments": list(arguments), "exit_code": code, **found}


def _wait(process: subprocess.Popen, seconds: float) -> tuple[int | None, str]:
    """Return the exit code and what was printed; stop it after some seconds, as Ctrl-C does."""
    try:
        said, _ = process.communicate(timeout=seconds)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    said = ""
    with contextlib.suppress(subprocess.TimeoutExpired):
        said, _ = process.communicate(timeout=PATIENCE)
    process.kill()
    process.wait()
    return None, said


def counts(said: str) -> Row:
    """Return the counts of pytest's last line, which leaves out the test that was stopped; or nothing."""
    lines = [line for line in said.splitlines() if re.search(r"\d+ \w+.* in [\d.]+s", line)]
    found = {kind: int(number) for number, kind in re.findall(r"(\d+) ([a-z]+)", lines[-1])} if lines else {}
    bad = sum(found.get(kind, 0) for kind in ("failed", "error", "errors"))
    passed, skipped = found.get("passed", 0), found.get("skipped", 0)
    return {"passed": passed, "failures": bad, "skipped": skipped} if lines else {}


def named(report: Path) -> Row:
    """Return which tests failed, and why tests were skipped, of a report of pytest in JUnit's format."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [one.get("message", "") for case in cases for one in case.iter("skipped")]
    names = [f"{case.get('classname')}.{case.get('name')}" for case in bad]
    return {
        "names": list(dict.fromkeys(names))[:MOST_NAMED],
        "why_skipped": list(dict.fromkeys(skipped))[:MOST_NAMED],
    }
