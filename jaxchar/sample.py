"""Write text with a trained model: ``python -m jaxchar.sample --ckpt runs/mine --prompt "ROMEO:"``."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxchar.console import echo, one_line_errors, parse, sampling_statistics
from jaxchar.errors import JaxcharError


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write text with a trained model."""

    ckpt: str  # a run folder, its checkpoints folder, or one checkpoint's folder
    prompt: str = "\n"  # what the text goes on from; every character must be in the vocabulary
    length: int = 500  # characters to write after the prompt
    temperature: float = 1.0  # below 1 safer, above 1 wilder; 0 always takes the most probable
    greedy: bool = False  # always take the most probable character, as --temperature 0 does
    seed: int | None = None  # the same seed writes the same text; None takes the clock's
    which: Literal["last", "best"] = "last"  # of a run's checkpoints

    def __post_init__(self) -> None:
        if self.length < 0 or not 0 <= self.temperature < float("inf"):
            raise JaxcharError(
                f"length and temperature must be 0 or more, but they are {self.length} and {self.temperature}"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Sample as the command line says: text on standard output, figures on standard error."""
    with one_line_errors():
        typed = parse(Arguments, door="jaxchar.sample", arguments=arguments)
        seed = time.time_ns() % 2**32 if typed.seed is None else typed.seed
        from jaxchar.checkpoint import load_checkpoint
        from jaxchar.language_model import from_checkpoint, weights_structure

        loaded = load_checkpoint(typed.ckpt, weights_structure, typed.which)
        for warning in loaded.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        pieces = from_checkpoint(loaded).stream(
            typed.prompt,
            typed.length,
            temperature=0.0 if typed.greedy else typed.temperature,
            seed=seed,
        )
        started = time.perf_counter()
        written = echo(typed.prompt, pieces)
        sampling_statistics(written, time.perf_counter() - started, seed)


if __name__ == "__main__":
    main()
