"""The reference implementation: held to the equations in float64, and to finite differences."""

import pytest
from recurrent_problem import CELLS, check_against_equations

pytestmark = pytest.mark.device


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        *((name, True) for name in CELLS),
        ("lstm", False),
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in ("gru", "rnn")),
    ],
)
def test_scan_and_all_its_gradients_equal_the_float64_equations(name, masked):
    check_against_equations("scan", name, masked)
