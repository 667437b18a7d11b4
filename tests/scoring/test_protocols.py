"""Protocols of evaluation: which one a configuration has, and how much text each needs."""

import pytest

from jaxchar.config import Config
from jaxchar.data.batches import Streams
from jaxchar.errors import JaxcharError
from jaxchar.scoring.protocols import evaluation_batches, stateful_pass

N = 150
WINDOWED = Config(batching="windows", seq_len=6, eval_stride=4, stride=3, max_windows=11)


def test_a_stateful_pass_has_few_lanes_in_a_short_text_and_64_in_a_long_one():
    lanes = {chars: stateful_pass(chars).batch_size for chars in (2, 16_383, 16_384, 10**8)}
    assert lanes == {2: 1, 16_383: 1, 16_384: 2, 10**8: 64}


@pytest.mark.parametrize(("config", "least"), [(Config(), 2), (WINDOWED, 7)])
def test_a_text_too_short_to_evaluate_is_refused_with_the_number_it_needs(config, least):
    evaluation_batches(config, least)
    with pytest.raises(JaxcharError, match=rf"has {least - 1} .* needs {least};"):
        evaluation_batches(config, least - 1)


def test_the_protocol_follows_the_training_unless_it_is_set():
    assert isinstance(evaluation_batches(Config(), N), Streams)
    assert evaluation_batches(WINDOWED, N).stride == WINDOWED.eval_stride
    assert evaluation_batches(WINDOWED, N, "train").stride == WINDOWED.stride
