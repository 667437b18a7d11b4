"""The memory in C++ against the one in NumPy."""

import numpy as np
import pytest
from memory_problem import V, random_gate, random_text

from jaxchar.memory import lookup, native_memory, text_index
from jaxchar.memory.lookup import Reading
from jaxchar.memory.text_index import DEEPEST, TextIndex
from jaxchar.recurrence import native

pytestmark = pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")
TEXT = random_text(2_000)


@pytest.mark.parametrize("common", [3, 512])
@pytest.mark.parametrize(
    "reading", [Reading(), Reading(17), Reading(growing=True), Reading(9, True), Reading(is_own_text=True)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_counts_are_the_same(common, reading, dtype, monkeypatch):
    monkeypatch.setattr(text_index, "COMMON", common)
    index = TextIndex.of(TEXT)
    index = index._replace(text=index.text.astype(dtype), next=index.next.astype(dtype))
    read = TEXT[:150] if reading.is_own_text else random_text(150, seed=2)
    expected = lookup.count_text(index, read, reading)
    for mine, theirs in zip(native_memory.count_text(index, V, read, reading), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("longest", [0, 3, 24])
def test_mixtures_are_the_same_to_rounding(share, longest):
    index, gate = TextIndex.of(TEXT), random_gate()
    read, lengths = random_text(DEEPEST * 7, seed=4), np.array([1, 2, 5, 13, 23, 24, 24], np.int32)
    history = read.reshape(7, DEEPEST).astype(np.int32)
    logits = np.random.default_rng(1).normal(size=(7, V)).astype(np.float32)
    mixed = native_memory.mix(index, gate, history, lengths, logits, np.float32(share), np.int32(longest))
    for row, before, length in zip(range(7), history, lengths, strict=True):
        expected = lookup.mix(index, gate, before[DEEPEST - length :], logits[row], share, longest)
        np.testing.assert_allclose(mixed[row], expected, rtol=1e-4, atol=1e-5)


def test_a_text_alone_has_the_bits_that_it_has_among_others():
    index, gate = TextIndex.of(TEXT), random_gate()
    history = random_text(DEEPEST * 40, seed=4).reshape(40, DEEPEST).astype(np.int32)
    lengths = np.full(40, DEEPEST, np.int32)
    logits = np.random.default_rng(1).normal(size=(40, V)).astype(np.float32)
    controls = np.float32(1), np.int32(24)
    together = np.asarray(native_memory.mix(index, gate, history, lengths, logits, *controls))
    for row in range(40):
        one = slice(row, row + 1)
        alone = native_memory.mix(index, gate, history[one], lengths[one], logits[one], *controls)
        np.testing.assert_array_equal(alone, together[one])


def test_an_altered_index_reads_nothing_outside():
    index, gate = TextIndex.of(TEXT), random_gate()
    altered = index._replace(
        positions=index.positions + 1_000_000, common_symbols=index.common_symbols + 1_000_000
    )
    history = random_text(DEEPEST).astype(np.int32)[None]
    mixed = native_memory.mix(
        altered,
        gate,
        history,
        np.array([24], np.int32),
        np.zeros((1, V), np.float32),
        np.float32(1),
        np.int32(24),
    )
    assert mixed.shape == (1, V)
