"""Copied passages, held to a plain search through the text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxchar.data import ngrams
from jaxchar.data.ngrams import copied_shares, longest_shared

FEW_LETTERS = st.text("ab", max_size=60)
SOME_LETTERS = st.text("abcdefgh", max_size=60)
PAIRS = st.one_of(st.tuples(FEW_LETTERS, FEW_LETTERS), st.tuples(SOME_LETTERS, SOME_LETTERS))
LENGTHS = (1, 2, 3, 5, 8, 50)


def ids(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def plain_shares(text: str, corpus: str, lengths) -> dict:
    shares = {}
    for n in lengths:
        grams = [text[i : i + n] for i in range(len(text) - n + 1)]
        shares[n] = sum(gram in corpus for gram in grams) / len(grams) if grams else None
    return shares


def plain_longest(text: str, corpus: str) -> int:
    passages = (text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1))
    return max((len(passage) for passage in passages if passage in corpus), default=0)


@pytest.fixture(params=["usual", "small blocks", "clashing hashes", "small sieve"], autouse=True)
def way(request, monkeypatch):
    """Every test holds in many blocks, and where hashes say little: with b = 1 anagrams have the same."""
    if request.param == "small blocks":
        monkeypatch.setattr(ngrams, "BLOCK", 7)
    if request.param == "clashing hashes":
        monkeypatch.setattr(ngrams, "BASE", 1)
        monkeypatch.setattr(ngrams, "BLOCK", 16)
    if request.param == "small sieve":
        monkeypatch.setattr(ngrams, "SIEVE_BITS", 1)
        monkeypatch.setattr(ngrams, "COMPARED", 3)


@given(PAIRS)
@settings(max_examples=60, deadline=None)
def test_shares_are_those_of_a_plain_search(pair):
    text, corpus = pair
    assert copied_shares(ids(text), ids(corpus), LENGTHS) == plain_shares(text, corpus, LENGTHS)


@given(PAIRS)
@settings(max_examples=60, deadline=None)
def test_the_longest_passage_is_that_of_a_plain_search_and_stands_where_it_says(pair):
    text, corpus = pair
    length, i, p = longest_shared(ids(text), ids(corpus))
    assert length == plain_longest(text, corpus)
    assert text[i : i + length] == corpus[p : p + length]


def test_a_planted_passage_is_found_across_blocks():
    rng = np.random.default_rng(0)
    corpus, text = rng.integers(0, 200, 3000), rng.integers(0, 200, 1000)
    text[300:437] = corpus[1900:2037]
    text[299], text[437] = 201, 202  # so that it ends where it was planted
    assert longest_shared(text, corpus) == (137, 300, 1900)
    assert copied_shares(text, corpus, (100,)) == {100: 38 / 901}


def test_a_copy_of_the_corpus_is_all_copied():
    corpus = np.random.default_rng(0).integers(0, 5, 400).astype(np.uint8)
    assert copied_shares(corpus[50:250], corpus) == dict.fromkeys(ngrams.LENGTHS, 1.0)
    assert longest_shared(corpus[50:250], corpus).length == 200
    assert longest_shared(corpus, corpus[50:250]).length == 200


def test_a_single_symbol_repeated():
    assert longest_shared(np.zeros(90, int), np.zeros(70, int)).length == 70
    assert copied_shares(np.zeros(90, int), np.zeros(40, int)) == {
        n: 1.0 if n <= 40 else 0.0 for n in ngrams.LENGTHS
    }


def test_nothing_is_shared_with_nothing():
    some, none = np.arange(60), np.empty(0, int)
    assert longest_shared(some, none).length == longest_shared(none, some).length == 0
    assert copied_shares(some, none, (5,)) == {5: 0.0}
    assert copied_shares(none, some, (5,)) == {5: None}


def test_wide_ids_are_told_apart():
    """Ids beyond a byte or two, and types that differ."""
    corpus = np.array([70_000, 5, 1 << 20, 7], np.uint32)
    assert longest_shared(np.array([5, (1 << 20), 7], np.int64), corpus) == (3, 0, 1)
    assert longest_shared(np.array([70_000 % 256, 5], np.uint8), corpus).length == 1
