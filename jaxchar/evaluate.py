"""Score a trained model on text: ``python -m jaxchar.evaluate --ckpt runs/mine --json``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors, warn
from jaxchar.cli.newest_run import run_to_use, say_model
from jaxchar.cli.parse import parse_command
from jaxchar.scoring.options import EvaluationOptions
from jaxchar.terminal.tables import evaluation_table


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Score a trained model on its corpus, or on any other text."""

    # A run's folder, its checkpoints folder, or one checkpoint's folder. Default: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    # The text to score. None: the run's own text, where it was. The run's own text is recognised by its
    # SHA-256, wherever it is now, and its splits are scored. Another text is scored whole.
    corpus: tuple[str, ...] | None = None
    encoding: str | None = None  # encoding of --corpus if it is not UTF-8; None: as in training
    # Which split of the run's own text. whole: all of it as one text.
    split: Literal["all", "train", "validation", "test", "whole"] = "all"
    # A stateful pass, cold blocks, or windows as in training; None: as the run was evaluated.
    protocol: Literal["stateful", "blocks", "windows"] | None = None
    block: int | None = None  # characters per cold block; None: as in the run's settings
    stride: int | None = None  # windows: characters from one to the next; None: as in the run's settings
    lanes: int | None = None  # of a stateful pass; 1: a single pass; None: 1 for every 8,192 characters
    # What to do with characters that the model lacks. skip: leave them out; replace: use their other case,
    # or a space.
    unknown: Literal["error", "skip", "replace"] = "error"
    # What to score beside the network alone. static: with counts of the text that the model remembers;
    # growing: also with counts that grow as it reads.
    memory: Literal["none", "static", "growing"] = "growing"
    # Also score a network that goes on learning from the text as it reads it (dynamic evaluation).
    dynamic: bool = False
    # Which checkpoint of the run. None: the best one if the run was validated, else the last one.
    which: Literal["last", "best"] | None = None
    # Folder for each character's surprise: a CSV file and a coloured HTML page for every split scored.
    per_character: str | None = None
    json: bool = False  # print one JSON object

    def __post_init__(self) -> None:
        self.options()  # refuses a wrong one before JAX is loaded

    def options(self) -> EvaluationOptions:
        """Return which text to score, and how."""
        return EvaluationOptions(
            **{field.name: getattr(self, field.name) for field in fields(EvaluationOptions)}
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Score as the command line says; figures on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "evaluate", arguments)
        run = run_to_use(typed)
        from jaxchar.cache import enable_compilation_cache
        from jaxchar.scoring.evaluation import evaluate

        enable_compilation_cache()
        report = evaluate(
            run,
            typed.options(),
            which=typed.which,
            per_character=typed.per_character,
            warn=warn,
            on_ready=lambda loaded: say_model(typed, run, loaded),
        )
        if typed.json:
            print(json.dumps(report.to_json()))
        else:
            evaluation_table(report.to_json())


if __name__ == "__main__":
    main()
