"""What all commands share: their names, how they were started, and how their options are read.

This module imports next to nothing, so that ``jaxchar`` answers at once.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxchar.errors import JaxcharError

# Every command is a module of this package that has a main().
COMMANDS = {
    "train": "train a model on your text",
    "sample": "write text with a model",
    "evaluate": "score a model on text",
    "memorization": "tell how much of what a model writes is copied",
    "inspect": "show what is in a checkpoint, and whether it is whole",
    "bench": "measure the speed, beside other libraries",
}


# ---- how the user called us ----------------------------------------------------------------------


def called_as(command: str = "") -> str:
    """Return how the user starts a command: ``jaxchar sample``, ``python -m jaxchar.sample``, ...

    Args:
        command: a name in :data:`COMMANDS`; empty for ``jaxchar`` itself.
    """
    started = Path(sys.argv[0])
    if started.stem == "jaxchar" and started.suffix in ("", ".exe"):
        return f"{_script_name(started)} {command}".strip()
    if started.name == "__main__.py" and started.parent.name == "jaxchar":
        return f"python -m jaxchar {command}".strip()
    return f"python -m jaxchar.{command}" if command else "python -m jaxchar"


def called_as_experiment() -> str:
    """Return how the user started an experiment: ``python experiments/shakespeare.py``."""
    started = Path(sys.argv[0])
    is_script = started.suffix == ".py" and started.name != "__main__.py"
    return f"python {started}" if is_script else called_as("train")


def _script_name(started: Path) -> str:
    """Return what starts the script again: its name where the shell finds it, else its path."""
    found = shutil.which(started.stem)
    return started.stem if found and Path(found).resolve() == started.resolve() else str(started)


# ---- reading options -----------------------------------------------------------------------------


def parse_command(kind: type, command: str, arguments: Sequence[str] | None) -> Any:
    """Return the options of a command, read from the command line; show its help where it is asked for.

    Args:
        kind: the dataclass to fill.
        command: its name in :data:`COMMANDS`.
        arguments: the command line; None takes the process's own.

    Raises:
        JaxcharError: there is no such option, or something stands alone that should not.
        SystemExit: help was shown, or a value cannot be used.
    """
    from jaxchar.arguments import scan
    from jaxchar.console import parse
    from jaxchar.short_help import show_short_help

    typed = sys.argv[1:] if arguments is None else list(arguments)
    if show_short_help(command, typed, called_as(command)):
        raise SystemExit(0)
    line = scan(typed, kind, command)
    takes_a_run = "run" in kind.__annotations__
    if len(line.positionals) > takes_a_run:
        takes = "one run" if takes_a_run else "options alone"
        raise JaxcharError(
            f"{command} takes {takes}, but there is {line.positionals[-1]!r}, too; leave it out (a path with "
            "spaces needs quotation marks)"
        )
    return parse(kind, prog=called_as(command), arguments=line.for_tyro())
