"""What a held-out text costs a uniform guess, letter frequencies and bzip2."""

import math

import numpy as np
import pytest

from jaxchar.data.vocabulary import Vocabulary
from jaxchar.scoring.reference_losses import reference_losses


def losses_of(training: str, held_out: str):
    vocabulary = Vocabulary(training + held_out)
    return reference_losses(vocabulary.encode(training), vocabulary.encode(held_out), vocabulary.symbols)


def test_a_uniform_guess_costs_the_logarithm_of_the_number_of_symbols():
    assert losses_of("abcd" * 100, "abcd").uniform == 2.0


def test_letter_frequencies_cost_the_cross_entropy_of_the_counts():
    found = losses_of("a" * 749 + "b" * 249, "aaab")  # with one more of each: 3 in 4, 1 in 4
    assert found.frequencies == pytest.approx(-(3 * math.log2(0.75) + math.log2(0.25)) / 4)


def test_a_symbol_that_training_never_had_is_dear_but_not_impossible():
    assert 5 < losses_of("a" * 100, "b").frequencies < 10


def test_bzip2_knows_the_text_before(text):
    assert losses_of(text, text[:2_000]).bzip2 < 0.5 * losses_of(text[-2_000:], text[:2_000]).bzip2


def test_bzip2_is_between_nothing_and_letter_frequencies_on_prose():
    from pydoc_data.topics import topics

    prose = "".join(topics[name] for name in sorted(topics))
    found = losses_of(prose[:90_000], prose[90_000:100_000])
    assert 0.5 < found.bzip2 < found.frequencies < found.uniform


def test_a_text_of_wide_symbols_is_counted_by_characters():
    rng = np.random.default_rng(0)
    text = "".join(chr(0x4E00 + int(i)) for i in rng.integers(0, 256, 20_000))
    found = losses_of(text[:18_000], text[18_000:])
    assert found.bzip2 == pytest.approx(8, abs=1.5)  # nothing to be learned: eight bits each


def test_a_long_text_is_read_in_part():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 2, 3_000_000).astype(np.uint8)
    assert reference_losses(ids[:2_000_000], ids[2_000_000:], "ab").bzip2 == pytest.approx(
        1, abs=0.35
    )  # bzip2 itself wastes a quarter here
