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
from jaxchar.config import MEMORY_CONTEXT, SAMPLE_LENGTH, SampleConfig, Weights, check_memory_options
from jaxchar.data.documents import require_documents
from jaxchar.errors import JaxcharError
from jaxchar.terminal.sample_display import Display

if TYPE_CHECKING:  # this imports JAX, which --help need not wait for
    from jaxchar.checkpoint.find import Loaded
    from jaxchar.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write text with a trained model."""

    # A run's folder, its checkpoints folder, or one checkpoint's folder. Default: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    # The text to continue. None: a line break, or a space. To type a line break: $'first\nsecond'.
    prompt: str | None = None
    prompt_file: str | None = None  # a UTF-8 file whose text to continue; -: standard input
    from_corpus: int | None = None  # continue seq_len characters of the training text, from this position
    # Where the training text is now, if it has moved. It is checked by its SHA-256.
    corpus: tuple[str, ...] | None = None
    # What to do with prompt characters that the model lacks. skip: leave them out; replace: use their other
    # case, or a space.
    unknown: Literal["error", "skip", "replace"] = "error"
    length: int | None = None  # characters to write; None: 500, or at most 10,000 for each document
    documents: int | None = None  # write this many whole documents, with a model trained with --separator
    # The text ends with the first of these that appears in it. A line break is $'\n'.
    stop: tuple[str, ...] | None = None
    temperature: tuple[float, ...] = (1.0,)  # below 1 safer, above 1 wilder; several: one block for each
    greedy: bool = False  # always take the most probable character, like --temperature 0
    top_k: int = 0  # choose only among the k most probable characters; 0: among all
    top_p: float = 1.0  # choose among the fewest characters that have this probability together; 1: all
    min_p: float = 0.0  # choose among those with at least this share of the highest probability; 0: all
    # How much to go by what the model remembers of its training text: 0 not at all, 1 as far as it helps.
    # None: 1, where it remembers something.
    memory: float | None = None
    # Characters of the longest context that memory goes by. The longer, the more is copied.
    memory_context: int = MEMORY_CONTEXT
    # How many bits the recurrent weights have. Fewer write faster, and a little worse.
    weights: Weights = "float32"
    adapt: tuple[str, ...] | None = None  # files to read first, which the model then remembers, too
    dynamic: bool = False  # with --adapt: the network also learns from them
    num_samples: int = 1  # texts to write after the prompt, as one batch
    seed: int | None = None  # the same seed writes the same text; None: from the clock
    show_alternatives: bool = False  # one line per character: its probability, and the five best others
    json: bool = False  # print one JSON object per text
    raw: bool = False  # write control characters to a terminal as they are, not as symbols
    interactive: bool = False  # a session: type prompts, change settings, pick characters, undo, save
    # Which checkpoint of the run. None: the best one if the run was validated, else the last one.
    which: Literal["last", "best"] | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.prompt, self.prompt_file, self.from_corpus)) > 1:
            raise JaxcharError("--prompt, --prompt-file and --from-corpus exclude one another; give only one")
        if self.corpus is not None and self.from_corpus is None:
            raise JaxcharError(
                "--corpus is for a prompt from the training text; also give --from-corpus POSITION"
            )
        if self.dynamic and self.adapt is None:
            raise JaxcharError("--dynamic is for a text that is read first; give one with --adapt FILE")
        if self.greedy and self.temperature != (1.0,):
            raise JaxcharError("--greedy is temperature 0; leave one of --greedy and --temperature out")
        if self.documents is not None:
            self._check_documents(self.documents)
        check_memory_options(self.memory, self.memory_context)
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
        """Return the checked settings for each temperature."""
        length = SAMPLE_LENGTH if self.documents is None else 10_000
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
        from jaxchar.cache import enable_compilation_cache
        from jaxchar.checkpoint.find import load_checkpoint
        from jaxchar.checkpoint.weights import weights_structure

        enable_compilation_cache()
        loaded = load_checkpoint(
            run, weights_structure, typed.which, sorts_memory=typed.memory != 0 and typed.adapt is None
        )
        warn(loaded.warnings)
        if not _sample(typed, settings, run, loaded):
            raise SystemExit(130)


def _sample(typed: Arguments, settings: list[SampleConfig], run: str, loaded: "Loaded") -> bool:
    """Write what was asked for; return False where Ctrl-C ended it."""
    writer = _model(typed, loaded).session
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


def _model(typed: Arguments, loaded: "Loaded") -> "LanguageModel":
    """Return the model, with what it has read, going by its memory as far as it shall."""
    from jaxchar.data.corpus import load_corpus
    from jaxchar.language_model import from_checkpoint

    model = from_checkpoint(loaded)
    if typed.adapt is not None:
        read = load_corpus(model.config.replace(corpus=typed.adapt, max_chars=None))
        warn(read.notice.splitlines())
        model = model.adapted(read.text, dynamic=typed.dynamic)
    if typed.weights != "float32":
        model = model.with_weights(typed.weights)
        if not model.session.writes_in_cpp:
            warn([f"--weights {typed.weights} makes only C++ faster, which does not write here"])
    if model.remembering is None:
        if typed.memory:
            raise JaxcharError(
                "--memory is for a model that remembers a text, but this one was trained with --memory none, "
                "or by an older jaxchar; leave it out, or give a text with --adapt"
            )
        return model
    return model.with_memory(1.0 if typed.memory is None else typed.memory, typed.memory_context)


def _prompt(typed: Arguments, loaded: "Loaded") -> str:
    """Return the text to continue."""
    from jaxchar.sampling.prompt_sources import default_prompt, prompt_from_corpus, prompt_from_file

    if typed.from_corpus is not None:
        return prompt_from_corpus(loaded.metadata, typed.from_corpus, typed.corpus)
    if typed.prompt_file is not None:
        return prompt_from_file(typed.prompt_file)
    return default_prompt(loaded.metadata.vocabulary) if typed.prompt is None else typed.prompt


if __name__ == "__main__":
    main()
