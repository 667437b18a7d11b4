"""A model in hand that remembers a text: writing by it, reading another one, scoring with it."""

import jax
import numpy as np
import pytest
from small_model import SYMBOLS, make_model

from jaxchar.errors import JaxcharError
from jaxchar.memory.text_memory import TextMemory
from jaxchar.sampling.memory_decoder import Remembering

TEXT = "abcabd e\ned cba aaab" * 20


@pytest.fixture(scope="module")
def forgetful():
    return make_model()


@pytest.fixture(scope="module")
def model(forgetful):
    ids = forgetful.vocabulary.encode(TEXT)
    return make_model(Remembering(TextMemory(ids, len(SYMBOLS))))


def test_a_share_of_nothing_is_the_network_alone(model, forgetful):
    assert model.with_memory(0).generate("ab") == forgetful.generate("ab") != model.generate("ab")


def test_the_longer_the_context_the_more_is_copied(model):
    def copied(longest):
        text = model.with_memory(longest=longest).generate("abcabd e", 600)
        return sum(text[i : i + 12] in TEXT for i in range(len(text) - 12))

    assert copied(24) > copied(2) + 20


def test_a_text_that_was_read_is_remembered_and_the_model_stays_as_it_was(model):
    before = model.score("e e e e e e b b b", memory="static").loss
    adapted = model.adapted("e e e e e e b b b\n" * 30)
    assert adapted.score("e e e e e e b b b", memory="static").loss < before - 0.3
    assert model.score("e e e e e e b b b", memory="static").loss == before


def test_a_model_that_remembers_nothing_may_read_a_text(forgetful):
    adapted = forgetful.adapted(TEXT)
    assert forgetful.remembering is None
    assert adapted.score(TEXT[:100], memory="static").loss < forgetful.score(TEXT[:100]).loss


def test_reading_can_teach_the_network_too(model):
    saying = "e e e e e e b b b\n" * 60
    before = jax.tree.map(np.asarray, model.state)
    learned = model.adapted(saying, dynamic=True)
    assert learned.score(saying[:100]).loss < model.adapted(saying).score(saying[:100]).loss - 0.05
    assert learned.remembering.memory.ids.size == model.remembering.memory.ids.size + len(saying)
    jax.tree.map(np.testing.assert_array_equal, before, model.state)  # the model itself stays as it is
    assert learned.generate("e", 50) == model.adapted(saying, dynamic=True).generate("e", 50)


def test_characters_that_it_does_not_know_are_left_out_of_what_it_reads(forgetful):
    adapted = forgetful.adapted("a\u017cb\U0001f600c")
    np.testing.assert_array_equal(adapted.remembering.memory.ids, forgetful.vocabulary.encode("abc"))


def test_scores_grow_with_what_was_read(model):
    text = "ecece\n" * 30
    losses = [model.score(text, memory=memory).loss for memory in ("none", "static", "growing")]
    assert losses[2] < losses[1] - 0.3
    assert losses[0] == model.score(text).loss
    np.testing.assert_array_equal(model.score(text, memory="growing").ranks, model.score(text).ranks)


def test_a_context_is_read_and_not_scored(model):
    after = model.score("ecece\n" * 5, context="ecece\n" * 30, memory="growing")
    assert len(after) == 30
    assert after.loss < model.score("ecece\n" * 5, memory="growing").loss


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda model: model.with_memory(1.5), "share must be a number from 0 to 1, but it is 1.5"),
        (lambda model: model.with_memory("much"), "share must be a number from 0 to 1, but it is 'much'"),
        (
            lambda model: model.with_memory(longest=-1),
            "longest must be a whole number of at least 0, but it is -1",
        ),
        (lambda model: model.score("abc", memory="dynamic"), "memory must be 'none', 'static' or 'growing'"),
        (lambda model: model.adapted("\u017c"), "has no character that the model knows"),
    ],
)
def test_what_makes_no_sense_is_refused(model, ask, said):
    with pytest.raises(JaxcharError, match=said):
        ask(model)


@pytest.mark.parametrize(
    "ask", [lambda model: model.with_memory(0.5), lambda model: model.score("abc", memory="static")]
)
def test_a_model_that_remembers_nothing_says_so(forgetful, ask):
    with pytest.raises(JaxcharError, match=r"remembers no text.*adapted\(\)"):
        ask(forgetful)
