"""How much of what a model writes is copied: ``python -m jaxchar.memorization --ckpt runs/mine``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors, warn
from jaxchar.cli.newest_run import run_to_use, say_model
from jaxchar.cli.parse import parse_command
from jaxchar.config import MEMORY_CONTEXT
from jaxchar.scoring.options import MemorizationOptions
from jaxchar.terminal.tables import memorization_table


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Tell how much of a model's text is copied verbatim from the text that it was trained on.

    For passages of 5 to 50 characters: the share of them that the training text contains. The share for
    held-out text, which was not copied, stands beside it for comparison.
    """

    # A run's folder, its checkpoints folder, or one checkpoint's folder. Default: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    text: str | None = None  # check this file (or folder, or - for standard input); None: the model writes
    length: int = 100_000  # characters that the model writes, and of held-out text at most
    temperature: float = 1.0  # of what the model writes; at lower ones it copies more
    seed: int = 0  # the same seed writes the same text
    # How much the model goes by what it remembers of its training text, 0 to 1, where it remembers something.
    memory: float = 1.0
    memory_context: int = MEMORY_CONTEXT  # characters of the longest context that memory goes by
    # Where the corpus is now, if it has moved. It must have the SHA-256 of the run's text.
    corpus: tuple[str, ...] | None = None
    encoding: str | None = None  # encoding of --text if it is not UTF-8; None: as in training
    # Which checkpoint of the run. None: the best one if the run was validated, else the last one.
    which: Literal["last", "best"] | None = None
    json: bool = False  # print one JSON object

    def __post_init__(self) -> None:
        self.options()  # refuses a wrong one before JAX is loaded

    def options(self) -> MemorizationOptions:
        """Return which text to compare with the training text."""
        return MemorizationOptions(
            **{field.name: getattr(self, field.name) for field in fields(MemorizationOptions)}
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare as the command line says; figures on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "memorization", arguments)
        run = run_to_use(typed)
        from jaxchar.cache import enable_compilation_cache
        from jaxchar.scoring.memorization import memorization

        enable_compilation_cache()
        report = memorization(
            run,
            typed.options(),
            which=typed.which,
            warn=warn,
            on_ready=lambda loaded: say_model(typed, run, loaded),
        )
        if typed.json:
            print(json.dumps(report.to_json()))
        else:
            memorization_table(report.to_json())


if __name__ == "__main__":
    main()
