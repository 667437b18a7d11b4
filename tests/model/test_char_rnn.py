"""CharRNN: what every character language model must obey, and the first weights as documented."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxchar.config import ModelConfig
from jaxchar.errors import JaxcharError
from jaxchar.model.char_rnn import CharRNN, num_parameters
from jaxchar.randomness import cheap_bernoulli
from jaxchar.recurrence import native

V, B, T = 7, 3, 6
needs_compiler = pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")
CONFIGS = {
    "stacked lstm": ModelConfig(
        hidden_size=(4, 5),
        dropout=0.3,
        input_dropout=0.3,
        recurrent_dropout=0.3,
        weight_dropout=0.3,
        init_scale=1,
    ),
    "embedded gru": ModelConfig(
        cell="gru", hidden_size=4, embedding_size=3, input_dropout=0.3, implementation="scan"
    ),
    "tied rnn": ModelConfig(cell="rnn", hidden_size=4, embedding_size=3, tie_embeddings=True, dropout=0.3),
}


def make_model(config, vocab_size=V, seed=0):
    return CharRNN(config, vocab_size, rngs=nnx.Rngs(seed))


COMPILE_QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@partial(jax.jit, static_argnums=(0, 1), compiler_options=COMPILE_QUICKLY)
def apply(graphdef, method, params, inputs, carry, key=None):
    return getattr(nnx.merge(graphdef, params), method)(inputs, carry, key)


class Compiled:
    """A model's two calls, compiled once for each shape of input."""

    def __init__(self, model):
        self.graphdef, self.params = nnx.split(model)
        self.initial_carry = model.initial_carry

    def __call__(self, inputs, carry=None, key=None, method="__call__"):
        carry = self.initial_carry(len(inputs)) if carry is None else carry
        return apply(self.graphdef, method, self.params, inputs, carry, key)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    return Compiled(make_model(CONFIGS[request.param]))


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(0, V, (B, T)).astype(np.int32)


KEY = jax.random.key(5)


# ---- the model as a function ---------------------------------------------------------------------


def test_one_hot_rows_and_ids_give_the_same_logits_with_and_without_dropout(model, ids):
    rows = np.eye(V, dtype=np.float32)[ids]
    for key in (None, KEY):
        np.testing.assert_allclose(model(rows, key=key)[0], model(ids, key=key)[0], atol=1e-6)


@pytest.mark.parametrize("changed", range(T))
def test_a_character_changes_no_logits_before_it_and_all_from_it_on(model, ids, changed):
    others = ids.copy()
    others[:, changed] = (others[:, changed] + 1) % V
    before, after = model(ids)[0], model(others)[0]
    np.testing.assert_array_equal(before[:, :changed], after[:, :changed])
    assert (before[:, changed:] != after[:, changed:]).any(axis=-1).all()


def test_two_halves_with_the_carry_between_equal_the_whole(model, ids):
    whole, last = model(ids)
    first, between = model(ids[:, : T // 2])
    second, end = model(ids[:, T // 2 :], between)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-6)
    for actual, expected in zip(jax.tree.leaves(end), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_a_row_of_the_batch_does_not_depend_on_the_others(model, ids):
    others = (ids + 1) % V
    others[1] = ids[1]
    np.testing.assert_array_equal(model(others)[0][1], model(ids)[0][1])
    assert (model(others)[0][0] != model(ids)[0][0]).any()


def test_last_logits_are_the_logits_of_the_last_step_with_and_without_dropout(model, ids):
    for key in (None, KEY):
        last, carry = model(ids, key=key, method="last_logits")
        logits, expected = model(ids, key=key)
        np.testing.assert_allclose(last, logits[:, -1], atol=1e-6)
        assert last.dtype == logits.dtype == jnp.float32
        for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_seed_is_a_model():
    def weights(seed):
        return jax.tree.leaves(nnx.split(make_model(CONFIGS["embedded gru"], seed=seed))[1])

    first, again, other = weights(1), weights(1), weights(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert sum(np.array_equal(a, b) for a, b in zip(first, other, strict=True)) == 2  # the two biases


# ---- size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vocab_size", "settings", "expected"),
    [
        (36, {"hidden_size": 128, "gate": "hard_sigmoid"}, [84_480, 4_644]),  # words_generator: 89,124
        (60, {"hidden_size": (200, 512)}, [4 * 261 * 200, 4 * 713 * 512, 513 * 60]),
        (60, {"hidden_size": 20, "num_layers": 2, "cell": "gru"}, [3 * 81 * 20, 3 * 41 * 20, 21 * 60]),
        (60, {"hidden_size": 20, "cell": "rnn"}, [81 * 20, 21 * 60]),
        (60, {"hidden_size": 20, "cell": "rnn", "embedding_size": 9}, [60 * 9, 30 * 20, 21 * 60]),
    ],
)
def test_the_summary_counts_the_parameters_of_every_layer(vocab_size, settings, expected):
    config = ModelConfig(**settings)
    model = nnx.eval_shape(lambda: make_model(config, vocab_size))
    assert [row.parameters for row in model.summary()] == expected
    assert num_parameters(model) == sum(expected)


# ---- the first weights ---------------------------------------------------------------------------

WIDE = 64  # features in, and hidden units: wide enough for statistics


def wide_model(**settings):
    return make_model(ModelConfig(hidden_size=WIDE, **settings), vocab_size=WIDE)


def gate_blocks(kernel):
    return np.split(np.asarray(kernel), kernel.shape[1] // WIDE, axis=1)


@pytest.mark.parametrize(
    ("settings", "std", "largest"),
    [
        # Every block is one gate's [64, 64]: fan in and fan out are 64, not 64 and 256.
        ({"kernel_init": "glorot_uniform"}, (2 / 128) ** 0.5, (6 / 128) ** 0.5),
        ({"kernel_init": "lecun_normal"}, (1 / 64) ** 0.5, 2 * (1 / 64) ** 0.5 / 0.8796),  # cut at 2 std
        ({"kernel_init": "uniform", "init_scale": 0.3}, 0.3 / 3**0.5, 0.3),
        ({"kernel_init": "uniform"}, 0.08 / 3**0.5, 0.08),
        ({"kernel_init": "normal", "init_scale": 0.2}, 0.2, np.inf),
    ],
    ids=str,
)
def test_kernels_start_with_the_documented_spread(settings, std, largest):
    model = wide_model(recurrent_init="same", **settings)
    cell = model.cells[0]
    kernels = [cell.dense_i.kernel[...], cell.dense_h.kernel[...], model.head.kernel[...]]
    for block in [block for kernel in kernels for block in gate_blocks(kernel)]:
        assert abs(block.mean()) < 0.1 * std
        assert block.std() == pytest.approx(std, rel=0.06)
        assert np.abs(block).max() <= largest * 1.0001
        assert np.abs(block).max() > min(0.95 * largest, 3 * std)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_gates_recurrent_block_starts_orthogonal_and_differs(cell):
    blocks = gate_blocks(wide_model(cell=cell).cells[0].dense_h.kernel[...])
    assert len(blocks) == {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(WIDE), atol=1e-5)
    assert len({block.tobytes() for block in blocks}) == len(blocks)


@pytest.mark.parametrize("forget_bias", [1.0, 0.0, -2.5])
def test_biases_start_at_zero_but_the_forget_gates(forget_bias):
    model = make_model(ModelConfig(hidden_size=3, forget_bias=forget_bias))
    expected = np.repeat([0, forget_bias, 0, 0], 3)  # i, f, g, o
    np.testing.assert_array_equal(model.cells[0].dense_h.bias[...], expected)
    assert model.cells[0].dense_i.bias is None
    assert not model.head.bias[...].any()


# ---- dropout -------------------------------------------------------------------------------------


def test_dropout_is_off_without_a_key_and_a_key_is_a_mask(model, ids):
    off, _ = model(ids)
    first, again, other = (model(ids, key=jax.random.key(n))[0] for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != off).any() and (first != other).any()


def test_a_key_changes_nothing_where_the_rates_are_zero(ids):
    model = Compiled(make_model(ModelConfig(hidden_size=4)))
    np.testing.assert_array_equal(model(ids, key=KEY)[0], model(ids)[0])


def transparent_rnn(**settings):
    """Return a tanh RNN whose logits are its hidden states, with the input and recurrent kernels given.

    h_t = tanh(x_t + 0.5 + h_{t-1} / 4) without dropout: a unit sees one symbol and itself.
    """
    model = make_model(ModelConfig(cell="rnn", hidden_size=V, **settings))
    model.cells[0].dense_i.kernel[...] = 0.25 * jnp.eye(V)
    model.cells[0].dense_i.bias[...] = jnp.full(V, 0.5)
    model.cells[0].dense_h.kernel[...] = 0.25 * jnp.eye(V)
    model.head.kernel[...] = jnp.eye(V)
    return Compiled(model)


ROWS, KEEP = 300, 0.75


@pytest.fixture(scope="module")
def many_ids():
    return np.random.default_rng(3).integers(0, V, (ROWS, 8)).astype(np.int32)


def masks_of(model, ids, recover):
    """Return the masks, [ROWS, T, V], that the hidden states betray."""
    hiddens = np.asarray(model(ids, key=KEY)[0], np.float64)
    before = np.concatenate([np.zeros((ROWS, 1, V)), hiddens[:, :-1]], axis=1)
    return recover(np.arctanh(hiddens) - 0.5, before, np.eye(V)[ids])


def assert_constant_inverted_masks(mask):
    """Check one mask a row for all time (NaN: not seen), of 0 and 1 / KEEP, with a mean of one."""
    seen = ~np.isnan(mask)
    np.testing.assert_allclose(mask[seen] * KEEP, np.round(mask[seen] * KEEP), atol=1e-3)
    np.testing.assert_allclose(np.nanmin(mask, axis=1), np.nanmax(mask, axis=1), atol=1e-3)
    per_row = np.nanmean(mask, axis=1)
    assert per_row.std() > 0.1 and per_row.mean() == pytest.approx(1, abs=0.05)
    assert len(np.unique(np.round(per_row), axis=0)) > 50, "rows must have masks of their own"


def test_the_recurrent_mask_is_the_same_at_every_step(many_ids):
    model = transparent_rnn(recurrent_dropout=1 - KEEP)
    mask = masks_of(model, many_ids, lambda z, before, x: (z - x / 4)[:, 1:] / before[:, 1:] * 4)
    assert_constant_inverted_masks(mask)


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_the_input_mask_is_the_same_at_every_step():
    model = transparent_rnn(input_dropout=1 - KEEP)
    ids = np.repeat(np.random.default_rng(4).permuted(np.tile(np.arange(V), (ROWS, 1)), axis=1), 2, axis=1)
    ids = np.concatenate([ids, ids], axis=1).astype(np.int32)  # every symbol, early and late
    mask = masks_of(model, ids, lambda z, before, x: np.where(x, (z - before / 4) * 4, np.nan))
    assert_constant_inverted_masks(mask)


def test_dropout_after_a_layer_differs_from_step_to_step_and_preserves_the_mean(many_ids):
    model = transparent_rnn(dropout=1 - KEEP)
    off, dropped = model(many_ids)[0], model(many_ids, key=KEY)[0]
    ratio = np.asarray(dropped / off) * KEEP
    np.testing.assert_allclose(ratio, np.round(ratio), atol=1e-5)
    assert ratio.mean() == pytest.approx(KEEP, abs=0.02)
    assert (np.round(ratio[:, 1:]) != np.round(ratio[:, :-1])).mean() == pytest.approx(
        2 * KEEP * (1 - KEEP), abs=0.02
    )


# ---- dropped weights -----------------------------------------------------------------------------


def loss_gradient(config, ids, key, change=lambda params: params):
    """Return the gradient of a loss in the parameters, in the place of ``change`` of the first ones."""
    model = make_model(config)
    graphdef, params = nnx.split(model)

    def loss(params):
        logits, _ = nnx.merge(graphdef, params)(ids, model.initial_carry(len(ids)), key)
        return (logits * jnp.cos(jnp.arange(logits.size).reshape(logits.shape))).sum()

    return jax.jit(jax.grad(loss), compiler_options=COMPILE_QUICKLY)(change(params))


def masked_by(masks):
    """Return what multiplies every layer's recurrent kernel with its mask."""

    def change(params):
        changed = jax.tree.map(lambda leaf: leaf, params)
        for number, mask in enumerate(masks):
            kernel = changed["cells"][number]["dense_h"]["kernel"]
            kernel[...] = kernel[...] * mask
        return changed

    return change


IMPLEMENTATIONS = [
    pytest.param(cell, implementation, marks=needs_compiler if implementation == "native" else ())
    for cell in ("lstm", "gru", "rnn")
    for implementation in ("scan", "fused", "native")
    if (cell, implementation) != ("rnn", "native")
]
OFTEN = {("lstm", "native"), ("gru", "fused")}


@pytest.mark.parametrize(
    ("cell", "implementation"),
    [
        each if each.values in OFTEN else pytest.param(*each.values, marks=[*each.marks, pytest.mark.slow])
        for each in IMPLEMENTATIONS
    ],
)
def test_a_dropped_weight_is_neither_used_nor_learned_and_the_others_are_scaled(cell, implementation, ids):
    """The loss with dropped weights is that of the masked kernels, and its gradient obeys the chain rule."""
    plain = ModelConfig(cell=cell, hidden_size=(8, 9), init_scale=1, implementation=implementation)
    dropping = dataclasses.replace(plain, weight_dropout=1 - KEEP)
    found = loss_gradient(dropping, ids, KEY)
    kernels = [found["cells"][number]["dense_h"]["kernel"][...] for number in (0, 1)]
    masks = [jnp.where(kernel != 0, 1 / KEEP, 0) for kernel in kernels]
    expected = masked_by(masks)(loss_gradient(plain, ids, KEY, masked_by(masks)))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    kept = np.concatenate([np.ravel(mask) for mask in masks]) != 0
    assert kept.mean() == pytest.approx(KEEP, abs=0.06)
    assert (masks[0] != masks[1][:8, : masks[0].shape[1]]).any()  # every layer has a mask of its own


def test_dropped_weights_differ_from_key_to_key_and_are_the_same_for_all_rows_and_steps(many_ids):
    model = transparent_rnn(weight_dropout=1 - KEEP)
    mask = masks_of(model, many_ids, lambda z, before, x: (z - x / 4)[:, 1:] / before[:, 1:] * 4)
    np.testing.assert_allclose(mask, np.broadcast_to(mask[:1, :1], mask.shape), atol=1e-3)
    config = ModelConfig(hidden_size=8, weight_dropout=0.5)
    first, again, other = (
        loss_gradient(config, many_ids[:2], jax.random.key(seed))["cells"][0]["dense_h"]["kernel"][...]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert ((first == 0) != (other == 0)).mean() == pytest.approx(0.5, abs=0.1)


def test_cheap_bits_are_kept_in_proportion_in_every_row_column_and_key():
    keys = jax.random.split(KEY, 200)
    kept = np.asarray(jax.vmap(lambda key: cheap_bernoulli(key, 0.3, (50, 60)))(keys), np.float64)
    for axes in ((1, 2), (0, 1), (0, 2)):
        share = kept.mean(axis=axes)
        expected = np.sqrt(0.3 * 0.7 / (kept.size / share.size))
        assert abs(share.mean() - 0.3) < 0.002
        assert share.std() < 1.3 * expected, "more uneven than chance"
    flat = kept.reshape(len(keys), -1)
    correlations = np.corrcoef(flat)[np.triu_indices(len(keys), 1)]
    assert abs(correlations).max() < 5 / np.sqrt(flat.shape[1])
    for shifted in (np.roll(kept, 1, axis=1), np.roll(kept, 1, axis=2), np.roll(kept, 1, axis=0)):
        assert abs(np.corrcoef(kept.ravel(), shifted.ravel())[0, 1]) < 0.006
    assert np.asarray(cheap_bernoulli(KEY, 1.0, (9, 9))).all()


def test_a_tied_head_has_no_kernel_of_its_own_and_equals_the_one_that_it_stands_for():
    config = ModelConfig(hidden_size=4, embedding_size=3, tie_embeddings=True)
    tied = make_model(config)
    tied.head.bias[...] = jnp.arange(V) / 10
    untied = make_model(dataclasses.replace(config, tie_embeddings=False))
    untied.embedding, untied.cells = tied.embedding, tied.cells
    untied.head.kernel[...], untied.head.bias[...] = tied.head_weights()
    ids = jnp.arange(B * T).reshape(B, T) % V
    logits = [m(ids, m.initial_carry(B))[0] for m in (tied, untied)]
    np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-6)
    assert num_parameters(tied.head) == 4 * 3 + V


def test_a_tied_head_needs_vectors_to_share():
    with pytest.raises(JaxcharError, match="embedding_size"):
        ModelConfig(tie_embeddings=True)
