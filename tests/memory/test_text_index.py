"""The sorted contexts of a text: the order, and the common contexts that are counted ahead."""

import numpy as np
import pytest
from memory_problem import random_text

from jaxchar.memory import text_index
from jaxchar.memory.text_index import DEEPEST, ORDERS, TextIndex


@pytest.mark.parametrize("num_chars", [0, 1, 2, 23, 24, 25, 400])
def test_positions_are_sorted_by_the_characters_before_them_the_nearest_first(num_chars):
    text = random_text(num_chars)
    index = TextIndex.of(text)
    assert sorted(index.positions) == list(range(num_chars))
    before = [tuple(text[max(0, p - DEEPEST) : p][::-1].tolist()) for p in index.positions]
    assert before == sorted(before)
    np.testing.assert_array_equal(index.next, text[index.positions])


def test_common_contexts_are_counted_ahead(monkeypatch):
    monkeypatch.setattr(text_index, "COMMON", 5)
    text = random_text(300)
    index = TextIndex.of(text)
    assert len(index.common_keys) > 20
    assert index.common_keys.tolist() == sorted(index.common_keys.tolist())
    for number, (k, place) in enumerate(index.common_keys):
        position, order = index.positions[place], ORDERS[k]
        context = text[position - order : position].tolist() if position >= order else None
        followed = [text[p] for p in range(order, 300) if text[p - order : p].tolist() == context]
        entries = slice(*index.common_first[number : number + 2])
        if context is not None:
            expected = np.unique(followed, return_counts=True)
            np.testing.assert_array_equal(index.common_symbols[entries], expected[0])
            np.testing.assert_array_equal(index.common_counts[entries], expected[1])


@pytest.mark.parametrize(("largest", "dtype"), [(255, np.uint8), (256, np.uint16), (65_535, np.uint16)])
def test_ids_take_one_byte_or_two(largest, dtype):
    index = TextIndex.of(np.array([0, largest, 0, largest]))
    assert index.text.dtype == index.next.dtype == dtype
    assert index.positions.dtype == np.int32
