"""Compare runs: the settings in which they differ, and what came of them: ``jaxchar compare runs/*``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import note, one_line_errors
from jaxchar.cli.newest_run import RUNS
from jaxchar.cli.parse import parse_command
from jaxchar.terminal.tables import comparison_table


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Compare runs: the settings in which they differ, steps, time, best loss and size. The best comes first.

    Runs that are still training are compared as far as they are.
    """

    # Run folders, or folders that hold some. Default: all in runs/.
    runs: Annotated[tuple[str, ...], Positional, arg(metavar="[RUN ...]", help_behavior_hint="")] = ()
    out: str | None = None  # a PNG file to draw the losses of all runs into
    over: Literal["steps", "seconds"] = "steps"  # what they are drawn over
    json: bool = False  # print one JSON object


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare as the command line says; the table on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "compare", arguments)
        from jaxchar.training.comparison import compare_runs, plot_comparison

        found = compare_runs(typed.runs or [RUNS])
        note(f"{path} holds no run; it is left out" for path in found.left_out)
        if typed.out is not None:
            plot_comparison(found, typed.out, typed.over)
        if typed.json:
            print(json.dumps(found.to_json()))
        else:
            comparison_table(found.to_json(), typed.out)


if __name__ == "__main__":
    main()
