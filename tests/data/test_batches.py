"""Batches against a naive reading of the text; every text is 0, 1, 2, ..., so a character is its place."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxchar.data.batches import Blocks, Streams, Windows, _gather_from_ring, shuffled
from jaxchar.tracing import traced_for

KEY = jax.random.key(0)
EXAMPLES = settings.default.max_examples // 16  # each is a shape of its own, to be compiled


@partial(jax.jit, static_argnums=0)
def traced(batches, steps, key):
    """The batches of some steps at once; compiled once for each way of cutting and number of steps."""
    places = jnp.arange(batches.num_chars, dtype=jnp.uint16)
    return jax.vmap(lambda step: batches.batch(places, step, key))(steps)


def steps(batches, first: int, stop: int, key=KEY) -> list:
    """The batches of some steps as NumPy arrays."""
    batch = traced(batches, jnp.arange(first, stop), key)
    return [jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), batch) for i in range(stop - first)]


def epoch(batches, number: int = 0, key=KEY) -> list:
    return steps(batches, number * batches.steps_per_epoch, (number + 1) * batches.steps_per_epoch, key)


def scored(batches: list) -> list:
    """(input, target) of every prediction that has a weight, in the order of the steps and rows."""
    return [
        (int(i), int(t))
        for b in batches
        for i, t, w in zip(b.inputs.flat, b.targets.flat, b.weights.flat, strict=True)
        if w == 1
    ]


def assert_well_formed(batches: list, inputs_shape, targets_shape):
    for batch in batches:
        assert batch.inputs.shape == inputs_shape
        assert batch.targets.shape == batch.weights.shape == targets_shape
        assert batch.inputs.dtype == batch.targets.dtype == np.int32
        assert batch.weights.dtype == np.float32
        assert set(batch.weights.flat) <= {0, 1}


# ---- windows -------------------------------------------------------------------------------------


def naive_windows(cut: Windows) -> list[list[int]]:
    """Every window with the character after it, in order."""
    text = list(range(cut.num_chars))
    windows = [text[s : s + cut.seq_len + 1] for s in range(0, cut.num_chars, cut.stride)]
    return [w for w in windows if len(w) == cut.seq_len + 1][: cut.max_windows]


def read_windows(cut: Windows, batches: list) -> list[list[int]]:
    """The windows that have a weight, as the batches hold them."""
    rows = []
    for batch in batches:
        for inputs, targets, weights in zip(*batch, strict=True):
            assert len(set(weights.flat)) == 1  # a window is real or padding, as a whole
            if cut.return_sequences:
                assert inputs[1:].tolist() == targets[:-1].tolist()
            if weights.flat[0]:
                rows.append([*inputs.tolist(), int(targets.flat[-1])])
    return rows


@settings(deadline=None, max_examples=EXAMPLES, derandomize=True)
@given(
    num_chars=st.integers(2, 60),
    seq_len=st.integers(1, 12),
    batch_size=st.integers(1, 9),
    stride=st.integers(1, 15),
    max_windows=st.none() | st.integers(1, 40),
    return_sequences=st.booleans(),
)
def test_windows_are_those_of_a_naive_reading(**chosen):
    cut = Windows(**chosen)
    expected = naive_windows(cut)
    assert cut.count == len(expected)
    assume(expected)
    assert cut.steps_per_epoch == len(range(0, cut.count, cut.batch_size))
    batches = epoch(cut)
    inputs_shape = (cut.batch_size, cut.seq_len)
    assert_well_formed(batches, inputs_shape, inputs_shape if cut.return_sequences else inputs_shape[:1])
    assert read_windows(cut, batches) == expected


shuffled_windows = pytest.mark.parametrize(
    "cut",
    [
        Windows(120, 5, 16, shuffle=True),  # 115 windows: the last batch has 3
        Windows(100, 7, 31, stride=3, shuffle=True, return_sequences=False),  # 31: one full batch
        Windows(200, 4, 8, shuffle=True, max_windows=50),
    ],
    ids=["padded", "one batch", "limited"],
)


@shuffled_windows
def test_a_shuffled_epoch_has_every_window_once_in_an_order_of_its_own(cut):
    first, second = read_windows(cut, epoch(cut, 0)), read_windows(cut, epoch(cut, 1))
    assert sorted(first) == sorted(second) == naive_windows(cut)
    assert first != second
    assert naive_windows(cut) not in (first, second)


def test_the_order_follows_from_the_key_alone():
    cut = Windows(120, 5, 16, shuffle=True)
    once, again, other = (epoch(cut, 3, jax.random.key(seed)) for seed in (1, 1, 2))
    assert all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True)
    )
    assert read_windows(cut, once) != read_windows(cut, other)


def test_unshuffled_epochs_are_all_alike():
    cut = Windows(50, 5, 8, stride=2)
    assert read_windows(cut, epoch(cut, 0)) == read_windows(cut, epoch(cut, 4)) == naive_windows(cut)


@pytest.mark.parametrize(
    "cut, count, steps_per_epoch",
    [
        (Windows(600_893, 40, 128, stride=3), 200_285, 1_565),  # Keras' lstm_text_generation on nietzsche
        (Windows(600_893, 40, 32, stride=1, max_windows=200_000), 200_000, 6_250),  # words_generator
        (Windows(40, 40, 8), 0, 0),
        (Windows(41, 40, 8), 1, 1),
        (Windows(5, 40, 8), 0, 0),
    ],
)
def test_the_known_systems_have_their_known_counts(cut, count, steps_per_epoch):
    assert (cut.count, cut.steps_per_epoch) == (count, steps_per_epoch)


# ---- streams -------------------------------------------------------------------------------------

stream_shapes = {
    "num_chars": st.integers(2, 80),
    "seq_len": st.integers(1, 12),
    "batch_size": st.integers(1, 9),
}


@settings(deadline=None, max_examples=EXAMPLES, derandomize=True)
@given(**stream_shapes)
def test_streams_are_lanes_of_a_naive_reading(**chosen):
    cut = Streams(**chosen)
    lane_chars = (cut.num_chars - 1) // cut.batch_size
    assert cut.steps_per_epoch == lane_chars // cut.seq_len
    assume(cut.steps_per_epoch)
    batches = epoch(cut)
    assert_well_formed(batches, (cut.batch_size, cut.seq_len), (cut.batch_size, cut.seq_len))
    for step, batch in enumerate(batches):
        starts = [lane * lane_chars + step * cut.seq_len for lane in range(cut.batch_size)]
        assert batch.inputs.tolist() == [list(range(s, s + cut.seq_len)) for s in starts]
        assert batch.targets.tolist() == [list(range(s + 1, s + cut.seq_len + 1)) for s in starts]
        assert batch.weights.all()


@pytest.mark.parametrize("whole", [False, True])
def test_rows_go_on_from_step_to_step_and_start_anew_each_epoch(whole):
    cut = Streams(100, 4, 3, whole=whole)
    last = cut.steps_per_epoch - 1
    batches = steps(cut, 0, 2 * cut.steps_per_epoch)
    for step in range(last):
        going_on = batches[step + 1].weights[:, 0] == 1
        assert going_on.any()
        np.testing.assert_array_equal(
            batches[step].targets[going_on, -1], batches[step + 1].inputs[going_on, 0]
        )
    for one, other in zip(batches[: last + 1], batches[last + 1 :], strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)


@settings(deadline=None, max_examples=EXAMPLES, derandomize=True)
@given(**stream_shapes)
def test_a_whole_pass_of_streams_scores_every_character_but_the_first_once(**chosen):
    cut = Streams(**chosen, whole=True)
    batches = epoch(cut)
    assert_well_formed(batches, (cut.batch_size, cut.seq_len), (cut.batch_size, cut.seq_len))
    assert sorted(scored(batches)) == [(place - 1, place) for place in range(1, cut.num_chars)]
    for row in range(cut.batch_size):  # a lane is read without a gap, so its state is the right one
        lane = [t for b in batches for t, w in zip(b.targets[row], b.weights[row], strict=True) if w]
        assert lane == list(range(row * cut.lane_chars + 1, row * cut.lane_chars + 1 + len(lane)))


# ---- streams whose lanes begin elsewhere every epoch ---------------------------------------------


def naive_ring(cut: Streams, first: int) -> list[list[list[int]]]:
    """Every step's rows of T + 1 characters, of a text that begins at ``first`` and ends before it."""
    ring = [*range(first, cut.num_chars), *range(first)]
    lane_chars = (cut.num_chars - 1) // cut.batch_size
    lanes = [ring[row * lane_chars :][: lane_chars + 1] for row in range(cut.batch_size)]
    starts = range(0, lane_chars - cut.seq_len + 1, cut.seq_len)
    return [[lane[start : start + cut.seq_len + 1] for lane in lanes] for start in starts]


@settings(deadline=None, max_examples=EXAMPLES, derandomize=True)
@given(**stream_shapes, number=st.integers(0, 1_000))
def test_lanes_with_offsets_are_those_of_a_text_that_begins_elsewhere(number, **chosen):
    cut = Streams(**chosen, offsets=True)
    assert cut.steps_per_epoch == Streams(**chosen).steps_per_epoch
    assume(cut.steps_per_epoch)
    batches = epoch(cut, number)
    assert_well_formed(batches, (cut.batch_size, cut.seq_len), (cut.batch_size, cut.seq_len))
    first = int(batches[0].inputs[0, 0])
    for batch, rows in zip(batches, naive_ring(cut, first), strict=True):
        assert batch.inputs.tolist() == [row[:-1] for row in rows]
        assert batch.targets.tolist() == [row[1:] for row in rows]
        assert batch.weights.all()


@pytest.mark.slow
def test_every_character_is_about_equally_often_where_lanes_with_offsets_begin():
    cut = Streams(10, 3, 3, offsets=True)  # one step an epoch
    begun = np.bincount([int(batch.inputs[0, 0]) for batch in steps(cut, 0, 4_000)], minlength=10)
    np.testing.assert_allclose(begun / 4_000, 0.1, atol=0.025)


def test_the_offset_follows_from_key_and_epoch_alone():
    cut = Streams(1_000, 5, 4, offsets=True)
    once, again, other = (epoch(cut, 3, jax.random.key(seed)) for seed in (1, 1, 2))
    assert [b.inputs.tolist() for b in once] == [b.inputs.tolist() for b in again]
    assert once[0].inputs.tolist() != other[0].inputs.tolist()
    assert once[0].inputs.tolist() != epoch(cut, 4, jax.random.key(1))[0].inputs.tolist()


def test_an_offset_does_not_pass_the_range_of_the_counter():
    """``ids`` of 2^31 - 2 characters are not made: what is gathered from them is asked for."""

    class Asked:
        shape = (2**31 - 2,)

        def __getitem__(self, positions):
            return positions

    lane = jnp.array([2**31 - 60], jnp.int32)
    for seed in range(4):
        places = np.asarray(_gather_from_ring(Asked(), lane, 50, jax.random.key(seed)))
        assert places.min() >= 0 and places.max() < Asked.shape[0]
        assert set(np.diff(places[0].astype(np.int64))) <= {1, 1 - Asked.shape[0]}


# ---- blocks --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=EXAMPLES, derandomize=True)
@given(**stream_shapes)
def test_blocks_score_every_character_but_the_first_once_from_cold_starts(**chosen):
    cut = Blocks(**chosen)
    batches = epoch(cut)
    assert_well_formed(batches, (cut.batch_size, cut.seq_len), (cut.batch_size, cut.seq_len))
    assert scored(batches) == [(place - 1, place) for place in range(1, cut.num_chars)]
    rows = [row for batch in batches for row, w in zip(batch.inputs, batch.weights, strict=True) if w[0]]
    assert [row[0] for row in rows] == list(range(0, cut.num_chars - 1, cut.seq_len))


# ---- the shuffle ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "counts",
    [
        [*range(1, 12), 16, 25, 31, 100, 300],
        pytest.param(range(1, 301), marks=pytest.mark.slow),
    ],
    ids=["some counts", "all counts"],
)
def test_a_shuffle_is_a_permutation_of_small_counts(counts):
    numbers = jnp.arange(300)  # of one shape for all counts, and run as it stands: nothing to compile
    with jax.disable_jit():
        for count in counts:
            order = shuffled(jnp.minimum(numbers, count - 1), count, KEY)
            assert sorted(np.asarray(order)[:count].tolist()) == list(range(count)), count


@pytest.mark.parametrize("count", [65_536, 99_991, 200_285])
def test_a_shuffle_is_a_permutation_of_large_counts(count):
    order = np.asarray(jax.jit(lambda key: shuffled(jnp.arange(count), count, key))(KEY))
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


@pytest.mark.parametrize("count", [10**9, 2**31 - 1])
def test_a_shuffle_of_a_huge_count_stays_in_range_and_repeats_nothing(count):
    asked = jnp.concatenate([jnp.arange(500), count - 1 - jnp.arange(500)])
    order = np.asarray(jax.jit(lambda key: shuffled(asked, count, key))(KEY))
    assert order.min() >= 0 and order.max() < count
    assert len(set(order.tolist())) == 1_000
    assert 0.45 < order.mean() / count < 0.55  # not only near where they were


def test_a_shuffle_does_not_look_like_any_plain_order():
    count = 10_000
    order = np.asarray(jax.jit(lambda key: shuffled(jnp.arange(count), count, key))(KEY))
    assert (order == np.arange(count)).sum() < 10  # about one is expected
    assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.05
    gaps, repeats = np.unique(np.diff(order) % count, return_counts=True)
    assert repeats.max() < 12  # a rotation or a stride would have one gap throughout
    assert len(gaps) > 0.6 * count  # 1 - 1/e of them are expected


def test_every_number_goes_everywhere_equally_often():
    keys, count = jax.random.split(KEY, 6_000), 5
    order = np.asarray(jax.jit(jax.vmap(lambda key: shuffled(jnp.arange(count), count, key)))(keys))
    shares = [np.bincount(order[:, number], minlength=count) / len(keys) for number in range(count)]
    np.testing.assert_allclose(shares, 1 / count, atol=0.03)


@pytest.mark.parametrize(
    "count", [1, 5_003, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 5, 10, 30, 31, 1_000))]
)
def test_an_accelerator_shuffles_as_a_processor_does(count):
    """One walks until it is there, the other looks up where a walk ends."""
    numbers, keys = jnp.arange(count), jax.random.split(KEY, 4)
    on_processor = jax.vmap(lambda key: shuffled(numbers, count, key))
    with traced_for("gpu"):
        looked_up = jax.jit(jax.vmap(lambda key: shuffled(numbers, count, key)))(keys)
    np.testing.assert_array_equal(looked_up, on_processor(keys))
