"""How much of what a model writes is copied: ``python -m jaxchar.memorization --ckpt runs/mine``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors, warn
from jaxchar.cli.newest_run import run_to_use, say_model
from jaxchar.cli.parse import parse_command
from jaxchar.errors import JaxcharError
from jaxchar.terminal.tables import memorization_table

if TYPE_CHECKING:  # these import JAX, which --help need not wait for
    import numpy as np

    from jaxchar.config import Config
    from jaxchar.data.vocabulary import Vocabulary
    from jaxchar.language_model import LanguageModel

PROMPT_CHARS = 100


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
        if self.length < 1:
            raise JaxcharError(f"length must be a whole number of 1 or more, but it is {self.length}")
        if self.encoding is not None and self.text is None:
            raise JaxcharError("--encoding is that of --text; leave it out, or give a --text")


def main(arguments: Sequence[str] | None = None) -> None:
    """Report as the command line says; figures on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "memorization", arguments)
        result = memorization(typed)
        if typed.json:
            print(json.dumps(result))
        else:
            memorization_table(result)


def memorization(typed: Arguments) -> dict[str, Any]:
    """Return what the text and held-out text share with the training text, as a JSON object."""
    run = run_to_use(typed)
    import numpy as np

    from jaxchar.cache import keep_what_is_compiled
    from jaxchar.checkpoint.find import load_checkpoint
    from jaxchar.checkpoint.weights import weights_structure
    from jaxchar.data.dataset import load_own_dataset
    from jaxchar.data.vocabulary import Vocabulary
    from jaxchar.language_model import from_checkpoint

    keep_what_is_compiled()
    loaded = load_checkpoint(run, weights_structure, typed.which)
    warn(loaded.warnings)
    model, config = from_checkpoint(loaded), loaded.metadata.config
    given = None if typed.text is None else _given(typed, config)
    # A given text may hold characters that the corpus lacks, and that only means that they are not copied.
    vocabulary = Vocabulary(model.vocabulary.symbols + (given or ""))
    dataset = load_own_dataset(
        config.replace(corpus=typed.corpus or config.corpus), vocabulary, loaded.metadata.corpus
    )
    training = _trained_on(config, np.asarray(dataset.splits["train"]))
    held_out = np.concatenate([dataset.splits["validation"], dataset.splits["test"]])
    if given is None:
        opening = held_out if len(held_out) else training
        given = _written(model, vocabulary.decode(opening[:PROMPT_CHARS]), typed)
    say_model(typed, run, loaded)
    return {
        "checkpoint": str(loaded.path),
        "step": loaded.metadata.step,
        "corpus": " ".join(dataset.identity.source),
        "training_chars": len(training),
        "text": {
            "source": typed.text or f"written at temperature {typed.temperature:g}, seed {typed.seed}",
            **_shared(vocabulary.encode(given), training, vocabulary),
        },
        "held_out": _shared(held_out[: typed.length], training, vocabulary) if len(held_out) else None,
    }


def _trained_on(config: "Config", training: "np.ndarray") -> "np.ndarray":
    """Return what training read of its split: all, unless ``max_windows`` ends it before."""
    from jaxchar.data.batches import Windows
    from jaxchar.training.step import training_batches

    batches = training_batches(config, len(training))
    if not isinstance(batches, Windows):
        return training
    return training[: (batches.count - 1) * batches.stride + batches.seq_len + 1]


def _given(typed: Arguments, config: "Config") -> str:
    """Return the text of a file, reduced to the corpus's alphabet as the corpus was."""
    from jaxchar.data.corpus import load_corpus

    encoding = typed.encoding or config.encoding
    corpus = load_corpus(config.replace(corpus=(typed.text,), max_chars=None, encoding=encoding))
    warn(corpus.notice.splitlines())
    return corpus.text


def _written(model: "LanguageModel", prompt: str, typed: Arguments) -> str:
    """Return what the model writes after text that, where any is held out, it has not seen."""
    return model.generate(prompt, typed.length, temperature=typed.temperature, seed=typed.seed)


def _shared(text: "np.ndarray", training: "np.ndarray", vocabulary: "Vocabulary") -> dict[str, Any]:
    """Return what a text shares with the training text, as a JSON object."""
    from jaxchar.data.ngrams import copied_shares, longest_shared

    longest = longest_shared(text, training)
    passage = vocabulary.decode(text[longest.text_position :][: longest.length])
    return {
        "characters": len(text),
        "copied_share": {str(n): share for n, share in copied_shares(text, training).items()},
        "longest": {**longest._asdict(), "passage": passage},
    }


if __name__ == "__main__":
    main()
