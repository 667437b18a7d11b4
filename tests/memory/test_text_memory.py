"""A remembered text: its surprises, and what it refuses."""

import pickle

import numpy as np
import pytest
from memory_problem import V, random_text

from jaxchar.errors import JaxcharError
from jaxchar.memory import text_memory
from jaxchar.memory.text_memory import Foreseen, TextMemory
from jaxchar.recurrence import native

TEXT, READ = random_text(2_000), random_text(200, seed=5)


def foreseen(num_chars):
    """Return the predictions of a network that knows nothing, of all characters but the first."""
    positions = np.arange(1, num_chars)
    blind = np.full(num_chars - 1, np.log(V), np.float32)
    return Foreseen(positions, blind, blind, -blind)


def test_a_network_that_knows_nothing_gains_from_a_memory():
    memory = TextMemory(TEXT, V)
    still = memory.surprises(READ, foreseen(200)).mean()
    growing = memory.surprises(np.concatenate([READ, READ]), foreseen(400), growing=True)[200:].mean()
    assert still < np.log(V) - 0.1
    assert growing < still - 0.1  # it has read that before


def test_a_text_that_is_remembered_is_not_predicted_from_itself():
    unrelated = np.random.default_rng(0).integers(0, V, 2_000).astype(np.uint8)  # nothing in it comes twice
    memory = TextMemory(unrelated, V)
    copied = memory.surprises(unrelated, foreseen(2_000)).mean()
    left_out = memory.surprises(unrelated, foreseen(2_000), is_own_text=True).mean()
    assert copied < np.log(V) - 0.5
    assert abs(left_out - np.log(V)) < 0.1


def test_without_the_library_the_surprises_are_the_same(monkeypatch):
    memory = TextMemory(TEXT, V)
    fast = [memory.surprises(READ, foreseen(200), growing=growing) for growing in (False, True)]
    monkeypatch.setattr(native, "is_available", lambda: False)
    slow = [memory.surprises(READ, foreseen(200), growing=growing) for growing in (False, True)]
    np.testing.assert_allclose(fast, slow, rtol=1e-5)


def test_another_text_is_remembered_beside_the_first():
    memory = TextMemory(TEXT[:1_000], V).extended(TEXT[1_000:])
    np.testing.assert_array_equal(memory.ids, TEXT)
    np.testing.assert_array_equal(memory.index.positions, TextMemory(TEXT, V).index.positions)


def test_ids_that_are_no_symbols_are_refused():
    with pytest.raises(JaxcharError, match="no symbols of the vocabulary"):
        TextMemory(np.array([0, V], np.uint8), V)


def test_too_many_symbols_are_refused():
    with pytest.raises(
        JaxcharError, match=f"at most {text_memory.MOST_SYMBOLS:,} symbols, but there are 65,537"
    ):
        TextMemory(np.zeros(1, np.uint16), 65_537)


def test_a_text_that_is_sorted_in_the_background_is_sorted_alike():
    memory = TextMemory(TEXT, V)
    memory.sort_in_background()
    for found, expected in zip(memory.index, TextMemory(TEXT, V).index, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_fails_in_the_background_is_raised_where_the_index_is_needed(monkeypatch):
    def fail(ids):
        raise MemoryError("no room")

    monkeypatch.setattr("jaxchar.memory.text_memory.TextIndex.of", fail)
    memory = TextMemory(TEXT, V)
    memory.sort_in_background()
    with pytest.raises(MemoryError, match="no room"):
        _ = memory.index


def test_a_memory_can_be_pickled_while_it_is_sorted():
    memory = TextMemory(TEXT, V)
    memory.sort_in_background()
    again = pickle.loads(pickle.dumps(memory))
    np.testing.assert_array_equal(again.index.positions, memory.index.positions)
