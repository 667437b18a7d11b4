"""Sampling: the right distribution, and the characters that a plain Python loop would draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxchar import generate
from jaxchar.config import Config
from jaxchar.generate import Generator, draw
from jaxchar.step import split_model

V, WINDOW, LENGTH = 6, 5, 20
KEY = jax.random.key(7)

# ---- one draw ------------------------------------------------------------------------------------

LOGITS = np.array([1.5, 0.0, -1.0, 0.7, -2.0, 0.3], np.float32)
DRAWS = 20_000
CHI_SQUARE_5 = 20.515  # 5 degrees of freedom: exceeded once in a thousand


@pytest.fixture(scope="module")
def draw_many():
    many = jax.vmap(draw, (None, 0, None))
    return jax.jit(lambda temperature: many(jnp.asarray(LOGITS), jax.random.split(KEY, DRAWS), temperature))


def chi_square(drawn, logits):
    expected = DRAWS * np.exp(logits) / np.exp(logits).sum()
    return ((np.bincount(drawn, minlength=V) - expected) ** 2 / expected).sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 1_000.0])
def test_draws_follow_the_softmax_of_the_logits_over_the_temperature(draw_many, temperature):
    drawn = np.asarray(draw_many(np.float32(temperature)))
    assert chi_square(drawn, LOGITS / temperature) < CHI_SQUARE_5
    assert chi_square(drawn, LOGITS / temperature + 0.1 * np.arange(V)) > CHI_SQUARE_5  # it can tell


@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_a_cold_draw_takes_the_most_probable(draw_many, temperature):
    assert (np.asarray(draw_many(np.float32(temperature))) == LOGITS.argmax()).all()


def test_greedy_tells_large_logits_apart():
    logits = jnp.array([50.0, 90.0, -90.0, 60.0])  # over the smallest float32, three are infinite
    assert draw(logits, KEY, jnp.float32(0)) == 1


# ---- many draws ----------------------------------------------------------------------------------


class Tiny:
    """A tiny model with its two generators, and a way to feed it one character at a time."""

    def __init__(self):
        config = Config(hidden_size=(4, 3), seed=2)
        self.graphdef, params = split_model(config, V)
        self.params = jax.tree.map(lambda leaf: 3 * leaf, params)  # far from uniform
        self.generators = {"streams": Generator(self.graphdef, None)}
        self.generators["windows"] = Generator(self.graphdef, WINDOW)
        self._feed = jax.jit(lambda *args: nnx.merge(self.graphdef, args[0]).last_logits(*args[1:]))

    def logits(self, text):
        """Return the next character's logits after a text that is read from a zero state."""
        carry = nnx.merge(self.graphdef, self.params).initial_carry(1)
        for character in text:
            logits, carry = self._feed(self.params, np.array([[character]], np.int32), carry)
        return logits[0]

    def generate(self, kind, prompt, length=LENGTH, key=KEY, temperature=1.0, generator=None):
        generator = generator or self.generators[kind]
        context = generator.context(self.params, np.array(prompt, np.uint8))
        pieces = list(generator.ids(self.params, context, length, temperature=temperature, key=key))
        return np.concatenate(pieces).tolist()

    def plain_loop(self, kind, prompt, temperature):
        text = list(prompt)
        for n in range(LENGTH):
            logits = self.logits(text[-WINDOW:] if kind == "windows" else text)
            if temperature:
                drawn = jax.random.categorical(jax.random.fold_in(KEY, n), logits / temperature)
            else:
                drawn = logits.argmax()
            text.append(int(drawn))
        return text[len(prompt) :]


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


KINDS = pytest.mark.parametrize("kind", ["streams", "windows"])
PROMPTS = ([3], [5, 1, 4], [0, 1, 2, 3, 4], [2, 5, 2, 0, 1, 1, 4, 3, 0])  # WINDOW is 5


@KINDS
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize("temperature", [1.5, 0.0])
def test_generation_equals_a_loop_that_reads_the_text_anew_each_time(tiny, kind, prompt, temperature):
    actual = tiny.generate(kind, prompt, temperature=temperature)
    assert actual == tiny.plain_loop(kind, prompt, temperature)


def test_a_window_forgets_what_a_stream_remembers(tiny):
    prompt, other = [0, *PROMPTS[2]], [5, *PROMPTS[2]]
    assert tiny.generate("windows", prompt) == tiny.generate("windows", other)
    differences = tiny.logits(prompt) - tiny.logits(other)
    assert np.abs(differences).max() > 1e-5


@KINDS
def test_a_key_is_a_text(tiny, kind):
    first, again = (tiny.generate(kind, [1, 2]) for _ in range(2))
    assert first == again
    assert first != tiny.generate(kind, [1, 2], key=jax.random.key(8))


@KINDS
@pytest.mark.parametrize("length", [1, 7, 8, 9, 19])
def test_a_shorter_text_is_the_beginning_of_a_longer_one(tiny, kind, length):
    assert tiny.generate(kind, [1, 2], length) == tiny.generate(kind, [1, 2])[:length]


@KINDS
def test_the_pieces_change_no_character(tiny, kind, monkeypatch):
    expected = tiny.generate(kind, [1, 2])
    monkeypatch.setattr(generate, "CHUNK", 5)
    monkeypatch.setattr(generate, "FIRST_CHUNK", 3)
    other = Generator(tiny.graphdef, WINDOW if kind == "windows" else None)
    pieces = list(other.ids(tiny.params, other.context(tiny.params, [1, 2]), LENGTH, key=KEY))
    assert [len(piece) for piece in pieces] == [3, 5, 5, 5, 2]
    assert np.concatenate(pieces).tolist() == expected


def test_the_first_piece_is_short_and_no_piece_is_long(tiny):
    generator = tiny.generators["streams"]
    context = generator.context(tiny.params, [0])
    lengths = [len(piece) for piece in generator.ids(tiny.params, context, 150, key=KEY)]
    assert lengths == [generate.FIRST_CHUNK, generate.CHUNK, generate.CHUNK, 14]


@KINDS
def test_no_characters_asked_for_none_given(tiny, kind):
    generator = tiny.generators[kind]
    context = generator.context(tiny.params, [0])
    assert list(generator.ids(tiny.params, context, 0, key=KEY)) == []
