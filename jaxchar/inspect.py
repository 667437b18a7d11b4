"""Show what is in a checkpoint, and whether it is whole: ``python -m jaxchar.inspect --ckpt runs/mine``.

The exit code is 1 if anything is damaged.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors
from jaxchar.cli.newest_run import run_to_use, say_run
from jaxchar.cli.parse import parse_command
from jaxchar.terminal.tables import inspection


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Show what is in a checkpoint and verify every array; for a run, verify all of its checkpoints.

    The exit code is 1 if anything is damaged.
    """

    # A run's folder, its checkpoints folder, or one checkpoint's folder. Default: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    json: bool = False  # print one JSON object


def main(arguments: Sequence[str] | None = None) -> None:
    """Inspect as the command line says; what is found on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "inspect", arguments)
        run = run_to_use(typed)
        from jaxchar.training.inspection import inspect_checkpoints

        found = inspect_checkpoints(run)
        say_run(typed, run)
        if typed.json:
            print(json.dumps(found.to_json()))
        else:
            inspection(found.to_json())
    if not found.is_whole:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
