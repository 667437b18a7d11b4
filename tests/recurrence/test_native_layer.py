"""A layer in C++: held to the equations in float64, and to finite differences."""

import pytest
from recurrent_problem import CELLS, check_against_equations, needs_compiler


@needs_compiler
@pytest.mark.parametrize(
    ("name", "masked"),
    [*((name, True) for name in CELLS if name not in ("biased gru", "rnn")), ("lstm", False), ("gru", False)],
)
def test_native_and_all_its_gradients_equal_the_float64_equations(name, masked):
    check_against_equations("native", name, masked)
