"""A corpus as ids: encoded by a vocabulary, cut into splits, placed on the device."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.ambient import pinned, random_key
from jaxchar.config import Config
from jaxchar.data.batches import Documents, Text, shuffled
from jaxchar.data.corpus import (
    STANDARD_INPUT,
    Corpus,
    MissingCorpusError,
    load_corpus,
    read_corpus,
    reduce_corpus,
    split_positions,
)
from jaxchar.data.cutting import cut_into_documents, rearranged, shares
from jaxchar.data.vocabulary import Unknown, UnknownCharactersError, Vocabulary
from jaxchar.errors import JaxcharError


class AnotherCorpusError(JaxcharError):
    """A text is not the one that a run was trained on."""


HOLDING_OUT = 0  # seed of the order in which documents are held out


class CorpusIdentity(NamedTuple):
    """What identifies a corpus, kept in every checkpoint."""

    source: tuple[str, ...]
    sha256: str  # of the bytes read
    characters: int  # after reduction and limit
    encoding: str = "utf-8"  # of the files

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; it leaves out UTF-8, like the checkpoints of older versions."""
        record = {**self._asdict(), "source": list(self.source)}
        if self.encoding == "utf-8":
            del record["encoding"]
        return record


class Dataset(NamedTuple):
    """Everything that training needs to know about a text."""

    vocabulary: Vocabulary
    splits: dict[str, jax.Array]  # "train", "validation", "test": ids [N], the smallest unsigned type
    identity: CorpusIdentity
    notice: str  # lines for the user, or nothing
    replaced: int = 0  # characters that the vocabulary lacks and another one stands for
    left_out: int = 0  # characters that the vocabulary lacks and that are gone
    # Start of each document of the training text, for streams that shuffle documents. None: they do not.
    starts: np.ndarray | None = None

    @property
    def whole(self) -> np.ndarray:
        """All splits in their order, [N] ids."""
        return np.concatenate([np.asarray(self.splits[name]) for name in ("train", "validation", "test")])

    @property
    def training_text(self) -> Text:
        """What training reads: ids, or documents."""
        ids = self.splits["train"]
        return ids if self.starts is None else Documents.of(ids, self.starts)


@pinned()
def load_dataset(
    config: Config, vocabulary: Vocabulary | None = None, unknown: Unknown | Literal["add"] = "error"
) -> Dataset:
    """Load, encode and split the corpus of a configuration.

    Args:
        config: which corpus, and its splits.
        vocabulary: the symbols to encode with; None takes those of the text itself.
        unknown: what to do with characters that the vocabulary lacks, see :meth:`Vocabulary.adapt`;
            "add" adds them to the vocabulary.

    Raises:
        JaxcharError: the corpus cannot be read, or contains characters that the vocabulary lacks.
    """
    return _dataset(load_corpus(config), config, vocabulary, unknown)


def load_own_dataset(
    config: Config, vocabulary: Vocabulary, trained_on: dict[str, Any], unknown: Unknown = "error"
) -> Dataset:
    """Load the text that a run was trained on, wherever it is now.

    Args:
        config: the run's settings, with the path where the text is now.
        vocabulary: the run's.
        trained_on: the identity of the text, from the checkpoint's metadata.
        unknown: as in :meth:`Vocabulary.adapt`.

    Raises:
        AnotherCorpusError: the text is another one.
        JaxcharError: the text is not there.
    """
    if "imported" in trained_on:
        said = (
            f"the model was imported from {' '.join(trained_on['source'])!r}, which does not say on what "
            "text it was trained; to score it, give"
        )
        raise AnotherCorpusError(
            f"{said} a text with evaluate --corpus", f"{said} EvaluationOptions a corpus"
        )
    corpus = reduce_corpus(_read_own(config, trained_on), config)
    now = _identity(corpus)
    if (now.sha256, now.characters) != (trained_on["sha256"], trained_on["characters"]):
        raise AnotherCorpusError(
            f"the corpus is not the one that the run was trained on: {_in_words(trained_on)} then, "
            f"{_in_words(now.to_json())} now; give the path of the same text with --corpus"
        )
    return _dataset(corpus, config, vocabulary, unknown)


def load_own_or_other(
    config: Config, vocabulary: Vocabulary, trained_on: dict[str, Any], unknown: Unknown = "error"
) -> tuple[Dataset, bool]:
    """Load any text for a run: its own text (by SHA-256) in its splits, another text whole, as "train".

    Returns:
        The text, and whether it is the run's own.
    """
    corpus = read_corpus(config, trained_on["sha256"])
    own = corpus.sha256 == trained_on["sha256"] and corpus.encoding == trained_on.get("encoding", "utf-8")
    if not own:
        config = config.replace(separator=None, val_fraction=0.0, test_fraction=0.0, max_chars=None)
    return _dataset(reduce_corpus(corpus, config), config, vocabulary, unknown), own


def _read_own(config: Config, trained_on: dict[str, Any]) -> Corpus:
    """Read the text that a run was trained on; if that fails, the error says how to give it."""
    source = tuple(trained_on["source"])
    if config.sources != source:  # the caller has said where it is now
        return read_corpus(config, trained_on["sha256"])
    try:
        corpus = read_corpus(config, trained_on["sha256"])
        if source == STANDARD_INPUT and not corpus.text:
            raise MissingCorpusError("nothing is piped in")
        return corpus
    except JaxcharError as error:
        if source == STANDARD_INPUT:
            raise JaxcharError(
                "the run was trained on standard input, which is not kept; give the same text as a file with "
                "--corpus FILE, or pipe it in once more"
            ) from error
        if not isinstance(error, MissingCorpusError):
            raise
        raise JaxcharError(
            f"the text that the run was trained on is not at {' '.join(source)!r} now; say with --corpus "
            f"where it is: it must be the same text, of SHA-256 {trained_on['sha256'][:16]}..."
        ) from error


def _dataset(
    corpus: Corpus, config: Config, vocabulary: Vocabulary | None, unknown: Unknown | Literal["add"]
) -> Dataset:
    """Encode and split a text."""
    name = " ".join(corpus.source)
    if vocabulary is None:
        vocabulary = Vocabulary(corpus.text)
    if unknown == "add":
        vocabulary = Vocabulary(vocabulary.symbols + vocabulary.unknown(corpus.text))
        unknown = "error"
    text, replaced, left_out = vocabulary.adapt_and_count(corpus.text, unknown)
    if not text:
        raise JaxcharError(
            f"corpus {name!r} has no character that the model knows; give a text in the characters that it "
            "was trained on"
        )
    try:
        ids = vocabulary.encode(text)
    except UnknownCharactersError as error:
        raise UnknownCharactersError(f"corpus {name!r}: {error}") from error
    dataset = Dataset(vocabulary, {}, _identity(corpus), corpus.notice, replaced, left_out)
    return _split(dataset, ids, config)


def _split(dataset: Dataset, ids: np.ndarray, config: Config) -> Dataset:
    """Return a dataset with the splits of a whole text, [N] ids."""
    if config.separator is not None:
        return _split_documents(dataset, ids, config, config.separator)
    splits = {
        name: jnp.asarray(ids[split.start : split.stop])
        for name, split in split_positions(len(ids), config).items()
    }
    return dataset._replace(splits=splits, starts=None)


def _split_documents(dataset: Dataset, ids: np.ndarray, config: Config, separator: str) -> Dataset:
    """Hold out documents at random, the same ones whatever the seed.

    A list may be sorted, so its last tenth would be another kind of text. The seed does not matter, so
    that runs stay comparable, and no run starts from weights that were trained on what it holds out.
    """
    name = " ".join(dataset.identity.source)
    if dataset.vocabulary.unknown(separator):
        raise JaxcharError(
            f"the separator {separator!r} does not appear in the corpus {name!r}; give what ends every "
            "document, or --separator=none for one running text"
        )
    cut = cut_into_documents(ids, dataset.vocabulary.encode(separator))
    count = len(cut.bounds) - 1
    if count < 2:
        raise JaxcharError(
            f"the separator {separator!r} leaves {count} document in the corpus {name!r}; give what ends "
            "every document, or --separator=none for one running text"
        )
    order = jax.jit(shuffled, static_argnums=1)(jnp.arange(count), count, random_key(HOLDING_OUT))
    cut = rearranged(cut, np.asarray(order))
    held_out = shares(cut.bounds, [config.test_fraction, config.val_fraction])
    test, validation = count - held_out[0], count - sum(held_out)
    parts = {"train": (0, validation), "validation": (validation, test), "test": (test, count)}
    splits = {
        name: jnp.asarray(cut.ids[cut.bounds[first] : cut.bounds[stop]])
        for name, (first, stop) in parts.items()
    }
    shuffles = config.batching == "streams"
    return dataset._replace(splits=splits, starts=cut.bounds[:validation] if shuffles else None)


def _identity(corpus: Corpus) -> CorpusIdentity:
    return CorpusIdentity(corpus.source, corpus.sha256, len(corpus.text), corpus.encoding)


def _in_words(identity: dict[str, Any]) -> str:
    source = " ".join(identity["source"])
    return f"{source!r} of {identity['characters']} characters and SHA-256 {identity['sha256']}"


@pinned()
def split_anew(dataset: Dataset, config: Config) -> Dataset:
    """Return a text that was loaded as one running text, split as a configuration says."""
    return _split(dataset, dataset.whole, config)


def with_sources(dataset: Dataset, config: Config) -> Config:
    """Return the settings with the name or the absolute paths of what was loaded."""
    source = dataset.identity.source
    return config.replace(corpus=source[0] if len(source) == 1 else source)
