"""Writing with a memory: the characters that a plain Python loop draws from the mixture."""

import jax
import numpy as np
import pytest
from small_model import SYMBOLS, make_model

from jaxchar.config import SampleConfig, SamplingParams
from jaxchar.memory import lookup
from jaxchar.memory.gate import Gate
from jaxchar.memory.text_memory import TextMemory
from jaxchar.recurrence import native
from jaxchar.sampling.filters import TracedParams, draw
from jaxchar.sampling.generate import Generator
from jaxchar.sampling.memory_decoder import Remembering
from jaxchar.sampling.noise import noise_of, noise_rows, text_keys

V, LENGTH = len(SYMBOLS), 30
PROMPT = "abcab"


def remembered(num_chars=400):
    """Return a text with passages that come up again."""
    text = "".join(np.random.default_rng(0).choice(["abcabd e\n", "ed cba ", "aaab"], num_chars))[:num_chars]
    return TextMemory(np.array([SYMBOLS.index(character) for character in text], np.uint8), V)


@pytest.fixture(scope="module", params=["streams", "windows"])
def model(request):
    return make_model(batching=request.param)


def generator(model, share=1.0, longest=6, decoder="auto"):
    return Generator(
        model.graphdef, model.config.context_limit, decoder, Remembering(remembered(), share, longest)
    )


def session_of(model, longest=6):
    return make_model(Remembering(remembered(), 1.0, longest), batching=model.config.batching).session


def write(model, generator, prompts, config=None, length=LENGTH, seed=0):
    decoder = generator.prepare(model.state)
    contexts = generator.contexts(decoder, [model.vocabulary.encode(prompt) for prompt in prompts])
    keys = text_keys(seed, range(len(prompts)))
    pieces = generator.pieces(decoder, contexts, keys, length, config or SamplingParams())
    return np.concatenate([ids for ids, _ in pieces], axis=1)


def plain_loop(model, share, longest, config):
    """Draw each character from the mixture of the network's probabilities and the counts."""
    network = Generator(model.graphdef, model.config.context_limit)
    decoder = network.prepare(model.state)
    (key,), rows = text_keys(0, [0]), noise_rows(V)
    text, traced = model.vocabulary.encode(PROMPT), TracedParams.of(config)
    for n in range(LENGTH):
        context = network.contexts(decoder, [text])
        logits, _ = network.token_logits(decoder, context, text[:0])
        mixed = lookup.mix(remembered().index, Gate.fitted(), text[-24:], logits[0], share, longest)
        noise = noise_of(key, n // rows * rows, V)[n % rows]
        text = np.append(text, draw(mixed, noise, traced, filters=config.filters))
    return text[len(PROMPT) :]


@pytest.mark.parametrize(
    ("share", "longest", "settings"),
    [
        pytest.param(1.0, 6, {}, marks=pytest.mark.slow),
        (0.5, 24, {"temperature": 0.6}),
        (1.0, 3, {"top_k": 3}),
        (1.0, 0, {}),
    ],
    ids=str,
)
def test_the_characters_are_those_of_a_plain_loop(model, share, longest, settings):
    config = SamplingParams(**settings)
    (written,) = write(model, generator(model, share, longest), [PROMPT], config)
    np.testing.assert_array_equal(written, plain_loop(model, share, longest, config))


def test_a_memory_changes_what_is_written(model):
    alone = write(model, Generator(model.graphdef, model.config.context_limit), [PROMPT])
    assert np.any(write(model, generator(model), [PROMPT]) != alone)


@pytest.mark.parametrize("decoder", ["one by one", pytest.param("batched", marks=pytest.mark.slow)])
def test_without_the_library_the_text_is_the_same(model, decoder, monkeypatch):
    expected = write(model, generator(model), [PROMPT, "e d"])
    monkeypatch.setattr(native, "is_available", lambda: False)
    np.testing.assert_array_equal(write(model, generator(model, decoder=decoder), [PROMPT, "e d"]), expected)


def test_a_text_of_a_batch_is_the_text_alone(model):
    prompts = [PROMPT, "e", "d" * 40]
    together = write(model, generator(model), prompts)
    decoder = generator(model).prepare(model.state)
    for number, prompt in enumerate(prompts):
        context = generator(model).contexts(decoder, [model.vocabulary.encode(prompt)])
        pieces = generator(model).pieces(decoder, context, text_keys(0, [number]), LENGTH, SamplingParams())
        np.testing.assert_array_equal(np.concatenate([ids[0] for ids, _ in pieces]), together[number])


def test_going_on_is_writing_in_one_go(model):
    session = session_of(model)
    whole = "".join(piece for piece, _ in session.write(session.start(PROMPT), SampleConfig(length=40)))
    *_, (_, passage) = session.write(session.start(PROMPT), SampleConfig(length=17))
    rest = "".join(piece for piece, _ in session.write(passage, SampleConfig(length=23)))
    assert passage.text + rest == PROMPT + whole
    assert session.start(PROMPT + whole).text == PROMPT + whole


def test_probabilities_are_those_that_writing_draws_from(model):
    session = session_of(model, longest=24)
    rows = session.probabilities(session.start(PROMPT), "abd")
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)
    for read, row in enumerate(rows):
        text = PROMPT + "abd"[:read]
        np.testing.assert_allclose(session.probabilities(session.start(text))[0], row, rtol=1e-4)


def test_what_was_read_long_ago_does_not_count(model):
    session = session_of(model, longest=24)
    long = session.extend(session.start("ab" * 50), PROMPT * 6)
    assert jax.tree.leaves(long.context)[0].shape == jax.tree.leaves(session.start("a").context)[0].shape
