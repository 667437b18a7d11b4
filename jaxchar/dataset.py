"""A corpus in ids: encoded by a vocabulary, cut into its splits, laid on the device."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.batches import Documents, Text, shuffled
from jaxchar.config import Config
from jaxchar.corpus import load_corpus, split_positions
from jaxchar.cutting import cut_into_documents, rearranged, shares
from jaxchar.errors import JaxcharError
from jaxchar.vocabulary import UnknownCharactersError, Vocabulary

HOLDING_OUT = 0  # the seed of the order in which documents are held out


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
    # Where each document of the training text begins, for streams to read in another order; None: as it is.
    starts: np.ndarray | None = None

    @property
    def training_text(self) -> Text:
        """What training reads: ids, or documents."""
        ids = self.splits["train"]
        return ids if self.starts is None else Documents.of(ids, self.starts)


def load_dataset(config: Config, vocabulary: Vocabulary | None = None) -> Dataset:
    """Load, encode and split the corpus of a configuration.

    Args:
        config: which corpus, and its splits.
        vocabulary: the symbols to encode with; None takes those of the text itself.

    Raises:
        JaxcharError: the corpus cannot be had, or holds characters that the vocabulary lacks.
    """
    vocabulary, ids, identity, notice = _encoded(config, vocabulary)
    if config.separator is not None:
        return _of_documents(config, config.separator, vocabulary, ids, identity, notice)
    splits = {
        name: jnp.asarray(ids[split.start : split.stop])
        for name, split in split_positions(len(ids), config).items()
    }
    return Dataset(vocabulary, splits, identity, notice)


def _of_documents(
    config: Config,
    separator: str,
    vocabulary: Vocabulary,
    ids: np.ndarray,
    identity: CorpusIdentity,
    notice: str,
) -> Dataset:
    """Return a dataset that holds out documents at random, the same ones whatever the seed.

    A list may be sorted: its last tenth would be another kind of text. That the seed changes nothing keeps
    runs comparable, and lets no run begin with weights that have seen what it holds out.
    """
    if vocabulary.unknown(separator):
        raise JaxcharError(
            f"the separator {separator!r} comes up nowhere in the corpus {' '.join(identity.source)!r}; give "
            "what ends every document, or --separator none for one running text"
        )
    cut = cut_into_documents(ids, vocabulary.encode(separator))
    count = len(cut.bounds) - 1
    if count < 2:
        raise JaxcharError(
            f"the separator {separator!r} leaves {count} document in the corpus "
            f"{' '.join(identity.source)!r}; give what ends every document, or --separator none"
        )
    order = jax.jit(shuffled, static_argnums=1)(jnp.arange(count), count, jax.random.key(HOLDING_OUT))
    cut = rearranged(cut, np.asarray(order))
    held_out = shares(cut.bounds, [config.test_fraction, config.val_fraction])
    test, validation = count - held_out[0], count - sum(held_out)
    parts = {"train": (0, validation), "validation": (validation, test), "test": (test, count)}
    splits = {
        name: jnp.asarray(cut.ids[cut.bounds[first] : cut.bounds[stop]])
        for name, (first, stop) in parts.items()
    }
    shuffles = config.batching == "streams"
    return Dataset(vocabulary, splits, identity, notice, cut.bounds[:validation] if shuffles else None)


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
