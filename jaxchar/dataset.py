"""A corpus in ids: encoded by a vocabulary, cut into its splits, laid on the device."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.config import Config
from jaxchar.corpus import load_corpus, split_positions
from jaxchar.errors import JaxcharError
from jaxchar.vocabulary import Unknown, UnknownCharactersError, Vocabulary


class CorpusIdentity(NamedTuple):
    """What tells one corpus from another, kept in every checkpoint."""

    source: tuple[str, ...]
    sha256: str  # of the bytes read
    characters: int  # after reduction and limit

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {**self._asdict(), "source": list(self.source)}


class Dataset(NamedTuple):
    """Everything that training needs to know of a text."""

    vocabulary: Vocabulary
    splits: dict[str, jax.Array]  # "train", "validation", "test": ids [N], the smallest unsigned type
    identity: CorpusIdentity
    notice: str  # one line for the user, or nothing
    replaced: int = 0  # characters that the vocabulary lacks and another one stands for
    left_out: int = 0  # characters that the vocabulary lacks and that are gone


def load_dataset(
    config: Config, vocabulary: Vocabulary | None = None, unknown: Unknown | Literal["add"] = "error"
) -> Dataset:
    """Load, encode and split the corpus of a configuration.

    Args:
        config: which corpus, and its splits.
        vocabulary: the symbols to encode with; None takes those of the text itself.
        unknown: what becomes of characters that the vocabulary lacks, see :meth:`Vocabulary.adapt`;
            "add" adds them to the vocabulary.

    Raises:
        JaxcharError: the corpus cannot be had, or holds characters that the vocabulary lacks.
    """
    ids, dataset = _encoded(config, vocabulary, unknown)
    splits = {
        name: jnp.asarray(ids[split.start : split.stop])
        for name, split in split_positions(len(ids), config).items()
    }
    return dataset._replace(splits=splits)


def _encoded(
    config: Config, vocabulary: Vocabulary | None, unknown: Unknown | Literal["add"]
) -> tuple[np.ndarray, Dataset]:
    """Return the ids of a corpus, and a dataset without its splits; the text is forgotten on the way."""
    corpus = load_corpus(config)
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
    identity = CorpusIdentity(corpus.source, corpus.sha256, len(ids))
    return ids, Dataset(vocabulary, {}, identity, corpus.notice, replaced, left_out)


def refuse_another_corpus(trained_on: dict[str, Any], given: CorpusIdentity) -> None:
    """Raise a JaxcharError unless a text is the one that a checkpoint was trained on, wherever it lies."""
    now = given.to_json()
    if any(trained_on[name] != now[name] for name in ("sha256", "characters")):
        raise JaxcharError(
            f"the corpus is not the one that the run was trained on: {trained_on} then, {now} now; say "
            "where the same text lies with --corpus"
        )
