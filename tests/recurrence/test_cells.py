"""Cells: their first state, and their gate function of old."""

import numpy as np
import pytest
from recurrent_problem import make_cell, make_problem

from jaxchar.recurrence.cells import HiddenCarry, LSTMCarry, hard_sigmoid, initial_carry


@pytest.mark.parametrize(("name", "carry_type"), [("lstm", LSTMCarry), ("gru", HiddenCarry)])
def test_a_text_starts_with_zeros(name, carry_type):
    carry = initial_carry(make_cell(make_problem(name)), 5)
    assert isinstance(carry, carry_type)
    assert all(part.shape == (5, 3) and not part.any() for part in carry)


def test_hard_sigmoid_is_keras_1s_clipped_line():
    x = np.array([-9, -2.5, -1, 0, 1, 2.5, 9], np.float32)
    np.testing.assert_allclose(hard_sigmoid(x), [0, 0, 0.3, 0.5, 0.7, 1, 1], atol=1e-7)
