"""Write text with a trained model: ``python -m jaxchar.sample --ckpt runs/mine --prompt "ROMEO:"``."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors, warn
from jaxchar.cli.newest_run import run_to_use, say_model
from jaxchar.cli.parse import parse_command
from jaxchar.cli.prompts import fitted, with_fitted_stops
from jaxchar.cli.sample_output import SampleOutput
from jaxchar.config import SampleConfig
from jaxchar.data.documents import require_documents
from jaxchar.errors import JaxcharError
from jaxchar.terminal.sample_display import Display

if TYPE_CHECKING:  # this imports JAX, which --help need not wait for
    from jaxchar.checkpoint.store import Loaded


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write text with a trained model."""

    # A run's folder, its checkpoints folder, or one checkpoint's; none: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    # What the text goes on from; None: a line break, or a space. A line break in it: $'first\nsecond'.
    prompt: str | None = None
    prompt_file: str | None = None  # likewise, the whole of a UTF-8 file; -: standard input
    from_corpus: int | None = None  # likewise, seq_len characters of the checkpoint's text, at this position
    corpus: tuple[str, ...] | None = None  # where that text lies now, if it has moved; checked by its SHA-256
    unknown: Literal["error", "skip", "replace"] = "error"  # prompt characters that the model lacks
    length: int | None = None  # characters to write; None: 500, and of a document at most 10,000
    documents: int | None = None  # write so many whole texts, of a model trained on many with --separator
    # The text ends with the first of these that comes up in it. A line break is $'\n'.
    stop: tuple[str, ...] | None = None
    temperature: tuple[float, ...] = (1.0,)  # below 1 safer, above 1 wilder; several: a block for each
    greedy: bool = False  # always take the most probable character, as --temperature 0 does
    top_k: int = 0  # draw from the k most probable characters only; 0: from all
    top_p: float = 1.0  # draw from the fewest characters that have this share together; 1: from all
    min_p: float = 0.0  # draw from those with this share of the best one's probability; 0: from all
    num_samples: int = 1  # texts that go on from the prompt, drawn as one batch
    seed: int | None = None  # the same seed writes the same text; None takes the clock's
    show_alternatives: bool = False  # a line a character: its probability and the five runners-up
    json: bool = False  # print one JSON object a text
    raw: bool = False  # show a terminal control characters as they are, not as symbols
    interactive: bool = False  # a session: type prompts, change settings, pick characters, undo, save
    # Of the run's checkpoints; None: the best, where the run was validated, else the last.
    which: Literal["last", "best"] | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.prompt, self.prompt_file, self.from_corpus)) > 1:
            raise JaxcharError(
                "--prompt, --prompt-file and --from-corpus are one or the other; give only one"
            )
        if self.corpus is not None and self.from_corpus is None:
            raise JaxcharError(
                "--corpus is for a prompt from the training text; give --from-corpus POSITION, too"
            )
        if self.greedy and self.temperature != (1.0,):
            raise JaxcharError("--greedy is temperature 0; leave one of --greedy and --temperature out")
        if self.documents is not None:
            self._check_documents(self.documents)
        if not 1 <= self.num_samples <= 10_000:
            raise JaxcharError(
                f"--num-samples must be a number from 1 to 10,000, but it is {self.num_samples}"
            )

    def _check_documents(self, count: int) -> None:
        if not 1 <= count <= 1_000_000:
            raise JaxcharError(f"--documents must be a number from 1 to 1,000,000, but it is {count}")
        others = {
            "--prompt": self.prompt is not None,
            "--prompt-file": self.prompt_file is not None,
            "--from-corpus": self.from_corpus is not None,
            "--stop": self.stop is not None,
            "--num-samples": self.num_samples != 1,
            "--show-alternatives": self.show_alternatives,
            "--interactive": self.interactive,
            "several --temperature": len(self.temperature) > 1,
        }
        given = [option for option, is_given in others.items() if is_given]
        if given:
            raise JaxcharError(
                f"--documents writes texts from their beginning to their end; leave out {' and '.join(given)}"
            )

    def settings(self, seed: int) -> list[SampleConfig]:
        """Return what to write for each temperature, checked."""
        length = 500 if self.documents is None else 10_000
        return [
            SampleConfig(
                length=length if self.length is None else self.length,
                stop=self.stop,
                temperature=temperature,
                top_k=self.top_k,
                top_p=self.top_p,
                min_p=self.min_p,
                seed=seed,
            )
            for temperature in ((0.0,) if self.greedy else self.temperature)
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Sample as the command line says: text on standard output, figures on standard error."""
    with one_line_errors():
        typed = parse_command(Arguments, "sample", arguments)
        settings = typed.settings(time.time_ns() % 2**32 if typed.seed is None else typed.seed)
        run = run_to_use(typed)
        from jaxchar.cache import keep_what_is_compiled
        from jaxchar.checkpoint.store import load_checkpoint
        from jaxchar.checkpoint.weights import weights_structure

        keep_what_is_compiled()
        loaded = load_checkpoint(run, weights_structure, typed.which)
        warn(loaded.warnings)
        if not _sample(typed, settings, run, loaded):
            raise SystemExit(130)


def _sample(typed: Arguments, settings: list[SampleConfig], run: str, loaded: "Loaded") -> bool:
    """Write what was asked for; return False where Ctrl-C ended it."""
    from jaxchar.language_model import from_checkpoint

    writer = from_checkpoint(loaded).writer
    output = SampleOutput(
        writer, as_json=typed.json, raw=typed.raw, show_alternatives=typed.show_alternatives
    )
    if typed.documents is not None:
        separator = require_documents(loaded.metadata.config.separator)
        say_model(typed, run, loaded)
        return output.write_documents(separator, typed.documents, settings[0])
    settings = with_fitted_stops(writer, settings)
    if typed.interactive:
        from jaxchar.terminal.interactive import converse

        say_model(typed, run, loaded)
        converse(writer, settings[0], Display(typed.raw), typed.unknown)
        return True
    prompt = fitted(writer, "prompt", _prompt(typed, loaded))
    prompt = writer.vocabulary.adapt(prompt, typed.unknown)
    if prompt and not writer.vocabulary.unknown(prompt):  # else an error follows, which stands alone
        say_model(typed, run, loaded)
    return output.write(prompt, settings, typed.num_samples)


def _prompt(typed: Arguments, loaded: "Loaded") -> str:
    """Return what the text is to go on from."""
    from jaxchar.sampling.prompt_sources import default_prompt, prompt_from_corpus, prompt_from_file

    if typed.from_corpus is not None:
        return prompt_from_corpus(loaded.metadata, typed.from_corpus, typed.corpus)
    if typed.prompt_file is not None:
        return prompt_from_file(typed.prompt_file)
    return default_prompt(loaded.metadata.vocabulary) if typed.prompt is None else typed.prompt


if __name__ == "__main__":
    main()
