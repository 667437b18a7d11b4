"""A corpus in ids: encoded by a vocabulary, cut into its splits, laid on the device."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.ambient import pinned
from jaxchar.config import Config
from jaxchar.corpus import load_corpus, split_positions
from jaxchar.errors import JaxcharError
from jaxchar.vocabulary import UnknownCharactersError, Vocabulary


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


@pinned()
def load_dataset(config: Config, vocabulary: Vocabulary | None = None) -> Dataset:
    """Load, encode and split the corpus of a configuration.

    Args:
        config: which corpus, and its splits.
        vocabulary: the symbols to encode with; None takes those of the text itself.

    Raises:
        JaxcharError: the corpus cannot be had, or holds characters that the vocabulary lacks.
    """
    vocabulary, ids, identity, notice = _encoded(config, vocabulary)
    splits = {
        name: jnp.asarray(ids[split.start : split.stop])
        for name, split in split_positions(len(ids), config).items()
    }
    return Dataset(vocabulary, splits, identity, notice)


def _encoded(
    config: Config, vocabulary: Vocabulary | None
) -> tuple[Vocabulary, np.ndarray, CorpusIdentity, str]:
    """Return vocabulary, ids, identity and notice of a corpus; its text is forgotten on the way."""
    corpus = load_corpus(config)
    if vocabulary is None:
        vocabulary = Vocabulary(corpus.text)
    try:
        ids = vocabulary.encode(corpus.text)
    except UnknownCharactersError as error:
        raise UnknownCharactersError(f"corpus {' '.join(corpus.source)!r}: {error}") from error
    return vocabulary, ids, CorpusIdentity(corpus.source, corpus.sha256, len(ids)), corpus.notice


def refuse_another_corpus(trained_on: dict[str, Any], given: CorpusIdentity) -> None:
    """Raise a JaxcharError unless a text is the one that a checkpoint was trained on, wherever it lies."""
    now = given.to_json()
    if any(trained_on[name] != now[name] for name in ("sha256", "characters")):
        raise JaxcharError(
            f"the corpus is not the one that the run was trained on: {trained_on} then, {now} now; say "
            "where the same text lies with --corpus"
        )
