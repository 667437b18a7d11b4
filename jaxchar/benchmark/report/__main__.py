"""Report on this machine's accelerator: ``python -m jaxchar.benchmark.report --out report.html``."""

import json
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jaxchar.benchmark.report.page import Report, page
from jaxchar.benchmark.report.picture import draw_speeds
from jaxchar.benchmark.report.sections import SECTIONS, Section, run_sections
from jaxchar.benchmark.show import progress
from jaxchar.cli.messages import one_line_errors
from jaxchar.cli.parse import parse
from jaxchar.errors import JaxcharError
from jaxchar.files import written_whole

PROGRAM = "python -m jaxchar.benchmark.report"
FEWEST_MINUTES = 1.0


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Test, check and time jaxchar on this machine's accelerator, or on its processor, and write one page."""

    out: str = "accelerator-report.html"  # the page; a JSON file with every figure is written beside it
    minutes: float = 25.0  # for everything; sections that do not fit are cut short or left out, and named

    def __post_init__(self) -> None:
        if not FEWEST_MINUTES <= self.minutes < float("inf"):
            raise JaxcharError(
                f"minutes must be a number of at least {FEWEST_MINUTES:g}, but it is {self.minutes}"
            )
        path = Path(self.out)
        if path.suffix != ".html" or not path.parent.is_dir():
            raise JaxcharError(
                f"out must be a file that ends in .html, in a folder that exists, but it is {self.out}"
            )


def main(arguments: Sequence[str] | None = None, sections: Sequence[Section] = SECTIONS) -> None:
    """Write the report that the command line asks for."""
    with one_line_errors():
        typed = parse(Arguments, prog=PROGRAM, arguments=arguments)
        words = sys.argv[1:] if arguments is None else list(arguments)
        report = measured(shlex.join([*PROGRAM.split(), *words]), typed.minutes, sections)
        write(report, Path(typed.out))
        for outcome in report.outcomes:
            print(f"{outcome.title}: {outcome.said}")
        print(f"The report is {typed.out}; every figure is in {Path(typed.out).with_suffix('.json')}")


def measured(command: str, minutes: float, sections: Sequence[Section]) -> Report:
    """Run the sections and return what they found."""
    date, started = datetime.now(UTC).isoformat(timespec="minutes"), time.monotonic()
    outcomes = run_sections(sections, 60 * minutes, progress)
    return Report(command, date, minutes, time.monotonic() - started, outcomes)


def write(report: Report, out: Path) -> None:
    """Write the figures, then the page; a picture that cannot be drawn costs neither."""
    figures = json.dumps(report.to_json(), indent=1) + "\n"
    out.with_suffix(".json").write_text(figures, encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "speeds.png"
        try:
            there = draw_speeds(report.outcomes, f"{report.title}, {report.date[:10]}", picture)
        except Exception as error:
            print(f"warning: there is no picture: {error}", file=sys.stderr)
            there = False
        with written_whole(out) as temporary:
            temporary.write_text(page(report, picture if there else None), encoding="utf-8")


if __name__ == "__main__":
    main()
