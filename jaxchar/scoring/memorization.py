"""How much of what a model writes stands verbatim in the text that it was trained on.

For passages of 5 to 50 characters: the share of them that the training text holds. Held-out text is the
standard to compare with: it agrees with the training text, too, and was not copied from it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxchar.checkpoint.find import Loaded, Which, load_checkpoint
from jaxchar.checkpoint.weights import weights_structure
from jaxchar.config import Config, SampleConfig
from jaxchar.data.batches import Windows
from jaxchar.data.corpus import Corpus, load_corpus
from jaxchar.data.dataset import load_own_dataset
from jaxchar.data.ngrams import SharedPassage, copied_shares, longest_shared
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.model.split import model_structure
from jaxchar.sampling.memory_decoder import Remembering
from jaxchar.sampling.session import TextSession
from jaxchar.scoring.evaluation import Warn, warn_in_python
from jaxchar.scoring.options import MemorizationOptions

PROMPT_CHARS = 100  # characters that the model goes on from


class Overlap(NamedTuple):
    """What a text shares with the training text."""

    characters: int  # of the text
    copied_shares: dict[int, float | None]  # by passage length, the share that the training text holds
    longest: SharedPassage  # the longest passage that both have
    passage: str  # its characters

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "characters": self.characters,
            "copied_share": {str(n): share for n, share in self.copied_shares.items()},
            "longest": {**self.longest._asdict(), "passage": self.passage},
        }


class MemorizationReport(NamedTuple):
    """What a text, and held-out text, share with the training text of a checkpoint."""

    checkpoint: Path
    step: int  # at which the checkpoint was saved
    corpus: str  # the sources of the training text
    training_chars: int  # characters that were trained on
    source: str  # where the text comes from
    text: Overlap
    held_out: Overlap | None  # None: no text was held out

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "checkpoint": str(self.checkpoint),
            "step": self.step,
            "corpus": self.corpus,
            "training_chars": self.training_chars,
            "text": {"source": self.source, **self.text.to_json()},
            "held_out": None if self.held_out is None else self.held_out.to_json(),
        }


def memorization(
    path: str | Path,
    options: MemorizationOptions | None = None,
    *,
    which: Which | None = None,
    warn: Warn = warn_in_python,
    on_ready: Callable[[Loaded], None] | None = None,
) -> MemorizationReport:
    """Tell how much of a text stands verbatim in the training text of a checkpoint.

    Args:
        path: a run's folder, its checkpoints folder, or one checkpoint's folder.
        options: which text; None: one that the model writes.
        which: of a run's checkpoints, the "last" or the "best"; None: the best where the run was validated,
            else the last.
        warn: gets lines about damaged checkpoints and about how the text was read.
        on_ready: is called with the checkpoint when the text is there, before it is compared.

    Raises:
        JaxcharError: there is no whole checkpoint, the text or the training text cannot be read, or an
            option is out of its range.
    """
    options = options or MemorizationOptions()
    loaded = load_checkpoint(path, weights_structure, which)
    warn(loaded.warnings)
    config, symbols = loaded.metadata.config, loaded.metadata.vocabulary.symbols
    text = None
    if options.text is not None:
        given = _read_text(options.text, options.encoding, config)
        warn(given.notice.splitlines())
        text = given.text
    # A given text may hold characters that the corpus lacks. They are in no passage that is copied.
    vocabulary = Vocabulary(symbols + (text or ""))
    dataset = load_own_dataset(
        config.replace(corpus=options.corpus or config.corpus), vocabulary, loaded.metadata.corpus
    )
    training = trained_on(config, np.asarray(dataset.splits["train"]))
    held_out = np.concatenate([dataset.splits["validation"], dataset.splits["test"]])
    if text is None:
        opening = held_out if len(held_out) else training
        text = _write_text(loaded, vocabulary.decode(opening[:PROMPT_CHARS]), options)
    if on_ready is not None:
        on_ready(loaded)
    return MemorizationReport(
        checkpoint=loaded.path,
        step=loaded.metadata.step,
        corpus=" ".join(dataset.identity.source),
        training_chars=len(training),
        source=options.text or f"written at temperature {options.temperature:g}, seed {options.seed}",
        text=overlap(vocabulary.encode(text), training, vocabulary),
        held_out=overlap(held_out[: options.length], training, vocabulary) if len(held_out) else None,
    )


def trained_on(config: Config, ids: np.ndarray) -> np.ndarray:
    """Return what training reads of its split, [N] ids: all, unless it reads windows.

    The windows may leave out the end of the split, and ``max_windows`` more of it.
    """
    if config.batching == "streams":
        return ids
    windows = Windows(
        len(ids), config.seq_len, config.batch_size, config.stride, max_windows=config.max_windows
    )
    return ids[: (windows.count - 1) * windows.stride + windows.seq_len + 1]


def overlap(text: np.ndarray, training: np.ndarray, vocabulary: Vocabulary) -> Overlap:
    """Return what a text, [M] ids, shares with the training text, [N] ids of the same vocabulary."""
    longest = longest_shared(text, training)
    passage = vocabulary.decode(text[longest.text_position :][: longest.length])
    return Overlap(len(text), copied_shares(text, training), longest, passage)


def _read_text(path: str, encoding: str | None, config: Config) -> Corpus:
    """Return the text of a file, reduced to the corpus's alphabet as the corpus was."""
    encoding = encoding or config.encoding
    return load_corpus(config.replace(corpus=(path,), max_chars=None, encoding=encoding))


def _write_text(loaded: Loaded, prompt: str, options: MemorizationOptions) -> str:
    """Return what the model writes after a prompt."""
    config, vocabulary = loaded.metadata.config, loaded.metadata.vocabulary
    graphdef, _ = model_structure(config, len(vocabulary))
    (weights,) = loaded.state.values()
    remembering = None
    if loaded.memory is not None and options.memory:
        remembering = Remembering(loaded.memory, options.memory, options.memory_context)
    writer = TextSession(graphdef, weights, vocabulary, config.context_limit, config, remembering)
    settings = SampleConfig(length=options.length, temperature=options.temperature, seed=options.seed)
    return "".join(piece for piece, _ in writer.write(writer.start(prompt), settings))
