"""How much of what a model writes is copied: ``python -m jaxchar.memorization --ckpt runs/mine``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors, warn
from jaxchar.cli.newest_run import run_to_use, say_model
from jaxchar.cli.parse import parse_command
from jaxchar.scoring.options import MemorizationOptions
from jaxchar.terminal.tables import memorization_table


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Tell how much of a model's text stands verbatim in the text that it was trained on.

    For passages of 5 to 50 characters: the share of them that the training text holds. Held-out text
    gives the measure: by how much it, too, agrees with the training text.
    """

    # A run's folder, its checkpoints folder, or one checkpoint's; none: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    text: str | None = None  # judge this file (or folder, or - for standard input); None: let the model write
    length: int = 100_000  # characters that the model writes, and of held-out text at the most
    temperature: float = 1.0  # of what the model writes; lower ones copy more
    seed: int = 0  # the same seed writes the same text
    # Where the corpus lies now, if it has moved; it must be the text of the run, by its SHA-256.
    corpus: tuple[str, ...] | None = None
    encoding: str | None = None  # of --text, where it is not UTF-8; None: as in training
    # Of the run's checkpoints; None: the best, where the run was validated, else the last.
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
        from jaxchar.cache import keep_what_is_compiled
        from jaxchar.scoring.memorization import memorization

        keep_what_is_compiled()
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
