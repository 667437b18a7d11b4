"""A corpus in ids: complete splits, the vocabulary asked for, the smallest type."""

import json

import numpy as np
import pytest

from jaxchar.config import Config
from jaxchar.data.corpus import load_corpus
from jaxchar.data.dataset import load_dataset
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError


@pytest.fixture
def config(tmp_path, text) -> Config:
    (tmp_path / "text").write_text(text, encoding="utf-8")
    return Config(corpus=str(tmp_path / "text"))


@pytest.mark.parametrize(
    "val, test, sizes", [(0.1, 0.0, [5_400, 600, 0]), (0.25, 0.125, [3_750, 1_500, 750])]
)
def test_the_splits_add_up_to_the_text(config, text, val, test, sizes):
    dataset = load_dataset(config.replace(val_fraction=val, test_fraction=test))
    assert list(dataset.splits) == ["train", "validation", "test"]
    assert [len(ids) for ids in dataset.splits.values()] == sizes
    together = np.concatenate(list(dataset.splits.values()))
    assert dataset.vocabulary.decode(together) == text


def test_the_vocabulary_is_that_of_the_whole_text_also_of_what_is_held_out(tmp_path):
    (tmp_path / "text").write_text("aaaaaaaaab")
    dataset = load_dataset(Config(corpus=str(tmp_path / "text")))
    assert dataset.splits["validation"].tolist() == [1]
    assert dataset.vocabulary == Vocabulary("ab")


def test_a_given_vocabulary_is_used(config, text):
    larger = Vocabulary(text + "\0\1")
    dataset = load_dataset(config, larger)
    assert dataset.vocabulary == larger
    assert larger.decode(dataset.splits["train"]) == text[:5_400]


def test_a_given_vocabulary_is_used_even_without_symbols(config):
    with pytest.raises(JaxcharError):
        load_dataset(config, Vocabulary(""))


def test_unknown_characters_are_listed_with_the_corpus(config, text):
    with pytest.raises(JaxcharError) as refused:
        load_dataset(config, Vocabulary("".join(set(text) - set("et"))))
    assert "'e' (U+0065), 't' (U+0074)" in str(refused.value)
    assert config.corpus in str(refused.value)


@pytest.mark.parametrize("size, dtype", [(1, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_ids_have_the_smallest_type_in_every_split(tmp_path, size, dtype):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + size)))
    (tmp_path / "text").write_text(text, encoding="utf-8")
    dataset = load_dataset(Config(corpus=str(tmp_path / "text")))
    assert {ids.dtype for ids in dataset.splits.values()} == {np.dtype(dtype)}


def test_the_identity_is_of_the_bytes_read_and_the_characters_used(config, text):
    identity = load_dataset(config.replace(max_chars=100)).identity
    assert identity == ((config.corpus,), load_corpus(config).sha256, 100, "utf-8")
    assert json.loads(json.dumps(identity.to_json())) == {
        "source": [config.corpus],
        "sha256": identity.sha256,
        "characters": 100,
    }


def test_the_notice_of_the_corpus_is_passed_on(monkeypatch, config):
    from jaxchar.data import dataset as module

    monkeypatch.setattr(module, "load_corpus", lambda config: load_corpus(config)._replace(notice="look"))
    assert load_dataset(config).notice == "look"
