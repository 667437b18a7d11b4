"""Sampling: the right distribution, and the characters that a plain Python loop would draw."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxchar.config import Config, SamplingParams
from jaxchar.model.split import model_structure, split_model
from jaxchar.recurrence import native
from jaxchar.sampling import filters as drawing
from jaxchar.sampling import generate, noise
from jaxchar.sampling.context import batched
from jaxchar.sampling.filters import TracedParams, draw, filter_mask
from jaxchar.sampling.generate import Generator
from jaxchar.sampling.jax_decoder import JaxDecoder
from jaxchar.sampling.native_decoder import NativeDecoder
from jaxchar.sampling.noise import text_keys
from jaxchar.tracing import traced_for

V, WINDOW, LENGTH = 6, 5, 20
ROUNDING = {"rtol": 2e-5, "atol": 1e-6}
KEY = jax.random.key(7)

# ---- one draw ------------------------------------------------------------------------------------

LOGITS = np.array([1.5, 0.0, -1.0, 0.7, -2.0, 0.3], np.float32)
DRAWS = 20_000
# By degrees of freedom: exceeded once in a thousand.
CHI_SQUARE = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52}


def distribution(logits, config):
    """Return what should be drawn, [V], in float64 and one plain step after another."""
    p = np.exp((logits - logits.max()).astype(np.float64) / config.temperature)
    order = np.argsort(-p, kind="stable")
    if config.top_k:
        p[p < p[order[: config.top_k][-1]]] = 0
    p /= p.sum()
    if config.top_p < 1:
        needed = np.searchsorted(np.cumsum(p[order]), config.top_p)
        p[p < p[order[needed]]] = 0
    p[p < config.min_p * p.max()] = 0
    return p / p.sum()


@pytest.fixture(scope="module")
def draw_many():
    def one(key, logits, controls):
        return draw(logits, jax.random.gumbel(key, logits.shape), controls)

    many = jax.jit(jax.vmap(one, (0, None, None)))
    keys = jax.random.split(KEY, DRAWS)
    return lambda logits, config: np.asarray(many(keys, jnp.asarray(logits), TracedParams.of(config)))


def chi_square(drawn, probabilities):
    expected = DRAWS * probabilities[probabilities > 0]
    counts = np.bincount(drawn, minlength=V)[probabilities > 0]
    return ((counts - expected) ** 2 / expected).sum()


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"temperature": 0.5}, 6),
        ({"temperature": 1.0}, 6),
        ({"temperature": 2.0}, 6),
        ({"temperature": 1_000.0}, 6),
        ({"top_k": 3}, 3),
        ({"top_k": 6}, 6),
        ({"top_k": 100}, 6),
        ({"top_p": 0.8}, 3),
        ({"top_p": 0.999}, 6),
        ({"min_p": 0.2}, 4),
        ({"min_p": 0.4}, 2),
        ({"temperature": 2.0, "top_p": 0.8}, 4),
        ({"temperature": 2.0, "top_k": 4, "top_p": 0.8}, 3),  # the nucleus of the four renormalised
        ({"temperature": 0.5, "top_k": 5, "top_p": 0.97, "min_p": 0.05}, 3),
        ({"top_p": 0.9, "min_p": 0.25}, 3),
    ],
    ids=str,
)
def test_draws_follow_the_distribution(draw_many, settings, left):
    config = SamplingParams(**settings)
    drawn, expected = draw_many(LOGITS, config), distribution(LOGITS, config)
    assert (expected > 0).sum() == left  # the test looks at what it means to look at
    assert set(np.unique(drawn)) <= set(np.flatnonzero(expected))
    assert chi_square(drawn, expected) < CHI_SQUARE[left - 1]
    tilted = expected * np.exp(0.1 * np.arange(V))
    assert chi_square(drawn, tilted / tilted.sum()) > CHI_SQUARE[left - 1]  # it can tell


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}], ids=str)
def test_a_filter_does_not_choose_between_equals(draw_many, settings):
    tied = np.array([0.0, 2.0, -1.0, 2.0, 1.9, 2.0], np.float32)
    drawn = draw_many(tied, SamplingParams(**settings))
    assert chi_square(drawn, distribution(tied, SamplingParams(**settings))) < CHI_SQUARE[2]
    assert set(np.unique(drawn)) == {1, 3, 5}


@pytest.mark.parametrize("temperature", [0.0, 1e-30, 1e-6])
@pytest.mark.parametrize("settings", [{}, {"top_k": 3, "top_p": 0.5, "min_p": 0.5}], ids=str)
def test_a_cold_draw_takes_the_most_probable(draw_many, temperature, settings):
    assert (draw_many(LOGITS, SamplingParams(temperature=temperature, **settings)) == LOGITS.argmax()).all()


def test_greedy_tells_large_logits_apart():
    logits = jnp.array([50.0, 90.0, -90.0, 60.0])  # over the smallest float32, three are infinite
    assert draw(logits, jnp.zeros(4), TracedParams.of(SamplingParams(temperature=0))) == 1


def test_filters_that_are_off_leave_everything():
    assert filter_mask(jnp.array([0.0, -200.0, -jnp.inf]), TracedParams.of(SamplingParams())).all()


@pytest.mark.parametrize("settings", [{"top_k": 7}, {"top_p": 0.6}, {"top_k": 9, "top_p": 0.7, "min_p": 0.1}])
def test_large_vocabularies_are_sorted_to_the_same_result(settings, monkeypatch):
    logits = np.round(np.random.default_rng(1).normal(size=40), 1).astype(np.float32)  # with equals
    config = SamplingParams(**settings)
    expected = distribution(logits, config) > 0
    for symbols in (drawing.PAIRWISE_SYMBOLS, 0):
        monkeypatch.setattr(drawing, "PAIRWISE_SYMBOLS", symbols)
        left = filter_mask(jnp.asarray(logits - logits.max()), TracedParams.of(config))
        assert (np.asarray(left) == expected).all()
    assert 1 < expected.sum() < 20


# ---- many draws ----------------------------------------------------------------------------------


class Tiny:
    """A tiny model with its two generators, and a way to feed it one character at a time."""

    def __init__(self, decoder):
        config = Config(hidden_size=(4, 3), seed=2)
        self.graphdef, params = split_model(config, V)
        self.params = jax.tree.map(lambda leaf: 3 * leaf, params)  # far from uniform
        self.windows, self.decoder = {"streams": None, "windows": WINDOW}, decoder
        self.generators = {kind: self.generator(kind, decoder) for kind in self.windows}
        self.reader = self.generators["streams"].prepare(self.params)
        self._feed = jax.jit(lambda *args: nnx.merge(self.graphdef, args[0]).last_logits(*args[1:]))

    def generator(self, kind, decoder="auto"):
        return Generator(self.graphdef, self.windows[kind], decoder)

    def logits(self, text):
        """Return the next character's logits after a text that is read from a zero state."""
        carry = nnx.merge(self.graphdef, self.params).initial_carry(1)
        for character in text:
            logits, carry = self._feed(self.params, np.array([[character]], np.int32), carry)
        return logits[0]

    def expected(self, kind, text):
        """Return the logits that a model of that kind should have after a text."""
        return self.logits(text[-WINDOW:] if kind == "windows" else text)

    def generate(self, kind, prompt, length=LENGTH, key=KEY, temperature=1.0, generator=None):
        generator = generator or self.generators[kind]
        context = generator.context(self.params, np.array(prompt, np.uint8))
        pieces = list(generator.ids(self.params, context, length, temperature=temperature, key=key))
        return np.concatenate(pieces).tolist()

    def generate_batch(self, generator, prompts, keys, length=LENGTH, config=SamplingParams(), **options):  # noqa: B008
        reader = generator.prepare(self.params)
        contexts = generator.contexts(reader, prompts)
        pieces = generator.pieces(reader, contexts, keys, length, config, **options)
        ids, contexts = zip(*pieces, strict=True)
        return np.concatenate(ids, axis=1), contexts[-1]

    def plain_loop(self, kind, prompt, temperature):
        text = list(prompt)
        for n in range(LENGTH):
            logits = self.expected(kind, text)
            if temperature:
                drawn = jax.random.categorical(jax.random.fold_in(KEY, n), logits / temperature)
            else:
                drawn = logits.argmax()
            text.append(int(drawn))
        return text[len(prompt) :]


@pytest.fixture(scope="module", params=["auto", "one by one"], ids=["as usual", "in JAX"])
def tiny(request):
    return Tiny(decoder=request.param)


KINDS = pytest.mark.parametrize("kind", ["streams", "windows"])
PROMPTS = ([3], [5, 1, 4], [0, 1, 2, 3, 4], [2, 5, 2, 0, 1, 1, 4, 3, 0])  # WINDOW is 5


@KINDS
@pytest.mark.parametrize(
    "prompt", [PROMPTS[0], pytest.param(PROMPTS[1], marks=pytest.mark.slow), *PROMPTS[2:]], ids=len
)
@pytest.mark.parametrize("temperature", [1.5, 0.0])
def test_generation_equals_a_loop_that_reads_the_text_anew_each_time(tiny, kind, prompt, temperature):
    actual = tiny.generate(kind, prompt, temperature=temperature)
    assert actual == tiny.plain_loop(kind, prompt, temperature)


def test_a_window_of_one_character_remembers_nothing(tiny):
    generator = Generator(tiny.graphdef, 1, tiny.decoder)
    contexts = generator.contexts(tiny.reader, [np.array([2, 0, 1])])
    logits, _ = generator.token_logits(tiny.reader, contexts, np.array([3, 1]))
    for row, character in zip(logits, [1, 3, 1], strict=True):
        np.testing.assert_allclose(row, tiny.logits([character]), **ROUNDING)


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


def test_every_text_of_a_batch_has_a_key_of_its_own():
    keys = {tuple(jax.random.key_data(key).tolist()) for key in text_keys(3, range(4))}
    assert len(keys) == 4


@pytest.mark.parametrize("seed", [0, 3, 2**31, 2**32 - 1])
def test_the_key_of_a_text_alone_is_that_of_its_seed_also_in_a_batch(seed):
    key = jax.random.key_data(jax.random.key(np.uint32(seed)))
    assert (jax.random.key_data(text_keys(seed, [0])) == key).all()
    assert (jax.random.key_data(text_keys(seed, [0, 0])) == key).all()
    assert (jax.random.key_data(text_keys(seed, [1, 0])[1]) == key).all()


@KINDS
@pytest.mark.parametrize("length", [7, 8, 9, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 19))])
def test_a_shorter_text_is_the_beginning_of_a_longer_one(tiny, kind, length):
    assert tiny.generate(kind, [1, 2], length) == tiny.generate(kind, [1, 2])[:length]


@KINDS
def test_the_pieces_change_no_character(tiny, kind, monkeypatch):
    length = 2 * noise.NOISE_ROWS + 10
    expected = tiny.generate(kind, [1, 2], length)
    for first, most in ((3, 5), (length, length)):
        monkeypatch.setattr(generate, "FIRST_PIECE", first)
        monkeypatch.setattr(generate, "MOST_PIECE", most)
        other = tiny.generator(kind, tiny.decoder)
        pieces = list(other.ids(tiny.params, other.context(tiny.params, [1, 2]), length, key=KEY))
        assert max(map(len, pieces)) <= most
        assert np.concatenate(pieces).tolist() == expected


def test_the_first_piece_is_short_and_no_piece_is_long(tiny):
    generator = tiny.generators["streams"]
    context = generator.context(tiny.params, [0])
    lengths = [len(piece) for piece in generator.ids(tiny.params, context, 5_000, key=KEY)]
    assert lengths[0] == generate.FIRST_PIECE
    assert sum(lengths) == 5_000
    assert all(after <= min(4 * n, generate.MOST_PIECE) for n, after in pairwise(lengths))


@KINDS
def test_no_characters_asked_for_none_given(tiny, kind):
    generator = tiny.generators[kind]
    context = generator.context(tiny.params, [0])
    assert list(generator.ids(tiny.params, context, 0, key=KEY)) == []


# ---- many texts ----------------------------------------------------------------------------------


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@KINDS
def test_a_text_of_a_batch_is_the_text_drawn_alone_to_the_last_bit_of_the_state(tiny, kind):
    generator = tiny.generators[kind]
    prompts = [np.array(prompt) for prompt in PROMPTS]
    keys = text_keys(1, range(len(prompts)))
    texts, contexts = tiny.generate_batch(generator, prompts, keys, 200)
    for number, prompt in enumerate(prompts):
        alone, context = tiny.generate_batch(generator, [prompt], keys[number : number + 1], 200)
        assert (texts[number] == alone[0]).all()
        assert bits(jax.tree.map(lambda part, n=number: part[n], contexts)) == bits(context)


@pytest.mark.parametrize(
    "settings",
    [pytest.param({"cell": "lstm"}, marks=pytest.mark.slow), {"cell": "gru", "num_layers": 2}],
    ids=str,
)
def test_so_it_is_in_a_model_whose_products_the_threads_of_a_single_text_share(settings):
    graphdef, params = split_model(Config(hidden_size=258, **settings), 20)
    generator, prompts = Generator(graphdef, None), [np.array([number]) for number in range(9)]
    reader, keys = generator.prepare(params), jax.random.split(KEY, 9)

    def written(texts):
        contexts = generator.contexts(reader, prompts[texts])
        ids, contexts = zip(
            *generator.pieces(reader, contexts, keys[texts], 40, SamplingParams()), strict=True
        )
        return np.concatenate(ids, axis=1)[-1].tolist(), bits(
            jax.tree.map(lambda part: part[-1], contexts[-1])
        )

    assert written(slice(9)) == written(slice(8, 9))


@KINDS
def test_texts_drawn_together_as_on_an_accelerator_are_the_same(tiny, kind):
    batched_rows = tiny.generator(kind, decoder="batched")
    prompts = [np.array(prompt) for prompt in PROMPTS]
    keys = jax.random.split(KEY, len(prompts))
    actual, _ = tiny.generate_batch(batched_rows, prompts, keys)
    expected, _ = tiny.generate_batch(tiny.generators[kind], prompts, keys)
    assert (actual == expected).all()


@KINDS
def test_a_text_that_has_ended_changes_no_other(tiny, kind):
    generator, keys = tiny.generators[kind], jax.random.split(KEY, 2)
    prompts = [np.array(prompt) for prompt in PROMPTS[:2]]
    expected, _ = tiny.generate_batch(generator, prompts, keys, 40)
    active = np.array([True, True])
    contexts = generator.contexts(tiny.reader, prompts)
    texts = []
    for ids, _ in generator.pieces(tiny.reader, contexts, keys, 40, SamplingParams(), active=active):
        texts.append(ids[1])
        active[0] = False
    assert (np.concatenate(texts) == expected[1]).all()


@pytest.mark.parametrize("kind", ["streams", pytest.param("windows", marks=pytest.mark.slow)])
def test_prompts_of_any_lengths_and_any_controls_are_one_program(tiny, kind):
    generator = tiny.generator(kind, tiny.decoder)
    rng = np.random.default_rng(0)
    keys = jax.random.split(KEY, 4)
    generate._read.clear_cache()
    generate._sample.clear_cache()
    settings = ({"temperature": 0.5}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.5, "min_p": 0.1})
    for setting in settings:
        prompts = [rng.integers(0, V, length) for length in rng.permutation(np.arange(1, 5))]
        tiny.generate_batch(generator, prompts, keys, config=SamplingParams(**setting))
    assert generate._read._cache_size() == 1
    assert generate._sample._cache_size() == 2  # without filters and with


@pytest.mark.parametrize("kind", [pytest.param("streams", marks=pytest.mark.slow), "windows"])
def test_weights_that_were_put_on_a_device_need_no_second_program(tiny, kind):
    """As those of a checkpoint are: the first call and the later ones must not differ for JAX."""
    generator = tiny.generator(kind, tiny.decoder)
    reader = generator.prepare(jax.device_put(tiny.params, jax.devices()[0]))
    generate._read.clear_cache()
    generate._sample.clear_cache()
    for prompt in (np.array([1]), np.zeros(2 * generate.READ_CHARS, np.int32)):
        contexts = generator.contexts(reader, [prompt])
        assert len(list(generator.pieces(reader, contexts, KEY[None], 20, SamplingParams()))) > 1
    assert generate._read._cache_size() == 1
    assert generate._sample._cache_size() == 1


@KINDS
def test_a_text_can_be_taken_up_where_it_was_left(tiny, kind):
    generator, keys = tiny.generators[kind], KEY[None]
    whole, at_end = tiny.generate_batch(generator, [np.array([1, 2])], keys, 30)
    first, context = tiny.generate_batch(generator, [np.array([1, 2])], keys, 13)
    pieces = generator.pieces(tiny.reader, context, keys, 17, SamplingParams(), start=13)
    rest, contexts = zip(*pieces, strict=True)
    assert np.concatenate([first, *rest], axis=1).tolist() == whole.tolist()
    assert bits(contexts[-1]) == bits(at_end)


@KINDS
@pytest.mark.parametrize("read_first", [1, 3, 7])
def test_a_text_may_be_read_in_parts(tiny, kind, read_first):
    generator, text = tiny.generators[kind], np.array(PROMPTS[3])
    begun = generator.contexts(tiny.reader, [text[:read_first]])
    in_parts = generator.extended(tiny.reader, begun, [text[read_first:]])
    ahead, _ = generator.token_logits(tiny.reader, in_parts, np.array([4]))
    for n, logits in enumerate(ahead):
        np.testing.assert_allclose(logits, tiny.expected(kind, [*text, 4][: len(text) + n]), **ROUNDING)


@KINDS
def test_the_logits_followed_are_the_models_own(tiny, kind):
    generator, text = tiny.generators[kind], PROMPTS[3]
    context = generator.contexts(tiny.reader, [text[:2]])
    logits, after = generator.token_logits(tiny.reader, context, np.array(text[2:]))
    for n in range(2, len(text) + 1):
        np.testing.assert_allclose(logits[n - 2], tiny.expected(kind, text[:n]), **ROUNDING)
    assert len(logits) == len(text) - 1
    assert bits(after) == bits(generator.extended(tiny.reader, context, [np.array(text[2:])]))


# ---- the model made ready ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"cell": "lstm"}, marks=pytest.mark.slow),
        {"cell": "gru"},
        {"cell": "rnn"},
        {"cell": "lstm", "gate": "hard_sigmoid", "hidden_size": (7, 5, 4)},
        {"cell": "gru", "embedding_size": 3, "hidden_size": (4, 6)},
        {"cell": "lstm", "embedding_size": 3, "tie_embeddings": True},
        {"cell": "lstm", "implementation": "scan", "dropout": 0.5},
        {"cell": "lstm", "dtype": "bfloat16", "embedding_size": 8, "hidden_size": (8, 8)},
    ],
    ids=str,
)
@pytest.mark.parametrize("decoder", ["auto", "one by one"], ids=["as usual", "in JAX"])
def test_a_decoder_is_the_model(settings, decoder):
    config = Config(**{"hidden_size": 5, **settings})
    graphdef, params = split_model(config, V)
    params = jax.tree.map(lambda leaf: 2 * leaf + 0.1, params)  # no bias is 0
    model, generator = nnx.merge(graphdef, params), Generator(graphdef, None, decoder)
    reader, text = generator.prepare(params), np.array(PROMPTS[3])
    known = config.cell != "rnn" and config.dtype == "float32" and config.implementation == "auto"
    in_cpp = known and decoder == "auto" and native.is_available()
    assert isinstance(reader, NativeDecoder if in_cpp else JaxDecoder)

    begun = generator.contexts(reader, [text[:1]])
    logits, contexts = generator.token_logits(
        reader, begun, np.append(text[1:], 0)
    )  # the last one is not read
    expected, expected_carry = jax.jit(model)(text[None], model.initial_carry(1))
    tolerance = 2e-5 if config.dtype == "float32" else 2e-2
    np.testing.assert_allclose(logits[:-1], expected[0], rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(jax.tree.leaves(contexts.carry), jax.tree.leaves(expected_carry), strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=tolerance, atol=tolerance)


def test_contexts_of_several_texts_are_stacked(tiny):
    generator = tiny.generators["streams"]
    one_by_one = batched([generator.context(tiny.params, prompt) for prompt in PROMPTS])
    assert bits(one_by_one) == bits(generator.contexts(tiny.reader, PROMPTS))


# ---- beside an accelerator -----------------------------------------------------------------------


@pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")
@pytest.mark.parametrize(
    ("settings", "decoder", "texts", "expected"),
    [
        ({}, "auto", 1, True),
        ({}, "auto", 100_000, False),  # that takes a processor longer than an accelerator
        ({"hidden_size": 4_096}, "auto", 1, False),
        ({"dtype": "bfloat16"}, "auto", 1, False),  # which the C++ decoder lacks
        ({"cell": "rnn"}, "auto", 1, False),
        ({}, "batched", 1, False),
    ],
    ids=str,
)
def test_a_few_texts_are_written_on_the_processor(settings, decoder, texts, expected, monkeypatch):
    config = Config(**{"hidden_size": 8, **settings})
    graphdef, params = model_structure(config, V)
    generator = Generator(graphdef, None, decoder)
    assert not generator.is_on_host(params, texts)  # without an accelerator nothing moves
    monkeypatch.setattr(generate, "platform_of", lambda arrays: "gpu")
    assert generator.is_on_host(params, texts) is expected
    monkeypatch.setattr(generate, "host", lambda: None)  # JAX_PLATFORMS=cuda
    assert not generator.is_on_host(params, texts)


@pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")
def test_what_is_traced_for_an_accelerator_calls_no_cpp(monkeypatch):
    graphdef, params = split_model(Config(hidden_size=8), V)
    monkeypatch.setattr(native, "tell_why_slower", lambda: pytest.fail("it is not slower"))
    with traced_for("gpu"):
        decoder = generate._decoder_of(nnx.merge(graphdef, params), "auto", "float32")
    assert isinstance(decoder, JaxDecoder) and decoder.rows == "batched"
