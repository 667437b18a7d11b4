"""Surprise, rank and intervals, held to NumPy and to distributions whose variance is known."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxchar.config import Config
from jaxchar.data.batches import Blocks, Streams, Windows
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.language_model import LanguageModel
from jaxchar.model.loss import Means
from jaxchar.model.split import split_model
from jaxchar.scoring import predict as predict_module
from jaxchar.scoring import predictions as predictions_module
from jaxchar.scoring.predict import predict
from jaxchar.scoring.predictions import Predictions
from jaxchar.scoring.score import Evaluation, mean_with_interval
from jaxchar.scoring.validation import make_evaluation

QUICK_INIT = {"kernel_init": "uniform", "init_scale": 0.5, "recurrent_init": "same"}  # to compile
V, N = 8, 150
IDS = np.random.default_rng(0).integers(0, V, N).astype(np.uint8)
SYMBOLS = Vocabulary("abcdefgh")


def make_model(**changes) -> LanguageModel:
    config = Config(hidden_size=5, seed=1, **{**QUICK_INIT, **changes})
    graphdef, params = split_model(config, V)
    params = jax.tree.map(lambda leaf: 3 * leaf, params)  # opinions strong enough to be wrong
    return LanguageModel(config, SYMBOLS, graphdef, params)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def windowed():
    return make_model(batching="windows", seq_len=6, return_sequences=False)


@partial(jax.jit, static_argnums=0)
def logits_after(graphdef, params, ids):
    network = nnx.merge(graphdef, params)
    return network(ids.astype(jnp.int32)[None], network.initial_carry(1))[0][0]


def by_numpy(model, ids):
    """Return surprise and rank of every character but the first, by a NumPy softmax of the logits."""
    logits = np.asarray(logits_after(model.graphdef, model.state, ids[:-1]), np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    chosen = probabilities[np.arange(len(ids) - 1), ids[1:]]
    return -np.log(chosen), 1 + (probabilities > chosen[:, None]).sum(axis=-1)


# ---- predictions ---------------------------------------------------------------------------------

PROTOCOLS = {
    "one pass": (Streams(N, 128, 1, whole=True), [range(N)]),
    "lanes": (Streams(N, 16, 4, whole=True), [range(s, min(s + 39, N)) for s in range(0, N - 1, 38)]),
    "blocks": (Blocks(N, 15, 4), [range(s, min(s + 16, N)) for s in range(0, N - 1, 15)]),
    "windows": (Windows(N, 6, 4, 4), [range(s, s + 7) for s in range(0, N - 6, 4)]),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("calls", ["one call", "several calls"])
def test_predictions_are_a_numpy_softmax_of_each_piece_in_the_order_of_the_text(
    protocol, calls, model, monkeypatch
):
    batches, pieces = PROTOCOLS[protocol]
    if calls == "several calls":
        monkeypatch.setattr(predict_module, "CALL_PREDICTIONS", 2 * batches.batch_size * batches.seq_len)
    found = predict(model.graphdef, model.state, jnp.asarray(IDS), batches)
    expected = [
        (p, s, r) for piece in pieces for p, s, r in zip(piece[1:], *by_numpy(model, IDS[piece]), strict=True)
    ]
    expected.sort(key=lambda row: row[0])
    positions, surprises, ranks = map(np.array, zip(*expected, strict=True))
    np.testing.assert_array_equal(found.positions, positions)
    np.testing.assert_allclose(found.surprises, surprises, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.ranks, ranks)


def test_windows_with_one_target_score_their_last_character(windowed):
    found = predict(
        windowed.graphdef, windowed.state, jnp.asarray(IDS), Windows(N, 6, 8, return_sequences=False)
    )
    expected = [by_numpy(windowed, IDS[s : s + 7])[0][-1] for s in range(N - 6)]
    np.testing.assert_allclose(found.surprises, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.positions, np.arange(6, N))


def test_it_is_the_loss_and_accuracy_that_training_evaluates(model):
    batches = Streams(N, 16, 4, whole=True)
    means = Means.of(make_evaluation(model.graphdef, batches)(model.state, jnp.asarray(IDS)))
    evaluation = model.evaluate(jnp.asarray(IDS), batches)
    assert evaluation.loss.value == pytest.approx(means.loss, rel=1e-5)
    assert (evaluation.accuracy.value, evaluation.predictions) == (means.accuracy, means.count)


def test_of_equal_logits_the_lower_id_comes_first_as_argmax_has_it():
    logits = jnp.array([[1.0, 2.0, 2.0, 0.0]] * 4)
    assert predictions_module._ranks(logits, jnp.arange(4)).tolist() == [3, 1, 2, 4]


def test_a_model_that_has_lost_its_mind_is_never_right():
    assert predictions_module._ranks(jnp.full((3, 4), jnp.nan), jnp.arange(3)).tolist() == [5, 5, 5]


# ---- the figures ---------------------------------------------------------------------------------


def predictions_of(surprises, ranks=None) -> Predictions:
    surprises = np.asarray(surprises, np.float32)
    ranks = np.ones(len(surprises), np.int32) if ranks is None else np.asarray(ranks)
    return Predictions(np.arange(1, len(surprises) + 1, dtype=np.int32), surprises, ranks)


PASS = Streams(1001, 128, 1, whole=True)


def test_the_figures_are_means_in_their_units():
    evaluation = Evaluation.of(predictions_of([0.5, 1.5, 2.5, 3.5], [1, 2, 5, 6]), PASS)
    record = evaluation.to_json()
    assert record["loss"] == 2.0
    assert record["bits_per_char"] == pytest.approx(2 / math.log(2))
    assert record["perplexity"] == pytest.approx(math.exp(2))
    assert (record["accuracy"], record["top5_accuracy"], record["predictions"]) == (0.25, 0.75, 4)
    for name in ("loss", "bits_per_char", "perplexity", "accuracy", "top5_accuracy"):
        low, high = record["interval"][name]
        assert low <= record[name] <= high


@pytest.mark.parametrize("correlated_over", [1, 50])
def test_the_interval_holds_the_mean_of_the_distribution_in_95_of_100_cases(correlated_over):
    """Of values that are the same for 50 places, one block's mean is as good as two values."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        surprises = np.repeat(rng.exponential(2.0, 1000 // correlated_over), correlated_over)
        low, high = Evaluation.of(predictions_of(surprises), PASS).loss[1:]
        held += low <= 2.0 <= high
    assert 900 <= held <= 980  # a normal interval without blocks holds it in 25 of 100 where correlated


def test_the_interval_is_as_wide_as_the_known_variance_says():
    """Ten blocks of a hundred independent values of variance 4: t(9) sqrt(4 / 1000) to each side."""
    rng = np.random.default_rng(1)
    halves = []
    for _ in range(400):
        estimate = Evaluation.of(predictions_of(rng.normal(5, 2, 1000)), PASS).loss
        halves.append((estimate.high - estimate.low) / 2)
    assert np.mean(np.square(halves)) == pytest.approx(2.2622**2 * 4 / 1000, rel=0.1)


@given(arrays(np.float32, 60, elements=st.floats(0, 20, width=32)), st.integers(2, 12))
@settings(max_examples=50, deadline=None)
def test_with_blocks_of_one_size_it_is_the_deviation_of_their_means_over_root_n(values, n):
    values = values[: len(values) // n * n]
    estimate = mean_with_interval(values, np.repeat(np.arange(n), len(values) // n))
    means = values.astype(np.float64).reshape(n, -1).mean(axis=1)
    quantile = {2: 12.706, 3: 4.303, 12: 2.201}.get(n)
    half = (estimate.high - estimate.low) / 2
    assert estimate.value == pytest.approx(means.mean(), abs=1e-6)
    if quantile:
        assert half == pytest.approx(quantile * means.std(ddof=1) / math.sqrt(n), rel=1e-3, abs=1e-6)


def test_cold_blocks_are_not_torn_apart():
    """Each has the same mean, so there is nothing uncertain about it; torn apart there would be."""
    surprises = np.tile(np.linspace(5, 1, 37), 27)
    evaluation = Evaluation.of(predictions_of(surprises), Blocks(1000, 37, 4))
    assert evaluation.loss.high - evaluation.loss.low < 1e-6
    assert Evaluation.of(predictions_of(surprises), PASS).loss.high > evaluation.loss.high + 1e-3


def test_one_prediction_has_no_interval():
    evaluation = Evaluation.of(predictions_of([1.0]), PASS)
    assert evaluation.loss.value == 1.0 and math.isnan(evaluation.loss.low)
    assert evaluation.to_json()["interval"] is None


# ---- one text ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 3, 17, 130, 260])
def test_a_text_is_scored_after_all_that_comes_before(model, length):
    text = SYMBOLS.decode(np.resize(IDS, length))
    score = model.score(text)
    surprises, ranks = by_numpy(model, np.resize(IDS, length))
    assert (score.context, score.text) == (text[0], text[1:])
    np.testing.assert_allclose(score.surprises, surprises, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(score.ranks, ranks)
    assert score.loss == pytest.approx(surprises.mean(), rel=1e-4)
    assert score.accuracy == pytest.approx((ranks == 1).mean())


@pytest.mark.parametrize("length", [2, 6, 7, 8, 30])
def test_a_windowed_model_looks_back_on_a_window_at_most(windowed, length):
    ids = IDS[:length]
    score = windowed.score(SYMBOLS.decode(ids))
    expected = [by_numpy(windowed, ids[max(0, p - 6) : p + 1])[0][-1] for p in range(1, length)]
    np.testing.assert_allclose(score.surprises, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["model", "windowed"])
def test_a_context_is_read_and_not_scored(kind, request):
    model = request.getfixturevalue(kind)
    text = SYMBOLS.decode(IDS[:20])
    whole, part = model.score(text), model.score(text[12:], context=text[:12])
    np.testing.assert_allclose(part.surprises, whole.surprises[11:], rtol=1e-6)
    assert (part.context, part.text) == (text[:12], text[12:])


def test_a_window_of_one_character_knows_only_that(request):
    model = make_model(batching="windows", seq_len=1)
    np.testing.assert_allclose(
        model.score("abab").surprises[[0, 2]], model.score("ab").surprises[[0, 0]], rtol=1e-6
    )


def test_surprises_are_probabilities_in_nats(model):
    every = [model.score(symbol, context="ab").probabilities[0] for symbol in SYMBOLS.symbols]
    assert sum(every) == pytest.approx(1, rel=1e-5)


def test_a_score_says_what_it_is(model):
    score = model.score("cab", context="bad")
    assert repr(score) == (
        f"Score(loss={score.loss:.4f}, bits_per_char={score.bits_per_char:.4f}, "
        f"accuracy={score.accuracy:.4f}, 3 characters after 'bad')"
    )
    assert len(score) == 3 and score.perplexity == pytest.approx(math.exp(score.loss))


@pytest.mark.parametrize(
    ("text", "context", "said"),
    [
        ("", "", "has 0 characters"),
        ("a", "", "has 1 characters"),
        ("", "abc", "has 0 characters"),
        ("abZ", "", "text to score: the vocabulary has no character 'Z'"),
        ("ab", "é", r"'é' \(U\+00E9\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(model, text, context, said):
    with pytest.raises(JaxcharError, match=said):
        model.score(text, context=context)


def test_a_text_with_unknown_characters_is_scored_without_them(model):
    plain = model.score("ab", context="c")
    score = model.score("aBé", context="éc", unknown="replace")
    assert " " not in model.vocabulary.symbols
    assert (score.context, score.text, score.replaced, score.left_out) == ("c", "ab", 1, 2)
    np.testing.assert_array_equal(score.surprises, plain.surprises)
    assert (plain.replaced, plain.left_out) == (0, 0)
    with pytest.raises(JaxcharError, match="unknown='skip' or unknown='replace'"):
        model.score("aBé")
    with pytest.raises(JaxcharError, match="has 0 characters"):
        model.score("éé", unknown="skip")


def test_few_lengths_of_text_are_compiled(model):
    model.score("abcd" * 10)
    before = predict_module._predict_steps._cache_size()
    for length in range(33, 64):
        model.score(SYMBOLS.decode(IDS[:length]))
    assert predict_module._predict_steps._cache_size() == before


def test_positions_beyond_the_text_are_padding(model):
    batches = Streams(64, 16, 1, whole=True)
    padded = jnp.asarray(np.concatenate([IDS[:40], np.zeros(24, np.uint8)]))
    found = predict(model.graphdef, model.state, padded, batches, 40)
    whole = predict(model.graphdef, model.state, jnp.asarray(IDS[:40]), replace(batches, num_chars=40))
    np.testing.assert_array_equal(found.positions, whole.positions)
    np.testing.assert_allclose(found.surprises, whole.surprises, rtol=1e-6)
