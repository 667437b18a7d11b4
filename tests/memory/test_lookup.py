"""Counts of contexts, against counting from the definition; and the mixture, against its formula."""

from collections import defaultdict

import numpy as np
import pytest
from memory_problem import V, counted_plainly, random_gate, random_text

from jaxchar.memory import lookup, text_index
from jaxchar.memory.gate import Counts, features_of, mixed_surprises, probabilities_of
from jaxchar.memory.lookup import Reading
from jaxchar.memory.text_index import ORDERS, TextIndex

TEXT, READ = random_text(300), random_text(60, seed=1)


def assert_counts(counts, expected):
    np.testing.assert_array_equal(np.stack(counts, axis=-1), np.array(expected).reshape(-1, len(ORDERS), 3))


@pytest.mark.parametrize("common", [1, 10, 512])
def test_counts_are_those_of_the_definition(common, monkeypatch):
    monkeypatch.setattr(text_index, "COMMON", common)
    counts = lookup.count_text(TextIndex.of(TEXT), READ, Reading())
    expected = [[counted_plainly(TEXT, READ[:p], k, READ[p]) for k in ORDERS] for p in range(len(READ))]
    assert np.count_nonzero(np.array(expected)[:, 5]) > 20
    assert_counts(counts, expected)


def test_the_own_occurrence_is_left_out_of_the_remembered_text_itself():
    counts = lookup.count_text(TextIndex.of(TEXT), TEXT[:80], Reading(is_own_text=True))

    def left_out(p, k):
        if p < k:
            return 0, 0, 0
        contexts = [q for q in range(k, 300) if q != p and list(TEXT[q - k : q]) == list(TEXT[p - k : p])]
        followed = [TEXT[q] for q in contexts]
        return len(followed), len(set(followed)), followed.count(TEXT[p])

    assert_counts(counts, [[left_out(p, k) for k in ORDERS] for p in range(80)])


def test_growing_counts_are_those_of_both_texts_as_far_as_it_was_read():
    counts = lookup.count_text(TextIndex.of(TEXT), READ, Reading(growing=True))

    def of_both(p, k):
        here = counted_plainly(TEXT, READ[:p], k, READ[p])
        there = counted_plainly(READ[:p], READ[:p], k, READ[p])
        followed = defaultdict(int)
        for text in (TEXT, READ[:p]):
            for q in range(k, len(text)):
                if p >= k and list(text[q - k : q]) == list(READ[p - k : p]):
                    followed[int(text[q])] += 1
        return here[0] + there[0], len(followed), here[2] + there[2]

    assert_counts(counts, [[of_both(p, k) for k in ORDERS] for p in range(len(READ))])


@pytest.mark.parametrize("growing", [False, True])
def test_a_context_is_read_and_not_predicted(growing):
    index = TextIndex.of(TEXT)
    whole = lookup.count_text(index, READ, Reading(growing=growing))
    rest = lookup.count_text(index, READ, Reading(first=13, growing=growing))
    for mine, theirs in zip(rest, whole, strict=True):
        np.testing.assert_array_equal(mine, theirs[13:])


def test_nothing_is_remembered_of_an_empty_text():
    counts = lookup.count_text(TextIndex.of(TEXT[:0]), READ, Reading())
    assert not np.any(np.stack(counts))


# ---- the mixture ---------------------------------------------------------------------------------


def mixed(share=1.0, longest=24, before=READ[:40]):
    logits = np.random.default_rng(3).normal(size=V).astype(np.float32)
    return logits, lookup.mix(TextIndex.of(TEXT), random_gate(), before, logits, share, longest)


def test_a_mixture_is_a_distribution():
    _, logs = mixed()
    assert np.exp(logs).sum() == pytest.approx(1, abs=1e-6)


def test_the_mixture_gives_each_character_what_evaluation_says():
    logits, logs = mixed()
    shares = np.exp(logits) / np.exp(logits).sum()
    index = TextIndex.of(TEXT)
    for symbol in range(V):
        counts = lookup.count_text(index, np.append(READ[:40], symbol), Reading(first=40))
        network = (-np.log(shares[symbol]), -np.sum(shares * np.log(shares)), np.log(shares.max()))
        columns = (np.array([each], np.float32) for each in network)
        surprise = mixed_surprises(random_gate(), *columns, counts, np.float32(V))
        assert logs[symbol] == pytest.approx(-float(surprise[0]), abs=1e-5)


def test_without_a_share_the_network_writes_alone():
    logits, logs = mixed(share=0.0)
    np.testing.assert_allclose(logs, logits - np.log(np.exp(logits).sum()), atol=1e-6)


def test_half_a_share_lies_half_way():
    (_, none), (_, half), (_, whole) = mixed(0.0), mixed(0.5), mixed(1.0)
    np.testing.assert_allclose(np.exp(half), (np.exp(none) + np.exp(whole)) / 2, atol=1e-6)


def test_longer_contexts_than_the_longest_do_not_count():
    np.testing.assert_array_equal(mixed(longest=4)[1], mixed(before=READ[36:40])[1])
    assert np.any(mixed(longest=4)[1] != mixed()[1])


# ---- the gate ------------------------------------------------------------------------------------


def test_probabilities_follow_witten_and_bell():
    counts = Counts(*(np.zeros((1, len(ORDERS)), np.int32) for _ in range(3)))
    for part, (one, two) in zip(counts, [(8, 3), (2, 1), (5, 0)], strict=True):
        part[0, :2] = one, two
    first = (5 + 2 / V) / 10
    second = (0 + 1 * first) / 4
    expected = [first, *[second] * (len(ORDERS) - 1)]
    np.testing.assert_allclose(probabilities_of(counts, V)[0], expected, rtol=1e-6)


def test_features_see_no_symbol():
    counts = Counts(*(np.full((1, len(ORDERS)), number, np.int32) for number in (7, 3, 2)))
    features = np.asarray(features_of(counts, np.array([0.8]), np.array([-0.4])))[0]
    expected = [np.log(8) / 5] * 10 + [np.log(4) / 3] * 10 + [1] * 10 + [0.4, -0.4]
    np.testing.assert_allclose(features, expected, rtol=1e-6)
